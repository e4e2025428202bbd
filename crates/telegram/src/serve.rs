//! The service in order: settings, token, lock, connection, queue, what was left, and then everything at once.
//!
//! What is missing is waited for, unready and with a word on what to set; it never ends the process.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use teloxide::payloads::GetMe;
use tinyclaw_disk::Lock;
use tinyclaw_ledger::{StateDir, health};
use tinyclaw_queue::{Options as QueueOptions, Queue};
use tinyclaw_service::settings::{Environment, Office, Store, Telegram};
use tinyclaw_service::{Shutdown, Vitals, http, logs};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bot::addresses::Book;
use crate::bot::client::{Client, Refusal};
use crate::bot::connection;
use crate::bot::rate_limit::{Budget, Limits};
use crate::bot::reactions::{self, Reactions};
use crate::commands::table;
use crate::face::{Bot, Face, Timing};
use crate::inbound::dispatch::{self, Intake};
use crate::inbound::poll::{self, Alive};
use crate::inbound::updates::Inbox;
use crate::outbound::deliver;
use crate::status::cleanup::{self, Leftovers};
use crate::status::watcher::{self, Board};

/// How often the book is written when it changed.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// When things change quickly, how they are is told this much apart.
const AT_MOST_EVERY: Duration = Duration::from_millis(20);
/// What is under way may take so long to end.
const STOP_TIME: Duration = Duration::from_secs(5);
/// A Telegram that does not answer when we begin is asked this often at least,
const ASK_WAIT_MAX: Duration = Duration::from_secs(4);
/// and one that does not know us this often.
const TOKEN_WAIT: Duration = Duration::from_secs(30);
/// How often is looked whether what is missing has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    state.create().with_context(|| format!("cannot make {}", state.root().display()))?;
    let telling = tokio::spawn(tell(state.clone(), vitals.clone(), shutdown.clone()));
    let store =
        Store::<(Office, Telegram)>::open_when_good(state.root(), &environment, &vitals, &shutdown);
    if let Some(store) = store.await {
        logs::follow(store.subscribe(), |it| &it.0.log_level);
        tokio::spawn(store.clone().follow(vitals.clone(), shutdown.clone()));
        if let Some(address) = store.current().1.health_listen {
            answer_for_health(address, &vitals, &shutdown).await;
        }
        if let Some((face, _lock)) = begin(&state, store, options, &vitals, &shutdown).await? {
            serve(face).await?;
        }
    }
    let _ = telling.await;
    Ok(())
}

