//! From an answer in the queue to messages in Telegram: claimed, planned as texts and files, sent part by part.

pub(crate) mod claim;
pub(crate) mod deliver;
mod outgoing_files;
mod plan;
mod send;
mod topic_change;
