//! Looking again at what the watcher may have missed, and keeping the house: litter, foreign files, old answers.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use tinyclaw_disk::{DiskError, remove};
use tinyclaw_domain::{Channel, Key, MESSAGE_VERSION, Message, Source, ThreadId};

use super::Inner;
use super::layout::{PROBE, day};
use super::plain::{self, Plain};
use super::record;
use crate::clock::now_ms;
use crate::error::{ClaimError, Fault, OpenError};
use crate::work::{Draft, KEPT_BYTES_MAX};
use crate::{Durability, Place, Published, Side, Swept, name};

/// Litter in `tmp/` is nobody's after this.
const TMP_AGE_MAX: Duration = Duration::from_secs(600);
/// A hand-made file that cannot be read yet may still be being written.
const FOREIGN_AGE_MIN: Duration = Duration::from_secs(1);
/// Files removed from `done/` in one go: unlinking is slow where the file system discards.
const REAP_MAX: usize = 500;
/// Listing may cost this share of the time between two sweeps, so that a huge backlog does not eat a core.
const LISTING_SHARE: u32 = 20;

/// When what was listed last.
#[derive(Debug, Default)]
pub(super) struct SweepState {
    next: Option<Instant>,
    changed: [Option<(i64, i64)>; 4],
}

impl Inner {
    pub(super) fn keep_house(&self) -> Result<Swept, OpenError> {
        let mut swept = Swept::default();
        self.sweep_tmp(&mut swept)?;
        self.sweep_incoming(&mut swept)?;
        self.sweep_reasons()?;
        self.reap_done(&mut swept)?;
        if self.has_room_for(2) {
            self.folders.fill_reserve(self.options.reserve_bytes);
        }
        Ok(swept)
    }

    /// Looks again, if it is time: at lanes that others held, and at folders that changed. Whether there was news.
    pub(super) fn sweep_listing(&self) -> Result<bool, ClaimError> {
        let mut state = self.sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if state.next.is_some_and(|it| began < it) {
            return Ok(false);
        }
        for side in [Side::Run, Side::Send] {
            let lanes = self.index().set_aside_lanes(side);
            for lane in lanes {
                let holds = self.known_troubles().holds(side, &lane);
                let unread = self.known_troubles().unread_name(side, &lane);
                // Once somebody has taken the file away there is nothing to wait for.
                let is_there = unread
                    .is_none_or(|it| plain::is_there(&self.folders.file(side.working(), &it)));
                if !holds || !is_there {
                    self.index().unblock(side, &lane, now_ms());
                }
            }
        }
        let mut news = true;
        let places = [Place::Incoming, Place::Processing, Place::Outgoing, Place::Sending];
        for (at, place) in places.into_iter().enumerate() {
            // Every rename touches its folder: one that did not change holds nothing new.
            let changed = fs::metadata(self.folders.place(place))
                .map(|it| (it.mtime(), it.mtime_nsec()))
                .ok();
            if changed.is_none() || changed != state.changed[at] {
                news |= self.list(place).map_err(ClaimError::from_listing)?;
                state.changed[at] = changed;
            }
        }
        let pause = (began.elapsed() * LISTING_SHARE).max(self.options.sweep_every);
        state.next = Some(Instant::now() + pause);
        Ok(news)
    }

    fn sweep_tmp(&self, swept: &mut Swept) -> Result<(), OpenError> {
        let tmp = self.folders.tmp("");
        for dir in Place::ALL.into_iter().map(|it| self.folders.place(it)).chain([&*tmp]) {
            for (path, text) in files_in(dir)? {
                // A folder there is nobody's litter of ours, and must not stop the rest.
                let is_litter = (dir == tmp || text.starts_with(PROBE)) && !is_folder(&path);
                if is_litter && age(&path).is_some_and(|it| it > TMP_AGE_MAX) {
                    tracing::debug!(name = text, "removing what a crash left behind");
                    gone(&path, &text)?;
                    swept.litter += 1;
                }
            }
        }
        Ok(())
    }

    /// A reason whose message never came: whoever was burying it died between the two.
    fn sweep_reasons(&self) -> Result<(), OpenError> {
        for place in [Place::Dead, Place::Quarantine] {
            for (path, text) in files_in(self.folders.place(place))? {
                let Some(of) = text.strip_suffix(".reason") else { continue };
                if !plain::is_there(&self.folders.file(place, of))
                    && !is_folder(&path)
                    && age(&path).is_some_and(|it| it > TMP_AGE_MAX)
                {
                    gone(&path, &text)?;
                }
            }
        }
        Ok(())
    }

