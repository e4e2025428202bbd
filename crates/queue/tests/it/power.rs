//! Power cuts: every state that a cut may leave is built from the steps that were made, and a queue begins from it.
//!
//! Two disks are imitated. The ordinary one (ext4, XFS) keeps changes of names in order and loses the last of them;
//! the weak one loses any of those that were not flushed. Both may lose, cut or keep the bytes of a file that was not
//! flushed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tinyclaw_disk::testing::{Fault, Step, disarm, fail_after, steps_of, steps_so_far};

use super::*;

type Names = BTreeMap<PathBuf, usize>;

/// What lies on the disk: names that point to files, and the files' bytes.
#[derive(Debug, Clone, Default)]
struct Disk {
    /// What the running system sees.
    truth: Names,
    /// What is on the disk.
    names: Names,
    files: Vec<Vec<u8>>,
    /// How many bytes of each file are safe.
    flushed: BTreeMap<usize, usize>,
}

impl Disk {
    /// What is true in memory after a step, whatever of it reached the disk.
    fn remember(&mut self, step: &Step) {
        match step {
            Step::Write { path, bytes } => {
                self.files.push(bytes.clone());
                self.truth.insert(path.clone(), self.files.len() - 1);
            }
            Step::Append { path, length, bytes } => {
                if let Some(file) = self.truth.get(path) {
                    // The file is changed where it lies, under whatever name of it reached the disk.
                    self.files[*file].truncate(*length as usize);
                    self.files[*file].extend_from_slice(bytes);
                }
            }
            Step::SyncFile { path } => {
                if let Some(file) = self.truth.get(path) {
                    self.flushed.insert(*file, self.files[*file].len());
                }
            }
            Step::SyncDir { .. } => {}
            Step::Rename { from, to } => {
                if let Some(file) = self.truth.remove(from) {
                    self.truth.insert(to.clone(), file);
                }
            }
            Step::Exchange { a, b } => {
                if let (Some(x), Some(y)) = (self.truth.get(a).copied(), self.truth.get(b).copied())
                {
                    self.truth.insert(a.clone(), y);
                    self.truth.insert(b.clone(), x);
                }
            }
            Step::Remove { path } => {
                self.truth.remove(path);
            }
        }
    }

    /// The names that a step changes, with what they point to after it.
    fn changes(&self, step: &Step) -> Vec<(PathBuf, Option<usize>)> {
        let now = |path: &PathBuf| (path.clone(), self.truth.get(path).copied());
        match step {
            Step::Write { path, .. } | Step::Remove { path } => vec![now(path)],
            // What appears before what vanishes: a rename is kept whole, or shows twice on the weak disk.
            Step::Rename { from, to } => vec![now(to), now(from)],
            Step::Exchange { a, b } => vec![now(a), now(b)],
            Step::Append { .. } | Step::SyncFile { .. } | Step::SyncDir { .. } => Vec::new(),
        }
    }

    fn set(&mut self, (path, file): (PathBuf, Option<usize>)) {
        match file {
            Some(file) => self.names.insert(path, file),
            None => self.names.remove(&path),
        };
    }

    /// Writes it into a folder, with bytes that were not flushed lost, cut or kept.
    fn build(&self, from: &Path, to: &Path, rng: &mut StdRng) {
        for (path, file) in &self.names {
            let Ok(below) = path.strip_prefix(from) else { continue };
            let mut bytes = self.files[*file].clone();
            let safe = self.flushed.get(file).copied().unwrap_or(0).min(bytes.len());
            match rng.random_range(0..4) {
                0 => bytes.truncate(safe),
                1 => bytes.truncate(safe + (bytes.len() - safe) / 2),
                // The length reached the disk, and the bytes did not.
                2 => bytes[safe..].fill(0),
                _ => {}
            }
            let target = to.join(below);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(target, &bytes).unwrap();
        }
    }
}

/// One disk that a cut after `cut` steps may leave.
fn after_a_cut(steps: &[Step], cut: usize, weak: bool, rng: &mut StdRng) -> Disk {
    let steps = &steps[..cut];
    // On the ordinary disk a flush of a folder makes everything before it safe, in order; what came after is lost
    // from some point on. On the weak one only what happened in that folder, and the rest by chance.
    let last_flush =
        steps.iter().rposition(|it| matches!(it, Step::SyncDir { .. })).map_or(0, |it| it + 1);
    let kept_until = rng.random_range(last_flush..=cut);
    let mut disk = Disk::default();
    for (at, step) in steps.iter().enumerate() {
        disk.remember(step);
        let changes = disk.changes(step);
        if !weak {
            if at < kept_until {
                changes.into_iter().for_each(|it| disk.set(it));
            }
            continue;
        }
        let is_safe = |path: &Path| {
            let folder = path.parent();
            steps[at..]
                .iter()
                .any(|it| matches!(it, Step::SyncDir { path } if Some(path.as_path()) == folder))
        };
        let kept: Vec<bool> =
            changes.iter().map(|it| is_safe(&it.0) || rng.random_bool(0.5)).collect();
        let appeared = kept.first().copied().unwrap_or(false);
        let within_one = changes.len() == 2 && changes[0].0.parent() == changes[1].0.parent();
        for (change, kept) in changes.into_iter().zip(kept) {
            // No file system lets a name vanish that did not come up elsewhere, or tears a rename within one folder.
            let keep = if change.1.is_none() { appeared && (kept || within_one) } else { kept };
            if keep {
                disk.set(change);
            }
        }
    }
    disk
}

