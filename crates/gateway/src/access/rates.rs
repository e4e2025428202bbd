//! How often a caller may ask, by what it asks; and how often an address may show a token that is not good.
//!
//! What is refused is told how long to wait, and waiting so long is enough.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware, StateSnapshot};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{NotUntil, Quota, RateLimiter};

/// A thousand events may come at once: as many as a batch has.
const INGEST_BURST: u32 = 1_000;
/// So many jobs may be begun at once.
const EXECUTE_BURST: u32 = 10;
/// So many bad tokens an address may show in a minute.
pub const FAILURES_A_MINUTE: u32 = 5;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Telling events, counted one by one.
    Ingest,
    /// Letting Claude work.
    Execute,
    /// Everything else.
    Read,
}

/// How often each may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateConfig {
    /// Events in a second.
    pub ingest: u32,
    /// Jobs in a second.
    pub execute: u32,
    /// Questions in a second.
    pub read: u32,
    /// Bad tokens in a minute, from one address.
    pub failures: u32,
}

impl Default for RateConfig {
    fn default() -> RateConfig {
        RateConfig { ingest: 1_000, execute: 1, read: 50, failures: FAILURES_A_MINUTE }
    }
}

/// Whether it may be done now, and the words of the headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// How long to wait, rounded up to seconds and at least one; `None`: go on.
    pub wait_seconds: Option<u64>,
    /// `RateLimit-Policy`.
    pub policy: String,
    /// `RateLimit`.
    pub left: String,
}

type Limiter<K, C> = RateLimiter<K, DefaultKeyedStateStore<K>, C, StateInformationMiddleware>;

/// The limits.
#[derive(Debug)]
pub struct Rates<C: Clock = DefaultClock> {
    ingest: One<String, C>,
    execute: One<String, C>,
    read: One<String, C>,
    failures: One<IpAddr, C>,
    clock: C,
}

#[derive(Debug)]
struct One<K: std::hash::Hash + Eq + Clone, C: Clock> {
    limiter: Limiter<K, C>,
    name: &'static str,
    burst: u32,
    /// In which the whole burst comes back.
    window: Duration,
}