    fn reap_done(&self, swept: &mut Swept) -> Result<(), OpenError> {
        let now = now_ms();
        let oldest = day(now.saturating_sub(u64::from(self.options.done_days) * 86_400_000));
        let list = |err| OpenError::unlisted(self.folders.place(Place::Done), err);
        for (day, dir) in self.folders.done_days().map_err(list)? {
            if day >= oldest {
                break;
            }
            for (path, text) in files_in(&dir)? {
                if swept.reaped >= REAP_MAX {
                    return Ok(());
                }
                if is_folder(&path) {
                    continue;
                }
                gone(&path, &text)?;
                if let Some(parts) = name::parts(&text) {
                    self.index().removed(&parts, Place::Done, now);
                }
                swept.reaped += 1;
            }
            // Not empty means that somebody just put something there: next time, then.
            let _ = fs::remove_dir(&dir);
        }
        Ok(())
    }

    fn sweep_incoming(&self, swept: &mut Swept) -> Result<(), OpenError> {
        for (path, text) in files_in(self.folders.place(Place::Incoming))? {
            let ours = name::parts(&text).is_some_and(|it| is_order(it.order));
            if text.starts_with(PROBE) {
                continue;
            }
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            let unfinished = text.starts_with('.') || text.ends_with(".tmp");
            let patience = if unfinished { TMP_AGE_MAX } else { FOREIGN_AGE_MIN };
            let is_old = age(&path).is_none_or(|it| it > patience);
            let why = if !meta.file_type().is_file() {
                "it is not a regular file".to_owned()
            } else if ours {
                // Read when it is claimed; what is wrong with it is found then.
                continue;
            } else if meta.len() > self.options.message_bytes_max as u64 {
                format!(
                    "it has {} bytes and {} are allowed",
                    meta.len(),
                    self.options.message_bytes_max
                )
            } else if unfinished {
                "its writer never finished it".to_owned()
            } else if !text.ends_with(".json") {
                "its name does not end in .json".to_owned()
            } else {
                match self.adopt(&path, &text, &meta) {
                    Ok(true) => {
                        swept.adopted += 1;
                        continue;
                    }
                    Ok(false) => continue,
                    Err(why) => why,
                }
            };
            if is_old {
                self.quarantine(Place::Incoming, &text, &why)
                    .map_err(|err| unremoved(&text, err))?;
                swept.quarantined += 1;
            }
        }
        Ok(())
    }

    /// Takes up a hand-made file. `Ok(false)`: it is gone, or cannot be taken now and stays.
    fn adopt(&self, path: &Path, text: &str, seen: &Metadata) -> Result<bool, String> {
        let bytes = match plain::read(path) {
            Ok(Plain::Bytes(bytes)) => bytes,
            Ok(Plain::Gone) => return Ok(false),
            Ok(Plain::Unfit(why)) => return Err(why),
            Err(err) => {
                tracing::warn!("cannot read the hand-made file {text} now: {err}");
                return Ok(false);
            }
        };
        let message = message_of(&bytes, text, seen)?;
        let (key, is_beat) = (message.key.clone(), message.source == Source::Heartbeat);
        self.know_done().map_err(|err| err.to_string())?;
        // The key comes from the file, so after a crash before the removal it is known and is published no second time.
        let published = Draft::of(Side::Run, &message, KEPT_BYTES_MAX)
            .and_then(|it| self.put_draft(it, Durability::Strict));
        match published {
            Ok(Published::Duplicate(place)) if !(is_beat && place == Place::Incoming) => {
                Err(format!(
                    "a message of its key, {key}, is known already, in {place}; to send it all the same, take out its \
                 key and messageId and move it back"
                ))
            }
            Ok(_) => {
                // Whoever made it may have laid the next one over it meanwhile: that one stays, for the next round.
                if fs::symlink_metadata(path).is_ok_and(|it| is_same(&it, seen)) {
                    remove(path).map_err(|err: DiskError| {
                        format!("it cannot be removed after it was taken up: {err}")
                    })?;
                }
                tracing::info!(key = %key, "took up the hand-made file {text} as {key}");
                Ok(true)
            }
            Err(err) => {
                tracing::warn!("cannot take up the hand-made file {text} now: {err}");
                Ok(false)
            }
        }
    }
}

