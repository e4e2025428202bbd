//! The terms in which everything else is said: sides, places, which lanes, how safe, and what became of it. They know of
//! nothing but each other.

use std::fmt;
use std::time::Duration;

use tinyclaw_domain::{Channel, Lane};

/// The two sides of the queue. A lane has one owner on each, so sending an answer never blocks the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// `incoming/ → processing/`: messages on their way to Claude.
    Run,
    /// `outgoing/ → sending/`: answers on their way to people.
    Send,
}

/// Where a message is. Its place is its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Waits for Claude.
    Incoming,
    /// Is being answered; or was, by somebody who died.
    Processing,
    /// Its answer waits to be sent.
    Outgoing,
    /// Its answer is being sent; or was, by somebody who died.
    Sending,
    /// Answered and delivered.
    Done,
    /// Given up, with the reason beside it.
    Dead,
    /// Never was a message; with the reason beside it.
    Quarantine,
}

impl Place {
    /// All places, in the direction of travel: who lists them in this order misses no message that moves meanwhile.
    pub const ALL: [Place; 7] = [
        Place::Incoming,
        Place::Processing,
        Place::Outgoing,
        Place::Sending,
        Place::Done,
        Place::Dead,
        Place::Quarantine,
    ];

    /// The folder's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Place::Incoming => "incoming",
            Place::Processing => "processing",
            Place::Outgoing => "outgoing",
            Place::Sending => "sending",
            Place::Done => "done",
            Place::Dead => "dead",
            Place::Quarantine => "quarantine",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.as_str())
    }
}

impl Side {
    /// Where messages of this side wait.
    pub(crate) fn waiting(self) -> Place {
        match self {
            Side::Run => Place::Incoming,
            Side::Send => Place::Outgoing,
        }
    }

    /// Where messages of this side are worked on.
    pub(crate) fn working(self) -> Place {
        match self {
            Side::Run => Place::Processing,
            Side::Send => Place::Sending,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Side::Run => "run",
            Side::Send => "send",
        }
    }
}

/// Which lanes a claim looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The lanes of threads and of housekeeping.
    Ordinary,
    /// The control lanes, which ignore every limit.
    Control,
    /// One lane.
    Lane(Lane),
    /// All lanes whose head is of this channel: for a sender that knows one way out.
    Channel(Channel),
}

/// A lane that cannot be worked on now, for whoever looks after the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The side it is on.
    pub side: Side,
    /// The lane that waits.
    pub lane: String,
    /// What failed, with the name of the file.
    pub why: String,
    /// How often it was tried.
    pub tries: u32,
}

/// What has to be true when publishing returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives a power cut. Two flushes.
    #[default]
    Strict,
    /// The same, with the flushes shared among publishers that come within 2 ms.
    Group,
    /// It survives the death of any process, but not a power cut.
    None,
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is in the queue now.
    New,
    /// A message of this key was there already; nothing was done.
    Duplicate(Place),
}

/// What one round of housekeeping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Files of `tmp/` that a crash had left.
    pub litter: usize,
    /// Hand-made files that are proper messages now.
    pub adopted: usize,
    /// Files that are no messages.
    pub quarantined: usize,
    /// Answered messages that `done/` has forgotten.
    pub reaped: usize,
}

/// How long what was given up is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// In `dead/`.
    pub dead: Duration,
    /// In `quarantine/`.
    pub quarantine: Duration,
}
