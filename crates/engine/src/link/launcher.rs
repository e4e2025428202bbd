//! Claude at the far end of a link.
//!
//! A run goes on when the connection is cut, and so does the driver, which notices nothing but a pause: what it wrote is
//! kept until the hold has it, and what Claude writes is asked for again from where it was. Only the end of the lease, a
//! stranger in the run's place, or a hold that is gone end a run from outside.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tinyclaw_devbox::plain_words;
use tinyclaw_domain::frame::{BODY_BYTES_MAX, Refusal, RunId, RunOrder, RunToken, StartRun};
use tinyclaw_domain::{Place, ThreadId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use super::asking::Answering;
use super::carrier::{Carrier, Unreached, WORDS_MAX};
use super::journal::{Adopted, Journal};
use super::known::{KnownRun, KnownRuns, Note};
use super::line::{LinkLine, Request};
use super::run_end::{Beginning, Begun, NotStarted, RunEnd};
use crate::launch::{
    AdoptFuture, EndFuture, LaunchError, LaunchFuture, LaunchSpec, Launcher, Leash, LeashHand,
    LeashOrder, Leashed,
};
use crate::look::{LinkLost, Look, OutOfReach};

/// What is between the driver and the link in each direction, at most.
const PIPE_BYTES: usize = BODY_BYTES_MAX;
/// Input that no hold has acknowledged, at most: the driver's pipe is full then.
const UNACKED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The hold hears at least so often how far we are: far less than it sends without hearing it.
const SEEN_EVERY: u64 = 1024 * 1024;
/// A turn that wrote more than this is not gone on with by another process: its beginning is not kept.
const KEEP_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Nothing of the output is to be kept.
const KEEP_NOTHING: u64 = u64::MAX;

/// How long a run lives without its office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// So long without a word, and Claude's stdin is closed: the turn ends by itself.
    pub close: Duration,
    /// So much longer, and everything is ended.
    pub end: Duration,
}

impl Lease {
    /// On this machine a new office is there within seconds, or is not wanted any more.
    pub const HERE: Lease =
        Lease { close: Duration::from_secs(5 * 60), end: Duration::from_secs(30 * 60) };
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
    known: Arc<KnownRuns>,
    line: mpsc::UnboundedSender<Request>,
    lost: watch::Receiver<Option<LinkLost>>,
    /// Who says what git there may have.
    answering: Option<Arc<dyn Answering>>,
    /// The one thread whose runs are there; `None`: any thread's.
    thread: Option<ThreadId>,
}

impl fmt::Debug for LinkLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkLauncher").field("place", &self.place).finish_non_exhaustive()
    }
}

impl LinkLauncher {
    /// A launcher at this place, for this office (a name of letters and digits that is its own), that looks around there
    /// through `look`. Its runs are kept in `known`. To be called in a runtime; it dials when the first Claude is to start.
    pub fn new(
        place: Place,
        office: &str,
        carrier: Arc<dyn Carrier>,
        look: Arc<dyn Look>,
        lease: Lease,
        known: Arc<KnownRuns>,
    ) -> LinkLauncher {
        LinkLauncher::answering(place, office, carrier, look, lease, known, None)
    }

    /// The same, and git there may ask this one for tokens.
    pub(crate) fn answering(
        place: Place,
        office: &str,
        carrier: Arc<dyn Carrier>,
        look: Arc<dyn Look>,
        lease: Lease,
        known: Arc<KnownRuns>,
        answering: Option<Arc<dyn Answering>>,
    ) -> LinkLauncher {
        let (line, requests) = mpsc::unbounded_channel();
        let (tell, lost) = watch::channel(None);
        let (at, runs, office) = (place.clone(), known.clone(), office.to_owned());
        let asked = answering.clone();
        tokio::spawn(LinkLine::new(at, office, carrier, requests, runs, tell, asked).run());
        LinkLauncher { place, look, lease, known, line, lost, answering, thread: None }
    }

    /// The same for a place where runs of this thread are, and of no other: those of others in `known` are not ended there.
    #[must_use]
    pub fn of_thread(self, thread: &ThreadId) -> LinkLauncher {
        LinkLauncher { thread: Some(thread.clone()), ..self }
    }

    /// Starts Claude, and ends first what another office has running in its directory: a person said so.
    pub(crate) async fn take_over(&self, spec: LaunchSpec) -> Result<Leashed, LaunchError> {
        self.start(spec, true).await
    }

