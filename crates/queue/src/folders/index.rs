//! What this process knows of the queue without looking: which lanes have work, in which order, and every key.
//!
//! A hint, never the truth: the truth is the folders. It is built by listing them, kept up by the watcher and by what
//! this process does itself, and a name that turns out to be gone is dropped. A name moves forward through the
//! places, or back under a greater epoch, so of two sightings the later one is known by `(epoch, place)` alone and
//! they may arrive in any order.
//!
//! Sized for a hundred thousand waiting messages: one allocation and some thirty bytes of map for each.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ulid::Ulid;

use crate::clock::{DELAY_MS_MAX, due};
use crate::name::Parts;
use crate::{Place, Side};

/// `<prio>-<ulid>` as it begins every name.
type Order = [u8; 28];

/// Which lanes a claim looks at, as far as names tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Among<'a> {
    Ordinary,
    Control,
    One(&'a str),
}

#[derive(Debug, Default)]
pub(super) struct Index {
    keys: HashMap<u128, Known>,
    run: Lanes,
    send: Lanes,
    greatest: Option<Ulid>,
    /// Events were lost: everything has to be listed again before the next claim.
    pub(super) stale: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    epoch: u64,
    place: Place,
}

#[derive(Debug, Default)]
struct Lanes {
    by_name: HashMap<Arc<str>, Lane>,
    ordinary: BTreeSet<(Order, Arc<str>)>,
    control: BTreeSet<(Order, Arc<str>)>,
    later: BTreeSet<(u64, Arc<str>)>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// Names in order.
    waiting: VecDeque<Box<str>>,
    /// Names that were seen where they are worked on. More than one only after a crash on a weak file system.
    working: Vec<Box<str>>,
    owner: Owner,
    listed: Listed,
    /// The epoch of the first waiting name, when it lies ahead further than it may, and when it was first seen.
    unlikely: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Owner {
    #[default]
    Nobody,
    /// A lease of this process.
    Us,
    /// Somebody else, as far as we know; set aside until they let go or the next sweep.
    Another,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Listed {
    #[default]
    Nowhere,
    Ready(Order),
    Later(u64),
}

impl Index {
    /// Where a key was seen last.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.keys.get(&hash(key)).map(|it| it.place)
    }

    /// Whether a name is known to have left a side for good.
    pub(super) fn is_past(&self, parts: &Parts<'_>, side: Side) -> bool {
        let known = self.keys.get(&hash(parts.key));
        known.is_some_and(|it| it.epoch >= parts.epoch && it.place > side.working())
    }

    /// Takes a key for a message about to be published, so that two threads cannot publish it both.
    pub(super) fn reserve(&mut self, key: &str, place: Place) -> Result<(), Place> {
        match self.keys.entry(hash(key)) {
            Entry::Occupied(known) => Err(known.get().place),
            Entry::Vacant(free) => {
                free.insert(Known { epoch: 0, place });
                Ok(())
            }
        }
    }

    /// Gives back a key whose message could not be published.
    pub(super) fn forget(&mut self, key: &str) {
        self.keys.remove(&hash(key));
    }

    /// A name was seen in a place. Returns whether that was news.
    pub(super) fn saw(&mut self, text: &str, parts: &Parts<'_>, place: Place, now_ms: u64) -> bool {
        let known = self.keys.entry(hash(parts.key)).or_insert(Known { epoch: parts.epoch, place });
        let sighting = (parts.epoch, place);
        if sighting < (known.epoch, known.place) {
            return false;
        }
        let before = std::mem::replace(known, Known { epoch: parts.epoch, place });
        self.greatest = self.greatest.max(Ulid::from_string(&parts.order[2..]).ok());
        for side in [Side::Run, Side::Send] {
            let lanes = self.side(side);
            if before.place != place && before.place.is_of(side) {
                lanes.drop_name(parts, now_ms);
            }
            if place == side.waiting() {
                lanes.add_waiting(text, parts, now_ms);
            } else if place == side.working() {
                lanes.add_working(text, parts, now_ms);
            }
        }
        true
    }

    /// A name left the place where it was worked on. Where to, another sighting will tell, or nobody needs to know.
    pub(super) fn left(&mut self, parts: &Parts<'_>, side: Side, now_ms: u64) {
        let known = self.keys.get(&hash(parts.key));
        if known.is_some_and(|it| it.epoch == parts.epoch && it.place == side.working()) {
            self.side(side).drop_name(parts, now_ms);
        }
    }

    /// A name that should have been in a place is not there.
    pub(super) fn gone(&mut self, parts: &Parts<'_>, place: Place, now_ms: u64) {
        for side in [Side::Run, Side::Send] {
            if place.is_of(side) {
                self.side(side).drop_exact(parts, place == side.waiting(), now_ms);
            }
        }
    }

    /// A file was removed for good.
    pub(super) fn removed(&mut self, parts: &Parts<'_>, place: Place, now_ms: u64) {
        self.gone(parts, place, now_ms);
        let key = hash(parts.key);
        if self.keys.get(&key).is_some_and(|it| it.place == place && it.epoch == parts.epoch) {
            self.keys.remove(&key);
        }
    }

    /// The free lane whose work is oldest. It is ours until [`Index::release`].
    pub(super) fn pick(&mut self, side: Side, among: Among<'_>, now_ms: u64) -> Option<Arc<str>> {
        let lanes = self.side(side);
        lanes.wake_due(now_ms);
        let lane = match among {
            Among::Ordinary => lanes.ordinary.first()?.1.clone(),
            Among::Control => lanes.control.first()?.1.clone(),
            Among::One(name) => {
                let (lane, state) = lanes.by_name.get_key_value(name)?;
                matches!(state.listed, Listed::Ready(_)).then(|| lane.clone())?
            }
        };
        lanes.change(&lane, now_ms, |it| it.owner = Owner::Us);
        Some(lane)
    }

    /// Our lease on a lane ended.
    pub(super) fn release(&mut self, side: Side, lane: &Arc<str>, now_ms: u64) {
        self.side(side).change(lane, now_ms, |it| it.owner = Owner::Nobody);
    }

    /// Somebody else holds a lane.
    pub(super) fn set_aside(&mut self, side: Side, lane: &Arc<str>, now_ms: u64) {
        self.side(side).change(lane, now_ms, |it| it.owner = Owner::Another);
    }

    /// Lets a lane that was set aside be tried again.
    pub(super) fn unblock(&mut self, side: Side, lane: &Arc<str>, now_ms: u64) {
        self.side(side).change(lane, now_ms, |it| {
            if it.owner == Owner::Another {
                it.owner = Owner::Nobody;
            }
        });
    }

    /// The lanes that were set aside.
    pub(super) fn set_aside_lanes(&mut self, side: Side) -> Vec<Arc<str>> {
        let lanes = self.side(side).by_name.iter();
        lanes.filter(|(_, it)| it.owner == Owner::Another).map(|(lane, _)| lane.clone()).collect()
    }

    /// Whether anything of a lane waits or is worked on.
    pub(super) fn has_work(&mut self, side: Side, lane: &str) -> bool {
        let lane = self.side(side).by_name.get(lane);
        lane.is_some_and(|it| !it.waiting.is_empty() || !it.working.is_empty())
    }

    /// The first waiting name of a lane, and the names seen where it is worked on.
    pub(super) fn names(&mut self, side: Side, lane: &str) -> (Option<Box<str>>, Vec<Box<str>>) {
        let lane = self.side(side).by_name.get(lane);
        lane.map_or_else(Default::default, |it| (it.waiting.front().cloned(), it.working.clone()))
    }

    /// Whether the time of a lane's first waiting name has come.
    pub(super) fn is_due(&mut self, side: Side, lane: &str, now_ms: u64) -> bool {
        let lane = self.side(side).by_name.get_mut(lane);
        lane.is_some_and(|it| it.due(now_ms) <= now_ms)
    }

    /// How many wait on a side, and how many of them in a lane.
    pub(super) fn waiting(&mut self, side: Side, lane: &str) -> (usize, usize) {
        let lanes = self.side(side);
        (lanes.waiting, lanes.by_name.get(lane).map_or(0, |it| it.waiting.len()))
    }

    /// Whether a lane has a message that lets others go first.
    pub(super) fn has_low_priority(&mut self, side: Side, lane: &str) -> bool {
        let lane = self.side(side).by_name.get(lane);
        lane.is_some_and(|it| it.waiting.back().is_some_and(|name| name.starts_with('1')))
    }

    /// When the next message that waits for its time is due.
    pub(super) fn next_due(&mut self, side: Side) -> Option<u64> {
        self.side(side).later.first().map(|it| it.0)
    }

    /// The greatest ulid ever seen.
    pub(super) fn greatest(&self) -> Option<Ulid> {
        self.greatest
    }

    fn side(&mut self, side: Side) -> &mut Lanes {
        match side {
            Side::Run => &mut self.run,
            Side::Send => &mut self.send,
        }
    }
}

impl Place {
    fn is_of(self, side: Side) -> bool {
        self == side.waiting() || self == side.working()
    }
}

impl Lanes {
    fn add_waiting(&mut self, text: &str, parts: &Parts<'_>, now_ms: u64) {
        let lane = self.lane(parts.lane);
        let mut added = false;
        self.change(&lane, now_ms, |it| {
            let at = it.waiting.partition_point(|name| name[..28] < *parts.order);
            match it.waiting.get_mut(at) {
                Some(name) if name[..28] == *parts.order => *name = text.into(),
                _ => {
                    it.waiting.insert(at, text.into());
                    added = true;
                }
            }
        });
        self.waiting += usize::from(added);
    }

