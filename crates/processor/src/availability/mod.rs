//! Whether a message may be asked now, and what people are told when not.

pub(crate) mod budget;
pub(crate) mod notices;
