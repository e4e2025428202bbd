//! Files that leave the house: opened first and checked then, so that what is sent is what was checked.
//!
//! Claude writes where these files lie, and may put a link or another file there at any moment. What counts is where the
//! opened file really lies, by the kernel's word; a path is not looked at twice.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::OFlag;

/// What a bot may send.
pub(crate) const UPLOAD_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// Where files may lie that a thread sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Grounds {
    /// `files/<thread>`, in which nothing is kept secret.
    pub(crate) ours: Option<PathBuf>,
    /// The thread's directory.
    pub(crate) theirs: Option<PathBuf>,
}

/// A file that may be sent.
#[derive(Debug)]
pub(crate) struct Opened {
    file: File,
    pub(crate) path: PathBuf,
    pub(crate) about: Metadata,
}

impl Grounds {
    /// Grounds as they lie now; one that is not there is none.
    pub(crate) fn of(ours: &Path, theirs: Option<&Path>) -> Grounds {
        let real = |it: &Path| it.canonicalize().ok();
        Grounds { ours: real(ours), theirs: theirs.and_then(real) }
    }

    /// Opens a file that may be sent. The error is for a person.
    pub(crate) fn open(&self, path: &Path) -> anyhow::Result<Opened> {
        // What is no file is not even opened; a pipe in its place would make us wait.
        match std::fs::metadata(path) {
            Ok(about) if !about.is_file() => bail!("it is no file"),
            Ok(_) => {}
            Err(_) => bail!("it is not there"),
        }
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = opened.context("it cannot be read")?;
        let about = file.metadata().context("it cannot be read")?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
            .context("it cannot be told where it lies")?;
        if about.nlink() == 0 {
            bail!("it is not there");
        }
        let below = |dir: &Option<PathBuf>| dir.as_ref().is_some_and(|it| path.starts_with(it));
        if !below(&self.ours) && !below(&self.theirs) {
            bail!("it lies outside of this thread's directory");
        }
        if !below(&self.ours) && is_secret(&path) {
            bail!("it may hold secrets");
        }
        if !about.is_file() {
            bail!("it is no file");
        }
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
        let mut bytes = Vec::new();
        self.file
            .take(UPLOAD_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .context("it cannot be read")?;
        if bytes.is_empty() {
            bail!("it is empty");
        }
        if bytes.len() as u64 > UPLOAD_BYTES_MAX {
            bail!("it is larger than 50 MB");
        }
        Ok(bytes)
    }
}

/// Files that hold secrets more often than not.
fn is_secret(path: &Path) -> bool {
    path.components().any(|it| {
        let name = it.as_os_str().to_string_lossy().to_ascii_lowercase();
        matches!(
            name.as_str(),
            ".ssh"
                | ".gnupg"
                | ".aws"
                | ".tinyclaw"
                | ".netrc"
                | ".npmrc"
                | ".git-credentials"
                | "secrets"
        ) || name == ".env"
            || name.starts_with(".env.") && name != ".env.example"
            || name.starts_with("id_rsa")
            || name.starts_with("id_ed25519")
            || [".pem", ".key", ".p12", ".pfx", ".kdbx"].iter().any(|end| name.ends_with(end))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the tests lay files down as Claude would")]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_that_hold_secrets_stay() {
        for path in [
            "/w/.env",
            "/w/.env.local",
            "/w/a/key.pem",
            "/home/x/.ssh/config",
            "/w/.tinyclaw/telegram.json",
        ] {
            assert!(is_secret(Path::new(path)), "{path}");
        }
        for path in ["/w/.env.example", "/w/environment.md", "/w/keys.rs"] {
            assert!(!is_secret(Path::new(path)), "{path}");
        }
    }

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
        swap(&elsewhere.path().join("a.txt"));
        refused(&grounds, &path, "it lies outside of this thread's directory");
        swap(&work.path().join(".env"));
        refused(&grounds, &path, "it may hold secrets");
        swap(Path::new("/dev/zero"));
        refused(&grounds, &path, "it is no file");
        std::fs::remove_file(&path).unwrap();
        refused(&grounds, &path, "it is not there");
        // It grew.
        std::fs::File::create(&path).unwrap().set_len(UPLOAD_BYTES_MAX + 1).unwrap();
        refused(&grounds, &path, "it is larger than 50 MB");
        // A folder on the way to it.
        std::fs::remove_dir_all(work.path().join("out")).unwrap();
        symlink(elsewhere.path(), work.path().join("out")).unwrap();
        refused(&grounds, &path, "it lies outside of this thread's directory");
    }
}
