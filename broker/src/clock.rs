//! What time it is at GitHub.
//!
//! Expiry dates and the claims of a JWT are in GitHub's time, and this machine's clock may be
//! wrong, step, or stand still while a laptop sleeps. The clock is corrected by the `Date` of
//! GitHub's answers; from then on the later of two guesses counts: this machine's time plus the
//! learned offset, and the last `Date` plus what the monotonic clock has counted since. So a
//! token is at worst thought older than it is, never younger.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Below this a difference is travel time and rounding, not a wrong clock.
const NOISE_MS: i64 = 3_000;

/// The clock of one broker.
#[derive(Debug)]
pub struct Clock {
    source: Source,
    learned: Mutex<Learned>,
}

#[derive(Debug)]
enum Source {
    System { started: Instant },
    Manual(Arc<ManualClock>),
}

#[derive(Debug, Default, Clone, Copy)]
struct Learned {
    offset_ms: i64,
    /// GitHub's time, and the monotonic reading when it was learned.
    anchor: Option<(i64, i64)>,
}

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicI64,
}

impl ManualClock {
    /// Sets this machine's idea of the date, as a wrong or stepped clock would.
    pub fn set_wall(&self, seconds: i64) {
        self.wall_ms.store(seconds * 1000, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: i64) {
        self.wall_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
        self.monotonic_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock {
    /// This machine's clock.
    pub fn system() -> Clock {
        Clock {
            source: Source::System { started: Instant::now() },
            learned: Mutex::new(Learned::default()),
        }
    }

    /// A clock that a test moves by hand.
    pub fn manual(hand: Arc<ManualClock>) -> Clock {
        Clock { source: Source::Manual(hand), learned: Mutex::new(Learned::default()) }
    }

    /// Seconds since 1970 as GitHub counts them, as far as we know.
    pub fn now(&self) -> i64 {
        self.now_ms().div_euclid(1000)
    }

    /// Milliseconds since 1970 by this machine's own clock, right or wrong.
    pub fn wall_ms(&self) -> i64 {
        match &self.source {
            Source::System { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => since.as_millis() as i64,
                Err(before) => -(before.duration().as_millis() as i64),
            },
            Source::Manual(hand) => hand.wall_ms.load(Ordering::SeqCst),
        }
    }

    /// Seconds by which GitHub is ahead of this machine, as learned so far.
    pub fn offset(&self) -> i64 {
        self.learned().offset_ms / 1000
    }

    /// Takes the `Date` of an answer into account; true when we had been wrong.
    pub fn learn(&self, github: i64) -> bool {
        // The header is cut to whole seconds: half a second is the likeliest remainder.
        let github_ms = github * 1000 + 500;
        let wrong_by = github_ms - self.now_ms();
        let (wall_ms, monotonic_ms) = (self.wall_ms(), self.monotonic_ms());
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong_by.abs() < NOISE_MS {
            if learned.anchor.is_none() {
                learned.anchor = Some((wall_ms, monotonic_ms));
            }
            return false;
        }
        let offset_ms = github_ms - wall_ms;
        learned.offset_ms = if offset_ms.abs() < NOISE_MS { 0 } else { offset_ms };
        learned.anchor = Some((wall_ms + learned.offset_ms, monotonic_ms));
        true
    }

    fn now_ms(&self) -> i64 {
        let learned = self.learned();
        let by_wall = self.wall_ms() + learned.offset_ms;
        match learned.anchor {
            Some((github_ms, then)) => by_wall.max(github_ms + self.monotonic_ms() - then),
            None => by_wall,
        }
    }

    fn monotonic_ms(&self) -> i64 {
        match &self.source {
            Source::System { started } => started.elapsed().as_millis() as i64,
            Source::Manual(hand) => hand.monotonic_ms.load(Ordering::SeqCst),
        }
    }

    fn learned(&self) -> Learned {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock_at(wall: i64) -> (Arc<ManualClock>, Clock) {
        let hand = Arc::new(ManualClock::default());
        hand.set_wall(wall);
        (hand.clone(), Clock::manual(hand))
    }

    #[test]
    fn a_wrong_clock_is_corrected_once() {
        for wrong_by in [-600, -120, 120, 600] {
            let (hand, clock) = clock_at(1_000_000 + wrong_by);
            assert!(clock.learn(1_000_000));
            assert_eq!(clock.now(), 1_000_000);
            hand.advance(60);
            assert!(!clock.learn(1_000_060), "the second answer teaches nothing new");
            assert!((clock.offset() + wrong_by).abs() <= 1, "{}", clock.offset());
        }
    }

    #[test]
    fn travel_time_is_no_skew() {
        let (_, clock) = clock_at(1_000_000);
        assert!(!clock.learn(999_999));
        assert_eq!(clock.offset(), 0);
    }

    #[test]
    fn a_step_back_makes_no_token_younger() {
        let (hand, clock) = clock_at(1_000_000);
        clock.learn(1_000_000);
        hand.advance(600);
        hand.set_wall(990_000);
        assert!(clock.now() >= 1_000_600);
    }

    #[test]
    fn sleep_is_seen_by_the_wall() {
        let (hand, clock) = clock_at(1_000_000);
        clock.learn(1_000_000);
        // Suspended for an hour: the monotonic clock stood still.
        hand.set_wall(1_003_600);
        assert!(clock.now() >= 1_003_600);
    }
}
