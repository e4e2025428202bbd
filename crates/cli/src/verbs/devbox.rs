//! `tinyclaw devbox`: the words of `/devbox`, at the shell. What changes anything is a message to the office, as from a chat.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tinyclaw_client::Client;
use tinyclaw_domain::{
    ButtonPress, Command, DevboxName, DevboxOrder, DevboxStatus, DevboxView, DevboxViews,
    Fingerprint, Outcome, Reply, StateDir, ThreadId, ThreadStatus,
};
use tinyclaw_service::{now_ms, words};

use crate::{client, place, terminal};

/// Remote machines on which Claude works: `add NAME HOST[:PORT] [USER] [DIR]`, list, status, doctor, key, approve, rename,
/// move, trust, git, forget key, take over, remove.
#[derive(Debug, Args)]
pub(crate) struct Devbox {
    /// What is to be done, in the words of `/devbox`. Without any: list.
    words: Vec<String>,

    /// The fingerprint that a new devbox's key must have, as its console shows it; without it a person is asked.
    #[arg(long, value_name = "SHA256:…")]
    fingerprint: Option<String>,

    /// Do not ask whether to remove, or to move.
    #[arg(long)]
    yes: bool,

    /// The thread that moves.
    #[arg(long, value_name = "ID")]
    thread: Option<ThreadId>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Devbox {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let order = match self.words.join(" ").parse::<DevboxOrder>() {
            Ok(order) => order,
            Err(err) => {
                writeln!(std::io::stderr(), "tinyclaw: {err}")?;
                return Ok(ExitCode::from(2));
            }
        };
        let wanted = match &self.fingerprint {
            None => None,
            Some(text) => match text.parse::<Fingerprint>() {
                Ok(it) => Some(it),
                Err(err) => {
                    writeln!(std::io::stderr(), "tinyclaw: {err}")?;
                    return Ok(ExitCode::from(2));
                }
            },
        };
        let state = place::office()?;
        if matches!(order, DevboxOrder::List { all: false }) {
            return self.list(&state);
        }
        if matches!(order, DevboxOrder::Add { .. })
            && wanted.is_none()
            && !std::io::stdin().is_terminal()
        {
            bail!(
                "a new devbox's key has to be approved: give its --fingerprint SHA256:…, or do this at a terminal"
            );
        }
        let thread = match (thread_of(&order), &self.thread) {
            (Some(thread), _) => thread?,
            (None, Some(thread)) => thread.clone(),
            (None, None) if matches!(order, DevboxOrder::Move { .. }) => {
                writeln!(std::io::stderr(), "tinyclaw: which thread moves? give its --thread")?;
                return Ok(ExitCode::from(2));
            }
            (None, None) => "cli".parse()?,
        };
        let office = client::open(&state)?;
        if !office.is_staffed(now_ms()) {
            bail!("no processor works on {}; start TinyClaw first", state.root().display());
        }
        let mut reply = ask(&office, &thread, order)?;
        // One question at most follows an order: whose key it is, or whether to remove.
        if let Some((question, yes, no)) = open_question(&reply) {
            let answer = match (&yes, &wanted) {
                (DevboxOrder::Approve { fingerprint, .. }, Some(wanted)) => {
                    if fingerprint != wanted {
                        let name = name_of(&no);
                        ask(&office, &thread, no)?;
                        bail!(
                            "{name} shows {fingerprint}, and {wanted} was expected; nothing was sent to it"
                        );
                    }
                    yes
                }
                (DevboxOrder::Yes { .. }, _) if self.yes => yes,
                _ if std::io::stdin().is_terminal() => match terminal::confirm(&question)? {
                    true => yes,
                    false => no,
                },
                _ => bail!("{question}\ngive --yes, or do this at a terminal"),
            };
            reply = ask(&office, &thread, answer)?;
        }
        self.print(&reply)
    }

