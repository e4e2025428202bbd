use std::fs;

use expect_test::expect;
use proptest::prelude::*;
use serde_json::Value;
use tinyclaw_domain::{Model, PermissionMode, Thread, ThreadStatus, Tier};
use tinyclaw_ledger::{StateDir, ThreadBook, ThreadsError, read_threads};

use crate::{state, state_in_memory, thread};

fn desk(name: &str) -> Thread {
    serde_json::from_value(serde_json::json!({ "name": name, "cwd": "/home/ada" })).unwrap()
}

fn open(state: &StateDir) -> ThreadBook {
    let (book, trouble) = ThreadBook::open(state).unwrap();
    assert!(trouble.is_none(), "{trouble:?}");
    book
}

fn add(book: &mut ThreadBook, id: &str, name: &str) -> Option<ThreadsError> {
    book.change(|all| all.insert(thread(id), desk(name))).unwrap().1
}

fn json(state: &StateDir) -> serde_json::Value {
    serde_json::from_slice(&fs::read(state.threads()).unwrap()).unwrap()
}

fn names(state: &StateDir) -> Vec<String> {
    read_threads(state).unwrap().into_values().map(|it| it.name).collect()
}

#[test]
fn what_was_changed_is_there_for_the_next_processor() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    book.change(|all| {
        all.get_mut(&thread("7")).unwrap().status = ThreadStatus::Working;
    })
    .unwrap();
    assert_eq!(read_threads(&state).unwrap()[&thread("7")].status, ThreadStatus::Working);
    let book = open(&state);
    assert_eq!(
        book.get(&thread("7")).unwrap().status,
        ThreadStatus::Idle,
        "no turn outlives its processor"
    );
    assert_eq!(read_threads(&state).unwrap(), *book.all());
}

#[test]
fn nothing_changed_writes_nothing() {
    let (_dir, state) = state();
    let mut book = open(&state);
    book.change(|_| ()).unwrap();
    assert!(!state.threads().exists());
    add(&mut book, "7", "calendar");
    let before = fs::metadata(state.threads()).unwrap().modified().unwrap();
    book.change(|all| all.get_mut(&thread("7")).map(|it| it.name = "calendar".to_owned())).unwrap();
    assert_eq!(fs::metadata(state.threads()).unwrap().modified().unwrap(), before);
}

#[test]
fn threads_of_the_original_are_understood() {
    let (_dir, state) = state();
    fs::write(
        state.threads(),
        r#"{
            "1": { "name": "Master", "cwd": "/srv", "model": "claude-opus-4-5", "isMaster": true, "lastActive": 1771234567890.25 },
            "12": { "name": "Thread 12", "cwd": "/srv/a", "sessionId": "not-a-uuid", "model": "gpt", "lastActive": 5, "colour": "blue" },
            "13": { "name": "Thread 13", "cwd": "/srv/b", "sessionId": "6F1D4C0E-8A2B-4D7E-9C3F-0A1B2C3D4E5F", "isMaster": false, "permissionMode": "dream" }
        }"#,
    )
    .unwrap();
    let mut book = open(&state);
    let of = |book: &ThreadBook, id: &str| book.get(&thread(id)).unwrap().clone();
    assert_eq!(of(&book, "1").model, Model::named("claude-opus-4-5"));
    assert_eq!(of(&book, "1").last_active, 1_771_234_567_890);
    assert_eq!((of(&book, "12").session_id, of(&book, "12").model), (None, Model::named("gpt")));
    assert_eq!(
        of(&book, "13").session_id.unwrap().as_str(),
        "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f"
    );
    assert_eq!(
        of(&book, "13").permission_mode,
        PermissionMode::Ask,
        "what is unknown is asked for"
    );
    add(&mut book, "14", "new");
    assert_eq!(read_threads(&state).unwrap()[&thread("12")].extra["colour"], "blue");
}

#[test]
fn a_half_written_file_at_the_start_is_set_aside_and_the_last_good_one_counts() {
    let (_dir, state) = state();
    add(&mut open(&state), "7", "calendar");
    fs::write(state.threads(), r#"{ "7": { "name": "#).unwrap();
    let (book, trouble) = ThreadBook::open(&state).unwrap();
    assert_eq!(book.get(&thread("7")).unwrap().name, "calendar");
    assert!(matches!(trouble, Some(ThreadsError::Json { .. })));
    assert_eq!(names(&state), ["calendar"], "readers see it too");
    assert_eq!(
        fs::read_to_string(state.threads().with_extension("json.bad")).unwrap(),
        r#"{ "7": { "name": "#
    );
}

#[test]
fn a_file_that_the_power_cut_short_costs_only_the_touches() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    book.touch(|all| all.get_mut(&thread("7")).map(|it| it.last_active = 5)).unwrap();
    assert_eq!(
        read_threads(&state).unwrap()[&thread("7")].last_active,
        5,
        "readers see a touch at once"
    );
    fs::write(state.threads(), "").unwrap();
    let (book, trouble) = ThreadBook::open(&state).unwrap();
    assert!(trouble.is_some());
    assert_eq!(book.get(&thread("7")).unwrap().last_active, 0);
    assert_eq!(names(&state), ["calendar"]);
}

