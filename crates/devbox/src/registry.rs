//! The registry of devboxes: `devboxes.db`, which one process opens.
//!
//! Every change is on disk when its function returns. A file of a newer version, or one that is damaged, is left as it is
//! and named in the error: devboxes wait, and nothing else does. No private key and no token of a run is in it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tinyclaw_domain::{
    BadDevbox, DevboxDir, DevboxHost, DevboxName, DevboxStatus, DevboxTrust, DevboxUser, ThreadId,
};

/// What this program writes; a later one's is not touched.
const VERSION: i64 = 3;
/// A person with a shell may hold it for a moment.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE devboxes(
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        host TEXT,
        user TEXT NOT NULL,
        dir TEXT NOT NULL,
        owner_id TEXT,
        thread TEXT NOT NULL,
        status TEXT NOT NULL,
        host_key TEXT,
        host_key_at INTEGER,
        host_key_by TEXT,
        seen_key TEXT,
        claude_version TEXT,
        last_error TEXT,
        last_error_at INTEGER,
        ping_ms INTEGER,
        created_at INTEGER NOT NULL,
        last_used_at INTEGER,
        removed_at INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX devboxes_name ON devboxes(name) WHERE status <> 'removed';
    CREATE UNIQUE INDEX devboxes_thread ON devboxes(thread) WHERE status <> 'removed';
    CREATE TABLE events(
        at INTEGER NOT NULL,
        devbox INTEGER,
        by TEXT,
        what TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
";

/// What each version added to the one before.
const STEPS: [&str; VERSION as usize] = [
    TABLES,
    "ALTER TABLE devboxes ADD COLUMN trust TEXT NOT NULL DEFAULT 'own';
     CREATE TABLE probes(devbox INTEGER NOT NULL, at INTEGER NOT NULL, ms INTEGER, why TEXT) STRICT;
     CREATE INDEX probes_of ON probes(devbox, at);",
    "ALTER TABLE devboxes ADD COLUMN git TEXT;",
];
/// What a devbox answered is kept so long.
const PROBES_KEPT_MS: u64 = 24 * 3_600 * 1_000;
/// So many of them are shown, the last ones.
const PROBES_SHOWN: u32 = 60;

const COLUMNS: &str = "id, name, host, user, dir, thread, status, host_key, seen_key, \
     claude_version, last_error, last_error_at, ping_ms, last_used_at, trust, git";

/// One devbox, as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devbox {
    /// Its number, which no other gets.
    pub id: i64,
    /// What it is called.
    pub name: DevboxName,
    /// Where it is; `None`: on this machine, as a child of the office.
    pub host: Option<DevboxHost>,
    /// Who is logged in as.
    pub user: DevboxUser,
    /// Where Claude works there, when its thread begins.
    pub dir: DevboxDir,
    /// Its thread.
    pub thread: ThreadId,
    /// How it is.
    pub status: DevboxStatus,
    /// The key that a person approved, `KIND KEY`.
    pub host_key: Option<String>,
    /// The key that was shown to people last. Nothing else can be approved.
    pub seen_key: Option<String>,
    /// Claude's version there, as it says.
    pub claude_version: Option<String>,
    /// What was wrong last,
    pub last_error: Option<String>,
    /// and when, in ms since 1970.
    pub last_error_at: Option<u64>,
    /// How long a word took there and back, when one did last.
    pub ping_ms: Option<u64>,
    /// When that was, in ms since 1970.
    pub last_used_at: Option<u64>,
    /// Which of our tools its Claude gets.
    pub trust: DevboxTrust,
    /// The repository of which its Claude may ask for tokens, `owner/name`.
    pub git: Option<String>,
}

/// What is to be known of a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevbox {
    /// What it is called.
    pub name: DevboxName,
    /// Where it is; `None`: on this machine.
    pub host: Option<DevboxHost>,
    /// Who is logged in as.
    pub user: DevboxUser,
    /// Where Claude works there.
    pub dir: DevboxDir,
    /// Its thread.
    pub thread: ThreadId,
    /// Who added it.
    pub owner: Option<String>,
}

/// The registry cannot be used, or will not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It is another program's, or a newer one's.
    #[error("{} is of version {version}, and this program knows {VERSION}: it is left as it is", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: i64,
    },
    /// A step failed.
    #[error("cannot {step} {}", path.display())]
    Step {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
    /// There is one of this name, or this thread has one.
    #[error("there is a devbox of this name or thread already")]
    Taken,
}