/// A message from a file with the original's fields. The key is the file's own, or made from its id; or from its name,
/// its times and its length, so that a script may drop one file after the other under the same name.
fn message_of(bytes: &[u8], text: &str, seen: &Metadata) -> Result<Message, String> {
    let mut value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|err| format!("it is not JSON: {err}"))?;
    let fields = value.as_object_mut().ok_or("it is not a JSON object")?;
    // Somebody may lay down a file of ours again: its sum must fit, and what we write has a new one.
    record::check_object(fields)?;
    let version = fields.get("v").and_then(serde_json::Value::as_u64);
    if version.is_some_and(|it| it != u64::from(MESSAGE_VERSION)) {
        return Err(format!("its version is {}, this one knows 1", version.unwrap_or_default()));
    }
    let id = fields.get("messageId").and_then(serde_json::Value::as_str).map(str::to_owned);
    let key = match fields.get("key").and_then(serde_json::Value::as_str) {
        Some(key) => key.parse::<Key>().map_err(|err| err.to_string())?,
        None => Key::hashed("file", &id.clone().unwrap_or_else(|| stamp(text, seen))),
    };
    let id = id.unwrap_or_else(|| text.to_owned());
    // The original wrote heartbeats as a channel of their own; their answers went to the topic.
    let is_heartbeat =
        fields.get("channel").and_then(serde_json::Value::as_str) == Some("heartbeat");
    if is_heartbeat {
        fields.insert("channel".to_owned(), Channel::Telegram.as_str().into());
        fields.insert("source".to_owned(), serde_json::json!(Source::Heartbeat));
    }
    for (name, value) in [
        ("v", serde_json::json!(MESSAGE_VERSION)),
        ("key", serde_json::json!(key)),
        ("messageId", serde_json::json!(id)),
        // Without a word about the way out, the one that needs nobody to carry anything.
        ("channel", serde_json::json!(Channel::Cli)),
        ("threadId", serde_json::json!(ThreadId::master())),
        ("timestamp", serde_json::json!(now_ms())),
    ] {
        if !fields.contains_key(name) || name == "key" {
            fields.insert(name.to_owned(), value);
        }
    }
    if !fields.contains_key("message") && !fields.contains_key("command") {
        return Err("it has neither \"message\" nor \"command\"".to_owned());
    }
    serde_json::from_value(value).map_err(|err| format!("it is not a message: {err}"))
}

fn gone(path: &Path, text: &str) -> Result<(), OpenError> {
    remove(path).map_err(|err| unremoved(text, err))
}

fn unremoved(text: &str, err: DiskError) -> OpenError {
    OpenError::Remove { what: text.to_owned(), source: Fault::of(err) }
}

/// What lies in a folder, by path and name.
pub(super) fn files_in(dir: &Path) -> Result<Vec<(PathBuf, String)>, OpenError> {
    let entries = tinyclaw_disk::read_dir(dir).map_err(|err| OpenError::unlisted(dir, err))?;
    // A name that is not UTF-8 is none of ours and cannot be moved by name; it is left to its owner.
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|err| OpenError::unlisted(dir, err))?;
        files.extend(entry.file_name().into_string().ok().map(|it| (entry.path(), it)));
    }
    Ok(files)
}

/// What tells a file from the next one of its name. A crash leaves it as it is. The time is the one of its last change
/// of any kind: the other one is the original's when somebody copies the same file here time and again.
fn stamp(text: &str, of: &Metadata) -> String {
    let stem = text.trim_end_matches(".json");
    format!("{stem}-{}.{:09}-{}", of.ctime(), of.ctime_nsec(), of.len())
}

fn is_same(now: &Metadata, seen: &Metadata) -> bool {
    now.ino() == seen.ino() && stamp("", now) == stamp("", seen)
}

pub(super) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_dir())
}

pub(super) fn age(path: &Path) -> Option<Duration> {
    let modified = fs::symlink_metadata(path).and_then(|it| it.modified()).ok()?;
    SystemTime::now().duration_since(modified).ok()
}

/// Whether `<prio>-<ulid>` is one of ours.
fn is_order(order: &str) -> bool {
    matches!(order.as_bytes()[0], b'0' | b'1') && ulid::Ulid::from_string(&order[2..]).is_ok()
}