struct Recorded {
    dir: tempfile::TempDir,
    steps: Vec<Step>,
    /// After how many steps each fact was confirmed.
    facts: Vec<(usize, &'static str)>,
}

/// Two messages of one lane, one answered and on its way out; every confirmation noted with the step it came after.
fn record() -> Recorded {
    let dir = in_memory();
    let mut facts = Vec::new();
    let ((), steps) = steps_of(|| {
        let queue = open(dir.path());
        publish(&queue, "7", "tg-1");
        facts.push((steps_so_far(), "accepted tg-1"));
        publish(&queue, "7", "tg-2");
        facts.push((steps_so_far(), "accepted tg-2"));
        let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
        lease.checkpoint(checkpoint()).unwrap();
        facts.push((steps_so_far(), "began tg-1"));
        lease.answer(reply("hi"), vec![follow_up("8")]).unwrap();
        facts.push((steps_so_far(), "answered tg-1"));
        lease.finish().unwrap();
        let mut lease = queue.try_claim(Side::Send, &Which::Ordinary).unwrap().unwrap();
        lease.intend(1, 4).unwrap();
        facts.push((steps_so_far(), "intended tg-1"));
        lease.sent(1, 5, false).unwrap();
        facts.push((steps_so_far(), "sent tg-1"));
        lease.delivered().unwrap();
        let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
        lease.retry_after(std::time::Duration::ZERO, "again").unwrap();
    });
    Recorded { dir, steps, facts }
}

/// Calls `check` with a queue that begins after every cut, on both disks, and with what was confirmed by then.
fn after_every_cut(check: impl Fn(&Path, &Queue, &[&str], &str)) {
    after_every_cut_of(&record(), (0, 6), check);
}

/// The same with the cuts after the first steps of a recording, and so many disks for each.
fn after_every_cut_of(
    recorded: &Recorded,
    (first, rounds): (usize, u32),
    check: impl Fn(&Path, &Queue, &[&str], &str),
) {
    let mut rng = StdRng::seed_from_u64(20_261_121);
    for weak in [false, true] {
        for cut in first..=recorded.steps.len() {
            for round in 0..rounds {
                let dir = in_memory();
                after_a_cut(&recorded.steps, cut, weak, &mut rng).build(
                    recorded.dir.path(),
                    dir.path(),
                    &mut rng,
                );
                let confirmed: Vec<&str> =
                    recorded.facts.iter().filter(|it| it.0 <= cut).map(|it| it.1).collect();
                // A power cut is followed by another boot.
                let _ = std::fs::remove_file(dir.path().join("queue/BOOT"));
                let queue = open(dir.path());
                check(
                    dir.path(),
                    &queue,
                    &confirmed,
                    &format!("cut {cut}, weak {weak}, round {round}"),
                );
            }
        }
    }
}

#[test]
fn a_confirmed_message_survives_any_power_cut() {
    after_every_cut(|_, queue, confirmed, context| {
        for key in ["tg-1", "tg-2"] {
            if confirmed.contains(&format!("accepted {key}").as_str()) {
                let seen = queue.view().find(&key.parse().unwrap()).unwrap();
                assert!(
                    seen.is_some_and(|it| it.place <= tinyclaw_queue::Place::Done),
                    "{key} is lost: {context}"
                );
            }
        }
    });
}

#[test]
fn an_answer_on_disk_is_never_asked_again() {
    after_every_cut(|_, queue, confirmed, context| {
        if confirmed.contains(&"answered tg-1") {
            let seen = queue.view().find(&key("tg-1")).unwrap();
            assert!(
                seen.is_some_and(|it| it.message.reply.is_some()),
                "the answer is lost: {context}"
            );
        }
        if confirmed.contains(&"began tg-1") {
            let seen = queue.view().find(&key("tg-1")).unwrap();
            assert!(
                seen.is_some_and(|it| it.message.checkpoint.is_some()),
                "the checkpoint is lost: {context}"
            );
        }
        if confirmed.contains(&"sent tg-1") {
            let seen = queue.view().find(&key("tg-1")).unwrap();
            assert!(
                seen.is_some_and(|it| it.message.delivery[0].telegram_message_id == Some(5)),
                "what was sent is lost: {context}"
            );
        }
        if confirmed.contains(&"intended tg-1") {
            let seen = queue.view().find(&key("tg-1")).unwrap();
            assert!(
                seen.is_some_and(|it| !it.message.delivery.is_empty()),
                "the intent is lost: {context}"
            );
        }
    });
}

#[test]
fn after_any_power_cut_everything_is_worked_off_once() {
    after_every_cut(|dir, queue, confirmed, context| {
        let mut asked: Vec<String> = Vec::new();
        for _ in 0..20 {
            if let Some(mut lease) = queue.try_claim(Side::Run, &Which::Ordinary).unwrap() {
                if lease.message().reply.is_none() {
                    asked.push(lease.message().key.to_string());
                    lease
                        .answer(tinyclaw_domain::Reply { silent: true, ..reply("x") }, vec![])
                        .unwrap();
                }
                lease.finish().unwrap();
            } else if let Some(lease) = queue.try_claim(Side::Send, &Which::Ordinary).unwrap() {
                lease.delivered().unwrap();
            } else {
                break;
            }
        }
        let mut once = asked.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), asked.len(), "asked twice: {asked:?} {context}");
        if confirmed.contains(&"answered tg-1") {
            assert!(!asked.contains(&"tg-1".to_owned()), "{context}");
        }
        let again = open(dir);
        for side in [Side::Run, Side::Send] {
            let left = again.try_claim(side, &Which::Ordinary).unwrap();
            assert!(left.is_none(), "{left:?} is left: {context}, {:?}", again.view().depth());
        }
    });
}

