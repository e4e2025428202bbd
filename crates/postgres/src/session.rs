//! One process at the database: calls for threads that wait, and the owner who holds what the process holds.
//!
//! Calls go over a few connections, made when they are needed. The owner has one of its own, on which it listens as well: its
//! advisory lock is the proof that the process lives. When that connection is lost, nothing is *still ours* until the same
//! owner has its lock again; what others took meanwhile is lost, and so is everything when others have given the owner up.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{Notify, RwLock, watch};
use tokio_postgres::Row;

use crate::database::Database;
use crate::line::{Line, Slot};
use crate::trouble::{OpenError, Trouble};
use crate::{Args, args, schema};

/// Connections for calls. More would not make them quicker: calls are pipelined.
const SLOTS: usize = 3;
/// The longest a call is waited for, with everything that is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same while the database is known to be out of reach: whoever asks has others to serve.
const PATIENCE_AWAY: Duration = Duration::from_secs(2);
/// How often the owner's connection is asked whether it lives, and how long it may take to say so.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_WITHIN: Duration = Duration::from_secs(4);
/// Between two tries to reach the database.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// What a session hears.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Somebody told something.
    Told(&'a str),
    /// The connection was new: something may have been missed.
    Anew,
}

/// What a call is, which decides what is done when its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Doing it twice is doing it once.
    Plain,
    /// It takes a lane, whose turn is in the answer's `o_turn`. One whose answer is lost is given back.
    Take,
}

/// A process at the database. Ends in order when it is dropped: what it held is free then.
pub struct Session {
    shared: Arc<Shared>,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

struct Shared {
    database: Database,
    office: i32,
    slots: Vec<Slot>,
    hear: Box<dyn Fn(Heard<'_>) + Send + Sync>,
    /// The owner's number; 0 while there is none.
    me: AtomicI64,
    /// Whether the owner's connection is wanted, and whether its lock is surely ours.
    has_begun: AtomicBool,
    in_contact: watch::Sender<bool>,
    /// Set once what we held must be let go.
    lost: watch::Sender<bool>,
    /// The turns that we have.
    turns: Mutex<HashSet<i64>>,
    /// Held while a turn is taken, so that nobody gives back what is just being told to us.
    taking: RwLock<()>,
    /// Set when the database may hold a lane for us of which we do not know.
    in_doubt: AtomicBool,
    ask: Notify,
}

impl Session {
    /// Connects, and brings the schema up to date. `hear` gets what others tell, once there is an owner.
    pub fn open(
        database: &Database,
        hear: impl Fn(Heard<'_>) + Send + Sync + 'static,
    ) -> Result<Session, OpenError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|source| OpenError::Begin { source })?;
        let wanted = database.clone();
        let began = wait(&runtime, PATIENCE, async move {
            let reach = |err: &tokio_postgres::Error| OpenError::Reach { source: Trouble::of(err) };
            let mut line = Line::open(&wanted, |_| (), || ()).await.map_err(|err| reach(&err))?;
            schema::bring_up_to_date(line.client_mut()).await?;
            let found = line.query("select office_of($1)", &args![wanted.office.clone()]).await;
            let found = found.map_err(|err| reach(&err))?;
            let office: i32 = found.first().map_or(0, |it| it.get(0));
            Ok((line, office))
        });
        let (line, office) = match began {
            Some(it) => it?,
            None => {
                runtime.shutdown_background();
                let why = "it does not answer within 10 seconds";
                return Err(OpenError::Reach { source: Trouble::passing(why) });
            }
        };
        let mut slots = vec![Slot::with(line)];
        slots.resize_with(SLOTS, Slot::default);
        let shared = Arc::new(Shared {
            database: database.clone(),
            office,
            slots,
            hear: Box::new(hear),
            me: AtomicI64::new(0),
            has_begun: AtomicBool::new(false),
            in_contact: watch::channel(false).0,
            lost: watch::channel(false).0,
            turns: Mutex::default(),
            taking: RwLock::default(),
            in_doubt: AtomicBool::new(false),
            ask: Notify::new(),
        });
        Ok(Session { shared, runtime: Some(runtime) })
    }

