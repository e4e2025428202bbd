//! A temporary place for one TinyClaw: its state folder, a desk, Claude's home. Gone when dropped.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The place. `state/` is `TINYCLAW_DIR`, `work/` a desk's directory, `home/` Claude's home.
#[derive(Debug)]
pub struct Place {
    // Held for its end.
    dir: TempDir,
    root: PathBuf,
}

impl Place {
    /// A place below the system's temporary folder.
    pub fn new() -> io::Result<Place> {
        Place::of(tempfile::tempdir()?)
    }

    /// A place below this folder, for tests about who may write where: everybody may write below `/tmp`.
    pub fn below(dir: impl AsRef<Path>) -> io::Result<Place> {
        Place::of(tempfile::tempdir_in(dir)?)
    }

    fn of(dir: TempDir) -> io::Result<Place> {
        let root = dir.path().canonicalize()?;
        for it in ["state", "work", "home"] {
            std::fs::create_dir(root.join(it))?;
        }
        Ok(Place { dir, root })
    }

    /// A path in it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// `TINYCLAW_DIR`.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// A desk's directory.
    pub fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// Claude's home.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// All files of the state folder, relative and sorted: what `find` would say.
    pub fn files(&self) -> Vec<String> {
        let state = self.state();
        let mut found = Vec::new();
        let mut todo = vec![state.clone()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    todo.push(path);
                } else if let Ok(below) = path.strip_prefix(&state) {
                    found.push(below.display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    /// Leaves everything where it is, for a person to look at, and says where.
    pub fn keep(self) -> PathBuf {
        let _ = self.dir.keep();
        self.root
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use super::*;

    #[test]
    fn a_place_lists_its_files_and_is_gone_afterwards() {
        let place = Place::new().unwrap();
        std::fs::create_dir(place.path("state/queue")).unwrap();
        std::fs::write(place.path("state/queue/a.json"), "{}").unwrap();
        std::fs::write(place.path("state/b"), "").unwrap();
        assert_eq!(place.files(), ["b", "queue/a.json"]);
        let root = place.path("");
        drop(place);
        assert!(!root.exists());
    }
}
