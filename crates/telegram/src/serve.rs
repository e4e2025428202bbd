//! The service: everything is opened ([`crate::opening`]), its parts are built, what an earlier process left is taken up, and
//! then all of them work at once until the shutdown. What lives as long as the service is owned here.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use tinyclaw_ledger::{Progresses, StateDir, health};
use tinyclaw_queue::{Queue, Where};
use tinyclaw_service::settings::{Environment, Models, Office, Store, Telegram};
use tinyclaw_service::{Shutdown, Vitals, http, logs, now_ms};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bot::Bot;
use crate::bot::rate_limit::Limits;
use crate::bot::reactions;
use crate::buttons::Buttons;
use crate::choosing::Choosing;
use crate::commands::{Commands, table};
use crate::inbound::access::{People, wait_for_people};
use crate::inbound::compose::Composer;
use crate::inbound::dispatch::{self, Dispatcher};
use crate::inbound::joining::Handlers;
use crate::inbound::poll::{Alive, Poller};
use crate::inbound::updates::Inbox;
use crate::opening::{Opened, open, when_opened};
use crate::outbound::claim::Outbox;
use crate::outbound::deliver::Deliverer;
use crate::publish::Publisher;
use crate::settings::Timing;
use crate::status::cleanup::Cleanup;
use crate::status::kept::StatusFiles;
use crate::status::long_question::LongQuestions;
use crate::status::message::Presenter;
use crate::status::recover::Finder;
use crate::status::watcher::Watcher;
use crate::steering::Steering;
use crate::topics::Topics;

/// How often the address book is written when it changed.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// When things change quickly, how they are is told this much apart.
const AT_MOST_EVERY: Duration = Duration::from_millis(20);
/// What is under way may take so long to end.
const STOP_TIME: Duration = Duration::from_secs(5);
/// What tests and measurements set; a service takes the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How long things take.
    pub timing: Timing,
    /// What Telegram takes.
    pub limits: Limits,
}

/// Serves one bot from one state folder until the shutdown.
pub async fn run(
    state: StateDir,
    environment: Environment,
    options: Options,
    vitals: Vitals,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let queue = Where::from(state.root());
    run_over(queue, state, environment, options, vitals, shutdown).await
}

/// The same over a queue that lies elsewhere.
pub async fn run_over(
    queue: Where,
    state: StateDir,
    environment: Environment,
    options: Options,
    vitals: Vitals,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    tinyclaw_ledger::create_folders(&state)
        .with_context(|| format!("cannot make {}", state.root().display()))?;
    let telling = tokio::spawn(tell(state.clone(), vitals.clone(), shutdown.clone()));
    let store = Store::<(Office, Telegram, Models)>::open_when_good(
        state.root(),
        &environment,
        &vitals,
        &shutdown,
    );
    if let Some(store) = store.await {
        logs::follow(store.subscribe(), |it| &it.0.log_level);
        tokio::spawn(store.clone().follow(vitals.clone(), shutdown.clone()));
        if let Some(address) = store.current().1.health_listen {
            answer_for_health(address, &vitals, &shutdown).await;
        }
        if let Some((opened, _lock)) =
            open(&queue, &state, store, options.limits, &vitals, &shutdown).await?
        {
            Service::new(opened, state, options.timing, vitals, shutdown).serve().await?;
        }
    }
    let _ = telling.await;
    Ok(())
}

/// Everything that lives as long as the service does. Each part owns its own state and says what it locks; what several
/// parts need is shared, and nothing is known to all of them.
struct Service {
    bot: Arc<Bot>,
    queue: Queue,
    state: StateDir,
    inbox: Arc<Inbox>,
    watcher: Arc<Watcher>,
    cleanup: Arc<Cleanup>,
    outbox: Arc<Outbox>,
    dispatcher: Arc<Dispatcher>,
    poller: Arc<Poller>,
    timing: Timing,
    vitals: Vitals,
    shutdown: Shutdown,
}

