//! `threads.json`: every desk of the office, written whole by processor, now and then edited by a person.
//!
//! The last good state is never lost to a bad one. A file that cannot be read, half written by a person or cut short with
//! the power, is set aside as `threads.json.bad`, and the copy of the last flushed save, `threads.json.last`, counts.
//! Nothing is written over a person's edit unread.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Map, Value};
use tinyclaw_disk::{DiskError, Flush, rename};
use tinyclaw_domain::{Model, PermissionMode, SessionId, Thread, ThreadId, ThreadStatus, Threads};

use crate::{JsonError, StateDir, save};

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
    /// One of its entries is no thread.
    #[error("{}: thread {id:?} is not valid: {why}", path.display())]
    Entry {
        /// Which file.
        path: PathBuf,
        /// The entry's key.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// It could not be written.
    #[error(transparent)]
    Save(#[from] JsonError),
    /// It could not be set aside.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// All threads, in the hand of their one writer.
#[derive(Debug)]
pub struct ThreadBook {
    state: StateDir,
    threads: Threads,
    stamp: Stamp,
}

/// Enough to see that somebody else saved the file.
type Stamp = Option<(u64, u64, i64, i64)>;

impl ThreadBook {
    /// Opens the threads, for processor, at its start. No turn can be running, so no desk is working or waiting.
    ///
    /// The error beside the book says that `threads.json` was unreadable, was set aside, and that the last good copy (or
    /// nothing, if there is none) counts instead.
    pub fn open(state: &StateDir) -> Result<(ThreadBook, Option<ThreadsError>), ThreadsError> {
        let (threads, trouble) = match read_threads(state) {
            Ok(threads) => (threads, None),
            Err(err @ ThreadsError::Read { .. }) => return Err(err),
            Err(err) => {
                rename(&state.threads(), &bad(state))?;
                (read(last(state)).unwrap_or_default(), Some(err))
            }
        };
        let stamp = stamp(state);
        let mut book = ThreadBook { state: state.clone(), threads, stamp };
        let is_busy =
            |it: &Thread| matches!(it.status, ThreadStatus::Working | ThreadStatus::Waiting);
        let mut has_changed = trouble.is_some();
        for thread in book.threads.values_mut().filter(|it| is_busy(it)) {
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
        &self.threads
    }

    /// One thread.
    pub fn get(&self, id: &ThreadId) -> Option<&Thread> {
        self.threads.get(id)
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
        let before = self.threads.clone();
        let result = change(&mut self.threads);
        if (self.threads != before || trouble.is_some())
            && let Err(err) = self.save(flush)
        {
            self.threads = before;
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
        match read_threads(&self.state) {
            Ok(threads) => {
                self.threads = threads;
                self.stamp = now;
                Ok(None)
            }
            Err(err @ ThreadsError::Read { .. }) => Err(err),
            Err(err) => {
                rename(&self.state.threads(), &bad(&self.state))?;
                Ok(Some(err))
            }
        }
    }

    fn save(&mut self, flush: Flush) -> Result<(), ThreadsError> {
        save(&self.state.threads(), &self.threads, flush)?;
        self.stamp = stamp(&self.state);
        if flush == Flush::Strict {
            // What was not flushed may be cut short with the power; this copy then tells all but the last touches.
            save(&last(&self.state), &self.threads, flush)?;
        }
        Ok(())
    }
}

/// Every thread, for readers. No file means no threads.
///
/// The TypeScript original's entries are understood: a session id or a model that is none of ours is dropped, an unknown
/// permission mode is the careful one. Anything else that does not fit refuses the whole file, by the entry's name.
pub fn read_threads(state: &StateDir) -> Result<Threads, ThreadsError> {
    read(state.threads())
}

fn read(path: PathBuf) -> Result<Threads, ThreadsError> {
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Threads::new()),
        Err(source) => return Err(ThreadsError::Read { path, source }),
    };
    let entries: Map<String, Value> = match serde_json::from_slice(&bytes) {
        Ok(entries) => entries,
        Err(source) => return Err(ThreadsError::Json { path, source }),
    };
    let mut threads = Threads::new();
    for (id, entry) in entries {
        let thread_id = id.parse::<ThreadId>().map_err(|err| err.to_string());
        match thread_id.and_then(|it| Ok((it, thread(entry)?))) {
            Ok((thread_id, thread)) => threads.insert(thread_id, thread),
            Err(why) => return Err(ThreadsError::Entry { path, id, why }),
        };
    }
    Ok(threads)
}

fn thread(mut entry: Value) -> Result<Thread, String> {
    if let Value::Object(fields) = &mut entry {
        // A few fields held other things in the original, or may hold what a later version knows.
        keep_if(fields, "sessionId", |it| it.parse::<SessionId>().is_ok());
        for name in ["model", "pin"] {
            let model = fields.get(name).and_then(Value::as_str).and_then(Model::of_name);
            match model {
                Some(model) => fields.insert(name.to_owned(), model.as_str().into()),
                None => fields.shift_remove(name),
            };
        }
        fields.retain(|name, value| match name.as_str() {
            "permissionMode" => serde_json::from_value::<PermissionMode>(value.clone()).is_ok(),
            "status" => serde_json::from_value::<ThreadStatus>(value.clone()).is_ok(),
            _ => !value.is_null(),
        });
        if let Some(active) = fields.get("lastActive").and_then(Value::as_f64) {
            fields.insert("lastActive".to_owned(), (active.max(0.0) as u64).into());
        }
    }
    serde_json::from_value(entry).map_err(|err| err.to_string())
}

fn keep_if(fields: &mut Map<String, Value>, name: &str, is_good: impl Fn(&str) -> bool) {
    if !fields.get(name).and_then(Value::as_str).is_some_and(is_good) {
        fields.shift_remove(name);
    }
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
