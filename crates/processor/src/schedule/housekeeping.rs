//! Housekeeping: what is older than it may be goes, and a disk that fills up is told in time.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tinyclaw_disk::{Room, foreign};
use tinyclaw_ledger::{ALL_BYTES_MAX, retire_jobs};
use tinyclaw_queue::Keep;

use crate::blocking::on_disk;
use crate::desks::retire_mirrors;
use crate::schedule::clock::Clock;

/// From this share of free disk down, the operator is told, unless there is room enough all the same.
const DISK_LOW: f64 = 0.08;
const DISK_ENOUGH: u64 = 2 << 30;

/// Keeps the queue's house, and looks whether there is room on the disk.
pub(super) fn of_queue(clock: &Clock) {
    if let Err(err) = on_disk(|| clock.queue.housekeep()) {
        tracing::error!("cannot keep the queue's house: {:#}", anyhow::Error::new(err));
    }
    if let Ok(disk) = Room::of(clock.state.root()) {
        let low = disk.share() < DISK_LOW && disk.available < DISK_ENOUGH;
        clock.notices.concern(
            "disk space",
            low.then(|| {
                let mb = disk.available / 1_000_000;
                format!("Only {mb} MB of the disk are free; soon nothing new is taken.")
            }),
        );
    }
}

/// Lets go of old stories of turns.
pub(super) fn of_jobs(clock: &Clock, now: SystemTime) {
    let keep = clock.settings.current().retention.jobs;
    if let Err(err) = on_disk(|| retire_jobs(&clock.state, now, keep, ALL_BYTES_MAX)) {
        tracing::warn!("cannot let go of old stories of turns: {err}: {}", err.source);
    }
}

/// Lets go of what is older than it may be.
pub(super) fn of_files(clock: &Clock, now: SystemTime) {
    let settings = clock.settings.current();
    on_disk(|| {
        clock.history.retire(now);
        if let Err(err) = clock.memory.retire(now, settings.retention.conversations) {
            tracing::warn!("cannot let go of old conversations: {err}");
        }
        retire_mirrors(&clock.desks);
        if let Some(keep) = settings.retention.dead
            && let Err(err) = clock.queue.retire(&Keep { dead: keep, quarantine: keep })
        {
            let err = anyhow::Error::new(err);
            tracing::warn!("cannot let go of what was given up long ago: {err:#}");
        }
        for (dir, keep) in [
            (clock.state.all_files(), settings.retention.files),
            (clock.state.asks(), settings.retention.files),
        ] {
            if let Some(keep) = keep {
                remove_old(&dir, Path::new(""), now, keep);
            }
        }
    });
}

/// Removes files below a folder that nobody has changed for `keep`. A desk's agent may put a link in place of a folder at any
/// moment, so each step goes by what was opened; links themselves stay.
fn remove_old(root: &Path, below: &Path, now: SystemTime, keep: Duration) {
    for name in foreign::names_below(root, below).unwrap_or_default() {
        let path = below.join(name);
        let Ok(opened) = foreign::open_path_below(root, &path) else { continue };
        let Ok(about) = std::fs::File::from(opened).metadata() else { continue };
        if about.is_dir() {
            remove_old(root, &path, now, keep);
        } else if about
            .modified()
            .is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age > keep))
            && let Err(err) = foreign::remove_below(root, &path)
        {
            tracing::warn!("cannot let go of an old file: {err}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test lays files down as Claude would")]
mod tests {
    use super::*;

    /// A folder that was looked at and has become a link before it was listed: what lay behind it was removed.
    #[test]
    fn what_lies_behind_a_link_is_never_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let (root, theirs) = (dir.path().join("files"), dir.path().join("memory"));
        std::fs::create_dir_all(root.join("7/folder")).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("notes.md"), "yours").unwrap();
        std::fs::write(root.join("7/folder/old.txt"), "old").unwrap();
        std::os::unix::fs::symlink(&theirs, root.join("7/link")).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3_600);
        for below in ["7/link", ""] {
            remove_old(&root, Path::new(below), later, Duration::from_secs(60));
            assert!(theirs.join("notes.md").exists(), "from {below:?}");
        }
        assert!(!root.join("7/folder/old.txt").exists(), "what is old goes");
    }
}
