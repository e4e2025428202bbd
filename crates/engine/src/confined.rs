//! Programs of ours that must touch what an agent wrote, such as git in a desk's folder. They run as the agent's own would:
//! under the desk's leash, with the desk's home and without Claude's login, so that whatever the agent prepared for them
//! (a hook, a filter, a link) reaches no further than the agent. Nothing of ours runs in an agent's folder otherwise.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tinyclaw_domain::{Place, ThreadId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::ChildStdout;

use crate::config::EngineConfig;
use crate::home::{Home, HomeError, LOGIN};
use crate::launch::{Access, Exit, LaunchError, LaunchSpec, Launcher, LeashOrder, Leashed};
use crate::local::LocalLauncher;
use crate::outfit;
use crate::user_links::errands;

/// A desk of many gigabytes on a slow disk.
const CARRY_TIME: Duration = Duration::from_secs(30 * 60);
/// What packs and unpacks.
const TAR: &str = "tar";

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
    let fail = |err: HomeError| outfit::home_failed(&home, &err);
    home.make().map_err(fail)?;
    let mut env = config.tool_environment(home.root());
    let mut access = Access { readable: order.readable, ..config.access.clone() };
    access.readable.extend(config.access.readable.iter().chain(&config.path_prefix).cloned());
    access.writable.push(home.root().to_owned());
    home.add_temporary(config, &mut env, &mut access).map_err(fail)?;
    let launcher: Box<dyn Launcher> = match errands(config, &order.thread, &order.program) {
        Some(desk) => Box::new(desk),
        None => Box::new(LocalLauncher::of(config).of_program(order.program.clone())),
    };
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

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the office's user to the desk's.
    In,
    /// Back.
    Out,
}

/// What is in a folder was not brought, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// A program did not run.
    #[error(transparent)]
    Run(#[from] ConfinedError),
    /// The thread's desk is no user of its own.
    #[error("the desk is no user of its own")]
    OneUser,
    /// Packing or unpacking failed.
    #[error("tar ended with {exit}: {said}")]
    Tar {
        /// How it ended.
        exit: String,
        /// What it said last.
        said: String,
    },
}

/// Brings all that is in `from` into `to`, which is there. The caller holds the desk's lane.
///
/// `tar` packs it as the one user and unpacks it as the other, each under the desk's leash: what an agent left there (a link,
/// a pipe, a name that climbs) reaches no further than the agent did. Nothing is taken away where it was.
pub(crate) async fn carry(
    config: &EngineConfig,
    thread: &ThreadId,
    way: Way,
    from: &Path,
    to: &Path,
) -> Result<(), CarryError> {
    let desk = errands(config, thread, Path::new(TAR)).ok_or(CarryError::OneUser)?;
    let office = LocalLauncher::of(config).of_program(TAR.into());
    let (packer, unpacker): (&dyn Launcher, &dyn Launcher) = match way {
        Way::In => (&office, &desk),
        Way::Out => (&desk, &office),
    };
    let login = format!("--exclude=./{LOGIN}");
    let pack = ["--create", "--sparse", &login, "--file=-", "."];
    let unpack = ["--extract", "--sparse", "--no-same-owner", "--file=-"];
    let spec = |dir: &Path, args: &[&str]| LaunchSpec {
        thread: thread.clone(),
        place: Place::Here,
        cwd: dir.to_owned(),
        args: args.iter().map(ToString::to_string).collect(),
        env: [("PATH".to_owned(), config.path.clone())].into(),
        access: Access::default(),
    };
    let started = |it: Result<Leashed, LaunchError>| it.map_err(ConfinedError::Launch);
    let mut packed = started(packer.launch(spec(from, &pack)).await)?;
    let mut unpacked = started(unpacker.launch(spec(to, &unpack)).await)?;
    let (mut stdout, mut stdin) = (packed.stdout, unpacked.stdin);
    drop(packed.stdin);
    let pipe = async move {
        // Whoever stops to listen says why in its exit code.
        let _ = tokio::io::copy(&mut stdout, &mut stdin).await;
        let _ = stdin.shutdown().await;
    };
    let all = async {
        tokio::join!(
            pipe,
            gather(packed.stderr),
            gather(unpacked.stderr),
            packed.leash.ended(),
            unpacked.leash.ended(),
        )
    };
    let Ok(((), said, said_there, exit, exit_there)) = tokio::time::timeout(CARRY_TIME, all).await
    else {
        for leash in [&mut packed.leash, &mut unpacked.leash] {
            leash.order(LeashOrder::End);
            let _ = leash.ended().await;
        }
        return Err(ConfinedError::Late { program: TAR.into(), time: CARRY_TIME }.into());
    };
    let out_of_reach = |it| ConfinedError::Launch(LaunchError::OutOfReach(it));
    let (exit, exit_there) = (exit.map_err(out_of_reach)?, exit_there.map_err(out_of_reach)?);
    // 1: a file changed while it was read.
    for (exit, said, most) in [(exit, said, 1), (exit_there, said_there, 0)] {
        if !exit.code.is_some_and(|it| (0..=most).contains(&it)) {
            let said = said.lines().rev().find(|it| !it.trim().is_empty()).unwrap_or_default();
            return Err(CarryError::Tar { exit: exit.to_string(), said: said.to_owned() });
        }
    }
    Ok(())
}
