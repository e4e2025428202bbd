//! Ids: strings from files, chats and URLs become these types at the door, or are refused by name.
//!
//! Every id is safe as a part of a file name: no separators, no leading dot, a length limit. Nothing here
//! makes an id up from a clock or chance; whoever needs one brings its material.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The longest thread id. A lane's name adds two bytes, and a queue file's name must stay below 200.
pub const THREAD_ID_BYTES_MAX: usize = 48;
/// The longest key. Longer material is hashed by [`Key::hashed`].
pub const KEY_BYTES_MAX: usize = 96;

/// A string that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {why}")]
pub struct BadId {
    /// Which kind of id was expected.
    pub what: &'static str,
    /// What came instead, shortened.
    pub text: String,
    /// The rule it breaks.
    pub why: &'static str,
}

fn checked(what: &'static str, text: &str, bytes_max: usize) -> Result<Box<str>, BadId> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > bytes_max {
        "it is too long"
    } else if text.starts_with(['.', '-']) && !is_negative_number(text) {
        "it starts with a dot or a dash"
    } else if !text.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'.' | b'-'))
    {
        "only letters, digits, '_', '.' and '-' are allowed"
    } else {
        return Ok(text.into());
    };
    Err(BadId { what, text: text.chars().take(64).collect(), why })
}

fn is_negative_number(text: &str) -> bool {
    text.strip_prefix('-')
        .is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

macro_rules! string_id {
    ($name:ident) => {
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// A desk. Given at birth and never changed, whatever happens to the topic it is shown in.
///
/// A number for topics of the home forum (General is 1, the master); `u<user>` for a private chat,
/// `g<chat>.<topic>` for another forum, `cli` or `cli-<name>` at a terminal, `api.<env>` over HTTP.
/// In JSON a thread of the home forum is a number, every other one a string.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId(Box<str>);
string_id!(ThreadId);

impl ThreadId {
    /// The master thread: General of the home forum.
    pub fn master() -> ThreadId {
        ThreadId("1".into())
    }

    /// The thread of a topic of the home forum.
    pub fn topic(number: u32) -> ThreadId {
        ThreadId(number.to_string().into())
    }

    /// The topic's number when this is a thread of the home forum.
    pub fn number(&self) -> Option<u32> {
        self.0.parse().ok()
    }

    /// Whether what is said in this thread is shown in Telegram. Private chats and topics of other groups exist nowhere
    /// else; a number is a topic where there is a home forum.
    pub fn is_in_telegram(&self, has_home: bool) -> bool {
        let is_chat = |prefix: char| {
            self.0.strip_prefix(prefix).is_some_and(|it| {
                it.starts_with(|it: char| it.is_ascii_digit() || it == '-')
                    && it.bytes().all(|it| it.is_ascii_digit() || matches!(it, b'-' | b'.'))
            })
        };
        is_chat('u') || is_chat('g') || (has_home && self.number().is_some())
    }
}

impl FromStr for ThreadId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<ThreadId, BadId> {
        let id = checked("thread id", text, THREAD_ID_BYTES_MAX)?;
        let why = if text.starts_with("c.") || text.starts_with("m.") {
            "'c.' and 'm.' begin the names of control and housekeeping lanes"
        } else if text.starts_with('-') {
            "it starts with a dash"
        } else if text.bytes().all(|it| it.is_ascii_digit())
            && text.parse::<u32>().ok().is_none_or(|it| it.to_string() != text)
        {
            "as a number it must be a plain one below 4294967296"
        } else {
            return Ok(ThreadId(id));
        };
        Err(BadId { what: "thread id", text: text.to_owned(), why })
    }
}

impl Serialize for ThreadId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.number() {
            Some(number) => to.serialize_u32(number),
            None => to.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ThreadId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ThreadId, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u32),
            Text(String),
        }
        match Raw::deserialize(from)? {
            Raw::Number(number) => Ok(ThreadId::topic(number)),
            Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// Which message it is: publishing a key that is already in the queue is a no-op.
///
/// Families, one publisher each: `tg-<update>`, `cli-<uuid>`, `api-<idempotency key>`, `x-<parent>-<n>`
/// (follow-ups), `n-<key>-<attempt>-<kind>` (notices), `hb-…`, `reset-<thread>-<session>`, `sum-…`, `bg-…`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);
string_id!(Key);

impl Key {
    /// A key of `family` about `material` (an idempotency key, a parent's key): kept readable while it is short
    /// and clean, hashed when it is not. The same material always gives the same key.
    pub fn hashed(family: &str, material: &str) -> Key {
        let plain = format!("{family}-{material}");
        if let Ok(key) = plain.parse() {
            return key;
        }
        let digest = Sha256::digest(material.as_bytes());
        let hex: String = digest.iter().take(16).map(|it| format!("{it:02x}")).collect();
        Key(format!("{family}-h{hex}").into())
    }

    /// The key of the `n`th message that a turn of this message sends on.
    pub fn follow_up(&self, n: usize) -> Key {
        Key::hashed("x", &format!("{self}-{n}"))
    }

    /// The key of a notice about this message, in one attempt, of one kind.
    pub fn notice(&self, attempt: u32, kind: &str) -> Key {
        Key::hashed("n", &format!("{self}-{attempt}-{kind}"))
    }

    /// The key of the notice that shows this message where it is answered, when it came from another thread.
    pub fn arrival(&self) -> Key {
        self.notice(0, "arrived")
    }
}

impl FromStr for Key {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Key, BadId> {
        if text.starts_with('-') {
            return Err(BadId { what: "key", text: text.to_owned(), why: "it starts with a dash" });
        }
        checked("key", text, KEY_BYTES_MAX).map(Key)
    }
}

/// A sequence that one owner works through in order.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// The ordinary messages of a thread.
    Thread(ThreadId),
    /// Stop and permission answers: waits for nothing, written `c.<thread>`.
    Control(ThreadId),
    /// Summaries and other housekeeping: nobody waits for it, written `m.<thread>`.
    House(ThreadId),
}

impl Lane {
    /// The thread this lane belongs to.
    pub fn thread(&self) -> &ThreadId {
        match self {
            Lane::Thread(it) | Lane::Control(it) | Lane::House(it) => it,
        }
    }

    /// Whether this is a control lane, which ignores every limit.
    pub fn is_control(&self) -> bool {
        matches!(self, Lane::Control(_))
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lane::Thread(it) => write!(f, "{it}"),
            Lane::Control(it) => write!(f, "c.{it}"),
            Lane::House(it) => write!(f, "m.{it}"),
        }
    }
}

