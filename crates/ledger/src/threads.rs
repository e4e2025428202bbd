//! `threads.json`: every desk of the office, written whole by processor, now and then edited by a person.
//!
//! The last good state is never lost to a bad one. A file that cannot be read, half written by a person, cut short with
//! the power or changed by its disk, is set aside as `threads.json.bad`, and the copy of the last flushed save,
//! `threads.json.last`, counts. Nothing is written over a person's edit unread, and nothing that is not known here is
//! dropped: entries that are no threads and values that make no sense are written back as they are.

mod file;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tinyclaw_disk::{DiskError, Flush, rename};
use tinyclaw_domain::{Thread, ThreadId, ThreadStatus, Threads};

use self::file::{Entries, Reading};
use tinyclaw_domain::StateDir;

/// Why `threads.json` is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ThreadsError {
    /// The file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON: half written, or a comma too many.
    #[error("{} is not JSON", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// One of its entries is no thread that this version knows. It is kept as it is, and the others count.
    #[error("{}: thread {id:?} is not valid: {why}", path.display())]
    Entry {
        /// Which file.
        path: PathBuf,
        /// The entry's key.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody edited it, and it is not what was written.
    #[error("{} is damaged: the checksum of thread {id:?} does not fit", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The first entry that does not fit.
        id: String,
    },
    /// It is gone, and its copy is still there.
    #[error("{} is gone; its copy counts. Who wants to begin anew removes both", .0.display())]
    Gone(PathBuf),
    /// It could not be written, or not be set aside.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl ThreadsError {
    /// Whether somebody took the right to read the file away, and has to give it back: nothing is wrong with what it holds.
    fn is_to_mend(&self) -> bool {
        matches!(self, ThreadsError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// All threads, in the hand of their one writer.
#[derive(Debug)]
pub struct ThreadBook {
    state: StateDir,
    entries: Entries,
    stamp: Stamp,
}

/// Enough to see that somebody else saved the file.
type Stamp = Option<(u64, u64, i64, i64)>;

impl ThreadBook {
    /// Opens the threads, for processor, at its start. No turn can be running, so no desk is working or waiting.
    ///
    /// The error beside the book says what was wrong with `threads.json`. When it was unreadable or damaged it was set aside,
    /// and its copy counts, or what is whole in both.
    pub fn open(state: &StateDir) -> Result<(ThreadBook, Option<ThreadsError>), ThreadsError> {
        let (entries, trouble) = match Entries::read(&state.threads()) {
            Ok(Some(reading)) if reading.damaged.is_empty() => (reading.entries, reading.trouble),
            Ok(None) => match Entries::read(&last(state)) {
                Ok(Some(copy)) => (copy.entries, Some(ThreadsError::Gone(state.threads()))),
                _ => (Entries::default(), None),
            },
            Ok(Some(reading)) => {
                let err = damaged(state, &reading);
                rename(&state.threads(), &bad(state))?;
                let entries = match Entries::read(&last(state)) {
                    Ok(Some(copy)) if copy.damaged.is_empty() => copy.entries,
                    Ok(Some(copy)) => {
                        let mut entries = copy.entries;
                        entries.fill_up_from(reading.entries);
                        entries
                    }
                    _ => reading.entries,
                };
                (entries, Some(err))
            }
            Err(err) => {
                let copy = Entries::read(&last(state)).ok().flatten();
                if err.is_to_mend() || copy.is_none() && matches!(err, ThreadsError::Read { .. }) {
                    return Err(err);
                }
                rename(&state.threads(), &bad(state))?;
                (copy.map(|it| it.entries).unwrap_or_default(), Some(err))
            }
        };
        let stamp = stamp(state);
        let mut book = ThreadBook { state: state.clone(), entries, stamp };
        let is_busy =
            |it: &Thread| matches!(it.status, ThreadStatus::Working | ThreadStatus::Waiting);
        let mut has_changed = trouble.is_some();
        for thread in book.entries.threads.values_mut().filter(|it| is_busy(it)) {
            thread.status = ThreadStatus::Idle;
            has_changed = true;
        }
        if has_changed {
            book.save(Flush::Strict)?;
        }
        Ok((book, trouble))
    }

    /// Every thread by its id.
    pub fn all(&self) -> &Threads {
        &self.entries.threads
    }

    /// One thread.
    pub fn get(&self, id: &ThreadId) -> Option<&Thread> {
        self.entries.threads.get(id)
    }

    /// Changes the threads and saves them, flushed, before it returns. Nothing is written when nothing changed; when
    /// saving fails, the change is taken back.
    ///
    /// What a person saved in the meantime is read first, and is what `change` sees. An edit that cannot be read is set
    /// aside as `threads.json.bad`, and told beside the result.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Threads) -> T,
    ) -> Result<(T, Option<ThreadsError>), ThreadsError> {
        self.change_with(Flush::Strict, change)
    }

    /// [`ThreadBook::change`] for what may be lost in a power cut: a status, when something last happened, the model that
    /// answered last. Readers see it at once; no flush is waited for.
    pub fn touch<T>(
        &mut self,
        change: impl FnOnce(&mut Threads) -> T,
    ) -> Result<(T, Option<ThreadsError>), ThreadsError> {
        self.change_with(Flush::None, change)
    }

    fn change_with<T>(
        &mut self,
        flush: Flush,
        change: impl FnOnce(&mut Threads) -> T,
    ) -> Result<(T, Option<ThreadsError>), ThreadsError> {
        let trouble = self.take_edits()?;
        let before = self.entries.threads.clone();
        let result = change(&mut self.entries.threads);
        if (self.entries.threads != before || trouble.is_some())
            && let Err(err) = self.save(flush)
        {
            self.entries.threads = before;
            return Err(err);
        }
        Ok((result, trouble))
    }

    /// Reads what a person saved since, if anything.
    pub fn refresh(&mut self) -> Result<Option<ThreadsError>, ThreadsError> {
        let trouble = self.take_edits()?;
        if trouble.is_some() {
            self.save(Flush::Strict)?;
        }
        Ok(trouble)
    }

    fn take_edits(&mut self) -> Result<Option<ThreadsError>, ThreadsError> {
        let now = stamp(&self.state);
        if now == self.stamp || now.is_none() {
            return Ok(None);
        }
        match Entries::read(&self.state.threads()) {
            Ok(None) => Ok(None),
            Ok(Some(reading)) if reading.damaged.is_empty() => {
                self.entries = reading.entries;
                self.stamp = now;
                Ok(reading.trouble)
            }
            Ok(Some(reading)) => {
                let err = damaged(&self.state, &reading);
                rename(&self.state.threads(), &bad(&self.state))?;
                Ok(Some(err))
            }
            Err(err) if err.is_to_mend() => Err(err),
            Err(err) => {
                rename(&self.state.threads(), &bad(&self.state))?;
                Ok(Some(err))
            }
        }
    }

    fn save(&mut self, flush: Flush) -> Result<(), ThreadsError> {
        self.entries.write(&self.state.threads(), flush)?;
        self.stamp = stamp(&self.state);
        if flush == Flush::Strict {
            // What was not flushed may be cut short with the power; this copy then tells all but the last touches.
            self.entries.write(&last(&self.state), flush)?;
        }
        Ok(())
    }
}

/// Every thread, for readers. No file means no threads.
///
/// The TypeScript original's entries are understood: a session id or a model that is none of ours is none, an unknown
/// permission mode is the careful one. An entry that is no thread is passed over; one that is damaged refuses the file.
pub fn read_threads(state: &StateDir) -> Result<Threads, ThreadsError> {
    let Some(reading) = Entries::read(&state.threads())? else { return Ok(Threads::new()) };
    if !reading.damaged.is_empty() {
        return Err(damaged(state, &reading));
    }
    Ok(reading.entries.threads)
}

/// What is wrong with `threads.json`, though the rest of it counts: for whoever looks after an office.
pub fn check_threads(state: &StateDir) -> Result<Option<ThreadsError>, ThreadsError> {
    let Some(reading) = Entries::read(&state.threads())? else { return Ok(None) };
    if !reading.damaged.is_empty() {
        return Err(damaged(state, &reading));
    }
    Ok(reading.trouble)
}

fn damaged(state: &StateDir, reading: &Reading) -> ThreadsError {
    let id = reading.damaged.first().cloned().unwrap_or_default();
    ThreadsError::Damaged { path: state.threads(), id }
}

fn bad(state: &StateDir) -> PathBuf {
    state.threads().with_extension("json.bad")
}

fn last(state: &StateDir) -> PathBuf {
    state.threads().with_extension("json.last")
}

fn stamp(state: &StateDir) -> Stamp {
    let it = std::fs::metadata(state.threads()).ok()?;
    Some((it.ino(), it.len(), it.mtime(), it.mtime_nsec()))
}
