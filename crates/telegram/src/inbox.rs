//! `updates/`: every update as it came, from before Telegram hears that we have it until its message is in the queue.
//!
//! | file | what it means |
//! |---|---|
//! | `<id>.json` | came, and is not dealt with yet |
//! | `<id>.group` | the ids that were joined into one message under this one |
//! | `<id>.done` | dealt with; stays until Telegram has surely heard, so that a repeated update is known |
//! | `<id>.odd` | could not be read; kept for a person |
//!
//! Nothing here knows what an update says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tinyclaw_disk::{DiskError, remove, rename, sync_dir, sync_file, write_new};

/// What was dealt with is kept for so long at most: by then Telegram has forgotten it too.
const DONE_AGE_MAX: Duration = Duration::from_secs(2 * 24 * 3600);
/// What could not be read is kept for a person for so long.
const ODD_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// One update.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Its `update_id`.
    pub id: i64,
    /// The whole of it.
    pub raw: Value,
}

/// The folder.
#[derive(Debug)]
pub struct Inbox {
    dir: PathBuf,
    done: Mutex<BTreeSet<i64>>,
}

/// What was left by an earlier process.
#[derive(Debug, Default, PartialEq)]
pub struct Left {
    /// Updates that were not dealt with, oldest first. Those of one group come together, everything else alone.
    pub updates: Vec<Vec<Update>>,
}

impl Inbox {
    /// Opens the folder, which is made when it is missing.
    pub fn open(dir: &Path) -> std::io::Result<Inbox> {
        std::fs::create_dir_all(dir)?;
        let inbox = Inbox { dir: dir.to_owned(), done: Mutex::default() };
        inbox.sweep(SystemTime::now());
        Ok(inbox)
    }

    /// Puts a batch of updates on disk, flushed, and gives those that are new to us.
    ///
    /// After an error nothing may be confirmed; what was stored of the batch is known when it comes again.
    pub fn store(&self, batch: Vec<Update>) -> Result<Vec<Update>, DiskError> {
        let mut new = Vec::new();
        for update in batch {
            if self.is_known(update.id) {
                continue;
            }
            let (tmp, path) = (self.path(update.id, "tmp"), self.path(update.id, "json"));
            remove(&tmp)?;
            let file = write_new(&tmp, update.raw.to_string().as_bytes())?;
            sync_file(&file, &tmp)?;
            rename(&tmp, &path)?;
            new.push(update);
        }
        if !new.is_empty() {
            sync_dir(&self.dir)?;
        }
        Ok(new)
    }

    /// What an earlier process did not get done. A group that it was about to finish is finished.
    pub fn left(&self) -> Left {
        let mut groups: Vec<Vec<i64>> = Vec::new();
        let mut single = Vec::new();
        for (id, kind, _) in self.files() {
            match kind.as_str() {
                "json" => single.push(id),
                "group" => groups.extend(self.read_group(id)),
                _ => {}
            }
        }
        groups.retain(|ids| {
            let over = self.is_over(ids);
            if over && let Err(err) = self.finish(ids) {
                tracing::error!("updates {ids:?} are dealt with, but cannot be marked so: {err}");
            }
            if over {
                single.retain(|it| !ids.contains(it));
            }
            !over
        });
        single.retain(|id| !groups.iter().any(|it| it.contains(id)));
        groups.extend(single.into_iter().map(|it| vec![it]));
        groups.sort_unstable();
        let read = |id: i64| {
            let bytes = std::fs::read(self.path(id, "json")).ok()?;
            match serde_json::from_slice(&bytes) {
                Ok(raw) => Some(Update { id, raw }),
                Err(_) => {
                    self.set_aside(id);
                    None
                }
            }
        };
        let updates = groups.into_iter().map(|ids| ids.into_iter().filter_map(read).collect());
        Left { updates: updates.filter(|it: &Vec<Update>| !it.is_empty()).collect() }
    }

    /// These updates are one message from now on, whatever happens before it is published. Flushed.
    pub fn group(&self, ids: &[i64]) -> Result<(), DiskError> {
        let Some(first) = ids.first() else { return Ok(()) };
        let text: Vec<String> = ids.iter().map(i64::to_string).collect();
        let path = self.path(*first, "group");
        tinyclaw_disk::replace(&path, text.join("\n").as_bytes(), tinyclaw_disk::Flush::Strict)
    }

    /// These updates are dealt with.
    ///
    /// The first of them goes last: it gave their message its key, so for as long as it is here, what is left of them is
    /// known for what it is. A power cut may undo it all; then they are dealt with again, which their keys make harmless.
    pub fn finish(&self, ids: &[i64]) -> Result<(), DiskError> {
        for id in ids.iter().rev() {
            match rename(&self.path(*id, "json"), &self.path(*id, "done")) {
                Err(err) if !err.is_not_found() => return Err(err),
                _ => {}
            }
            self.done().insert(*id);
        }
        if let Some(first) = ids.first() {
            remove(&self.path(*first, "group"))?;
        }
        Ok(())
    }