impl FromStr for Lane {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Lane, BadId> {
        if let Some(thread) = text.strip_prefix("c.") {
            Ok(Lane::Control(thread.parse()?))
        } else if let Some(thread) = text.strip_prefix("m.") {
            Ok(Lane::House(thread.parse()?))
        } else {
            Ok(Lane::Thread(text.parse()?))
        }
    }
}

/// A Claude session: a UUID in lower case, nothing else, because it becomes a file name and an argument.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Box<str>);
string_id!(SessionId);

impl FromStr for SessionId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<SessionId, BadId> {
        let bytes = text.as_bytes();
        let is_uuid = bytes.len() == 36
            && bytes.iter().enumerate().all(|(at, it)| match at {
                8 | 13 | 18 | 23 => *it == b'-',
                _ => it.is_ascii_hexdigit(),
            });
        if is_uuid {
            Ok(SessionId(text.to_ascii_lowercase().into()))
        } else {
            Err(BadId {
                what: "session id",
                text: text.chars().take(64).collect(),
                why: "it must be a UUID such as 6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f",
            })
        }
    }
}

macro_rules! serde_by_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_by_text!(Key, Lane, SessionId);

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn thread(text: &str, expect: Expect) {
        let shown = match text.parse::<ThreadId>() {
            Ok(it) => format!("{it:?} {}", serde_json::to_string(&it).unwrap()),
            Err(it) => it.to_string(),
        };
        expect.assert_eq(&shown);
    }

    #[test]
    fn the_channel_of_a_thread_is_told_by_its_id() {
        let shown =
            |text: &str, has_home| text.parse::<ThreadId>().unwrap().is_in_telegram(has_home);
        for text in ["u101", "g-1005", "g-1005.7", "g5"] {
            assert!(shown(text, false) && shown(text, true), "{text}");
        }
        assert!(shown("1", true) && shown("42", true), "topics of the home forum");
        assert!(!shown("1", false), "without a forum a number is a thread like any other");
        for text in ["cli", "cli-notes", "u", "g", "ursula", "u1x", "gnu.7"] {
            assert!(!shown(text, true), "{text}");
        }
    }

    #[test]
    fn a_topic_is_a_number_in_json_and_others_are_strings() {
        thread("42", expect!["ThreadId(42) 42"]);
        thread("u123", expect![[r#"ThreadId(u123) "u123""#]]);
        thread("g-100123.7", expect![[r#"ThreadId(g-100123.7) "g-100123.7""#]]);
    }

    #[test]
    fn an_id_cannot_climb_out_of_its_folder() {
        thread(
            "../../etc/passwd",
            expect![[
                r#"thread id "../../etc/passwd" is not valid: it starts with a dot or a dash"#
            ]],
        );
        thread(
            "a/b",
            expect![[
                r#"thread id "a/b" is not valid: only letters, digits, '_', '.' and '-' are allowed"#
            ]],
        );
        thread(
            "007",
            expect![[
                r#"thread id "007" is not valid: as a number it must be a plain one below 4294967296"#
            ]],
        );
        thread(
            "c.7",
            expect![[
                r#"thread id "c.7" is not valid: 'c.' and 'm.' begin the names of control and housekeeping lanes"#
            ]],
        );
        thread("", expect![[r#"thread id "" is not valid: it is empty"#]]);
        assert!("--resume=x".parse::<SessionId>().is_err());
        assert!("-x".parse::<Key>().is_err());
    }

    #[test]
    fn a_lane_reads_back_as_it_was_written() {
        for text in ["7", "c.7", "m.u12", "cli", "c.api.dev"] {
            assert_eq!(text.parse::<Lane>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_derived_key_is_the_same_each_time_and_never_too_long() {
        let mut key: Key = "tg-812345678".parse().unwrap();
        assert_eq!(key.follow_up(1).as_str(), "x-tg-812345678-1");
        for _ in 0..40 {
            assert_eq!(key.follow_up(2), key.follow_up(2));
            assert_ne!(key.follow_up(2), key.follow_up(3));
            key = key.follow_up(2);
            assert!(key.as_str().len() <= KEY_BYTES_MAX);
        }
        assert!(Key::hashed("api", "any/thing at all").as_str().starts_with("api-h"));
    }
}
