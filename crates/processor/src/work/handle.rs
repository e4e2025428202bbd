//! One claimed message from the claim to its next folder.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{
    Channel, Checkpoint, Command, ConversationLine, Decision, Direction, FollowUp, HistoryLine,
    Key, Message, Model, Outcome, Reply, RoutingLine, Source,
};
use tinyclaw_engine::{TurnEnd, TurnOutcome};
use tinyclaw_queue::{DEATHS_MAX, Lease, LeaseError};
use tinyclaw_service::{conceal, now_ms};

use crate::commands;
use crate::office::{Office, Slot, lock, on_disk};
use crate::work::job_log::TurnLog;
use crate::work::prompt::shortened;
use crate::work::summary;
use crate::work::turn;
use crate::work::turn::Ended;

/// A reply beyond this goes into a file, so that a message file never outgrows its limit.
const REPLY_BYTES_MAX: usize = 256 * 1024;
/// The raw input of a decision is kept to this length.
const RAW_INPUT_CHARS_MAX: usize = 4_000;
/// An answer that cannot be written is tried again; the disk may be full for a while.
const WRITE_AGAIN: Duration = Duration::from_secs(5);

/// A decision, and when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    /// In ms since 1970.
    pub(crate) at: u64,
    pub(crate) took: Duration,
}

/// Works on a message until it is somewhere else, and lets nothing escape: what cannot be done now is tried again.
pub(crate) async fn handle(office: Arc<Office>, lease: Lease, mut slot: Slot) {
    let key = lease.message().key.clone();
    let thread = lease.message().thread_id.clone();
    let queued_ms = now_ms().saturating_sub(lease.message().timestamp);
    tracing::info!(
        thread.id = %thread, key = %key, attempt = lease.attempt(), queued_ms,
        "message {key} of thread {thread} is taken up"
    );
    if let Err(err) = work(&office, lease, &mut slot).await {
        tracing::error!(key = %key, "message {key} stays where it is: {:#}", anyhow::Error::new(err));
        office.concern(
            "disk",
            Some("A message could not be moved on; see logs/queue.log.".to_owned()),
        );
        tokio::time::sleep(WRITE_AGAIN).await;
    } else {
        office.concern("disk", None);
    }
}

async fn work(office: &Arc<Office>, mut lease: Lease, slot: &mut Slot) -> Result<(), LeaseError> {
    let message = lease.message().clone();
    if let Some(reply) = &message.reply {
        // Answered before a crash: its lines may stand twice, its answer goes out once.
        office.log_answer(&message, reply);
        return finish(office, lease).await;
    }
    if let Some(why) = lease.is_exhausted() {
        tracing::error!(key = %message.key, "message {} is given up: {why}", message.key);
        let why = match message.attempts.deaths >= DEATHS_MAX {
            true => "TinyClaw broke off each time it was tried",
            false => &why,
        };
        let text =
            format!("This message could not be answered: {why}. It is kept; /retry tries again.");
        return give_up(office, lease, &text).await;
    }
    let mut log = TurnLog::begin(office, &message, lease.attempt());
    let ended = match &message.command {
        Some(Command::Summarize { session }) => summary::summarise(office, &message, session).await,
        Some(command) => {
            let reply = commands::carry_out(office, &message, command).await;
            Ended::Answered { reply: Box::new(reply), follow_ups: Vec::new() }
        }
        None => match turn::run(office, &mut lease, slot, &mut log).await {
            Ok(ended) => ended,
            Err(err) => return Err(put_aside(lease, err)),
        },
    };
    match ended {
        Ended::Answered { reply, follow_ups } => {
            if let Err(err) = answer(office, &mut lease, *reply, follow_ups).await {
                return Err(put_aside(lease, err));
            }
            let answered = lease.message().clone();
            if let Some(reply) = &answered.reply {
                log.end(reply.outcome);
                office.log_answer(&answered, reply);
            }
            finish(office, lease).await
        }
        Ended::Retry { after, tell } => {
            tracing::warn!(key = %message.key, after_s = after.as_secs(), "message {}: {tell}", message.key);
            log.trouble(&tell);
            on_disk(|| lease.retry_after(after, &tell))
        }
        Ended::Wait(after) => on_disk(|| lease.put_back_for(after)),
        Ended::PutBack => on_disk(|| lease.put_back()),
        Ended::GiveUp(text) => {
            log.end(Outcome::Failed);
            give_up(office, lease, &text).await
        }
    }
}

/// What cannot be written now goes back without being counted, which is only a rename. Let go of instead, it would be
/// taken up again at once, and counted out within a second.
fn put_aside(lease: Lease, err: LeaseError) -> LeaseError {
    if let Err(err) = on_disk(|| lease.put_back_for(WRITE_AGAIN)) {
        tracing::error!("cannot put it back either: {:#}", anyhow::Error::new(err));
    }
    err
}

