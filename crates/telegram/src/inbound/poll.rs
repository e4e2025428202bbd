//! The long poll: fetch, put on disk, hand on, confirm. It owns nothing else, so nothing else can end it.
//!
//! Telegram hears that we have an update only by the poll after the one that brought it, and that poll is made only
//! when the update is on disk. Liveness is a completed poll and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use teloxide::payloads::{DeleteWebhook, setters::*};
use tinyclaw_ledger::StateDir;
use tinyclaw_service::{Shutdown, Vitals, now_ms};
use tokio::time::Instant;

use crate::bot::Bot;
use crate::bot::client::{CallError, Refusal};
use crate::inbound::access::{People, wait_for_people};
use crate::inbound::dispatch::Dispatcher;
use crate::inbound::updates::{Inbox, Left, Stored, Update};
use crate::settings::Timing;

/// A poller elsewhere is waited for with growing patience.
const CONFLICT_WAIT_MAX: Duration = Duration::from_secs(60);
/// A line that is down is tried this often at least.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(4);
/// The first poll after an outage tells soon that there is nothing.
const POLL_AT_FIRST: Duration = Duration::from_secs(1);
/// While another poller is waited for so long, what was kept back for our own polls waits no longer.
const HELD_CONFLICT_WAIT: Duration = Duration::from_secs(4);

/// Who polls. Only the time of the last poll has a lock, in [`Alive`].
pub(crate) struct Poller {
    pub(crate) bot: Arc<Bot>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) state: StateDir,
    pub(crate) timing: Timing,
    pub(crate) vitals: Vitals,
    pub(crate) shutdown: Shutdown,
    pub(crate) alive: Alive,
}

