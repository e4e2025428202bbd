//! Opening what somebody else may have made: a file that an agent, a devbox or a container left where we look. And
//! writing where somebody else may write too.
//!
//! Below the folder that is trusted no link is followed, not even one in the middle of the way; nothing but a regular
//! file is opened; opening never waits (a pipe would), and reading ends at a limit. What does not fit is an error that
//! says which of these it was. Every file that an agent could have written is opened here and nowhere else.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::reading::{Whole, read_to_end};

/// A regular file that was reached without a link, open for reading.
#[derive(Debug)]
pub struct Foreign {
    file: File,
    about: Metadata,
    path: PathBuf,
}

/// Why a file that somebody else may have made was not opened, or not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It is not there.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// It, or a folder on the way to it, is a link.
    #[error("{} is a link, or lies behind one", .0.display())]
    Link(PathBuf),
    /// It is a folder, a pipe, a socket or a device.
    #[error("{} is no regular file", .0.display())]
    NotAFile(PathBuf),
    /// It should be a folder.
    #[error("{} is no folder", .0.display())]
    NotAFolder(PathBuf),
    /// Its name leads out of the folder that it was looked for in.
    #[error("{} leads out of its folder", .0.display())]
    Outside(PathBuf),
    /// There is more of it than we are willing to read.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// The disk does not want to.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// What was tried, as a word that follows "cannot".
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl ForeignError {
    /// Whether there is nothing under this name.
    pub fn is_missing(&self) -> bool {
        matches!(self, ForeignError::Missing(_))
    }
}

