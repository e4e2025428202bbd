//! The processes below this one: started, started again when they end by themselves, told to stop, and collected. Nothing
//! here knows what they do.
//!
//! Collecting happens in one place and for every child, also those that were somebody else's: a process whose parent has
//! died becomes ours, and would stay a zombie for ever. So no handle of a child is ever waited for elsewhere.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tinyclaw_service::{Shutdown, now_ms};
use tinyclaw_warden::VARIABLE;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long services get to stop. Compose gives the container 40 s, and docker must never be the one to kill.
pub const GRACE: Duration = Duration::from_secs(35);
/// After a SIGKILL nothing more is heard only from a process that hangs in the kernel.
const KILLED_TIME: Duration = Duration::from_secs(2);
/// How long a service that ended by itself stays away; each next time in a row it is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// A service that stayed for so long begins anew.
const STAYED: Duration = Duration::from_secs(60);
/// So often in a row a service is started again, which takes half a minute: then whoever started the bot has to help.
pub const RESTARTS: u32 = 7;

/// A program to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// What people call the service: `telegram`.
    pub service: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Variables it does not get.
    pub without: BTreeSet<String>,
    /// The office's way to the warden, for the one that asks it.
    pub warden: Option<Arc<OwnedFd>>,
}

impl Program {
    /// The service's program in `dir`, without some variables.
    pub fn beside(dir: &Path, service: &'static str, without: BTreeSet<String>) -> Program {
        let path = dir.join(format!("tinyclaw-{service}"));
        Program { service, path, without, warden: None }
    }

    /// The same with the office's way to the warden.
    pub fn with_warden(self, warden: Option<Arc<OwnedFd>>) -> Program {
        Program { warden, ..self }
    }
}

/// A service, as it is now.
#[derive(Debug, Clone)]
pub struct Resident {
    /// What people call it.
    pub service: &'static str,
    /// Its process. `None`: it has ended, and is started again in a moment.
    pub pid: Option<u32>,
    /// When its process was started, in ms since 1970.
    pub started_at: u64,
    /// How often it was started again since the bot came.
    pub restarts: u32,
    /// How its last process ended, if there was one before.
    pub ended: Option<Ending>,
}

/// How a process ended that nobody had told to.
#[derive(Debug, Clone)]
pub struct Ending {
    /// When, in ms since 1970.
    pub at: u64,
    /// `killed by SIGKILL`.
    pub how: String,
}

/// A service with what is needed to start it again.
#[derive(Debug)]
struct Room {
    program: Program,
    resident: Resident,
    since: Instant,
    /// How often in a row it did not stay.
    falls: u32,
    /// When it is started again.
    due: Option<Instant>,
}

/// The services, from their start to the end of the last.
#[derive(Debug)]
pub struct House {
    rooms: Vec<Room>,
    ended: SignalStream,
    seen: watch::Sender<Vec<Resident>>,
}

impl House {
    /// Starts the programs, in order. When one cannot be started, those before it are told to stop, and the error says
    /// which one and why.
    pub fn start(programs: &[Program]) -> anyhow::Result<House> {
        // Listen before the first start, so that a child that ends at once is not missed.
        let ended = signal(SignalKind::child()).context("cannot hear of children that end")?;
        // Outside a container somebody else is PID 1; what our services leave behind comes to us all the same.
        nix::sys::prctl::set_child_subreaper(true).context("cannot become the reaper")?;
        let mut house = House { rooms: Vec::new(), ended, seen: watch::Sender::default() };
        for program in programs {
            match spawn(program) {
                Ok(pid) => house.rooms.push(Room {
                    program: program.clone(),
                    resident: Resident {
                        service: program.service,
                        pid: Some(pid),
                        started_at: now_ms(),
                        restarts: 0,
                        ended: None,
                    },
                    since: Instant::now(),
                    falls: 0,
                    due: None,
                }),
                Err(err) => {
                    house.tell_all(Signal::SIGTERM);
                    return Err(err);
                }
            }
        }
        house.show();
        Ok(house)
    }

    /// Who lives here, at every moment.
    pub fn residents(&self) -> watch::Receiver<Vec<Resident>> {
        self.seen.subscribe()
    }

