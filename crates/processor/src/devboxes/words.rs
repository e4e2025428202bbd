//! What is said of a devbox, in words. What a devbox said of itself is shown as its word, cut and without anything hidden.

use std::fmt::Write as _;
use std::time::Duration;

use tinyclaw_devbox::Devbox;
use tinyclaw_domain::DevboxStatus;
use tinyclaw_domain::look::FarHealth;
use tinyclaw_engine::PINNED_VERSION;
use tinyclaw_service::{now_ms, words};

use super::at;

/// A clock may be wrong by so much before somebody should look.
const CLOCK_MAX_MS: u64 = 60_000;
/// Less room than this on a disk is little.
const DISK_LOW: u64 = 1 << 30;
/// Less memory than this is little for a Claude.
const MEMORY_LOW: u64 = 300 << 20;

/// `ready`, `key changed`.
pub(crate) fn shown_status(devbox: &Devbox) -> String {
    match devbox.status {
        DevboxStatus::New if devbox.host.is_some() => "waits for a person".to_owned(),
        DevboxStatus::New | DevboxStatus::Active => "ready".to_owned(),
        DevboxStatus::Unreachable => match devbox.last_error_at {
            Some(at) => format!("out of reach {}", words::span(now_ms().saturating_sub(at))),
            None => "out of reach".to_owned(),
        },
        DevboxStatus::KeyChanged => "key changed".to_owned(),
        DevboxStatus::Removed => "removed".to_owned(),
    }
}

/// A line each.
pub(crate) fn listed(
    all: &[Devbox],
    is_admin: bool,
    is_at_work: impl Fn(&Devbox) -> bool,
) -> String {
    if all.is_empty() {
        return "No devboxes yet: /devbox add NAME HOST [USER] [DIR]".to_owned();
    }
    let mut text = String::new();
    for it in all {
        let place = if is_admin { format!(" {}:{}", at(it), it.dir) } else { String::new() };
        let ping = it.ping_ms.map_or_else(String::new, |ms| format!(", {ms} ms"));
        let claude =
            it.claude_version.as_ref().map_or_else(String::new, |v| format!(", claude {v}"));
        let status = match it.status == DevboxStatus::Active && is_at_work(it) {
            true => "working".to_owned(),
            false => shown_status(it),
        };
        let last = it.last_used_at.map_or_else(String::new, |at| {
            format!(", last {} ago", words::span(now_ms().saturating_sub(at)))
        });
        let _ = writeln!(text, "- `{}`{place}: {status}{ping}{claude}{last}", it.name);
    }
    text.trim_end().to_owned()
}

/// The first thing that keeps Claude from answering there, with the way out; `None` when nothing does.
pub(crate) fn fault(devbox: &Devbox, dir: &str, health: &FarHealth) -> Option<String> {
    let name = &devbox.name;
    if health.claude.is_none() {
        return Some(format!("there is no claude for {} on {name}; install it there", devbox.user));
    }
    if health.version.is_none() {
        return Some(format!("claude on {name} does not start"));
    }
    if !health.is_logged_in {
        return Some(format!("Claude on {name} is not logged in. There: claude, /login"));
    }
    if !health.has_dir {
        return Some(format!(
            "`{dir}` is not on {name}, or holds the helper's own folder; /setdir names another"
        ));
    }
    None
}

/// Everything that was looked at, a line each: ok, ! for what should be known, x for what keeps Claude from answering.
pub(crate) fn health_lines(
    devbox: &Devbox,
    dir: &str,
    health: &FarHealth,
    took: Duration,
) -> String {
    let mut text = String::new();
    let mut line = |mark: &str, what: &str, says: String| {
        let _ = writeln!(text, "{mark} {what}: {says}");
    };
    let name = &devbox.name;
    line("ok", "connection", format!("{}, {} ms", at(devbox), took.as_millis()));
    line("ok", "machine", health.platform.clone());
    match (&health.claude, &health.version) {
        (None, _) => line("x", "claude", format!("none for {}. Install it there", devbox.user)),
        (Some(path), None) => line("x", "claude", format!("`{}` does not start", path.display())),
        (Some(path), Some(version)) => {
            let is_tested = version == PINNED_VERSION;
            let tested =
                if is_tested { String::new() } else { format!(", {PINNED_VERSION} was tested") };
            line(
                if is_tested { "ok" } else { "!" },
                "claude",
                format!("{version}{tested}, `{}`", path.display()),
            );
        }
    }
    match health.is_logged_in {
        true => line("ok", "logged in", "yes".to_owned()),
        false => line("x", "logged in", format!("no. There ({name}): claude, /login")),
    }
    let branch = health.branch.as_ref().map_or_else(String::new, |it| format!(", branch `{it}`"));
    match health.has_dir {
        true => line("ok", "directory", format!("`{dir}`{branch}")),
        false => line(
            "x",
            "directory",
            format!(
                "`{dir}` is not there, or holds the helper's own folder. /setdir names another"
            ),
        ),
    }
    let low = |free: u64, least: u64| if free < least { "!" } else { "ok" };
    line(
        low(health.disk_free, DISK_LOW),
        "disk",
        format!("{} free", words::bytes(health.disk_free)),
    );
    line(
        low(health.memory_free, MEMORY_LOW),
        "memory",
        format!("{} free", words::bytes(health.memory_free)),
    );
    let off = now_ms().abs_diff(health.clock_ms);
    match off > CLOCK_MAX_MS {
        true => line("!", "clock", format!("{} off", words::span(off))),
        false => line("ok", "clock", "right".to_owned()),
    }
    match (&health.unconfined, health.is_root) {
        (Some(why), _) => line("!", "confined", why.clone()),
        (None, true) => line(
            "!",
            "confined",
            "yes, but it runs as root, who can undo that. Use another user".to_owned(),
        ),
        (None, false) => line("ok", "confined", "yes".to_owned()),
    }
    if health.ends_with_login {
        line(
            "!",
            "lingering",
            format!(
                "what runs is ended with the last login. There: loginctl enable-linger {}",
                devbox.user
            ),
        );
    }
    if let Some(repository) = &devbox.git {
        line("ok", "git", format!("may ask for tokens of {repository}"));
    }
    line("ok", "runs", health.runs.to_string());
    text.trim_end().to_owned()
}
