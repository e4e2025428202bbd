//! What can go wrong, by the step that failed. No error tells what the queue stands on: it names the step, and the key,
//! the lane or the place; the engine's own words are in its [`Fault`].

use std::error::Error;
use std::fmt;

use tinyclaw_disk::DiskError;
use tinyclaw_domain::{Key, Lane};

use crate::Place;

/// Why a step of an engine failed, in the engine's words.
pub struct Fault(Box<dyn Error + Send + Sync>);

impl Fault {
    pub(crate) fn of(cause: impl Error + Send + Sync + 'static) -> Fault {
        Fault(Box::new(cause))
    }

    pub(crate) fn because(why: impl Into<String>) -> Fault {
        Fault(why.into().into())
    }

    /// Whether there is no room left for what was to be written.
    pub fn is_no_space(&self) -> bool {
        #[cfg(feature = "postgres")]
        if let Some(trouble) = self.0.downcast_ref::<tinyclaw_postgres::Trouble>() {
            return trouble.is_no_space();
        }
        self.0.downcast_ref::<DiskError>().is_some_and(DiskError::is_no_space)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The queue could not be opened, or its house could not be kept.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum OpenError {
    #[error("cannot make the folder {folder}")]
    MakeFolder { folder: String, source: Fault },
    #[error("cannot list {folder}")]
    List { folder: String, source: Fault },
    #[error(
        "{folder} and its tmp/ lie on different mounts, and a message cannot be moved between them: mount the state folder once, at its root"
    )]
    TwoMounts { folder: String, source: Fault },
    #[error(
        "{folder} lies on a network file system, whose locks depend on a server: use a local disk, or set queue.allowNetworkDisk"
    )]
    NetworkDisk { folder: String },
    #[error(
        "{place} was made by another version of the queue ({found}); this one knows {{\"v\":1}}"
    )]
    OtherFormat { place: String, found: String },
    #[error("cannot begin")]
    Begin { source: Fault },
    #[error("cannot begin alone")]
    Alone { source: Fault },
    #[error("cannot remove {what}")]
    Remove { what: String, source: Fault },
    #[error("cannot ask about the file system of {folder}")]
    FileSystem { folder: String, source: Fault },
    #[error("the queue is out of reach")]
    Away { source: Fault },
    #[error("the database of the queue does not fit this program")]
    Schema { source: Fault },
    #[error("the way to the database of the queue cannot be used")]
    Pooler { source: Fault },
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
    Write { key: Key, source: Fault },
    #[error("cannot look whether message {key} is known already")]
    Look { key: Key, source: Box<OpenError> },
    #[error("the queue is out of reach, so message {key} is not accepted; send it again later")]
    Away { key: Key, source: Fault },
}

/// No message could be claimed, and not because there is none.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum ClaimError {
    #[error("cannot take lane {lane}")]
    Lane { lane: String, source: Fault },
    #[error("cannot take message {name}")]
    Move { name: String, source: Fault },
    #[error("cannot read message {name}")]
    Read { name: String, source: Fault },
    #[error("cannot list {folder}")]
    List { folder: String, source: Fault },
    #[error("the queue is out of reach")]
    Away { source: Fault },
}

/// A step of a claimed message failed. The message is where it was, and the lease can be tried again or dropped; but for
/// [`LeaseError::Lost`], after which there is nothing left to do but to drop it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum LeaseError {
    #[error("cannot write {what} of message {key}")]
    Write { what: &'static str, key: Key, source: Fault },
    #[error("cannot write message {key} as JSON")]
    Json { key: Key, source: serde_json::Error },
    #[error(
        "message {key} would have {bytes} bytes and {max} are allowed; put a long reply into files/ and refer to it"
    )]
    TooLarge { key: Key, bytes: usize, max: usize },
    #[error("cannot publish what message {key} sends on")]
    FollowUp { key: Key, source: Box<PublishError> },
    #[error("cannot move message {key} to {to}")]
    Move { key: Key, to: Place, source: Fault },
    #[error("message {key} is not ours any more; whoever has it now carries it on")]
    Lost { key: Key },
    #[error("the queue is out of reach, so {what} of message {key} is not kept yet")]
    Away { what: &'static str, key: Key, source: Fault },
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
    Read { key: Key, source: Fault },
    #[error("cannot write message {key} as JSON")]
    Json { key: Key, source: serde_json::Error },
    #[error("the file of message {key} has to be mended by hand where it lies: {why}")]
    NoMessage { key: Key, why: String },
    #[error("cannot move message {key}")]
    Move { key: Key, source: Fault },
    #[error("cannot lock the lane of message {key}")]
    Lane { key: Key, source: Fault },
    #[error("the queue is out of reach, so message {key} stays where it is")]
    Away { key: Key, source: Fault },
}

/// The queue could not be looked at. The cause is part of the words, because most who look show them to a person.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum LookError {
    #[error("{place} cannot be listed: {why}")]
    List { place: Place, why: Fault },
    #[error("{name} cannot be read: {why}")]
    Read { name: String, why: Fault },
    #[error("the queue is out of reach: {why}")]
    Away { why: Fault },
}