    fn add_working(&mut self, text: &str, parts: &Parts<'_>, now_ms: u64) {
        let lane = self.lane(parts.lane);
        self.change(&lane, now_ms, |it| {
            if !it.working.iter().any(|name| **name == *text) {
                it.working.push(text.into());
                it.working.sort_unstable();
            }
        });
    }

    fn drop_name(&mut self, parts: &Parts<'_>, now_ms: u64) {
        self.drop_exact(parts, true, now_ms);
        self.drop_exact(parts, false, now_ms);
    }

    fn drop_exact(&mut self, parts: &Parts<'_>, from_waiting: bool, now_ms: u64) {
        let Some((lane, _)) = self.by_name.get_key_value(parts.lane) else { return };
        let lane = lane.clone();
        let mut dropped = false;
        self.change(&lane, now_ms, |it| {
            if from_waiting {
                let at = it.waiting.partition_point(|name| name[..28] < *parts.order);
                if it.waiting.get(at).is_some_and(|name| name[..28] == *parts.order) {
                    it.waiting.remove(at);
                    dropped = true;
                    if it.waiting.len() * 4 < it.waiting.capacity() {
                        it.waiting.shrink_to(it.waiting.len() * 2);
                    }
                }
            } else {
                it.working.retain(|name| name[..28] != *parts.order);
            }
        });
        self.waiting -= usize::from(dropped);
    }

