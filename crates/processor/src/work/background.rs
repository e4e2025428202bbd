//! What a Claude says with no message in flight: a background task reported back. Passed on where it belongs.

use tinyclaw_domain::{Channel, Key, Message, Outcome, Reply, Source};
use tinyclaw_engine::Background;
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::{conceal, now_ms};

use crate::blocking::on_disk;
use crate::history::lines;
use crate::work::worker::Worker;

/// Passes on whatever comes, until the engine is gone.
pub(crate) async fn run(worker: &Worker) {
    let Some(mut words) = worker.engine.background() else { return };
    while let Some(said) = words.recv().await {
        pass_on(worker, &said);
    }
}

fn pass_on(worker: &Worker, said: &Background) {
    let mut text = conceal(&said.text).into_owned();
    if let Some(task) = &said.task {
        text = format!("*`{}` has ended:*\n\n{text}", conceal(task).replace('`', "'"));
    }
    let key = Key::hashed("bg", &format!("{}-{}", said.session, uuid::Uuid::new_v4()));
    let mut out = Message::new(key, Channel::Telegram, said.thread.clone(), "", now_ms());
    out.source = Source::System;
    let line = lines::said_later(said, worker.routing.named(said.model.as_deref()), &out, &text);
    let model = line.model;
    worker.history.said_later(line);
    if !worker.notices.is_in_telegram(&said.thread) {
        return;
    }
    out.reply = Some(Reply {
        text,
        outcome: Outcome::Answered,
        model,
        usage: said.usage,
        cost_usd: said.cost_usd,
        ..Reply::default()
    });
    if let Err(err) = on_disk(|| worker.queue.publish(Side::Send, out, Durability::Strict)) {
        tracing::error!(
            thread.id = %said.thread, "cannot pass on what Claude said later: {err}"
        );
    }
}
