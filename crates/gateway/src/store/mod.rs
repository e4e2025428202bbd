//! The event store: what was said to be kept is on disk, under a number, for everybody who reads.
//!
//! One thread writes (`writer`): it takes what waits, commits it with one flush, and answers all. A number is given to a
//! row that is committed and to nothing else, so the numbers have no holes, and past and live are one sequence: first
//! the newest in memory (`ring`), behind it the database, which any number of readers page through.
//!
//! It refuses what would make a cursor lie: an event that was acknowledged is never told under another number, and a
//! database that turns out to be damaged is set aside and followed by one of another epoch.

mod frame;
mod page;
mod retention;
mod ring;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::Connection;
use tinyclaw_service::Vitals;
use tokio::sync::{Semaphore, oneshot, watch};

pub use self::frame::Frame;
use self::page::Most;
pub use self::page::{Page, TypeCount};
use self::ring::Ring;
use self::writer::{Order, Writer};
use crate::event::{Cursor, Epoch, NewEvent};
use crate::filter::Filter;

/// So many rows are read from the database at once for a subscriber,
pub const PAGE_ROWS: usize = 256;
/// and so many bytes: they are what one that does not read costs.
const SUBSCRIBER_BYTES: usize = 512 << 10;
/// So many events are looked at for one answer where no index leads to what is asked for: about a second's work.
const LOOK_EVENTS: u64 = 500_000;
/// So much of events is in one answer. An event may have 256 KiB.
const ANSWER_BYTES: usize = 8 << 20;
/// So much may wait to be written; who brings more waits.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// So many connections read at once; each keeps a page cache.
const READERS_MAX: usize = 4;

/// How much is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Events older than this are removed.
    pub age: Duration,
    /// So many rows stay.
    pub rows: u64,
    /// The database weighs so much at most; twice that is the end of it.
    pub bytes: u64,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { age: Duration::from_secs(30 * 24 * 3600), rows: 10_000_000, bytes: 4 << 30 }
    }
}

/// What a sender is told of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its place.
    pub cursor: Cursor,
    /// Whether it was there already.
    pub is_duplicate: bool,
}

/// Why nothing of a request was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The event at this place of the request has the id of another one.
    #[error("event {index} has the source and id of evt_{cursor}, and says something else")]
    Conflict {
        /// Which one of the request, from 0.
        index: usize,
        /// The one that is there.
        cursor: Cursor,
    },
    /// There is no room on the disk.
    #[error("the disk is full: free some, or lower gateway.keepBytes")]
    DiskFull,
    /// The database cannot be used at the moment, and why.
    #[error("events.db cannot be used: {0}")]
    Unavailable(String),
}

/// The last event, and of which database.
pub type Head = Cursor;

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Answered when it is on disk.
    #[default]
    Flushed,
    /// Answered when it has its number: a power cut may take it.
    None,
}

/// A handle on the store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// What the writer and all readers look at.
#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    orders: mpsc::Sender<Order>,
    waiting: Semaphore,
    head: watch::Sender<Head>,
    ring: Ring,
    readers: Mutex<Vec<(Epoch, Connection)>>,
    reading: Arc<Semaphore>,
    vitals: Vitals,
}

