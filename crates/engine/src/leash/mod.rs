//! The leash: a small process between the engine and Claude that outlives neither.
//!
//! In order: it takes the session's lock (ending whoever held it), becomes the reaper of everything below it, starts
//! Claude confined and with the pipes it was given, and then waits. When Claude ends, when its owner's pipe closes, or
//! when it is told to (SIGTERM), it ends every descendant, first politely, and leaves with Claude's exit code. SIGINT
//! goes on to Claude alone. It reads nothing of what is said and writes nothing but its own complaints to stderr.
//!
//! No thread but the main one, so that "when my parent dies" means the leash and not one of its threads.

mod confine;
mod descendants;
mod errand;
mod session;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getppid};

pub use confine::kernel_confines;
pub use errand::{BadErrand, Errand};
pub use session::LEASH_MARK;

/// Exit code: the session is held by somebody who could not be ended.
pub const EXIT_HELD: i32 = 75;
/// Exit code: Claude could not be started.
pub const EXIT_NOT_STARTED: i32 = 78;

/// What every line of the leash on stderr begins with.
pub const SAYS: &str = "tinyclaw-leash: ";
/// What the leash says when the kernel has no Landlock.
pub const UNCONFINED: &str = "this kernel has no Landlock, claude runs unconfined";

/// How long descendants get to leave by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// The leash's `main`: returns the exit code.
pub fn run(args: impl Iterator<Item = std::ffi::OsString>) -> i32 {
    let mut args = args.skip(1).peekable();
    let inner = args.next_if(|it| it == "--inner").and_then(|_| args.next());
    let errand = match Errand::parse(args) {
        Ok(it) => it,
        Err(err) => return complain(EXIT_NOT_STARTED, &err),
    };
    match inner {
        Some(parent) => become_claude(&errand, &parent.to_string_lossy()),
        None => hold(&errand),
    }
}

fn complain(code: i32, err: &dyn std::error::Error) -> i32 {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(it) = source {
        text = format!("{text}: {it}");
        source = it.source();
    }
    say(&text);
    code
}

fn say(text: &str) {
    // Nobody may be left to read it.
    let _ = writeln!(io::stderr(), "{SAYS}{text}");
}

/// The second stage: dies with the leash, confines itself, and turns into Claude.
fn become_claude(errand: &Errand, parent: &str) -> i32 {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    if getppid().to_string() != parent {
        // The leash died before its death could be noticed.
        return EXIT_NOT_STARTED;
    }
    match confine::confine(errand) {
        Ok(true) => {}
        Ok(false) => say(UNCONFINED),
        Err(err) => return complain(EXIT_NOT_STARTED, &err),
    }
    #[expect(clippy::disallowed_methods, reason = "the leash turns into Claude here")]
    let err = Command::new(&errand.program).args(&errand.args).exec();
    say(&format!("cannot start {}: {err}", errand.program.display()));
    EXIT_NOT_STARTED
}

fn hold(errand: &Errand) -> i32 {
    let ready = (|| -> io::Result<(File, SignalFd)> {
        // Opened anew, so that it is closed on exec; the number itself would be inherited by Claude.
        let alive = File::open(format!("/proc/self/fd/{}", errand.liveness))?;
        nix::unistd::close(errand.liveness)?;
        let mut mask = SigSet::empty();
        for it in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGCHLD] {
            mask.add(it);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        prctl::set_child_subreaper(true)?;
        Ok((alive, signals))
    })();
    let (alive, signals) = match ready {
        Ok(it) => it,
        Err(err) => return complain(EXIT_NOT_STARTED, &err),
    };
    let has_owner = || !is_closed(alive.as_fd());
    let session = match session::take(&errand.lock, has_owner) {
        Ok(it) => it,
        Err(err) => return complain(EXIT_HELD, &err),
    };
    let code = match start(errand) {
        Ok(claude) => watch(claude, alive.as_fd(), &signals),
        Err(err) => complain(EXIT_NOT_STARTED, &err),
    };
    end_all(&signals);
    session.release();
    code
}

fn start(errand: &Errand) -> io::Result<Pid> {
    #[expect(clippy::disallowed_methods, reason = "the leash starts its second stage")]
    let child = Command::new("/proc/self/exe")
        .arg("--inner")
        .arg(std::process::id().to_string())
        .args(errand.to_args())
        .env(LEASH_MARK, &errand.lock)
        .spawn()?;
    // Claude has the pipes now. Kept here they would hide its end from the engine.
    let nothing = File::options().read(true).write(true).open(Path::new("/dev/null"))?;
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Pid::from_raw(pid))
}

/// Waits for whatever comes first and returns the exit code that Claude has or would have had.
fn watch(claude: Pid, alive: BorrowedFd<'_>, signals: &SignalFd) -> i32 {
    loop {
        let mut fds = [
            PollFd::new(alive, PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return 128 + Signal::SIGTERM as i32,
        }
        let owner_left = fds[0].any().unwrap_or(false);
        while let Ok(Some(info)) = signals.read_signal() {
            match i32::try_from(info.ssi_signo).ok().and_then(|it| Signal::try_from(it).ok()) {
                Some(Signal::SIGCHLD) => {
                    if let Some(code) = reap(Some(claude)) {
                        return code;
                    }
                }
                Some(Signal::SIGINT) => {
                    let _ = kill(claude, Signal::SIGINT);
                }
                _ => return 128 + Signal::SIGTERM as i32,
            }
        }
        if owner_left {
            return 128 + Signal::SIGTERM as i32;
        }
    }
}

/// Buries every child that has ended; the exit code of `claude` if it is among them.
fn reap(claude: Option<Pid>) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, it)) if Some(pid) == claude => code = Some(it),
            Ok(WaitStatus::Signaled(pid, signal, _)) if Some(pid) == claude => {
                code = Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}

/// Ends every descendant and returns when none is left: as their reaper the leash would see any that is.
///
/// No limit of time: while something below it cannot be killed (it waits for a broken disk), the session stays locked.
fn end_all(signals: &SignalFd) {
    let me = Pid::this();
    let asked = Instant::now();
    let mut last: Option<Signal> = None;
    loop {
        let _ = reap(None);
        if waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD) {
            return;
        }
        let signal = if asked.elapsed() < GRACE { Signal::SIGTERM } else { Signal::SIGKILL };
        // Asked once, killed again and again: somebody may have forked in between.
        if signal == Signal::SIGKILL || last != Some(signal) {
            for pid in descendants::of(me) {
                let _ = kill(pid, signal);
            }
            last = Some(signal);
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::from(20_u8));
        while let Ok(Some(_)) = signals.read_signal() {}
    }
}

fn is_closed(alive: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(alive, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
