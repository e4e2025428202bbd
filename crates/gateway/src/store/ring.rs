//! The newest events in memory, shared by everybody who is up to date. It has no holes, and loses its oldest first.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use crate::event::Cursor;
use crate::store::Frame;

/// So much is kept.
const BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Default)]
pub(crate) struct Ring {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
}

impl Ring {
    /// Puts in what was committed just now.
    pub(crate) fn push(&self, frames: impl IntoIterator<Item = Frame>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for it in frames {
            inner.bytes += it.weight();
            inner.frames.push_back(Arc::new(it));
        }
        while inner.bytes > BYTES_MAX {
            let Some(oldest) = inner.frames.pop_front() else { break };
            inner.bytes -= oldest.weight();
        }
    }

    /// Forgets everything: a new database begins.
    pub(crate) fn clear(&self) {
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    /// What follows a place, if nothing in between is missing here: at most `limit`, until they have so many bytes.
    pub(crate) fn after(
        &self,
        after: Cursor,
        limit: usize,
        bytes: usize,
    ) -> Option<Vec<Arc<Frame>>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let first = inner.frames.front()?.cursor;
        if first.epoch != after.epoch {
            return None;
        }
        let skipped = usize::try_from((after.seq + 1).checked_sub(first.seq)?).ok()?;
        let mut taken = 0;
        let fits = |it: &&Arc<Frame>| {
            let fits = taken < bytes;
            taken += it.body().len();
            fits
        };
        Some(inner.frames.iter().skip(skipped).take(limit).take_while(fits).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seq: u64, bytes: usize) -> Frame {
        let cursor = Cursor { epoch: "k7q2".parse().unwrap(), seq };
        let body = format!("\"{}\"", "x".repeat(bytes));
        Frame::new(cursor, "a.b", "test", None, None, 0, &body)
    }

    #[test]
    fn a_ring_gives_what_follows_without_holes_or_nothing() {
        let ring = Ring::default();
        let at = |seq| Cursor { epoch: "k7q2".parse().unwrap(), seq };
        assert_eq!(ring.after(at(0), 9, BYTES_MAX), None);
        ring.push((5..=9).map(|it| frame(it, 10)));
        let seqs = |after, limit| {
            let found = ring.after(at(after), limit, BYTES_MAX)?;
            Some(found.iter().map(|it| it.cursor.seq).collect::<Vec<_>>())
        };
        assert_eq!(seqs(3, 9), None, "the fourth is missing");
        assert_eq!(seqs(4, 2), Some(vec![5, 6]));
        assert_eq!(seqs(8, 9), Some(vec![9]));
        assert_eq!(seqs(9, 9), Some(vec![]));
        assert_eq!(ring.after(Cursor { epoch: "aaaa".parse().unwrap(), seq: 7 }, 9, 1), None);
        let few = ring.after(at(4), 9, 13).unwrap();
        assert_eq!(few.len(), 2, "twelve bytes each: the second reaches it");
        ring.push([frame(10, BYTES_MAX / 2)]);
        assert_eq!(seqs(8, 1), None, "the old ones made room");
        ring.clear();
        assert_eq!(seqs(9, 1), None);
    }
}
