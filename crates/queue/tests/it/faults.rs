//! Every step on the disk, met by a crash, a full disk and a bad disk: nothing lost, nothing repeated.
//!
//! The scenario publishes, answers with follow-ups, retries and delivers. It runs once for every step number with a
//! fault at that step, so each row of the table in `docs/QUEUE.md` is hit without a mark in the code.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tinyclaw_disk::testing::{Fault, disarm, fail_after, fail_reads_after};

use super::*;

const DIR: &str = "TINYCLAW_TEST_FAULT_DIR";
const STEP: &str = "TINYCLAW_TEST_FAULT_STEP";
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// What the scenario has seen confirmed, one fact a line, so that it survives the scenario's death.
fn note(dir: &Path, fact: &str) {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("facts"));
    file.unwrap().write_all(format!("{fact}\n").as_bytes()).unwrap();
}

fn facts(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("facts"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// One life: publish what is not confirmed yet, then work and send until nothing is left. An error ends it early, as
/// it would end an attempt; the next life carries on.
fn live(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let options =
        Options { reserve_bytes: 4_096, free_share_min: 0.0, watch: false, ..Options::default() };
    let queue = Queue::open(dir, options)?;
    for key in ["tg-1", "tg-2"] {
        if !facts(dir).contains(&format!("accepted {key}")) {
            queue.publish(Side::Run, message("7", key), Durability::Strict)?;
            note(dir, &format!("accepted {key}"));
        }
    }
    for _ in 0..40 {
        if let Some(mut lease) = queue.try_claim(Side::Run, &Which::Ordinary)? {
            let key = lease.message().key.clone();
            if lease.message().reply.is_none() {
                if key.as_str() == "tg-2" && lease.attempt() == 1 {
                    lease.retry_after(Duration::ZERO, "a try-out")?;
                    continue;
                }
                lease.checkpoint(checkpoint())?;
                note(dir, &format!("asked {key}"));
                let sends = if key.as_str() == "tg-1" {
                    vec![follow_up("8"), follow_up("9")]
                } else {
                    vec![]
                };
                lease.answer(reply("hi"), sends)?;
                note(dir, &format!("answered {key}"));
            }
            lease.finish()?;
        } else if let Some(mut lease) = queue.try_claim(Side::Send, &Which::Ordinary)? {
            let key = lease.message().key.clone();
            match lease.message().delivery.first() {
                Some(part) if part.telegram_message_id.is_some() => {}
                Some(_) => {
                    note(dir, &format!("sent {key} marked"));
                    lease.sent(1, 5, true)?;
                }
                None => {
                    lease.intend(1, 4)?;
                    note(dir, &format!("sent {key}"));
                    lease.sent(1, 5, false)?;
                }
            }
            lease.delivered()?;
        } else {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("it does not come to an end".into())
}

#[track_caller]
fn check(dir: &Path, context: &str) {
    for _ in 0..8 {
        if live(dir).is_ok() {
            break;
        }
    }
    let queue = open(dir);
    let facts = facts(dir);
    let count = |fact: &str| facts.iter().filter(|it| *it == fact).count();
    for key in ["tg-1", "tg-2", "x-tg-1-1", "x-tg-1-2"] {
        let seen = queue.view().find(&key.parse().unwrap()).unwrap();
        let place = seen.map(|it| it.place);
        assert_eq!(place, Some(tinyclaw_queue::Place::Done), "{key} {context}\n{facts:?}");
        let answered = facts.iter().position(|it| *it == format!("answered {key}"));
        let asked_last = facts.iter().rposition(|it| *it == format!("asked {key}"));
        assert!(
            answered.is_none() || asked_last < answered,
            "{key} was asked again after its answer {context}\n{facts:?}"
        );
        assert!(
            count(&format!("sent {key}")) <= 1,
            "{key} was sent twice unmarked {context}\n{facts:?}"
        );
    }
    let depth = queue.view().depth().unwrap();
    assert_eq!(depth, tinyclaw_queue::Depth::default(), "{context}");
    let done = std::fs::read_dir(dir.join("queue/done")).unwrap().flatten();
    let days = done.filter(|it| it.path().is_dir());
    let files: usize = days.map(|it| std::fs::read_dir(it.path()).unwrap().count()).sum();
    assert_eq!(files, 4, "a key stands twice in done/ {context}");
}

/// Runs `live` in a process of its own that dies at a step. `false` when it had fewer steps.
fn life_with_a_crash_at(dir: &Path, step: u32) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::child", "--nocapture"])
        .env(DIR, dir)
        .env(STEP, step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    !status.success()
}

#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    fail_after(std::env::var(STEP).unwrap().parse().unwrap(), Fault::Abort);
    let result = live(Path::new(&dir));
    disarm();
    result.unwrap();
}

#[test]
fn a_crash_at_any_step_loses_and_repeats_nothing() {
    let mut step = 0;
    loop {
        let dir = in_memory();
        let crashed = life_with_a_crash_at(dir.path(), step);
        check(dir.path(), &format!("after a crash at step {step}"));
        if !crashed {
            break;
        }
        step += 1;
    }
    assert!(step > 60, "the scenario has only {step} steps");
}

/// Thousands of kills left files of dead starts in quarantine/, for ten minutes and for every eye to see.
#[test]
fn a_start_leaves_no_probe_of_an_earlier_one_that_died() {
    for step in 0.. {
        let dir = in_memory();
        drop(open(dir.path()));
        fail_after(step, Fault::Dead);
        let died = std::panic::catch_unwind(|| drop(open(dir.path()))).is_err();
        disarm();
        drop(open(dir.path()));
        for place in std::fs::read_dir(dir.path().join("queue")).unwrap().flatten() {
            for file in std::fs::read_dir(place.path()).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                assert!(!name.starts_with(".probe-"), "{:?} after step {step}", file.path());
            }
        }
        if !died {
            assert!(step > 14, "a start has only {step} steps");
            break;
        }
    }
}

fn an_error_at_every_step(errno: i32) {
    for step in 0.. {
        let dir = in_memory();
        fail_after(step, Fault::Errno(errno));
        let first = live(dir.path());
        let met = disarm();
        check(dir.path(), &format!("after error {errno} at step {step}: {first:?}"));
        if !met {
            break;
        }
    }
}

/// Opening, reading and listing: each in turn has this fault, once.
fn a_fault_at_every_read(fault: Fault) {
    for step in 0.. {
        let dir = in_memory();
        fail_reads_after(step, fault);
        let first = live(dir.path());
        let met = disarm();
        check(dir.path(), &format!("after {fault:?} at read {step}: {first:?}"));
        if !met {
            assert!(step > 30, "the scenario has only {step} reads");
            break;
        }
    }
}

#[test]
fn a_read_that_fails_anywhere_loses_and_repeats_nothing() {
    a_fault_at_every_read(Fault::Errno(EIO));
}

#[test]
fn a_read_that_brings_less_than_was_asked_for_loses_and_repeats_nothing() {
    a_fault_at_every_read(Fault::Fewer);
}

/// Half a line that was kept is not the state before it.
#[test]
fn a_read_that_ends_too_early_loses_and_repeats_nothing() {
    a_fault_at_every_read(Fault::EndsEarly);
}

#[test]
fn a_full_disk_at_any_step_loses_and_repeats_nothing() {
    an_error_at_every_step(ENOSPC);
}

#[test]
fn a_bad_disk_at_any_step_loses_and_repeats_nothing() {
    an_error_at_every_step(EIO);
}
