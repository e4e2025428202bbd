//! Reading a log from its end: line by line, newest first, across its numbered segments, without reading it whole.
//!
//! Nothing here knows what a line means. A line that is still being written is not a line yet, and one longer than
//! [`LINE_BYTES_MAX`] is passed over.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memchr::memrchr;

use crate::reading::{fill_exactly, open_to_read};
use crate::{DiskError, segments};

/// A longer line is no line of ours.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// So much is read at a time, to begin with.
const CHUNK_BYTES: usize = 64 * 1024;

/// One line of a log and where it stands, for ever: a segment's number never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLine {
    /// The segment. The file being written is the one after the last numbered.
    pub segment: u64,
    /// The offset of its first byte.
    pub offset: u64,
    /// The line, without its newline.
    pub bytes: Vec<u8>,
}

/// The lines of the log at `path`, newest first. A log that is not there has none.
///
/// Its writer may append and rotate meanwhile: what was there at the call is read once, what comes later is not.
/// Segments that are retired meanwhile end the reading.
pub fn backwards(path: &Path) -> Result<Backwards, DiskError> {
    // The file first, the segments after: should it be rotated in between, it is known by its inode.
    let current = open(path)?;
    let fail = |source| DiskError { step: "list the segments of", path: path.to_owned(), source };
    let mut rest = segments(path).map_err(fail)?;
    let mut number = rest.last().map_or(1, |(number, _)| number + 1);
    if let Some(file) = &current {
        let ours = file.inode;
        let is_ours = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|it| it.ino() == ours);
        if let Some(at) = rest.iter().position(|(_, path)| is_ours(path)) {
            number = rest[at].0;
            rest.truncate(at);
        }
    }
    Ok(Backwards { current: current.map(|it| Tail::new(number, it)), rest })
}

/// The iterator of [`backwards`].
#[derive(Debug)]
pub struct Backwards {
    current: Option<Tail>,
    /// Segments not yet opened, oldest first.
    rest: Vec<(u64, PathBuf)>,
}

impl Iterator for Backwards {
    type Item = Result<StoredLine, DiskError>;

    fn next(&mut self) -> Option<Result<StoredLine, DiskError>> {
        loop {
            if let Some(tail) = &mut self.current {
                match tail.next_line() {
                    Ok(Some(line)) => return Some(Ok(line)),
                    Ok(None) => self.current = None,
                    Err(err) => {
                        (self.current, self.rest) = (None, Vec::new());
                        return Some(Err(err));
                    }
                }
            }
            let (number, path) = self.rest.pop()?;
            match open(&path) {
                Ok(Some(file)) => self.current = Some(Tail::new(number, file)),
                // Retired a moment ago, and so is everything older.
                Ok(None) => self.rest.clear(),
                Err(err) => {
                    self.rest.clear();
                    return Some(Err(err));
                }
            }
        }
    }
}

#[derive(Debug)]
struct Opened {
    file: File,
    path: PathBuf,
    length: u64,
    inode: u64,
}

fn open(path: &Path) -> Result<Option<Opened>, DiskError> {
    let fail = |source| DiskError { step: "read", path: path.to_owned(), source };
    let file = match open_to_read(OpenOptions::new().read(true), path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(fail(err)),
    };
    let metadata = file.metadata().map_err(fail)?;
    Ok(Some(Opened { file, path: path.to_owned(), length: metadata.len(), inode: metadata.ino() }))
}

/// One file, read towards its beginning.
#[derive(Debug)]
struct Tail {
    number: u64,
    opened: Opened,
    /// The bytes of the file from `position` on that were read and not yet given out.
    buffer: Vec<u8>,
    position: u64,
    /// Whether the newline was met that makes what stands before it whole.
    is_whole: bool,
    /// Whether the line at hand has outgrown its limit.
    is_too_long: bool,
    is_done: bool,
}

impl Tail {
    fn new(number: u64, opened: Opened) -> Tail {
        let position = opened.length;
        Tail {
            number,
            opened,
            buffer: Vec::new(),
            position,
            is_whole: false,
            is_too_long: false,
            is_done: false,
        }
    }

