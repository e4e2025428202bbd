#![doc = include_str!("../README.md")]

mod claim;
mod clock;
mod error;
mod folders;
mod group;
mod index;
mod lease;
mod name;
mod note;
mod plain;
mod publish;
mod record;
mod sweep;
mod trouble;
mod view;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use crate::claim::Which;
pub use crate::error::{ClaimError, LeaseError, MoveError, OpenError, PublishError};
pub use crate::folders::Place;
pub use crate::lease::{ATTEMPTS_MAX, DEATHS_MAX, Lease, SENDER_DEATHS_MAX, backoff};
pub use crate::publish::{Durability, Published};
pub use crate::record::message_in;
pub use crate::sweep::Swept;
pub use crate::trouble::Trouble;
pub use crate::view::{Depth, Entry, Seen, View};
pub use crate::watch::Watch;

/// The two sides of the queue. A lane has one lock for each, so sending an answer never blocks the next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// `incoming/ → processing/`: messages on their way to Claude.
    Run,
    /// `outgoing/ → sending/`: answers on their way to people.
    Send,
}

/// The limits of a queue. The defaults are the ones of `docs/QUEUE.md`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Messages that may wait in `incoming/`; beyond that publishing fails.
    pub incoming_max: usize,
    /// Messages that may wait in one lane.
    pub lane_max: usize,
    /// Answers that may wait in `outgoing/`; beyond that no new turn begins.
    pub outgoing_max: usize,
    /// Bytes of one message when it is published; larger things go to `files/` first and are referenced. While it is
    /// worked on it may grow to 4 MiB, so that what was accepted can be answered.
    pub message_bytes_max: usize,
    /// Below this share of free disk nothing new is accepted, unless there is room enough all the same.
    pub free_share_min: f64,
    /// So many free bytes are room enough, however large the disk.
    pub free_bytes_enough: u64,
    /// How long `done/` remembers, so that a repeated key is known.
    pub done_days: u32,
    /// Room kept for the answers of running work when the disk is full.
    pub reserve_bytes: u64,
    /// Whether a network file system is taken although its locks depend on a server.
    pub allow_network_disk: bool,
    /// Whether to watch the folders. Without, only the sweep finds what other processes publish.
    pub watch: bool,
    /// How often everything is looked at again, whatever the watcher says.
    pub sweep_every: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            incoming_max: 10_000,
            lane_max: 200,
            outgoing_max: 1_000,
            message_bytes_max: 1 << 20,
            free_share_min: 0.05,
            free_bytes_enough: 1 << 30,
            done_days: 7,
            reserve_bytes: 8 << 20,
            allow_network_disk: false,
            watch: true,
            sweep_every: Duration::from_secs(1),
        }
    }
}

/// The queue of one state folder. Cheap to clone; one per process is enough.
///
/// It speaks of keys, sides and lanes. Where the messages lie (folders today) shows nowhere in its interface.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<claim::Inner>,
}

impl Queue {
    /// Opens the queue below `state`, making its folders when they are missing.
    ///
    /// Refuses a folder whose stages lie on different mounts (a rename between them would fail), a network file system
    /// unless allowed, and a layout of another version. Any number of processes may have the queue open.
    pub fn open(state: &Path, options: Options) -> Result<Queue, OpenError> {
        Ok(Queue { inner: claim::Inner::open(state, options)? })
    }

    /// Looks at the queue without touching it.
    pub fn view(&self) -> View {
        View::at(self.inner.folders.clone())
    }
}
