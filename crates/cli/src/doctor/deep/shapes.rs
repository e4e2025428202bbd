//! What each file of the state folder is, by its path, and how it is told from a damaged one.

use std::ffi::OsStr;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tinyclaw_domain::checksum::{self, Checked};
use tinyclaw_domain::{
    ConversationLine, Health, HistoryLine, Key, Lane, MESSAGE_VERSION, OutcomeLine, Progress,
    PromptLine, RoutingLine,
};
use tinyclaw_ledger::{StateDir, check_threads};
use tinyclaw_router::Config;
use tinyclaw_service::settings::{Environment, Reader, Settings};

/// Checks a whole file; gives what each of its checksums says.
type CheckObject = fn(&StateDir, &Path, &[u8]) -> Result<Vec<Checked>, String>;

/// How a file is checked.
pub(super) enum Shape {
    Object(CheckObject),
    /// Line by line.
    Lines(fn(&[u8]) -> Result<Checked, String>),
    /// It has no shape of ours: that it can be read is all there is to say.
    Any,
    /// It was not what it should be, and somebody set it aside.
    Aside,
}

/// What the file at a path below the state folder is.
pub(super) fn shape_of(below: &Path) -> (&'static str, Shape) {
    let text = below.to_string_lossy();
    let parts: Vec<&str> = text.split('/').collect();
    let ending = below.extension().and_then(OsStr::to_str).unwrap_or_default();
    match (parts.as_slice(), ending) {
        (["settings.json"], _) => ("settings", Shape::Object(settings)),
        (["router.toml" | "router-learned.toml"], _) => ("settings", Shape::Object(router)),
        (["threads.json"], _) => ("threads", Shape::Object(threads)),
        (["threads.json.last"], _) => ("threads", Shape::Object(threads_copy)),
        (["telegram.json" | "telegram.json.last"], _) => ("addresses", Shape::Object(object)),
        ([_], "bad" | "unreadable") => ("set aside", Shape::Aside),
        (["updates", _], "json" | "done") => ("updates", Shape::Object(update)),
        (["updates", _], "odd" | "damaged") => ("set aside", Shape::Aside),
        (["status", _], "json") => ("status messages", Shape::Object(object)),
        (["progress", _], "json") => ("running turns", Shape::Object(shaped::<Progress>)),
        (["health", _], "json") => ("health", Shape::Object(shaped::<Health>)),
        (["queue", "FORMAT"], _) => ("queue", Shape::Object(object)),
        (["queue", "quarantine", ..], _) => ("set aside", Shape::Aside),
        (["queue", "dead", _], "reason") => ("queue", Shape::Any),
        (["queue", "lanes", ..], _) => ("queue", Shape::Any),
        (["queue", _, .., _], "json") => ("messages", Shape::Object(message)),
        (["logs", name], "jsonl") if name.starts_with("prompts.") => {
            ("prompts", Shape::Lines(line::<PromptLine>))
        }
        // Of types that this version need not know.
        (["jobs", _], "jsonl") => ("stories", Shape::Lines(line::<Value>)),
        (["memory", "conversations", ..], "jsonl") => {
            ("conversations", Shape::Lines(line::<ConversationLine>))
        }
        ([name], "jsonl") if name.starts_with("message-history.") => {
            ("history", Shape::Lines(line::<HistoryLine>))
        }
        ([name], "jsonl") if name.starts_with("routing-log.") => {
            ("decisions", Shape::Lines(line::<RoutingLine>))
        }
        ([name], "jsonl") if name.starts_with("routing-outcomes.") => {
            ("outcomes", Shape::Lines(line::<OutcomeLine>))
        }
        (["memory", ..], _) => ("memory", Shape::Any),
        (["files", ..], _) => ("files", Shape::Any),
        (["asks", ..], _) => ("questions", Shape::Any),
        (["transcriber", ..], _) => ("the transcriber's home", Shape::Any),
        (["logs", ..], _) => ("logs", Shape::Any),
        (["locks", ..], _) => ("locks", Shape::Any),
        _ => ("other", Shape::Any),
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|err| format!("is not text: {err}"))
}

fn settings(_: &StateDir, _: &Path, bytes: &[u8]) -> Result<Vec<Checked>, String> {
    let nobody = Environment::new();
    match Reader::new(text(bytes)?, &nobody).finish::<Settings>() {
        // They are a person's own.
        Ok(_) => Ok(Vec::new()),
        Err(mistakes) => Err(mistakes.to_string()),
    }
}

