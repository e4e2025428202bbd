//! What TinyClaw itself says: to a thread, once; to the operator, once and once more when it is cured.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tinyclaw_domain::{ARRIVAL_OF, Channel, Key, Message, Outcome, Reply, Source, ThreadId};
use tinyclaw_queue::{Durability, Place, Side};
use tinyclaw_service::{conceal, now_ms};

use crate::office::{Office, lock, on_disk};

/// The concern that the API answers nobody.
const OUTAGE: &str = "api";
/// What a thread is told of while no turn can run.
pub(crate) const PAUSE: &str = "pause";
/// An outage is worth a word from then on.
const OUTAGE_TOLD_AFTER: Duration = Duration::from_secs(120);

/// Why no turn can run at all, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Pause {
    /// In words for a person: "Claude's plan limit is reached".
    pub(crate) why: String,
    /// In seconds since 1970, when it is known to be over.
    pub(crate) until: Option<u64>,
    /// When to try whether it is over.
    pub(crate) next_look: Instant,
    /// Whether a Claude that starts shows that it is over. Of a limit it shows nothing.
    pub(crate) is_proven_by_start: bool,
}

impl Pause {
    /// `Claude's plan limit is reached until 15:00.`
    pub(crate) fn sentence(&self, office: &Office) -> String {
        match self.until.and_then(|it| jiff::Timestamp::from_second(it as i64).ok()) {
            Some(until) => {
                let until = until.to_zoned(office.settings().office.timezone.clone());
                format!("{} until {}.", self.why, until.strftime("%H:%M"))
            }
            None => format!("{}.", self.why),
        }
    }
}

impl Office {
    /// Says something in a thread, under a key, so that saying it again changes nothing. Only where somebody pushes it.
    pub(crate) fn say(&self, thread: &ThreadId, key: Key, text: &str) {
        self.say_of(thread, key, text, None);
    }

    /// The same; `arrived` is the message from another thread that it shows.
    pub(crate) fn say_of(&self, thread: &ThreadId, key: Key, text: &str, arrived: Option<&Key>) {
        if !self.is_in_telegram(thread) {
            return;
        }
        let mut notice = Message::new(key, Channel::Telegram, thread.clone(), "", now_ms());
        notice.source = Source::System;
        if let Some(arrived) = arrived {
            notice.extra.insert(ARRIVAL_OF.to_owned(), arrived.as_str().into());
        }
        notice.reply = Some(Reply {
            text: conceal(text).into_owned(),
            outcome: Outcome::Notice,
            ..Reply::default()
        });
        if let Err(err) = on_disk(|| self.queue.publish(Side::Send, notice, Durability::Strict)) {
            tracing::error!(thread.id = %thread, "cannot tell thread {thread}: {err}");
        }
    }

    /// Says something in a thread unless it was said already and not cured since.
    pub(crate) fn say_once(&self, thread: &ThreadId, cause: &str, text: &str) {
        if lock(&self.told).insert((Some(thread.clone()), cause.to_owned())) {
            self.say(thread, Key::hashed("n", &format!("{cause}-{thread}-{}", now_ms())), text);
        }
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
        let subject = (None, cause.to_owned());
        let text = match what {
            Some(what) if lock(&self.told).insert(subject.clone()) => what,
            None if lock(&self.told).remove(&subject) => {
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

    /// Where operators are told something: in General, or else in the private chats of those admins who have written
    /// there. Telegram lets no bot begin a private chat.
    fn operators(&self) -> Vec<ThreadId> {
        let master = ThreadId::master();
        if self.is_in_telegram(&master) {
            return vec![master];
        }
        let settings = self.settings();
        let (admins, users) = (&settings.office.admins, &settings.telegram.allowed_users);
        // Who is alone here is an admin; of several only those who are named.
        let admins = if admins.is_empty() && users.len() == 1 { users } else { admins };
        let book = lock(&self.book);
        let chats = admins.iter().filter_map(|it| format!("u{it}").parse::<ThreadId>().ok());
        chats.filter(|it| book.all().contains_key(it)).collect()
    }

    /// Stops asking Claude until it is over. Everything waits; each thread is told when it comes up.
    pub(crate) fn pause(&self, pause: Pause) {
        tracing::error!("no turn can run: {}", pause.why);
        self.vitals.block("engine", pause.sentence(self));
        self.concern(
            "engine",
            Some(format!("{} What waits goes on by itself then.", pause.sentence(self))),
        );
        // Whoever reads that needs not be told once more what waits for it.
        let operators = self.operators();
        lock(&self.told).extend(operators.into_iter().map(|it| (Some(it), PAUSE.to_owned())));
        *lock(&self.pause) = Some(pause);
    }

    /// Turns run again, until the next one says otherwise. People are told when one was answered.
    pub(crate) fn go_on(&self) {
        if lock(&self.pause).take().is_some() {
            tracing::info!("turns run again");
        }
        self.vitals.unblock("engine");
    }

    /// Whatever kept turns from being answered is over.
    pub(crate) fn cured(&self) {
        if lock(&self.pause).is_some() {
            // The answer was on its way before.
            return;
        }
        lock(&self.told).retain(|(thread, cause)| {
            thread.is_none() || !matches!(cause.as_str(), PAUSE | OUTAGE)
        });
        let is_told = self.is_told("engine");
        self.concern("engine", None);
        if is_told {
            // One thing for whoever reads it, and said.
            lock(&self.told).remove(&(None, OUTAGE.to_owned()));
        }
        self.concern(OUTAGE, None);
    }

    /// The API answers nobody. Told once it has lasted: it happens, and passes.
    pub(crate) fn note_outage(&self, thread: &ThreadId, since: Duration, what: &str) {
        if since < OUTAGE_TOLD_AFTER {
            return;
        }
        self.concern(
            OUTAGE,
            Some(format!("{what} Messages wait and are tried until they are answered.")),
        );
        if !self.operators().contains(thread) {
            let text = format!("{what} This message is tried again until it is answered.");
            self.say_once(thread, OUTAGE, &text);
        }
    }

    /// Whether what is said in a thread is shown in Telegram: told by the thread and by the forum that the office has,
    /// never by the bot's token, which this service does not get.
    pub(crate) fn is_in_telegram(&self, thread: &ThreadId) -> bool {
        thread.is_in_telegram(self.settings().telegram.chat_id.is_some())
    }
}

/// What is said when something that the operator was told of is over. What a person ended needs no word.
fn cured_words(cause: &str) -> Option<&'static str> {
    Some(match cause {
        "engine" | OUTAGE => "Claude answers again.",
        "disk" | "disk space" => "There is room on the disk again.",
        "backlog" => "The backlog is worked off.",
        "broker" => "The credential broker answers again.",
        "history" => "The history is written again.",
        "queue" => "The queue can be read again.",
        _ => return None,
    })
}

/// After a restart, whoever had asked something that was being answered is told that it is answered again.
pub(crate) fn back_again(office: &Office) {
    let view = office.queue.view();
    let mut interrupted = BTreeSet::new();
    for entry in view.list(Place::Processing, 10_000).unwrap_or_default() {
        let Ok(Some(message)) = view.read(&entry) else { continue };
        let by_a_person = matches!(message.source, Source::User | Source::Cli | Source::Api);
        if by_a_person && message.command.is_none() && message.reply.is_none() {
            interrupted.insert(message.thread_id);
        }
    }
    for thread in interrupted {
        let key = Key::hashed("n", &format!("back-{thread}-{}", now_ms()));
        office.say(&thread, key, "Restarted; your question is being answered again.");
    }
}
