//! One connection of a hub to a hold: who it is, what it asks for, and what it is told.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_disk::foreign;
use tinyclaw_domain::frame::{BODY_BYTES_MAX, Call, Refusal, RunOrder, Told, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::asking;
use super::frames::Incoming;
use super::running::{DISK_RETRY, Input, News, Shared};
use super::runs::RunDir;
use super::spool;
use crate::launch::LeashOrder;

/// So much input that Claude has not read, and what comes then is left out.
const INPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// When there is no more of it than this, what was left out is asked for: the connection ends, and over the next one the
/// office says again what was not acknowledged.
const INPUT_BYTES_ROOM: usize = INPUT_BYTES_MAX / 2;
/// So often that is looked for.
const ROOM_LOOK: Duration = Duration::from_millis(50);
/// So far ahead of what the office has dealt with.
const AHEAD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A connection has to say who it is within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// A frame for the office, from whoever hears it.
enum Say {
    On(Vec<u8>),
    /// And then the connection is over.
    Last(Vec<u8>),
}

/// The name of the socket at which the run is spoken of.
pub(super) const SOCKET: &str = "s";

/// A socket of this name in the run's folder.
pub(super) fn listen(dir: &RunDir, name: &str) -> io::Result<UnixListener> {
    let opened = open(dir)?;
    // By the folder's descriptor: a socket's path may have 108 bytes, and a home can be deep.
    let path = format!("/proc/self/fd/{}/{name}", opened.as_raw_fd());
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Connects to the hold of a run.
pub(super) async fn connect(dir: &RunDir) -> io::Result<UnixStream> {
    let opened = open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd())).await
}

fn open(dir: &RunDir) -> io::Result<std::os::fd::OwnedFd> {
    foreign::open_dir_below(dir.path(), Path::new("")).map_err(io::Error::other)
}

/// Serves whoever connects, each in a task of its own.
pub(super) async fn accept<S>(
    shared: Arc<Shared>,
    listener: UnixListener,
    serve: impl Fn(Arc<Shared>, UnixStream) -> S,
) where
    S: Future<Output = ()> + Send + 'static,
{
    let me = nix::unistd::geteuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(DISK_RETRY).await;
            continue;
        };
        if stream.peer_cred().is_ok_and(|it| it.uid() == me) {
            tokio::spawn(serve(shared.clone(), stream));
        }
    }
}

/// One connection of a hub.
pub(super) async fn serve(shared: Arc<Shared>, stream: UnixStream) {
    let (from, mut to) = stream.into_split();
    let mut incoming = Incoming::new(from);
    let first = timeout(PATIENCE, incoming.next::<Call>()).await;
    let Ok(Ok(Some((Call::Attach { run, token, offset }, _)))) = first else { return };
    let why = if run != shared.run || token.digest() != shared.digest {
        Some(Refusal::NotYours {})
    } else {
        let state = shared.lock();
        let is_kept = (state.spool.kept()..=state.spool.end()).contains(&offset);
        (!is_kept).then(|| Refusal::Step { why: not_there(offset) })
    };
    if let Some(why) = why {
        let _ = to.write_all(&encode(&Told::Refused { run, why }, b"")).await;
        return;
    }
    let (mine, adopted) = {
        let mut state = shared.lock();
        state.connections += 1;
        state.connection = state.connections;
        state.pinged = Instant::now();
        let (at, kept, seq) = (state.spool.end(), state.spool.kept(), state.next_input);
        (
            state.connection,
            Told::Adopted { run, at, kept, seq, taken: state.taken, torn: state.is_torn },
        )
    };
    // Whoever was connected before is not heard any more.
    shared.changed.send_replace(());
    let (acks_to, acks) = mpsc::unbounded_channel();
    let _ = acks_to.send(Say::On(encode(&adopted, &shared.dir.note())));
    tokio::select! {
        () = hear(&shared, mine, incoming, acks_to) => {}
        () = tell(&shared, mine, to, offset, acks) => {}
    }
    let mut state = shared.lock();
    if state.connection == mine {
        state.connection = 0;
    }
    drop(state);
    shared.changed.send_replace(());
}

