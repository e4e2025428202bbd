//! The seats: how many connections there may be, and who gets up when all are taken.
//!
//! A connection that asks nothing costs nothing to open and would keep others out. So nobody is
//! kept waiting for one: a new one may take its first five seconds to ask, one that was answered
//! thirty for the next question, and when every seat is taken, the one that has asked nothing for
//! longest gets up for who comes. Who waits for an answer is left alone. Some seats are kept for
//! the broker's own loopback, where its health is asked for and its kill switch is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// From its opening to a whole request head. Our callers send theirs in one go.
const FIRST_ASKS_WITHIN: Duration = Duration::from_secs(5);
/// From an answer to the next whole request head.
const NEXT_ASKS_WITHIN: Duration = Duration::from_secs(30);

/// All of them.
#[derive(Debug)]
pub(crate) struct Seats {
    opened: Instant,
    most: usize,
    kept_for_loopback: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    seats: HashMap<u64, Arc<Seat>>,
}

/// One connection's.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u64,
    /// When its connection was opened or last answered, in ms since the seats were opened.
    idle_since: AtomicU64,
    /// It waits for an answer.
    busy: AtomicBool,
    /// It has sent a whole head before.
    spoke: AtomicBool,
    get_up: Notify,
}

/// A seat taken; given back when this goes out of sight.
#[derive(Debug)]
pub(crate) struct Sitting {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
}

impl Seats {
    /// Three quarters of the files that may be open, and a sixteenth for loopback alone: the rest
    /// is for GitHub, the audit log and what is about to be closed.
    pub(crate) fn among(files: u64) -> Arc<Seats> {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Arc::new(Seats {
            opened: Instant::now(),
            most: files / 4 * 3,
            kept_for_loopback: files / 16,
            taken: Mutex::default(),
        })
    }

    /// A seat for who comes from `peer`; none while everybody waits for an answer.
    pub(crate) fn take(self: &Arc<Seats>, peer: IpAddr) -> Option<Sitting> {
        let mut taken = self.lock();
        if taken.seats.len() >= self.most {
            let idle = taken.seats.values().filter(|it| !it.is_busy());
            let longest = idle.min_by_key(|it| it.idle_since.load(Ordering::Relaxed));
            if let Some(number) = longest.map(|it| it.number) {
                taken.dismiss(number);
            } else if !peer.is_loopback() || taken.seats.len() >= self.most + self.kept_for_loopback
            {
                return None;
            }
        }
        taken.last += 1;
        let seat = Arc::new(Seat {
            number: taken.last,
            idle_since: AtomicU64::new(self.now()),
            busy: AtomicBool::new(false),
            spoke: AtomicBool::new(false),
            get_up: Notify::new(),
        });
        taken.seats.insert(seat.number, seat.clone());
        Some(Sitting { seats: self.clone(), seat })
    }

    /// Dismisses everybody who took too long to ask. Called every second.
    pub(crate) fn sweep(&self) {
        let now = self.now();
        let mut taken = self.lock();
        let late = taken.seats.values().filter(|it| it.is_late(now)).map(|it| it.number);
        for number in late.collect::<Vec<_>>() {
            taken.dismiss(number);
        }
    }

    /// How many are taken.
    pub(crate) fn count(&self) -> usize {
        self.lock().seats.len()
    }

    fn now(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn dismiss(&mut self, number: u64) {
        if let Some(seat) = self.seats.remove(&number) {
            seat.get_up.notify_one();
        }
    }
}

impl Seat {
    /// Whether it waits for an answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    fn is_late(&self, now: u64) -> bool {
        let spoke = self.spoke.load(Ordering::Relaxed);
        let patience = if spoke { NEXT_ASKS_WITHIN } else { FIRST_ASKS_WITHIN };
        let idle = now.saturating_sub(self.idle_since.load(Ordering::Relaxed));
        !self.is_busy() && u128::from(idle) > patience.as_millis()
    }
}

impl Sitting {
    /// Ends when this connection is to be closed.
    pub(crate) async fn dismissed(&self) {
        self.seat.get_up.notified().await;
    }

    /// Whether it waits for an answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.seat.is_busy()
    }

    /// A head came in, and its body is to follow: whoever waits for that keeps the time.
    pub(crate) fn begins(&self) {
        self.seat.idle_since.store(self.seats.now(), Ordering::Relaxed);
        self.seat.spoke.store(true, Ordering::Relaxed);
    }

    /// A request came in whole.
    pub(crate) fn asks(&self) {
        self.seat.busy.store(true, Ordering::Release);
    }

    /// Its answer is ready.
    pub(crate) fn has_its_answer(&self) {
        self.begins();
        self.seat.busy.store(false, Ordering::Release);
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        self.seats.lock().seats.remove(&self.seat.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    const BOT: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 3));
    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn is_dismissed(sitting: &Sitting) -> bool {
        tokio::time::timeout(Duration::ZERO, sitting.dismissed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_nothing_for_longest_gets_up() {
        let seats = Seats::among(16);
        let mut sitting = Vec::new();
        for _ in 0..12 {
            sitting.push(seats.take(BOT).unwrap());
            advance(Duration::from_millis(10)).await;
        }
        sitting[0].asks();
        sitting[1].asks();
        sitting[1].has_its_answer();
        let late = seats.take(BOT).unwrap();
        assert!(is_dismissed(&sitting[2]).await);
        assert!(!is_dismissed(&sitting[0]).await && !is_dismissed(&sitting[1]).await);
        assert_eq!(seats.count(), 12);
        drop(late);
        assert_eq!(seats.count(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_kept_for_loopback() {
        let seats = Seats::among(16);
        let sitting: Vec<Sitting> = (0..12).map(|_| seats.take(BOT).unwrap()).collect();
        sitting.iter().for_each(Sitting::asks);
        assert!(seats.take(BOT).is_none());
        let own = seats.take(OWN).unwrap();
        own.asks();
        assert!(seats.take(OWN).is_none(), "one, not any number");
        drop(own);
        assert!(seats.take(OWN).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_sits_for_ever() {
        let seats = Seats::among(16);
        let [new, kept, busy] = [BOT; 3].map(|it| seats.take(it).unwrap());
        busy.asks();
        kept.asks();
        kept.has_its_answer();
        advance(Duration::from_secs(6)).await;
        seats.sweep();
        assert!(is_dismissed(&new).await && !is_dismissed(&kept).await);
        advance(Duration::from_secs(25)).await;
        seats.sweep();
        assert!(is_dismissed(&kept).await && !is_dismissed(&busy).await);
    }
}
