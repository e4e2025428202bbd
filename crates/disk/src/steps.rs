//! The steps that change a disk: write, flush, rename, remove. Every other module of the workspace changes files
//! through these, so that tests can count flushes and build what a power cut leaves behind.
#![expect(clippy::disallowed_methods, reason = "this is the module that others are sent to")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// A step on the disk that did not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", path.display())]
pub struct DiskError {
    /// What was tried, as words that follow "cannot".
    pub step: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Whether the disk is full, or the quota is.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the file was not there: somebody else was faster.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether the target was there already.
    pub fn is_already_exists(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }
}

fn at<T>(step: &'static str, path: &Path, result: io::Result<T>) -> Result<T, DiskError> {
    result.map_err(|source| DiskError { step, path: path.to_owned(), source })
}

/// Where tests make the next step fail. Nothing in a real build.
pub(crate) fn before(step: &'static str, path: &Path) -> Result<(), DiskError> {
    #[cfg(feature = "testing")]
    at(step, path, testing::fault())?;
    let _ = (step, path);
    Ok(())
}

/// Where tests learn what was done. Nothing in a real build.
macro_rules! note {
    ($step:expr) => {
        #[cfg(feature = "testing")]
        testing::note(|| $step);
    };
}

/// Whether a write has to survive a power cut, or only the death of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The file and its name are on the disk before the call returns.
    Strict,
    /// The page cache will do.
    None,
}

/// Makes a new file with these bytes and returns it unflushed. Fails when the name is taken.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<File, DiskError> {
    before("create", path)?;
    let mut file = at("create", path, OpenOptions::new().write(true).create_new(true).open(path))?;
    if let Err(source) = file.write_all(bytes) {
        // Half a file is of no use to anybody, and a full disk needs the room.
        let _ = std::fs::remove_file(path);
        return Err(DiskError { step: "write", path: path.to_owned(), source });
    }
    note!(testing::Step::Write { path: path.to_owned(), bytes: bytes.to_owned() });
    Ok(file)
}

/// Writes behind the first `length` bytes of a file, in place of whatever lies there, and flushes it: one flush, because no
/// name changes. Refuses what is no plain file, and one that is shorter: somebody changed it, and a gap would read as zeros.
///
/// A crash may leave a part of the bytes; readers must be able to tell. After an error the file is as long as before, or
/// longer by a part of the bytes, and must not be appended to again: replace it.
pub fn append_at(path: &Path, length: u64, bytes: &[u8], flush: Flush) -> Result<(), DiskError> {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    before("append to", path)?;
    // Without waiting: a pipe that nobody reads would hold whoever opens it for ever.
    let flags = (nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK).bits();
    let file = at("open", path, OpenOptions::new().write(true).custom_flags(flags).open(path))?;
    let found = at("look at", path, file.metadata())?;
    if !found.is_file() || found.len() < length {
        let changed = io::Error::other("it is not the file that was read");
        return at("append to", path, Err(changed));
    }
    if found.len() > length {
        at("cut", path, file.set_len(length))?;
    }
    if let Err(source) = file.write_all_at(bytes, length) {
        let _ = file.set_len(length);
        return Err(DiskError { step: "append to", path: path.to_owned(), source });
    }
    note!(testing::Step::Append { path: path.to_owned(), length, bytes: bytes.to_owned() });
    if flush == Flush::Strict {
        sync_file(&file, path)?;
    }
    Ok(())
}

/// Flushes a file's bytes. After an error the descriptor must not be flushed again: write anew, or give up.
pub fn sync_file(file: &File, path: &Path) -> Result<(), DiskError> {
    before("flush", path)?;
    at("flush", path, file.sync_data())?;
    note!(testing::Step::SyncFile { path: path.to_owned() });
    Ok(())
}

/// Flushes the bytes of the file at a path, whoever wrote them.
pub fn sync_path(path: &Path) -> Result<(), DiskError> {
    sync_file(&at("open", path, File::open(path))?, path)
}

/// Flushes a folder's names: what was created in it, renamed into or out of it, or removed from it.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    before("flush folder", dir)?;
    let file = at("open folder", dir, File::open(dir))?;
    at("flush folder", dir, file.sync_all())?;
    note!(testing::Step::SyncDir { path: dir.to_owned() });
    Ok(())
}

/// Renames, replacing what is there.
pub fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    before("rename", from)?;
    at("rename", from, std::fs::rename(from, to))?;
    note!(testing::Step::Rename { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Renames unless the target exists.
pub fn rename_no_replace(from: &Path, to: &Path) -> Result<(), DiskError> {
    before("rename", from)?;
    let result = renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE);
    at("rename", from, result.map_err(io::Error::from))?;
    note!(testing::Step::Rename { from: from.to_owned(), to: to.to_owned() });
    Ok(())
}

/// Swaps two files. Fails when either is missing, so nothing is made that was taken away meanwhile.
pub fn exchange(a: &Path, b: &Path) -> Result<(), DiskError> {
    before("exchange", b)?;
    let result = renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE);
    at("exchange", b, result.map_err(io::Error::from))?;
    note!(testing::Step::Exchange { a: a.to_owned(), b: b.to_owned() });
    Ok(())
}

/// Removes a file. One that is not there is no error.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    before("remove", path)?;
    match std::fs::remove_file(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => at("remove", path, other)?,
    }
    note!(testing::Step::Remove { path: path.to_owned() });
    Ok(())
}

/// Replaces a file as a whole: a reader sees the old bytes or the new ones, also after a crash.
///
/// Two writers of the same path are not kept apart here; every file of TinyClaw has one. A crash may leave a
/// `.tmp` file beside it, which the next replace overwrites.
pub fn replace(path: &Path, bytes: &[u8], flush: Flush) -> Result<(), DiskError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    replace_through(&path.with_file_name(name), path, bytes, flush)
}

/// [`replace`] with a temporary name of the caller's choice, on the same file system.
pub fn replace_through(
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
    flush: Flush,
) -> Result<(), DiskError> {
    remove(temporary)?;
    let file = write_new(temporary, bytes)?;
    if flush == Flush::Strict
        && let Err(err) = sync_file(&file, temporary)
    {
        let _ = remove(temporary);
        return Err(err);
    }
    drop(file);
    rename(temporary, path)?;
    if flush == Flush::Strict {
        sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))?;
    }
    Ok(())
}

#[cfg(feature = "testing")]
use crate::testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_the_new_bytes_and_no_litter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        replace(&path, b"old", Flush::Strict).unwrap();
        replace(&path, b"new", Flush::None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_taken_name_is_not_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write_new(&a, b"a").unwrap();
        write_new(&b, b"b").unwrap();
        assert!(write_new(&a, b"x").unwrap_err().is_already_exists());
        assert!(rename_no_replace(&a, &b).unwrap_err().is_already_exists());
        assert_eq!(std::fs::read(&b).unwrap(), b"b");
    }

    #[test]
    fn bytes_are_added_to_the_file_that_was_read_and_to_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_new(&path, b"one\ntorn").unwrap();
        append_at(&path, 4, b"two\n", Flush::Strict).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        // Cut by hand meanwhile: a gap of zeros would stand where the state was.
        assert!(append_at(&path, 12, b"three\n", Flush::Strict).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(append_at(&pipe, 0, b"x\n", Flush::Strict).is_err());
    }

    #[test]
    fn an_error_names_the_step_and_the_path_once() {
        let err = rename(Path::new("/nowhere/a"), Path::new("/nowhere/b")).unwrap_err();
        assert_eq!(err.to_string(), "cannot rename /nowhere/a");
        assert!(err.is_not_found());
    }
}
