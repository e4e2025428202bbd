//! Where a thread's Claude runs: on this machine, on a devbox, or in an environment of the gateway.
//!
//! A path of a thread means something only together with its place: the same text names other files elsewhere. Nothing
//! here looks at a disk.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::BadId;

/// The longest name of a devbox.
const DEVBOX_BYTES_MAX: usize = 30;
/// The longest name of an environment: a thread `api.<env>.<ulid>` has 48 bytes at most.
const ENV_BYTES_MAX: usize = 17;
/// Words that follow `/devbox`: a devbox of that name could not be spoken of.
const DEVBOX_VERBS: [&str; 17] = [
    "add", "approve", "doctor", "forget", "git", "help", "here", "keep", "key", "list", "local",
    "move", "remove", "rename", "status", "trust", "yes",
];

/// A machine, or a part of one, with a Claude of its own: its own login, limits, directories and transcripts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Place {
    /// This machine.
    #[default]
    Here,
    /// A machine that is reached over SSH.
    Devbox(DevboxName),
    /// An environment of the gateway.
    Env(EnvName),
}

impl Place {
    /// Whether it is this machine, whose disk can be looked at.
    pub fn is_here(&self) -> bool {
        *self == Place::Here
    }
}

/// As people are told.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Here => f.pad("this machine"),
            Place::Devbox(name) => name.fmt(f),
            Place::Env(name) => name.fmt(f),
        }
    }
}

/// The name of a devbox: `[a-z][a-z0-9-]{0,29}`, and no word that `/devbox` takes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DevboxName(Box<str>);

/// The name of an environment: `[a-z0-9][a-z0-9-]{0,16}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvName(Box<str>);

impl FromStr for DevboxName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<DevboxName, BadId> {
        let is_verb = DEVBOX_VERBS.contains(&text);
        let why = if !text.starts_with(|it: char| it.is_ascii_lowercase()) {
            "it must start with a small letter"
        } else if is_verb {
            "it is a word of /devbox"
        } else {
            return name("devbox name", text, DEVBOX_BYTES_MAX).map(DevboxName);
        };
        Err(bad("devbox name", text, why))
    }
}

impl FromStr for EnvName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<EnvName, BadId> {
        name("environment name", text, ENV_BYTES_MAX).map(EnvName)
    }
}

/// Small letters, digits and dashes that do not come first.
fn name(what: &'static str, text: &str, bytes_max: usize) -> Result<Box<str>, BadId> {
    let is_plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > bytes_max {
        "it is too long"
    } else if text.starts_with('-') {
        "it starts with a dash"
    } else if !text.bytes().all(is_plain) {
        "only small letters, digits and '-' are allowed"
    } else {
        return Ok(text.into());
    };
    Err(bad(what, text, why))
}

fn bad(what: &'static str, text: &str, why: &'static str) -> BadId {
    BadId { what, text: text.chars().take(64).collect(), why }
}

macro_rules! name {
    ($($name:ident),*) => {$(
        impl $name {
            /// The name as text.
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
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
name!(DevboxName, EnvName);

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;
    use crate::Thread;

    #[track_caller]
    fn check<T: FromStr<Err = BadId> + fmt::Debug>(text: &str, expect: Expect) {
        expect.assert_eq(&match text.parse::<T>() {
            Ok(it) => format!("{it:?}"),
            Err(it) => it.to_string(),
        });
    }

    fn thread(cwd: &str, env: Option<&str>) -> serde_json::Result<Thread> {
        serde_json::from_value(serde_json::json!({ "name": "x", "cwd": cwd, "env": env }))
    }

    fn placed(cwd: &str) -> (Place, PathBuf) {
        thread(cwd, None).unwrap().place()
    }

    #[test]
    fn a_name_is_a_short_word_that_fits_an_argument() {
        check::<DevboxName>("api-2", expect!["DevboxName(api-2)"]);
        check::<DevboxName>(
            "-oProxyCommand=x",
            expect![[
                r#"devbox name "-oProxyCommand=x" is not valid: it must start with a small letter"#
            ]],
        );
        check::<DevboxName>(
            "api;ls",
            expect![[
                r#"devbox name "api;ls" is not valid: only small letters, digits and '-' are allowed"#
            ]],
        );
        check::<DevboxName>(
            "list",
            expect![[r#"devbox name "list" is not valid: it is a word of /devbox"#]],
        );
        check::<EnvName>("2dev", expect!["EnvName(2dev)"]);
        check::<EnvName>("", expect![[r#"environment name "" is not valid: it is empty"#]]);
        check::<EnvName>(
            "-dev",
            expect![[r#"environment name "-dev" is not valid: it starts with a dash"#]],
        );
        check::<EnvName>(
            "an-environment-too",
            expect![[r#"environment name "an-environment-too" is not valid: it is too long"#]],
        );
    }

    #[test]
    fn a_threads_place_is_told_by_its_entry() {
        let api = || Place::Devbox("api".parse().unwrap());
        assert_eq!(placed("/srv/7"), (Place::Here, "/srv/7".into()));
        assert_eq!(placed("api:/srv/api"), (api(), "/srv/api".into()));
        assert_eq!(placed("api:/a:/b"), (api(), "/a:/b".into()));
        // No absolute path: on this machine there is no such directory, whatever it is relative to.
        for nowhere in ["api:srv", "API:/srv", "list:/srv", ":/srv", "a/b:/srv", ""] {
            assert_eq!(placed(nowhere), (Place::Here, nowhere.into()), "{nowhere}");
        }
        assert_eq!(placed("/a:/b"), (Place::Here, "/a:/b".into()));
        let dev = Place::Env("dev".parse().unwrap());
        assert_eq!(thread("/work", Some("dev")).unwrap().place(), (dev, "/work".into()));
        assert!(
            thread("/work", Some("../dev")).is_err(),
            "never taken for a thread of this machine"
        );
    }

    proptest! {
        #[test]
        fn a_name_that_is_one_reads_back_and_cannot_be_taken_for_anything_else(text in "\\PC{0,40}|[a-z0-9-]{0,40}") {
            if let Ok(name) = text.parse::<DevboxName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.len() <= 30 && text.starts_with(|it: char| it.is_ascii_lowercase()));
                prop_assert!(!text.contains([':', '/', '.', ' ', '=', '\'', '"', '$', '`']));
                prop_assert_eq!(placed(&format!("{text}:/srv")), (Place::Devbox(name), PathBuf::from("/srv")));
            }
            if let Ok(name) = text.parse::<EnvName>() {
                prop_assert!(text.len() <= 17 && !text.starts_with('-'));
                let id: crate::ThreadId = format!("api.{name}").parse().unwrap();
                prop_assert_eq!(id.as_str(), format!("api.{name}"));
            }
        }

        #[test]
        fn a_directory_elsewhere_is_absolute_and_one_here_is_what_was_written(cwd in "\\PC{0,60}|[a-z:/.-]{0,20}") {
            match placed(&cwd) {
                (Place::Here, dir) => prop_assert_eq!(dir, Path::new(&cwd)),
                (_, dir) => {
                    prop_assert!(dir.is_absolute());
                    prop_assert!(!Path::new(&cwd).is_absolute(), "an absolute path is this machine's");
                }
            }
        }
    }
}
