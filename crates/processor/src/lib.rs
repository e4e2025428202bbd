#![doc = include_str!("../README.md")]

mod availability;
mod blocking;
mod commands;
mod config;
mod desks;
mod history;
mod policy;
mod schedule;
mod serve;
mod text;
mod tools;
mod work;

pub use crate::serve::{Ground, run, serve};
