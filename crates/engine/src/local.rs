//! Claude on this machine, under `tinyclaw-leash`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::config::Landlock;
use crate::launch::{
    Exit, LaunchError, LaunchFuture, LaunchSpec, Launcher, Leash, LeashHand, LeashOrder, Leashed,
};
use crate::leash::Errand;

/// The leash's descriptor for "is my owner alive?".
const LIVENESS_FD: i32 = 3;

/// Starts Claude here, held by a leash.
#[derive(Debug, Clone)]
pub struct LocalLauncher {
    /// The program: `claude`, or the demo engine.
    pub program: PathBuf,
    /// `tinyclaw-leash`.
    pub leash: PathBuf,
    /// The state folder, which Claude gets nothing of but `files/<thread>`.
    pub state: PathBuf,
    /// Whether Claude is confined.
    pub landlock: Landlock,
}

impl Launcher for LocalLauncher {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        Box::pin(async move { self.start(spec) })
    }
}

impl LocalLauncher {
    fn start(&self, spec: LaunchSpec) -> Result<Leashed, LaunchError> {
        let program = match by_name(&self.program, spec.env.get("PATH")) {
            Some(path) => path,
            None => found("Claude", &self.program)?,
        };
        let leash = found("tinyclaw-leash", &self.leash)?;
        if !spec.cwd.is_dir() {
            return Err(LaunchError::NoCwd(spec.cwd));
        }
        if self.landlock != Landlock::Off && self.state.starts_with(&spec.cwd) {
            return Err(LaunchError::StateInside { cwd: spec.cwd, state: self.state.clone() });
        }
        let files = self.state.join("files").join(spec.thread.as_str());
        let locks = self.state.join("locks");
        for dir in [&files, &locks] {
            std::fs::create_dir_all(dir).map_err(step("make", dir))?;
        }
        let (alive, owner) = io::pipe().map_err(step("make a pipe for", &leash))?;
        let mut writable = spec.access.writable;
        writable.push(files);
        let errand = Errand {
            liveness: LIVENESS_FD,
            lock: locks.join(format!("session-{}", spec.thread)),
            landlock: self.landlock,
            shut: self.state.clone(),
            writable,
            readable: spec.access.readable,
            program,
            args: spec.args,
        };
        #[expect(clippy::disallowed_methods, reason = "the engine starts Claude's leash")]
        let mut command = Command::new(&leash);
        command
            .args(errand.to_args())
            .current_dir(&spec.cwd)
            .env_clear()
            .envs(&spec.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is the owner's to deal with, and it asks politely.
            .process_group(0);
        let alive = FdMapping { parent_fd: OwnedFd::from(alive), child_fd: LIVENESS_FD };
        command.as_std_mut().fd_mappings(vec![alive]).map_err(|_| LaunchError::Step {
            step: "hand a pipe to",
            path: leash.clone(),
            source: io::Error::from(io::ErrorKind::InvalidInput),
        })?;
        let mut child = command.spawn().map_err(step("start", &leash))?;
        // The command holds our copy of the leash's end.
        drop(command);
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(step("get the pipes of", &leash)(io::ErrorKind::BrokenPipe.into()));
        };
        let (ours, theirs) = Leash::pair();
        tokio::spawn(hold(child, owner, theirs));
        Ok(Leashed {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            leash: ours,
        })
    }
}

/// Holds the leash's other end: as long as `owner` is open, it lets Claude live.
async fn hold(mut child: Child, owner: io::PipeWriter, mut hand: LeashHand) {
    let pid = child.id();
    let mut owner = Some(owner);
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended,
            order = hand.orders.recv(), if owner.is_some() => match order {
                Some(LeashOrder::Interrupt) => signal(pid, Signal::SIGINT),
                Some(LeashOrder::End) | None => owner = None,
            },
        }
    };
    let exit = match ended {
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            Exit { code: status.code(), signal: status.signal() }
        }
        Err(_) => Exit { code: None, signal: None },
    };
    let _ = hand.exit.send(exit);
}

fn signal(pid: Option<u32>, signal: Signal) {
    if let Some(pid) = pid.and_then(|it| i32::try_from(it).ok()) {
        // The child is not reaped yet, so the number is still its own.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A program that is only named, where Claude's own PATH has it.
fn by_name(program: &Path, path: Option<&String>) -> Option<PathBuf> {
    let is_name = program.components().count() == 1 && !program.is_absolute();
    let dirs = path.filter(|_| is_name)?.split(':').filter(|it| !it.is_empty());
    dirs.map(|it| Path::new(it).join(program)).find(|it| it.is_file())?.canonicalize().ok()
}

fn found(what: &'static str, path: &Path) -> Result<PathBuf, LaunchError> {
    path.canonicalize().map_err(|_| LaunchError::Missing { what, path: path.to_owned() })
}

fn step<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LaunchError + 'a {
    move |source| LaunchError::Step { step, path: path.to_owned(), source }
}