    async fn start(&self, spec: LaunchSpec, take_over: bool) -> Result<Leashed, LaunchError> {
        let (dir, thread) = (spec.cwd.clone(), spec.thread.clone());
        let start = StartRun {
            thread: spec.thread,
            dir: spec.cwd,
            args: spec.args,
            env: spec.env,
            writable: spec.access.writable,
            readable: spec.access.readable,
            git: self.answering.as_ref().and_then(|it| it.repository()),
            take_over,
            lease_s: self.lease.close.as_secs(),
            end_s: self.lease.end.as_secs(),
        };
        let body = serde_json::to_vec(&start).map_err(|err| not_sent(err.into(), &dir))?;
        if body.len() > BODY_BYTES_MAX {
            let long = format!("{} bytes of arguments and environment", body.len());
            return Err(not_sent(std::io::Error::other(long), &dir));
        }
        let (run, token) = new_run();
        self.known.add(&run, &token, &thread);
        match self.begin(run, token, Beginning::Start(body), None).await {
            Ok((leashed, _)) => Ok(leashed),
            Err(NotStarted::OutOfReach(why)) => Err(LaunchError::OutOfReach(why.at(&self.place))),
            Err(NotStarted::Refused(why)) => Err(refused(why, dir)),
        }
    }

    /// Makes a run this process's, and gives the driver its pipes once it is there.
    async fn begin(
        &self,
        run: RunId,
        token: RunToken,
        beginning: Beginning,
        turn: Option<Note>,
    ) -> Result<(Leashed, Begun), NotStarted> {
        let seen = match &beginning {
            Beginning::Start(_) => 0,
            Beginning::Adopt(offset) => *offset,
        };
        let (out, output) = mpsc::unbounded_channel();
        let (err, errors) = mpsc::unbounded_channel();
        let (leash, hand) = Leash::pair();
        let LeashHand { orders, exit } = hand;
        let (reply, started) = oneshot::channel();
        let inputs = Arc::new(Semaphore::new(UNACKED_BYTES_MAX));
        let end = RunEnd::new(token, beginning, reply, out, err, exit, inputs.clone());
        let gone = || NotStarted::OutOfReach(Unreached::from("the link is closed".to_owned()));
        self.line.send(Request::Start { run: run.clone(), end }).map_err(|_| gone())?;
        let begun = started.await.map_err(|_| gone())??;
        let keep = Arc::new(AtomicU64::new(turn.as_ref().map_or(KEEP_NOTHING, |it| it.at)));
        let adopted = turn.map(|note| Adopted { note, taken: begun.taken });
        let journal = Journal::new(run.clone(), self.known.clone(), keep.clone(), adopted);
        let (stdin, from_driver) = tokio::io::duplex(PIPE_BYTES);
        let (to_driver, stdout) = tokio::io::duplex(PIPE_BYTES);
        let (errors_to, stderr) = tokio::io::duplex(PIPE_BYTES);
        tokio::spawn(send_input(self.line.clone(), run.clone(), from_driver, inputs));
        tokio::spawn(pass_output(self.line.clone(), run.clone(), output, to_driver, seen, keep));
        tokio::spawn(pass_errors(errors, errors_to));
        tokio::spawn(pass_orders(self.line.clone(), run, orders));
        let leashed = Leashed {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            leash: leash.with_journal(journal).with_link(self.lost.clone()),
        };
        Ok((leashed, begun))
    }

    async fn go_on(&self, thread: &ThreadId, uuid: &str) -> Result<Option<Leashed>, OutOfReach> {
        let Some((run, known)) = self.known.claim(thread, uuid) else { return Ok(None) };
        let KnownRun { token, turn: Some(turn), .. } = known else { return Ok(None) };
        let (sent, beginning) = (turn.sent, Beginning::Adopt(turn.at));
        match self.begin(run.clone(), token.clone(), beginning, Some(turn)).await {
            Ok((leashed, begun)) if begun.taken >= sent && !begun.torn => Ok(Some(leashed)),
            // Claude has half a prompt or half an answer, or its end is not known. Dropped here, it is ended.
            Ok(_) => Ok(None),
            Err(NotStarted::OutOfReach(why)) => {
                self.known.give_back(run);
                Err(why.at(&self.place))
            }
            Err(NotStarted::Refused(why)) => {
                tracing::warn!(thread.id = %thread, "a turn of thread {thread} is not gone on with: {why}");
                let _ = self.line.send(Request::Forget { run, token });
                Ok(None)
            }
        }
    }

    /// Ends what an earlier process left of this thread, or of all of them, but the runs with these turns.
    pub(crate) async fn end_others(&self, of: Option<&ThreadId>, turns: &[String]) {
        let is_other = |it: &KnownRun| {
            of.is_none_or(|thread| *thread == it.thread)
                && it.turn.as_ref().is_none_or(|turn| !turns.contains(&turn.uuid))
        };
        for (run, known) in self.known.claim_all(is_other) {
            let (at, token) = (known.turn.map_or(0, |it| it.at), known.token);
            match self.begin(run.clone(), token.clone(), Beginning::Adopt(at), None).await {
                // Had, and dropped: that ends it.
                Ok(_) => {}
                Err(NotStarted::OutOfReach(why)) => {
                    tracing::warn!("a run that nobody waits for is not ended: {}", why.why);
                    self.known.give_back(run);
                }
                // What it wrote is not there from that place on.
                Err(NotStarted::Refused(_)) => {
                    let _ = self.line.send(Request::Forget { run, token });
                }
            }
        }
    }
}

