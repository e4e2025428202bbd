//! The warden itself: starts the office, does what it is asked, collects what ends.
//!
//! One thread and one loop. Nothing here waits for anybody: what takes time is done by a process of its own, and the answer
//! goes out when that is collected.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};

use crate::VARIABLE;
use crate::folders::Folders;
use crate::request::{Answer, DeskNumber, LENGTH, Outcome, Request, Wish};
use crate::rights::Rights;
use crate::seats::EXIT_STILL_THERE;
use crate::socket::{receive, reply};

/// So many desks are ended or removed at once.
const HANDS_MAX: usize = 32;

/// What the warden watches over.
#[derive(Debug)]
pub struct OfficeProgram {
    /// The folder that has one of each desk.
    pub desks: PathBuf,
    /// What a desk's hub is.
    pub hub: PathBuf,
    /// The user that the office runs as.
    pub user: u32,
    /// The office.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// The warden's `main`: returns the office's exit code, when that has ended. What runs at desks is left alone then: a run
/// has a lease.
///
/// Not started as root it turns into the office, and says that all desks are one user.
pub fn run(office: OfficeProgram) -> io::Result<i32> {
    match Rights::look()? {
        Rights::All => {}
        Rights::Without(missing) => {
            return Err(io::Error::other(format!(
                "root without {}: give it all four capabilities, or start it as the office's user",
                missing.join(", ")
            )));
        }
        Rights::OneUser => {
            say("all desks are one user: not started as root");
            #[expect(clippy::disallowed_methods, reason = "the warden turns into the office")]
            return Err(Command::new(office.program).args(office.args).env_remove(VARIABLE).exec());
        }
    }
    Rights::keep_needed()?;
    prctl::set_dumpable(false)?;
    // Outside a container somebody else is PID 1; what hubs leave behind comes to us all the same.
    prctl::set_child_subreaper(true)?;
    umask(Mode::from_bits_truncate(0o077));
    let folders = Folders::open(&office.desks)?;
    folders.make_of_office(office.user)?;
    let mut mask = SigSet::empty();
    for it in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD] {
        mask.add(it);
    }
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(kind.0, kind.1, kind.2, None)?;
    // The office inherits its end, and nobody else whom we start: it is closed right after.
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut command = again("office");
    command.arg(office.user.to_string()).arg(&office.program).args(&office.args);
    let child = command.env(VARIABLE, theirs.as_raw_fd().to_string()).spawn()?;
    drop(theirs);
    say(&format!("every desk is a user of its own; the office is user {}", office.user));
    let office_pid = Pid::from_raw(child.id().cast_signed());
    let warden = Warden {
        folders,
        hub: office.hub,
        office: office_pid,
        socket: Some(ours),
        hands: BTreeMap::new(),
    };
    warden.keep(&signals)
}

/// This program again, to become somebody.
fn again(word: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "starting others is what the warden is for")]
    let mut command = Command::new("/proc/self/exe");
    command.arg(word);
    command
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "tinyclaw-warden: {text}");
}

struct Warden {
    folders: Folders,
    hub: PathBuf,
    office: Pid,
    /// `None`: the office closed its end.
    socket: Option<OwnedFd>,
    /// Processes that end or remove a desk.
    hands: BTreeMap<Pid, Request>,
}

