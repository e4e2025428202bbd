//! For tests only: a log of every step that changed the disk, and steps that fail on demand.
//!
//! From the log a test counts flushes and builds every state that a power cut could have left. With a fault at step
//! `n`, for every `n`, it walks a crash or a full disk through the whole of a scenario without a mark in the code.
//! Steps that change the disk and steps that only read it are counted apart, so that a test of the one need not know how
//! often the other happens.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// One step that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments of the functions of the same name")]
pub enum Step {
    /// A new file was written.
    Write { path: PathBuf, bytes: Vec<u8> },
    /// Bytes were written behind the first `length` of a file, in place of whatever lay there.
    Append { path: PathBuf, length: u64, bytes: Vec<u8> },
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
    /// It fails with this `errno`, once.
    Errno(i32),
    /// It fails and so does every later one: the process is dead, as far as the disk can tell, but the test lives on.
    Dead,
    /// A read brings one byte of what was asked for. Other steps do not notice.
    Fewer,
    /// A read brings half of what was asked for, and the file ends there for whoever reads it. Other steps do not notice.
    EndsEarly,
}

/// How much of what was asked for a read brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brought {
    All,
    Fewer,
    Half,
}

/// A fault that waits for its step.
struct Armed {
    countdown: AtomicI64,
    errno: AtomicI64,
    hits: AtomicUsize,
}

const OFF: i64 = -1;
/// The errno that stands for a process that is dead from that step on: it fails, and so does every later one.
const DEAD: i64 = -1;
/// Stand for reads that bring less, which are no errors.
const FEWER: i64 = -2;
const ENDS_EARLY: i64 = -3;
static CHANGES: Armed = Armed::new();
static READS: Armed = Armed::new();
static UNREADABLE: Mutex<Vec<(String, i32)>> = Mutex::new(Vec::new());

impl Armed {
    const fn new() -> Armed {
        Armed {
            countdown: AtomicI64::new(OFF),
            errno: AtomicI64::new(0),
            hits: AtomicUsize::new(0),
        }
    }

    fn arm(&self, steps: u32, fault: Fault) {
        let errno = match fault {
            Fault::Abort => 0,
            Fault::Errno(it) => it.into(),
            Fault::Dead => DEAD,
            Fault::Fewer => FEWER,
            Fault::EndsEarly => ENDS_EARLY,
        };
        self.errno.store(errno, Ordering::SeqCst);
        self.hits.store(0, Ordering::SeqCst);
        self.countdown.store(steps.into(), Ordering::SeqCst);
    }

    fn disarm(&self) -> bool {
        self.countdown.store(OFF, Ordering::SeqCst);
        self.hits.swap(0, Ordering::SeqCst) > 0
    }

    fn meet(&self) -> io::Result<Brought> {
        if self.countdown.load(Ordering::Relaxed) == OFF {
            return Ok(Brought::All);
        }
        let errno = self.errno.load(Ordering::SeqCst);
        let left = self.countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| match it {
            OFF => None,
            0 if errno == DEAD => Some(0),
            more => Some(more - 1),
        });
        if left != Ok(0) {
            return Ok(Brought::All);
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        match errno {
            0 => std::process::abort(),
            FEWER => Ok(Brought::Fewer),
            ENDS_EARLY => Ok(Brought::Half),
            DEAD => Err(io::Error::other("this process is dead, says the test")),
            errno => Err(io::Error::from_raw_os_error(errno as i32)),
        }
    }
}

/// Lets `steps` steps that change the disk pass and then meets the next one with `fault`, in this process.
pub fn fail_after(steps: u32, fault: Fault) {
    CHANGES.arm(steps, fault);
}

/// The same for steps that only read: opening, reading, listing.
pub fn fail_reads_after(steps: u32, fault: Fault) {
    READS.arm(steps, fault);
}

/// From now on files whose path has `part` in it cannot be read, with this `errno`.
pub fn unreadable(part: &str, errno: i32) {
    UNREADABLE.lock().unwrap_or_else(|it| it.into_inner()).push((part.to_owned(), errno));
}

/// Takes every fault back, and says whether one that was counted down was met.
pub fn disarm() -> bool {
    UNREADABLE.lock().unwrap_or_else(|it| it.into_inner()).clear();
    let (changes, reads) = (CHANGES.disarm(), READS.disarm());
    changes || reads
}

pub(crate) fn fault() -> io::Result<()> {
    CHANGES.meet().map(|_| ())
}

pub(crate) fn read_fault(path: Option<&Path>) -> io::Result<Brought> {
    let unreadable = UNREADABLE.lock().unwrap_or_else(|it| it.into_inner());
    let path = path.map(Path::to_string_lossy).unwrap_or_default();
    if let Some((_, errno)) = unreadable.iter().find(|it| path.contains(&it.0)) {
        return Err(io::Error::from_raw_os_error(*errno));
    }
    READS.meet()
}