/// Opens the regular file `below` a folder that is trusted. `below` is relative and may have several parts; none of
/// them may be a link, `..` or a root.
pub fn open_below(root: &Path, below: &Path) -> Result<Foreign, ForeignError> {
    let path = root.join(below);
    let fd = open_beneath(root, below, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
    let file = File::from(fd);
    let about = file.metadata().map_err(io_at("look at", &path))?;
    if !about.is_file() {
        return Err(ForeignError::NotAFile(path));
    }
    Ok(Foreign { file, about, path })
}

/// Opens a folder `below` one that is trusted, under the rules of [`open_below`]; an empty `below` is the folder itself.
pub fn open_dir_below(root: &Path, below: &Path) -> Result<OwnedFd, ForeignError> {
    open_beneath(root, below, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// Opens whatever lies `below` a folder that is trusted, for naming it only (`O_PATH`), under the rules of [`open_below`]
/// but for that it may be anything except a link.
pub fn open_path_below(root: &Path, below: &Path) -> Result<OwnedFd, ForeignError> {
    open_beneath(root, below, OFlag::O_PATH)
}

/// Reads the whole of a file [`open_below`] a trusted folder.
pub fn read_below(root: &Path, below: &Path, bytes_max: u64) -> Result<Vec<u8>, ForeignError> {
    open_below(root, below)?.read(bytes_max)
}

/// Makes the folder `below` one that is trusted, and those on the way to it, with this mode. What is there already stays
/// as it is; a link or a file on the way is refused under the rules of [`open_below`].
pub fn make_dir_below(root: &Path, below: &Path, mode: u32) -> Result<OwnedFd, ForeignError> {
    let mut dir = open_dir_below(root, Path::new(""))?;
    let mut path = root.to_owned();
    for part in below.components() {
        let Component::Normal(name) = part else {
            return Err(ForeignError::Outside(root.join(below)));
        };
        path.push(name);
        match mkdirat(&dir, name, Mode::from_bits_truncate(mode)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(err) => return Err(io_at("make", &path)(err.into())),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        dir = match openat(&dir, name, flags, Mode::empty()) {
            Ok(it) => it,
            Err(Errno::ENOTDIR) if is_link(&dir, name) => return Err(ForeignError::Link(path)),
            Err(err) => return Err(refused(err, path)),
        };
    }
    Ok(dir)
}

/// Puts a file with this mode `below` a folder that is trusted, whole or not at all, and makes the folders on the way to
/// it for its owner alone. What was there under the name is replaced, a link too; one on the way is refused.
pub fn replace_below(
    root: &Path,
    below: &Path,
    bytes: &[u8],
    mode: u32,
) -> Result<(), ForeignError> {
    let path = root.join(below);
    let (Some(folder), Some(name)) = (below.parent(), below.file_name()) else {
        return Err(ForeignError::Outside(path));
    };
    let dir = make_dir_below(root, folder, 0o700)?;
    let mut half = name.to_owned();
    half.push(".tmp");
    match unlinkat(&dir, half.as_os_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(err) => return Err(io_at("replace", &path)(err.into())),
    }
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(&dir, half.as_os_str(), flags, Mode::from_bits_truncate(mode));
    let mut file = File::from(file.map_err(|err| io_at("write", &path)(err.into()))?);
    file.write_all(bytes).map_err(io_at("write", &path))?;
    renameat(&dir, half.as_os_str(), &dir, name).map_err(|err| io_at("replace", &path)(err.into()))
}

/// Removes a file `below` a folder that is trusted; a link under the name goes, one on the way is refused. `false`: there
/// was none.
pub fn remove_below(root: &Path, below: &Path) -> Result<bool, ForeignError> {
    let path = root.join(below);
    let (Some(folder), Some(name)) = (below.parent(), below.file_name()) else {
        return Err(ForeignError::Outside(path));
    };
    let dir = match open_dir_below(root, folder) {
        Err(err) if err.is_missing() => return Ok(false),
        other => other?,
    };
    match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(err) => Err(io_at("remove", &path)(err.into())),
    }
}

/// What lies in a folder `below` one that is trusted, opened under the rules of [`open_below`]: the names, sorted.
pub fn names_below(root: &Path, below: &Path) -> Result<Vec<std::ffi::OsString>, ForeignError> {
    let dir = open_dir_below(root, below)?;
    let path = root.join(below);
    // By the descriptor, so that the folder cannot be another one by now.
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let mut names = Vec::new();
    for entry in entries.map_err(io_at("list", &path))? {
        names.push(entry.map_err(io_at("list", &path))?.file_name());
    }
    names.sort();
    Ok(names)
}

impl Foreign {
    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was known about it when it was opened.
    pub fn about(&self) -> &Metadata {
        &self.about
    }

    /// All of it, unless that is more than `bytes_max`.
    pub fn read(self, bytes_max: u64) -> Result<Vec<u8>, ForeignError> {
        let Foreign { file, about, path } = self;
        let too_large = |path| ForeignError::TooLarge { path, bytes_max };
        if about.len() > bytes_max {
            return Err(too_large(path));
        }
        // It may grow while we read.
        let limit = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let bytes = read_to_end(&file, &about, limit).map_err(io_at("read", &path))?;
        if bytes.len() as u64 > bytes_max {
            return Err(too_large(path));
        }
        Ok(bytes)
    }

    /// Its lines, without their ends, one at a time: no more than `bytes_max` of the file, and no line longer than
    /// `line_max`, which is skipped and comes as `None`.
    pub fn lines(self, bytes_max: u64, line_max: usize) -> Result<Lines, ForeignError> {
        if self.about.len() > bytes_max {
            return Err(ForeignError::TooLarge { path: self.path, bytes_max });
        }
        let whole = Whole::new(self.file, self.about.len(), bytes_max);
        let reader = BufReader::new(whole);
        Ok(Lines { reader, path: self.path, line_max })
    }

    /// The open file itself, for whoever streams it and keeps a limit of their own.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// The lines of a [`Foreign`] file.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<io::Take<Whole>>,
    path: PathBuf,
    line_max: usize,
}

impl Iterator for Lines {
    type Item = Result<Option<Vec<u8>>, ForeignError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let mut is_too_long = false;
        let mut is_anything = false;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(it) => it,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Some(Err(io_at("read", &self.path)(err))),
            };
            if chunk.is_empty() {
                break;
            }
            is_anything = true;
            let end = memchr::memchr(b'\n', chunk);
            let taken = end.unwrap_or(chunk.len());
            if line.len() + taken > self.line_max {
                (is_too_long, line) = (true, Vec::new());
            }
            if !is_too_long {
                line.extend_from_slice(&chunk[..taken]);
            }
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                break;
            }
        }
        is_anything.then(|| Ok((!is_too_long).then_some(line)))
    }
}

