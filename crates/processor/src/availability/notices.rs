//! What TinyClaw itself says: to a thread, once; to the operator, once and once more when it is cured.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use tinyclaw_domain::{
    ARRIVAL_OF, Channel, Key, Message, Outcome, Reply, ReplyButton, Source, ThreadId,
};
use tinyclaw_engine::Engine;
use tinyclaw_queue::{Durability, Place, Queue, Side};
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Vitals, conceal, now_ms};

use crate::blocking::{lock, on_disk};
use crate::desks::Desks;

/// A reply of TinyClaw itself.
pub(crate) fn notice(text: impl Into<String>) -> Reply {
    Reply { text: text.into(), outcome: Outcome::Notice, ..Reply::default() }
}

/// The office's own voice.
pub(crate) struct Notices {
    settings: Store<Settings>,
    vitals: Vitals,
    queue: Queue,
    desks: Arc<Desks>,
    /// Guards what was told once and is not to be told again until it is cured: a cause, in a thread or (without one) to
    /// the operator. Held for a look or a change, and nothing is locked within it.
    told: Mutex<HashSet<(Option<ThreadId>, String)>>,
}

impl Notices {
    /// Nothing was told yet: after a restart it is told anew.
    pub(crate) fn new(
        settings: Store<Settings>,
        vitals: Vitals,
        queue: Queue,
        desks: Arc<Desks>,
    ) -> Notices {
        Notices { settings, vitals, queue, desks, told: Mutex::default() }
    }

    /// Says something in a thread, under a key, so that saying it again changes nothing. Only where somebody pushes it.
    pub(crate) fn say(&self, thread: &ThreadId, key: Key, text: &str) {
        self.say_of(thread, key, text, None);
    }

    /// The same; `arrived` is the message from another thread that it shows.
    pub(crate) fn say_of(&self, thread: &ThreadId, key: Key, text: &str, arrived: Option<&Key>) {
        self.say_reply(thread, key, notice(conceal(text)), arrived);
    }

    fn say_reply(&self, thread: &ThreadId, key: Key, reply: Reply, arrived: Option<&Key>) {
        if !self.is_in_telegram(thread) {
            return;
        }
        let mut said = Message::new(key, Channel::Telegram, thread.clone(), "", now_ms());
        said.source = Source::System;
        if let Some(arrived) = arrived {
            said.extra.insert(ARRIVAL_OF.to_owned(), arrived.as_str().into());
        }
        said.reply = Some(reply);
        if let Err(err) = on_disk(|| self.queue.publish(Side::Send, said, Durability::Strict)) {
            tracing::error!(thread.id = %thread, "cannot tell thread {thread}: {err}");
        }
    }

    /// Says something in a thread unless it was said already and not cured since.
    pub(crate) fn say_once(&self, thread: &ThreadId, cause: &str, text: &str) {
        self.say_once_with(thread, cause, text, Vec::new());
    }

    /// The same, with what a person can do about it.
    pub(crate) fn say_once_with(
        &self,
        thread: &ThreadId,
        cause: &str,
        text: &str,
        buttons: Vec<ReplyButton>,
    ) {
        if self.is_news(Some(thread), cause) {
            let key = Key::hashed("n", &format!("{cause}-{thread}-{}", now_ms()));
            self.say_reply(thread, key, Reply { buttons, ..notice(conceal(text)) }, None);
        }
    }

    /// Whether this was not told there yet. From now on it was.
    pub(crate) fn is_news(&self, thread: Option<&ThreadId>, cause: &str) -> bool {
        lock(&self.told).insert((thread.cloned(), cause.to_owned()))
    }

    /// Something the operator must know, or that it is cured: in `/ready` and `health/`, and once in General, or in the
    /// admins' private chats where there is no General.
    pub(crate) fn concern(&self, cause: &str, what: Option<String>) {
        self.concern_beside(None, cause, what);
    }