    fn next_line(&mut self) -> Result<Option<StoredLine>, DiskError> {
        while !self.is_done {
            let newline = memrchr(b'\n', &self.buffer);
            let Some(start) =
                newline.map(|it| it + 1).or_else(|| (self.position == 0).then_some(0))
            else {
                self.read_more()?;
                continue;
            };
            let bytes = self.buffer.split_off(start);
            let is_line = self.is_whole && !self.is_too_long && !bytes.is_empty();
            let offset = self.position + start as u64;
            self.is_done = newline.is_none();
            self.is_whole = true;
            self.is_too_long = false;
            self.buffer.pop();
            if is_line {
                return Ok(Some(StoredLine { segment: self.number, offset, bytes }));
            }
        }
        Ok(None)
    }

    /// Puts the chunk before `position` in front of the buffer. A long line makes the chunks longer, so that it is not
    /// moved again and again.
    fn read_more(&mut self) -> Result<(), DiskError> {
        if self.buffer.len() > LINE_BYTES_MAX {
            self.is_too_long = true;
            self.buffer.clear();
        }
        let wanted = CHUNK_BYTES.max(self.buffer.len()) as u64;
        let count = wanted.min(self.position);
        self.position -= count;
        let mut bytes = Vec::with_capacity(count as usize + self.buffer.len());
        bytes.resize(count as usize, 0);
        let Opened { file, path, .. } = &self.opened;
        fill_exactly(file, &mut bytes, self.position).map_err(|source| DiskError {
            step: "read",
            path: path.clone(),
            source,
        })?;
        bytes.append(&mut self.buffer);
        self.buffer = bytes;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test lays files out as it needs them")]
mod tests {
    use super::*;
    use crate::{Appender, Rotation};

    fn texts(path: &Path) -> Vec<String> {
        let lines = backwards(path).unwrap().map(|it| it.unwrap().bytes);
        lines.map(|it| String::from_utf8(it).unwrap()).collect()
    }

    #[test]
    fn lines_come_newest_first_and_the_unfinished_one_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        assert_eq!(texts(&path), [""; 0]);
        for (text, lines) in [
            ("", &[][..]),
            ("half", &[]),
            ("\n", &[]),
            ("a\n", &["a"]),
            ("a\n\nb\nhalf", &["b", "a"]),
            ("\na\n", &["a"]),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(texts(&path), lines, "{text:?}");
        }
    }

    #[test]
    fn segments_are_walked_from_the_newest_and_every_line_has_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let rotation = Rotation { bytes_max: 100, segments_max: None, age_max: None };
        let mut log = Appender::new(&path, rotation);
        for number in 0..200 {
            log.append(format!("line {number}").as_bytes()).unwrap();
        }
        let lines: Vec<StoredLine> = backwards(&path).unwrap().map(Result::unwrap).collect();
        let expected: Vec<String> = (0..200).rev().map(|it| format!("line {it}")).collect();
        assert_eq!(texts(&path), expected);
        assert!(lines.last().unwrap().segment == 1 && lines[0].segment > 15);
        for line in lines {
            let file = crate::segment_path(&path, line.segment);
            let file = if file.exists() { file } else { path.clone() };
            let bytes = std::fs::read(file).unwrap();
            assert!(bytes[line.offset as usize..].starts_with(&line.bytes));
        }
    }

    #[test]
    fn lines_longer_than_a_chunk_are_whole_and_monsters_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let long = "x".repeat(3 * CHUNK_BYTES + 7);
        let monster = "y".repeat(2 * LINE_BYTES_MAX + 1);
        std::fs::write(&path, format!("first\n{long}\n{monster}\n{long}\nlast\n")).unwrap();
        let lengths: Vec<usize> = texts(&path).iter().map(String::len).collect();
        assert_eq!(lengths, [4, long.len(), long.len(), 5]);
    }

    #[test]
    fn a_log_rotated_while_it_is_read_gives_each_line_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, "a\nb\n").unwrap();
        let reading = backwards(&path).unwrap();
        crate::rename(&path, &crate::segment_path(&path, 1)).unwrap();
        std::fs::write(&path, "c\n").unwrap();
        let seen: Vec<Vec<u8>> = reading.map(|it| it.unwrap().bytes).collect();
        assert_eq!(seen, [b"b", b"a"]);
        assert_eq!(texts(&path), ["c", "b", "a"]);
    }
}