/// Opens what lies at `below`, beneath `root` and behind no link.
fn open_beneath(root: &Path, below: &Path, flags: OFlag) -> Result<OwnedFd, ForeignError> {
    let path = root.join(below);
    if below.components().any(|it| !matches!(it, Component::Normal(_) | Component::CurDir)) {
        return Err(ForeignError::Outside(path));
    }
    let flags = flags | OFlag::O_CLOEXEC;
    // The folder that is trusted may be a link itself: whoever set things up put it there.
    let trusted = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root_fd = openat(nix::fcntl::AT_FDCWD, root, trusted, Mode::empty());
    let root_fd = root_fd.map_err(|err| refused(err, root.to_owned()))?;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    match openat2(&root_fd, below, how) {
        // Before Linux 5.6, and where a container's filter has not heard of it.
        Err(Errno::ENOSYS | Errno::EPERM) => walk(root_fd, below, flags),
        other => other,
    }
    .map_err(|err| refused(err, path))
}

/// The same, one part of the path after the other.
fn walk(mut dir: OwnedFd, below: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let mut parts = below.components().peekable();
    while let Some(part) = parts.next() {
        let flags = match parts.peek() {
            Some(_) => OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            None => flags,
        };
        let opened =
            openat(dir.as_fd(), part.as_os_str(), flags | OFlag::O_NOFOLLOW, Mode::empty());
        dir = opened.map_err(|err| match err {
            // What the kernel says of a link where a folder is wanted.
            Errno::ENOTDIR if is_link(&dir, part.as_os_str()) => Errno::ELOOP,
            other => other,
        })?;
    }
    // Opened for naming it only, a link is opened itself.
    match is_of(&dir, nix::libc::S_IFLNK) {
        true => Err(Errno::ELOOP),
        false => Ok(dir),
    }
}

fn is_of(opened: &OwnedFd, kind: nix::libc::mode_t) -> bool {
    nix::sys::stat::fstat(opened).is_ok_and(|it| it.st_mode & nix::libc::S_IFMT == kind)
}

fn is_link(dir: &OwnedFd, name: &std::ffi::OsStr) -> bool {
    let about = nix::sys::stat::fstatat(dir, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW);
    about.is_ok_and(|it| it.st_mode & nix::libc::S_IFMT == nix::libc::S_IFLNK)
}

fn refused(err: Errno, path: PathBuf) -> ForeignError {
    match err {
        Errno::ENOENT => ForeignError::Missing(path),
        Errno::ELOOP => ForeignError::Link(path),
        Errno::EXDEV => ForeignError::Outside(path),
        Errno::ENOTDIR => ForeignError::NotAFolder(path),
        // A socket, or a device that is not there.
        Errno::ENXIO | Errno::ENODEV => ForeignError::NotAFile(path),
        other => ForeignError::Io { step: "open", path, source: other.into() },
    }
}

