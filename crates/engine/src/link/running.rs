//! What a run's connections and pipes share, and the pipes: Claude's output goes to the spool, inputs go to Claude.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tinyclaw_domain::frame::{BODY_BYTES_MAX, RunExit, RunId, RunToken, StartRun};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::asking::Asking;
use super::frames::{Reader, Writer};
use super::runs::RunDir;
use super::spool::Spool;
use crate::launch::LeashOrder;

/// So much that nobody has seen, and Claude waits.
const SPOOL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How much of stderr is kept.
const ERR_BYTES_MAX: usize = 16 * 1024;
/// So often a run looks whether its folder is still there.
const FOLDER_LOOK: Duration = Duration::from_secs(5);
/// How long a full disk is left alone before the next try.
pub(super) const DISK_RETRY: Duration = Duration::from_millis(500);

/// What all connections and pipes of a run share.
pub(super) struct Shared {
    pub(super) run: RunId,
    pub(super) digest: String,
    pub(super) dir: RunDir,
    pub(super) state: Mutex<State>,
    /// Something in there is new.
    pub(super) changed: watch::Sender<()>,
    pub(super) orders: mpsc::UnboundedSender<LeashOrder>,
    pub(super) inputs: mpsc::UnboundedSender<Input>,
}

pub(super) struct State {
    pub(super) spool: Spool,
    pub(super) seen: u64,
    /// The end of stderr, and how much there was in all.
    pub(super) err: Vec<u8>,
    pub(super) err_end: u64,
    pub(super) next_input: u64,
    /// How many bytes of input were taken, and whether they end in the middle of a line.
    pub(super) taken: u64,
    pub(super) is_torn: bool,
    /// Input that Claude did not read yet.
    pub(super) unread: usize,
    /// How many connections there were, and which one is heard; none is 0.
    pub(super) connections: u64,
    pub(super) connection: u64,
    pub(super) pinged: Instant,
    /// Nothing more is kept: the folder is gone, or there is no time to wait for room.
    pub(super) is_lost: bool,
    pub(super) exit: Option<RunExit>,
    pub(super) exit_was_told: bool,
    /// What programs below Claude have asked of the office.
    pub(super) asking: Asking,
}

/// What there is to tell.
pub(super) struct News {
    /// How far the output goes.
    pub(super) end: u64,
    /// How much of it the office has dealt with.
    pub(super) seen: u64,
    /// What is new on stderr.
    pub(super) err: Vec<u8>,
    /// What is asked, and was not told to this connection.
    pub(super) asked: Vec<(u64, Vec<u8>)>,
    pub(super) exit: Option<RunExit>,
}

impl State {
    /// What there is for this connection. `None`: another one listens.
    pub(super) fn news(&mut self, mine: u64, err_sent: &mut u64) -> Option<News> {
        if self.connection != mine {
            return None;
        }
        let unsent = usize::try_from(self.err_end - *err_sent).unwrap_or(usize::MAX);
        *err_sent = self.err_end;
        let err = self.err[self.err.len().saturating_sub(unsent)..].to_vec();
        let asked = self.asking.untold(mine);
        Some(News { end: self.spool.end(), seen: self.seen, err, asked, exit: self.exit })
    }
}

pub(super) enum Input {
    Bytes(Vec<u8>),
    Eof,
}