impl Store {
    /// Opens `events.db` at `path`, or makes it. One that is damaged is set aside, and a new one is begun.
    ///
    /// The writer's thread ends when the last handle is gone, after it has written what waits. Whoever opens holds the
    /// gateway's lock: two writers would not corrupt anything, but each would give numbers of its own.
    pub fn open(path: &Path, keep: Keep, vitals: Vitals) -> Result<Store, StoreError> {
        let (orders, inbox) = mpsc::channel();
        let (writer, head) = Writer::open(path, keep, inbox)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            orders,
            waiting: Semaphore::new(WAITING_BYTES_MAX),
            head: watch::Sender::new(head),
            ring: Ring::default(),
            readers: Mutex::default(),
            reading: Arc::new(Semaphore::new(READERS_MAX)),
            vitals,
        });
        let weak = Arc::downgrade(&shared);
        let spawned =
            std::thread::Builder::new().name("events".to_owned()).spawn(move || writer.run(&weak));
        spawned.map_err(|err| StoreError::Unavailable(format!("no thread for it: {err}")))?;
        Ok(Store { shared })
    }

    /// Gives the database at `path` another epoch, while no gateway runs: after a copy of it was put back, so that nobody
    /// takes the numbers that come for those that went.
    pub fn renew_epoch(path: &Path) -> Result<Epoch, StoreError> {
        schema::new_epoch(path)
    }

    /// Copies the database at `path` into a file that must not be there yet, as it is at one moment, also while a gateway
    /// writes it; tells how many events are in the copy. The copy is of another epoch, so that it can be put back as it
    /// is. What a crash leaves of it is a file that is not whole.
    pub fn back_up(path: &Path, to: &Path) -> Result<u64, StoreError> {
        schema::back_up(path, to)
    }

    /// Keeps events, all or none of them, in this order. When it returns they are on disk and every reader sees them,
    /// unless `durability` says that the sender does not care.
    pub async fn append(
        &self,
        events: Vec<NewEvent>,
        durability: Durability,
    ) -> Result<Vec<Receipt>, StoreError> {
        self.append_from(events, durability, None).await
    }

    /// The same, and notes in the same transaction how far a followed log was read.
    pub async fn append_from(
        &self,
        events: Vec<NewEvent>,
        durability: Durability,
        position: Option<(String, String)>,
    ) -> Result<Vec<Receipt>, StoreError> {
        let weight = events.iter().map(NewEvent::weight).sum::<usize>().min(WAITING_BYTES_MAX);
        let gone = || StoreError::Unavailable("its writer has ended".to_owned());
        // Held until the answer, so that what waits has a limit.
        let _place = self.shared.waiting.acquire_many(weight as u32).await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let order = Order::Append { events, durability, position, answer };
        self.shared.orders.send(order).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// How far a followed log was read, as [`Store::append_from`] noted it.
    pub async fn position(&self, log: &str) -> Result<Option<String>, StoreError> {
        let log = log.to_owned();
        self.read(move |connection| page::position(connection, &log)).await
    }

    /// How many logs are followed: of each there is a place.
    pub async fn followed(&self) -> Result<u64, StoreError> {
        self.read(page::followed).await
    }

    /// The last event.
    pub fn head(&self) -> Head {
        *self.shared.head.borrow()
    }

    /// Changes with every commit.
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.shared.head.subscribe()
    }

    /// The events after `after`, at most `limit` and no more than a subscriber may cost, if all of them up to the head are
    /// still in memory.
    pub(crate) fn recent(&self, after: Cursor, limit: usize) -> Option<Vec<Arc<Frame>>> {
        self.shared.ring.after(after, limit, SUBSCRIBER_BYTES)
    }

    /// The events that pass the filter after `after`, oldest first: at most `limit` of them, and fewer where they are large.
    /// [`Page::next`] says how far that is.
    pub async fn page(
        &self,
        filter: &Filter,
        after: u64,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let (filter, most) =
            (filter.clone(), Most { rows: limit, bytes: ANSWER_BYTES, look: LOOK_EVENTS });
        self.read(move |connection| page::after(connection, &filter, after, most)).await
    }

    /// The same for a subscriber, who may keep what it got for long.
    pub(crate) async fn page_of_feed(
        &self,
        filter: &Filter,
        after: u64,
    ) -> Result<Page, StoreError> {
        let (filter, most) =
            (filter.clone(), Most { rows: PAGE_ROWS, bytes: SUBSCRIBER_BYTES, look: LOOK_EVENTS });
        self.read(move |connection| page::after(connection, &filter, after, most)).await
    }

    /// The last events that pass the filter, oldest first: at most `limit` of them, and fewer where they are large. By their
    /// source alone they are looked for among the newest only.
    pub async fn last(&self, filter: &Filter, limit: usize) -> Result<Page, StoreError> {
        let (filter, most) =
            (filter.clone(), Most { rows: limit, bytes: ANSWER_BYTES, look: LOOK_EVENTS });
        self.read(move |connection| page::last(connection, &filter, most)).await
    }

    /// The events about any of these, in their order, at most `limit` of them, and fewer where they are large.
    pub async fn about(
        &self,
        subjects: Vec<String>,
        limit: usize,
    ) -> Result<Vec<Arc<Frame>>, StoreError> {
        let most = Most { rows: limit, bytes: ANSWER_BYTES, look: LOOK_EVENTS };
        self.read(move |connection| page::about(connection, &subjects, most)).await
    }

    /// How many events of each type there are, the most frequent first.
    pub async fn types(&self) -> Result<Vec<TypeCount>, StoreError> {
        self.read(page::types).await
    }

    /// Removes now what may be removed by its age, number or weight. It happens by itself once a minute.
    pub async fn retire(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("its writer has ended".to_owned());
        self.shared.orders.send(Order::Retire { answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Changes what is kept beside the events, in the writer's turn. It is on disk when this returns.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Unavailable("its writer has ended".to_owned());
        let change = move |connection: &mut Connection| {
            // Whoever asked may be gone.
            let _ = answer.send(change(connection).map_err(|err| schema::told(&err)));
        };
        self.shared.orders.send(Order::Change(Box::new(change))).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Asks the database through a connection that can only read, where waiting for the disk holds up nobody. No
    /// transaction outlives the question, or the log of what is written could not be cut.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let gone = || StoreError::Unavailable("it is being closed".to_owned());
        let place = Arc::clone(&shared.reading).acquire_owned().await.map_err(|_| gone())?;
        let asked = tokio::task::spawn_blocking(move || {
            let _place = place;
            shared.ask(ask)
        });
        asked.await.map_err(|err| StoreError::Unavailable(err.to_string()))?
    }
}

impl Shared {
    fn ask<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let epoch = self.head.borrow().epoch;
        let idle = {
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            // Those of a database that was set aside are of no use.
            readers.retain(|(of, _)| *of == epoch);
            readers.pop()
        };
        let connection = match idle {
            Some((_, connection)) => Ok(connection),
            None => schema::open_to_read(&self.path),
        };
        let asked = connection.and_then(|connection| Ok((ask(&connection)?, connection)));
        match asked {
            Ok((answer, connection)) => {
                let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
                readers.push((epoch, connection));
                Ok(answer)
            }
            Err(err) => {
                if schema::is_damage(&err) {
                    // The writer looks for itself, and sets it aside when it is so.
                    let _ = self.orders.send(Order::Doubt);
                }
                Err(schema::told(&err))
            }
        }
    }
}
