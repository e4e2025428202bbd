//! Appending lines to a log that rotates by size into numbered segments.
//!
//! `history.jsonl` grows until it is full, then becomes `history.1.jsonl`, the next `history.2.jsonl`, and so on: a
//! segment's number never changes, so "segment 3, byte 512" names a line for ever. The file being written is the
//! segment after the last numbered one.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::DiskError;
use crate::reading::{fill_exactly, read_dir};

/// When a log rotates, and how long its old segments stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A file that would grow beyond this is rotated first.
    pub bytes_max: u64,
    /// At most so many numbered segments stay, if set.
    pub segments_max: Option<usize>,
    /// Numbered segments older than this are removed, if set.
    pub age_max: Option<Duration>,
}

/// Appends whole lines to one log. Every log has one appender, in one process.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    /// Which file that is: its device and number.
    identity: (u64, u64),
    length: u64,
    /// Lines were appended since the last flush.
    is_unflushed: bool,
    /// The file was opened, and its name was not flushed since.
    is_new: bool,
    /// A flush that failed while nobody asked for it; told to whoever flushes next.
    untold: Option<DiskError>,
}

impl Appender {
    /// An appender for the log at `path`. Nothing is opened until the first line.
    pub fn new(path: impl Into<PathBuf>, rotation: Rotation) -> Appender {
        Appender {
            path: path.into(),
            rotation,
            file: None,
            identity: (0, 0),
            length: 0,
            is_unflushed: false,
            is_new: false,
            untold: None,
        }
    }

    /// Appends one line with a single write; `line` carries no newline of its own.
    ///
    /// A line torn by a crash or a full disk is closed off before the next one, so at most the torn line is lost to
    /// readers. A file that somebody moved or removed is made anew.
    pub fn append(&mut self, line: &[u8]) -> Result<(), DiskError> {
        debug_assert!(!line.contains(&b'\n'), "a line is one line");
        let length = line.len() as u64 + 1;
        if self.length > 0 && self.length + length > self.rotation.bytes_max {
            self.rotate()?;
        }
        if self.is_stale() {
            self.open().map_err(|source| self.error("open", source))?;
            return self.append(line);
        }
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        match file.write_all(&bytes) {
            Ok(()) => {
                self.length += length;
                self.is_unflushed = true;
                Ok(())
            }
            Err(source) => {
                // Take back what was written of it, so that the next line does not continue a torn one.
                let _ = file.set_len(self.length);
                self.file = None;
                Err(self.error("append to", source))
            }
        }
    }

    /// Flushes what was appended since the last flush, and the name of a file that was opened since. Without news it costs nothing,
    /// so whoever comes at the same time shares one flush.
    ///
    /// After an error the lines may be lost in a power cut, and the file is opened anew for the next one: a descriptor
    /// whose flush failed is not flushed again.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        if let Some(err) = self.untold.take() {
            return Err(err);
        }
        let Some(file) = self.file.as_ref().filter(|_| self.is_unflushed) else { return Ok(()) };
        self.is_unflushed = false;
        let mut flushed = crate::sync_file(file, &self.path);
        if flushed.is_ok() && self.is_new {
            flushed = crate::sync_dir(self.path.parent().unwrap_or_else(|| Path::new(".")));
            self.is_new = flushed.is_err();
        }
        if flushed.is_err() {
            self.file = None;
        }
        flushed
    }

    fn error(&self, step: &'static str, source: io::Error) -> DiskError {
        DiskError { step, path: self.path.clone(), source }
    }

    /// Whether the name stands for another file than the one that is open, or for none.
    fn is_stale(&self) -> bool {
        let is_ours = |it: Metadata| (it.dev(), it.ino()) == self.identity;
        self.file.is_none() || !std::fs::metadata(&self.path).is_ok_and(is_ours)
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // Also one that was there: whoever made it may have died before its name was flushed.
        self.is_new = true;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        let about = file.metadata()?;
        self.identity = (about.dev(), about.ino());
        self.length = about.len();
        let mut last = [b'\n'];
        if self.length > 0 {
            fill_exactly(&file, &mut last, self.length - 1)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            self.length += 1;
        }
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> Result<(), DiskError> {
        self.rotate_at(SystemTime::now())
    }

    fn rotate_at(&mut self, now: SystemTime) -> Result<(), DiskError> {
        // Whoever does not know what is there would give a number for the second time.
        let segments = self.segments()?;
        let next = segments.last().map_or(1, |(number, _)| number + 1);
        // Under its number nobody would flush it any more.
        self.untold = self.sync().err();
        crate::rename(&self.path, &segment_path(&self.path, next))?;
        self.file = None;
        self.length = 0;
        // What is too much now is too much at the next rotation as well.
        let _ = self.remove_surplus(now);
        Ok(())
    }

    fn segments(&self) -> Result<Vec<(u64, PathBuf)>, DiskError> {
        let fail =
            |source| DiskError { step: "list the segments of", path: self.path.clone(), source };
        segments(&self.path).map_err(fail)
    }

    /// Removes segments that are more or older than the rotation keeps. Done at every rotation; once a day is right for
    /// a log that grows slowly, whose file is then rotated by age. What cannot be removed stays for next time.
    pub fn retire(&mut self, now: SystemTime) -> Result<(), DiskError> {
        // Half the time in the file, and then all of it as a segment: nothing leaves too early.
        let is_old = self.rotation.age_max.is_some_and(|most| {
            let begun = std::fs::metadata(&self.path).and_then(|it| it.created());
            begun.is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age > most / 2))
        });
        if is_old {
            return self.rotate_at(now);
        }
        self.remove_surplus(now)
    }

    fn remove_surplus(&self, now: SystemTime) -> Result<(), DiskError> {
        let segments = self.segments()?;
        let surplus =
            self.rotation.segments_max.map_or(0, |most| segments.len().saturating_sub(most));
        for (at, (_, path)) in segments.iter().enumerate() {
            let too_old = self.rotation.age_max.is_some_and(|most| {
                let written = std::fs::metadata(path).and_then(|it| it.modified());
                written.is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age > most))
            });
            if !too_old && at >= surplus {
                continue;
            }
            if at + 1 < segments.len() {
                let _ = crate::remove(path);
            } else {
                // Emptied, not removed: the next segment is numbered after it, and no number names two of them.
                let _ = OpenOptions::new().write(true).open(path).and_then(|it| it.set_len(0));
            }
        }
        Ok(())
    }
}

