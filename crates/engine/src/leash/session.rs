//! The session's lock: one leash holds it, and says in it who it is.
//!
//! A leash that finds it held ends the holder, since its own owner is the one that came last. A holder that was killed
//! could not clean up: its lock is free, but its name still stands there, and what it left behind is found by the mark
//! that every descendant carries in its environment.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tinyclaw_disk::{Lock, LockError};

use super::descendants;

/// The environment variable that marks everything below a leash with the path of its lock.
pub const LEASH_MARK: &str = "TINYCLAW_LEASH";

/// How long a holder has to leave after it was told to. Its own descendants get two seconds of these.
const LEAVE: Duration = Duration::from_secs(8);
/// How long it is waited for in all.
const WAIT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);

/// The held lock.
#[derive(Debug)]
pub(super) struct Session(Lock);

impl Session {
    /// Says that everything below was ended, and frees the lock by the end of the process.
    pub(super) fn release(&self) {
        let _ = self.0.leave_note("");
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("the session {} is held by {holder}, which does not leave", path.display())]
    Held { path: PathBuf, holder: String },
    #[error("the owner left before the session was free")]
    NoOwner,
    #[error("cannot tell when this process started")]
    Started(#[source] io::Error),
}

/// Takes the lock, ending whoever holds it and whatever a dead holder left behind.
pub(super) fn take(path: &Path, has_owner: impl Fn() -> bool) -> Result<Session, SessionError> {
    let begun = Instant::now();
    let mut told: Option<(Holder, Instant)> = None;
    let lock = loop {
        if let Some(lock) = Lock::try_take(path)? {
            break lock;
        }
        let holder = Holder::read(path);
        match (&told, holder) {
            (Some((known, at)), Some(holder)) if *known == holder => {
                if at.elapsed() > LEAVE {
                    holder.signal(Signal::SIGKILL);
                }
            }
            (_, Some(holder)) => {
                holder.signal(Signal::SIGTERM);
                told = Some((holder, Instant::now()));
            }
            // Taken a moment ago and not signed yet, or of another PID namespace.
            (_, None) => {}
        }
        if !has_owner() {
            return Err(SessionError::NoOwner);
        }
        if begun.elapsed() > WAIT {
            let holder = told
                .map_or_else(|| "somebody unknown".to_owned(), |it| format!("pid {}", it.0.pid));
            return Err(SessionError::Held { path: path.to_owned(), holder });
        }
        std::thread::sleep(POLL);
    };
    if !lock.note()?.is_empty() {
        sweep(path);
    }
    let pid = std::process::id();
    let started = i32::try_from(pid)
        .ok()
        .and_then(descendants::started)
        .ok_or_else(|| SessionError::Started(io::Error::last_os_error()))?;
    lock.leave_note(&format!("pid {pid} started {started}"))?;
    Ok(Session(lock))
}

/// Kills what a leash that was killed itself left behind.
fn sweep(path: &Path) {
    let begun = Instant::now();
    loop {
        let left = descendants::marked(LEASH_MARK, path.as_os_str());
        if left.is_empty() || begun.elapsed() > WAIT {
            return;
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(POLL);
    }
}

/// Who a lock file says holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    pid: i32,
    started: u64,
}

impl Holder {
    fn read(path: &Path) -> Option<Holder> {
        Holder::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Holder> {
        let line = text.lines().next()?.strip_prefix("pid ")?;
        let (pid, started) = line.split_once(" started ")?;
        Some(Holder { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// Signals the process, unless its number belongs to another one by now.
    fn signal(self, signal: Signal) {
        if self.pid > 1 && descendants::started(self.pid) == Some(self.started) {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_names_a_process_or_nobody() {
        let named = Holder::parse("pid 12 started 345\n45\n");
        assert_eq!(named, Some(Holder { pid: 12, started: 345 }));
        assert_eq!(Holder::parse(""), None);
        assert_eq!(Holder::parse("pid x started 1\n"), None);
    }
}
