//! Claude on this machine, under `tinyclaw-leash`.
//!
//! Claude speaks through sockets and not through pipes: whoever finds a pipe in `/proc` can open it and speak in its
//! owner's place, a socket nobody can. What Claude is given is opened here, without following a link, and handed over as
//! a descriptor: between here and there no path is resolved again.

mod look;
mod moving;

use std::collections::BTreeSet;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tinyclaw_disk::foreign::ForeignError;
use tinyclaw_domain::{StateDir, ThreadId};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::config::{EngineConfig, Landlock};
use crate::launch::{
    Exit, LaunchError, LaunchFuture, LaunchSpec, Launcher, Leash, LeashHand, LeashOrder, Leashed,
};
use crate::leash::folders::{self, Relation};
use crate::leash::{self, Errand};
use crate::look::Look;

/// The leash's descriptor for "is my owner alive?".
const LIVENESS_FD: i32 = 3;
/// Its descriptor for what it has to say.
const REPORT_FD: i32 = 4;
/// The first of those that name what Claude is given.
const GIVEN_FD: i32 = 5;
/// A leash says a line or two.
const REPORT_BYTES_MAX: u64 = 16 * 1024;

/// Starts Claude here, held by a leash.
#[derive(Debug, Clone)]
pub struct LocalLauncher {
    /// The program: `claude`, or the demo engine.
    pub program: PathBuf,
    /// `tinyclaw-leash`.
    pub leash: PathBuf,
    /// The state folder, which Claude gets nothing of but `files/<thread>`.
    pub state: PathBuf,
    /// The office's home, where transcripts of desks lay once.
    pub claude_home: PathBuf,
    /// The one HOME of all threads, where this user has a single one; else each has its own in the state folder.
    home: Option<PathBuf>,
    /// Whose threads these are, where several offices have this state folder.
    office: Option<String>,
    /// Whether Claude is confined.
    pub landlock: Landlock,
    /// Warnings of leashes that were passed on; each is once.
    warned: Arc<Mutex<BTreeSet<String>>>,
}

impl Launcher for LocalLauncher {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        Box::pin(async move { self.start(spec) })
    }

    fn look(&self) -> &dyn Look {
        self
    }
}

impl LocalLauncher {
    /// A launcher of this program, held by this leash, away from this state folder. Desks never shared a home there.
    pub fn new(
        program: PathBuf,
        leash: PathBuf,
        state: PathBuf,
        landlock: Landlock,
    ) -> LocalLauncher {
        // No transcript was ever kept at the top of a state folder.
        let claude_home = state.clone();
        let (home, office, warned) = (None, None, Arc::default());
        LocalLauncher { program, leash, state, claude_home, home, office, landlock, warned }
    }

    /// A launcher of what an engine is told to run.
    pub fn of(config: &EngineConfig) -> LocalLauncher {
        let (program, leash) = (config.program.clone(), config.leash.clone());
        let launcher = LocalLauncher::new(program, leash, config.state.clone(), config.landlock);
        LocalLauncher { claude_home: config.claude_home.clone(), ..launcher }
    }

    /// The same where all threads have this HOME.
    pub(crate) fn with_home(self, home: PathBuf) -> LocalLauncher {
        LocalLauncher { home: Some(home), ..self }
    }

    /// The same where other offices have this state folder too: a thread of theirs with the same number is another one.
    pub(crate) fn of_office(self, office: String) -> LocalLauncher {
        LocalLauncher { office: Some(office), ..self }
    }

    /// The same with another leash.
    pub(crate) fn with_leash(self, leash: PathBuf) -> LocalLauncher {
        LocalLauncher { leash, ..self }
    }

    /// The same of another program.
    pub(crate) fn of_program(self, program: PathBuf) -> LocalLauncher {
        LocalLauncher { program, ..self }
    }

    /// A thread's own folder in the state folder.
    pub(crate) fn files(&self, thread: &ThreadId) -> PathBuf {
        StateDir::new(&self.state).files(thread)
    }

