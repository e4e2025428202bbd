//! Following a log that grows, rotates and is now and then cut short: whole lines only, each with an address that
//! stays valid for ever.
//!
//! [`Follower::poll`] looks once and tells what is new; when to look again (inotify, a timer) is the caller's business.
//! It opens files for reading only, takes no lock and keeps nothing but the place it has reached, so any number of
//! followers may read one log. An unfinished line is read again until it is whole: a torn write that is taken back
//! leaves no trace.
//!
//! It refuses to guess: where the bytes before its place are no longer the ones it has read, it says so with a
//! [`Followed::Gap`] and goes on with what is there now.

mod position;
mod segment;

use std::fs::File;
use std::io;
use std::path::PathBuf;

pub use self::position::{BadPosition, Position};
use self::position::{CHECK_BYTES, check};
use self::segment::{
    CHUNK_BYTES, Open, identity_at, last_newline, numbered_from, open_file, open_live, read_some,
};
pub use self::segment::{line_start_before, live_number, open_segment};
use crate::{segment_path, segments};

/// Longer lines are delivered cut to this; [`FollowedLine::length`] tells the whole length. Nothing TinyClaw writes on one
/// line comes near it, and a follower must not grow with what somebody else writes.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// What following a log brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed<'a> {
    /// A whole line.
    Line(FollowedLine<'a>),
    /// The lines from here on are those of the next segment. Nothing was missed.
    Rotated {
        /// The number of that segment.
        segment: u64,
    },
    /// The lines from here on do not follow the ones before.
    Gap {
        /// The segment that is read from here on, from its beginning.
        segment: u64,
        /// What happened.
        cause: GapCause,
    },
}

/// A line, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowedLine<'a> {
    /// Offset of its first byte in its segment.
    pub start: u64,
    /// The place after its newline.
    pub end: Position,
    /// The line without its newline; cut to [`LINE_BYTES_MAX`]. Not necessarily UTF-8.
    pub bytes: &'a [u8],
    /// The length of the whole line without its newline.
    pub length: u64,
}

/// Why the lines after a gap do not follow the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The file was moved away or deleted, and another one stands there. It had been read to its end.
    Moved,
    /// The file became shorter than what was read of it. Lines written just before may be lost.
    Truncated,
    /// The file's earlier bytes are others now. Lines written just before may be lost.
    Overwritten,
    /// Segments were removed before they were read.
    Retired,
}

impl GapCause {
    /// Whether every line before the gap was read.
    pub fn is_lossless(self) -> bool {
        matches!(self, GapCause::Moved)
    }

    /// The cause in one word, for logs and events.
    pub fn as_str(self) -> &'static str {
        match self {
            GapCause::Moved => "moved",
            GapCause::Truncated => "truncated",
            GapCause::Overwritten => "overwritten",
            GapCause::Retired => "retired",
        }
    }
}

/// Whether there is more to read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The end was reached.
    Dry,
    /// The budget was used up first: poll again.
    More,
}

/// Reads a log's lines as they are finished, across rotations.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    place: Position,
    open: Option<Open>,
    /// Nothing up to here, beyond `place`, ends a line. Only used for lines that outgrow the buffer.
    searched: u64,
    /// The segment's first bytes and those before `place`, as they were read.
    head: Vec<u8>,
    before: Vec<u8>,
    buffer: Vec<u8>,
    /// A gap that was found while opening and is yet to be told.
    untold: Option<GapCause>,
}

enum Drained {
    Dry,
    More,
    /// The bytes before the place are not those that were read.
    Astray(GapCause),
}

impl Follower {
    /// Follows the log at `path` from the first line of its oldest segment. The file need not be there yet.
    pub fn from_start(path: impl Into<PathBuf>) -> io::Result<Follower> {
        let path = path.into();
        let first = segments(&path)?.first().map_or(1, |(it, _)| *it);
        Ok(Follower::at(path, Position::start_of(first)))
    }

