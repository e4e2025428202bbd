//! The engine: a pool of warm Claudes, one a thread, and the one way to ask them something.
//!
//! A thread's turns are strictly one after another; threads know nothing of each other. At most
//! [`EngineConfig::warm_max`] processes stay when idle, the ones used last. A busy one is never evicted: with more
//! turns at once than that, there are more processes for as long as they run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

use tinyclaw_disk::DiskError;
use tinyclaw_domain::{Model, PermissionMode, SessionId, ThreadId};
use tokio::sync::{Mutex as Lane, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::config::{EngineConfig, Landlock, Mode};
use crate::content::Content;
use crate::driver::{Driver, Setup, Shared, TurnOrder};
use crate::failure::{Advice, TurnFailure};
use crate::launch::{LaunchError, LaunchSpec, Launcher};
use crate::local::LocalLauncher;
use crate::transcript::{self, FinishedReply, Trace};
use crate::turn::{
    Background, Control, SessionSpec, Turn, TurnControl, TurnEvent, TurnOutcome, TurnRequest,
};
use crate::wire::out;

/// The CLI's version that this engine was tested with. A newer one is reported, not feared.
pub const PINNED_VERSION: &str = "2.1.197";

/// Tools that ask a person at a terminal; there is none. Claude is to ask in its answer.
const NOT_HERE: &str = "AskUserQuestion,EnterPlanMode,ExitPlanMode";
/// How often idle processes are looked at.
const LOOK_AROUND: Duration = Duration::from_secs(15);
/// How long [`Engine::close`] waits for all leashes: their two seconds of grace, and some for a loaded machine.
const CLOSE: Duration = Duration::from_secs(8);

/// Drives Claude. Cheap to clone; the clones are one engine.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    launcher: Arc<dyn Launcher>,
    desks: Mutex<HashMap<ThreadId, Arc<Desk>>>,
    shared: Shared,
    background: Mutex<Option<mpsc::UnboundedReceiver<Background>>>,
    is_closing: AtomicBool,
}

/// A thread's place in the pool.
#[derive(Debug)]
struct Desk {
    /// Held for as long as a turn runs.
    lane: Lane<()>,
    warm: Mutex<Option<Warm>>,
    used: Mutex<Instant>,
}

#[derive(Debug, Clone)]
struct Warm {
    driver: Driver,
    spec: SessionSpec,
}

/// A directory that no thread may have.
#[derive(Debug, thiserror::Error)]
pub enum BadCwd {
    /// It is not there.
    #[error("{} is not a directory", .0.display())]
    Missing(PathBuf),
    /// Claude would get at TinyClaw's own state.
    #[error("{} contains TinyClaw's own state ({}): choose a directory beside it", cwd.display(), state.display())]
    HoldsState {
        /// The directory.
        cwd: PathBuf,
        /// The state folder.
        state: PathBuf,
    },
}

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
}

impl VersionReport {
    /// Whether another version runs than was tested.
    pub fn is_other(&self) -> bool {
        self.seen.as_deref().is_some_and(|it| it != self.pinned)
    }
}

impl Engine {
    /// An engine whose Claudes run on this machine. Starts no process yet; needs a Tokio runtime.
    pub fn new(config: EngineConfig) -> Engine {
        let launcher = LocalLauncher {
            program: config.program.clone(),
            leash: config.leash.clone(),
            state: config.state.canonicalize().unwrap_or_else(|_| config.state.clone()),
            landlock: config.landlock,
        };
        Engine::with_launcher(config, Arc::new(launcher))
    }

    /// An engine whose Claudes run wherever this launcher starts them.
    pub fn with_launcher(config: EngineConfig, launcher: Arc<dyn Launcher>) -> Engine {
        let (background_to, background) = mpsc::unbounded_channel();
        let shared = Shared {
            background: background_to,
            version: Arc::default(),
            is_unconfined: Arc::new(Once::new()),
        };
        let inner = Arc::new(Inner {
            config,
            launcher,
            desks: Mutex::default(),
            shared,
            background: Mutex::new(Some(background)),
            is_closing: AtomicBool::new(false),
        });
        tokio::spawn(Inner::look_around(Arc::downgrade(&inner)));
        Engine(inner)
    }

