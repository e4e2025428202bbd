//! For tests only: a log of every step that changed the disk, and steps that fail on demand.
//!
//! From the log a test counts flushes and builds every state that a power cut could have left. With a fault at step
//! `n`, for every `n`, it walks a crash or a full disk through the whole of a scenario without a mark in the code.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

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
    /// Two files were swapped.
    Exchange { a: PathBuf, b: PathBuf },
    /// A file was removed.
    Remove { path: PathBuf },
}

static RECORDING: AtomicBool = AtomicBool::new(false);
static LOG: Mutex<Vec<Step>> = Mutex::new(Vec::new());

fn log() -> MutexGuard<'static, Vec<Step>> {
    LOG.lock().unwrap_or_else(|it| it.into_inner())
}

/// Runs `work` and returns the steps it made, from whatever thread. One recording at a time in a process.
pub fn steps_of<T>(work: impl FnOnce() -> T) -> (T, Vec<Step>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|it| it.into_inner());
    log().clear();
    RECORDING.store(true, Ordering::SeqCst);
    let result = work();
    RECORDING.store(false, Ordering::SeqCst);
    (result, std::mem::take(&mut *log()))
}

/// How many steps the running recording has seen.
pub fn steps_so_far() -> usize {
    log().len()
}

pub(crate) fn note(step: impl FnOnce() -> Step) {
    if RECORDING.load(Ordering::Relaxed) {
        log().push(step());
    }
}

/// What happens to the chosen step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before it.
    Abort,
    /// It fails with this `errno`.
    Errno(i32),
}

const OFF: i64 = -1;
static COUNTDOWN: AtomicI64 = AtomicI64::new(OFF);
static ERRNO: AtomicI64 = AtomicI64::new(0);
static HITS: AtomicUsize = AtomicUsize::new(0);

/// Lets `steps` steps pass and then meets the next one with `fault`, once, in this process.
pub fn fail_after(steps: u32, fault: Fault) {
    ERRNO.store(if let Fault::Errno(it) = fault { it.into() } else { 0 }, Ordering::SeqCst);
    HITS.store(0, Ordering::SeqCst);
    COUNTDOWN.store(steps.into(), Ordering::SeqCst);
}

/// Takes the fault back, and says whether it was met.
pub fn disarm() -> bool {
    COUNTDOWN.store(OFF, Ordering::SeqCst);
    HITS.load(Ordering::SeqCst) > 0
}

pub(crate) fn fault() -> io::Result<()> {
    if COUNTDOWN.load(Ordering::Relaxed) == OFF {
        return Ok(());
    }
    let left = COUNTDOWN
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| (it != OFF).then(|| it - 1));
    if left != Ok(0) {
        return Ok(());
    }
    HITS.fetch_add(1, Ordering::SeqCst);
    match ERRNO.load(Ordering::SeqCst) {
        0 => std::process::abort(),
        errno => Err(io::Error::from_raw_os_error(errno as i32)),
    }
}
