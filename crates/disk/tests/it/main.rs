//! Every reader, on a disk whose reads fail, bring less than was asked for, and end too early: what comes is the truth or an
//! error, and never a part of it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use tinyclaw_disk::follow::{Followed, Follower, Polled};
use tinyclaw_disk::testing::{Fault, disarm, fail_reads_after};
use tinyclaw_disk::{
    Appender, Lock, Rotation, backwards, foreign, read, read_to_end, segment_path, write_new,
};

const EIO: i32 = 5;
const FAULTS: [Fault; 3] = [Fault::Errno(EIO), Fault::Fewer, Fault::EndsEarly];

/// Faults are of the whole process: one test at a time, where one process runs several.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|it| it.into_inner())
}

/// Runs `look` with each fault at each read, one at a time. What it brings then is the truth or an error, and what it
/// brings afterwards is the truth.
#[track_caller]
fn each_read_fails_in_turn<T: PartialEq + std::fmt::Debug>(
    reads_min: u32,
    truth: &T,
    mut look: impl FnMut() -> io::Result<T>,
) {
    for fault in FAULTS {
        for step in 0.. {
            fail_reads_after(step, fault);
            let found = look();
            let was_met = disarm();
            match found {
                Ok(it) => assert_eq!(it, *truth, "{fault:?} at read {step}"),
                Err(err) => assert!(was_met, "{fault:?} at read {step}: {err}"),
            }
            assert_eq!(look().unwrap(), *truth, "after {fault:?} at read {step}");
            if !was_met {
                assert!(step >= reads_min, "only {step} reads");
                break;
            }
        }
    }
}

/// A log of two numbered segments and the file being written.
fn log_in(dir: &Path) -> (PathBuf, Vec<String>) {
    let path = dir.join("log.jsonl");
    let rotation = Rotation { bytes_max: 40, segments_max: None, age_max: None };
    let mut log = Appender::new(&path, rotation);
    let lines: Vec<String> = (0..7).map(|it| format!("this is line {it}")).collect();
    for line in &lines {
        log.append(line.as_bytes()).unwrap();
    }
    assert!(segment_path(&path, 2).exists());
    (path, lines)
}

#[test]
fn a_file_is_read_as_a_whole_or_not_at_all() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let bytes: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    write_new(&path, &bytes).unwrap();
    each_read_fails_in_turn(2, &bytes, || read(&path));
    let some = bytes[..101].to_vec();
    each_read_fails_in_turn(1, &some, || {
        let file = File::open(&path)?;
        let about = file.metadata()?;
        read_to_end(&file, &about, 100)
    });
}

#[test]
fn a_foreign_file_is_read_as_a_whole_or_not_at_all() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let text = "one line\n".repeat(5_000);
    write_new(&dir.path().join("file"), text.as_bytes()).unwrap();
    let open = || foreign::open_below(dir.path(), Path::new("file"));
    each_read_fails_in_turn(1, &text.clone().into_bytes(), || {
        open().and_then(|it| it.read(1 << 20)).map_err(io::Error::other)
    });
    each_read_fails_in_turn(2, &5_000, || {
        let lines = open().and_then(|it| it.lines(1 << 20, 100));
        let lines = lines.map_err(io::Error::other)?;
        let mut count = 0;
        for line in lines {
            let line = line.map_err(io::Error::other)?;
            assert_eq!(line.as_deref(), Some(b"one line".as_slice()));
            count += 1;
        }
        Ok(count)
    });
}

#[test]
fn a_log_is_read_backwards_as_a_whole_or_with_an_error() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (path, lines) = log_in(dir.path());
    each_read_fails_in_turn(8, &lines, || {
        let mut found = Vec::new();
        for line in backwards(&path).map_err(|err| err.source)? {
            let line = line.map_err(|err| err.source)?;
            found.insert(0, String::from_utf8(line.bytes).unwrap());
        }
        Ok(found)
    });
}

/// A read that ended early was taken for the end of the file: the rest was not told before the file grew again, and of a
/// file that was rotated it was never told.
#[test]
fn a_log_is_followed_without_a_gap_whatever_a_read_brings() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (path, lines) = log_in(dir.path());
    for fault in FAULTS {
        for step in 0.. {
            let mut found = Vec::new();
            let mut follower = None;
            fail_reads_after(step, fault);
            for tries in 0.. {
                assert!(tries < 9, "{fault:?} at read {step}: {found:?}");
                let follower = match &mut follower {
                    Some(it) => it,
                    nothing => match Follower::from_start(&path) {
                        Ok(it) => nothing.insert(it),
                        Err(_) => continue,
                    },
                };
                let polled = follower.poll(1 << 20, |it| match it {
                    Followed::Line(line) => {
                        found.push(String::from_utf8(line.bytes.to_vec()).unwrap());
                    }
                    Followed::Rotated { .. } => {}
                    Followed::Gap { cause, .. } => panic!("{cause:?}: {fault:?} at {step}"),
                });
                if matches!(polled, Ok(Polled::Dry)) {
                    break;
                }
            }
            let was_met = disarm();
            assert_eq!(found, lines, "{fault:?} at read {step}");
            if !was_met {
                assert!(step > 15, "only {step} reads");
                break;
            }
        }
    }
}

#[test]
fn a_follower_begins_after_the_last_whole_line_whatever_a_read_brings() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.jsonl");
    write_new(&path, b"one\ntwo\nhalf of thr").unwrap();
    each_read_fails_in_turn(3, &8, || Ok(Follower::from_end(&path)?.place().offset));
}

/// A folder that could not be listed had no segments: the next one took the number, and the place, of the first.
#[test]
fn no_failed_read_lets_a_log_write_over_a_segment_or_into_a_torn_line() {
    for fault in FAULTS {
        for step in 0.. {
            let _alone = alone();
            let dir = tempfile::tempdir().unwrap();
            let (path, mut lines) = log_in(dir.path());
            let rotation = Rotation { bytes_max: 40, segments_max: None, age_max: None };
            let mut log = Appender::new(&path, rotation);
            fail_reads_after(step, fault);
            for at in 0..6 {
                let line = format!("another line {at}");
                if log.append(line.as_bytes()).is_ok() {
                    lines.push(line);
                }
            }
            let was_met = disarm();
            let mut found = Vec::new();
            for line in backwards(&path).unwrap() {
                found.insert(0, String::from_utf8(line.unwrap().bytes).unwrap());
            }
            assert_eq!(found, lines, "{fault:?} at read {step}");
            if !was_met {
                assert!(step > 4, "only {step} reads");
                break;
            }
        }
    }
}

#[test]
fn a_note_is_read_as_a_whole_or_not_at_all() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let lock = Lock::take(&dir.path().join("lock")).unwrap();
    lock.leave_note("these are three names").unwrap();
    let note = "these are three names".to_owned();
    each_read_fails_in_turn(1, &note, || lock.note().map_err(|err| err.source));
}
