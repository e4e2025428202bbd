#![doc = include_str!("../README.md")]

pub mod bot;
mod buttons;
mod choosing;
mod commands;
pub mod discover;
pub mod inbound;
mod opening;
mod origin;
mod outbound;
mod publish;
mod serve;
mod settings;
mod status;
mod steering;
pub mod text;
mod threads;
mod topics;

pub use serve::{Options, run, run_over};
pub use settings::Timing;
