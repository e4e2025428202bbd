#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod api;
mod config;
mod costs;
mod dashboard;
mod events;
mod feed;
mod fetch;
mod guard;
mod host;
mod index;
mod log;
mod meta;
mod models;
mod office;
mod page;
mod redact;
mod rows;
mod scan;
mod server;
mod shapes;
mod story;
mod streams;

pub use access::KeySource;
pub use config::{AccessConfig, Config};
pub use server::Server;