    /// The office's number in the database.
    pub fn office(&self) -> i32 {
        self.shared.office
    }

    /// The owner that holds what this process holds. The first one to ask waits until it is there; from then on the
    /// session hears what is told. While contact is lost there is none: nothing is taken that others may have to free.
    pub fn me(&self) -> Result<i64, Trouble> {
        let shared = self.shared.clone();
        let Some(runtime) = &self.runtime else { return Err(ended()) };
        if !shared.has_begun.swap(true, Ordering::SeqCst) {
            runtime.spawn(own(shared.clone()));
        }
        if !*shared.in_contact.borrow() {
            let is_new = shared.me.load(Ordering::SeqCst) == 0;
            let patience = if is_new { PATIENCE } else { PATIENCE_AWAY };
            let mut contact = shared.in_contact.subscribe();
            let there = async move { contact.wait_for(|it| *it).await.is_ok() };
            if !wait(runtime, patience, there).unwrap_or(false) {
                return Err(Trouble::passing("the database does not answer"));
            }
        }
        Ok(shared.me.load(Ordering::SeqCst))
    }

    /// Calls a function and waits for its answer, 10 seconds at most. What the answer's `o_told` holds is told to others.
    ///
    /// A call whose connection breaks is made again, so that every function must be the same when it is called twice.
    pub fn call(
        &self,
        kind: Kind,
        statement: &'static str,
        args: Args,
    ) -> Result<Vec<Row>, Trouble> {
        let shared = self.shared.clone();
        let Some(runtime) = &self.runtime else { return Err(ended()) };
        let is_away = shared.has_begun.load(Ordering::SeqCst) && !*shared.in_contact.borrow();
        let patience = if is_away { PATIENCE_AWAY } else { PATIENCE };
        let asked = async move { shared.call(kind, statement, &args, patience).await };
        // The call watches its own time; a second more is for a runtime that has much to do.
        match wait(runtime, patience + Duration::from_secs(1), asked) {
            Some(answer) => answer,
            None => {
                if kind == Kind::Take {
                    self.shared.in_doubt.store(true, Ordering::SeqCst);
                }
                Err(Trouble::passing("the database does not answer"))
            }
        }
    }

    /// Whether a turn is ours, and nobody can have taken it over.
    pub fn has(&self, turn: i64) -> bool {
        *self.shared.in_contact.borrow() && self.shared.turns().contains(&turn)
    }

    /// Forgets a turn that ended. `is_known` is whether the database knows that it did.
    pub fn forget(&self, turn: i64, is_known: bool) {
        self.shared.turns().remove(&turn);
        if !is_known {
            self.shared.in_doubt.store(true, Ordering::SeqCst);
            self.shared.ask.notify_one();
        }
    }

    /// Ends when what we hold must be let go, because others take it over.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut lost = self.shared.lost.subscribe();
        async move {
            if lost.wait_for(|it| *it).await.is_err() {
                // The session ended in order.
                std::future::pending::<()>().await;
            }
        }
    }

    /// How long another machine may be out of reach.
    pub fn away_after(&self) -> Duration {
        self.shared.database.away_after
    }

    /// This machine, and what runs on it.
    pub fn names(&self) -> (String, String) {
        (self.shared.database.node.clone(), self.shared.database.service.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let me = self.shared.me.load(Ordering::SeqCst);
        if me != 0 && *self.shared.in_contact.borrow() {
            let shared = self.shared.clone();
            let ended = async move {
                let bye = "select bye($1, $2)";
                let args = args![shared.office, me];
                shared.call(Kind::Plain, bye, &args, PATIENCE_AWAY).await
            };
            // Without an answer others find our lock free.
            let _ = wait(&runtime, PATIENCE_AWAY, ended);
        }
        runtime.shutdown_background();
    }
}

/// Runs on the runtime while this thread waits.
fn wait<T: Send + 'static>(
    runtime: &Runtime,
    patience: Duration,
    what: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Nobody waits any more when the time was over.
        let _ = tell.send(what.await);
    });
    told.recv_timeout(patience).ok()
}

