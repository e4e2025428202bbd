//! What a command does, and where it was given.
//!
//! What concerns a thread goes to its lane as an order; what only this service knows it answers itself, through the
//! queue, so that an answer is given once. A command that is none is answered, not sent to Claude.

use std::fmt::Write as _;
use std::sync::Arc;

use teloxide::payloads::{CloseForumTopic, ReopenForumTopic};
use teloxide::types::{ChatId, MessageId, ThreadId as TgThread};
use tinyclaw_domain::{Command, Key, Lane, Model, PermissionMode, Source, ThreadId, ThreadStatus};
use tinyclaw_ledger::Costs;
use tinyclaw_queue::{Place, Side};

use crate::bot::addresses::Address;
use crate::bot::client::{CallError, Refusal};
use crate::bot::rate_limit::Priority;
use crate::commands::export;
use crate::commands::table::{Spoken, help, is_for, parse, usage};
use crate::face::{Face, Notice};
use crate::inbound::compose::{key_of, new_message, notice, origin};
use crate::inbound::decode::Said;
use crate::status::cleanup::is_over;
use crate::text;
use crate::topics::create_topic_patiently;

/// What was stopped before it was in the queue.
const NOT_BEGUN: &str = "Stopped before it began.";

/// Does what a command says.
pub(crate) async fn run(face: &Face, said: Said) {
    obey(face, said, false).await;
}

/// Stops what runs in a thread. `held` says that something of the same person was stopped before it was in the queue.
pub(crate) async fn stop(face: &Arc<Face>, said: Said, held: bool) {
    let (chat, message, key) = (said.address.chat, said.message, key_of(said.update));
    obey(face, said, held).await;
    if let Some(key) = key {
        let face = Arc::clone(face);
        tokio::spawn(async move {
            // It is answered by what it stops, and the eyes have nothing to look at any more.
            let watch = face.view.watch();
            loop {
                let changed = watch.changed();
                let found = tokio::task::block_in_place(|| face.view.find(&key));
                if found.is_ok_and(|it| is_over(it.map(|it| it.place))) {
                    break;
                }
                tokio::select! {
                    () = changed => {}
                    () = face.shutdown.begun() => return,
                }
            }
            face.react(chat, message, None);
        });
    }
}

async fn obey(face: &Face, said: Said, held: bool) {
    let Some(spoken) = parse(&said.text) else { return };
    if !is_for(spoken.bot, &face.bot.username) {
        face.react(said.address.chat, said.message, None);
        return;
    }
    let (Some(key), Some(thread)) = (key_of(said.update), face.thread_at(said.address)) else {
        return;
    };
    tracing::info!(%key, thread.id = %thread, command = %spoken.name, "/{} in thread {thread}", spoken.name);
    let desk = Desk { face, said: &said, key, thread, held };
    let answer = desk.obey(&spoken).await;
    if let Some(words) = answer {
        desk.answer(words).await;
        // Answered: the eyes have seen enough.
        face.react(said.address.chat, said.message, None);
    }
}

/// Where a command was given.
struct Desk<'a> {
    face: &'a Face,
    said: &'a Said,
    key: Key,
    thread: ThreadId,
    /// Something of the same person was stopped before it was in the queue.
    held: bool,
}

