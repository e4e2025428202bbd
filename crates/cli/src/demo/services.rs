//! The demo's services: sibling binaries, each in a process group of its own, so that Ctrl-C is the chat's alone.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tinyclaw_disk::write_new;
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::{Environment, groups};

use crate::place;

/// A service that was asked to leave gets so long.
const GRACE: Duration = Duration::from_secs(10);
/// What of the caller's settings reaches the services when the real Claude is asked.
const CLAUDES: [&str; 5] =
    ["claude.oauthToken", "claude.apiKey", "claude.baseUrl", "engine.claude", "engine.home"];

/// Running services. Dropped, they are killed; [`Services::stop`] lets them end well.
pub(crate) struct Services {
    logs: PathBuf,
    environment: Environment,
    running: Vec<(&'static str, Child)>,
    /// Where the dashboard listens.
    pub(crate) port: Option<u16>,
}

impl Services {
    /// None yet. They will see the caller's environment without its TinyClaw, and `own` in it.
    pub(crate) fn new(state: &StateDir, own: Vec<(&str, String)>, with_claude: bool) -> Services {
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
        Services { logs: state.root().join("logs"), environment, running: Vec::new(), port: None }
    }

    /// Sets a variable for the services started from now on.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.environment.insert(name.to_owned(), value);
    }

    /// Starts a service. What it says goes to a file beside the logs.
    pub(crate) fn start(&mut self, name: &'static str, program: &Path) -> anyhow::Result<()> {
        let said = write_new(&self.logs.join(format!("{name}.out")), b"")?;
        let err = said.try_clone().context("cannot share a file")?;
        #[expect(clippy::disallowed_methods, reason = "the demo is its services")]
        let child = Command::new(program)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.running.push((name, child));
        Ok(())
    }

    /// An error when one of them has ended, with its last word.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait().context("cannot ask how a service is")? {
                let path = self.logs.join(format!("{name}.out"));
                let said = std::fs::read_to_string(&path).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it said nothing").to_owned();
                bail!("{name} ended with {status}: {last}");
            }
        }
        Ok(())
    }

    /// Asks all to leave, waits for them, and ends whoever does not.
    pub(crate) async fn stop(mut self) {
        for (_, child) in &self.running {
            if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            self.running.retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
            if self.running.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
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