fn ended() -> Trouble {
    Trouble::passing("the session has ended")
}

impl Shared {
    fn turns(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        kind: Kind,
        statement: &'static str,
        args: &Args,
        patience: Duration,
    ) -> Result<Vec<Row>, Trouble> {
        let until = Instant::now() + patience;
        // What is taken is noted before anybody asks what we have.
        let _taking = match kind {
            Kind::Take => Some(self.taking.read().await),
            Kind::Plain => None,
        };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let trouble = match self.try_call(statement, args, left).await {
                Ok(rows) => {
                    let turn = rows.first().filter(|_| kind == Kind::Take);
                    let turn = turn.and_then(|it| it.get::<_, Option<i64>>("o_turn"));
                    self.turns().extend(turn);
                    return Ok(rows);
                }
                Err(trouble) => trouble,
            };
            if kind == Kind::Take {
                self.in_doubt.store(true, Ordering::SeqCst);
                self.ask.notify_one();
            }
            if !trouble.is_passing() || Instant::now() + TRY_EVERY >= until {
                return Err(trouble);
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    async fn try_call(
        &self,
        statement: &'static str,
        args: &Args,
        left: Duration,
    ) -> Result<Vec<Row>, Trouble> {
        // The first that is idle, so that one caller needs one connection.
        let busy = |it: &&Slot| it.busy.load(Ordering::SeqCst);
        let Some(slot) = self.slots.iter().min_by_key(busy) else { return Err(ended()) };
        let _busy = Busy::on(slot);
        let slow = || Trouble::passing("the database does not answer");
        let line = tokio::time::timeout(left, slot.line(&self.database));
        let line = line.await.map_err(|_| slow())?.map_err(|err| Trouble::of(&err))?;
        let rows = match tokio::time::timeout(left, line.query(statement, args)).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(err)) => {
                let trouble = Trouble::of(&err);
                // A standby stays one on this connection.
                if line.is_closed() || trouble.is_passing() {
                    slot.forget(&line).await;
                }
                return Err(trouble);
            }
            Err(_) => {
                slot.forget(&line).await;
                return Err(slow());
            }
        };
        self.tell(&line, &rows).await;
        Ok(rows)
    }

    /// Tells others, in a statement of its own after the commit. What is lost here a sweep finds.
    async fn tell(&self, line: &Arc<Line>, rows: &[Row]) {
        let Some(row) = rows.first() else { return };
        if !row.columns().iter().any(|it| it.name() == "o_told") {
            return;
        }
        let Some(told) = row.get::<_, Option<Vec<String>>>("o_told") else { return };
        let is_moves = told.iter().any(|it| it.starts_with('m'));
        let (line, args) = (line.clone(), args![self.office, told]);
        let say = async move {
            let _ = line.query("select tell($1, $2)", &args).await;
        };
        if is_moves {
            // The next move may be told over another connection, and they are heard in this order.
            let _ = tokio::time::timeout(ASK_WITHIN, say).await;
        } else {
            tokio::spawn(say);
        }
    }
}

/// Counts a call on a slot as long as it lasts, also when it is dropped.
struct Busy<'a>(&'a Slot);

impl Busy<'_> {
    fn on(slot: &Slot) -> Busy<'_> {
        slot.busy.fetch_add(1, Ordering::SeqCst);
        Busy(slot)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps the owner alive for as long as the session lives.
