//! Whoever works on the queue in processor's place: takes messages, tells the story of a turn, answers. The queue, the logs
//! and the progress files are the real ones.

use std::time::Duration;

use serde_json::{Value, json};
use tinyclaw_domain::{
    Ask, Command, FileRef, JobEvent, Key, Model, Outcome, Progress, Reply, StateDir, TurnState,
    Usage,
};
use tinyclaw_ledger::{JobLog, Progresses};
use tinyclaw_queue::{Lease, Options, Place, Queue, Side, Which};
use tokio::task::JoinHandle;

use crate::rig::Rig;

#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) queue: Queue,
    state: StateDir,
}

impl Desk {
    pub(crate) fn at(rig: &Rig) -> Desk {
        Desk::on(rig.dir.path())
    }

    pub(crate) fn on(dir: &std::path::Path) -> Desk {
        let options = Options { reserve_bytes: 0, free_share_min: 0.0, ..Options::default() };
        Desk { queue: Queue::open(dir, options).unwrap(), state: StateDir::new(dir) }
    }

    /// The next message of whatever thread.
    pub(crate) async fn take(&self) -> Lease {
        self.queue.claim(Side::Run, &Which::Ordinary).await.unwrap()
    }

    /// Begins the story of a turn.
    pub(crate) fn begin(&self, lease: &Lease) -> JobLog {
        let mut log = JobLog::begin(&self.state, &lease.message().key, 1_000);
        let (model, attempt) = (Some(Model::SONNET), lease.attempt());
        log.write(1_001, JobEvent::Begun { attempt, model, tier: None, warm: true }).unwrap();
        log
    }

    /// Answers, and tells that the turn is over.
    pub(crate) fn answer(&self, lease: Lease, log: JobLog, outcome: Outcome) -> Key {
        self.answer_with(lease, log, outcome, Vec::new())
    }

    /// The same with files.
    pub(crate) fn answer_with(
        &self,
        mut lease: Lease,
        mut log: JobLog,
        outcome: Outcome,
        files: Vec<FileRef>,
    ) -> Key {
        let text = format!("You said: {}", lease.message().message);
        log.write(1_009, JobEvent::TextDone { text: text.clone() }).unwrap();
        log.write(1_010, JobEvent::End { outcome }).unwrap();
        let usage = Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() };
        let (model, cost_usd, duration_ms) = (Some(Model::SONNET), 0.5, 12);
        let reply =
            Reply { text, outcome, model, cost_usd, duration_ms, usage, files, ..Reply::default() };
        lease.answer(reply, vec![]).unwrap();
        let key = lease.message().key.clone();
        Progresses::new(&self.state).remove(&key).unwrap();
        lease.finish().unwrap();
        key
    }

    /// Shows that the turn waits for an answer to a question.
    pub(crate) fn ask(&self, lease: &Lease, request_id: &str, tool: &str, input: Value) -> Ask {
        let ask = Ask {
            request_id: request_id.to_owned(),
            tool: tool.to_owned(),
            input,
            at: 1_005,
            always: Vec::new(),
            unshown: None,
        };
        let message = lease.message();
        let progress = json!({
            "key": message.key, "threadId": message.thread_id, "attempt": 1, "state": TurnState::Asking,
            "startedAt": 1_001, "updatedAt": 1_005, "asks": ask,
        });
        let progress: Progress = serde_json::from_value(progress).unwrap();
        Progresses::new(&self.state).write(&progress).unwrap();
        ask
    }

    /// Carries out the orders that come, as `heard` says of each: a text is what the office has to say against it.
    pub(crate) fn hear(
        &self,
        heard: impl Fn(Command) -> Option<String> + Send + 'static,
    ) -> JoinHandle<()> {
        let queue = self.queue.clone();
        tokio::spawn(async move {
            loop {
                let mut lease = queue.claim(Side::Run, &Which::Control).await.unwrap();
                let said = heard(lease.message().command.clone().unwrap());
                let (silent, outcome) = (said.is_none(), Outcome::Notice);
                let text = said.unwrap_or_default();
                lease.answer(Reply { text, silent, outcome, ..Reply::default() }, vec![]).unwrap();
                lease.finish().unwrap();
            }
        })
    }

    /// Answers whatever comes, until it is aborted.
    pub(crate) fn serve(&self) -> JoinHandle<()> {
        let desk = self.clone();
        tokio::spawn(async move {
            loop {
                let lease = desk.take().await;
                let log = desk.begin(&lease);
                desk.answer(lease, log, Outcome::Answered);
            }
        })
    }

    /// What was asked in all messages that have ended.
    pub(crate) fn prompts(&self) -> Vec<String> {
        let view = self.queue.view();
        let done = view.list(Place::Done, usize::MAX).unwrap();
        done.iter().map(|it| view.find(&it.key).unwrap().unwrap().message.message).collect()
    }

    /// How many messages have ended.
    pub(crate) fn done(&self) -> usize {
        self.queue.view().list(Place::Done, usize::MAX).unwrap().len()
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..4_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not come");
}
