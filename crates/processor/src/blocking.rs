//! Waiting for a lock, and waiting for the disk without holding up other turns. Decides nothing.
//!
//! Each lock is a private field of the concern that owns what it guards, and is let go before the function that took it
//! returns. Two are held at once in one place only: the list of threads, and within it the list of running turns
//! ([`crate::work::turns`]). None is held while something is awaited, but [`crate::desks::Desks`]'s for checkouts, which
//! is made for that.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, also after a panic of whoever held it: what is guarded is whole after every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs something that waits for the disk, without holding up other turns.
pub(crate) fn on_disk<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}
