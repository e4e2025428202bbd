#![doc = include_str!("../README.md")]

#[cfg(feature = "access")]
mod access;
#[cfg(not(feature = "access"))]
#[path = "no_access.rs"]
mod access;
mod answer;
mod api;
mod config;
mod costs;
mod dashboard;
#[cfg(feature = "events")]
mod events;
#[cfg(not(feature = "events"))]
#[path = "no_events.rs"]
mod events;
mod feed;
#[cfg(feature = "access")]
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

pub use config::{AccessConfig, Config, KeySource};
pub use server::Server;
