//! The warden itself: starts the office, does what it is asked, collects what ends.
//!
//! One thread and one loop. Nothing here waits for anybody: what takes time is done by a process of its own, and the answer
//! goes out when that is collected.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
use crate::inside::EXIT_STILL_THERE;
use crate::request::{Answer, DeskNumber, LENGTH, Outcome, Request, Wish};
use crate::rights::{become_office, is_root_with_needed, keep_needed, program};
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
    let office = prepare(office)?;
    let (ours, theirs) = pair()?;
    let mut warden = settle(&office.desks, office.hub, ours)?;
    inherit(&theirs)?;
    let mut command = again("office");
    command.arg(office.user.to_string()).arg(&office.program).args(&office.args);
    let child = command.env(VARIABLE, theirs.as_raw_fd().to_string()).spawn()?;
    drop(theirs);
    say(&format!("every desk is a user of its own; the office is user {}", office.user));
    warden.office = Some(Pid::from_raw(child.id().cast_signed()));
    warden.keep()
}

/// The warden where somebody else watches the office's process, as systemd does: this process turns into the office, and the
/// warden is a child of it, which leaves when the office is gone. Returns only when that cannot be.
///
/// So whoever started this hears the office itself, and need not believe any process that is not the one it started.
pub fn run_beside(office: OfficeProgram) -> io::Result<Infallible> {
    let office = prepare(office)?;
    let (ours, theirs) = pair()?;
    let mut warden = again("warden");
    warden.arg(&office.desks).arg(&office.hub).env_clear().current_dir("/");
    warden.stdin(Stdio::from(ours)).stdout(Stdio::null()).process_group(0).spawn()?;
    say(&format!("every desk is a user of its own; the office is user {}", office.user));
    become_office(office.user)?;
    // Not before: the warden would have both ends, and never hear that the office is gone.
    inherit(&theirs)?;
    let mut command = program(office.program, &office.args);
    Err(command.env(VARIABLE, theirs.as_raw_fd().to_string()).exec())
}

/// The rest of [`run_beside`], in the child: the socket is its stdin.
pub(crate) fn watch(desks: &Path, hub: PathBuf) -> io::Result<i32> {
    // Kept by whoever started it; asked for again, so that nobody makes a warden with more.
    keep_needed()?;
    settle(desks, hub, io::stdin().as_fd().try_clone_to_owned()?)?.keep()
}

/// Gives up what is not needed, and looks whether the rest is there; not started as root it turns into the office.
fn prepare(office: OfficeProgram) -> io::Result<OfficeProgram> {
    if !is_root_with_needed()? {
        say("all desks are one user: not started as root");
        return Err(program(office.program, &office.args).env_remove(VARIABLE).exec());
    }
    keep_needed()?;
    umask(Mode::from_bits_truncate(0o077));
    Folders::open(&office.desks)?.make_of_office(office.user)?;
    Ok(office)
}

/// Makes this process the one that keeps, and opens what it keeps.
fn settle(desks: &Path, hub: PathBuf, socket: OwnedFd) -> io::Result<Warden> {
    prctl::set_dumpable(false)?;
    // Outside a container somebody else is PID 1; what hubs leave behind comes to us all the same.
    prctl::set_child_subreaper(true)?;
    umask(Mode::from_bits_truncate(0o077));
    let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let (folders, socket) = (Folders::open(desks)?, Some(socket));
    Ok(Warden { folders, signals, hub, office: None, socket, hands: BTreeMap::new() })
}

/// The warden's end and the office's.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(socketpair(family, kind, SocketFlags::CLOEXEC, None)?)
}

/// Whoever is started from now on has this, too: the office, and nobody after it.
fn inherit(socket: &OwnedFd) -> io::Result<()> {
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// This program again, to become somebody.
fn again(word: &str) -> Command {
    program("/proc/self/exe", &[word.into()])
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "tinyclaw-warden: {text}");
}

struct Warden {
    folders: Folders,
    signals: SignalFd,
    hub: PathBuf,
    /// `None`: it is no child of ours, and is gone when the socket is.
    office: Option<Pid>,
    /// `None`: the office closed its end.
    socket: Option<OwnedFd>,
    /// Processes that end or remove a desk.
    hands: BTreeMap<Pid, Request>,
}

impl Warden {
    fn keep(mut self) -> io::Result<i32> {
        loop {
            let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.socket.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(err) => return Err(err.into()),
            }
            let is_asked = fds.get(1).is_some_and(|it| it.any().unwrap_or(false));
            drop(fds);
            while let Ok(Some(info)) = self.signals.read_signal() {
                let signal = i32::try_from(info.ssi_signo).ok();
                match signal.and_then(|it| Signal::try_from(it).ok()) {
                    Some(Signal::SIGCHLD) | None => {}
                    // Gone already is as good; it is collected in a moment.
                    Some(signal) => drop(self.office.map(|it| kill(it, signal))),
                }
            }
            if let Some(code) = self.collect() {
                return Ok(code);
            }
            if is_asked {
                self.hear();
            }
            if self.office.is_none() && self.socket.is_none() {
                return Ok(0);
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
            if Some(pid) == self.office {
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
                let started = stream.map(|it| done(self.start_hub(desk, it)));
                return Some(started.unwrap_or(Outcome::WrongDescriptors));
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
            Err(err) => Some(done(Err(err))),
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

/// With the kernel's number for why not.
fn done(result: Result<(), impl Into<io::Error>>) -> Outcome {
    let failed = |err: io::Error| Outcome::Failed(err.raw_os_error().unwrap_or(0));
    result.map_or_else(|err| failed(err.into()), |()| Outcome::Done)
}
