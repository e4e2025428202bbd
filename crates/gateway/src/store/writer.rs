//! The one thread that writes: it takes what waits, commits it with one flush, answers all, and only then moves the head.
//!
//! A request is checked as a whole before a row of it is written, so that what is refused leaves nothing behind and no
//! number is given twice. When the database turns out to be damaged it is set aside, and what was being written is
//! written into the new one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Weak, mpsc};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, params};
use tinyclaw_service::now_ms;
use tokio::sync::oneshot;

use super::schema::{self, OpenError};
use super::{Durability, Frame, Head, Keep, Receipt, Shared, StoreError, retention};
use crate::event::{Cursor, NewEvent};

/// So many events share a flush, when a single request has not more.
const GROUP_EVENTS_MAX: usize = 1_024;
/// So long is gathered at most, and half the time of the last commit: where a flush is quick, waiting for others costs more than
/// it saves.
const GATHER_TIME: Duration = Duration::from_millis(2);
/// Who was answered just now comes again soon. When nobody came for so long, those who do are there.
const SILENCE: Duration = Duration::from_micros(150);
/// How often it is looked whether something may be removed.
const RETIRE_EVERY: Duration = Duration::from_secs(60);
/// How long the last commits are remembered, for the number that says how slow they are.
const COMMITS: usize = 512;

/// What the writer is asked.
pub(super) enum Order {
    /// Keep events.
    Append {
        events: Vec<NewEvent>,
        durability: Durability,
        position: Option<(String, String)>,
        answer: Answer,
    },
    /// Remove what may be removed.
    Retire { answer: oneshot::Sender<Result<(), StoreError>> },
    /// Change what is kept beside the events.
    Change(Box<dyn FnOnce(&mut Connection) + Send>),
    /// A reader found damage: look.
    Doubt,
}

type Answer = oneshot::Sender<Result<Vec<Receipt>, StoreError>>;

pub(super) struct Writer {
    path: PathBuf,
    keep: Keep,
    inbox: mpsc::Receiver<Order>,
    connection: Connection,
    head: Head,
    /// When the last event came; the clock may go back, this does not.
    at: u64,
    commits: Vec<f64>,
    last: Group,
}

/// What the group before was like.
#[derive(Debug, Default)]
struct Group {
    requests: usize,
    time: Duration,
}

/// A request whose every event has its place.
struct Planned {
    request: Request,
    receipts: Vec<Receipt>,
    /// Which of its events are new.
    fresh: Vec<usize>,
}

