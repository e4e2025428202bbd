//! The audit log: who asked for what, what was decided, and the SHA-256 of the token.
//!
//! One JSON line an event, each with the hash of the line before it, so that a line that is
//! changed, taken out or moved breaks the chain. A line is written before its answer is given;
//! what is minted, revoked, frozen or thawed is flushed to the disk as well. When a line cannot
//! be written, nothing is handed out. The log holds no token. It also remembers whether the
//! broker is frozen: the last line says so.
//!
//! A chain cannot tell that its end was cut off. The head is in `/metrics` for that: whoever
//! keeps it elsewhere can compare.

mod verify;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capability::hex;
use crate::date;
use crate::names::RepoName;
use crate::permission::Permissions;

pub use verify::{Broken, Whole, verify};

/// `,"hash":"` and 64 digits and `"}`.
const SEAL_BYTES: usize = 9 + 64 + 2;
/// More than any line: 500 repository names are 51 KB.
const TAIL_BYTES: u64 = 256 * 1024;
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// With the current one a gigabyte: years of an office's work.
const SEGMENTS_MAX: usize = 15;
/// Younger than this nothing is thrown away, so that nobody can wash his lines out of the log.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// One event. What is not known is left out of the line.
#[derive(Debug, Default, Serialize)]
pub struct Event<'a> {
    /// `start`, `mint`, `token`, `denied`, `wider`, `revoke`, `freeze`, `thaw`, `repaired`,
    /// `resumed`.
    pub event: &'static str,
    /// `granted` or `denied`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<&'static str>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// In which thread, by its capability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<&'a str>,
    /// In which run of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<&'a str>,
    /// From which address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<std::net::IpAddr>,
    /// Whose installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installation: Option<u64>,
    /// Which repositories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<&'a [RepoName]>,
    /// What for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<&'a Permissions>,
    /// Which rule decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    /// `minted`, `cache`, or `again` for a number of times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// The query as it came, when it was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<&'a str>,
    /// Why it was denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Which token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<&'a str>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<&'a str>,
    /// How many, where an event counts something: times again, denials before this one that were
    /// not written, tokens revoked, bytes repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Why a line is not in the log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be had.
    #[error("cannot open the audit log {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else writes to it.
    #[error("another broker writes to the audit log {}", .0.display())]
    Taken(PathBuf),
    /// Its end is not ours.
    #[error("the last line of {} is not this log's: run tinyclaw-broker audit verify, then move the file away", .0.display())]
    Foreign(PathBuf),
    /// There is no more room for lines, and those that are there are too young to go.
    #[error("the audit log is full and {} is younger than 30 days: move the oldest segments to where they are kept", .0.display())]
    Full(PathBuf),
    /// The line did not get in.
    #[error("cannot write to the audit log {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The log, open for appending. One process at a time holds it.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    segment_bytes_max: u64,
    state: Mutex<State>,
    /// The same as the head's, to be had without waiting for a line being written.
    frozen: AtomicBool,
    /// Whether the last line that was to be written was not.
    in_trouble: AtomicBool,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    bytes: u64,
    head: Head,
    first_seq: u64,
}

/// Where the chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Whether the broker is frozen since.
    pub frozen: bool,
}

impl Default for Head {
    fn default() -> Head {
        Head { seq: 0, hash: "0".repeat(64), frozen: false }
    }
}

#[derive(Deserialize)]
struct Sealed {
    seq: u64,
    prev: String,
    hash: String,
    #[serde(default)]
    frozen: bool,
}

impl Audit {
    /// A log at this path. It is opened with the first line, and again after every failure.
    pub fn at(path: &Path) -> Audit {
        let state = State { file: None, bytes: 0, head: Head::default(), first_seq: 1 };
        Audit {
            path: path.to_owned(),
            segment_bytes_max: SEGMENT_BYTES_MAX,
            state: Mutex::new(state),
            frozen: AtomicBool::new(false),
            in_trouble: AtomicBool::new(false),
        }
    }

    /// The same with shorter segments.
    pub fn with_segments_of(mut self, bytes: u64) -> Audit {
        self.segment_bytes_max = bytes;
        self
    }

    /// Opens it if it is not, and tells where the chain stands.
    pub fn open(&self, now_ms: i64) -> Result<Head, AuditError> {
        let mut state = self.lock();
        self.ensure_open(&mut state, now_ms)?;
        Ok(state.head.clone())
    }

    /// Whether a line can be written, as far as is known: after one that could not, another is
    /// tried. A file that can be opened may still be on a disk that is full.
    pub fn check(&self, now_ms: i64) -> Result<(), AuditError> {
        let mut state = self.lock();
        self.ensure_open(&mut state, now_ms)?;
        if self.in_trouble.load(Ordering::SeqCst) {
            self.append(&mut state, now_ms, &Event { event: "resumed", ..Event::default() })?;
        }
        Ok(())
    }

