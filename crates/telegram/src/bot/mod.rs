//! The Bot API: the client, the rate limit of each chat, whether Telegram answers, and where threads live there.
//!
//! Nothing here decides what is said to whom.

pub mod addresses;
pub mod client;
pub(crate) mod connection;
pub(crate) mod pace;
pub mod rate_limit;
pub(crate) mod reactions;
mod surrogates;
