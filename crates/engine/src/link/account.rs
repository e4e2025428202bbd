//! Whoever a hub runs as on a machine of its own: the HOME, the environment and the Claude of a person's login there.
//!
//! On a devbox Claude is what it is for whoever logs in: found by the login shell's PATH, logged in by its own hand, with the
//! variables that the profile sets. Of the HOME it may write what is Claude's and what tools cache; keys and the helper's own
//! folders it does not even read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tinyclaw_domain::frame::{Refusal, StartRun};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::runs::Runs;

/// How long a login shell may take to read what it reads.
const LOGIN: Duration = Duration::from_secs(5);
/// What it says up to there, with the environment.
const LOGIN_BYTES_MAX: u64 = 1024 * 1024;
/// Stands before the environment: what comes earlier is a profile's noise.
const MARK: u8 = 0x1e;
/// Below HOME: what Claude and its tools write. What is not there is not given.
const WRITABLE: [&str; 8] =
    [".claude", ".claude.json", ".cache", ".npm", ".cargo", ".rustup", ".bun", "go"];
/// Below HOME: what nobody gets to read.
const HIDDEN: [&str; 3] = [".ssh", ".gnupg", ".local"];
/// Below `.local`, of which the helper has `share/tinyclaw` and `state/tinyclaw`.
const LOCAL: [&str; 3] = ["bin", "lib", "share"];
/// Where installers put Claude, below HOME.
const USUAL: [&str; 4] =
    [".local/bin/claude", ".claude/local/claude", ".bun/bin/claude", ".volta/bin/claude"];
/// And elsewhere.
const USUAL_ELSEWHERE: [&str; 2] = ["/usr/local/bin/claude", "/opt/homebrew/bin/claude"];
/// Of the login's variables these say something of the login itself.
const OF_THE_LOGIN: [&str; 8] = [
    "_",
    "SHLVL",
    "PWD",
    "OLDPWD",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    // An agent is for people.
    "SSH_AUTH_SOCK",
];

/// The account that a hub runs in.
#[derive(Debug)]
pub(super) struct Account {
    home: PathBuf,
    /// Claude, where the office knows better than PATH.
    told: Option<PathBuf>,
    login: OnceCell<BTreeMap<String, String>>,
}

impl Account {
    /// That of this process.
    pub(super) fn of_this_process(told: Option<PathBuf>) -> io::Result<Account> {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|it| it.is_absolute());
        let home = home.and_then(|it| it.canonicalize().ok());
        let home = home.ok_or_else(|| io::Error::other("there is no HOME here"))?;
        Ok(Account { home, told, login: OnceCell::new() })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Whether the office chose another program than this login's own Claude: then it needs no login of Claude's.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Where hubs and holds of this user keep what they keep.
    pub(super) fn state(&self) -> PathBuf {
        self.home.join(".local/state/tinyclaw")
    }

