#![doc = include_str!("../README.md")]

pub mod app;
pub mod ask;
pub mod audit;
mod broker;
pub mod capability;
pub mod clients;
pub mod clock;
pub mod config;
mod connections;
pub mod counters;
pub mod daemon;
pub mod date;
mod door;
pub mod errand;
pub mod flight;
pub mod github;
pub mod http;
pub mod key;
mod lookup;
pub mod names;
pub mod permission;
pub mod policy;
pub mod preflight;
pub mod process;
pub mod redact;
pub mod refusal;
pub mod remote;
pub mod vault;

pub use broker::{Broker, Explanation, Frozen, Readiness};
pub use capability::Capability;
pub use clock::{Clock, ManualClock};
pub use config::Config;
pub use http::{respond, serve};
pub use refusal::Refusal;
