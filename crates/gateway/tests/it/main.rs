//! The gateway over HTTP, as hooks, n8n, a page and a terminal use it.
#![allow(
    clippy::disallowed_methods,
    reason = "the tests play the operator, and start the real program"
)]

mod access;
mod api;
mod binary;
mod browser;
mod desk;
#[path = "../../../dashboard/tests/it/driver.rs"]
mod driver;
mod events;
mod failures;
mod foreign;
mod hostile;
mod jobs;
mod notify;
mod office;
mod openai;
mod openapi;
#[path = "../program/mod.rs"]
mod program;
mod rig;
mod signed;
mod sockets;
mod streams;
mod webhooks;
