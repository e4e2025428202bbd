//! The office's end of the connection to one place: all its runs, through one hub at a time.
//!
//! It dials when there is something to say and dials again when the connection is lost, for as long as a run lives. After
//! each connect it asks every run for what comes after what it has, and says again what no hold has acknowledged. What is
//! not exactly what comes next ends the connection: nothing is guessed, nothing is put together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::Place;
use tinyclaw_domain::frame::{Call, Refusal, RunId, RunOrder, RunToken, Told, encode};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::asking::{Answering, AnswersGit};
use super::carrier::{Carrier, Connection, Unreached};
use super::dial::{PAUSE_MAX, dial, pause};
use super::frames::{Incoming, Reader, Writer};
use super::known::KnownRuns;
use super::run_end::{Beginning, Begun, NotStarted, RunEnd, attach, begin};
use crate::launch::Exit;
use crate::look::LinkLost;

/// Renews the leases, and shows that somebody is there.
const PING: Duration = Duration::from_secs(5);
/// Without a frame for this long the connection is lost.
const SILENCE: Duration = Duration::from_secs(15);
/// What cannot be is said so often by the far end, and nothing more is heard of its runs until a person looks.
const NONSENSE_MAX: u32 = 3;
/// So many connections one after the other on which it understood nothing, and the same.
const NOT_UNDERSTOOD_MAX: u32 = 3;
/// So many connections one after the other that it broke off in its own words, after it had said something of a run.
const BROKEN_OFF_MAX: u32 = 5;
/// One that lived for so long is none of those: words get lost on the way now and then.
const LASTING: Duration = Duration::from_secs(60);
/// A connection that did not live longer is not made anew at once.
const BRIEF: Duration = Duration::from_millis(200);
/// Output that was received and not dealt with, at most: a hold sends half of that.
const AHEAD_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// No run has taken so many inputs.
const INPUTS_MAX: u64 = 1 << 53;

/// What launchers and pipes ask of a line.
pub(super) enum Request {
    Start {
        run: RunId,
        end: RunEnd,
    },
    Input {
        run: RunId,
        bytes: Vec<u8>,
    },
    Order {
        run: RunId,
        order: RunOrder,
    },
    Seen {
        run: RunId,
        at: u64,
        keep: u64,
    },
    /// The run cannot be followed: it is ended where it is, and forgotten. Said once.
    Forget {
        run: RunId,
        token: RunToken,
    },
    /// The run is for another process: nothing is said of it any more, and it stays known.
    Leave {
        run: RunId,
    },
}

/// Why a connection is over.
enum ConnectionEnd {
    Lost(String),
    /// The far end did not understand us, before it said anything of a run.
    NotUnderstood(String),
    /// It did so after that, and nothing of a run had come over this connection: once it is a loss like any other, as when a
    /// connection was cut in the middle of a word. Where something had come, as from a hold that is given more than its Claude
    /// reads, it always is.
    BrokenOff(String),
    /// The far end said what cannot be.
    Nonsense(String),
    /// There is no run any more, and the place may rest.
    Rests,
}

/// All runs of a place.
pub(super) struct LinkLine {
    place: Place,
    office: String,
    carrier: Arc<dyn Carrier>,
    requests: mpsc::UnboundedReceiver<Request>,
    runs: HashMap<RunId, RunEnd>,
    known: Arc<KnownRuns>,
    /// Who says what git there may have.
    answers: Option<AnswersGit>,
    /// Whether the connection is lost, for whoever waits for what a run says.
    lost: watch::Sender<Option<LinkLost>>,
    /// Dials since something was said of a run. Whoever answers and says nothing of any is not back.
    failed: u32,
}

impl LinkLine {
    pub(super) fn new(
        place: Place,
        office: String,
        carrier: Arc<dyn Carrier>,
        requests: mpsc::UnboundedReceiver<Request>,
        known: Arc<KnownRuns>,
        lost: watch::Sender<Option<LinkLost>>,
        answering: Option<Arc<dyn Answering>>,
    ) -> LinkLine {
        let (runs, answers) = (HashMap::new(), answering.map(AnswersGit::new));
        LinkLine { place, office, carrier, requests, runs, known, answers, lost, failed: 0 }
    }

