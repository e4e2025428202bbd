//! What waits in the original's queue. A message of `incoming/` is published here under a key made of its own id, so that
//! it comes in once however often it is imported; everything else is named and left.

use std::collections::HashSet;
use std::time::SystemTime;

use anyhow::Context as _;
use memchr::memmem;
use serde::Deserialize;
use serde_json::Value;
use tinyclaw_disk::{backwards, segment_path};
use tinyclaw_domain::{Direction, HistoryLine, Key, Message, Model, Source as Spoken, ThreadId};
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{Options, PublishError, Published, Side, View};
use tinyclaw_service::now_ms;

use super::history;
use super::report::ReportPart;
use super::source::Source;
use crate::client;
use crate::terminal::{clip, count, one_line};

const WAITING: &str = "queue/incoming";
/// The other folders, and why what is in them stays.
const OTHERS: [(&str, &str); 6] = [
    (
        "queue/processing",
        "was being answered when the original stopped; stop it well, or ask again",
    ),
    ("queue/outgoing", "an answer that was not sent; it is in the history"),
    ("queue/dead-letter", "was given up there"),
    ("queue/commands", "an order to the original; /reset and /setdir are the ones here"),
    ("queue/quarantine", "was put aside there"),
    ("queue/dead", "was given up there"),
];

/// A message as the original wrote it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldMessage {
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    thread_id: Option<Value>,
    #[serde(default)]
    source_thread_id: Option<Value>,
    #[serde(default)]
    sender: Option<String>,
    #[serde(default)]
    sender_id: Option<String>,
    message: String,
    #[serde(default)]
    is_reply: bool,
    #[serde(default)]
    reply_to_text: Option<String>,
    #[serde(default)]
    reply_to_model: Option<String>,
    #[serde(default)]
    topic_name: Option<String>,
    #[serde(default)]
    timestamp: Option<f64>,
    #[serde(default)]
    message_id: Option<String>,
}

/// Takes the waiting messages over, in their order.
pub(super) fn take(source: &Source, state: &StateDir, dry_run: bool) -> anyhow::Result<ReportPart> {
    let mut part = ReportPart::new("queue", "message");
    let waiting = waiting(source, &mut part);
    if !waiting.is_empty() {
        let keys: HashSet<&Key> = waiting.iter().map(|(_, it)| &it.key).collect();
        let answered = answered(state, &keys)?;
        let view = View::new(state.root());
        let office = if dry_run { None } else { Some(client::open(state)?) };
        for (name, message) in waiting {
            let is_here = answered.contains(&message.key)
                || view.find(&message.key).context("cannot look into the queue")?.is_some();
            let published = match &office {
                _ if is_here => Ok(Published::Duplicate(tinyclaw_queue::Place::Incoming)),
                None => Ok(Published::New),
                Some(office) => office.publish(Side::Run, message),
            };
            match published {
                Ok(Published::New) => part.taken += 1,
                Ok(Published::Duplicate(_)) => part.here += 1,
                // What this queue does not take now, it takes at the next import.
                Err(
                    err @ (PublishError::Full { .. }
                    | PublishError::LaneFull { .. }
                    | PublishError::TooLarge { .. }
                    | PublishError::NoSpace { .. }),
                ) => part.left.add(name, err.to_string()),
                Err(err) => return Err(err).context("cannot publish what waits"),
            }
        }
    }
    for (folder, why) in OTHERS {
        match source.names(folder) {
            Ok(names) if names.is_empty() => {}
            Ok(names) if names.len() == 1 => part.left.add(format!("{folder}/{}", names[0]), why),
            Ok(names) => part.left.add(format!("{folder}: {}", count(names.len(), "file")), why),
            Err(why) => part.left.add(folder, why),
        }
    }
    Ok(part)
}

