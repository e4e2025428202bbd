//! The processes below this one: started, told to stop, and collected. Nothing here knows what they do.
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
use tokio::time::Instant;

/// How long services get to stop. Compose gives the container 40 s, and docker must never be the one to kill.
pub const GRACE: Duration = Duration::from_secs(35);
/// After a SIGKILL nothing more is heard only from a process that hangs in the kernel.
const KILLED_TIME: Duration = Duration::from_secs(2);

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

/// A running service.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// What people call it.
    pub service: &'static str,
    /// Its process.
    pub pid: u32,
    /// When it was started, in ms since 1970.
    pub started_at: u64,
}

/// The services, from their start to the end of the last.
#[derive(Debug)]
pub struct House {
    residents: Vec<Resident>,
    ended: SignalStream,
}

impl House {
    /// Starts the programs, in order. When one cannot be started, those before it are told to stop, and the error says
    /// which one and why.
    pub fn start(programs: &[Program]) -> anyhow::Result<House> {
        // Listen before the first start, so that a child that ends at once is not missed.
        let ended = signal(SignalKind::child()).context("cannot hear of children that end")?;
        // Outside a container somebody else is PID 1; what our services leave behind comes to us all the same.
        nix::sys::prctl::set_child_subreaper(true).context("cannot become the reaper")?;
        let mut house = House { residents: Vec::new(), ended };
        for program in programs {
            match spawn(program) {
                Ok(resident) => house.residents.push(resident),
                Err(err) => {
                    house.tell_all(Signal::SIGTERM);
                    return Err(err);
                }
            }
        }
        Ok(house)
    }

    /// Who lives here.
    pub fn residents(&self) -> Vec<Resident> {
        self.residents.clone()
    }

    /// Keeps house until every service has ended: because of the shutdown, which is handed on, or because one ended by
    /// itself, which begins it. `Err` when the end was not an orderly one.
    pub async fn keep(mut self, shutdown: &Shutdown, grace: Duration) -> anyhow::Result<()> {
        let mut trouble: Option<String> = None;
        let mut until = None;
        let mut was_killed = false;
        while !self.residents.is_empty() {
            let time_is_up = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.ended.recv() => for status in collect() {
                    let Some(who) = self.leave(status) else { continue };
                    let how = describe(status);
                    if until.is_some() {
                        tracing::info!(service = who.service, "{} is down: {how}", who.service);
                    } else {
                        let story = format!("{} ended by itself: {how}", who.service);
                        tracing::error!(service = who.service, "{story}");
                        trouble.get_or_insert(story);
                        shutdown.begin();
                    }
                },
                () = shutdown.begun(), if until.is_none() => {
                    until = Some(Instant::now() + grace);
                    self.tell_all(Signal::SIGTERM);
                }
                () = time_is_up => {
                    let names: Vec<&str> = self.residents.iter().map(|it| it.service).collect();
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
        }
        match trouble {
            Some(it) => anyhow::bail!(it),
            None => Ok(()),
        }
    }

    fn tell_all(&self, signal: Signal) {
        for it in &self.residents {
            // Gone already is as good; it is collected in a moment.
            let _ = kill(Pid::from_raw(it.pid.cast_signed()), signal);
        }
    }

    /// Strikes out the service whose process this was. `None`: an orphan that came to us.
    fn leave(&mut self, status: WaitStatus) -> Option<Resident> {
        let pid = status.pid()?.as_raw().cast_unsigned();
        let at = self.residents.iter().position(|it| it.pid == pid)?;
        Some(self.residents.swap_remove(at))
    }
}

fn spawn(program: &Program) -> anyhow::Result<Resident> {
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
    let started_at = now_ms();
    // The handle is dropped: dropping neither ends the child nor waits for it, and `collect` does the waiting.
    let child = inherits(FdFlag::empty()).and_then(|_| command.spawn()).with_context(|| {
        format!("cannot start {} ({})", program.service, program.path.display())
    })?;
    // Whoever is started next does not have it.
    inherits(FdFlag::FD_CLOEXEC).context("cannot keep the way to the warden from others")?;
    let (service, pid) = (program.service, child.id());
    tracing::info!(service, pid, "{service} is started");
    Ok(Resident { service, pid, started_at })
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
