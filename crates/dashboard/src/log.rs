//! One log of the state folder, followed: the index of its rows, the newest rows ready to be sent, and reading rows.
//!
//! One thread follows the file and, while nothing new comes, reads the past backwards into the index. Everybody else
//! only asks. Rows that are no longer in memory are read from the file, so a slow reader costs nobody else anything.
//! It opens files for reading, nothing else.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tinyclaw_disk::follow::{Followed, Follower, Polled, Position};
use tinyclaw_disk::{follow, segments};
use tokio::sync::watch;

use crate::index::{BLOCK_BYTES, Filter, Index, PastRows, Pick, Volume};
use crate::meta::{LogName, Meta, Reader};
use crate::models::Models;
use crate::rows;

/// How often a file is looked at when no word of a change came: inotify says nothing on some mounts.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How much is followed before the past gets its turn.
const POLL_BYTES: usize = 1 << 20;
/// How many of the newest rows are kept ready, and how many bytes of them at most.
const RECENT_ROWS: usize = 256;
const RECENT_BYTES: usize = 512 << 10;
/// So much of the file is read at once for a client that does not keep up.
const SENT_BYTES: u64 = 1 << 20;
/// The first block read from the past is small: the first page waits for it.
const FIRST_BLOCK_BYTES: u64 = 128 << 10;
/// A block that cannot be read so often is left out.
const READ_TRIES: u32 = 3;
/// The longest line that is read back whole.
const ROW_BYTES_MAX: u64 = follow::LINE_BYTES_MAX as u64;

/// A row as it goes to a client.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// The row's number.
    pub(crate) row: i64,
    /// The place after it: where a client that has seen it resumes.
    pub(crate) place: Position,
    /// What is remembered of it.
    pub(crate) meta: Meta,
    /// The row as JSON, secrets taken out, long texts cut.
    pub(crate) json: Arc<str>,
}

/// One followed log.
#[derive(Debug)]
pub(crate) struct Log {
    /// Which one.
    pub(crate) name: LogName,
    /// The models that its lines name.
    pub(crate) models: Models,
    path: PathBuf,
    index: RwLock<Index>,
    recent: Mutex<VecDeque<Sent>>,
    recent_bytes: AtomicU64,
    /// The number after the last row.
    head: AtomicI64,
    /// Whether the newest part of the past is in the index.
    is_open: watch::Sender<bool>,
    place: Mutex<Position>,
    rotations: AtomicU64,
    is_ending: AtomicBool,
}

impl Log {
    /// The log `name` of a state folder. Nothing is read before [`Log::follow`].
    pub(crate) fn new(name: LogName, state: &Path, models: Models) -> Log {
        Log {
            name,
            models,
            path: name.path(state),
            index: RwLock::default(),
            recent: Mutex::default(),
            recent_bytes: AtomicU64::new(0),
            head: AtomicI64::new(0),
            is_open: watch::Sender::new(false),
            place: Mutex::default(),
            rotations: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        }
    }

    /// The index, to be read.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number after the last row.
    pub(crate) fn head(&self) -> i64 {
        self.head.load(Ordering::Acquire)
    }

