//! What carries a link: something that starts a hub where Claude is to run, and gives both ends of a pipe to it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use tinyclaw_devbox::plain_words;
use tinyclaw_domain::Place;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::frames::{Reader, Writer};
use crate::config::{EngineConfig, Landlock};
use crate::look::OutOfReach;

/// What a far end says in words is cut after so many letters.
pub(super) const WORDS_MAX: usize = 300;

/// Reaches a place. It knows nothing of what is said over the link.
pub trait Carrier: Send + Sync + fmt::Debug + 'static {
    /// Starts a hub there.
    fn connect(&self) -> CarrierFuture<'_>;

    /// Starts one for runs that were there a moment ago. A place that was stopped since is not started for their sake: it says
    /// that they are gone ([`Unreached::is_gone`]).
    fn reconnect(&self) -> CarrierFuture<'_> {
        self.connect()
    }

    /// The longest pause between two dials of a place that does not answer. `None`: as for a machine far away.
    fn pause_max(&self) -> Option<Duration> {
        None
    }

    /// How long a connection without a run is kept. `None`: for good. Where nobody is connected a place may rest.
    fn rests_after(&self) -> Option<Duration> {
        None
    }

    /// How long a word took there and back.
    fn note_ping(&self, _took: Duration) {}
}

/// What [`Carrier::connect`] returns.
pub type CarrierFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Connection, Unreached>> + Send + 'a>>;

/// Why a place was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// In words for a person.
    pub why: String,
    /// Whether it lasts until a person does something about it.
    pub is_held: bool,
    /// Whether everything that ran there has ended with it.
    pub is_gone: bool,
}

/// What passes by itself.
impl From<String> for Unreached {
    fn from(why: String) -> Unreached {
        Unreached { why, is_held: false, is_gone: false }
    }
}

impl Unreached {
    /// As it is told of that place. Some of it may be the far end's words.
    pub(crate) fn at(self, place: &Place) -> OutOfReach {
        let why = plain_words(&self.why, WORDS_MAX);
        OutOfReach { place: place.clone(), why, is_held: self.is_held }
    }
}

/// A hub that was started. Dropping it ends the hub, and no run.
pub struct Connection {
    /// What the hub hears.
    pub to: Writer,
    /// What the hub says.
    pub from: Reader,
    /// Whatever has to live as long as the connection.
    pub guard: Box<dyn Any + Send>,
}

/// A hub as a child of this process: on this machine, for whoever this process is.
#[derive(Debug, Clone)]
pub struct ChildCarrier {
    leash: PathBuf,
    state: PathBuf,
    program: PathBuf,
    path: String,
    landlock: Landlock,
}

impl ChildCarrier {
    /// A hub for the Claude that this configuration names.
    pub fn of(config: &EngineConfig) -> ChildCarrier {
        ChildCarrier {
            leash: config.leash.clone(),
            state: config.state.clone(),
            program: config.program.clone(),
            path: config.path.clone(),
            landlock: config.landlock,
        }
    }

    fn start(&self) -> io::Result<Connection> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let their_out = OwnedFd::from(theirs.try_clone()?);
        #[expect(clippy::disallowed_methods, reason = "the engine starts a hub")]
        let hub = Command::new(&self.leash)
            .arg("hub")
            .arg("--state")
            .arg(&self.state)
            .arg("--program")
            .arg(&self.program)
            .args(["--landlock", self.landlock.as_str()])
            // Which threads share a directory is the office's to say, and a session has one owner in any case.
            .args(["--directories", "shared"])
            .env_clear()
            .env("PATH", &self.path)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(their_out))
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (from, to) = UnixStream::from_std(ours)?.into_split();
        Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(hub) })
    }
}

impl Carrier for ChildCarrier {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let leash = self.leash.display();
            self.start().map_err(|err| format!("the helper {leash} does not start: {err}").into())
        })
    }
}