async fn own(shared: Arc<Shared>) {
    let mut since = Instant::now();
    loop {
        match live(&shared).await {
            Ok(()) => since = Instant::now(),
            Err(trouble) => tracing::debug!("the owner's connection is not there: {trouble}"),
        }
        if *shared.in_contact.borrow() {
            since = Instant::now();
            tracing::warn!("lost contact with the database; nothing is begun until it is back");
            shared.in_contact.send_replace(false);
        }
        let is_too_long = since.elapsed() >= lost_after(shared.database.away_after);
        if is_too_long && !shared.turns().is_empty() && !shared.lost.send_replace(true) {
            tracing::error!("the database is out of reach for too long; what runs has to end");
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// How long contact may be lost before what runs has to end: before another machine takes it over, which counts from the
/// moment at which it finds our lock free.
fn lost_after(away_after: Duration) -> Duration {
    away_after.saturating_sub(Duration::from_secs(10)).max(away_after / 2)
}

/// One connection of the owner's, from its beginning to its end.
async fn live(shared: &Arc<Shared>) -> Result<(), Trouble> {
    let of = |err: tokio_postgres::Error| Trouble::of(&err);
    let ears = shared.clone();
    let hear = move |told: &str| (ears.hear)(Heard::Told(told));
    let waker = shared.clone();
    let ended = move || waker.ask.notify_one();
    let line = Line::open(&shared.database, hear, ended).await.map_err(of)?;
    line.batch(&format!("listen tc_{}", shared.office)).await.map_err(of)?;
    let mut me = shared.me.load(Ordering::SeqCst);
    if me != 0 && !first(line.query("select rejoin($1)", &args![me]).await.map_err(of)?) {
        tracing::error!("others have taken over what this process had; what runs has to end");
        shared.turns().clear();
        shared.lost.send_replace(true);
        me = 0;
    }
    if me == 0 {
        let Database { node, service, .. } = &shared.database;
        let args = args![shared.office, node.clone(), service.clone(), env!("CARGO_PKG_VERSION")];
        let hello = line.query("select hello($1, $2, $3, $4)", &args).await.map_err(of)?;
        me = hello.first().map_or(0, |it| it.get(0));
        refuse_pooler(shared, me).await?;
        shared.me.store(me, Ordering::SeqCst);
    }
    settle(shared, &line, me).await?;
    shared.in_contact.send_replace(true);
    (shared.hear)(Heard::Anew);
    loop {
        let _ = tokio::time::timeout(ASK_EVERY, shared.ask.notified()).await;
        if line.is_closed() {
            return Err(Trouble::passing("the server has ended the connection"));
        }
        if shared.in_doubt.swap(false, Ordering::SeqCst)
            && let Err(trouble) = settle(shared, &line, me).await
        {
            shared.in_doubt.store(true, Ordering::SeqCst);
            return Err(trouble);
        }
        let alive = tokio::time::timeout(ASK_WITHIN, line.query("select 1", &[])).await;
        alive.map_err(|_| Trouble::passing("the database does not answer"))?.map_err(of)?;
    }
}

/// Makes us and the database agree on what we have: it frees what we do not know of, we forget what is ours no more.
async fn settle(shared: &Shared, line: &Line, me: i64) -> Result<(), Trouble> {
    let _nobody_takes = shared.taking.write().await;
    let known: Vec<i64> = shared.turns().iter().copied().collect();
    let args = args![shared.office, me, known.clone()];
    let asked = tokio::time::timeout(ASK_WITHIN, line.query("select again($1, $2, $3)", &args));
    let slow = |_| Trouble::passing("the database does not answer");
    let rows = asked.await.map_err(slow)?.map_err(|err| Trouble::of(&err))?;
    let ours: Vec<i64> = rows.first().map(|it| it.get(0)).unwrap_or_default();
    shared.turns().retain(|it| !known.contains(it) || ours.contains(it));
    Ok(())
}

/// Another connection must not be able to take the lock that this one holds.
async fn refuse_pooler(shared: &Shared, me: i64) -> Result<(), Trouble> {
    let statement = "select pg_try_advisory_xact_lock(lock_of($1))";
    let rows = shared.try_call(statement, &args![me], ASK_WITHIN).await?;
    if first(rows) {
        tracing::error!("{}", OpenError::Pooler);
        return Err(Trouble::lasting(OpenError::Pooler.to_string()));
    }
    Ok(())
}

fn first(rows: Vec<Row>) -> bool {
    rows.first().is_some_and(|it| it.get::<_, Option<bool>>(0) == Some(true))
}
