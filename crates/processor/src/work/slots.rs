//! How many turns run at once. A turn that waits for a person lends its slot to another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// The limit may be raised while somebody waits for a slot: it is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many slots are taken.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: watch::Sender<usize>,
}

impl Slots {
    /// All free.
    pub(crate) fn new() -> Slots {
        Slots { taken: watch::Sender::new(0) }
    }

    /// Waits until fewer than so many are taken, but takes none.
    pub(crate) async fn wait(&self, max: impl Fn() -> usize) {
        let mut taken = self.taken.subscribe();
        while *taken.borrow_and_update() >= max() {
            let _ = tokio::time::timeout(LOOK_EVERY, taken.changed()).await;
        }
    }

    pub(crate) fn taken(&self) -> usize {
        *self.taken.borrow()
    }

    fn add(&self) {
        self.taken.send_modify(|it| *it += 1);
    }

    fn give_back(&self) {
        self.taken.send_modify(|it| *it = it.saturating_sub(1));
    }
}

/// A slot that is given back when the turn is over, however it ends.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    is_held: bool,
    /// Whether the turn needs one at all.
    counts: bool,
}

impl Slot {
    pub(crate) fn take(slots: &Arc<Slots>) -> Slot {
        slots.add();
        Slot { slots: slots.clone(), is_held: true, counts: true }
    }

    /// Gives the slot back before the turn is over: it runs where slots do not count.
    pub(crate) fn give_back(&mut self) {
        self.counts = false;
        if std::mem::replace(&mut self.is_held, false) {
            self.slots.give_back();
        }
    }

    /// Lends the slot to another turn while a person is asked, or takes it up again. Taken up again it may be one too
    /// many for a while: whoever was answered does not wait.
    pub(crate) fn lend(&mut self, is_lent: bool) {
        if self.counts && is_lent == self.is_held {
            if is_lent {
                self.slots.give_back();
            } else {
                self.slots.add();
            }
            self.is_held = !is_lent;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_held {
            self.slots.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_given_back_once_however_it_was_lent() {
        let slots = Arc::new(Slots::new());
        let (mut first, second) = (Slot::take(&slots), Slot::take(&slots));
        assert_eq!(slots.taken(), 2);
        for (is_lent, taken) in [(true, 1), (true, 1), (false, 2), (false, 2), (true, 1)] {
            first.lend(is_lent);
            assert_eq!(slots.taken(), taken);
        }
        drop(first);
        assert_eq!(slots.taken(), 1, "a lent slot is not given back twice");
        drop(second);
        assert_eq!(slots.taken(), 0);
        let mut elsewhere = Slot::take(&slots);
        elsewhere.give_back();
        for is_lent in [true, false] {
            elsewhere.lend(is_lent);
            assert_eq!(slots.taken(), 0, "it is none any more");
        }
        drop(elsewhere);
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_on_when_a_slot_is_free_or_the_limit_is_raised() {
        let slots = Arc::new(Slots::new());
        let slot = Slot::take(&slots);
        let waiting = slots.wait(|| 1);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(LOOK_EVERY * 5, waiting.as_mut()).await.is_err());
        drop(slot);
        waiting.await;
        let _slot = Slot::take(&slots);
        let max = std::sync::atomic::AtomicUsize::new(1);
        let raised = async {
            tokio::time::sleep(LOOK_EVERY * 3).await;
            max.store(2, std::sync::atomic::Ordering::Relaxed);
        };
        tokio::join!(slots.wait(|| max.load(std::sync::atomic::Ordering::Relaxed)), raised);
    }
}
