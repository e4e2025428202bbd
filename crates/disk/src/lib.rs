#![doc = include_str!("../README.md")]

mod append;
mod backwards;
pub mod follow;
pub mod foreign;
mod lock;
mod reading;
mod room;
mod steps;
#[cfg(feature = "testing")]
pub mod testing;

pub use append::{Appender, Rotation, segment_path, segments};
pub use backwards::{Backwards, LINE_BYTES_MAX, StoredLine, backwards};
pub use lock::{Lock, LockError, NOTE_BYTES_MAX};
pub use reading::{Listing, open_to_read, read, read_dir, read_to_end, read_with_metadata};
pub use room::Room;
pub use steps::{
    DiskError, Flush, append_at, exchange, remove, rename, rename_no_replace, replace,
    replace_through, sync_dir, sync_file, sync_path, write_new,
};
