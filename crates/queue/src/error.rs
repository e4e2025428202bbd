//! What can go wrong, by the step that failed.

use std::io;
use std::path::PathBuf;

use tinyclaw_disk::{DiskError, LockError};
use tinyclaw_domain::{Key, Lane};

use crate::Place;

/// The queue could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum OpenError {
    #[error("cannot make the folder {}", path.display())]
    MakeFolder { path: PathBuf, source: io::Error },
    #[error("cannot list {}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error(
        "{} and its tmp/ lie on different mounts, and a message cannot be moved between them: mount the state folder once, at its root",
        path.display()
    )]
    TwoMounts { path: PathBuf, source: DiskError },
    #[error(
        "{} lies on a network file system, whose locks depend on a server: use a local disk, or set queue.allowNetworkDisk",
        path.display()
    )]
    NetworkDisk { path: PathBuf },
    #[error("{} was made by another version of the queue ({found}); this one knows {{\"v\":1}}", path.display())]
    OtherFormat { path: PathBuf, found: String },
    #[error("cannot begin")]
    Disk(#[from] DiskError),
    #[error("cannot begin alone")]
    Lock(#[from] LockError),
    #[error("cannot ask about the file system of {}", path.display())]
    FileSystem { path: PathBuf, source: io::Error },
}

/// A message was not accepted. Nothing of it is left in the queue, and its sender must not be told that it is.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum PublishError {
    #[error("{waiting} messages wait already; try again later")]
    Full { waiting: usize },
    #[error("{waiting} messages of lane {lane} wait already; try again later")]
    LaneFull { lane: Lane, waiting: usize },
    #[error(
        "message {key} has {bytes} bytes and {max} are allowed; put large things into files/ and refer to them"
    )]
    TooLarge { key: Key, bytes: usize, max: usize },
    #[error("the disk is full; make room below the state folder and send message {key} again")]
    NoSpace { key: Key },
    #[error("cannot write message {key} as JSON")]
    Json { key: Key, source: serde_json::Error },
    #[error("cannot publish message {key}")]
    Disk { key: Key, source: DiskError },
    #[error("cannot look whether message {key} is known already")]
    Look { key: Key, source: Box<OpenError> },
}

/// No message could be claimed, and not because there is none.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum ClaimError {
    #[error("cannot take lane {lane}")]
    Lock { lane: String, source: LockError },
    #[error("cannot take message {name}")]
    Move { name: String, source: DiskError },
    #[error("cannot read message {name}")]
    Read { name: String, source: io::Error },
    #[error("cannot list {}", path.display())]
    List { path: PathBuf, source: io::Error },
}

/// A step of a claimed message failed. The file is where it was, and the lease can be tried again or dropped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum LeaseError {
    #[error("cannot write {what} of message {key}")]
    Write { what: &'static str, key: Key, source: DiskError },
    #[error("cannot write message {key} as JSON")]
    Json { key: Key, source: serde_json::Error },
    #[error(
        "message {key} would have {bytes} bytes and {max} are allowed; put a long reply into files/ and refer to it"
    )]
    TooLarge { key: Key, bytes: usize, max: usize },
    #[error("cannot publish what message {key} sends on")]
    FollowUp { key: Key, source: Box<PublishError> },
    #[error("cannot move message {key} to {to}")]
    Move { key: Key, to: Place, source: DiskError },
}

/// A message could not be moved on an operator's word.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum MoveError {
    #[error("there is no message {key} in {wanted}")]
    NotThere { key: Key, wanted: &'static str },
    #[error("message {key} is being worked on; stop it first")]
    Busy { key: Key },
    #[error("cannot read message {key}")]
    Read { key: Key, source: io::Error },
    #[error("cannot write message {key} as JSON")]
    Json { key: Key, source: serde_json::Error },
    #[error("the file of message {key} has to be mended by hand where it lies: {why}")]
    NoMessage { key: Key, why: String },
    #[error("cannot move message {key}")]
    Disk { key: Key, source: DiskError },
    #[error("cannot lock the lane of message {key}")]
    Lock { key: Key, source: LockError },
}
