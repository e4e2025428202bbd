//! A log of every step that changed the disk, for tests only: what was written, flushed, renamed and removed, in
//! order. From it a test counts flushes, and builds every state that a power cut could have left.

use std::path::PathBuf;
use std::sync::Mutex;

/// One step that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments of the functions of the same name")]
pub enum Step {
    /// A new file was written.
    Write { path: PathBuf, bytes: Vec<u8> },
    /// A file's bytes were flushed.
    SyncFile { path: PathBuf },
    /// A folder's names were flushed.
    SyncDir { path: PathBuf },
    /// A file got another name.
    Rename { from: PathBuf, to: PathBuf },
    /// A file was removed.
    Remove { path: PathBuf },
}

static LOG: Mutex<Option<Vec<Step>>> = Mutex::new(None);

/// Runs `work` and returns the steps it made, from whatever thread. One recording at a time.
pub fn steps_of<T>(work: impl FnOnce() -> T) -> (T, Vec<Step>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|it| it.into_inner());
    *LOG.lock().unwrap_or_else(|it| it.into_inner()) = Some(Vec::new());
    let result = work();
    let steps = LOG.lock().unwrap_or_else(|it| it.into_inner()).take().unwrap_or_default();
    (result, steps)
}

pub(crate) fn note(step: Step) {
    if let Some(log) = LOG.lock().unwrap_or_else(|it| it.into_inner()).as_mut() {
        log.push(step);
    }
}
