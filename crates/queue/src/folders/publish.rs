//! Publishing: write in `tmp/`, flush, rename into sight, flush the folder; only then is it said to be accepted. And what
//! is done to a message that nobody works on.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tinyclaw_disk::{
    DiskError, Flush, Lock, exchange, remove, rename_no_replace, sync_dir, sync_file, write_new,
};
use tinyclaw_domain::{Key, Message};

use super::group::{Job, WINDOW};
use super::plain::{self, Plain};
use super::{Inner, record};
use crate::clock::now_ms;
use crate::error::{Fault, MoveError, PublishError};
use crate::name::{self, Name, Priority};
use crate::work::Draft;
use crate::{Durability, Place, Published, Side};

/// How long an answer about free disk space is believed.
const SPACE_ANSWER_AGE: Duration = Duration::from_secs(1);

static SPACE: Mutex<Option<(Instant, (f64, u64))>> = Mutex::new(None);

impl Inner {
    /// Takes a message in, without a look into `done/`.
    pub(super) fn put_draft(
        &self,
        draft: Draft,
        durability: Durability,
    ) -> Result<Published, PublishError> {
        let Draft { side, priority, key, lane, json, .. } = draft;
        {
            let mut index = self.index();
            if priority == Priority::Low && index.has_low_priority(side, &lane.to_string()) {
                // One heartbeat that waits says as much as two.
                return Ok(Published::Duplicate(side.waiting()));
            }
            if let Err(place) = index.reserve(key.as_str(), side.waiting()) {
                drop(index);
                self.keep_name(place, durability)
                    .map_err(|err| PublishError::Write { key, source: Fault::of(err) })?;
                return Ok(Published::Duplicate(place));
            }
        }
        let name =
            Name { priority, ulid: self.clock.next(now_ms()), lane, key: key.clone(), epoch: 0 };
        match self.put_in_place(side, &name, &record::sealed(json), durability) {
            Ok(()) => Ok(Published::New),
            Err(err) => {
                self.index().forget(key.as_str());
                if err.is_no_space() {
                    Err(PublishError::NoSpace { key })
                } else {
                    Err(PublishError::Write { key, source: Fault::of(err) })
                }
            }
        }
    }

    /// Flushes where a known message lies. Its publisher may have died before that, and whoever hears that it is there
    /// confirms it to the outside.
    fn keep_name(&self, place: Place, durability: Durability) -> Result<(), DiskError> {
        let is_live = place <= Place::Sending;
        if is_live && durability != Durability::None {
            sync_dir(self.folders.place(place))?;
        }
        Ok(())
    }

    fn put_in_place(
        &self,
        side: Side,
        name: &Name,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let place = side.waiting();
        let text = name.to_string();
        let (tmp, target) = (self.folders.tmp(&text), self.folders.file(place, &text));
        let written = write_new(&tmp, bytes);
        let file = match written {
            // Nobody has been promised anything, but the key is precious and the reserve is there for it.
            Err(err) if err.is_no_space() && self.folders.release_reserve() => {
                write_new(&tmp, bytes)?
            }
            other => other?,
        };
        let commit = |window| {
            sync_file(&file, &tmp)?;
            self.group.commit(Job { tmp: tmp.clone(), target: target.clone() }, window)
        };
        let placed = match durability {
            Durability::Strict => commit(Duration::ZERO),
            Durability::Group => commit(WINDOW),
            Durability::None => rename_no_replace(&tmp, &target),
        };
        if let Err(err) = placed {
            // Take it back, so that an error means that nothing happened. When it cannot be taken back because
            // somebody has claimed it already, it did happen.
            let _ = remove(&tmp);
            return match rename_no_replace(&target, &tmp) {
                Ok(()) => {
                    let _ = remove(&tmp);
                    Err(err)
                }
                Err(gone) if gone.is_not_found() && self.is_further(&name.key, place) => Ok(()),
                Err(_) => Err(err),
            };
        }
        self.note_sighting(&text, place);
        Ok(())
    }

    fn is_further(&self, key: &Key, place: Place) -> bool {
        self.index().place_of(key.as_str()).is_some_and(|it| it > place)
    }

    pub(super) fn note_sighting(&self, text: &str, place: Place) {
        if let Some(parts) = name::parts(text) {
            self.index().saw(text, &parts, place, now_ms());
        }
        self.changed.notify_waiters();
    }