    /// Asks Claude. Returns at once; everything that happens comes as [`TurnEvent`]s.
    ///
    /// Two turns in one thread at once: the second waits for the first. The process of an earlier turn is used again
    /// if it fits (same session, directory, mode, system prompt and tools), else it is closed and another one started.
    /// A crash of this process ends Claude; what it had written so far is in its transcript, see [`Engine::trace`].
    pub fn turn(&self, request: TurnRequest) -> Turn {
        let (events_to, events) = mpsc::unbounded_channel();
        let (controls_to, controls) = mpsc::unbounded_channel();
        let inner = self.0.clone();
        let begun = Instant::now();
        tokio::spawn(async move { inner.run(request, begun, events_to, controls).await });
        Turn { events, control: TurnControl { to: controls_to } }
    }

    /// Starts a thread's process ahead of its next turn, unless it is there or busy. Never fails: the turn will say.
    pub fn prewarm(&self, session: SessionSpec) {
        if self.0.config.mode == Mode::Spawn {
            return;
        }
        let inner = self.0.clone();
        tokio::spawn(async move {
            let desk = inner.desk(&session.thread);
            let Ok(_lane) = desk.lane.try_lock() else { return };
            if let Err(err) = inner.ready(&desk, &session).await {
                tracing::warn!(thread.id = %session.thread, "cannot start claude ahead: {err}");
            }
            desk.touch();
        });
    }

    /// Closes a thread's idle process. `false`: it is busy and stays.
    pub async fn evict(&self, thread: &ThreadId) -> bool {
        let desk = self.0.desk(thread);
        let Ok(_lane) = desk.lane.try_lock() else { return false };
        desk.close(false).await;
        true
    }

    /// Ends everything: idle processes by end of file, busy ones at once. Afterwards every turn fails with
    /// [`TurnFailure::Closing`]. Returns when no descendant is left, or after eight seconds.
    pub async fn close(&self) {
        self.0.is_closing.store(true, Ordering::SeqCst);
        let desks: Vec<Arc<Desk>> = self.0.lock_desks().values().cloned().collect();
        let mut all = tokio::task::JoinSet::new();
        for desk in desks {
            let is_busy = desk.lane.try_lock().is_err();
            all.spawn(async move { desk.close(is_busy).await });
        }
        if timeout(CLOSE, all.join_all()).await.is_err() {
            tracing::warn!("not every claude has ended in time; their leashes go on trying");
        }
    }

    /// What Claude says with no message in flight. To be taken once; `None` the second time.
    pub fn background(&self) -> Option<mpsc::UnboundedReceiver<Background>> {
        self.0.background.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether there is something to resume: a transcript of this session for this directory.
    pub fn transcript_exists(&self, cwd: &Path, session: &SessionId) -> bool {
        transcript::exists(&self.transcript(cwd, session))
    }

    /// How far the turn with this uuid got, by Claude's own transcript. Unreadable is [`Trace::Unseen`].
    pub fn trace(&self, cwd: &Path, session: &SessionId, turn_uuid: &str) -> Trace {
        let path = self.transcript(cwd, session);
        transcript::trace(&path, turn_uuid).unwrap_or_else(|err| {
            tracing::warn!("cannot read {}: {err}", path.display());
            Trace::Unseen
        })
    }

    /// The finished answer to this turn, if the transcript has one: then Claude is not asked again.
    pub fn transcript_reply(
        &self,
        cwd: &Path,
        session: &SessionId,
        turn_uuid: &str,
    ) -> Option<FinishedReply> {
        match self.trace(cwd, session, turn_uuid) {
            Trace::Finished(reply) => Some(reply),
            Trace::Unseen | Trace::Begun => None,
        }
    }

    /// Makes a session known in another directory too, where a thread moves. `false`: there is no such session.
    pub fn copy_session(
        &self,
        from_cwd: &Path,
        to_cwd: &Path,
        session: &SessionId,
    ) -> Result<bool, DiskError> {
        let (from, to) = (self.transcript(from_cwd, session), self.transcript(to_cwd, session));
        transcript::copy(&from, &to)
    }

    /// Where Claude keeps the transcript of this session for this directory.
    pub fn transcript(&self, cwd: &Path, session: &SessionId) -> PathBuf {
        transcript::path(&self.0.config.claude_dir(), cwd, session)
    }

    /// Whether a thread may have this directory.
    pub fn check_cwd(&self, cwd: &Path) -> Result<(), BadCwd> {
        let Some(there) = cwd.canonicalize().ok().filter(|it| it.is_dir()) else {
            return Err(BadCwd::Missing(cwd.to_owned()));
        };
        let state = &self.0.config.state;
        let state = state.canonicalize().unwrap_or_else(|_| state.clone());
        if self.0.config.landlock != Landlock::Off && state.starts_with(&there) {
            return Err(BadCwd::HoldsState { cwd: there, state });
        }
        Ok(())
    }

    /// Asks Claude for a single word in a session that is kept nowhere, without tools. Costs next to nothing.
    pub async fn probe(&self) -> Probe {
        match self.0.probe().await {
            Ok(()) => Probe::Ready,
            Err(failure) => Probe::NotReady(failure),
        }
    }

    /// Which CLI runs, and which was tested.
    pub fn version(&self) -> VersionReport {
        let seen = self.0.shared.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        VersionReport { pinned: PINNED_VERSION, seen }
    }

    /// How many processes there are, busy ones included.
    pub fn processes(&self) -> usize {
        self.0.lock_desks().values().filter(|it| it.is_warm()).count()
    }
}

impl Desk {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warm(&self) -> Option<Warm> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        if warm.as_ref().is_some_and(|it| !it.driver.is_alive()) {
            *warm = None;
        }
        warm.clone()
    }

