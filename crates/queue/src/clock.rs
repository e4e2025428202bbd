//! Names in order of time, also when the clock steps back.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ulid::Ulid;

/// Milliseconds since 1970 by the machine's clock. Used for names and for retries, never to decide who owns what.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as u64)
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
