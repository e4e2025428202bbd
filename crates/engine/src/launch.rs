//! What a launcher promises: a pipe to Claude, and a session that nobody else has.
//!
//! The driver knows nothing more. Where Claude runs (here, in a container, on another machine) and how its
//! descendants are ended is the launcher's business, and every launcher keeps the same three promises: the session is
//! exclusive from the moment the pipe exists, [`LeashOrder::End`] leaves no descendant behind, and the end of this
//! process leaves none that nobody can go on with: the last of them ends with its turn. What else is to be known of that machine is a [`Look`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tinyclaw_domain::{Place, ThreadId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use crate::link::Journal;
use crate::look::{LinkLost, Look, LookError, OutOfReach};

/// Whose desk the probe has on this machine.
pub(crate) const PROBE: &str = "probe";

/// Starts Claude somewhere, and looks around there.
pub trait Launcher: Send + Sync + fmt::Debug + 'static {
    /// Starts Claude with these arguments, holding the thread's session.
    ///
    /// Whoever held the session before, on the same machine, is ended first.
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_>;

    /// A look around where it starts them.
    fn look(&self) -> &dyn Look;

    /// The Claude in which an earlier process of this office began this turn, if it goes on or came to its end without us.
    /// It is given away once; one that does not have the whole prompt is ended. A launcher whose Claudes die with its process
    /// has none.
    fn adopt<'a>(&'a self, _thread: &'a ThreadId, _turn_uuid: &'a str) -> AdoptFuture<'a> {
        Box::pin(async { Ok(None) })
    }

    /// Whether [`Launcher::adopt`] has such a Claude to try. Asks nobody.
    fn may_adopt(&self, _thread: &ThreadId, _turn_uuid: &str) -> bool {
        false
    }

    /// Closes what it keeps open for a thread whose Claude has ended, for good.
    fn let_go(&self, _thread: &ThreadId) {}

    /// Ends every Claude of an earlier process but those with these turns.
    fn end_all_but<'a>(&'a self, _turns: &'a [String]) -> EndFuture<'a> {
        Box::pin(async {})
    }
}

/// What [`Launcher::launch`] returns.
pub type LaunchFuture<'a> = Pin<Box<dyn Future<Output = Result<Leashed, LaunchError>> + Send + 'a>>;

/// What [`Launcher::adopt`] returns.
pub type AdoptFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Leashed>, OutOfReach>> + Send + 'a>>;

/// What [`Launcher::end_all_but`] returns.
pub type EndFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What to start.
#[derive(Clone)]
pub struct LaunchSpec {
    /// Whose session it is.
    pub thread: ThreadId,
    /// Where Claude runs.
    pub place: Place,
    /// The directory there that it works in.
    pub cwd: PathBuf,
    /// Claude's arguments; which program that is, the launcher knows.
    pub args: Vec<String>,
    /// Claude's whole environment. Holds secrets, and is therefore never shown. At another place than this machine: what
    /// is ours to say about how Claude behaves, and no secret; the place adds its own.
    pub env: BTreeMap<String, String>,
    /// What Claude may reach beyond its directory and what every program needs.
    pub access: Access,
}

impl fmt::Debug for LaunchSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchSpec")
            .field("thread", &self.thread)
            .field("place", &self.place)
            .field("cwd", &self.cwd)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// Paths that Claude may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Read, written, created, removed.
    pub writable: Vec<PathBuf>,
    /// Read and executed.
    pub readable: Vec<PathBuf>,
}

/// A started Claude.
pub struct Leashed {
    /// Its stdin. Dropping it is end of file.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its stdout.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its stderr, and that of whatever holds it.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// What holds it.
    pub leash: Leash,
}

/// The driver's end of what holds a Claude. Dropping it ends Claude and all its descendants.
#[derive(Debug)]
pub struct Leash {
    orders: mpsc::UnboundedSender<LeashOrder>,
    exit: oneshot::Receiver<Result<Exit, OutOfReach>>,
    journal: Option<Journal>,
    link: Option<watch::Receiver<Option<LinkLost>>>,
    is_stranger: bool,
}

/// The launcher's end of a [`Leash`].
#[derive(Debug)]
pub struct LeashHand {
    /// What the driver wants. Closed: the same as [`LeashOrder::End`].
    pub orders: mpsc::UnboundedReceiver<LeashOrder>,
    /// To be told once: when Claude and every descendant are gone, or when the place went out of reach with them.
    pub exit: oneshot::Sender<Result<Exit, OutOfReach>>,
}

/// What a driver asks of a leash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeashOrder {
    /// SIGINT to Claude.
    Interrupt,
    /// SIGTERM, then SIGKILL, to Claude and every descendant.
    End,
    /// From now on it is nobody's, until another process goes on with its turn. `Leash::ended` returns when nothing more
    /// is said to it, whatever is still written. Where no other process could, it is ended.
    Leave,
}

