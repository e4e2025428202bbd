#![doc = include_str!("../README.md")]

pub mod access;
mod envs;
pub mod event;
pub mod feed;
pub mod filter;
mod http;
pub mod intake;
mod jobs;
mod moves;
mod notes;
mod office;
mod porter;
mod problem;
mod server;
pub mod store;
mod webhooks;

pub use jobs::SessionKeep;
pub use problem::Problem;
pub use server::{Config, Server};
pub use webhooks::WebhookConfig;
