//! What people see of a turn while it runs: its status message, "typing", its permission question; and what is left to
//! do when it is over.

mod choices;
pub(crate) mod cleanup;
pub(crate) mod kept;
pub(crate) mod layout;
pub(crate) mod long_question;
pub(crate) mod message;
pub(crate) mod recover;
mod typing;
pub(crate) mod watcher;
