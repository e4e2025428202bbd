//! A log's segments as files: found by number, opened, told apart, and read at a place.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::reading::{fill, open_to_read};
use crate::{segment_path, segments};

/// How much is read at once.
pub(super) const CHUNK_BYTES: usize = 128 << 10;

/// A segment that is open for reading.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) identity: (u64, u64),
    /// A numbered segment, to which nothing is added any more.
    pub(super) is_final: bool,
    pub(super) seen: Option<(u64, Option<SystemTime>)>,
}

/// The oldest numbered segment from `number` on.
pub(super) fn numbered_from(path: &Path, number: u64) -> io::Result<Option<(u64, PathBuf)>> {
    Ok(segments(path)?.into_iter().find(|(it, _)| *it >= number))
}

/// The number of the file being written.
pub fn live_number(path: &Path) -> io::Result<u64> {
    Ok(segments(path)?.last().map_or(1, |(number, _)| number + 1))
}

/// Opens one segment of a log for reading, whether it is numbered by now or still being written. `None` when it is
/// not there.
pub fn open_segment(path: &Path, number: u64) -> io::Result<Option<File>> {
    // A rotation between the two looks moves the file from the second name to the first: look there again.
    for _ in 0..2 {
        if let Some(open) = open_file(&segment_path(path, number), true)? {
            return Ok(Some(open.file));
        }
        if let Some((live, open)) = open_live(path)?
            && live == number
        {
            return Ok(Some(open.file));
        }
    }
    Ok(None)
}

/// Where the line begins that the byte before `end` belongs to, looking backwards from `end`: after the last newline
/// before `end`, or 0.
pub fn line_start_before(file: &File, end: u64) -> io::Result<u64> {
    let mut end = end;
    let mut chunk = Vec::new();
    while end > 0 {
        let len = end.min(CHUNK_BYTES as u64);
        read_some(file, end - len, len as usize, &mut chunk)?;
        if let Some(at) = memchr::memrchr(b'\n', &chunk) {
            return Ok(end - len + at as u64 + 1);
        }
        end -= len;
    }
    Ok(0)
}

/// The live file and its number, taken while no rotation went on.
pub(super) fn open_live(path: &Path) -> io::Result<Option<(u64, Open)>> {
    loop {
        let number = live_number(path)?;
        let Some(open) = open_file(path, false)? else { return Ok(None) };
        if live_number(path)? == number {
            return Ok(Some((number, open)));
        }
    }
}

pub(super) fn open_file(path: &Path, is_final: bool) -> io::Result<Option<Open>> {
    match open_to_read(OpenOptions::new().read(true), path) {
        Ok(file) => {
            let meta = file.metadata()?;
            if !meta.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            Ok(Some(Open { identity: identity(&meta), file, is_final, seen: None }))
        }
        Err(it) if it.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(it) => Err(it),
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

pub(super) fn identity_at(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Some(identity(&meta))),
        Err(it) if it.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(it) => Err(it),
    }
}

pub(super) fn last_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes)
}

/// Reads up to `len` bytes at `offset` into `into`, replacing what it held; less at the end of the file.
pub(super) fn read_some(
    file: &File,
    offset: u64,
    len: usize,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    into.resize(len, 0);
    let filled = fill(file, into, offset)?;
    into.truncate(filled);
    Ok(())
}
