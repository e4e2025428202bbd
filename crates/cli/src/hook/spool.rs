//! The folder where hooks wait: a file a hook, named by the number that it got when it fired, so that they sort as they came.
//!
//! A number is noted before its hook is kept, in a file that is there already: a disk that has become full takes the hook,
//! and not that it fired.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tinyclaw_disk::{DiskError, Flush, Lock, remove, replace};

/// More of a hook is not read.
const INPUT_BYTES_MAX: u64 = 1 << 20;
/// What the bus takes of one event, with room to spare.
const EVENT_BYTES_MAX: usize = 200 << 10;
/// So much waits at most.
const WAITING_BYTES_MAX: u64 = 50 << 20;
/// The file that counts what was given up.
const LOST: &str = "lost.json";
/// The file with the last number that a hook got. Its lock is held until that hook is kept.
const NUMBER: &str = "number";
/// Who holds the lock is done in a moment, unless it was stopped; then a hook goes on without a number after so long.
const NUMBER_PATIENCE: Duration = Duration::from_millis(500);
/// Where a hook's number stands in its event's metadata.
pub(crate) const NUMBER_KEY: &str = "hookNumber";
/// What the bus refused has this ending.
const REFUSED: &str = "refused";

/// Where hooks wait, and where they go.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    dir: PathBuf,
    config: PathBuf,
}

/// Where they go: `hook.json`, written by `tinyclaw hook install`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    /// The gateway, such as `http://127.0.0.1:3200`.
    pub(crate) url: String,
    /// A token that may ingest.
    pub(crate) token: String,
    /// Who says so: what tells this machine's hooks from another's.
    pub(crate) source: String,
    /// The first hook that was meant for this bus, and when that was said, in ms since 1970.
    #[serde(default)]
    pub(crate) first_number: u64,
    #[serde(default)]
    pub(crate) since: u64,
    /// The settings files of Claude's that bring their hooks here.
    #[serde(default)]
    pub(crate) settings: Vec<PathBuf>,
}

/// What was given up since it was last told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub(crate) count: u64,
    pub(crate) first: String,
    pub(crate) last: String,
}

impl Spool {
    /// Of the person who runs this: `$XDG_STATE_HOME/tinyclaw/hook`, and `$XDG_CONFIG_HOME/tinyclaw/hook.json`.
    pub(crate) fn of_person(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Spool> {
        let base = |name: &str, below: &str| -> anyhow::Result<PathBuf> {
            match var(name).filter(|it| it.starts_with('/')) {
                Some(it) => Ok(it.into()),
                None => {
                    let home = var("HOME").context("HOME is not set")?;
                    Ok(Path::new(&home).join(below))
                }
            }
        };
        Ok(Spool {
            dir: base("XDG_STATE_HOME", ".local/state")?.join("tinyclaw/hook"),
            config: base("XDG_CONFIG_HOME", ".config")?.join("tinyclaw/hook.json"),
        })
    }

    /// Where they go, if that was ever said.
    pub(crate) fn config(&self) -> anyhow::Result<Option<Config>> {
        match std::fs::read_to_string(&self.config) {
            Ok(text) => Ok(Some(serde_json::from_str(&text).with_context(|| {
                format!("{} cannot be understood; run tinyclaw hook install", self.config.display())
            })?)),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err).with_context(|| format!("cannot read {}", self.config.display())),
        }
    }

