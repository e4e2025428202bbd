//! The engine over real processes: the demo engine under a real leash, and the real CLI against a fake API.
#![allow(
    clippy::disallowed_methods,
    reason = "tests lay files down and start processes as a stranger would"
)]
#![allow(clippy::print_stderr, reason = "a test that skips itself says so")]
#![allow(missing_docs, reason = "the names of tests are their documentation")]

mod adopted;
mod asks;
mod breaks;
mod claude;
mod cuts;
mod demo;
mod desk;
mod devbox;
mod elsewhere;
mod envs;
mod hand;
mod home;
mod hostile;
mod hostile_hub;
mod inventory;
mod launchers;
mod leash;
mod link;
mod looks;
mod pins;
mod plan_windows;
mod real;
mod skills;