impl Poller {
    /// Polls until the shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        self.clear_webhook().await;
        let mut wait = Duration::from_millis(500);
        let mut fresh_until = Instant::now() + self.timing.stall;
        let mut time = self.timing.poll;
        loop {
            if self.dispatcher.is_full() {
                while self.dispatcher.is_full() && !self.shutdown.has_begun() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                // Not to ask is no stall.
                fresh_until = Instant::now() + self.timing.stall;
            }
            if People::now(&self.bot).missing().is_some() {
                tracing::error!("nobody may speak any more: what is said stays with Telegram");
                if !wait_for_people(&self.bot, &self.vitals, &self.shutdown).await {
                    return;
                }
                fresh_until = Instant::now() + self.timing.stall;
            }
            let offset = self.bot.addresses.offset(now_ms());
            // What is kept back waits for what Telegram has now, and not for what people say next.
            let poll = if self.inbox.held() > 0 { Duration::ZERO } else { time };
            let polled = tokio::select! {
                biased;
                polled = self.bot.client.updates(offset, poll) => Some(polled),
                // A line may be dead without telling: then there is no answer, and no error either.
                () = tokio::time::sleep_until(fresh_until) => None,
                // What was asked meanwhile waits for no poll that an outage may have swallowed.
                () = self.bot.client.connection().is_back() => {
                    time = self.timing.poll.min(POLL_AT_FIRST);
                    continue;
                }
                () = self.shutdown.begun() => return,
            };
            let (pause, trouble) = match polled {
                Some(Ok(batch)) => {
                    self.alive.polled();
                    time = self.timing.poll;
                    fresh_until = Instant::now() + self.timing.stall;
                    for cause in ["poll", "conflict", "token"] {
                        self.vitals.unblock(cause);
                    }
                    wait = Duration::from_millis(500);
                    if let Some(offset) = offset {
                        tokio::task::block_in_place(|| self.inbox.confirmed(offset));
                    }
                    let kept = self.take(batch);
                    self.read_again();
                    (if kept { Duration::ZERO } else { Duration::from_secs(2) }, None)
                }
                Some(Err(err)) => {
                    self.vitals.count("pollErrorsTotal", 1);
                    (self.troubled(&err, &mut wait).await, Some(err.to_string()))
                }
                None => (Duration::ZERO, Some("the last one has no answer".to_owned())),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.bot.client.connection().is_back() => {}
                () = self.shutdown.begun() => return,
            }
            if let Some(trouble) = trouble.filter(|_| Instant::now() >= fresh_until) {
                self.stalled(&trouble);
                fresh_until = Instant::now() + self.timing.stall;
            }
        }
    }

    /// No poll was completed for too long, whatever else may work: it shows, and polling begins anew.
    fn stalled(&self, trouble: &str) {
        let text = format!("no poll was completed for {} s: {trouble}", self.alive.age().as_secs());
        tracing::error!("{text}; beginning with fresh connections");
        self.vitals.block("poll", text);
        self.vitals.count("stallsTotal", 1);
        if let Err(err) = self.bot.client.reconnect() {
            tracing::error!("{err:#}");
        }
    }

    /// Puts a batch on disk and hands on what is there. `false` when the disk did not take all of it: the rest is not confirmed,
    /// and comes again.
    fn take(&self, batch: Vec<serde_json::Value>) -> bool {
        let updates: Vec<Update> = batch
            .into_iter()
            .filter_map(|raw| Some(Update { id: raw["update_id"].as_i64()?, raw }))
            .collect();
        if People::now(&self.bot).missing().is_some() {
            // Fetched now, all of it would be thrown away as a stranger's.
            return updates.is_empty();
        }
        let Stored { new, last, trouble } =
            tokio::task::block_in_place(|| self.inbox.store(updates));
        if let Some(last) = last {
            self.bot.addresses.set_offset(last + 1, now_ms());
        }
        for updates in new {
            self.dispatcher.take(updates);
        }
        let Some(err) = trouble else {
            self.vitals.unblock("updates");
            return true;
        };
        let chain = format!("{:#}", anyhow::Error::from(err));
        tracing::error!("updates cannot be put on disk and stay with Telegram: {chain}");
        self.vitals.block("updates", format!("updates cannot be put on disk: {chain}"));
        false
    }

    /// Hands on what could not be read at the start and can be now, after what is kept back.
    fn read_again(&self) {
        if self.inbox.held() > 0 {
            return;
        }
        let left = tokio::task::block_in_place(|| self.inbox.read_again());
        self.tell_left(&left);
        for updates in left.updates {
            self.dispatcher.take(updates);
        }
    }

    /// Says which updates of an earlier process cannot be heard, for a person to look at.
    pub(crate) fn tell_left(&self, left: &Left) {
        let updates = self.state.updates();
        for id in &left.damaged {
            tracing::error!("update {id} was damaged on disk and is set aside as {id}.damaged");
            self.vitals.count("damagedUpdatesTotal", 1);
            self.bot.addresses.ask_again(*id);
        }
        if let Some(id) = left.damaged.last() {
            let aside = updates.join(format!("{id}.damaged"));
            let text = format!(
                "an update was damaged on disk, and is lost unless Telegram sends it again: {}",
                aside.display()
            );
            self.vitals.concern("damagedUpdates", Some(text));
        }
        let unread = left.unread.first().map(|(id, err)| {
            let path = updates.join(format!("{id}.json"));
            format!(
                "updates cannot be read and wait for it, {} of them: {}: {err}",
                left.unread.len(),
                path.display()
            )
        });
        self.vitals.concern("unreadUpdates", unread);
    }

    async fn troubled(&self, err: &CallError, wait: &mut Duration) -> Duration {
        let pause = *wait;
        *wait = (*wait * 2).min(RETRY_WAIT_MAX);
        match err.refusal() {
            Some(Refusal::Webhook) => {
                tracing::warn!("a webhook was set for this bot: removing it");
                self.clear_webhook().await;
                pause
            }
            Some(Refusal::OtherPoller) => {
                *wait = (pause * 2).min(CONFLICT_WAIT_MAX);
                let text = "another program polls with this bot's token: stop it, or get a second token from BotFather";
                tracing::error!("{text}; trying again in {} s", pause.as_secs_f32());
                self.vitals.block("conflict", text);
                if pause >= HELD_CONFLICT_WAIT {
                    // What came before goes to whoever polls instead of us.
                    for updates in self.inbox.let_go() {
                        self.dispatcher.take(updates);
                    }
                }
                pause
            }
            Some(Refusal::Unauthorized) => {
                let text =
                    "Telegram does not know TELEGRAM_BOT_TOKEN (any more): get one from BotFather";
                tracing::error!("{text}");
                self.vitals.block("token", text);
                Duration::from_secs(30)
            }
            _ => {
                tracing::warn!("{err}; trying again in {} s", pause.as_secs_f32());
                match err {
                    CallError::Flood { wait, .. } => *wait,
                    _ => pause,
                }
            }
        }
    }

    /// A webhook left behind would keep every update from us. What waits is kept.
    async fn clear_webhook(&self) {
        let payload = DeleteWebhook::new().drop_pending_updates(false);
        if let Err(err) = self.bot.client.call(&payload).await {
            tracing::warn!("cannot look for a webhook: {err}");
        }
    }
}

/// When a poll was completed last.
#[derive(Debug)]
pub(crate) struct Alive {
    /// Held for a look or a change, with no other lock.
    last: Mutex<Instant>,
}

impl Alive {
    pub(crate) fn new() -> Alive {
        Alive { last: Mutex::new(Instant::now()) }
    }

    fn polled(&self) {
        *self.last.lock().unwrap_or_else(|it| it.into_inner()) = Instant::now();
    }

    pub(crate) fn age(&self) -> Duration {
        self.last.lock().unwrap_or_else(|it| it.into_inner()).elapsed()
    }
}
