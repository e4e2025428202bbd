//! The carrier to a devbox: one ssh child a connection, with the helper put there when it is missing.
//!
//! The child has no agent, no HOME and no terminal. What the other end says before its helper listens is noise; when it never
//! does, what was heard becomes one sentence.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tinyclaw_devbox::{Asked, Helper, KeyFile, Kind, LoadedHelper, Route, Said, Trouble};
use tinyclaw_domain::frame::encode;
use tinyclaw_domain::{DevboxName, ThreadId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::carrier::{Carrier, CarrierFuture, Connection, Unreached};
use crate::config::Landlock;

/// A login, with a person's jumps in between, takes no longer; ssh itself gives a machine ten seconds to answer.
const LOGIN: Duration = Duration::from_secs(25);
/// Some megabytes over a slow line.
const INSTALL: Duration = Duration::from_secs(180);
/// How long an ssh that is done may take to end.
const END: Duration = Duration::from_secs(2);
/// What a shell may say before the helper does.
const NOISE_BYTES_MAX: usize = 64 * 1024;
/// No word of the far end is longer.
const LINE_BYTES_MAX: usize = 200;
/// How much of ssh's own words is kept.
const STDERR_BYTES_MAX: usize = 16 * 1024;

/// Who knows the devboxes.
pub trait Devboxes: Send + Sync + fmt::Debug + 'static {
    /// How to reach one now. An error says why it is not dialled at all.
    fn way(&self, name: &DevboxName) -> Result<DevboxWay, Trouble>;

    /// Which one works for this thread.
    fn of_thread(&self, thread: &ThreadId) -> Option<DevboxName>;

    /// What came of dialling it: it answers, or why it came to nothing.
    fn note_dial(&self, name: &DevboxName, dialled: Result<(), &Trouble>);

    /// How long a word took there and back, over a connection that stands. Said every few seconds.
    fn note_ping(&self, _name: &DevboxName, _took: Duration) {}

    /// For which repository the Claude of one may ask for tokens: `github.com/acme/site`. `None`: for none.
    fn repository(&self, _name: &DevboxName) -> Option<String> {
        None
    }

    /// What a git there gets to read, by what it asks: `get` or `erase`, and git's own lines. Empty: nothing. A stranger asks.
    fn git<'a>(&'a self, _name: &'a DevboxName, _asked: &'a [u8]) -> GitAnswer<'a> {
        Box::pin(async { Vec::new() })
    }
}

/// What git gets to read, once it is known.
pub type GitAnswer<'a> = Pin<Box<dyn Future<Output = Vec<u8>> + Send + 'a>>;

/// How a devbox is reached.
#[derive(Debug, Clone)]
pub enum DevboxWay {
    /// Over SSH.
    Ssh(Box<Route>),
    /// It is this machine: a child of this process.
    Local {
        /// The HOME of its Claude.
        home: PathBuf,
        /// Claude, where it is not the one on PATH.
        claude: Option<PathBuf>,
    },
}

/// What the office tells a helper before anything else.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wish {
    /// Claude, where the office knows better than the PATH there.
    pub(super) claude: Option<PathBuf>,
    /// Whether Claude is confined there.
    pub(super) landlock: Landlock,
}

/// Reaches one devbox.
pub(crate) struct SshCarrier {
    pub(crate) name: DevboxName,
    pub(crate) devboxes: Arc<dyn Devboxes>,
    pub(crate) helper: Arc<Helper>,
    pub(crate) landlock: Landlock,
    /// So many are dialled at once.
    pub(crate) dials: Arc<Semaphore>,
}

impl fmt::Debug for SshCarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshCarrier").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Carrier for SshCarrier {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let out = |it: Trouble| Unreached { is_held: it.kind.is_lasting(), ..it.text.into() };
            let way = self.devboxes.way(&self.name).map_err(out)?;
            // Nobody closes it.
            let _one = self.dials.acquire().await;
            let dialled = self.dial(&way).await;
            self.devboxes.note_dial(&self.name, dialled.as_ref().map(drop));
            dialled.map_err(out)
        })
    }

    fn note_ping(&self, took: Duration) {
        self.devboxes.note_ping(&self.name, took);
    }
}