/// The registry. One process has it open.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    db: Connection,
}

impl Registry {
    /// Opens it, and makes it when there is none.
    pub fn open(path: &Path) -> Result<Registry, RegistryError> {
        let fail = |step| {
            let path = path.to_owned();
            move |source| RegistryError::Step { step, path, source }
        };
        let db = Connection::open(path).map_err(fail("open"))?;
        db.busy_timeout(PATIENCE).map_err(fail("open"))?;
        let version: i64 =
            db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail("read"))?;
        if version > VERSION {
            return Err(RegistryError::Newer { path: path.to_owned(), version });
        }
        db.pragma_update(None, "journal_mode", "WAL").map_err(fail("open"))?;
        db.pragma_update(None, "synchronous", "FULL").map_err(fail("open"))?;
        let check: String =
            db.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(fail("read"))?;
        if check != "ok" {
            let why = rusqlite::Error::ToSqlConversionFailure(check.into());
            return Err(fail("trust")(why));
        }
        if version < VERSION {
            if version > 0 {
                keep_copy(&db, path, version).map_err(fail("copy"))?;
            }
            let steps = STEPS.iter().skip(usize::try_from(version).unwrap_or(0));
            let made = format!(
                "BEGIN IMMEDIATE; {} PRAGMA user_version = {VERSION}; COMMIT;",
                steps.copied().collect::<String>()
            );
            db.execute_batch(&made).map_err(fail("make tables in"))?;
        }
        private(path);
        Ok(Registry { path: path.to_owned(), db })
    }

    fn fail(&self, step: &'static str) -> impl FnOnce(rusqlite::Error) -> RegistryError + use<> {
        let path = self.path.clone();
        move |source| RegistryError::Step { step, path, source }
    }

    /// All of them, also those that were removed if they are asked for, by name.
    pub fn all(&self, with_removed: bool) -> Result<Vec<Devbox>, RegistryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM devboxes WHERE ?1 OR status <> 'removed' ORDER BY name, id"
        );
        let mut listed = self.db.prepare(&sql).map_err(self.fail("read"))?;
        let rows = listed.query_map([with_removed], read).map_err(self.fail("read"))?;
        rows.collect::<Result<_, _>>().map_err(self.fail("read"))
    }

    /// One that was not removed.
    pub fn get(&self, name: &DevboxName) -> Result<Option<Devbox>, RegistryError> {
        let sql = format!("SELECT {COLUMNS} FROM devboxes WHERE name = ?1 AND status <> 'removed'");
        let found = self.db.query_row(&sql, [name.as_str()], read).optional();
        found.map_err(self.fail("read"))
    }

    /// A new one, whose key nobody has approved yet.
    pub fn add(&self, new: &NewDevbox, at: u64) -> Result<(), RegistryError> {
        let added = self.db.execute(
            "INSERT INTO devboxes(name, host, user, dir, owner_id, thread, status, created_at)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, 'new', ?7)",
            params![
                new.name.as_str(),
                new.host.as_ref().map(ToString::to_string),
                new.user.as_str(),
                new.dir.as_str(),
                new.owner,
                new.thread.as_str(),
                at,
            ],
        );
        match added {
            Err(rusqlite::Error::SqliteFailure(err, _))
                if err.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                Err(RegistryError::Taken)
            }
            other => other.map(drop).map_err(self.fail("write")),
        }
    }

    /// The key that people are shown now.
    pub fn see_key(&self, id: i64, key: &str) -> Result<(), RegistryError> {
        self.set(id, "seen_key = ?2", key.to_owned().into())
    }

    /// A person approved the key that was shown.
    pub fn approve_key(
        &self,
        id: i64,
        key: &str,
        by: Option<&str>,
        at: u64,
    ) -> Result<(), RegistryError> {
        let changed = self.db.execute(
            "UPDATE devboxes SET host_key = ?2, host_key_by = ?3, host_key_at = ?4, status = 'active'
             WHERE id = ?1",
            params![id, key, by, at],
        );
        changed.map(drop).map_err(self.fail("write"))
    }

    /// Forgets the key that was approved.
    pub fn forget_key(&self, id: i64) -> Result<(), RegistryError> {
        self.set(id, "host_key = ?2, seen_key = NULL, status = 'new'", Value::Null)
    }

    /// It answered.
    pub fn reached(&self, id: i64, at: u64) -> Result<(), RegistryError> {
        let changed = self.db.execute(
            "UPDATE devboxes SET status = 'active', last_used_at = ?2
             WHERE id = ?1 AND status <> 'removed'",
            params![id, at],
        );
        changed.map(drop).map_err(self.fail("write"))
    }

    /// A word went there and back in so long.
    pub fn pinged(&self, id: i64, ping_ms: u64, at: u64) -> Result<(), RegistryError> {
        let changed = self.db.execute(
            "UPDATE devboxes SET ping_ms = ?2, last_used_at = ?3
             WHERE id = ?1 AND status <> 'removed'",
            params![id, ping_ms, at],
        );
        changed.map_err(self.fail("write"))?;
        self.probe(id, Some(ping_ms), None, at)
    }

    fn probe(
        &self,
        id: i64,
        ms: Option<u64>,
        why: Option<&str>,
        at: u64,
    ) -> Result<(), RegistryError> {
        let until = at.saturating_sub(PROBES_KEPT_MS);
        let gone = self.db.execute("DELETE FROM probes WHERE at < ?1", [until]);
        gone.map_err(self.fail("write"))?;
        let added = self.db.execute(
            "INSERT INTO probes(devbox, at, ms, why) VALUES(?1, ?2, ?3, ?4)",
            params![id, at, ms, why],
        );
        added.map(drop).map_err(self.fail("write"))
    }

    /// How long each of the last answers took, oldest first; `None` where there was none.
    pub fn probes(&self, id: i64) -> Result<Vec<Option<u64>>, RegistryError> {
        let sql = "SELECT ms FROM probes WHERE devbox = ?1 ORDER BY at DESC, rowid DESC LIMIT ?2";
        let mut listed = self.db.prepare(sql).map_err(self.fail("read"))?;
        let rows = listed.query_map(params![id, PROBES_SHOWN], |row| row.get(0));
        let rows = rows.map_err(self.fail("read"))?.collect::<Result<Vec<_>, _>>();
        rows.map(|it| it.into_iter().rev().collect()).map_err(self.fail("read"))
    }

    /// Which of our tools its Claude gets from now on.
    pub fn trust(&self, id: i64, trust: DevboxTrust) -> Result<(), RegistryError> {
        self.set(id, "trust = ?2", trust.as_str().to_owned().into())
    }

    /// Of which repository its Claude may ask for tokens from now on.
    pub fn git(&self, id: i64, repository: Option<&str>) -> Result<(), RegistryError> {
        self.set(id, "git = ?2", repository.map_or(Value::Null, |it| it.to_owned().into()))
    }

    /// It did not, for this reason.
    pub fn missed(
        &self,
        id: i64,
        status: DevboxStatus,
        why: &str,
        at: u64,
    ) -> Result<(), RegistryError> {
        let changed = self.db.execute(
            "UPDATE devboxes SET status = ?2, last_error = ?3, last_error_at = ?4
             WHERE id = ?1 AND status <> 'removed'",
            params![id, word(status), why, at],
        );
        changed.map_err(self.fail("write"))?;
        self.probe(id, None, Some(why), at)
    }

    /// What Claude says of its version there.
    pub fn note_version(&self, id: i64, version: &str) -> Result<(), RegistryError> {
        self.set(id, "claude_version = ?2", version.to_owned().into())
    }

    /// Calls it something else.
    pub fn rename(&self, id: i64, to: &DevboxName) -> Result<(), RegistryError> {
        match self.set(id, "name = ?2", to.as_str().to_owned().into()) {
            Err(RegistryError::Step { source: rusqlite::Error::SqliteFailure(err, _), .. })
                if err.code == rusqlite::ErrorCode::ConstraintViolation =>
            {
                Err(RegistryError::Taken)
            }
            other => other,
        }
    }

    /// It is none of ours any more; what was done about it stays known.
    pub fn remove(&self, id: i64, at: u64) -> Result<(), RegistryError> {
        self.set(id, "status = 'removed', removed_at = ?2", Value::Integer(at.cast_signed()))
    }

    /// Writes down what was done. Never a prompt.
    pub fn event(
        &self,
        at: u64,
        id: Option<i64>,
        by: Option<&str>,
        what: &str,
        detail: &str,
    ) -> Result<(), RegistryError> {
        let added = self.db.execute(
            "INSERT INTO events(at, devbox, by, what, detail) VALUES(?1, ?2, ?3, ?4, ?5)",
            params![at, id, by, what, detail],
        );
        added.map(drop).map_err(self.fail("write"))
    }

    fn set(&self, id: i64, what: &str, value: Value) -> Result<(), RegistryError> {
        let sql = format!("UPDATE devboxes SET {what} WHERE id = ?1");
        self.db.execute(&sql, params![id, value]).map(drop).map_err(self.fail("write"))
    }
}

