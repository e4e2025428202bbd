//! What happens in the office as events: messages received, routed and answered, from the logs that processor keeps.
//!
//! How far a log was read is kept in the transaction that keeps its events, so that each line is one event, over kills
//! and restarts, and what was written while the gateway was away comes later. What was said is not told: a reader of
//! events is not a reader of chats.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tinyclaw_disk::follow::{Followed, Follower};
use tinyclaw_domain::{Direction, HistoryLine, RoutingLine, StateDir};
use tinyclaw_service::Shutdown;

use crate::event::{Draft, NewEvent, Timestamp};
use crate::store::{Durability, Store, StoreError};

/// How often it is looked for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many bytes of lines are one batch.
const BATCH_BYTES: usize = 256 << 10;
/// What the office's own events have as their source.
pub(crate) const SOURCE: &str = "tinyclaw";

/// A log that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    History,
    Routing,
}

impl Log {
    fn name(self) -> &'static str {
        match self {
            Log::History => "history",
            Log::Routing => "routing",
        }
    }

    fn path(self, state: &StateDir) -> PathBuf {
        match self {
            Log::History => state.history(),
            Log::Routing => state.routing(),
        }
    }

    /// The event of a line; `None` for one that is none.
    fn event(self, line: &[u8]) -> Option<NewEvent> {
        let draft = match self {
            Log::History => history(&serde_json::from_slice(line).ok()?),
            Log::Routing => routing(&serde_json::from_slice(line).ok()?),
        };
        NewEvent::checked(draft).ok()
    }
}

/// Follows both logs until the shutdown.
pub(crate) fn follow(state: &StateDir, store: &Store, shutdown: &Shutdown) {
    for log in [Log::History, Log::Routing] {
        let (path, store, shutdown) = (log.path(state), store.clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut follower = None;
            while !shutdown.has_begun() {
                match step(log, &path, &store, &mut follower).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(err) => {
                        // Begun anew from what was kept last.
                        follower = None;
                        tracing::warn!("cannot tell what happens in the office: {err}");
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = shutdown.begun() => {}
                }
            }
        });
    }
}

/// Keeps the next batch of a log. True when there was one.
async fn step(
    log: Log,
    path: &PathBuf,
    store: &Store,
    follower: &mut Option<Follower>,
) -> Result<bool, StoreError> {
    let mut here = match follower.take() {
        Some(it) => it,
        None => begin(log, path, store).await?,
    };
    let (here, events) = tokio::task::spawn_blocking(move || {
        let mut events = Vec::new();
        let polled = here.poll(BATCH_BYTES, |it| match it {
            Followed::Line(line) => events.extend(log.event(line.bytes)),
            Followed::Gap { cause, .. } if !cause.is_lossless() => {
                events.extend(gap(log, cause.as_str()))
            }
            Followed::Gap { .. } | Followed::Rotated { .. } => {}
        });
        if let Err(err) = polled {
            tracing::debug!("cannot read {}: {err}", log.name());
        }
        (here, events)
    })
    .await
    .map_err(|err| StoreError::Unavailable(err.to_string()))?;
    let has_news = !events.is_empty();
    if has_news {
        keep(log, store, events, &here).await?;
    }
    *follower = Some(here);
    Ok(has_news)
}

/// From where it was left; the first time from the end, as what was before is no news.
async fn begin(log: Log, path: &PathBuf, store: &Store) -> Result<Follower, StoreError> {
    if let Some(place) = store.position(log.name()).await?
        && let Ok(place) = place.parse()
    {
        return Ok(Follower::resume(path, place));
    }
    let follower = Follower::from_end(path).map_err(|err| {
        StoreError::Unavailable(format!("{} cannot be read: {err}", path.display()))
    })?;
    keep(log, store, Vec::new(), &follower).await?;
    Ok(follower)
}

async fn keep(
    log: Log,
    store: &Store,
    mut events: Vec<NewEvent>,
    follower: &Follower,
) -> Result<(), StoreError> {
    loop {
        let place = Some((log.name().to_owned(), follower.place().to_string()));
        match store.append_from(events.clone(), Durability::Flushed, place).await {
            Ok(_) => return Ok(()),
            // A line that stands twice after a crash, written at another time: it was told.
            Err(StoreError::Conflict { index, .. }) => drop(events.remove(index)),
            Err(err) => return Err(err),
        }
    }
}

fn gap(log: Log, cause: &str) -> Option<NewEvent> {
    let metadata =
        Map::from_iter([("log".to_owned(), log.name().into()), ("cause".to_owned(), cause.into())]);
    let (kind, source) = ("tinyclaw.log.gap".to_owned(), SOURCE.to_owned());
    NewEvent::checked(Draft { kind, source, metadata, ..Draft::default() }).ok()
}

fn history(line: &HistoryLine) -> Draft {
    let (kind, way) = match line.direction {
        Direction::In => ("tinyclaw.message.received", "in"),
        Direction::Out => ("tinyclaw.message.answered", "out"),
    };
    let mut metadata = of_line(line);
    if let Some(Value::String(text)) = metadata.shift_remove("message") {
        metadata.insert("chars".to_owned(), text.chars().count().into());
    }
    draft(kind, &line.key, line.attempt, way, line.timestamp, metadata)
}

fn routing(line: &RoutingLine) -> Draft {
    let decision = &line.decision;
    let metadata = json!({
        "key": line.key, "attempt": line.attempt, "messageId": line.message_id, "threadId": line.thread_id,
        "tier": decision.tier, "model": decision.model, "effectiveModel": decision.effective_model,
        "cause": decision.cause, "confidence": decision.confidence, "rawScore": decision.raw_score,
        "durationUs": line.duration_us,
    });
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    draft("tinyclaw.message.routed", &line.key, line.attempt, "routed", line.timestamp, metadata)
}

fn of_line(line: &HistoryLine) -> Map<String, Value> {
    let mut object = match serde_json::to_value(line) {
        Ok(Value::Object(it)) => it,
        _ => Map::new(),
    };
    object.shift_remove("timestamp");
    object
}

fn draft(
    kind: &str,
    key: &tinyclaw_domain::Key,
    attempt: u32,
    way: &str,
    at: u64,
    metadata: Map<String, Value>,
) -> Draft {
    Draft {
        kind: kind.to_owned(),
        timestamp: Timestamp::of_ms(at),
        source: SOURCE.to_owned(),
        id: Some(format!("{key}.{attempt}.{way}")),
        subject: Some(key.to_string()),
        metadata,
        ..Draft::default()
    }
}
