#![doc = include_str!("../README.md")]

mod files;
mod stream;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Message, StateDir};
use tinyclaw_ledger::health;
use tinyclaw_queue::{Durability, OpenError, Options, PublishError, Published, Queue, Side, View};

pub use crate::files::{AttachError, Attachment, TextError};
pub use crate::stream::{Stream, StreamError, Told};
use crate::waiting::Waiting;
pub use crate::waiting::{Ending, Standing, WaitError};

/// A processor says every two seconds how it is. One that has said nothing for so long is not there.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Somebody outside the office, with a hand on its queue. Cheap to clone; one a process is enough.
#[derive(Clone)]
pub struct Client {
    state: StateDir,
    queue: Queue,
    view: View,
    waiting: Arc<Waiting>,
}

impl Client {
    /// Opens the queue of this office, and makes its folders where they are missing.
    pub fn open(state: &StateDir, options: Options) -> Result<Client, OpenError> {
        Ok(Client::over(state, Queue::open(state.root(), options)?))
    }

    /// A client over a queue that is open already.
    pub fn over(state: &StateDir, queue: Queue) -> Client {
        let view = queue.view();
        let waiting = Arc::new(Waiting::new(view.clone()));
        Client { state: state.clone(), queue, view, waiting }
    }

    /// The queue itself, for what an operator does to it.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// A look at the queue.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Publishes a message under its key; one that is known already is not published again. When this returns without an
    /// error the message is on disk, flushed, and may be confirmed to whoever sent it. After an error nothing of it is left,
    /// and it may be published again.
    pub fn publish(&self, side: Side, message: Message) -> Result<Published, PublishError> {
        self.queue.publish(side, message, Durability::Strict)
    }

    /// Whether a processor is there to answer, as far as it says so itself.
    pub fn is_staffed(&self, now_ms: u64) -> bool {
        let seen = health::read(&self.state, "processor", now_ms).ok().flatten();
        seen.is_some_and(|it| it.age <= SILENT_AFTER)
    }
}
