//! The engine in memory: a queue that lives as long as its handle, for tests of whoever uses a queue.
//!
//! It keeps the same promises as the folders to everybody within this process, and is held to them by the same tests. It
//! survives nothing, and watches no limit of a disk. What folders never do to a caller, it does when asked: go out of
//! reach, and take away what was claimed.

mod hold;
mod look;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tinyclaw_domain::{Key, Lane, Message};
use tokio::sync::{Notify, broadcast};

use crate::clock::{Clock, due, now_ms};
use crate::entry::At;
use crate::error::Fault;
use crate::name::{Name, Priority};
use crate::watch::NEWS_MAX;
use crate::work::{Draft, Look, Work};
use crate::{Entry, Moved, News, Place, Published, Side, Which};

/// A queue in memory. Every [`Queue`](crate::Queue) that is opened on a clone of it is one more process at the same queue.
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    clock: Clock,
    changed: Arc<Notify>,
    news: broadcast::Sender<News>,
}

#[derive(Default)]
struct State {
    /// In the order of their names, which is the order of each lane.
    rows: BTreeMap<String, Row>,
    by_key: HashMap<Key, String>,
    /// The lanes that somebody holds, and by which claim.
    held: HashMap<(Side, Lane), u64>,
    claims: u64,
    is_away: bool,
    is_lost: bool,
}

#[derive(Debug, Clone)]
struct Row {
    name: Name,
    place: Place,
    json: Vec<u8>,
    /// When it came to its place, in ms since 1970.
    since: u64,
    /// When it was first seen to wait.
    seen: u64,
    reason: Option<String>,
}

impl Default for Memory {
    fn default() -> Memory {
        let (news, _) = broadcast::channel(NEWS_MAX);
        Memory(Arc::new(Shared {
            state: Mutex::default(),
            clock: Clock::starting_after(None),
            changed: Arc::default(),
            news,
        }))
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} messages)", self.0.state().rows.len())
    }
}

impl Memory {
    /// A queue that holds nothing.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Puts the queue out of reach, or within it again: until then every step fails and changes nothing.
    pub fn set_away(&self, is_away: bool) {
        self.0.state().is_away = is_away;
        self.0.changed.notify_waiters();
    }

    /// Takes away everything that is claimed, as a queue does whose process was out of reach for too long: others take
    /// it up, and the leases are lost.
    pub fn take_away(&self) {
        let mut state = self.0.state();
        state.held.clear();
        state.is_lost = true;
        drop(state);
        self.0.changed.notify_waiters();
    }

    pub(crate) fn open(&self) -> Arc<dyn Work> {
        Arc::new(self.clone())
    }

    pub(crate) fn look(&self) -> Arc<dyn Look> {
        Arc::new(self.clone())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the queue is out of reach.
    fn reach(&self) -> Result<MutexGuard<'_, State>, Fault> {
        let state = self.state();
        if state.is_away { Err(Fault::because("it was put away")) } else { Ok(state) }
    }

    /// Tells that a message moved, and wakes everybody.
    fn tell(&self, row: &Row, from: Option<Place>, to: Option<Place>) {
        let (key, lane) = (row.name.key.clone(), row.name.lane.clone());
        let name = row.name.to_string();
        let entry = to.and_then(|to| Entry::of(to, &name, || At::Row(to, name.clone())));
        let moved = Moved { key, lane, from, to, entry };
        // Nobody may be listening.
        let _ = self.news.send(News::Moved(Arc::new(moved)));
        self.changed.notify_waiters();
    }

    fn add(&self, state: &mut State, draft: Draft) -> Published {
        let Draft { side, priority, key, lane, json, .. } = draft;
        let place = side.waiting();
        if let Some(known) = state.row(&key) {
            return Published::Duplicate(known.place);
        }
        let is_beat = |it: &Row| it.name.priority == Priority::Low && it.is_in(place, &lane);
        if priority == Priority::Low && state.rows.values().any(is_beat) {
            return Published::Duplicate(place);
        }
        let now = now_ms();
        let name = Name { priority, ulid: self.clock.next(now), lane, key, epoch: 0 };
        let row = Row { name, place, json, since: now, seen: now, reason: None };
        self.tell(&row, None, Some(place));
        state.insert(row);
        Published::New
    }

    /// Moves a message, under the epoch that it has then.
    fn shift(&self, state: &mut State, key: &Key, to: Place, change: impl FnOnce(&mut Row)) {
        let Some(mut row) = state.remove(key) else { return };
        let from = row.place;
        change(&mut row);
        (row.place, row.since, row.seen) = (to, now_ms(), now_ms());
        self.tell(&row, Some(from), Some(to));
        state.insert(row);
    }
}

impl Row {
    fn is_in(&self, place: Place, lane: &Lane) -> bool {
        self.place == place && self.name.lane == *lane
    }

    fn message(&self) -> serde_json::Result<Message> {
        serde_json::from_slice(&self.json)
    }

    /// When it may be tried, in ms since 1970.
    fn due(&self, now_ms: u64) -> u64 {
        due(self.name.epoch, self.seen, now_ms)
    }
}

impl State {
    fn row(&self, key: &Key) -> Option<&Row> {
        self.rows.get(self.by_key.get(key)?)
    }

    fn row_mut(&mut self, key: &Key) -> Option<&mut Row> {
        self.rows.get_mut(self.by_key.get(key)?)
    }

    fn insert(&mut self, row: Row) {
        // Its order comes first in the name, and its key tells it from all others.
        let at = format!("{}~{}", row.name.order(), row.name.key);
        self.by_key.insert(row.name.key.clone(), at.clone());
        self.rows.insert(at, row);
    }

    fn remove(&mut self, key: &Key) -> Option<Row> {
        self.rows.remove(&self.by_key.remove(key)?)
    }

    /// The next message of the free lane whose work is oldest.
    fn choose(&self, side: Side, which: &Which, now_ms: u64) -> Option<Key> {
        // Of each lane the message that was left behind, or else the head of those that wait.
        let mut nexts: BTreeMap<&Lane, &Row> = BTreeMap::new();
        for row in self.rows.values() {
            let is_left_behind = row.place == side.working();
            if !is_left_behind && row.place != side.waiting() {
                continue;
            }
            let next = nexts.entry(&row.name.lane).or_insert(row);
            if is_left_behind && next.place != side.working() {
                *next = row;
            }
        }
        let is_offered = |row: &&Row| {
            let lane = &row.name.lane;
            let is_free = !self.held.contains_key(&(side, lane.clone()));
            let is_due = row.place == side.working() || row.due(now_ms) <= now_ms;
            let is_asked_for = match which {
                Which::Ordinary => !lane.is_control(),
                Which::Control => lane.is_control(),
                Which::Lane(one) => one == lane,
                Which::Channel(channel) => row.message().is_ok_and(|it| it.channel == *channel),
            };
            is_free && is_due && is_asked_for
        };
        // A sender takes control lanes first.
        let order = |row: &&Row| (!row.name.lane.is_control(), row.name.order());
        nexts.into_values().filter(is_offered).min_by_key(order).map(|it| it.name.key.clone())
    }
}
