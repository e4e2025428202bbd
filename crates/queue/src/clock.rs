//! Names in order of time, also when the clock steps back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ulid::Ulid;

/// Milliseconds since 1970 by the machine's clock. Used for names and for retries, never to decide who owns what.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as u64)
}

/// The longest a message may be told to wait. A time further ahead was written by a clock that was wrong.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(3_600);
pub(crate) const DELAY_MS_MAX: u64 = DELAY_MAX.as_millis() as u64;
/// What such a message waits for instead, from the moment it is seen: longer than the five attempts it may have would take,
/// and short enough for whoever waits for its lane.
const UNLIKELY_DELAY_MS: u64 = 60_000;

/// When a message is due that is not to be tried before `epoch` and was first seen under it at `seen`.
pub(crate) fn due(epoch: u64, seen: u64, now_ms: u64) -> u64 {
    if epoch <= now_ms.saturating_add(DELAY_MS_MAX) {
        epoch
    } else {
        // The clock may have stepped back once more since.
        epoch.min(seen.min(now_ms) + UNLIKELY_DELAY_MS)
    }
}

/// Makes ulids that only grow: within a process always, and beyond the greatest name that was found at start.
#[derive(Debug)]
pub(crate) struct Clock {
    last: Mutex<Ulid>,
}

impl Clock {
    pub(crate) fn starting_after(greatest: Option<Ulid>) -> Clock {
        Clock { last: Mutex::new(greatest.unwrap_or_default()) }
    }

    pub(crate) fn next(&self, now_ms: u64) -> Ulid {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if now_ms > last.timestamp_ms() {
            // The upper bits stay free, so that many increments fit below the next millisecond.
            Ulid::from_parts(now_ms, Ulid::new().random() >> 1)
        } else {
            last.increment().unwrap_or_else(|| Ulid::from_parts(last.timestamp_ms() + 1, 0))
        };
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_only_a_wrong_clock_can_have_written_is_not_waited_for() {
        let now = 1_000_000_000;
        assert_eq!(due(now + 5_000, 7, now), now + 5_000, "honest, whenever it was seen");
        assert_eq!(due(now + DELAY_MS_MAX, 7, now), now + DELAY_MS_MAX);
        assert_eq!(due(now + 86_400_000, now, now), now + 60_000);
        assert_eq!(due(now + 86_400_000, now - 60_000, now), now);
        assert_eq!(due(u64::MAX, now + 1, now), now + 60_000, "seen in the future as well");
        assert_eq!(due(1, now, now), 1, "no wish for a time");
    }

    #[test]
    fn a_clock_that_steps_back_reorders_nothing() {
        let found = Ulid::from_parts(2_000, u128::MAX >> 48);
        let clock = Clock::starting_after(Some(found));
        let mut last = found;
        for now in [1_000, 3_000, 3_000, 2_500, 3_001] {
            let next = clock.next(now);
            assert!(next > last, "{now}");
            last = next;
        }
    }
}
