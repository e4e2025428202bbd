//! The end of everything below a leash, however fast it multiplies.
//!
//! Landlock's scope for signals makes a pen of the leash and all below it: none of them can signal anything outside. So
//! the one call that signals "everybody" reaches the pen and nothing else, and the kernel makes it in one step, in which
//! nobody can fork. Where the kernel has no such scope, descendants are looked up and killed again and again, which is
//! slower against those that fork all the time.

use std::time::{Duration, Instant};

use landlock::{CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::AsFd;

use super::descendants;
use crate::config::Landlock;

/// How long descendants get to leave by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// After they were asked to leave so many ended and were replaced by others: that they multiply is their answer.
const REPLACED_MAX: usize = 256;

/// What keeps signals of the leash, and of all below it, among themselves.
#[derive(Debug)]
pub(super) struct Pen {
    is_closed: bool,
}

impl Pen {
    /// Closes the pen around this process, if it may and the kernel can.
    pub(super) fn enter(landlock: Landlock) -> Pen {
        if landlock == Landlock::Off {
            return Pen { is_closed: false };
        }
        let asked = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let entered = asked.scope(Scope::Signal).and_then(Ruleset::create);
        let entered = entered.and_then(landlock::RulesetCreated::restrict_self);
        // Only what is certain counts: "everybody" would be the whole office otherwise.
        Pen { is_closed: entered.is_ok_and(|it| it.ruleset == RulesetStatus::FullyEnforced) }
    }

    /// Ends every descendant and returns when none is left: as their reaper the leash would see any that is.
    ///
    /// No limit of time: while something below it cannot be killed (it waits for a broken disk), the session stays
    /// locked.
    pub(super) fn end_all(&self, signals: &SignalFd) {
        let asked = Instant::now();
        let mut last: Option<Signal> = None;
        let mut replaced = 0;
        loop {
            replaced += bury();
            if waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD) {
                return;
            }
            let has_time = asked.elapsed() < GRACE && replaced <= REPLACED_MAX;
            let signal = if has_time { Signal::SIGTERM } else { Signal::SIGKILL };
            // Asked once, killed again and again: somebody may have forked in between.
            if signal == Signal::SIGKILL || last != Some(signal) {
                self.signal(signal);
                last = Some(signal);
            }
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::from(20_u8));
            while let Ok(Some(_)) = signals.read_signal() {}
        }
    }

    fn signal(&self, signal: Signal) {
        if self.is_closed {
            let _ = kill(Pid::from_raw(-1), signal);
            return;
        }
        for pid in descendants::of(Pid::this()) {
            let _ = kill(pid, signal);
        }
    }
}

/// Buries every child that has ended; how many there were.
fn bury() -> usize {
    let mut count = 0;
    while let Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) =
        waitpid(None, Some(WaitPidFlag::WNOHANG))
    {
        count += 1;
    }
    count
}

/// Buries every child that has ended; the exit code of `claude` if it is among them.
pub(super) fn reap(claude: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, it)) if pid == claude => code = Some(it),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == claude => {
                code = Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}
