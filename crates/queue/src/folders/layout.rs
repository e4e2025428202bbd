//! The folders: where each place lies, what is checked before the first message, and how a stage is listed.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::posix_fallocate;
use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};
use tinyclaw_disk::{
    DiskError, Flush, Lock, LockError, Room, read, read_dir, remove, rename, replace, write_new,
};
use tinyclaw_domain::StateDir;

use crate::error::{Fault, OpenError};
use crate::{Options, Place, Side, name};

/// How the file begins that tries the moves at start. A process that dies at start leaves one for the next to remove.
pub(super) const PROBE: &str = ".probe-";

const FORMAT: &str = "{\"v\":1}";
/// Group-writable, and new files keep the group: telegram and processor may run as different users of one group.
const FOLDER_MODE: u32 = 0o2770;

/// The queue's folders. Knows paths, and is the only one that does.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    /// The stages as open paths are joined often; made once.
    places: [PathBuf; 7],
}

impl Folders {
    /// The folders below a state folder, unchecked: for readers, which make and probe nothing.
    pub(super) fn of(state: &Path) -> Arc<Folders> {
        let root = StateDir::new(state).queue();
        let places = Place::ALL.map(|it| root.join(it.as_str()));
        Arc::new(Folders { root, places })
    }

    /// The folders, made where missing and checked.
    pub(super) fn prepare(state: &Path, options: &Options) -> Result<Arc<Folders>, OpenError> {
        let folders = Folders::of(state);
        let own = [folders.root.clone(), folders.root.join("tmp"), folders.root.join("lanes")];
        for path in own.iter().chain(&folders.places) {
            make_folder(path)?;
        }
        folders.check_file_system(options)?;
        // Services start together: what follows is done by one of them at a time, and the others find it done.
        let _opening = Lock::take(&folders.root.join("OPEN"))
            .map_err(|err| OpenError::Alone { source: Fault::of(err) })?;
        folders.check_format()?;
        folders.check_one_mount()?;
        folders.settle_after_boot()?;
        folders.fill_reserve(options.reserve_bytes);
        Ok(folders)
    }

