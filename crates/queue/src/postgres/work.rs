//! What a queue does, in PostgreSQL.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tinyclaw_domain::{Key, MESSAGE_VERSION, Message};
use tinyclaw_postgres::{Kind, Row, Trouble, args};
use tokio::sync::Notify;

use super::Office;
use super::hold::{RowHold, text_of};
use super::look::RowLook;
use crate::error::{ClaimError, Fault, LeaseError, MoveError, OpenError, PublishError};
use crate::work::{Draft, Look, Taken, Work};
use crate::{Durability, Keep, Place, Published, Side, Swept, Trouble as LaneTrouble, Which};

/// Rows removed in one go, so that none of them is waited for.
const REMOVED_MAX: i32 = 500;
/// A message that changes each time it was read is somebody else's to change.
const TRIES_MAX: u32 = 4;

const PUBLISH: &str =
    "select o_known, o_waiting, o_told from publish($1, $2, $3, $4, $5, $6, $7, $8)";
const CLAIM: &str = "select o_key, o_lane, o_turn, o_recovered, o_doc, o_waiting, o_due, o_told \
    from claim($1, $2, $3, $4, $5, $6)";
const READ: &str = "select place, rev, doc::text from message where office = $1 and key = $2";

pub(super) struct Rows {
    pub(super) office: Arc<Office>,
    pub(super) done_days: u32,
    /// When a claim that found nothing may find something, in ms since 1970.
    pub(super) dues: Mutex<HashMap<(Side, String), u64>>,
}

/// Which lanes one claim looks at.
struct Ask {
    class: Option<i8>,
    lane: Option<String>,
    channel: Option<String>,
}

impl Ask {
    /// A sender takes control lanes first.
    fn of(which: &Which) -> Vec<Ask> {
        let all = |letter: u8| Ask { class: Some(letter as i8), lane: None, channel: None };
        match which {
            Which::Ordinary => vec![all(b'o')],
            Which::Control => vec![all(b'c')],
            Which::Lane(lane) => {
                vec![Ask { class: None, lane: Some(lane.to_string()), channel: None }]
            }
            Which::Channel(channel) => {
                let channel = Some(channel.as_str().to_owned());
                vec![Ask { channel: channel.clone(), ..all(b'c') }, Ask { channel, ..all(b'o') }]
            }
        }
    }
}

impl Rows {
    fn call(
        &self,
        statement: &'static str,
        args: tinyclaw_postgres::Args,
    ) -> Result<Vec<Row>, Trouble> {
        self.office.session.call(Kind::Plain, statement, args)
    }

    fn take_of(&self, side: Side, ask: &Ask) -> Result<Result<Taken, Option<u64>>, ClaimError> {
        let away = |err: Trouble| ClaimError::Away { source: Fault::of(err) };
        let session = &self.office.session;
        loop {
            let me = session.me().map_err(away)?;
            let Ask { class, lane, channel } = ask;
            let args =
                args![session.office(), me, side.letter(), *class, lane.clone(), channel.clone()];
            let rows = session.call(Kind::Take, CLAIM, args).map_err(away)?;
            let Some(row) = rows.first() else { return Ok(Err(None)) };
            let Some(text) = row.get::<_, Option<String>>("o_key") else {
                let due = row.get::<_, Option<i64>>("o_due");
                return Ok(Err(due.map(|it| it.max(0) as u64 / 1_000 + 1)));
            };
            let lane: String = row.get("o_lane");
            self.office.note(side, &lane, row, true);
            let unread =
                |why: String| ClaimError::Read { name: text.clone(), source: Fault::because(why) };
            let key: Key = text.parse().map_err(|err| unread(format!("{err}")))?;
            let (office, turn) = (self.office.clone(), row.get("o_turn"));
            let mut hold =
                RowHold { office, me, side, lane, key: key.clone(), turn, is_over: false };
            match message_of(row.get("o_doc"), &key, &hold.lane) {
                Ok(message) => {
                    let recovered = row.get("o_recovered");
                    return Ok(Ok(Taken { hold: Box::new(hold), key, message, recovered }));
                }
                Err(why) => {
                    let aside = hold.move_to(Place::Quarantine, Some(why), None, Vec::new());
                    match aside {
                        // Somebody else has it now, who puts it aside as well.
                        Ok(()) | Err(LeaseError::Lost { .. }) => {}
                        Err(err) => return Err(unread(err.to_string())),
                    }
                }
            }
        }
    }

    fn read(&self, key: &Key) -> Result<Option<(Place, i32, String)>, MoveError> {
        let args = args![self.office.session.office(), key.to_string()];
        let rows = self.call(READ, args).map_err(away(key))?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Place::of_number(row.get(0)).map(|place| (place, row.get(1), row.get(2))))
    }
}

