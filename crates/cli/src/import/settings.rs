//! The original's `settings.json`: the keys that mean something here, under the names they have here.
//!
//! Only the original's own names are looked at, so that a folder from elsewhere cannot set what it never had. What is set
//! here already, in the file or by a variable, stays.

use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, bail};
use rustix::fs::Mode;
use rustix::process::umask;
use serde_json::{Map, Value};
use tinyclaw_disk::{Flush, replace};
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::{Environment, Reader, Row, Settings, edited, retired, rows};

use super::report::ReportPart;
use super::source::Source;
use crate::terminal::{clip, one_line};

const BYTES_MAX: u64 = 1_000_000;
const KEYS_MAX: usize = 1_000;
/// What the original could set.
const ITS_KEYS: [&str; 5] = [
    "timezone",
    "telegram_bot_token",
    "telegram_chat_id",
    "heartbeat_interval",
    "max_concurrent_sessions",
];

/// Takes the settings over, and says which are in force then.
pub(super) fn take(
    source: &Source,
    state: &StateDir,
    environment: &Environment,
    dry_run: bool,
) -> anyhow::Result<(ReportPart, Settings)> {
    let path = state.settings();
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(err).with_context(|| format!("cannot read {}", path.display())),
    };
    let in_force = |text: &str| Reader::new(text, environment).finish::<Settings>();
    if let Err(mistakes) = in_force(&text) {
        bail!("this office's own settings are wrong, mend them first: {mistakes}");
    }
    let mut part = ReportPart::new("settings", "setting");
    let mut has_secret = false;
    for (name, value) in read(source, &mut part) {
        let Some(row) = row(&name) else {
            let shown = clip(&one_line(&name), 60);
            let why = retired().iter().find(|(it, _)| *it == name).map(|(_, why)| *why);
            part.left.add(shown, why.unwrap_or("means nothing here"));
            continue;
        };
        if value.is_null() || value.as_str().is_some_and(|it| it.trim().is_empty()) {
            continue;
        }
        if let Some(variable) = variable(row, environment) {
            part.kept.add(row.key, format!("{variable} is set here, and wins"));
            continue;
        }
        match given(&text, row) {
            Some(it) if words(&it) == words(&value) => part.here += 1,
            Some(_) if row.is_secret => part.kept.add(row.key, "another one is set here"),
            Some(it) => part.kept.add(row.key, format!("{it} is set here, not {}", shown(&value))),
            None => match edited(&text, row.key, Some(value)) {
                Ok(changed) if in_force(&changed).is_ok() => {
                    text = changed;
                    has_secret |= row.is_secret;
                    part.taken += 1;
                }
                Ok(changed) => {
                    let why = in_force(&changed).err().map(|it| it.to_string());
                    part.left.add(name, why.unwrap_or_default());
                }
                Err(mistakes) => part.left.add(name, mistakes.to_string()),
            },
        }
    }
    if part.taken > 0 && !dry_run {
        // Nobody but those who could read it before, and nobody else at all when a secret is in it now.
        let here = std::fs::metadata(&path).map(|it| it.mode() & 0o666).unwrap_or(0o640);
        let mode = if has_secret { here & 0o660 } else { here };
        let before = umask(Mode::from_raw_mode(0o777 & !mode));
        let written = replace(&path, text.as_bytes(), Flush::Strict);
        umask(before);
        written.context("cannot write the settings")?;
    }
    match in_force(&text) {
        Ok((settings, _)) => Ok((part, settings)),
        Err(mistakes) => bail!("the settings went wrong: {mistakes}"),
    }
}

fn read(source: &Source, part: &mut ReportPart) -> Map<String, Value> {
    const NAME: &str = "settings.json";
    let bytes = match source.read(NAME, BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Map::new(),
        Err(why) => {
            part.left.add(NAME, why);
            return Map::new();
        }
    };
    match serde_json::from_slice::<Map<String, Value>>(&bytes) {
        Ok(keys) if keys.len() <= KEYS_MAX => return keys,
        Ok(_) => part.left.add(NAME, format!("it has over {KEYS_MAX} keys")),
        Err(err) => part.left.add(NAME, format!("it is not a JSON object: {err}")),
    }
    Map::new()
}

/// The setting of ours that a name of theirs means.
fn row(name: &str) -> Option<&'static Row> {
    let is_its = ITS_KEYS.contains(&name);
    rows().iter().find(|it| is_its && (it.key == name || it.aliases.contains(&name)))
}

fn variable(row: &Row, environment: &Environment) -> Option<String> {
    let is_set = |name: &String| environment.get(name).is_some_and(|it| !it.trim().is_empty());
    let names = row.variables();
    let files = names.iter().map(|it| format!("{it}_FILE")).filter(|_| row.is_secret);
    names.iter().cloned().chain(files).find(is_set)
}

/// What our own file says, in any of the ways in which it may be said.
fn given(text: &str, row: &Row) -> Option<Value> {
    let root: Value = serde_json::from_str(text).ok()?;
    let nested = root.pointer(&format!("/{}", row.key.replace('.', "/")));
    let flat = std::iter::once(&row.key).chain(row.aliases).find_map(|it| root.get(*it));
    nested.or(flat).filter(|it| !it.is_null()).cloned()
}

/// A value as a person would write it, whether quoted or not.
fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |it| it.trim().to_owned())
}

fn shown(value: &Value) -> String {
    clip(&one_line(&value.to_string()), 60)
}
