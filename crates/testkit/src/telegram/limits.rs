//! The limits of the real service: how many messages a chat takes in a minute, and how quickly one after another.
//!
//! Sends, edits and new topics share one limit a group; all chats together share another. What is refused counts too,
//! as it does for the real one: a client that hammers stays locked out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What is refused with 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Messages, edits and topics a minute in one group.
    pub group_per_minute: usize,
    /// The least time between two of them in one chat.
    pub gap_ms: u64,
    /// All of them together in one second.
    pub overall_per_second: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { group_per_minute: 20, gap_ms: 1000, overall_per_second: 30 }
    }
}

impl Limits {
    /// Nothing is refused, for tests that are about something else.
    pub fn none() -> Limits {
        Limits { group_per_minute: usize::MAX, gap_ms: 0, overall_per_second: usize::MAX }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// What was asked of each chat in the last minute.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    chats: BTreeMap<i64, VecDeque<Instant>>,
    all: VecDeque<Instant>,
    frozen: BTreeMap<i64, Instant>,
}

impl Meter {
    /// Counts `cost` messages to `chat`. `Err` is how many seconds the caller has to wait.
    pub(crate) fn count(
        &mut self,
        limits: &Limits,
        chat: i64,
        cost: usize,
        now: Instant,
    ) -> Result<(), u64> {
        if let Some(until) = self.frozen.get(&chat) {
            if *until > now {
                return Err(seconds(*until - now));
            }
            self.frozen.remove(&chat);
        }
        let times = self.chats.entry(chat).or_default();
        drop_older(times, now, MINUTE);
        drop_older(&mut self.all, now, SECOND);
        let gap = Duration::from_millis(limits.gap_ms);
        let too_quick = times.back().is_some_and(|last| now - *last < gap);
        let full = chat < 0 && times.len() + cost > limits.group_per_minute;
        let busy = self.all.len() + cost > limits.overall_per_second;
        if full {
            let oldest = times.front().copied().unwrap_or(now);
            let wait = MINUTE.saturating_sub(now - oldest).max(SECOND);
            self.frozen.insert(chat, now + wait);
            return Err(seconds(wait));
        }
        if too_quick || busy {
            return Err(1);
        }
        for _ in 0..cost {
            times.push_back(now);
            self.all.push_back(now);
        }
        Ok(())
    }
}

fn drop_older(times: &mut VecDeque<Instant>, now: Instant, age: Duration) {
    while times.front().is_some_and(|it| now - *it >= age) {
        times.pop_front();
    }
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twenty_first_message_of_a_minute_locks_a_group_out() {
        let (limits, mut meter, start) = (Limits::default(), Meter::default(), Instant::now());
        for n in 0..20 {
            assert_eq!(meter.count(&limits, -1, 1, start + Duration::from_secs(n)), Ok(()));
        }
        assert_eq!(meter.count(&limits, -1, 1, start + Duration::from_secs(21)), Err(39));
        assert_eq!(meter.count(&limits, 7, 1, start + Duration::from_secs(21)), Ok(()));
        assert_eq!(meter.count(&limits, -1, 1, start + Duration::from_secs(61)), Ok(()));
    }

    #[test]
    fn two_messages_within_a_second_are_one_too_many() {
        let (limits, mut meter, start) = (Limits::default(), Meter::default(), Instant::now());
        assert_eq!(meter.count(&limits, 7, 1, start), Ok(()));
        assert_eq!(meter.count(&limits, 7, 1, start + Duration::from_millis(999)), Err(1));
        assert_eq!(meter.count(&limits, 7, 1, start + Duration::from_millis(1000)), Ok(()));
    }
}