/// One helper that git has started: what it wants is told to whoever listens, and the answer is what git reads.
pub(super) async fn serve_git(shared: Arc<Shared>, stream: UnixStream) {
    let (from, mut to) = stream.into_split();
    let mut asked = Vec::new();
    let read = timeout(asking::SAY, from.take(asking::BYTES_MAX).read_to_end(&mut asked)).await;
    if !matches!(read, Ok(Ok(1..))) {
        return;
    }
    let Some((ask, answer)) = shared.lock().asking.ask(asked) else { return };
    shared.changed.send_replace(());
    let said = timeout(asking::PATIENCE, answer).await;
    shared.lock().asking.forget(ask);
    if let Ok(Ok(said)) = said {
        let _ = to.write_all(&said).await;
    }
}

/// What the office asks for.
async fn hear(
    shared: &Shared,
    mine: u64,
    mut incoming: Incoming<OwnedReadHalf>,
    acks: mpsc::UnboundedSender<Say>,
) {
    if let Some(why) = hear_until_bad(shared, mine, &mut incoming, &acks).await {
        let _ = acks.send(Say::Last(encode(&Told::Bad { why }, b"")));
        // The other half ends the connection, when that was said.
        std::future::pending::<()>().await;
    }
}

/// Until there is room for input again.
async fn room(shared: &Shared) {
    while shared.lock().unread > INPUT_BYTES_ROOM {
        sleep(ROOM_LOOK).await;
    }
}

/// `None`: the connection is over. Otherwise what was wrong.
async fn hear_until_bad(
    shared: &Shared,
    mine: u64,
    incoming: &mut Incoming<OwnedReadHalf>,
    acks: &mpsc::UnboundedSender<Say>,
) -> Option<String> {
    // Output goes on meanwhile, and what is said about it: it may be what Claude waits for.
    let mut is_full = false;
    loop {
        let heard = tokio::select! {
            heard = incoming.next::<Call>() => heard,
            () = room(shared), if is_full => {
                return Some("there is room for the input that was left out".to_owned());
            }
        };
        let (call, body) = match heard {
            Ok(Some(it)) => it,
            Ok(None) => return None,
            Err(err) => return Some(err.to_string()),
        };
        if shared.lock().connection != mine {
            // The other half says so.
            std::future::pending::<()>().await;
        }
        let mut state = shared.lock();
        state.pinged = Instant::now();
        match call {
            Call::Ping {} => {}
            Call::In { .. } if is_full => {}
            Call::In { seq, .. } => {
                if seq > state.next_input {
                    return Some(format!("input {seq} where {} is next", state.next_input));
                }
                // Sent again after a cut: it was applied.
                if seq == state.next_input {
                    if state.unread + body.len() > INPUT_BYTES_MAX {
                        is_full = true;
                        continue;
                    }
                    state.next_input += 1;
                    state.unread += body.len();
                    state.taken += body.len() as u64;
                    state.is_torn = body.last().map_or(state.is_torn, |it| *it != b'\n');
                    let _ = shared.inputs.send(Input::Bytes(body));
                }
                let ack = Told::Ack { run: shared.run.clone(), seq: state.next_input };
                let _ = acks.send(Say::On(encode(&ack, b"")));
            }
            Call::Note { .. } => {
                drop(state);
                if let Err(err) = shared.dir.write_note(&body) {
                    return Some(format!("cannot keep the note: {err}"));
                }
            }
            Call::Seen { at, keep, .. } => {
                state.seen = state.seen.max(at.min(state.spool.end()));
                let unneeded = state.seen.min(keep);
                state.spool.drop_before(unneeded);
                drop(state);
                shared.changed.send_replace(());
            }
            Call::Answer { ask, .. } => state.asking.answer(ask, body),
            Call::Order { order, .. } => match order {
                RunOrder::Interrupt => drop(shared.orders.send(LeashOrder::Interrupt)),
                RunOrder::End => drop(shared.orders.send(LeashOrder::End)),
                // It comes after the input, and is said again as that is.
                RunOrder::Eof if is_full => {}
                RunOrder::Eof => drop(shared.inputs.send(Input::Eof)),
            },
            Call::Hello { .. }
            | Call::Start { .. }
            | Call::Attach { .. }
            | Call::Runs {}
            | Call::Look { .. }
            | Call::Forget { .. } => {
                return Some("that is not asked of a hold".to_owned());
            }
        }
    }
}

