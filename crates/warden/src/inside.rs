//! What is done to a desk, as the desk or as the warden's hand: ending its processes, making and emptying its folder. Nothing
//! here has a right of root's.

use std::ffi::{CStr, CString};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use crate::request::DeskNumber;

/// Exit code of a hand: processes of the desk are still there.
pub(crate) const EXIT_STILL_THERE: i32 = 75;

/// What a desk has in its folder: its HOME, where it works, its temporary files, and what holds of its runs keep.
const PARTS: [&str; 4] = ["home", "work", "tmp", "run"];
/// So many names are read before the first is removed: a folder may have millions.
const NAMES_AT_ONCE: usize = 4096;

/// How long processes that were killed may take to be gone: they may wait for a slow disk.
const LEAVE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Kills everything that the kernel lets this user kill, in one step in which nobody can fork, until nobody is left.
pub(crate) fn end_all(desk: DeskNumber) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        // It says nothing about whom it reached.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        if !is_somebody_left(desk)? {
            return Ok(true);
        }
        if begun.elapsed() > LEAVE {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a process of the desk's user runs, but for this one. Those that ended and were not collected do not count. Where the
/// machine hides processes (systemd's `ProtectProc`), one that keeps others from its memory is not seen until its memory is gone; it
/// was killed with all others.
fn is_somebody_left(desk: DeskNumber) -> io::Result<bool> {
    let own = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|it| it.bytes().all(|it| it.is_ascii_digit())) else {
            continue;
        };
        // Gone meanwhile is gone.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        if pid != own && is_of(&status, desk) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_of(status: &str, desk: DeskNumber) -> bool {
    let field = |name: &str| status.lines().find_map(|it| it.strip_prefix(name));
    let is_dead = field("State:").is_some_and(|it| it.trim_start().starts_with(['Z', 'X']));
    let user = desk.user().to_string();
    !is_dead && field("Uid:").is_some_and(|it| it.split_whitespace().any(|it| it == user))
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

    use nix::sys::stat::mkdirat;

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
    fn a_process_is_the_desks_by_any_of_its_users_while_it_runs() {
        let desk = DeskNumber::try_from(7).unwrap();
        let status =
            |state: &str, users: &str| format!("Name:\tsh\nState:\t{state}\nUid:\t{users}\n");
        assert!(is_of(&status("S (sleeping)", "20007\t20007\t20007\t20007"), desk));
        assert!(is_of(&status("R (running)", "1\t1\t20007\t1"), desk));
        assert!(!is_of(&status("Z (zombie)", "20007\t20007\t20007\t20007"), desk));
        assert!(!is_of(&status("S (sleeping)", "20008\t20008\t20008\t20008"), desk));
        // A name that its process chose itself.
        assert!(!is_of("Name:\tUid:\\t20007\nState:\tS\nUid:\t1\t1\t1\t1\n", desk));
    }
}
