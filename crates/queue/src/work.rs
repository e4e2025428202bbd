//! What an engine does for the queue. Everything that is the same for all of them (attempts, deaths, the keys of
//! follow-ups, limits, what a look answers) stands once, above these three traits; an engine keeps messages, moves them,
//! and sees to it that a lane has one owner. Nothing here says what a message means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Key, Lane, Message};
use tokio::sync::Notify;

use crate::entry::{At, Shelf};
use crate::error::{ClaimError, LeaseError, LookError, MoveError, OpenError, PublishError};
use crate::name::{Parts, Priority};
use crate::{Durability, Keep, Place, Published, Side, Swept, Trouble, Watch, Which};

/// Bytes of a message in work. Publishing allows less (`Options::message_bytes_max`), so that a checkpoint, an answer
/// and what it sends on find room in a message that was accepted.
pub(crate) const KEPT_BYTES_MAX: usize = 4 << 20;
/// What an engine may add to the JSON of a message and still keep it within [`KEPT_BYTES_MAX`].
pub(crate) const SEAL_BYTES_MAX: usize = 64;

/// A message on its way in, within the limits.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) side: Side,
    pub(crate) priority: Priority,
    pub(crate) key: Key,
    pub(crate) lane: Lane,
    /// Its way out.
    #[cfg(feature = "postgres")]
    pub(crate) channel: tinyclaw_domain::Channel,
    /// The message as JSON, on one line.
    pub(crate) json: Vec<u8>,
}

/// A message that was taken.
pub(crate) struct Taken {
    pub(crate) hold: Box<dyn Hold>,
    pub(crate) key: Key,
    pub(crate) message: Message,
    /// Whether it lay where it is worked on: whoever had it died.
    pub(crate) recovered: bool,
}

/// How work on a message ends.
#[derive(Debug)]
pub(crate) enum Ending<'a> {
    /// First what it sends on, each under a key that is published once; then the message itself.
    On { to: Place, follow_ups: Vec<Draft> },
    /// Back to where it waits, as the head of its lane; not to be tried before the delay has passed.
    Back { delay: Option<Duration> },
    /// To `dead/`, with the reason.
    Dead { reason: &'a str },
}

/// How safe a kept state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safety {
    /// It survives a power cut.
    PowerCut,
    /// It may be forgotten in a power cut: only a story depends on it.
    Story,
}

/// What keeps the messages.
pub(crate) trait Work: Send + Sync {
    /// Takes a message in, unless its key is known anywhere, or it is a heartbeat beside one that waits.
    fn put(&self, draft: Draft, durability: Durability) -> Result<Published, PublishError>;
    /// Takes the first message of the free lane whose work is oldest, and the lane with it.
    fn take(self: Arc<Self>, side: Side, which: &Which) -> Result<Option<Taken>, ClaimError>;
    /// Hears what it knows to have missed, before anything is decided.
    fn catch_up(&self) -> Result<(), ClaimError>;
    /// Looks for what it may have missed, when it is time. Whether there was news.
    fn sweep(&self) -> Result<bool, ClaimError>;
    /// Changes a message that waits in `incoming/`.
    fn edit(&self, key: &Key, change: &mut dyn FnMut(&mut Message)) -> Result<bool, MoveError>;
    /// Takes a message up that was given up. `renew` changes it, and says where it goes.
    fn requeue(
        &self,
        key: &Key,
        renew: &mut dyn FnMut(&mut Message) -> Place,
    ) -> Result<Place, MoveError>;
    /// Gives a message up that nobody works on.
    fn bury(&self, key: &Key, reason: &str) -> Result<(), MoveError>;
    /// Removes a message that was given up.
    fn purge(&self, key: &Key) -> Result<(), MoveError>;
    /// One round of housekeeping.
    fn housekeep(&self) -> Result<Swept, OpenError>;
    /// Removes what was given up or put aside longer ago than is kept. How many messages went.
    fn retire(&self, keep: &Keep) -> Result<usize, OpenError>;
    /// How many wait on a side, and in one lane of it.
    fn waiting(&self, side: Side, lane: &str) -> (usize, usize);
    /// Whether anything of a lane waits or is worked on.
    fn has_work(&self, side: Side, lane: &str) -> bool;
    /// Whether there is room for new messages.
    fn has_room(&self) -> bool;
    /// The lanes that cannot be worked on.
    fn troubles(&self) -> Vec<Trouble>;
    /// Woken by every change.
    fn changed(&self) -> Arc<Notify>;
    /// When the next message that waits for its time is due, in ms since 1970.
    fn next_due(&self, side: Side) -> Option<u64>;
    /// Ends when everything held must be let go.
    fn lost(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    /// A look at it.
    fn look(&self) -> Arc<dyn Look>;
}

/// A message in hand, and its lane. Dropping it leaves the message where it is worked on and frees the lane.
pub(crate) trait Hold: Send + Sync {
    /// Keeps a state of the message.
    fn keep(&mut self, json: Vec<u8>, what: &'static str, safety: Safety)
    -> Result<(), LeaseError>;
    /// Makes a state safe that somebody else wrote: they may have died before it was.
    fn confirm(&mut self, json: Vec<u8>, what: &'static str) -> Result<(), LeaseError>;
    /// Moves it to where it belongs now.
    fn end(&mut self, ending: Ending<'_>) -> Result<(), LeaseError>;
    /// Whether nobody can have taken it over.
    fn still_ours(&self) -> bool;
}

/// Looks, and touches nothing.
pub(crate) trait Look: fmt::Debug + Send + Sync {
    /// The shelves of a place, the oldest first. None when there is no queue yet.
    fn shelves(&self, place: Place) -> Result<Vec<Shelf>, LookError>;
    /// Calls `each` with the name of every message on a shelf, in no order.
    fn scan(&self, shelf: &Shelf, each: &mut dyn FnMut(&str, Parts<'_>)) -> Result<(), LookError>;
    /// The names under which these keys are in the queue, and where; `None` when that takes a listing.
    fn named(&self, _keys: &[&str]) -> Result<Option<Vec<(Place, String)>>, LookError> {
        Ok(None)
    }
    /// Where the message of a name on a shelf is read from.
    fn at(&self, shelf: &Shelf, name: &str) -> At;
    /// Reads a message. `None` when it has moved on, or is none.
    fn read(&self, at: &At) -> Result<Option<Message>, LookError>;
    /// Why a message was given up or put aside, where that is said.
    fn reason(&self, at: &At) -> Result<Option<String>, LookError>;
    /// How many things lie in quarantine, under whatever names.
    fn put_aside(&self) -> Result<usize, LookError>;
    /// Tells what moves.
    fn watch(&self) -> Watch;
}
