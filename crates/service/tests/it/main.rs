//! The service crate as its users meet it: settings from files and variables, health over HTTP, the printed table.
#![allow(
    clippy::disallowed_methods,
    reason = "a test plays the operator, who edits files with an editor"
)]

mod compose;
mod health;
mod logs;
mod settings;
mod settings_doc;