    fn start(&self, spec: LaunchSpec) -> Result<Leashed, LaunchError> {
        let program = match by_name(&self.program, spec.env.get("PATH")) {
            Some(path) => path,
            None => found("Claude", &self.program)?,
        };
        let leash = found("tinyclaw-leash", &self.leash)?;
        let state = StateDir::new(&self.state);
        let files = state.files(&spec.thread);
        for dir in [&files, &state.locks()] {
            std::fs::create_dir_all(dir).map_err(step("make", dir))?;
        }
        let mut given = Given::new(self, spec.thread.as_str())?;
        let cwd = given.directory(&spec.cwd)?;
        given.writable(&files)?;
        for path in &spec.access.writable {
            given.writable(path)?;
        }
        for path in &spec.access.readable {
            given.readable(path)?;
        }
        let (alive, owner) = io::pipe().map_err(step("make a pipe for", &leash))?;
        let (report, reported) = io::pipe().map_err(step("make a pipe for", &leash))?;
        let errand = Errand {
            liveness: LIVENESS_FD,
            report: REPORT_FD,
            cwd,
            lock: match &self.office {
                Some(office) => state.session_lock_of(office, &spec.thread),
                None => state.session_lock(&spec.thread),
            },
            landlock: self.landlock,
            shut: self.state.clone(),
            own: given.own,
            writable: given.writable,
            readable: given.readable,
            program,
            args: spec.args,
        };
        let pair = |is_read: bool| Ends::pair(is_read).map_err(step("make a socket for", &leash));
        let (stdin, stdout, stderr) = (pair(false)?, pair(true)?, pair(true)?);
        #[expect(clippy::disallowed_methods, reason = "the engine starts Claude's leash")]
        let mut command = Command::new(&leash);
        command
            .args(errand.to_args())
            // The leash itself holds no folder of an agent's.
            .current_dir("/")
            .env_clear()
            .envs(&spec.env)
            .stdin(Stdio::from(OwnedFd::from(stdin.theirs)))
            .stdout(Stdio::from(OwnedFd::from(stdout.theirs)))
            .stderr(Stdio::from(OwnedFd::from(stderr.theirs)))
            // A Ctrl-C at the terminal is the owner's to deal with, and it asks politely.
            .process_group(0);
        let mut handed = given.handed;
        handed.push(FdMapping { parent_fd: OwnedFd::from(alive), child_fd: LIVENESS_FD });
        handed.push(FdMapping { parent_fd: OwnedFd::from(reported), child_fd: REPORT_FD });
        command.as_std_mut().fd_mappings(handed).map_err(|_| LaunchError::Step {
            step: "hand descriptors to",
            path: leash.clone(),
            source: io::Error::from(io::ErrorKind::InvalidInput),
        })?;
        let child = command.spawn().map_err(step("start", &leash))?;
        // The command holds our copy of the leash's ends.
        drop(command);
        let (ours, theirs) = Leash::pair();
        let warned = self.warned.clone();
        let report = pipe::Receiver::from_owned_fd(OwnedFd::from(report))
            .map_err(step("listen to", &leash))?;
        tokio::spawn(async move { hold(child, owner, listen(report, &warned), theirs).await });
        Ok(Leashed {
            stdin: Box::new(stdin.ours),
            stdout: Box::new(stdout.ours),
            stderr: Box::new(stderr.ours),
            leash: ours,
        })
    }
}

/// A socket between us and Claude that is used in one direction.
struct Ends {
    ours: UnixStream,
    theirs: Socket,
}

impl Ends {
    /// `is_read`: it is read here and written there.
    fn pair(is_read: bool) -> io::Result<Ends> {
        let (ours, theirs) = Socket::pair()?;
        // Shut in the other direction: what nobody reads would turn the end of file into an error.
        ours.shutdown(if is_read { Shutdown::Write } else { Shutdown::Read })?;
        ours.set_nonblocking(true)?;
        Ok(Ends { ours: UnixStream::from_std(ours)?, theirs })
    }
}

/// What a Claude is given, opened and looked at.
struct Given<'a> {
    launcher: &'a LocalLauncher,
    desk: &'a str,
    state: OwnedFd,
    own: Vec<PathBuf>,
    writable: Vec<i32>,
    readable: Vec<i32>,
    handed: Vec<FdMapping>,
}