    /// Follows the log at `path` from after its last whole line.
    pub fn from_end(path: impl Into<PathBuf>) -> io::Result<Follower> {
        let path = path.into();
        let Some((segment, open)) = open_live(&path)? else {
            let live = live_number(&path)?;
            return Ok(Follower::at(path, Position::start_of(live)));
        };
        let offset = line_start_before(&open.file, open.file.metadata()?.len())?;
        let mut it = Follower::at(path, Position::start_of(segment));
        it.remember(&open.file, offset)?;
        it.open = Some(open);
        Ok(it)
    }

    /// Follows the log at `path` from a position that was told earlier, perhaps to another process. Where it no longer
    /// fits, the first thing told is the gap.
    pub fn resume(path: impl Into<PathBuf>, from: Position) -> Follower {
        Follower::at(path.into(), from)
    }

    fn at(path: PathBuf, place: Position) -> Follower {
        Follower {
            path,
            place,
            open: None,
            searched: 0,
            head: Vec::new(),
            before: Vec::new(),
            buffer: Vec::new(),
            untold: None,
        }
    }

    /// The place reached: after the last line that was told.
    pub fn place(&self) -> Position {
        self.place
    }

    /// Tells everything that is new, oldest first, until `budget` bytes of lines were told.
    ///
    /// An error leaves the follower where it was; the next poll tries again.
    pub fn poll(
        &mut self,
        budget: usize,
        mut tell: impl FnMut(Followed<'_>),
    ) -> io::Result<Polled> {
        let mut left = budget;
        loop {
            if self.open.is_none() && !self.open_place()? {
                return Ok(Polled::Dry);
            }
            if let Some(cause) = self.untold.take() {
                tell(Followed::Gap { segment: self.place.segment, cause });
            }
            // Look at the name before reading: if another file stands there already, its writer is done with ours, and
            // what is read now is all there will ever be.
            let there = identity_at(&self.path)?;
            let Some(open) = &self.open else { continue };
            let is_done = open.is_final
                || match there {
                    Some(it) => it != open.identity,
                    // Rotated, and nothing was written since.
                    None => self.is_numbered(open)?,
                };
            match self.drain(is_done, &mut left, &mut tell)? {
                Drained::More => return Ok(Polled::More),
                Drained::Dry if is_done => self.go_on(&mut tell)?,
                Drained::Dry => return Ok(Polled::Dry),
                Drained::Astray(cause) => self.find_again(cause)?,
            }
        }
    }

    /// Opens the segment of `place`, or the oldest one after it. False when nothing is there yet.
    fn open_place(&mut self) -> io::Result<bool> {
        let wanted = self.place.segment;
        let (segment, open) = loop {
            if let Some((number, path)) = numbered_from(&self.path, wanted)? {
                match open_file(&path, true)? {
                    Some(open) => break (number, open),
                    None => continue,
                }
            }
            let Some((number, open)) = open_live(&self.path)? else { return Ok(false) };
            // A rotation between the two looks: what was wanted is numbered by now.
            if number <= wanted || numbered_from(&self.path, wanted)?.is_none() {
                break (number, open);
            }
        };
        if segment < wanted && self.place.offset > 0 && self.place.fits(&open.file)? {
            // All numbered segments were removed, so the numbers begin anew; the file is the one we know.
            self.place.segment = segment;
        } else if segment != wanted {
            // Whoever asked for the beginning of a segment that is not there yet has missed nothing.
            let is_past = segment > wanted;
            if is_past || self.place.offset > 0 {
                let cause = if is_past { GapCause::Retired } else { GapCause::Overwritten };
                self.untold = Some(cause);
            }
            self.restart(segment);
        } else if !self.place.fits(&open.file)? {
            let is_short = open.file.metadata()?.len() < self.place.offset;
            let cause = if is_short { GapCause::Truncated } else { GapCause::Overwritten };
            self.untold = Some(cause);
            self.restart(segment);
        }
        self.remember(&open.file, self.place.offset)?;
        self.open = Some(open);
        Ok(true)
    }

    fn restart(&mut self, segment: u64) {
        self.place = Position::start_of(segment);
        self.searched = 0;
        self.head.clear();
        self.before.clear();
        self.open = None;
    }

    /// Goes to a place of the file and keeps the bytes that vouch for it. An error leaves everything as it was.
    fn remember(&mut self, file: &File, offset: u64) -> io::Result<()> {
        let len = offset.min(CHECK_BYTES as u64) as usize;
        let (mut head, mut before) = (Vec::new(), Vec::new());
        read_some(file, 0, len, &mut head)?;
        read_some(file, offset - len as u64, len, &mut before)?;
        (self.place.offset, self.place.check) = (offset, check(&head, &before));
        (self.head, self.before) = (head, before);
        Ok(())
    }

    /// The file at hand is read to its end and nobody adds to it: on to the next one.
    fn go_on(&mut self, tell: &mut impl FnMut(Followed<'_>)) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let number = self.place.segment;
        let became_segment =
            open.is_final || identity_at(&segment_path(&self.path, number))? == Some(open.identity);
        if became_segment {
            self.restart(number + 1);
            tell(Followed::Rotated { segment: number + 1 });
        } else {
            let segment = self.successor()?;
            self.restart(segment);
            tell(Followed::Gap { segment, cause: GapCause::Moved });
        }
        Ok(())
    }

    fn is_numbered(&self, open: &Open) -> io::Result<bool> {
        let numbered = segment_path(&self.path, self.place.segment);
        Ok(identity_at(&numbered)? == Some(open.identity))
    }

    /// The file at hand was cut or overwritten. If a copy of it became the numbered segment, nothing is lost.
    fn find_again(&mut self, cause: GapCause) -> io::Result<()> {
        let is_final = self.open.as_ref().is_some_and(|it| it.is_final);
        if !is_final
            && let Some(copy) = open_file(&segment_path(&self.path, self.place.segment), true)?
            && self.place.fits(&copy.file)?
        {
            self.open = Some(copy);
            self.searched = 0;
            return Ok(());
        }
        self.restart(if is_final { self.place.segment + 1 } else { self.successor()? });
        self.untold = Some(cause);
        Ok(())
    }

    /// The segment that holds what came after the file at hand was cut or moved: the one of the same number, be it
    /// rotated since or still being written; a lower one only when the numbers began anew.
    fn successor(&self) -> io::Result<u64> {
        Ok(live_number(&self.path)?.min(self.place.segment))
    }

    fn drain(
        &mut self,
        is_done: bool,
        left: &mut usize,
        tell: &mut impl FnMut(Followed<'_>),
    ) -> io::Result<Drained> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.drain_into(&mut buffer, is_done, left, tell);
        buffer.clear();
        buffer.shrink_to(CHUNK_BYTES);
        self.buffer = buffer;
        result
    }

    fn drain_into(
        &mut self,
        buffer: &mut Vec<u8>,
        is_done: bool,
        left: &mut usize,
        tell: &mut impl FnMut(Followed<'_>),
    ) -> io::Result<Drained> {
        loop {
            let Some(open) = &mut self.open else { return Ok(Drained::Dry) };
            let meta = open.file.metadata()?;
            let seen = (meta.len(), meta.modified().ok());
            if !is_done && open.seen == Some(seen) {
                return Ok(Drained::Dry);
            }
            if meta.len() < self.place.offset {
                return Ok(Drained::Astray(GapCause::Truncated));
            }
            if meta.len() < self.searched {
                self.searched = 0;
            }
            // One read brings the bytes that vouch for the place together with what follows them. The head is read after
            // it: while that is the old one, the file had not been cut when the rest was read.
            let back = self.before.len();
            let base = self.place.offset - back as u64;
            read_some(&open.file, base, back + CHUNK_BYTES, buffer)?;
            let mut head = Vec::with_capacity(CHECK_BYTES);
            read_some(&open.file, 0, self.head.len(), &mut head)?;
            if head != self.head || buffer.len() < back || buffer[..back] != self.before {
                return Ok(Drained::Astray(GapCause::Overwritten));
            }
            // At a file's beginning nothing vouches for the place. Look after reading: if what was in the file became a
            // segment by now, these bytes may be what was written after it.
            if self.place.offset == 0 && !open.is_final {
                let numbered = segment_path(&self.path, self.place.segment);
                if identity_at(&numbered)?.is_some() {
                    return Ok(Drained::Astray(GapCause::Overwritten));
                }
            }
            let mut end = last_newline(&buffer[back..]);
            while end.is_none()
                && buffer.len() >= back + CHUNK_BYTES
                && buffer.len() < back + LINE_BYTES_MAX
            {
                let from = buffer.len();
                let mut more = Vec::new();
                read_some(&open.file, base + from as u64, CHUNK_BYTES, &mut more)?;
                if more.is_empty() {
                    break;
                }
                end = last_newline(&more).map(|it| it + from - back);
                buffer.extend_from_slice(&more);
            }
            match end {
                Some(end) => {
                    self.tell_lines(&buffer[..back + end + 1], back, left, tell);
                    if *left == 0 {
                        return Ok(Drained::More);
                    }
                }
                None if buffer.len() >= back + LINE_BYTES_MAX => {
                    if !self.tell_long_line(&buffer[back..], is_done, tell)? {
                        return Ok(Drained::Dry);
                    }
                    *left = 0;
                    return Ok(Drained::More);
                }
                None => {
                    // What nobody will finish is told as it is: hiding it would be losing it.
                    if is_done && buffer.len() > back {
                        buffer.push(b'\n');
                        self.tell_lines(buffer, back, left, tell);
                    } else if let Some(open) = &mut self.open {
                        open.seen = Some(seen);
                    }
                    return Ok(Drained::Dry);
                }
            }
        }
    }

    /// Tells the whole lines in `bytes[back..]`; `bytes[..back]` are those before the place.
    fn tell_lines(
        &mut self,
        bytes: &[u8],
        back: usize,
        left: &mut usize,
        tell: &mut impl FnMut(Followed<'_>),
    ) {
        let mut from = back;
        let mut place = self.place;
        for newline in memchr::memchr_iter(b'\n', &bytes[back..]) {
            let end = back + newline + 1;
            let start = place.offset;
            let offset = start + (end - from) as u64;
            let head = if self.head.len() == CHECK_BYTES { &self.head[..] } else { bytes };
            let before = &bytes[end.saturating_sub(CHECK_BYTES)..end];
            place = Position::new(place.segment, offset, head, before);
            let line = &bytes[from..end - 1];
            tell(Followed::Line(FollowedLine {
                start,
                end: place,
                bytes: &line[..line.len().min(LINE_BYTES_MAX)],
                length: line.len() as u64,
            }));
            from = end;
            *left = left.saturating_sub(line.len() + 1);
            if *left == 0 {
                break;
            }
        }
        if self.head.len() < CHECK_BYTES {
            // Less than 64 bytes lay before the place, so `bytes` begins where the segment does.
            self.head = bytes[..from.min(CHECK_BYTES)].to_vec();
        }
        self.before = bytes[from.saturating_sub(CHECK_BYTES)..from].to_vec();
        self.place = place;
        self.searched = 0;
    }

    /// Looks for the end of a line that outgrew the buffer, reading on from where it looked last.
    fn tell_long_line(
        &mut self,
        beginning: &[u8],
        is_done: bool,
        tell: &mut impl FnMut(Followed<'_>),
    ) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        let mut at = self.searched.max(self.place.offset + beginning.len() as u64);
        let mut chunk = Vec::new();
        let end = loop {
            read_some(&open.file, at, CHUNK_BYTES, &mut chunk)?;
            if let Some(newline) = memchr::memchr(b'\n', &chunk) {
                break at + newline as u64 + 1;
            }
            at += chunk.len() as u64;
            if chunk.is_empty() {
                if is_done {
                    break at;
                }
                self.searched = at;
                return Ok(false);
            }
        };
        let start = self.place.offset;
        let file = open.file.try_clone()?;
        self.remember(&file, end)?;
        self.searched = 0;
        tell(Followed::Line(FollowedLine {
            start,
            end: self.place,
            bytes: &beginning[..beginning.len().min(LINE_BYTES_MAX)],
            length: end - start - 1,
        }));
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
