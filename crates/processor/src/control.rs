//! The control lanes: *stop* and answers to permission questions. They wait for nothing, not even for a turn's place.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Command, Key, Lane, Message, Outcome, Reply, ThreadId};
use tinyclaw_queue::{Lease, Place, Side, Which};

use crate::office::{Office, lock, on_disk};
use crate::turn::notice;

/// After a claim that did not work.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// Serves every control lane until it is aborted.
pub(crate) async fn run(office: Arc<Office>) {
    loop {
        match office.queue.claim(Side::Run, &Which::Control).await {
            // What could not be moved is claimed again at once: not without a breath in between.
            Ok(lease) => {
                if !serve(&office, lease) {
                    tokio::time::sleep(CLAIM_AGAIN).await;
                }
            }
            Err(err) => {
                tracing::error!("cannot claim a control message: {:#}", anyhow::Error::new(err));
                tokio::time::sleep(CLAIM_AGAIN).await;
            }
        }
    }
}

/// Empties a thread's control lane before one of its messages begins or goes on, so that a stop that came in between
/// counts. Whether the message is to be stopped.
pub(crate) async fn empty(office: &Arc<Office>, message: &Message) -> bool {
    let lane = Which::Lane(Lane::Control(message.thread_id.clone()));
    while let Ok(Some(lease)) = office.queue.try_claim(Side::Run, &lane) {
        if !serve(office, lease) {
            break;
        }
    }
    lock(&office.running)
        .get(&message.thread_id)
        .is_some_and(|it| it.is_stopped && it.key == message.key)
}

/// Carries an order out. `false`: it could not be moved on, and stays.
fn serve(office: &Arc<Office>, mut lease: Lease) -> bool {
    let message = lease.message().clone();
    let thread = &message.thread_id;
    let reply = match &message.command {
        _ if message.reply.is_some() => None,
        Some(Command::Stop { key }) => Some(stop(office, thread, key.as_ref())),
        Some(Command::Permission { request_id, answer }) => {
            Some(answer_permission(office, thread, request_id, *answer))
        }
        _ => Some(notice("This is no order for a control lane.")),
    };
    let moved = on_disk(|| {
        if let Some(reply) = reply {
            lease.answer(reply, Vec::new())?;
        }
        lease.finish()
    });
    if let Err(err) = &moved {
        tracing::error!(key = %message.key, "cannot finish order {}: {err}", message.key);
    }
    moved.is_ok()
}

/// Nothing to say: the turn itself will.
fn silent() -> Reply {
    Reply { silent: true, outcome: Outcome::Notice, ..Reply::default() }
}

fn stop(office: &Arc<Office>, thread: &ThreadId, key: Option<&Key>) -> Reply {
    {
        let mut running = lock(&office.running);
        if let Some(running) = running.get_mut(thread)
            && key.is_none_or(|it| *it == running.key)
        {
            running.is_stopped = true;
            if let Some(control) = &running.control {
                control.interrupt();
            }
            tracing::info!(thread.id = %thread, key = %running.key, after_s = running.began.elapsed().as_secs(),
                "thread {thread} is stopped");
            return silent();
        }
    }
    let Some(key) = key else { return notice("Nothing is running here.") };
    match on_disk(|| office.queue.view().find(key)) {
        Ok(Some(seen)) if seen.place == Place::Incoming => {
            match on_disk(|| office.queue.bury(key, "stopped by a person before it began")) {
                Ok(()) => notice("Taken out of the line before it began. /retry puts it back."),
                Err(_) => {
                    // It has begun this moment: then it is stopped as it begins.
                    lock(&office.stopped).insert(key.clone());
                    silent()
                }
            }
        }
        Ok(Some(seen)) if seen.place == Place::Processing => {
            lock(&office.stopped).insert(key.clone());
            silent()
        }
        _ => notice("That turn is finished already."),
    }
}

fn answer_permission(
    office: &Arc<Office>,
    thread: &ThreadId,
    request_id: &str,
    answer: tinyclaw_domain::PermissionAnswer,
) -> Reply {
    let running = lock(&office.running).get(thread).cloned();
    match running {
        Some(running) if running.ask.as_deref() == Some(request_id) => {
            if let Some(control) = running.control {
                control.answer_permission(request_id, answer);
            }
            silent()
        }
        _ => notice("That question is no longer open."),
    }
}