    /// Until nobody can ask for anything any more.
    pub(super) async fn run(mut self) {
        // Connections that ended with what cannot be, since the last good one those on which nothing was understood, and those
        // that were broken off one after the other.
        let (mut nonsense, mut not_understood, mut broken_off) = (0, 0, 0);
        loop {
            if self.runs.is_empty() {
                (self.failed, nonsense, not_understood, broken_off) = (0, 0, 0, 0);
                self.lost.send_replace(None);
                let Some(request) = self.requests.recv().await else { return };
                self.keep(request);
                continue;
            }
            let most = self.carrier.pause_max().unwrap_or(PAUSE_MAX);
            let mut pause = pause(self.failed).min(most);
            self.failed += 1;
            let connecting = match self.goes_on() {
                true => self.carrier.reconnect(),
                false => self.carrier.connect(),
            };
            let why = match dial(connecting, &self.office).await {
                Ok((connection, incoming)) => {
                    let since = Instant::now();
                    let Some(end) = self.serve(connection, incoming).await else { return };
                    if self.failed == 0 {
                        not_understood = 0;
                    }
                    let is_broken_off = matches!(end, ConnectionEnd::BrokenOff(_));
                    if !is_broken_off || since.elapsed() > LASTING {
                        broken_off = 0;
                    }
                    let why = match end {
                        ConnectionEnd::Lost(why) => why,
                        ConnectionEnd::NotUnderstood(why) => {
                            not_understood += 1;
                            if not_understood >= NOT_UNDERSTOOD_MAX {
                                self.give_up(&format!("it does not understand this office: {why}"));
                                continue;
                            }
                            why
                        }
                        ConnectionEnd::BrokenOff(why) => {
                            broken_off += 1;
                            if broken_off >= BROKEN_OFF_MAX {
                                self.give_up(&format!("it breaks off every connection: {why}"));
                                continue;
                            }
                            why
                        }
                        ConnectionEnd::Nonsense(why) => {
                            nonsense += 1;
                            if nonsense >= NONSENSE_MAX {
                                self.give_up(&format!("what it says of its runs cannot be: {why}"));
                                continue;
                            }
                            why
                        }
                        ConnectionEnd::Rests => continue,
                    };
                    // Lost, and most often only for a moment.
                    let times = self.failed.max(broken_off);
                    pause = match since.elapsed() < BRIEF || times > 0 {
                        true => BRIEF.saturating_mul(1 << times.min(8)).min(PAUSE_MAX),
                        false => Duration::ZERO,
                    };
                    Unreached::from(why)
                }
                Err(why) if why.is_gone => {
                    tracing::info!("{}: {}", self.place, why.why);
                    self.end_all();
                    continue;
                }
                Err(why) => why,
            };
            match self.is_anything_missed() {
                true => tracing::warn!("{} is out of reach: {}", self.place, why.why),
                // A desk that is ended takes its hub along, before that has said that a run is forgotten.
                false => tracing::debug!("{} is left: {}", self.place, why.why),
            }
            self.lose_link(&why.why);
            self.fail_starts(&why);
            let until = sleep(pause);
            tokio::pin!(until);
            loop {
                tokio::select! {
                    () = &mut until => break,
                    request = self.requests.recv() => match request {
                        // Somebody waits for it: at once.
                        Some(request @ Request::Start { .. }) => {
                            self.keep(request);
                            break;
                        }
                        Some(request) => self.keep(request),
                        None => return,
                    },
                }
            }
        }
    }

    /// Whether a run goes on there, by what is known here: it has neither ended nor was it told to.
    fn is_anything_missed(&self) -> bool {
        self.runs.values().any(|it| it.ended.is_none() && !it.end)
    }

    /// Whether nothing is to be started there, nor looked for after an earlier process.
    fn goes_on(&self) -> bool {
        self.runs.values().all(|it| it.starting.is_none())
    }