    /// Keeps house until the shutdown, which is handed on, and until every service has ended. A service that ends by itself
    /// is started again alone, and the other one goes on; one that does not stay `restarts` times in a row begins the
    /// shutdown. `Err` when the end was not an orderly one.
    pub async fn keep(
        mut self,
        shutdown: &Shutdown,
        grace: Duration,
        restarts: u32,
    ) -> anyhow::Result<()> {
        let mut trouble: Option<String> = None;
        let mut until = None;
        let mut was_killed = false;
        while !self.rooms.is_empty() {
            let time_is_up = at(until);
            let is_due = at(self.rooms.iter().filter_map(|it| it.due).min());
            tokio::select! {
                _ = self.ended.recv() => for status in collect() {
                    let Some(place) = self.place_of(status) else { continue };
                    if until.is_some() {
                        let service = self.rooms.swap_remove(place).resident.service;
                        tracing::info!(service, "{service} is down: {}", describe(status));
                    } else if let Some(story) = self.rooms[place].fall(&describe(status), restarts) {
                        self.rooms.swap_remove(place);
                        trouble.get_or_insert(story);
                        shutdown.begin();
                    }
                },
                () = shutdown.begun(), if until.is_none() => {
                    until = Some(Instant::now() + grace);
                    // Whoever is away at this moment stays away.
                    self.rooms.retain(|it| it.due.is_none());
                    self.tell_all(Signal::SIGTERM);
                }
                () = is_due => {
                    let now = Instant::now();
                    let is_due = |it: &Room| it.due.is_some_and(|due| due <= now);
                    if let Some(place) = self.rooms.iter().position(is_due)
                        && let Some(story) = self.rooms[place].start_again(restarts)
                    {
                        self.rooms.swap_remove(place);
                        trouble.get_or_insert(story);
                        shutdown.begin();
                    }
                }
                () = time_is_up => {
                    let names: Vec<&str> =
                        self.rooms.iter().map(|it| it.resident.service).collect();
                    let names = names.join(" and ");
                    if was_killed {
                        anyhow::bail!("{names} cannot even be killed");
                    }
                    let story = format!("{names} did not stop in {} s", grace.as_secs());
                    tracing::error!("{story}: killing");
                    trouble.get_or_insert(story);
                    self.tell_all(Signal::SIGKILL);
                    was_killed = true;
                    until = Some(Instant::now() + KILLED_TIME);
                }
            }
            self.show();
        }
        match trouble {
            Some(it) => anyhow::bail!(it),
            None => Ok(()),
        }
    }

    fn show(&self) {
        self.seen.send_replace(self.rooms.iter().map(|it| it.resident.clone()).collect());
    }

    fn tell_all(&self, signal: Signal) {
        for pid in self.rooms.iter().filter_map(|it| it.resident.pid) {
            // Gone already is as good; it is collected in a moment.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }

    /// The service whose process this was. `None`: an orphan that came to us.
    fn place_of(&self, status: WaitStatus) -> Option<usize> {
        let pid = status.pid()?.as_raw().cast_unsigned();
        self.rooms.iter().position(|it| it.resident.pid == Some(pid))
    }
}

impl Room {
    /// It has ended by itself. What to say when it is not started again.
    fn fall(&mut self, how: &str, restarts: u32) -> Option<String> {
        let service = self.resident.service;
        let story = format!("{service} ended by itself: {how}");
        if self.since.elapsed() >= STAYED {
            self.falls = 0;
        }
        self.resident.pid = None;
        self.resident.ended = Some(Ending { at: now_ms(), how: how.to_owned() });
        if self.falls >= restarts {
            tracing::error!(service, "{story}; it is not started again");
            return Some(story);
        }
        let pause = PAUSE.saturating_mul(1 << self.falls.min(10));
        self.falls += 1;
        self.due = Some(Instant::now() + pause);
        tracing::error!(
            service,
            "{story}; it is started again in {} ms, for the {}. time in a row",
            pause.as_millis(),
            self.falls
        );
        None
    }

    /// Its pause is over. What to say when it cannot be started any more.
    fn start_again(&mut self, restarts: u32) -> Option<String> {
        self.due = None;
        match spawn(&self.program) {
            Ok(pid) => {
                self.resident.pid = Some(pid);
                self.resident.started_at = now_ms();
                self.resident.restarts += 1;
                self.since = Instant::now();
                None
            }
            Err(err) => self.fall(&format!("{err:#}"), restarts),
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn spawn(program: &Program) -> anyhow::Result<u32> {
    #[expect(clippy::disallowed_methods, reason = "starting services is what the bot is for")]
    let mut command = Command::new(&program.path);
    for name in &program.without {
        command.env_remove(name);
    }
    command.env_remove(VARIABLE);
    let inherits = |flags| {
        let warden = program.warden.as_deref();
        warden.map_or(Ok(0), |it| fcntl(it, FcntlArg::F_SETFD(flags))).map_err(io::Error::from)
    };
    if let Some(warden) = &program.warden {
        command.env(VARIABLE, warden.as_raw_fd().to_string());
    }
    // The handle is dropped: dropping neither ends the child nor waits for it, and `collect` does the waiting.
    let child = inherits(FdFlag::empty()).and_then(|_| command.spawn()).with_context(|| {
        format!("cannot start {} ({})", program.service, program.path.display())
    })?;
    // Whoever is started next does not have it.
    inherits(FdFlag::FD_CLOEXEC).context("cannot keep the way to the warden from others")?;
    let (service, pid) = (program.service, child.id());
    tracing::info!(service, pid, "{service} is started");
    Ok(pid)
}

/// Every child that has ended, ours and adopted ones. One SIGCHLD may stand for many of them.
fn collect() -> Vec<WaitStatus> {
    let mut ended = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Ok(status) => ended.push(status),
            Err(Errno::EINTR) => {}
            Err(err) => {
                tracing::warn!("cannot collect ended processes: {err}");
                return ended;
            }
        }
    }
}

fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
        other => format!("{other:?}"),
    }
}