    /// Whether the log says that the broker is frozen, as far as it could be read.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }

    /// Where the chain stands, as far as is known.
    pub fn head(&self) -> Head {
        self.lock().head.clone()
    }

    /// Writes one line, so many bytes; it has left this process when this returns.
    pub fn write(&self, now_ms: i64, event: &Event<'_>) -> Result<usize, AuditError> {
        let mut state = self.lock();
        self.ensure_open(&mut state, now_ms)?;
        self.append(&mut state, now_ms, event)
    }

    /// Writes one line and changes whether the broker is frozen from it on.
    pub fn write_frozen(
        &self,
        now_ms: i64,
        event: &Event<'_>,
        frozen: bool,
    ) -> Result<usize, AuditError> {
        let mut state = self.lock();
        self.ensure_open(&mut state, now_ms)?;
        let before = std::mem::replace(&mut state.head.frozen, frozen);
        let written = self.append(&mut state, now_ms, event);
        if written.is_err() {
            state.head.frozen = before;
        }
        self.frozen.store(state.head.frozen, Ordering::SeqCst);
        written
    }

    /// Waits until everything written so far is on the disk. Blocks.
    pub fn flush(&self) -> Result<(), AuditError> {
        // On a handle of its own, so that nobody waits for the disk to write a line.
        let file = match &self.lock().file {
            Some(file) => file.try_clone().map_err(|source| self.unwritable(source))?,
            None => return Ok(()),
        };
        match file.sync_data() {
            // A device that is no disk has nothing to flush.
            Err(source) if source.kind() != io::ErrorKind::InvalidInput => {
                self.in_trouble.store(true, Ordering::SeqCst);
                Err(self.unwritable(source))
            }
            _ => Ok(()),
        }
    }

    fn append(
        &self,
        state: &mut State,
        now_ms: i64,
        event: &Event<'_>,
    ) -> Result<usize, AuditError> {
        let written = self.append_line(state, now_ms, event);
        self.in_trouble.store(written.is_err(), Ordering::SeqCst);
        written
    }

