//! Connections: how many there may be, and which is closed when all are taken.
//!
//! A connection that asks nothing costs nothing to open and would keep others out. So nobody is
//! kept waiting for one: a new one may take its first five seconds to ask, one that was answered
//! thirty for the next question, and when all are taken, the one that has asked nothing for longest
//! is closed for who comes. Who waits for an answer is left alone. Some are kept for the broker's
//! own loopback, where its health is asked for and its kill switch is.

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
pub(crate) struct Connections {
    opened: Instant,
    most: usize,
    kept_for_loopback: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    connections: HashMap<u64, Arc<Entry>>,
}

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Entry {
    number: u64,
    /// When it was opened or last answered, in ms since the first could be.
    idle_since: AtomicU64,
    /// It waits for an answer.
    busy: AtomicBool,
    /// It has sent a whole head before.
    spoke: AtomicBool,
    close: Notify,
}

/// A connection that is counted, until this goes out of sight.
#[derive(Debug)]
pub(crate) struct Counted {
    connections: Arc<Connections>,
    entry: Arc<Entry>,
}

impl Connections {
    /// Three quarters of the files that may be open, and a sixteenth for loopback alone: the rest
    /// is for GitHub, the audit log and what is about to be closed.
    pub(crate) fn among(files: u64) -> Arc<Connections> {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Arc::new(Connections {
            opened: Instant::now(),
            most: files / 4 * 3,
            kept_for_loopback: files / 16,
            taken: Mutex::default(),
        })
    }

    /// Counts one more, from `peer`; none while every other waits for an answer.
    pub(crate) fn take(self: &Arc<Connections>, peer: IpAddr) -> Option<Counted> {
        let mut taken = self.lock();
        if taken.connections.len() >= self.most {
            let idle = taken.connections.values().filter(|it| !it.is_busy());
            let longest = idle.min_by_key(|it| it.idle_since.load(Ordering::Relaxed));
            if let Some(number) = longest.map(|it| it.number) {
                taken.dismiss(number);
            } else if !peer.is_loopback()
                || taken.connections.len() >= self.most + self.kept_for_loopback
            {
                return None;
            }
        }
        taken.last += 1;
        let entry = Arc::new(Entry {
            number: taken.last,
            idle_since: AtomicU64::new(self.now()),
            busy: AtomicBool::new(false),
            spoke: AtomicBool::new(false),
            close: Notify::new(),
        });
        taken.connections.insert(entry.number, entry.clone());
        Some(Counted { connections: self.clone(), entry })
    }

    /// Closes all that took too long to ask. Called every second.
    pub(crate) fn sweep(&self) {
        let now = self.now();
        let mut taken = self.lock();
        let late = taken.connections.values().filter(|it| it.is_late(now)).map(|it| it.number);
        for number in late.collect::<Vec<_>>() {
            taken.dismiss(number);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().connections.len()
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
        if let Some(entry) = self.connections.remove(&number) {
            entry.close.notify_one();
        }
    }
}

impl Entry {
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

impl Counted {
    /// Ends when this connection is to be closed.
    pub(crate) async fn dismissed(&self) {
        self.entry.close.notified().await;
    }

    /// Whether it waits for an answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.entry.is_busy()
    }

    /// A head came in, and its body is to follow: whoever waits for that keeps the time.
    pub(crate) fn begins(&self) {
        self.entry.idle_since.store(self.connections.now(), Ordering::Relaxed);
        self.entry.spoke.store(true, Ordering::Relaxed);
    }

    /// A request came in whole.
    pub(crate) fn asks(&self) {
        self.entry.busy.store(true, Ordering::Release);
    }

    /// Its answer is ready.
    pub(crate) fn has_its_answer(&self) {
        self.begins();
        self.entry.busy.store(false, Ordering::Release);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.lock().connections.remove(&self.entry.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    const BOT: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 3));
    const OWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn is_dismissed(counted: &Counted) -> bool {
        tokio::time::timeout(Duration::ZERO, counted.dismissed()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_nothing_for_longest_is_closed() {
        let connections = Connections::among(16);
        let mut counted = Vec::new();
        for _ in 0..12 {
            counted.push(connections.take(BOT).unwrap());
            advance(Duration::from_millis(10)).await;
        }
        counted[0].asks();
        counted[1].asks();
        counted[1].has_its_answer();
        let late = connections.take(BOT).unwrap();
        assert!(is_dismissed(&counted[2]).await);
        assert!(!is_dismissed(&counted[0]).await && !is_dismissed(&counted[1]).await);
        assert_eq!(connections.count(), 12);
        drop(late);
        assert_eq!(connections.count(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_loopback() {
        let connections = Connections::among(16);
        let counted: Vec<Counted> = (0..12).map(|_| connections.take(BOT).unwrap()).collect();
        counted.iter().for_each(Counted::asks);
        assert!(connections.take(BOT).is_none());
        let own = connections.take(OWN).unwrap();
        own.asks();
        assert!(connections.take(OWN).is_none(), "one, not any number");
        drop(own);
        assert!(connections.take(OWN).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_stays_open_for_ever() {
        let connections = Connections::among(16);
        let [new, kept, busy] = [BOT; 3].map(|it| connections.take(it).unwrap());
        busy.asks();
        kept.asks();
        kept.has_its_answer();
        advance(Duration::from_secs(6)).await;
        connections.sweep();
        assert!(is_dismissed(&new).await && !is_dismissed(&kept).await);
        advance(Duration::from_secs(25)).await;
        connections.sweep();
        assert!(is_dismissed(&kept).await && !is_dismissed(&busy).await);
    }
}
