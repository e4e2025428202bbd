//! Ten topics in which Claude writes at once, with the budget and the limits as they are for everybody.

use std::time::Duration;

use anyhow::Context;
use tinyclaw_domain::{Model, Progress, Reply, TurnState};
use tinyclaw_ledger::Progresses;
use tinyclaw_queue::{Options as QueueOptions, Queue, Side, Which};
use tinyclaw_service::now_ms;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, FakeTelegram};

use crate::client::{Client, Ground};

const TOPICS: usize = 10;

pub(crate) struct Streamed {
    pub(crate) busiest_minute: usize,
    pub(crate) floods: usize,
    pub(crate) previews: usize,
}

pub(crate) async fn run(time: Duration) -> anyhow::Result<Streamed> {
    let fake = FakeTelegram::start().await?;
    let ground = Ground::new(&fake)?;
    let queue = Queue::open(ground.state.root(), QueueOptions::default())?;
    let progresses = Progresses::new(&ground.state);
    let _client = Client::start(&ground, false)?;
    for n in 0..TOPICS {
        let name = format!("Topic {n}");
        let topic = fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name }).as_i64();
        fake.say(FORUM, topic, ADA, "tell me a long story");
    }
    let mut turns = Vec::new();
    while turns.len() < TOPICS {
        let lease = queue.claim(Side::Run, &Which::Ordinary);
        let mut lease = tokio::time::timeout(Duration::from_secs(30), lease)
            .await
            .context("too few messages")??;
        if lease.message().command.is_some() {
            lease.answer(Reply { silent: true, ..Reply::default() }, vec![])?;
            lease.finish()?;
        } else {
            turns.push((lease, now_ms()));
        }
    }
    let end = tokio::time::Instant::now() + time;
    let mut story = String::new();
    while tokio::time::Instant::now() < end {
        story.push_str("And then something **else** happened. ");
        for (lease, started_at) in &turns {
            progresses.write(&Progress {
                key: lease.message().key.clone(),
                thread_id: lease.message().thread_id.clone(),
                attempt: 1,
                state: TurnState::Working,
                model: Some(Model::SONNET),
                tier: None,
                started_at: *started_at,
                updated_at: now_ms(),
                text: story.clone(),
                tools: vec![],
                todos: Vec::new(),
                background: Vec::new(),
                asks: None,
                devbox: None,
                mcp_trouble: Vec::new(),
                trouble: None,
            })?;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (mut lease, _) in turns {
        let key = lease.message().key.clone();
        let model = Some(Model::SONNET);
        let duration_ms = time.as_millis() as u64;
        lease.answer(
            Reply { text: "The end.".to_owned(), model, duration_ms, ..Reply::default() },
            vec![],
        )?;
        lease.finish()?;
        progresses.remove(&key)?;
    }
    let told = fake.wait_for(Duration::from_secs(120), |it| {
        (it.texts(FORUM).iter().filter(|it| it.contains("The end.")).count() == TOPICS)
            .then_some(())
    });
    told.await.context("not every topic has its answer")?;
    let calls = fake.calls();
    Ok(Streamed {
        busiest_minute: fake.busiest_minute(FORUM),
        floods: calls
            .iter()
            .filter(|it| it.error.as_ref().is_some_and(|it| it.contains("Too Many")))
            .count(),
        previews: calls.iter().filter(|it| it.method == "editMessageText").count(),
    })
}