    pub(super) fn write_reason(
        &self,
        place: Place,
        text: &str,
        reason: &str,
    ) -> Result<(), DiskError> {
        let reason = format!("{reason}\n");
        tinyclaw_disk::replace_through(
            &self.folders.tmp(&format!("reason-{text}")),
            &self.folders.reason(place, text),
            reason.as_bytes(),
            Flush::Strict,
        )
    }

    /// Puts a file that is no message aside, with the reason beside it. Another that lies there under its name stays: the
    /// later one gets a number, `NAME.2`.
    pub(super) fn quarantine(&self, from: Place, text: &str, why: &str) -> Result<(), DiskError> {
        tracing::warn!(place = from.as_str(), name = text, "{text} goes to quarantine: {why}");
        let path = self.folders.file(from, text);
        let mut name = text.to_owned();
        for number in 2.. {
            let target = self.folders.file(Place::Quarantine, &name);
            // Looked for first, or the other one would lose its reason to ours.
            if !plain::is_there(&target) {
                self.write_reason(Place::Quarantine, &name, why)?;
                match rename_no_replace(&path, &target) {
                    Err(err) if err.is_already_exists() => {}
                    other => {
                        other?;
                        break;
                    }
                }
            }
            name = format!("{text}.{number}");
        }
        self.note_sighting(text, Place::Quarantine);
        Ok(())
    }

    /// Changes a message that waits in `incoming/`.
    pub(super) fn edit_waiting(
        &self,
        key: &Key,
        change: &mut dyn FnMut(&mut Message),
    ) -> Result<bool, MoveError> {
        let Some(text) = self.find_name(Place::Incoming, key)? else { return Ok(false) };
        let path = self.folders.file(Place::Incoming, &text);
        let Some(bytes) = bytes_of(&path, key)? else { return Ok(false) };
        let mut message = message_in(&bytes, key)?;
        change(&mut message);
        let bytes = line_of(&message, key)?;
        let tmp = self.folders.tmp(&format!("edit-{text}"));
        let swap = || {
            remove(&tmp)?;
            sync_file(&write_new(&tmp, &bytes)?, &tmp)?;
            // A swap, not a rename: when somebody claims the message meanwhile, nothing of it must appear again.
            exchange(&tmp, &path)?;
            sync_dir(self.folders.place(Place::Incoming))
        };
        let swapped = swap();
        let _ = remove(&tmp);
        match swapped {
            Ok(()) => Ok(true),
            Err(err) if err.is_not_found() => Ok(false),
            Err(err) => Err(unmoved(key, err)),
        }
    }

    /// Takes up a message that was given up.
    pub(super) fn take_up(
        &self,
        key: &Key,
        renew: &mut dyn FnMut(&mut Message) -> Place,
    ) -> Result<Place, MoveError> {
        const WANTED: &str = "dead/ or quarantine/";
        let not_there = || MoveError::NotThere { key: key.clone(), wanted: WANTED };
        // Whoever removes what is old looks and removes under the same lock.
        let _given_up = self.given_up_lock(key)?;
        let (from, text) = self.find_given_up(key)?.ok_or_else(not_there)?;
        let path = self.folders.file(from, &text);
        let bytes = bytes_of(&path, key)?.ok_or_else(not_there)?;
        let mut message = message_in(&bytes, key)?;
        let place = renew(&mut message);
        let bytes = line_of(&message, key)?;
        let failed = |err| unmoved(key, err);
        tinyclaw_disk::replace_through(&self.folders.tmp(&text), &path, &bytes, Flush::Strict)
            .map_err(failed)?;
        let name: Name =
            text.parse().map_err(|_| MoveError::NotThere { key: key.clone(), wanted: "dead/" })?;
        // The next epoch is no time to wait for: it is due.
        let back = name.at_epoch(0).to_string();
        rename_no_replace(&path, &self.folders.file(place, &back)).map_err(failed)?;
        sync_dir(self.folders.place(place)).map_err(failed)?;
        let _ = remove(&self.folders.reason(from, &text));
        self.note_sighting(&back, place);
        Ok(place)
    }

    /// Gives up a message that waits, or that lies where it is worked on although nobody works on it.
    pub(super) fn bury_idle(&self, key: &Key, reason: &str) -> Result<(), MoveError> {
        for side in [Side::Run, Side::Send] {
            if let Some(text) = self.find_name(side.waiting(), key)? {
                return self.bury_from(side.waiting(), &text, key, reason);
            }
            let Some(text) = self.find_name(side.working(), key)? else { continue };
            let busy = || MoveError::Busy { key: key.clone() };
            let lane = name::parts(&text).map(|it| self.folders.lane(side, it.lane));
            // Held until the message is gone, so that nobody takes it up in between.
            let _lane = Lock::try_take(&lane.ok_or_else(busy)?)
                .map_err(|err| MoveError::Lane { key: key.clone(), source: Fault::of(err) })?
                .ok_or_else(busy)?;
            return self.bury_from(side.working(), &text, key, reason);
        }
        Err(MoveError::NotThere { key: key.clone(), wanted: "incoming/ or outgoing/" })
    }

