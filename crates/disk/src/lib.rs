#![doc = include_str!("../README.md")]

mod append;
mod lock;
#[cfg(feature = "record")]
pub mod record;
mod steps;

pub use append::{Appender, Rotation, segment_path, segments};
pub use lock::{Lock, LockError};
pub use steps::{
    DiskError, Flush, remove, rename, rename_no_replace, replace, replace_through, sync_dir,
    sync_file, write_new,
};
