//! The settings in force: opened once, read again when `settings.json` changes, never replaced by bad ones.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{Environment, Mistake, Mistakes, Origin, Reader, Section};
use crate::{Shutdown, Vitals};

/// The file's name below the state folder.
pub const SETTINGS_FILE: &str = "settings.json";
/// A person who saves the file expects it to count by the time they have looked up.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The one root of everything on disk: `TINYCLAW_DIR`, or `.tinyclaw` below the working directory. Absolute.
pub fn state_dir(environment: &Environment) -> io::Result<PathBuf> {
    let given = environment.get("TINYCLAW_DIR").filter(|it| !it.trim().is_empty());
    std::path::absolute(given.map_or(".tinyclaw", |it| it.trim()))
}

/// The last good settings. Clones share them.
#[derive(Debug)]
pub struct Store<S> {
    path: PathBuf,
    environment: Arc<Environment>,
    current: Arc<watch::Sender<Arc<S>>>,
    seen: Arc<Mutex<LastLook>>,
}

/// What the last looks at the file saw.
#[derive(Debug)]
struct LastLook {
    stamp: Stamp,
    /// It was there and the last look missed it: an editor may be swapping it just now.
    is_missed: bool,
}

impl<S> Clone for Store<S> {
    fn clone(&self) -> Store<S> {
        Store {
            path: self.path.clone(),
            environment: Arc::clone(&self.environment),
            current: Arc::clone(&self.current),
            seen: Arc::clone(&self.seen),
        }
    }
}

/// What a look at the file brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// It is the one already read.
    Same,
    /// It changed, and is in force.
    Changed,
    /// It changed and is wrong: the last good settings stay.
    Refused(Mistakes),
}

/// Enough to see that a file was saved.
type Stamp = Option<(u64, u64, i64, i64)>;

impl<S: Section> Store<S> {
    /// Reads the settings of the state folder at `root`. Every mistake is in the error.
    pub fn open(root: &Path, environment: Environment) -> Result<Store<S>, Mistakes> {
        let path = root.join(SETTINGS_FILE);
        let stamp = stamp(&path);
        let section = load(&path, &environment)?.1;
        Ok(Store {
            path,
            environment: Arc::new(environment),
            current: Arc::new(watch::Sender::new(Arc::new(section))),
            seen: Arc::new(Mutex::new(LastLook { stamp, is_missed: false })),
        })
    }

    /// [`Store::open`] for a service: with mistakes it stays unready, says them once a version of the file, and looks
    /// again until they are gone. `None` when the shutdown came first.
    pub async fn open_when_good(
        root: &Path,
        environment: &Environment,
        vitals: &Vitals,
        shutdown: &Shutdown,
    ) -> Option<Store<S>> {
        let mut told = None;
        loop {
            match Store::open(root, environment.clone()) {
                Ok(store) => {
                    vitals.unblock("settings");
                    return Some(store);
                }
                Err(mistakes) if told.as_ref() != Some(&mistakes) => {
                    for it in &mistakes.0 {
                        tracing::error!("{it}");
                    }
                    vitals.block("settings", mistakes.to_string());
                    told = Some(mistakes);
                }
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.begun() => return None,
            }
        }
    }

    /// The settings in force. Cheap; ask again whenever they are needed.
    pub fn current(&self) -> Arc<S> {
        Arc::clone(&self.current.borrow())
    }

    /// A variable of the environment that is no setting's, unless it is empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|it| !it.trim().is_empty())
    }

    /// Hears of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<S>> {
        self.current.subscribe()
    }

    /// Looks whether the file changed, and reads it if so. A file that is gone means defaults, like one never made, but
    /// only at the second look in a row: who saves by removing and writing anew does not mean it.
    pub fn refresh(&self) -> Refreshed {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if seen.stamp == now {
            seen.is_missed = false;
            return Refreshed::Same;
        }
        if now.is_none() && !seen.is_missed {
            seen.is_missed = true;
            return Refreshed::Same;
        }
        let loaded = load(&self.path, &self.environment);
        if now.is_some() && matches!(loaded, Ok((File::Absent, _))) {
            // Gone between the two: that was the first look that missed it.
            seen.is_missed = true;
            return Refreshed::Same;
        }
        *seen = LastLook { stamp: now, is_missed: false };
        match loaded {
            Ok((_, section)) => {
                self.current.send_replace(Arc::new(section));
                Refreshed::Changed
            }
            Err(mistakes) => Refreshed::Refused(mistakes),
        }
    }

    /// Follows the file until the shutdown, and says in the log and in `vitals` what came of a change.
    pub async fn follow(self, vitals: Vitals, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.begun() => return,
            }
            match self.refresh() {
                Refreshed::Same => {}
                Refreshed::Changed => {
                    tracing::info!("settings.json changed and is in force");
                    vitals.concern("settings", None);
                }
                Refreshed::Refused(mistakes) => {
                    for it in &mistakes.0 {
                        tracing::warn!("{it}");
                    }
                    tracing::warn!(
                        "settings.json is not taken: the last good settings stay in force"
                    );
                    let what = format!("the last good settings stay in force: {mistakes}");
                    vitals.concern("settings", Some(what));
                }
            }
        }
    }
}

/// Whether there was a file.
enum File {
    Read,
    Absent,
}

fn load<S: Section>(path: &Path, environment: &Environment) -> Result<(File, S), Mistakes> {
    let (file, text) = match std::fs::read_to_string(path) {
        Ok(text) => (File::Read, text),
        Err(err) if err.kind() == io::ErrorKind::NotFound => (File::Absent, String::new()),
        Err(err) => {
            let says = format!("cannot read {}: {err}", path.display());
            return Err(Mistakes(vec![Mistake { origin: Origin::File, says }]));
        }
    };
    let mut reader = Reader::new(&text, environment);
    if matches!(file, File::Read) && text.trim().is_empty() {
        // A save on a full disk, or an editor between emptying and writing: not a wish for the defaults.
        reader.mistake(Origin::File, "is empty; write {} for the defaults, or remove it");
    }
    let is_open = std::fs::metadata(path).is_ok_and(|it| it.mode() & 0o007 != 0);
    if is_open && reader.file_has_secret() {
        reader.note(
            "settings.json holds a secret and everybody may read it; do: chmod o= settings.json",
        );
    }
    let (section, notes) = reader.finish()?;
    for it in notes {
        tracing::warn!("{it}");
    }
    Ok((file, section))
}

fn stamp(path: &Path) -> Stamp {
    let it = std::fs::metadata(path).ok()?;
    Some((it.ino(), it.len(), it.mtime(), it.mtime_nsec()))
}