    fn lane(&mut self, name: &str) -> Arc<str> {
        if let Some((lane, _)) = self.by_name.get_key_value(name) {
            return lane.clone();
        }
        let lane: Arc<str> = name.into();
        self.by_name.insert(lane.clone(), Lane::default());
        lane
    }

    fn wake_due(&mut self, now_ms: u64) {
        while let Some((due, lane)) = self.later.first().cloned()
            && due <= now_ms
        {
            self.change(&lane, now_ms, |_| ());
        }
        // Listed by a clock that was set back since: when they are due is asked anew.
        while let Some((due, lane)) = self.later.last().cloned()
            && due > now_ms.saturating_add(DELAY_MS_MAX)
        {
            self.change(&lane, now_ms, |_| ());
        }
    }

    /// Changes a lane and lists it anew, under what it has to offer now.
    fn change(&mut self, name: &Arc<str>, now_ms: u64, change: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.by_name.get_mut(name) else { return };
        change(lane);
        let listed = lane.offer(now_ms);
        let before = std::mem::replace(&mut lane.listed, listed);
        let is_idle =
            lane.owner == Owner::Nobody && lane.waiting.is_empty() && lane.working.is_empty();
        if before != listed {
            let ready = if name.starts_with("c.") { &mut self.control } else { &mut self.ordinary };
            match before {
                Listed::Nowhere => false,
                Listed::Ready(order) => ready.remove(&(order, name.clone())),
                Listed::Later(due) => self.later.remove(&(due, name.clone())),
            };
            match listed {
                Listed::Nowhere => false,
                Listed::Ready(order) => ready.insert((order, name.clone())),
                Listed::Later(due) => self.later.insert((due, name.clone())),
            };
        }
        if is_idle {
            self.by_name.remove(name);
        }
    }
}

impl Lane {
    /// When the first waiting name is due; 0 without one.
    fn due(&mut self, now_ms: u64) -> u64 {
        let front = self.waiting.front().and_then(|name| crate::name::parts(name));
        let epoch = front.map_or(0, |it| it.epoch);
        if epoch <= now_ms.saturating_add(DELAY_MS_MAX) {
            self.unlikely = None;
            return epoch;
        }
        let seen = match self.unlikely {
            Some((known, seen)) if known == epoch => seen.min(now_ms),
            _ => now_ms,
        };
        self.unlikely = Some((epoch, seen));
        due(epoch, seen, now_ms)
    }

