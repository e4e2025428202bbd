//! `tinyclaw threads`: every desk, what it does, what it cost today.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use tinyclaw_domain::{Thread, ThreadId, ThreadStatus};
use tinyclaw_ledger::{Costs, StateDir, read_threads};
use tinyclaw_queue::{Place, View};
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::Office;

use crate::face::{self, Style, Table};
use crate::place;

/// List the threads.
#[derive(Debug, Args)]
pub(crate) struct Threads {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

impl Threads {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let state = place::office()?;
        let threads = read_threads(&state)?;
        let zone = place::settings::<Office>(&state)?.timezone.clone();
        let mut costs =
            Costs::read(&state, zone, now_ms()).context("cannot read what today cost")?;
        let waiting = waiting(&state)?;
        let mut rows: Vec<(&ThreadId, &Thread)> = threads.iter().collect();
        rows.sort_by_key(|(id, it)| (std::cmp::Reverse(it.last_active), (*id).clone()));
        let mut out = std::io::stdout().lock();
        if self.json {
            let all: Vec<Value> = rows
                .into_iter()
                .map(|(id, thread)| {
                    let mut it = json!(thread);
                    it["threadId"] = json!(id);
                    it["waiting"] = json!(waiting.get(id).copied().unwrap_or(0));
                    it["todayUsd"] = json!(costs.thread(id, now_ms()).usd);
                    it
                })
                .collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if rows.is_empty() {
            writeln!(out, "No threads yet. The first message makes one: tinyclaw send \"hello\"")?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new(&[
            "thread", "name", "model", "status", "waiting", "active", "today", "works in",
        ]);
        for (id, thread) in rows {
            let spent = costs.thread(id, now_ms());
            table.row(vec![
                id.to_string(),
                face::clip(&name(thread), 28),
                model(thread),
                status(thread).to_owned(),
                waiting.get(id).map_or_else(|| "–".to_owned(), ToString::to_string),
                format!("{} ago", face::ago(thread.last_active)),
                if spent.turns == 0 { "–".to_owned() } else { format!("${:.2}", spent.usd) },
                face::one_line(&thread.cwd),
            ]);
        }
        let style = Style::of(&out);
        out.write_all(table.draw(style).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How many messages wait in each thread.
fn waiting(state: &StateDir) -> anyhow::Result<HashMap<ThreadId, usize>> {
    let mut waiting = HashMap::new();
    let entries = View::new(state.root()).list(Place::Incoming, usize::MAX);
    for it in entries.context("cannot list the queue")? {
        *waiting.entry(it.lane.thread().clone()).or_insert(0) += 1;
    }
    Ok(waiting)
}

/// A thread's name on one line; the control room is marked.
pub(crate) fn name(thread: &Thread) -> String {
    let name = face::one_line(&thread.name);
    if thread.is_master { format!("{name} (master)") } else { name }
}

fn model(thread: &Thread) -> String {
    match (thread.pin, thread.model) {
        (Some(pin), _) => format!("{pin}, pinned"),
        (None, Some(last)) => last.to_string(),
        (None, None) => "–".to_owned(),
    }
}

/// What a desk is doing, in the words of every face.
pub(crate) fn status(thread: &Thread) -> &'static str {
    match thread.status {
        ThreadStatus::Idle => "idle",
        ThreadStatus::Working => "working",
        ThreadStatus::Waiting => "asking",
        ThreadStatus::Closed => "closed",
    }
}
