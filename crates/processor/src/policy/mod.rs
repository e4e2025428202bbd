//! What a failure means.

pub(crate) mod failure;