    fn append_line(
        &self,
        state: &mut State,
        now_ms: i64,
        event: &Event<'_>,
    ) -> Result<usize, AuditError> {
        let head = Head { seq: state.head.seq + 1, ..state.head.clone() };
        let name = event.event;
        let event = serde_json::to_string(event).map_err(|error| self.unwritable(error.into()))?;
        let fields = &event[1..event.len() - 1];
        let frozen = if head.frozen { r#","frozen":true"# } else { "" };
        let (seq, time, prev) = (head.seq, date::format_ms(now_ms), &head.hash);
        let mut line = format!(r#"{{"seq":{seq},"time":"{time}",{fields}{frozen},"prev":"{prev}""#);
        let mut hash = String::with_capacity(64);
        hex(&Sha256::digest(line.as_bytes()), &mut hash);
        line.push_str(r#","hash":""#);
        line.push_str(&hash);
        line.push_str("\"}\n");

        if state.bytes > 0 && state.bytes + line.len() as u64 > self.segment_bytes_max {
            match self.rotate(state, now_ms) {
                // What stops the broker is never kept out by what is in the log already.
                Err(AuditError::Full(_)) if matches!(name, "freeze" | "thaw" | "revoke") => {}
                rotated => rotated?,
            }
        }
        let Some(file) = &mut state.file else {
            return Err(self.unwritable(io::ErrorKind::NotFound.into()));
        };
        if let Err(source) = file.write_all(line.as_bytes()) {
            // Half a line must not stay. When even that fails, opening again mends it.
            if file.set_len(state.bytes).is_err() {
                state.file = None;
            }
            return Err(self.unwritable(source));
        }
        state.bytes += line.len() as u64;
        state.head = Head { hash, ..head };
        Ok(line.len())
    }

    fn ensure_open(&self, state: &mut State, now_ms: i64) -> Result<(), AuditError> {
        if state.file.is_some() {
            return Ok(());
        }
        let failed = |source| AuditError::Open { path: self.path.clone(), source };
        let mut file = self.open_file().map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            *state = State { file: Some(file), bytes: 0, head: state.head.clone(), first_seq: 1 };
            return Ok(());
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(AuditError::Taken(self.path.clone()));
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        // A crash may have left half a line; its answer was never given.
        let torn = torn_bytes(&mut file).map_err(failed)?;
        let bytes = about.len() - torn;
        if torn > 0 {
            file.set_len(bytes).map_err(failed)?;
        }
        let head = match tail(&mut file).map_err(failed)? {
            Some(line) => open_seal(&line).ok_or_else(|| AuditError::Foreign(self.path.clone()))?,
            // Empty, or rotated away just before a crash.
            None => match segments(&self.path).map_err(failed)?.last() {
                Some((_, path)) => {
                    let line = File::open(path).and_then(|mut it| tail(&mut it)).map_err(failed)?;
                    line.as_deref()
                        .and_then(open_seal)
                        .ok_or_else(|| AuditError::Foreign(path.clone()))?
                }
                None => Head::default(),
            },
        };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut first = String::new();
        BufReader::new(&file).read_line(&mut first).map_err(failed)?;
        self.frozen.store(head.frozen, Ordering::SeqCst);
        let first_seq = serde_json::from_str::<Sealed>(&first).map_or(head.seq + 1, |it| it.seq);
        *state = State { file: Some(file), bytes, head, first_seq };
        if torn > 0 {
            let event = Event { event: "repaired", count: Some(torn), ..Event::default() };
            self.append(state, now_ms, &event)?;
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the broker stands alone and has no disk crate; \
        a rename between two whole segments cannot tear a file"
    )]
    fn rotate(&self, state: &mut State, now_ms: i64) -> Result<(), AuditError> {
        let failed = |source| self.unwritable(source);
        let old = segments(&self.path).map_err(failed)?;
        // With the one to come: all but the newest must be old enough to go.
        for (_, path) in old.iter().rev().skip(SEGMENTS_MAX - 1) {
            if is_young(path, now_ms).map_err(failed)? {
                return Err(AuditError::Full(path.clone()));
            }
        }
        if let Some(file) = &state.file {
            file.sync_data().map_err(failed)?;
        }
        std::fs::rename(&self.path, segment(&self.path, state.first_seq)).map_err(failed)?;
        // The file at hand is an old one now. Should the new one not be had, there is none, and
        // the next line opens it: the chain goes on from the segment's end.
        state.file = None;
        let file = self.open_file().map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        state.file = Some(file);
        state.bytes = 0;
        state.first_seq = state.head.seq + 1;
        if let Err(error) = self.throw_away() {
            tracing::warn!(%error, "an old segment of the audit log stays");
        }
        Ok(())
    }

    /// How many segments there are, and how many there may be.
    pub fn segments(&self) -> (usize, usize) {
        (segments(&self.path).map_or(0, |it| it.len()), SEGMENTS_MAX)
    }

    /// Whether the last line that was to be written was not.
    pub fn is_in_trouble(&self) -> bool {
        self.in_trouble.load(Ordering::SeqCst)
    }

    fn throw_away(&self) -> io::Result<()> {
        for (_, old) in segments(&self.path)?.iter().rev().skip(SEGMENTS_MAX) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }

    fn open_file(&self) -> io::Result<File> {
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)
    }

    fn unwritable(&self, source: io::Error) -> AuditError {
        AuditError::Write { path: self.path.clone(), source }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line's own words about the chain, if its hash is right.
fn sealed(line: &str) -> Option<Sealed> {
    let (body, seal) = line.split_at_checked(line.len().checked_sub(SEAL_BYTES)?)?;
    let hash = seal.strip_prefix(r#","hash":""#)?.strip_suffix("\"}")?;
    let mut right = String::with_capacity(64);
    hex(&Sha256::digest(body.as_bytes()), &mut right);
    (right == hash).then(|| serde_json::from_str(line).ok()).flatten()
}

fn open_seal(line: &str) -> Option<Head> {
    let Sealed { seq, hash, frozen, .. } = sealed(line)?;
    Some(Head { seq, hash, frozen })
}

/// Bytes after the last line's end.
fn torn_bytes(file: &mut File) -> io::Result<u64> {
    let bytes = read_tail(file)?;
    Ok(match bytes.iter().rposition(|it| *it == b'\n') {
        Some(place) => bytes.len() - place - 1,
        None => bytes.len(),
    } as u64)
}

/// The last whole line.
fn tail(file: &mut File) -> io::Result<Option<String>> {
    let bytes = read_tail(file)?;
    let Some(bytes) = bytes.strip_suffix(b"\n") else { return Ok(None) };
    let start = bytes.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
    Ok(Some(String::from_utf8_lossy(&bytes[start..]).into_owned()))
}

fn read_tail(file: &mut File) -> io::Result<Vec<u8>> {
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Whether its last line is younger than what may be thrown away.
fn is_young(path: &Path, now_ms: i64) -> io::Result<bool> {
    let written = std::fs::metadata(path)?.modified()?;
    let now = UNIX_EPOCH + Duration::from_millis(now_ms.max(0) as u64);
    // From the future is young: a clock that is wrong throws nothing away.
    Ok(now.duration_since(written).is_ok_and(|it| it < KEPT_FOR) || written > now)
}

fn segment(path: &Path, first_seq: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{first_seq}"));
    PathBuf::from(name)
}

/// Older files of the log, oldest first.
fn segments(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = parent.unwrap_or_else(|| Path::new("."));
    let Some(name) = path.file_name().and_then(|it| it.to_str()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let other = entry.file_name();
        let seq = other.to_str().and_then(|it| it.strip_prefix(name)?.strip_prefix('.'));
        if let Some(seq) = seq.and_then(|it| it.parse().ok()) {
            found.push((seq, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests;