impl Work for Rows {
    fn put(&self, draft: Draft, durability: Durability) -> Result<Published, PublishError> {
        let Draft { side, priority, key, lane, channel, json } = draft;
        let lane = lane.to_string();
        let args = args![
            self.office.session.office(),
            side.letter(),
            lane.clone(),
            channel.as_str(),
            key.to_string(),
            priority as i16,
            text_of(json),
            durability != Durability::None,
        ];
        let rows = self.call(PUBLISH, args).map_err(|err| {
            if err.is_no_space() {
                return PublishError::NoSpace { key: key.clone() };
            }
            let is_away = err.is_passing() || err.is_closed();
            let (key, source) = (key.clone(), Fault::of(err));
            if is_away {
                PublishError::Away { key, source }
            } else {
                PublishError::Write { key, source }
            }
        })?;
        let no_answer = || PublishError::Write {
            key: key.clone(),
            source: Fault::because("the database gave no answer"),
        };
        let row = rows.first().ok_or_else(no_answer)?;
        let is_busy =
            self.office.known().lanes.get(&(side, lane.clone())).is_some_and(|it| it.is_busy);
        self.office.note(side, &lane, row, is_busy);
        match row.get::<_, Option<i16>>("o_known") {
            None => Ok(Published::New),
            Some(place) => Place::of_number(place).map(Published::Duplicate).ok_or_else(no_answer),
        }
    }

    fn take(self: Arc<Rows>, side: Side, which: &Which) -> Result<Option<Taken>, ClaimError> {
        let mut soonest: Option<u64> = None;
        for ask in Ask::of(which) {
            match self.take_of(side, &ask)? {
                Ok(taken) => return Ok(Some(taken)),
                Err(due) => soonest = [soonest, due].into_iter().flatten().min(),
            }
        }
        let mut dues = self.dues.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = (side, format!("{which:?}"));
        match soonest {
            Some(due) => dues.insert(asked, due),
            None => dues.remove(&asked),
        };
        Ok(None)
    }

    fn catch_up(&self) -> Result<(), ClaimError> {
        Ok(())
    }

    fn sweep(&self) -> Result<bool, ClaimError> {
        {
            let mut known = self.office.known();
            if known.swept.is_some_and(|it| it.elapsed() < self.office.sweep_every) {
                return Ok(false);
            }
            known.swept = Some(Instant::now());
        }
        let away = |err: Trouble| ClaimError::Away { source: Fault::of(err) };
        let session = &self.office.session;
        let (node, service) = session.names();
        let me = session.me().map_err(away)?;
        let patience = session.away_after().as_secs_f64();
        let statement = "select reap($1, $2, $3, $4, make_interval(secs => $5))";
        let args = args![session.office(), me, node, service, patience];
        let rows = self.call(statement, args).map_err(away)?;
        self.office.count().map_err(away)?;
        Ok(rows.first().is_some_and(|it| it.get::<_, i32>(0) > 0))
    }

    fn edit(&self, key: &Key, change: &mut dyn FnMut(&mut Message)) -> Result<bool, MoveError> {
        let Some((Place::Incoming, rev, doc)) = self.read(key)? else { return Ok(false) };
        let json = |source| MoveError::Json { key: key.clone(), source };
        let mut message: Message = serde_json::from_str(&doc).map_err(json)?;
        change(&mut message);
        let changed = text_of(serde_json::to_vec(&message).map_err(json)?);
        let statement = "select edit($1, $2, $3, $4)";
        let args = args![self.office.session.office(), key.to_string(), rev, changed];
        let rows = self.call(statement, args).map_err(away(key))?;
        rows.first().and_then(|it| it.get(0)).ok_or_else(|| MoveError::Move {
            key: key.clone(),
            source: Fault::because("it was changed at the same moment; try again"),
        })
    }

    fn requeue(
        &self,
        key: &Key,
        renew: &mut dyn FnMut(&mut Message) -> Place,
    ) -> Result<Place, MoveError> {
        let json = |source| MoveError::Json { key: key.clone(), source };
        for _ in 0..TRIES_MAX {
            let Some((Place::Dead | Place::Quarantine, rev, doc)) = self.read(key)? else { break };
            let mut message: Message = serde_json::from_str(&doc).map_err(json)?;
            let place = renew(&mut message);
            let renewed = text_of(serde_json::to_vec(&message).map_err(json)?);
            let statement =
                "select o_done, o_lane, o_waiting, o_told from requeue($1, $2, $3, $4, $5)";
            let office = self.office.session.office();
            let args = args![office, key.to_string(), rev, place.number(), renewed];
            let rows = self.call(statement, args).map_err(away(key))?;
            let done = rows.first().filter(|it| it.get::<_, Option<bool>>("o_done") == Some(true));
            if let Some(row) = done {
                let side = if place == Place::Incoming { Side::Run } else { Side::Send };
                self.office.note(side, row.get("o_lane"), row, false);
                return Ok(place);
            }
        }
        Err(MoveError::NotThere { key: key.clone(), wanted: "dead/ or quarantine/" })
    }

