//! A [`Volatile`] disk as a file that a loop device can lie on: one file system of the kernel's FUSE protocol, whose root is
//! that file.
//!
//! Its clients are the kernel and a loop device, and it answers what these ask; everything else is "not implemented". A read
//! and a write go past the page cache, so that the disk knows of everything that the file system above believes to be
//! written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::volatile::Volatile;

/// So long a file system has to let go of the file.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that is written or read at once, and the room for the head of a request.
const WRITE_BYTES_MAX: u32 = 1 << 20;
const HEAD_BYTES: usize = 4096;
const PAGE_BYTES: u32 = 4096;
/// Without these the kernel asks for less at a time.
const ASYNC_READ: u32 = 1;
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;
/// Past the page cache.
const DIRECT_IO: u32 = 1;
/// A regular file, for its owner.
const MODE: u32 = 0o100_600;

/// The disk, being served.
pub(crate) struct Served {
    state: Arc<Shared>,
    at: PathBuf,
    server: Option<JoinHandle<io::Result<()>>>,
}

/// What the server and whoever plays the power share.
type Shared = (Mutex<State>, Condvar);

struct State {
    disk: Volatile,
    /// Nobody is answered.
    is_frozen: bool,
}

impl Served {
    /// Serves the disk as the file `at`, which is there and empty.
    pub(crate) fn start(disk: Volatile, at: &Path) -> io::Result<Served> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode={MODE:o},user_id=0,group_id=0", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tinyclaw-power"), at, Some("fuse"), flags, Some(options.as_str()))?;
        let state = State { disk, is_frozen: false };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = state.clone();
        let server = std::thread::spawn(move || serve(device, &shared));
        Ok(Served { state, at: at.to_owned(), server: Some(server) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes: nothing that is not sure by now becomes sure, and nobody hears back.
    pub(crate) fn freeze(&self) {
        let mut state = self.state();
        state.is_frozen = true;
        state.disk.stop();
    }

    /// [`Served::freeze`] by itself, within so many writes and flushes.
    pub(crate) fn freeze_after(&self, left: u64) {
        self.state().disk.stop_after(left);
    }

    /// Whether the power is gone.
    pub(crate) fn is_frozen(&self) -> bool {
        self.state().is_frozen
    }

    /// Lets whoever waits for an answer go, so that it can be ended and the file system be unmounted.
    pub(crate) fn thaw(&self) {
        self.state().is_frozen = false;
        self.state.1.notify_all();
    }

    /// Takes the file away, once nothing lies on it any more, and gives the disk.
    pub(crate) fn end(mut self) -> io::Result<Volatile> {
        // A loop device lets go a moment after its file system was unmounted.
        let until = Instant::now() + PATIENCE;
        while let Err(err) = umount2(&self.at, MntFlags::empty()) {
            if err != Errno::EBUSY || Instant::now() > until {
                return Err(err.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(server) = self.server.take() {
            server.join().map_err(|_| io::Error::other("the server fell over"))??;
        }
        let shared = self.state.clone();
        drop(self);
        let state = Arc::into_inner(shared);
        let state = state.ok_or_else(|| io::Error::other("the server still runs"))?;
        Ok(state.0.into_inner().unwrap_or_else(PoisonError::into_inner).disk)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.thaw();
            let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        }
    }
}

/// Numbers of a request, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&mut self) -> u32 {
        let (it, rest) = self.0.split_first_chunk().expect("the kernel sends whole requests");
        self.0 = rest;
        u32::from_ne_bytes(*it)
    }

    fn u64(&mut self) -> u64 {
        let (it, rest) = self.0.split_first_chunk().expect("the kernel sends whole requests");
        self.0 = rest;
        u64::from_ne_bytes(*it)
    }
}

/// Numbers of an answer.
#[derive(Default)]
struct Answer(Vec<u8>);

impl Answer {
    fn u16(mut self, it: u16) -> Answer {
        self.0.extend(it.to_ne_bytes());
        self
    }

    fn u32(mut self, it: u32) -> Answer {
        self.0.extend(it.to_ne_bytes());
        self
    }

    fn u64(mut self, it: u64) -> Answer {
        self.0.extend(it.to_ne_bytes());
        self
    }

    fn zeros(mut self, count: usize) -> Answer {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

fn serve(mut device: File, shared: &Shared) -> io::Result<()> {
    let mut request = vec![0; WRITE_BYTES_MAX as usize + HEAD_BYTES];
    loop {
        let length = match device.read(&mut request) {
            Ok(length) => length,
            Err(err) => match err.raw_os_error().map(Errno::from_raw) {
                // Unmounted.
                Some(Errno::ENODEV) => return Ok(()),
                // A request that was taken back before it was read.
                Some(Errno::EINTR | Errno::ENOENT | Errno::EAGAIN) => continue,
                _ => return Err(err),
            },
        };
        let mut fields = Fields(&request[..length]);
        let (_, operation, unique) = (fields.u32(), fields.u32(), fields.u64());
        // Node, user, group, process, and padding.
        fields.0 = &fields.0[24..];
        let Some(answer) = answer(operation, fields, shared) else { continue };
        let (error, body) = match answer {
            Ok(it) => (0, it.0),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        let head = Answer::default().u32(16 + body.len() as u32).u32(error as u32).u64(unique);
        match device.write_all(&[head.0, body].concat()) {
            // Whoever asked is gone.
            Err(err) if err.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            other => other?,
        }
    }
}

/// What is answered; `None` where nothing is expected.
fn answer(
    operation: u32,
    mut fields: Fields<'_>,
    shared: &Shared,
) -> Option<Result<Answer, Errno>> {
    let mut state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    state = wait(state, shared);
    let was_over = state.disk.is_over();
    let disk = &mut state.disk;
    let answer = Some(match operation {
        FORGET | INTERRUPT | BATCH_FORGET => return None,
        INIT => {
            let (major, minor) = (fields.u32(), fields.u32());
            let (readahead, flags) = (fields.u32(), fields.u32());
            let wanted = flags & (ASYNC_READ | BIG_WRITES | MAX_PAGES);
            let begun = Answer::default().u32(major).u32(minor.min(31)).u32(readahead).u32(wanted);
            // How many at once, and from how many on it is crowded; the grain of times is a nanosecond.
            let limits = begun.u16(16).u16(12).u32(WRITE_BYTES_MAX).u32(1);
            Ok(limits.u16((WRITE_BYTES_MAX / PAGE_BYTES) as u16).u16(0).zeros(32))
        }
        GETATTR | SETATTR => {
            let bytes = disk.bytes();
            // Good for a second.
            let begun = Answer::default().u64(1).u32(0).u32(0);
            let sizes = begun.u64(1).u64(bytes).u64(bytes / 512).zeros(24).zeros(12);
            Ok(sizes.u32(MODE).u32(1).u32(0).u32(0).u32(0).u32(PAGE_BYTES).u32(0))
        }
        OPEN => Ok(Answer::default().u64(1).u32(DIRECT_IO).u32(0)),
        READ => {
            let (_, offset, length) = (fields.u64(), fields.u64(), fields.u32());
            disk.read(offset, length as usize).map(Answer).map_err(errno_of)
        }
        WRITE => {
            let (_, offset, length) = (fields.u64(), fields.u64(), fields.u32());
            // Flags, the owner of a lock, flags, padding.
            let bytes = &fields.0[20..][..length as usize];
            let written = disk.write(offset, bytes);
            written.map(|()| Answer::default().u32(length).u32(0)).map_err(errno_of)
        }
        FSYNC => disk.flush().map(|()| Answer::default()).map_err(errno_of),
        FLUSH | RELEASE | DESTROY => Ok(Answer::default()),
        STATFS => {
            Ok(Answer::default().zeros(40).u32(PAGE_BYTES).u32(255).u32(PAGE_BYTES).zeros(28))
        }
        FALLOCATE => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::ENOSYS),
    });
    // Not even the one who was being served hears back.
    state.is_frozen |= !was_over && state.disk.is_over();
    drop(wait(state, shared));
    answer
}

fn wait<'a>(state: MutexGuard<'a, State>, shared: &'a Shared) -> MutexGuard<'a, State> {
    let waited = shared.1.wait_while(state, |it| it.is_frozen);
    waited.unwrap_or_else(PoisonError::into_inner)
}

fn errno_of(err: io::Error) -> Errno {
    err.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

// Numbers of the protocol.
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;
