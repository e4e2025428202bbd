//! Claiming: which lanes are looked at, what holds a new turn back, and waiting until there is a message. Which message
//! it is, and that nobody else has it, is the engine's.

use std::time::Duration;

use tinyclaw_domain::{Lane, ThreadId};

use crate::clock::now_ms;
use crate::error::ClaimError;
use crate::lease::Lease;
use crate::{Queue, Side, Trouble, Which};

impl Queue {
    /// Takes a message, or `None` when there is nothing to do now.
    ///
    /// Any number of claimers in any number of processes may call this at once: a lane's lock picks one, and the others
    /// go on to the next lane. Within a lane messages come in order, one at a time. A message whose owner died comes
    /// first, and its lease says so. A lane whose head waits for its time offers nothing. A lane whose file cannot be read
    /// stops no other: the error comes back only when no other has a message, and [`Queue::troubles`] names it.
    pub fn try_claim(&self, side: Side, which: &Which) -> Result<Option<Lease>, ClaimError> {
        self.work.catch_up()?;
        if let Some(lease) = self.take(side, which)? {
            return Ok(Some(lease));
        }
        if self.work.sweep()? { self.take(side, which) } else { Ok(None) }
    }

    fn take(&self, side: Side, which: &Which) -> Result<Option<Lease>, ClaimError> {
        if *which == Which::Ordinary && side == Side::Run {
            // New turns make new answers. Control lanes go on, and so does the sender.
            let (outgoing, _) = self.work.waiting(Side::Send, "");
            if outgoing >= self.options.outgoing_max {
                return Ok(None);
            }
        }
        Ok(self.work.clone().take(side, which)?.map(|it| Lease::new(side, it)))
    }

    /// Waits until there is a message, and takes it. Dropping the future takes nothing.
    pub async fn claim(&self, side: Side, which: &Which) -> Result<Lease, ClaimError> {
        let changed = self.work.changed();
        loop {
            // Register for the wake-up before looking, so a message that arrives between is not missed.
            let mut changed = std::pin::pin!(changed.notified());
            changed.as_mut().enable();
            if let Some(lease) = self.try_claim(side, which)? {
                return Ok(lease);
            }
            let due = self.work.next_due(side);
            let due = due.map(|it| Duration::from_millis(it.saturating_sub(now_ms()).max(1)));
            let wait = due.unwrap_or(Duration::MAX).min(self.options.sweep_every);
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    /// How many messages wait for Claude in all, and in one thread, as far as this process knows. Costs nothing.
    pub fn waiting_in(&self, thread: &ThreadId) -> (usize, usize) {
        self.work.waiting(Side::Run, thread.as_str())
    }

    /// Whether anything of a lane waits or is worked on, as far as this process knows. Costs nothing, however much waits.
    pub fn has_work(&self, side: Side, lane: &Lane) -> bool {
        self.work.has_work(side, &lane.to_string())
    }

    /// The lanes that an error of the disk holds up now, each with the file and the reason. The others go on.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.work.troubles()
    }

    /// Ends when this process may no longer rely on what it holds: whatever is running must stop, because others take it
    /// over. Never ends where the kernel frees what a dead process held, as it does for folders.
    pub async fn lost(&self) {
        self.work.lost().await;
    }
}
