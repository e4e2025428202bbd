//! What the driver of a Claude over a link keeps of its turn, for whoever goes on with it after this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tinyclaw_domain::frame::RunId;

use super::known::{KnownRuns, Note};

/// A run's page in what is kept.
#[derive(Debug)]
pub(crate) struct Journal {
    run: RunId,
    known: Arc<KnownRuns>,
    keep: Arc<AtomicU64>,
    adopted: Option<Adopted>,
}

/// A turn that an earlier process began.
#[derive(Debug)]
pub(crate) struct Adopted {
    pub(crate) note: Note,
    /// How many bytes of input Claude has.
    pub(crate) taken: u64,
}

impl Journal {
    pub(super) fn new(
        run: RunId,
        known: Arc<KnownRuns>,
        keep: Arc<AtomicU64>,
        adopted: Option<Adopted>,
    ) -> Journal {
        Journal { run, known, keep, adopted }
    }

    /// The turn to go on with, once.
    pub(crate) fn adopt(&mut self) -> Option<Adopted> {
        self.adopted.take()
    }

    /// Keeps how the turn is, and Claude's output from its beginning. On disk when this returns.
    pub(crate) fn note(&self, note: &Note) {
        self.keep.store(note.at, Ordering::Relaxed);
        self.known.note(&self.run, note);
    }
}
