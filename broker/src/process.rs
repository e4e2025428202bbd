//! What makes a process fit to hold a secret: no core, no debugger, no careless panic.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::redact::{ScrubbedStderr, scrub};

/// A herd of a thousand callers is served at once. More would only cost memory: a connection is
/// 14 KB; `connections.rs` says who gets one.
const FILES_WANTED: u64 = 2_048;

/// Makes memory and environment unreadable to other processes of the same user, and leaves no
/// core behind. Called before any secret is read.
pub fn harden() -> anyhow::Result<()> {
    use anyhow::Context;
    nix::sys::prctl::set_dumpable(false).context("cannot make this process undumpable")?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot switch core dumps off")?;
    Ok(())
}

/// Whether [`harden`] was successful.
pub fn is_hardened() -> bool {
    nix::sys::prctl::get_dumpable() == Ok(false)
}

/// Allows as many connections as are wanted, and no more.
pub fn set_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What is not granted is done without: accepting waits until a connection is closed.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, FILES_WANTED.min(hard), hard);
    }
}

/// How many files may be open, connections among them.
pub fn file_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(FILES_WANTED, |(soft, _)| soft.min(FILES_WANTED))
}

/// Log lines to stderr, scrubbed; `level` is `info`, or `warn,tinyclaw_broker=debug`.
pub fn init_log(level: Option<&str>) {
    let filter: Targets = level
        .and_then(|it| it.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO));
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(ScrubbedStderr::default);
    tracing_subscriber::registry().with(lines).with(filter).init();
    log_panics();
}

/// A panic's text comes from anywhere: it goes through the same sieve as the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no text");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", scrub(text));
    }));
}