    /// Every devbox, as its file says: nobody has to work for it.
    fn list(&self, state: &StateDir) -> anyhow::Result<ExitCode> {
        let views: DevboxViews = match std::fs::read(state.devbox_views()) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(_) => DevboxViews::default(),
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&views)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if views.devboxes.is_empty() {
            writeln!(out, "No devboxes yet: tinyclaw devbox add NAME HOST [USER] [DIR]")?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table =
            terminal::Table::new(&["devbox", "where", "status", "ping", "claude", "last"]);
        // Without them it is not known who is at work; that is said elsewhere.
        let threads = tinyclaw_ledger::read_threads(state).unwrap_or_default();
        for it in views.devboxes {
            let is_at_work = threads.get(&it.thread).is_some_and(|it| {
                matches!(it.status, ThreadStatus::Working | ThreadStatus::Waiting)
            });
            let status = status_of(&it, is_at_work);
            let last = it.last_used_at.map(terminal::ago);
            table.row(vec![
                it.name.to_string(),
                terminal::one_line(&format!("{}:{}", it.at, it.dir)),
                status,
                it.ping_ms.map_or_else(String::new, |it| format!("{it} ms")),
                it.claude.map_or_else(String::new, |it| terminal::one_line(&it)),
                last.unwrap_or_default(),
            ]);
        }
        let style = terminal::Style::of(&out);
        out.write_all(table.draw(style).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, reply: &Reply) -> anyhow::Result<ExitCode> {
        let is_done = reply.outcome == Outcome::Notice && !reply.text.contains("Not ready: ");
        if self.json {
            writeln!(std::io::stdout(), "{}", json!({ "text": reply.text, "done": is_done }))?;
        } else if is_done {
            writeln!(std::io::stdout(), "{}", terminal::plain(reply.text.trim_end()))?;
        } else {
            writeln!(std::io::stderr(), "tinyclaw: {}", terminal::plain(reply.text.trim_end()))?;
        }
        Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The thread that an order opens: a new devbox has one of its own. `None`: any will do.
pub(crate) fn thread_of(order: &DevboxOrder) -> Option<anyhow::Result<ThreadId>> {
    match order {
        DevboxOrder::Add { name, .. } => Some(format!("cli-{name}").parse().map_err(Into::into)),
        _ => None,
    }
}

/// How a devbox is, in the words of `/devbox list`.
fn status_of(devbox: &DevboxView, is_at_work: bool) -> String {
    let is_far = devbox.at.contains('@');
    match devbox.status {
        DevboxStatus::New if is_far => "waits for a person".to_owned(),
        DevboxStatus::Active if is_at_work => "working".to_owned(),
        DevboxStatus::New | DevboxStatus::Active => "ready".to_owned(),
        DevboxStatus::Unreachable => match devbox.last_error_at {
            Some(at) => format!("out of reach {}", words::span(now_ms().saturating_sub(at))),
            None => "out of reach".to_owned(),
        },
        DevboxStatus::KeyChanged => "key changed".to_owned(),
        DevboxStatus::Removed => "removed".to_owned(),
    }
}

/// Has the office carry out an order, and waits for what it says.
fn ask(office: &Client, thread: &ThreadId, order: DevboxOrder) -> anyhow::Result<Reply> {
    client::ask(office, thread, Command::Devbox { order, admin: true })
}

/// A question with a yes and a no, if the answer is one.
fn open_question(reply: &Reply) -> Option<(String, DevboxOrder, DevboxOrder)> {
    let orders = reply.buttons.iter().filter_map(|it| match &it.press {
        ButtonPress::Command(Command::Devbox { order, .. }) => Some(order.clone()),
        _ => None,
    });
    let orders: Vec<DevboxOrder> = orders.collect();
    match &orders[..] {
        [yes @ (DevboxOrder::Approve { .. } | DevboxOrder::Yes { .. }), no] => {
            let asked = reply.text.split("\n\n").next().unwrap_or_default();
            Some((terminal::plain(asked).into_owned(), yes.clone(), no.clone()))
        }
        _ => None,
    }
}

fn name_of(order: &DevboxOrder) -> String {
    match order {
        DevboxOrder::Keep { name } => DevboxName::to_string(name),
        _ => "it".to_owned(),
    }
}
