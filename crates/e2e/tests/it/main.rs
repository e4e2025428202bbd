//! The office at work, with its real processor and the demo engine.
#![allow(clippy::disallowed_methods, reason = "tests make files by hand")]

mod campaign;
mod control;
mod memory;
mod restart;
mod threads;
mod turns;
