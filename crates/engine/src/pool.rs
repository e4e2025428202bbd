//! The pool behind an [`Engine`](crate::Engine): which thread has a process, and which of them stay.
//!
//! A thread's lane is held for as long as its turn runs; whoever wants to close a process needs the lane, so a busy one is
//! never evicted. Processes elsewhere are not counted: it is this machine's memory that they would fill.

mod probe;
mod renewal;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use tinyclaw_domain::{Effort, Place, SessionId, ThreadId};
use tokio::sync::{Mutex as Lane, MutexGuard as LaneGuard, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::adopted::AdoptedTurns;
use crate::arguments::{Purpose, arguments};
use crate::config::{EngineConfig, Mode};
use crate::confined::{self, CarryError, Confined, ConfinedError, Said, Way};
use crate::content::Content;
use crate::driver::{Driver, Setup, Shared, TurnOrder};
use crate::failure::TurnFailure;
use crate::home::Home;
use crate::launch::{LaunchError, LaunchSpec};
use crate::launchers::Launchers;
use crate::login::Token;
use crate::look::Desk;
use crate::outfit::{CAPABILITY, Outfit, alike, home_failed, surroundings};
use crate::turn::{Background, Control, Reconnected, SessionSpec, TurnEvent, TurnRequest};

/// How often idle processes are looked at.
const LOOK_AROUND: Duration = Duration::from_secs(15);
/// How many times longer an idle process stays that has something running in the background.
const TASK_PATIENCE: u32 = 6;

#[derive(Debug)]
pub(crate) struct Pool {
    config: RwLock<Arc<EngineConfig>>,
    pub(crate) launchers: Launchers,
    pub(crate) adopted: AdoptedTurns,
    members: Mutex<HashMap<ThreadId, Arc<Member>>>,
    /// What the drivers of each place tell.
    shared: Mutex<BTreeMap<Place, Shared>>,
    background_to: mpsc::UnboundedSender<Background>,
    background: Mutex<Option<mpsc::UnboundedReceiver<Background>>>,
    /// When the login was last tried to be renewed.
    renewed: Lane<Option<Instant>>,
    /// Whose Claude was left to the next process.
    left: Mutex<HashSet<ThreadId>>,
    is_closing: AtomicBool,
    /// Nobody asks for another turn.
    is_winding_down: AtomicBool,
}

/// A thread in the pool.
#[derive(Debug)]
struct Member {
    /// Held for as long as a turn runs.
    lane: Lane<()>,
    warm: Mutex<Option<Warm>>,
    used: Mutex<Instant>,
}

#[derive(Debug, Clone)]
struct Warm {
    driver: Driver,
    spec: SessionSpec,
    /// What it was started with.
    config: Arc<EngineConfig>,
    /// The login that is in its environment.
    token: Option<Token>,
}

impl Member {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(
        &self,
        driver: &Driver,
        spec: &SessionSpec,
        config: Arc<EngineConfig>,
        token: Option<Token>,
    ) {
        let warm = Warm { driver: driver.clone(), spec: spec.clone(), config, token };
        *self.warm.lock().unwrap_or_else(PoisonError::into_inner) = Some(warm);
    }

    fn warm(&self) -> Option<Warm> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        if warm.as_ref().is_some_and(|it| !it.driver.is_alive()) {
            *warm = None;
        }
        warm.clone()
    }

    fn has_tasks(&self) -> bool {
        self.warm().is_some_and(|it| it.driver.has_tasks())
    }

    /// Whether it has a process on this machine.
    fn is_warm_here(&self) -> bool {
        self.warm().is_some_and(|it| it.spec.place.is_here())
    }

    async fn close(&self, at_once: bool) {
        let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(warm) = warm {
            warm.driver.close(at_once).await;
        }
        let _ = self.warm();
    }
}

impl Pool {
    pub(crate) fn new(config: EngineConfig, launchers: Launchers) -> Arc<Pool> {
        let (background_to, background) = mpsc::unbounded_channel();
        let pool = Arc::new(Pool {
            config: RwLock::new(Arc::new(config)),
            launchers,
            adopted: AdoptedTurns::default(),
            members: Mutex::default(),
            shared: Mutex::default(),
            background_to,
            background: Mutex::new(Some(background)),
            renewed: Lane::new(None),
            left: Mutex::default(),
            is_closing: AtomicBool::new(false),
            is_winding_down: AtomicBool::new(false),
        });
        tokio::spawn(Pool::look_around(Arc::downgrade(&pool)));
        pool
    }

