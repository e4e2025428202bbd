//! The claim loop: takes a message as soon as a slot is free, until the service is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_queue::{ClaimError, Lease, Queue, Side, Which};
use tinyclaw_service::Shutdown;
use tokio::task::JoinSet;

use crate::work::message;
use crate::work::slots::Slot;
use crate::work::worker::Worker;

/// How long running turns may take to end after the word to stop. The container is killed after 40.
const DRAIN: Duration = Duration::from_secs(25);
/// How long the rest may take to be put back.
const PUT_BACK: Duration = Duration::from_secs(2);
/// After a claim that did not work: the disk may come back.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// Works until the shutdown, or until what was claimed was taken away, and leaves nothing half done: turns get 25 seconds to
/// end, the rest is put back with its checkpoint, and its Claude left to the next processor where that can go on with it.
pub(crate) async fn run(worker: &Arc<Worker>, shutdown: &Shutdown) {
    let mut turns = JoinSet::new();
    loop {
        while turns.try_join_next().is_some() {}
        tokio::select! {
            // In this order: what was taken away may be there to be claimed again, and is somebody else's to claim.
            biased;
            () = shutdown.begun() => break,
            () = worker.queue.lost() => {
                tracing::error!("what this processor had claimed was taken away; all turns end");
                worker.turns.leave();
                break;
            }
            lease = next(worker) => match lease {
                Ok(lease) => {
                    worker.notices.concern("queue", trouble(&worker.queue));
                    let slot = Slot::take(&worker.slots);
                    turns.spawn(message::handle(worker.clone(), lease, slot));
                }
                Err(err) => {
                    tracing::error!("cannot claim: {:#}", anyhow::Error::new(err));
                    let why = "The queue cannot be read; see logs/queue.log.".to_owned();
                    worker.notices.concern("queue", trouble(&worker.queue).or(Some(why)));
                    tokio::time::sleep(CLAIM_AGAIN).await;
                }
            },
        }
    }
    tracing::info!(turns = turns.len(), "stopping; {} turns may end first", turns.len());
    worker.vitals.block("shutdown", "it is stopping");
    // At once: whoever is told to stop a second time leaves in the middle of the wait.
    worker.engine.wind_down();
    let all_done = async { while turns.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all_done).await.is_err() {
        // First: a turn that nobody follows is stopped.
        worker.engine.leave().await;
        worker.turns.leave();
        let rest = async { while turns.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PUT_BACK, rest).await;
    }
}

async fn next(worker: &Worker) -> Result<Lease, ClaimError> {
    worker.slots.wait(|| worker.settings.current().engine.parallel_max as usize).await;
    worker.queue.claim(Side::Run, &Which::Ordinary).await
}

/// The lanes that an error of the disk holds up, in words. The others go on.
pub(crate) fn trouble(queue: &Queue) -> Option<String> {
    let troubles = queue.troubles();
    let first = troubles.first()?;
    let more = match troubles.len() - 1 {
        0 => String::new(),
        more => format!(" {more} more lanes wait as well; see logs/queue.log."),
    };
    Some(format!("Lane {} waits: {}.{more}", first.lane, first.why))
}