impl Leash {
    /// Both ends.
    pub fn pair() -> (Leash, LeashHand) {
        let (orders_to, orders) = mpsc::unbounded_channel();
        let (exit_to, exit) = oneshot::channel();
        let leash =
            Leash { orders: orders_to, exit, journal: None, link: None, is_stranger: false };
        (leash, LeashHand { orders, exit: exit_to })
    }

    /// Of a Claude that another process can go on with.
    pub(crate) fn with_journal(self, journal: Journal) -> Leash {
        Leash { journal: Some(journal), ..self }
    }

    /// Of a Claude at the far end of a link, which may be lost for a while.
    pub(crate) fn with_link(self, link: watch::Receiver<Option<LinkLost>>) -> Leash {
        Leash { link: Some(link), ..self }
    }

    /// Of a Claude on a machine that is not ours: what it says has limits.
    pub(crate) fn of_stranger(self) -> Leash {
        Leash { is_stranger: true, ..self }
    }

    /// Whether it is one.
    pub(crate) fn is_stranger(&self) -> bool {
        self.is_stranger
    }

    /// How that link is.
    pub(crate) fn take_link(&mut self) -> Option<watch::Receiver<Option<LinkLost>>> {
        self.link.take()
    }

    /// Where the driver keeps how its turn is.
    pub(crate) fn take_journal(&mut self) -> Option<Journal> {
        self.journal.take()
    }

    pub(crate) fn order(&self, order: LeashOrder) {
        let _ = self.orders.send(order);
    }

    /// Waits until Claude and all descendants are gone, or out of reach. Cancel-safe; to be called until it returns once.
    pub(crate) async fn ended(&mut self) -> Result<Exit, OutOfReach> {
        (&mut self.exit).await.unwrap_or(Ok(Exit { code: None, signal: None }))
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and more stands for a signal.
    pub code: Option<i32>,
    /// The signal that ended what held it.
    pub signal: Option<i32>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code @ 129..=192), _) => write!(f, "signal {}", code - 128),
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => write!(f, "end unknown"),
        }
    }
}

/// Claude could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The place does not answer. It says nothing about the message, nor about any other place.
    #[error(transparent)]
    OutOfReach(#[from] OutOfReach),
    /// The program is not there.
    #[error("cannot find {what} at {}: install it, or say where it is", path.display())]
    Missing {
        /// Which program.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The thread's directory is not one.
    #[error("the thread's directory {} is not there", .0.display())]
    NoCwd(PathBuf),
    /// The thread's directory would give Claude the state folder.
    #[error("{} contains TinyClaw's own state {}: choose a directory beside it", cwd.display(), state.display())]
    StateInside {
        /// The thread's directory.
        cwd: PathBuf,
        /// What it must not contain.
        state: PathBuf,
    },
    /// What Claude would be given is in the state folder, and no place of this desk.
    #[error("{} lies in TinyClaw's own state {}: choose a directory beside it", path.display(), state.display())]
    InsideState {
        /// What it would be given.
        path: PathBuf,
        /// Where no agent may be.
        state: PathBuf,
    },
    /// What Claude would be given is reached through a link, which could lead anywhere by tomorrow.
    #[error("{} is a link or lies behind one: give the directory itself, {}", path.display(), real.display())]
    Linked {
        /// As it was named.
        path: PathBuf,
        /// Where it leads today.
        real: PathBuf,
    },
    /// The far end of a link refuses what Claude would be given, and says why.
    #[error("{} is refused there: {why}", path.display())]
    Refused {
        /// The thread's directory.
        path: PathBuf,
        /// In the words of the far end.
        why: String,
    },
    /// Another office works in the thread's directory there.
    #[error("office {office} works in {}", path.display())]
    Taken {
        /// Which, by a part of its name: letters and digits.
        office: String,
        /// The thread's directory.
        path: PathBuf,
        /// For how many seconds, by the clock there.
        held_s: Option<u64>,
    },
    /// A step of starting it failed.
    #[error("cannot {step} {}", path.display())]
    Step {
        /// What was tried, as words that follow "cannot".
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl LaunchError {
    /// Whether trying again without changing anything is of no use.
    pub fn is_lasting(&self) -> bool {
        use LaunchError::{OutOfReach, Step, Taken};
        !matches!(self, Step { .. } | OutOfReach(_) | Taken { .. })
    }

    /// What a question about the place comes to when Claude is to be started in this directory.
    pub(crate) fn of_look(err: LookError, path: &Path) -> LaunchError {
        match err {
            LookError::OutOfReach(err) => LaunchError::OutOfReach(err),
            other => LaunchError::Step {
                step: "look at",
                path: path.to_owned(),
                source: io::Error::other(other),
            },
        }
    }
}
