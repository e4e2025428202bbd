//! A link to where Claude runs, for an office that may be cut off from it.
//!
//! At the far end a hub speaks with the office over one connection, and a hold owns one run: a leash, and what its Claude
//! writes. Both are words of `tinyclaw-leash`, which is the whole helper. At the near end a line keeps up the connection
//! that a carrier makes, a [`LinkLauncher`] gives the driver the pipes it knows, and a [`LinkLook`] asks what there is. What they say to each other are the
//! frames of `tinyclaw_domain::frame`.

mod account;
mod answers;
mod asking;
mod carrier;
mod clean;
mod connection;
mod dial;
mod exec;
mod frames;
mod health;
mod hold;
mod hub;
mod journal;
mod known;
mod launcher;
mod line;
mod look;
mod pin;
mod rest;
mod run_end;
mod running;
mod runs;
mod spool;
mod ssh;
mod warden;

use std::ffi::OsString;

use crate::leash;

pub(crate) use asking::Answering;
pub use carrier::{Carrier, CarrierFuture, ChildCarrier, Connection, Unreached};
pub(crate) use exec::ExecCarrier;
pub(crate) use journal::{Adopted, Journal};
pub use known::KnownRuns;
pub(crate) use known::Note;
pub use launcher::{Lease, LinkLauncher};
pub use look::LinkLook;
pub(crate) use ssh::SshCarrier;
pub use ssh::{DevboxWay, Devboxes, GitAnswer};
pub use warden::WardenCarrier;

/// The helper's `main` for a command line that begins with one of its own words; `None`: it is a leash's.
pub fn run(mut args: impl Iterator<Item = OsString>) -> Option<i32> {
    let run = match args.nth(1)?.to_str()? {
        "hub" => hub::run,
        "hold" => |_| hold::run(),
        "rest" => return Some(rest::run()),
        "env" => return Some(account::tell_environment()),
        asking::WORD => return Some(asking::run(args)),
        _ => return None,
    };
    // A hold outlives whoever started its hub: it keeps nothing of theirs open, no lock and no pipe.
    if let Err(err) = leash::close_inherited() {
        return Some(leash::complain(leash::EXIT_NOT_STARTED, &err));
    }
    Some(run(args))
}
