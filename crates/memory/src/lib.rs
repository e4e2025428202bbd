#![doc = include_str!("../README.md")]

mod context;
mod conversation;
mod notes;
mod reset;
mod summary;

use std::io;
use std::path::{Path, PathBuf};

use tinyclaw_disk::DiskError;
use tinyclaw_disk::foreign::{ForeignError, open_below, open_dir_below, read_below};
use tinyclaw_domain::ThreadId;

pub use context::{Context, Wanted};
pub use notes::NOTE_BYTES_MAX;
pub use reset::{last_reset, next_reset};
pub use summary::{Asked, BadSummary, SUMMARY_BYTES_MAX, Summary, SummaryFile};

/// More than this of one file is no memory, and is not read.
const TEXT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The memory folder of an office. Cheap to clone. Processor alone writes; people may edit.
///
/// `<who>` is the thread's id: in a private chat that is `u` and the user's.
#[derive(Debug, Clone)]
pub struct Memory {
    root: PathBuf,
}

/// A file of the memory that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file is there and cannot be read, or is none: people and, without Landlock, agents write here too.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// A folder is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder cannot be made.
    #[error("cannot make {}", path.display())]
    Make {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A note must have words, and not too many.
    #[error("a note has from 1 to {NOTE_BYTES_MAX} bytes, and this one has {bytes}")]
    NoteSize {
        /// How many it has.
        bytes: usize,
    },
    /// What was said cannot be written as JSON.
    #[error("cannot write down a turn")]
    Turn(#[source] serde_json::Error),
}

impl Memory {
    /// The memory at `root`, which is `memory/` in the state folder. Nothing is made before it is needed.
    pub fn new(root: impl Into<PathBuf>) -> Memory {
        Memory { root: root.into() }
    }

    fn folder(&self, kind: &str, who: &ThreadId) -> PathBuf {
        self.root.join(kind).join(who.as_str())
    }

    /// The text of a file of the memory; nothing when there is no file. What is not UTF-8 is shown as well as it can be.
    fn read_text(&self, path: &Path) -> Result<Option<String>, MemoryError> {
        match read_below(&self.root, self.below(path), TEXT_BYTES_MAX) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(err) if err.is_missing() => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// Refuses to write where somebody put a link, a pipe or a folder: what is added would go elsewhere.
    fn check_target(&self, path: &Path) -> Result<(), MemoryError> {
        match open_below(&self.root, self.below(path)) {
            Err(err) if !err.is_missing() => Err(err.into()),
            _ => Ok(()),
        }
    }

    /// The names in a folder of the memory; none when there is no folder.
    fn names(&self, dir: &Path) -> Result<Vec<String>, MemoryError> {
        match open_dir_below(&self.root, self.below(dir)) {
            Err(err) if err.is_missing() => return Ok(Vec::new()),
            other => other?,
        };
        let fail = |source| MemoryError::Read { path: dir.to_owned(), source };
        let names = std::fs::read_dir(dir).map_err(fail)?;
        let names = names.map(|it| it.map(|it| it.file_name().to_string_lossy().into_owned()));
        names.collect::<io::Result<_>>().map_err(fail)
    }

    fn below<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The longest beginning of `text` that has at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
