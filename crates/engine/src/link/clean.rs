//! What nobody will ask for any more, removed by each hub as it begins: what is left of runs, and on a machine of its own the
//! files that were brought there.
//!
//! By age alone, for nobody knows who is still to come. No run that a hold has is touched, and no helper: one may have been put
//! there by hand. What cannot be removed is left to the next hub.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tinyclaw_disk::foreign;

use super::runs::Runs;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What a run left waits so long for whoever began it.
const RUNS_KEPT: Duration = DAY.saturating_mul(7);
/// A file that was brought is there for so long.
const FILES_KEPT: Duration = DAY.saturating_mul(30);

/// Removes what is too old: of runs, and of what was brought below this folder of hubs and holds.
pub(super) fn clean(runs: &Runs, brought: Option<&Path>, now: SystemTime) {
    for run in runs.all().unwrap_or_default() {
        let dir = runs.dir(&run);
        let written = dir.path().symlink_metadata().and_then(|it| it.modified()).ok();
        if is_over(written, RUNS_KEPT, now) && !dir.lives() {
            let _ = dir.remove();
        }
    }
    let Some(state) = brought else { return };
    for thread in names(state, Path::new("files")) {
        remove_old(state, &thread, FILES_KEPT, now);
    }
}

/// Removes the files in a folder that are older than that. Claude may have made them, or links in their place: no link is
/// followed.
fn remove_old(root: &Path, folder: &Path, kept: Duration, now: SystemTime) {
    for file in names(root, folder) {
        let opened = foreign::open_below(root, &file);
        let written = opened.ok().and_then(|it| it.about().modified().ok());
        if is_over(written, kept, now) {
            let _ = foreign::remove_below(root, &file);
        }
    }
}

/// What lies in a folder, by its path below the same root.
fn names(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let names = foreign::names_below(root, folder).unwrap_or_default();
    names.into_iter().map(|it| folder.join(it)).collect()
}

/// Whether something was written longer ago than that. What has no time, or one to come, is kept.
fn is_over(written: Option<SystemTime>, kept: Duration, now: SystemTime) -> bool {
    written.and_then(|it| now.duration_since(it).ok()).is_some_and(|it| it > kept)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use tinyclaw_domain::frame::{RunId, RunToken};

    use super::*;

    fn lay(path: &Path, days: u32, now: SystemTime) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = tinyclaw_disk::write_new(path, b"x").unwrap();
        file.set_modified(now - DAY * days).unwrap();
    }

    #[test]
    fn what_is_too_old_goes_and_what_lives_stays() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        std::fs::create_dir_all(&state).unwrap();
        let (runs, now) = (Runs::open(&state).unwrap(), SystemTime::now());
        let token: RunToken = "ab".repeat(32).parse().unwrap();
        let run = |name: &str, days: u32| {
            let run: RunId = name.repeat(16).parse().unwrap();
            let dir = runs.make(&run, &token).unwrap();
            // Taken before the time is set: what is made in a folder counts as news of it.
            let lock = dir.try_lock().unwrap().unwrap();
            File::open(dir.path()).unwrap().set_modified(now - DAY * days).unwrap();
            (dir, lock)
        };
        let ((old, lock), (new, lock_of_new), (lives, _lock)) =
            (run("a", 8), run("b", 6), run("c", 8));
        drop((lock, lock_of_new));
        lay(&state.join("files/7/new.pdf"), 29, now);
        lay(&state.join("files/7/old.pdf"), 31, now);
        let precious = root.path().join("precious");
        lay(&precious.join("old.txt"), 90, now);
        std::os::unix::fs::symlink(&precious, state.join("files/8")).unwrap();
        std::os::unix::fs::symlink(precious.join("old.txt"), state.join("files/7/link")).unwrap();
        clean(&runs, Some(&state), now);
        assert_eq!([&old, &new, &lives].map(|it| it.path().exists()), [false, true, true]);
        let left: Vec<_> = names(&state, Path::new("files/7"));
        assert_eq!(left, [PathBuf::from("files/7/link"), PathBuf::from("files/7/new.pdf")]);
        assert!(precious.join("old.txt").is_file(), "nothing behind a link");
    }
}
