//! The office's end: asks the warden, and waits for its word.
//!
//! Many threads may ask at once; a tag says which answer is whose. When the warden is gone every question fails, also
//! those that wait.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

use crate::request::{
    Answer, BadRequest, DeskNumber, LENGTH, Outcome, Request, Wish, pack, unpack,
};
use crate::socket::receive;

/// The variable that says under which number the office has its end of the socket pair.
pub const VARIABLE: &str = "TINYCLAW_WARDEN";

/// A process of the office counts its questions from its number on, which has 22 bits.
const TAG_BITS: u32 = 10;

/// A wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no warden at the other end any more.
    #[error("the warden is gone")]
    Gone,
    /// It could not be asked.
    #[error("cannot ask the warden")]
    Ask(#[source] io::Error),
    /// It does something to this desk already.
    #[error("the warden is still at work on desk {0}")]
    Busy(DeskNumber),
    /// It would not do that.
    #[error("the warden refused what it was asked for desk {0}")]
    Refused(DeskNumber),
    /// Processes were killed again and again, and some are still there.
    #[error("processes of desk {0} cannot be ended")]
    StillThere(DeskNumber),
    /// It tried.
    #[error("the warden could not do what it was asked for desk {desk}")]
    Failed {
        /// The desk.
        desk: DeskNumber,
        /// Why.
        source: io::Error,
    },
}

/// A way to the warden. Clones share it.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    socket: Arc<OwnedFd>,
    waiting: Arc<Mutex<Waiting>>,
    gone: Arc<Condvar>,
    /// The thread that listens ends when this is closed. The socket is not shut down: whoever started this process keeps it
    /// for the one that comes after it.
    _stop: OwnedFd,
}

#[derive(Debug, Default)]
struct Waiting {
    last_tag: u32,
    /// `None`: the warden is gone.
    askers: Option<HashMap<u32, Sender<Outcome>>>,
}

impl Client {
    /// A client over the office's end of the socket pair.
    pub fn over(socket: OwnedFd) -> io::Result<Client> {
        let socket = Arc::new(socket);
        // Answers to an earlier process of the office may still come, and are nobody's.
        let last_tag = std::process::id() << TAG_BITS;
        let waiting = Waiting { last_tag, askers: Some(HashMap::new()) };
        let waiting = Arc::new(Mutex::new(waiting));
        let gone = Arc::new(Condvar::new());
        let (from, askers, over) = (socket.clone(), waiting.clone(), gone.clone());
        let (stopped, stop) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        std::thread::Builder::new().name("warden".to_owned()).spawn(move || {
            hear(&from, &stopped, &askers);
            over.notify_all();
        })?;
        Ok(Client(Arc::new(Inner { socket, waiting, gone, _stop: stop })))
    }

    /// Starts a hub as the desk's user, with this stream socket for its stdin and stdout. The desk's folder has to be there.
    pub fn start_hub(&self, desk: DeskNumber, stream: BorrowedFd<'_>) -> Result<(), AskError> {
        self.ask(Wish::StartHub, desk, &[stream.as_raw_fd()])
    }

    /// Ends every process of the desk; returns when none is left.
    pub fn end(&self, desk: DeskNumber) -> Result<(), AskError> {
        self.ask(Wish::End, desk, &[])
    }

    /// Makes the desk's folder, if it is not there.
    pub fn make(&self, desk: DeskNumber) -> Result<(), AskError> {
        self.ask(Wish::Make, desk, &[])
    }

    /// Ends every process of the desk, and removes its folder with all that is in it.
    pub fn remove(&self, desk: DeskNumber) -> Result<(), AskError> {
        self.ask(Wish::Remove, desk, &[])
    }

    /// Returns when there is no warden any more. Where it is PID 1 nobody is left to see that; elsewhere it may have been killed.
    pub fn wait_until_gone(&self) {
        let waiting = lock(&self.0.waiting);
        let has_warden = |it: &mut Waiting| it.askers.is_some();
        drop(self.0.gone.wait_while(waiting, has_warden));
    }