    fn offer(&mut self, now_ms: u64) -> Listed {
        if self.owner != Owner::Nobody {
            return Listed::Nowhere;
        }
        if let Some(name) = self.working.first() {
            return Listed::Ready(order(name));
        }
        match self.waiting.front() {
            None => Listed::Nowhere,
            Some(name) => {
                let order = order(name);
                match self.due(now_ms) {
                    due if due > now_ms => Listed::Later(due),
                    _ => Listed::Ready(order),
                }
            }
        }
    }
}

fn order(name: &str) -> Order {
    name.as_bytes()[..28].try_into().unwrap_or([b'9'; 28])
}

/// 128 bits of a key. With a billion keys the chance that two share them is one in 10^20.
fn hash(key: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, key).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_771_234_567_890;
    const DAY: u64 = 86_400_000;

    fn saw(index: &mut Index, epoch: u64, now_ms: u64) {
        let text = format!("0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-1~{epoch}.json");
        let parts = crate::name::parts(&text).unwrap();
        index.saw(&text, &parts, Place::Incoming, now_ms);
    }

    fn offers(index: &mut Index, now_ms: u64) -> bool {
        let lane = index.pick(Side::Run, Among::One("7"), now_ms);
        let Some(lane) = lane else { return false };
        let is_due = index.is_due(Side::Run, &lane, now_ms);
        index.release(Side::Run, &lane, now_ms);
        is_due
    }

    #[test]
    fn a_head_holds_its_lane_until_its_time() {
        let mut index = Index::default();
        saw(&mut index, NOW + 5_000, NOW);
        assert!(!offers(&mut index, NOW + 4_999));
        assert!(offers(&mut index, NOW + 5_000));
    }

    /// A clock a day ahead, set back, blocked every lane that had a retry for a day, and no tool freed them.
    #[test]
    fn what_a_clock_that_ran_ahead_put_off_waits_a_minute() {
        let mut index = Index::default();
        saw(&mut index, NOW + DAY, NOW);
        assert!(!offers(&mut index, NOW + 59_999));
        // Listed again in between, as every sweep does.
        saw(&mut index, NOW + DAY, NOW + 30_000);
        assert!(offers(&mut index, NOW + 60_000));
        // It fails once more, under the next greater epoch: a minute again, no storm of attempts.
        saw(&mut index, NOW + DAY + 1, NOW + 61_000);
        assert!(!offers(&mut index, NOW + 120_999));
        assert!(offers(&mut index, NOW + 121_000));
    }

    #[test]
    fn a_clock_set_back_under_a_running_process_blocks_no_lane() {
        let mut index = Index::default();
        saw(&mut index, NOW + DAY + 5_000, NOW + DAY);
        assert!(!offers(&mut index, NOW), "set back by a day");
        assert!(!offers(&mut index, NOW + 59_999));
        assert!(offers(&mut index, NOW + 60_000));
        // And once more, while it waits.
        let mut index = Index::default();
        saw(&mut index, NOW + DAY, NOW);
        assert!(!offers(&mut index, NOW - DAY));
        assert!(offers(&mut index, NOW - DAY + 60_000));
    }
}
