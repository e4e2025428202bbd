//! The engine: a pool of warm Claudes, one a thread, and the one way to ask them something.
//!
//! A thread's turns are strictly one after another; threads know nothing of each other. At most
//! [`EngineConfig::warm_max`] processes stay when idle, the ones used last. A busy one is never evicted: with more
//! turns at once than that, there are more processes for as long as they run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Model, Place, SessionId, StateDir, ThreadId};
use tinyclaw_warden::AskError;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::adopted;
use crate::config::EngineConfig;
use crate::confined::{CarryError, Confined, ConfinedError, Said, Way};
use crate::devboxes::DevboxLauncher;
use crate::envs::EnvLauncher;
use crate::failure::TurnFailure;
use crate::launch::Launcher;
use crate::launchers::Launchers;
use crate::link::{ChildCarrier, KnownRuns, Lease, LinkLauncher};
use crate::local::LocalLauncher;
use crate::look::{Desk, Look, LookError, OutOfReach};
use crate::pool::Pool;
use crate::transcript::Trace;
use crate::turn::{Background, RateWindow, Reconnected, Turn, TurnControl, TurnRequest};
use crate::user_links::UsersLauncher;
use crate::users::Users;

/// The CLI's version that this engine was tested with. A newer one is reported, not feared.
pub const PINNED_VERSION: &str = "2.1.332";

/// How long [`Engine::close`] waits for all leashes: their two seconds of grace, and some for a loaded machine. After
/// 25 seconds of letting turns end it must fit into the 30 that a service gets to leave.
const CLOSE: Duration = Duration::from_secs(4);

/// Drives Claude. Cheap to clone; the clones are one engine.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Pool>);

/// Whether Claude can work at all, by trying.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// It answered.
    Ready,
    /// It did not.
    NotReady(TurnFailure),
}

/// Which CLI runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionReport {
    /// The version this engine was tested with.
    pub pinned: &'static str,
    /// The version that answered last; none before the first turn.
    pub seen: Option<String>,
    /// When the program on this machine was put there, in ms since 1970. Another machine's is not known.
    pub installed_at: Option<u64>,
    /// Lines that it said and nobody here understands, by type, and how often each came.
    pub unknown: BTreeMap<String, u64>,
}

impl Engine {
    /// An engine whose Claudes run on this machine, each as its desk's user where the configuration has some. Starts no
    /// process yet; needs a Tokio runtime.
    pub fn new(config: EngineConfig) -> Engine {
        Engine::reaching(config, false, None, None)
    }

    /// An engine whose Claudes run on this machine and outlive this process when it is killed: the next one goes on with
    /// their turns, see [`Trace::Running`]. Nobody comes for five minutes: they end with the turn they are in. An end of this
    /// process that is not sudden ends those that it does not leave, see [`Engine::leave`].
    pub fn linked(config: EngineConfig) -> Engine {
        Engine::reaching(config, true, None, None)
    }

    /// An engine as either of these, whose Claudes run on devboxes, and in environments, too. Those of desks' own users are
    /// linked in any case.
    pub fn reaching(
        config: EngineConfig,
        is_linked: bool,
        devboxes: Option<Arc<DevboxLauncher>>,
        envs: Option<Arc<EnvLauncher>>,
    ) -> Engine {
        let config = config.resolved();
        let here: Arc<dyn Launcher> = match &config.users {
            Some(users) => Arc::new(UsersLauncher::new(&config, users)),
            None if is_linked => Arc::new(linked_here(&config)),
            None => Arc::new(LocalLauncher::of(&config)),
        };
        let launchers = Launchers::here(here);
        let launchers = match devboxes {
            Some(devboxes) => launchers.with_devboxes(devboxes),
            None => launchers,
        };
        let launchers = match envs {
            Some(envs) => launchers.with_envs(envs),
            None => launchers,
        };
        Engine::with_launchers(config, launchers)
    }

    /// An engine whose Claudes run wherever these launchers start them.
    pub fn with_launchers(config: EngineConfig, launchers: Launchers) -> Engine {
        Engine(Pool::new(config, launchers))
    }

    /// Desks that are users of their own, if there can be any.
    pub fn users(&self) -> Option<Users> {
        self.0.config().users.clone()
    }

