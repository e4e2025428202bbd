//! `tinyclaw queue`: what is where, what became of one message, and the three things an operator may do about it.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tinyclaw_domain::{Key, Message, Outcome, STOPPED_WAITING};
use tinyclaw_queue::{Entry, LookError, Place, Seen, View};
use tinyclaw_service::now_ms;
use tinyclaw_service::words;

use crate::terminal::{self, Style, Table};
use crate::{client, place};

/// Keys are told apart by this many characters at least; a shorter one would say nothing.
const KEY_CHARS_MIN: usize = 10;
/// So many messages are searched for a key that was given in part.
const SEARCHED_MAX: usize = 20_000;

/// Look into the queue, and act on its messages.
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List messages: those that are not finished, or those of one place.
    Ls(Ls),
    /// Tell one message's story.
    Show(Show),
    /// Take up messages again that were given up.
    Retry(Which),
    /// Give up a waiting message.
    Bury(Bury),
    /// Remove messages for good that were given up.
    Purge(Purge),
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Where to look.
    #[arg(value_enum)]
    place: Option<Where>,

    /// So many of each place at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    most: usize,

    /// Print a JSON array, with the messages' texts.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The key, or the beginning of it.
    key: String,

    /// Print the message as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The keys, or the beginnings of them.
    #[arg(required_unless_present = "all")]
    keys: Vec<String>,

    /// All that were given up; those that a person stopped only when they are removed.
    #[arg(long, conflicts_with = "keys")]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Bury {
    /// The key, or the beginning of it.
    key: String,

    /// Why, for whoever looks at it later.
    #[arg(long, default_value = "buried by the operator")]
    reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    which: Which,

    /// Yes, all of them.
    #[arg(long, requires = "all")]
    yes: bool,
}

/// A place, as it is typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Where {
    Incoming,
    Processing,
    Outgoing,
    Sending,
    Done,
    Dead,
    Quarantine,
}

impl From<Where> for Place {
    fn from(it: Where) -> Place {
        match it {
            Where::Incoming => Place::Incoming,
            Where::Processing => Place::Processing,
            Where::Outgoing => Place::Outgoing,
            Where::Sending => Place::Sending,
            Where::Done => Place::Done,
            Where::Dead => Place::Dead,
            Where::Quarantine => Place::Quarantine,
        }
    }
}

