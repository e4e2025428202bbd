//! Where things are: the state folder and what of it the verbs read. It creates nothing.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use tinyclaw_router::Config;

/// `TINYCLAW_DIR`, or `.tinyclaw` in the folder one stands in.
pub(crate) fn state() -> PathBuf {
    match std::env::var_os("TINYCLAW_DIR") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => PathBuf::from(".tinyclaw"),
    }
}

/// The router's configuration: what is built in, and the operator's `router.toml` where there is one.
pub(crate) fn router_config() -> anyhow::Result<Config> {
    let path = state().join("router.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Config::parse(&text).with_context(|| format!("cannot use {}", path.display())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(err) => Err(err).with_context(|| format!("cannot read {}", path.display())),
    }
}
