//! A busy forum, a processor that answers everything, and a client that is killed again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use tinyclaw_domain::{Model, Progress, Reply, TurnState};
use tinyclaw_ledger::Progresses;
use tinyclaw_queue::{Options as QueueOptions, Queue, Side, Which};
use tinyclaw_service::now_ms;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, FakeTelegram};

use crate::client::{Client, Ground};

const TOPICS: usize = 8;
/// Turns at once.
const PROCESSORS: usize = 4;
const MARK: &str = "(may stand here twice)";

#[derive(Debug, Default)]
pub(crate) struct Killed {
    pub(crate) messages: usize,
    pub(crate) updates_lost: usize,
    pub(crate) turns_repeated: usize,
    pub(crate) parts_missing: usize,
    pub(crate) duplicates_unmarked: usize,
    pub(crate) duplicates_marked: usize,
    pub(crate) statuses_left: usize,
}

/// How often each text was answered.
type Turns = Arc<Mutex<BTreeMap<String, usize>>>;

pub(crate) async fn run(kills: usize) -> anyhow::Result<Killed> {
    let fake = Arc::new(crate::unlimited().await?);
    let ground = Ground::new(&fake)?;
    let queue = Queue::open(ground.state.root(), QueueOptions::default())?;
    let turns = Turns::default();
    let processors: Vec<_> = (0..PROCESSORS)
        .map(|_| {
            tokio::spawn(answer_all(
                queue.clone(),
                Progresses::new(&ground.state),
                Arc::clone(&turns),
            ))
        })
        .collect();
    let topics: Vec<i64> = (0..TOPICS)
        .map(|n| {
            let name = format!("Topic {n}");
            fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name })
                .as_i64()
                .unwrap_or_default()
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let feeder = tokio::spawn(feed(Arc::clone(&fake), topics, Arc::clone(&over)));

    for n in 0..kills {
        let polled = fake.calls().iter().filter(|it| it.method == "getUpdates").count();
        let client = Client::start(&ground, true)?;
        // From just started to well at work: 0 to 120 ms after its first poll, spread evenly.
        let first_poll = fake.wait_for(Duration::from_secs(20), |it| {
            (it.calls().iter().filter(|it| it.method == "getUpdates").count() > polled)
                .then_some(())
        });
        first_poll.await.context("the client does not poll")?;
        tokio::time::sleep(Duration::from_millis((n as u64 * 37) % 120)).await;
        drop(client);
        fake.forget_calls();
    }
    over.store(true, Ordering::Relaxed);
    let said = feeder.await?;

    let _client = Client::start(&ground, true)?;
    drain(&fake, &queue).await?;
    for it in processors {
        it.abort();
    }
    Ok(judge(&fake, &turns, &said))
}

async fn feed(fake: Arc<FakeTelegram>, topics: Vec<i64>, over: Arc<AtomicBool>) -> Vec<String> {
    let mut said = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let text = format!("question-{}.", said.len());
        fake.say(FORUM, Some(topics[said.len() % topics.len()]), ADA, &text);
        said.push(text);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    said
}

/// The words that answer a question: every fifth needs three messages.
fn words(text: &str) -> Vec<String> {
    let number: usize =
        text.trim_start_matches("question-").trim_end_matches('.').parse().unwrap_or(0);
    let count = if number.is_multiple_of(5) { 3 } else { 1 };
    (1..=count).map(|part| format!("answer-{number}-{part}.")).collect()
}

async fn answer_all(queue: Queue, progresses: Progresses, turns: Turns) {
    loop {
        let Ok(mut lease) = queue.claim(Side::Run, &Which::Ordinary).await else { return };
        let message = lease.message().clone();
        let mut reply = Reply { model: Some(Model::HAIKU), duration_ms: 1000, ..Reply::default() };
        if message.command.is_some() {
            reply.silent = true;
        } else {
            *turns
                .lock()
                .unwrap_or_else(|it| it.into_inner())
                .entry(message.message.clone())
                .or_default() += 1;
            let slow = message.message.ends_with("3.") || message.message.ends_with("7.");
            if slow {
                let progress = Progress {
                    key: message.key.clone(),
                    thread_id: message.thread_id.clone(),
                    attempt: 1,
                    state: TurnState::Working,
                    model: Some(Model::HAIKU),
                    tier: None,
                    started_at: now_ms(),
                    updated_at: now_ms(),
                    text: "so far".to_owned(),
                    tools: vec![],
                    todos: Vec::new(),
                    background: Vec::new(),
                    asks: None,
                    devbox: None,
                    mcp_trouble: Vec::new(),
                    trouble: None,
                };
                let _ = progresses.write(&progress);
                tokio::time::sleep(Duration::from_millis(150)).await;
                // Half of them are answered by a new message instead of an edit.
                if message.message.ends_with("7.") {
                    reply.duration_ms = 60_000;
                }
            }
            let pages: Vec<String> = words(&message.message);
            reply.text = if pages.len() == 1 {
                pages.concat()
            } else {
                pages
                    .iter()
                    .map(|it| format!("{it} {}", "word ".repeat(600)))
                    .collect::<Vec<_>>()
                    .join("\n\n")
            };
        }
        let done = lease.answer(reply, vec![]).and_then(|()| lease.finish());
        let _ = progresses.remove(&message.key);
        if let Err(err) = done {
            panic!("the processor failed: {err}");
        }
    }
}

async fn drain(fake: &FakeTelegram, queue: &Queue) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(180);
    let mut quiet = 0;
    while quiet < 10 {
        if tokio::time::Instant::now() > deadline {
            bail!(
                "not drained: {:?}, {} updates unconfirmed",
                queue.view().depth()?,
                fake.unconfirmed()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let depth = queue.view().depth()?;
        let left =
            depth.incoming + depth.processing + depth.outgoing + depth.sending + fake.unconfirmed();
        quiet = if left == 0 { quiet + 1 } else { 0 };
    }
    Ok(())
}

fn judge(fake: &FakeTelegram, turns: &Turns, said: &[String]) -> Killed {
    let turns = turns.lock().unwrap_or_else(|it| it.into_inner());
    let texts = fake.texts(FORUM);
    let mut killed = Killed { messages: said.len(), ..Killed::default() };
    let mut known = BTreeSet::new();
    for question in said {
        match turns.get(question) {
            None => killed.updates_lost += 1,
            Some(1) => {}
            Some(_) => killed.turns_repeated += 1,
        }
        for word in words(question) {
            let there: Vec<usize> =
                (0..texts.len()).filter(|it| texts[*it].contains(&word)).collect();
            let unmarked = there.iter().filter(|it| !texts[**it].contains(MARK)).count();
            killed.parts_missing += usize::from(there.is_empty());
            killed.duplicates_unmarked += unmarked.saturating_sub(1);
            killed.duplicates_marked += there.len() - unmarked;
            known.extend(there);
        }
    }
    killed.statuses_left = texts.len() - known.len();
    killed
}
