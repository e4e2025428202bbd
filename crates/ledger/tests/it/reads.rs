//! Every read of the ledger in turn fails, brings less than was asked for, or ends too early.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;

use tinyclaw_disk::testing::{Fault, disarm, fail_reads_after};
use tinyclaw_domain::{JobEvent, JobId, Progress, Thread, ThreadId, Threads};
use tinyclaw_ledger::{
    JobLog, JobReader, Journal, Keep, StateDir, ThreadBook, load, read_threads, recent_history,
};

use crate::{answer, state_in_memory, thread};

const EIO: i32 = 5;

/// Runs `attempt` for each fault and each read, until there are no more reads. It arms the fault, and tells whether it was
/// met; `reads_min` guards against an attempt that meets none.
fn each_read_in_turn(reads_min: u32, mut attempt: impl FnMut(u32, Fault) -> bool) {
    // Faults are of the whole process: one test at a time, where one process runs several.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(|it| it.into_inner());
    for fault in [Fault::Errno(EIO), Fault::Fewer, Fault::EndsEarly] {
        for step in 0.. {
            if !attempt(step, fault) {
                assert!(step >= reads_min, "only {step} reads");
                break;
            }
        }
    }
}

fn ids(all: &Threads) -> BTreeSet<ThreadId> {
    all.keys().cloned().collect()
}

/// An office of three desks, to which a person added a fourth with an editor.
fn edited_office(state: &StateDir) -> (ThreadBook, BTreeSet<ThreadId>) {
    let desk = serde_json::json!({ "name": "calendar", "cwd": "/home/ada" });
    let desk: Thread = serde_json::from_value(desk).unwrap();
    let mut book = ThreadBook::open(state).unwrap().0;
    for id in ["7", "8", "9"] {
        book.change(|all| all.insert(thread(id), desk.clone())).unwrap();
    }
    let text = fs::read_to_string(state.threads()).unwrap();
    let text = text.replacen('{', r#"{"10": {"name": "trips", "cwd": "/home/ada"},"#, 1);
    fs::write(state.threads(), text).unwrap();
    (book, ["7", "8", "9", "10"].map(thread).into())
}

/// A disk that stammered once had the file set aside, and with it what was not in its copy.
#[test]
fn no_failed_read_takes_a_thread_or_a_persons_edit() {
    each_read_in_turn(2, |step, fault| {
        let mut was_met = false;
        for way in ["read", "refresh", "open"] {
            let (_dir, state) = state_in_memory();
            let (mut book, wanted) = edited_office(&state);
            fail_reads_after(step, fault);
            let found = match way {
                "read" => read_threads(&state).map(|it| ids(&it)),
                "refresh" => book.refresh().map(|_| ids(book.all())),
                _ => ThreadBook::open(&state).map(|(book, _)| ids(book.all())),
            };
            let was_met_here = disarm();
            let context = format!("{way}, {fault:?} at read {step}");
            match found {
                Ok(it) => assert_eq!(it, wanted, "{context}"),
                Err(err) => assert!(was_met_here, "{context}: {err}"),
            }
            assert_eq!(ids(&read_threads(&state).unwrap()), wanted, "after {context}");
            assert!(!state.threads().with_extension("json.bad").exists(), "after {context}");
            was_met |= was_met_here;
        }
        was_met
    });
}

#[test]
fn a_small_file_is_read_as_a_whole_or_not_at_all() {
    let (_dir, state) = state_in_memory();
    let text: String = r#"{"key": "tg-1", "threadId": "7", "attempt": 1, "state": "working",
        "startedAt": 1, "updatedAt": 2, "text": "so far"}"#
        .to_owned();
    let path = state.progress(&"tg-1".parse().unwrap());
    fs::write(&path, text).unwrap();
    let truth = load::<Progress>(&path).unwrap().unwrap();
    each_read_in_turn(2, |step, fault| {
        fail_reads_after(step, fault);
        let found = load::<Progress>(&path);
        let was_met = disarm();
        match found {
            Ok(it) => assert_eq!(it.as_ref(), Some(&truth), "{fault:?} at read {step}"),
            Err(err) => assert!(was_met, "{fault:?} at read {step}: {err}"),
        }
        was_met
    });
}

#[test]
fn a_history_is_told_as_a_whole_or_not_at_all() {
    let (_dir, state) = state_in_memory();
    let journal = Journal::new(&state, Keep::default());
    for at in 0..300 {
        journal.history(&answer(&format!("a-{at}"), "7", at, 0.0)).unwrap();
    }
    let truth = recent_history(&state, None, 400).unwrap();
    assert_eq!(truth.len(), 300);
    each_read_in_turn(4, |step, fault| {
        fail_reads_after(step, fault);
        let found = recent_history(&state, None, 400);
        let was_met = disarm();
        match found {
            Ok(it) => assert_eq!(it, truth, "{fault:?} at read {step}"),
            Err(err) => assert!(was_met, "{fault:?} at read {step}: {err}"),
        }
        was_met
    });
}

fn text(it: &str) -> JobEvent {
    JobEvent::Text { text: it.to_owned() }
}

/// What could not be read counted as never written: its ids were given again, and readers passed over the lines.
#[test]
fn no_failed_read_hides_a_line_of_a_story_or_gives_its_id_again() {
    let key = "tg-1".parse().unwrap();
    each_read_in_turn(5, |step, fault| {
        let (_dir, state) = state_in_memory();
        let mut log = JobLog::begin(&state, &key, 1000);
        (0..3).for_each(|at| log.write(at, text("first")).unwrap());
        let mut was_met = false;
        let context = format!("{fault:?} at read {step}");

        // The clock was set back since.
        fail_reads_after(step, fault);
        let mut again = JobLog::begin(&state, &key, 400);
        assert!(!again.is_first(), "{context}");
        let mut lost = 0;
        for at in 0..3 {
            lost += usize::from(again.write(at, text("again")).is_err());
        }
        was_met |= disarm();
        let whole = JobReader::open(&state, &key, JobId::default()).poll().unwrap();
        assert!(lost <= 1, "{context}");
        assert!(whole.iter().is_sorted_by(|a, b| a.id() < b.id()), "{context}: {whole:?}");
        // In place of the line that is missing stands that one is.
        assert_eq!(whole.len(), 6, "{context}: {whole:?}");

        fail_reads_after(step, fault);
        let mut reader = JobReader::open(&state, &key, JobId::default());
        let mut read = Vec::new();
        for _ in 0..3 {
            read.extend(reader.poll().unwrap_or_default());
        }
        was_met |= disarm();
        assert_eq!(read, whole, "{context}");
        was_met
    });
}
