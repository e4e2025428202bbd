//! Work on messages: each is claimed, answered by Claude or by TinyClaw itself, and moved on to its next folder.
//!
//! What a failure means is [`crate::policy`]'s to say; what is said of it, [`crate::availability`]'s.

pub(crate) mod background;
pub(crate) mod claims;
pub(crate) mod control;
mod ended;
mod message;
mod progress;
mod prompt;
mod raising;
mod reply;
mod resume;
pub(crate) mod routing;
pub(crate) mod slots;
pub(crate) mod steering;
mod summary;
mod turn;
pub(crate) mod turns;
mod watch;
pub(crate) mod worker;

pub(crate) use self::prompt::Prompts;
