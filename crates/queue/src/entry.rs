//! A message as it is listed: what its name tells, and where an engine reads it from.

use tinyclaw_domain::{Key, Lane};

use crate::Place;
use crate::name::Name;

/// A message as its name tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which message.
    pub key: Key,
    /// The lane it waits in.
    pub lane: Lane,
    /// Where it is.
    pub place: Place,
    /// When it entered the queue, in ms since 1970.
    pub queued_at: u64,
    /// It was moved back, and is not to be tried before, in ms since 1970. Long past when there is no time to wait for.
    pub not_before: Option<u64>,
    /// `<prio>-<ulid>` of its name, in which its lane is ordered.
    pub(crate) order: String,
    pub(crate) at: At,
}

impl Entry {
    /// The message of a name in a place; `None` when the name is none.
    pub(crate) fn of(place: Place, text: &str, at: impl FnOnce() -> At) -> Option<Entry> {
        let name: Name = text.parse().ok()?;
        Some(Entry {
            order: name.order(),
            key: name.key,
            lane: name.lane,
            place,
            queued_at: name.ulid.timestamp_ms(),
            not_before: (name.epoch > 0).then_some(name.epoch),
            at: at(),
        })
    }
}

/// What a look at a place reads from: a place, or a day of `done/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shelf {
    pub(crate) place: Place,
    pub(crate) day: Option<String>,
}

/// Where a message that was listed is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum At {
    File(std::path::PathBuf),
    #[cfg(any(feature = "memory", feature = "postgres"))]
    Row(Place, String),
}
