//! File names: what a claim needs to know of a message to choose it. Only a claim for one channel opens the chosen file to
//! see whether it is of that channel.
//!
//! `<prio>-<ulid>~<lane>~<key>[~<epoch>].json`. The order of a lane is the order of its names. The epoch is the time
//! before which the message must not be tried again; each move back gives a greater one, so that of two places where
//! a name was seen, the later can be told (see `index`).

use std::str::FromStr;

use tinyclaw_domain::{Key, Lane};
use ulid::Ulid;

/// The longest name. Every file system we know takes 255 bytes; a reason file adds a suffix.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// What goes first in a lane. Only heartbeats wait behind people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    Ordinary,
    Low,
}

/// A parsed file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) priority: Priority,
    pub(crate) ulid: Ulid,
    pub(crate) lane: Lane,
    pub(crate) key: Key,
    pub(crate) epoch: u64,
}

/// The parts of a name, not yet checked, without allocating. `None` for a name that is not ours.
pub(crate) struct Parts<'a> {
    /// `<prio>-<ulid>`: the order in a lane.
    pub(crate) order: &'a str,
    pub(crate) lane: &'a str,
    pub(crate) key: &'a str,
    pub(crate) epoch: u64,
}

pub(crate) fn parts(name: &str) -> Option<Parts<'_>> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut pieces = name.strip_suffix(".json")?.split('~');
    let (order, lane, key) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let epoch = match pieces.next() {
        Some(it) if it.len() <= 16 => it.parse().ok()?,
        Some(_) => return None,
        None => 0,
    };
    let well_formed = pieces.next().is_none() && order.len() == 28 && order.as_bytes()[1] == b'-';
    (well_formed && !lane.is_empty() && !key.is_empty()).then_some(Parts {
        order,
        lane,
        key,
        epoch,
    })
}

impl Name {
    /// `<prio>-<ulid>`: the order in a lane.
    pub(crate) fn order(&self) -> String {
        format!("{}-{}", self.priority as u8, self.ulid)
    }

    /// The same message under a later epoch: the name it gets when it moves back.
    pub(crate) fn at_epoch(&self, epoch: u64) -> Name {
        Name { epoch: epoch.max(self.epoch + 1), ..self.clone() }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Name { priority, ulid, lane, key, epoch } = self;
        write!(f, "{}-{ulid}~{lane}~{key}", *priority as u8)?;
        if *epoch > 0 {
            write!(f, "~{epoch}")?;
        }
        write!(f, ".json")
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let parts = parts(text).ok_or("it is not of the form <prio>-<ulid>~<lane>~<key>.json")?;
        let priority = match &parts.order[..1] {
            "0" => Priority::Ordinary,
            "1" => Priority::Low,
            _ => return Err("its priority is neither 0 nor 1".to_owned()),
        };
        let ulid = Ulid::from_string(&parts.order[2..])
            .map_err(|err| format!("its ulid is wrong: {err}"))?;
        let name = Name {
            priority,
            ulid,
            lane: parts.lane.parse().map_err(|err| format!("{err}"))?,
            key: parts.key.parse().map_err(|err| format!("{err}"))?,
            epoch: parts.epoch,
        };
        if name.to_string() == text {
            Ok(name)
        } else {
            Err("it is not written the one right way".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(lane: &str, key: &str) -> Name {
        Name {
            priority: Priority::Ordinary,
            ulid: Ulid::from_parts(1_771_234_567_890, 7),
            lane: lane.parse().unwrap(),
            key: key.parse().unwrap(),
            epoch: 0,
        }
    }

    #[test]
    fn a_name_reads_back_as_it_was_written() {
        let first = name("c.g-100.7", "tg-812345678");
        assert_eq!(first.to_string().parse::<Name>().unwrap(), first);
        let later = first.at_epoch(1_771_234_999_000);
        assert_eq!(later.to_string().parse::<Name>().unwrap(), later);
        assert!(later.at_epoch(5).epoch > later.epoch);
    }

    #[test]
    fn the_longest_name_is_short_enough() {
        let thread = "t".repeat(tinyclaw_domain::THREAD_ID_BYTES_MAX);
        let key = "k".repeat(tinyclaw_domain::KEY_BYTES_MAX);
        let longest = name(&format!("c.{thread}"), &key).at_epoch(9_999_999_999_999);
        assert!(longest.to_string().len() <= NAME_BYTES_MAX, "{}", longest.to_string().len());
    }

    #[test]
    fn a_heartbeat_sorts_behind_what_came_later() {
        let mut beat = name("7", "hb-1");
        beat.priority = Priority::Low;
        let mut later = name("7", "tg-1");
        later.ulid = Ulid::from_parts(1_999_999_999_999, 0);
        assert!(later.to_string() < beat.to_string());
    }

    #[test]
    fn a_name_that_is_not_ours_is_told_why() {
        for text in [
            "message.json",
            "0-x~7~k.json",
            "2-01HZZZZZZZZZZZZZZZZZZZZZZZ~7~k.json",
            "../x.json",
            "",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