struct Request {
    events: Vec<NewEvent>,
    position: Option<(String, String)>,
    answer: Option<Answer>,
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        keep: Keep,
        inbox: mpsc::Receiver<Order>,
    ) -> Result<(Writer, Head), StoreError> {
        let (connection, head) = open_or_begin_anew(path, keep)?;
        let at = last_at(&connection).map_err(|err| schema::told(&err))?;
        let (path, commits, last) = (path.to_owned(), Vec::new(), Group::default());
        Ok((Writer { path, keep, inbox, connection, head, at, commits, last }, head))
    }

    /// Writes until the last handle is gone.
    pub(super) fn run(mut self, shared: &Weak<Shared>) {
        let mut retired = Instant::now();
        loop {
            let order = match self.inbox.recv_timeout(RETIRE_EVERY) {
                Ok(order) => Some(order),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let Some(shared) = shared.upgrade() else { break };
            match order {
                Some(Order::Append { events, durability, position, answer }) => {
                    let first = (Request { events, position, answer: Some(answer) }, durability);
                    self.write_group(first, &shared);
                }
                Some(order) => self.do_other(order, &shared),
                None => {}
            }
            if retired.elapsed() >= RETIRE_EVERY {
                retired = Instant::now();
                if let Err(err) = self.retire() {
                    tracing::warn!("cannot remove old events: {err}");
                }
                self.tell(&shared);
            }
        }
    }

    fn do_other(&mut self, order: Order, shared: &Shared) {
        match order {
            // Answered already when nobody waits for it.
            Order::Retire { answer } => drop(answer.send(self.retire())),
            Order::Doubt if !self.is_sound() => {
                tracing::error!("events.db is damaged");
                if let Err(err) = self.begin_anew(shared) {
                    tracing::error!("cannot begin a new events.db: {err}");
                }
            }
            Order::Change(change) => change(&mut self.connection),
            Order::Doubt | Order::Append { .. } => {}
        }
    }

    /// The first request with whatever waits behind it, and with those who come again after the last answer: they would
    /// wait for the whole flush of this one else. Nobody waits for anybody where one sends alone.
    fn gather(&mut self, first: (Request, Durability)) -> (Vec<(Request, Durability)>, Vec<Order>) {
        let until = Instant::now() + GATHER_TIME.min(self.last.time / 2);
        let (mut group, mut others) = (vec![first], Vec::new());
        let mut count = group[0].0.events.len();
        while count < GROUP_EVENTS_MAX {
            let mut next = self.inbox.try_recv().ok();
            if next.is_none() && group.len().max(self.last.requests) > 1 {
                let left = until.saturating_duration_since(Instant::now());
                next = self.inbox.recv_timeout(left.min(SILENCE)).ok();
            }
            match next {
                Some(Order::Append { events, durability, position, answer }) => {
                    count += events.len();
                    group.push((Request { events, position, answer: Some(answer) }, durability));
                }
                Some(order) => others.push(order),
                None => break,
            }
        }
        (group, others)
    }

    /// Writes the first request with those that share its flush.
    fn write_group(&mut self, first: (Request, Durability), shared: &Shared) {
        let (group, mut others) = self.gather(first);
        self.last.requests = group.len();
        let mut planned = match self.plan(group) {
            Ok(planned) => planned,
            // Every request was answered with the error.
            Err(err) => {
                if schema::is_damage(&err) {
                    others.push(Order::Doubt);
                }
                Vec::new()
            }
        };
        let began = Instant::now();
        let mut written = self.write(&planned);
        if written.as_ref().is_err_and(schema::is_damage) {
            tracing::error!("events.db is damaged: what comes is written into a new one");
            match self.begin_anew(shared) {
                Ok(()) => {
                    let group = planned.into_iter().map(|it| (it.request, Durability::Flushed));
                    planned = self.plan(group.collect()).unwrap_or_default();
                    written = self.write(&planned);
                }
                Err(err) => tracing::error!("cannot begin a new events.db: {err}"),
            }
        }
        match written {
            Ok(frames) => {
                self.last.time = began.elapsed();
                self.commits.push(self.last.time.as_secs_f64() * 1e3);
                self.publish(planned, frames, shared);
            }
            Err(err) => {
                let told = schema::told(&err);
                tracing::error!("cannot keep events: {told}");
                shared.vitals.block("events", told.to_string());
                for it in planned {
                    answer(it.request.answer, Err(told.clone()));
                }
            }
        }
        for it in others {
            self.do_other(it, shared);
        }
    }

    /// Gives every event of every request its place, or refuses the request. `Err`: the database could not be asked,
    /// and all were told so.
    fn plan(&mut self, group: Vec<(Request, Durability)>) -> rusqlite::Result<Vec<Planned>> {
        let mut next = self.head.seq + 1;
        // What this group is about to write under an id.
        let mut known: HashMap<(String, String), (u64, i64)> = HashMap::new();
        let mut planned: Vec<Planned> = Vec::new();
        let mut group = group.into_iter();
        while let Some((mut request, durability)) = group.next() {
            let begin = next;
            match self.place(&request.events, &mut next, &mut known) {
                Ok(Ok((receipts, fresh))) => {
                    if durability == Durability::None {
                        answer(request.answer.take(), Ok(receipts.clone()));
                    }
                    planned.push(Planned { request, receipts, fresh });
                }
                Ok(Err(refused)) => {
                    next = begin;
                    known.retain(|_, (seq, _)| *seq < begin);
                    answer(request.answer, Err(refused));
                }
                Err(err) => {
                    let told = schema::told(&err);
                    let rest = group.map(|it| it.0).chain([request]);
                    for it in planned.into_iter().map(|it| it.request).chain(rest) {
                        answer(it.answer, Err(told.clone()));
                    }
                    return Err(err);
                }
            }
        }
        Ok(planned)
    }

    /// The places of one request's events, and which of them are new.
    #[expect(clippy::type_complexity, reason = "refused and failed are two things")]
    fn place(
        &self,
        events: &[NewEvent],
        next: &mut u64,
        known: &mut HashMap<(String, String), (u64, i64)>,
    ) -> rusqlite::Result<Result<(Vec<Receipt>, Vec<usize>), StoreError>> {
        let mut find = self
            .connection
            .prepare_cached("SELECT seq, sum FROM seen WHERE source = ?1 AND id = ?2")?;
        let (mut receipts, mut fresh) = (Vec::with_capacity(events.len()), Vec::new());
        let epoch = self.head.epoch;
        for (index, event) in events.iter().enumerate() {
            let mut before = None;
            if let Some(id) = &event.id {
                let name = (event.source.clone(), id.clone());
                before = known.get(&name).copied();
                if before.is_none() {
                    let row = find.query_row(params![event.source, id], |row| {
                        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?))
                    });
                    before = row.optional()?;
                }
                if before.is_none() {
                    known.insert(name, (*next, event.sum));
                }
            }
            match before {
                Some((seq, sum)) if sum != event.sum => {
                    return Ok(Err(StoreError::Conflict { index, cursor: Cursor { epoch, seq } }));
                }
                Some((seq, _)) => {
                    receipts.push(Receipt { cursor: Cursor { epoch, seq }, is_duplicate: true });
                }
                None => {
                    let cursor = Cursor { epoch, seq: *next };
                    receipts.push(Receipt { cursor, is_duplicate: false });
                    fresh.push(index);
                    *next += 1;
                }
            }
        }
        Ok(Ok((receipts, fresh)))
    }

    /// Commits everything that is new, in one transaction.
    fn write(&mut self, planned: &[Planned]) -> rusqlite::Result<Vec<Frame>> {
        let at = now_ms().max(self.at);
        let mut frames = Vec::new();
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO events(seq, at, time, type, source, session, subject, id, body)
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            let mut see = transaction
                .prepare_cached("INSERT INTO seen(source, id, seq, sum) VALUES(?1, ?2, ?3, ?4)")?;
            for it in planned {
                for index in &it.fresh {
                    let (event, cursor) = (&it.request.events[*index], it.receipts[*index].cursor);
                    let time = event.time.unwrap_or(at).min(at);
                    let body = event.told(cursor, at);
                    let seq = signed(cursor.seq);
                    insert.execute(params![
                        seq,
                        signed(at),
                        signed(time),
                        event.kind,
                        event.source,
                        event.session,
                        event.subject,
                        event.id,
                        body
                    ])?;
                    if let Some(id) = &event.id {
                        see.execute(params![event.source, id, seq, event.sum])?;
                    }
                    let (session, subject) = (event.session.as_deref(), event.subject.as_deref());
                    frames.push(Frame::new(
                        cursor,
                        &event.kind,
                        &event.source,
                        session,
                        subject,
                        time,
                        &body,
                    ));
                }
                if let Some((name, position)) = &it.request.position {
                    transaction
                        .prepare_cached(
                            "INSERT INTO cursors(name, position) VALUES(?1, ?2)
                             ON CONFLICT(name) DO UPDATE SET position = excluded.position",
                        )?
                        .execute(params![name, position])?;
                }
            }
        }
        transaction.commit()?;
        self.at = at;
        Ok(frames)
    }

    /// Shows readers what was committed, and answers.
    fn publish(&mut self, planned: Vec<Planned>, frames: Vec<Frame>, shared: &Shared) {
        let fresh = frames.len() as u64;
        shared.vitals.unblock("events");
        if let Some(last) = frames.last() {
            self.head = last.cursor;
            shared.ring.push(frames);
            shared.head.send_replace(self.head);
        }
        let mut all = 0;
        for it in planned {
            all += it.receipts.len() as u64;
            answer(it.request.answer, Ok(it.receipts));
        }
        shared.vitals.count("eventsIngestedTotal", fresh);
        shared.vitals.count("eventsDuplicateTotal", all - fresh);
        shared.vitals.set("headSeq", self.head.seq);
        if self.commits.len() >= COMMITS {
            self.tell(shared);
        }
    }

    /// Says how the disk fares.
    fn tell(&mut self, shared: &Shared) {
        let mut commits = std::mem::take(&mut self.commits);
        commits.sort_by(f64::total_cmp);
        if let Some(slow) = commits.get(commits.len() * 99 / 100) {
            shared.vitals.set("commitMsP99", *slow);
        }
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        shared.vitals.set("walBytes", std::fs::metadata(wal).map_or(0, |it| it.len()));
    }

    fn retire(&mut self) -> Result<(), StoreError> {
        let now = now_ms().max(self.at);
        let removed = retention::retire(&mut self.connection, &self.keep, self.head.seq, now);
        let removed = removed.map_err(|err| schema::told(&err))?;
        if removed > 0 {
            tracing::info!(removed, "{removed} old events were removed");
        }
        Ok(())
    }

    fn is_sound(&self) -> bool {
        let checked =
            self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        checked.is_ok_and(|it| it == "ok")
    }

    /// Sets the database aside and goes on with an empty one of another epoch.
    fn begin_anew(&mut self, shared: &Shared) -> Result<(), StoreError> {
        // The old file's connection must not write into what follows.
        self.connection = Connection::open_in_memory().map_err(|err| schema::told(&err))?;
        set_aside(&self.path)?;
        let (connection, head) = open_or_begin_anew(&self.path, self.keep)?;
        (self.connection, self.head) = (connection, head);
        shared.ring.clear();
        shared.head.send_replace(head);
        let aside = schema::aside_of(&self.path);
        let what = format!(
            "events.db was damaged and was set aside as {}; events before that are only there",
            aside.display()
        );
        shared.vitals.concern("events", Some(what));
        Ok(())
    }
}