    /// The place was stopped, and every run with it: nobody knows how they ended.
    fn end_all(&mut self) {
        for (run, mut end) in self.runs.drain() {
            self.known.remove(&run);
            if let Some(to) = end.exit.take() {
                let _ = to.send(Ok(Exit { code: None, signal: None }));
            }
        }
    }

    /// Whoever waits for the start of a run hears why there is none. What was started may run: its lease ends it.
    fn fail_starts(&mut self, why: &Unreached) {
        self.runs.retain(|_, end| match end.starting.take() {
            Some((_, reply)) => {
                let _ = reply.send(Err(NotStarted::OutOfReach(why.clone())));
                false
            }
            None => true,
        });
    }

    /// Whoever waits for what a run says hears that nothing comes: why now, and since when.
    fn lose_link(&self, why: &str) {
        self.lost.send_modify(|lost| {
            let at = lost.as_ref().map_or_else(now_ms, |it| it.at);
            *lost = Some(LinkLost { at, why: why.to_owned() });
        });
    }

    /// Nothing more is heard of any run: whoever speaks there cannot be spoken with.
    fn give_up(&mut self, why: &str) {
        tracing::error!("{} is not heard any more: {why}", self.place);
        let lost = Unreached { is_held: true, ..why.to_owned().into() };
        for (_, mut end) in self.runs.drain() {
            if let Some(to) = end.exit.take() {
                let _ = to.send(Err(lost.clone().at(&self.place)));
            }
            if let Some((_, reply)) = end.starting.take() {
                let _ = reply.send(Err(NotStarted::OutOfReach(lost.clone())));
            }
        }
    }

    /// Serves all runs over one connection, until it is lost: why. `None`: nobody asks for anything any more.
    async fn serve(
        &mut self,
        connection: Connection,
        mut incoming: Incoming<Reader>,
    ) -> Option<ConnectionEnd> {
        let Connection { to, guard, .. } = connection;
        // Written by a task of its own: whoever waits to be heard would not hear.
        let (frames, to_write) = mpsc::unbounded_channel();
        let writer = tokio::spawn(write(to, to_write));
        for (run, end) in &mut self.runs {
            end.is_attached = false;
            let _ = frames.send(begin(run, end));
        }
        let (mut ping, mut pinged) = (interval(PING), None);
        let mut heard = Instant::now();
        let (mut rests_at, mut has_moved) = (None, false);
        let why = loop {
            rests_at = match self.carrier.rests_after().filter(|_| self.runs.is_empty()) {
                Some(after) => rests_at.or_else(|| Some(Instant::now() + after)),
                None => None,
            };
            tokio::select! {
                frame = incoming.next::<Told>() => match frame {
                    Ok(Some((told, body))) => {
                        heard = Instant::now();
                        has_moved |= matches!(told, Told::Out { .. } | Told::Ack { .. });
                        match told {
                            Told::Bad { why } if self.failed > 0 => {
                                break ConnectionEnd::NotUnderstood(why);
                            }
                            Told::Bad { why } if has_moved => break ConnectionEnd::Lost(why),
                            Told::Bad { why } => break ConnectionEnd::BrokenOff(why),
                            Told::Pong {} => {
                                if let Some(at) = pinged.take() {
                                    self.carrier.note_ping(heard.duration_since(at));
                                }
                                continue;
                            }
                            Told::Runs { .. } | Told::Look { .. } => continue,
                            _ if self.failed > 0 => {
                                self.failed = 0;
                                self.lost.send_replace(None);
                            }
                            _ => {}
                        }
                        if let Err(why) = self.hear(told, body, &frames) {
                            break ConnectionEnd::Nonsense(why);
                        }
                    }
                    Ok(None) => break ConnectionEnd::Lost("the connection was closed".to_owned()),
                    Err(err) => break ConnectionEnd::Lost(err.to_string()),
                },
                request = self.requests.recv() => match request {
                    Some(request) => self.say(request, &frames),
                    None => return None,
                },
                _ = ping.tick() => {
                    pinged.get_or_insert_with(Instant::now);
                    drop(frames.send(encode(&Call::Ping {}, b"")));
                }
                () = until(rests_at) => break ConnectionEnd::Rests,
                () = sleep_until(heard + SILENCE) => {
                    break ConnectionEnd::Lost(format!("no word for {} s", SILENCE.as_secs()));
                }
            }
        };
        writer.abort();
        drop(guard);
        Some(why)
    }