    /// After a power cut a file system that does not keep a rename whole may show a message in two places. Once a boot,
    /// whatever has a later sighting of itself is removed: the further place wins.
    ///
    /// Safe beside others at work: a message that merely moves is never in two places, so what was seen first and
    /// moved on meanwhile is not there to be removed.
    pub(super) fn settle_after_boot(&self) -> Result<(), OpenError> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let marker = self.root.join("BOOT");
        if !boot.is_empty() && fs::read_to_string(&marker).is_ok_and(|it| it == boot) {
            return Ok(());
        }
        let mut latest: HashMap<String, (u64, Place, PathBuf)> = HashMap::new();
        for place in Place::ALL {
            self.scan_files(place, |dir, text, parts| {
                let path = dir.join(text);
                let message = format!("{}~{}", parts.order, parts.key);
                let sighting = (parts.epoch, place, path);
                let earlier = match latest.get(&message) {
                    Some(known) if (known.0, known.1) > (parts.epoch, place) => {
                        Some((sighting.2, known.2.clone()))
                    }
                    _ => latest.insert(message, sighting.clone()).map(|it| (it.2, sighting.2)),
                };
                if let Some((earlier, later)) = earlier
                    && later.exists()
                    && remove(&earlier).is_ok()
                {
                    tracing::warn!(
                        "{} was left twice by a power cut; the later one stays",
                        later.display()
                    );
                }
            })?;
        }
        replace(&marker, boot.as_bytes(), Flush::Strict).map_err(begin)
    }

    /// Held by whoever takes a message out of `dead/` or `quarantine/`, for good or to be worked on again. It is the lock
    /// of those who open the queue: both are rare and short, and a file of its own would be one more on disk.
    pub(super) fn given_up_lock(&self) -> Result<Lock, LockError> {
        Lock::take(&self.root.join("OPEN"))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn place(&self, place: Place) -> &Path {
        &self.places[place as usize]
    }

    pub(super) fn file(&self, place: Place, name: &str) -> PathBuf {
        self.place(place).join(name)
    }

    pub(super) fn reason(&self, place: Place, name: &str) -> PathBuf {
        self.place(place).join(format!("{name}.reason"))
    }

    pub(super) fn tmp(&self, name: &str) -> PathBuf {
        let mut path = self.root.join("tmp");
        path.push(name);
        path
    }

    pub(super) fn lane(&self, side: Side, lane: &str) -> PathBuf {
        self.root.join(format!("lanes/{}-{lane}", side.as_str()))
    }

    /// The folder of `done/` for a moment.
    pub(super) fn done(&self, now_ms: u64) -> PathBuf {
        self.place(Place::Done).join(day(now_ms))
    }

    /// Makes it, unless it is there.
    pub(super) fn make_done(&self, now_ms: u64) -> Result<(), DiskError> {
        let path = self.done(now_ms);
        match DirBuilder::new().mode(FOLDER_MODE).create(&path) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(DiskError { step: "make folder", path, source })
            }
            _ => Ok(()),
        }
    }

    /// The days that `done/` remembers, oldest first.
    pub(super) fn done_days(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let mut days = Vec::new();
        for entry in read_dir(self.place(Place::Done))? {
            let entry = entry?;
            if let Ok(day) = entry.file_name().into_string()
                && day.len() == 8
                && day.bytes().all(|it| it.is_ascii_digit())
            {
                days.push((day, entry.path()));
            }
        }
        days.sort_unstable();
        Ok(days)
    }

    /// Calls `each` with every well-formed name in a place. Other names are none of a scan's business.
    pub(super) fn scan(
        &self,
        place: Place,
        mut each: impl FnMut(&str, name::Parts<'_>),
    ) -> Result<(), OpenError> {
        self.scan_files(place, |_, text, parts| each(text, parts))
    }

    fn scan_files(
        &self,
        place: Place,
        mut each: impl FnMut(&Path, &str, name::Parts<'_>),
    ) -> Result<(), OpenError> {
        let dirs = match place {
            Place::Done => {
                self.done_days().map(|it| it.into_iter().map(|(_, path)| path).collect())
            }
            other => Ok(vec![self.place(other).to_owned()]),
        };
        for dir in dirs.map_err(|err| OpenError::unlisted(self.place(place), err))? {
            let entries = match read_dir(&dir) {
                // A day that was reaped between the two listings.
                Err(err) if err.kind() == io::ErrorKind::NotFound && place == Place::Done => {
                    continue;
                }
                other => other.map_err(|err| OpenError::unlisted(&dir, err))?,
            };
            for entry in entries {
                let file_name = entry.map_err(|err| OpenError::unlisted(&dir, err))?.file_name();
                if let Some(text) = file_name.to_str()
                    && let Some(parts) = name::parts(text)
                {
                    each(&dir, text, parts);
                }
            }
        }
        Ok(())
    }

    /// The share of the disk that is free and the bytes of it, for people and not only for root.
    pub(super) fn free(&self) -> io::Result<(f64, u64)> {
        let disk = Room::of(&self.root)?;
        Ok((disk.share(), disk.available))
    }

    /// Makes the reserve when it is missing. Best effort: without it only the last answers on a full disk suffer.
    pub(super) fn fill_reserve(&self, bytes: u64) {
        let path = self.root.join("reserve.bin");
        if bytes == 0 || path.exists() {
            return;
        }
        // Two processes may make it at once: one of them finds it there, which is as good.
        let Ok(file) = write_new(&path, &[]) else { return };
        if posix_fallocate(&file, 0, bytes as i64).is_err() {
            let _ = remove(&path);
        }
    }

    /// Gives the reserve's room to whoever has an answer to write.
    pub(super) fn release_reserve(&self) -> bool {
        let path = self.root.join("reserve.bin");
        path.exists() && remove(&path).is_ok()
    }

    fn check_file_system(&self, options: &Options) -> Result<(), OpenError> {
        let kind = statfs(&self.root)
            .map_err(|err| OpenError::FileSystem {
                folder: told(&self.root),
                source: Fault::of(io::Error::from(err)),
            })?
            .filesystem_type();
        if is_network(kind.0 as u32) {
            if !options.allow_network_disk {
                return Err(OpenError::NetworkDisk { folder: told(&self.root) });
            }
            tracing::warn!(
                "the queue lies on a network file system, as queue.allowNetworkDisk says: its locks hang on a server"
            );
        }
        if kind == FUSE_SUPER_MAGIC {
            tracing::warn!(
                "the queue lies on a FUSE file system; changes may be seen only by the sweep"
            );
        }
        Ok(())
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let path = self.root.join("FORMAT");
        let text = read(&path).map(|it| String::from_utf8_lossy(&it).into_owned());
        match text {
            Ok(found) if found.trim() == FORMAT => Ok(()),
            Ok(found) => {
                let found = found.trim().chars().take(40).collect();
                Err(OpenError::OtherFormat { place: told(&path), found })
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                replace(&path, format!("{FORMAT}\n").as_bytes(), Flush::Strict).map_err(begin)
            }
            Err(err) => Err(OpenError::unlisted(&path, err)),
        }
    }

    /// Tries the move that every message makes, from `tmp/` into every place and back. By one process at a time, so the
    /// file has one name, and what an earlier one left behind when it died is taken away by the next.
    fn check_one_mount(&self) -> Result<(), OpenError> {
        let probe = format!("{PROBE}move");
        let home = self.tmp(&probe);
        for place in &self.places {
            remove(&place.join(&probe)).map_err(begin)?;
        }
        remove(&home).map_err(begin)?;
        drop(write_new(&home, b"").map_err(begin)?);
        for place in &self.places {
            let there = place.join(&probe);
            rename(&home, &there).map_err(|err| OpenError::TwoMounts {
                folder: told(place),
                source: Fault::of(err),
            })?;
            rename(&there, &home).map_err(begin)?;
        }
        remove(&home).map_err(begin)
    }
}

/// Whether a file system of this magic number is somebody else's over a network.
fn is_network(magic: u32) -> bool {
    const NFS: u32 = 0x6969;
    const SMB_OF_OLD: u32 = 0x517B;
    const CIFS: u32 = 0xFF53_4D42;
    const SMB2: u32 = 0xFE53_4D42;
    [NFS, SMB_OF_OLD, CIFS, SMB2].contains(&magic)
}

fn make_folder(path: &Path) -> Result<(), OpenError> {
    match DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path) {
        Ok(()) => {
            // The mode given above is cut by the umask. Best effort: a folder of somebody else's stays as it is.
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE));
            Ok(())
        }
        Err(err) => Err(OpenError::MakeFolder { folder: told(path), source: Fault::of(err) }),
    }
}

