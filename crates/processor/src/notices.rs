//! What TinyClaw itself says: to a thread, once; to the operator, once and once more when it is cured.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tinyclaw_domain::{Channel, Key, Message, Outcome, Reply, Source, ThreadId};
use tinyclaw_queue::{Durability, Place, Side};
use tinyclaw_service::{conceal, now_ms};

use crate::office::{Office, lock, on_disk};

/// The concern that the API answers nobody.
const OUTAGE: &str = "api";
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
        if !self.is_in_telegram(thread) {
            return;
        }
        let mut notice = Message::new(key, Channel::Telegram, thread.clone(), "", now_ms());
        notice.source = Source::System;
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

    /// Something the operator must know, or that it is cured: in `/ready` and `health/`, and once in General.
    pub(crate) fn concern(&self, cause: &str, what: Option<String>) {
        self.vitals.concern(cause, what.clone());
        let told = (None, cause.to_owned());
        let text = match what {
            Some(what) if lock(&self.told).insert(told) => what,
            None if lock(&self.told).remove(&(None, cause.to_owned())) => {
                let Some(words) = cured_words(cause) else { return };
                words.to_owned()
            }
            _ => return,
        };
        tracing::warn!(cause, "{text}");
        let key = Key::hashed("n", &format!("op-{cause}-{}", now_ms()));
        self.say(&ThreadId::master(), key, &text);
    }

    /// Stops asking Claude until it is over. Everything waits; each thread is told when it comes up.
    pub(crate) fn pause(&self, pause: Pause) {
        tracing::error!("no turn can run: {}", pause.why);
        self.vitals.block("engine", pause.sentence(self));
        self.concern(
            "engine",
            Some(format!("{} What waits goes on by itself then.", pause.sentence(self))),
        );
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
            thread.is_none() || !matches!(cause.as_str(), "pause" | OUTAGE)
        });
        let is_told = lock(&self.told).contains(&(None, "engine".to_owned()));
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
        if *thread != ThreadId::master() {
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
