//! What is ordered about a job: to stop it, and the answers to its questions. Each is a message in the control lane of the
//! job's thread, as a press of a button is.

use std::time::Duration;

use axum::http::StatusCode;
use tinyclaw_client::Ending;
use tinyclaw_domain::approval::{Chosen, Question};
use tinyclaw_domain::{Channel, Command, Key, Message, PermissionAnswer, Source, ThreadId};
use tinyclaw_service::now_ms;

use super::{FAMILY, Job, Jobs, fresh_ulid, is_job, unavailable};
use crate::access::Caller;
use crate::event::Invalid;
use crate::problem::Problem;

/// A control lane is served at once; whoever does not hear so long knows nothing of it.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// What a caller answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answered {
    /// Whether it may happen.
    Permission(PermissionAnswer),
    /// What of a plan shall be different.
    Change(String),
    /// What was chosen, for each question.
    Chosen(Vec<Chosen>),
}

/// An answer, and to what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    pub(crate) request_id: String,
    pub(crate) answer: Answered,
    /// The digest of what the caller was shown. None: what is open now is meant.
    pub(crate) shown: Option<String>,
    /// Whether the caller may allow something for good.
    pub(crate) is_admin: bool,
}

impl Jobs {
    /// Orders that a job is stopped. One that has ended stays as it is.
    pub(crate) async fn cancel(&self, caller: &Caller, job: &Job) -> Result<(), Problem> {
        if job.state.is_over() {
            return Ok(());
        }
        let stop = Command::Stop { key: Some(job.key.clone()) };
        self.order(&job.thread, stop, &caller.name).await.map(|_| ())
    }

    pub(super) async fn stop_overdue(&self, key: &Key) -> Result<(), Problem> {
        match self.seen(key).await? {
            Some(seen) if is_job(&seen) && seen.message.reply.is_none() => {
                let stop = Command::Stop { key: Some(key.clone()) };
                self.order(&seen.message.thread_id, stop, "deadline").await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Answers the open question of a job. Comes back when it was taken, or says why it was not.
    pub(crate) async fn answer(
        &self,
        caller: &Caller,
        job: &Job,
        given: Given,
    ) -> Result<(), Problem> {
        let closed = |detail: &str| Problem::new(StatusCode::CONFLICT, "ask_closed", detail);
        let open = job.ask.as_ref().filter(|it| it.request_id == given.request_id);
        let open = open.ok_or_else(|| closed("that question is not open, or no more"))?;
        let question = Question::of(open);
        let shown = given.shown.unwrap_or_else(|| question.digest.clone());
        let request_id = given.request_id;
        let command = match given.answer {
            Answered::Permission(answer) => {
                Command::Permission { request_id, answer, shown, admin: given.is_admin }
            }
            Answered::Change(text) if question.plan.is_some() => {
                Command::Change { request_id, text, shown }
            }
            Answered::Change(_) => {
                let detail = "only a plan can be answered with what shall be different";
                return Err(Problem::invalid(Invalid::at("/note", detail)));
            }
            Answered::Chosen(answers) => Command::Choose { request_id, answers, shown },
        };
        let order = self.order(&job.thread, command, &caller.name).await?;
        let client = self.client().await?;
        let heard = tokio::time::timeout(ORDER_PATIENCE, client.wait(&order)).await;
        match heard {
            Ok(Ok(Ending::Answered(it))) => match it.reply {
                // Nothing to say: it was taken.
                Some(reply) if !reply.silent => Err(closed(&reply.text)),
                _ => Ok(()),
            },
            Ok(Ok(Ending::GivenUp(why))) => Err(unavailable(&why)),
            Ok(Err(err)) => Err(unavailable(&err.to_string())),
            Err(_) => Err(unavailable("nobody is there to take the answer; it waits in the queue")),
        }
    }

    pub(super) async fn order(
        &self,
        thread: &ThreadId,
        command: Command,
        sender: &str,
    ) -> Result<Key, Problem> {
        let key = Key::hashed(FAMILY, &format!("order-{}", fresh_ulid()));
        let mut message = Message::new(key.clone(), Channel::Api, thread.clone(), "", now_ms());
        message.source = Source::Api;
        message.sender = sender.to_owned();
        message.command = Some(command);
        self.publish(message).await?;
        Ok(key)
    }
}
