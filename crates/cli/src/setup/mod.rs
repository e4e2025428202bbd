//! Setting an office up: each part asked for, tried, and written down only when it works.

#[allow(dead_code, reason = "setup and doctor, which show it, come next")]
pub(crate) mod standing;