impl Desk<'_> {
    /// Does it; gives the answer when it is ours to give.
    async fn obey(&self, spoken: &Spoken<'_>) -> Option<String> {
        let rest = spoken.rest;
        match spoken.name.as_str() {
            "start" => Some(self.start()),
            "help" => Some(help()),
            "whoami" => Some(self.whoami()),
            "queue" => Some(self.queue()),
            "sessions" => Some(self.sessions()),
            "cost" => Some(self.cost()),
            "new" if rest.is_empty() => Some(usage("new")),
            "new" => self.new_topic(rest).await,
            "close" => self.close_or_open(true).await,
            "reopen" => self.close_or_open(false).await,
            "stop" => self.stop().await,
            "reset" | "clear" => {
                if self.may_rule() || self.said.address.chat > 0 {
                    self.order(Command::Reset {}).await
                } else {
                    Some(self.only_admins("end a session that others work in"))
                }
            }
            "status" => self.order(Command::Status {}).await,
            "go" => self.order(Command::GoOn {}).await,
            "model" => match rest {
                "auto" => self.order(Command::Model { model: None }).await,
                word => match word.parse::<Model>() {
                    Ok(model) => self.order(Command::Model { model: Some(model) }).await,
                    Err(_) => Some(usage("model")),
                },
            },
            "haiku" | "sonnet" | "opus" => Some(usage(&spoken.name)),
            "mode" => self.mode(rest).await,
            "prompt" if rest.is_empty() => Some(usage("prompt")),
            "prompt" => {
                let text = (rest != "off").then(|| rest.to_owned());
                self.order(Command::Prompt { text }).await
            }
            "dir" | "cd" | "setdir" if rest.is_empty() => Some(usage(&spoken.name)),
            "dir" | "cd" | "setdir" => {
                let (dir, admin) = (rest.to_owned(), self.may_rule());
                self.order(Command::Setdir { dir, admin }).await
            }
            "retry" => Some(self.retry()),
            "again" => self.again().await,
            "export" => self.export().await,
            other => {
                let name = text::shortened(other, 40);
                Some(format!("There is no command `/{name}`. `/help` lists them."))
            }
        }
    }

    async fn answer(&self, words: String) {
        let it = notice(&self.key, "answer", self.thread.clone(), words, self.said);
        self.face.notify(it).await;
    }

    /// An order for whoever runs the thread; the answer comes from there.
    async fn order(&self, command: Command) -> Option<String> {
        let mut message = new_message(self.face, self.said, self.key.clone(), self.thread.clone());
        message.message.clone_from(&self.said.text);
        message.command = Some(command);
        match self.face.publish(Side::Run, message, Some(self.said.address)).await {
            Ok(_) => None,
            Err(err) => Some(format!("This cannot be done: {err}.")),
        }
    }

    fn may_rule(&self) -> bool {
        may_rule(self.face, self.said.from)
    }

    fn only_admins(&self, what: &str) -> String {
        format!(
            "Only admins may {what}. Your id is `{}`; `admins` in settings.json lists them.",
            self.said.from
        )
    }

    fn start(&self) -> String {
        let settings = self.face.settings.current();
        let threads = self.face.threads();
        let mut words = format!("**TinyClaw {}**\n", env!("CARGO_PKG_VERSION"));
        let desk = threads.get(&self.thread);
        let engine = desk.and_then(|it| it.engine.as_deref()).unwrap_or("the office's engine");
        let cwd = desk.map_or_else(
            || settings.0.default_cwd().join(self.thread.as_str()).display().to_string(),
            |it| it.cwd.clone(),
        );
        let _ = write!(
            words,
            "{}, answered by {engine}, working in `{cwd}`.\n\nWrite, and Claude answers. `/help` lists what else can be said.",
            self.place(),
        );
        words
    }

    /// `Thread 7 (website)`, `Private chat`.
    fn place(&self) -> String {
        let name = text::literal(&self.face.name_of(&self.thread));
        match self.thread.number() {
            Some(number) if name != format!("Thread {number}") => {
                format!("Thread {number} ({name})")
            }
            _ => name,
        }
    }

    fn whoami(&self) -> String {
        let said = self.said;
        let place = match said.address.topic {
            Some(topic) => format!("chat `{}`, topic `{topic}`", said.address.chat),
            None => format!("chat `{}`", said.address.chat),
        };
        let rank = if self.may_rule() { "You are an admin." } else { "You are not an admin." };
        format!("{}, `{}`, in {place}, thread `{}`. {rank}", said.name, said.from, self.thread)
    }

    fn queue(&self) -> String {
        let depth = match tokio::task::block_in_place(|| self.face.view.depth()) {
            Ok(it) => it,
            Err(err) => return format!("The queue cannot be read: {err}."),
        };
        let here = |place| {
            let entries = tokio::task::block_in_place(|| self.face.view.list(place, 10_000));
            let lane = Lane::Thread(self.thread.clone());
            entries.map_or(0, |it| it.iter().filter(|it| it.lane == lane).count())
        };
        let mut words = match depth.outgoing + depth.sending {
            0 => format!("{} waiting, {} being answered.", depth.incoming, depth.processing),
            1 => format!(
                "{} waiting, {} being answered, 1 answer on its way.",
                depth.incoming, depth.processing
            ),
            many => format!(
                "{} waiting, {} being answered, {many} answers on their way.",
                depth.incoming, depth.processing
            ),
        };
        let (waiting, working) = (here(Place::Incoming), here(Place::Processing));
        if waiting + working > 0 {
            let _ = write!(words, "\nHere: {waiting} waiting, {working} being answered.");
        }
        if depth.waiting_retries > 0 {
            let _ = match depth.waiting_retries {
                1 => write!(words, "\n1 of them waits to be tried again."),
                many => write!(words, "\n{many} of them wait to be tried again."),
            };
        }
        // What a person stopped is theirs, and nothing to look after.
        let given_up = tokio::task::block_in_place(|| self.face.view.given_up());
        if let Some(count) = given_up.ok().filter(|it| *it > 0) {
            let _ =
                write!(words, "\n{count} given up; `/retry` in their topic takes one up again.");
        }
        if depth.quarantine > 0 {
            let _ = write!(words, "\n{} in quarantine: a person must look.", depth.quarantine);
        }
        words
    }

    fn sessions(&self) -> String {
        let threads = self.face.threads();
        if threads.is_empty() {
            return "No threads yet. Write something, or `/new NAME`.".to_owned();
        }
        let mut words = String::from("|thread|name|model|status|last|\n|--:|--|--|--|--:|\n");
        let now = tinyclaw_service::now_ms();
        for (id, it) in &threads {
            let model = it.pin.or(it.model).map_or("–", Model::as_str);
            let status = match it.status {
                ThreadStatus::Idle => "idle",
                ThreadStatus::Working => "working",
                ThreadStatus::Waiting => "waiting",
                ThreadStatus::Closed => "closed",
            };
            let name = it.name.replace('|', "\\|");
            let last = match it.last_active {
                0 => "–".to_owned(),
                at => text::ago(now.saturating_sub(at)),
            };
            let _ = writeln!(words, "|{id}|{name}|{model}|{status}|{last}|");
        }
        words
    }

    fn cost(&self) -> String {
        let settings = self.face.settings.current();
        let (zone, now) = (settings.0.timezone.clone(), tinyclaw_service::now_ms());
        match tokio::task::block_in_place(|| Costs::read(&self.face.state, zone, now)) {
            Ok(mut costs) => {
                let (here, all) = (costs.thread(&self.thread, now), costs.office(now));
                let answers = if here.turns == 1 { "answer" } else { "answers" };
                format!(
                    "Today: ${:.2} for {} {answers} in this thread, ${:.2} for {} in all.",
                    here.usd, here.turns, all.usd, all.turns
                )
            }
            Err(err) => format!("The history cannot be read: {err}."),
        }
    }

    async fn mode(&self, word: &str) -> Option<String> {
        let mode = match word.to_ascii_lowercase().as_str() {
            "ask" | "default" => PermissionMode::Ask,
            "edits" | "acceptedits" => PermissionMode::AcceptEdits,
            "bypass" => PermissionMode::Bypass,
            _ => return Some(usage("mode")),
        };
        let now = self.face.threads().get(&self.thread).map(|it| it.permission_mode);
        if mode > now.unwrap_or_default() && !self.may_rule() {
            return Some(self.only_admins("let Claude act without asking"));
        }
        self.order(Command::Mode { mode, admin: self.may_rule() }).await
    }

    /// Stops what runs, or else what waits: a message that was just sent may not have begun.
    async fn stop(&self) -> Option<String> {
        let user = self.said.from;
        // In the order in which a message moves, so that it cannot slip through.
        let (waiting, running) = tokio::task::block_in_place(|| {
            (last_waiting(self.face, &self.thread, user), running_in(self.face, &self.thread))
        });
        let may = running.as_ref().map(|(_, asker)| may_stop(self.face, user, asker.as_deref()));
        let key = match (running, may) {
            (Some((key, _)), Some(true)) => Some(key),
            _ if self.held => return Some(NOT_BEGUN.to_owned()),
            (Some(_), _) if waiting.is_none() => {
                return Some(self.only_admins("stop what somebody else asked for"));
            }
            _ => waiting,
        };
        if let Some(key) = &key {
            self.face.board.stop(key);
        }
        let failed = self.order(Command::Stop { key }).await;
        failed.or_else(|| self.held.then(|| NOT_BEGUN.to_owned()))
    }

    async fn new_topic(&self, rest: &str) -> Option<String> {
        let (name, repo) = match rest.rsplit_once(char::is_whitespace) {
            Some((name, last)) if is_repo(last) => (name.trim(), Some(last.to_owned())),
            _ if is_repo(rest) => {
                (rest.split('/').next_back().unwrap_or(rest), Some(rest.to_owned()))
            }
            _ => (rest, None),
        };
        if !self.said.is_forum {
            return Some("Topics need a group in which they are switched on.".to_owned());
        }
        let name = text::shortened(name, 128);
        match tokio::task::block_in_place(|| self.face.book.begin_topic(&self.key, &name)) {
            Ok(true) => {}
            Ok(false) => {
                self.face.book.end_topic(&self.key);
                return Some(format!(
                    "TinyClaw was restarted meanwhile. Look whether the topic {name} is there; if not, `/new` again."
                ));
            }
            Err(err) => return Some(format!("This cannot be done: {err}.")),
        }
        let created = create_topic_patiently(self.face, self.said.address.chat, &name).await;
        let answer = match created {
            Ok(address) => {
                let thread = self.face.thread_at(address)?;
                self.face.book.set_name(&thread, address, &name);
                let open = Desk {
                    face: self.face,
                    said: self.said,
                    key: self.key.clone(),
                    thread: thread.clone(),
                    held: false,
                };
                let failed =
                    open.order(Command::Open { name: Some(name.clone()), dir: None, repo }).await;
                let shown = text::literal(&name);
                let shown = match address.link() {
                    Some(link) => format!("[{shown}]({link})"),
                    None => shown,
                };
                failed.unwrap_or_else(|| format!("Topic {shown} is open: thread {thread}."))
            }
            // It may be there: nobody can ask Telegram which topics there are.
            Err(CallError::Ambiguous { .. }) => {
                "Telegram did not answer. Look whether the topic is there; if not, `/new` again."
                    .to_owned()
            }
            Err(err) => format!("The topic could not be made: {}.", why(&err)),
        };
        self.face.book.end_topic(&self.key);
        Some(answer)
    }

    async fn close_or_open(&self, close: bool) -> Option<String> {
        let Address { chat, topic: Some(topic) } = self.said.address else {
            return Some("Only a topic can be closed; this is none.".to_owned());
        };
        let topic = TgThread(MessageId(topic));
        let _permit =
            self.face.budget.permit(chat, self.said.address.lane(), Priority::Urgent, 1).await;
        let done = if close {
            self.face.client.call(&CloseForumTopic::new(ChatId(chat), topic)).await
        } else {
            self.face.client.call(&ReopenForumTopic::new(ChatId(chat), topic)).await
        };
        match done {
            Err(err) if err.refusal() != Some(Refusal::NotModified) => {
                Some(format!("That could not be done: {}.", why(&err)))
            }
            _ if close => self.order(Command::Close {}).await,
            _ => self.order(Command::Reopen {}).await,
        }
    }

    fn retry(&self) -> String {
        let lane = Lane::Thread(self.thread.clone());
        let last = tokio::task::block_in_place(|| {
            let dead = self.face.view.list(Place::Dead, 10_000)?;
            let mut here: Vec<_> = dead.into_iter().filter(|it| it.lane == lane).collect();
            // Of a notice nobody wants anything but what it is about.
            here.sort_by_key(|it| !it.key.as_str().starts_with("n-"));
            let last = here.pop();
            let message = last.as_ref().map(|it| self.face.view.read(it)).transpose()?.flatten();
            std::io::Result::Ok(message)
        });
        match last {
            Ok(Some(message)) => {
                let done = tokio::task::block_in_place(|| self.face.queue.requeue(&message.key));
                match done {
                    Ok(_) if message.message.trim().is_empty() => "Trying again.".to_owned(),
                    Ok(_) => {
                        format!("Trying again: “{}”", text::shortened(message.message.trim(), 60))
                    }
                    Err(err) => format!("It cannot be taken up again: {err}."),
                }
            }
            Ok(None) => "Nothing was given up here.".to_owned(),
            Err(err) => format!("The queue cannot be read: {err}."),
        }
    }

    async fn again(&self) -> Option<String> {
        let lane = Lane::Thread(self.thread.clone());
        let last = tokio::task::block_in_place(|| {
            let done = self.face.view.list(Place::Done, 2_000).ok()?;
            done.iter().rev().filter(|it| it.lane == lane).find_map(|it| {
                let message = self.face.view.read(it).ok().flatten()?;
                let asked = message.command.is_none()
                    && matches!(message.source, Source::User | Source::Cli);
                asked.then_some(message)
            })
        });
        let Some(last) = last else { return Some("Nothing was asked here lately.".to_owned()) };
        let mut message = new_message(self.face, self.said, self.key.clone(), self.thread.clone());
        message.message = last.message;
        message.files = last.files;
        match self.face.publish(Side::Run, message, Some(self.said.address)).await {
            Ok(_) => None,
            Err(err) => Some(format!("This cannot be asked again: {err}.")),
        }
    }

    async fn export(&self) -> Option<String> {
        let settings = self.face.settings.current();
        let name = self.face.name_of(&self.thread);
        let written = tokio::task::block_in_place(|| {
            export::write(self.face, &self.thread, &name, self.said.update, &settings.0.timezone)
        });
        match written {
            Ok(Some(file)) => {
                let it = Notice {
                    about: self.key.clone(),
                    kind: "export",
                    thread: self.thread.clone(),
                    text: "The history of this thread:".to_owned(),
                    origin: Some(origin(self.said)),
                    files: vec![file],
                };
                self.face.notify(it).await;
                self.face.react(self.said.address.chat, self.said.message, None);
                None
            }
            Ok(None) => Some("Nothing was said here yet.".to_owned()),
            Err(err) => Some(format!("The history cannot be exported: {err:#}.")),
        }
    }
}

