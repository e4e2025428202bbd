//! The office's folder where desks that are users of their own can read it: a copy beside their folders, the office's and
//! written by nobody else.
//!
//! What is copied is what the operator put there: folders and regular files. With a link in it nothing is copied, and the
//! log names it. A copy is whole or not there, and one that a Claude was started with stays until the one after the next.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_engine::OfficeSkills;

use crate::blocking::lock;

/// The office's folder beside those of the desks, which the warden made.
const BESIDE: &str = "office";
/// A copy that is not whole yet.
const HALF: &str = ".half";
/// Larger is no folder of skills.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const ENTRIES_MAX: usize = 10_000;

/// Who keeps the copy.
pub(crate) struct ShownOffice {
    dir: PathBuf,
    /// What was found last. Held while a copy is made.
    last: Mutex<Option<Found>>,
}

/// What the operator's folder was, and what became of it.
struct Found {
    stamp: u64,
    skills: Option<OfficeSkills>,
}

/// What is copied, by its path below the folder.
type Entries = BTreeMap<PathBuf, Kind>;

enum Kind {
    Folder,
    File { mode: u32 },
}

impl ShownOffice {
    /// In the folder that has one of each desk.
    pub(crate) fn beside(desks: &Path) -> ShownOffice {
        ShownOffice { dir: desks.join(BESIDE), last: Mutex::new(None) }
    }

    /// The copy of this folder as it is now, made if need be. `None` where it cannot be made, which the log says once.
    pub(crate) fn current(&self, office: &Path) -> Option<OfficeSkills> {
        let mut last = lock(&self.last);
        let (entries, stamp) = match list(office) {
            Ok(it) => it,
            Err(why) => return self.refuse(&mut last, 0, &why),
        };
        if let Some(it) = last.as_ref().filter(|it| it.stamp == stamp) {
            return it.skills.clone();
        }
        // By this name, because it is the plugin's, too.
        let whole = self.dir.join(format!("{stamp:016x}"));
        let skills = OfficeSkills { dir: whole.join(BESIDE), stamp };
        let before = last.as_ref().map(|it| it.stamp);
        if let Err(why) = self.copy(office, &entries, &whole, before) {
            return self.refuse(&mut last, stamp, &why);
        }
        *last = Some(Found { stamp, skills: Some(skills.clone()) });
        Some(skills)
    }

    fn refuse(&self, last: &mut Option<Found>, stamp: u64, why: &str) -> Option<OfficeSkills> {
        if last.as_ref().is_none_or(|it| it.stamp != stamp || it.skills.is_some()) {
            tracing::error!("desks are given no skills of the office: {why}");
            *last = Some(Found { stamp, skills: None });
        }
        None
    }

    fn copy(
        &self,
        office: &Path,
        entries: &Entries,
        whole: &Path,
        before: Option<u64>,
    ) -> Result<(), String> {
        let fail = |what: &Path| {
            let what = what.display().to_string();
            move |err: std::io::Error| format!("{what}: {err}")
        };
        // The warden made it for the office alone; what is in it is for all.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&self.dir, open).map_err(fail(&self.dir))?;
        if whole.is_dir() {
            return Ok(());
        }
        let kept = before.map(|it| format!("{it:016x}"));
        for name in foreign::names_below(&self.dir, Path::new("")).map_err(|it| it.to_string())? {
            if kept.as_deref().is_none_or(|it| name != *it) {
                let path = self.dir.join(&name);
                std::fs::remove_dir_all(&path).map_err(fail(&path))?;
            }
        }
        let half = self.dir.join(HALF);
        let top = Path::new(HALF).join(BESIDE);
        make_dir(&self.dir, &top)?;
        let mut room = BYTES_MAX;
        for (below, kind) in entries {
            let to = top.join(below);
            let Kind::File { mode } = kind else {
                make_dir(&self.dir, &to)?;
                continue;
            };
            let bytes = foreign::read_below(office, below, room).map_err(|it| it.to_string())?;
            room = room.saturating_sub(bytes.len() as u64);
            let written = foreign::replace_below(&self.dir, &to, &bytes, *mode);
            written.map_err(|it| it.to_string())?;
        }
        tinyclaw_disk::rename(&half, whole).map_err(|err| err.to_string())
    }
}

