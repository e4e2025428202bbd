//! The office at work, with its real processor and the demo engine.
#![allow(clippy::disallowed_methods, reason = "tests make files by hand")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod adopted;
mod bot;
mod campaign;
mod clock;
mod containers;
mod control;
mod day;
mod devbox;
mod gateway;
mod memory;
mod raised;
mod real;
mod repos;
mod restart;
mod settings;
mod telegram;
mod threads;
mod today;
mod turns;
mod upgrade;
