//! `tinyclaw hook`: what Claude Code runs at each of its hooks. It keeps what it is told on disk and is gone; another
//! process of ours brings it to the event bus, in order, also when the bus is away for hours.
//!
//! It never slows Claude down or tells it anything: it writes nothing to its output, waits for nobody, and ends with 0
//! whatever happens. What it cannot keep is lost, and has left its number behind, by which `tinyclaw hook check` knows of it.

mod check;
mod drain;
mod install;
mod spool;

pub(crate) use self::check::{Account, check, named};
pub(crate) use self::drain::{drain, host_of as check_url};
pub(crate) use self::install::{Installed, install, remove};
pub(crate) use self::spool::{Config, Spool, keep, number_of};