    /// The name that Claude Code takes for a model: the settings' own, or its family's.
    pub fn model_name(&self, model: Model) -> String {
        self.0.config().model_name(model)
    }

    /// Asks Claude. Returns at once; everything that happens comes as [`TurnEvent`](crate::TurnEvent)s.
    ///
    /// Two turns in one thread at once: the second waits for the first. The process of an earlier turn is used again
    /// if it fits (same session, directory, mode, system prompt and tools), else it is closed and another one started.
    /// A crash of this process ends Claude, or leaves it to the next process; see [`Engine::trace`].
    pub fn turn(&self, request: TurnRequest) -> Turn {
        let (events_to, events) = mpsc::unbounded_channel();
        let (controls_to, controls) = mpsc::unbounded_channel();
        let pool = self.0.clone();
        let begun = Instant::now();
        tokio::spawn(async move { pool.run(request, begun, events_to, controls).await });
        Turn { events, control: TurnControl { to: controls_to } }
    }

    /// Puts another configuration in force. A turn in flight ends under the one it began with; a process that was
    /// started otherwise than it would be now is replaced before its thread's next turn, and its session goes on.
    ///
    /// What lies under everything stays until the next start: where the program, the leash, the state folder and
    /// Claude's home are, and how Claude is confined. Gives back the names of what was to change of these.
    pub fn reconfigure(&self, config: EngineConfig) -> Vec<&'static str> {
        self.0.reconfigure(config.resolved())
    }

    /// Runs a program at a thread's desk, confined as its Claude is, and gives back what it said. It waits for the
    /// thread's turn and ends its idle process.
    pub async fn run_confined(&self, order: Confined) -> Result<Said, ConfinedError> {
        self.0.run_confined(order).await
    }

    /// Brings all that is in a folder of a thread's from the office's user to the desk's, or back, into another one that is
    /// there. Both ends run under the desk's leash.
    pub async fn carry(
        &self,
        thread: &ThreadId,
        way: Way,
        from: &Path,
        to: &Path,
    ) -> Result<(), CarryError> {
        self.0.carry(thread, way, from, to).await
    }

    /// Ends every Claude that an earlier process left, but those with these turns. To be asked once, before the first turn. Those
    /// on devboxes are ended in the background: one may be away for hours, and nobody waits for it.
    pub async fn end_all_but(&self, turns: &[String]) {
        adopted::end_all_but(&self.0.launchers, turns).await;
    }

    /// Closes a thread's idle process. `false`: it is busy and stays.
    pub async fn evict(&self, thread: &ThreadId) -> bool {
        self.0.evict(thread).await
    }

    /// Ends everything of a desk that is a user of its own, and removes all that it has. `false`: it is the office's user, and
    /// nothing was done. Its process was let go of before, see [`Engine::evict`].
    pub async fn remove_desk(&self, thread: &ThreadId) -> Result<bool, AskError> {
        let Some(users) = self.users() else { return Ok(false) };
        if let Ok(launcher) = self.0.launchers.of(&Place::Here) {
            // Its connection, lost with the desk's processes, would be dialled again, and the desk made anew.
            launcher.let_go(thread);
        }
        users.remove(thread).await
    }

    /// Connects a thread's Claude to each of its MCP servers anew, in the process that is there.
    pub async fn reconnect(&self, thread: &ThreadId) -> Reconnected {
        self.0.reconnect(thread).await
    }

    /// Lets every idle process leave, and each busy one after its turn: this one is about to stop, and nobody asks for another
    /// turn. Waits for none of them; [`Engine::close`] does. A process that ends in the middle of its stop leaves no idle Claude
    /// behind, which would otherwise wait for the end of its lease.
    pub fn wind_down(&self) {
        self.0.wind_down();
    }

    /// Leaves the turns that another process can go on with as they are, for the next one; here they end with
    /// [`TurnFailure::Closing`]. Afterwards no turn begins; what could not be left goes on, until [`Engine::close`].
    pub async fn leave(&self) {
        if timeout(CLOSE, self.0.leave()).await.is_err() {
            tracing::warn!("not every turn is left to the next processor");
        }
    }

    /// Ends everything: idle processes by end of file, busy ones at once. Afterwards every turn fails with
    /// [`TurnFailure::Closing`]. Returns when no descendant is left, or after four seconds:
    /// the leashes then go on by themselves.
    pub async fn close(&self) {
        let closed = async {
            self.0.close().await;
            if let Some(users) = self.users() {
                users.end_all_but(&self.0.left()).await;
            }
        };
        if timeout(CLOSE, closed).await.is_err() {
            tracing::warn!("not every claude has ended in time; their leashes go on trying");
        }
    }

    /// What Claude says with no message in flight. To be taken once; `None` the second time.
    pub fn background(&self) -> Option<mpsc::UnboundedReceiver<Background>> {
        self.0.take_background()
    }

    /// Whether a turn at this desk would continue this session: the thread's process has had a turn in it, or there is a
    /// transcript. Claude writes the transcript a moment after its last word, so one of them is not enough.
    pub async fn knows(&self, desk: &Desk, session: &SessionId) -> Result<bool, OutOfReach> {
        if self.0.has_turns(desk, session) {
            return Ok(true);
        }
        match self.look(&desk.place)?.has_session(desk, session).await {
            Err(LookError::OutOfReach(err)) => Err(err),
            // What cannot be read cannot be continued.
            other => Ok(other.unwrap_or(false)),
        }
    }

    /// How far the turn with this uuid got: it goes on, or what Claude's own transcript says. Unreadable is [`Trace::Unseen`]; out of reach is
    /// not: there it may have been answered.
    pub async fn trace(
        &self,
        desk: &Desk,
        session: &SessionId,
        turn_uuid: &str,
    ) -> Result<Trace, OutOfReach> {
        if self.0.adopted.find(&self.0.launchers, desk, turn_uuid).await? {
            return Ok(Trace::Running);
        }
        match self.look(&desk.place)?.trace(desk, session, turn_uuid).await {
            Ok(trace) => Ok(trace),
            Err(LookError::OutOfReach(err)) => Err(err),
            Err(err) => {
                let thread = &desk.thread;
                tracing::warn!(thread.id = %thread, "the transcript of thread {thread} is not read: {err}");
                Ok(Trace::Unseen)
            }
        }
    }

    /// Whether an earlier process of this office began this turn, and left a Claude in which it may go on. Nobody is asked: that it
    /// does is said by [`Engine::trace`].
    pub fn may_go_on(&self, place: &Place, thread: &ThreadId, turn_uuid: &str) -> bool {
        self.0.launchers.of(place).is_ok_and(|it| it.may_adopt(thread, turn_uuid))
    }

    /// A look at a place: what there is of directories, transcripts and files.
    pub fn look(&self, place: &Place) -> Result<&dyn Look, OutOfReach> {
        Ok(self.0.launchers.of(place)?.look())
    }

    /// Asks the Claude of a place for a single word in a session that is kept nowhere, without tools. Costs next to
    /// nothing.
    pub async fn probe(&self, place: &Place) -> Probe {
        match self.0.probe(place).await {
            Ok(()) => Probe::Ready,
            Err(failure) => Probe::NotReady(failure),
        }
    }

    /// How far the plan of this machine's login is used, asked of a Claude of its own, which no prompt is sent to. Empty where
    /// Claude has no such login, or says nothing of it.
    pub async fn plan_windows(&self) -> Result<Vec<RateWindow>, TurnFailure> {
        self.0.plan_windows().await
    }

    /// Which CLI runs at a place, and which was tested.
    pub fn version(&self, place: &Place) -> VersionReport {
        let shared = self.0.shared(place);
        VersionReport {
            pinned: PINNED_VERSION,
            seen: shared.version(),
            installed_at: place.is_here().then(|| self.0.config().installed_at()).flatten(),
            unknown: shared.unknown(),
        }
    }

    /// How many processes there are on this machine, busy ones included.
    pub fn processes(&self) -> usize {
        self.0.count()
    }
}

/// Starts Claudes of this machine at the far end of a link.
fn linked_here(config: &EngineConfig) -> LinkLauncher {
    let known = Arc::new(KnownRuns::open(StateDir::new(&config.state).known_runs()));
    let (carrier, look) = (ChildCarrier::of(config), LocalLauncher::of(config));
    let (carrier, look, office) = (Arc::new(carrier), Arc::new(look), known.office());
    LinkLauncher::new(Place::Here, &office, carrier, look, Lease::HERE, known)
}
