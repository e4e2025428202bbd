//! Keeping the house: what a crash left behind, what was delivered long ago, and what was given up and is kept no longer.
//! All of it is done here and under the queue's own locks: nobody else removes a message.

use crate::error::OpenError;
use crate::{Keep, Queue, Swept};

impl Queue {
    /// One round of housekeeping; call it every few seconds from one process. Safe beside everything else.
    ///
    /// Takes up hand-made files in `incoming/` that have the original's fields, puts what is no message into
    /// quarantine with its reason, removes litter of crashes, forgets answers older than the queue remembers.
    pub fn housekeep(&self) -> Result<Swept, OpenError> {
        self.work.housekeep()
    }

    /// Removes for good what was given up, or put aside as no message, longer ago than `keep` says, and tells how much
    /// that was.
    ///
    /// Safe beside [`Queue::requeue`] and [`Queue::purge`] of any process: a message is taken up again or removed, never
    /// both, and one that was taken up is never touched. A crash leaves a message or none.
    pub fn retire(&self, keep: &Keep) -> Result<usize, OpenError> {
        self.work.retire(keep)
    }
}