    fn is_warm(&self) -> bool {
        self.warm().is_some()
    }

    async fn close(&self, at_once: bool) {
        let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(warm) = warm {
            warm.driver.close(at_once).await;
        }
        let _ = self.warm();
    }
}

impl Inner {
    fn lock_desks(&self) -> std::sync::MutexGuard<'_, HashMap<ThreadId, Arc<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self, thread: &ThreadId) -> Arc<Desk> {
        let new = || {
            let (warm, used) = (Mutex::new(None), Mutex::new(Instant::now()));
            Arc::new(Desk { lane: Lane::new(()), warm, used })
        };
        self.lock_desks().entry(thread.clone()).or_insert_with(new).clone()
    }

    async fn run(
        self: Arc<Inner>,
        request: TurnRequest,
        begun: Instant,
        events: mpsc::UnboundedSender<TurnEvent>,
        controls: mpsc::UnboundedReceiver<Control>,
    ) {
        let spec = request.session;
        let mut order = Box::new(TurnOrder {
            key: request.key,
            uuid: request.uuid,
            model: self.config.model_name(spec.model),
            content: serde_json::Value::Null,
            begun,
            session: spec.id.clone(),
            events,
            controls,
            done: None,
            is_ended: false,
        });
        let content = request.content;
        match tokio::task::spawn_blocking(move || Content::to_wire(&content)).await {
            Ok(Ok(content)) => order.content = content,
            Ok(Err(err)) => {
                let source = std::error::Error::source(&err).map(|it| format!(": {it}"));
                let detail = format!("{err}{}", source.unwrap_or_default());
                return order.fail(TurnFailure::BadContent { detail });
            }
            Err(_) => return order.fail(TurnFailure::Closing),
        }
        let desk = self.desk(&spec.thread);
        let lane = desk.lane.lock().await;
        // A second process only when the first was found dead before it took the prompt.
        let mut left = Some(order);
        for _ in 0..2 {
            let Some(mut order) = left.take() else { break };
            let driver = match self.ready(&desk, &spec).await {
                Ok(it) => it,
                Err(failure) => return order.fail(failure),
            };
            let (done_to, done) = oneshot::channel();
            order.done = Some(done_to);
            left = match driver.turn(order) {
                Ok(()) => done.await.unwrap_or(None),
                Err(order) => Some(order),
            };
            if left.is_some() {
                driver.close(false).await;
            }
        }
        if let Some(order) = left {
            let detail = "it ended twice before it was asked anything".to_owned();
            order.fail(TurnFailure::NotStarted { detail, lasting: false });
        }
        desk.touch();
        if self.config.mode == Mode::Spawn {
            desk.close(false).await;
        }
        drop(lane);
        self.make_room(self.config.warm_max).await;
    }

    /// A process that fits, started if need be. The caller holds the lane.
    async fn ready(&self, desk: &Desk, spec: &SessionSpec) -> Result<Driver, TurnFailure> {
        if self.is_closing.load(Ordering::SeqCst) {
            return Err(TurnFailure::Closing);
        }
        if let Some(warm) = desk.warm() {
            // The model is changed on the way; anything else needs another process.
            let fits = SessionSpec { model: spec.model, ..warm.spec } == *spec;
            if fits {
                return Ok(warm.driver);
            }
            warm.driver.close(false).await;
        }
        self.make_room(self.config.warm_max.saturating_sub(1)).await;
        let driver =
            self.launch(spec, Purpose::Turns).await.map_err(|it| TurnFailure::from(&it))?;
        let warm = Warm { driver: driver.clone(), spec: spec.clone() };
        *desk.warm.lock().unwrap_or_else(PoisonError::into_inner) = Some(warm);
        if self.is_closing.load(Ordering::SeqCst) {
            driver.close(true).await;
            return Err(TurnFailure::Closing);
        }
        Ok(driver)
    }

    async fn launch(&self, spec: &SessionSpec, purpose: Purpose) -> Result<Driver, LaunchError> {
        let resumed = match purpose {
            Purpose::Turns => {
                let path = transcript::path(&self.config.claude_dir(), &spec.cwd, &spec.id);
                transcript::exists(&path)
            }
            Purpose::Probe => false,
        };
        let mut env = self.config.environment();
        if spec.permission_mode == PermissionMode::Bypass && nix::unistd::geteuid().is_root() {
            // Claude does not work unasked as root unless told that it sits in a sandbox. It does: the leash's.
            env.insert("IS_SANDBOX".to_owned(), "1".to_owned());
        }
        if let Some(name) = &self.config.capability {
            let own = self.config.state.join("files").join(spec.thread.as_str()).join(name);
            env.insert("TINYCLAW_CAPABILITY_FILE".to_owned(), own.display().to_string());
        }
        if self.config.state.starts_with("/tmp") {
            // With the state folder below it, /tmp cannot be opened to Claude as a whole.
            let own = self.config.claude_home.join("tmp");
            std::fs::create_dir_all(&own).map_err(|source| LaunchError::Step {
                step: "make",
                path: own.clone(),
                source,
            })?;
            env.insert("TMPDIR".to_owned(), own.display().to_string());
        }
        let mut access = self.config.access.clone();
        let claude_dir = self.config.claude_dir();
        std::fs::create_dir_all(&claude_dir).map_err(|source| LaunchError::Step {
            step: "make",
            path: claude_dir.clone(),
            source,
        })?;
        access.writable.extend([self.config.claude_home.clone(), claude_dir]);
        access.readable.extend(self.config.path_prefix.iter().cloned());
        let launched = self.launcher.launch(LaunchSpec {
            thread: spec.thread.clone(),
            cwd: spec.cwd.clone(),
            args: arguments(&self.config, spec, resumed, purpose),
            env,
            access,
        });
        let setup = Setup {
            thread: spec.thread.clone(),
            session: spec.id.clone(),
            resumed,
            model: self.config.model_name(spec.model),
            system_prompt: spec.system_prompt.clone(),
            tools: spec.tools.clone(),
            times: self.config.times,
            mode: self.config.mode,
            shared: self.shared.clone(),
        };
        Ok(Driver::start(launched.await?, setup))
    }

    /// Closes idle processes, those not used for longest first, until at most `most` are left.
    async fn make_room(&self, most: usize) {
        let mut desks: Vec<Arc<Desk>> =
            self.lock_desks().values().filter(|it| it.is_warm()).cloned().collect();
        let surplus = desks.len().saturating_sub(most);
        desks.sort_by_key(|it| it.used());
        let mut closed = 0;
        for desk in desks {
            if closed == surplus {
                return;
            }
            let Ok(_lane) = desk.lane.try_lock() else { continue };
            desk.close(false).await;
            closed += 1;
        }
    }

    /// Closes what has been idle for too long, until the engine is gone.
    async fn look_around(inner: Weak<Inner>) {
        loop {
            sleep(LOOK_AROUND).await;
            let Some(inner) = inner.upgrade() else { return };
            let desks: Vec<(ThreadId, Arc<Desk>)> =
                inner.lock_desks().iter().map(|(id, it)| (id.clone(), it.clone())).collect();
            for (thread, desk) in desks {
                let Ok(_lane) = desk.lane.try_lock() else { continue };
                if desk.used().elapsed() < inner.config.idle_ttl {
                    continue;
                }
                desk.close(false).await;
                let mut desks = inner.lock_desks();
                // Nobody else may have it in hand: this loop's, and the map's.
                if Arc::strong_count(&desk) == 2 {
                    desks.remove(&thread);
                }
            }
        }
    }

    async fn probe(self: &Arc<Inner>) -> Result<(), TurnFailure> {
        let broken = |detail: String| TurnFailure::NotStarted { detail, lasting: true };
        let thread: ThreadId = "probe".parse().map_err(|it| broken(format!("{it}")))?;
        let id: SessionId =
            Uuid::new_v4().to_string().parse().map_err(|it| broken(format!("{it}")))?;
        let cwd = self.config.state.join("files").join(thread.as_str());
        std::fs::create_dir_all(&cwd).map_err(|it| broken(format!("{}: {it}", cwd.display())))?;
        let spec = SessionSpec {
            thread,
            id: id.clone(),
            cwd,
            permission_mode: PermissionMode::Ask,
            system_prompt: String::new(),
            tools: Arc::new([]),
            model: Model::Haiku,
        };
        let desk = self.desk(&spec.thread);
        let _lane = desk.lane.lock().await;
        let driver =
            self.launch(&spec, Purpose::Probe).await.map_err(|it| TurnFailure::from(&it))?;
        let (events_to, events) = mpsc::unbounded_channel();
        let (to, controls) = mpsc::unbounded_channel();
        let order = Box::new(TurnOrder {
            key: "probe".parse().map_err(|it| broken(format!("{it}")))?,
            uuid: Uuid::new_v4().to_string(),
            model: self.config.model_name(spec.model),
            content: "Answer with the single word: ready".into(),
            begun: Instant::now(),
            session: id,
            events: events_to,
            controls,
            done: None,
            is_ended: false,
        });
        if let Err(order) = driver.turn(order) {
            order.fail(broken("it ended at once".to_owned()));
        }
        let end = Turn { events, control: TurnControl { to } }.end().await;
        driver.close(false).await;
        match end.map(|it| it.outcome) {
            Some(TurnOutcome::Answered) => Ok(()),
            Some(TurnOutcome::Failed(failure)) => Err(failure),
            Some(TurnOutcome::Interrupted) | None => Err(TurnFailure::Closing),
        }
    }
}

