//! The shape of `threads.json`: what of it this version knows, what it keeps though it does not, and the checksums that
//! tell a damaged entry from one that a person changed.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize as _;
use serde_json::{Map, Value};
use tinyclaw_disk::{
    DiskError, Flush, read_with_metadata, remove, rename, sync_dir, sync_file, write_new,
};
use tinyclaw_domain::checksum::{self, Checked};
use tinyclaw_domain::{
    Effort, Model, OwnTiers, PermissionMode, SessionId, Thread, ThreadId, ThreadStatus, Threads,
    Trust,
};

use super::ThreadsError;

/// The fraction of a second that a file of ours was changed at, as its file system keeps it. Whoever edits the file leaves
/// another one, so an entry whose checksum does not fit was edited; in a file that nobody edited it is damaged.
const OUR_NANOSECONDS: u32 = 271_828_182;

/// What stands in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    pub(super) threads: Threads,
    /// Entries of a later version, or of a person who slipped: no threads that we know. Written back as they are.
    unknown: Map<String, Value>,
    /// Values that make no sense here, by thread and field. Written back until the field is given another value.
    odd: BTreeMap<ThreadId, Vec<Odd>>,
    /// Entries as they were written last: most do not change from one save to the next.
    written: BTreeMap<ThreadId, (Thread, Value)>,
}

/// A value of a known field that is none of ours.
#[derive(Debug, Clone, PartialEq)]
struct Odd {
    field: &'static str,
    raw: Value,
    /// What reading put in its place.
    stands_for: Option<&'static str>,
}

/// What reading the file brought.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) entries: Entries,
    /// The first entry that is no thread.
    pub(super) trouble: Option<ThreadsError>,
    /// Entries whose checksum does not fit, though nobody edited the file.
    pub(super) damaged: Vec<String>,
}

