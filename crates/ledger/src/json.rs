//! Small JSON files, written whole and read whole.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tinyclaw_disk::{DiskError, Flush, replace};

/// A JSON file that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else than expected.
    #[error("cannot make sense of {}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// Replaces the file as a whole. Readers see the old value or the new one.
pub fn save<T: Serialize + ?Sized>(path: &Path, value: &T, flush: Flush) -> Result<(), JsonError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| JsonError::Shape { path: path.to_owned(), source })?;
    bytes.push(b'\n');
    Ok(replace(path, &bytes, flush)?)
}

/// The file's value, or `None` when there is no file.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, JsonError> {
    let bytes = match tinyclaw_disk::read(path) {
        Ok(bytes) => bytes,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(JsonError::Read { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| JsonError::Shape { path: path.to_owned(), source })
}
