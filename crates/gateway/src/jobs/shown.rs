//! A job as it is told: where it stands, what it asks, and what came of it.

use serde_json::{Map, Value, json};
use tinyclaw_client::{Client, Ending};
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{
    Ask, Envs, FileRef, Key, Message, Outcome, Reply, STOPPED_WAITING, StateDir, ThreadId,
    TurnState, Usage,
};
use tinyclaw_ledger::{Progresses, job_times};
use tinyclaw_queue::{Place, Seen};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobState {
    /// It waits for its turn.
    Queued,
    /// Claude works on it.
    Running,
    /// Claude waits for an answer to a question.
    Asking,
    /// Claude answered.
    Done,
    /// It could not be answered.
    Failed,
    /// Somebody stopped it while it ran.
    Stopped,
    /// Somebody stopped it before it began.
    Cancelled,
    /// It was given up.
    Dead,
}

impl JobState {
    const ALL: [JobState; 8] = [
        JobState::Queued,
        JobState::Running,
        JobState::Asking,
        JobState::Done,
        JobState::Failed,
        JobState::Stopped,
        JobState::Cancelled,
        JobState::Dead,
    ];

    /// Its word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Asking => "asking",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Stopped => "stopped",
            JobState::Cancelled => "cancelled",
            JobState::Dead => "dead",
        }
    }

    /// The state of this word.
    pub(crate) fn named(word: &str) -> Option<JobState> {
        JobState::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// All words, for whoever used another one.
    pub(crate) fn words() -> String {
        JobState::ALL.map(JobState::as_str).join(", ")
    }

    /// Whether nothing more comes of it.
    pub(crate) fn is_over(self) -> bool {
        !matches!(self, JobState::Queued | JobState::Running | JobState::Asking)
    }

    fn of_reply(reply: &Reply) -> JobState {
        match reply.outcome {
            Outcome::Answered => JobState::Done,
            Outcome::Stopped => JobState::Stopped,
            // TinyClaw itself speaks: Claude was not asked.
            Outcome::Failed | Outcome::Notice => JobState::Failed,
        }
    }

    fn of_given_up(reason: &str) -> JobState {
        if reason == STOPPED_WAITING { JobState::Cancelled } else { JobState::Dead }
    }
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finished {
    pub(crate) state: JobState,
    pub(crate) cost_usd: f64,
    pub(crate) usage: Usage,
    /// Whether nothing can change it any more: what was given up may be taken up again.
    pub(crate) is_final: bool,
    files: Vec<FileRef>,
    told: Map<String, Value>,
}

impl Finished {
    /// Of a message that has ended. `thread` is its own, which one that was given up does not bring.
    pub(crate) fn of(
        client: &Client,
        envs: &Envs,
        thread: &ThreadId,
        key: &Key,
        ending: &Ending,
    ) -> Finished {
        match ending {
            Ending::Answered(message) => Finished::answered(client, envs, message),
            Ending::GivenUp(reason) => Finished::given_up(envs, thread, key, reason),
        }
    }

    fn answered(client: &Client, envs: &Envs, message: &Message) -> Finished {
        let reply = message.reply.clone().unwrap_or_default();
        let state = JobState::of_reply(&reply);
        let mut told = Map::new();
        told.insert("success".into(), (state == JobState::Done).into());
        // A long answer lies in a file, which may be gone when its days are over.
        let text = client.text(&reply).unwrap_or_else(|err| err.to_string());
        let wants_object = message.job.as_ref().is_some_and(|it| it.json_output);
        if wants_object {
            let object = result_object(message, &reply, state, &text);
            told.insert("json_output".into(), object.to_string().into());
        }
        match state {
            JobState::Done => drop(told.insert("output".into(), text.into())),
            _ => {
                let code = match reply.outcome {
                    Outcome::Notice => "not_run",
                    _ => state.as_str(),
                };
                told.insert("error".into(), text.into());
                told.insert("code".into(), code.into());
            }
        }
        identify(&mut told, envs, &message.thread_id, &message.key, state);
        if let Some(model) = reply.model {
            told.insert("model".into(), json!(model));
        }
        if !reply.files.is_empty() {
            let all = reply.files.iter().enumerate();
            let all = all.map(|(at, it)| {
                let at = format!("/api/jobs/{}/files/{at}", message.key);
                json!({ "name": it.name, "mime": it.mime, "href": at })
            });
            told.insert("files".into(), all.collect());
        }
        told.insert("costUsd".into(), json!(reply.cost_usd));
        told.insert("durationMs".into(), reply.duration_ms.into());
        Finished {
            state,
            cost_usd: reply.cost_usd,
            usage: reply.usage,
            is_final: true,
            files: reply.files,
            told,
        }
    }

    fn given_up(envs: &Envs, thread: &ThreadId, key: &Key, reason: &str) -> Finished {
        let state = JobState::of_given_up(reason);
        let mut told = Map::new();
        told.insert("success".into(), false.into());
        told.insert("error".into(), reason.into());
        told.insert("code".into(), state.as_str().into());
        identify(&mut told, envs, thread, key, state);
        let (cost_usd, usage, files) = Default::default();
        Finished { state, cost_usd, usage, is_final: false, files, told }
    }

    /// As it is told.
    pub(crate) fn to_json(&self) -> Value {
        Value::Object(self.told.clone())
    }

    /// What the answer sends, by the numbers in their addresses.
    pub(crate) fn files(&self) -> &[FileRef] {
        &self.files
    }

    /// What Claude said; empty when it did not come to that.
    pub(crate) fn output(&self) -> &str {
        self.text("output")
    }

    /// What went wrong, in words.
    pub(crate) fn error(&self) -> &str {
        self.text("error")
    }

    fn text(&self, name: &str) -> &str {
        self.told.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The object that Claude's command line prints at the end, made from what was kept of the turn.
fn result_object(message: &Message, reply: &Reply, state: JobState, text: &str) -> Value {
    let is_error = state != JobState::Done;
    json!({
        "type": "result",
        "subtype": if is_error { "error_during_execution" } else { "success" },
        "is_error": is_error,
        "result": text,
        "session_id": message.checkpoint.as_ref().map(|it| &it.session_id),
        "total_cost_usd": reply.cost_usd,
        "duration_ms": reply.duration_ms,
        "usage": {
            "input_tokens": reply.usage.input_tokens,
            "output_tokens": reply.usage.output_tokens,
            "cache_read_input_tokens": reply.usage.cache_read_tokens,
            "cache_creation_input_tokens": reply.usage.cache_write_tokens,
        },
    })
}

/// What every answer about a job says of it.
pub(crate) fn identify(
    told: &mut Map<String, Value>,
    envs: &Envs,
    thread: &ThreadId,
    key: &Key,
    state: JobState,
) {
    told.insert("jobId".into(), json!(key));
    told.insert("sessionId".into(), session_of(thread).into());
    told.insert("state".into(), state.as_str().into());
    let env = thread.env().and_then(|(env, _)| envs.get(&env));
    told.insert("isolation".into(), env.map_or("none", |it| it.isolation()).into());
}

fn session_of(thread: &ThreadId) -> String {
    thread.env().map_or_else(|| thread.to_string(), |(_, session)| session.to_string())
}

/// A job, from one look at the queue.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) thread: ThreadId,
    pub(crate) state: JobState,
    /// The question that is open.
    pub(crate) ask: Option<Ask>,
    pub(crate) finished: Option<Finished>,
    /// What was asked.
    pub(crate) prompt: String,
    created: u64,
    position: Option<usize>,
    attempt: u32,
    trouble: Option<String>,
}

impl Job {
    /// Of what was seen in the queue.
    pub(crate) fn of(client: &Client, envs: &Envs, progresses: &Progresses, seen: Seen) -> Job {
        let Seen { place, position, message, reason, .. } = seen;
        let ending = match place {
            Place::Dead | Place::Quarantine => {
                let reason = reason.or_else(|| message.trouble.clone());
                Some(Ending::GivenUp(reason.unwrap_or_else(|| "no reason was kept".to_owned())))
            }
            Place::Done => Some(Ending::Answered(Box::new(message.clone()))),
            // Somebody else carries it out; what it says is known.
            Place::Outgoing | Place::Sending if message.reply.is_some() => {
                Some(Ending::Answered(Box::new(message.clone())))
            }
            _ => None,
        };
        let (key, thread) = (message.key.clone(), message.thread_id.clone());
        let finished = ending.map(|it| Finished::of(client, envs, &thread, &key, &it));
        let is_worked_on = finished.is_none() && place == Place::Processing;
        let progress = is_worked_on.then(|| progresses.read(&key)).flatten();
        let ask = progress.as_ref().and_then(|it| it.asks.clone());
        let state = match &finished {
            Some(it) => it.state,
            None if !is_worked_on => JobState::Queued,
            None if ask.is_some() => JobState::Asking,
            None => JobState::Running,
        };
        let attempt = message.attempts.run + u32::from(is_worked_on);
        let trouble =
            progress.and_then(|it| it.trouble.filter(|_| it.state != TurnState::Stopping));
        Job {
            key,
            thread,
            state,
            ask,
            created: message.timestamp,
            prompt: message.message,
            position,
            attempt,
            trouble: trouble.or(message.trouble).filter(|_| finished.is_none()),
            finished,
        }
    }

    /// As it is told.
    pub(crate) fn to_json(&self, state: &StateDir) -> Value {
        let times = job_times(state, &self.key).unwrap_or_default();
        let env = self.thread.env().map(|it| it.0);
        json!({
            "id": self.key, "env": env, "sessionId": session_of(&self.thread), "state": self.state.as_str(),
            "position": self.position, "attempt": self.attempt, "createdAt": self.created,
            "startedAt": times.begun, "endedAt": times.ended.filter(|_| self.state.is_over()),
            "ask": self.ask.as_ref().map(ask_json), "trouble": self.trouble,
            "result": self.finished.as_ref().map(Finished::to_json),
        })
    }
}

/// A question: what would run, and how it is put to people elsewhere.
pub(crate) fn ask_json(ask: &Ask) -> Value {
    let question = Question::of(ask);
    json!({
        "requestId": ask.request_id, "tool": ask.tool, "input": ask.input, "title": question.title,
        "body": question.body, "warnings": question.warnings, "always": question.always,
        "refusal": question.refusal, "choices": question.choices.iter().map(|it| json!({
            "question": it.question, "isMany": it.is_many,
            "options": it.options.iter().map(|it| json!({ "label": it.label, "description": it.description }))
                .collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "isPlan": question.plan.is_some(), "shown": question.digest,
    })
}