    fn bury(&self, key: &Key, reason: &str) -> Result<(), MoveError> {
        let statement = "select o_done, o_side, o_lane, o_waiting, o_told from bury($1, $2, $3)";
        let args = args![self.office.session.office(), key.to_string(), reason.to_owned()];
        let rows = self.call(statement, args).map_err(away(key))?;
        let done = |row: &Row| row.get::<_, Option<bool>>("o_done");
        match rows.first().map(|it| (done(it), it)) {
            Some((Some(true), row)) => {
                let side: i8 = row.get("o_side");
                let side = if side == Side::Run.letter() { Side::Run } else { Side::Send };
                self.office.note(side, row.get("o_lane"), row, false);
                Ok(())
            }
            Some((Some(false), _)) => Err(MoveError::Busy { key: key.clone() }),
            _ => Err(MoveError::NotThere { key: key.clone(), wanted: "incoming/ or outgoing/" }),
        }
    }

    fn purge(&self, key: &Key) -> Result<(), MoveError> {
        let statement = "select o_done, o_told from purge($1, $2)";
        let args = args![self.office.session.office(), key.to_string()];
        let rows = self.call(statement, args).map_err(away(key))?;
        if rows.first().is_some_and(|it| it.get::<_, Option<bool>>(0) == Some(true)) {
            return Ok(());
        }
        Err(MoveError::NotThere { key: key.clone(), wanted: "dead/ or quarantine/" })
    }

    fn housekeep(&self) -> Result<Swept, OpenError> {
        let day = Duration::from_secs(86_400);
        let reaped = self.remove(Place::Done, day * self.done_days)?;
        Ok(Swept { reaped, ..Swept::default() })
    }

    fn retire(&self, keep: &Keep) -> Result<usize, OpenError> {
        Ok(self.remove(Place::Dead, keep.dead)?
            + self.remove(Place::Quarantine, keep.quarantine)?)
    }

    fn waiting(&self, side: Side, lane: &str) -> (usize, usize) {
        self.office.count_if_old();
        let known = self.office.known();
        let all = known.lanes.iter().filter(|it| it.0.0 == side).map(|it| it.1.waiting).sum();
        (all, known.lanes.get(&(side, lane.to_owned())).map_or(0, |it| it.waiting))
    }

    fn has_work(&self, side: Side, lane: &str) -> bool {
        self.office.count_if_old();
        let known = self.office.known();
        known.lanes.get(&(side, lane.to_owned())).is_some_and(|it| it.waiting > 0 || it.is_busy)
    }

    fn has_room(&self) -> bool {
        // A full disk is said when something is written to it.
        true
    }

    fn troubles(&self) -> Vec<LaneTrouble> {
        Vec::new()
    }

    fn changed(&self) -> Arc<Notify> {
        self.office.changed.clone()
    }

    fn next_due(&self, side: Side) -> Option<u64> {
        let dues = self.dues.lock().unwrap_or_else(PoisonError::into_inner);
        dues.iter().filter(|it| it.0.0 == side).map(|it| *it.1).min()
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.office.session.lost())
    }

    fn look(&self) -> Arc<dyn Look> {
        Arc::new(RowLook::at(self.office.clone()))
    }
}

impl Rows {
    fn remove(&self, place: Place, age: Duration) -> Result<usize, OpenError> {
        let statement = "select retire($1, $2, make_interval(secs => $3), $4)";
        let office = self.office.session.office();
        // Longer than that nothing is kept anyway, and an interval takes no more.
        let age = age.as_secs_f64().min(1e9);
        let args = args![office, place.number(), age, REMOVED_MAX];
        let rows = self.call(statement, args);
        let rows = rows.map_err(|err| OpenError::Away { source: Fault::of(err) })?;
        Ok(rows.first().map_or(0, |it| it.get::<_, i32>(0).max(0) as usize))
    }
}

/// The message in a row, or why it is none.
fn message_of(doc: &str, key: &Key, lane: &str) -> Result<Message, String> {
    let message: Message =
        serde_json::from_str(doc).map_err(|err| format!("it is not a message: {err}"))?;
    if message.v != MESSAGE_VERSION {
        Err(format!("its version is {}, this one knows {MESSAGE_VERSION}", message.v))
    } else if message.key != *key {
        Err(format!("its key is {}, its row says {key}", message.key))
    } else if message.lane().to_string() != lane {
        Err(format!("its lane is {}, its row says {lane}", message.lane()))
    } else {
        Ok(message)
    }
}

fn away(key: &Key) -> impl Fn(Trouble) -> MoveError {
    move |err| {
        let (key, is_away) = (key.clone(), err.is_passing() || err.is_closed());
        let source = Fault::of(err);
        if is_away { MoveError::Away { key, source } } else { MoveError::Move { key, source } }
    }
}
