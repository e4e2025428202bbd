//! `audit verify`: reads the whole chain, and says where it is broken.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Head, sealed, segments};

/// What `audit verify` found to be whole.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Whole {
    /// How many lines.
    pub lines: u64,
    /// The number of the first: 1, unless old segments were thrown away.
    pub first_seq: u64,
    /// The number of the last.
    pub last_seq: u64,
    /// The hash of the last.
    pub head: String,
    /// In how many files.
    pub files: usize,
}

/// Where and how the chain is broken.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no log.
    #[error("there is no audit log at {}", .0.display())]
    Nothing(PathBuf),
    /// A line is not what was written.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// In which file.
        path: PathBuf,
        /// Which line of it, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Checks the whole chain, over all its segments.
pub fn verify(path: &Path) -> Result<Whole, Broken> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| Broken::Read { path, source }
    };
    let mut files: Vec<PathBuf> =
        segments(path).map_err(read(path))?.into_iter().map(|(_, it)| it).collect();
    if path.exists() {
        files.push(path.to_owned());
    }
    let mut whole: Option<Whole> = None;
    for path in &files {
        let file = File::open(path).map_err(read(path))?;
        let mut lines = BufReader::new(file);
        let (mut text, mut line) = (Vec::new(), 0);
        loop {
            text.clear();
            if lines.read_until(b'\n', &mut text).map_err(read(path))? == 0 {
                break;
            }
            line += 1;
            let broken = |reason| Broken::Line { path: path.clone(), line, reason };
            let text = text.strip_suffix(b"\n").ok_or_else(|| broken("the line is cut off"))?;
            let text = std::str::from_utf8(text).map_err(|_| broken("the line is not UTF-8"))?;
            let sealed = sealed(text).ok_or_else(|| broken("the line was changed"))?;
            let first = &mut whole;
            match first {
                None => {
                    if sealed.seq == 1 && sealed.prev != Head::default().hash {
                        return Err(broken("the first line names one before it"));
                    }
                    *first = Some(Whole {
                        lines: 1,
                        first_seq: sealed.seq,
                        last_seq: sealed.seq,
                        head: sealed.hash,
                        files: files.len(),
                    });
                }
                Some(whole) => {
                    if sealed.seq != whole.last_seq + 1 || sealed.prev != whole.head {
                        return Err(broken("a line before it is missing, doubled or moved"));
                    }
                    whole.lines += 1;
                    whole.last_seq = sealed.seq;
                    whole.head = sealed.hash;
                }
            }
        }
    }
    whole.ok_or_else(|| Broken::Nothing(path.to_owned()))
}
