//! Summaries of ended sessions: Claude (the small model, in a session of its own) reads what was said and writes what is worth
//! remembering. Nobody waits in line behind it.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{
    Message, Model, Outcome, PermissionMode, Reply, SessionId, ThreadId, Tier, Trust,
};
use tinyclaw_engine::{Content, LookError, SessionSpec, TurnOutcome, TurnRequest};
use tinyclaw_memory::Summary;

use crate::blocking::on_disk;
use crate::config::now;
use crate::desks::sessions::new_session;
use crate::policy::failure::{Remedy, Unanswered};
use crate::work::ended::Ended;
use crate::work::worker::Worker;

/// While a budget is spent, a summary looks this often whether it still is.
const OVER_BUDGET: Duration = Duration::from_secs(10);
/// While no turn can run, and after a disk that refused something.
const LATER: Duration = Duration::from_secs(30);

const WORDS: &str = "You write short, truthful summaries of conversations. You use no tools.";

/// Summarises an ended session.
pub(crate) async fn summarise(worker: &Worker, message: &Message, session: &SessionId) -> Ended {
    let thread = &message.thread_id;
    let zone = worker.settings.current().office.timezone.clone();
    let later = |tell: String| Ended::from(Unanswered::Retry { after: LATER, tell });
    let asked = match on_disk(|| worker.memory.ask_for_summary(thread, session, &zone)) {
        Ok(Some(asked)) => asked,
        // A session without turns leaves nothing behind.
        Ok(None) => return quietly(Reply::default()),
        Err(err) => {
            tracing::error!("cannot read the conversation of session {session}: {err}");
            return later(err.to_string());
        }
    };
    let place = worker.desks.get(thread).map(|it| it.place().0).unwrap_or_default();
    if worker.availability.paused(&place).is_some() {
        return Unanswered::Wait(LATER).into();
    }
    if worker.budgets.question(thread).is_some() {
        // It waits for "go on" or for the next day, and asks nobody: what was said lies in the conversation's file.
        return Unanswered::Wait(OVER_BUDGET).into();
    }
    // A desk of its own, so that the thread's Claude is not disturbed, where the words are. Nothing lies there, and the
    // folders of desks are theirs.
    let desk = desk_of(thread);
    // Before anything is asked: whose it is says who answers.
    worker.desks.sit_with(&desk, thread);
    let folder = match worker.engine.look(&place) {
        Ok(look) => look.own_folder(&place, &desk).await,
        Err(err) => Err(err.into()),
    };
    let cwd = match folder {
        Ok(cwd) => cwd,
        // Nobody is told of it: nobody asked.
        Err(LookError::OutOfReach(_)) => return Unanswered::Wait(LATER).into(),
        Err(err) => return later(err.to_string()),
    };
    let model = worker.desks.get(thread).map(|it| worker.routing.tiers(&it).simple);
    let model = model.unwrap_or(Model::HAIKU);
    let turn = worker.engine.turn(TurnRequest {
        session: SessionSpec {
            thread: desk.clone(),
            id: new_session(),
            place: place.clone(),
            cwd,
            permission_mode: PermissionMode::Ask,
            system_prompt: WORDS.to_owned(),
            tools: Arc::from([]),
            servers: Arc::default(),
            model,
            trust: Trust::None,
            skills: None,
            effort: worker.routing.efforts().simple,
            is_attended: false,
        },
        key: message.key.clone(),
        uuid: uuid::Uuid::new_v4().to_string(),
        content: vec![Content::Text(asked.prompt)],
    });
    let end = tokio::select! {
        end = turn.end() => end,
        () = worker.turns.left() => return Unanswered::PutBack.into(),
    };
    worker.engine.evict(&desk).await;
    let Some(end) = end else { return Unanswered::PutBack.into() };
    if let TurnOutcome::Failed(failure) = &end.outcome {
        let who = worker.routing.answered_by(model, end.model.as_deref());
        worker.history.spent(message, &end, who);
        return match worker.remedy(&place, &message.key, failure, message.attempts.run + 1, true) {
            // Nobody is told of it: nobody asked.
            Remedy::Leave(Unanswered::Outlast { after, .. }) => Unanswered::Wait(after).into(),
            Remedy::Leave(Unanswered::Unreached(_) | Unanswered::Taken(_)) => {
                Unanswered::Wait(LATER).into()
            }
            Remedy::Leave(unanswered) if !matches!(unanswered, Unanswered::GiveUp(_)) => {
                unanswered.into()
            }
            _ => {
                tracing::error!("session {session} ends without a summary: {failure}");
                on_disk(|| note_end(worker, thread, session, None));
                quietly(Reply::default())
            }
        };
    }
    match Summary::parse(&end.text) {
        Ok(summary) => on_disk(|| {
            if let Some(summary) = &summary {
                let now = now(&worker.settings);
                if let Err(err) = worker.memory.keep_summary(thread, session, &now, summary) {
                    tracing::error!("cannot keep the summary of session {session}: {err}");
                }
            }
            note_end(worker, thread, session, summary.as_ref());
        }),
        Err(err) => tracing::warn!("session {session} ends without a summary: {err}"),
    }
    quietly(Reply {
        text: format!("[summary of session {session}]"),
        model: Some(model),
        tier: Some(Tier::Simple),
        usage: end.usage,
        cost_usd: end.cost_usd,
        duration_ms: end.duration.as_millis() as u64,
        ..Reply::default()
    })
}

fn quietly(reply: Reply) -> Ended {
    Ended::answered(Reply { silent: true, outcome: Outcome::Notice, ..reply })
}

fn note_end(worker: &Worker, thread: &ThreadId, session: &SessionId, summary: Option<&Summary>) {
    let now = now(&worker.settings);
    if let Err(err) = worker.memory.note_end(thread, &now, session, summary) {
        tracing::error!("cannot note the end of session {session}: {err}");
    }
}

fn desk_of(thread: &ThreadId) -> ThreadId {
    let text: String =
        format!("sum-{thread}").chars().take(tinyclaw_domain::THREAD_ID_BYTES_MAX).collect();
    // The prefix of an id in front of an id is an id.
    text.parse().unwrap_or_else(|_| ThreadId::master())
}
