#![doc = include_str!("../README.md")]

mod claim;
mod clock;
mod entry;
mod error;
mod folders;
mod housekeeping;
mod lease;
mod location;
#[cfg(feature = "memory")]
mod memory;
mod name;
#[cfg(feature = "postgres")]
mod postgres;
mod publish;
mod terms;
mod view;
mod watch;
mod work;

use std::sync::Arc;
use std::time::Duration;

pub use crate::entry::Entry;
pub use crate::error::{
    ClaimError, Fault, LeaseError, LookError, MoveError, OpenError, PublishError,
};
pub use crate::folders::message_in;
pub use crate::lease::{ATTEMPTS_MAX, DEATHS_MAX, Lease, SENDER_DEATHS_MAX, backoff};
pub use crate::location::Where;
#[cfg(feature = "memory")]
pub use crate::memory::Memory;
pub use crate::terms::{Durability, Keep, Place, Published, Side, Swept, Trouble, Which};
pub use crate::view::{Depth, Seen, View, Waiting};
pub use crate::watch::{Moved, Moves, News, Watch};
use crate::work::Work;

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

/// A queue. Cheap to clone; one per process is enough.
///
/// It speaks of keys, sides, lanes and places. What it stands on (folders, in a service) shows nowhere in its interface.
#[derive(Clone)]
pub struct Queue {
    work: Arc<dyn Work>,
    options: Arc<Options>,
    view: View,
}

impl Queue {
    /// Opens a queue, making what it stands on when that is missing: the folders below a state folder, say. Any number
    /// of processes may have a queue open.
    ///
    /// Refuses a state folder whose stages lie on different mounts (a rename between them would fail), a network file
    /// system unless allowed, and a layout of another version.
    pub fn open(place: impl Into<Where>, options: Options) -> Result<Queue, OpenError> {
        let work = place.into().open(options.clone())?;
        Ok(Queue { view: View::over(work.look()), work, options: Arc::new(options) })
    }

    /// Looks at the queue without touching it.
    pub fn view(&self) -> View {
        self.view.clone()
    }
}
