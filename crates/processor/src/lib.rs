#![doc = include_str!("../README.md")]

mod availability;
mod blocking;
mod commands;
mod config;
mod desks;
#[cfg(feature = "devboxes")]
mod devboxes;
#[cfg(not(feature = "devboxes"))]
#[path = "no_devboxes.rs"]
mod devboxes;
mod history;
mod policy;
mod schedule;
mod serve;
mod text;
mod tools;
mod work;

pub use crate::devboxes::Fleet;
pub use crate::serve::{Ground, run, serve};
