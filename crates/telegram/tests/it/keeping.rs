//! What is kept over a restart, on disks that refuse, forget and change things: `updates/` and `telegram.json`.
#![allow(clippy::disallowed_methods, reason = "a disk is played by hand")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tinyclaw_disk::testing::{Fault, Step, disarm, fail_after, fail_reads_after, steps_of};
use tinyclaw_domain::{Model, ThreadId};
use tinyclaw_telegram::bot::addresses::{Address, AddressBook, AddressBookError};
use tinyclaw_telegram::inbound::updates::{Inbox, Update};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const HOME: i64 = -1001;
const NOW: u64 = 1_771_234_567_890;

/// A folder that costs no flushes, for tests that need hundreds.
fn in_memory() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() {
        tempfile::tempdir_in(shared).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn update(id: i64) -> Update {
    Update { id, raw: json!({"update_id": id, "message": {"text": "hello", "chat": {"id": 7}}}) }
}

/// Telegram, as far as an inbox knows it: it repeats what was not confirmed.
struct Line {
    confirmed: i64,
    last: i64,
}

impl Line {
    /// A poll by the process that has this inbox; gives what it was handed.
    fn poll(&mut self, inbox: &Inbox) -> Vec<i64> {
        let batch = (self.confirmed + 1..=self.last).map(update).collect();
        let stored = inbox.store(batch);
        if let Some(last) = stored.last {
            self.confirmed = last;
            inbox.confirmed(last + 1);
        }
        stored.new.concat().into_iter().map(|it| it.id).collect()
    }
}

/// Three updates come in two polls while the disk fails at a step: each is handed on once, by this process or the next.
fn each_update_is_handed_on_once(errno: i32) {
    for step in 0.. {
        let dir = in_memory();
        let mut line = Line { confirmed: 0, last: 2 };
        let mut handed = Vec::new();
        fail_after(step, Fault::Errno(errno));
        let inbox = Inbox::open(dir.path()).unwrap();
        handed.extend(line.poll(&inbox));
        line.last = 3;
        handed.extend(line.poll(&inbox));
        let met = disarm();
        while line.confirmed < line.last {
            handed.extend(line.poll(&inbox));
        }
        assert_eq!(handed, [1, 2, 3], "error {errno} at step {step}");
        // Nothing was dealt with: the next process begins with all of it, and takes nothing for new.
        let next = Inbox::open(dir.path()).unwrap();
        let left = next.left().unwrap();
        let ids: Vec<i64> = left.updates.concat().iter().map(|it| it.id).collect();
        assert_eq!(ids, [1, 2, 3], "error {errno} at step {step}");
        assert!(next.store((1..=3).map(update).collect()).new.is_empty());
        if !met {
            assert!(step > 12, "the scenario has only {step} steps");
            break;
        }
    }
}

#[test]
fn a_full_disk_at_any_step_hides_no_update() {
    each_update_is_handed_on_once(ENOSPC);
}

#[test]
fn a_bad_disk_at_any_step_hides_no_update() {
    each_update_is_handed_on_once(EIO);
}

#[test]
fn what_the_disk_took_is_handed_on_and_confirmed_and_the_rest_comes_again() {
    let dir = in_memory();
    let inbox = Inbox::open(dir.path()).unwrap();
    // Nothing can be written under this name.
    std::fs::create_dir(dir.path().join("2.tmp")).unwrap();
    let stored = inbox.store((1..=3).map(update).collect());
    assert_eq!((stored.new, stored.last), (vec![vec![update(1)]], Some(1)));
    assert!(stored.trouble.is_some());
    std::fs::remove_dir(dir.path().join("2.tmp")).unwrap();
    let stored = inbox.store((1..=3).map(update).collect());
    assert_eq!((stored.new, stored.last), (vec![vec![update(2)], vec![update(3)]], Some(3)));
}

#[test]
fn an_update_that_cannot_be_read_at_the_start_is_handed_on_when_it_can() {
    let dir = in_memory();
    Inbox::open(dir.path()).unwrap().store(vec![update(1), update(2)]);
    let hidden = dir.path().join("hidden");
    std::fs::rename(dir.path().join("1.json"), &hidden).unwrap();
    std::fs::create_dir(dir.path().join("1.json")).unwrap();
    let inbox = Inbox::open(dir.path()).unwrap();
    let left = inbox.left().unwrap();
    assert_eq!(left.updates, [vec![update(2)]]);
    assert_eq!(left.unread.iter().map(|it| it.0).collect::<Vec<_>>(), [1]);
    assert_eq!(inbox.read_again().updates, [[]; 0]);
    std::fs::remove_dir(dir.path().join("1.json")).unwrap();
    std::fs::rename(hidden, dir.path().join("1.json")).unwrap();
    assert_eq!(inbox.read_again().updates, [vec![update(1)]]);
    assert_eq!(inbox.read_again().updates, [[]; 0], "once");
}

/// An update that the disk changed is set aside by name, and taken anew when Telegram has it still.
#[test]
fn no_flipped_bit_of_an_update_is_believed() {
    let dir = in_memory();
    let path = dir.path().join("1.json");
    Inbox::open(dir.path()).unwrap().store(vec![update(1)]);
    let bytes = std::fs::read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        std::fs::write(&path, flipped(&bytes, bit)).unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        let left = inbox.left().unwrap();
        match left.updates.as_slice() {
            [] => {
                assert_eq!(left.damaged, [1], "bit {bit}");
                assert!(dir.path().join("1.damaged").exists());
                assert_eq!(inbox.store(vec![update(1)]).new, [[update(1)]]);
            }
            // The name of the checksum suffered: it is one more field that nobody knows.
            [group] => {
                let mut raw = group[0].raw.clone();
                raw.as_object_mut()
                    .unwrap()
                    .retain(|name, _| name == "update_id" || name == "message");
                assert_eq!(raw, update(1).raw, "bit {bit}");
            }
            more => panic!("{more:?}"),
        }
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

fn book(dir: &TempDir) -> AddressBook {
    let (book, notes) = AddressBook::open(&dir.path().join("telegram.json")).unwrap();
    assert_eq!(notes, [""; 0]);
    book
}

fn moved() -> (ThreadId, Address) {
    (ThreadId::topic(2), Address { chat: HOME, topic: Some(11) })
}

/// What the tests ask of a book: offset, where the thread lives, a key, a model.
fn told(book: &AddressBook) -> Value {
    let (thread, _) = moved();
    json!({
        "offset": book.offset(NOW),
        "address": book.address(&thread, Some(HOME)),
        "name": book.name(&thread),
        "present": book.present(-5),
        "key": book.key_of(HOME, 3).map(|it| it.to_string()),
        "model": book.model_of(HOME, 4),
        "to": book.answered_by(HOME, 4).map(|it| it.to_string()),
    })
}

fn small_book(dir: &TempDir) -> Value {
    let book = book(dir);
    let (thread, there) = moved();
    book.set_offset(812_345_002, NOW);
    book.bind(&thread, there).unwrap();
    book.set_name(&thread, there, "dates");
    book.migrate(-5, -1005).unwrap();
    book.heard(HOME, 3, &"tg-812345001".parse().unwrap());
    book.said(HOME, 4, Some(Model::OPUS), Some(&"tg-812345001".parse().unwrap()));
    book.save().unwrap();
    told(&book)
}

/// What a disk may hold when the power goes after these steps: changes of names that were not flushed are there up to
/// some point, and bytes that were not flushed are lost, cut or whole. Every combination of the two.
fn after_a_cut(steps: &[Step]) -> Vec<TempDir> {
    // The names of the flushed folder, and each later state of them.
    let (mut names, mut states) = (BTreeMap::<PathBuf, usize>::new(), vec![BTreeMap::new()]);
    let (mut files, mut flushed) = (Vec::<Vec<u8>>::new(), BTreeSet::new());
    for step in steps {
        match step {
            Step::Write { path, bytes } => {
                files.push(bytes.clone());
                names.insert(path.clone(), files.len() - 1);
            }
            Step::SyncFile { path } => flushed.extend(names.get(path).copied()),
            Step::Rename { from, to } => {
                let file = names.remove(from).unwrap();
                names.insert(to.clone(), file);
            }
            Step::Remove { path } => {
                names.remove(path);
            }
            Step::SyncDir { .. } => states.clear(),
            Step::Exchange { .. } | Step::Append { .. } => {
                unreachable!("files are written whole here, and nobody swaps them")
            }
        }
        states.push(names.clone());
    }
    let mut disks = Vec::new();
    for names in states {
        for kept in [0, 1, 2] {
            let dir = in_memory();
            for (path, file) in &names {
                let bytes = &files[*file];
                let length =
                    if flushed.contains(file) { bytes.len() } else { bytes.len() * kept / 2 };
                std::fs::write(dir.path().join(path.file_name().unwrap()), &bytes[..length])
                    .unwrap();
            }
            disks.push(dir);
        }
    }
    disks
}

/// A save that was not flushed took the place of the flushed one: after a cut the file was empty, and topic 11 of thread
/// 2 became a new thread 11.
#[test]
fn no_power_cut_takes_an_address_that_was_kept() {
    let dir = in_memory();
    let (thread, there) = moved();
    let (bound, steps) = steps_of(|| {
        let book = book(&dir);
        book.bind(&thread, there).unwrap();
        let bound = tinyclaw_disk::testing::steps_so_far();
        for offset in 1..4 {
            book.set_offset(offset, NOW);
            book.save().unwrap();
        }
        bound
    });
    let mut disks = 0;
    for cut in bound..=steps.len() {
        for dir in after_a_cut(&steps[..cut]) {
            let (book, notes) = AddressBook::open(&dir.path().join("telegram.json")).unwrap();
            assert_eq!(book.address(&thread, Some(HOME)), Some(there), "after {cut} of {steps:?}");
            assert_eq!(notes, [""; 0], "after {cut}");
            disks += 1;
        }
    }
    assert!(disks > 50, "{disks}");
}

/// What Telegram was told that we have is on the disk, whenever the power goes; the next process hands it on.
#[test]
fn no_power_cut_takes_an_update_that_was_confirmed() {
    let dir = in_memory();
    // How many steps had been made when so much was confirmed.
    let mut confirmed = Vec::new();
    let (_, steps) = steps_of(|| {
        let inbox = Inbox::open(dir.path()).unwrap();
        for batch in [vec![1], vec![2, 3], vec![4, 5, 6]] {
            let stored = inbox.store(batch.into_iter().map(update).collect());
            let last = stored.last.unwrap();
            confirmed.push((tinyclaw_disk::testing::steps_so_far(), last));
            if last == 3 {
                inbox.group(&[2, 3]).unwrap();
            }
        }
    });
    let mut disks = 0;
    for cut in 0..=steps.len() {
        let last = confirmed.iter().rfind(|it| it.0 <= cut).map_or(0, |it| it.1);
        for dir in after_a_cut(&steps[..cut]) {
            let inbox = Inbox::open(dir.path()).unwrap();
            let left = inbox.left().unwrap();
            let ids: BTreeSet<i64> = left.updates.concat().iter().map(|it| it.id).collect();
            let missing: Vec<i64> = (1..=last).filter(|it| !ids.contains(it)).collect();
            assert_eq!(missing, [0; 0], "after {cut} of {steps:?}");
            // What was not confirmed comes again, whatever is left of it, and is handed on once.
            let again = inbox.store((last + 1..=6).map(update).collect());
            let all: Vec<i64> =
                ids.iter().copied().chain(again.new.iter().flatten().map(|it| it.id)).collect();
            assert_eq!(all.len(), 6, "after {cut}: {ids:?} and {again:?}");
            disks += 1;
        }
    }
    assert!(disks > 100, "{disks}");
}

#[test]
fn no_flipped_bit_of_the_book_is_believed() {
    let dir = in_memory();
    let truth = small_book(&dir);
    let bytes = std::fs::read(dir.path().join("telegram.json")).unwrap();
    let copy = std::fs::read(dir.path().join("telegram.json.last")).unwrap();
    for bit in 0..bytes.len() * 8 {
        let dir = in_memory();
        let path = dir.path().join("telegram.json");
        std::fs::write(&path, flipped(&bytes, bit)).unwrap();
        match AddressBook::open(&path) {
            Ok((book, _)) => assert_eq!(told(&book), truth, "bit {bit}"),
            Err(err) => {
                assert!(matches!(err, AddressBookError::Lost { .. }), "bit {bit}: {err}");
                assert_eq!(std::fs::read(&path).unwrap(), flipped(&bytes, bit), "left as it was");
                // With a copy the office goes on, and says so.
                std::fs::write(dir.path().join("telegram.json.last"), &copy).unwrap();
                let (book, notes) = AddressBook::open(&path).unwrap();
                assert_eq!(told(&book)["address"], truth["address"], "bit {bit}");
                assert!(notes[0].contains("telegram.json.bad"), "{notes:?}");
                assert!(dir.path().join("telegram.json.bad").exists());
            }
        }
    }
}

#[test]
fn a_book_that_cannot_be_read_begins_nothing() {
    for text in ["", "{", "[]", "{\"threads\": 7}"] {
        let dir = in_memory();
        let path = dir.path().join("telegram.json");
        std::fs::write(&path, text).unwrap();
        let err = AddressBook::open(&path).unwrap_err();
        assert!(matches!(err, AddressBookError::Lost { .. }), "{text:?}: {err}");
        assert!(err.to_string().contains("take it from a backup"), "{err}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "it is left as it is");
    }
    let dir = in_memory();
    std::fs::create_dir(dir.path().join("telegram.json")).unwrap();
    assert!(matches!(
        AddressBook::open(&dir.path().join("telegram.json")),
        Err(AddressBookError::Unreadable(_))
    ));
}

/// A higher offset than there were updates would make Telegram forget what nobody has heard.
#[test]
fn an_offset_is_believed_as_far_as_updates_came() {
    let dir = in_memory();
    let inbox = Inbox::open(&dir.path().join("updates")).unwrap();
    inbox.store(vec![update(5), update(6)]);
    inbox.finish(&[5]).unwrap();
    inbox.finish(&[6]).unwrap();
    inbox.confirmed(7);
    assert_eq!(inbox.newest(), Some(6));
    let newest = Inbox::open(&dir.path().join("updates")).unwrap().newest();
    assert_eq!(newest, Some(6), "the newest stays to tell");
    for (offset, newest, dropped) in [
        (7, Some(6), None),
        (5, Some(6), None),
        (8, Some(6), Some(8)),
        (-7, Some(6), Some(-7)),
        (0, None, Some(0)),
        (900, None, None),
    ] {
        small_book(&dir);
        book(&dir).set_offset(offset, NOW);
        let book = book(&dir);
        book.set_offset(offset, NOW);
        assert_eq!(book.doubt_offset(newest), dropped, "{offset} after {newest:?}");
        assert_eq!(book.offset(NOW), dropped.is_none().then_some(offset));
    }
    // Nobody vouches for one in a file without a checksum, when no update is there to hold it against.
    let path = dir.path().join("telegram.json");
    std::fs::write(&path, r#"{"v":1,"offset":900,"offsetAt":1771234567890}"#).unwrap();
    assert_eq!(book(&dir).doubt_offset(None), Some(900));
}

#[test]
fn what_a_later_version_wrote_is_kept_at_every_depth() {
    let dir = in_memory();
    let path = dir.path().join("telegram.json");
    let later = json!({
        "v": 2,
        "offset": 5,
        "offsetAt": NOW,
        "threads": {
            "2": {"chat": HOME, "topic": 11, "colour": "blue"},
            "dev:box/7": {"chat": HOME, "topic": 12},
            "9": "elsewhere",
        },
        "migrated": {"-5": -1005, "x": 1},
        "heard": [{"chat": HOME, "id": 3, "key": "tg-1", "seen": true}, {"kind": "story"}],
        "said": [
            {"chat": HOME, "id": 4, "model": "opus", "cost": 0.1},
            {"chat": HOME, "id": 5, "model": "poet"},
            {"poll": 7},
        ],
        "creating": {"tg-9": "dates", "?": {"name": "a"}},
        "commands": "",
        "stories": {"a": [1, 2]},
    });
    std::fs::write(&path, later.to_string()).unwrap();
    let (book, notes) = AddressBook::open(&path).unwrap();
    assert!(notes[0].contains("later version"), "{notes:?}");
    assert_eq!(book.address(&ThreadId::topic(2), Some(HOME)), Some(moved().1));
    assert_eq!(
        (book.model_of(HOME, 4), book.model_of(HOME, 5)),
        (Some(Model::OPUS), Model::named("poet"))
    );
    assert!(book.knows(HOME, 5), "a message of ours, whoever wrote it");
    book.set_name(&ThreadId::topic(2), moved().1, "dates");
    book.save().unwrap();
    let mut written: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    written.as_object_mut().unwrap().remove("checksum");
    let mut expected = later;
    expected["threads"]["2"]["name"] = "dates".into();
    assert_eq!(written, expected);
}

/// Runs `attempt` for each fault and each read, until there are no more reads. It arms the fault, and tells whether it was
/// met.
fn each_read_in_turn(reads_min: u32, mut attempt: impl FnMut(u32, Fault) -> bool) {
    for fault in [Fault::Errno(EIO), Fault::Fewer, Fault::EndsEarly] {
        for step in 0.. {
            if !attempt(step, fault) {
                assert!(step >= reads_min, "only {step} reads");
                break;
            }
        }
    }
}

/// An update of which a part was read was damaged, and set aside. Of a group of which a part was read, the rest was a message
/// of its own.
#[test]
fn no_failed_read_of_an_update_or_a_group_takes_a_part_for_the_whole() {
    each_read_in_turn(8, |step, fault| {
        let dir = in_memory();
        let inbox = Inbox::open(dir.path()).unwrap();
        inbox.store((21..=25).map(update).collect());
        inbox.group(&[21, 22, 23]).unwrap();
        fail_reads_after(step, fault);
        let mut found = Vec::new();
        // What cannot be read at a start is tried again, by this process or the next.
        for _ in 0..3 {
            let Ok(inbox) = Inbox::open(dir.path()) else { continue };
            let Ok(left) = inbox.left() else { continue };
            assert_eq!(left.damaged, [0; 0], "{fault:?} at read {step}");
            found = left.updates;
            while found.concat().len() < 5 {
                found.extend(inbox.read_again().updates);
            }
            break;
        }
        let was_met = disarm();
        let ids: Vec<Vec<i64>> =
            found.iter().map(|it| it.iter().map(|it| it.id).collect()).collect();
        assert_eq!(ids, [vec![21, 22, 23], vec![24], vec![25]], "{fault:?} at read {step}");
        assert!(found.concat().iter().all(|it| *it == update(it.id)), "{fault:?} at read {step}");
        was_met
    });
}

/// A disk that stammered once had the addresses set aside, with all that was not in their copy.
#[test]
fn no_failed_read_of_the_book_takes_a_part_for_the_whole() {
    let dir = in_memory();
    let truth = small_book(&dir);
    each_read_in_turn(2, |step, fault| {
        fail_reads_after(step, fault);
        let opened = AddressBook::open(&dir.path().join("telegram.json"));
        let was_met = disarm();
        let (book, notes) = opened.unwrap();
        assert_eq!((told(&book), notes), (truth.clone(), vec![]), "{fault:?} at read {step}");
        was_met
    });
}
