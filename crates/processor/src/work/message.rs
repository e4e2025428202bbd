//! One claimed message from the claim to its next folder.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Command, FollowUp, Message, Outcome, Place, Reply, StateDir};
use tinyclaw_queue::{DEATHS_MAX, Lease, LeaseError};
use tinyclaw_service::{conceal, now_ms};

use crate::availability::pause::HELD_LOOK;
use crate::blocking::on_disk;
use crate::history::turn_log::TurnLog;
use crate::policy::failure::Unanswered;
use crate::work::ended::Ended;
use crate::work::progress::begun;
use crate::work::slots::Slot;
use crate::work::worker::Worker;
use crate::work::{summary, turn};

/// A reply beyond this goes into a file, so that a message file never outgrows its limit.
const REPLY_BYTES_MAX: usize = 256 * 1024;
/// An answer that cannot be written is tried again; the disk may be full for a while.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// A message that made the office pause is looked at again then, and finds the pause.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Works on a message until it is somewhere else, and lets nothing escape: what cannot be done now is tried again.
pub(crate) async fn handle(worker: Arc<Worker>, lease: Lease, mut slot: Slot) {
    let key = lease.message().key.clone();
    let thread = lease.message().thread_id.clone();
    let queued_ms = now_ms().saturating_sub(lease.message().timestamp);
    tracing::info!(
        thread.id = %thread, key = %key, attempt = lease.attempt(), queued_ms,
        "message {key} of thread {thread} is taken up"
    );
    let ended = work(&worker, lease, &mut slot).await;
    if let Err(err @ LeaseError::Lost { .. }) = ended {
        // Nothing is amiss here: the message goes on where it is now.
        tracing::warn!(key = %key, "{err}");
    } else if let Err(err) = ended {
        tracing::error!(key = %key, "message {key} stays where it is: {:#}", anyhow::Error::new(err));
        worker.notices.concern(
            "disk",
            Some("A message could not be moved on; see logs/queue.log.".to_owned()),
        );
        tokio::time::sleep(WRITE_AGAIN).await;
    } else {
        worker.notices.concern("disk", None);
    }
}

async fn work(worker: &Worker, mut lease: Lease, slot: &mut Slot) -> Result<(), LeaseError> {
    let message = lease.message();
    if let Some(reply) = &message.reply {
        // Answered before a crash: its lines may stand twice, its answer goes out once.
        worker.history.answered(message, reply);
        return finish(worker, lease);
    }
    if let Some(why) = lease.is_exhausted() {
        tracing::error!(key = %message.key, "message {} is given up: {why}", message.key);
        let why = match message.attempts.deaths >= DEATHS_MAX {
            true => "TinyClaw broke off each time it was tried",
            false => &why,
        };
        let text =
            format!("This message could not be answered: {why}. It is kept; /retry tries again.");
        return give_up(worker, lease, &text);
    }
    let mut log = TurnLog::begin(&worker.state, message, lease.attempt());
    let ended = match message.command.clone() {
        Some(Command::Summarize { session }) => summary::summarise(worker, message, &session).await,
        Some(command) => Ended::answered(worker.commands.carry_out(message, &command).await),
        None => match turn::run(worker, &mut lease, slot, &mut log).await {
            Ok(ended) => ended,
            Err(err) => return Err(put_aside(lease, err)),
        },
    };
    match ended {
        Ended::Answered { reply, follow_ups } => {
            if let Err(err) = answer(worker, &mut lease, *reply, follow_ups).await {
                return Err(put_aside(lease, err));
            }
            if let Some(reply) = &lease.message().reply {
                log.end(reply.outcome);
                worker.history.answered(lease.message(), reply);
            }
            finish(worker, lease)
        }
        Ended::Unanswered(unanswered) => leave(worker, lease, &mut log, unanswered),
    }
}

/// Moves a message on that has no answer.
fn leave(
    worker: &Worker,
    lease: Lease,
    log: &mut TurnLog,
    unanswered: Unanswered,
) -> Result<(), LeaseError> {
    match unanswered {
        Unanswered::Retry { after, tell } => {
            let key = &lease.message().key;
            tracing::warn!(key = %key, after_s = after.as_secs(), "message {key}: {tell}");
            log.trouble(&tell);
            on_disk(|| lease.retry_after(after, &tell))
        }
        Unanswered::Outlast { after, since, what, .. } => {
            let thread = &lease.message().thread_id;
            worker.availability.note_outage(&place_of(worker, &lease), thread, since, &what);
            on_disk(|| lease.put_back_for(after))
        }
        Unanswered::Pause(pause) => {
            worker.availability.pause(&place_of(worker, &lease), pause);
            on_disk(|| lease.put_back_for(LOOK_AGAIN))
        }
        Unanswered::Unreached(err) => {
            let (after, text) = worker.availability.note_away(lease.message(), &err);
            let mut progress = begun(lease.message(), lease.attempt(), None);
            progress.trouble = Some(text);
            let _ = worker.progresses.write(&progress);
            on_disk(|| lease.put_back_for(after))
        }
        Unanswered::Taken(taken) => {
            let place = place_of(worker, &lease);
            let text = worker.availability.note_taken(lease.message(), &place, taken);
            let mut progress = begun(lease.message(), lease.attempt(), None);
            progress.trouble = Some(text);
            let _ = worker.progresses.write(&progress);
            on_disk(|| lease.put_back_for(HELD_LOOK))
        }
        Unanswered::Wait(after) => on_disk(|| lease.put_back_for(after)),
        Unanswered::PutBack => on_disk(|| lease.put_back()),
        Unanswered::GiveUp(text) => {
            log.end(Outcome::Failed);
            give_up(worker, lease, &text)
        }
    }
}

