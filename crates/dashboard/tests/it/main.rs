//! The dashboard over HTTP, on a real state folder, as a page or a terminal asks it.
#![allow(clippy::disallowed_methods, reason = "the tests play the writers of the state folder")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so by name")]

#[cfg(feature = "access")]
mod access;
mod answers;
mod big;
#[cfg(feature = "events")]
mod browser;
mod client;
mod deaf;
mod demo;
mod door;
#[cfg(feature = "events")]
mod driver;
#[cfg(feature = "events")]
mod events;
mod live;
mod reading;
mod running;
