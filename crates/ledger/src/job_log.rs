//! The story of each turn, line by line: `jobs/<key>.jsonl`, written by processor and read by whoever streams.
//!
//! Nothing is streamed that was not written first, and nothing here is flushed: a power cut may take the tail, and the
//! next attempt tells its own story under higher ids. A full disk costs lines, never the turn. The answer itself is not
//! here but in the queue.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tinyclaw_disk::follow::{Followed, Follower, Polled, Position};
use tinyclaw_disk::{Appender, DiskError, Rotation, backwards, remove};
use tinyclaw_domain::{JobEvent, JobId, JobLine, Key, checksum};

use tinyclaw_domain::StateDir;

/// A story longer than this is not told on: its end is, and the answer comes all the same.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// All stories together, the oldest going first.
pub const ALL_BYTES_MAX: u64 = 2 << 30;
/// So much is read at once.
const POLL_BYTES: usize = 1 << 20;

/// Writes one attempt's lines. Processor has one for the message it works on; two at once are not kept apart.
#[derive(Debug)]
pub struct JobLog {
    appender: Appender,
    path: PathBuf,
    last: JobId,
    /// When it began, while the lines of earlier attempts could not be read: nobody knows which ids are free.
    unread: Option<u64>,
    bytes: u64,
    /// Why lines are missing since the last one that was written.
    gap: Option<&'static str>,
    is_first: bool,
}

impl JobLog {
    /// The log of a message, for an attempt that begins at `now`. Lines of earlier attempts stay, under lower ids.
    pub fn begin(state: &StateDir, key: &Key, now: u64) -> JobLog {
        let path = state.job(key);
        let before = last_id(&path);
        let unread = before.is_err().then_some(now);
        // What cannot be read may well be there: whoever reads both is told that it does not count.
        let is_first = matches!(before, Ok(None));
        let last = next_generation(before.ok().flatten(), now);
        let bytes = std::fs::metadata(&path).map_or(0, |it| it.len());
        let rotation = Rotation { bytes_max: u64::MAX, segments_max: None, age_max: None };
        JobLog {
            appender: Appender::new(&path, rotation),
            path,
            last,
            unread,
            bytes,
            gap: None,
            is_first,
        }
    }

    /// The log of a message whose attempt goes on in this process, with the lines that an earlier one wrote of it; the next line
    /// follows the last of them. `None`: there are none, or they cannot be read.
    pub fn resume(state: &StateDir, key: &Key) -> Option<(JobLog, Vec<JobLine>)> {
        let mut reader = JobReader::open(state, key, JobId::default());
        let mut lines = Vec::new();
        loop {
            let new = reader.poll().ok()?;
            if new.is_empty() {
                break;
            }
            lines.extend(new);
        }
        let last = lines.last()?.id();
        lines.retain(|it| it.generation == last.generation);
        let mut log = JobLog::begin(state, key, last.generation);
        (log.last, log.unread) = (last, None);
        Some((log, lines))
    }

    /// Whether no attempt before this one wrote anything.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Writes what happened. What cannot be written is left out, and the next line that can says so. The error is told
    /// once for each gap.
    pub fn write(&mut self, at: u64, event: JobEvent) -> Result<(), DiskError> {
        let is_end = matches!(event, JobEvent::End { .. });
        if self.bytes > LOG_BYTES_MAX && !is_end {
            self.gap = Some("size");
            self.last.seq += 1;
            return Ok(());
        }
        if let Some(now) = self.unread {
            match last_id(&self.path) {
                Ok(before) => (self.last, self.unread) = (next_generation(before, now), None),
                Err(err) => return self.leave_out(err),
            }
        }
        let gap = self.gap.map(|reason| JobEvent::Gap { reason: reason.to_owned() });
        for event in gap.into_iter().chain([event]) {
            self.last.seq += 1;
            let JobId { generation, seq } = self.last;
            let line = JobLine { generation, seq, at, event };
            // These types have no map with keys that are no text.
            let bytes = checksum::to_line(&line).unwrap_or_default();
            if let Err(err) = self.appender.append(&bytes) {
                return self.leave_out(err);
            }
            self.gap = None;
            self.bytes += bytes.len() as u64 + 1;
        }
        Ok(())
    }

