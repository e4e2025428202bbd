//! Looking at the queue: no locks, no writes, nothing probed. Works on a read-only volume, and while others work.
//!
//! Places are listed in the direction of travel, so a message that moves on meanwhile is seen at least once; a key is
//! counted once, at its furthest place. One that moves back meanwhile may be missed by a single listing, so whoever is
//! looked for by key is looked for again before it is said to be gone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tinyclaw_domain::{Key, Lane, Message, STOPPED_WAITING};

use crate::clock::now_ms;
use crate::error::OpenError;
use crate::folders::{Folders, PROBE};
use crate::name::{self, Name};
use crate::plain::{self, Plain};
use crate::record;
use crate::{Place, Watch};

/// How many messages are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Depth {
    /// Waiting for Claude.
    pub incoming: usize,
    /// Being answered.
    pub processing: usize,
    /// Answered, waiting to be sent.
    pub outgoing: usize,
    /// Being sent.
    pub sending: usize,
    /// Of those waiting on either side: the ones that failed and wait for their next try.
    pub waiting_retries: usize,
    /// Given up, or stopped by a person while they waited; [`View::given_up`] tells the two apart.
    pub dead: usize,
    /// Not messages.
    pub quarantine: usize,
}

/// A message as its file name tells it.
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
    path: PathBuf,
}

/// A message that was looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Where it is.
    pub place: Place,
    /// Its place in its lane while it waits: 1 is next, or runs already when nothing is worked on.
    pub position: Option<usize>,
    /// The message.
    pub message: Message,
    /// Why it was given up or put aside.
    pub reason: Option<String>,
}

/// A message that moves *back* while the places are listed (a retry, a put-back) is seen in none of them, so one look
/// that finds nothing proves nothing.
const ABSENT_MAX: u32 = 3;
/// A message may move on between being seen and being read. One that is there each time and cannot be read is none.
const MOVED_MAX: u32 = 4;

/// A look at a queue.
#[derive(Debug, Clone)]
pub struct View {
    folders: Arc<Folders>,
}

impl View {
    /// A view of the queue below `state`, which need not exist yet.
    pub fn new(state: &Path) -> View {
        View { folders: Folders::of(state) }
    }

    pub(crate) fn at(folders: Arc<Folders>) -> View {
        View { folders }
    }

    /// How many messages are where. A queue that does not exist yet is empty.
    pub fn depth(&self) -> io::Result<Depth> {
        let now = now_ms();
        let mut furthest: HashMap<Box<str>, (Place, bool)> = HashMap::new();
        for place in Place::ALL {
            if place == Place::Done {
                continue;
            }
            self.scan(place, |_, parts| {
                furthest.insert(parts.key.into(), (place, parts.epoch > now));
            })?;
        }
        let mut depth = Depth::default();
        for (place, waits) in furthest.into_values() {
            match place {
                Place::Incoming => depth.incoming += 1,
                Place::Processing => depth.processing += 1,
                Place::Outgoing => depth.outgoing += 1,
                Place::Sending => depth.sending += 1,
                Place::Dead => depth.dead += 1,
                Place::Quarantine | Place::Done => {}
            }
            depth.waiting_retries +=
                usize::from(waits && matches!(place, Place::Incoming | Place::Outgoing));
        }
        depth.quarantine = self.quarantined()?;
        Ok(depth)
    }

    /// How many messages were given up: those in `dead/` that no person stopped while they waited. Reads the reason of
    /// each, so it is for who asks, and not for every tick.
    pub fn given_up(&self) -> io::Result<usize> {
        let mut dead = Vec::new();
        each_in(self.folders.place(Place::Dead), Place::Dead, |it| dead.push(it.path))?;
        let mut count = 0;
        for path in dead {
            count += usize::from(reason_beside(&path)?.as_deref() != Some(STOPPED_WAITING));
        }
        Ok(count)
    }

