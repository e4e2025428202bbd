#![doc = include_str!("../README.md")]

mod availability;
mod commands;
mod desks;
mod office;
mod policy;
mod schedule;
mod serve;
mod setup;
mod tools;
mod work;

pub use crate::office::Office;
pub use crate::serve::run;
pub use crate::setup::{engine_config, prepare};