impl Shared {
    /// A run at its beginning, and what it is told from here.
    pub(super) fn new(
        run: RunId,
        token: &RunToken,
        dir: RunDir,
    ) -> (Arc<Shared>, mpsc::UnboundedReceiver<LeashOrder>, mpsc::UnboundedReceiver<Input>) {
        let (orders_to, orders) = mpsc::unbounded_channel();
        let (inputs_to, inputs) = mpsc::unbounded_channel();
        let shared = Shared {
            run,
            digest: token.digest(),
            state: Mutex::new(State {
                spool: Spool::new(dir.path()),
                seen: 0,
                err: Vec::new(),
                err_end: 0,
                next_input: 0,
                taken: 0,
                is_torn: false,
                unread: 0,
                is_lost: false,
                connections: 0,
                connection: 0,
                pinged: Instant::now(),
                exit: None,
                exit_was_told: false,
                asking: Asking::default(),
            }),
            dir,
            changed: watch::channel(()).0,
            orders: orders_to,
            inputs: inputs_to,
        };
        (Arc::new(shared), orders, inputs)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything, and keeps no more of the output.
    pub(super) fn lose(&self) {
        self.lock().is_lost = true;
        let _ = self.orders.send(LeashOrder::End);
        self.changed.send_replace(());
    }

    /// How much lies in the spool that the office may still need.
    fn unseen(&self) -> u64 {
        let state = self.lock();
        state.spool.end() - state.seen
    }
}

pub(super) fn is_full(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Claude's output, to the spool. While that is full, or the disk is, Claude waits.
pub(super) async fn keep_output(shared: Arc<Shared>, mut stdout: Reader) {
    let mut changes = shared.changed.subscribe();
    let mut chunk = vec![0; BODY_BYTES_MAX];
    loop {
        loop {
            changes.mark_unchanged();
            if shared.unseen() < SPOOL_BYTES_MAX || shared.lock().is_lost {
                break;
            }
            let _ = changes.changed().await;
        }
        let read = stdout.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let mut rest = &chunk[..read];
        while !rest.is_empty() && !shared.lock().is_lost {
            let wrote = shared.lock().spool.write(rest);
            match wrote {
                Ok(wrote) => rest = &rest[wrote..],
                Err(err) if is_full(&err) => sleep(DISK_RETRY).await,
                // The run's folder is gone or broken: what Claude writes reaches nobody any more.
                Err(_) => shared.lose(),
            }
        }
        shared.changed.send_replace(());
    }
}

pub(super) async fn keep_errors(shared: Arc<Shared>, mut stderr: Reader) {
    let mut chunk = vec![0; 4096];
    loop {
        let read = stderr.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let mut state = shared.lock();
        state.err.extend_from_slice(&chunk[..read]);
        state.err_end += read as u64;
        let surplus = state.err.len().saturating_sub(ERR_BYTES_MAX);
        state.err.drain(..surplus);
        drop(state);
        shared.changed.send_replace(());
    }
}

pub(super) async fn give_input(
    shared: Arc<Shared>,
    stdin: Writer,
    mut inputs: mpsc::UnboundedReceiver<Input>,
) {
    let mut stdin = Some(stdin);
    while let Some(input) = inputs.recv().await {
        match (input, &mut stdin) {
            (Input::Bytes(bytes), to) => {
                if let Some(to) = to {
                    // It is gone: its stdout says so.
                    let _ = to.write_all(&bytes).await;
                    let _ = to.flush().await;
                }
                shared.lock().unread -= bytes.len();
            }
            (Input::Eof, to) => *to = None,
        }
    }
}

/// SIGTERM is the machine's, or the next run's of this office: everything ends, and soon.
pub(super) async fn hear_signals(shared: Arc<Shared>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    while terminate.recv().await.is_some() {
        shared.lose();
    }
}

/// Ends the run when nobody is there for longer than was agreed, or when what it keeps was removed: then nobody will ever ask
/// for it.
pub(super) async fn count_lease(shared: Arc<Shared>, start: StartRun) {
    let lease = Duration::from_secs(start.lease_s);
    let end = lease + Duration::from_secs(start.end_s);
    let mut is_closed = false;
    loop {
        let pinged = shared.lock().pinged;
        let until = pinged + if is_closed { end } else { lease };
        if shared.dir.path().symlink_metadata().is_err() {
            shared.lose();
            return;
        }
        if Instant::now() < until {
            sleep_until(until.min(Instant::now() + FOLDER_LOOK)).await;
        } else if is_closed {
            let _ = shared.orders.send(LeashOrder::End);
            return;
        } else {
            is_closed = true;
            let _ = shared.inputs.send(Input::Eof);
        }
    }
}