/// The registry as an earlier version left it, for whoever goes back to that.
fn keep_copy(db: &Connection, path: &Path, version: i64) -> rusqlite::Result<()> {
    let copy = path.with_extension(format!("db.v{version}"));
    if !copy.exists() {
        db.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
        private(&copy);
    }
    Ok(())
}

/// Nobody else reads who is where. What SQLite keeps beside the file has the file's own rights.
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
}

fn word(status: DevboxStatus) -> &'static str {
    match status {
        DevboxStatus::New => "new",
        DevboxStatus::Active => "active",
        DevboxStatus::Unreachable => "unreachable",
        DevboxStatus::KeyChanged => "key_changed",
        DevboxStatus::Removed => "removed",
    }
}

fn status(word: &str) -> DevboxStatus {
    match word {
        "active" => DevboxStatus::Active,
        "unreachable" => DevboxStatus::Unreachable,
        "key_changed" => DevboxStatus::KeyChanged,
        "removed" => DevboxStatus::Removed,
        _ => DevboxStatus::New,
    }
}

/// A column that is one of our types. What a person wrote there with a shell is checked like anything else.
fn typed<T: FromStr<Err = E>, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<T> {
    let text: String = row.get(at)?;
    text.parse().map_err(|err: E| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(err))
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Devbox> {
    let host: Option<String> = row.get(2)?;
    let host = host.map(|_| typed::<DevboxHost, BadDevbox>(row, 2)).transpose()?;
    let state: String = row.get(6)?;
    Ok(Devbox {
        id: row.get(0)?,
        name: typed(row, 1)?,
        host,
        user: typed(row, 3)?,
        dir: typed(row, 4)?,
        thread: typed(row, 5)?,
        status: status(&state),
        host_key: row.get(7)?,
        seen_key: row.get(8)?,
        claude_version: row.get(9)?,
        last_error: row.get(10)?,
        last_error_at: row.get(11)?,
        ping_ms: row.get(12)?,
        last_used_at: row.get(13)?,
        trust: typed(row, 14)?,
        git: row.get(15)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, thread: &str) -> NewDevbox {
        NewDevbox {
            name: name.parse().unwrap(),
            host: Some("api.example.org:2222".parse().unwrap()),
            user: "deploy".parse().unwrap(),
            dir: "/srv/api".parse().unwrap(),
            thread: thread.parse().unwrap(),
            owner: Some("42".to_owned()),
        }
    }

    #[test]
    fn a_registry_of_an_earlier_version_is_taken_over_and_its_copy_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("devboxes.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(&format!("{TABLES} PRAGMA user_version = 1;")).unwrap();
        old.execute_batch(
            "INSERT INTO devboxes(name, user, dir, thread, status, created_at)
             VALUES('api', 'deploy', '/srv/api', '7', 'active', 1)",
        )
        .unwrap();
        drop(old);
        let registry = Registry::open(&path).unwrap();
        let api = registry.get(&"api".parse().unwrap()).unwrap().unwrap();
        assert_eq!(api.trust, DevboxTrust::Own);
        registry.trust(api.id, DevboxTrust::Office).unwrap();
        let api = registry.get(&api.name).unwrap().unwrap();
        assert_eq!((api.trust, api.git.as_deref()), (DevboxTrust::Office, None));
        registry.git(api.id, Some("acme/site")).unwrap();
        assert_eq!(registry.get(&api.name).unwrap().unwrap().git.as_deref(), Some("acme/site"));
        registry.git(api.id, None).unwrap();
        assert_eq!(registry.get(&api.name).unwrap().unwrap().git, None);
        drop(registry);
        let copy = Connection::open(dir.path().join("devboxes.db.v1")).unwrap();
        let version: i64 = copy.pragma_query_value(None, "user_version", |it| it.get(0)).unwrap();
        assert_eq!(version, 1);
        Registry::open(&path).unwrap();
    }

    #[test]
    fn what_a_devbox_answered_is_kept_for_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&dir.path().join("devboxes.db")).unwrap();
        registry.add(&new("api", "7"), 1).unwrap();
        let id = registry.get(&"api".parse().unwrap()).unwrap().unwrap().id;
        registry.pinged(id, 38, 1_000).unwrap();
        registry.missed(id, DevboxStatus::Unreachable, "x", 2_000).unwrap();
        registry.pinged(id, 40, 3_000).unwrap();
        assert_eq!(registry.probes(id).unwrap(), [Some(38), None, Some(40)]);
        registry.pinged(id, 41, PROBES_KEPT_MS + 2_500).unwrap();
        assert_eq!(registry.probes(id).unwrap(), [Some(40), Some(41)]);
    }

    #[test]
    fn a_devbox_is_known_to_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("devboxes.db");
        let registry = Registry::open(&path).unwrap();
        registry.add(&new("api", "7"), 1).unwrap();
        let api = registry.get(&"api".parse().unwrap()).unwrap().unwrap();
        assert_eq!((api.status, api.host_key.as_deref()), (DevboxStatus::New, None));
        registry.see_key(api.id, "ssh-ed25519 AAAA").unwrap();
        registry.approve_key(api.id, "ssh-ed25519 AAAA", Some("42"), 2).unwrap();
        registry.reached(api.id, 3).unwrap();
        registry.pinged(api.id, 38, 3).unwrap();
        registry.event(3, Some(api.id), Some("42"), "approve", "SHA256:x").unwrap();
        drop(registry);
        let again = Registry::open(&path).unwrap();
        let api = again.get(&"api".parse().unwrap()).unwrap().unwrap();
        assert_eq!((api.status, api.ping_ms), (DevboxStatus::Active, Some(38)));
        assert_eq!(api.host.as_ref().unwrap().to_string(), "api.example.org:2222");
        again.missed(api.id, DevboxStatus::KeyChanged, "another key", 4).unwrap();
        again.forget_key(api.id).unwrap();
        let api = again.get(&api.name).unwrap().unwrap();
        assert_eq!((api.status, api.host_key, api.seen_key), (DevboxStatus::New, None, None));
    }

    #[test]
    fn a_name_and_a_thread_have_one_devbox_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&dir.path().join("devboxes.db")).unwrap();
        registry.add(&new("api", "7"), 1).unwrap();
        assert!(matches!(registry.add(&new("api", "8"), 1), Err(RegistryError::Taken)));
        assert!(matches!(registry.add(&new("box", "7"), 1), Err(RegistryError::Taken)));
        registry.add(&new("box", "8"), 1).unwrap();
        let named = |name: &str| registry.get(&name.parse().unwrap()).unwrap();
        let (api, other) = (named("api").unwrap(), named("box").unwrap());
        assert!(matches!(registry.rename(other.id, &api.name), Err(RegistryError::Taken)));
        registry.remove(api.id, 2).unwrap();
        registry.rename(other.id, &api.name).unwrap();
        registry.reached(api.id, 3).unwrap();
        assert!(named("box").is_none() && named("api").unwrap().id == other.id);
        assert_eq!((registry.all(false).unwrap().len(), registry.all(true).unwrap().len()), (1, 2));
    }

    #[test]
    fn a_newer_or_broken_file_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let newer = dir.path().join("newer.db");
        let db = Connection::open(&newer).unwrap();
        db.execute_batch("PRAGMA user_version = 9; CREATE TABLE x(y);").unwrap();
        drop(db);
        let before = std::fs::read(&newer).unwrap();
        let err = Registry::open(&newer).unwrap_err();
        assert!(matches!(err, RegistryError::Newer { version: 9, .. }), "{err}");
        assert_eq!(std::fs::read(&newer).unwrap(), before);
        let broken = dir.path().join("broken.db");
        tinyclaw_disk::write_new(&broken, &[b'x'; 9000]).unwrap();
        let err = Registry::open(&broken).unwrap_err();
        assert!(matches!(err, RegistryError::Step { .. }), "{err}");
        assert_eq!(std::fs::read(&broken).unwrap(), [b'x'; 9000]);
    }
}
