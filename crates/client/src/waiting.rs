//! Waiting until something has become of a message.
//!
//! Any number of callers share one watch of the queue: one task hears its moves, and wakes those whose message moved. Nobody lists the queue while nothing moves, but where moves may have been missed: then it is listed once for all.
//! Nobody is kept waiting for longer than they want to: that is the caller's timeout.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tinyclaw_domain::{Key, Message};
use tinyclaw_queue::{LookError, Moves, News, Place, Seen, View};
use tokio::sync::Notify;

use crate::Client;

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// It has its reply. Somebody else may still be carrying that to a chat.
    Answered(Box<Message>),
    /// It was given up, for this reason.
    GivenUp(String),
}

/// How it stands with a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// It waits, or is worked on.
    Unfinished {
        /// Its place in its lane while it waits: 1 is next.
        position: Option<usize>,
        /// Why it was put back, while it waits for its next try.
        trouble: Option<String>,
    },
    /// Something has become of it.
    Ended(Ending),
}

/// Nobody can tell what became of a message.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum WaitError {
    #[error("cannot look into the queue")]
    Look {
        #[from]
        source: LookError,
    },
    #[error("message {key} is not in the queue any more")]
    Gone { key: Key },
}

impl Client {
    /// How it stands with a message, from one look at the queue.
    pub fn standing(&self, key: &Key) -> Result<Standing, WaitError> {
        let seen = self.view.find(key)?.ok_or_else(|| WaitError::Gone { key: key.clone() })?;
        Ok(Standing::of(seen))
    }

    /// Waits until something has become of a message. It looks at the queue on the thread that waits: once, and again when
    /// the message has moved to where it may have ended.
    ///
    /// Two who wait for the same message are both told. Dropped, it leaves nothing behind.
    pub async fn wait(&self, key: &Key) -> Result<Ending, WaitError> {
        let ticket = self.waiting.ticket(key);
        loop {
            // Before looking, so that nothing between is missed.
            self.waiting.listen();
            if let Standing::Ended(ending) = self.standing(key)? {
                return Ok(ending);
            }
            ticket.told.notified().await;
        }
    }
}

impl Standing {
    fn of(seen: Seen) -> Standing {
        let Seen { place, position, message, reason, .. } = seen;
        match place {
            Place::Done => Standing::Ended(Ending::Answered(Box::new(message))),
            // Somebody else carries it out; what it says is known.
            Place::Outgoing | Place::Sending if message.reply.is_some() => {
                Standing::Ended(Ending::Answered(Box::new(message)))
            }
            Place::Dead | Place::Quarantine => {
                let why = reason.or(message.trouble);
                Standing::Ended(Ending::GivenUp(
                    why.unwrap_or_else(|| "no reason was kept".to_owned()),
                ))
            }
            _ => Standing::Unfinished { position, trouble: message.trouble },
        }
    }
}

/// Whether a message may have ended that is here; removed, it has.
fn may_have_ended(place: Option<Place>) -> bool {
    !matches!(place, Some(Place::Incoming | Place::Processing))
}

/// Who waits for which message, and whether anybody hears what moves.
pub(crate) struct Waiting {
    view: View,
    callers: Mutex<Callers>,
}

#[derive(Default)]
struct Callers {
    by_key: HashMap<Key, Vec<Arc<Notify>>>,
    is_heard: bool,
}

impl Waiting {
    pub(crate) fn new(view: View) -> Waiting {
        Waiting { view, callers: Mutex::default() }
    }

    /// From here on the caller is told when this message may have ended, as long as somebody listens.
    fn ticket(&self, key: &Key) -> Ticket<'_> {
        let told = Arc::new(Notify::new());
        self.callers().by_key.entry(key.clone()).or_default().push(told.clone());
        Ticket { waiting: self, key: key.clone(), told }
    }

    /// Sees to it that what moves from now on is heard: by one task, as long as anybody waits.
    fn listen(self: &Arc<Self>) {
        let mut callers = self.callers();
        if callers.is_heard {
            return;
        }
        callers.is_heard = true;
        let listener = Listener { waiting: self.clone(), moves: self.view.watch().moves() };
        // A runtime that ends drops it at once, and that takes the lock.
        drop(callers);
        tokio::spawn(listener.hear());
    }

    /// One listing for all who wait.
    fn look_for_all(&self) {
        let keys: Vec<Key> = self.callers().by_key.keys().cloned().collect();
        // What cannot be listed is told by whoever waits: each looks for its own.
        let known = self.view.knows(&keys).unwrap_or_default();
        for key in keys.iter().filter(|it| may_have_ended(known.get(it).copied())) {
            self.tell(key);
        }
    }

    fn tell(&self, key: &Key) {
        // A caller that is not listening at this moment is told as soon as it does.
        self.callers().by_key.get(key).into_iter().flatten().for_each(|it| it.notify_one());
    }

    /// Held for a moment, and never while something is awaited.
    fn callers(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits for a message.
struct Ticket<'a> {
    waiting: &'a Waiting,
    key: Key,
    told: Arc<Notify>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut callers = self.waiting.callers();
        if let Some(those) = callers.by_key.get_mut(&self.key) {
            those.retain(|it| !Arc::ptr_eq(it, &self.told));
            if those.is_empty() {
                callers.by_key.remove(&self.key);
            }
        }
    }
}

/// Who hears what moves, and tells the callers. A task of its own: a caller that is not asked for a while keeps nobody else from
/// hearing.
struct Listener {
    waiting: Arc<Waiting>,
    moves: Moves,
}

impl Listener {
    async fn hear(mut self) {
        loop {
            let news = self.moves.next().await;
            if self.waiting.callers().by_key.is_empty() {
                return;
            }
            match news {
                News::Moved(it) if may_have_ended(it.to) => self.waiting.tell(&it.key),
                News::Moved(_) => {}
                News::LookAgain => self.waiting.look_for_all(),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut callers = self.waiting.callers();
        callers.is_heard = false;
        // Who came in the last moment, or waits in another runtime than this task did, sees to it that somebody listens.
        callers.by_key.values().flatten().for_each(|it| it.notify_one());
    }
}