impl Service {
    /// Builds the parts, each on those that it needs.
    fn new(
        opened: Opened,
        state: StateDir,
        timing: Timing,
        vitals: Vitals,
        shutdown: Shutdown,
    ) -> Service {
        let Opened { bot, queue, inbox } = opened;
        let (bot, inbox, view) = (Arc::new(bot), Arc::new(inbox), queue.view());
        let publisher = Arc::new(Publisher {
            client: tinyclaw_client::Client::over(&state, queue.clone()),
            bot: Arc::clone(&bot),
            vitals: vitals.clone(),
            shutdown: shutdown.clone(),
        });
        let topics = Arc::new(Topics { bot: Arc::clone(&bot), state: state.clone() });
        let files = StatusFiles { state: state.clone() };
        let finder = Arc::new(Finder::new(Arc::clone(&bot), files.clone()));
        let cleanup = Arc::new(Cleanup::new(
            Arc::clone(&bot),
            view.clone(),
            files.clone(),
            Arc::clone(&finder),
        ));
        let choosing = Arc::new(Choosing::new(state.clone(), view.clone(), Arc::clone(&publisher)));
        let steering = Arc::new(Steering::new(state.clone(), view.clone()));
        let questions = LongQuestions {
            choosing: Arc::clone(&choosing),
            state: state.clone(),
            view: view.clone(),
            publisher: Arc::clone(&publisher),
        };
        let presenter = Arc::new(Presenter {
            bot: Arc::clone(&bot),
            view: view.clone(),
            files,
            finder: Arc::clone(&finder),
            topics: Arc::clone(&topics),
            timing,
        });
        let watcher = Arc::new(Watcher::new(
            Arc::clone(&bot),
            view.clone(),
            state.clone(),
            questions.clone(),
            presenter,
            Arc::clone(&cleanup),
        ));
        let deliverer = Deliverer {
            bot: Arc::clone(&bot),
            view: view.clone(),
            state: state.clone(),
            publisher: Arc::clone(&publisher),
            cleanup: Arc::clone(&cleanup),
            topics: Arc::clone(&topics),
            questions,
            timing,
            vitals: vitals.clone(),
            newest: Mutex::default(),
        };
        let outbox = Arc::new(Outbox {
            queue: queue.clone(),
            deliverer,
            watcher: Arc::clone(&watcher),
            finder,
            shutdown: shutdown.clone(),
        });
        let buttons = Arc::new(Buttons {
            bot: Arc::clone(&bot),
            publisher: Arc::clone(&publisher),
            view: view.clone(),
            progresses: Progresses::new(&state),
            watcher: Arc::clone(&watcher),
            choosing: Arc::clone(&choosing),
            steering: Arc::clone(&steering),
        });
        let commands = Arc::new(Commands {
            bot: Arc::clone(&bot),
            publisher: Arc::clone(&publisher),
            view,
            state: state.clone(),
            watcher: Arc::clone(&watcher),
            topics,
            shutdown: shutdown.clone(),
        });
        let composer = Composer {
            bot: Arc::clone(&bot),
            publisher,
            choosing,
            steering,
            state: state.clone(),
            vitals: vitals.clone(),
        };
        let handlers = Arc::new(Handlers {
            bot: Arc::clone(&bot),
            inbox: Arc::clone(&inbox),
            composer,
            commands,
            timing,
        });
        let dispatcher = Arc::new(Dispatcher::new(handlers, buttons, vitals.clone()));
        let poller = Arc::new(Poller {
            bot: Arc::clone(&bot),
            inbox: Arc::clone(&inbox),
            dispatcher: Arc::clone(&dispatcher),
            state: state.clone(),
            timing,
            vitals: vitals.clone(),
            shutdown: shutdown.clone(),
            alive: Alive::new(),
        });
        Service {
            bot,
            queue,
            state,
            inbox,
            watcher,
            cleanup,
            outbox,
            dispatcher,
            poller,
            timing,
            vitals,
            shutdown,
        }
    }