fn open_or_begin_anew(path: &Path, keep: Keep) -> Result<(Connection, Head), StoreError> {
    // Twice what is kept is a database that retention has lost sight of.
    let bytes_max = keep.bytes.saturating_mul(2);
    match schema::open(path, bytes_max) {
        Ok(opened) => Ok(opened),
        Err(OpenError::Other(err)) => Err(err),
        Err(OpenError::Damaged(why)) => {
            tracing::error!("events.db is damaged and is set aside: {why}");
            set_aside(path)?;
            match schema::open(path, bytes_max) {
                Ok(opened) => Ok(opened),
                Err(OpenError::Other(err)) => Err(err),
                Err(OpenError::Damaged(why)) => Err(StoreError::Unavailable(why)),
            }
        }
    }
}

fn set_aside(path: &Path) -> Result<(), StoreError> {
    schema::set_aside(path).map_err(|err| {
        StoreError::Unavailable(format!("it is damaged and cannot be set aside: {err}"))
    })
}

fn last_at(connection: &Connection) -> rusqlite::Result<u64> {
    let newest = "SELECT at FROM events ORDER BY seq DESC LIMIT 1";
    let at: Option<i64> = connection.query_row(newest, [], |row| row.get(0)).optional()?;
    Ok(at.map_or(0, i64::unsigned_abs))
}

fn answer(to: Option<Answer>, said: Result<Vec<Receipt>, StoreError>) {
    // Whoever asked may be gone.
    if let Some(to) = to {
        let _ = to.send(said);
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