    /// Removes a message that was given up.
    pub(super) fn remove_for_good(&self, key: &Key) -> Result<(), MoveError> {
        let _given_up = self.given_up_lock(key)?;
        let Some((place, text)) = self.find_given_up(key)? else {
            return Err(MoveError::NotThere { key: key.clone(), wanted: "dead/ or quarantine/" });
        };
        for path in [self.folders.file(place, &text), self.folders.reason(place, &text)] {
            remove(&path).map_err(|err| unmoved(key, err))?;
        }
        Ok(())
    }

    fn given_up_lock(&self, key: &Key) -> Result<Lock, MoveError> {
        let lock = self.folders.given_up_lock();
        lock.map_err(|err| MoveError::Lane { key: key.clone(), source: Fault::of(err) })
    }

    fn find_given_up(&self, key: &Key) -> Result<Option<(Place, String)>, MoveError> {
        for place in [Place::Dead, Place::Quarantine] {
            if let Some(text) = self.find_name(place, key)? {
                return Ok(Some((place, text)));
            }
        }
        Ok(None)
    }

    fn bury_from(
        &self,
        place: Place,
        text: &str,
        key: &Key,
        reason: &str,
    ) -> Result<(), MoveError> {
        let failed = |err| unmoved(key, err);
        self.write_reason(Place::Dead, text, reason).map_err(failed)?;
        let moved = rename_no_replace(
            &self.folders.file(place, text),
            &self.folders.file(Place::Dead, text),
        );
        match moved {
            Ok(()) => {
                self.note_sighting(text, Place::Dead);
                Ok(())
            }
            Err(err) => {
                let _ = remove(&self.folders.reason(Place::Dead, text));
                if err.is_not_found() {
                    Err(MoveError::Busy { key: key.clone() })
                } else {
                    Err(failed(err))
                }
            }
        }
    }

    /// Whether there is room for new messages, `times` over.
    pub(super) fn has_room_for(&self, times: u32) -> bool {
        let mut answer = SPACE.lock().unwrap_or_else(PoisonError::into_inner);
        let (share, bytes) = match *answer {
            Some((when, free)) if when.elapsed() < SPACE_ANSWER_AGE => free,
            _ => {
                // A file system that does not say is taken to have room: writing will tell.
                let free = self.folders.free().unwrap_or((1.0, u64::MAX));
                *answer = Some((Instant::now(), free));
                free
            }
        };
        let enough = self.options.free_bytes_enough.saturating_mul(times.into());
        share >= self.options.free_share_min * f64::from(times) || bytes >= enough
    }

    pub(super) fn find_name(&self, place: Place, key: &Key) -> Result<Option<String>, MoveError> {
        let mut found = None;
        self.folders
            .scan(place, |text, parts| {
                if parts.key == key.as_str() {
                    found = Some(text.to_owned());
                }
            })
            .map_err(|err| MoveError::Read { key: key.clone(), source: Fault::of(err) })?;
        Ok(found)
    }
}

fn message_in(bytes: &[u8], key: &Key) -> Result<Message, MoveError> {
    let record = record::read(bytes);
    Ok(record.map_err(|why| MoveError::NoMessage { key: key.clone(), why })?.message)
}

/// The bytes of a message that was found by its name. `None` when it has moved on meanwhile.
fn bytes_of(path: &Path, key: &Key) -> Result<Option<Vec<u8>>, MoveError> {
    let failed = |source| MoveError::Read { key: key.clone(), source };
    match plain::read(path).map_err(|err: io::Error| failed(Fault::of(err)))? {
        Plain::Bytes(bytes) => Ok(Some(bytes)),
        Plain::Gone => Ok(None),
        Plain::Unfit(why) => Err(failed(Fault::because(why))),
    }
}

fn line_of(message: &Message, key: &Key) -> Result<Vec<u8>, MoveError> {
    record::line_of(message).map_err(|source| MoveError::Json { key: key.clone(), source })
}

fn unmoved(key: &Key, err: DiskError) -> MoveError {
    MoveError::Move { key: key.clone(), source: Fault::of(err) }
}
