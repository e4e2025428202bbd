#![doc = include_str!("../README.md")]

mod config;
mod container;
mod docker;
mod envs;
mod keeper;
mod server;
mod streams;
mod tar;

pub use config::{BadConfig, Config};
pub use server::Porter;
