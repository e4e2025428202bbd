//! Which folders an agent may be given: opened without following a link, and told apart by what they are.
//!
//! A path says where something was; a descriptor is what it is. The launcher and the leash both ask here, so that neither
//! has to believe what the other one compared. Nothing inside the state folder is given away, nor what contains it, but
//! for the places of a desk of its own.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use tinyclaw_disk::foreign::{ForeignError, open_dir_below, open_path_below};

/// Folders of the state in which a desk has one of its own, named like its thread.
const OWN: [&str; 2] = ["files", "home"];
/// No tree is deeper: `..` of the top is the top.
const DEPTH_MAX: usize = 4096;

/// How a folder lies to the state folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Neither is in the other.
    Beside,
    /// The state folder is in it.
    Around,
    /// It is the state folder, or in it.
    Inside,
}

/// Opens what an absolute path names, without following any link, for naming it only.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, ForeignError> {
    match path.strip_prefix("/") {
        Ok(below) => open_path_below(Path::new("/"), below),
        Err(_) => Err(ForeignError::Outside(path.to_owned())),
    }
}

/// The part of a path below the state folder, if it names a place that this desk has there for itself.
pub(crate) fn own<'a>(path: &'a Path, state: &Path, desk: &str) -> Option<&'a Path> {
    let below = path.strip_prefix(state).ok()?;
    let mut parts = below.iter();
    let is_own = parts.next().is_some_and(|it| OWN.iter().any(|own| it == *own))
        && parts.next() == Some(OsStr::new(desk));
    is_own.then_some(below)
}

/// Opens a desk's own place below the state folder.
pub(crate) fn open_own(state: &Path, below: &Path) -> Result<OwnedFd, ForeignError> {
    let is_own = below.iter().count() >= 2
        && below.iter().next().is_some_and(|it| OWN.iter().any(|own| it == *own));
    if !is_own {
        return Err(ForeignError::Outside(state.join(below)));
    }
    open_dir_below(state, below)
}

/// How what was opened lies to the state folder.
pub(crate) fn relation(opened: &OwnedFd, state: &OwnedFd) -> io::Result<Relation> {
    let is_folder = is_folder(&fstat(opened)?);
    let folder = if is_folder { opened.try_clone()? } else { folder_of(opened)? };
    if is_below(&folder, state)? {
        return Ok(Relation::Inside);
    }
    if is_folder && is_below(state, &folder)? {
        return Ok(Relation::Around);
    }
    Ok(Relation::Beside)
}

/// Whether two descriptors are of the same thing.
pub(crate) fn is_same(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

pub(crate) fn is_folder(about: &FileStat) -> bool {
    SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Where the kernel says that something is now; for messages, and to find its folder.
pub(crate) fn place_of(opened: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    place_of_number(opened.as_raw_fd())
}

/// Where the descriptor of this number leads, for words only.
pub(crate) fn place_of_number(number: i32) -> PathBuf {
    let link = format!("/proc/self/fd/{number}");
    std::fs::read_link(&link).unwrap_or_else(|_| PathBuf::from(link))
}

/// What lies in a folder, without its links: one may lead anywhere, and is not what was given.
pub(crate) fn children(folder: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listed = Dir::openat(folder, ".", flags, Mode::empty())?;
    let mut found = Vec::new();
    for entry in listed.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Gone again, or not for us.
        let Ok(child) = openat(folder, name, flags, Mode::empty()) else { continue };
        let kind = SFlag::from_bits_truncate(fstat(&child)?.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFLNK {
            found.push(child);
        }
    }
    Ok(found)
}

/// The folder that a file lies in: opened by the file's present name, and believed only if the file is there.
fn folder_of(file: &OwnedFd) -> io::Result<OwnedFd> {
    let place = place_of(file);
    let moved = || {
        let text = format!("{} was moved meanwhile", place.display());
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    let (Some(folder), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(moved());
    };
    let folder = open(folder).map_err(io::Error::other)?;
    let there =
        openat(&folder, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if is_same(&there, file)? { Ok(folder) } else { Err(moved()) }
}

/// Whether a folder is another one, or lies in it: by walking up.
fn is_below(folder: &OwnedFd, other: &OwnedFd) -> io::Result<bool> {
    let mut at = folder.try_clone()?;
    for _ in 0..DEPTH_MAX {
        if is_same(&at, other)? {
            return Ok(true);
        }
        let up = openat(
            &at,
            "..",
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        if is_same(&up, &at)? {
            return Ok(false);
        }
        at = up;
    }
    Err(io::Error::other("the folders are nested too deeply"))
}

/// Opens again what was handed over under this number, so that it is closed on exec.
pub(crate) fn reopen(number: i32, flags: OFlag) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{number}");
    Ok(openat(AT_FDCWD, path.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_told_by_what_it_is_and_not_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for it in ["ada/state/queue", "ada/state/files/7", "ada/desk"] {
            std::fs::create_dir_all(root.join(it)).unwrap();
        }
        std::fs::write(root.join("ada/state/threads.json"), "{}").unwrap();
        std::fs::write(root.join("ada/note"), "").unwrap();
        symlink(root.join("ada/state/queue"), root.join("ada/link")).unwrap();
        let state = open(&root.join("ada/state")).unwrap();
        let told = |below: &str| relation(&open(&root.join(below)).unwrap(), &state).unwrap();
        assert_eq!(told("ada/desk"), Relation::Beside);
        assert_eq!(told("ada/note"), Relation::Beside);
        assert_eq!(told("ada"), Relation::Around);
        for inside in
            ["ada/state", "ada/state/queue", "ada/state/files/7", "ada/state/threads.json"]
        {
            assert_eq!(told(inside), Relation::Inside, "{inside}");
        }
        assert!(matches!(open(&root.join("ada/link")), Err(ForeignError::Link(_))));
        assert!(matches!(open(&root.join("ada/link/x")), Err(ForeignError::Link(_))));
    }

    #[test]
    fn a_desk_has_only_what_is_named_like_it() {
        let state = Path::new("/state");
        let own = |path: &str| own(Path::new(path), state, "7").map(|it| it.display().to_string());
        assert_eq!(own("/state/files/7"), Some("files/7".to_owned()));
        assert_eq!(own("/state/home/7/.claude"), Some("home/7/.claude".to_owned()));
        for other in
            ["/state", "/state/files", "/state/files/8", "/state/queue/7", "/elsewhere/files/7"]
        {
            assert_eq!(own(other), None, "{other}");
        }
    }
}