    fn ask(&self, wish: Wish, desk: DeskNumber, with: &[RawFd]) -> Result<(), AskError> {
        let (to, answer) = channel();
        let tag = {
            let mut waiting = lock(&self.0.waiting);
            // Never 0, which is nobody's.
            let tag = waiting.last_tag.checked_add(1).unwrap_or(1);
            waiting.last_tag = tag;
            waiting.askers.as_mut().ok_or(AskError::Gone)?.insert(tag, to);
            tag
        };
        let bytes = Request { wish, desk, tag }.to_bytes();
        let rights = [ControlMessage::ScmRights(with)];
        let rights = if with.is_empty() { &rights[..0] } else { &rights[..] };
        let sent = sendmsg::<()>(
            self.0.socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        if let Err(err) = sent {
            if let Some(askers) = &mut lock(&self.0.waiting).askers {
                askers.remove(&tag);
            }
            return Err(AskError::Ask(err.into()));
        }
        match answer.recv().map_err(|_| AskError::Gone)? {
            Outcome::Done => Ok(()),
            Outcome::NoRequest | Outcome::WrongDescriptors => Err(AskError::Refused(desk)),
            Outcome::Busy => Err(AskError::Busy(desk)),
            Outcome::StillThere => Err(AskError::StillThere(desk)),
            Outcome::Failed(errno) => {
                let source = io::Error::from_raw_os_error(errno);
                Err(AskError::Failed { desk, source })
            }
        }
    }
}

/// Passes answers on, until the warden or the client is gone.
fn hear(socket: &OwnedFd, stopped: &OwnedFd, waiting: &Mutex<Waiting>) {
    let mut bytes = [0; LENGTH + 1];
    loop {
        let mut both = [socket, stopped].map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN));
        match poll(&mut both, PollTimeout::NONE) {
            Ok(_) if both[1].any() == Some(false) => {}
            Err(Errno::EINTR) => continue,
            _ => break,
        }
        let length = match recv(socket, &mut bytes, RecvFlags::empty()) {
            Ok((_, 0)) => break,
            Ok((_, length)) => length,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break,
        };
        let Ok(answer) = Answer::parse(bytes.get(..length).unwrap_or_default()) else { continue };
        let asker = lock(waiting).askers.as_mut().and_then(|it| it.remove(&answer.tag));
        if let Some(asker) = asker {
            // Whoever asked may have gone.
            let _ = asker.send(answer.outcome);
        }
    }
    // With their senders gone those who wait hear that nobody answers.
    lock(waiting).askers = None;
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a descriptor that was inherited under this number, so that it is closed on exec from now on and whoever this
/// process starts does not have it.
///
/// The number is sent to ourselves: what arrives is a descriptor that the type system knows, and the number is closed.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let (to, from) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let rights = [ControlMessage::ScmRights(&[number])];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"1")], &rights, MsgFlags::empty(), None)?;
    let (_, mut descriptors) = receive(from.as_fd(), &mut [0; 1], RecvFlags::empty())?;
    nix::unistd::close(number)?;
    descriptors.pop().ok_or_else(|| io::Error::other("the kernel passed no descriptor on"))
}

impl Request {
    /// As it is sent.
    pub fn to_bytes(self) -> [u8; LENGTH] {
        let wish = match self.wish {
            Wish::StartHub => 1,
            Wish::End => 2,
            Wish::Make => 3,
            Wish::Remove => 4,
        };
        pack(wish, self.desk.number(), self.tag)
    }
}

impl Answer {
    /// As it arrives.
    pub fn parse(bytes: &[u8]) -> Result<Answer, BadRequest> {
        let (code, value, tag) = unpack(bytes).ok_or(BadRequest)?;
        let outcome = match (code, value) {
            (0, 0) => Outcome::Done,
            (1, 0) => Outcome::NoRequest,
            (2, 0) => Outcome::WrongDescriptors,
            (3, 0) => Outcome::Busy,
            (4, 0) => Outcome::StillThere,
            (5, errno) => Outcome::Failed(errno.cast_signed()),
            _ => return Err(BadRequest),
        };
        Ok(Answer { outcome, tag })
    }
}