    /// Takes a request while there is no connection: it is said after the next connect.
    fn keep(&mut self, request: Request) {
        let (frames, _) = mpsc::unbounded_channel();
        self.say(request, &frames);
    }

    fn say(&mut self, request: Request, frames: &mpsc::UnboundedSender<Vec<u8>>) {
        let say = |call: Call, body: &[u8]| drop(frames.send(encode(&call, body)));
        match request {
            Request::Start { run, end } => {
                let _ = frames.send(begin(&run, &end));
                self.runs.insert(run, end);
            }
            Request::Input { run, bytes } => {
                let Some(end) = self.runs.get_mut(&run) else { return };
                let seq = end.next_input;
                end.next_input += 1;
                if end.is_attached {
                    say(Call::In { run, seq }, &bytes);
                }
                end.unacked.push_back((seq, bytes));
            }
            Request::Order { run, order } => {
                let Some(end) = self.runs.get_mut(&run) else { return };
                end.eof |= order == RunOrder::Eof;
                end.end |= order == RunOrder::End;
                // What ends the input comes after the input.
                if end.is_attached || order != RunOrder::Eof {
                    say(Call::Order { run, order }, b"");
                }
            }
            Request::Forget { run, token } => say(Call::Forget { run, token }, b""),
            Request::Leave { run } => drop(self.runs.remove(&run)),
            Request::Seen { run, at, keep } => {
                if let Some(end) = self.runs.get_mut(&run) {
                    end.seen = at;
                    say(Call::Seen { run, at, keep }, b"");
                }
            }
        }
    }