fn make_dir(root: &Path, below: &Path) -> Result<(), String> {
    foreign::make_dir_below(root, below, 0o755).map(drop).map_err(|err| err.to_string())
}

/// What is in the folder, and another number when it is another.
fn list(office: &Path) -> Result<(Entries, u64), String> {
    let (mut found, mut stamp) = (Entries::new(), DefaultHasher::new());
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        let mut names = foreign::names_below(office, &dir).map_err(|it| it.to_string())?;
        names.sort();
        for name in names {
            let below = dir.join(name);
            let path = office.join(&below);
            let Ok(about) = path.symlink_metadata() else { continue };
            if about.is_dir() {
                todo.push(below.clone());
                (&below, 0).hash(&mut stamp);
                found.insert(below, Kind::Folder);
            } else if about.is_file() {
                let mode = if about.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
                let seen = (about.len(), about.mtime(), about.mtime_nsec(), mode);
                (&below, seen).hash(&mut stamp);
                found.insert(below, Kind::File { mode });
            } else {
                return Err(format!("{}", ForeignError::Link(path)));
            }
            if found.len() > ENTRIES_MAX {
                return Err(format!("{} has over {ENTRIES_MAX} files", office.display()));
            }
        }
    }
    Ok((found, stamp.finish()))
}

#[cfg(test)]
mod tests {
    use tinyclaw_disk::{Flush, replace};

    use super::*;

    #[test]
    fn what_desks_read_is_the_operators_folder_as_it_is_and_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (office, desks) = (dir.path().join("state/office"), dir.path().join("desks"));
        let skill = office.join("skills/greet");
        for it in [&skill, &desks.join(BESIDE)] {
            std::fs::create_dir_all(it).unwrap();
        }
        let write = |name: &str, text: &str| {
            replace(&skill.join(name), text.as_bytes(), Flush::None).unwrap();
        };
        write("SKILL.md", "one");
        write("run.sh", "#!/bin/sh");
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        let executable = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(skill.join("run.sh"), executable).unwrap();
        let shown = ShownOffice::beside(&desks);
        let one = shown.current(&office).unwrap();
        assert_eq!(one.dir.file_name().unwrap(), "office", "the plugin's name");
        let read = |it: &OfficeSkills| {
            let path = it.dir.join("skills/greet/SKILL.md");
            foreign::read_below(Path::new("/"), path.strip_prefix("/").unwrap(), 9).ok()
        };
        assert_eq!(read(&one).unwrap(), b"one");
        let at = |below: &str| mode(&one.dir.join(below));
        let modes = [at(""), at("skills/greet"), at("skills/greet/SKILL.md")];
        assert_eq!(modes, [0o755, 0o755, 0o644]);
        assert_eq!(at("skills/greet/run.sh"), 0o755);
        assert_eq!(shown.current(&office), Some(one.clone()), "nothing changed");
        write("SKILL.md", "two!");
        let two = shown.current(&office).unwrap();
        write("SKILL.md", "three");
        let three = shown.current(&office).unwrap();
        assert_eq!(
            (read(&one), read(&two).unwrap()),
            (None, b"two!".to_vec()),
            "the last two stay"
        );
        assert_eq!(read(&three).unwrap(), b"three");
        // Another processor finds it.
        assert_eq!(ShownOffice::beside(&desks).current(&office), Some(three));
        std::os::unix::fs::symlink("/etc", office.join("link")).unwrap();
        assert_eq!(shown.current(&office), None, "a link leads out of it");
    }
}