    /// Says where they go. The file holds a token: nobody else may read it.
    pub(crate) fn set_config(&self, config: &Config) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = self.config.parent().unwrap_or(&self.config);
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
        let text = serde_json::to_string_pretty(config)? + "\n";
        replace(&self.config, text.as_bytes(), Flush::Strict).context("cannot write hook.json")?;
        std::fs::set_permissions(&self.config, std::fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// Forgets where they go, and the token with it.
    pub(crate) fn forget_config(&self) -> Result<(), DiskError> {
        remove(&self.config)
    }

    /// The file that says where they go.
    pub(crate) fn config_path(&self) -> &Path {
        &self.config
    }

    /// The lock that the one drainer holds.
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The last number that a hook got; 0 when none ever did. No hook is between its number and the disk just then.
    pub(crate) fn last_number(&self) -> anyhow::Result<u64> {
        if !self.dir.is_dir() {
            return Ok(0);
        }
        let lock = Lock::take(&self.dir.join(NUMBER))?;
        Ok(lock.note()?.parse().unwrap_or(0))
    }

    /// The next number, noted, with the lock that keeps the one after it waiting.
    fn next_number(&self) -> Option<(u64, Lock)> {
        let until = Instant::now() + NUMBER_PATIENCE;
        let path = self.dir.join(NUMBER);
        let lock = loop {
            match Lock::try_take(&path).ok()? {
                Some(lock) => break lock,
                None if Instant::now() > until => return None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let number = lock.note().ok()?.parse().unwrap_or(0_u64) + 1;
        lock.leave_note(&number.to_string()).ok()?;
        Some((number, lock))
    }

    /// What the bus refused.
    pub(crate) fn refused(&self) -> std::io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let paths = entries.flatten().map(|it| it.path());
        Ok(paths.filter(|it| it.extension().is_some_and(|it| it == REFUSED)).collect())
    }

    /// Sets aside what the bus refused, with its reason, for a person to look at.
    pub(crate) fn set_aside(&self, hook: &Path, line: &str, why: &str) -> Result<(), DiskError> {
        let aside = hook.with_extension(REFUSED);
        replace(&aside, format!("{why}\n{line}\n").as_bytes(), Flush::None)?;
        remove(hook)
    }

    /// What waits, oldest first, and how much that is.
    pub(crate) fn waiting(&self) -> std::io::Result<(Vec<PathBuf>, u64)> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            other => other?,
        };
        let (mut paths, mut bytes) = (Vec::new(), 0);
        for it in entries.flatten() {
            let name = it.file_name();
            let is_hook =
                name.to_string_lossy().bytes().all(|it| it.is_ascii_digit() || it == b'-');
            if let Some(about) = it.metadata().ok().filter(|it| is_hook && it.is_file()) {
                bytes += about.len();
                paths.push(it.path());
            }
        }
        paths.sort();
        Ok((paths, bytes))
    }

    /// Gives up the oldest while too much waits, and counts them.
    pub(crate) fn give_up(&self) -> anyhow::Result<()> {
        let (paths, mut bytes) = self.waiting()?;
        let mut lost = self.lost();
        for path in paths {
            if bytes <= WAITING_BYTES_MAX {
                break;
            }
            bytes -= std::fs::metadata(&path).map_or(0, |it| it.len());
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            remove(&path)?;
            lost.count += 1;
            if lost.first.is_empty() {
                lost.first.clone_from(&name);
            }
            lost.last = name;
            replace(&self.dir.join(LOST), &serde_json::to_vec(&lost)?, Flush::None)?;
        }
        Ok(())
    }