impl Launcher for LinkLauncher {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        Box::pin(self.start(spec, false))
    }

    fn look(&self) -> &dyn Look {
        &*self.look
    }

    fn adopt<'a>(&'a self, thread: &'a ThreadId, turn_uuid: &'a str) -> AdoptFuture<'a> {
        Box::pin(self.go_on(thread, turn_uuid))
    }

    fn may_adopt(&self, thread: &ThreadId, turn_uuid: &str) -> bool {
        self.known.waits(thread, turn_uuid)
    }

    fn end_all_but<'a>(&'a self, turns: &'a [String]) -> EndFuture<'a> {
        Box::pin(self.end_others(self.thread.as_ref(), turns))
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

/// Why the far end started nothing, as if it had been here. Its words are a stranger's, and its paths too.
fn refused(why: Refusal, dir: std::path::PathBuf) -> LaunchError {
    let plain = |it: &str| plain_words(it, WORDS_MAX);
    match why {
        Refusal::Missing { what, path } => {
            let what = if what == "Claude" { "Claude" } else { "the helper" };
            LaunchError::Missing { what, path: plain(&path.to_string_lossy()).into() }
        }
        Refusal::NoDir { .. } => LaunchError::NoCwd(dir),
        Refusal::NotGiven { why } => LaunchError::Refused { path: dir, why: plain(&why) },
        Refusal::Busy { office, held_s, .. } => {
            LaunchError::Taken { office: plain_office(&office), path: dir, held_s }
        }
        Refusal::NoSpace {} => LaunchError::Step {
            step: "start Claude in",
            path: dir,
            source: std::io::Error::from(std::io::ErrorKind::StorageFull),
        },
        other => LaunchError::Step {
            step: "start Claude in",
            path: dir,
            source: std::io::Error::other(plain(&other.to_string())),
        },
    }
}

/// An office's name is what a stranger says it is: a few letters and digits of it tell offices apart.
fn plain_office(office: &str) -> String {
    const SHOWN: usize = 8;
    let plain: String = office.chars().filter(char::is_ascii_alphanumeric).take(SHOWN).collect();
    if plain.is_empty() { "unknown".to_owned() } else { plain }
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
    mut seen: u64,
    keep: Arc<AtomicU64>,
) {
    let mut told = seen;
    while let Some(bytes) = output.recv().await {
        // A driver that does not listen any more has seen it all the same.
        let _ = to.write_all(&bytes).await;
        seen += bytes.len() as u64;
        if seen - told >= SEEN_EVERY {
            told = seen;
            let keep = keep.load(Ordering::Relaxed).max(seen.saturating_sub(KEEP_BYTES_MAX));
            let _ = line.send(Request::Seen { run: run.clone(), at: seen, keep });
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
            Some(LeashOrder::Leave) => return drop(line.send(Request::Leave { run })),
        };
        let is_end = order == RunOrder::End;
        if line.send(Request::Order { run: run.clone(), order }).is_err() || is_end {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn what_a_far_end_refuses_is_told_in_plain_text() {
        let evil = || "\u{1b}[31mx\u{202e}y` [ours](https://theirs.example)\n# two".to_owned();
        let (what, path) = (evil(), evil().into());
        let told = [
            Refusal::Busy { office: evil(), pid: -1, held_s: Some(u64::MAX) },
            Refusal::Busy { office: "\u{202e}".to_owned(), pid: 0, held_s: None },
            Refusal::Missing { what, path },
            Refusal::NoDir { path: evil().into() },
            Refusal::NotGiven { why: evil() },
            Refusal::Arguments { flag: evil() },
            Refusal::Step { why: evil() },
        ]
        .map(|it| {
            let err = refused(it, "/srv/api".into());
            let source = std::error::Error::source(&err).map(|it| format!(": {it}"));
            format!("{err}{}\n", source.unwrap_or_default())
        });
        expect![[r#"
            office 31mxyour works in /srv/api
            office unknown works in /srv/api
            cannot find the helper at (31mxy (ours)(https://theirs.example)# two: install it, or say where it is
            the thread's directory /srv/api is not there
            /srv/api is refused there: (31mxy (ours)(https://theirs.example)# two
            cannot start Claude in /srv/api: "\u{1b}(31mx\u{202e}y (ours)(https://theirs.example)\n# two" is no argument of an office's
            cannot start Claude in /srv/api: (31mxy (ours)(https://theirs.example)# two
        "#]]
        .assert_eq(&told.concat());
    }
}