    /// The same, except for a thread in which more was said about it already.
    pub(crate) fn concern_beside(
        &self,
        told: Option<&ThreadId>,
        cause: &str,
        what: Option<String>,
    ) {
        self.vitals.concern(cause, what.clone());
        let text = match what {
            Some(what) if self.is_news(None, cause) => what,
            None if self.forget(cause) => {
                let Some(words) = cured_words(cause) else { return };
                words.to_owned()
            }
            _ => return,
        };
        tracing::warn!(cause, "{text}");
        let now = now_ms();
        for thread in self.operators().iter().filter(|it| Some(*it) != told) {
            let key = Key::hashed("n", &format!("op-{cause}-{thread}-{now}"));
            self.say(thread, key, &text);
        }
    }

    /// Whether the operator was told of it, and it is not cured yet.
    pub(crate) fn is_told(&self, cause: &str) -> bool {
        lock(&self.told).contains(&(None, cause.to_owned()))
    }

    /// The operators count as told in their own chats, where more was said about it already.
    pub(crate) fn are_told(&self, cause: &str) {
        let operators = self.operators();
        lock(&self.told).extend(operators.into_iter().map(|it| (Some(it), cause.to_owned())));
    }

    /// It may be told to the operator again. Whether it was told.
    pub(crate) fn forget(&self, cause: &str) -> bool {
        lock(&self.told).remove(&(None, cause.to_owned()))
    }

    /// It may be told in threads again.
    pub(crate) fn forget_in_threads(&self, causes: &[&str]) {
        lock(&self.told)
            .retain(|(thread, cause)| thread.is_none() || !causes.contains(&cause.as_str()));
    }

    /// Where operators are told something: in General, or else in the private chats of those admins who have written
    /// there. Telegram lets no bot begin a private chat.
    pub(crate) fn operators(&self) -> Vec<ThreadId> {
        let master = ThreadId::master();
        if self.is_in_telegram(&master) {
            return vec![master];
        }
        let settings = self.settings.current();
        let (admins, users) = (&settings.office.admins, &settings.telegram.allowed_users);
        // Who is alone here is an admin; of several only those who are named.
        let admins = if admins.is_empty() && users.len() == 1 { users } else { admins };
        let chats = admins.iter().filter_map(|it| format!("u{it}").parse::<ThreadId>().ok());
        chats.filter(|it| self.desks.get(it).is_some()).collect()
    }

    /// Whether what is said in a thread is shown in Telegram: told by the thread and by the forum that the office has,
    /// never by the bot's token, which this service does not get.
    pub(crate) fn is_in_telegram(&self, thread: &ThreadId) -> bool {
        thread.is_in_telegram(self.settings.current().telegram.chat_id.is_some())
    }

    /// After a restart, whoever had asked something that was being answered is told that it is answered again. Where the turn
    /// goes on nothing has happened.
    pub(crate) fn back_again(&self, engine: &Engine) {
        let running = self.queue.view().read_all(Place::Processing, None, 10_000);
        let mut interrupted = BTreeSet::new();
        for (_, message) in running.unwrap_or_default() {
            let by_a_person = matches!(message.source, Source::User | Source::Cli | Source::Api);
            let goes_on = || {
                let uuid = &message.checkpoint.as_ref()?.turn_uuid;
                let place = self.desks.get(&message.thread_id)?.place().0;
                Some(engine.may_go_on(&place, &message.thread_id, uuid))
            };
            if by_a_person
                && message.command.is_none()
                && message.reply.is_none()
                && !goes_on().unwrap_or(false)
            {
                interrupted.insert(message.thread_id);
            }
        }
        for thread in interrupted {
            let key = Key::hashed("n", &format!("back-{thread}-{}", now_ms()));
            self.say(&thread, key, "Restarted; your question is being answered again.");
        }
    }
}

/// What is said when something that the operator was told of is over. What a person ended needs no word.
fn cured_words(cause: &str) -> Option<&'static str> {
    Some(match cause {
        "engine" | "api" => "Claude answers again.",
        "disk" | "disk space" => "There is room on the disk again.",
        "backlog" => "The backlog is worked off.",
        "broker" => "The credential broker answers again.",
        "history" => "The history is written again.",
        "queue" => "The queue can be read again.",
        _ => return None,
    })
}
