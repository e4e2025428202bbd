//! Reading a disk: open, read, list. Every reader of what the office keeps goes through these, so that tests can make each
//! read fail, bring less than was asked for, or end too early.
//!
//! It refuses to take a part for the whole. A read may bring less than was asked for, and then the rest is asked for; one that
//! says "end" while the file goes on is an error that may pass, as is a file that is cut short while it is read.

use std::fs::{DirEntry, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

#[cfg(feature = "testing")]
use crate::testing;

/// So much room is made for what a file has grown by since its length was asked for.
const GROWTH_BYTES: u64 = 4096;
/// So often a file of ours is read before it counts as unreadable.
const TRIES: u32 = 3;

/// Opens a file for reading, as `options` say.
pub fn open_to_read(options: &OpenOptions, path: &Path) -> io::Result<File> {
    before_read(path)?;
    options.open(path)
}

/// Reads the whole of a file of ours. A disk that stammers is asked three times: whoever cannot read a file may have to set it
/// aside.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    Ok(read_with_metadata(path)?.0)
}

/// [`read`], with what was known of the file before it was read.
pub fn read_with_metadata(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let read = || {
        let file = open_to_read(OpenOptions::new().read(true), path)?;
        let about = file.metadata()?;
        Ok((read_to_end(&file, &about, usize::MAX)?, about))
    };
    let mut tries = 1;
    loop {
        match read() {
            Err(err) if tries < TRIES && may_pass(&err) => tries += 1,
            other => return other,
        }
    }
}

/// Whether a second look may bring what the first did not.
fn may_pass(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::UnexpectedEof || err.raw_os_error() == Some(Errno::EIO as i32)
}

/// Reads an open plain file from its beginning to its end, or until there is more of it than `bytes_max`: then one byte more
/// comes back. Never less than the file had when its owner asked what it is: that is an error.
pub fn read_to_end(file: &File, about: &Metadata, bytes_max: usize) -> io::Result<Vec<u8>> {
    let bytes_max = (bytes_max as u64).saturating_add(1);
    let there = about.len().min(bytes_max);
    let mut source = Source::default();
    let mut bytes = Vec::new();
    // One byte more than is there: a file that did not grow meanwhile is read with one call.
    let mut room = there.saturating_add(1).min(bytes_max);
    loop {
        let filled = bytes.len() as u64;
        bytes.resize(bytes.len() + usize::try_from(room).unwrap_or(usize::MAX), 0);
        let read = source.read_at(file, &mut bytes[filled as usize..], filled)?;
        bytes.truncate(filled as usize + read);
        let filled = bytes.len() as u64;
        let is_all = filled == there && (read as u64) < room && there > 0;
        if read == 0 || is_all {
            break;
        }
        room = (there + 1).saturating_sub(filled).max(GROWTH_BYTES).min(bytes_max - filled);
    }
    if (bytes.len() as u64) < there {
        Err(ended_early(bytes.len() as u64, there))
    } else {
        Ok(bytes)
    }
}

/// Lists a folder. A listing that breaks off is an error among the entries; whoever drops it takes a part for the whole.
pub fn read_dir(dir: &Path) -> io::Result<Listing> {
    before_read(dir)?;
    Ok(Listing { entries: std::fs::read_dir(dir)?, dir: dir.to_owned(), has_begun: false })
}

/// What lies in a folder, in no order.
#[derive(Debug)]
pub struct Listing {
    entries: std::fs::ReadDir,
    dir: PathBuf,
    has_begun: bool,
}

impl Iterator for Listing {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        let entry = self.entries.next()?;
        // Once a listing, so that a test that counts reads need not know how much lies there.
        if std::mem::replace(&mut self.has_begun, true) {
            return Some(entry);
        }
        Some(before_read(&self.dir).and(entry))
    }
}

/// Reads up to `into.len()` bytes at `offset`, asking again for what did not come; less only at the end of the file.
pub(crate) fn fill(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let before = file.metadata()?.len();
    // What was written since is no part of what was asked for, and what was cut off is not there.
    let wanted = before.saturating_sub(offset).min(into.len() as u64);
    let mut source = Source::default();
    let mut filled = 0;
    while (filled as u64) < wanted {
        match source.read_at(file, &mut into[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    let read = filled as u64;
    if read < wanted && file.metadata()?.len() > offset + read {
        return Err(ended_early(read, wanted));
    }
    Ok(filled)
}

/// Reads exactly `into.len()` bytes at `offset`.
pub(crate) fn fill_exactly(file: &File, into: &mut [u8], offset: u64) -> io::Result<()> {
    let read = fill(file, into, offset)?;
    if read < into.len() { Err(ended_early(read as u64, into.len() as u64)) } else { Ok(()) }
}

/// A file that is read from its beginning on, with a mind of how much of it there is.
#[derive(Debug)]
pub(crate) struct Whole {
    file: File,
    source: Source,
    read: u64,
    there: u64,
}

impl Whole {
    /// The first `bytes_max` bytes of a file that has `there`.
    pub(crate) fn new(file: File, there: u64, bytes_max: u64) -> io::Take<Whole> {
        Whole { file, source: Source::default(), read: 0, there }.take(bytes_max)
    }
}

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(&self.file, into, self.read)?;
        self.read += read as u64;
        if read == 0 && !into.is_empty() && self.read < self.there {
            return Err(ended_early(self.read, self.there));
        }
        Ok(read)
    }
}

fn ended_early(read: u64, there: u64) -> io::Error {
    let why = format!("it ended after {read} of {there} bytes");
    io::Error::new(io::ErrorKind::UnexpectedEof, why)
}

/// Where bytes come from: the file, or what a test makes of it.
#[derive(Debug, Default)]
struct Source {
    #[cfg(feature = "testing")]
    has_ended: bool,
}

#[cfg(not(feature = "testing"))]
impl Source {
    fn read_at(&mut self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
        read_at(file, into, offset)
    }
}

#[cfg(feature = "testing")]
impl Source {
    fn read_at(&mut self, file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let brought = testing::read_fault(None)?;
        if self.has_ended {
            return Ok(0);
        }
        let read = read_at(file, into, offset)?;
        Ok(match brought {
            testing::Brought::All => read,
            testing::Brought::Fewer => read.min(1),
            testing::Brought::Half => {
                self.has_ended = true;
                read / 2
            }
        })
    }
}

fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(into, offset) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Where tests make opening and listing fail. Nothing in a real build.
fn before_read(path: &Path) -> io::Result<()> {
    #[cfg(feature = "testing")]
    testing::read_fault(Some(path))?;
    let _ = path;
    Ok(())
}
