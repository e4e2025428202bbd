//! The driver: one Claude process, one task, one message in flight.
//!
//! It speaks the stream-json and control protocol over whatever pipe a launcher gave it. The truth of an answer is the
//! `assistant` and `result` lines; what streams before is a preview. It never waits while writing, so that Claude and
//! it cannot wait for each other, and it is done only when the launcher says that every descendant is gone.

mod actor;
mod away;
mod background;
mod diary;
mod ladder;
mod pipes;
mod plan_windows;
mod running;
mod servers;
mod stranger;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tinyclaw_domain::{Effort, Key, SessionId, ThreadId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use self::actor::{Actor, Bill, Wake};
use crate::config::{Mode, Times};
use crate::failure::TurnFailure;
use crate::launch::Leashed;
use crate::turn::{
    Background, Control, McpState, RateWindow, ToolSpec, TurnEnd, TurnEvent, TurnOutcome,
};

/// Types of unknown lines that are told apart.
const KINDS_MAX: usize = 32;
/// The CLI gives up on a server after 30 s, and asks all of them at once.
const RECONNECT: Duration = Duration::from_secs(45);
/// It begins, and asks the API, which it gives some seconds.
const PLAN_WINDOWS: Duration = Duration::from_secs(30);
/// A type is a word or two.
const KIND_CHARS_MAX: usize = 60;

/// What a driver is made with.
pub(crate) struct Setup {
    pub(crate) thread: ThreadId,
    pub(crate) session: SessionId,
    pub(crate) resumed: bool,
    pub(crate) model: String,
    pub(crate) effort: Effort,
    pub(crate) system_prompt: String,
    pub(crate) tools: Arc<[ToolSpec]>,
    pub(crate) times: Times,
    pub(crate) mode: Mode,
    pub(crate) shared: Shared,
    /// What it is started with, as a digest.
    pub(crate) outfit: String,
}

/// What all drivers of an engine tell it.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) background: mpsc::UnboundedSender<Background>,
    pub(crate) version: Arc<Mutex<Option<String>>>,
    /// Lines of types that this version does not know, by type.
    pub(crate) unknown: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Shared {
    /// The version of the CLI that spoke last.
    pub(crate) fn version(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every type of line that this version does not know, and how often it came.
    pub(crate) fn unknown(&self) -> BTreeMap<String, u64> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a line of an unknown type. The first of its type is worth a log line; more types than anybody can mean are
    /// counted as one.
    fn saw_unknown(&self, kind: &str) {
        let is_word = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '/' | ' ');
        let mut kind: String = kind.chars().filter(is_word).take(KIND_CHARS_MAX).collect();
        let mut seen = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= KINDS_MAX && !seen.contains_key(&kind) {
            kind = "others".to_owned();
        }
        let times = seen.entry(kind.clone()).or_insert(0);
        *times += 1;
        if *times == 1 {
            tracing::info!(
                kind,
                "claude says a line of a type that is not known here; it is ignored"
            );
        }
    }

    fn saw_version(&self, version: String) {
        let mut seen = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_deref() != Some(version.as_str()) {
            tracing::info!(version, tested = crate::PINNED_VERSION, "claude says its version");
            *seen = Some(version);
        }
    }
}

/// A turn to run.
pub(crate) struct TurnOrder {
    pub(crate) key: Key,
    pub(crate) uuid: String,
    pub(crate) model: String,
    pub(crate) effort: Effort,
    pub(crate) content: Value,
    pub(crate) begun: Instant,
    pub(crate) session: SessionId,
    pub(crate) events: mpsc::UnboundedSender<TurnEvent>,
    pub(crate) controls: mpsc::UnboundedReceiver<Control>,
    /// Told when the process is free again: nothing, or the order itself when the process was gone before it began.
    pub(crate) done: Option<oneshot::Sender<Option<Box<TurnOrder>>>>,
    pub(crate) is_ended: bool,
}

impl TurnOrder {
    /// Ends the turn without anything having been sent.
    pub(crate) fn fail(mut self, failure: TurnFailure) {
        self.end(TurnEnd::unsent(&self.session, self.begun, TurnOutcome::Failed(failure)));
    }

    /// Hands the turn back to the engine: nothing was begun.
    fn give_back(mut self: Box<Self>) {
        if let Some(done) = self.done.take() {
            let _ = done.send(Some(self));
        }
    }