    fn leave_out(&mut self, err: DiskError) -> Result<(), DiskError> {
        let is_known = self.gap.replace("disk").is_some();
        if is_known { Ok(()) } else { Err(err) }
    }
}

fn next_generation(before: Option<JobId>, now: u64) -> JobId {
    let generation = before.map_or(now, |it| now.max(it.generation + 1));
    JobId { generation, seq: 0 }
}

fn last_id(path: &Path) -> Result<Option<JobId>, DiskError> {
    for line in backwards(path)? {
        if let Some(line) = checksum::of_line::<JobLine>(&line?.bytes) {
            return Ok(Some(line.id()));
        }
    }
    Ok(None)
}

/// Reads a message's story from its beginning or from a place in it, every line once and in order.
#[derive(Debug)]
pub struct JobReader {
    follower: Follower,
    last: JobId,
}

impl JobReader {
    /// From the line after `last`; [`JobId::default`] is the beginning. The log need not be there yet.
    pub fn open(state: &StateDir, key: &Key, last: JobId) -> JobReader {
        // A story is one file, which is never rotated.
        JobReader { follower: Follower::resume(state.job(key), Position::start_of(1)), last }
    }

    /// What is new. Empty: nothing at the moment. After an error the next call tries again.
    pub fn poll(&mut self) -> io::Result<Vec<JobLine>> {
        let mut found = Vec::new();
        loop {
            let last = &mut self.last;
            let polled = self.follower.poll(POLL_BYTES, |it| {
                let Followed::Line(line) = it else { return };
                // A line that is none is one that a crash tore, or that a disk changed.
                let Some(line) = checksum::of_line::<JobLine>(line.bytes) else { return };
                if line.id() > *last {
                    *last = line.id();
                    found.push(line);
                }
            });
            match polled {
                // What was read before the error is not read again. The error comes again if it stays.
                Err(err) if found.is_empty() => return Err(err),
                Ok(Polled::More) if found.is_empty() => {}
                _ => return Ok(found),
            }
        }
    }
}

/// When a turn began and ended, in ms since 1970, as far as its story says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobTimes {
    /// When Claude got the message, in the last attempt that it did.
    pub begun: Option<u64>,
    /// When the turn was over.
    pub ended: Option<u64>,
}

/// The times of a message's turn, read from the end of its story. None where the story is gone, or not told yet.
pub fn job_times(state: &StateDir, key: &Key) -> Result<JobTimes, DiskError> {
    let mut times = JobTimes::default();
    for line in backwards(&state.job(key))? {
        let Some(line) = checksum::of_line::<JobLine>(&line?.bytes) else { continue };
        match line.event {
            JobEvent::End { .. } if times.ended.is_none() => times.ended = Some(line.at),
            JobEvent::Begun { .. } => {
                times.begun = Some(line.at);
                break;
            }
            _ => {}
        }
    }
    Ok(times)
}

/// Removes stories that nobody added to for `keep`, and the oldest of the others beyond [`ALL_BYTES_MAX`].
pub fn retire_jobs(
    state: &StateDir,
    now: SystemTime,
    keep: Duration,
    bytes_max: u64,
) -> Result<usize, DiskError> {
    let mut all: Vec<(SystemTime, u64, PathBuf)> = std::fs::read_dir(state.jobs())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|it| {
            let about = it.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((about.modified().ok()?, about.len(), it.path()))
        })
        .collect();
    all.sort();
    let mut bytes: u64 = all.iter().map(|it| it.1).sum();
    let mut removed = 0;
    for (changed, length, path) in all {
        let is_old = now.duration_since(changed).is_ok_and(|it| it > keep);
        if !is_old && bytes <= bytes_max {
            break;
        }
        remove(&path)?;
        bytes -= length;
        removed += 1;
    }
    Ok(removed)
}