impl<'a> Given<'a> {
    fn new(launcher: &'a LocalLauncher, desk: &'a str) -> Result<Given<'a>, LaunchError> {
        let state = folders::open(&launcher.state).map_err(|err| refused(&launcher.state, err))?;
        Ok(Given {
            launcher,
            desk,
            state,
            own: Vec::new(),
            writable: Vec::new(),
            readable: Vec::new(),
            handed: Vec::new(),
        })
    }

    /// The directory that Claude works in.
    fn directory(&mut self, path: &Path) -> Result<i32, LaunchError> {
        let opened = match folders::open(path) {
            Err(err) if err.is_missing() => return Err(LaunchError::NoCwd(path.to_owned())),
            other => other.map_err(|err| refused(path, err))?,
        };
        if !nix::sys::stat::fstat(&opened).is_ok_and(|it| folders::is_folder(&it)) {
            return Err(LaunchError::NoCwd(path.to_owned()));
        }
        if !self.is_own(path)? {
            self.must_lie(path, &opened, &[Relation::Beside])?;
        }
        Ok(self.hand_over(opened))
    }

    /// What Claude may write; nothing when it is not there.
    fn writable(&mut self, path: &Path) -> Result<(), LaunchError> {
        if self.is_own(path)? {
            return Ok(());
        }
        if let Some(number) = self.more(path, &[Relation::Beside])? {
            self.writable.push(number);
        }
        Ok(())
    }

    /// What Claude may read; nothing when it is not there.
    fn readable(&mut self, path: &Path) -> Result<(), LaunchError> {
        let allowed: &[Relation] = match *path == StateDir::new(&self.launcher.state).office() {
            // The operator wrote it for every desk.
            true => &[Relation::Inside],
            // Around the state: the leash grants it child by child.
            false => &[Relation::Beside, Relation::Around],
        };
        if let Some(number) = self.more(path, allowed)? {
            self.readable.push(number);
        }
        Ok(())
    }

    /// Whether it is a place of this desk in the state folder; from then on it is given.
    fn is_own(&mut self, path: &Path) -> Result<bool, LaunchError> {
        let state = &self.launcher.state;
        let Some(below) = folders::own(path, state, self.desk) else { return Ok(false) };
        folders::open_own(state, below).map_err(|err| refused(path, err))?;
        self.own.push(below.to_owned());
        Ok(true)
    }

    fn more(&mut self, path: &Path, allowed: &[Relation]) -> Result<Option<i32>, LaunchError> {
        let opened = match folders::open(path) {
            Err(err) if err.is_missing() => return Ok(None),
            other => other.map_err(|err| refused(path, err))?,
        };
        self.must_lie(path, &opened, allowed)?;
        Ok(Some(self.hand_over(opened)))
    }

    fn must_lie(
        &self,
        path: &Path,
        opened: &OwnedFd,
        allowed: &[Relation],
    ) -> Result<(), LaunchError> {
        if self.launcher.landlock == Landlock::Off {
            return Ok(());
        }
        let relation = folders::relation(opened, &self.state).map_err(step("look at", path))?;
        let state = self.launcher.state.clone();
        match relation {
            it if allowed.contains(&it) => Ok(()),
            Relation::Around => Err(LaunchError::StateInside { cwd: path.to_owned(), state }),
            _ => Err(LaunchError::InsideState { path: path.to_owned(), state }),
        }
    }

    fn hand_over(&mut self, parent_fd: OwnedFd) -> i32 {
        let child_fd = GIVEN_FD + self.handed.len() as i32;
        self.handed.push(FdMapping { parent_fd, child_fd });
        child_fd
    }
}

/// Why something is not given, for people.
fn refused(path: &Path, err: ForeignError) -> LaunchError {
    match err {
        ForeignError::Link(_) => LaunchError::Linked {
            path: path.to_owned(),
            real: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        },
        ForeignError::Io { source, .. } => step("open", path)(source),
        other => step("open", path)(io::Error::other(other)),
    }
}

/// Hears what a leash has to say, until it and the stage that became Claude have closed their ends. Whether it said that
/// there is no Claude.
async fn listen(report: pipe::Receiver, warned: &Mutex<BTreeSet<String>>) -> bool {
    let mut text = String::new();
    let _ = report.take(REPORT_BYTES_MAX).read_to_string(&mut text).await;
    for warning in text.lines().filter_map(|it| it.strip_prefix(leash::WARNS)) {
        let mut warned = warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.insert(warning.to_owned()) {
            tracing::warn!("claude is not held as it should be: {warning}");
        }
    }
    text.lines().any(|it| it.starts_with(leash::REFUSES))
}

/// Holds the leash's other end: as long as `owner` is open, it lets Claude live.
async fn hold(
    mut child: Child,
    owner: io::PipeWriter,
    report: impl Future<Output = bool>,
    mut hand: LeashHand,
) {
    let pid = child.id();
    let mut owner = Some(owner);
    let mut report = pin!(report);
    let mut has_refused = None;
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended,
            said = &mut report, if has_refused.is_none() => has_refused = Some(said),
            order = hand.orders.recv(), if owner.is_some() => match order {
                Some(LeashOrder::Interrupt) => signal(pid, Signal::SIGINT),
                Some(LeashOrder::End | LeashOrder::Leave) | None => owner = None,
            },
        }
    };
    let has_refused = match has_refused {
        Some(it) => it,
        None => report.await,
    };
    let exit = match ended {
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            Exit { code: status.code().map(|it| its_own(it, has_refused)), signal: status.signal() }
        }
        Err(_) => Exit { code: None, signal: None },
    };
    let _ = hand.exit.send(Ok(exit));
}

/// The leash's own exit codes mean something only when it said so: a Claude could end with the same numbers.
fn its_own(code: i32, has_refused: bool) -> i32 {
    let is_of_leash = [leash::EXIT_HELD, leash::EXIT_NOT_STARTED].contains(&code);
    if is_of_leash && !has_refused { 1 } else { code }
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
