//! How much room a disk has.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// The room of the file system on which a path lies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All of it.
    pub total: u64,
    /// What files take.
    pub used: u64,
    /// What anybody may still take, and not only root.
    pub available: u64,
}

impl Room {
    /// The room where `path` lies.
    pub fn of(path: &Path) -> io::Result<Room> {
        let stat = statvfs(path)?;
        let unit = stat.fragment_size();
        let total = stat.blocks() * unit;
        Ok(Room {
            total,
            used: total.saturating_sub(stat.blocks_free() * unit),
            available: stat.blocks_available() * unit,
        })
    }

    /// What share of it anybody may still take, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.available as f64 / (self.total as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_room_and_a_missing_path_is_an_error() {
        let room = Room::of(Path::new("/")).unwrap();
        assert!(room.used + room.available <= room.total && (0.0..=1.0).contains(&room.share()));
        assert_eq!(Room::of(Path::new("/none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
