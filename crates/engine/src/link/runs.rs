//! The folders of runs: what a hold leaves for whoever listens, now or later.
//!
//! `runs/<id>/` has the output in segments (`out.0`, `out.1`, …), what came on stderr (`err`), the digest of the token
//! (`token`), the office's note (`note`), the hold's lock and sockets (`lock`, `s`, and `git` where git may ask for tokens), and in the end, by a rename, how it
//! ended (`exit`). Claude is the same user here, so nothing that is read is believed to be more than a file of ours, and no
//! link and no pipe is opened.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_disk::{Flush, Lock, replace, write_new};
use tinyclaw_domain::frame::{RunExit, RunId, RunToken};

/// The longest note of an office, and the longest of our own small files.
const SMALL_BYTES_MAX: u64 = 64 * 1024;
/// How much of stderr is kept for a run that has ended.
const ERR_BYTES_MAX: usize = 16 * 1024;

/// The folder of all runs of this user.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    base: PathBuf,
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub(super) struct RunDir {
    path: PathBuf,
}

impl Runs {
    /// The runs below this folder, which is made when it is not there.
    pub(super) fn open(base: &Path) -> io::Result<Runs> {
        for dir in [base.join("runs"), base.join("locks")] {
            private_dir(&dir, true)?;
        }
        Ok(Runs { base: base.to_owned() })
    }

    /// Where locks of directories lie.
    pub(super) fn locks(&self) -> PathBuf {
        self.base.join("locks")
    }

    /// The run's folder, if there is one and the token is its own.
    pub(super) fn find(&self, run: &RunId, token: &RunToken) -> Option<RunDir> {
        let dir = self.dir(run);
        let digest = dir.read("token").ok()?;
        (digest == token.digest().as_bytes()).then_some(dir)
    }

    /// Whether there is a folder of this name, whoever's it is.
    pub(super) fn has(&self, run: &RunId) -> bool {
        self.dir(run).path.symlink_metadata().is_ok()
    }

    /// Makes the folder of a new run.
    pub(super) fn make(&self, run: &RunId, token: &RunToken) -> io::Result<RunDir> {
        let dir = self.dir(run);
        private_dir(&dir.path, false)?;
        write_new(&dir.path.join("token"), token.digest().as_bytes()).map_err(|err| err.source)?;
        Ok(dir)
    }

    /// All runs that there are.
    pub(super) fn all(&self) -> io::Result<Vec<RunId>> {
        let names =
            foreign::names_below(&self.base, Path::new("runs")).map_err(io::Error::other)?;
        Ok(names.iter().filter_map(|it| it.to_str()?.parse().ok()).collect())
    }

    /// The folder of a run, which may not be there.
    pub(super) fn dir(&self, run: &RunId) -> RunDir {
        RunDir { path: self.base.join("runs").join(run.as_str()) }
    }
}

impl RunDir {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lock of the run's hold; `None` while that lives.
    pub(super) fn try_lock(&self) -> io::Result<Option<Lock>> {
        Lock::try_take(&self.path.join("lock")).map_err(|err| err.source)
    }

    /// Whether a hold is at work.
    pub(super) fn lives(&self) -> bool {
        self.try_lock().is_ok_and(|it| it.is_none())
    }

    /// One of our small files.
    fn read(&self, name: &str) -> Result<Vec<u8>, ForeignError> {
        foreign::read_below(&self.path, Path::new(name), SMALL_BYTES_MAX)
    }

    /// How the run ended, if it did.
    pub(super) fn exit(&self) -> Option<RunExit> {
        serde_json::from_slice(&self.read("exit").ok()?).ok()
    }

    /// Says how the run ended: the last of all.
    pub(super) fn write_exit(&self, exit: &RunExit) -> io::Result<()> {
        let bytes = serde_json::to_vec(exit)?;
        replace(&self.path.join("exit"), &bytes, Flush::None).map_err(|err| err.source)
    }

    /// The office's note; empty when it left none.
    pub(super) fn note(&self) -> Vec<u8> {
        self.read("note").unwrap_or_default()
    }

    pub(super) fn write_note(&self, note: &[u8]) -> io::Result<()> {
        replace(&self.path.join("note"), note, Flush::None).map_err(|err| err.source)
    }

    /// The end of what came on stderr.
    pub(super) fn err(&self) -> Vec<u8> {
        self.read("err").unwrap_or_default()
    }

    pub(super) fn write_err(&self, tail: &[u8]) -> io::Result<()> {
        let tail = &tail[tail.len().saturating_sub(ERR_BYTES_MAX)..];
        replace(&self.path.join("err"), tail, Flush::None).map_err(|err| err.source)
    }

    /// Forgets the run. Nobody may be at work in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.path)
    }
}

/// A folder that is ours alone.
fn private_dir(path: &Path, may_be_there: bool) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(may_be_there).mode(0o700).create(path)
}
