//! Where a message goes in the queue, as events: seen live, as the kernel tells it, and said to be so.
//!
//! What happened while the gateway was away is not told: `office` tells of every message what matters, exactly once. These
//! are for whoever watches.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tinyclaw_domain::StateDir;
use tinyclaw_queue::{Moved, Moves, News, Place, View};
use tinyclaw_service::Shutdown;

use crate::event::{Draft, NewEvent};
use crate::office::SOURCE;
use crate::store::{Durability, Store};

/// So many moves share a transaction.
const BATCH: usize = 256;
/// So long is gathered: a message that is answered at once moves several times.
const GATHER_TIME: Duration = Duration::from_millis(20);

/// Tells moves until the shutdown.
pub(crate) fn follow(state: &StateDir, store: &Store, shutdown: &Shutdown) {
    let (view, store, shutdown) = (View::new(state.root()), store.clone(), shutdown.clone());
    tokio::spawn(async move {
        let mut moves = view.watch().moves();
        let mut is_heard = false;
        loop {
            let news = tokio::select! {
                news = moves.next() => news,
                () = shutdown.begun() => return,
            };
            let News::Moved(first) = news else {
                // There may have been no queue yet to watch.
                if !is_heard {
                    moves = view.watch().moves();
                }
                continue;
            };
            is_heard = true;
            let mut events: Vec<NewEvent> = event(&first).into_iter().collect();
            gather(&mut moves, &mut events).await;
            if events.is_empty() {
                continue;
            }
            // Nobody is told that they are kept, so the flush may come later.
            if let Err(err) = store.append(events, Durability::None).await {
                tracing::warn!("cannot tell what moves in the queue: {err}");
            }
        }
    });
}

/// What moves right after.
async fn gather(moves: &mut Moves, events: &mut Vec<NewEvent>) {
    let more = async {
        while events.len() < BATCH {
            if let News::Moved(it) = moves.next().await {
                events.extend(event(&it));
            }
        }
    };
    let _ = tokio::time::timeout(GATHER_TIME, more).await;
}

/// The event of a move; `None` for one of which the logs tell more, and for what is removed when its days are over.
fn event(moved: &Moved) -> Option<NewEvent> {
    let kind = match moved.to? {
        Place::Incoming => "tinyclaw.message.queued",
        Place::Processing => "tinyclaw.message.claimed",
        Place::Sending => "tinyclaw.message.sending",
        Place::Done => "tinyclaw.message.delivered",
        Place::Dead => "tinyclaw.message.dead",
        Place::Quarantine => "tinyclaw.message.quarantined",
        // `tinyclaw.message.answered`, with what it took.
        Place::Outgoing => return None,
    };
    let place = |it: Place| Value::from(it.as_str());
    let metadata = Map::from_iter([
        ("lane".to_owned(), json!(moved.lane.to_string())),
        ("from".to_owned(), moved.from.map_or(Value::Null, place)),
        ("to".to_owned(), moved.to.map_or(Value::Null, place)),
        ("observed".to_owned(), true.into()),
    ]);
    NewEvent::checked(Draft {
        kind: kind.to_owned(),
        source: SOURCE.to_owned(),
        subject: Some(moved.key.to_string()),
        metadata,
        ..Draft::default()
    })
    .ok()
}
