//! Webhooks: events are posted to addresses that the operator names, as Standard Webhooks have it, signed.
//!
//! Each has a place in the sequence of events and is told what follows it, in order. What is not taken is noted and tried
//! again for three days, then given up and shown; the rest goes on meanwhile. Told is at least once: a receiver knows a
//! repetition by its `webhook-id`. Events that are no longer kept when their turn comes are told as a gap. Nothing is posted where the operator did not say so, and no redirect is followed.

mod dial;
mod signature;
pub(crate) mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tinyclaw_service::{Shutdown, Vitals, now_ms};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub(crate) use self::dial::BadTarget;
pub(crate) use self::dial::Dialler;
pub(crate) use self::signature::{new_secret, sign_once};
pub(crate) use self::table::{Delivery, Webhook};
use crate::event::{Cursor, Epoch, Timestamp};
use crate::feed::{Gap, GapReason};
use crate::filter::{Filter, Pattern};
use crate::store::{Frame, Store, StoreError};

/// So many events are posted before the place is noted.
const BATCH: usize = 32;
/// So many events that it does not want are passed over before the place is noted.
const PASSED_MAX: u64 = 1_000;
/// It is looked for what is due so often, when nothing else happens.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So much of an answer is noted.
const ERROR_CHARS: usize = 200;

/// What can be set.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// Hosts that may be posted to, as `host` or `host:port`. None: no webhooks.
    pub hosts: Vec<String>,
    /// How long after each failure it is tried again; after the last one it is given up.
    pub retries: Vec<Duration>,
    /// How long a receiver may take.
    pub patience: Duration,
}

impl WebhookConfig {
    /// Posting to these hosts, as Standard Webhooks recommend it.
    pub fn to(hosts: Vec<String>) -> WebhookConfig {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3600;
        let seconds = [
            5,
            5 * MINUTE,
            30 * MINUTE,
            2 * HOUR,
            5 * HOUR,
            10 * HOUR,
            14 * HOUR,
            20 * HOUR,
            24 * HOUR,
        ];
        let retries = seconds.map(Duration::from_secs).to_vec();
        WebhookConfig { hosts, retries, patience: Duration::from_secs(15) }
    }
}

/// The webhooks of a gateway.
#[derive(Debug)]
pub(crate) struct Webhooks {
    store: Store,
    config: WebhookConfig,
    vitals: Vitals,
    changes: watch::Sender<u64>,
}

impl Webhooks {
    pub(crate) fn new(store: Store, config: WebhookConfig, vitals: Vitals) -> Arc<Webhooks> {
        Arc::new(Webhooks { store, config, vitals, changes: watch::Sender::new(0) })
    }

    /// What can be set.
    pub(crate) fn config(&self) -> &WebhookConfig {
        &self.config
    }

    /// Whether this address may be posted to at all, or why not.
    pub(crate) fn allows(&self, url: &str) -> Result<(), BadTarget> {
        dial::target(url, &self.config.hosts).map(|_| ())
    }

