//! A claimed message: ours alone until the lease ends, by one of its endings or by our death.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_disk::{
    DiskError, Flush, Lock, append_at, rename, rename_no_replace, replace_through, sync_path,
};
use tinyclaw_domain::{Checkpoint, Delivery, FollowUp, Message, Reply, Source};

use crate::claim::Inner;
use crate::clock::{DELAY_MS_MAX, now_ms};
use crate::error::LeaseError;
use crate::name::{self, Name};
use crate::note::Note;
use crate::plain::KEPT_BYTES_MAX;
use crate::record::{self, Record};
use crate::{Durability, Place, Side};

/// A file that would grow beyond this is replaced by its last line.
const APPENDED_BYTES_MAX: u64 = 256 * 1024;

/// A message that killed whoever worked on it this often is given up.
pub const DEATHS_MAX: u32 = 3;
/// An answer whose sender died this often is given up. More than a turn may cost: a sender has many answers in hand, dies
/// of one of them, and the death counts for all; and the last ones are for sending it without its markup.
pub const SENDER_DEATHS_MAX: u32 = 4 * DEATHS_MAX;
/// A message that failed this often is given up.
pub const ATTEMPTS_MAX: u32 = 5;

/// How long to wait after the `attempt`th attempt failed: 2, 4, 8 … 300 seconds, give or take a fifth.
///
/// The share of chance is the caller's, from 0 to 1, so that messages that failed together do not come back together.
pub fn backoff(attempt: u32, chance: f64) -> Duration {
    let seconds = 2_f64.powi(attempt.clamp(1, 16) as i32).min(300.0);
    Duration::from_secs_f64(seconds * (0.8 + 0.4 * chance.clamp(0.0, 1.0)))
}

/// The moment `delay` from now.
fn after(delay: Duration) -> u64 {
    let delay = u64::try_from(delay.as_millis()).unwrap_or(DELAY_MS_MAX);
    now_ms() + delay.min(DELAY_MS_MAX)
}

/// A message in hand. Nobody else works on it, or on anything of its lane, while this lives.
///
/// Dropping it leaves the file where it is and frees the lane: the next claimer carries on from there, and it counts
/// as an attempt. So does our death. Every other ending is a method that takes the lease.
pub struct Lease {
    inner: Arc<Inner>,
    side: Side,
    lane: Arc<str>,
    name: Name,
    text: String,
    message: Message,
    attempt: u32,
    recovered: bool,
    /// Whether the reply was there when we came.
    was_answered: bool,
    /// What stands in the lane's file.
    note: Note,
    /// How long the file is, if the next state may be written behind what is there.
    length: Option<u64>,
    /// Taken out only by the drop.
    lock: Option<Lock>,
}

impl Lease {
    pub(crate) fn new(
        inner: Arc<Inner>,
        side: Side,
        lane: Arc<str>,
        name: Name,
        record: Record,
        (lock, note): (Lock, Note),
        recovered: bool,
    ) -> Lease {
        let Record { mut message, length, is_ours } = record;
        // On disk stands how many attempts ended. One that lies where it is worked on was begun and died; that is
        // put on disk before the next begins, unless its work is done already.
        let answered = side == Side::Run && message.reply.is_some();
        let count = match side {
            Side::Run => &mut message.attempts.run,
            Side::Send => &mut message.attempts.send,
        };
        let mut lease_attempt = *count;
        if !answered {
            if recovered {
                *count += 1;
                message.attempts.deaths += 1;
            }
            lease_attempt = match side {
                Side::Run => message.attempts.run,
                Side::Send => message.attempts.send,
            } + 1;
        }
        let text = name.to_string();
        let mut lease = Lease {
            inner,
            side,
            lane,
            name,
            text,
            message,
            attempt: lease_attempt,
            recovered,
            was_answered: answered,
            note,
            length: is_ours.then_some(length as u64),
            lock: Some(lock),
        };
        if recovered && !answered {
            let message = lease.message.clone();
            if let Err(err) = lease.rewrite(&message, Flush::Strict) {
                // Carry on: at worst this death is not counted.
                tracing::warn!(key = %lease.name.key, "cannot count the death of the last owner: {err}");
            }
        }
        lease
    }

