//! `/devbox` as people type it, in a chat or at a terminal.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{BadDevbox, DevboxDir, DevboxHost, DevboxTrust, DevboxUser, Fingerprint, shown};
use crate::DevboxName;

/// Where a devbox is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DevboxAddress {
    /// Reached over SSH.
    Ssh(DevboxHost),
    /// On this machine, as a child of the office.
    Local,
}

/// Where a thread goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MoveTo {
    /// On the office's own machine.
    Here,
    /// On this devbox.
    Devbox(DevboxName),
}

/// What is to be done about devboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum DevboxOrder {
    /// Make this thread the one of a new devbox.
    Add {
        /// What it is called.
        name: DevboxName,
        /// Where it is.
        at: DevboxAddress,
        /// Who is logged in as; none for the office's usual one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<DevboxUser>,
        /// Where Claude works there; none for the office's usual one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<DevboxDir>,
    },
    /// The key that was shown is the devbox's own.
    Approve {
        /// Whose key.
        name: DevboxName,
        /// What was shown: an answer to anything else approves nothing.
        fingerprint: Fingerprint,
    },
    /// Say which there are.
    List {
        /// With those that were removed.
        #[serde(default)]
        all: bool,
    },
    /// Ask one how it is; none for the thread's own, or all.
    Status {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<DevboxName>,
    },
    /// Look at everything that an answer from there takes; none for the thread's own.
    Doctor {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<DevboxName>,
    },
    /// Ask whether to remove one.
    Remove {
        /// Which.
        name: DevboxName,
    },
    /// Yes to what was asked about one.
    Yes {
        /// Which.
        name: DevboxName,
    },
    /// No to what was asked about one: all stays as it is.
    Keep {
        /// Which.
        name: DevboxName,
    },
    /// The next turn of its thread ends what another office has running in the directory there.
    TakeOver {
        /// On which.
        name: DevboxName,
    },
    /// Call one something else.
    Rename {
        /// What it is called.
        from: DevboxName,
        /// What it will be called.
        to: DevboxName,
    },
    /// Forget the key that was approved: the next connection asks again.
    ForgetKey {
        /// Whose.
        name: DevboxName,
    },
    /// Show the office's own public key.
    Key {},
    /// Ask whether this thread is to go on elsewhere.
    Move {
        /// Where.
        to: MoveTo,
        /// In which directory there; none for the one of the same name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<DevboxDir>,
    },
    /// Which of our tools the Claude of one gets.
    Trust {
        /// Whose.
        name: DevboxName,
        /// Which.
        trust: DevboxTrust,
    },
    /// Whether the Claude of one may ask for tokens of the repository that lies there.
    Git {
        /// Whose.
        name: DevboxName,
        /// Whether.
        on: bool,
    },
}

impl DevboxOrder {
    /// Whether everybody who may speak may give it. All else is for admins.
    pub fn is_for_all(&self) -> bool {
        matches!(self, DevboxOrder::List { all: false } | DevboxOrder::Status { .. })
    }
}

/// Every verb, what follows it, and what it does.
pub const DEVBOX_VERBS: [(&str, &str, &str); 15] = [
    ("add", "NAME HOST[:PORT] [USER] [DIR]", "a new devbox, with a topic of its own"),
    ("list", "[all]", "all devboxes, and how they are"),
    ("status", "[NAME]", "ask one whether it answers"),
    ("doctor", "[NAME]", "look at all that an answer from there takes"),
    ("key", "", "our public key, for authorized_keys there"),
    ("move", "NAME|here [DIR]", "this thread goes on there, after a question"),
    ("trust", "NAME own|office", "which of our tools its Claude gets"),
    ("git", "NAME on|off", "whether its Claude may ask for tokens of the repository there"),
    ("approve", "NAME FINGERPRINT", "the key that was shown is its own"),
    ("rename", "NAME NEW", "call it something else"),
    ("forget", "key NAME", "forget its key: the next connection asks again"),
    ("take", "over NAME", "end what another office has running in this thread's directory"),
    ("remove", "NAME", "remove it here, after a question"),
    ("yes", "NAME", "yes to what was asked about it"),
    ("keep", "NAME", "no to what was asked about it"),
];

