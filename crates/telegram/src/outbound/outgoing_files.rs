//! Which files may go out, and that what is sent is what was checked, whatever lies under its name a moment later.
//!
//! Claude writes where these files lie, and may put a link, a pipe or another file there at any moment. So they are opened
//! by the rules for what somebody else may have made: below the thread's folders no link is followed, and nothing but a
//! regular file is opened, without waiting.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use tinyclaw_disk::foreign::{Foreign, ForeignError, open_below};
use tinyclaw_service::may_hold_secrets;

/// What a bot may send.
pub(crate) const UPLOAD_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// Where files may lie that a thread sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grounds {
    /// `files/<thread>`, in which nothing is kept secret.
    ours: Option<Ground>,
    /// The thread's directory.
    theirs: Option<Ground>,
}

/// A folder, as it was named and where it really lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ground {
    named: PathBuf,
    real: PathBuf,
}

/// A file that may be sent.
#[derive(Debug)]
pub(crate) struct Opened {
    file: Foreign,
    pub(crate) path: PathBuf,
    pub(crate) about: Metadata,
}

impl Ground {
    /// As it lies now; one that is not there is none.
    fn of(named: &Path) -> Option<Ground> {
        Some(Ground { named: named.to_owned(), real: named.canonicalize().ok()? })
    }

    /// Where a path lies in it.
    fn below<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.real).or_else(|_| path.strip_prefix(&self.named)).ok()
    }
}

impl Grounds {
    /// Grounds as they lie now; one that is not there is none.
    pub(crate) fn of(ours: &Path, theirs: Option<&Path>) -> Grounds {
        Grounds { ours: Ground::of(ours), theirs: theirs.and_then(Ground::of) }
    }

    /// Opens a file that may be sent. The error is for a person.
    pub(crate) fn open(&self, path: &Path) -> anyhow::Result<Opened> {
        let found =
            [(&self.ours, true), (&self.theirs, false)].into_iter().find_map(|(it, ours)| {
                let ground = it.as_ref()?;
                Some((ground, ground.below(path)?, ours))
            });
        let Some((ground, below, is_ours)) = found else {
            bail!("it lies outside of this thread's directory");
        };
        let path = ground.real.join(below);
        if !is_ours && may_hold_secrets(&path) {
            bail!("it may hold secrets");
        }
        let file = open_below(&ground.real, below).map_err(for_a_person)?;
        let about = file.about().clone();
        if about.len() == 0 {
            bail!("it is empty");
        }
        if about.len() > UPLOAD_BYTES_MAX {
            bail!("it is larger than 50 MB");
        }
        Ok(Opened { file, path, about })
    }
}

impl Opened {
    /// What is in it, which may have become more or less since it was opened.
    pub(crate) fn read(self) -> anyhow::Result<Vec<u8>> {
        let bytes = self.file.read(UPLOAD_BYTES_MAX).map_err(for_a_person)?;
        if bytes.is_empty() {
            bail!("it is empty");
        }
        Ok(bytes)
    }
}

fn for_a_person(err: ForeignError) -> anyhow::Error {
    let says = match err {
        ForeignError::Missing(_) | ForeignError::NotAFolder(_) => "it is not there",
        ForeignError::Link(_) => "it is a link, or lies behind one",
        ForeignError::Outside(_) => "it lies outside of this thread's directory",
        ForeignError::NotAFile(_) => "it is no file",
        ForeignError::TooLarge { .. } => "it is larger than 50 MB",
        ForeignError::Io { .. } => "it cannot be read",
    };
    anyhow!(says)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests lay files down as Claude would")]
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with `a.txt` in it, a file that lies elsewhere, and what was planned of the former.
    fn planned() -> (tempfile::TempDir, tempfile::TempDir, Grounds, PathBuf) {
        let (work, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(work.path().join("out")).unwrap();
        std::fs::write(work.path().join("out/a.txt"), "fine").unwrap();
        std::fs::write(work.path().join(".env"), "TOKEN=1").unwrap();
        std::fs::write(elsewhere.path().join("a.txt"), "theirs").unwrap();
        let grounds = Grounds::of(&work.path().join("none"), Some(work.path()));
        let path = grounds.open(&work.path().join("out/a.txt")).unwrap().path;
        assert_eq!(grounds.open(&path).unwrap().read().unwrap(), b"fine");
        (work, elsewhere, grounds, path)
    }

    #[track_caller]
    fn refused(grounds: &Grounds, path: &Path, why: &str) {
        assert_eq!(grounds.open(path).map(|it| it.path).unwrap_err().to_string(), why);
    }

    #[test]
    fn what_was_planned_is_checked_again_when_it_is_sent() {
        let (work, elsewhere, grounds, path) = planned();
        let swap = |target: &Path| {
            std::fs::remove_file(&path).unwrap();
            symlink(target, &path).unwrap();
        };
        for target in [elsewhere.path().join("a.txt"), work.path().join(".env"), "/dev/zero".into()]
        {
            swap(&target);
            refused(&grounds, &path, "it is a link, or lies behind one");
        }
        // A pipe that nobody writes to.
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(&grounds, &path, "it is no file");
        std::fs::remove_file(&path).unwrap();
        refused(&grounds, &path, "it is not there");
        // It grew.
        std::fs::File::create(&path).unwrap().set_len(UPLOAD_BYTES_MAX + 1).unwrap();
        refused(&grounds, &path, "it is larger than 50 MB");
        // A folder on the way to it.
        std::fs::remove_dir_all(work.path().join("out")).unwrap();
        symlink(elsewhere.path(), work.path().join("out")).unwrap();
        refused(&grounds, &path, "it is a link, or lies behind one");
        for (path, why) in [
            (work.path().join(".env"), "it may hold secrets"),
            (work.path().join("../a.txt"), "it lies outside of this thread's directory"),
            (elsewhere.path().join("a.txt"), "it lies outside of this thread's directory"),
            (work.path().to_owned(), "it is no file"),
        ] {
            refused(&grounds, &path, why);
        }
    }
}
