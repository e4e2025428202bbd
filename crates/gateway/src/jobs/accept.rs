//! Taking a job in: it is on disk, in the queue, when its caller is told that it was accepted.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::http::StatusCode;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tinyclaw_domain::{
    ApiJob, Channel, EnvName, EnvSession, Envs, Key, Message, Model, Source, ThreadId,
};
use tinyclaw_queue::{Durability, Published, Seen, Side};
use tinyclaw_service::now_ms;

use super::table::{self, CallbackRow, JobRow};
use super::{FAMILY, Jobs, blocking, fresh_session, fresh_ulid, is_job};
use crate::access::Caller;
use crate::problem::Problem;
use crate::webhooks::new_secret;

/// What a caller wants of Claude.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Wanted {
    pub(crate) env: EnvName,
    /// As the caller has it; none begins one.
    pub(crate) session: Option<String>,
    pub(crate) prompt: String,
    /// None is the router's choice.
    pub(crate) model: Option<Model>,
    pub(crate) json_output: bool,
    /// It is stopped after so many seconds.
    pub(crate) deadline_s: Option<u64>,
    /// Where it is posted what came of it. What is not asked for changes no sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) callback_url: Option<String>,
    /// Files that were put into the session, by the names under which they are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<String>,
}

/// A job that is in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) key: Key,
    pub(crate) thread: ThreadId,
    /// Whether it was there already.
    pub(crate) is_replay: bool,
    /// What signs the post to its `callbackUrl`.
    pub(crate) callback_secret: Option<String>,
}

impl Jobs {
    /// Takes a job in. The same caller with the same `again` gets the job that it began with it, also after a restart, for as
    /// long as the queue remembers; if it asks for something else then, it is refused.
    pub(crate) async fn accept(
        &self,
        caller: &Caller,
        envs: &Envs,
        wanted: Wanted,
        again: Option<&str>,
    ) -> Result<Accepted, Problem> {
        let sum = wanted.sum();
        let Some(again) = again else {
            let key = Key::hashed(FAMILY, &fresh_ulid());
            return self.take_in(caller, envs, wanted, key, sum).await;
        };
        let key = Key::hashed(FAMILY, &format!("{}-{again}", caller.account()));
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let _alone = self.keys[hasher.finish() as usize % self.keys.len()].lock().await;
        match self.seen(&key).await? {
            Some(seen) => self.replay(caller, seen, &wanted, &sum).await,
            None => self.take_in(caller, envs, wanted, key, sum).await,
        }
    }

    async fn replay(
        &self,
        caller: &Caller,
        seen: Seen,
        wanted: &Wanted,
        sum: &str,
    ) -> Result<Accepted, Problem> {
        let is_same = is_job(&seen) && seen.message.job.as_ref().is_some_and(|it| it.sum == sum);
        if !is_same {
            let detail = "something else was asked under this Idempotency-Key; use another one";
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_reuse",
                detail,
            ));
        }
        let (key, thread) = (seen.message.key, seen.message.thread_id);
        // It may have been killed between the queue and the list.
        self.list_it(caller, &key, &thread, seen.message.timestamp, wanted.deadline_s).await;
        let callback_secret = match wanted.callback_url {
            Some(_) => table::callback_secret(&self.store, &key).await?,
            None => None,
        };
        Ok(Accepted { key, thread, is_replay: true, callback_secret })
    }

    async fn take_in(
        &self,
        caller: &Caller,
        envs: &Envs,
        wanted: Wanted,
        key: Key,
        sum: String,
    ) -> Result<Accepted, Problem> {
        self.afford(caller, envs, Some(&wanted.env)).await?;
        let (session, name) = match &wanted.session {
            Some(text) => self.session(&wanted.env, text).await?,
            None => (fresh_session(), None),
        };
        let thread = ThreadId::of_env(&wanted.env, &session);
        let files = self.files(&thread, wanted.files).await?;
        let text = match wanted.model {
            // The router takes the hint off again.
            Some(model) => format!("/{model} {}", wanted.prompt),
            None => wanted.prompt,
        };
        let mut message = Message::new(key.clone(), Channel::Api, thread.clone(), text, now_ms());
        message.source = Source::Api;
        message.sender = caller.name.clone();
        message.sender_id = Some(format!("api-{}", caller.name));
        message.topic_name = name;
        message.job = Some(ApiJob { sum, json_output: wanted.json_output });
        message.files = files;
        let created = message.timestamp;
        // Before the queue has it: a kill between the two leaves somebody to tell, and nothing to be told of.
        let callback_secret = match wanted.callback_url {
            Some(url) => {
                let (key, thread, secret) = (key.clone(), thread.clone(), new_secret());
                let row = CallbackRow { key, thread, url, secret, created, attempts: 0, due: 0 };
                Some(table::call_back(&self.store, row).await?)
            }
            None => None,
        };
        self.publish(message).await?;
        self.vitals.count("jobsAcceptedTotal", 1);
        self.list_it(caller, &key, &thread, created, wanted.deadline_s).await;
        Ok(Accepted { key, thread, is_replay: false, callback_secret })
    }

    /// Notes a job that the queue has. It is accepted whether that can be noted or not.
    async fn list_it(
        &self,
        caller: &Caller,
        key: &Key,
        thread: &ThreadId,
        created: u64,
        deadline_s: Option<u64>,
    ) {
        let deadline = deadline_s.map(|it| created + it * 1_000);
        let (env, session) = thread.env().unzip();
        let row = JobRow {
            key: key.clone(),
            account: caller.account(),
            env,
            created,
            deadline,
            state: None,
        };
        let session = session.filter(|it| *it != EnvSession::Standing);
        if let Err(err) = table::keep(&self.store, row, session).await {
            tracing::warn!(key = %key, "job {key} runs and is in no list: {err}");
        }
        if let Some(deadline) = deadline {
            self.deadlines.add(deadline, key.clone());
        }
    }

    /// A program's message to a thread, listed as its job and paid for by its budget. Whether it was there already.
    pub(crate) async fn tell(
        &self,
        caller: &Caller,
        envs: &Envs,
        message: Message,
    ) -> Result<bool, Problem> {
        let (key, thread, created) =
            (message.key.clone(), message.thread_id.clone(), message.timestamp);
        if self.seen(&key).await?.is_none() {
            self.afford(caller, envs, thread.env().map(|it| it.0).as_ref()).await?;
        }
        let published = self.publish(message).await?;
        self.list_it(caller, &key, &thread, created, None).await;
        Ok(matches!(published, Published::Duplicate(_)))
    }

    /// Puts a message into the queue. It is on disk when this returns.
    pub(crate) async fn publish(&self, message: Message) -> Result<Published, Problem> {
        let queue = self.client().await?.queue().clone();
        let published =
            blocking(move || queue.publish(Side::Run, message, Durability::Group)).await?;
        Ok(published?)
    }
}

impl Wanted {
    /// What is the same when the same is asked.
    fn sum(&self) -> String {
        // This type has no map with keys that are no text.
        let text = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(text).iter().map(|it| format!("{it:02x}")).collect()
    }
}
