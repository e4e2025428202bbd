//! Summaries of ended sessions: Claude (haiku, in a session of its own) reads what was said and writes what is worth
//! remembering. Nobody waits in line behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tinyclaw_domain::{
    Channel, Command, Key, Lane, Message, Model, Outcome, PermissionMode, Reply, SessionId, Source,
    ThreadId, Tier,
};
use tinyclaw_engine::{Content, SessionSpec, TurnOutcome, TurnRequest};
use tinyclaw_memory::Summary;
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::now_ms;

use crate::office::{Office, lock, new_session, on_disk};
use crate::policy::failure::Verdict;
use crate::work::turn::Ended;

/// A new session waits this long for the summary of the last one, then begins without.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// While a budget is spent, a summary looks this often whether it still is.
const OVER_BUDGET: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

const WORDS: &str = "You write short, truthful summaries of conversations. You use no tools.";

/// Has an ended session summarised, in the thread's housekeeping lane: nobody waits in line behind it.
pub(crate) fn order(office: &Office, id: &ThreadId, session: &SessionId) {
    let turns = on_disk(|| office.memory.turns(office.who(id), session)).unwrap_or(0);
    if turns == 0 {
        return;
    }
    let key = Key::hashed("sum", &format!("{id}-{session}"));
    let mut order = Message::new(key, Channel::System, id.clone(), "", now_ms());
    order.source = Source::System;
    order.command = Some(Command::Summarize { session: session.clone() });
    if let Err(err) = on_disk(|| office.queue.publish(Side::Run, order, Durability::Strict)) {
        tracing::error!(thread.id = %id, "the session of thread {id} ends without a summary: {err}");
    }
}

/// Summarises an ended session.
pub(crate) async fn summarise(
    office: &Arc<Office>,
    message: &Message,
    session: &SessionId,
) -> Ended {
    let who = office.who(&message.thread_id);
    let zone = office.settings().office.timezone.clone();
    let asked = match on_disk(|| office.memory.ask_for_summary(who, session, &zone)) {
        Ok(Some(asked)) => asked,
        // A session without turns leaves nothing behind.
        Ok(None) => return quietly(Reply::default()),
        Err(err) => {
            tracing::error!("cannot read the conversation of session {session}: {err}");
            return Ended::Retry { after: Duration::from_secs(30), tell: err.to_string() };
        }
    };
    if lock(&office.pause).is_some() {
        return Ended::Wait(Duration::from_secs(30));
    }
    if office.over_budget(&message.thread_id).is_some() {
        // It waits for "go on" or for the next day, and asks nobody: what was said lies in the conversation's file.
        return Ended::Wait(OVER_BUDGET);
    }
    // Nothing lies there, and the folders of desks are theirs.
    let cwd = office.state.files(&desk(&message.thread_id));
    if let Err(err) = on_disk(|| std::fs::create_dir_all(&cwd)) {
        return Ended::Retry {
            after: Duration::from_secs(30),
            tell: format!("{} cannot be made: {err}", cwd.display()),
        };
    }
    let turn = office.engine.turn(TurnRequest {
        session: SessionSpec {
            // A desk of its own, so that the thread's Claude is not disturbed.
            thread: desk(&message.thread_id),
            id: new_session(),
            cwd,
            permission_mode: PermissionMode::Ask,
            system_prompt: WORDS.to_owned(),
            tools: Arc::from([]),
            model: Model::Haiku,
        },
        key: message.key.clone(),
        uuid: uuid::Uuid::new_v4().to_string(),
        content: vec![Content::Text(asked.prompt)],
    });
    let mut leave = office.leave.subscribe();
    let end = tokio::select! {
        end = turn.end() => end,
        _ = leave.wait_for(|it| *it) => return Ended::PutBack,
    };
    office.engine.evict(&desk(&message.thread_id)).await;
    let Some(end) = end else { return Ended::PutBack };
    if let TurnOutcome::Failed(failure) = &end.outcome {
        office.log_spent(message, &end);
        return match office.judge(&message.key, failure, message.attempts.run + 1, true) {
            Verdict::Wait => Ended::Wait(Duration::from_secs(30)),
            Verdict::Outlast { after, .. } => Ended::Wait(after),
            Verdict::Retry { after, tell } => Ended::Retry { after, tell },
            Verdict::PutBack => Ended::PutBack,
            _ => {
                tracing::error!("session {session} ends without a summary: {failure}");
                on_disk(|| note_end(office, &message.thread_id, session, None));
                quietly(Reply::default())
            }
        };
    }
    match Summary::parse(&end.text) {
        Ok(summary) => on_disk(|| {
            if let Some(summary) = &summary
                && let Err(err) = office.memory.keep_summary(who, session, &office.now(), summary)
            {
                tracing::error!("cannot keep the summary of session {session}: {err}");
            }
            note_end(office, &message.thread_id, session, summary.as_ref());
        }),
        Err(err) => tracing::warn!("session {session} ends without a summary: {err}"),
    }
    quietly(Reply {
        text: format!("[summary of session {session}]"),
        model: Some(Model::Haiku),
        tier: Some(Tier::Simple),
        usage: end.usage,
        cost_usd: end.cost_usd,
        duration_ms: end.duration.as_millis() as u64,
        ..Reply::default()
    })
}

fn quietly(reply: Reply) -> Ended {
    let reply = Reply { silent: true, outcome: Outcome::Notice, ..reply };
    Ended::Answered { reply: Box::new(reply), follow_ups: Vec::new() }
}

fn note_end(office: &Office, thread: &ThreadId, session: &SessionId, summary: Option<&Summary>) {
    if let Err(err) = office.memory.note_end(office.who(thread), &office.now(), session, summary) {
        tracing::error!("cannot note the end of session {session}: {err}");
    }
}

fn desk(thread: &ThreadId) -> ThreadId {
    let text: String =
        format!("sum-{thread}").chars().take(tinyclaw_domain::THREAD_ID_BYTES_MAX).collect();
    // The prefix of an id in front of an id is an id.
    text.parse().unwrap_or_else(|_| ThreadId::master())
}

/// Waits for the summary of a thread's last session, if one is being made. `false`: it did not come in time.
pub(crate) async fn wait_for_last(office: &Arc<Office>, thread: &ThreadId) -> bool {
    let until = Instant::now() + WAIT_MAX;
    let house = Lane::House(thread.clone());
    // A question to what the queue knows without looking: every new session asks it, however much waits.
    while office.queue.has_work(Side::Run, &house) {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}
