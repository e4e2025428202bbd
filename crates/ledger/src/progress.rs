//! What running turns are doing: `progress/<key>.json`, written often, never flushed, worth nothing after a power cut.

use std::path::PathBuf;

use tinyclaw_disk::{DiskError, Flush, remove};
use tinyclaw_domain::{Key, Progress};

use crate::{JsonError, StateDir, load, save};

/// The folder of running turns. Processor writes, everybody may read.
#[derive(Debug, Clone)]
pub struct Progresses {
    state: StateDir,
}

impl Progresses {
    /// Of this state folder.
    pub fn new(state: &StateDir) -> Progresses {
        Progresses { state: state.clone() }
    }

    /// Shows where the turn is now.
    pub fn write(&self, progress: &Progress) -> Result<(), JsonError> {
        save(&self.state.progress(&progress.key), progress, Flush::None)
    }

    /// The turn is over and its answer has moved on. No error when there was nothing.
    pub fn remove(&self, key: &Key) -> Result<(), DiskError> {
        remove(&self.state.progress(key))
    }

    /// Where the turn is, or `None` when none is running. A file that is no progress counts as none.
    pub fn read(&self, key: &Key) -> Option<Progress> {
        load(&self.state.progress(key)).ok().flatten()
    }

    /// Every running turn, the longest running first.
    pub fn list(&self) -> Vec<Progress> {
        let mut all: Vec<Progress> =
            self.files().iter().filter_map(|it| load(it).ok().flatten()).collect();
        all.sort_by_key(|it| it.started_at);
        all
    }

    /// Removes what a processor left behind that is no more. At its successor's start, before the first turn.
    pub fn sweep(&self) -> Result<usize, DiskError> {
        let left = self.files();
        for path in &left {
            remove(path)?;
        }
        Ok(left.len())
    }

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.state.progresses()) else { return Vec::new() };
        entries
            .flatten()
            .map(|it| it.path())
            .filter(|it| it.extension().is_some_and(|it| it == "json" || it == "tmp"))
            .collect()
    }
}
