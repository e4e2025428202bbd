//! A place in a log that stays valid for ever, or shows that it does not.

use std::fmt;
use std::fs::File;
use std::io;
use std::str::FromStr;

use super::segment::read_some;

/// How much of a segment's beginning, and of what lies before a position, vouches for the position.
pub(super) const CHECK_BYTES: usize = 64;

/// A place between two lines of a log: the segment's number, which never changes, and a byte offset in it.
///
/// The check is made of the segment's first bytes and of those just before the offset. A position whose check no
/// longer fits belongs to a file that was cut or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The number of the segment; the file being written is the one after the last numbered one.
    pub segment: u64,
    /// Bytes before this place.
    pub offset: u64,
    /// Vouches for those bytes.
    pub check: u32,
}

impl Position {
    /// The very beginning of a segment.
    pub fn start_of(segment: u64) -> Position {
        Position { segment, offset: 0, check: check(&[], &[]) }
    }

    /// The position at `offset` of a segment that begins with `head`; `before` are the bytes just before the offset.
    /// Both may be longer than needed; with less than 64 bytes they must reach back to the segment's beginning.
    pub fn new(segment: u64, offset: u64, head: &[u8], before: &[u8]) -> Position {
        let head_len = head.len().min(CHECK_BYTES).min(offset as usize);
        let before = &before[before.len().saturating_sub(CHECK_BYTES)..];
        Position { segment, offset, check: check(&head[..head_len], before) }
    }

    /// Whether `file` still holds what was there when the position was made.
    pub fn fits(&self, file: &File) -> io::Result<bool> {
        let mut head = Vec::new();
        let mut before = Vec::new();
        let len = self.offset.min(CHECK_BYTES as u64) as usize;
        read_some(file, self.offset - len as u64, len, &mut before)?;
        read_some(file, 0, len, &mut head)?;
        Ok(before.len() == len && check(&head, &before) == self.check)
    }
}

/// FNV-1a: this guards against accidents, not against forgers.
pub(super) fn check(head: &[u8], before: &[u8]) -> u32 {
    head.iter()
        .chain(before)
        .fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}:{}", self.segment, self.check, self.offset)
    }
}

/// A text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position in a log: expected segment-check:offset")]
pub struct BadPosition(pub String);

impl FromStr for Position {
    type Err = BadPosition;

    fn from_str(text: &str) -> Result<Position, BadPosition> {
        let parse = || {
            let (segment, rest) = text.split_once('-')?;
            let (check, offset) = rest.split_once(':')?;
            Some(Position {
                segment: segment.parse().ok()?,
                offset: offset.parse().ok()?,
                check: u32::from_str_radix(check, 16).ok()?,
            })
        };
        parse().ok_or_else(|| BadPosition(text.chars().take(64).collect()))
    }
}
