//! How a machine is where Claude is to work: all that an answer from there takes, looked at once.
//!
//! Nothing of an agent's runs for it: a branch is read from a file, and the one program that is started is Claude.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tinyclaw_disk::foreign;
use tinyclaw_domain::look::FarHealth;
use tinyclaw_domain::{Place, ThreadId};
use tokio::process::Command;
use tokio::time::timeout;

use super::account::Account;
use super::runs::Runs;
use crate::local::LocalLauncher;
use crate::look::{Desk, Look};

/// Claude says its version within this time.
const VERSION: Duration = Duration::from_secs(10);
/// What is read of files.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Keys that Claude takes instead of a login.
const KEYS: [&str; 3] = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"];

/// Looks at it.
pub(super) async fn health(account: &Account, looks: &LocalLauncher, dir: PathBuf) -> FarHealth {
    let claude = account.claude().await;
    let version = match &claude {
        Some(it) => version(account, it).await,
        None => None,
    };
    let env = account.environment().await;
    let login = account.home().join(".claude/.credentials.json");
    let desk = Desk::here(&ThreadId::master(), &dir);
    let disk = nix::sys::statvfs::statvfs(&dir);
    let runs = Runs::open(&account.state()).and_then(|it| it.all()).map_or(0, |it| it.len());
    FarHealth {
        platform: format!("{} {}", uname(), std::env::consts::ARCH),
        is_logged_in: account.is_told()
            || login.is_file()
            || KEYS.iter().any(|it| env.contains_key(*it)),
        claude,
        version,
        has_dir: looks.check_dir(&desk).await.is_ok(),
        branch: branch(&dir),
        origin: origin(&dir),
        disk_free: disk.map_or(0, |it| it.blocks_available() * it.fragment_size()),
        memory_free: memory_free(),
        clock_ms: now_ms(),
        is_root: nix::unistd::geteuid().is_root(),
        unconfined: looks.unconfined(&Place::Here).await.unwrap_or_default(),
        ends_with_login: ends_with_login(),
        runs: runs as u64,
    }
}

fn uname() -> &'static str {
    if std::env::consts::OS == "linux" { "Linux" } else { std::env::consts::OS }
}

async fn version(account: &Account, claude: &Path) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "nobody but Claude knows its version")]
    let asked = Command::new(claude)
        .arg("--version")
        .env_clear()
        .envs(account.environment().await)
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(VERSION, asked).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next()?.trim().to_owned()).filter(|it| !it.is_empty())
}

/// What is checked out in a directory, by git's own file. Git itself would run what the directory says.
fn branch(dir: &Path) -> Option<String> {
    let head = foreign::read_below(dir, Path::new(".git/HEAD"), FILE_BYTES_MAX).ok()?;
    let head = String::from_utf8(head).ok()?;
    Some(match head.trim().strip_prefix("ref: refs/heads/") {
        Some(branch) => branch.to_owned(),
        None => head.trim().chars().take(12).collect(),
    })
}

/// Where what is checked out comes from, by git's own file, in its plainest form: what git includes is not followed.
fn origin(dir: &Path) -> Option<String> {
    let config = foreign::read_below(dir, Path::new(".git/config"), FILE_BYTES_MAX).ok()?;
    origin_in(&String::from_utf8(config).ok()?)
}

fn origin_in(config: &str) -> Option<String> {
    let mut is_origin = false;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            is_origin = line == "[remote \"origin\"]";
        } else if is_origin
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == "url"
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

fn memory_free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(0))
}

/// Whether systemd ends what this user runs when the last login is over.
fn ends_with_login() -> bool {
    let text = std::fs::read_to_string("/etc/systemd/logind.conf").unwrap_or_default();
    let kills = text.lines().map(str::trim).any(|it| it == "KillUserProcesses=yes");
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let lingers =
        user.is_some_and(|it| Path::new("/var/lib/systemd/linger").join(it.name).exists());
    kills && !lingers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_checkout_comes_from_is_read_from_its_own_section() {
        let config = "[core]\n\tbare = false\n[remote \"fork\"]\n\turl = https://github.com/ada/site\n\
                      [remote \"origin\"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
                      \turl = https://github.com/acme/site.git\n";
        assert_eq!(origin_in(config).as_deref(), Some("https://github.com/acme/site.git"));
        assert_eq!(origin_in("[remote \"fork\"]\nurl = x\n"), None);
    }
}
