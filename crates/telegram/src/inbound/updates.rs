//! `updates/`: every update as it came, from before Telegram hears that we have it until its message is in the queue.
//!
//! | file | what it means |
//! |---|---|
//! | `<id>.json` | came, and is not dealt with yet |
//! | `<id>.group` | the ids that were joined into one message under this one |
//! | `<id>.done` | dealt with; stays until Telegram has surely heard, so that a repeated update is known |
//! | `<id>.odd` | could not be understood; kept for a person |
//! | `<id>.damaged` | is not what was written; kept for a person, and taken anew should Telegram send it again |
//!
//! An update is handed on once in a process: when it came, or when it was found at the start. After a power cut the later of
//! two updates that came together may lie here, and the earlier not. So what was found and is not surely confirmed waits until
//! Telegram has sent again what comes before it. Nothing here knows what an update says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tinyclaw_disk::{DiskError, Flush, remove, rename, sync_dir, sync_file, write_new};
use tinyclaw_domain::checksum::{self, Checked};

/// What was dealt with is kept for so long at most: by then Telegram has forgotten it too.
const DONE_AGE_MAX: Duration = Duration::from_secs(2 * 24 * 3600);
/// What could not be read is kept for a person for so long.
const ODD_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// What Telegram may send before an update that waits fits into a few polls. Where ids began anew, no poll ever comes to it:
/// after so many it waits no longer.
const HELD_POLLS_MAX: u32 = 20;

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
    /// Guards what is known of the files. Held for a look or a change, with no other lock.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Dealt with, and not yet confirmed to Telegram.
    done: BTreeSet<i64>,
    /// Handed on by this process or kept back by it, and not dealt with yet.
    handed: BTreeSet<i64>,
    /// On disk since an earlier process, and not readable so far.
    unread: BTreeSet<i64>,
    /// Found at the start, and kept back until Telegram has sent what comes before. By the first of each group.
    held: BTreeMap<i64, Vec<Update>>,
    /// So many polls were completed meanwhile.
    held_polls: u32,
    /// The one that came last.
    newest: Option<i64>,
    /// Whether a name in the folder may not be flushed yet.
    has_unflushed: bool,
}

/// What became of a batch of updates.
#[derive(Debug, Default)]
pub struct Stored {
    /// What is to be handed on, in its order: on disk, flushed, and not handed on before. Those that were joined before come
    /// together, everything else alone.
    pub new: Vec<Vec<Update>>,
    /// The last update that is on disk with all before it, so that they may be confirmed.
    pub last: Option<i64>,
    /// Why the updates after it are not.
    pub trouble: Option<DiskError>,
}

/// What was left by an earlier process.
#[derive(Debug, Default)]
pub struct Left {
    /// Updates that were not dealt with, oldest first. Those of one group come together, everything else alone.
    pub updates: Vec<Vec<Update>>,
    /// Updates that were damaged and are set aside, oldest first.
    pub damaged: Vec<i64>,
    /// Updates that cannot be read at present, and why. They are tried again by [`Inbox::read_again`].
    pub unread: Vec<(i64, io::Error)>,
}

/// A file of an update.
enum Found {
    Update(Update),
    Damaged,
    Gone,
}

impl State {
    /// Takes what was kept back and has its place at or before `last`, the end of what a poll brought.
    fn release(&mut self, last: Option<i64>) -> BTreeMap<i64, Vec<Update>> {
        let Some(last) = last.filter(|_| !self.held.is_empty()) else { return BTreeMap::new() };
        self.held_polls += 1;
        if self.held_polls >= HELD_POLLS_MAX {
            return std::mem::take(&mut self.held);
        }
        let later = match last.checked_add(1) {
            Some(next) => self.held.split_off(&next),
            None => BTreeMap::new(),
        };
        std::mem::replace(&mut self.held, later)
    }
}

impl Inbox {
    /// Opens the folder, which is made when it is missing.
    pub fn open(dir: &Path) -> io::Result<Inbox> {
        std::fs::create_dir_all(dir)?;
        // What an earlier process wrote may not be flushed.
        let state = State { has_unflushed: true, ..State::default() };
        let inbox = Inbox { dir: dir.to_owned(), state: Mutex::new(state) };
        inbox.sweep(SystemTime::now())?;
        Ok(inbox)
    }

