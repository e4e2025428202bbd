//! The folders of desks: made and handed over as root; what is done in them stands in `inside.rs`.
//!
//! Root goes into none of them. It makes an entry in a folder that is its own, gives it away, and removes it when the desk
//! itself, by the warden's hand, has emptied it.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};

use crate::request::DeskNumber;

/// What the office shows all desks, beside their folders: its own, and theirs to read as far as it says so.
const OFFICE: &CStr = c"office";

/// The folder that has one of each desk.
#[derive(Debug)]
pub(crate) struct Folders {
    all: OwnedFd,
    path: PathBuf,
}

impl Folders {
    /// Opens it, if nobody but root can change what is in it, and others can pass through it.
    pub(crate) fn open(path: &Path) -> io::Result<Folders> {
        // For naming what is in it only: there is nothing here that root has to read.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let all = openat(AT_FDCWD, path, flags, Mode::empty())
            .map_err(|err| io::Error::other(format!("cannot open {}: {err}", path.display())))?;
        let about = fstat(&all)?;
        let mode = about.st_mode & 0o7777;
        if about.st_uid != 0 || mode & 0o022 != 0 || mode & 0o001 == 0 {
            let (path, user) = (path.display(), about.st_uid);
            return Err(io::Error::other(format!(
                "{path} is user {user}'s with mode {mode:o}: desks need a folder of root's, mode 711"
            )));
        }
        Ok(Folders { all, path: path.to_owned() })
    }

    /// Where a desk's folder is.
    pub(crate) fn of(&self, desk: DeskNumber) -> PathBuf {
        self.path.join(desk.to_string())
    }

    /// Makes the desk's folder.
    pub(crate) fn make(&self, desk: DeskNumber) -> nix::Result<()> {
        self.make_of(&name_of(desk)?, desk.user())
    }

    /// Makes the folder of what the office shows all desks.
    pub(crate) fn make_of_office(&self, user: u32) -> nix::Result<()> {
        self.make_of(OFFICE, user)
    }

    /// Makes a folder of this user's. One that was made and not handed over, because of a crash, is handed over now.
    fn make_of(&self, name: &CStr, user: u32) -> nix::Result<()> {
        match mkdirat(&self.all, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(err) => return Err(err),
        }
        let about = fstatat(&self.all, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let is_folder = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        if is_folder && about.st_uid == user {
            return Ok(());
        }
        if !is_folder || about.st_uid != 0 {
            return Err(Errno::EEXIST);
        }
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
        fchownat(&self.all, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Removes the desk's folder, which is empty.
    pub(crate) fn remove(&self, desk: DeskNumber) -> nix::Result<()> {
        match unlinkat(&self.all, &*name_of(desk)?, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(err) => Err(err),
        }
    }
}

fn name_of(desk: DeskNumber) -> nix::Result<CString> {
    CString::new(desk.to_string()).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay folders down as an operator would")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_may_change_is_not_taken_for_the_desks() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o700, 0o733, 0o777, 0o771] {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
            let err = Folders::open(dir.path()).unwrap_err().to_string();
            assert!(err.contains("desks need a folder of root's, mode 711"), "{mode:o}: {err}");
        }
    }
}
