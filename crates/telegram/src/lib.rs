#![doc = include_str!("../README.md")]

mod below;
mod board;
pub mod book;
pub mod budget;
mod clear;
pub mod client;
mod commands;
mod desk;
mod export;
mod face;
mod fetch;
mod hear;
mod held;
pub mod inbox;
mod intake;
mod letter;
mod line;
mod look;
mod lost;
pub mod meet;
mod outlet;
pub mod people;
mod plan;
mod poll;
mod press;
mod question;
mod room;
mod said;
mod serve;
mod show;
mod signs;
mod surrogates;
pub mod text;
mod topics;

pub use face::Timing;
pub use serve::{Options, run};