    fn end(&mut self, end: TurnEnd) {
        self.is_ended = true;
        let _ = self.events.send(TurnEvent::Ended(Box::new(end)));
    }
}

impl Drop for TurnOrder {
    fn drop(&mut self) {
        if !self.is_ended {
            let outcome = TurnOutcome::Failed(TurnFailure::Closing);
            self.end(TurnEnd::unsent(&self.session, self.begun, outcome));
        }
    }
}

enum Order {
    Turn(Box<TurnOrder>),
    Close {
        at_once: bool,
    },
    /// Connect to each MCP server anew, and say how they are then. Dropped when that cannot be.
    Reconnect(oneshot::Sender<Vec<McpState>>),
    /// Say how far the plan is used.
    PlanWindows(oneshot::Sender<Vec<RateWindow>>),
    /// Dropped when it is done, or when there is nothing to leave.
    Leave(oneshot::Sender<()>),
}

/// The engine's hold on a driver. Dropping all of them closes the process.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    orders: mpsc::UnboundedSender<Order>,
    is_gone: watch::Receiver<bool>,
    signs: Arc<Signs>,
}

/// What the actor lets others see of its process.
#[derive(Debug, Default)]
struct Signs {
    /// Something runs on in the background.
    has_tasks: AtomicBool,
    /// A turn ended here, so the session has something in it.
    has_turns: AtomicBool,
}

impl Driver {
    /// Takes over a started process. It is made ready without waiting for the first turn.
    pub(crate) fn start(leashed: Leashed, setup: Setup) -> Driver {
        let (orders_to, orders) = mpsc::unbounded_channel();
        let (gone_to, is_gone) = watch::channel(false);
        let signs = Arc::new(Signs::default());
        let mut actor = Actor::new(leashed, setup, orders, signs.clone());
        actor.introduce();
        tokio::spawn(async move {
            actor.run().await;
            let _ = gone_to.send(true);
        });
        Driver { orders: orders_to, is_gone, signs }
    }

    /// Goes on with the turn that an earlier process of ours began in this Claude, which ends with it unless it was started with
    /// what `setup` has.
    pub(crate) fn go_on(leashed: Leashed, setup: Setup, order: Box<TurnOrder>) -> Driver {
        let (orders_to, orders) = mpsc::unbounded_channel();
        let (gone_to, is_gone) = watch::channel(false);
        let signs = Arc::new(Signs::default());
        let mut actor = Actor::new(leashed, setup, orders, signs.clone());
        actor.go_on(order);
        tokio::spawn(async move {
            actor.run().await;
            let _ = gone_to.send(true);
        });
        Driver { orders: orders_to, is_gone, signs }
    }

    /// Gives it a turn, or the order back when the process is gone.
    pub(crate) fn turn(&self, order: Box<TurnOrder>) -> Result<(), Box<TurnOrder>> {
        self.orders.send(Order::Turn(order)).map_err(|it| match it.0 {
            Order::Turn(order) => order,
            Order::Close { .. } | Order::Leave(_) | Order::Reconnect(_) | Order::PlanWindows(_) => {
                unreachable!("a turn was sent")
            }
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.orders.is_closed() && !*self.is_gone.borrow()
    }

    /// Whether something runs on in the background, between turns.
    pub(crate) fn has_tasks(&self) -> bool {
        self.signs.has_tasks.load(Ordering::Relaxed)
    }

    /// Whether a turn ended in this process. Its transcript is on disk a moment later.
    pub(crate) fn has_turns(&self) -> bool {
        self.signs.has_turns.load(Ordering::Relaxed)
    }

    /// Lets the process leave (`at_once`: makes it) and waits until it and every descendant are gone.
    pub(crate) async fn close(&self, at_once: bool) {
        let _ = self.orders.send(Order::Close { at_once });
        self.gone().await;
    }

    /// Lets the process leave, now or after its turn, and does not wait for it.
    pub(crate) fn wind_down(&self) {
        let _ = self.orders.send(Order::Close { at_once: false });
    }

    /// Connects to each MCP server anew; gives how they are then. `None`: the process is not idle, or does not answer.
    pub(crate) async fn reconnect(&self) -> Option<Vec<McpState>> {
        let (done_to, done) = oneshot::channel();
        let _ = self.orders.send(Order::Reconnect(done_to));
        timeout(RECONNECT, done).await.ok()?.ok()
    }

    /// How far the plan is used. `None`: the process does not answer.
    pub(crate) async fn plan_windows(&self) -> Option<Vec<RateWindow>> {
        let (done_to, done) = oneshot::channel();
        let _ = self.orders.send(Order::PlanWindows(done_to));
        timeout(PLAN_WINDOWS, done).await.ok()?.ok()
    }

    /// Leaves the process to another one of ours, if it is in a turn that can be gone on with; else it stays. The turn ends
    /// here as closing. Whether it is left.
    pub(crate) async fn leave(&self) -> bool {
        let (done_to, done) = oneshot::channel();
        let _ = self.orders.send(Order::Leave(done_to));
        // Dropped without a word where it stays, or ended meanwhile.
        done.await.is_ok()
    }

    /// Waits until the process and every descendant are gone.
    pub(crate) async fn gone(&self) {
        let mut is_gone = self.is_gone.clone();
        let _ = is_gone.wait_for(|it| *it).await;
    }
}