fn told(path: &Path) -> String {
    path.display().to_string()
}

fn begin(err: DiskError) -> OpenError {
    OpenError::Begin { source: Fault::of(err) }
}

impl OpenError {
    pub(super) fn unlisted(folder: &Path, err: io::Error) -> OpenError {
        OpenError::List { folder: told(folder), source: Fault::of(err) }
    }
}

/// `YYYYMMDD` of a moment, UTC: the name of a folder in `done/`.
pub(super) fn day(now_ms: u64) -> String {
    // Days to civil date, after the proleptic Gregorian calendar with years beginning in March.
    let days = (now_ms / 86_400_000) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_another_machine_is_known_by_its_magic() {
        for (magic, what) in
            [(0x6969, "nfs"), (0x517B, "smbfs"), (0xFF53_4D42, "cifs"), (0xFE53_4D42, "smb2")]
        {
            assert!(is_network(magic), "{what}");
        }
        for (magic, what) in [
            (0xEF53, "ext4"),
            (0x5846_5342, "xfs"),
            (0x0102_1994, "tmpfs"),
            (0x794C_7630, "overlay"),
        ] {
            assert!(!is_network(magic), "{what}");
        }
    }

    #[test]
    fn a_day_is_named_after_its_date() {
        for (ms, name) in [
            (0, "19700101"),
            (951_782_400_000, "20000229"),
            (1_771_234_567_890, "20260216"),
            (1_798_761_599_999, "20261231"),
        ] {
            assert_eq!(day(ms), name);
        }
    }
}
