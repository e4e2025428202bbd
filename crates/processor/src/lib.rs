#![doc = include_str!("../README.md")]

mod budget;
mod capability;
mod clockwork;
mod commands;
mod control;
mod decide;
mod earlier;
mod failure;
mod folders;
mod handle;
mod mirror;
mod notices;
mod office;
mod outbox;
mod prompt;
mod repo;
mod run;
mod setup;
mod shown;
mod summary;
mod tools;
mod turn;
mod turn_log;

pub use crate::office::Office;
pub use crate::run::run;
pub use crate::setup::{engine_config, prepare};
