//! `rest`: the first process of a container. It does nothing but wait for its end, and take in what others leave behind.
//!
//! It starts nothing and reads nothing. Whatever else runs in the container ends with it.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::leash;

/// Its `main`.
pub(super) fn run() -> i32 {
    let mut awaited = SigSet::empty();
    for it in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        awaited.add(it);
    }
    // Blocked, so that none is lost between two waits. As the first process it hears no others.
    if let Err(err) = awaited.thread_block() {
        return leash::complain(leash::EXIT_NOT_STARTED, &io::Error::from(err));
    }
    loop {
        match awaited.wait() {
            Ok(Signal::SIGCHLD) => take_in(),
            Ok(_) => return 0,
            Err(Errno::EINTR) => {}
            Err(err) => return leash::complain(1, &io::Error::from(err)),
        }
    }
}

/// All that have ended by now: several ends may be one signal.
fn take_in() {
    while let Ok(ended) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if ended == WaitStatus::StillAlive {
            return;
        }
    }
}
