//! Follows a turn to its end: shows how it goes, passes on what is asked, and answers the tools that are TinyClaw's own.

use std::time::Instant;

use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{Progress, Thread, ThreadStatus};
use tinyclaw_engine::{Desk, Turn, TurnEnd, TurnEvent, TurnFailure, TurnOutcome};
use tinyclaw_queue::Lease;

use crate::blocking::on_disk;
use crate::desks::capability;
use crate::history;
use crate::history::turn_log::TurnLog;
use crate::tools::outbox::Outbox;
use crate::work::progress::LiveProgress;
use crate::work::raising::Raising;
use crate::work::resume::note_tools;
use crate::work::slots::Slot;
use crate::work::steering::{LOOK_AFTER, Steering};
use crate::work::turns::OpenQuestion;
use crate::work::worker::Worker;

/// What a turn that is followed changes.
pub(crate) struct Hands<'a> {
    pub(crate) lease: &'a mut Lease,
    pub(crate) slot: &'a mut Slot,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) log: &'a mut TurnLog,
    pub(crate) raising: Raising<'a>,
    pub(crate) steering: Steering,
}

/// Follows a turn to its end, showing how it goes. `None`: we are leaving, and the turn with us.
pub(crate) async fn watch(
    worker: &Worker,
    thread: &Thread,
    mut turn: Turn,
    progress: Progress,
    hands: Hands<'_>,
) -> Option<TurnEnd> {
    let Hands { lease, slot, outbox, log, mut raising, mut steering } = hands;
    let id = lease.message().thread_id.clone();
    let control = turn.control();
    worker.turns.begin(&id, control.clone());
    let left_out = progress.mcp_trouble.clone();
    let mut shown = LiveProgress::new(&worker.progresses, progress);
    shown.write();
    let mut renewal = tokio::time::interval(capability::RENEW_EVERY);
    renewal.tick().await;
    let left = worker.turns.left();
    tokio::pin!(left);
    let mut is_shown = false;
    let queue = worker.queue.view().watch();
    let mut moved = Box::pin(queue.changed());
    // Claude takes words once it works.
    let (mut is_at_work, mut look_at) = (false, None::<Instant>);
    loop {
        let event = tokio::select! {
            event = turn.next() => event?,
            () = tokio::time::sleep_until(shown.due.into()), if shown.is_dirty => {
                shown.write();
                continue;
            }
            () = sleep_until(log.due()), if log.due().is_some() => {
                log.flush();
                continue;
            }
            _ = renewal.tick() => {
                // A turn may outlast what it was given at its beginning.
                on_disk(|| capability::renew(&worker.desks, &id, thread));
                capability::bring(&worker.desks, &Desk::of(&id, thread)).await;
                continue;
            }
            () = &mut moved => {
                moved = Box::pin(queue.changed());
                look_at.get_or_insert_with(|| Instant::now() + LOOK_AFTER);
                continue;
            }
            () = sleep_until(look_at), if is_at_work => {
                look_at = None;
                steering.look(worker);
                continue;
            }
            () = &mut left => return None,
        };
        let is_early =
            matches!(event, TurnEvent::SessionReady { .. } | TurnEvent::Background { .. });
        if !is_at_work && !is_early {
            is_at_work = true;
            look_at.get_or_insert_with(Instant::now);
        }
        if !is_shown {
            is_shown = true;
            worker.turns.show(&id, ThreadStatus::Working);
        }
        shown.apply(&event);
        log.apply(&event);
        if let Some((model, effort, why)) = raising.raise(worker, lease.message(), &event) {
            control.set_model(worker.engine.model_name(model), effort);
            shown.raise(model, why);
        }
        match event {
            TurnEvent::ToolStarted { .. } => on_disk(|| note_tools(lease)),
            TurnEvent::Asking { .. } | TurnEvent::AskClosed { .. } => {
                // Of several questions one is shown, and the next when it is answered.
                let open = shown.progress.asks.as_ref().map(|it| OpenQuestion {
                    request_id: it.request_id.clone(),
                    question: Question::of(it),
                });
                let is_asking = open.is_some();
                slot.lend(is_asking);
                worker.turns.ask(&id, open);
                let status = if is_asking { ThreadStatus::Waiting } else { ThreadStatus::Working };
                worker.turns.show(&id, status);
                shown.write();
            }
            TurnEvent::Steered { uuid } => {
                if let Some(message) = steering.taken(worker, &uuid) {
                    log.steered(&message);
                    shown.steered(&message);
                }
            }
            TurnEvent::McpCall { tool, input, responder } => {
                let id = responder.request_id().to_owned();
                let answer = match outbox.calls.get(&id) {
                    // Done before a death of ours, which came before Claude heard of it.
                    Some(answer) => Ok(answer.clone()),
                    None => {
                        let (tools, message) = (&worker.tools, lease.message());
                        let call = tools.call(message, thread, outbox, &tool, &input).await;
                        on_disk(|| call.and_then(|it| outbox.keep(lease, id, it)))
                    }
                };
                responder.answer(answer);
            }
            TurnEvent::McpServers(found) => {
                let trouble = worker.servers.saw(&id, thread, &found);
                for it in &trouble {
                    tracing::warn!(thread.id = %id, "an MCP server of thread {id} is of no use: {it}");
                }
                // The reasons come after the fact.
                let trouble: Vec<String> = left_out.iter().cloned().chain(trouble).collect();
                if shown.progress.mcp_trouble != trouble {
                    shown.progress.mcp_trouble = trouble;
                    shown.write();
                }
            }
            TurnEvent::Skills(found) => worker.skills.saw(&id, found),
            TurnEvent::LinkLost { at, why, is_stopping } => {
                let place = thread.place().0;
                tracing::warn!(thread.id = %id, "{place} is out of reach, and the turn of thread {id} goes on there: {why}");
                shown.lose_link(Some(worker.availability.lost_in_a_turn(&place, at, is_stopping)));
            }
            TurnEvent::LinkBack => shown.lose_link(None),
            // Another machine has a login of its own.
            TurnEvent::PlanWindows(windows) if thread.place().0.is_here() => {
                worker.plan.saw(&windows)
            }
            TurnEvent::Ended(mut end) => {
                if thread.place().0.is_here() {
                    worker.plan.worked();
                }
                // Claude's last word on an overloaded API has no status; its retries had.
                if let TurnOutcome::Failed(TurnFailure::Unavailable { status, .. }) =
                    &mut end.outcome
                {
                    *status = status.or(shown.status);
                }
                let place = thread.place().0;
                if !place.is_here() {
                    let told = end.cost_usd;
                    end.cost_usd = history::claimed(told);
                    if told != end.cost_usd {
                        let text = format!(
                            "{place} says that this turn cost ${told:.2}, which nobody believes: it counts as nothing."
                        );
                        worker.notices.say_once(&id, "cost elsewhere", &text);
                    }
                }
                outbox.tools = shown.spans();
                return Some(*end);
            }
            _ => {}
        }
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
