//! From an update to a message in the queue: polled, kept on disk, decoded, joined with what belongs to it, published.

pub mod access;
pub(crate) mod compose;
pub(crate) mod decode;
pub(crate) mod dispatch;
pub(crate) mod downloads;
pub(crate) mod joining;
pub(crate) mod poll;
mod transcribe;
mod unpublished;
pub mod updates;
