//! Looking at the queue: no locks, no writes. What is asked is answered here, from what an engine lists and reads.
//!
//! Places are listed in the direction of travel, so a message that moves on meanwhile is seen at least once; a key is
//! counted once, at its furthest place. One that moves back meanwhile may be missed by a single listing, so whoever is
//! looked for by key is looked for again before it is said to be gone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tinyclaw_domain::{Key, Lane, Message, STOPPED_WAITING, ThreadId};

use crate::clock::now_ms;
use crate::entry::{At, Entry, Shelf};
use crate::error::LookError;
use crate::name::{Name, Parts};
use crate::work::Look;
use crate::{Place, Watch, Where};

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
    /// Given up.
    pub dead: usize,
    /// Stopped by a person while they waited: they lie with those that were given up, and trouble nobody.
    pub stopped: usize,
    /// Not messages.
    pub quarantine: usize,
}

/// A message that was looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Where it is.
    pub place: Place,
    /// When it entered the queue, in ms since 1970.
    pub queued_at: u64,
    /// Its place in its lane while it waits: 1 is next, or runs already when nothing is worked on.
    pub position: Option<usize>,
    /// The message.
    pub message: Message,
    /// Why it was given up or put aside.
    pub reason: Option<String>,
}

/// What waits for Claude, by thread and lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// How many wait in each lane.
    pub lanes: HashMap<Lane, usize>,
    /// When the oldest of them entered the queue, in ms since 1970.
    pub oldest: Option<u64>,
}

impl Waiting {
    /// How many wait in the lanes of a thread.
    pub fn in_thread(&self, thread: &ThreadId) -> usize {
        self.lanes.iter().filter(|it| it.0.thread() == thread).map(|it| it.1).sum()
    }
}

/// A message that moves *back* while the places are listed (a retry, a put-back) is seen in none of them, so one look
/// that finds nothing proves nothing.
const ABSENT_MAX: u32 = 3;
/// A message may move on between being seen and being read. One that is there each time and cannot be read is none.
const MOVED_MAX: u32 = 4;

/// A look at a queue.
#[derive(Debug, Clone)]
pub struct View {
    look: Arc<dyn Look>,
    /// Which of the messages in `dead/` a person stopped. The reason under a name never changes, so each is read once.
    stopped: Arc<Mutex<HashMap<Box<str>, bool>>>,
}

impl View {
    /// A view of a queue, which need not exist yet.
    pub fn new(place: impl Into<Where>) -> View {
        View::over(place.into().look())
    }

    pub(crate) fn over(look: Arc<dyn Look>) -> View {
        View { look, stopped: Arc::default() }
    }