    /// This one makes no sense: it is kept for a person.
    pub fn set_aside(&self, id: i64) {
        if let Err(err) = rename(&self.path(id, "json"), &self.path(id, "odd")) {
            tracing::warn!("cannot set update {id} aside: {err}");
        }
        self.done().insert(id);
    }

    /// Telegram has heard that we have everything before `offset`: it will not come again.
    pub fn confirmed(&self, offset: i64) {
        let gone: Vec<i64> = self.done().range(..offset).copied().collect();
        for id in gone {
            self.done().remove(&id);
            if let Err(err) = remove(&self.path(id, "done")) {
                tracing::warn!("cannot remove update {id}: {err}");
            }
        }
    }

    /// Whether a group was dealt with: then its first update is here no more, neither new nor odd.
    fn is_over(&self, ids: &[i64]) -> bool {
        let here = |id: i64| ["json", "odd"].iter().any(|it| self.path(id, it).exists());
        ids.first().is_some_and(|it| !here(*it))
    }

    fn is_known(&self, id: i64) -> bool {
        ["json", "done", "odd"].iter().any(|it| self.path(id, it).exists())
    }

    fn done(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.done.lock().unwrap_or_else(|it| it.into_inner())
    }

    fn path(&self, id: i64, kind: &str) -> PathBuf {
        self.dir.join(format!("{id}.{kind}"))
    }

    fn read_group(&self, id: i64) -> Option<Vec<i64>> {
        let text = std::fs::read_to_string(self.path(id, "group")).ok()?;
        text.lines().map(|it| it.parse().ok()).collect()
    }

    fn files(&self) -> Vec<(i64, String, PathBuf)> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let parse = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            let (id, kind) = name.split_once('.')?;
            Some((id.parse().ok()?, kind.to_owned(), path))
        };
        entries.filter_map(|it| parse(it.path())).collect()
    }

    /// Begins with what is done, and removes what is old.
    fn sweep(&self, now: SystemTime) {
        for (id, kind, path) in self.files() {
            let modified = std::fs::metadata(&path).and_then(|it| it.modified());
            let age = modified.ok().and_then(|it| now.duration_since(it).ok()).unwrap_or_default();
            let age_max = match kind.as_str() {
                "done" => DONE_AGE_MAX,
                "odd" => ODD_AGE_MAX,
                "tmp" => Duration::ZERO,
                _ => continue,
            };
            if age >= age_max {
                let _ = remove(&path);
            } else if kind == "done" {
                self.done().insert(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn update(id: i64) -> Update {
        Update { id, raw: json!({"update_id": id}) }
    }

    #[test]
    fn an_update_that_comes_twice_is_new_once() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        assert_eq!(inbox.store(vec![update(1), update(2)]).unwrap().len(), 2);
        assert_eq!(inbox.store(vec![update(2), update(3)]).unwrap(), [update(3)]);
        inbox.finish(&[1]).unwrap();
        assert_eq!(inbox.store(vec![update(1)]).unwrap(), []);
        // Telegram has heard: what comes under this number now is something else.
        inbox.confirmed(2);
        assert_eq!(inbox.store(vec![update(1)]).unwrap(), [update(1)]);
    }

    #[test]
    fn what_was_not_done_is_left_for_the_next_process_grouped_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        inbox.store((1..=5).map(update).collect()).unwrap();
        inbox.finish(&[1]).unwrap();
        inbox.group(&[2, 4]).unwrap();
        let left = Inbox::open(dir.path()).unwrap().left();
        assert_eq!(left.updates, [vec![update(2), update(4)], vec![update(3)], vec![update(5)]]);
        let again = Inbox::open(dir.path()).unwrap();
        assert_eq!(again.store(vec![update(1)]).unwrap(), []);
    }

    #[test]
    fn the_first_of_a_group_is_finished_last() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        inbox.store((1..=3).map(update).collect()).unwrap();
        inbox.group(&[1, 2, 3]).unwrap();
        // Nothing can take the name of a folder: here the process dies.
        std::fs::create_dir(dir.path().join("1.done")).unwrap();
        assert!(inbox.finish(&[1, 2, 3]).is_err());
        assert_eq!(Inbox::open(dir.path()).unwrap().left().updates, [vec![update(1)]]);
    }

    #[test]
    fn of_a_group_whose_first_is_done_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        inbox.store((1..=4).map(update).collect()).unwrap();
        inbox.group(&[1, 2, 3]).unwrap();
        rename(&dir.path().join("1.json"), &dir.path().join("1.done")).unwrap();
        let again = Inbox::open(dir.path()).unwrap();
        assert_eq!(again.left().updates, [vec![update(4)]]);
        assert_eq!(again.left(), Inbox::open(dir.path()).unwrap().left());
        assert!(!dir.path().join("1.group").exists());
        // One that nobody could read gave no message its key: what stood beside it is still new.
        again.store((5..=6).map(update).collect()).unwrap();
        again.group(&[5, 6]).unwrap();
        again.set_aside(5);
        assert_eq!(again.left().updates, [vec![update(4)], vec![update(6)]]);
    }
}
