//! The office's own key: whether it is kept well, and what goes into `authorized_keys`.
//!
//! A key that others may read, that is somebody else's, or that wants a passphrase nobody can type is not used.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// `ssh-keygen` reads one small file.
const PATIENCE: Duration = Duration::from_secs(10);

/// A private key that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
    public: String,
}

/// Why a key is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// There is none.
    #[error("the key file {} is gone (ssh-keygen -t ed25519 -N '' -f FILE makes one)", .0.display())]
    Gone(PathBuf),
    /// It is no plain file.
    #[error("the key file {} is no plain file: name the file itself", .0.display())]
    NotAFile(PathBuf),
    /// It belongs to another user.
    #[error("the key file {} is another user's: it has to be this service's own", .0.display())]
    NotOurs(PathBuf),
    /// Others may read it.
    #[error("the key file {} may be read by others (chmod 600)", .0.display())]
    Open(PathBuf),
    /// Nobody is there to type a passphrase.
    #[error("the key file {} has a passphrase, or is no private key", .0.display())]
    Locked(PathBuf),
    /// The tools are missing.
    #[error("ssh-keygen cannot be started ({0}): install openssh-client")]
    NoTools(String),
}

impl KeyFile {
    /// Whether the file itself is kept well. Starts nothing, so that it can be asked before each connection.
    pub fn check(path: &Path) -> Result<(), KeyFault> {
        let gone = || KeyFault::Gone(path.to_owned());
        let about = path.symlink_metadata().map_err(|_| gone())?;
        // What orchestrators mount is a link to the file; what it leads to is looked at.
        let about = if about.is_symlink() { path.metadata().map_err(|_| gone())? } else { about };
        if !about.is_file() {
            return Err(KeyFault::NotAFile(path.to_owned()));
        }
        let me = nix::unistd::geteuid().as_raw();
        if ![me, 0].contains(&about.uid()) {
            return Err(KeyFault::NotOurs(path.to_owned()));
        }
        // What root hands over, such as a credential of systemd's, names this user in a list that shows as the group's bits.
        let others = if about.uid() == me { 0o077 } else { 0o007 };
        if about.mode() & others != 0 {
            return Err(KeyFault::Open(path.to_owned()));
        }
        Ok(())
    }

    /// Reads a key: whether it is kept well, and can be used without a person.
    pub async fn read(path: &Path) -> Result<KeyFile, KeyFault> {
        KeyFile::check(path)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "ssh's own tool knows what its keys look like"
        )]
        let asked = Command::new("ssh-keygen")
            .args(["-y", "-P", "", "-f"])
            .arg(path)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = match timeout(PATIENCE, asked).await {
            Ok(output) => output.map_err(|err| KeyFault::NoTools(err.to_string()))?,
            Err(_) => return Err(KeyFault::NoTools("it does not end".to_owned())),
        };
        let public = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || public.is_empty() {
            return Err(KeyFault::Locked(path.to_owned()));
        }
        Ok(KeyFile { path: path.to_owned(), public })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line for `authorized_keys`: kind, key, comment.
    pub fn public(&self) -> &str {
        &self.public
    }
}
