//! The demo's services: sibling binaries, each in a process group of its own, so that Ctrl-C is the chat's alone.
//!
//! One that ends while the demo runs is started again, ever less eagerly while it does not stay.
//! Whoever a service leaves behind becomes this process's child, and is waited for: when the demo is over, nobody of it
//! is left.

use std::collections::HashSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use tinyclaw_disk::{remove, write_new};
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::{Environment, groups};

use crate::place;

/// A service that was asked to leave may finish what it does, for so long.
const GRACE: Duration = Duration::from_secs(1);
/// Told to leave at once, it has so long before it is killed; and so long have those it leaves behind.
const LAST_GRACE: Duration = Duration::from_secs(5);
/// So often it is looked whether a service has ended, or another is wanted.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first pause before it is started again; each next one is twice as long,
const PAUSE: Duration = Duration::from_millis(300);
/// up to this;
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// and one that stayed for so long begins anew.
const STAYED: Duration = Duration::from_secs(60);
/// What of the caller's settings reaches the services when the real Claude is asked.
const CLAUDES: [&str; 5] =
    ["claude.oauthToken", "claude.apiKey", "claude.baseUrl", "engine.claude", "engine.home"];

/// Running services. Dropped, they are killed; [`Services::stop`] lets them end well, and waits for theirs.
pub(crate) struct Services {
    logs: PathBuf,
    environment: Environment,
    running: Vec<Running>,
    /// Where the dashboard listens.
    pub(crate) dashboard: Option<u16>,
    /// Where the gateway listens.
    pub(crate) gateway: Option<u16>,
}

/// One service that was started.
struct Running {
    name: &'static str,
    program: PathBuf,
    child: Child,
    since: Instant,
    /// How often it had to be started again in a row.
    falls: u32,
}

impl Services {
    /// None yet. They will see the caller's environment without its TinyClaw, and `own` in it.
    pub(crate) fn new(state: &StateDir, own: Vec<(&str, String)>, with_claude: bool) -> Services {
        // Only ever refused by kernels older than ours; without it the leashes still end by themselves.
        let _ = set_child_subreaper(Some(getpid()));
        let mut environment = place::environment();
        for row in groups().iter().flat_map(|it| &it.rows) {
            if with_claude && CLAUDES.contains(&row.key) {
                continue;
            }
            for name in row.variables() {
                environment.remove(&format!("{name}_FILE"));
                environment.remove(&name);
            }
        }
        environment.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Services {
            logs: state.logs(),
            environment,
            running: Vec::new(),
            dashboard: None,
            gateway: None,
        }
    }