/// The document promised six, and the note of the last attempt cost a seventh.
#[test]
fn a_life_costs_six_flushes() {
    let recorded = record_life();
    let is_flush = |it: &&Step| matches!(it, Step::SyncFile { .. } | Step::SyncDir { .. });
    let flushes: Vec<&Step> = recorded.iter().filter(is_flush).collect();
    assert_eq!(flushes.len(), 6, "{flushes:#?}");
}

/// The steps of one message from its publication to `done/`.
fn record_life() -> Vec<Step> {
    let dir = in_memory();
    let queue = open(dir.path());
    steps_of(|| live(&queue, &mut Vec::new()).unwrap()).1
}

/// One process of a message's life: it does what is not done yet, and keeps what it told others.
fn live(
    queue: &Queue,
    facts: &mut Vec<(usize, &'static str)>,
) -> Result<(), Box<dyn std::error::Error>> {
    queue.publish(Side::Run, message("7", "tg-1"), Durability::Strict)?;
    facts.push((steps_so_far(), "accepted"));
    if let Some(mut lease) = queue.try_claim(Side::Run, &Which::Ordinary)? {
        if lease.message().reply.is_none() {
            lease.checkpoint(checkpoint())?;
            lease.answer(reply("hi"), vec![])?;
        }
        lease.finish()?;
        // Whoever asked may have seen it.
        facts.push((steps_so_far(), "answered"));
    }
    if let Some(mut lease) = queue.try_claim(Side::Send, &Which::Ordinary)? {
        if lease.message().delivery.is_empty() {
            lease.intend(1, 4)?;
            lease.sent(1, 5, false)?;
        }
        facts.push((steps_so_far(), "sent"));
        lease.delivered()?;
    }
    Ok(())
}

/// Whoever died between a write and its flush told nobody. Whoever comes next reads what was written and tells it on: then a
/// cut may not take it back.
#[test]
fn what_a_dead_process_did_not_flush_is_flushed_before_it_is_told_on() {
    for death in 0.. {
        let dir = in_memory();
        let mut facts = Vec::new();
        let ((has_died, begun), steps) = steps_of(|| {
            let queue = open(dir.path());
            fail_after(death, Fault::Dead);
            let first = live(&queue, &mut facts);
            let has_died = disarm();
            assert_eq!(has_died, first.is_err(), "{first:?} at step {death}");
            drop(queue);
            let begun = steps_so_far();
            live(&open(dir.path()), &mut facts).unwrap();
            (has_died, begun)
        });
        let recorded = Recorded { dir, steps, facts };
        after_every_cut_of(&recorded, (begun, 3), |_, queue, told, context| {
            let seen = queue.view().find(&key("tg-1")).unwrap();
            let context = format!("a death at step {death}, then {context}: {seen:?}");
            if told.contains(&"accepted") {
                assert!(seen.is_some(), "the message is lost, {context}");
            }
            if told.contains(&"answered") {
                let reply = seen.as_ref().and_then(|it| it.message.reply.as_ref());
                assert!(reply.is_some(), "the answer is lost, {context}");
            }
            if told.contains(&"sent") {
                let parts = seen.map(|it| it.message.delivery).unwrap_or_default();
                assert!(!parts.is_empty(), "what was sent is lost, {context}");
            }
        });
        if !has_died {
            assert!(death > 14, "a life has only {death} steps");
            break;
        }
    }
}
