//! A message in hand, in PostgreSQL: everything that is done to it names the turn in which it was taken.

use std::sync::Arc;

use tinyclaw_domain::Key;
use tinyclaw_postgres::{Args, Kind, Row, Trouble, args};

use super::Office;
use crate::error::{Fault, LeaseError};
use crate::work::{Draft, Ending, Hold, Safety};
use crate::{Place, Side};

pub(super) struct RowHold {
    pub(super) office: Arc<Office>,
    pub(super) me: i64,
    pub(super) side: Side,
    pub(super) lane: String,
    pub(super) key: Key,
    pub(super) turn: i64,
    pub(super) is_over: bool,
}

const SAVE: &str = "select save($1, $2, $3, $4, $5, $6)";
const FINISH: &str = "select o_ours, o_waiting, o_told \
    from finish($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
const LET_GO: &str = "select o_waiting, o_told from let_go($1, $2, $3, $4, $5)";

/// What a message sends on, a column a field.
#[derive(Default)]
struct SentOn {
    lanes: Vec<String>,
    channels: Vec<String>,
    keys: Vec<String>,
    docs: Vec<String>,
}

impl RowHold {
    /// Moves the message to a place. For whoever found out that it is no message as well.
    pub(super) fn move_to(
        &mut self,
        to: Place,
        reason: Option<String>,
        delay_ms: Option<i64>,
        follow_ups: Vec<Draft>,
    ) -> Result<(), LeaseError> {
        let mut sent_on = SentOn::default();
        for draft in follow_ups {
            sent_on.lanes.push(draft.lane.to_string());
            sent_on.channels.push(draft.channel.as_str().to_owned());
            sent_on.keys.push(draft.key.to_string());
            sent_on.docs.push(text_of(draft.json));
        }
        let SentOn { lanes, channels, keys, docs } = sent_on;
        // Before anything that others see, a state was kept and flushed: an end that is forgotten is made again.
        let is_flushed = !matches!(to, Place::Outgoing | Place::Done);
        let args = args![
            self.office.session.office(),
            self.me,
            self.side.letter(),
            self.lane.clone(),
            self.key.to_string(),
            self.turn,
            to.number(),
            reason,
            delay_ms,
            lanes,
            channels,
            keys,
            docs,
            is_flushed,
        ];
        let row = self.ask("the end", FINISH, args)?;
        let is_ours = row.as_ref().is_some_and(|it| it.get("o_ours"));
        self.over();
        if let Some(row) = &row {
            self.office.note(self.side, &self.lane, row, false);
        }
        if is_ours { Ok(()) } else { Err(LeaseError::Lost { key: self.key.clone() }) }
    }

    fn ask(
        &self,
        what: &'static str,
        statement: &'static str,
        args: Args,
    ) -> Result<Option<Row>, LeaseError> {
        let key = || self.key.clone();
        let answer = self.office.session.call(Kind::Plain, statement, args);
        let rows = answer.map_err(|err: Trouble| {
            let is_away = err.is_passing();
            let source = Fault::of(err);
            if is_away {
                LeaseError::Away { what, key: key(), source }
            } else {
                LeaseError::Write { what, key: key(), source }
            }
        })?;
        Ok(rows.into_iter().next())
    }

    /// There is nothing left to do for us.
    fn over(&mut self) {
        self.is_over = true;
        self.office.session.forget(self.turn, true);
    }
}

impl Hold for RowHold {
    fn keep(
        &mut self,
        json: Vec<u8>,
        what: &'static str,
        safety: Safety,
    ) -> Result<(), LeaseError> {
        let args = args![
            self.office.session.office(),
            self.me,
            self.key.to_string(),
            self.turn,
            text_of(json),
            safety == Safety::PowerCut,
        ];
        let row = self.ask(what, SAVE, args)?;
        if row.is_some_and(|it| it.get::<_, Option<bool>>(0) == Some(true)) {
            return Ok(());
        }
        self.over();
        Err(LeaseError::Lost { key: self.key.clone() })
    }

    fn confirm(&mut self, json: Vec<u8>, what: &'static str) -> Result<(), LeaseError> {
        // Whoever wrote it may have died before it was flushed, or had reached the standby.
        self.keep(json, what, Safety::PowerCut)
    }

    fn end(&mut self, ending: Ending<'_>) -> Result<(), LeaseError> {
        match ending {
            Ending::On { to, follow_ups } => self.move_to(to, None, None, follow_ups),
            Ending::Back { delay } => {
                let delay = delay.map(|it| it.as_millis() as i64);
                self.move_to(self.side.waiting(), None, delay, Vec::new())
            }
            Ending::Dead { reason } => {
                self.move_to(Place::Dead, Some(reason.to_owned()), None, Vec::new())
            }
        }
    }

    fn still_ours(&self) -> bool {
        !self.is_over && self.office.session.has(self.turn)
    }
}

impl Drop for RowHold {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let session = &self.office.session;
        if !session.has(self.turn) {
            // Out of reach, or ours no more: what is still held for us is freed at the next contact.
            session.forget(self.turn, false);
            return;
        }
        let (side, lane) = (self.side.letter(), self.lane.clone());
        let args = args![session.office(), self.me, side, lane, self.turn];
        let freed = session.call(Kind::Plain, LET_GO, args);
        session.forget(self.turn, freed.is_ok());
        if let Some(row) = freed.iter().flatten().next() {
            self.office.note(self.side, &self.lane, row, true);
        }
    }
}

/// JSON that we made is text.
pub(super) fn text_of(json: Vec<u8>) -> String {
    String::from_utf8(json)
        .unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned())
}