    /// What is in a place, oldest first, at most `most`: the oldest of them, or the newest of `done/`, which is read from
    /// its last day backwards. Holds no more than it returns, however much is there.
    pub fn list(&self, place: Place, most: usize) -> io::Result<Vec<Entry>> {
        let mut kept = BinaryHeap::new();
        if place != Place::Done {
            // Whoever sorts last leaves first.
            each_in(self.folders.place(place), place, |it| {
                kept.push(ByAge(it));
                if kept.len() > most {
                    kept.pop();
                }
            })?;
            return Ok(kept.into_sorted_vec().into_iter().map(|it| it.0).collect());
        }
        let mut kept = BinaryHeap::new();
        for (_, dir) in self.folders.done_days().unwrap_or_default().into_iter().rev() {
            each_in(&dir, place, |it| {
                kept.push(Reverse(ByAge(it)));
                if kept.len() > most {
                    kept.pop();
                }
            })?;
            if kept.len() >= most {
                break;
            }
        }
        // Sorted the other way round, so the oldest come last.
        Ok(kept.into_sorted_vec().into_iter().rev().map(|it| it.0.0).collect())
    }

    /// Reads a message that was listed. `None` when it has moved on meanwhile, or is no message. The error names the file.
    pub fn read(&self, entry: &Entry) -> io::Result<Option<Message>> {
        read(&entry.path)
    }

    /// Where a message is, as the names tell, without reading it: also for one that cannot be read. A message that moves
    /// meanwhile may be missed.
    pub fn place_of(&self, key: &Key) -> io::Result<Option<Place>> {
        let mut found = None;
        for place in Place::ALL {
            self.scan(place, |_, parts| {
                if parts.key == key.as_str() {
                    found = Some(place);
                }
            })?;
        }
        Ok(found)
    }

    /// Looks for a message in every place. `None` means that several looks in a row found it nowhere.
    pub fn find(&self, key: &Key) -> io::Result<Option<Seen>> {
        self.find_beside(key, |_| ())
    }

    /// [`View::find`], telling after each place that it was listed, so that a test can move the message just then.
    fn find_beside(&self, key: &Key, mut listed: impl FnMut(Place)) -> io::Result<Option<Seen>> {
        let (mut absent, mut moved) = (0, 0);
        while absent < ABSENT_MAX && moved < MOVED_MAX {
            let mut seen: Option<Entry> = None;
            let mut lane_names: Vec<(String, String)> = Vec::new();
            for place in Place::ALL {
                self.scan(place, |text, parts| {
                    if place == Place::Incoming {
                        lane_names.push((parts.lane.to_owned(), text.to_owned()));
                    }
                    if parts.key == key.as_str() {
                        let dir = match place {
                            Place::Done => None,
                            other => Some(self.folders.file(other, text)),
                        };
                        seen = entry(text, place, dir.unwrap_or_else(|| PathBuf::from(text)))
                            .or_else(|| seen.take());
                    }
                })?;
                listed(place);
            }
            let Some(mut entry) = seen else {
                absent += 1;
                continue;
            };
            if entry.place == Place::Done {
                entry.path = self.in_done(&entry.path).unwrap_or(entry.path);
            }
            let Some(message) = read(&entry.path)? else {
                moved += 1;
                continue;
            };
            let position = (entry.place == Place::Incoming).then(|| {
                let own = entry.path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
                let lane = entry.lane.to_string();
                lane_names.iter().filter(|(it, text)| *it == lane && text.as_str() <= own).count()
            });
            let reason = reason_beside(&entry.path)?;
            return Ok(Some(Seen { place: entry.place, position, message, reason }));
        }
        Ok(None)
    }

    /// Tells when something moves.
    pub fn watch(&self) -> Watch {
        Watch::start(&self.folders)
    }

    /// How old the oldest message waiting for Claude is, in ms; `None` when nothing waits.
    pub fn oldest_waiting_ms(&self) -> io::Result<Option<u64>> {
        let mut oldest: Option<u64> = None;
        self.scan(Place::Incoming, |text, _| {
            if let Ok(name) = text.parse::<Name>() {
                let at = name.ulid.timestamp_ms();
                oldest = Some(oldest.map_or(at, |it| it.min(at)));
            }
        })?;
        Ok(oldest.map(|it| now_ms().saturating_sub(it)))
    }

    fn in_done(&self, text: &Path) -> Option<PathBuf> {
        let days = self.folders.done_days().ok()?;
        days.into_iter().rev().map(|(_, dir)| dir.join(text)).find(|it| it.exists())
    }

