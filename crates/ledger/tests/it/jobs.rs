use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, SystemTime};

use tinyclaw_domain::{JobEvent, JobId, JobLine, Key, Outcome};
use tinyclaw_ledger::{JobLog, JobReader, StateDir, retire_jobs};

fn key() -> Key {
    "tg-1".parse().unwrap()
}

fn text(it: &str) -> JobEvent {
    JobEvent::Text { text: it.to_owned() }
}

/// Lines as ids and texts, in short.
fn shown(lines: &[JobLine]) -> Vec<String> {
    let word = |it: &JobEvent| match it {
        JobEvent::Text { text } => text.clone(),
        JobEvent::Gap { reason } => format!("gap: {reason}"),
        JobEvent::End { .. } => "end".to_owned(),
        other => format!("{other:?}"),
    };
    lines.iter().map(|it| format!("{} {}", it.id(), word(&it.event))).collect()
}

fn read(state: &StateDir, after: JobId) -> Vec<String> {
    shown(&JobReader::open(state, &key(), after).poll().unwrap())
}

#[test]
fn a_story_is_read_as_it_was_written_from_any_place() {
    let (_dir, state) = crate::state();
    let mut reader = JobReader::open(&state, &key(), JobId::default());
    assert!(reader.poll().unwrap().is_empty(), "it need not be there yet");
    let mut log = JobLog::begin(&state, &key(), 1000);
    assert!(log.is_first());
    log.write(1, text("a")).unwrap();
    assert_eq!(shown(&reader.poll().unwrap()), ["1000-1 a"]);
    log.write(2, text("b")).unwrap();
    log.write(3, JobEvent::End { outcome: Outcome::Answered }).unwrap();
    assert_eq!(shown(&reader.poll().unwrap()), ["1000-2 b", "1000-3 end"]);
    assert!(reader.poll().unwrap().is_empty());
    assert_eq!(read(&state, "1000-1".parse().unwrap()), ["1000-2 b", "1000-3 end"]);
}

/// A power cut takes a tail, the clock goes back, a crash tears a line: no id ever names two lines.
#[test]
fn another_attempt_writes_under_higher_ids_whatever_the_clock_says() {
    let (_dir, state) = crate::state();
    JobLog::begin(&state, &key(), 1000).write(1, text("a")).unwrap();
    let torn = br#"{"gen":1000,"seq":2,"at":1,"type":"te"#;
    File::options().append(true).open(state.job(&key())).unwrap().write_all(torn).unwrap();
    let mut again = JobLog::begin(&state, &key(), 400);
    assert!(!again.is_first());
    again.write(2, text("b")).unwrap();
    assert_eq!(read(&state, JobId::default()), ["1000-1 a", "1001-1 b"]);
    assert_eq!(read(&state, "1000-7".parse().unwrap()), ["1001-1 b"]);
}

#[test]
fn a_disk_without_room_costs_lines_and_says_so() {
    let (_dir, state) = crate::state();
    let mut log = JobLog::begin(&state, &key(), 1000);
    log.write(1, text("a")).unwrap();
    let away = state.root().join("away");
    fs::rename(state.jobs(), &away).unwrap();
    fs::write(state.jobs(), "in the way").unwrap();
    assert!(log.write(2, text("b")).is_err(), "told once");
    assert!(log.write(3, text("c")).is_ok(), "and not again");
    fs::remove_file(state.jobs()).unwrap();
    fs::rename(&away, state.jobs()).unwrap();
    log.write(4, text("d")).unwrap();
    assert_eq!(read(&state, JobId::default()), ["1000-1 a", "1000-4 gap: disk", "1000-5 d"]);
}

#[test]
fn a_story_without_end_is_cut_and_its_end_is_told() {
    let (_dir, state) = crate::state();
    let mut log = JobLog::begin(&state, &key(), 1000);
    let much = "x".repeat(1 << 20);
    for _ in 0..70 {
        log.write(1, text(&much)).unwrap();
    }
    log.write(2, JobEvent::End { outcome: Outcome::Answered }).unwrap();
    assert!(fs::metadata(state.job(&key())).unwrap().len() < 66 << 20);
    let mut reader = JobReader::open(&state, &key(), "1000-60".parse().unwrap());
    let mut lines = Vec::new();
    loop {
        let new = reader.poll().unwrap();
        if new.is_empty() {
            break;
        }
        lines.extend(new);
    }
    let last: Vec<JobEvent> = lines.into_iter().rev().take(2).map(|it| it.event).collect();
    let gap = JobEvent::Gap { reason: "size".to_owned() };
    assert_eq!(last, [JobEvent::End { outcome: Outcome::Answered }, gap]);
}

#[test]
fn old_stories_go_and_of_too_many_the_oldest() {
    let (_dir, state) = crate::state();
    let now = SystemTime::now();
    for (name, hours) in [("a", 30), ("b", 20), ("c", 10), ("d", 0)] {
        let file = File::create(state.jobs().join(format!("{name}.jsonl"))).unwrap();
        file.set_len(100).unwrap();
        file.set_modified(now - Duration::from_secs(hours * 3600)).unwrap();
    }
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(retire_jobs(&state, now, day, 1000).unwrap(), 1);
    assert_eq!(retire_jobs(&state, now, day, 250).unwrap(), 1);
    let left: Vec<bool> = ["a", "b", "c", "d"]
        .iter()
        .map(|it| state.jobs().join(format!("{it}.jsonl")).exists())
        .collect();
    assert_eq!(left, [false, false, true, true]);
}

/// A line that a disk changed is none, as one that a crash tore.
#[test]
fn no_flipped_bit_of_a_story_is_told() {
    let (_dir, state) = crate::state_in_memory();
    JobLog::begin(&state, &key(), 1000).write(1, text("hello")).unwrap();
    let bytes = fs::read(state.job(&key())).unwrap();
    for bit in 0..(bytes.len() - 1) * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(state.job(&key()), flipped).unwrap();
        let told = read(&state, JobId::default());
        assert!(told.is_empty() || told == ["1000-1 hello"], "bit {bit}: {told:?}");
    }
}