    /// What counts now.
    pub(crate) fn config(&self) -> Arc<EngineConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// See [`Engine::reconfigure`](crate::Engine::reconfigure).
    pub(crate) fn reconfigure(&self, new: EngineConfig) -> Vec<&'static str> {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        let (next, left) = config.succeeded_by(new);
        *config = Arc::new(next);
        left
    }

    pub(crate) fn take_background(&self) -> Option<mpsc::UnboundedReceiver<Background>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How many processes there are on this machine.
    pub(crate) fn count(&self) -> usize {
        self.lock_members().values().filter(|it| it.is_warm_here()).count()
    }

    /// What the drivers of a place tell.
    pub(crate) fn shared(&self, place: &Place) -> Shared {
        let mut all = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Shared {
            background: self.background_to.clone(),
            version: Arc::default(),
            unknown: Arc::default(),
        };
        all.entry(place.clone()).or_insert_with(new).clone()
    }

    /// Whether the thread's process has had a turn in this session, in this directory.
    pub(crate) fn has_turns(&self, desk: &Desk, session: &SessionId) -> bool {
        let warm = self.lock_members().get(&desk.thread).and_then(|it| it.warm());
        warm.is_some_and(|it| {
            it.spec.id == *session && it.spec.desk() == *desk && it.driver.has_turns()
        })
    }

    fn lock_members(&self) -> MutexGuard<'_, HashMap<ThreadId, Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, thread: &ThreadId) -> Arc<Member> {
        let new = || {
            let (warm, used) = (Mutex::new(None), Mutex::new(Instant::now()));
            Arc::new(Member { lane: Lane::new(()), warm, used })
        };
        self.lock_members().entry(thread.clone()).or_insert_with(new).clone()
    }

    pub(crate) async fn run(
        self: Arc<Pool>,
        request: TurnRequest,
        begun: Instant,
        events: mpsc::UnboundedSender<TurnEvent>,
        controls: mpsc::UnboundedReceiver<Control>,
    ) {
        let spec = request.session;
        let mut order = Box::new(TurnOrder {
            key: request.key,
            uuid: request.uuid,
            model: self.config().model_name(spec.model),
            effort: spec.effort,
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
        let member = self.member(&spec.thread);
        let lane = member.lane.lock().await;
        if let Some(leashed) = self.adopted.take(&spec.thread, &order.uuid) {
            let config = self.config();
            let token = Home::of(&config, &spec.thread).token(&config).ok().flatten();
            let outfit = self.outfit(&config, &spec, Purpose::Turns, token.as_ref()).await;
            let mut setup = self.setup(&config, &spec, true);
            setup.outfit = outfit.map(|it| it.digest).unwrap_or_default();
            let (done_to, done) = oneshot::channel();
            order.done = Some(done_to);
            let driver = Driver::go_on(leashed, setup, order);
            member.keep(&driver, &spec, config, token);
            let _ = done.await;
            return self.after_turn(&member, lane).await;
        }
        // A second process only when the first was found dead before it took the prompt.
        let mut left = Some(order);
        for _ in 0..2 {
            let Some(mut order) = left.take() else { break };
            let driver = match self.ready(&member, &spec).await {
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
        self.after_turn(&member, lane).await;
    }

    /// What is to be done when a turn is over.
    async fn after_turn(&self, member: &Member, lane: LaneGuard<'_, ()>) {
        member.touch();
        let is_last = self.is_winding_down.load(Ordering::SeqCst);
        if is_last || self.config().mode == Mode::Spawn {
            member.close(false).await;
        }
        drop(lane);
        self.make_room(self.config().warm_max).await;
    }

    /// See [`Engine::run_confined`](crate::Engine::run_confined).
    pub(crate) async fn run_confined(&self, order: Confined) -> Result<Said, ConfinedError> {
        let member = self.member(&order.thread);
        let _lane = member.lane.lock().await;
        // The leash has the session's lock: it would end what it finds there, and less politely.
        member.close(false).await;
        confined::run(&self.config(), order).await
    }

    /// See [`Engine::carry`](crate::Engine::carry).
    pub(crate) async fn carry(
        &self,
        thread: &ThreadId,
        way: Way,
        from: &Path,
        to: &Path,
    ) -> Result<(), CarryError> {
        let member = self.member(thread);
        let _lane = member.lane.lock().await;
        member.close(false).await;
        confined::carry(&self.config(), thread, way, from, to).await
    }

    /// Closes a thread's process unless it is busy.
    pub(crate) async fn evict(&self, thread: &ThreadId) -> bool {
        let member = self.member(thread);
        let Ok(_lane) = member.lane.try_lock() else { return false };
        member.close(false).await;
        true
    }

    /// See [`Engine::reconnect`](crate::Engine::reconnect).
    pub(crate) async fn reconnect(&self, thread: &ThreadId) -> Reconnected {
        let member = self.member(thread);
        let Ok(_lane) = member.lane.try_lock() else { return Reconnected::Busy };
        let Some(warm) = member.warm() else { return Reconnected::WithTheNext };
        match warm.driver.reconnect().await {
            Some(servers) => Reconnected::Now(servers),
            // A new process connects anew, too.
            None => {
                member.close(false).await;
                Reconnected::WithTheNext
            }
        }
    }

    /// See [`Engine::wind_down`](crate::Engine::wind_down).
    pub(crate) fn wind_down(&self) {
        self.is_winding_down.store(true, Ordering::SeqCst);
        let members: Vec<Arc<Member>> = self.lock_members().values().cloned().collect();
        for member in members {
            // A busy one is closed by whoever has the lane, see `after_turn`.
            let Ok(_lane) = member.lane.try_lock() else { continue };
            if let Some(warm) = member.warm() {
                warm.driver.wind_down();
            }
        }
    }

    /// See [`Engine::leave`](crate::Engine::leave).
    pub(crate) async fn leave(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        let adopted = self.adopted.leave().await;
        self.lock_left().extend(adopted);
        let members: Vec<Arc<Member>> = self.lock_members().values().cloned().collect();
        for warm in members.iter().filter_map(|it| it.warm()) {
            if warm.driver.leave().await {
                self.lock_left().insert(warm.spec.thread);
            }
        }
    }

    /// The threads whose Claude is the next process's.
    pub(crate) fn left(&self) -> HashSet<ThreadId> {
        self.lock_left().clone()
    }

    fn lock_left(&self) -> MutexGuard<'_, HashSet<ThreadId>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every process and starts no further one.
    pub(crate) async fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        self.adopted.end();
        let members: Vec<Arc<Member>> = self.lock_members().values().cloned().collect();
        let mut all = tokio::task::JoinSet::new();
        for member in members {
            let is_busy = member.lane.try_lock().is_err();
            all.spawn(async move { member.close(is_busy).await });
        }
        all.join_all().await;
    }

    /// A process that fits, started if need be. The caller holds the lane.
    async fn ready(&self, member: &Member, spec: &SessionSpec) -> Result<Driver, TurnFailure> {
        if self.is_closing.load(Ordering::SeqCst) {
            return Err(TurnFailure::Closing);
        }
        let config = self.config();
        if spec.place.is_here() {
            self.renew_login(&config).await;
        }
        let home = Home::of(&config, &spec.thread);
        let token = if spec.place.is_here() { home.token(&config) } else { Ok(None) };
        let token = token.map_err(|err| TurnFailure::from(&home_failed(&home, &err)))?;
        if let Some(warm) = member.warm() {
            // The model is changed on the way, and the effort but for the highest, which is a flag of the process; anything
            // else needs another one.
            let is_flag = [spec.effort, warm.spec.effort].contains(&Effort::Max);
            let effort = if is_flag { warm.spec.effort } else { spec.effort };
            let fits = SessionSpec { model: spec.model, effort, ..warm.spec } == *spec
                && warm.token == token
                && (Arc::ptr_eq(&warm.config, &config) || alike(&warm.config, &config, spec));
            if fits {
                // The login may be another one than when it was started; Claude looks when it is refused.
                if spec.place.is_here()
                    && let Err(err) = Home::of(&config, &spec.thread).hand_over_login(&config)
                {
                    tracing::warn!(thread.id = %spec.thread, "thread {} keeps the login it has: {err}", spec.thread);
                }
                return Ok(warm.driver);
            }
            warm.driver.close(false).await;
        }
        if spec.place.is_here() {
            self.make_room(config.warm_max.saturating_sub(1)).await;
        }
        let driver = self
            .launch(&config, spec, Purpose::Turns, token.as_ref())
            .await
            .map_err(|it| TurnFailure::from(&it))?;
        member.keep(&driver, spec, config, token);
        if self.is_closing.load(Ordering::SeqCst) {
            driver.close(true).await;
            return Err(TurnFailure::Closing);
        }
        Ok(driver)
    }

    async fn launch(
        &self,
        config: &EngineConfig,
        spec: &SessionSpec,
        purpose: Purpose,
        token: Option<&Token>,
    ) -> Result<Driver, LaunchError> {
        let launcher = self.launchers.of(&spec.place)?;
        let Outfit { env, access, digest } = self.outfit(config, spec, purpose, token).await?;
        let resumed = match purpose {
            Purpose::Turns => launcher
                .look()
                .has_session(&spec.desk(), &spec.id)
                .await
                .map_err(|err| LaunchError::of_look(err, &spec.cwd))?,
            Purpose::Probe | Purpose::PlanWindows => false,
        };
        let launched = launcher.launch(LaunchSpec {
            thread: spec.thread.clone(),
            place: spec.place.clone(),
            cwd: spec.cwd.clone(),
            args: arguments(config, spec, resumed, purpose),
            env,
            access,
        });
        let setup = Setup { outfit: digest, ..self.setup(config, spec, resumed) };
        Ok(Driver::start(launched.await?, setup))
    }

    /// What a thread's Claude is started with.
    async fn outfit(
        &self,
        config: &EngineConfig,
        spec: &SessionSpec,
        purpose: Purpose,
        token: Option<&Token>,
    ) -> Result<Outfit, LaunchError> {
        let launcher = self.launchers.of(&spec.place)?;
        let (mut env, access) = surroundings(config, spec, purpose)?;
        env.extend(spec.servers.environment.clone());
        env.extend(token.map(Token::variable));
        if let Some(file) = env.get_mut(CAPABILITY) {
            let path = PathBuf::from(&*file);
            let there = launcher.look().bring(&spec.desk(), &path).await;
            *file = there.map_err(|err| LaunchError::of_look(err, &path))?.display().to_string();
        }
        let digest = Outfit::digest(config, spec, &env, &access);
        Ok(Outfit { env, access, digest })
    }

    fn setup(&self, config: &EngineConfig, spec: &SessionSpec, resumed: bool) -> Setup {
        Setup {
            thread: spec.thread.clone(),
            session: spec.id.clone(),
            resumed,
            model: config.model_name(spec.model),
            effort: spec.effort,
            system_prompt: spec.system_prompt.clone(),
            tools: spec.tools.clone(),
            times: config.times,
            mode: config.mode,
            shared: self.shared(&spec.place),
            outfit: String::new(),
        }
    }

    /// Closes idle processes, those not used for longest first, until at most `most` are left. What has something
    /// running in the background stays.
    async fn make_room(&self, most: usize) {
        let mut members: Vec<Arc<Member>> =
            self.lock_members().values().filter(|it| it.is_warm_here()).cloned().collect();
        let surplus = members.len().saturating_sub(most);
        members.sort_by_key(|it| it.used());
        let mut closed = 0;
        for member in members {
            if closed == surplus {
                return;
            }
            let Ok(_lane) = member.lane.try_lock() else { continue };
            if member.has_tasks() {
                continue;
            }
            member.close(false).await;
            closed += 1;
        }
    }

    /// Closes what has been idle for too long, until the engine is gone.
    async fn look_around(pool: Weak<Pool>) {
        loop {
            sleep(LOOK_AROUND).await;
            let Some(pool) = pool.upgrade() else { return };
            pool.look_after_login().await;
            let members: Vec<(ThreadId, Arc<Member>)> =
                pool.lock_members().iter().map(|(id, it)| (id.clone(), it.clone())).collect();
            for (thread, member) in members {
                let Ok(_lane) = member.lane.try_lock() else { continue };
                let patience = if member.has_tasks() { TASK_PATIENCE } else { 1 };
                if member.used().elapsed() < pool.config().idle_ttl * patience {
                    continue;
                }
                member.close(false).await;
                let mut members = pool.lock_members();
                // Nobody else may have it in hand: this loop's, and the map's.
                if Arc::strong_count(&member) == 2 {
                    members.remove(&thread);
                }
            }
        }
    }
}