    /// How many messages are where. A queue that does not exist yet is empty.
    pub fn depth(&self) -> Result<Depth, LookError> {
        let now = now_ms();
        let mut furthest: HashMap<Box<str>, (Place, bool)> = HashMap::new();
        let mut dead: Vec<(Box<str>, At)> = Vec::new();
        for place in Place::ALL.into_iter().filter(|it| *it != Place::Done) {
            self.scan(place, |shelf, text, parts| {
                furthest.insert(parts.key.into(), (place, parts.epoch > now));
                if place == Place::Dead {
                    dead.push((text.into(), self.look.at(shelf, text)));
                }
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
        depth.quarantine = self.look.put_aside()?;
        depth.stopped = self.count_stopped(&dead)?.min(depth.dead);
        depth.dead -= depth.stopped;
        Ok(depth)
    }

    fn count_stopped(&self, dead: &[(Box<str>, At)]) -> Result<usize, LookError> {
        let mut known = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.is_empty() {
            known.clear();
            return Ok(0);
        }
        let mut stopped = HashMap::with_capacity(dead.len());
        for (text, at) in dead {
            let is_stopped = match known.get(text) {
                Some(it) => *it,
                None => match self.look.reason(at)? {
                    Some(reason) => reason == STOPPED_WAITING,
                    // Taken up again meanwhile, or moved here by hand.
                    None => continue,
                },
            };
            stopped.insert(text.clone(), is_stopped);
        }
        *known = stopped;
        Ok(known.values().filter(|it| **it).count())
    }

    /// How many messages wait for Claude in each lane, and since when.
    pub fn waiting(&self) -> Result<Waiting, LookError> {
        let mut waiting = Waiting::default();
        self.scan(Place::Incoming, |_, text, _| {
            if let Ok(name) = text.parse::<Name>() {
                let at = name.ulid.timestamp_ms();
                waiting.oldest = Some(waiting.oldest.map_or(at, |it| it.min(at)));
                *waiting.lanes.entry(name.lane).or_default() += 1;
            }
        })?;
        Ok(waiting)
    }

    /// What is in a place, oldest first, at most `most`: the oldest of them, or the newest of `done/`, which is read from
    /// its last day backwards. Holds no more than it returns, however much is there.
    pub fn list(&self, place: Place, most: usize) -> Result<Vec<Entry>, LookError> {
        self.listed(place, most, |_| true)
    }

    /// [`View::list`] of one lane, in which what is listed comes in the order of the lane.
    pub fn in_lane(&self, place: Place, lane: &Lane, most: usize) -> Result<Vec<Entry>, LookError> {
        let lane = lane.to_string();
        let mut entries = self.listed(place, most, |it| it.lane == lane)?;
        entries.sort_by(|a, b| a.order.cmp(&b.order));
        Ok(entries)
    }

    /// The messages of a place, or of one lane of it, with what they say: [`View::list`] and [`View::read`] in one.
    /// What has moved on meanwhile, or is no message, is left out.
    pub fn read_all(
        &self,
        place: Place,
        lane: Option<&Lane>,
        most: usize,
    ) -> Result<Vec<(Entry, Message)>, LookError> {
        let entries = match lane {
            Some(lane) => self.in_lane(place, lane, most)?,
            None => self.list(place, most)?,
        };
        let mut messages = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(message) = self.read(&entry)? {
                messages.push((entry, message));
            }
        }
        Ok(messages)
    }

    /// The newest message of a lane in a place for which `is_it` holds, among the `most` newest there.
    pub fn last_of(
        &self,
        place: Place,
        lane: &Lane,
        most: usize,
        mut is_it: impl FnMut(&Message) -> bool,
    ) -> Result<Option<Message>, LookError> {
        let name = lane.to_string();
        let entries = self.newest(place, most, |it| it.lane == name)?;
        for entry in entries.into_iter().rev() {
            if let Some(message) = self.read(&entry)?
                && is_it(&message)
            {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Reads a message that was listed. `None` when it has moved on meanwhile, or is no message. The error names it.
    pub fn read(&self, entry: &Entry) -> Result<Option<Message>, LookError> {
        self.look.read(&entry.at)
    }

    /// Why a message that was listed was given up or put aside, where that is said.
    pub fn reason(&self, entry: &Entry) -> Result<Option<String>, LookError> {
        self.look.reason(&entry.at)
    }

    /// Where a message is, as the names tell, without reading it: also for one that cannot be read. A message that moves
    /// meanwhile may be missed.
    pub fn place_of(&self, key: &Key) -> Result<Option<Place>, LookError> {
        Ok(self.knows(std::slice::from_ref(key))?.remove(key))
    }

    /// Where each of these messages is, those that the queue knows, from one look for all of them. A message that moves
    /// meanwhile may be missed.
    pub fn knows(&self, keys: &[Key]) -> Result<HashMap<Key, Place>, LookError> {
        let wanted: HashMap<&str, &Key> = keys.iter().map(|it| (it.as_str(), it)).collect();
        let mut known = HashMap::new();
        let texts: Vec<&str> = wanted.keys().copied().collect();
        if let Some(named) = self.look.named(&texts)? {
            for (place, text) in named {
                known.extend(text.parse::<Name>().ok().map(|it| (it.key, place)));
            }
            return Ok(known);
        }
        for place in Place::ALL {
            self.scan(place, |_, _, parts| {
                if let Some(key) = wanted.get(parts.key) {
                    known.insert((*key).clone(), place);
                }
            })?;
        }
        Ok(known)
    }

    /// The keys of everything in the queue that begin with `start`, each once.
    pub fn keys(&self, start: &str) -> Result<Vec<Key>, LookError> {
        let mut keys = std::collections::BTreeSet::new();
        for place in Place::ALL {
            self.scan(place, |_, _, parts| {
                if parts.key.starts_with(start)
                    && let Ok(key) = parts.key.parse::<Key>()
                {
                    keys.insert(key);
                }
            })?;
        }
        Ok(keys.into_iter().collect())
    }

    /// The first message in these places whose key is the one that is meant. In the order in which messages move, none
    /// slips through.
    pub fn find_by(
        &self,
        places: &[Place],
        is_it: impl Fn(&Key) -> bool,
    ) -> Result<Option<Message>, LookError> {
        for place in places {
            let mut found = None;
            self.scan(*place, |shelf, text, parts| {
                if found.is_none() && parts.key.parse().is_ok_and(|key| is_it(&key)) {
                    found = Some(self.look.at(shelf, text));
                }
            })?;
            if let Some(at) = found
                && let Some(message) = self.look.read(&at)?
            {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Looks for a message in every place. `None` means that several looks in a row found it nowhere.
    pub fn find(&self, key: &Key) -> Result<Option<Seen>, LookError> {
        self.find_beside(key, |_| ())
    }

    /// [`View::find`], telling after each place that it was listed, so that a test can move the message just then.
    fn find_beside(
        &self,
        key: &Key,
        mut listed: impl FnMut(Place),
    ) -> Result<Option<Seen>, LookError> {
        let (mut absent, mut moved) = (0, 0);
        while absent < ABSENT_MAX && moved < MOVED_MAX {
            let mut seen: Option<Entry> = None;
            let mut waiting: Vec<(String, String)> = Vec::new();
            let named = self.look.named(&[key.as_str()])?;
            let places = match &named {
                None => &Place::ALL[..],
                // Only what waits before it has to be listed.
                Some(found) => {
                    for (place, text) in found {
                        let shelf = Shelf { place: *place, day: None };
                        seen = self.entry(&shelf, text);
                    }
                    if seen.as_ref().is_some_and(|it| it.place == Place::Incoming) {
                        &Place::ALL[..1]
                    } else {
                        &[]
                    }
                }
            };
            for &place in places {
                self.scan(place, |shelf, text, parts| {
                    if place == Place::Incoming {
                        waiting.push((parts.lane.to_owned(), parts.order.to_owned()));
                    }
                    if parts.key == key.as_str() {
                        seen = self.entry(shelf, text).or_else(|| seen.take());
                    }
                })?;
                listed(place);
            }
            let Some(entry) = seen else {
                absent += 1;
                continue;
            };
            let Some(message) = self.read(&entry)? else {
                moved += 1;
                continue;
            };
            let position = (entry.place == Place::Incoming).then(|| {
                let lane = entry.lane.to_string();
                waiting.iter().filter(|it| it.0 == lane && it.1 <= entry.order).count()
            });
            let reason = self.reason(&entry)?;
            let Entry { place, queued_at, .. } = entry;
            return Ok(Some(Seen { place, queued_at, position, message, reason }));
        }
        Ok(None)
    }

    /// Tells when something moves.
    pub fn watch(&self) -> Watch {
        self.look.watch()
    }

    /// How old the oldest message waiting for Claude is, in ms; `None` when nothing waits.
    pub fn oldest_waiting_ms(&self) -> Result<Option<u64>, LookError> {
        Ok(self.waiting()?.oldest.map(|it| now_ms().saturating_sub(it)))
    }

    fn scan(
        &self,
        place: Place,
        mut each: impl FnMut(&Shelf, &str, Parts<'_>),
    ) -> Result<(), LookError> {
        for shelf in self.look.shelves(place)? {
            self.look.scan(&shelf, &mut |text, parts| each(&shelf, text, parts))?;
        }
        Ok(())
    }

    fn listed(
        &self,
        place: Place,
        most: usize,
        is_wanted: impl Fn(&Parts<'_>) -> bool,
    ) -> Result<Vec<Entry>, LookError> {
        if place == Place::Done {
            return self.newest(place, most, is_wanted);
        }
        let mut kept = BinaryHeap::new();
        self.scan(place, |shelf, text, parts| {
            if is_wanted(&parts)
                && let Some(it) = self.entry(shelf, text)
            {
                // Whoever sorts last leaves first.
                kept.push(ByAge(it));
                if kept.len() > most {
                    kept.pop();
                }
            }
        })?;
        Ok(kept.into_sorted_vec().into_iter().map(|it| it.0).collect())
    }

    /// The newest of a place, oldest first. Of `done/` no more days are listed than it takes.
    fn newest(
        &self,
        place: Place,
        most: usize,
        is_wanted: impl Fn(&Parts<'_>) -> bool,
    ) -> Result<Vec<Entry>, LookError> {
        let mut kept = BinaryHeap::new();
        for shelf in self.look.shelves(place)?.into_iter().rev() {
            self.look.scan(&shelf, &mut |text, parts| {
                if is_wanted(&parts)
                    && let Some(it) = self.entry(&shelf, text)
                {
                    kept.push(Reverse(ByAge(it)));
                    if kept.len() > most {
                        kept.pop();
                    }
                }
            })?;
            if kept.len() >= most {
                break;
            }
        }
        // Sorted the other way round, so the oldest come last.
        Ok(kept.into_sorted_vec().into_iter().rev().map(|it| it.0.0).collect())
    }

    fn entry(&self, shelf: &Shelf, text: &str) -> Option<Entry> {
        Entry::of(shelf.place, text, || self.look.at(shelf, text))
    }
}

/// An entry in the order of [`View::list`]: by age, then by name.
#[derive(Debug, PartialEq, Eq)]
struct ByAge(Entry);

impl ByAge {
    fn order(&self) -> (u64, &str, &Key) {
        (self.0.queued_at, &self.0.order, &self.0.key)
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