    /// What was given up and is not told yet.
    pub(crate) fn lost(&self) -> Lost {
        let text = std::fs::read_to_string(self.dir.join(LOST)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// It was told.
    pub(crate) fn lost_was_told(&self) -> Result<(), DiskError> {
        remove(&self.dir.join(LOST))
    }
}

/// Keeps what a hook says.
pub(crate) fn keep(spool: &Spool, source: &str, input: impl Read) -> anyhow::Result<()> {
    let mut text = Vec::new();
    // What was torn is kept as far as it came.
    let _ = input.take(INPUT_BYTES_MAX).read_to_end(&mut text);
    std::fs::create_dir_all(&spool.dir)
        .with_context(|| format!("cannot make {}", spool.dir.display()))?;
    // Until the hook is on the disk no later one gets its number, so none is seen before it.
    let (number, _lock) = spool.next_number().unzip();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (first, nanos) = (number.unwrap_or(u64::MAX), now.as_nanos());
    let name = format!("{first:020}-{nanos:020}-{}", std::process::id());
    let event = event(&text, &format!("hook-{name}"), source, number, now.as_millis() as u64);
    replace(&spool.dir.join(name), &serde_json::to_vec(&event)?, Flush::None)?;
    Ok(())
}

/// The number of a hook by the name of its file.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.split(['-', '.']).next()?.parse().ok().filter(|it| *it != u64::MAX)
}

fn event(text: &[u8], id: &str, source: &str, number: Option<u64>, at: u64) -> Value {
    let mut event = Map::from_iter([
        ("id".to_owned(), id.into()),
        ("source".to_owned(), source.into()),
        ("timestamp".to_owned(), at.into()),
    ]);
    match serde_json::from_slice::<Value>(text) {
        Ok(mut hook) if hook["hook_event_name"].is_string() => {
            let mut most = 64 << 10;
            while hook.to_string().len() > EVENT_BYTES_MAX && most > 64 {
                shorten(&mut hook, most);
                most /= 2;
            }
            if hook.to_string().len() > EVENT_BYTES_MAX {
                let name = hook["hook_event_name"].clone();
                hook = json!({ "hook_event_name": name, "session_id": hook["session_id"], "tooLarge": text.len() });
            }
            if let Some(number) = number {
                hook[NUMBER_KEY] = number.into();
            }
            event.insert("hook".to_owned(), hook);
        }
        _ => {
            let text: String = String::from_utf8_lossy(text).chars().take(4_096).collect();
            event.insert("type".to_owned(), "claude.unreadable".into());
            event.insert("metadata".to_owned(), json!({ "text": text, NUMBER_KEY: number }));
        }
    }
    Value::Object(event)
}

/// Cuts every text in it to so many bytes, and says how long it was.
fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            let end = text.floor_char_boundary(most);
            *text = format!("{}… ({} bytes)", &text[..end], text.len());
        }
        Value::Array(all) => all.iter_mut().for_each(|it| shorten(it, most)),
        Value::Object(all) => all.values_mut().for_each(|it| shorten(it, most)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_kept_whole_or_as_far_as_it_came_or_fits() {
        let small = br#"{"hook_event_name":"Stop","session_id":"s1"}"#;
        let kept = event(small, "hook-1", "claude@laptop", Some(5), 7);
        assert_eq!(kept["hook"]["session_id"], "s1");
        assert_eq!(kept["id"], "hook-1");
        assert_eq!(kept["hook"][NUMBER_KEY], 5);
        for torn in [&b"{\"hook_event_name\":\"St"[..], b"", b"[]", b"\xff\xfe"] {
            assert_eq!(event(torn, "hook-1", "x", None, 7)["type"], "claude.unreadable");
        }
        let large = json!({
            "hook_event_name": "PostToolUse", "session_id": "s1", "tool_response": "ü".repeat(400_000),
        });
        let kept = event(large.to_string().as_bytes(), "hook-1", "x", None, 7);
        assert!(kept.to_string().len() < EVENT_BYTES_MAX + 1_000);
        assert!(kept["hook"]["tool_response"].as_str().unwrap().ends_with("(800000 bytes)"));
        let wide = json!({ "hook_event_name": "Stop", "session_id": "s1", "x": vec![7; 300_000] });
        let kept = event(wide.to_string().as_bytes(), "hook-1", "x", None, 7);
        assert_eq!(kept["hook"]["session_id"], "s1");
        assert!(kept.to_string().len() < 1_000);
    }

    #[test]
    fn hooks_wait_in_the_order_in_which_they_came_and_the_oldest_give_way() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let spool = Spool::of_person(|name| (name == "HOME").then(|| home.clone())).unwrap();
        for n in 0..5 {
            let hook = json!({ "hook_event_name": "Stop", "n": n }).to_string();
            keep(&spool, "x", hook.as_bytes()).unwrap();
        }
        let (paths, _) = spool.waiting().unwrap();
        let number = |it: &PathBuf| {
            let kept: Value = serde_json::from_slice(&std::fs::read(it).unwrap()).unwrap();
            kept["hook"]["n"].as_u64().unwrap()
        };
        assert_eq!(paths.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let named = |it: &PathBuf| number_of(it.file_name()?.to_str()?);
        assert_eq!(paths.iter().filter_map(named).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(spool.last_number().unwrap(), 5);
        // A file of 60 MB in front of them is one too many.
        let filler = spool.dir.join("00000000000000000000-1");
        replace(&filler, &vec![b'x'; 60 << 20], Flush::None).unwrap();
        spool.give_up().unwrap();
        assert_eq!(spool.waiting().unwrap().0.len(), 5);
        assert_eq!(spool.lost().count, 1);
    }

    #[test]
    fn hooks_that_fire_at_once_have_numbers_without_a_hole_in_the_order_in_which_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let spool = Spool::of_person(|name| (name == "HOME").then(|| home.clone())).unwrap();
        let hook = br#"{"hook_event_name":"Stop"}"#;
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| (0..10).for_each(|_| keep(&spool, "x", &hook[..]).unwrap()));
            }
        });
        let numbers: Vec<u64> = (spool.waiting().unwrap().0.iter())
            .map(|it| {
                let kept: Value = serde_json::from_slice(&std::fs::read(it).unwrap()).unwrap();
                kept["hook"][NUMBER_KEY].as_u64().unwrap()
            })
            .collect();
        assert_eq!(numbers, (1..=80).collect::<Vec<_>>());
    }

    #[test]
    fn a_hook_that_gets_no_number_in_time_is_kept_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let spool = Spool::of_person(|name| (name == "HOME").then(|| home.clone())).unwrap();
        let hook = br#"{"hook_event_name":"Stop"}"#;
        keep(&spool, "x", &hook[..]).unwrap();
        let held = Lock::take(&spool.dir.join(NUMBER)).unwrap();
        keep(&spool, "x", &hook[..]).unwrap();
        drop(held);
        keep(&spool, "x", &hook[..]).unwrap();
        let named = |it: &PathBuf| number_of(it.file_name()?.to_str()?);
        let numbers: Vec<Option<u64>> = spool.waiting().unwrap().0.iter().map(named).collect();
        assert_eq!(numbers, [Some(1), Some(2), None]);
    }
}
