//! What every part of the processor shares: the queue, the logs, the threads, who is at work, and whether Claude can.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{
    HistoryLine, Key, Model, PermissionMode, SessionId, Thread, ThreadId, ThreadStatus,
};
use tinyclaw_engine::{Engine, TurnControl};
use tinyclaw_ledger::{Costs, Journal, Progresses, StateDir, ThreadBook, ThreadsError};
use tinyclaw_memory::Memory;
use tinyclaw_queue::Queue;
use tinyclaw_router::Router;
use tinyclaw_service::settings::{Permission, Settings, Store};
use tinyclaw_service::{Shutdown, Vitals, now_ms};
use tokio::sync::watch;

use crate::availability::notices::Pause;
use crate::desks::directories;
use crate::policy::failure::Outage;

/// One processor at work.
pub struct Office {
    pub(crate) state: StateDir,
    pub(crate) settings: Store<Settings>,
    pub(crate) vitals: Vitals,
    pub(crate) shutdown: Shutdown,
    pub(crate) queue: Queue,
    pub(crate) journal: Journal,
    pub(crate) memory: Memory,
    pub(crate) engine: Engine,
    pub(crate) progresses: Progresses,
    pub(crate) router: RwLock<Arc<Router>>,
    pub(crate) slots: Slots,
    pub(crate) pause: Mutex<Option<Pause>>,
    pub(crate) outage: Mutex<Outage>,
    /// What was told once and is not to be told again until it is cured: a cause, in a thread.
    pub(crate) told: Mutex<HashSet<(Option<ThreadId>, String)>>,
    /// Messages that were stopped before their turn could hear it.
    pub(crate) stopped: Mutex<HashSet<Key>>,
    /// Said when waiting for running turns has taken long enough: put back what is not done.
    pub(crate) leave: watch::Sender<bool>,
    pub(crate) book: Mutex<ThreadBook>,
    /// Held while a thread gets its checkout, until its folder is on disk as the thread's.
    pub(crate) checkouts: tokio::sync::Mutex<()>,
    pub(crate) costs: Mutex<Costs>,
    pub(crate) running: Mutex<HashMap<ThreadId, Running>>,
    /// The last messages of each thread that was looked at, for the router.
    pub(crate) recent: Mutex<HashMap<ThreadId, VecDeque<HistoryLine>>>,
}

/// The permission question that is open in a turn, as far as an answer must fit it.
#[derive(Debug, Clone)]
pub(crate) struct OpenQuestion {
    pub(crate) request_id: String,
    pub(crate) question: Question,
}

/// A turn at work, as its control lane sees it.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) key: Key,
    /// None while the turn is being prepared; a stop that comes then is minded when it begins.
    pub(crate) control: Option<TurnControl>,
    pub(crate) began: Instant,
    /// The open permission question.
    pub(crate) ask: Option<OpenQuestion>,
    /// Whether a person stopped it.
    pub(crate) is_stopped: bool,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs something that waits for the disk, without holding up other turns.
pub(crate) fn on_disk<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

impl Office {
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.current()
    }

    pub(crate) fn now(&self) -> jiff::Zoned {
        jiff::Timestamp::now().to_zoned(self.settings().office.timezone.clone())
    }

    pub(crate) fn router(&self) -> Arc<Router> {
        self.router.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A thread as it is known.
    pub(crate) fn thread(&self, id: &ThreadId) -> Option<Thread> {
        lock(&self.book).get(id).cloned()
    }

    /// A thread, made on its first message with a folder of its own.
    pub(crate) fn thread_or_new(
        &self,
        id: &ThreadId,
        name: Option<&str>,
    ) -> anyhow::Result<Thread> {
        if let Some(thread) = self.thread(id) {
            return Ok(thread);
        }
        let settings = self.settings();
        let made = Thread {
            name: name.map_or_else(|| default_name(id), str::to_owned),
            cwd: on_disk(|| directories::own(self, id))?.display().to_string(),
            session_id: None,
            model: None,
            pin: None,
            permission_mode: match settings.engine.permission {
                Permission::Ask => PermissionMode::Ask,
                Permission::AcceptEdits => PermissionMode::AcceptEdits,
                Permission::Bypass => PermissionMode::Bypass,
            },
            system_prompt: None,
            repo: None,
            is_master: *id == ThreadId::master(),
            status: ThreadStatus::Idle,
            last_active: tinyclaw_service::now_ms(),
            extra: serde_json::Map::new(),
        };
        Ok(self.change_threads(|threads| threads.entry(id.clone()).or_insert(made).clone())?)
    }

    /// Changes one thread, on disk when this returns. `None`: there is no such thread.
    pub(crate) fn change_thread<T>(
        &self,
        id: &ThreadId,
        change: impl FnOnce(&mut Thread) -> T,
    ) -> Result<Option<T>, ThreadsError> {
        self.change_threads(|threads| threads.get_mut(id).map(change))
    }

    pub(crate) fn change_threads<T>(
        &self,
        change: impl FnOnce(&mut tinyclaw_domain::Threads) -> T,
    ) -> Result<T, ThreadsError> {
        let (result, trouble) = on_disk(|| lock(&self.book).change(change))?;
        if let Some(trouble) = trouble {
            tracing::error!("{trouble}; the last good threads stay in force");
            self.vitals.concern("threads", Some(trouble.to_string()));
        }
        Ok(result)
    }

    /// Whose memory a thread writes to: the user's in a private chat, else the thread's, which is one name for both.
    pub(crate) fn who<'a>(&self, thread: &'a ThreadId) -> &'a ThreadId {
        thread
    }

    /// Whether the office has been told to stop.
    pub(crate) fn is_leaving(&self) -> bool {
        *self.leave.borrow()
    }
}

