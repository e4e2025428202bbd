//! What the operator tells the porter: its environment, read once. Nothing of it can come over the socket.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Where it listens.
const SOCKET: &str = "/run/tinyclaw-porter/porter.sock";
const ENVS: &str = "/etc/tinyclaw/envs.json";
const DOCKER: &str = "/var/run/docker.sock";
/// How often it looks for what rests. Times of rest are minutes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The porter's own settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub socket: PathBuf,
    /// Who may do everything.
    pub exec_uids: BTreeSet<u32>,
    /// Who may look, start and stop.
    pub status_uids: BTreeSet<u32>,
    /// The operator's `envs.json`.
    pub envs: PathBuf,
    /// Docker's socket.
    pub docker: PathBuf,
    /// The static helper that is put into containers.
    pub helper: PathBuf,
    /// How often it looks for what rests.
    pub look_every: Duration,
}

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    /// It is no list of users.
    #[error("{name}={value:?} is no list of user ids, such as 10001,10002")]
    Uids {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
    },
    /// It is no absolute path.
    #[error("{name}={value:?} is no absolute path")]
    Path {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
    },
    /// Nobody could ask anything.
    #[error(
        "nobody may ask: set TINYCLAW_PORTER_EXEC_UIDS to the user id that the processor runs as"
    )]
    Nobody,
    /// There is no helper to put into containers.
    #[error(
        "there is no helper beside this program: set TINYCLAW_PORTER_HELPER to what scripts/helper.sh builds"
    )]
    NoHelper,
}

impl Config {
    /// The settings of these variables; `beside` finds a program that lies beside this one.
    pub fn from_env(
        var: impl Fn(&str) -> Option<String>,
        beside: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Config, BadConfig> {
        let var = |name: &str| var(name).filter(|it| !it.trim().is_empty());
        let path = |name: &'static str, default: &str| match var(name) {
            Some(value) if value.starts_with('/') => Ok(PathBuf::from(value)),
            Some(value) => Err(BadConfig::Path { name, value }),
            None => Ok(PathBuf::from(default)),
        };
        let uids = |name: &'static str| {
            let value = var(name).unwrap_or_default();
            let all = value.split(',').map(str::trim).filter(|it| !it.is_empty());
            let all: Result<BTreeSet<u32>, _> = all.map(str::parse).collect();
            all.map_err(|_| BadConfig::Uids { name, value: value.clone() })
        };
        let helper = match var("TINYCLAW_PORTER_HELPER") {
            Some(_) => path("TINYCLAW_PORTER_HELPER", "")?,
            None => beside("tinyclaw-helper")
                .or_else(|| beside("tinyclaw-leash"))
                .ok_or(BadConfig::NoHelper)?,
        };
        let config = Config {
            socket: path("TINYCLAW_PORTER_SOCKET", SOCKET)?,
            exec_uids: uids("TINYCLAW_PORTER_EXEC_UIDS")?,
            status_uids: uids("TINYCLAW_PORTER_STATUS_UIDS")?,
            envs: path("TINYCLAW_PORTER_ENVS", ENVS)?,
            docker: path("TINYCLAW_PORTER_DOCKER", DOCKER)?,
            helper,
            look_every: LOOK_EVERY,
        };
        if config.exec_uids.is_empty() && config.status_uids.is_empty() {
            return Err(BadConfig::Nobody);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Config, BadConfig> {
        let var = |name: &str| Some(vars.iter().find(|it| it.0 == name)?.1.to_owned());
        Config::from_env(var, |name| (name == "tinyclaw-leash").then(|| "/bin/leash".into()))
    }

    #[test]
    fn a_porter_serves_nobody_whom_it_was_not_told_of() {
        assert_eq!(read(&[]).unwrap_err(), BadConfig::Nobody);
        let config = read(&[("TINYCLAW_PORTER_EXEC_UIDS", "10001, 7")]).unwrap();
        assert_eq!((config.exec_uids, config.status_uids.len()), ([7, 10001].into(), 0));
        assert_eq!(config.helper, PathBuf::from("/bin/leash"));
    }

    #[test]
    fn a_variable_that_means_nothing_is_named() {
        let uids = ("TINYCLAW_PORTER_EXEC_UIDS", "1");
        for bad in [
            ("TINYCLAW_PORTER_STATUS_UIDS", "ada"),
            ("TINYCLAW_PORTER_STATUS_UIDS", "-1"),
            ("TINYCLAW_PORTER_SOCKET", "porter.sock"),
            ("TINYCLAW_PORTER_DOCKER", "tcp://127.0.0.1:2375"),
            ("TINYCLAW_PORTER_HELPER", "leash"),
        ] {
            let err = read(&[uids, bad]).unwrap_err().to_string();
            assert!(err.contains(bad.0) && err.contains(bad.1), "{err}");
        }
    }
}