    /// Puts the batch of a poll on disk, flushed, one update after the other until the disk refuses one, and gives what is to
    /// be handed on. What stays behind comes again, because it must not be confirmed.
    ///
    /// What was kept back is handed on between what the batch has before and after it; after an empty batch all of it is,
    /// because Telegram has nothing more.
    pub fn store(&self, mut batch: Vec<Update>) -> Stored {
        batch.sort_by_key(|it| it.id);
        let is_empty = batch.is_empty();
        let mut stored = Stored::default();
        let mut new = BTreeMap::new();
        for update in batch {
            let id = update.id;
            if !self.is_taken(id) {
                if let Err(err) = self.write(&update) {
                    stored.trouble = Some(err);
                    break;
                }
                new.insert(id, vec![update]);
            }
            stored.last = Some(id);
        }
        if self.state().has_unflushed
            && let Err(err) = sync_dir(&self.dir)
        {
            // Their names may be lost with the power: they are written again when they come again.
            return Stored { trouble: Some(err), ..Stored::default() };
        }
        let mut state = self.state();
        state.has_unflushed = false;
        state.handed.extend(new.keys());
        state.unread.retain(|it| !new.contains_key(it));
        state.newest = new.keys().last().copied().or(state.newest);
        new.append(&mut state.release(if is_empty { Some(i64::MAX) } else { stored.last }));
        stored.new = new.into_values().collect();
        stored
    }

    /// Keeps back what Telegram may have to send something before, and gives the rest, which is handed on at once.
    ///
    /// `updates` were found at the start. Those below `offset` were confirmed with all before them. Of the others, all of them
    /// without an offset, nobody knows that; [`Inbox::store`] hands them on in their place. A group has the place of its first.
    pub fn hold_back(
        &self,
        mut updates: Vec<Vec<Update>>,
        offset: Option<i64>,
    ) -> Vec<Vec<Update>> {
        let mut state = self.state();
        updates.retain_mut(|group| {
            let first = group.first().map_or(i64::MIN, |it| it.id);
            let is_confirmed = offset.is_some_and(|it| first < it);
            if !is_confirmed {
                state.held.insert(first, std::mem::take(group));
            }
            is_confirmed
        });
        updates
    }

    /// How many updates are kept back.
    pub fn held(&self) -> usize {
        self.state().held.values().map(Vec::len).sum()
    }

    /// Gives everything that is kept back, in its order: no poll will tell what comes before it.
    pub fn let_go(&self) -> Vec<Vec<Update>> {
        std::mem::take(&mut self.state().held).into_values().collect()
    }

    fn write(&self, update: &Update) -> Result<(), DiskError> {
        let (tmp, path) = (self.path(update.id, "tmp"), self.path(update.id, "json"));
        let mut raw = update.raw.clone();
        if let Value::Object(fields) = &mut raw {
            checksum::add("", fields);
        }
        remove(&tmp)?;
        let file = write_new(&tmp, raw.to_string().as_bytes())?;
        sync_file(&file, &tmp)?;
        self.state().has_unflushed = true;
        rename(&tmp, &path)
    }