/// Why a connection cannot be told what lies at an offset: what was there a moment ago was taken away.
///
/// Where nobody of the office did that, the run ends: what Claude wrote there reaches nobody any more, and what it writes now
/// would be half of something.
fn gone(shared: &Shared, mine: u64, offset: u64) -> Refusal {
    if shared.lock().connection != mine {
        // Whoever listens now may have had it removed.
        return Refusal::Superseded {};
    }
    shared.lose();
    Refusal::Step { why: not_there(offset) }
}

pub(super) fn not_there(offset: u64) -> String {
    format!("output from {offset} on is not there any more")
}

/// What the office is told: acknowledgements at once, output in order, the end when everything was sent.
async fn tell(
    shared: &Shared,
    mine: u64,
    mut to: OwnedWriteHalf,
    offset: u64,
    mut acks: mpsc::UnboundedReceiver<Say>,
) {
    let mut changes = shared.changed.subscribe();
    let mut chunk = vec![0; BODY_BYTES_MAX];
    let (mut sent, mut err_sent) = (offset, 0);
    let run = || shared.run.clone();
    loop {
        changes.mark_unchanged();
        let mut frames = Vec::new();
        while let Ok(ack) = acks.try_recv() {
            match ack {
                Say::On(frame) => frames.extend_from_slice(&frame),
                Say::Last(frame) => {
                    frames.extend_from_slice(&frame);
                    let _ = to.write_all(&frames).await;
                    return;
                }
            }
        }
        let news = shared.lock().news(mine, &mut err_sent);
        let Some(News { end, seen, err, asked, exit }) = news else {
            let why = Refusal::Superseded {};
            let _ = to.write_all(&encode(&Told::Refused { run: run(), why }, b"")).await;
            return;
        };
        if !err.is_empty() {
            frames.extend_from_slice(&encode(&Told::Err { run: run() }, &err));
        }
        for (ask, what) in asked {
            frames.extend_from_slice(&encode(&Told::Ask { run: run(), ask }, &what));
        }
        // Not further ahead of whoever deals with it than this: it lies in the office's memory.
        let until = end.min(seen.max(offset) + AHEAD_BYTES_MAX);
        if sent < until {
            let most = chunk.len().min(usize::try_from(until - sent).unwrap_or(usize::MAX));
            match spool::read(shared.dir.path(), sent, &mut chunk[..most]) {
                Ok(read) if read > 0 => {
                    frames.extend_from_slice(&encode(
                        &Told::Out { run: run(), at: sent },
                        &chunk[..read],
                    ));
                    sent += read as u64;
                }
                _ => {
                    let why = gone(shared, mine, sent);
                    let _ = to.write_all(&encode(&Told::Refused { run: run(), why }, b"")).await;
                    return;
                }
            }
        }
        let is_over = sent == end && exit.is_some();
        if let (true, Some(exit)) = (is_over, exit) {
            frames.extend_from_slice(&encode(&Told::Exit { run: run(), exit }, b""));
        }
        if to.write_all(&frames).await.is_err() {
            return;
        }
        if is_over {
            shared.lock().exit_was_told = true;
            return;
        }
        if sent < until {
            continue;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            ack = acks.recv() => match ack {
                Some(Say::On(frame)) => if to.write_all(&frame).await.is_err() { return },
                Some(Say::Last(frame)) => {
                    let _ = to.write_all(&frame).await;
                    return;
                }
                None => return,
            },
        }
    }
}