impl Entries {
    /// Reads the file; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Reading>, ThreadsError> {
        let at = |source| ThreadsError::Read { path: path.to_owned(), source };
        let (bytes, about) = match read_with_metadata(path) {
            Ok(it) => it,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(at(source)),
        };
        let is_ours = about.mtime_nsec() == i64::from(OUR_NANOSECONDS);
        let fields: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|source| ThreadsError::Json { path: path.to_owned(), source })?;
        let mut reading =
            Reading { entries: Entries::default(), trouble: None, damaged: Vec::new() };
        for (id, mut entry) in fields {
            let checked = match &mut entry {
                Value::Object(fields) => checksum::take(&id, fields),
                _ => Checked::Unmarked,
            };
            if checked == Checked::Damaged && is_ours {
                reading.damaged.push(id);
                continue;
            }
            let parsed = id.parse::<ThreadId>().map_err(|err| err.to_string());
            match parsed.and_then(|it| Ok((it, thread(entry.clone())?))) {
                Ok((thread_id, (thread, odd))) => reading.entries.put(thread_id, thread, odd),
                Err(why) => {
                    let err = ThreadsError::Entry { path: path.to_owned(), id: id.clone(), why };
                    reading.trouble.get_or_insert(err);
                    reading.entries.unknown.insert(id, entry);
                }
            }
        }
        Ok(Some(reading))
    }

    fn put(&mut self, id: ThreadId, thread: Thread, odd: Vec<Odd>) {
        if !odd.is_empty() {
            self.odd.insert(id.clone(), odd);
        }
        self.threads.insert(id, thread);
    }

    /// Takes over what another reading has and this one has not.
    pub(super) fn fill_up_from(&mut self, other: Entries) {
        for (id, thread) in other.threads {
            if !self.threads.contains_key(&id) {
                let odd = other.odd.get(&id).cloned().unwrap_or_default();
                self.put(id, thread, odd);
            }
        }
        for (id, entry) in other.unknown {
            self.unknown.entry(id).or_insert(entry);
        }
    }

    /// Replaces the file as a whole, as [`tinyclaw_disk::replace`] does; it has its time before it has its name, so that an
    /// edit made meanwhile is never taken for ours.
    pub(super) fn write(&mut self, path: &Path, flush: Flush) -> Result<(), DiskError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let failed = |source| DiskError { step: "write", path: temporary.clone(), source };
        let bytes = self.written_out().map_err(|err| failed(err.into()))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ours = SystemTime::UNIX_EPOCH + Duration::new(now.as_secs(), OUR_NANOSECONDS);
        remove(&temporary)?;
        let file = write_new(&temporary, &bytes)?;
        file.set_modified(ours).map_err(failed)?;
        if flush == Flush::Strict {
            sync_file(&file, &temporary)?;
        }
        rename(&temporary, path)?;
        match path.parent() {
            Some(dir) if flush == Flush::Strict => sync_dir(dir),
            _ => Ok(()),
        }
    }

    fn written_out(&mut self) -> serde_json::Result<Vec<u8>> {
        self.written.retain(|id, _| self.threads.contains_key(id));
        self.odd.retain(|id, _| self.threads.contains_key(id));
        for (id, thread) in &self.threads {
            if self.written.get(id).is_some_and(|it| it.0 == *thread) {
                continue;
            }
            let mut entry = serde_json::to_value(thread)?;
            if let Value::Object(fields) = &mut entry {
                if let Some(odd) = self.odd.get_mut(id) {
                    odd.retain(|it| it.put_back(fields));
                }
                checksum::add(id.as_str(), fields);
            }
            self.written.insert(id.clone(), (thread.clone(), entry));
        }
        let mut all: Map<String, Value> =
            self.written.iter().map(|(id, it)| (id.to_string(), it.1.clone())).collect();
        for (id, entry) in &self.unknown {
            all.entry(id).or_insert_with(|| entry.clone());
        }
        let mut bytes = serde_json::to_vec_pretty(&all)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Odd {
    /// Puts the value back in its field. `false`: the field was given another value since.
    fn put_back(&self, fields: &mut Map<String, Value>) -> bool {
        let is_untouched = match self.stands_for {
            None => !fields.contains_key(self.field),
            Some(word) => fields.get(self.field).and_then(Value::as_str) == Some(word),
        };
        if is_untouched {
            fields.insert(self.field.to_owned(), self.raw.clone());
        }
        is_untouched
    }
}

/// A thread, and its values that make no sense here: the original had other sessions and models, and a later version may
/// have other modes.
fn thread(mut entry: Value) -> Result<(Thread, Vec<Odd>), String> {
    let mut odd = Vec::new();
    if let Value::Object(fields) = &mut entry {
        fields.retain(|_, it| !it.is_null());
        replace_odd(fields, &mut odd, "sessionId", None, |it| {
            it.as_str()?.parse::<SessionId>().ok().map(|it| it.to_string())
        });
        for field in ["model", "pin"] {
            replace_odd(fields, &mut odd, field, None, |it| {
                Some(Model::named(it.as_str()?)?.to_string())
            });
        }
        replace_odd(fields, &mut odd, "trust", None, |it| {
            Some(Trust::named(it.as_str()?)?.as_str().to_owned())
        });
        replace_odd(fields, &mut odd, "effort", None, |it| {
            it.as_str()?.parse::<Effort>().ok().map(|it| it.to_string())
        });
        if fields.get("tiers").is_some_and(|it| OwnTiers::deserialize(it).is_err())
            && let Some(raw) = fields.shift_remove("tiers")
        {
            odd.push(Odd { field: "tiers", raw, stands_for: None });
        }
        let named = |it: Option<Value>| it?.as_str().map(str::to_owned);
        replace_odd(fields, &mut odd, "permissionMode", Some("ask"), |it| {
            let mode: PermissionMode = serde_json::from_value(it.clone()).ok()?;
            named(serde_json::to_value(mode).ok())
        });
        replace_odd(fields, &mut odd, "status", Some("idle"), |it| {
            let status: ThreadStatus = serde_json::from_value(it.clone()).ok()?;
            named(serde_json::to_value(status).ok())
        });
        if let Some(active) = fields.get("lastActive").and_then(Value::as_f64) {
            fields.insert("lastActive".to_owned(), (active.max(0.0) as u64).into());
        }
    }
    let thread = serde_json::from_value(entry).map_err(|err| err.to_string())?;
    Ok((thread, odd))
}

/// Puts what we make of a field's value in its place, or the careful default where we make nothing of it.
fn replace_odd(
    fields: &mut Map<String, Value>,
    odd: &mut Vec<Odd>,
    field: &'static str,
    stands_for: Option<&'static str>,
    known: impl Fn(&Value) -> Option<String>,
) {
    let Some(raw) = fields.get(field) else { return };
    match known(raw) {
        Some(known) => {
            fields.insert(field.to_owned(), known.into());
        }
        None => {
            if let Some(raw) = fields.shift_remove(field) {
                odd.push(Odd { field, raw, stands_for });
            }
        }
    }
}
