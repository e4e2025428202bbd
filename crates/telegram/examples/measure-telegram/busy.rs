//! Twelve topics at once, with the budget and the limits as they are for everybody: how late an answer comes after its turn
//! is over. Turns take 6 to 60 s, and 5 to 40 s after an answer somebody asks again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tinyclaw_domain::{Model, Progress, Reply, TurnState};
use tinyclaw_ledger::Progresses;
use tinyclaw_queue::{Lease, Options as QueueOptions, Queue, Side, Which};
use tinyclaw_service::now_ms;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, FakeTelegram};

use crate::client::{Client, Ground};

const TOPICS: u64 = 12;

pub(crate) struct Busy {
    pub(crate) answers: usize,
    pub(crate) final_late_p50_s: f64,
    pub(crate) final_late_p95_s: f64,
    pub(crate) statuses: usize,
    pub(crate) floods: usize,
}

/// When the turn of each question was over.
type Ended = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Seconds from `least` to `most`, the same in every run.
fn span(seed: u64, least: u64, most: u64) -> Duration {
    let mixed = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33;
    Duration::from_millis(least * 1000 + mixed % ((most - least) * 1000))
}

pub(crate) async fn run(time: Duration) -> anyhow::Result<Busy> {
    let fake = Arc::new(FakeTelegram::start().await?);
    let ground = Ground::new(&fake)?;
    let queue = Queue::open(ground.state.root(), QueueOptions::default())?;
    let _client = Client::start(&ground, false)?;
    let ended = Ended::default();
    let working = tokio::spawn(work(queue, Progresses::new(&ground.state), Arc::clone(&ended)));
    let end = Instant::now() + time;
    let people: Vec<_> = (0..TOPICS)
        .map(|n| {
            let name = format!("Topic {n}");
            let made = fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name });
            tokio::spawn(ask(Arc::clone(&fake), n, made.as_i64(), end))
        })
        .collect();
    for it in people {
        it.await??;
    }
    working.abort();
    judge(&fake, &ended)
}

/// Asks one thing after the other in a topic.
async fn ask(
    fake: Arc<FakeTelegram>,
    n: u64,
    topic: Option<i64>,
    end: Instant,
) -> anyhow::Result<()> {
    let mut asked = 0;
    tokio::time::sleep(span(n, 0, 20)).await;
    while Instant::now() < end {
        let seed = n * 1000 + asked;
        asked += 1;
        let question = format!("question-{seed}.");
        fake.say(FORUM, topic, ADA, &question);
        let answer = format!("The answer to {question}");
        let told = fake.wait_for(Duration::from_secs(240), |it| {
            it.texts(FORUM).iter().any(|it| it.contains(&answer)).then_some(())
        });
        told.await.with_context(|| format!("{question} has no answer"))?;
        tokio::time::sleep(span(seed + 500, 5, 40)).await;
    }
    Ok(())
}

async fn work(queue: Queue, progresses: Progresses, ended: Ended) {
    while let Ok(mut lease) = queue.claim(Side::Run, &Which::Ordinary).await {
        if lease.message().command.is_some() {
            let reply = Reply { silent: true, ..Reply::default() };
            let _ = lease.answer(reply, vec![]).and_then(|()| lease.finish());
            continue;
        }
        tokio::spawn(turn(lease, progresses.clone(), Arc::clone(&ended)));
    }
}

async fn turn(mut lease: Lease, progresses: Progresses, ended: Ended) {
    let message = lease.message().clone();
    let digits: String = message.message.chars().filter(char::is_ascii_digit).collect();
    let time = span(digits.parse().unwrap_or_default(), 6, 60);
    let (begun, started_at) = (Instant::now(), now_ms());
    let mut story = String::new();
    while begun.elapsed() < time {
        story.push_str("And then something else happened. ");
        let progress = Progress {
            key: message.key.clone(),
            thread_id: message.thread_id.clone(),
            attempt: 1,
            state: TurnState::Working,
            model: Some(Model::SONNET),
            tier: None,
            started_at,
            updated_at: now_ms(),
            text: story.clone(),
            tools: vec![],
            todos: Vec::new(),
            background: Vec::new(),
            asks: None,
            devbox: None,
            mcp_trouble: Vec::new(),
            trouble: None,
        };
        let _ = progresses.write(&progress);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let reply = Reply {
        text: format!("The answer to {}", message.message),
        model: Some(Model::SONNET),
        duration_ms: time.as_millis() as u64,
        ..Reply::default()
    };
    ended.lock().unwrap_or_else(|it| it.into_inner()).insert(message.message, Instant::now());
    if let Err(err) = lease.answer(reply, vec![]).and_then(|()| lease.finish()) {
        panic!("the processor failed: {err}");
    }
    let _ = progresses.remove(&message.key);
}

fn judge(fake: &FakeTelegram, ended: &Ended) -> anyhow::Result<Busy> {
    let calls = fake.calls();
    let taken = |it: &&tinyclaw_testkit::telegram::Call| {
        it.error.is_none() && ["sendMessage", "editMessageText"].contains(&it.method.as_str())
    };
    let ended = ended.lock().unwrap_or_else(|it| it.into_inner());
    let mut late = Vec::new();
    for (question, over) in ended.iter() {
        let answer = format!("The answer to {question}");
        let told = calls.iter().filter(taken).find(|it| {
            it.params.get("text").and_then(|it| it.as_str()).is_some_and(|it| it.contains(&answer))
        });
        let told = told.with_context(|| format!("{question} has no answer"))?;
        late.push(told.at.saturating_duration_since(*over).as_secs_f64());
    }
    let statuses = calls.iter().filter(taken).filter(|it| {
        let keyboard = it.params.get("reply_markup").map(ToString::to_string);
        it.method == "sendMessage" && keyboard.is_some_and(|it| it.contains("Stop"))
    });
    ensure!(!late.is_empty(), "nothing was answered");
    late.sort_by(f64::total_cmp);
    let at = |share: usize| late[(late.len() * share / 100).min(late.len() - 1)];
    Ok(Busy {
        answers: late.len(),
        final_late_p50_s: at(50),
        final_late_p95_s: at(95),
        statuses: statuses.count(),
        floods: calls
            .iter()
            .filter(|it| it.error.as_ref().is_some_and(|it| it.contains("Too Many")))
            .count(),
    })
}