    /// What an earlier process did not get done. A group that it was about to finish is finished.
    pub fn left(&self) -> io::Result<Left> {
        let mut left = Left::default();
        let mut groups: Vec<Vec<i64>> = Vec::new();
        let mut single = Vec::new();
        for (id, kind, _) in self.files()? {
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
        for ids in groups {
            let updates: Vec<Update> =
                ids.into_iter().filter_map(|id| self.take_up(id, &mut left)).collect();
            if !updates.is_empty() {
                left.updates.push(updates);
            }
        }
        Ok(left)
    }

    /// Tries what could not be read before. Costs nothing while there is nothing of the kind.
    pub fn read_again(&self) -> Left {
        let ids: Vec<i64> = self.state().unread.iter().copied().collect();
        let mut left = Left::default();
        for id in ids {
            let update = self.take_up(id, &mut left);
            left.updates.extend(update.map(|it| vec![it]));
        }
        left
    }

    /// Reads an update that this process has not handed on yet, and hands it on.
    fn take_up(&self, id: i64, left: &mut Left) -> Option<Update> {
        let found = self.read(id);
        match &found {
            Err(_) => self.state().unread.insert(id),
            Ok(_) => self.state().unread.remove(&id),
        };
        match found {
            Ok(Found::Update(update)) => self.state().handed.insert(id).then_some(update),
            Ok(Found::Damaged) => {
                if let Err(err) = rename(&self.path(id, "json"), &self.path(id, "damaged")) {
                    tracing::error!("update {id} is damaged and cannot be set aside: {err}");
                }
                left.damaged.push(id);
                None
            }
            Ok(Found::Gone) => None,
            Err(err) => {
                left.unread.push((id, err));
                None
            }
        }
    }

    fn read(&self, id: i64) -> io::Result<Found> {
        let bytes = match tinyclaw_disk::read(&self.path(id, "json")) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Found::Gone),
            Err(err) => return Err(err),
        };
        let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(&bytes) else {
            return Ok(Found::Damaged);
        };
        let checked = checksum::take("", &mut fields);
        let is_ours = fields.get("update_id").and_then(Value::as_i64) == Some(id);
        if checked == Checked::Damaged || !is_ours {
            return Ok(Found::Damaged);
        }
        Ok(Found::Update(Update { id, raw: Value::Object(fields) }))
    }

    /// These updates are one message from now on, whatever happens before it is published. Flushed.
    pub fn group(&self, ids: &[i64]) -> Result<(), DiskError> {
        let Some(first) = ids.first() else { return Ok(()) };
        let text: Vec<String> = ids.iter().map(i64::to_string).collect();
        let path = self.path(*first, "group");
        tinyclaw_disk::replace(&path, text.join("\n").as_bytes(), Flush::Strict)
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
            self.note_done(*id);
        }
        if let Some(first) = ids.first() {
            remove(&self.path(*first, "group"))?;
        }
        Ok(())
    }

    /// [`Inbox::finish`] where nobody can do anything about a failure: the updates are handed on again at the next start.
    pub(crate) fn close(&self, ids: &[i64]) {
        if let Err(err) = tokio::task::block_in_place(|| self.finish(ids)) {
            tracing::error!("updates {ids:?} are dealt with, but cannot be marked so: {err}");
        }
    }

    /// This one makes no sense: it is kept for a person.
    pub fn set_aside(&self, id: i64) {
        if let Err(err) = rename(&self.path(id, "json"), &self.path(id, "odd")) {
            tracing::warn!("cannot set update {id} aside: {err}");
        }
        self.note_done(id);
    }

    fn note_done(&self, id: i64) {
        let mut state = self.state();
        state.handed.remove(&id);
        state.done.insert(id);
    }

    /// Telegram has heard that we have everything before `offset`: it will not come again. The one that came last stays
    /// all the same: it tells how far an offset can be.
    pub fn confirmed(&self, offset: i64) {
        let gone: Vec<i64> = {
            let mut state = self.state();
            let newest = state.newest;
            let gone = state.done.range(..offset).copied().filter(|it| Some(*it) != newest);
            let gone: Vec<i64> = gone.collect();
            state.done.retain(|it| !gone.contains(it));
            gone
        };
        for id in gone {
            if let Err(err) = remove(&self.path(id, "done")) {
                tracing::warn!("cannot remove update {id}: {err}");
            }
        }
    }

    /// The update that came last, as far as the folder tells.
    pub fn newest(&self) -> Option<i64> {
        self.state().newest
    }

    /// Whether a group was dealt with: then its first update is here no more, neither new nor odd.
    fn is_over(&self, ids: &[i64]) -> bool {
        let here = |id: i64| ["json", "odd", "damaged"].iter().any(|it| self.path(id, it).exists());
        ids.first().is_some_and(|it| !here(*it))
    }

    /// Whether an update that comes is no news: this process handed it on, or somebody dealt with it. One that merely lies
    /// here is written anew, and handed on.
    fn is_taken(&self, id: i64) -> bool {
        let state = self.state();
        state.handed.contains(&id)
            || state.done.contains(&id)
            || ["done", "odd"].iter().any(|it| self.path(id, it).exists())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }

    fn path(&self, id: i64, kind: &str) -> PathBuf {
        self.dir.join(format!("{id}.{kind}"))
    }

    /// A group that cannot be read is none: its updates are messages of their own then.
    fn read_group(&self, id: i64) -> Option<Vec<i64>> {
        let path = self.path(id, "group");
        let text = tinyclaw_disk::read(&path).ok().and_then(|it| String::from_utf8(it).ok());
        let ids =
            text.and_then(|it| it.lines().map(|it| it.parse().ok()).collect::<Option<Vec<i64>>>());
        // It is named after its first.
        let ids = ids.filter(|it| it.first() == Some(&id));
        if ids.is_none() {
            tracing::error!("{} cannot be read: what it joined comes as several", path.display());
        }
        ids
    }

    fn files(&self) -> io::Result<Vec<(i64, String, PathBuf)>> {
        let parse = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            let (id, kind) = name.split_once('.')?;
            Some((id.parse().ok()?, kind.to_owned(), path))
        };
        let mut files = Vec::new();
        for entry in tinyclaw_disk::read_dir(&self.dir)? {
            files.extend(parse(entry?.path()));
        }
        Ok(files)
    }

    /// Begins with what is done, and removes what is old.
    fn sweep(&self, now: SystemTime) -> io::Result<()> {
        let when = |path: &Path| std::fs::metadata(path).and_then(|it| it.modified()).ok();
        let files: Vec<_> = self
            .files()?
            .into_iter()
            .map(|(id, kind, path)| (when(&path), id, kind, path))
            .collect();
        let came = files.iter().filter(|it| matches!(it.2.as_str(), "json" | "done" | "odd"));
        let newest = came.map(|(when, id, ..)| (*when, *id)).max().map(|it| it.1);
        let mut state = self.state();
        state.newest = newest;
        for (when, id, kind, path) in files {
            let age = when.and_then(|it| now.duration_since(it).ok()).unwrap_or_default();
            let age_max = match kind.as_str() {
                "done" => DONE_AGE_MAX,
                "odd" | "damaged" => ODD_AGE_MAX,
                "tmp" => Duration::ZERO,
                _ => continue,
            };
            if age >= age_max && Some(id) != newest || kind == "tmp" {
                let _ = remove(&path);
            } else if kind == "done" {
                state.done.insert(id);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn update(id: i64) -> Update {
        Update { id, raw: json!({"update_id": id}) }
    }

    /// What the next process would find.
    fn left_in(dir: &tempfile::TempDir) -> Vec<Vec<Update>> {
        Inbox::open(dir.path()).unwrap().left().unwrap().updates
    }

    #[test]
    fn an_update_that_comes_twice_is_new_once() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        assert_eq!(inbox.store(vec![update(1), update(2)]).new.len(), 2);
        assert_eq!(inbox.store(vec![update(2), update(3)]).new, [[update(3)]]);
        inbox.finish(&[1]).unwrap();
        assert_eq!(inbox.store(vec![update(1)]).new, [[]; 0]);
        // Telegram has heard: what comes under this number now is something else.
        inbox.confirmed(2);
        assert_eq!(inbox.store(vec![update(1)]).new, [[update(1)]]);
    }

    #[test]
    fn what_was_not_done_is_left_for_the_next_process_grouped_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        inbox.store((1..=5).map(update).collect());
        inbox.finish(&[1]).unwrap();
        inbox.group(&[2, 4]).unwrap();
        let left = Inbox::open(dir.path()).unwrap().left().unwrap();
        assert_eq!(left.updates, [vec![update(2), update(4)], vec![update(3)], vec![update(5)]]);
        let again = Inbox::open(dir.path()).unwrap();
        assert_eq!(again.store(vec![update(1)]).new, [[]; 0]);
    }

    #[test]
    fn the_first_of_a_group_is_finished_last() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        inbox.store((1..=3).map(update).collect());
        inbox.group(&[1, 2, 3]).unwrap();
        // Nothing can take the name of a folder: here the process dies.
        std::fs::create_dir(dir.path().join("1.done")).unwrap();
        assert!(inbox.finish(&[1, 2, 3]).is_err());
        assert_eq!(left_in(&dir), [vec![update(1)]]);
    }

    #[test]
    fn of_a_group_whose_first_is_done_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        inbox.store((1..=4).map(update).collect());
        inbox.group(&[1, 2, 3]).unwrap();
        rename(&dir.path().join("1.json"), &dir.path().join("1.done")).unwrap();
        assert_eq!(left_in(&dir), [vec![update(4)]]);
        assert_eq!(left_in(&dir), [vec![update(4)]]);
        assert!(!dir.path().join("1.group").exists());
        // One that nobody could read gave no message its key: what stood beside it is still new.
        let again = Inbox::open(dir.path()).unwrap();
        again.store((5..=6).map(update).collect());
        again.group(&[5, 6]).unwrap();
        again.set_aside(5);
        assert_eq!(left_in(&dir), [vec![update(4)], vec![update(6)]]);
    }
}
