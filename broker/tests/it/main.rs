//! The broker as its callers meet it: a process, a fake GitHub that checks signatures, real git.

#![allow(clippy::disallowed_methods, reason = "tests start processes and write their own files")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod audit;
mod crowd;
mod day;
mod errors;
mod git;
mod key;
mod preflight;
mod revoke;
mod secrets;
mod token;

use support::process::{Office, Running};

const BROKER: &str = env!("CARGO_BIN_EXE_tinyclaw-broker");

/// A broker for this office.
fn start(office: &Office) -> Running<'_> {
    office.start(BROKER, &["serve"])
}
