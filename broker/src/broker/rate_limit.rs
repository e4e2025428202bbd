//! Rate limits: what somebody may use up, refilled evenly.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use super::lock;

/// A bound for memory: threads come and go.
const KEPT_MAX: usize = 10_000;

/// How much at once, and how much in an hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) most: f64,
    pub(super) per_hour: f64,
}

#[derive(Debug)]
struct Left {
    left: f64,
    at: i64,
}

/// One for each of those who use something up.
#[derive(Debug)]
pub(super) struct RateLimits<K>(Mutex<HashMap<K, Left>>);

impl<K> Default for RateLimits<K> {
    fn default() -> Self {
        RateLimits(Mutex::default())
    }
}

impl<K: Eq + Hash> RateLimits<K> {
    /// Uses up so much, if anything is left; else in how many seconds there is. What is larger
    /// than the rest is owed: sizes are known afterwards. Nothing is a look without taking.
    pub(super) fn take(&self, who: K, amount: f64, limit: Limit, now: i64) -> Result<(), u64> {
        let mut limits = lock(&self.0);
        if limits.len() >= KEPT_MAX {
            limits.retain(|_, it| it.refilled(limit, now) < limit.most);
        }
        let left = limits.get(&who).map_or(limit.most, |it| it.refilled(limit, now));
        if left < 1.0 {
            let hours = (1.0 - left) / limit.per_hour.max(f64::MIN_POSITIVE);
            // Less a breath, because these numbers are not exact.
            return Err((hours * 3600.0 - 1e-6).ceil().clamp(1.0, 86_400.0) as u64);
        }
        if amount > 0.0 {
            limits.insert(who, Left { left: left - amount, at: now });
        }
        Ok(())
    }
}

impl Left {
    fn refilled(&self, limit: Limit, now: i64) -> f64 {
        let passed = (now - self.at).max(0) as f64;
        (self.left + passed * limit.per_hour / 3600.0).min(limit.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { most: 2.0, per_hour: 60.0 };

    #[test]
    fn a_limit_is_used_up_and_refilled_for_each() {
        let limits = RateLimits::default();
        let take = |who, amount, now| limits.take(who, amount, LIMIT, now);
        assert_eq!((take("ada", 1.0, 0), take("ada", 1.0, 0)), (Ok(()), Ok(())));
        assert_eq!(take("ada", 1.0, 0), Err(60));
        assert_eq!(take("bob", 1.0, 0), Ok(()));
        assert_eq!(take("ada", 0.0, 59), Err(1));
        assert_eq!(take("ada", 1.0, 60), Ok(()));
        assert_eq!(take("ada", 0.0, 60), Err(60));
        // What was larger than the rest is owed.
        assert_eq!(take("bob", 4.0, 60), Ok(()));
        assert_eq!(take("bob", 0.0, 60), Err(180));
        assert_eq!(take("bob", 0.0, 240), Ok(()));
    }
}
