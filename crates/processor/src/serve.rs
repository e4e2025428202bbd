//! The processor told in order: prepare, claim, let turns end, leave.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{Side, Which};
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Shutdown, Vitals};
use tokio::task::JoinSet;

use crate::availability::notices;
use crate::desks::directories;
use crate::office::{Office, Slot, on_disk};
use crate::schedule::clock;
use crate::setup;
use crate::work::control;
use crate::work::handle;

/// How long running turns may take to end after the word to stop. The container is killed after 40.
const DRAIN: Duration = Duration::from_secs(25);
/// How long the rest may take to be put back.
const PUT_BACK: Duration = Duration::from_secs(2);
/// After a claim that did not work: the disk may come back.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// Works until the shutdown, and leaves nothing half done: turns get 25 seconds to end, the rest is put back with its
/// checkpoint, and Claude's processes are ended.
pub async fn run(
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Some(office) = setup::prepare_when_possible(state, settings, vitals, shutdown).await?
    else {
        return Ok(());
    };
    directories::settle(&office).await;
    let background = tokio::spawn(clock::background(office.clone()));
    let clockwork = tokio::spawn(clock::run(office.clone()));
    let control = tokio::spawn(control::run(office.clone()));
    notices::back_again(&office);
    office.vitals.started();
    tracing::info!(state = %office.state.root().display(), "processor is up");

    let mut turns = JoinSet::new();
    loop {
        while turns.try_join_next().is_some() {}
        tokio::select! {
            () = office.shutdown.begun() => break,
            lease = next(&office) => match lease {
                Ok(lease) => {
                    office.concern("queue", trouble(&office));
                    let slot = Slot::take(&office);
                    turns.spawn(handle::handle(office.clone(), lease, slot));
                }
                Err(err) => {
                    tracing::error!("cannot claim: {:#}", anyhow::Error::new(err));
                    let why = "The queue cannot be read; see logs/queue.log.".to_owned();
                    office.concern("queue", trouble(&office).or(Some(why)));
                    tokio::time::sleep(CLAIM_AGAIN).await;
                }
            },
        }
    }

    tracing::info!(turns = turns.len(), "stopping; {} turns may end first", turns.len());
    office.vitals.block("shutdown", "it is stopping");
    let all_done = async { while turns.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all_done).await.is_err() {
        office.leave.send_replace(true);
        let _ =
            tokio::time::timeout(PUT_BACK, async { while turns.join_next().await.is_some() {} })
                .await;
    }
    control.abort();
    clockwork.abort();
    background.abort();
    office.engine.close().await;
    on_disk(|| {
        tinyclaw_ledger::health::write(&office.state, "processor", &office.vitals.snapshot())
    })
    .context("cannot write how the processor is")?;
    Ok(())
}

/// The lanes that an error of the disk holds up, in words. The others go on.
pub(crate) fn trouble(office: &Office) -> Option<String> {
    let troubles = office.queue.troubles();
    let first = troubles.first()?;
    let more = match troubles.len() - 1 {
        0 => String::new(),
        more => format!(" {more} more lanes wait as well; see logs/queue.log."),
    };
    Some(format!("Lane {} waits: {}.{more}", first.lane, first.why))
}

async fn next(office: &Arc<Office>) -> Result<tinyclaw_queue::Lease, tinyclaw_queue::ClaimError> {
    office.slots.wait(|| office.settings().engine.parallel_max as usize).await;
    office.queue.claim(Side::Run, &Which::Ordinary).await
}
