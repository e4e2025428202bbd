//! Single flight: many callers, one key, one errand.
//!
//! The first caller starts the errand as a task of its own, the others wait for its outcome, be
//! it good or bad. Nobody who goes away stops it: the errand belongs to the key, not to a caller.
//! If it panics, everybody hears [`Lost`] and the next caller starts anew.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The errands under way.
#[derive(Debug)]
pub struct Flights<K, V> {
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

/// The errand ended without an outcome: it panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Flights { running: Arc::default() }
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Starts the errand unless it is under way already; true when this call started it.
    pub fn start<F>(&self, key: K, errand: impl FnOnce() -> F) -> (watch::Receiver<Option<V>>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match running.entry(key.clone()) {
            Entry::Occupied(under_way) => return (under_way.get().clone(), false),
            Entry::Vacant(place) => place,
        };
        let (sender, receiver) = watch::channel(None);
        place.insert(receiver.clone());
        drop(running);
        let landing = Landing { running: self.running.clone(), key };
        let errand = errand();
        tokio::spawn(async move {
            let outcome = errand.await;
            // Gone from the table first: who comes now finds the outcome where it was stored.
            drop(landing);
            sender.send_replace(Some(outcome));
        });
        (receiver, true)
    }

    /// The outcome of the errand, and whether this call started it.
    pub async fn join<F>(&self, key: K, errand: impl FnOnce() -> F) -> Result<(V, bool), Lost>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (mut receiver, started) = self.start(key, errand);
        let outcome = receiver.wait_for(Option::is_some).await.map_err(|_| Lost)?.clone();
        outcome.map(|it| (it, started)).ok_or(Lost)
    }
}

/// Takes the key out of the table, also when the errand panics.
struct Landing<K: Eq + Hash, V> {
    running: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_callers_are_one_errand() {
        let flights = Arc::new(Flights::<u32, u32>::default());
        let errands = Arc::new(AtomicU32::new(0));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..1000 {
            let (flights, errands) = (flights.clone(), errands.clone());
            callers.spawn(async move {
                let errand = || async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    errands.fetch_add(1, Ordering::SeqCst) + 1
                };
                flights.join(7, errand).await
            });
        }
        let started =
            callers.join_all().await.into_iter().filter(|it| *it == Ok((1, true))).count();
        assert_eq!(started, 1);
        assert_eq!(errands.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_caller_may_leave() {
        let flights = Arc::new(Flights::<u32, u32>::default());
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            1
        };
        let first = tokio::time::timeout(Duration::from_millis(10), flights.join(7, slow)).await;
        assert!(first.is_err());
        assert_eq!(flights.join(7, || async { 2 }).await, Ok((1, false)));
        assert_eq!(flights.join(7, || async { 3 }).await, Ok((3, true)));
    }

    #[tokio::test]
    async fn a_panic_is_lost_and_not_for_ever() {
        let flights = Flights::<u32, u32>::default();
        async fn boom() -> u32 {
            panic!("on purpose")
        }
        assert_eq!(flights.join(7, boom).await, Err(Lost));
        assert_eq!(flights.join(7, || async { 1 }).await, Ok((1, true)));
    }
}
