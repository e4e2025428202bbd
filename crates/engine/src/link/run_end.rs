//! This office's end of one run over a link: what it has of the output, what no hold has of the input, and how it ends.
//!
//! It says nothing by itself: the line asks it what goes first over a new connection.

use std::collections::VecDeque;
use std::sync::Arc;

use tinyclaw_domain::frame::{Call, Refusal, RunId, RunToken, encode};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::carrier::Unreached;
use crate::launch::Exit;
use crate::look::OutOfReach;

/// Why a run did not start.
pub(super) enum NotStarted {
    OutOfReach(Unreached),
    Refused(Refusal),
}

/// A run that is there.
pub(super) struct Begun {
    /// How many bytes of input it has taken,
    pub(super) taken: u64,
    /// and whether they end in the middle of a line, or nobody knows.
    pub(super) torn: bool,
}

/// Told once: whether the run is there.
pub(super) type Started = oneshot::Sender<Result<Begun, NotStarted>>;

/// How a run of this office begins.
pub(super) enum Beginning {
    /// It is started, by this order.
    Start(Vec<u8>),
    /// An earlier process started it. What comes from this offset on is new.
    Adopt(u64),
}

/// This office's end of a run.
pub(super) struct RunEnd {
    pub(super) token: RunToken,
    /// How it begins, until it is there, and whom to tell.
    pub(super) starting: Option<(Beginning, Started)>,
    /// Whether its hold has said, over this connection, what it has of the input. Before that nothing is said to it: what it
    /// does not have yet goes first.
    pub(super) is_attached: bool,
    pub(super) received: u64,
    /// How far what was received was dealt with.
    pub(super) seen: u64,
    pub(super) next_input: u64,
    /// Inputs that no hold has acknowledged.
    pub(super) unacked: VecDeque<(u64, Vec<u8>)>,
    /// Orders that go with them: said after each connect, since nobody knows whether they arrived.
    pub(super) eof: bool,
    pub(super) end: bool,
    /// How it ended, until nothing of it is left there.
    pub(super) ended: Option<Exit>,
    pub(super) out: mpsc::UnboundedSender<Vec<u8>>,
    pub(super) err: mpsc::UnboundedSender<Vec<u8>>,
    pub(super) exit: Option<oneshot::Sender<Result<Exit, OutOfReach>>>,
    room: Arc<Semaphore>,
}

impl RunEnd {
    pub(super) fn new(
        token: RunToken,
        beginning: Beginning,
        reply: Started,
        out: mpsc::UnboundedSender<Vec<u8>>,
        err: mpsc::UnboundedSender<Vec<u8>>,
        exit: oneshot::Sender<Result<Exit, OutOfReach>>,
        room: Arc<Semaphore>,
    ) -> RunEnd {
        let received = match beginning {
            Beginning::Start(_) => 0,
            Beginning::Adopt(offset) => offset,
        };
        RunEnd {
            token,
            received,
            seen: received,
            starting: Some((beginning, reply)),
            is_attached: false,
            next_input: 0,
            unacked: VecDeque::new(),
            eof: false,
            end: false,
            ended: None,
            out,
            err,
            exit: Some(exit),
            room,
        }
    }

    pub(super) fn acknowledge(&mut self, before: u64) {
        while self.unacked.front().is_some_and(|(seq, _)| *seq < before) {
            let bytes = self.unacked.pop_front().map_or(0, |(_, bytes)| bytes.len());
            self.room.add_permits(bytes);
        }
    }
}

impl Drop for RunEnd {
    fn drop(&mut self) {
        // Whoever waits for room to write waits for nothing.
        self.room.close();
    }
}

/// The first frame about a run on a connection.
pub(super) fn begin(run: &RunId, end: &RunEnd) -> Vec<u8> {
    match &end.starting {
        _ if end.ended.is_some() => {
            encode(&Call::Forget { run: run.clone(), token: end.token.clone() }, b"")
        }
        Some((Beginning::Start(order), _)) => {
            encode(&Call::Start { run: run.clone(), token: end.token.clone() }, order)
        }
        Some((Beginning::Adopt(_), _)) | None => attach(run, end),
    }
}

pub(super) fn attach(run: &RunId, end: &RunEnd) -> Vec<u8> {
    let (run, token) = (run.clone(), end.token.clone());
    encode(&Call::Attach { run, token, offset: end.received }, b"")
}
