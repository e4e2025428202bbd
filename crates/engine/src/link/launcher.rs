//! Claude at the far end of a link.
//!
//! A run goes on when the connection is cut, and so does the driver, which notices nothing but a pause: what it wrote is
//! kept until the hold has it, and what Claude writes is asked for again from where it was. Only the end of the lease, a
//! stranger in the run's place, or a hold that is gone end a run from outside.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::Place;
use tinyclaw_domain::frame::{BODY_BYTES_MAX, Refusal, RunId, RunOrder, RunToken, StartRun};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

use super::carrier::Carrier;
use super::line::{Line, NotStarted, Request, RunEnd};
use crate::launch::{
    LaunchError, LaunchFuture, LaunchSpec, Launcher, Leash, LeashHand, LeashOrder, Leashed,
};
use crate::look::{Look, OutOfReach};

/// What is between the driver and the link in each direction, at most.
const PIPE_BYTES: usize = BODY_BYTES_MAX;
/// Input that no hold has acknowledged, at most: the driver's pipe is full then.
const UNACKED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The hold hears at least so often how far we are: far less than it sends without hearing it.
const SEEN_EVERY: u64 = 1024 * 1024;

/// How long a run lives without its office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// So long without a word, and Claude's stdin is closed: the turn ends by itself.
    pub close: Duration,
    /// So much longer, and everything is ended.
    pub end: Duration,
}

impl Default for Lease {
    fn default() -> Lease {
        Lease { close: Duration::from_secs(15 * 60), end: Duration::from_secs(30 * 60) }
    }
}

/// Starts Claude over a link.
pub struct LinkLauncher {
    place: Place,
    look: Arc<dyn Look>,
    lease: Lease,
    line: mpsc::UnboundedSender<Request>,
}

impl fmt::Debug for LinkLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkLauncher").field("place", &self.place).finish_non_exhaustive()
    }
}

impl LinkLauncher {
    /// A launcher at this place, for this office (a name of letters and digits that is its own), that looks around there
    /// through `look`. To be called in a runtime; it dials when the first Claude is to start.
    pub fn new(
        place: Place,
        office: &str,
        carrier: Arc<dyn Carrier>,
        look: Arc<dyn Look>,
        lease: Lease,
    ) -> LinkLauncher {
        let (line, requests) = mpsc::unbounded_channel();
        tokio::spawn(Line::new(place.clone(), office.to_owned(), carrier, requests).run());
        LinkLauncher { place, look, lease, line }
    }

    async fn start(&self, spec: LaunchSpec) -> Result<Leashed, LaunchError> {
        let dir = spec.cwd.clone();
        let start = StartRun {
            thread: spec.thread,
            dir: spec.cwd,
            args: spec.args,
            env: spec.env,
            writable: spec.access.writable,
            readable: spec.access.readable,
            lease_s: self.lease.close.as_secs(),
            end_s: self.lease.end.as_secs(),
        };
        let body = serde_json::to_vec(&start).map_err(|err| not_sent(err.into(), &dir))?;
        if body.len() > BODY_BYTES_MAX {
            let long = format!("{} bytes of arguments and environment", body.len());
            return Err(not_sent(std::io::Error::other(long), &dir));
        }
        let (run, token) = new_run();
        let (out, output) = mpsc::unbounded_channel();
        let (err, errors) = mpsc::unbounded_channel();
        let (leash, hand) = Leash::pair();
        let LeashHand { orders, exit } = hand;
        let (reply, started) = oneshot::channel();
        let inputs = Arc::new(Semaphore::new(UNACKED_BYTES_MAX));
        let end = RunEnd::new(token, body, reply, out, err, exit, inputs.clone());
        let gone = || self.out_of_reach("the link is closed".to_owned());
        self.line.send(Request::Start { run: run.clone(), end }).map_err(|_| gone())?;
        match started.await.map_err(|_| gone())? {
            Ok(()) => {}
            Err(NotStarted::OutOfReach(why)) => return Err(self.out_of_reach(why)),
            Err(NotStarted::Refused(why)) => return Err(refused(why, dir)),
        }
        let (stdin, from_driver) = tokio::io::duplex(PIPE_BYTES);
        let (to_driver, stdout) = tokio::io::duplex(PIPE_BYTES);
        let (errors_to, stderr) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(send_input(self.line.clone(), run.clone(), from_driver, inputs));
        tokio::spawn(pass_output(self.line.clone(), run.clone(), output, to_driver));
        tokio::spawn(pass_errors(errors, errors_to));
        tokio::spawn(pass_orders(self.line.clone(), run, orders));
        Ok(Leashed {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            leash,
        })
    }