    /// The place after the last row.
    pub(crate) fn place(&self) -> Position {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the file was rotated since the dashboard began.
    pub(crate) fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Relaxed)
    }

    /// Waits until the newest rows of the past are known: a few milliseconds after the start.
    pub(crate) async fn opened(&self) {
        let mut is_open = self.is_open.subscribe();
        // The sender lives as long as the log, so this cannot fail.
        let _ = is_open.wait_for(|it| *it).await;
    }

    /// Ends [`Log::follow`] at its next look.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Follows the file until [`Log::end`]. `hints` says that something changed; `news` is told after each change.
    pub(crate) fn follow(&self, hints: &Receiver<()>, news: &watch::Sender<u64>) {
        let mut tail = Tail::new(self);
        tail.begin();
        self.is_open.send_replace(true);
        news.send_modify(|it| *it += 1);
        while !self.is_ending.load(Ordering::Relaxed) {
            let polled = tail.look(news);
            let past = tail.read_past(BLOCK_BYTES);
            if polled == Polled::More || past {
                continue;
            }
            match hints.recv_timeout(LOOK_INTERVAL) {
                Ok(()) => while hints.try_recv().is_ok() {},
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }

    /// Reads picked rows back from the file. A row whose file is gone is `None`.
    pub(crate) fn read(&self, picks: &[Pick]) -> Vec<Option<Vec<u8>>> {
        let mut open: Option<(u16, Option<File>)> = None;
        let mut read = |pick: &Pick| {
            if open.as_ref().is_none_or(|(volume, _)| *volume != pick.volume) {
                open = Some((pick.volume, self.open_volume(pick.volume)));
            }
            let file = open.as_ref().and_then(|(_, file)| file.as_ref())?;
            let line = read_line(file, pick);
            // Looked at after reading: a file that was cut meanwhile holds other lines now.
            let is_ours = self.is_volume(file, pick.volume);
            if !is_ours {
                open = None;
            }
            line.filter(|_| is_ours)
        };
        // A file that was copied before it was cut is found again under its other name.
        picks.iter().map(|pick| read(pick).or_else(|| read(pick))).collect()
    }

    /// The file of a volume, if it still is that file.
    pub(crate) fn open_volume(&self, number: u16) -> Option<File> {
        let volume = {
            let index = self.index();
            let volume = index.volume(number)?;
            if volume.gone.is_some() {
                return None;
            }
            volume.clone()
        };
        let file = follow::open_segment(&self.path, volume.segment).ok()??;
        begins_with(&file, &volume.head).then_some(file)
    }

    fn is_volume(&self, file: &File, number: u16) -> bool {
        let index = self.index();
        index.volume(number).is_some_and(|it| it.gone.is_none() && begins_with(file, &it.head))
    }

    /// The rows from `from` on, at most `n`, as they go to clients, if they are still in memory.
    pub(crate) fn sent_ready(&self, from: i64, n: usize) -> Option<Vec<Sent>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.front().filter(|it| it.row <= from)?;
        let at = recent.partition_point(|it| it.row < from);
        Some(recent.iter().skip(at).take(n).cloned().collect())
    }

    /// The rows from `from` on, at most `n`, as they go to clients, read from the file.
    pub(crate) fn sent_from(&self, from: i64, n: usize) -> Vec<Sent> {
        let picks: Vec<Pick> = {
            let index = self.index();
            let from = from.max(index.range().0);
            (from..from + n as i64).map_while(|it| index.row(it)).collect()
        };
        // Rows may be long, and only their beginnings are sent.
        let picks = &picks[..within(&picks, SENT_BYTES)];
        let lines = self.read(picks);
        let places = self.places_after(picks);
        let rows = picks.iter().zip(lines).zip(places);
        rows.map(|((pick, line), place)| {
            let json = rows::row_json(self.name, pick.row, line.as_deref());
            Sent { row: pick.row, place, meta: pick.meta, json: json.into() }
        })
        .collect()
    }

    fn places_after(&self, picks: &[Pick]) -> Vec<Position> {
        let mut open: Option<(u16, Option<(File, Volume)>)> = None;
        let mut places = Vec::with_capacity(picks.len());
        for pick in picks {
            if open.as_ref().is_none_or(|(volume, _)| *volume != pick.volume) {
                let known = self.index().volume(pick.volume).cloned();
                open = Some((pick.volume, self.open_volume(pick.volume).zip(known)));
            }
            let place = open.as_ref().and_then(|(_, it)| it.as_ref()).and_then(|it| {
                let (file, volume) = it;
                let end = pick.start + pick.length;
                let mut before = vec![0; end.min(64) as usize];
                file.read_exact_at(&mut before, end - end.min(64)).ok()?;
                Some(Position::new(volume.segment, end, &volume.head, &before))
            });
            places.push(place.unwrap_or_default());
        }
        places
    }

    /// The place before a row that is in the index.
    pub(crate) fn place_before(&self, row: i64) -> Option<Position> {
        let (before, this) = {
            let index = self.index();
            (index.row(row - 1), index.row(row)?)
        };
        match before {
            Some(before) if before.volume == this.volume => self.places_after(&[before]).pop(),
            _ => Some(Position::start_of(self.index().volume(this.volume)?.segment)),
        }
    }

    /// The number of the row that comes after a place, if the file still is the one the place was told of.
    ///
    /// While the past is being read, a place in the part that is not reached yet is not known either.
    pub(crate) fn row_after(&self, place: &Position) -> Option<i64> {
        let row = self.index().row_at(place.segment, place.offset)?;
        // A file that was copied and cut between being opened and being read is found under its other name.
        for _ in 0..2 {
            let file = follow::open_segment(&self.path, place.segment).ok()??;
            if place.fits(&file).ok()? {
                return Some(row);
            }
        }
        None
    }

    fn keep_ready(&self, sent: Sent) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = self.recent_bytes.load(Ordering::Relaxed) + sent.json.len() as u64;
        recent.push_back(sent);
        while recent.len() > RECENT_ROWS || (bytes > RECENT_BYTES as u64 && recent.len() > 1) {
            if let Some(old) = recent.pop_front() {
                bytes -= old.json.len() as u64;
            }
        }
        self.recent_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// How many of the first picks are no more than `bytes` together; one is always.
pub(crate) fn within(picks: &[Pick], bytes: u64) -> usize {
    let mut sum = 0;
    let fits = picks.iter().take_while(|it| {
        sum += it.length.min(ROW_BYTES_MAX);
        sum <= bytes
    });
    fits.count().max(1).min(picks.len())
}

fn begins_with(file: &File, head: &[u8]) -> bool {
    let mut found = [0; 64];
    let found = &mut found[..head.len().min(64)];
    file.read_exact_at(found, 0).is_ok() && found == head
}

fn read_line(file: &File, pick: &Pick) -> Option<Vec<u8>> {
    let mut line = vec![0; pick.length.min(ROW_BYTES_MAX) as usize];
    file.read_exact_at(&mut line, pick.start).ok()?;
    while line.last().is_some_and(|it| matches!(it, b'\n' | b'\r')) {
        line.pop();
    }
    Some(line)
}

/// What the following thread holds.
struct Tail<'a> {
    log: &'a Log,
    follower: Follower,
    reader: Reader,
    volume: Option<u16>,
    past: Option<Past>,
    past_reader: Reader,
}