#[test]
fn an_edit_made_while_the_processor_runs_counts() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    let edited =
        fs::read_to_string(state.threads()).unwrap().replace("calendar", "dates and times");
    fs::write(state.threads(), edited).unwrap();
    assert!(add(&mut book, "8", "mail").is_none());
    assert_eq!(names(&state), ["dates and times", "mail"]);
}

#[test]
fn a_bad_edit_made_while_the_processor_runs_is_kept_or_set_aside_and_told() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    let with_bad_entry = r#"{ "7": { "name": "calendar", "cwd": "/" }, "../x": { "name": "a" } }"#;
    fs::write(state.threads(), with_bad_entry).unwrap();
    let trouble = add(&mut book, "8", "mail").unwrap().to_string();
    let trouble = trouble.replace(&state.root().display().to_string(), "…");
    expect![[r#"…/threads.json: thread "../x" is not valid: thread id "../x" is not valid: it starts with a dot or a dash"#]].assert_eq(&trouble);
    assert_eq!(names(&state), ["calendar", "mail"]);
    assert_eq!(json(&state)["../x"], serde_json::json!({ "name": "a" }), "kept as it is");
    fs::write(state.threads(), "[").unwrap();
    assert!(book.refresh().unwrap().is_some());
    assert_eq!(names(&state), ["calendar", "mail"]);
}

#[test]
fn a_change_that_cannot_be_saved_did_not_happen() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    // The temporary name is taken by a folder: nothing can be written, whoever runs the test.
    fs::create_dir(state.threads().with_extension("json.tmp")).unwrap();
    assert!(book.change(|all| all.clear()).is_err());
    assert_eq!(book.all().len(), 1);
    assert_eq!(names(&state), ["calendar"]);
}

/// One unknown thread id made all threads forgotten, and an unknown pin, model or mode was dropped for good.
#[test]
fn what_a_later_version_wrote_is_kept_until_it_is_changed() {
    let (_dir, state) = state();
    let later = serde_json::json!({
        "7": {
            "name": "calendar", "cwd": "/srv", "sessionId": "s2-abc", "model": "poet", "pin": { "any": "oracle" },
            "tiers": { "COMPLEX": ["oracle"] }, "effort": "trance", "trust": "blind", "permissionMode": "dream", "status": "sleeping", "place": { "devbox": "box" },
        },
        "dev:box/7": { "name": "far away", "place": { "devbox": "box" } },
        "8": "elsewhere",
    });
    fs::write(state.threads(), later.to_string()).unwrap();
    let (mut book, trouble) = ThreadBook::open(&state).unwrap();
    assert!(matches!(trouble, Some(ThreadsError::Entry { ref id, .. }) if id == "dev:box/7"));
    let seen = book.get(&thread("7")).unwrap();
    let model = Model::named("poet");
    assert_eq!((seen.pin, seen.model, seen.permission_mode), (None, model, PermissionMode::Ask));
    assert!(seen.tiers.is_empty());
    add(&mut book, "9", "mail");
    let written = |id: &str, field: &str| json(&state)[id][field].clone();
    for field in [
        "sessionId",
        "model",
        "pin",
        "tiers",
        "effort",
        "trust",
        "permissionMode",
        "status",
        "place",
    ] {
        assert_eq!(written("7", field), later["7"][field], "{field}");
    }
    assert_eq!(json(&state)["dev:box/7"], later["dev:box/7"]);
    assert_eq!(json(&state)["8"], "elsewhere");
    // What is given another value is no longer theirs.
    book.change(|all| {
        let it = all.get_mut(&thread("7")).unwrap();
        (it.pin, it.permission_mode) = (Some(Model::OPUS), PermissionMode::AcceptEdits);
        it.tiers.set(Tier::Complex, Some(Model::FABLE));
    })
    .unwrap();
    book.change(|all| all.get_mut(&thread("7")).unwrap().pin = None).unwrap();
    assert_eq!(written("7", "pin"), serde_json::Value::Null);
    assert_eq!(written("7", "permissionMode"), "acceptEdits");
    assert_eq!(written("7", "tiers"), serde_json::json!({ "COMPLEX": "fable" }));
    assert_eq!(written("7", "sessionId"), "s2-abc");
    assert_eq!(json(&state)["dev:box/7"], later["dev:box/7"]);
}

