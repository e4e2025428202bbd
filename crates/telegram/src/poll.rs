//! The long poll: fetch, put on disk, hand on, confirm. It owns nothing else, so nothing else can end it.
//!
//! Telegram hears that we have an update only by the poll after the one that brought it, and that poll is made only
//! when the update is on disk. Liveness is a completed poll and nothing else.

use std::sync::Arc;
use std::time::Duration;

use teloxide::payloads::{DeleteWebhook, setters::*};
use tinyclaw_service::now_ms;
use tokio::time::Instant;

use crate::client::{CallError, Refusal};
use crate::face::Face;
use crate::inbox::Update;
use crate::intake::Intake;

/// A poller elsewhere is waited for with growing patience.
const CONFLICT_WAIT_MAX: Duration = Duration::from_secs(60);
/// A line that is down is tried this often at least.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(15);

/// Polls until the shutdown.
pub(crate) async fn run(face: Arc<Face>, intake: Arc<Intake>, alive: Arc<Alive>) {
    clear_webhook(&face).await;
    let mut wait = Duration::from_millis(500);
    let mut fresh_until = Instant::now() + face.timing.stall;
    loop {
        if intake.is_full() {
            while intake.is_full() && !face.shutdown.has_begun() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // Not to ask is no stall.
            fresh_until = Instant::now() + face.timing.stall;
        }
        let offset = face.book.offset(now_ms());
        let polled = tokio::select! {
            polled = face.client.updates(offset, face.timing.poll) => Some(polled),
            // A line may be dead without telling: then there is no answer, and no error either.
            () = tokio::time::sleep_until(fresh_until) => None,
            () = face.shutdown.begun() => return,
        };
        let (pause, trouble) = match polled {
            Some(Ok(batch)) => {
                alive.polled();
                fresh_until = Instant::now() + face.timing.stall;
                for cause in ["poll", "conflict", "token"] {
                    face.vitals.unblock(cause);
                }
                wait = Duration::from_millis(500);
                if let Some(offset) = offset {
                    tokio::task::block_in_place(|| face.inbox.confirmed(offset));
                }
                let kept = take(&face, &intake, batch);
                (if kept { Duration::ZERO } else { Duration::from_secs(2) }, None)
            }
            Some(Err(err)) => {
                face.vitals.count("pollErrorsTotal", 1);
                (troubled(&face, &err, &mut wait).await, Some(err.to_string()))
            }
            None => (Duration::ZERO, Some("the last one has no answer".to_owned())),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = face.shutdown.begun() => return,
        }
        if let Some(trouble) = trouble.filter(|_| Instant::now() >= fresh_until) {
            stalled(&face, &alive, &trouble);
            fresh_until = Instant::now() + face.timing.stall;
        }
    }
}

/// No poll was completed for too long, whatever else may work: it shows, and polling begins anew.
fn stalled(face: &Face, alive: &Alive, trouble: &str) {
    let text = format!("no poll was completed for {} s: {trouble}", alive.age().as_secs());
    tracing::error!("{text}; beginning with fresh connections");
    face.vitals.block("poll", text);
    face.vitals.count("stallsTotal", 1);
    if let Err(err) = face.client.reconnect() {
        tracing::error!("{err:#}");
    }
}

/// Puts a batch on disk and hands it on. `false` when the disk did not take it: then nothing is confirmed.
fn take(face: &Face, intake: &Intake, batch: Vec<serde_json::Value>) -> bool {
    let updates: Vec<Update> = batch
        .into_iter()
        .filter_map(|raw| Some(Update { id: raw["update_id"].as_i64()?, raw }))
        .collect();
    let Some(last) = updates.iter().map(|it| it.id).max() else { return true };
    match tokio::task::block_in_place(|| face.inbox.store(updates)) {
        Ok(new) => {
            face.vitals.unblock("updates");
            face.book.set_offset(last + 1, now_ms());
            for update in new {
                intake.take(vec![update]);
            }
            true
        }
        Err(err) => {
            let chain = format!("{:#}", anyhow::Error::from(err));
            tracing::error!("updates cannot be put on disk and stay with Telegram: {chain}");
            face.vitals.block("updates", format!("updates cannot be put on disk: {chain}"));
            false
        }
    }
}

async fn troubled(face: &Face, err: &CallError, wait: &mut Duration) -> Duration {
    let pause = *wait;
    *wait = (*wait * 2).min(RETRY_WAIT_MAX);
    match err.refusal() {
        Some(Refusal::Webhook) => {
            tracing::warn!("a webhook was set for this bot: removing it");
            clear_webhook(face).await;
            pause
        }
        Some(Refusal::OtherPoller) => {
            *wait = (pause * 2).min(CONFLICT_WAIT_MAX);
            let text = "another program polls with this bot's token: stop it, or get a second token from BotFather";
            tracing::error!("{text}; trying again in {} s", pause.as_secs_f32());
            face.vitals.block("conflict", text);
            pause
        }
        Some(Refusal::Unauthorized) => {
            let text =
                "Telegram does not know TELEGRAM_BOT_TOKEN (any more): get one from BotFather";
            tracing::error!("{text}");
            face.vitals.block("token", text);
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
async fn clear_webhook(face: &Face) {
    let payload = DeleteWebhook::new().drop_pending_updates(false);
    if let Err(err) = face.client.call(&payload).await {
        tracing::warn!("cannot look for a webhook: {err}");
    }
}

/// When a poll was completed last.
#[derive(Debug)]
pub(crate) struct Alive {
    last: std::sync::Mutex<Instant>,
}

impl Alive {
    pub(crate) fn new() -> Alive {
        Alive { last: std::sync::Mutex::new(Instant::now()) }
    }

    fn polled(&self) {
        *self.last.lock().unwrap_or_else(|it| it.into_inner()) = Instant::now();
    }

    pub(crate) fn age(&self) -> Duration {
        self.last.lock().unwrap_or_else(|it| it.into_inner()).elapsed()
    }
}