/// Where reading backwards has arrived.
struct Past {
    volume: u16,
    segment: u64,
    file: File,
    at: u64,
    /// How often in a row the block before `at` could not be read.
    failures: u32,
}

impl Past {
    fn of(volume: u16, segment: u64, file: File, at: u64) -> Past {
        Past { volume, segment, file, at, failures: 0 }
    }

    /// What is done about a block that cannot be read: it is tried again at the next looks, then left out. What stands
    /// before it is not.
    fn failed(&mut self, bytes: u64) {
        self.failures += 1;
        if self.failures < READ_TRIES {
            return;
        }
        self.failures = 0;
        let before = self.at.saturating_sub(bytes);
        // A line that is cut in two by the end of the block would be no line.
        let start = follow::line_start_before(&self.file, before);
        self.at = start.unwrap_or_else(|_| before.saturating_sub(bytes));
    }
}

impl<'a> Tail<'a> {
    fn new(log: &'a Log) -> Tail<'a> {
        let follower = Follower::from_end(&log.path)
            .or_else(|_| Follower::from_start(&log.path))
            .unwrap_or_else(|_| Follower::resume(&log.path, Position::start_of(1)));
        Tail {
            log,
            follower,
            reader: Reader::new(log.name, log.models.clone()),
            volume: None,
            past: None,
            past_reader: Reader::new(log.name, log.models.clone()),
        }
    }

    /// Makes the newest rows of the past known.
    fn begin(&mut self) {
        let place = self.follower.place();
        let older = self.older_bytes(place.segment);
        self.log.index_mut().progress = (0, place.offset + older);
        if place.offset > 0
            && let Ok(Some(file)) = follow::open_segment(&self.log.path, place.segment)
        {
            let volume = self.add_volume(place.segment, &file, place.offset);
            self.volume = Some(volume);
            let segment = place.segment;
            self.past = Some(Past::of(volume, segment, file, place.offset));
        } else {
            self.past = self.segment_before(place.segment);
        }
        self.set_place(place);
        self.read_past(FIRST_BLOCK_BYTES);
    }

    fn older_bytes(&self, segment: u64) -> u64 {
        let older = segments(&self.log.path).unwrap_or_default();
        let older = older.into_iter().filter(|(it, _)| *it < segment);
        older.filter_map(|(_, path)| std::fs::metadata(path).ok()).map(|it| it.len()).sum()
    }

    fn set_place(&self, place: Position) {
        *self.log.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn add_volume(&self, segment: u64, file: &File, length: u64) -> u16 {
        let mut head = vec![0; length.min(64) as usize];
        let read = file.read_at(&mut head, 0).unwrap_or(0);
        head.truncate(read);
        self.log.index_mut().add_volume(segment, head)
    }

    fn segment_before(&self, segment: u64) -> Option<Past> {
        let (number, path) =
            segments(&self.log.path).ok()?.into_iter().rev().find(|(number, path)| {
                *number < segment && path.metadata().is_ok_and(|it| it.len() > 0)
            })?;
        let file = File::open(path).ok()?;
        let at = file.metadata().ok()?.len();
        let volume = self.add_volume(number, &file, at);
        Some(Past::of(volume, number, file, at))
    }

    /// Takes in what was appended since the last look.
    fn look(&mut self, news: &watch::Sender<u64>) -> Polled {
        let log = self.log;
        let mut changed = false;
        let (reader, volume) = (&mut self.reader, &mut self.volume);
        let mut past_is_cut = false;
        let polled = self.follower.poll(POLL_BYTES, |it| {
            changed = true;
            match it {
                Followed::Line(line) if line.bytes.iter().all(u8::is_ascii_whitespace) => {}
                Followed::Line(line) => {
                    let mut index = log.index_mut();
                    let meta = reader.read(line.bytes, &mut index.tables);
                    let number = *volume
                        .get_or_insert_with(|| index.add_volume(line.end.segment, Vec::new()));
                    if let Some(volume) = index.volume_mut(number)
                        && volume.head.len() < 64
                    {
                        grow_head(&mut volume.head, line.start, line.bytes);
                    }
                    let row = index.append(number, line.start, line.end.offset, meta);
                    drop(index);
                    let json = rows::row_json(log.name, row, Some(line.bytes));
                    // Ready first, then announced: who sees the new head finds the row.
                    log.keep_ready(Sent { row, place: line.end, meta, json: json.into() });
                    log.head.store(row + 1, Ordering::Release);
                }
                Followed::Rotated { .. } => {
                    *volume = None;
                    log.rotations.fetch_add(1, Ordering::Relaxed);
                }
                Followed::Gap { cause, .. } => {
                    let mut index = log.index_mut();
                    if let Some(gone) = volume.take().and_then(|it| index.volume_mut(it)) {
                        gone.gone = Some(cause);
                    }
                    let row = index.range().1;
                    index.gaps.push((row, cause));
                    past_is_cut = true;
                }
            }
        });
        if past_is_cut {
            self.drop_past_if_gone();
        }
        if changed {
            self.retire();
            self.set_place(self.follower.place());
            news.send_modify(|it| *it += 1);
        }
        polled.unwrap_or_else(|source| {
            tracing::debug!(log = log.name.as_str(), %source, "cannot read the log now");
            Polled::Dry
        })
    }

    fn retire(&self) {
        // Nothing is taken for gone that could not be looked for.
        let Ok(there) = segments(&self.log.path) else { return };
        let live = there.last().map_or(1, |(it, _)| it + 1);
        let is_there = |segment| segment >= live || there.iter().any(|(it, _)| *it == segment);
        self.log.index_mut().retire(is_there);
    }

    fn drop_past_if_gone(&mut self) {
        let is_gone = self.past.as_ref().is_some_and(|past| {
            self.log.index().volume(past.volume).is_none_or(|it| it.gone.is_some())
        });
        if is_gone && let Some(past) = self.past.take() {
            self.past = self.segment_before(past.segment);
        }
    }

    /// Reads one block backwards. False when the past is complete.
    fn read_past(&mut self, bytes: u64) -> bool {
        let Some(past) = &mut self.past else {
            if !self.log.index().complete {
                self.log.index_mut().complete = true;
            }
            return false;
        };
        match read_block(past, bytes) {
            Ok((start, lines)) => {
                let mut index = self.log.index_mut();
                let mut rows = PastRows { rows: Vec::new(), start, end: past.at };
                for (start, line) in split_lines(start, &lines) {
                    let meta = self.past_reader.read(line, &mut index.tables);
                    rows.rows.push((start, meta));
                }
                index.progress.0 += past.at - start;
                index.prepend(past.volume, rows);
                past.at = start;
                past.failures = 0;
            }
            Err(source) => {
                tracing::warn!(log = self.log.name.as_str(), %source, "cannot read the past");
                match source.kind() {
                    // It was cut: what was there is gone.
                    io::ErrorKind::UnexpectedEof => past.at = 0,
                    _ => past.failed(bytes),
                }
                if past.at > 0 {
                    return false;
                }
            }
        }
        if past.at == 0 {
            let segment = past.segment;
            self.past = self.segment_before(segment);
        }
        true
    }
}

/// Adds a line to what is known of a segment's first 64 bytes.
fn grow_head(head: &mut Vec<u8>, start: u64, line: &[u8]) {
    if start == head.len() as u64 {
        head.extend(line.iter().copied().chain([b'\n']).take(64 - head.len()));
    }
}

/// Reads the lines that end at `past.at`: about `bytes`, at least one, and of a very long one only its beginning.
fn read_block(past: &Past, bytes: u64) -> io::Result<(u64, Vec<u8>)> {
    let wanted = past.at.saturating_sub(bytes);
    let mut block = vec![0; (past.at - wanted) as usize];
    past.file.read_exact_at(&mut block, wanted)?;
    if wanted == 0 {
        return Ok((0, block));
    }
    match memchr::memchr(b'\n', &block) {
        Some(newline) if newline + 1 < block.len() => {
            block.drain(..=newline);
            Ok((wanted + newline as u64 + 1, block))
        }
        _ => {
            let start = follow::line_start_before(&past.file, past.at - 1)?;
            block.resize((past.at - start).min(ROW_BYTES_MAX) as usize, 0);
            past.file.read_exact_at(&mut block, start)?;
            Ok((start, block))
        }
    }
}

/// The lines of a block that are not blank, with their offsets.
fn split_lines(start: u64, block: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut from = 0;
    let ends = memchr::memchr_iter(b'\n', block).chain([block.len()]);
    let lines = ends.map(move |end| {
        let line = (start + from as u64, &block[from.min(end)..end]);
        from = end + 1;
        line
    });
    lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace))
}

