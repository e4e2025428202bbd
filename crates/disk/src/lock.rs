//! Locks that the kernel frees when their holder dies: no pid files, no timers, nothing to clean up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::reading::fill;
use crate::steps::before;

/// An exclusive `flock` on a file. Freed when dropped, and by any death of the process.
///
/// The descriptor is close-on-exec and given to nobody: a child that inherited it would keep the lock alive.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// A lock file that could not be opened or locked.
#[derive(Debug, thiserror::Error)]
#[error("cannot lock {}", path.display())]
pub struct LockError {
    /// The lock file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl Lock {
    /// Takes the lock if it is free. `None` means that somebody alive holds it.
    pub fn try_take(path: &Path) -> Result<Option<Lock>, LockError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { file, path: path.to_owned() })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(LockError { path: path.to_owned(), source }),
        }
    }

    /// Takes the lock, waiting for whoever holds it. Blocks the thread.
    pub fn take(path: &Path) -> Result<Lock, LockError> {
        let file = open(path)?;
        match file.lock() {
            Ok(()) => Ok(Lock { file, path: path.to_owned() }),
            Err(source) => Err(LockError { path: path.to_owned(), source }),
        }
    }

    /// Leaves a line in the lock file, with one write, for whoever takes the lock next or wants to know who holds it.
    pub fn leave_note(&self, line: &str) -> Result<(), LockError> {
        debug_assert!(!line.contains('\n'), "a note is one line");
        let told = before("note in", &self.path).map_err(|err| err.source);
        told.and_then(|()| self.file.write_all_at(format!("{line}\n").as_bytes(), 0))
            .map_err(|source| LockError { path: self.path.clone(), source })
    }

    /// The line that this holder, or the one before, left.
    pub fn note(&self) -> Result<String, LockError> {
        let mut bytes = [0; NOTE_BYTES_MAX];
        let length = fill(&self.file, &mut bytes, 0)
            .map_err(|source| LockError { path: self.path.clone(), source })?;
        Ok(first_line(&bytes[..length]))
    }
}

/// The longest note.
pub const NOTE_BYTES_MAX: usize = 1024;

/// A shorter note overwrites the start of a longer one: only the first line counts.
fn first_line(bytes: &[u8]) -> String {
    let line = bytes.split(|it| *it == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

fn open(path: &Path) -> Result<File, LockError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|source| LockError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_and_is_free_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lane");
        let held = Lock::try_take(&path).unwrap().expect("free");
        held.leave_note("pid 12345").unwrap();
        held.leave_note("pid 7").unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(held);
        assert_eq!(Lock::try_take(&path).unwrap().expect("free again").note().unwrap(), "pid 7");
    }
}
