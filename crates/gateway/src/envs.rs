//! `envs.json` as it was read last. The file is the operator's; nothing here writes it.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use tinyclaw_domain::{Envs, StateDir};
use tinyclaw_ledger::read_envs;
use tinyclaw_service::Vitals;

/// Enough to see that a file was saved.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The environments there are.
#[derive(Debug)]
pub(crate) struct EnvBook {
    state: StateDir,
    vitals: Vitals,
    /// Held while the file is read, which is small.
    last: Mutex<(Stamp, Arc<Envs>)>,
}

impl EnvBook {
    pub(crate) fn new(state: &StateDir, vitals: Vitals) -> EnvBook {
        EnvBook { state: state.clone(), vitals, last: Mutex::default() }
    }

    /// The environments as the file has them now. While it cannot be read the last good ones count, and `/ready` says why.
    pub(crate) fn current(&self) -> Arc<Envs> {
        let about = std::fs::metadata(self.state.envs()).ok();
        let stamp = about.map(|it| (it.ino(), it.len(), it.mtime(), it.mtime_nsec()));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != stamp {
            let trouble = match read_envs(&self.state) {
                Ok(envs) => {
                    last.1 = Arc::new(envs);
                    None
                }
                Err(err) => {
                    let source = std::error::Error::source(&err);
                    let why = source.map_or_else(String::new, |it| format!(": {it}"));
                    Some(format!("the last good environments count: {err}{why}"))
                }
            };
            last.0 = stamp;
            self.vitals.concern("envs", trouble);
        }
        Arc::clone(&last.1)
    }
}