/// The last rows that a filter lets through, or a page of them.
pub(crate) fn pick_page(index: &Index, filter: &Filter, from: Option<i64>, n: usize) -> Vec<Pick> {
    match from {
        Some(from) => index.pick(filter, from, n),
        None => index.pick_last(filter, n),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test lays a log down")]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_cannot_be_read_is_tried_again_and_then_only_it_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let lines: String = (0..100).map(|it| format!("{{\"n\":{it:>93}}}\n")).collect();
        std::fs::write(&path, &lines).unwrap();
        let end = lines.len() as u64;
        let mut past = Past::of(0, 1, File::open(&path).unwrap(), end);
        for _ in 1..READ_TRIES {
            past.failed(1_024);
            assert_eq!(past.at, end);
        }
        past.failed(1_024);
        let (start, block) = read_block(&past, 512).unwrap();
        let left: Vec<_> = split_lines(start, &block).map(|(_, it)| it).collect();
        let last = std::str::from_utf8(left.last().unwrap()).unwrap();
        assert!(last.starts_with('{') && last.ends_with('}'), "{last}");
        assert!((end - past.at) < 1_024 + 200 && past.at < end - 1_000, "{}", past.at);
        // A file that nobody can read comes to an end, too.
        let closed = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let mut past = Past::of(0, 1, closed, end);
        let mut tries = 0;
        while past.at > 0 {
            read_block(&past, 1_024).unwrap_err();
            past.failed(1_024);
            tries += 1;
            assert!(tries < 100, "{}", past.at);
        }
    }
}
