#![doc = include_str!("../README.md")]

pub mod bot;
mod buttons;
mod commands;
pub mod discover;
mod face;
pub mod inbound;
mod outbound;
mod serve;
mod status;
pub mod text;
mod topics;

pub use face::Timing;
pub use serve::{Options, run};
