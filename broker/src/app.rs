//! The App: its id, its key, and the JWT that proves both to GitHub.
//!
//! A JWT is signed once and reused for eight of its ten minutes; signing is the most expensive
//! thing the broker does. The key's file is looked at again every second, so a rotated key is
//! used without a restart. A file that is damaged for a moment does not displace a good key; a
//! file that is gone does, because taking the key away is meant.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::SecretString;
use serde_json::json;

use crate::key::{AppKey, KeyError};

/// GitHub refuses an `iat` in its future; clocks differ by less than this.
const BACKDATED_SECONDS: i64 = 60;
/// GitHub's limit is ten minutes from `iat` to `exp`.
const JWT_SECONDS: i64 = 600;
const REUSED_SECONDS: i64 = 480;

/// The App as GitHub knows it.
#[derive(Debug)]
pub struct App {
    id: Option<String>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stamp: Stamp,
    key: Option<Arc<AppKey>>,
    trouble: Option<String>,
    jwt: Option<(SecretString, i64)>,
}

/// What changes when a file is written, replaced or given another mode. A file that is not there
/// and one that cannot be looked at are two things: only the first may mean "none was wanted".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// There is no such file.
    Missing,
    /// There may be one; the system's own number for what is in the way.
    Hidden(Option<i32>),
    /// Its inode, size, mode and times.
    There([i64; 7]),
}

impl Stamp {
    /// Of the file at this path.
    pub fn of(path: &Path) -> Stamp {
        let it = match std::fs::metadata(path) {
            Ok(it) => it,
            // A link to nothing is no missing file either: somebody put it there.
            Err(error) if is_missing(&error) && std::fs::symlink_metadata(path).is_err() => {
                return Stamp::Missing;
            }
            Err(error) => return Stamp::Hidden(error.raw_os_error()),
        };
        let (mtime, ctime) = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
        Stamp::There([
            it.ino() as i64,
            it.size() as i64,
            it.mode().into(),
            mtime.0,
            mtime.1,
            ctime.0,
            ctime.1,
        ])
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

impl App {
    /// Reads the key; an App without id or key exists, but cannot sign.
    pub fn new(id: Option<String>, path: &Path) -> App {
        let state = State { stamp: Stamp::Missing, key: None, trouble: None, jwt: None };
        let app = App { id, path: path.to_owned(), state: Mutex::new(state) };
        app.load(Stamp::of(path));
        app
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Where its key is.
    pub fn key_path(&self) -> &Path {
        &self.path
    }

    /// The key, or why there is none.
    pub fn key(&self) -> Result<Arc<AppKey>, String> {
        let state = self.lock();
        match (&state.key, &state.trouble) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(trouble)) => Err(trouble.clone()),
            (None, None) => Err("there is no key".to_owned()),
        }
    }

    /// What is wrong with the key's file, also while an older key is still in use.
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// Looks at the key's file again; true when a new key is in use.
    pub fn refresh(&self) -> bool {
        let stamp = Stamp::of(&self.path);
        if stamp == self.lock().stamp {
            return false;
        }
        self.load(stamp)
    }

    /// Why no token can be minted, if that is so.
    pub fn unready(&self) -> Option<String> {
        if self.id.is_none() {
            return Some("GITHUB_APP_ID is not set".to_owned());
        }
        self.key().err()
    }

    /// A JWT that is good at `now`.
    pub fn jwt(&self, now: i64) -> Result<SecretString, String> {
        let id = self.id.as_deref().ok_or("GITHUB_APP_ID is not set")?;
        let key = self.key()?;
        let mut state = self.lock();
        if let Some((jwt, signed)) = &state.jwt
            && (0..REUSED_SECONDS).contains(&(now - signed))
        {
            return Ok(jwt.clone());
        }
        let issued = now - BACKDATED_SECONDS;
        let claims = json!({ "iat": issued, "exp": issued + JWT_SECONDS, "iss": id });
        let jwt = SecretString::from(key.sign(&claims).map_err(|error| error.to_string())?);
        state.jwt = Some((jwt.clone(), now));
        Ok(jwt)
    }

    /// Forgets the JWT: the clock it was signed by was wrong, or GitHub does not take it.
    pub fn forget_jwt(&self) {
        self.lock().jwt = None;
    }

    fn load(&self, stamp: Stamp) -> bool {
        let key = AppKey::read(&self.path);
        let mut state = self.lock();
        state.stamp = stamp;
        match key {
            Ok(key) => {
                state.key = Some(Arc::new(key));
                state.trouble = None;
                state.jwt = None;
                true
            }
            Err(error) => {
                if matches!(error, KeyError::Missing(_)) {
                    state.key = None;
                    state.jwt = None;
                }
                state.trouble = Some(error.to_string());
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