    /// An error ends the connection.
    fn hear(
        &mut self,
        told: Told,
        body: Vec<u8>,
        frames: &mpsc::UnboundedSender<Vec<u8>>,
    ) -> Result<(), String> {
        let say = |call: Call, body: &[u8]| drop(frames.send(encode(&call, body)));
        match told {
            Told::Pong {} | Told::Runs { .. } | Told::Look { .. } | Told::Bad { .. } => {}
            Told::Started { run } => {
                if let Some(end) = self.runs.get(&run) {
                    let _ = frames.send(attach(&run, end));
                }
            }
            Told::Adopted { run, kept, seq, taken, torn, .. } => {
                let Some(end) = self.runs.get_mut(&run) else { return Ok(()) };
                if kept > end.received {
                    return self.lose(&run, "what Claude wrote was not kept");
                }
                if matches!(end.starting, Some((Beginning::Adopt(_), _))) {
                    if seq > INPUTS_MAX {
                        return Err(format!("{seq} inputs"));
                    }
                    end.next_input = seq;
                }
                end.acknowledge(seq);
                end.is_attached = true;
                for (seq, bytes) in &end.unacked {
                    say(Call::In { run: run.clone(), seq: *seq }, bytes);
                }
                let orders = [(end.eof, RunOrder::Eof), (end.end, RunOrder::End)];
                for (_, order) in orders.into_iter().filter(|(is_asked, _)| *is_asked) {
                    say(Call::Order { run: run.clone(), order }, b"");
                }
                if let Some((_, reply)) = end.starting.take()
                    && reply.send(Ok(Begun { taken, torn })).is_err()
                {
                    // Nobody waits for it any more.
                    end.end = true;
                    say(Call::Order { run, order: RunOrder::End }, b"");
                }
            }
            Told::Out { run, at } => {
                let Some(end) = self.runs.get_mut(&run) else { return Ok(()) };
                if at != end.received {
                    return Err(format!("output from {at} on, where {} is next", end.received));
                }
                end.received += body.len() as u64;
                if end.received - end.seen > AHEAD_BYTES_MAX {
                    return Err("more output than was asked for".to_owned());
                }
                let _ = end.out.send(body);
            }
            Told::Err { run } => {
                if let Some(end) = self.runs.get(&run) {
                    let _ = end.err.send(body);
                }
            }
            Told::Ask { run, ask } => {
                if let (Some(answers), true) = (&self.answers, self.runs.contains_key(&run)) {
                    answers.reply(run, ask, body, frames.clone());
                }
            }
            Told::Ack { run, seq } => {
                if let Some(end) = self.runs.get_mut(&run) {
                    end.acknowledge(seq);
                }
            }
            Told::Exit { run, exit } => {
                let Some(end) = self.runs.get_mut(&run) else { return Ok(()) };
                if exit.size != end.received {
                    let received = end.received;
                    return Err(format!("{} bytes were written and {received} came", exit.size));
                }
                end.ended = Some(Exit { code: exit.code, signal: exit.signal });
                let _ = frames.send(begin(&run, end));
            }
            Told::Forgotten { run } => {
                self.known.remove(&run);
                self.tell_end(&run);
            }
            Told::Refused { run, why } => {
                let Some(end) = self.runs.get_mut(&run) else { return Ok(()) };
                if end.ended.is_some() {
                    // Anything else was said to a run that had just ended.
                    if matches!(why, Refusal::Step { .. }) {
                        // What is left of it is removed at the next start.
                        self.tell_end(&run);
                    }
                    return Ok(());
                }
                let is_nowhere = match (&end.starting, &why) {
                    (Some((Beginning::Start(_), _)), _) | (_, Refusal::NotYours {}) => true,
                    // It may live, and is known until its lease ends it.
                    _ => false,
                };
                if is_nowhere {
                    self.known.remove(&run);
                }
                if let Some((_, reply)) = end.starting.take() {
                    let _ = reply.send(Err(NotStarted::Refused(why)));
                    self.runs.remove(&run);
                    return Ok(());
                }
                match why {
                    // Nobody knows how it ended: the machine forgot it.
                    Refusal::NotYours {} => {
                        if let Some(to) = end.exit.take() {
                            let _ = to.send(Ok(Exit { code: None, signal: None }));
                        }
                        self.runs.remove(&run);
                    }
                    Refusal::Superseded {} => {
                        return self.lose(&run, "another TinyClaw went on with the run");
                    }
                    other => self.abandon(&run, &other.to_string(), frames),
                }
            }
        }
        Ok(())
    }

    /// A run that has ended, told when nothing more is to be done about it.
    fn tell_end(&mut self, run: &RunId) {
        let Some(mut end) = self.runs.remove(run) else { return };
        if let (Some(to), Some(exit)) = (end.exit.take(), end.ended) {
            let _ = to.send(Ok(exit));
        }
    }

    /// A run that is there and cannot be followed, by what it left or failed to leave: it is ended there, and nobody knows how.
    /// That is a matter of this run alone.
    fn abandon(&mut self, run: &RunId, why: &str, frames: &mpsc::UnboundedSender<Vec<u8>>) {
        let Some(mut end) = self.runs.remove(run) else { return };
        tracing::warn!("a run cannot be followed, and is ended: {why}");
        let forget = Call::Forget { run: run.clone(), token: end.token.clone() };
        let _ = frames.send(encode(&forget, b""));
        let _ = end.err.send(format!("tinyclaw: {why}\n").into_bytes());
        if let Some(to) = end.exit.take() {
            let _ = to.send(Ok(Exit { code: None, signal: None }));
        }
    }

    /// A run that cannot be followed any more.
    fn lose(&mut self, run: &RunId, why: &str) -> Result<(), String> {
        if let Some(mut end) = self.runs.remove(run) {
            let lost = Unreached::from(why.to_owned());
            if let Some(to) = end.exit.take() {
                let _ = to.send(Err(lost.clone().at(&self.place)));
            }
            if let Some((_, reply)) = end.starting.take() {
                let _ = reply.send(Err(NotStarted::OutOfReach(lost)));
            }
        }
        Ok(())
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn write(mut to: Writer, mut frames: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if to.write_all(&frame).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}