    /// Serves until the shutdown.
    async fn serve(self) -> anyhow::Result<()> {
        let (bot, shutdown) = (&self.bot, &self.shutdown);
        tracing::info!(bot = %bot.username, "telegram is up as @{}", bot.username);
        let mut parts = JoinSet::new();
        let (watched, until) = (Arc::clone(bot), shutdown.clone());
        parts.spawn(async move { watched.watch_connection(&until).await });
        parts.spawn(reactions::run(Arc::clone(bot), self.timing.retry, shutdown.clone()));
        parts.spawn(Arc::clone(&self.outbox).run());
        parts.spawn(Arc::clone(&self.watcher).run(shutdown.clone()));
        parts.spawn(Arc::clone(&self.cleanup).run(shutdown.clone()));
        parts.spawn(keep(
            Arc::clone(bot),
            Arc::clone(&self.dispatcher),
            Arc::clone(&self.poller),
            self.vitals.clone(),
            shutdown.clone(),
        ));
        self.vitals.started();
        if wait_for_people(bot, &self.vitals, shutdown).await {
            if !self.take_left().await {
                return Ok(());
            }
            let registering = Arc::clone(bot);
            tokio::spawn(async move { table::register(&registering).await });
            parts.spawn(Arc::clone(&self.poller).run());
        }
        tokio::select! {
            () = shutdown.begun() => {}
            ended = parts.join_next() => if !shutdown.has_begun() {
                // A bot that cannot hear or speak is worse than none: whoever watches over it starts it again.
                let how = ended.map_or(String::new(), |it| it.map_or_else(|it| format!(": {it}"), |()| String::new()));
                anyhow::bail!("a part of the service has ended{how}");
            }
        }
        let ended = async { while parts.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIME, ended).await.is_err() {
            tracing::warn!("something is still under way: leaving it");
        }
        if let Err(err) = tokio::task::block_in_place(|| bot.addresses.save()) {
            tracing::error!("{:#}", anyhow::Error::from(err));
        }
        tracing::info!("telegram is down");
        Ok(())
    }

    /// Takes the updates that an earlier process left. `false` when the shutdown came first.
    async fn take_left(&self) -> bool {
        let found = when_opened("updates", &self.vitals, &self.shutdown, || {
            let updates = self.state.updates();
            self.inbox.left().with_context(|| format!("cannot list {}", updates.display()))
        });
        let Some(left) = found.await else { return false };
        self.poller.tell_left(&left);
        let known = when_opened("queue", &self.vitals, &self.shutdown, || match left.updates[..] {
            [] => Ok(HashSet::new()),
            _ => dispatch::known_keys(&self.queue.view()).context("cannot list the queue"),
        });
        let Some(published) = known.await else { return false };
        let offset = self.bot.addresses.offset(now_ms());
        tokio::task::block_in_place(|| self.dispatcher.take_left(left, &published, offset));
        true
    }
}

/// Writes the address book now and then, and counts.
async fn keep(
    bot: Arc<Bot>,
    dispatcher: Arc<Dispatcher>,
    poller: Arc<Poller>,
    vitals: Vitals,
    shutdown: Shutdown,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SAVE_EVERY) => {}
            () = shutdown.begun() => return,
        }
        if let Err(err) = tokio::task::block_in_place(|| bot.addresses.save()) {
            tracing::error!("{:#}", anyhow::Error::from(err));
        }
        // The lists change while we run, and a poll may be under way for long.
        match People::now(&bot).missing() {
            Some(missing) => vitals.block("people", missing),
            None => vitals.unblock("people"),
        }
        vitals.set("pollAgeSeconds", poller.alive.age().as_secs());
        vitals.set("updatesWaiting", dispatcher.backlog() + poller.inbox.held());
        if let Some(left) = bot.home().and_then(|it| bot.limit.left(it)) {
            vitals.set("budgetLeft", left);
        }
        if let Some((when, wait)) = bot.limit.last_flood() {
            vitals.set("lastFloodAgeSeconds", Instant::now().duration_since(when).as_secs());
            vitals.set("lastFloodWaitSeconds", wait.as_secs());
        }
    }
}

/// Answers `/health`, `/ready` and `/metrics`. Where it cannot listen it says so, and serves Telegram all the same.
async fn answer_for_health(address: SocketAddr, vitals: &Vitals, shutdown: &Shutdown) {
    match TcpListener::bind(address).await {
        Ok(listener) => {
            let routes = http::routes(vitals.clone());
            tokio::spawn(http::serve(listener, routes, shutdown.clone(), http::Limits::default()));
        }
        Err(err) => {
            let text =
                format!("health cannot be asked for at {address} (telegram.healthListen): {err}");
            tracing::error!("{text}");
            vitals.concern("health", Some(text));
        }
    }
}

/// Says in `health/telegram.json` how the service is, and at once when that changes.
async fn tell(state: StateDir, vitals: Vitals, shutdown: Shutdown) {
    let mut turns = vitals.turns();
    loop {
        turns.mark_unchanged();
        let said =
            tokio::task::block_in_place(|| health::write(&state, "telegram", &vitals.snapshot()));
        if let Err(err) = said {
            tracing::warn!("{:#}", anyhow::Error::from(err));
        }
        tokio::select! {
            () = tokio::time::sleep(health::EVERY) => {}
            Ok(()) = turns.changed() => tokio::time::sleep(AT_MOST_EVERY).await,
            () = shutdown.begun() => return,
        }
    }
}