impl Queue {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let state = place::office()?;
        let view = View::new(state.root());
        let mut out = std::io::stdout().lock();
        match self {
            Queue::Ls(it) => it.run(&view)?,
            Queue::Show(it) => it.run(&view)?,
            Queue::Retry(which) => {
                let office = client::open(&state)?;
                // Whoever stopped a message does not want it asked.
                let is_wanted = |reason: Option<&str>| reason != Some(STOPPED_WAITING);
                for key in which.keys(&view, is_wanted)? {
                    let place = office.queue().requeue(&key)?;
                    writeln!(out, "{key} is in {place} again")?;
                }
            }
            Queue::Bury(it) => {
                let key = whole(&view, &it.key)?;
                client::open(&state)?.queue().bury(&key, &it.reason)?;
                writeln!(out, "{key} is buried; `tinyclaw queue retry {key}` takes it up again")?;
            }
            Queue::Purge(it) => {
                let keys = it.which.keys(&view, |_| true)?;
                if it.which.all && !it.yes && !keys.is_empty() {
                    bail!(
                        "{} would be gone for good; say --yes",
                        terminal::count(keys.len(), "message")
                    );
                }
                let office = client::open(&state)?;
                for key in keys {
                    office.queue().purge(&key)?;
                    writeln!(out, "{key} is gone")?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Which {
    fn keys(
        &self,
        view: &View,
        is_wanted: impl Fn(Option<&str>) -> bool,
    ) -> anyhow::Result<Vec<Key>> {
        if !self.all {
            return self.keys.iter().map(|it| whole(view, it)).collect();
        }
        let mut keys = Vec::new();
        for place in [Place::Dead, Place::Quarantine] {
            let entries = view.list(place, SEARCHED_MAX).context("cannot list the queue")?;
            for entry in entries {
                let reason = view.reason(&entry).context("cannot read why it was given up")?;
                if is_wanted(reason.as_deref()) {
                    keys.push(entry.key);
                }
            }
        }
        Ok(keys)
    }
}

/// The whole key of a message that is in the queue.
fn whole(view: &View, text: &str) -> anyhow::Result<Key> {
    // By name alone: a message that cannot be read is there as well.
    if let Ok(key) = text.parse::<Key>()
        && view.place_of(&key).context("cannot look into the queue")?.is_some()
    {
        return Ok(key);
    }
    let keys = view.keys(text).context("cannot list the queue")?;
    match &keys[..] {
        [key] => Ok(key.clone()),
        [] => bail!("there is no message {text:?}; `tinyclaw queue ls` lists them"),
        [first, second, ..] => bail!(
            "{text:?} is the beginning of {} keys, such as {first} and {second}; give more of it",
            keys.len()
        ),
    }
}

impl Ls {
    fn run(&self, view: &View) -> anyhow::Result<()> {
        let places: Vec<Place> = match self.place {
            Some(it) => vec![it.into()],
            None => Place::ALL.into_iter().filter(|it| *it != Place::Done).collect(),
        };
        let mut rows: Vec<(Entry, Option<Message>, Option<String>)> = Vec::new();
        for place in places {
            for entry in view.list(place, self.most).context("cannot list the queue")? {
                // One file that cannot be read is a row with its name, and hides no other.
                let (message, reason) = match view.read(&entry) {
                    Ok(message) => (message, view.reason(&entry).unwrap_or_default()),
                    Err(err) => (None, Some(unread(&err))),
                };
                rows.push((entry, message, reason));
            }
        }
        let mut out = std::io::stdout().lock();
        if self.json {
            let rows: Vec<Value> = rows.iter().map(row_json).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
            return Ok(());
        }
        let style = Style::of(&out);
        if !rows.is_empty() {
            out.write_all(table(&rows).draw(style).as_bytes())?;
        }
        let depth = view.depth().context("cannot count the queue")?;
        let stopped = match depth.stopped {
            0 => String::new(),
            some => format!(", {some} stopped by a person"),
        };
        let total = format!(
            "{} waiting ({} for their next try), {} being answered, {} on the way out, {} given up{stopped}",
            depth.incoming,
            depth.waiting_retries,
            depth.processing,
            depth.outgoing + depth.sending,
            depth.dead,
        );
        let total = if depth.dead > 0 { style.red(&total) } else { style.dim(&total) };
        writeln!(out, "{total}")?;
        if depth.quarantine > 0 {
            let what = terminal::count(depth.quarantine, "file");
            writeln!(out, "{} in quarantine/, each with its reason", style.red(&what))?;
        }
        Ok(())
    }
}

/// Why a message cannot be read, without its name: the row has its key.
fn unread(err: &LookError) -> String {
    match err {
        LookError::Read { why, .. } => format!("cannot be read: {why}"),
        other => other.to_string(),
    }
}

fn row_json((entry, message, reason): &(Entry, Option<Message>, Option<String>)) -> Value {
    json!({
        "key": entry.key,
        "place": entry.place.as_str(),
        "lane": entry.lane,
        "threadId": entry.lane.thread(),
        "queuedAt": entry.queued_at,
        "notBefore": entry.not_before,
        "reason": reason,
        "message": message,
    })
}

fn table(rows: &[(Entry, Option<Message>, Option<String>)]) -> Table {
    let keys: Vec<&str> = rows.iter().map(|(it, ..)| it.key.as_str()).collect();
    let length = unique(&keys);
    let mut table = Table::new(&["key", "place", "thread", "from", "age", "tries", "what"]);
    for (entry, message, reason) in rows {
        let key = entry.key.as_str();
        let tries = message.as_ref().map_or(0, |it| it.attempts.run.max(it.attempts.send));
        table.row(vec![
            key[..length.min(key.len())].to_owned(),
            entry.place.as_str().to_owned(),
            entry.lane.to_string(),
            terminal::clip(&terminal::one_line(message.as_ref().map_or("", |it| &it.sender)), 16),
            terminal::ago(entry.queued_at),
            tries.to_string(),
            terminal::clip(&what(entry, message.as_ref(), reason.as_deref()), 60),
        ]);
    }
    table
}

/// What there is to say about a message on one line.
fn what(entry: &Entry, message: Option<&Message>, reason: Option<&str>) -> String {
    if let Some(reason) = reason {
        return terminal::one_line(reason);
    }
    let Some(message) = message else { return "(moved on)".to_owned() };
    let wait = entry.not_before.map(|it| it.saturating_sub(now_ms())).filter(|it| *it > 0);
    match (wait, &message.trouble, &message.command) {
        (Some(wait), trouble, _) => {
            let why = trouble.as_deref().unwrap_or("put back");
            format!("again in {}: {}", words::span(wait), terminal::one_line(why))
        }
        (None, _, Some(command)) => format!("order: {}", order(command)),
        (None, ..) if was_stopped(message) => {
            format!("stopped by a person: {}", terminal::one_line(&message.message))
        }
        (None, ..) => terminal::one_line(&message.message),
    }
}

/// Whether a person stopped the turn of an answered message.
fn was_stopped(message: &Message) -> bool {
    message.reply.as_ref().is_some_and(|it| it.outcome == Outcome::Stopped)
}

fn order(command: &tinyclaw_domain::Command) -> String {
    let told = serde_json::to_value(command).unwrap_or_default();
    told["do"].as_str().unwrap_or("unknown").to_owned()
}

/// So many characters tell these keys apart. Keys are plain ASCII.
fn unique(keys: &[&str]) -> usize {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let alike = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let most = sorted.windows(2).filter(|it| it[0] != it[1]).map(|it| alike(it[0], it[1]) + 1);
    most.max().unwrap_or(0).max(KEY_CHARS_MIN)
}

impl Show {
    fn run(&self, view: &View) -> anyhow::Result<()> {
        let key = whole(view, &self.key)?;
        let seen = view.find(&key).context("cannot look into the queue")?;
        let Some(seen) = seen else { bail!("message {key} has just gone") };
        let mut out = std::io::stdout().lock();
        if self.json {
            let told = json!({
                "place": seen.place.as_str(),
                "position": seen.position,
                "reason": seen.reason,
                "message": seen.message,
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&told)?)?;
            return Ok(());
        }
        out.write_all(story(&seen, Style::of(&out)).as_bytes())?;
        Ok(())
    }
}

fn story(seen: &Seen, style: Style) -> String {
    let it = &seen.message;
    let mut text = String::new();
    let mut say = |name: &str, what: String| {
        if !what.is_empty() {
            text.push_str(&format!("{}{what}\n", style.dim(&format!("{name:<10}"))));
        }
    };
    let line = seen.position.map(|at| format!(", number {at} in line")).unwrap_or_default();
    say("message", it.key.to_string());
    say("place", format!("{}{line}", seen.place.as_str()));
    say("thread", it.lane().to_string());
    say("from", format!("{} by {}", terminal::one_line(&it.sender), it.channel.as_str()));
    say("said", format!("{} ago", terminal::ago(it.timestamp)));
    say("tries", format!("{} asked, {} sent", it.attempts.run, it.attempts.send));
    say("trouble", style.yellow(&terminal::one_line(it.trouble.as_deref().unwrap_or_default())));
    say("reason", style.red(&terminal::one_line(seen.reason.as_deref().unwrap_or_default())));
    if let Some(command) = &it.command {
        say("order", order(command));
    }
    for file in &it.files {
        say("file", terminal::one_line(&file.path));
    }
    let said = terminal::plain(it.message.trim_end()).into_owned();
    if !said.is_empty() {
        text.push_str(&format!("\n{said}\n"));
    }
    if let Some(reply) = &it.reply {
        let model = reply.model.as_ref().map_or("TinyClaw", |it| it.as_str());
        let stopped = if was_stopped(it) { " · stopped by a person" } else { "" };
        let cost = format!("{} ms · ${:.2}{stopped}", reply.duration_ms, reply.cost_usd);
        text.push_str(&format!("\n{}\n", style.dim(&format!("{model} · {cost}"))));
        let where_else = reply.file.as_ref().map(|it| format!("(in {it})"));
        let said =
            where_else.unwrap_or_else(|| terminal::plain(reply.text.trim_end()).into_owned());
        text.push_str(&format!("{said}\n"));
    }
    for it in &it.delivery {
        let id = it.telegram_message_id.map_or_else(|| "not known".to_owned(), |it| it.to_string());
        text.push_str(&format!("part {} sent, Telegram's id {id}\n", it.part));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shortened_to_what_is_unique() {
        assert_eq!(unique(&["cli-0123456789ab", "cli-0123456789ff"]), 15);
        assert_eq!(unique(&["tg-1", "tg-2"]), KEY_CHARS_MIN);
        assert_eq!(unique(&["tg-1", "tg-1"]), KEY_CHARS_MIN);
        assert_eq!(unique(&[]), KEY_CHARS_MIN);
    }
}
