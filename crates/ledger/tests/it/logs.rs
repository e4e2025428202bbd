use std::fs;
use std::sync::Arc;

use tinyclaw_domain::{Direction, HistoryLine};
use tinyclaw_ledger::{Journal, Keep, log, recent_history, text_log};

use crate::{answer, state, thread};

fn keys(lines: &[HistoryLine]) -> Vec<&str> {
    lines.iter().map(|it| it.key.as_str()).collect()
}

#[test]
fn a_threads_last_messages_come_oldest_first_each_once() {
    let (_dir, state) = state();
    let journal = Journal::new(&state, Keep::default());
    for (key, thread) in [("a", "7"), ("b", "70"), ("c", "7"), ("c", "7"), ("d", "u7"), ("e", "7")]
    {
        journal.history(&answer(key, thread, 1, 0.0)).unwrap();
    }
    let mut asked = answer("e", "7", 1, 0.0);
    asked.direction = Direction::In;
    journal.history(&asked).unwrap();
    let of = |id: &str, count| {
        let id = thread(id);
        recent_history(&state, Some(&id), count).unwrap()
    };
    assert_eq!(keys(&of("7", 10)), ["a", "c", "e", "e"]);
    assert_eq!(keys(&of("7", 2)), ["e", "e"]);
    assert_eq!(keys(&of("u7", 10)), ["d"]);
    assert_eq!(keys(&of("8", 10)), [""; 0]);
    assert_eq!(keys(&recent_history(&state, None, 3).unwrap()), ["d", "e", "e"]);
}

#[test]
fn a_line_that_cannot_be_read_costs_only_itself() {
    let (_dir, state) = state();
    let good = serde_json::to_string(&answer("a", "7", 1, 0.0)).unwrap();
    fs::write(
        state.history(),
        format!("{good}\nnot JSON\n{{\"threadId\":7}}\n\u{fffd}\n{good}\n{{\"threadId\":7,\"key"),
    )
    .unwrap();
    assert_eq!(log::<HistoryLine>(&state.history()).unwrap().count(), 2);
    assert_eq!(recent_history(&state, Some(&thread("7")), 10).unwrap().len(), 1);
}

#[test]
fn turns_that_end_at_once_do_not_tear_each_others_lines() {
    let (_dir, state) = state();
    let journal = Arc::new(Journal::new(&state, Keep::default()));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let journal = Arc::clone(&journal);
            std::thread::spawn(move || {
                for number in 0..50 {
                    let mut line = answer(&format!("k-{writer}-{number}"), "7", 1, 0.0);
                    line.message = "line\nbreak ".repeat(200);
                    journal.history(&line).unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|it| it.join().unwrap());
    assert_eq!(log::<HistoryLine>(&state.history()).unwrap().count(), 400);
    assert_eq!(recent_history(&state, None, 1000).unwrap().len(), 400);
}

#[test]
fn a_text_log_keeps_five_files() {
    let (_dir, state) = state();
    let mut sink = text_log(&state, "queue");
    let line = "x".repeat(1_000_000 - 1);
    for _ in 0..75 {
        sink(&line).unwrap();
    }
    let files: Vec<_> = fs::read_dir(state.root().join("logs")).unwrap().flatten().collect();
    assert_eq!(files.len(), 5);
    assert!(files.iter().all(|it| it.metadata().unwrap().len() <= 10_000_000));
    drop(state);
}

#[test]
fn a_log_that_cannot_be_written_is_named() {
    let (_dir, state) = state();
    fs::create_dir(state.text_log("telegram")).unwrap();
    let err = text_log(&state, "telegram")("line").unwrap_err();
    assert!(err.contains("telegram.log"), "{err}");
}

/// A power cut took the lines of 47 in 175 answered messages: nobody wrote them again, because the messages had moved on.
#[test]
fn lines_are_flushed_on_demand_once_for_all_and_before_their_log_is_rotated() {
    use tinyclaw_disk::testing::{Step, steps_of};
    let (_dir, state) = state();
    let journal = Journal::new(&state, Keep::default());
    let path = state.history();
    let folder = path.parent().unwrap().to_owned();
    let flush = || steps_of(|| journal.flush().unwrap()).1;
    assert_eq!(flush(), [], "nothing to flush");
    for key in ["a", "b"] {
        journal.history(&answer(key, "7", 1, 0.0)).unwrap();
    }
    let file = Step::SyncFile { path: path.clone() };
    assert_eq!(
        flush(),
        [file.clone(), Step::SyncDir { path: folder.clone() }],
        "a new file, and its name"
    );
    assert_eq!(flush(), [], "both lines at once");
    journal.history(&answer("c", "7", 1, 0.0)).unwrap();
    assert_eq!(flush(), std::slice::from_ref(&file));

    // Whoever made the file may have died before its name was flushed: the whole log was lost then, and every later flush of
    // it was worth nothing.
    let later = Journal::new(&state, Keep::default());
    later.history(&answer("d", "7", 1, 0.0)).unwrap();
    let steps = steps_of(|| later.flush().unwrap()).1;
    assert_eq!(steps, [file, Step::SyncDir { path: folder }], "a file of an earlier process");

    let tiny = tinyclaw_disk::Rotation { bytes_max: 10, segments_max: None, age_max: None };
    let mut log = tinyclaw_disk::Appender::new(state.text_log("tiny"), tiny);
    let ((), steps) = steps_of(|| {
        log.append(b"1234567").unwrap();
        log.append(b"abcdefg").unwrap();
    });
    let at = |wanted: fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let flushed = at(|it| matches!(it, Step::SyncFile { .. }));
    assert!(flushed < at(|it| matches!(it, Step::Rename { .. })), "{steps:?}");
}