impl Office {
    pub(crate) fn change_running(&self, thread: &ThreadId, change: impl FnOnce(&mut Running)) {
        if let Some(running) = lock(&self.running).get_mut(thread) {
            change(running);
        }
    }

    /// Shows what a desk is doing. Beside the turn, not in its way: it waits for the disk.
    pub(crate) fn note_status(self: &Arc<Office>, thread: &ThreadId, status: ThreadStatus) {
        let (office, thread) = (self.clone(), thread.clone());
        tokio::task::spawn_blocking(move || {
            let is_running = lock(&office.running).contains_key(&thread);
            let changed = lock(&office.book).touch(|threads| {
                if let Some(it) = threads
                    .get_mut(&thread)
                    .filter(|it| is_running && it.status != ThreadStatus::Closed)
                {
                    it.status = status;
                }
            });
            if let Err(err) = changed {
                tracing::warn!("cannot note what thread {thread} does: {err}");
            }
        });
    }

    /// Nothing runs at the desk, also when the turn came to nothing and its message waits for another try.
    pub(crate) fn note_idle(self: &Arc<Office>, thread: &ThreadId) {
        let is_busy =
            |it: &Thread| matches!(it.status, ThreadStatus::Working | ThreadStatus::Waiting);
        if !self.thread(thread).is_some_and(|it| is_busy(&it)) {
            return;
        }
        let (office, thread) = (self.clone(), thread.clone());
        tokio::task::spawn_blocking(move || {
            // The next turn may have begun by now.
            let is_running = lock(&office.running).contains_key(&thread);
            let changed = lock(&office.book).touch(|threads| {
                if let Some(it) = threads.get_mut(&thread).filter(|it| !is_running && is_busy(it)) {
                    it.status = ThreadStatus::Idle;
                }
            });
            if let Err(err) = changed {
                tracing::warn!("cannot note that thread {thread} is free: {err}");
            }
        });
    }

    /// The desk is free again; the tier of its last answer is on it.
    pub(crate) fn note_end(self: &Arc<Office>, thread: &ThreadId, model: Option<Model>) {
        let (office, thread) = (self.clone(), thread.clone());
        tokio::task::spawn_blocking(move || {
            let changed = lock(&office.book).touch(|threads| {
                if let Some(it) = threads.get_mut(&thread) {
                    if it.status != ThreadStatus::Closed {
                        it.status = ThreadStatus::Idle;
                    }
                    it.model = model.or(it.model);
                    it.last_active = now_ms();
                    directories::forget_move(it);
                }
            });
            if let Err(err) = changed {
                tracing::warn!("cannot note that thread {thread} is free: {err}");
            }
        });
    }
}

fn default_name(id: &ThreadId) -> String {
    match (id.number(), id.as_str()) {
        (Some(1), _) => "General".to_owned(),
        (Some(number), _) => format!("Thread {number}"),
        (None, text) if text.starts_with('u') && id.is_in_telegram(false) => {
            "Private chat".to_owned()
        }
        (None, text) => text.to_owned(),
    }
}

/// A new session, not known to anybody yet.
pub(crate) fn new_session() -> SessionId {
    // A fresh UUID always parses.
    uuid::Uuid::new_v4()
        .to_string()
        .parse()
        .unwrap_or_else(|_| unreachable!("a UUID is a session id"))
}

/// How many turns run at once. A turn that waits for a person lends its place to another.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: watch::Sender<usize>,
}

impl Slots {
    pub(crate) fn new() -> Slots {
        Slots { taken: watch::Sender::new(0) }
    }

    /// Waits for a free place, but does not take it.
    pub(crate) async fn wait(&self, max: impl Fn() -> usize) {
        let mut taken = self.taken.subscribe();
        // The limit may be raised while we wait: look again now and then.
        while *taken.borrow_and_update() >= max() {
            let _ = tokio::time::timeout(Duration::from_secs(1), taken.changed()).await;
        }
    }

    pub(crate) fn take(&self) {
        self.taken.send_modify(|it| *it += 1);
    }

    pub(crate) fn give_back(&self) {
        self.taken.send_modify(|it| *it = it.saturating_sub(1));
    }

    pub(crate) fn taken(&self) -> usize {
        *self.taken.borrow()
    }
}

/// A place that is given back when the turn is over, however it ends.
pub(crate) struct Slot {
    office: Arc<Office>,
    is_held: bool,
}

impl Slot {
    pub(crate) fn take(office: &Arc<Office>) -> Slot {
        office.slots.take();
        Slot { office: office.clone(), is_held: true }
    }

    /// Lends the place to another turn while a person is asked, or takes it up again.
    pub(crate) fn lend(&mut self, lent: bool) {
        if lent == self.is_held {
            if lent {
                self.office.slots.give_back()
            } else {
                self.office.slots.take()
            }
            self.is_held = !lent;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_held {
            self.office.slots.give_back();
        }
    }
}
