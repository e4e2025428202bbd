//! A message in hand, on folders: its file, the lock of its lane and the note in it.

use std::path::PathBuf;
use std::sync::Arc;

use tinyclaw_disk::{
    DiskError, Flush, Lock, append_at, rename, rename_no_replace, replace_through, sync_path,
};

use super::note::Note;
use super::{Inner, plain, record};
use crate::clock::now_ms;
use crate::error::{Fault, LeaseError};
use crate::name::{self, Name};
use crate::work::{Ending, Hold, Safety};
use crate::{Durability, Place, Side};

/// A file that would grow beyond this is replaced by its last line.
const APPENDED_BYTES_MAX: u64 = 256 * 1024;

pub(super) struct FileHold {
    inner: Arc<Inner>,
    side: Side,
    lane: Arc<str>,
    name: Name,
    text: String,
    recovered: bool,
    /// What stands in the lane's file.
    note: Note,
    /// How long the file is, if the next state may be written behind what is there.
    length: Option<u64>,
    /// Taken out only by the drop.
    lock: Option<Lock>,
}

impl FileHold {
    pub(super) fn new(
        inner: Arc<Inner>,
        side: Side,
        lane: Arc<str>,
        name: Name,
        (lock, note): (Lock, Note),
        length: Option<u64>,
        recovered: bool,
    ) -> FileHold {
        let text = name.to_string();
        FileHold { inner, side, lane, name, text, recovered, note, length, lock: Some(lock) }
    }

    /// Keeps a state of the message: as one line more, which costs one flush at most, or as a new file when that one is long.
    /// A new file is flushed in any case, because it takes the place of what was safe.
    fn write(&mut self, json: Vec<u8>, flush: Flush) -> Result<(), DiskError> {
        let line = record::sealed(json);
        let bytes = line.len() as u64;
        let path = self.path();
        // Taken, not borrowed: after an error nothing may be written behind what is there.
        if let Some(length) = self.length.take().filter(|it| it + bytes <= APPENDED_BYTES_MAX)
            && append_at(&path, length, &line, flush).is_ok()
        {
            self.length = Some(length + bytes);
            return Ok(());
        }
        let tmp = self.inner.folders.tmp(&self.text);
        self.write_with_reserve(|| replace_through(&tmp, &path, &line, Flush::Strict))?;
        self.length = Some(bytes);
        Ok(())
    }

    fn failed(&self, what: &'static str, err: DiskError) -> LeaseError {
        LeaseError::Write { what, key: self.name.key.clone(), source: Fault::of(err) }
    }

    /// A move failed; or there was nothing left to move, because other hands have taken the file away.
    fn unmoved(&self, to: Place, err: DiskError) -> LeaseError {
        let key = self.name.key.clone();
        if err.is_not_found() && !plain::is_there(&self.path()) {
            LeaseError::Lost { key }
        } else {
            LeaseError::Move { key, to, source: Fault::of(err) }
        }
    }

    /// Work that is running may use the reserve when the disk is full.
    fn write_with_reserve(
        &self,
        write: impl Fn() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        match write() {
            Err(err) if err.is_no_space() && self.inner.folders.release_reserve() => write(),
            other => other,
        }
    }

    fn path(&self) -> PathBuf {
        self.inner.folders.file(self.side.working(), &self.text)
    }

    fn move_on(&self, to: Place) -> Result<(), LeaseError> {
        let from = self.path();
        let unmoved = |err| self.unmoved(to, err);
        if to == Place::Done {
            let now = now_ms();
            let target = self.inner.folders.done(now).join(&self.text);
            match rename(&from, &target) {
                // The first of a day: its folder is not there yet.
                Err(err) if err.is_not_found() && plain::is_there(&from) => {
                    self.inner.folders.make_done(now).map_err(unmoved)?;
                    rename(&from, &target)
                }
                other => other,
            }
            .map_err(unmoved)?;
        } else {
            rename(&from, &self.inner.folders.file(to, &self.text)).map_err(unmoved)?;
        }
        self.saw(&self.text, to);
        Ok(())
    }

    fn move_back(&mut self, epoch: u64) -> Result<(), LeaseError> {
        let place = self.side.waiting();
        let back = self.name.at_epoch(epoch);
        let text = back.to_string();
        // The note first, and of both names: whoever takes the lane next finds the head under one of them, whatever its
        // watcher has told it, and whether we died before the rename or after it.
        let note = Note::of(&[&self.text, &text], self.note.names());
        if let Some(lock) = &self.lock {
            lock.leave_note(&note.to_string()).map_err(|err| LeaseError::Move {
                key: self.name.key.clone(),
                to: place,
                source: Fault::of(DiskError { step: "note", path: err.path, source: err.source }),
            })?;
        }
        rename_no_replace(&self.path(), &self.inner.folders.file(place, &text))
            .map_err(|err| self.unmoved(place, err))?;
        self.saw(&text, place);
        self.name = back;
        self.text = text;
        Ok(())
    }

    fn saw(&self, text: &str, place: Place) {
        if let Some(parts) = name::parts(text) {
            self.inner.index().saw(text, &parts, place, now_ms());
        }
    }
}

impl Hold for FileHold {
    fn keep(
        &mut self,
        json: Vec<u8>,
        what: &'static str,
        safety: Safety,
    ) -> Result<(), LeaseError> {
        let flush = match safety {
            Safety::PowerCut => Flush::Strict,
            Safety::Story => Flush::None,
        };
        self.write(json, flush).map_err(|err| self.failed(what, err))
    }

    fn confirm(&mut self, json: Vec<u8>, what: &'static str) -> Result<(), LeaseError> {
        // Whoever wrote it may have died before its flush, or its flush may have failed: we read the state, and a power
        // cut would take it back.
        match self.write(json, Flush::Strict) {
            // A full disk has no room for one line more, and a flush needs none.
            Err(err) if err.is_no_space() => sync_path(&self.path()),
            other => other,
        }
        .map_err(|err| self.failed(what, err))
    }

    fn end(&mut self, ending: Ending<'_>) -> Result<(), LeaseError> {
        match ending {
            Ending::On { to, follow_ups } => {
                if self.recovered && !follow_ups.is_empty() {
                    // Whoever died may have published some of them a moment ago: look before publishing again.
                    if let Err(err) = self.inner.know_done().and_then(|()| self.inner.rescan()) {
                        tracing::warn!("cannot list the queue anew: {err}");
                    }
                }
                for draft in follow_ups {
                    self.inner.put_draft(draft, Durability::Strict).map_err(|source| {
                        LeaseError::FollowUp {
                            key: self.name.key.clone(),
                            source: Box::new(source),
                        }
                    })?;
                }
                self.move_on(to)
            }
            // Without a wish for a time no clock can make it wait.
            Ending::Back { delay: None } => self.move_back(0),
            Ending::Back { delay: Some(delay) } => {
                self.move_back(now_ms() + delay.as_millis() as u64)
            }
            Ending::Dead { reason } => {
                let write = || self.inner.write_reason(Place::Dead, &self.text, reason);
                self.write_with_reserve(write).map_err(|err| self.failed("the reason", err))?;
                self.move_on(Place::Dead)
            }
        }
    }

    fn still_ours(&self) -> bool {
        // The kernel holds the lane's lock for us until we die.
        true
    }
}

impl Drop for FileHold {
    fn drop(&mut self) {
        // The lock before the word that the lane is free, or a claimer of ours finds it taken.
        drop(self.lock.take());
        self.inner.index().release(self.side, &self.lane, now_ms());
        self.inner.changed.notify_waiters();
    }
}