impl Probe {
    /// Whether whatever paused the engine is over: it answers, or fails in a way that concerns one message only.
    pub fn is_ready(&self) -> bool {
        match self {
            Probe::Ready => true,
            Probe::NotReady(failure) => {
                matches!(failure.advice(), Advice::Report | Advice::OfferToContinue)
            }
        }
    }
}

/// What a process is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Turns,
    Probe,
}

/// Claude's command line. Values are joined to their flags, so that none can pass for a flag.
fn arguments(
    config: &EngineConfig,
    spec: &SessionSpec,
    resumed: bool,
    purpose: Purpose,
) -> Vec<String> {
    let mut args: Vec<String> = [
        "-p",
        "--input-format=stream-json",
        "--output-format=stream-json",
        "--verbose",
        "--include-partial-messages",
        "--replay-user-messages",
        "--permission-prompt-tool=stdio",
        "--strict-mcp-config",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut flag = |name: &str, value: &str| args.push(format!("--{name}={value}"));
    flag("permission-mode", spec.permission_mode.cli_name());
    flag("model", &config.model_name(spec.model));
    flag("setting-sources", &config.setting_sources);
    flag("disallowedTools", NOT_HERE);
    flag(if resumed { "resume" } else { "session-id" }, spec.id.as_str());
    if !spec.tools.is_empty() {
        let name = out::MCP_SERVER;
        let servers =
            serde_json::json!({ "mcpServers": { name: { "type": "sdk", "name": name } } });
        flag("mcp-config", &servers.to_string());
        flag("allowedTools", &format!("mcp__{name}"));
    }
    if let Some(model) = config.fallback_model.filter(|it| *it != spec.model) {
        flag("fallback-model", &config.model_name(model));
    }
    if let Some(most) = config.turns_max {
        flag("max-turns", &most.to_string());
    }
    if purpose == Purpose::Probe {
        flag("tools", "");
        args.push("--no-session-persistence".to_owned());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_resumed_or_begun_and_no_value_can_be_a_flag() {
        let config = EngineConfig::new("claude", "leash", "/state", "/home/claude");
        let spec = SessionSpec {
            thread: ThreadId::topic(7),
            id: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().unwrap(),
            cwd: "/desk".into(),
            permission_mode: PermissionMode::AcceptEdits,
            system_prompt: "--dangerously-skip-permissions".to_owned(),
            tools: Arc::new([]),
            model: Model::Sonnet,
        };
        let begun = arguments(&config, &spec, false, Purpose::Turns);
        let resumed = arguments(&config, &spec, true, Purpose::Turns);
        let id = "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f";
        assert!(begun.contains(&format!("--session-id={id}")));
        assert!(resumed.contains(&format!("--resume={id}")));
        assert!(begun.contains(&"--permission-mode=acceptEdits".to_owned()));
        assert!(!begun.iter().any(|it| it.starts_with("--dangerously")));
    }
}