impl Warden {
    fn keep(mut self, signals: &SignalFd) -> io::Result<i32> {
        loop {
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.socket.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(err) => return Err(err.into()),
            }
            let is_asked = fds.get(1).is_some_and(|it| it.any().unwrap_or(false));
            drop(fds);
            while let Ok(Some(info)) = signals.read_signal() {
                let signal = i32::try_from(info.ssi_signo).ok();
                match signal.and_then(|it| Signal::try_from(it).ok()) {
                    Some(Signal::SIGCHLD) | None => {}
                    // Gone already is as good; it is collected in a moment.
                    Some(signal) => drop(kill(self.office, signal)),
                }
            }
            if let Some(code) = self.collect() {
                return Ok(code);
            }
            if is_asked {
                self.hear();
            }
        }
    }

    /// Everybody who has ended, also those that were somebody else's. The office's exit code, if it is among them.
    fn collect(&mut self) -> Option<i32> {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            if pid == self.office {
                return Some(code);
            }
            if let Some(request) = self.hands.remove(&pid) {
                let outcome = self.finished(request, code);
                self.answer(outcome, request.tag);
            }
        }
    }

    fn finished(&self, request: Request, code: i32) -> Outcome {
        match code {
            0 if request.wish == Wish::Remove => done(self.folders.remove(request.desk)),
            0 => Outcome::Done,
            EXIT_STILL_THERE => Outcome::StillThere,
            _ => Outcome::Failed(0),
        }
    }

    /// What the office has asked by now.
    fn hear(&mut self) {
        while let Some(socket) = &self.socket {
            // One byte more than a request has, so that a longer one is no request.
            let mut bytes = [0; LENGTH + 1];
            let (length, descriptors) =
                match receive(socket.as_fd(), &mut bytes, RecvFlags::DONTWAIT) {
                    Ok(it) => it,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(rustix::io::Errno::AGAIN) => return,
                    Err(_) => (0, Vec::new()),
                };
            if length == 0 {
                self.socket = None;
                return;
            }
            let Ok(request) = Request::parse(&bytes[..length]) else {
                self.answer(Outcome::NoRequest, 0);
                continue;
            };
            if let Some(outcome) = self.begin(request, descriptors) {
                self.answer(outcome, request.tag);
            }
        }
    }

    /// Does it, or has it done: then the answer comes later.
    fn begin(&mut self, request: Request, mut descriptors: Vec<OwnedFd>) -> Option<Outcome> {
        let is_hub = request.wish == Wish::StartHub;
        if descriptors.len() != usize::from(is_hub) {
            return Some(Outcome::WrongDescriptors);
        }
        let is_at_work = self.hands.values().any(|it| it.desk == request.desk);
        if is_at_work || self.hands.len() >= HANDS_MAX {
            return Some(Outcome::Busy);
        }
        let desk = request.desk;
        let mut hand = match request.wish {
            Wish::Make => return Some(done(self.folders.make(desk))),
            Wish::StartHub => {
                let stream = descriptors.pop().filter(is_stream_socket);
                return Some(match stream.map(|it| self.start_hub(desk, it)) {
                    None => Outcome::WrongDescriptors,
                    Some(Ok(())) => Outcome::Done,
                    Some(Err(err)) => failed(&err),
                });
            }
            Wish::End => again("end"),
            Wish::Remove => again("remove"),
        };
        hand.arg(desk.to_string());
        if request.wish == Wish::Remove {
            hand.arg(self.folders.of(desk));
        }
        hand.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        match hand.spawn() {
            Ok(child) => {
                self.hands.insert(Pid::from_raw(child.id().cast_signed()), request);
                None
            }
            Err(err) => Some(failed(&err)),
        }
    }

    fn start_hub(&self, desk: DeskNumber, stream: OwnedFd) -> io::Result<()> {
        let mut command = again("hub");
        command.arg(desk.to_string()).arg(self.folders.of(desk)).arg(&self.hub);
        // Collected with all others.
        command
            .env_clear()
            .current_dir("/")
            .stdout(Stdio::from(stream.try_clone()?))
            .stdin(Stdio::from(stream))
            .process_group(0)
            .spawn()
            .map(drop)
    }

    fn answer(&mut self, outcome: Outcome, tag: u32) {
        let Some(socket) = &self.socket else { return };
        if let Err(err) = reply(socket.as_fd(), Answer { outcome, tag }) {
            say(&format!("the office does not listen: {err}"));
        }
    }
}

fn is_stream_socket(fd: &OwnedFd) -> bool {
    socket_domain(fd).is_ok_and(|it| it == AddressFamily::UNIX)
        && socket_type(fd).is_ok_and(|it| it == SocketType::STREAM)
}

fn done(result: nix::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(err) => Outcome::Failed(err as i32),
    }
}

fn failed(err: &io::Error) -> Outcome {
    Outcome::Failed(err.raw_os_error().unwrap_or(0))
}