/// Where the Claude runs that was to answer.
fn place_of(worker: &Worker, lease: &Lease) -> Place {
    worker.desks.get(&lease.message().thread_id).map(|it| it.place().0).unwrap_or_default()
}

/// What cannot be written now goes back without being counted, which is only a rename. Let go of instead, it would be
/// taken up again at once, and counted out within a second. What is not ours any more is let go of.
fn put_aside(lease: Lease, err: LeaseError) -> LeaseError {
    if matches!(err, LeaseError::Lost { .. }) {
        return err;
    }
    if let Err(err) = on_disk(|| lease.put_back_for(WRITE_AGAIN)) {
        tracing::error!("cannot put it back either: {:#}", anyhow::Error::new(err));
    }
    err
}

/// Keeps the answer, however long the disk is full or the queue out of reach. From here Claude is never asked again. An
/// answer to a message that somebody else has now is dropped: they ask again, or have done so.
async fn answer(
    worker: &Worker,
    lease: &mut Lease,
    mut reply: Reply,
    follow_ups: Vec<FollowUp>,
) -> Result<(), LeaseError> {
    reply.text = conceal(&reply.text).into_owned();
    loop {
        let whole = in_file_when_long(&worker.state, lease.message(), reply.clone());
        match on_disk(|| lease.answer(whole, follow_ups.clone())) {
            Err(err @ (LeaseError::Write { .. } | LeaseError::Away { .. }))
                if !worker.turns.is_leaving() =>
            {
                let told = match err {
                    LeaseError::Away { .. } => "The queue is out of reach: answers wait for it.",
                    _ => "The disk is full or failing: answers wait for room.",
                };
                tracing::error!(key = %lease.message().key, "cannot keep an answer, trying again: {:#}", anyhow::Error::new(err));
                worker.notices.concern("disk", Some(told.to_owned()));
                tokio::time::sleep(WRITE_AGAIN).await;
            }
            other => return other,
        }
    }
}

fn in_file_when_long(state: &StateDir, message: &Message, mut reply: Reply) -> Reply {
    if reply.text.len() <= REPLY_BYTES_MAX {
        return reply;
    }
    let name = format!("answer-{}.md", message.key);
    let dir = state.files(&message.thread_id);
    let written = std::fs::create_dir_all(&dir).map_err(|err| err.to_string()).and_then(|()| {
        tinyclaw_disk::replace(
            &dir.join(&name),
            reply.text.as_bytes(),
            tinyclaw_disk::Flush::Strict,
        )
        .map_err(|err| err.to_string())
    });
    match written {
        Ok(()) => {
            reply.file = Some(format!("files/{}/{name}", message.thread_id));
            reply.text = String::new();
        }
        Err(err) => tracing::error!("cannot put a long answer into a file: {err}"),
    }
    reply
}

/// Moves the answered message on. A failure is tried again as long as we are here; the answer is safe meanwhile.
fn finish(worker: &Worker, lease: Lease) -> Result<(), LeaseError> {
    let (key, thread) = (lease.message().key.clone(), lease.message().thread_id.clone());
    let begun = lease.message().timestamp;
    worker.history.flush();
    on_disk(|| lease.finish())?;
    worker.turns.forget(&key);
    worker.availability.forget(&key);
    if let Err(err) = worker.progresses.remove(&key) {
        tracing::warn!(key = %key, "cannot remove the progress of {key}: {err}");
    }
    worker.vitals.count("answeredTotal", 1);
    tracing::info!(
        thread.id = %thread, key = %key, total_ms = now_ms().saturating_sub(begun),
        "message {key} of thread {thread} is answered"
    );
    Ok(())
}

/// Gives a message up, after saying so where it came from.
fn give_up(worker: &Worker, lease: Lease, text: &str) -> Result<(), LeaseError> {
    let message = lease.message();
    let (key, thread) = (message.key.clone(), message.thread_id.clone());
    worker.notices.say(&thread, key.notice(lease.attempt(), "dead"), text);
    if message.checkpoint.is_none() {
        worker.history.received(message, lease.attempt());
    }
    worker.vitals.count("deadTotal", 1);
    worker.history.flush();
    on_disk(|| lease.bury(text))?;
    worker.turns.forget(&key);
    worker.availability.forget(&key);
    let _ = worker.progresses.remove(&key);
    let dead = on_disk(|| worker.queue.view().depth()).map_or(1, |it| it.dead);
    worker.notices.concern_beside(
        Some(&thread),
        "dead",
        Some(match dead {
            1 => "1 message was given up. /retry in its topic tries again; `tinyclaw queue ls dead` shows it.".to_owned(),
            _ => format!("{dead} messages were given up. /retry in their topics tries again; `tinyclaw queue ls dead` shows them."),
        }),
    );
    Ok(())
}
