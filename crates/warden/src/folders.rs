//! The folders of desks: made and handed over as root, emptied as the desk.
//!
//! Root goes into none of them. It makes an entry in a folder that is its own, gives it away, and removes it when the desk
//! itself, by the warden's hand, has emptied it.

use std::ffi::{CStr, CString};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};

use crate::request::DeskNumber;

/// What a desk has in its folder: its HOME, where it works, its temporary files, and what holds of its runs keep.
const PARTS: [&str; 4] = ["home", "work", "tmp", "run"];
/// So many names are read before the first is removed: a folder may have millions.
const NAMES_AT_ONCE: usize = 4096;

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

    /// Makes the desk's folder. One that was made and not handed over, because of a crash, is handed over now.
    pub(crate) fn make(&self, desk: DeskNumber) -> nix::Result<()> {
        let name = name_of(desk)?;
        match mkdirat(&self.all, &*name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(err) => return Err(err),
        }
        let about = fstatat(&self.all, &*name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let is_folder = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        if is_folder && about.st_uid == desk.user() {
            return Ok(());
        }
        if !is_folder || about.st_uid != 0 {
            return Err(Errno::EEXIST);
        }
        let (user, group) = (Uid::from_raw(desk.user()), Gid::from_raw(desk.user()));
        fchownat(&self.all, &*name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)
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

/// Makes what a desk has in its folder. Called as the desk: it may have put something else there, and harms itself.
pub(crate) fn furnish(folder: &Path) -> io::Result<()> {
    for part in PARTS {
        match DirBuilder::new().mode(0o700).create(folder.join(part)) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

/// Empties a desk's folder. Called as the warden's hand, when none of the desk's processes is left.
///
/// However deep the desk nested its folders, no more than two are open at once: what lies in a folder is moved up before
/// that is removed.
pub(crate) fn clear(folder: &Path) -> nix::Result<()> {
    match fchmodat(AT_FDCWD, folder, Mode::S_IRWXU, FchmodatFlags::FollowSymlink) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    }
    let top = open(AT_FDCWD, folder)?;
    let mut moved = 0;
    loop {
        let names = names_in(&top)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if is_unlinked(&top, &name)? {
                continue;
            }
            make_usable(&top, &name)?;
            let inner = open(&top, &*name)?;
            for child in names_in(&inner)? {
                if !is_unlinked(&inner, &child)? {
                    make_usable(&inner, &child)?;
                    move_up(&inner, &child, &top, &mut moved)?;
                }
            }
            match unlinkat(&top, &*name, UnlinkatFlags::RemoveDir) {
                // There was more than is read at once: the next round has the rest.
                Ok(()) | Err(Errno::ENOTEMPTY) => {}
                Err(err) => return Err(err),
            }
        }
    }
}

/// Removes whatever is no folder; `false`: it is one.
fn is_unlinked(dir: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::EISDIR | Errno::EPERM) => Ok(false),
        Err(err) => Err(err),
    }
}

/// A folder that its owner shut can be neither emptied nor moved. Nobody is left who could put a link in its place.
fn make_usable(dir: &OwnedFd, name: &CStr) -> nix::Result<()> {
    fchmodat(dir, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> nix::Result<()> {
    loop {
        *moved += 1;
        match renameat(from, name, top, format!("moved-{moved}").as_str()) {
            // The desk had a name like that.
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            other => return other,
        }
    }
}

fn open(dir: impl AsFd, name: &(impl nix::NixPath + ?Sized)) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn names_in(dir: &OwnedFd) -> nix::Result<Vec<CString>> {
    let mut listed = Dir::from_fd(open(dir, c".")?)?;
    let mut names = Vec::new();
    for entry in listed.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        if names.len() == NAMES_AT_ONCE {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a desk would")]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_is_emptied_whatever_its_desk_left_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let desk = dir.path().join("desk");
        let beside = dir.path().join("beside");
        std::fs::create_dir_all(desk.join("work/a/b")).unwrap();
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(beside.join("file"), "stays").unwrap();
        std::fs::write(desk.join("work/a/b/file"), "goes").unwrap();
        symlink(&beside, desk.join("work/link")).unwrap();
        symlink("/", desk.join("moved-1")).unwrap();
        std::fs::write(desk.join("moved-2"), "").unwrap();
        std::fs::create_dir_all(desk.join("moved-3/full")).unwrap();
        nix::unistd::mkfifo(&desk.join("work/pipe"), Mode::S_IRWXU).unwrap();
        // Deeper than a path or the list of open files may be.
        let mut at = open(AT_FDCWD, &desk).unwrap();
        for _ in 0..1200 {
            mkdirat(&at, c"deeper-and-deeper", Mode::S_IRWXU).unwrap();
            at = open(&at, c"deeper-and-deeper").unwrap();
        }
        for shut in ["work/a/b", "work/a", "work", ""] {
            std::fs::set_permissions(desk.join(shut), PermissionsExt::from_mode(0o000)).unwrap();
        }
        clear(&desk).unwrap();
        assert_eq!(std::fs::read_dir(&desk).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(beside.join("file")).unwrap(), "stays");
        clear(&dir.path().join("none")).unwrap();
    }

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
