//! The verbs, one module each.

pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod demo_engine;
pub(crate) mod devbox;
pub(crate) mod doctor;
pub(crate) mod healthcheck;
pub(crate) mod hook;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod queue;
pub(crate) mod route;
pub(crate) mod send;
pub(crate) mod settings;
pub(crate) mod setup;
pub(crate) mod threads;
pub(crate) mod token;

use std::path::PathBuf;

use anyhow::Context as _;

/// A program of ours beside this one.
pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    tinyclaw_engine::find_sibling(name).with_context(|| {
        format!("{name} is not beside this program; install all of TinyClaw's binaries together")
    })
}