    fn quarantined(&self) -> io::Result<usize> {
        let entries = match tinyclaw_disk::read_dir(self.folders.place(Place::Quarantine)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        let is_file = |it: &fs::DirEntry| {
            let name = it.file_name();
            let name = name.to_string_lossy();
            !name.ends_with(".reason") && !name.starts_with(PROBE)
        };
        let mut count = 0;
        for entry in entries {
            count += usize::from(is_file(&entry?));
        }
        Ok(count)
    }

    fn scan(&self, place: Place, each: impl FnMut(&str, name::Parts<'_>)) -> io::Result<()> {
        match self.folders.scan(place, each) {
            Err(OpenError::List { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(())
            }
            Err(OpenError::List { source, .. }) => Err(source),
            Err(other) => Err(io::Error::other(other.to_string())),
            Ok(()) => Ok(()),
        }
    }
}

/// Calls `each` with every message of a folder.
fn each_in(dir: &Path, place: Place, mut each: impl FnMut(Entry)) -> io::Result<()> {
    let entries = match tinyclaw_disk::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for it in entries {
        let it = it?;
        if let Some(it) = it.file_name().to_str().and_then(|text| entry(text, place, it.path())) {
            each(it);
        }
    }
    Ok(())
}

/// An entry in the order of [`View::list`]: by age, then by name.
#[derive(Debug, PartialEq, Eq)]
struct ByAge(Entry);

impl ByAge {
    fn order(&self) -> (u64, Option<&OsStr>) {
        (self.0.queued_at, self.0.path.file_name())
    }
}

impl Ord for ByAge {
    fn cmp(&self, other: &ByAge) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for ByAge {
    fn partial_cmp(&self, other: &ByAge) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn entry(text: &str, place: Place, path: PathBuf) -> Option<Entry> {
    let name: Name = text.parse().ok()?;
    Some(Entry {
        key: name.key,
        lane: name.lane,
        place,
        queued_at: name.ulid.timestamp_ms(),
        not_before: (name.epoch > 0).then_some(name.epoch),
        path,
    })
}

fn read(path: &Path) -> io::Result<Option<Message>> {
    let unread = |err: io::Error| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        io::Error::new(err.kind(), format!("{name} cannot be read: {err}"))
    };
    Ok(match plain::read(path).map_err(unread)? {
        Plain::Bytes(bytes) => record::read(&bytes).ok().map(|it| it.message),
        Plain::Gone | Plain::Unfit(_) => None,
    })
}

/// Why a message was given up or put aside, where that is said.
fn reason_beside(path: &Path) -> io::Result<Option<String>> {
    Ok(match plain::read(&with_suffix(path, ".reason"))? {
        Plain::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Plain::Gone | Plain::Unfit(_) => None,
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}

#[cfg(test)]
mod tests {
    use tinyclaw_domain::Channel;

    use super::*;
    use crate::{Durability, Options, Queue, Side, Which};

    #[test]
    fn a_message_that_moves_back_while_it_is_looked_for_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options { reserve_bytes: 0, free_share_min: 0.0, watch: false, ..Options::default() };
        let queue = Queue::open(dir.path(), options).unwrap();
        let key: Key = "cli-1".parse().unwrap();
        let asked = Message::new(key.clone(), Channel::Cli, "cli".parse().unwrap(), "hello", 1);
        queue.publish(Side::Run, asked, Durability::None).unwrap();
        let claim = || queue.try_claim(Side::Run, &Which::Ordinary).unwrap();
        // Twice in a row it moves back behind the look: from processing/, just after incoming/ was listed.
        let mut lease = claim();
        let mut times = 0;
        let seen = queue.view().find_beside(&key, |place| match place {
            Place::Incoming if times < 2 => lease.take().unwrap().put_back().unwrap(),
            Place::Quarantine if times < 2 => {
                times += 1;
                lease = if times < 2 { claim() } else { None };
            }
            _ => {}
        });
        assert_eq!(seen.unwrap().map(|it| it.place), Some(Place::Incoming));
        assert_eq!(queue.view().find(&"cli-2".parse().unwrap()).unwrap(), None);
    }
}
