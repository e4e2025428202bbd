//! The far end of a link: what runs on the machine that Claude runs on, for an office that may be cut off from it.
//!
//! A hub speaks with the office over one connection, a hold owns one run: a leash, and what its Claude writes. Both are
//! words of `tinyclaw-leash`, which is the whole helper. What they say to each other and to the office are the frames of
//! `tinyclaw_domain::frame`.

mod connection;
mod frames;
mod hold;
mod hub;
mod running;
mod runs;
mod spool;

use std::ffi::OsString;

use crate::leash;

/// The helper's `main` for a command line that begins with one of its own words; `None`: it is a leash's.
pub fn run(mut args: impl Iterator<Item = OsString>) -> Option<i32> {
    let run = match args.nth(1)?.to_str()? {
        "hub" => hub::run,
        "hold" => |_| hold::run(),
        _ => return None,
    };
    // A hold outlives whoever started its hub: it keeps nothing of theirs open, no lock and no pipe.
    if let Err(err) = leash::close_inherited() {
        return Some(leash::complain(leash::EXIT_NOT_STARTED, &err));
    }
    Some(run(args))
}