fn router(_: &StateDir, _: &Path, bytes: &[u8]) -> Result<Vec<Checked>, String> {
    Config::parse(text(bytes)?).map(|_| Vec::new()).map_err(|err| err.to_string())
}

fn threads(state: &StateDir, below: &Path, bytes: &[u8]) -> Result<Vec<Checked>, String> {
    let tell = |err: &tinyclaw_ledger::ThreadsError| match std::error::Error::source(err) {
        Some(source) => format!("{err}: {source}"),
        None => err.to_string(),
    };
    match check_threads(state) {
        Ok(None) => {}
        Ok(Some(err)) | Err(err) => return Err(tell(&err)),
    }
    // Whatever does not fit by now was edited.
    threads_of(bytes).map_err(|_| format!("{} has changed meanwhile", below.display()))
}

/// Nobody edits the copy.
fn threads_copy(_: &StateDir, _: &Path, bytes: &[u8]) -> Result<Vec<Checked>, String> {
    let checked = threads_of(bytes)?;
    if checked.contains(&Checked::Damaged) {
        return Err("is damaged: a thread's checksum does not fit".to_owned());
    }
    Ok(checked)
}

fn threads_of(bytes: &[u8]) -> Result<Vec<Checked>, String> {
    let mut checked = Vec::new();
    for (id, mut entry) in fields(bytes)? {
        let Value::Object(fields) = &mut entry else { continue };
        checked.push(checksum::take(&id, fields));
    }
    Ok(checked)
}

/// A JSON object, and what its checksum says.
fn object(_: &StateDir, _: &Path, bytes: &[u8]) -> Result<Vec<Checked>, String> {
    whole(bytes).map(|(_, checked)| vec![checked])
}

fn update(_: &StateDir, below: &Path, bytes: &[u8]) -> Result<Vec<Checked>, String> {
    let (fields, checked) = whole(bytes)?;
    let id = fields.get("update_id").and_then(Value::as_i64).map(|it| it.to_string());
    if id.as_deref() != below.file_stem().and_then(OsStr::to_str) {
        return Err("is named after another update than it holds".to_owned());
    }
    Ok(vec![checked])
}

fn shaped<T: DeserializeOwned>(
    _: &StateDir,
    _: &Path,
    bytes: &[u8],
) -> Result<Vec<Checked>, String> {
    let (fields, checked) = whole(bytes)?;
    fits::<T>(fields)?;
    Ok(vec![checked])
}

/// A message whose name and content agree on its key and its thread.
fn message(_: &StateDir, below: &Path, bytes: &[u8]) -> Result<Vec<Checked>, String> {
    let (message, is_checked) = tinyclaw_queue::message_in(bytes)?;
    if message.v != MESSAGE_VERSION {
        return Err(format!("has version {}, which this program does not know", message.v));
    }
    if let Some((lane, key)) = named(below) {
        if *lane.thread() != message.thread_id {
            return Err(format!(
                "is of thread {}, by its name of {}",
                message.thread_id,
                lane.thread()
            ));
        }
        if key != message.key {
            return Err(format!("has the key {}, by its name {key}", message.key));
        }
    }
    Ok(vec![if is_checked { Checked::Whole } else { Checked::Unmarked }])
}

/// The lane and the key in a message's name, `<prio>-<ulid>~<lane>~<key>[~<epoch>].json`; none for one that a script
/// dropped.
fn named(below: &Path) -> Option<(Lane, Key)> {
    let mut parts = below.file_stem()?.to_str()?.split('~').skip(1);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn line<T: DeserializeOwned>(bytes: &[u8]) -> Result<Checked, String> {
    let (fields, checked) = whole(bytes)?;
    fits::<T>(fields)?;
    Ok(checked)
}

fn fields(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(bytes).map_err(|err| format!("is no JSON object: {err}"))
}

fn whole(bytes: &[u8]) -> Result<(Map<String, Value>, Checked), String> {
    let mut fields = fields(bytes)?;
    match checksum::take("", &mut fields) {
        Checked::Damaged => Err("is damaged: its checksum does not fit".to_owned()),
        checked => Ok((fields, checked)),
    }
}

fn fits<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(fields))
        .map_err(|err| format!("has not the shape that it should have: {err}"))
}
