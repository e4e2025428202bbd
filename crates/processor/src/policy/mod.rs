//! What a failure means, and when a turn needs a stronger model.

pub(crate) mod escalation;
pub(crate) mod failure;