    /// The message, with everything that is known of it.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Which attempt this is on this side, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether somebody worked on it before and died.
    pub fn was_recovered(&self) -> bool {
        self.recovered
    }

    /// Why it should be given up instead of tried again, if it should. Ask before working on it, on either side: nobody
    /// else counts, and a message that kills its owner comes back for ever.
    pub fn is_exhausted(&self) -> Option<String> {
        let deaths = self.message.attempts.deaths;
        let (deaths_max, failed, owner) = match self.side {
            Side::Run => (DEATHS_MAX, self.attempt - 1, "whoever worked on it"),
            // A sender's deaths are mostly other answers' doing, and are no failures of this one.
            Side::Send => {
                (SENDER_DEATHS_MAX, (self.attempt - 1).saturating_sub(deaths), "whoever sent it")
            }
        };
        if deaths >= deaths_max {
            Some(format!("{owner} died {deaths} times"))
        } else if failed >= ATTEMPTS_MAX {
            let why = self.message.trouble.as_deref().unwrap_or("no reason was kept");
            Some(format!("it failed {ATTEMPTS_MAX} times, the last time because {why}"))
        } else {
            None
        }
    }

    /// Keeps how far the turn got. On disk when this returns.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), LeaseError> {
        self.update("the checkpoint", |it| it.checkpoint = Some(checkpoint))
    }

    /// Keeps the answer and what the turn sends on. From here Claude is never asked again for this message.
    ///
    /// Write the logs after this and before [`Lease::finish`]: a crash between repeats their lines and nothing else.
    pub fn answer(&mut self, reply: Reply, follow_ups: Vec<FollowUp>) -> Result<(), LeaseError> {
        let attempt = self.attempt;
        self.update("the reply", |it| {
            it.reply = Some(reply);
            it.follow_ups = follow_ups;
            it.attempts.run = attempt;
            it.attempts.deaths = 0;
            it.trouble = None;
        })
    }

    /// Publishes what the turn sends on, and moves the answered message on: to `outgoing/` when its channel is pushed
    /// and it has something to say, else to `done/`, where whoever asked finds it.
    pub fn finish(mut self) -> Result<(), LeaseError> {
        if self.was_answered {
            self.keep_answer()?;
        }
        if self.recovered && !self.message.follow_ups.is_empty() {
            // Whoever died may have published some of them a moment ago: look before publishing again.
            if let Err(err) = self.inner.know_done().and_then(|()| self.inner.rescan()) {
                tracing::warn!("cannot list the queue anew: {err}");
            }
        }
        for (at, follow_up) in self.message.follow_ups.iter().enumerate() {
            self.inner
                .publish_unlimited(Side::Run, self.sent_on(at, follow_up), Durability::Strict)
                .map_err(|source| LeaseError::FollowUp {
                    key: self.name.key.clone(),
                    source: Box::new(source),
                })?;
        }
        let silent = self.message.reply.as_ref().is_none_or(|it| it.silent);
        let to =
            if self.message.channel.is_pushed() && !silent { Place::Outgoing } else { Place::Done };
        self.move_on(to)
    }

    /// Puts an answer on disk that we did not write. Whoever did may have died before its flush, or its flush may have
    /// failed: we read the answer, and a power cut would take it back.
    fn keep_answer(&mut self) -> Result<(), LeaseError> {
        match self.update("the reply", |_| ()) {
            // A full disk has no room for one line more, and a flush needs none.
            Err(LeaseError::Write { what, key, source }) if source.is_no_space() => {
                sync_path(&self.path()).map_err(|source| LeaseError::Write { what, key, source })
            }
            other => other,
        }
    }

    fn sent_on(&self, at: usize, follow_up: &FollowUp) -> Message {
        let FollowUp { thread_id, channel, sender, message } = follow_up.clone();
        let mut sent =
            Message::new(self.name.key.follow_up(at + 1), channel, thread_id, message, now_ms());
        sent.source = Source::CrossThread;
        sent.source_thread_id = Some(self.message.thread_id.clone());
        sent.sender = sender;
        sent.hops = self.message.hops + 1;
        sent
    }

    /// Notes that a part is about to be sent. On disk when this returns.
    pub fn intend(&mut self, part: u32, now_ms: u64) -> Result<(), LeaseError> {
        self.update("the intent", |it| {
            it.delivery.retain(|known| known.part != part);
            it.delivery.push(Delivery {
                part,
                intent: now_ms,
                telegram_message_id: None,
                marked: false,
            });
        })
    }

    /// Notes that a part was sent, and as what. On disk when this returns.
    pub fn sent(
        &mut self,
        part: u32,
        telegram_message_id: i64,
        marked: bool,
    ) -> Result<(), LeaseError> {
        self.update("the delivery", |it| {
            if let Some(known) = it.delivery.iter_mut().find(|known| known.part == part) {
                known.telegram_message_id = Some(telegram_message_id);
                known.marked = marked;
            }
        })
    }

    /// Takes an intent back: the part was surely not sent, so the next attempt need not doubt it. On disk when this
    /// returns.
    pub fn unsent(&mut self, part: u32) -> Result<(), LeaseError> {
        self.update("the delivery", |it| {
            it.delivery.retain(|known| known.part != part || known.telegram_message_id.is_some());
        })
    }

    /// The answer is where it should be: the message goes to `done/`.
    pub fn delivered(mut self) -> Result<(), LeaseError> {
        if self.message.attempts.send != self.attempt {
            let attempt = self.attempt;
            // Only the story in `done/` depends on it: an old count there is no harm, and no flush is worth it.
            let mut next = self.message.clone();
            next.attempts.send = attempt;
            let _ = self.rewrite(&next, Flush::None);
        }
        self.move_on(Place::Done)
    }

    /// Tries again later, at most an hour. The message stays the head of its lane, so nothing overtakes it.
    pub fn retry_after(mut self, delay: Duration, reason: &str) -> Result<(), LeaseError> {
        let (attempt, side) = (self.attempt, self.side);
        self.update("the attempt", |it| {
            it.trouble = Some(reason.to_owned());
            match side {
                Side::Run => it.attempts.run = attempt,
                Side::Send => it.attempts.send = attempt,
            }
        })?;
        self.move_back(after(delay))
    }

    /// Puts it back as if it had never been taken: for a shutdown, or an engine that is out of order.
    pub fn put_back(self) -> Result<(), LeaseError> {
        // No wish for a time, so that no clock can make it wait.
        self.move_back(0)
    }

    /// Like [`Lease::put_back`], but not to be tried before `delay` has passed, at most an hour; free of charge as well.
    pub fn put_back_for(self, delay: Duration) -> Result<(), LeaseError> {
        self.move_back(if delay.is_zero() { 0 } else { after(delay) })
    }

    /// Gives it up: to `dead/`, with the reason beside it. Telling people is the caller's.
    pub fn bury(self, reason: &str) -> Result<(), LeaseError> {
        let key = || self.name.key.clone();
        let written =
            self.write_with_reserve(|| self.inner.write_reason(Place::Dead, &self.text, reason));
        written.map_err(|source| LeaseError::Write { what: "the reason", key: key(), source })?;
        self.move_on(Place::Dead)
    }

    fn update(
        &mut self,
        what: &'static str,
        change: impl FnOnce(&mut Message),
    ) -> Result<(), LeaseError> {
        let mut next = self.message.clone();
        change(&mut next);
        let key = self.name.key.clone();
        self.rewrite(&next, Flush::Strict).map_err(|err| match err {
            LeaseError::Write { source, .. } => LeaseError::Write { what, key, source },
            other => other,
        })?;
        self.message = next;
        Ok(())
    }

    /// Keeps a state of the message: as one line more, which costs one flush at most, or as a new file when that one is long.
    /// A new file is flushed in any case, because it takes the place of what was safe.
    fn rewrite(&mut self, message: &Message, flush: Flush) -> Result<(), LeaseError> {
        let key = || self.name.key.clone();
        let line =
            record::line_of(message).map_err(|source| LeaseError::Json { key: key(), source })?;
        if line.len() > KEPT_BYTES_MAX {
            let (bytes, max) = (line.len(), KEPT_BYTES_MAX);
            return Err(LeaseError::TooLarge { key: key(), bytes, max });
        }
        let bytes = line.len() as u64;
        let path = self.path();
        // Taken, not borrowed: after an error nothing may be written behind what is there.
        if let Some(length) = self.length.take().filter(|it| it + bytes <= APPENDED_BYTES_MAX)
            && append_at(&path, length, &line, flush).is_ok()
        {
            self.length = Some(length + bytes);
            return Ok(());
        }
        let tmp = self.inner.folders.tmp(&self.text);
        self.write_with_reserve(|| replace_through(&tmp, &path, &line, Flush::Strict))
            .map_err(|source| LeaseError::Write { what: "the state", key: key(), source })?;
        self.length = Some(bytes);
        Ok(())
    }

    /// Work that is running may use the reserve when the disk is full.
    fn write_with_reserve(
        &self,
        write: impl Fn() -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        match write() {
            Err(err) if err.is_no_space() && self.inner.folders.release_reserve() => write(),
            other => other,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.inner.folders.file(self.side.working(), &self.text)
    }

    fn move_on(self, to: Place) -> Result<(), LeaseError> {
        let failed = |source| LeaseError::Move { key: self.name.key.clone(), to, source };
        let target = match to {
            Place::Done => {
                let day = self.inner.folders.done_day(now_ms()).map_err(|source| {
                    failed(DiskError {
                        step: "make folder",
                        path: self.inner.folders.place(to).to_owned(),
                        source,
                    })
                })?;
                day.join(&self.text)
            }
            other => self.inner.folders.file(other, &self.text),
        };
        rename(&self.path(), &target).map_err(failed)?;
        self.saw(&self.text, to);
        Ok(())
    }

    fn move_back(mut self, epoch: u64) -> Result<(), LeaseError> {
        let place = self.side.waiting();
        let back = self.name.at_epoch(epoch);
        let text = back.to_string();
        let failed = |key| move |source| LeaseError::Move { key, to: place, source };
        // The note first, and of both names: whoever takes the lane next finds the head under one of them, whatever its
        // watcher has told it, and whether we died before the rename or after it.
        let note = Note::of(&[&self.text, &text], self.note.names());
        if let Some(lock) = &self.lock {
            lock.leave_note(&note.to_string()).map_err(|err| {
                failed(self.name.key.clone())(DiskError {
                    step: "note",
                    path: err.path,
                    source: err.source,
                })
            })?;
        }
        rename_no_replace(&self.path(), &self.inner.folders.file(place, &text))
            .map_err(failed(self.name.key.clone()))?;
        self.saw(&text, place);
        self.name = back;
        self.text = text;
        Ok(())
    }

    fn saw(&self, text: &str, place: Place) {
        if let Some(parts) = name::parts(text) {
            self.inner.index().saw(text, &parts, place, now_ms());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The lock before the word that the lane is free, or a claimer of ours finds it taken.
        drop(self.lock.take());
        self.inner.index().release(self.side, &self.lane, now_ms());
        self.inner.changed.notify_waiters();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({:?} {} attempt {})", self.side, self.name.key, self.attempt)
    }
}