    /// The list was changed, or something is to be tried now.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|it| *it += 1);
    }

    /// Posts until the shutdown: a task for each webhook, so that none waits for another.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut changes = self.changes.subscribe();
        let mut running: HashMap<String, (Webhook, JoinHandle<()>)> = HashMap::new();
        loop {
            changes.mark_unchanged();
            match table::all(&self.store).await {
                Ok(all) => {
                    let wanted: HashMap<String, Webhook> = all
                        .into_iter()
                        .filter(|it| it.disabled.is_none())
                        .map(|it| (it.id.clone(), it))
                        .collect();
                    running.retain(|id, (known, task)| {
                        let stays = wanted.get(id).is_some_and(|it| it.is_told_as(known));
                        if !stays {
                            task.abort();
                        }
                        stays && !task.is_finished()
                    });
                    for (id, webhook) in wanted {
                        running.entry(id).or_insert_with(|| {
                            let teller = Arc::clone(&self).teller(webhook.clone());
                            (webhook, tokio::spawn(teller))
                        });
                    }
                }
                Err(err) => tracing::warn!("cannot read the webhooks: {err}"),
            }
            tokio::select! {
                _ = timeout(LOOK_EVERY, changes.changed()) => {}
                () = shutdown.begun() => break,
            }
        }
        // What is being posted is posted again after the start.
        running.into_values().for_each(|(_, task)| task.abort());
    }

    /// Posts to one receiver for as long as it is wanted.
    async fn teller(self: Arc<Self>, webhook: Webhook) {
        let types = webhook.types.iter().filter_map(|it| Pattern::parse(it).ok()).collect();
        let filter = Filter { types, ..Filter::default() };
        let mut dialler = Dialler::new(&webhook.url, &self.config);
        let mut place = Place { cursor: webhook.cursor, saved: webhook.cursor };
        let mut heads = self.store.watch();
        let mut changes = self.changes.subscribe();
        loop {
            heads.mark_unchanged();
            let step = self.step(&webhook, &filter, &mut place, &mut dialler).await;
            match step {
                Ok(Step::More) => continue,
                Ok(Step::Rest { due }) => {
                    let wait = due.map_or(LOOK_EVERY, |it| {
                        Duration::from_millis(it.saturating_sub(now_ms())).min(LOOK_EVERY)
                    });
                    tokio::select! {
                        _ = heads.changed() => {}
                        _ = changes.changed() => {}
                        () = sleep(wait) => {}
                    }
                }
                Ok(Step::Disabled) => return self.changed(),
                Err(err) => {
                    tracing::warn!("webhook {} cannot go on: {err}", webhook.id);
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    /// What is due again, and then the next events.
    async fn step(
        &self,
        webhook: &Webhook,
        filter: &Filter,
        place: &mut Place,
        dialler: &mut Dialler,
    ) -> Result<Step, StoreError> {
        let waiting = table::due(&self.store, &webhook.id, BATCH).await?;
        let due: Vec<Delivery> = waiting.iter().filter(|it| it.due <= now_ms()).cloned().collect();
        for delivery in &due {
            let page = self.store.page(&Filter::default(), delivery.seq - 1, 1).await?;
            let frame = page.frames.into_iter().find(|it| it.cursor.seq == delivery.seq);
            let posting = match (frame, delivery.first) {
                (Some(frame), None) => Posting::of(&frame),
                // It was removed while it waited for its turn.
                (None, None) => Posting::missing(page.head.epoch, delivery.seq, delivery.seq),
                (_, Some(first)) => Posting::missing(page.head.epoch, first, delivery.seq),
            };
            if self.tell(webhook, &posting, delivery.attempts, dialler).await? {
                return Ok(Step::Disabled);
            }
        }
        let page = self.store.page(filter, place.cursor, BATCH).await?;
        if page.first > place.cursor + 1 {
            let gap = Posting::missing(page.head.epoch, place.cursor + 1, page.first - 1);
            if self.tell(webhook, &gap, 0, dialler).await? {
                return Ok(Step::Disabled);
            }
            place.cursor = page.first - 1;
            table::advance(&self.store, &webhook.id, place.cursor).await?;
            place.saved = place.cursor;
        }
        for frame in &page.frames {
            if self.tell(webhook, &Posting::of(frame), 0, dialler).await? {
                return Ok(Step::Disabled);
            }
            place.cursor = frame.cursor.seq;
        }
        place.cursor = page.next.max(place.cursor);
        // What is passed over is noted now and then: it costs a flush.
        if !page.frames.is_empty() || place.cursor >= place.saved + PASSED_MAX {
            table::advance(&self.store, &webhook.id, place.cursor).await?;
            place.saved = place.cursor;
        }
        if !due.is_empty() || !page.frames.is_empty() {
            return Ok(Step::More);
        }
        Ok(Step::Rest { due: waiting.first().map(|it| it.due) })
    }

    async fn post(&self, webhook: &Webhook, it: &Posting, dialler: &mut Dialler) -> Answer {
        let seconds = now_ms() / 1000;
        let signature = signature::sign(webhook, &it.id, seconds, &it.body);
        let client = match dialler.client().await {
            Ok(client) => client,
            Err(why) => return Answer::Refused { status: None, why },
        };
        let request = client
            .post(&webhook.url)
            .header("content-type", "application/json")
            .header("webhook-id", &it.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(it.body.clone());
        match request.send().await {
            Ok(it) if it.status().is_success() => Answer::Taken,
            Ok(it) if it.status() == StatusCode::GONE => Answer::Gone,
            Ok(it) => {
                let status = Some(it.status().as_u16());
                Answer::Refused { status, why: format!("answered {}", it.status()) }
            }
            // Its address may hold a secret.
            Err(err) => {
                let why = format!("{:#}", anyhow::Error::from(err.without_url()));
                Answer::Refused { status: None, why }
            }
        }
    }

    /// Posts what failed `attempts` times before, and notes what became of it. True when the receiver wants no more.
    async fn tell(
        &self,
        webhook: &Webhook,
        it: &Posting,
        attempts: u32,
        dialler: &mut Dialler,
    ) -> Result<bool, StoreError> {
        let seq = it.seq;
        match self.post(webhook, it, dialler).await {
            Answer::Taken if attempts == 0 => {}
            Answer::Taken => table::delivered(&self.store, &webhook.id, seq).await?,
            Answer::Gone => {
                table::advance(&self.store, &webhook.id, seq).await?;
                let why = "its receiver answered 410 Gone";
                table::disable(&self.store, &webhook.id, why).await?;
                tracing::warn!("webhook {} is disabled: {why}", webhook.id);
                return Ok(true);
            }
            Answer::Refused { status, why } => {
                let pause = self.config.retries.get(attempts as usize);
                let due = pause.map(|it| now_ms() + u64::try_from(it.as_millis()).unwrap_or(0));
                if due.is_none() {
                    self.vitals.count("webhooksDeadTotal", 1);
                    tracing::warn!("webhook {} gives up an event: {why}", webhook.id);
                }
                let delivery = Delivery {
                    seq,
                    first: it.first,
                    attempts: attempts + 1,
                    due: due.unwrap_or(0),
                    status,
                    error: why.chars().take(ERROR_CHARS).collect(),
                    is_dead: due.is_none(),
                };
                table::failed(&self.store, &webhook.id, delivery).await?;
            }
        }
        Ok(false)
    }
}

/// How far a receiver was told, and how far that was noted.
struct Place {
    cursor: u64,
    saved: u64,
}

/// What a look at a webhook came to.
enum Step {
    /// There may be more to post.
    More,
    /// Nothing to do before something comes, or before this time.
    Rest { due: Option<u64> },
    /// The receiver wants no more.
    Disabled,
}

/// What a receiver said.
enum Answer {
    Taken,
    Gone,
    Refused { status: Option<u16>, why: String },
}

/// What is posted: `{"type","timestamp","data"}`, of which an event or a gap is the data.
struct Posting {
    /// The event, or the last that is missing.
    seq: u64,
    /// The first that is missing.
    first: Option<u64>,
    id: String,
    body: String,
}

impl Posting {
    fn of(frame: &Frame) -> Posting {
        let event: serde_json::Value = serde_json::from_str(frame.body()).unwrap_or_default();
        let (kind, timestamp) = (&event["type"], &event["timestamp"]);
        let body = format!(r#"{{"type":{kind},"timestamp":{timestamp},"data":{}}}"#, frame.body());
        let id = format!("evt_{}", frame.cursor);
        Posting { seq: frame.cursor.seq, first: None, id, body }
    }

    /// That the events of these numbers are no longer kept. Which of them the receiver wanted nobody knows any more.
    fn missing(epoch: Epoch, first: u64, last: u64) -> Posting {
        let [from, to] = [first, last].map(|seq| Cursor { epoch, seq }.to_string());
        let id = format!("gap_{from}_{last}");
        let count = Some(last - first + 1);
        let gap = Gap { from, to, count, reason: GapReason::Retention };
        let timestamp = Timestamp::of_ms(now_ms()).map(|it| it.text);
        let body = json!({ "type": "gap", "timestamp": timestamp, "data": gap }).to_string();
        Posting { seq: last, first: Some(first), id, body }
    }
}
