//! Commands: which there are, and what each does. A file a command; what is only an order for the thread is in `orders`.
//!
//! What concerns a thread goes to its lane as an order, and the answer comes from there; what only this service knows it
//! answers itself, through the queue, so that an answer is given once. A command that is none is answered, not sent to
//! Claude.

mod again;
mod close;
mod cost;
mod current;
mod devbox;
mod export;
mod mcp;
mod mode;
mod new;
mod orders;
mod queue;
mod rate;
mod retry;
mod sessions;
mod start;
mod stop;
pub(crate) mod table;
mod whoami;

use std::sync::Arc;

use tinyclaw_domain::{Command, Key, ThreadId};
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{Side, View};
use tinyclaw_service::Shutdown;

use self::table::{Spoken, help, is_for, parse, usage};
use crate::bot::Bot;
use crate::bot::client::CallError;
use crate::inbound::access::may_rule;
use crate::inbound::compose::{key_of, new_message, notice};
use crate::inbound::decode::UserMessage;
use crate::publish::Publisher;
use crate::status::cleanup::is_over;
use crate::status::watcher::Watcher;
use crate::text;
use crate::threads;
use crate::topics::Topics;

/// Who does what commands say. It has no lock: a command is a message under a key of its own.
pub(crate) struct Commands {
    pub(crate) bot: Arc<Bot>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) view: View,
    pub(crate) state: StateDir,
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) shutdown: Shutdown,
}

impl Commands {
    /// Does what a command says.
    pub(crate) async fn run(&self, said: UserMessage) {
        self.obey(said, false).await;
    }

    /// Stops what runs in a thread. `has_stopped` says that something of the same person was stopped before it was in the
    /// queue.
    pub(crate) async fn stop(self: Arc<Self>, said: UserMessage, has_stopped: bool) {
        let (chat, message, key) = (said.address.chat, said.message, key_of(said.update));
        self.obey(said, has_stopped).await;
        let Some(key) = key else { return };
        tokio::spawn(async move {
            // It is answered by what it stops; its 👀 would stay for ever.
            let watch = self.view.watch();
            loop {
                let changed = watch.changed();
                let found = tokio::task::block_in_place(|| self.view.find(&key));
                if found.is_ok_and(|it| is_over(it.map(|it| it.place))) {
                    break;
                }
                tokio::select! {
                    () = changed => {}
                    () = self.shutdown.begun() => return,
                }
            }
            self.bot.react(chat, message, None);
        });
    }

    async fn obey(&self, said: UserMessage, has_stopped: bool) {
        let Some(spoken) = parse(&said.text) else { return };
        if !is_for(spoken.bot, &self.bot.username) {
            self.bot.react(said.address.chat, said.message, None);
            return;
        }
        let (Some(key), Some(thread)) = (key_of(said.update), self.bot.thread_at(said.address))
        else {
            return;
        };
        tracing::info!(%key, thread.id = %thread, command = %spoken.name, "/{} in thread {thread}", spoken.name);
        let given = Given { commands: self, said: &said, key, thread, has_stopped };
        if let Some(words) = given.obey(&spoken).await {
            given.answer(words).await;
            // Answered: the 👀 goes.
            self.bot.react(said.address.chat, said.message, None);
        }
    }
}

/// A command, and where it was given.
struct Given<'a> {
    commands: &'a Commands,
    said: &'a UserMessage,
    key: Key,
    thread: ThreadId,
    /// Something of the same person was stopped before it was in the queue.
    has_stopped: bool,
}

impl Given<'_> {
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
            name @ ("model" | "effort" | "mode" | "trust") if rest.is_empty() => {
                Some(self.current(name))
            }
            "mode" => self.mode(rest).await,
            "retry" => Some(self.retry()),
            "again" => self.again().await,
            "export" => self.export().await,
            "status" => self.order(Command::Status {}).await,
            "go" => self.order(Command::GoOn {}).await,
            "reset" | "clear" => self.reset().await,
            "model" => self.model(rest).await,
            "effort" => self.effort(rest).await,
            "haiku" | "sonnet" | "opus" | "fable" => Some(usage(&spoken.name)),
            "mcp" => self.mcp(rest).await,
            "devbox" => self.devbox(rest).await,
            "skills" => self.order(Command::Skills {}).await,
            "trust" => self.trust(rest).await,
            "prompt" => self.prompt(rest).await,
            "dir" | "cd" | "setdir" => self.dir(&spoken.name, rest).await,
            other if self.commands.bot.settings.catalogue().find(other).is_ok() => {
                match rest.is_empty() {
                    true => Some(format!("`/{other} TEXT`: ask {other} this once.")),
                    false => self.ask_model().await,
                }
            }
            other => {
                let name = text::shortened(other, 40);
                Some(format!("There is no command `/{name}`. `/help` lists them."))
            }
        }
    }

    async fn answer(&self, words: String) {
        let it = notice(&self.key, "answer", self.thread.clone(), words, self.said);
        self.commands.publisher.notify(it).await;
    }

    /// An order for whoever runs the thread; the answer comes from there.
    async fn order(&self, command: Command) -> Option<String> {
        self.publish(Some(command)).await
    }

    async fn publish(&self, command: Option<Command>) -> Option<String> {
        let mut message =
            new_message(&self.commands.bot, self.said, self.key.clone(), self.thread.clone());
        message.message.clone_from(&self.said.text);
        message.command = command;
        match self.commands.publisher.publish(Side::Run, message, Some(self.said.address)).await {
            Ok(_) => None,
            Err(err) => Some(format!("This cannot be done: {err}.")),
        }
    }

    fn may_rule(&self) -> bool {
        may_rule(&self.commands.bot, self.said.from)
    }

    fn only_admins(&self, what: &str) -> String {
        format!(
            "Only admins may {what}. Your id is `{}`; `admins` in settings.json lists them.",
            self.said.from
        )
    }

    /// What people call the thread.
    fn name(&self) -> String {
        threads::name_of(&self.commands.state, &self.commands.bot.addresses, &self.thread)
    }
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
