//! What has to be there before anything is served: the token, its lock, an answer of Telegram, the queue, what this service
//! remembers.
//!
//! What is missing is waited for, unready and with a word on what to set or to mend; it never ends the process.

use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use teloxide::payloads::GetMe;
use tinyclaw_disk::Lock;
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{Options as QueueOptions, Queue, Where};
use tinyclaw_service::settings::{Models, Office, Store, Telegram};
use tinyclaw_service::{Shutdown, Vitals};

use crate::bot::Bot;
use crate::bot::addresses::AddressBook;
use crate::bot::client::{Client, Refusal};
use crate::bot::rate_limit::{Limits, RateLimit};
use crate::bot::reactions::Reactions;
use crate::inbound::updates::Inbox;
use crate::settings::Settings;

/// A Telegram that does not answer when we begin is asked this often at least,
const ASK_WAIT_MAX: Duration = Duration::from_secs(4);
/// and one that does not know us this often.
const TOKEN_WAIT: Duration = Duration::from_secs(30);
/// How often is looked whether what is missing has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What has to be opened, and may have to be waited for, before anything can be served.
pub(crate) struct Opened {
    pub(crate) bot: Bot,
    pub(crate) queue: Queue,
    pub(crate) inbox: Inbox,
}

/// Opens everything. `None` when the shutdown came first.
pub(crate) async fn open(
    place: &Where,
    state: &StateDir,
    store: Store<(Office, Telegram, Models)>,
    limits: Limits,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<(Opened, Lock)>> {
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
    let Some(queue) = queue(place, &store, vitals, shutdown).await else { return Ok(None) };
    let limit = RateLimit::kept(limits, state.telegram_pace());
    let opened =
        when_opened("book", vitals, shutdown, || Ok(AddressBook::open(&state.telegram())?)).await;
    let Some((addresses, notes)) = opened else { return Ok(None) };
    for note in &notes {
        tracing::warn!("{note}");
    }
    vitals.concern("book", (!notes.is_empty()).then(|| notes.join("; ")));
    let opened = when_opened("updates", vitals, shutdown, || {
        Inbox::open(&state.updates())
            .with_context(|| format!("cannot open {}", state.updates().display()))
    });
    let Some(inbox) = opened.await else { return Ok(None) };
    if let Some(offset) = addresses.doubt_offset(inbox.newest()) {
        tracing::warn!("offset {offset} is not believed: no update came that would bear it out");
    }
    let bot = Bot {
        id: bot_id,
        username,
        client,
        limit,
        addresses,
        reactions: Reactions::default(),
        settings: Settings(store),
        vitals: vitals.clone(),
    };
    Ok(Some((Opened { bot, queue, inbox }, lock)))
}

async fn token(
    store: &Store<(Office, Telegram, Models)>,
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
    place: &Where,
    settings: &Store<(Office, Telegram, Models)>,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> Option<Queue> {
    when_opened("queue", vitals, shutdown, || {
        let allow_network_disk = settings.current().0.allow_network_disk;
        let options = QueueOptions { allow_network_disk, ..QueueOptions::default() };
        Queue::open(place.clone(), options).context("cannot open the queue")
    })
    .await
}

/// Opens something on disk; waits, unready and with the reason, until that works. What is wrong with a disk or a file is
/// mended outside.
pub(crate) async fn when_opened<T>(
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