    fn out_of_reach(&self, why: String) -> LaunchError {
        LaunchError::OutOfReach(OutOfReach { place: self.place.clone(), why })
    }
}

impl Launcher for LinkLauncher {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        Box::pin(self.start(spec))
    }

    fn look(&self) -> &dyn Look {
        &*self.look
    }
}

/// Names that nobody can guess.
fn new_run() -> (RunId, RunToken) {
    loop {
        let hex = || Uuid::new_v4().simple().to_string();
        let token = format!("{}{}", hex(), hex());
        if let (Ok(run), Ok(token)) = (hex().parse(), token.parse()) {
            return (run, token);
        }
    }
}

fn not_sent(source: std::io::Error, dir: &std::path::Path) -> LaunchError {
    LaunchError::Step { step: "send over the link what to start in", path: dir.to_owned(), source }
}

/// Why the far end started nothing, as if it had been here.
fn refused(why: Refusal, dir: std::path::PathBuf) -> LaunchError {
    match why {
        Refusal::Missing { what, path } if what == "Claude" => {
            LaunchError::Missing { what: "Claude", path }
        }
        Refusal::Missing { path, .. } => LaunchError::Missing { what: "the helper", path },
        Refusal::NoDir { path } => LaunchError::NoCwd(path),
        Refusal::NotGiven { why } => LaunchError::Refused { path: dir, why },
        Refusal::NoSpace {} => LaunchError::Step {
            step: "start Claude in",
            path: dir,
            source: std::io::Error::from(std::io::ErrorKind::StorageFull),
        },
        other => LaunchError::Step {
            step: "start Claude in",
            path: dir,
            source: std::io::Error::other(other.to_string()),
        },
    }
}

/// What the driver writes, in pieces that a frame can carry, until it closes its end.
async fn send_input(
    line: mpsc::UnboundedSender<Request>,
    run: RunId,
    mut from: DuplexStream,
    room: Arc<Semaphore>,
) {
    let mut chunk = vec![0; BODY_BYTES_MAX];
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            let _ = line.send(Request::Order { run, order: RunOrder::Eof });
            return;
        }
        // Given back when the hold has it; closed when the run is over.
        let Ok(permit) = room.acquire_many(u32::try_from(read).unwrap_or(u32::MAX)).await else {
            return;
        };
        permit.forget();
        let bytes = chunk[..read].to_vec();
        if line.send(Request::Input { run: run.clone(), bytes }).is_err() {
            return;
        }
    }
}

async fn pass_output(
    line: mpsc::UnboundedSender<Request>,
    run: RunId,
    mut output: mpsc::UnboundedReceiver<Vec<u8>>,
    mut to: DuplexStream,
) {
    let (mut seen, mut told) = (0, 0);
    while let Some(bytes) = output.recv().await {
        // A driver that does not listen any more has seen it all the same.
        let _ = to.write_all(&bytes).await;
        seen += bytes.len() as u64;
        if seen - told >= SEEN_EVERY {
            told = seen;
            let _ = line.send(Request::Seen { run: run.clone(), at: seen });
        }
    }
}

async fn pass_errors(mut errors: mpsc::UnboundedReceiver<Vec<u8>>, mut to: DuplexStream) {
    while let Some(bytes) = errors.recv().await {
        let _ = to.write_all(&bytes).await;
    }
}

async fn pass_orders(
    line: mpsc::UnboundedSender<Request>,
    run: RunId,
    mut orders: mpsc::UnboundedReceiver<LeashOrder>,
) {
    loop {
        let order = match orders.recv().await {
            Some(LeashOrder::Interrupt) => RunOrder::Interrupt,
            Some(LeashOrder::End) | None => RunOrder::End,
        };
        let is_end = order == RunOrder::End;
        if line.send(Request::Order { run: run.clone(), order }).is_err() || is_end {
            return;
        }
    }
}