/// What follows `/devbox`.
impl FromStr for DevboxOrder {
    type Err = BadDevbox;

    fn from_str(rest: &str) -> Result<DevboxOrder, BadDevbox> {
        let mut words = rest.split_whitespace();
        let verb = words.next().unwrap_or("list");
        let words: Vec<&str> = words.collect();
        let name = |at: usize| name(words.get(at).copied().unwrap_or_default());
        let maybe = || words.first().map(|it| self::name(it)).transpose();
        let most = |many: usize| match words.get(many) {
            Some(word) => Err(BadDevbox(format!("`{}` is one word too many.", shown(word)))),
            None => Ok(()),
        };
        Ok(match verb {
            "add" => {
                most(4)?;
                let name = name(0)?;
                let at = match words.get(1).copied() {
                    Some("local") => DevboxAddress::Local,
                    Some(host) => DevboxAddress::Ssh(host.parse()?),
                    None => {
                        return Err(BadDevbox(format!(
                            "Where is `{name}`? Write `/devbox add {name} HOST[:PORT] [USER] [DIR]`."
                        )));
                    }
                };
                // A directory may stand where the user would.
                let (user, dir) = match (words.get(2), words.get(3)) {
                    (Some(dir), None) if dir.starts_with('/') => (None, Some(dir)),
                    (user, dir) => (user, dir),
                };
                let user = user.map(|it| it.parse()).transpose()?;
                DevboxOrder::Add { name, at, user, dir: dir.map(|it| it.parse()).transpose()? }
            }
            "approve" => {
                most(2)?;
                let fingerprint = words.get(1).copied().unwrap_or_default().parse()?;
                DevboxOrder::Approve { name: name(0)?, fingerprint }
            }
            "list" => match words[..] {
                [] => DevboxOrder::List { all: false },
                ["all"] => DevboxOrder::List { all: true },
                _ => return Err(BadDevbox("`/devbox list` takes `all` or nothing.".to_owned())),
            },
            "status" => {
                most(1)?;
                DevboxOrder::Status { name: maybe()? }
            }
            "doctor" => {
                most(1)?;
                DevboxOrder::Doctor { name: maybe()? }
            }
            "remove" | "yes" | "keep" => {
                most(1)?;
                let name = name(0)?;
                match verb {
                    "remove" => DevboxOrder::Remove { name },
                    "yes" => DevboxOrder::Yes { name },
                    _ => DevboxOrder::Keep { name },
                }
            }
            "rename" => {
                most(2)?;
                DevboxOrder::Rename { from: name(0)?, to: name(1)? }
            }
            "forget" => {
                most(2)?;
                if words.first() != Some(&"key") {
                    return Err(BadDevbox(
                        "Only a key can be forgotten: `/devbox forget key NAME`.".to_owned(),
                    ));
                }
                DevboxOrder::ForgetKey { name: name(1)? }
            }
            "take" => {
                most(2)?;
                if words.first() != Some(&"over") {
                    return Err(BadDevbox(
                        "A directory is taken over: `/devbox take over NAME`.".to_owned(),
                    ));
                }
                DevboxOrder::TakeOver { name: name(1)? }
            }
            "move" => {
                most(2)?;
                let to = match words.first().copied() {
                    Some("here") => MoveTo::Here,
                    _ => MoveTo::Devbox(name(0)?),
                };
                DevboxOrder::Move { to, dir: words.get(1).map(|it| it.parse()).transpose()? }
            }
            "trust" => {
                most(2)?;
                let trust = words.get(1).copied().unwrap_or_default().parse()?;
                DevboxOrder::Trust { name: name(0)?, trust }
            }
            "git" => {
                most(2)?;
                let on = match words.get(1).copied().unwrap_or_default() {
                    "on" => true,
                    "off" => false,
                    other => {
                        let why = format!("`{}` is neither `on` nor `off`.", shown(other));
                        return Err(BadDevbox(why));
                    }
                };
                DevboxOrder::Git { name: name(0)?, on }
            }
            "key" => {
                most(0)?;
                DevboxOrder::Key {}
            }
            other => {
                let verbs: Vec<&str> = DEVBOX_VERBS.iter().map(|it| it.0).collect();
                return Err(BadDevbox(format!(
                    "There is no `/devbox {}`. There are: {}.",
                    shown(other),
                    verbs.join(", ")
                )));
            }
        })
    }
}

