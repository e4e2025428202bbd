//! The leash: a small process between the engine and Claude that outlives neither.
//!
//! In order: it takes the session's lock (ending whoever held it), becomes the reaper of everything below it, starts
//! Claude confined and with the descriptors it was given, and then waits. When Claude ends, when its owner's pipe closes,
//! or when it is told to (SIGTERM), it ends every descendant, first politely, and leaves with Claude's exit code. SIGINT
//! goes on to Claude alone. It reads nothing of what is said. What it has to say itself goes through a pipe that Claude
//! never had, since on stderr anybody below could say the same.
//!
//! No thread but the main one, so that "when my parent dies" means the leash and not one of its threads.

mod confine;
pub(crate) mod descendants;
mod end;
mod errand;
pub(crate) mod folders;
mod promises;
mod session;
mod syscalls;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid};

use self::confine::Grants;
use self::end::{Pen, reap};
use crate::config::Landlock;

pub use errand::{BadErrand, Errand};
pub use promises::{Promise, missing_promises};
pub use session::LEASH_MARK;

/// Exit code: the session is held by somebody who could not be ended.
pub const EXIT_HELD: i32 = 75;
/// Exit code: Claude could not be started.
pub const EXIT_NOT_STARTED: i32 = 78;

/// How a report to the owner begins that says why there is no Claude.
pub(crate) const REFUSES: &str = "refuses: ";
/// How a report to the owner begins that says what this kernel cannot promise.
pub(crate) const WARNS: &str = "warns: ";

/// The leash's `main`: returns the exit code.
pub fn run(args: impl Iterator<Item = std::ffi::OsString>) -> i32 {
    let mut args = args.skip(1).peekable();
    let inner = args.next_if(|it| it == "--inner").and_then(|_| args.next());
    let errand = match Errand::parse(args) {
        Ok(it) => it,
        Err(err) => return complain(EXIT_NOT_STARTED, &err),
    };
    let report = match Report::open(&errand) {
        Ok(it) => it,
        Err(err) => return complain(EXIT_NOT_STARTED, &err),
    };
    match inner {
        Some(parent) => become_claude(&errand, &parent.to_string_lossy(), report),
        None => hold(&errand, report),
    }
}

/// The pipe to the owner.
struct Report(File);

impl Report {
    /// Opens it anew, so that it is closed on exec.
    fn open(errand: &Errand) -> io::Result<Report> {
        Ok(Report(folders::reopen(errand.report, OFlag::O_WRONLY)?.into()))
    }

    fn say(&mut self, kind: &str, text: &str) {
        // Nobody may be left to read it.
        let _ = writeln!(self.0, "{kind}{}", text.replace('\n', " "));
    }

    /// Says why there is no Claude, to the owner and to whoever reads stderr.
    fn refuse(&mut self, code: i32, err: &dyn std::error::Error) -> i32 {
        self.say(REFUSES, &in_words(err));
        complain(code, err)
    }
}

pub(crate) fn in_words(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(it) = source {
        text = format!("{text}: {it}");
        source = it.source();
    }
    text
}

pub(crate) fn complain(code: i32, err: &dyn std::error::Error) -> i32 {
    let _ = writeln!(io::stderr(), "tinyclaw-leash: {}", in_words(err));
    code
}

/// The second stage: dies with the leash, confines itself, and turns into Claude.
fn become_claude(errand: &Errand, parent: &str, mut report: Report) -> i32 {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    if getppid().to_string() != parent {
        // The leash died before its death could be noticed.
        return EXIT_NOT_STARTED;
    }
    let grants = match Grants::open(errand) {
        Ok(it) => it,
        Err(err) => return report.refuse(EXIT_NOT_STARTED, &err),
    };
    let ready = (|| -> io::Result<()> {
        // The leash waits for its signals, and whoever it starts would have them blocked as well.
        SigSet::empty().thread_set_mask()?;
        nix::unistd::fchdir(grants.cwd())?;
        // Away from the operator's terminal: there nobody can type into his shell.
        nix::unistd::setsid()?;
        close_inherited()
    })();
    if let Err(err) = ready {
        return report.refuse(EXIT_NOT_STARTED, &err);
    }
    match confine::confine(errand, &grants) {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => report.say(WARNS, &format!("this kernel {}", Promise::told(&missing))),
        Err(err) => return report.refuse(EXIT_NOT_STARTED, &err),
    }
    if errand.landlock != Landlock::Off
        && let Err(err) = syscalls::refuse_intrusion()
    {
        return report.refuse(EXIT_NOT_STARTED, &err);
    }
    #[expect(clippy::disallowed_methods, reason = "the leash turns into Claude here")]
    let err = Command::new(&errand.program).args(&errand.args).exec();
    let program = errand.program.display();
    let err = io::Error::other(format!("cannot start {program}: {err}"));
    report.refuse(EXIT_NOT_STARTED, &err)
}

/// Closes every descriptor that would be inherited, but the first three.
pub(crate) fn close_inherited() -> io::Result<()> {
    let numbers: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|it| it.file_name().to_str()?.parse().ok())
        .filter(|it| *it > 2)
        .collect();
    for number in numbers {
        // What we opened ourselves, the grants and the report, is closed on exec and is still needed.
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}"));
        if about.is_ok_and(|it| !closes_on_exec(&it)) {
            nix::unistd::close(number)?;
        }
    }
    Ok(())
}

/// Whether the kernel's description of a descriptor has the flag, `O_CLOEXEC` in octal.
fn closes_on_exec(about: &str) -> bool {
    let flags = about.lines().find_map(|it| it.strip_prefix("flags:"));
    let flags = flags.and_then(|it| u64::from_str_radix(it.trim(), 8).ok());
    flags.is_some_and(|it| it & nix::libc::O_CLOEXEC as u64 != 0)
}

fn hold(errand: &Errand, mut report: Report) -> i32 {
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
        Err(err) => return report.refuse(EXIT_NOT_STARTED, &err),
    };
    let has_owner = || !is_closed(alive.as_fd());
    let session = match session::take(&errand.lock, has_owner) {
        Ok(it) => it,
        Err(err) => return report.refuse(EXIT_HELD, &err),
    };
    // After the session was taken: for that, a leash outside had to be signalled.
    let pen = Pen::enter(errand.landlock);
    let code = match start(errand) {
        Ok(claude) => {
            // The owner hears all there is when the stage that turns into Claude has closed its end, too.
            drop(report);
            let _ = nix::unistd::close(errand.report);
            watch(claude, alive.as_fd(), &signals)
        }
        Err(err) => report.refuse(EXIT_NOT_STARTED, &err),
    };
    pen.end_all(&signals);
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
    // Claude has the sockets now. Kept here they would hide its end from the engine.
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
                    if let Some(code) = reap(claude) {
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

fn is_closed(alive: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(alive, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