    /// Removes what helpers keep in this account, and the helpers themselves. `false`: something runs below one, of whichever
    /// office, and all stays.
    pub(super) fn clean(&self) -> io::Result<bool> {
        let runs = Runs::open(&self.state())?;
        if runs.all()?.iter().any(|it| runs.dir(it).lives()) {
            return Ok(false);
        }
        for below in [".local/state/tinyclaw", ".local/share/tinyclaw"] {
            match std::fs::remove_dir_all(self.home.join(below)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Ok(true)
    }

    /// The variables of a login shell; of this process where there is none that answers.
    pub(super) async fn environment(&self) -> &BTreeMap<String, String> {
        let read = || async {
            let mut env = match login().await {
                Some(it) if it.contains_key("PATH") => it,
                _ => std::env::vars_os().filter_map(text).collect(),
            };
            env.retain(|name, _| !OF_THE_LOGIN.contains(&name.as_str()));
            env.insert("HOME".to_owned(), self.home.display().to_string());
            if nix::unistd::geteuid().is_root() {
                // Claude does not work unasked as root unless told that it sits in a sandbox. It does: the leash's.
                env.insert("IS_SANDBOX".to_owned(), "1".to_owned());
            }
            env
        };
        self.login.get_or_init(read).await
    }

    /// Claude, wherever this account has it.
    pub(super) async fn claude(&self) -> Option<PathBuf> {
        if let Some(told) = &self.told {
            return is_program(told).then(|| told.clone());
        }
        let env = self.environment().await;
        let path = env.get("PATH").map_or("", String::as_str);
        let on_path = path.split(':').filter(|it| it.starts_with('/'));
        let on_path = on_path.map(|it| Path::new(it).join("claude"));
        let usual = USUAL.iter().map(|it| self.home.join(it));
        let elsewhere = USUAL_ELSEWHERE.iter().map(PathBuf::from);
        let mut all = on_path.chain(usual).chain(newest_of_nvm(&self.home)).chain(elsewhere);
        all.find(|it| is_program(it))
    }

    /// Makes an office's order one of this account: its environment below the office's habits, and what of the HOME Claude
    /// may touch. Gives back Claude.
    pub(super) async fn settle(&self, start: &mut StartRun) -> Result<PathBuf, Refusal> {
        let missing = || Refusal::Missing {
            what: "Claude".to_owned(),
            path: self.told.clone().unwrap_or_else(|| self.home.join(USUAL[0])),
        };
        let claude = self.claude().await.ok_or_else(missing)?;
        let mut env = self.environment().await.clone();
        env.append(&mut start.env);
        start.env = env;
        // A login that was never used has none yet, and Claude cannot make it in a folder that it may not write.
        let _ = std::fs::create_dir(self.home.join(".claude"));
        start.writable =
            WRITABLE.iter().map(|it| self.home.join(it)).filter(|it| is_itself(it)).collect();
        start.readable = self.readable();
        start.readable.extend(
            claude
                .canonicalize()
                .ok()
                .and_then(|it| Some(it.parent()?.to_owned()))
                .filter(|it| is_itself(it)),
        );
        Ok(claude)
    }

    /// What is in HOME, but for what is hidden and what is given to be written.
    fn readable(&self) -> Vec<PathBuf> {
        let state = self.state();
        let listed = |dir: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|it| it.path()).collect()
        };
        let is_named = |path: &Path, names: &[&str]| {
            path.file_name().is_some_and(|it| names.iter().any(|name| it == *name))
        };
        let mut found: Vec<PathBuf> = listed(&self.home);
        found.retain(|it| !is_named(it, &HIDDEN) && !is_named(it, &WRITABLE));
        found.extend(LOCAL.iter().map(|it| self.home.join(".local").join(it)));
        found.retain(|it| is_itself(it) && !state.starts_with(it));
        found
    }
}

/// Whether it is there and no link: what is given is the thing itself.
fn is_itself(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|it| it.is_file() || it.is_dir())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

/// The Claude of the newest Node that nvm has installed.
fn newest_of_nvm(home: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(home.join(".nvm/versions/node")).ok()?;
    let number = |path: &Path| -> Vec<u32> {
        let name = path.file_name().map(|it| it.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        name.trim_start_matches('v').split('.').map(|it| it.parse().unwrap_or(0)).collect()
    };
    let found = versions.flatten().map(|it| it.path());
    let found = found.filter(|it| is_program(&it.join("bin/claude")));
    found.max_by_key(|it| number(it)).map(|it| it.join("bin/claude"))
}

/// Asks the user's shell for what a login has in its environment.
async fn login() -> Option<BTreeMap<String, String>> {
    let shell = std::env::var_os("SHELL").filter(|it| Path::new(it).is_absolute())?;
    let helper = std::env::current_exe().ok()?;
    let helper = helper.to_str().filter(|it| !it.contains(['\'', '\\', '\n']))?;
    #[expect(clippy::disallowed_methods, reason = "only the user's shell knows what a login has")]
    let mut child = Command::new(shell)
        // As one flag: tcsh takes none of them with others, and says so at once.
        .args(["-lic".to_owned(), format!("exec '{helper}' env")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let pid = child.id();
    let mut said = Vec::new();
    let read = async {
        let stdout = child.stdout.take()?;
        stdout.take(LOGIN_BYTES_MAX).read_to_end(&mut said).await.ok()
    };
    let read = timeout(LOGIN, read).await;
    // Whatever a profile left in the background would hold up everybody.
    if let Some(pid) = pid.and_then(|it| i32::try_from(it).ok()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.wait().await;
    read.ok().flatten()?;
    let begin = said.iter().position(|it| *it == MARK)?;
    let pairs = said[begin + 1..].split(|it| *it == 0).filter(|it| !it.is_empty());
    let pair = |pair: &[u8]| {
        let at = pair.iter().position(|it| *it == b'=')?;
        let own = |it: &[u8]| OsString::from_vec(it.to_vec());
        text((own(&pair[..at]), own(&pair[at + 1..])))
    };
    Some(pairs.filter_map(pair).collect())
}

fn text((name, value): (OsString, OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

/// `env`, the helper's word: says what this process has in its environment.
pub(super) fn tell_environment() -> i32 {
    let mut said = vec![MARK];
    for (name, value) in std::env::vars_os() {
        said.extend_from_slice(name.as_bytes());
        said.push(b'=');
        said.extend_from_slice(value.as_bytes());
        said.push(0);
    }
    match io::stdout().write_all(&said).and_then(|()| io::stdout().flush()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}
