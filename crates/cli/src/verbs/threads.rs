//! `tinyclaw threads`: every desk, what it does, what it cost today. `threads remove` has the office remove one.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tinyclaw_domain::{Command, Outcome, Thread, ThreadId, ThreadStatus};
use tinyclaw_ledger::{Costs, Spent, StateDir, read_threads};
use tinyclaw_queue::View;
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::Office;

use crate::terminal::{self, Style, Table};
use crate::{client, place};

/// List the threads, or remove one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Threads {
    #[command(subcommand)]
    order: Option<Order>,

    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Remove a thread, with everything that its desk has: its session, what its Claude keeps, and the folder that was made for it.
    ///
    /// What would be lost is said first, also what of it is not pushed. Refused while the thread has work. What was said stays in
    /// the history; a topic of it stays in Telegram, and its next message begins a new thread.
    Remove {
        /// The thread, as `tinyclaw threads` lists it.
        thread: ThreadId,

        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

impl Threads {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let state = place::office()?;
        if let Some(Order::Remove { thread, yes }) = &self.order {
            return remove(&state, thread, *yes);
        }
        let mut out = std::io::stdout().lock();
        if self.json {
            let all: Vec<Value> = rows(&state)?.iter().map(Row::json).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        } else {
            out.write_all(table(&state, Style::of(&out))?.as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Has the office say what is lost with a thread, and then remove it.
fn remove(state: &StateDir, id: &ThreadId, is_sure: bool) -> anyhow::Result<ExitCode> {
    let threads = read_threads(state)?;
    let Some(thread) = threads.get(id) else {
        bail!("there is no thread {id}; tinyclaw threads lists them")
    };
    if matches!(thread.status, ThreadStatus::Working | ThreadStatus::Waiting) {
        bail!("thread {id} is at work: let it end, or stop it in its chat, and ask again")
    }
    let office = client::open(state)?;
    if !office.is_staffed(now_ms()) {
        bail!(
            "no processor works on {}: start the office, which removes its threads itself",
            state.root().display()
        )
    }
    let said = client::ask(&office, id, Command::Remove { sure: false })?;
    let mut out = std::io::stdout().lock();
    let text = terminal::plain(said.text.trim_end()).into_owned();
    if said.outcome != Outcome::Notice {
        bail!("{text}")
    }
    writeln!(out, "{text}")?;
    if !is_sure {
        if !std::io::stdin().is_terminal() {
            bail!("nothing was removed: say --yes, or do this at a terminal")
        }
        if !terminal::confirm(&format!("Remove thread {id} for good?"))? {
            return Ok(ExitCode::FAILURE);
        }
    }
    let said = client::ask(&office, id, Command::Remove { sure: true })?;
    let text = terminal::plain(said.text.trim_end()).into_owned();
    if said.outcome != Outcome::Notice {
        bail!("{text}")
    }
    writeln!(out, "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// A thread and what is known of it elsewhere.
struct Row {
    id: ThreadId,
    thread: Thread,
    waiting: usize,
    today: Spent,
}

impl Row {
    fn json(&self) -> Value {
        let mut it = json!(self.thread);
        it["threadId"] = json!(self.id);
        it["waiting"] = json!(self.waiting);
        it["todayUsd"] = json!(self.today.usd);
        it
    }
}

/// Every thread, the most recently active first.
fn rows(state: &StateDir) -> anyhow::Result<Vec<Row>> {
    let zone = place::settings::<Office>(state)?.timezone.clone();
    let mut costs = Costs::read(state, zone, now_ms()).context("cannot read what today cost")?;
    let waiting = waiting(state)?;
    let row = |(id, thread): (ThreadId, Thread)| Row {
        waiting: waiting.get(&id).copied().unwrap_or(0),
        today: costs.thread(&id, now_ms()),
        id,
        thread,
    };
    let mut rows: Vec<Row> = read_threads(state)?.into_iter().map(row).collect();
    rows.sort_by_key(|it| (std::cmp::Reverse(it.thread.last_active), it.id.clone()));
    Ok(rows)
}

/// The threads as a table, or how to make the first one.
pub(crate) fn table(state: &StateDir, style: Style) -> anyhow::Result<String> {
    let rows = rows(state)?;
    if rows.is_empty() {
        return Ok(
            "No threads yet. The first message makes one: tinyclaw send \"hello\"\n".to_owned()
        );
    }
    let is_seen = std::io::stdout().is_terminal();
    let mut table = Table::new(&[
        "thread", "name", "model", "status", "waiting", "active", "today", "works in",
    ]);
    for it in rows {
        let thread = &it.thread;
        table.row(vec![
            it.id.to_string(),
            terminal::clip(&name(thread), 28),
            model(thread),
            status(thread).to_owned(),
            if it.waiting == 0 { "–".to_owned() } else { it.waiting.to_string() },
            format!("{} ago", terminal::ago(thread.last_active)),
            if it.today.turns == 0 { "–".to_owned() } else { format!("${:.2}", it.today.usd) },
            place_of(&thread.cwd, is_seen),
        ]);
    }
    Ok(table.draw(style))
}

/// How many messages wait in each thread.
fn waiting(state: &StateDir) -> anyhow::Result<HashMap<ThreadId, usize>> {
    let mut waiting = HashMap::new();
    let seen = View::new(state.root()).waiting().context("cannot list the queue")?;
    for (lane, waits) in seen.lanes {
        *waiting.entry(lane.thread().clone()).or_insert(0) += waits;
    }
    Ok(waiting)
}

/// Where a thread works: the whole path for a script, what fits beside the rest for a person.
fn place_of(cwd: &str, is_seen: bool) -> String {
    let whole = terminal::one_line(cwd);
    if !is_seen {
        return whole;
    }
    let home = std::env::var("HOME").unwrap_or_default();
    let short = match whole.strip_prefix(&home) {
        Some(rest) if rest.starts_with('/') && home.len() > 1 => format!("~{rest}"),
        _ => whole,
    };
    terminal::clip_start(&short, 28)
}

/// A thread's name on one line; the control room is marked.
fn name(thread: &Thread) -> String {
    let name = terminal::one_line(&thread.name);
    if thread.is_master { format!("{name} (master)") } else { name }
}

fn model(thread: &Thread) -> String {
    match (thread.pin, thread.model) {
        (Some(pin), _) => format!("{pin}, pinned"),
        (None, Some(last)) => last.to_string(),
        (None, None) => "–".to_owned(),
    }
}

/// What a desk is doing, in the words that people see everywhere.
fn status(thread: &Thread) -> &'static str {
    match thread.status {
        ThreadStatus::Idle => "idle",
        ThreadStatus::Working => "working",
        ThreadStatus::Waiting => "asking",
        ThreadStatus::Closed => "closed",
    }
}