/// Everything up to the first poll. `None` when the shutdown came first.
async fn begin(
    state: &StateDir,
    store: Store<(Office, Telegram)>,
    options: Options,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<(Arc<Face>, Lock)>> {
    let Some(token) = token(&store, vitals, shutdown).await else { return Ok(None) };
    let bot_id = token.expose_secret().split(':').next().and_then(|it| it.parse::<i64>().ok());
    let Some(bot_id) = bot_id else {
        vitals
            .block("token", "TELEGRAM_BOT_TOKEN is no token: BotFather's look like 123456:ABC-DEF");
        shutdown.begun().await;
        return Ok(None);
    };
    let Some(lock) = lock(state, bot_id, vitals, shutdown).await? else { return Ok(None) };
    let client = Client::new(&store.current().1.api_url, token)?;
    let Some(username) = who_are_we(&client, vitals, shutdown).await else { return Ok(None) };
    let Some(queue) = queue(state, &store, vitals, shutdown).await else { return Ok(None) };
    let budget = Budget::kept(options.limits, state.telegram_pace());
    let opened = when_opened("book", vitals, shutdown, || Ok(Book::open(&state.telegram())?)).await;
    let Some((book, notes)) = opened else { return Ok(None) };
    for note in &notes {
        tracing::warn!("{note}");
    }
    vitals.concern("book", (!notes.is_empty()).then(|| notes.join("; ")));
    let opened = when_opened("updates", vitals, shutdown, || {
        Inbox::open(&state.updates())
            .with_context(|| format!("cannot open {}", state.updates().display()))
    });
    let Some(inbox) = opened.await else { return Ok(None) };
    if let Some(offset) = book.doubt_offset(inbox.newest()) {
        tracing::warn!("offset {offset} is not believed: no update came that would bear it out");
    }
    let face = Face {
        client,
        budget,
        view: queue.view(),
        queue,
        state: state.clone(),
        book,
        inbox,
        settings: store,
        vitals: vitals.clone(),
        shutdown: shutdown.clone(),
        bot: Bot { id: bot_id, username },
        timing: options.timing,
        board: Board::default(),
        searching: tokio::sync::Mutex::default(),
        leftovers: Leftovers::default(),
        reactions: Reactions::default(),
    };
    Ok(Some((Arc::new(face), lock)))
}

async fn serve(face: Arc<Face>) -> anyhow::Result<()> {
    tracing::info!(bot = %face.bot.username, "telegram is up as @{}", face.bot.username);
    let alive = Arc::new(Alive::new());
    let intake = Arc::new(Intake::new(Arc::clone(&face)));
    let mut parts = JoinSet::new();
    parts.spawn(connection::run(Arc::clone(&face)));
    parts.spawn(reactions::run(Arc::clone(&face)));
    parts.spawn(deliver::run(Arc::clone(&face)));
    parts.spawn(watcher::run(Arc::clone(&face)));
    parts.spawn(cleanup::run(Arc::clone(&face)));
    parts.spawn(keep(Arc::clone(&face), Arc::clone(&intake), Arc::clone(&alive)));
    face.vitals.started();
    if wait_for_people(&face).await {
        let found = when_opened("updates", &face.vitals, &face.shutdown, || {
            let updates = face.state.updates();
            face.inbox.left().with_context(|| format!("cannot list {}", updates.display()))
        });
        let Some(left) = found.await else { return Ok(()) };
        poll::tell_left(&face, &left);
        let known = when_opened("queue", &face.vitals, &face.shutdown, || match left.updates[..] {
            [] => Ok(HashSet::new()),
            _ => dispatch::known_keys(&face).context("cannot list the queue"),
        });
        let Some(published) = known.await else { return Ok(()) };
        tokio::task::block_in_place(|| intake.take_left(left, &published));
        let registering = Arc::clone(&face);
        tokio::spawn(async move { table::register(&registering).await });
        parts.spawn(poll::run(Arc::clone(&face), intake, alive));
    }
    tokio::select! {
        () = face.shutdown.begun() => {}
        ended = parts.join_next() => if !face.shutdown.has_begun() {
            // A face that cannot hear or speak is worse than none: whoever watches over it starts it again.
            let how = ended.map_or(String::new(), |it| it.map_or_else(|it| format!(": {it}"), |()| String::new()));
            anyhow::bail!("a part of the service has ended{how}");
        }
    }
    let ended = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIME, ended).await.is_err() {
        tracing::warn!("something is still under way: leaving it");
    }
    if let Err(err) = tokio::task::block_in_place(|| face.book.save()) {
        tracing::error!("{:#}", anyhow::Error::from(err));
    }
    tracing::info!("telegram is down");
    Ok(())
}

/// Waits until somebody may speak: before that, what is said would be fetched and thrown away.
pub(crate) async fn wait_for_people(face: &Face) -> bool {
    while let Some(missing) = face.people().missing() {
        face.vitals.block("people", missing);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = face.shutdown.begun() => return false,
        }
    }
    face.vitals.unblock("people");
    let homeless = face.people().home.is_none().then(|| {
        "there is no home forum, so only private chats are answered: set TELEGRAM_CHAT_ID"
            .to_owned()
    });
    face.vitals.concern("home", homeless);
    true
}

