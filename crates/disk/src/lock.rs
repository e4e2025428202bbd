//! Locks that the kernel frees when their holder dies: no pid files, no timers, nothing to clean up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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

    /// Writes into the lock file who holds it, for people and for whoever wants to end the holder.
    pub fn describe(&mut self, text: &str) -> Result<(), LockError> {
        let told = self.file.set_len(0).and_then(|()| self.file.write_all_at(text.as_bytes(), 0));
        told.and_then(|()| self.file.flush())
            .map_err(|source| LockError { path: self.path.clone(), source })
    }
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
        let mut held = Lock::try_take(&path).unwrap().expect("free");
        held.describe("pid 7\n").unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "pid 7\n");
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