/// The newest message of a person that waits in a thread.
fn last_waiting(face: &Face, thread: &ThreadId, user: i64) -> Option<Key> {
    let lane = Lane::Thread(thread.clone());
    let entries = face.view.list(Place::Incoming, 10_000).ok()?;
    let user = user.to_string();
    entries.into_iter().rev().filter(|it| it.lane == lane).find_map(|it| {
        let message = face.view.read(&it).ok().flatten()?;
        let theirs = message.sender_id.as_deref() == Some(&user) && message.command.is_none();
        theirs.then_some(message.key)
    })
}

/// The message whose turn runs in a thread, and who asked.
fn running_in(face: &Face, thread: &ThreadId) -> Option<(Key, Option<String>)> {
    let lane = Lane::Thread(thread.clone());
    let entries = face.view.list(Place::Processing, 10_000).ok()?;
    let entry = entries.into_iter().find(|it| it.lane == lane)?;
    let message = face.view.read(&entry).ok().flatten()?;
    Some((message.key, message.sender_id))
}

/// Whether this person may stop a turn that `asker` asked for. What nobody asked for anybody may stop.
pub(crate) fn may_stop(face: &Face, user: i64, asker: Option<&str>) -> bool {
    asker.is_none_or(|it| it == user.to_string()) || may_rule(face, user)
}

/// Whether this person may do what others may not.
pub(crate) fn may_rule(face: &Face, user: i64) -> bool {
    face.people().is_admin(user)
}

fn is_repo(word: &str) -> bool {
    let part = |it: &str| {
        !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
    };
    word.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// A refusal in words for a person.
fn why(err: &CallError) -> String {
    match err {
        CallError::Refused { description, .. } => {
            let words = description.strip_prefix("Bad Request: ").unwrap_or(description);
            if words.contains("not enough rights") {
                return format!("{words}. Make the bot an admin who may manage topics");
            }
            words.to_owned()
        }
        CallError::Flood { wait, .. } => {
            format!("Telegram wants to be left alone for {} s", wait.as_secs())
        }
        CallError::Unsent { .. } => "Telegram cannot be reached".to_owned(),
        CallError::Ambiguous { .. } => "Telegram did not answer".to_owned(),
        CallError::Migrated { .. } => {
            "this group has just become another one; try again".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_two_words_and_a_slash() {
        assert!(is_repo("ada/website.rs") && !is_repo("a/b/c") && !is_repo("/x") && !is_repo("x"));
    }
}
