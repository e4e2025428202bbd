//! Work on one message: from the claim to its next folder.

pub(crate) mod control;
pub(crate) mod handle;
pub(crate) mod job_log;
pub(crate) mod outbox;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod resume;
pub(crate) mod routing;
pub(crate) mod summary;
pub(crate) mod turn;