    /// Sets a variable for the services started from now on.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.environment.insert(name.to_owned(), value);
    }

    /// Keeps a variable of the caller's from the services started from now on.
    pub(crate) fn hide(&mut self, name: &str) {
        self.environment.remove(&format!("{name}_FILE"));
        self.environment.remove(name);
    }

    /// Who runs, by process id.
    pub(crate) fn processes(&self) -> Vec<(&'static str, u32)> {
        self.running.iter().map(|it| (it.name, it.child.id())).collect()
    }

    /// Starts a service. What it says goes to a file beside the logs.
    pub(crate) fn start(&mut self, name: &'static str, program: &Path) -> anyhow::Result<()> {
        let child = self.spawn(name, program)?;
        let (program, since) = (program.to_owned(), Instant::now());
        self.running.push(Running { name, program, child, since, falls: 0 });
        Ok(())
    }

    fn said(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.out"))
    }

    fn spawn(&self, name: &str, program: &Path) -> anyhow::Result<Child> {
        let path = self.said(name);
        remove(&path)?;
        let said = write_new(&path, b"")?;
        let err = said.try_clone().context("cannot share a file")?;
        #[expect(clippy::disallowed_methods, reason = "the demo is its services")]
        let mut command = Command::new(program);
        command.env_clear().envs(&self.environment).process_group(0);
        command.stdin(Stdio::null()).stdout(said).stderr(err);
        command.spawn().with_context(|| format!("cannot start {}", program.display()))
    }

    /// An error when one of them has ended, with its last word.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for at in 0..self.running.len() {
            if let Some(status) = self.has_ended(at) {
                bail!("{}", self.last_word(self.running[at].name, status));
            }
        }
        Ok(())
    }

    fn has_ended(&mut self, at: usize) -> Option<ExitStatus> {
        self.running[at].child.try_wait().ok().flatten()
    }

    fn last_word(&self, name: &str, status: ExitStatus) -> String {
        let said = std::fs::read_to_string(self.said(name)).unwrap_or_default();
        format!("{name} ended with {status}: {}", said.lines().last().unwrap_or("it said nothing"))
    }

    /// Starts again whoever has ended. `tell` hears of each end.
    pub(crate) async fn revive(&mut self, mut tell: impl FnMut(String)) {
        for at in 0..self.running.len() {
            let Some(status) = self.has_ended(at) else { continue };
            let Running { name, since, falls, .. } = &self.running[at];
            let (name, program) = (*name, self.running[at].program.clone());
            let falls = if since.elapsed() > STAYED { 0 } else { *falls };
            let pause = PAUSE.saturating_mul(1 << falls.min(10)).min(PAUSE_MAX);
            tell(self.last_word(name, status));
            tokio::time::sleep(pause).await;
            match self.spawn(name, &program) {
                Ok(child) => {
                    let (since, falls) = (Instant::now(), falls + 1);
                    self.running[at] = Running { name, program, child, since, falls };
                }
                // It is tried again at the next look: its end is still known.
                Err(err) => tell(format!("{err:#}")),
            }
        }
    }

    /// Ends a service that only reads, and starts what its program is now.
    pub(crate) fn restart(&mut self, name: &'static str) -> anyhow::Result<()> {
        let Some(at) = self.running.iter().position(|it| it.name == name) else { return Ok(()) };
        let running = &mut self.running[at];
        running.child.kill().with_context(|| format!("cannot end {name}"))?;
        running.child.wait().with_context(|| format!("cannot wait for {name}"))?;
        let child = self.spawn(name, &self.running[at].program)?;
        self.running[at].child = child;
        Ok(())
    }

    /// Forgets a service that has ended, so that it may be started anew. False when it runs, or never did.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        let before = self.running.len();
        let runs = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        self.running.retain_mut(|it| it.name != name || runs(&mut it.child));
        self.running.len() < before
    }

    /// Asks all to leave, then tells them, ends whoever stays, and waits for those they leave behind.
    pub(crate) async fn stop(mut self) {
        for (signal, patience) in [(Signal::TERM, GRACE), (Signal::INT, LAST_GRACE)] {
            for it in &self.running {
                if let Some(pid) = Pid::from_raw(it.child.id().cast_signed()) {
                    let _ = kill_process(pid, signal);
                }
            }
            if soon(patience, || self.have_left()).await {
                break;
            }
        }
        drop(self);
        // Claude's holds wait for another processor, and none comes: they are told to end everything below them.
        let mut told = HashSet::new();
        let nobody_is_left = || {
            for pid in children().into_iter().filter(|it| told.insert(*it)) {
                let _ = kill_process(pid, Signal::TERM);
            }
            while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
            wait(WaitOptions::NOHANG).is_err_and(|it| it == Errno::CHILD)
        };
        soon(LAST_GRACE, nobody_is_left).await;
    }

    fn have_left(&mut self) -> bool {
        self.running.retain_mut(|it| matches!(it.child.try_wait(), Ok(None)));
        self.running.is_empty()
    }
}

/// The processes whose parent this one is, or has become.
fn children() -> Vec<Pid> {
    let parent = format!("\nPPid:\t{}\n", std::process::id());
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_ours = |it: &std::fs::DirEntry| {
        let status = format!("/proc/{}/status", it.file_name().display());
        std::fs::read_to_string(status).is_ok_and(|it| it.contains(&parent))
    };
    let of_name = |it: std::fs::DirEntry| Pid::from_raw(it.file_name().to_str()?.parse().ok()?);
    all.filter(is_ours).filter_map(of_name).collect()
}

/// Asks until it is so, or for so long.
async fn soon(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    while !is_so() {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

impl Drop for Services {
    fn drop(&mut self) {
        for it in &mut self.running {
            let _ = it.child.kill();
            let _ = it.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_a_demo_do_not_see_the_callers_office() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let own = || vec![("TINYCLAW_DIR", "here".to_owned())];
        let services = Services::new(&state, own(), false);
        let names = &services.environment;
        assert_eq!(names["TINYCLAW_DIR"], "here");
        assert!(names.contains_key("PATH"));
        let ours = groups();
        let mut variables = ours.iter().flat_map(|it| &it.rows).flat_map(|it| it.variables());
        assert!(variables.all(|it| !names.contains_key(&it)));
    }
}
