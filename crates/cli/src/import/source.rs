//! The original's folder, read with suspicion: whoever wrote it may have been an agent.
//!
//! No symlink in it is followed, nothing but plain files is opened, and no more is read than was asked for. Nothing here
//! can write.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use rustix::fs::{Dir, Mode, OFlags, open, openat};
use rustix::io::Errno;
use tinyclaw_domain::StateDir;

/// More files than this are not looked at in one folder.
pub(super) const NAMES_MAX: usize = 20_000;
/// By these one knows the original's folder.
const ITS_FILES: [&str; 4] = ["threads.json", "message-history.jsonl", "settings.json", "queue"];
/// What the original called its folder, the later name first.
const ITS_NAMES: [&str; 2] = [".borg", ".tinyclaw"];

/// The folder.
#[derive(Debug)]
pub(super) struct Source {
    root: PathBuf,
    dir: OwnedFd,
}

/// Why something in the folder is left where it is.
pub(super) type Why = String;

impl Source {
    /// The original's folder at `dir`, or the one in the clone at `dir`.
    pub(super) fn open(dir: &Path, own: &Path) -> anyhow::Result<Source> {
        let shown = dir.display();
        let root = dir.canonicalize().with_context(|| format!("cannot find {shown}"))?;
        if !root.is_dir() {
            bail!("{shown} is no folder; name the original's .tinyclaw or .borg");
        }
        let is_its = |root: &Path| ITS_FILES.iter().any(|it| root.join(it).exists());
        let within = ITS_NAMES.iter().map(|it| root.join(it)).find(|it| it.is_dir());
        let root = match within {
            Some(within) if !is_its(&root) => {
                within.canonicalize().context("cannot look into it")?
            }
            _ => root,
        };
        let shown = root.display();
        if own.canonicalize().is_ok_and(|it| it == root) {
            bail!(
                "{shown} is this office's own folder; stop the original, move its folder aside, and name where it is: \
                 mv {shown} {shown}-original && tinyclaw import {shown}-original"
            );
        }
        if StateDir::new(&root).queue().join("FORMAT").exists() {
            bail!(
                "{shown} is a state folder of this TinyClaw, not of the original; ./tinyclaw.sh backup and restore move one"
            );
        }
        if !is_its(&root) {
            bail!(
                "there is nothing of the original in {shown}: it has {}; name its .tinyclaw or .borg",
                ITS_FILES.join(", ")
            );
        }
        let dir = open(&root, FOLDER, Mode::empty())
            .with_context(|| format!("cannot open {}", root.display()))?;
        Ok(Source { root, dir })
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The whole of a file, at most so many bytes of it; `None` when it is not there.
    pub(super) fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Why> {
        let Some((file, found)) = self.file(name)? else { return Ok(None) };
        let too_long = || format!("it is over {} MB", bytes_max / 1_000_000);
        if found.bytes > bytes_max {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        // It may have grown since.
        file.take(bytes_max + 1)
            .read_to_end(&mut bytes)
            .map_err(|err| format!("it cannot be read: {err}"))?;
        if bytes.len() as u64 > bytes_max { Err(too_long()) } else { Ok(Some(bytes)) }
    }

    /// A plain file, opened; `None` when it is not there.
    pub(super) fn file(&self, name: &str) -> Result<Option<(File, Found)>, Why> {
        // Of a pipe nobody writes to, opening would wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let Some(file) = self.open_below(name, flags)? else { return Ok(None) };
        let file = File::from(file);
        let meta = file.metadata().map_err(|err| format!("it cannot be read: {err}"))?;
        if !meta.is_file() {
            return Err("it is no plain file".to_owned());
        }
        let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Some((file, Found { bytes: meta.len(), changed })))
    }

    /// The names in a folder of it, sorted; none when it is not there. A name that is no text is none of the original's.
    pub(super) fn names(&self, dir: &str) -> Result<Vec<String>, Why> {
        let Some(fd) = self.open_below(dir, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let listed = |err: Errno| format!("it cannot be listed: {err}");
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd).map_err(listed)? {
            let entry = entry.map_err(listed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !matches!(name, "." | "..") {
                names.push(name.to_owned());
            }
            if names.len() > NAMES_MAX {
                return Err(format!("it holds over {NAMES_MAX} files"));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens step by step, so that no part of the way is a symlink.
    fn open_below(&self, name: &str, flags: OFlags) -> Result<Option<OwnedFd>, Why> {
        let mut parts: Vec<&str> = name.split('/').filter(|it| !it.is_empty()).collect();
        let last = parts.pop().unwrap_or(".");
        debug_assert!(!parts.contains(&"..") && last != "..", "{name} climbs");
        let mut at: Option<OwnedFd> = None;
        for (part, flags) in parts.iter().map(|it| (*it, FOLDER)).chain([(last, flags)]) {
            let below = at.as_ref().unwrap_or(&self.dir);
            match openat(below, part, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => at = Some(fd),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err("it is a symlink or no plain file, and is not followed".to_owned());
                }
                Err(err) => return Err(format!("it cannot be opened: {err}")),
            }
        }
        Ok(at)
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) bytes: u64,
    pub(super) changed: SystemTime,
}