async fn token(
    store: &Store<(Office, Telegram)>,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> Option<SecretString> {
    let mut settings = store.subscribe();
    loop {
        if let Some(token) = store.current().1.bot_token.clone() {
            vitals.unblock("token");
            return Some(token);
        }
        vitals
            .block("token", "there is no bot: set TELEGRAM_BOT_TOKEN to the token from BotFather");
        vitals.started();
        tokio::select! {
            _ = settings.changed() => {}
            () = shutdown.begun() => return None,
        }
    }
}

/// One poller a token on this volume; a second waits, ready to take over.
async fn lock(
    state: &StateDir,
    bot_id: i64,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Lock>> {
    let path = state.telegram_lock(bot_id);
    loop {
        if let Some(lock) = Lock::try_take(&path).context("cannot lock the bot's token")? {
            vitals.unblock("lock");
            let _ = lock.leave_note(&format!("pid {}", std::process::id()));
            return Ok(Some(lock));
        }
        vitals.block("lock", "another process serves this bot; this one takes over when it ends");
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY / 4) => {}
            () = shutdown.begun() => return Ok(None),
        }
    }
}

/// The queue; waits, unready, until it can be opened. What keeps it closed (a mount, a full disk) is mended outside, and a
/// service that ended would be started over and over meanwhile.
async fn queue(
    state: &StateDir,
    settings: &Store<(Office, Telegram)>,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> Option<Queue> {
    when_opened("queue", vitals, shutdown, || {
        let allow_network_disk = settings.current().0.allow_network_disk;
        let options = QueueOptions { allow_network_disk, ..QueueOptions::default() };
        Queue::open(state.root(), options).context("cannot open the queue")
    })
    .await
}

/// Opens something on disk; waits, unready and with the reason, until that works. What is wrong with a disk or a file is
/// mended outside.
async fn when_opened<T>(
    cause: &'static str,
    vitals: &Vitals,
    shutdown: &Shutdown,
    open: impl Fn() -> anyhow::Result<T>,
) -> Option<T> {
    let mut told = None;
    loop {
        let why = match tokio::task::block_in_place(&open) {
            Ok(it) => {
                vitals.unblock(cause);
                return Some(it);
            }
            Err(err) => format!("{err:#}"),
        };
        if told.as_ref() != Some(&why) {
            tracing::error!("{why}");
            vitals.block(cause, why.clone());
            told = Some(why);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.begun() => return None,
        }
    }
}

/// The bot's name; waits until Telegram can be reached.
async fn who_are_we(client: &Client, vitals: &Vitals, shutdown: &Shutdown) -> Option<String> {
    let mut wait = Duration::from_millis(500);
    loop {
        match client.call(&GetMe::new()).await {
            Ok(me) => {
                vitals.unblock("token");
                vitals.unblock("reach");
                if me["can_read_all_group_messages"] == false {
                    let text = "the bot cannot read messages in groups: BotFather, /setprivacy, Disable, then add the bot again";
                    vitals.concern("privacy", Some(text.to_owned()));
                }
                return Some(me["username"].as_str().unwrap_or_default().to_owned());
            }
            Err(err) if err.refusal() == Some(Refusal::Unauthorized) => {
                let text = "Telegram does not know TELEGRAM_BOT_TOKEN: get one from BotFather";
                tracing::error!("{text}");
                vitals.block("token", text);
                wait = TOKEN_WAIT;
            }
            Err(err) => {
                tracing::warn!("{err}; trying again in {} s", wait.as_secs_f32());
                vitals.block("reach", format!("Telegram cannot be reached: {err}"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.begun() => return None,
        }
        wait = (wait * 2).min(ASK_WAIT_MAX);
    }
}

/// Writes the book now and then, and counts.
async fn keep(face: Arc<Face>, intake: Arc<Intake>, alive: Arc<Alive>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SAVE_EVERY) => {}
            () = face.shutdown.begun() => return,
        }
        if let Err(err) = tokio::task::block_in_place(|| face.book.save()) {
            tracing::error!("{:#}", anyhow::Error::from(err));
        }
        let vitals = &face.vitals;
        // The lists change while we run, and a poll may be under way for long.
        match face.people().missing() {
            Some(missing) => vitals.block("people", missing),
            None => vitals.unblock("people"),
        }
        vitals.set("pollAgeSeconds", alive.age().as_secs());
        vitals.set("updatesWaiting", intake.backlog());
        if let Some(left) = face.people().home.and_then(|it| face.budget.left(it)) {
            vitals.set("budgetLeft", left);
        }
        if let Some((when, wait)) = face.budget.last_flood() {
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
