//! What Claude wrote, kept until it was seen: segments of one size, named by their number, so that an offset says where it
//! lies.
//!
//! One process writes. Nothing is flushed: a machine that loses its power loses the run as well.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tinyclaw_disk::{foreign, remove, write_new};

/// How long a segment is.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// The writer's end.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    segment: Option<(u64, File)>,
    /// Offsets below are gone.
    kept: u64,
    end: u64,
}

impl Spool {
    /// A new one, empty.
    pub(super) fn new(dir: &Path) -> Spool {
        Spool { dir: dir.to_owned(), segment: None, kept: 0, end: 0 }
    }

    /// How much was written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The first offset that can be read.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// Writes some of it behind what was written, and says how much. After an error the same bytes are to be tried again.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (number, at) = (self.end / SEGMENT_BYTES, self.end % SEGMENT_BYTES);
        let room = usize::try_from(SEGMENT_BYTES - at).unwrap_or(usize::MAX);
        let now = &bytes[..bytes.len().min(room)];
        let file = match &self.segment {
            Some((open, file)) if *open == number => file,
            _ => {
                let path = segment(&self.dir, number);
                // A try before this one may have made it and no more.
                remove(&path).map_err(|err| err.source)?;
                let file = write_new(&path, b"").map_err(|err| err.source)?;
                &self.segment.insert((number, file)).1
            }
        };
        // At its place and not at the file's end: a part that was written before an error is written over.
        file.write_all_at(now, at)?;
        self.end += now.len() as u64;
        Ok(now.len())
    }

    /// Removes segments of which nothing is needed any more.
    pub(super) fn drop_before(&mut self, seen: u64) {
        let seen = seen.min(self.end);
        while (self.kept / SEGMENT_BYTES) < seen / SEGMENT_BYTES {
            let _ = remove(&segment(&self.dir, self.kept / SEGMENT_BYTES));
            self.kept = (self.kept / SEGMENT_BYTES + 1) * SEGMENT_BYTES;
        }
    }
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("out.{number}"))
}

/// Reads what lies at an offset, to the end of its segment at most. Empty: nothing lies there.
pub(super) fn read(dir: &Path, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let name = format!("out.{}", at / SEGMENT_BYTES);
    let file = match foreign::open_below(dir, Path::new(&name)) {
        Ok(it) => it.into_file(),
        Err(err) if err.is_missing() => return Ok(0),
        Err(err) => return Err(io::Error::other(err)),
    };
    let room = usize::try_from(SEGMENT_BYTES - at % SEGMENT_BYTES).unwrap_or(usize::MAX);
    let most = bytes.len().min(room);
    file.read_at(&mut bytes[..most], at % SEGMENT_BYTES)
}

/// What is there of a run whose writer is gone: the first offset that is kept, and the end.
pub(super) fn extent(dir: &Path) -> io::Result<(u64, u64)> {
    let mut numbers: Vec<(u64, u64)> = foreign::names_below(dir, Path::new(""))
        .map_err(io::Error::other)?
        .iter()
        .filter_map(|it| it.to_str()?.strip_prefix("out.")?.parse().ok())
        // A name that no writer of ours comes to.
        .filter(|it| *it < u64::MAX / SEGMENT_BYTES)
        .filter_map(|it| Some((it, segment(dir, it).symlink_metadata().ok()?.len())))
        .collect();
    numbers.sort_unstable();
    let Some((last, bytes)) = numbers.last().copied() else { return Ok((0, 0)) };
    // Without a hole from there on.
    let mut first = last;
    while numbers.iter().any(|(it, _)| *it + 1 == first) {
        first -= 1;
    }
    Ok((first * SEGMENT_BYTES, last * SEGMENT_BYTES + bytes.min(SEGMENT_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(dir: &Path, mut at: u64) -> Vec<u8> {
        let (mut got, mut piece) = (Vec::new(), vec![0; 100_000]);
        loop {
            let read = read(dir, at, &mut piece).unwrap();
            if read == 0 {
                return got;
            }
            got.extend_from_slice(&piece[..read]);
            at += read as u64;
        }
    }

    #[test]
    fn what_was_written_is_read_from_any_offset_and_goes_when_it_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path());
        let bytes: Vec<u8> = (0..SEGMENT_BYTES * 2 + 1000).map(|it| (it % 251) as u8).collect();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let wrote = spool.write(&rest[..rest.len().min(1_000_003)]).unwrap();
            rest = &rest[wrote..];
        }
        assert_eq!(spool.end(), bytes.len() as u64);
        assert!(all(dir.path(), 0) == bytes, "all of it");
        let at = SEGMENT_BYTES - 5;
        assert!(all(dir.path(), at) == bytes[at as usize..], "from the middle");
        assert_eq!(extent(dir.path()).unwrap(), (0, bytes.len() as u64));
        spool.drop_before(SEGMENT_BYTES + 1);
        assert_eq!(spool.kept(), SEGMENT_BYTES);
        assert_eq!(extent(dir.path()).unwrap(), (SEGMENT_BYTES, bytes.len() as u64));
        assert_eq!(read(dir.path(), 0, &mut [0; 10]).unwrap(), 0);
        let strange = format!("out.{}", u64::MAX);
        write_new(&dir.path().join(strange), b"x").unwrap();
        assert_eq!(extent(dir.path()).unwrap(), (SEGMENT_BYTES, bytes.len() as u64));
        spool.drop_before(u64::MAX);
        assert_eq!(spool.kept(), SEGMENT_BYTES * 2, "what is being written stays");
    }

    #[test]
    fn no_link_and_no_pipe_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out.0")).unwrap();
        assert!(read(dir.path(), 0, &mut [0; 10]).is_err());
        std::fs::remove_file(dir.path().join("out.0")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("out.0"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(dir.path(), 0, &mut [0; 10]).is_err());
    }
}
