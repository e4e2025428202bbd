//! Who may speak, and where: a list of people and a list of chats, both of which must agree.
//!
//! Empty lists mean nobody. A stranger gets nothing: no answer, no reaction, no request to Telegram at all.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tinyclaw_service::settings::{Office, Telegram};
use tinyclaw_service::{Shutdown, Vitals};

use crate::bot::Bot;

/// Of those who are not heard the log has a line this often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How often is looked whether somebody may speak by now.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The lists in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// Who may speak.
    pub users: Vec<i64>,
    /// Where, besides the home forum and the private chats of those who may.
    pub chats: Vec<i64>,
    /// The home forum.
    pub home: Option<i64>,
    /// Who may do what others may not.
    pub admins: Vec<i64>,
}

impl People {
    /// The lists as they are now.
    pub(crate) fn now(bot: &Bot) -> People {
        let settings = bot.settings.current();
        let (office, telegram, _) = &*settings;
        People::of(office, telegram, |chat| bot.addresses.present(chat))
    }

    /// The lists as the settings have them; `present` gives the id a chat has today.
    pub fn of(office: &Office, telegram: &Telegram, present: impl Fn(i64) -> i64) -> People {
        People {
            users: telegram.allowed_users.clone(),
            chats: telegram.allowed_chats.iter().map(|it| present(*it)).collect(),
            home: telegram.chat_id.map(&present),
            admins: office.admins.clone(),
        }
    }

    /// Whether this person may speak in this chat.
    pub fn may_speak(&self, user: i64, chat: i64) -> bool {
        let here = if chat > 0 { chat == user } else { self.is_our_chat(chat) };
        self.users.contains(&user) && here
    }

    /// Whether we belong into this group.
    pub fn is_our_chat(&self, chat: i64) -> bool {
        Some(chat) == self.home || self.chats.contains(&chat)
    }

    /// Whether this person may do what others may not. Without admins it is the only person who may speak: who is alone
    /// here is nobody's guest. Where several may speak and no admins are named, nobody may.
    pub fn is_admin(&self, user: i64) -> bool {
        self.admins.contains(&user) || (self.admins.is_empty() && self.users == [user])
    }

    /// Why nobody can speak at all, for a person to mend.
    pub fn missing(&self) -> Option<&'static str> {
        if self.users.is_empty() {
            return Some(
                "nobody may speak: set TELEGRAM_ALLOWED_USERS to the Telegram ids of those who may",
            );
        }
        None
    }
}

/// How the sender of a message begins that a program brought over the API. A person's is a number.
const PROGRAM: &str = "api-";

/// Whether this person may stop a turn that `asker` asked for. What no person asked for, but nobody or a program over the
/// API, anybody may stop: nobody else is there who could.
pub(crate) fn may_stop(bot: &Bot, user: i64, asker: Option<&str>) -> bool {
    asker.is_none_or(|it| it == user.to_string() || it.starts_with(PROGRAM)) || may_rule(bot, user)
}

/// Whether this person may do what others may not.
pub(crate) fn may_rule(bot: &Bot, user: i64) -> bool {
    People::now(bot).is_admin(user)
}

/// Waits until somebody may speak: before that, what is said would be fetched and thrown away. `false` at the shutdown.
pub(crate) async fn wait_for_people(bot: &Bot, vitals: &Vitals, shutdown: &Shutdown) -> bool {
    while let Some(missing) = People::now(bot).missing() {
        vitals.block("people", missing);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.begun() => return false,
        }
    }
    vitals.unblock("people");
    let homeless = bot.home().is_none().then(|| {
        "there is no home forum, so only private chats are answered: set TELEGRAM_CHAT_ID"
            .to_owned()
    });
    vitals.concern("home", homeless);
    true
}

/// Those who are not heard. They leave a line in the log, and only now and then: a stranger must not fill it.
#[derive(Debug, Default)]
pub(crate) struct Unheard(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    since: u64,
}

impl Unheard {
    /// Notes that somebody who may not speak did something.
    pub(crate) fn note(&self, user: i64, chat: i64, what: &str) {
        let Some(others) = self.count(Instant::now()) else { return };
        let more = match others {
            0 => String::new(),
            count => format!("; {count} more like it since the last line"),
        };
        tracing::info!(
            user,
            chat,
            "{what} of somebody who is not allowed to speak was not heard{more}"
        );
    }

    /// How many were not told of since the last line, when it is time for another.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(|it| it.into_inner());
        if told.at.is_some_and(|it| now.saturating_duration_since(it) < TOLD_EVERY) {
            told.since += 1;
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_fill_no_log() {
        let (unheard, begin) = (Unheard::default(), Instant::now());
        let after = |seconds| unheard.count(begin + Duration::from_secs(seconds));
        assert_eq!(after(0), Some(0));
        assert_eq!((1..60).filter_map(after).count(), 0);
        assert_eq!((after(60), after(61), after(200)), (Some(59), None, Some(1)));
    }

    #[test]
    fn who_is_alone_is_an_admin_and_of_several_only_those_who_are_named() {
        let people = |users: &[i64], admins: &[i64]| People {
            users: users.to_vec(),
            admins: admins.to_vec(),
            ..People::default()
        };
        for (users, admins, user, is) in [
            (&[101][..], &[][..], 101, true),
            (&[101], &[], 102, false),
            (&[101, 102], &[], 101, false),
            (&[101, 102], &[102], 102, true),
            (&[101, 102], &[102], 101, false),
            (&[101], &[102], 101, false),
            (&[], &[], 0, false),
        ] {
            assert_eq!(people(users, admins).is_admin(user), is, "{user} of {users:?}, {admins:?}");
        }
    }

    #[test]
    fn a_person_and_a_place_must_both_be_known() {
        let people = People { users: vec![101], chats: vec![-5], home: Some(-1), admins: vec![] };
        for (user, chat, may) in [
            (101, -1, true),
            (101, -5, true),
            (101, 101, true),
            (101, -9, false),
            (666, -1, false),
            (666, 666, false),
            // A private chat is its own person's alone.
            (101, 102, false),
        ] {
            assert_eq!(people.may_speak(user, chat), may, "{user} in {chat}");
        }
        assert!(!People::default().may_speak(0, 0));
    }
}
