//! Programs of ours that must touch what an agent wrote, such as git in a desk's folder. They run as the agent's own would:
//! under the desk's leash, with the desk's home and without Claude's login, so that whatever the agent prepared for them
//! (a hook, a filter, a link) reaches no further than the agent. Nothing of ours runs in an agent's folder otherwise.

use std::path::PathBuf;
use std::time::Duration;

use tinyclaw_domain::{Place, ThreadId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::ChildStdout;

use crate::config::EngineConfig;
use crate::home::{Home, HomeError};
use crate::launch::{Access, Exit, LaunchError, LaunchSpec, Launcher, LeashOrder, Leashed};
use crate::local::LocalLauncher;
use crate::pool;

/// So much of what a program says is kept, the last of it.
const SAID_BYTES_MAX: usize = 64 * 1024;

/// A program to be run at a desk.
#[derive(Debug)]
pub struct Confined {
    /// Whose desk it is, on this machine. Its Claude is ended first.
    pub thread: ThreadId,
    /// The folder it runs in, which it may write.
    pub cwd: PathBuf,
    /// The program: a path, or a name to be found on PATH.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// What it may read beyond what the desk may; nothing of the state folder.
    pub readable: Vec<PathBuf>,
    /// What it hears on stdin: what another program prints, to its end.
    pub input: Option<ChildStdout>,
    /// How long it may take.
    pub time: Duration,
}

/// What a program said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// How it ended.
    pub exit: Exit,
    /// The end of its stdout.
    pub stdout: String,
    /// The end of its stderr.
    pub stderr: String,
}

/// A program could not be run at a desk.
#[derive(Debug, thiserror::Error)]
pub enum ConfinedError {
    /// It did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It was ended, with everything it had started.
    #[error("{} was not done after {} s", program.display(), time.as_secs())]
    Late {
        /// The program.
        program: PathBuf,
        /// How long it was waited for.
        time: Duration,
    },
}

impl Said {
    /// Whether it ended well.
    pub fn is_success(&self) -> bool {
        self.exit.code == Some(0)
    }
}

/// Runs a program at a desk. The caller holds the desk's lane.
pub(crate) async fn run(config: &EngineConfig, order: Confined) -> Result<Said, ConfinedError> {
    let home = Home::of(config, &order.thread);
    let fail = |err: HomeError| pool::home_failed(&home, &err);
    home.make().map_err(fail)?;
    let mut env = config.tool_environment(home.root());
    let mut access = Access { readable: order.readable, ..config.access.clone() };
    access.readable.extend(config.access.readable.iter().chain(&config.path_prefix).cloned());
    access.writable.push(home.root().to_owned());
    pool::add_temporary(config, &home, &mut env, &mut access).map_err(fail)?;
    let launcher = LocalLauncher::of(config).of_program(order.program.clone());
    let spec = LaunchSpec {
        thread: order.thread,
        place: Place::Here,
        cwd: order.cwd,
        args: order.args,
        env,
        access,
    };
    let Leashed { stdin, stdout, stderr, mut leash } = launcher.launch(spec).await?;
    let all = async {
        tokio::join!(gather(stdout), gather(stderr), leash.ended(), feed(order.input, stdin))
    };
    let done = tokio::time::timeout(order.time, all).await;
    let Ok((stdout, stderr, exit, ())) = done else {
        leash.order(LeashOrder::End);
        let _ = leash.ended().await;
        return Err(ConfinedError::Late { program: order.program, time: order.time });
    };
    let exit = exit.map_err(LaunchError::OutOfReach)?;
    Ok(Said { exit, stdout, stderr })
}

/// Hands all of the input on; without any, nobody is there to answer.
async fn feed(input: Option<ChildStdout>, mut stdin: Box<dyn AsyncWrite + Send + Unpin>) {
    let Some(mut input) = input else { return };
    // Whoever closes its stdin early says why in its exit code.
    let _ = tokio::io::copy(&mut input, &mut stdin).await;
    let _ = stdin.shutdown().await;
}

/// The end of what is said, however much it is.
async fn gather(mut from: Box<dyn AsyncRead + Send + Unpin>) -> String {
    let mut kept = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..count]);
        let surplus = kept.len().saturating_sub(SAID_BYTES_MAX);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