/// The numbered segments of a log, oldest first; none when there is no such folder.
pub fn segments(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (stem, extension) = split(path);
    let Some(dir) = path.parent() else { return Ok(Vec::new()) };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let entries = match read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let number = |name: &std::ffi::OsStr| -> Option<u64> {
        let rest = name.to_str()?.strip_prefix(&stem)?.strip_prefix('.')?;
        rest.strip_suffix(&extension)?.strip_suffix('.')?.parse().ok()
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        found.extend(number(&entry.file_name()).map(|it| (it, entry.path())));
    }
    found.sort_unstable();
    Ok(found)
}

/// Where segment `number` of a log lies.
pub fn segment_path(path: &Path, number: u64) -> PathBuf {
    let (stem, extension) = split(path);
    path.with_file_name(format!("{stem}.{number}.{extension}"))
}

fn split(path: &Path) -> (String, String) {
    let part = |it: Option<&std::ffi::OsStr>| it.unwrap_or_default().to_string_lossy().into_owned();
    (part(path.file_stem()), part(path.extension()))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its files as it likes")]
mod tests {
    use super::*;

    const SMALL: Rotation = Rotation { bytes_max: 10, segments_max: Some(2), age_max: None };

    #[test]
    fn a_full_log_becomes_a_numbered_segment_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let mut log = Appender::new(&path, SMALL);
        for line in ["1234567", "abcdefg", "ABCDEFG", "last"] {
            log.append(line.as_bytes()).unwrap();
        }
        let numbers: Vec<u64> = segments(&path).unwrap().iter().map(|(it, _)| *it).collect();
        assert_eq!(numbers, [2, 3]);
        assert_eq!(std::fs::read_to_string(segment_path(&path, 3)).unwrap(), "ABCDEFG\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "last\n");
    }

    #[test]
    fn a_torn_line_is_closed_off_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, "{\"half").unwrap();
        Appender::new(&path, Rotation { bytes_max: 1000, ..SMALL }).append(b"{}").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"half\n{}\n");
    }

    #[test]
    fn what_is_older_than_it_may_be_goes_also_from_a_log_that_never_fills() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prompts.jsonl");
        let day = Duration::from_secs(24 * 60 * 60);
        let rotation = Rotation { bytes_max: 1000, segments_max: None, age_max: Some(14 * day) };
        let mut log = Appender::new(&path, rotation);
        log.append(b"old").unwrap();
        let now = SystemTime::now();
        log.retire(now + 6 * day).unwrap();
        assert!(segments(&path).unwrap().is_empty(), "too young to be set aside");
        log.retire(now + 8 * day).unwrap();
        assert_eq!(segments(&path).unwrap().len(), 1);
        log.append(b"new").unwrap();
        log.retire(now + 15 * day).unwrap();
        assert!(
            !segments(&path).unwrap().iter().any(|(number, _)| *number == 1),
            "its time is over"
        );
        log.retire(now + 60 * day).unwrap();
        let left: Vec<u64> = segments(&path).unwrap().iter().map(|(number, _)| *number).collect();
        assert_eq!(left, [2], "the number stays, so that it is not given again");
        assert_eq!(std::fs::read(segment_path(&path, 2)).unwrap(), b"");
    }

    #[test]
    fn a_removed_log_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let mut log = Appender::new(&path, Rotation { bytes_max: 1000, ..SMALL });
        log.append(b"a").unwrap();
        std::fs::remove_file(&path).unwrap();
        log.append(b"b").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "b\n");
    }
}
