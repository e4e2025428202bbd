//! From an answer in the queue to messages in Telegram: claimed, planned as texts and files, sent part by part.

pub(crate) mod deliver;
mod outgoing_files;
pub(crate) mod plan;
mod send;