fn io_at<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ForeignError + 'a {
    move |source| ForeignError::Io { step, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A trusted folder with everything in it that a stranger might leave, and a secret beside it.
    fn strange() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("desk");
        std::fs::create_dir_all(root.join("in/side")).unwrap();
        std::fs::write(dir.path().join("secret"), "hush").unwrap();
        std::fs::write(root.join("in/side/plain"), "one\ntwo\n").unwrap();
        symlink(dir.path().join("secret"), root.join("link")).unwrap();
        symlink("in/side/plain", root.join("near")).unwrap();
        symlink(dir.path(), root.join("out")).unwrap();
        symlink("in", root.join("elsewhere")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
        drop(UnixListener::bind(root.join("socket")).unwrap());
        File::create(root.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        (dir, root)
    }

    /// What became of it, in a word, by `openat2` and step by step alike.
    #[track_caller]
    fn check(root: &Path, below: &str, wanted: &str) {
        let word = |it: &ForeignError| match it {
            ForeignError::Missing(_) => "missing",
            ForeignError::Link(_) => "link",
            ForeignError::NotAFile(_) => "not a file",
            ForeignError::NotAFolder(_) => "not a folder",
            ForeignError::Outside(_) => "outside",
            ForeignError::TooLarge { .. } => "too large",
            ForeignError::Io { .. } => "io",
        };
        let found = read_below(root, Path::new(below), 100);
        let found = found.as_ref().map_or_else(word, |_| "read");
        assert_eq!(found, wanted, "{below}");
        if wanted == "link" || wanted == "missing" {
            let dir = openat(nix::fcntl::AT_FDCWD, root, OFlag::O_PATH, Mode::empty()).unwrap();
            let slow = walk(dir, Path::new(below), OFlag::O_RDONLY | OFlag::O_NONBLOCK);
            assert_eq!(word(&refused(slow.unwrap_err(), PathBuf::new())), wanted, "{below}");
        }
    }

    #[test]
    fn what_is_no_plain_file_of_the_folder_is_refused_by_name() {
        let (_dir, root) = strange();
        for (below, wanted) in [
            ("in/side/plain", "read"),
            ("./in/./side/plain", "read"),
            ("link", "link"),
            ("near", "link"),
            ("out/secret", "link"),
            ("elsewhere/side/plain", "link"),
            ("../secret", "outside"),
            ("in/../in/side/plain", "outside"),
            ("/etc/passwd", "outside"),
            ("pipe", "not a file"),
            ("socket", "not a file"),
            ("in", "not a file"),
            ("in/side/plain/more", "not a folder"),
            ("gone", "missing"),
            ("sparse", "too large"),
        ] {
            check(&root, below, wanted);
        }
    }

    #[test]
    fn folders_are_opened_by_the_same_rules() {
        let (_dir, root) = strange();
        let open = |below: &str| open_dir_below(&root, Path::new(below));
        assert!(open("in/side").is_ok() && open("").is_ok());
        assert!(matches!(open("elsewhere"), Err(ForeignError::Link(_))));
        assert!(matches!(open("out/desk"), Err(ForeignError::Link(_))));
        assert!(matches!(open("in/side/plain"), Err(ForeignError::NotAFolder(_))));
    }

    #[test]
    fn nothing_is_written_behind_a_link() {
        let (dir, root) = strange();
        let put = |below: &str| replace_below(&root, Path::new(below), b"new", 0o400);
        assert!(matches!(put("out/secret"), Err(ForeignError::Link(_))));
        assert!(matches!(put("elsewhere/plain"), Err(ForeignError::Link(_))));
        assert!(matches!(put("../secret"), Err(ForeignError::Outside(_))));
        // A link under the name itself is replaced, and so is one under the temporary name.
        symlink(dir.path().join("secret"), root.join("near.tmp")).unwrap();
        for below in ["link", "near", "made/by/us", "made/by/us"] {
            put(below).unwrap();
            let there = root.join(below).symlink_metadata().unwrap();
            assert!(there.is_file() && there.len() == 3, "{below}");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("secret")).unwrap(), "hush");
        assert_eq!(std::fs::read_to_string(root.join("in/side/plain")).unwrap(), "one\ntwo\n");
        assert_eq!(names_below(&root, Path::new("made/by")).unwrap(), ["us"]);
        let gone = |below: &str| remove_below(&root, Path::new(below));
        assert!(matches!(gone("out/secret"), Err(ForeignError::Link(_))));
        assert!(gone("made/by/us").unwrap() && !gone("made/by/us").unwrap());
        assert!(!gone("nowhere/at/all").unwrap());
        assert!(matches!(names_below(&root, Path::new("out")), Err(ForeignError::Link(_))));
    }

    #[test]
    fn anything_but_a_link_is_opened_for_naming_it() {
        let (_dir, root) = strange();
        let open = |below: &str| open_path_below(&root, Path::new(below));
        assert!(open("in/side/plain").is_ok() && open("in").is_ok() && open("pipe").is_ok());
        for link in ["link", "near", "elsewhere/side"] {
            assert!(matches!(open(link), Err(ForeignError::Link(_))), "{link}");
            let dir = openat(nix::fcntl::AT_FDCWD, &root, OFlag::O_PATH, Mode::empty()).unwrap();
            assert_eq!(
                walk(dir, Path::new(link), OFlag::O_PATH).unwrap_err(),
                Errno::ELOOP,
                "{link}"
            );
        }
    }

    #[test]
    fn long_lines_are_skipped_and_long_files_are_not_begun() {
        let (_dir, root) = strange();
        let text = format!("short\n{}\n\nlast", "x".repeat(20_000));
        std::fs::write(root.join("lines"), text).unwrap();
        let lines = open_below(&root, Path::new("lines")).unwrap().lines(1 << 20, 10).unwrap();
        let lines: Vec<Option<String>> =
            lines.map(|it| it.unwrap().map(|it| String::from_utf8(it).unwrap())).collect();
        let wanted = [Some("short"), None, Some(""), Some("last")].map(|it| it.map(str::to_owned));
        assert_eq!(lines, wanted);
        let sparse = open_below(&root, Path::new("sparse")).unwrap();
        assert!(matches!(sparse.lines(1 << 20, 10), Err(ForeignError::TooLarge { .. })));
    }
}