impl Rates {
    /// Nobody has asked yet.
    pub fn new(config: RateConfig) -> Rates {
        Rates::with_clock(config, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(config: RateConfig, clock: C) -> Rates<C> {
        let ingest = config.ingest.max(1);
        let execute = config.execute.max(1);
        let read = config.read.max(1);
        let minute = Duration::from_secs(60);
        Rates {
            ingest: One::new("ingest", ingest, ingest.max(INGEST_BURST), &clock),
            execute: One::new("execute", execute, execute.max(EXECUTE_BURST), &clock),
            read: One::new("read", read, read, &clock),
            failures: One::within("bad-tokens", config.failures.max(1), minute, &clock),
            clock,
        }
    }

    /// A caller asks for `count` things at once.
    pub fn ask(&self, kind: Kind, caller: &str, count: usize) -> Allowance {
        let one = match kind {
            Kind::Ingest => &self.ingest,
            Kind::Execute => &self.execute,
            Kind::Read => &self.read,
        };
        one.ask(&caller.to_owned(), count, &self.clock)
    }

    /// An address showed a token that is not good.
    pub fn fail(&self, from: IpAddr) -> Allowance {
        self.failures.ask(&from, 1, &self.clock)
    }

    /// Forgets who has not asked for a while.
    pub fn forget_idle(&self) {
        self.ingest.limiter.retain_recent();
        self.execute.limiter.retain_recent();
        self.read.limiter.retain_recent();
        self.failures.limiter.retain_recent();
    }
}

impl<K: std::hash::Hash + Eq + Clone, C: Clock + Clone> One<K, C> {
    fn new(name: &'static str, a_second: u32, burst: u32, clock: &C) -> One<K, C> {
        let window = Duration::from_secs_f64(f64::from(burst) / f64::from(a_second));
        One::within(name, burst, window, clock)
    }

    fn within(name: &'static str, burst: u32, window: Duration, clock: &C) -> One<K, C> {
        let cells = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let one = (window / cells.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(one).unwrap_or_else(|| Quota::per_second(cells));
        let state = DefaultKeyedStateStore::<K>::default();
        let limiter: RateLimiter<K, _, C, NoOpMiddleware<C::Instant>> =
            RateLimiter::new(quota.allow_burst(cells), state, clock.clone());
        One { limiter: limiter.with_middleware(), name, burst, window }
    }

    fn ask(&self, key: &K, count: usize, clock: &C) -> Allowance {
        // More than ever fits counts as all there is: the size has a limit of its own.
        let count = u32::try_from(count).unwrap_or(u32::MAX).clamp(1, self.burst);
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let asked: Option<Result<StateSnapshot, NotUntil<C::Instant>>> =
            self.limiter.check_key_n(key, count).ok();
        let wait = |until: &NotUntil<C::Instant>| {
            let wait = until.wait_time_from(clock.now());
            (wait.as_millis().div_ceil(1000) as u64).max(1)
        };
        let (wait_seconds, left) = match &asked {
            Some(Ok(state)) => (None, state.remaining_burst_capacity()),
            Some(Err(until)) => (Some(wait(until)), 0),
            None => (Some(1), 0),
        };
        let missing = f64::from(self.burst - left.min(self.burst)) / f64::from(self.burst);
        let full_in = (self.window.as_secs_f64() * missing).ceil();
        Allowance {
            wait_seconds,
            policy: format!(
                "\"{}\";q={};w={}",
                self.name,
                self.burst,
                self.window.as_secs().max(1)
            ),
            left: format!("\"{}\";r={left};t={full_in}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn who_waits_as_long_as_told_is_let_in_and_who_does_not_is_not() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(
            RateConfig { ingest: 10, execute: 2, read: 3, ..RateConfig::default() },
            clock.clone(),
        );
        for left in [2, 1, 0] {
            let allowance = rates.ask(Kind::Read, "ada", 1);
            assert_eq!(allowance.wait_seconds, None);
            assert!(allowance.left.starts_with(&format!("\"read\";r={left};")), "{allowance:?}");
        }
        let refused = rates.ask(Kind::Read, "ada", 1);
        assert_eq!(refused.wait_seconds, Some(1));
        assert_eq!(refused.policy, "\"read\";q=3;w=1");
        assert_eq!(rates.ask(Kind::Read, "bob", 1).wait_seconds, None, "another has its own");
        clock.advance(Duration::from_secs(1));
        assert_eq!(rates.ask(Kind::Read, "ada", 1).wait_seconds, None);
        // Ten jobs at once, and then two a second.
        for _ in 0..10 {
            assert_eq!(rates.ask(Kind::Execute, "ada", 1).wait_seconds, None);
        }
        let refused = rates.ask(Kind::Execute, "ada", 1);
        assert_eq!((refused.wait_seconds, &*refused.policy), (Some(1), "\"execute\";q=10;w=5"));
        // A batch waits until there is room for all of it.
        assert_eq!(rates.ask(Kind::Ingest, "ada", 1_000).wait_seconds, None);
        let wait = rates.ask(Kind::Ingest, "ada", 55).wait_seconds.unwrap();
        assert_eq!(wait, 6);
        clock.advance(Duration::from_secs(wait - 1));
        assert_eq!(rates.ask(Kind::Ingest, "ada", 55).wait_seconds, Some(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(rates.ask(Kind::Ingest, "ada", 55).wait_seconds, None);
    }

    #[test]
    fn an_address_may_fail_five_times_a_minute() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::with_clock(RateConfig::default(), clock.clone());
        let from: IpAddr = [10, 0, 0, 1].into();
        for _ in 0..5 {
            assert_eq!(rates.fail(from).wait_seconds, None);
        }
        let wait = rates.fail(from).wait_seconds.unwrap();
        assert!((1..=12).contains(&wait), "{wait}");
        clock.advance(Duration::from_secs(wait));
        assert_eq!(rates.fail(from).wait_seconds, None);
    }
}