fn name(word: &str) -> Result<DevboxName, BadDevbox> {
    word.parse().map_err(|err: crate::BadId| {
        BadDevbox(format!("`{}` is no name for a devbox: {}.", shown(word), err.why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rest: &str) -> String {
        rest.parse::<DevboxOrder>().unwrap_err().to_string()
    }

    #[test]
    fn a_devbox_is_added_with_what_the_office_does_not_know() {
        let add = |rest: &str| match rest.parse() {
            Ok(DevboxOrder::Add { name, at, user, dir }) => {
                let (user, dir) = (user.map(|it| it.to_string()), dir.map(|it| it.to_string()));
                (name.to_string(), at, user.unwrap_or_default(), dir.unwrap_or_default())
            }
            other => panic!("{rest}: {other:?}"),
        };
        let ssh = |host: &str| DevboxAddress::Ssh(host.parse().unwrap());
        let api =
            |at, user: &str, dir: &str| ("api".to_owned(), at, user.to_owned(), dir.to_owned());
        assert_eq!(add("add api 10.0.0.7:2222"), api(ssh("10.0.0.7:2222"), "", ""));
        assert_eq!(
            add("add api a.example deploy /srv/api"),
            api(ssh("a.example"), "deploy", "/srv/api")
        );
        assert_eq!(add("add api a.example /srv/api"), api(ssh("a.example"), "", "/srv/api"));
        assert_eq!(add("add api local"), api(DevboxAddress::Local, "", ""));
    }

    #[test]
    fn what_is_no_order_gets_a_word_that_helps() {
        for (rest, says) in [
            ("dance", "There is no `/devbox dance`"),
            ("add", "is no name for a devbox: it must start with a small letter"),
            ("add api", "Where is `api`?"),
            ("add list host", "it is a word of /devbox"),
            ("add api -oProxyCommand=x", "`-oProxyCommand=x` is no host"),
            ("add api a;b", "is no host"),
            ("add api a.example ROOT", "is no user's name"),
            ("add api a.example root srv", "is no directory"),
            ("add api a.example root /srv more", "`more` is one word too many"),
            ("approve api abc", "is no fingerprint"),
            ("forget api", "Only a key can be forgotten"),
            ("take api", "`/devbox take over NAME`"),
            ("take over", "is no name for a devbox"),
            ("list some", "takes `all` or nothing"),
            ("key api", "one word too many"),
            ("move", "is no name for a devbox"),
            ("move api srv", "is no directory"),
            ("trust api", "`` is neither `own` nor `office`"),
            ("git api", "`` is neither `on` nor `off`"),
            ("git on", "`` is neither `on` nor `off`"),
            ("git api maybe", "`maybe` is neither `on` nor `off`"),
            ("trust api all", "`all` is neither `own` nor `office`"),
        ] {
            assert!(said(rest).contains(says), "{rest}: {}", said(rest));
        }
        let long = format!("add {} host", "x".repeat(200));
        assert!(said(&long).len() < 200, "{}", said(&long));
    }

    #[test]
    fn everybody_may_look_and_only_admins_may_change() {
        let is_for_all = |rest: &str| rest.parse::<DevboxOrder>().unwrap().is_for_all();
        assert!(is_for_all("") && is_for_all("status api"));
        for rest in [
            "move here",
            "trust api own",
            "git api on",
            "list all",
            "doctor",
            "remove api",
            "key",
            "rename api box",
            "take over api",
            "yes api",
        ] {
            assert!(!is_for_all(rest), "{rest}");
        }
    }
}