/// The messages of `incoming/`, the oldest first, as the original went through them.
fn waiting(source: &Source, part: &mut ReportPart) -> Vec<(String, Message)> {
    let names = match source.names(WAITING) {
        Ok(names) => names,
        Err(why) => {
            part.left.add(WAITING, why);
            return Vec::new();
        }
    };
    let mut found: Vec<(SystemTime, String, Message)> = Vec::new();
    for name in names {
        let path = format!("{WAITING}/{name}");
        let changed = match source.file(&path) {
            Ok(Some((_, it))) => it.changed,
            Ok(None) => continue,
            Err(why) => {
                part.left.add(path, why);
                continue;
            }
        };
        let read = source.read(&path, Options::default().message_bytes_max as u64);
        match read.and_then(|bytes| message(&name, &bytes.unwrap_or_default())) {
            Ok(message) => found.push((changed, path, message)),
            Err(why) => part.left.add(path, why),
        }
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    found.into_iter().map(|(_, path, message)| (path, message)).collect()
}

/// A message of ours from a file of theirs. Field by field: nothing in it can order anything.
fn message(name: &str, bytes: &[u8]) -> Result<Message, String> {
    let Some(stem) = name.strip_suffix(".json").filter(|it| !it.starts_with('.')) else {
        return Err("its writer never finished it".to_owned());
    };
    let value: Value =
        serde_json::from_slice(bytes).map_err(|err| format!("it is not JSON: {err}"))?;
    let old: OldMessage =
        serde_json::from_value(value).map_err(|err| format!("it is no message: {err}"))?;
    let (channel, mut spoken) = history::channel(old.channel.as_deref())?;
    if let Some(told) = &old.source {
        spoken = history::spoken(told).unwrap_or(spoken);
    }
    if spoken == Spoken::Heartbeat {
        return Err("a heartbeat; the next one looks again".to_owned());
    }
    if old.message.trim().is_empty() {
        return Err("it says nothing".to_owned());
    }
    let thread = match &old.thread_id {
        Some(id) => history::thread_id(id)?,
        None => ThreadId::master(),
    };
    let id = old.message_id.filter(|it| history::is_message_id(it));
    let key = history::key(id.as_deref().unwrap_or(stem));
    let timestamp = old.timestamp.filter(|it| *it >= 1.0).map_or_else(now_ms, |it| it as u64);
    let line = |it: Option<String>| it.map(|it| clip(&one_line(&it), 128));
    let mut message = Message::new(key, channel, thread, old.message, timestamp);
    message.message_id = id.unwrap_or(message.message_id);
    message.source = spoken;
    message.source_thread_id =
        old.source_thread_id.as_ref().and_then(|it| history::thread_id(it).ok());
    message.sender = line(old.sender).unwrap_or_default();
    message.sender_id = line(old.sender_id);
    message.is_reply = old.is_reply;
    message.reply_to_text = old.reply_to_text;
    message.reply_to_model = old.reply_to_model.as_deref().and_then(Model::of_name);
    message.topic_name = line(old.topic_name);
    Ok(message)
}

/// Those of the keys that this office has answered: `done/` forgets after some days, the history does not.
fn answered(state: &StateDir, keys: &HashSet<&Key>) -> anyhow::Result<HashSet<Key>> {
    let path = state.history();
    let mut answered = HashSet::new();
    let finder = memmem::Finder::new(b"\"key\":\"file-");
    // The segment before the first holds what the original answered, or tried to.
    let before = segment_path(&path, history::SEGMENT);
    for line in backwards(&path).with_context(|| format!("cannot read {}", path.display()))? {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if line.segment == history::SEGMENT && before.exists() {
            break;
        }
        if finder.find(&line.bytes).is_none() {
            continue;
        }
        let Ok(line) = serde_json::from_slice::<HistoryLine>(&line.bytes) else { continue };
        if line.direction == Direction::In && keys.contains(&line.key) {
            answered.insert(line.key);
        }
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_field_by_field() {
        let text = r#"{"channel":"telegram","threadId":42,"sender":"Ada\u001b[2J","senderId":"123","message":"go",
            "isReply":true,"replyToModel":"gpt","timestamp":1771234567890,"messageId":"1771234567890_abc123",
            "permissionMode":"bypass","command":{"do":"mode","mode":"bypass","admin":true},"v":7}"#;
        let it = message("telegram_1771234567890_abc123.json", text.as_bytes()).unwrap();
        assert_eq!(it.key.as_str(), "file-1771234567890_abc123");
        assert_eq!((it.v, &it.command, it.extra.len()), (1, &None, 0));
        let model = Model::named("gpt");
        assert_eq!((it.thread_id.as_str(), it.reply_to_model, it.is_reply), ("42", model, true));
        assert!(!it.sender.contains('\u{1b}'));
    }

    #[test]
    fn what_is_no_message_says_why() {
        for (name, text, why) in [
            ("a.json.tmp", "{}", "never finished"),
            ("a.json", "{\"message\":", "not JSON"),
            ("a.json", "{}", "no message"),
            ("a.json", r#"{"message":" "}"#, "says nothing"),
            ("a.json", r#"{"message":"x","channel":"heartbeat"}"#, "heartbeat"),
            ("a.json", r#"{"message":"x","threadId":"../.."}"#, "is none"),
        ] {
            let told = message(name, text.as_bytes()).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
