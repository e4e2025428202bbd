//! Claiming: choose a lane, take its lock, carry on from whoever died in it, or take its head.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tinyclaw_disk::{DiskError, Lock, LockError, rename_no_replace};
use tinyclaw_domain::{Channel, MESSAGE_VERSION};

use super::Inner;
use super::hold::FileHold;
use super::index::Among;
use super::note::Note;
use super::plain::{self, Plain};
use super::record::{self, Record};
use crate::clock::now_ms;
use crate::error::{ClaimError, Fault, OpenError};
use crate::name::{self, Name};
use crate::work::Taken;
use crate::{Place, Side, Which};

/// Threads that wait for a foreign lock.
pub(super) const WAITERS_MAX: usize = 16;

enum Looked {
    Taken(Box<Taken>),
    /// Somebody alive owns the lane.
    Owned,
    /// Its head goes another way out.
    Foreign,
    /// The lane has nothing for us after all.
    Nothing,
}

impl Inner {
    pub(super) fn claim_from_index(
        self: &Arc<Inner>,
        side: Side,
        which: &Which,
    ) -> Result<Option<Taken>, ClaimError> {
        let one;
        let (among, channel) = match which {
            Which::Ordinary => (vec![Among::Ordinary], None),
            Which::Control => (vec![Among::Control], None),
            Which::Lane(lane) => {
                one = lane.to_string();
                (vec![Among::One(&one)], None)
            }
            Which::Channel(channel) => (vec![Among::Control, Among::Ordinary], Some(*channel)),
        };
        // What one lane suffers from is told when no other has anything to offer: it must stop none of them.
        let mut trouble = None;
        for among in among {
            let mut last = None;
            loop {
                let Some(lane) = self.index().pick(side, among, now_ms()) else { break };
                let taken = self.take_lane(side, &lane, channel);
                if taken.is_ok() {
                    self.known_troubles().end(side, &lane);
                }
                match taken {
                    Ok(Looked::Taken(taken)) => return Ok(Some(*taken)),
                    // Once more at most: what index and folders cannot agree on waits for the sweep.
                    Ok(Looked::Nothing) if last.as_ref() != Some(&lane) => {
                        self.index().release(side, &lane, now_ms());
                        last = Some(lane);
                    }
                    Ok(Looked::Nothing | Looked::Foreign) => {
                        self.index().set_aside(side, &lane, now_ms())
                    }
                    Ok(Looked::Owned) => {
                        self.index().set_aside(side, &lane, now_ms());
                        self.wait_for(side, lane);
                    }
                    Err(err) => {
                        // Set aside, not released: a sweep tries again, and other lanes go on.
                        self.index().set_aside(side, &lane, now_ms());
                        self.known_troubles().add(side, &lane, &err, self.options.sweep_every);
                        trouble.get_or_insert(err);
                    }
                }
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// Takes the lane's lock and a message, if there is one. The lane is ours in the index.
    fn take_lane(
        self: &Arc<Inner>,
        side: Side,
        lane: &Arc<str>,
        channel: Option<Channel>,
    ) -> Result<Looked, ClaimError> {
        let lock =
            |err: LockError| ClaimError::Lane { lane: lane.to_string(), source: Fault::of(err) };
        let Some(guard) = Lock::try_take(&self.folders.lane(side, lane)).map_err(lock)? else {
            return Ok(Looked::Owned);
        };
        // The note names the message that the last owner had in hand, whatever our index has heard of it. What we know
        // to have moved on need not be looked for.
        let note = Note::parse(&guard.note().map_err(lock)?, lane);
        let is_past = |it: &&str| name::parts(it).is_none_or(|it| self.index().is_past(&it, side));
        let noted: Vec<&str> = note.names().filter(|it| !is_past(it)).collect();
        // A new note keeps what the last one named and still lies there.
        let leave_note = |text: &str| {
            let is_there = |it: &&str| {
                let places = [side.waiting(), side.working()];
                *it != text && places.iter().any(|at| plain::is_there(&self.folders.file(*at, it)))
            };
            let next = Note::of(&[text], noted.iter().copied().filter(is_there));
            if next != note {
                guard.leave_note(&next.to_string()).map_err(lock)?;
            }
            Ok::<Note, ClaimError>(next)
        };
        loop {
            let (_, working) = self.index().names(side, lane);
            if let Some(text) = self.left_behind(side, &working, &noted) {
                if !self.is_of(side.working(), &text, channel)? {
                    return Ok(Looked::Foreign);
                }
                let note = leave_note(&text)?;
                let died = !self.known_troubles().is_ours(side, lane, &text);
                match self.read(side, lane, &text, !died)? {
                    Some(message) => {
                        return Ok(self.taken(side, lane, &text, message, (guard, note), died));
                    }
                    None => continue,
                }
            }
            for text in &noted {
                if let Some(parts) = name::parts(text)
                    && plain::is_there(&self.folders.file(side.waiting(), text))
                {
                    self.index().saw(text, &parts, side.waiting(), now_ms());
                }
            }
            let (Some(text), _) = self.index().names(side, lane) else {
                return Ok(Looked::Nothing);
            };
            let Some(parts) = name::parts(&text) else { return Ok(Looked::Nothing) };
            if !self.index().is_due(side, lane, now_ms()) {
                return Ok(Looked::Nothing);
            }
            if !self.is_of(side.waiting(), &text, channel)? {
                return Ok(Looked::Foreign);
            }
            let (from, to) = (
                self.folders.file(side.waiting(), &text),
                self.folders.file(side.working(), &text),
            );
            // Looked for before it is noted: our picture may be old, and a note of what is long gone would take the
            // place of one that others need.
            if !plain::is_there(&from) {
                self.index().gone(&parts, side.waiting(), now_ms());
                continue;
            }
            let note = leave_note(&text)?;
            match rename_no_replace(&from, &to) {
                Ok(()) => {}
                Err(err) if err.is_not_found() => {
                    self.index().gone(&parts, side.waiting(), now_ms());
                    continue;
                }
                // After a power cut a weak file system may show a name twice: the further place wins.
                Err(err) if err.is_already_exists() => {
                    tinyclaw_disk::remove(&from).map_err(|err| moved(&text, err))?;
                    self.index().saw(&text, &parts, side.working(), now_ms());
                    continue;
                }
                Err(err) => return Err(moved(&text, err)),
            }
            self.index().saw(&text, &parts, side.working(), now_ms());
            match self.read(side, lane, &text, true)? {
                Some(message) => {
                    return Ok(self.taken(side, lane, &text, message, (guard, note), false));
                }
                None => continue,
            }
        }
    }

    /// The name of a message of this lane that lies where it was worked on although its lane is free.
    fn left_behind(&self, side: Side, working: &[Box<str>], noted: &[&str]) -> Option<Box<str>> {
        let working = working.iter().map(|it| &**it);
        let mut names: Vec<&str> = working.chain(noted.iter().copied()).collect();
        names.sort_unstable();
        for text in names {
            let parts = name::parts(text)?;
            if plain::is_there(&self.folders.file(side.working(), text)) {
                self.index().saw(text, &parts, side.working(), now_ms());
                return Some(text.into());
            }
            self.index().gone(&parts, side.working(), now_ms());
        }
        None
    }

    fn is_of(
        &self,
        place: Place,
        text: &str,
        channel: Option<Channel>,
    ) -> Result<bool, ClaimError> {
        let Some(channel) = channel else { return Ok(true) };
        // What cannot be read is everybody's: whoever comes first puts it into quarantine.
        let Ok(Plain::Bytes(bytes)) = plain::read(&self.folders.file(place, text)) else {
            return Ok(true);
        };
        Ok(record::read(&bytes).map_or(true, |it| it.message.channel == channel))
    }

    /// Reads a message that is ours. What is none, and will not become one, goes to quarantine with its reason, and
    /// `None` comes back; so does what could not be read time and again.
    fn read(
        &self,
        side: Side,
        lane: &str,
        text: &str,
        is_ours: bool,
    ) -> Result<Option<Record>, ClaimError> {
        let place = side.working();
        let unread =
            |err: io::Error| ClaimError::Read { name: text.to_owned(), source: Fault::of(err) };
        let why = match plain::read(&self.folders.file(place, text)) {
            Ok(Plain::Bytes(bytes)) => match record_of(&bytes, text) {
                Ok(record) => return Ok(Some(record)),
                Err(why) => why,
            },
            Ok(Plain::Unfit(why)) => why,
            Ok(Plain::Gone) => return Err(unread(io::ErrorKind::NotFound.into())),
            Err(err) if self.known_troubles().unread(side, lane, text, &err, is_ours) => {
                format!("it cannot be read: {err}")
            }
            Err(err) => return Err(unread(err)),
        };
        self.quarantine(place, text, &why).map_err(|err| moved(text, err))?;
        Ok(None)
    }

    fn taken(
        self: &Arc<Inner>,
        side: Side,
        lane: &Arc<str>,
        text: &str,
        record: Record,
        guard: (Lock, Note),
        recovered: bool,
    ) -> Looked {
        // `read` has parsed the same text.
        let Ok(name) = text.parse::<Name>() else { return Looked::Nothing };
        let Record { message, length, is_ours } = record;
        let length = is_ours.then_some(length as u64);
        let key = name.key.clone();
        let hold = FileHold::new(self.clone(), side, lane.clone(), name, guard, length, recovered);
        Looked::Taken(Box::new(Taken { hold: Box::new(hold), key, message, recovered }))
    }

    /// Frees a lane of another process for us the moment its lock is free.
    fn wait_for(&self, side: Side, lane: Arc<str>) {
        if self.waiters.fetch_add(1, Ordering::SeqCst) >= WAITERS_MAX {
            self.waiters.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let (path, index) = (self.folders.lane(side, &lane), self.index.clone());
        let (changed, waiters) = (self.changed.clone(), self.waiters.clone());
        std::thread::spawn(move || {
            // An error is as good as an answer: the claimer tries again and sees for itself.
            drop(Lock::take(&path));
            waiters.fetch_sub(1, Ordering::SeqCst);
            index.lock().unwrap_or_else(PoisonError::into_inner).unblock(side, &lane, now_ms());
            changed.notify_waiters();
        });
    }
}

/// The message in a file of this name, or what is wrong with it.
fn record_of(bytes: &[u8], text: &str) -> Result<Record, String> {
    let record = record::read(bytes)?;
    let (message, name) = (&record.message, text.parse::<Name>()?);
    if message.v != MESSAGE_VERSION {
        Err(format!("its version is {}, this one knows 1", message.v))
    } else if name.key != message.key {
        Err(format!("its key is {}, its name says {}", message.key, name.key))
    } else if name.lane != message.lane() {
        Err(format!("its lane is {}, its name says {}", message.lane(), name.lane))
    } else {
        Ok(record)
    }
}

fn moved(text: &str, source: DiskError) -> ClaimError {
    ClaimError::Move { name: text.to_owned(), source: Fault::of(source) }
}

impl ClaimError {
    pub(super) fn from_listing(err: OpenError) -> ClaimError {
        match err {
            OpenError::List { folder, source } => ClaimError::List { folder, source },
            other => ClaimError::List { folder: "queue".to_owned(), source: Fault::of(other) },
        }
    }
}