impl SshCarrier {
    async fn dial(&self, way: &DevboxWay) -> Result<Connection, Trouble> {
        let helper = self.helper.load().await;
        let helper = helper.map_err(|err| Trouble::new(Kind::NoHelper, err.to_string()))?;
        if let DevboxWay::Ssh(route) = way {
            route.certify().await?;
        }
        let (mut child, route, claude) = match way {
            DevboxWay::Ssh(route) => (self.over_ssh(route, helper)?, Some(&**route), None),
            DevboxWay::Local { home, claude } => (self.beside_us(home)?, None, claude.clone()),
        };
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(to), Some(from), Some(stderr)) = pipes else {
            return Err(Trouble::new(Kind::Other, "ssh has no pipes"));
        };
        let stderr = tokio::spawn(keep_stderr(stderr));
        let mut dial = Dial { child: Ended(child), to, from, noise: Vec::new() };
        match dial.greet(helper).await {
            Ok(()) => {}
            Err(why) => {
                let code = match why {
                    Unanswered::Never(kind) => {
                        let text = format!(
                            "the helper runs on {} and not on {kind}",
                            std::env::consts::ARCH
                        );
                        return Err(Trouble::new(Kind::NoHelper, text));
                    }
                    Unanswered::Ended => {
                        let ended = timeout(END, dial.child.0.wait()).await;
                        ended.ok().and_then(Result::ok).and_then(|it| it.code())
                    }
                    Unanswered::Silent => None,
                };
                let Dial { child, noise, .. } = dial;
                // Whoever still holds its ends is ended, so that all that was said is heard.
                drop(child);
                let said = timeout(END, stderr).await.ok().and_then(Result::ok).unwrap_or_default();
                let (stderr, stdout) =
                    (String::from_utf8_lossy(&said), String::from_utf8_lossy(&noise));
                let said = Said { stderr: &stderr, stdout: &stdout, code };
                return Err(match route {
                    Some(route) => Trouble::of(route, &said),
                    None => Trouble::new(Kind::NoHelper, "the helper does not start"),
                });
            }
        }
        let Dial { child, mut to, from, .. } = dial;
        let wish = Wish { claude, landlock: self.landlock };
        let lost = |err: std::io::Error| Trouble::new(Kind::Other, err.to_string());
        to.write_all(&encode(&wish, b"")).await.map_err(lost)?;
        to.flush().await.map_err(lost)?;
        Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(child) })
    }

    fn over_ssh(&self, route: &Route, helper: &LoadedHelper) -> Result<Child, Trouble> {
        if let Err(fault) = KeyFile::check(&route.key) {
            return Err(Trouble::new(Kind::OwnKey, fault.to_string()));
        }
        if !helper.is_static() && !route.host.is_this_machine() {
            let text = format!(
                "the helper {} needs libraries of this machine: put what scripts/helper.sh builds beside it, as tinyclaw-helper (docs/DEVBOX.md)",
                self.helper.path().display()
            );
            return Err(Trouble::new(Kind::NoHelper, text));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the engine starts ssh, which carries a link"
        )]
        let mut command = Command::new("ssh");
        command
            .args(route.arguments(&helper.command()))
            .env_clear()
            .envs(std::env::var_os("PATH").map(|it| ("PATH", it)))
            .env("LC_ALL", "C")
            // Nothing of whoever runs the service is read: no configuration, no key, no known host.
            .env("HOME", "/nonexistent");
        spawn(command, "ssh")
    }

    /// The same hub as over ssh, without ssh: all of it on one machine.
    fn beside_us(&self, home: &Path) -> Result<Child, Trouble> {
        #[expect(clippy::disallowed_methods, reason = "the engine starts a hub")]
        let mut command = Command::new(self.helper.path());
        let own = ["PATH", "SHELL", "USER", "LOGNAME", "LANG"];
        command
            .arg("hub")
            .env_clear()
            .envs(own.iter().filter_map(|it| Some((it, std::env::var_os(it)?))))
            .env("HOME", home);
        spawn(command, "the helper")
    }
}

fn spawn(mut command: Command, what: &str) -> Result<Child, Trouble> {
    command
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| Trouble::new(Kind::Other, format!("{what} cannot be started: {err}")))
}

/// Ends the child and what it started, such as the ssh of a jump.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Not reaped yet, so the number is still its own.
        if let Some(pid) = self.0.id().and_then(|it| i32::try_from(it).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A connection whose helper does not listen yet.
struct Dial {
    child: Ended,
    to: ChildStdin,
    from: ChildStdout,
    noise: Vec<u8>,
}

/// Why it never did.
enum Unanswered {
    /// The other end is another kind of machine.
    Never(String),
    /// The connection ended.
    Ended,
    /// Nothing was heard any more, or only noise.
    Silent,
}

impl Dial {
    /// Waits for the helper, and brings it when it is asked for.
    async fn greet(&mut self, helper: &LoadedHelper) -> Result<(), Unanswered> {
        match timeout(LOGIN, self.word()).await.map_err(|_| Unanswered::Silent)?? {
            Asked::Here => return Ok(()),
            Asked::Never(kind) => return Err(Unanswered::Never(kind)),
            Asked::Bytes => {}
        }
        let bring = async {
            // A far end that takes no more says in the end why.
            let _ = self.to.write_all(&helper.bytes).await;
            let _ = self.to.flush().await;
            self.word().await
        };
        match timeout(INSTALL, bring).await.map_err(|_| Unanswered::Silent)?? {
            Asked::Here => Ok(()),
            Asked::Never(kind) => Err(Unanswered::Never(kind)),
            Asked::Bytes => Err(Unanswered::Silent),
        }
    }

    /// The next word that means anything, past a shell's noise, and no byte further.
    async fn word(&mut self) -> Result<Asked, Unanswered> {
        let mut line = None::<Vec<u8>>;
        loop {
            let byte = self.from.read_u8().await.map_err(|_| Unanswered::Ended)?;
            match &mut line {
                _ if byte == Asked::MARK => line = Some(Vec::new()),
                Some(said) if byte == b'\n' => {
                    if let Some(asked) = Asked::read(said) {
                        return Ok(asked);
                    }
                    line = None;
                }
                Some(said) if said.len() < LINE_BYTES_MAX => said.push(byte),
                _ => self.noise.push(byte),
            }
            if self.noise.len() > NOISE_BYTES_MAX {
                return Err(Unanswered::Silent);
            }
        }
    }
}

/// What it says, from its beginning, read to its end so that it is not held up.
async fn keep_stderr(mut from: ChildStderr) -> Vec<u8> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let room = STDERR_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
    kept
}