/// A bit in an id or a directory sent answers and work elsewhere.
#[test]
fn no_flipped_bit_of_a_saved_thread_is_believed() {
    let (_dir, state) = state_in_memory();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    let truth = read_threads(&state).unwrap();
    let bytes = fs::read(state.threads()).unwrap();
    let times = fs::metadata(state.threads()).unwrap().modified().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // In place, as a disk does it: the file's time stays.
        fs::write(state.threads(), &flipped).unwrap();
        fs::File::open(state.threads()).unwrap().set_modified(times).unwrap();
        let known = |mut all: tinyclaw_domain::Threads| {
            // The name of the checksum may have suffered: then it is a field that nobody knows.
            all.values_mut().for_each(|it| it.extra.clear());
            all
        };
        match read_threads(&state) {
            Ok(seen) => assert_eq!(known(seen), truth, "bit {bit}"),
            Err(err) => {
                let (book, trouble) = ThreadBook::open(&state).unwrap();
                assert_eq!(*book.all(), truth, "bit {bit}: {err}: its copy counts");
                assert!(trouble.is_some());
                let bad = state.threads().with_extension("json.bad");
                assert_eq!(fs::read(&bad).unwrap(), flipped, "set aside by name");
            }
        }
    }
}

#[test]
fn a_person_may_change_an_entry_and_leave_its_checksum() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    let edited = fs::read_to_string(state.threads()).unwrap().replace("/home/ada", "/srv/dates");
    fs::write(state.threads(), edited).unwrap();
    assert_eq!(read_threads(&state).unwrap()[&thread("7")].cwd, "/srv/dates");
    assert!(book.refresh().unwrap().is_none());
    assert_eq!(book.get(&thread("7")).unwrap().cwd, "/srv/dates");
}

/// Killed after the bad file was set aside and before the good one was written, an office forgot all its threads.
#[test]
fn a_file_that_is_gone_costs_nothing_while_its_copy_is_there() {
    let (_dir, state) = state();
    add(&mut open(&state), "7", "calendar");
    fs::remove_file(state.threads()).unwrap();
    let (book, trouble) = ThreadBook::open(&state).unwrap();
    assert_eq!(book.get(&thread("7")).unwrap().name, "calendar");
    assert!(matches!(trouble, Some(ThreadsError::Gone(_))));
    assert_eq!(names(&state), ["calendar"]);
}

/// A file that the disk would not give kept the processor down, with a good copy beside it.
#[test]
fn a_file_that_the_disk_does_not_give_is_set_aside_while_its_copy_counts() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    // Opened it can be, and read it cannot.
    let unreadable = || {
        fs::remove_file(state.threads()).unwrap();
        fs::create_dir(state.threads()).unwrap();
    };
    unreadable();
    assert!(matches!(add(&mut book, "8", "mail"), Some(ThreadsError::Read { .. })));
    assert_eq!(names(&state), ["calendar", "mail"]);
    fs::remove_dir(state.threads().with_extension("json.bad")).unwrap();
    unreadable();
    let (_, trouble) = ThreadBook::open(&state).unwrap();
    assert!(matches!(trouble, Some(ThreadsError::Read { .. })));
    assert_eq!(names(&state), ["calendar", "mail"]);
    // With nothing to go on from, nothing is begun.
    unreadable();
    fs::remove_file(state.threads().with_extension("json.last")).unwrap();
    assert!(ThreadBook::open(&state).is_err());
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,8}".prop_map(Value::from),
        Just(Value::from("opus")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
}

fn any_entry() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "name",
        "cwd",
        "sessionId",
        "model",
        "pin",
        "engine",
        "permissionMode",
        "systemPrompt",
        "repo",
        "isMaster",
        "status",
        "lastActive",
        "colour",
        "checksum",
    ]);
    let fields = prop::collection::btree_map(names, any_value(), 0..8);
    let plain = fields.prop_map(|fields| {
        let mut entry = serde_json::json!({ "name": "calendar", "cwd": "/srv" });
        fields.into_iter().for_each(|(name, it)| entry[name] = it);
        entry
    });
    prop_oneof![4 => plain, 1 => any_value()]
}

proptest! {
    /// Whatever a person or a later version wrote: it is read without falling over, and saving drops none of it.
    #[test]
    fn nothing_that_stands_in_the_file_is_dropped(
        entries in prop::collection::btree_map("[0-9]{1,3}|[a-z:/ ]{0,6}", any_entry(), 0..5),
    ) {
        let (_dir, state) = state_in_memory();
        fs::write(state.threads(), serde_json::to_vec(&entries).unwrap()).unwrap();
        let Ok((mut book, _)) = ThreadBook::open(&state) else { panic!("it opens") };
        add(&mut book, "999999", "new");
        let written = json(&state);
        for (id, entry) in &entries {
            // A number keeps its value but not its last digit.
            if entry.is_f64() || entry.is_array() {
                continue;
            }
            let Some(fields) = entry.as_object() else {
                prop_assert_eq!(&written[id], entry);
                continue;
            };
            for (name, it) in fields {
                let is_ours = ["checksum", "status", "lastActive"].contains(&name.as_str());
                // Nothing is nothing.
                if !is_ours && !it.is_null() && !it.is_f64() && !it.is_array() {
                    prop_assert_eq!(&written[id][name], it, "{} of {:?}", name, id);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_of_threads_fall_over(bytes: Vec<u8>) {
        let (_dir, state) = state_in_memory();
        fs::write(state.threads(), bytes).unwrap();
        let _ = read_threads(&state);
        prop_assert!(ThreadBook::open(&state).is_ok());
    }
}