/// Writes the answer, however long the disk is full. From here Claude is never asked again.
async fn answer(
    office: &Arc<Office>,
    lease: &mut Lease,
    mut reply: Reply,
    follow_ups: Vec<FollowUp>,
) -> Result<(), LeaseError> {
    reply.text = conceal(&reply.text).into_owned();
    loop {
        let whole = in_file_when_long(office, lease.message(), reply.clone());
        match on_disk(|| lease.answer(whole, follow_ups.clone())) {
            Err(err @ LeaseError::Write { .. }) if !office.is_leaving() => {
                tracing::error!(key = %lease.message().key, "cannot keep an answer, trying again: {:#}", anyhow::Error::new(err));
                office.concern(
                    "disk",
                    Some("The disk is full or failing: answers wait for room.".to_owned()),
                );
                tokio::time::sleep(WRITE_AGAIN).await;
            }
            other => return other,
        }
    }
}

fn in_file_when_long(office: &Office, message: &Message, mut reply: Reply) -> Reply {
    if reply.text.len() <= REPLY_BYTES_MAX {
        return reply;
    }
    let name = format!("answer-{}.md", message.key);
    let dir = office.state.files(&message.thread_id);
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
async fn finish(office: &Arc<Office>, lease: Lease) -> Result<(), LeaseError> {
    let (key, thread) = (lease.message().key.clone(), lease.message().thread_id.clone());
    let begun = lease.message().timestamp;
    on_disk(|| office.flush_lines());
    on_disk(|| lease.finish())?;
    if let Err(err) = office.progresses.remove(&key) {
        tracing::warn!(key = %key, "cannot remove the progress of {key}: {err}");
    }
    office.vitals.count("answeredTotal", 1);
    tracing::info!(
        thread.id = %thread, key = %key, total_ms = now_ms().saturating_sub(begun),
        "message {key} of thread {thread} is answered"
    );
    Ok(())
}

/// Gives a message up, after saying so where it came from.
async fn give_up(office: &Arc<Office>, lease: Lease, text: &str) -> Result<(), LeaseError> {
    let message = lease.message().clone();
    office.say(&message.thread_id, message.key.notice(lease.attempt(), "dead"), text);
    if message.checkpoint.is_none() {
        office.log_in(&message, lease.attempt());
    }
    office.vitals.count("deadTotal", 1);
    on_disk(|| office.flush_lines());
    on_disk(|| lease.bury(text))?;
    let _ = office.progresses.remove(&message.key);
    let dead = on_disk(|| office.queue.view().given_up()).unwrap_or(1);
    office.concern_beside(
        Some(&message.thread_id),
        "dead",
        Some(match dead {
            1 => "1 message was given up. /retry in its topic tries again; `tinyclaw queue ls dead` shows it.".to_owned(),
            _ => format!("{dead} messages were given up. /retry in their topics tries again; `tinyclaw queue ls dead` shows them."),
        }),
    );
    Ok(())
}

impl Office {
    /// Notes a message that Claude is about to be asked, and which model it gets and why.
    pub(crate) fn log_asked(&self, message: &Message, attempt: u32, decided: &Decided) {
        self.log_in(message, attempt);
        let line = RoutingLine {
            timestamp: decided.at,
            key: message.key.clone(),
            attempt,
            message_id: message.message_id.clone(),
            thread_id: message.thread_id.clone(),
            raw_input: shortened(&conceal(&message.message), RAW_INPUT_CHARS_MAX),
            duration_us: decided.took.as_micros() as u64,
            decision: decided.decision.clone(),
        };
        if let Err(err) = self.journal.routing(&line) {
            tracing::error!("cannot write the routing log: {err}");
        }
    }

    /// Notes what a turn cost that came to no answer: it is part of the day all the same.
    pub(crate) fn log_spent(&self, message: &Message, end: &TurnEnd) {
        if end.cost_usd == 0.0 {
            return;
        }
        let TurnOutcome::Failed(failure) = &end.outcome else { return };
        // A key of its own: an attempt may be paid for more than once.
        let key = Key::hashed("n", &format!("spent-{}-{}", message.key, uuid::Uuid::new_v4()));
        let line = HistoryLine {
            key,
            timestamp: now_ms(),
            sender: "TinyClaw".to_owned(),
            direction: Direction::Out,
            message: format!("[no answer: {failure}]"),
            model: end.model.as_deref().and_then(Model::of_name),
            duration_ms: Some(end.duration.as_millis() as u64),
            cost_usd: Some(end.cost_usd),
            usage: Some(end.usage),
            attempt: 1,
            source: Source::System,
            ..HistoryLine::of(message)
        };
        lock(&self.costs).add(&line);
        self.note_history(line);
        self.warn_of_budget(&message.thread_id);
    }

    /// Notes a message that came in.
    pub(crate) fn log_in(&self, message: &Message, attempt: u32) {
        let said = conceal(&message.message).into_owned();
        let line = HistoryLine { attempt, message: said, ..HistoryLine::of(message) };
        self.note_history(line);
    }

    /// Notes an answered message in every log: the answer, the session's conversation, what it cost; and the message
    /// itself, when Claude was not asked.
    pub(crate) fn log_answer(&self, message: &Message, reply: &Reply) {
        let attempt = message.attempts.run.max(1);
        if message.channel == Channel::System && message.command.is_some() {
            // Housekeeping is nobody's conversation, but what it cost is part of the day.
            if reply.cost_usd == 0.0 {
                return;
            }
        } else if message.checkpoint.is_none() {
            self.log_in(message, attempt);
        }
        let text = match &reply.file {
            Some(file) => format!("[the answer is in {file}]"),
            None => reply.text.clone(),
        };
        let out = HistoryLine {
            timestamp: now_ms(),
            sender: if reply.outcome == Outcome::Notice { "TinyClaw" } else { "Claude" }.to_owned(),
            direction: Direction::Out,
            message: text.clone(),
            model: reply.model,
            tier: reply.tier,
            duration_ms: Some(reply.duration_ms),
            cost_usd: Some(reply.cost_usd),
            usage: Some(reply.usage),
            context_tokens: reply.context_tokens,
            tools: reply.tools.clone(),
            source: Source::System,
            ..HistoryLine::of(message)
        };
        if let Some(Checkpoint { session_id: session, .. }) = &message.checkpoint
            && reply.model.is_some()
        {
            let said = |direction, sender: &str, text: &str, timestamp| ConversationLine {
                timestamp,
                key: message.key.clone(),
                attempt,
                session_id: session.clone(),
                direction,
                sender: sender.to_owned(),
                text: text.to_owned(),
                model: (direction == Direction::Out).then_some(reply.model).flatten(),
            };
            let asked =
                said(Direction::In, &message.sender, &conceal(&message.message), message.timestamp);
            let answered = said(Direction::Out, "Claude", &text, out.timestamp);
            for line in [asked, answered] {
                if let Err(err) = self.memory.turn(self.who(&message.thread_id), &line) {
                    tracing::error!("cannot add to the conversation: {err}");
                }
            }
        }
        lock(&self.costs).add(&out);
        self.note_history(out);
        self.warn_of_budget(&message.thread_id);
    }

    /// Flushes the lines of a message before it moves on: from there nobody writes them again after a power cut. An answer
    /// does not wait for a log that cannot be flushed, but it is said.
    fn flush_lines(&self) {
        if let Err(err) = self.journal.flush() {
            tracing::error!("cannot flush the logs: {err}: {}", err.source);
            self.concern("history", Some(format!("The history cannot be flushed: {err}.")));
        }
    }

    fn note_history(&self, line: HistoryLine) {
        let written = self.journal.history(&line);
        if let Err(err) = &written {
            tracing::error!("cannot write the history: {err}");
        }
        let trouble = written.err().map(|err| format!("The history cannot be written: {err}."));
        self.concern("history", trouble);
        self.remember(line);
    }
}

#[cfg(test)]
mod tests {
    use tinyclaw_disk::testing::{Step, steps_of};
    use tinyclaw_engine::EngineConfig;
    use tinyclaw_ledger::StateDir;
    use tinyclaw_queue::{Durability, Side, Which};
    use tinyclaw_service::settings::{Environment, Store};
    use tinyclaw_service::{Shutdown, Vitals};

    use super::*;

    /// An office whose Claude is never asked.
    fn office(dir: &std::path::Path) -> Arc<Office> {
        let state = StateDir::new(dir.join("state"));
        tinyclaw_ledger::create_folders(&state).unwrap();
        let work = dir.join("work").display().to_string();
        let environment = Environment::from([("WORKSPACE_ROOT".to_owned(), work)]);
        let settings = Store::open(state.root(), environment).unwrap();
        let engine = EngineConfig::new("/nowhere", "/nowhere", state.root(), dir);
        let vitals = Vitals::new("processor", "0");
        let office =
            crate::setup::prepare_with(engine, state, settings, vitals, Shutdown::default());
        Arc::new(office.unwrap())
    }

    /// A power cut took the lines of 47 in 175 answered messages: they were flushed after the message had moved on, or never.
    #[test]
    fn the_lines_of_a_message_are_on_disk_before_it_moves_on() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        for is_given_up in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let office = office(dir.path());
            let key: Key = "cli-1".parse().unwrap();
            let message = Message::new(key, Channel::Cli, "7".parse().unwrap(), "Hello", 1);
            office.queue.publish(Side::Run, message, Durability::Strict).unwrap();
            let mut lease = office.queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
            let reply = Reply { text: "hi".to_owned(), ..Reply::default() };
            if !is_given_up {
                lease.answer(reply, vec![]).unwrap();
            }
            let (ended, steps) = steps_of(|| {
                runtime.block_on(async {
                    if is_given_up {
                        give_up(&office, lease, "It failed.").await
                    } else {
                        let answered = lease.message().clone();
                        office.log_answer(&answered, answered.reply.as_ref().unwrap());
                        finish(&office, lease).await
                    }
                })
            });
            ended.unwrap();
            let history = office.state.history();
            let flushed = steps
                .iter()
                .position(|it| matches!(it, Step::SyncFile { path } if *path == history));
            let moved = steps.iter().position(
                |it| matches!(it, Step::Rename { from, .. } if from.parent().is_some_and(|it| it.ends_with("processing"))),
            );
            assert!(flushed.is_some() && flushed < moved, "{steps:#?}");
        }
    }
}
