//! The original's `message-history.jsonl`, which becomes the time before this office's own.
//!
//! Imported lines go into segment 0 of the history, before the first segment that this TinyClaw ever writes: readers of
//! the newest lines see this office's, and no line that is already there changes its place. A line is known by its
//! message, so the same line again is nothing new.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tinyclaw_disk::{Flush, replace, segment_path};
use tinyclaw_domain::{
    Channel, Direction, HistoryLine, Key, Message, Model, Source as Spoken, ThreadId,
};
use tinyclaw_ledger::StateDir;

use super::report::ReportPart;
use super::source::Source;
use crate::terminal::{clip, one_line};

/// Both generations that the original keeps, the older one first.
const FILES: [&str; 2] = ["message-history.1.jsonl", "message-history.jsonl"];
/// The original rotates at 10 MiB.
const FILE_BYTES_MAX: u64 = 256_000_000;
const LINE_BYTES_MAX: usize = 1_000_000;
/// A time in ms beyond this year is none.
const TIME_MAX: f64 = 4_102_444_800_000.0;
/// The segment before the first.
pub(super) const SEGMENT: u64 = 0;

/// A line of the original. Those of its later versions have a `messageId`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldLine {
    #[serde(alias = "timestamp")]
    ts: f64,
    thread_id: Value,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    sender: Option<String>,
    direction: Direction,
    message: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    source_thread_id: Option<Value>,
    #[serde(default)]
    message_id: Option<String>,
}

/// The time before, as it will lie on disk.
#[derive(Debug, Default)]
struct Before {
    /// What each message and direction says.
    known: HashMap<(Key, Direction), SaidBefore>,
    lines: Vec<(u64, Vec<u8>)>,
}

/// Who said what, when and where: two lines with the same are one.
type SaidBefore = (u64, ThreadId, String, String);

/// Takes the history over.
pub(super) fn take(source: &Source, state: &StateDir, dry_run: bool) -> anyhow::Result<ReportPart> {
    let mut part = ReportPart::new("history", "line");
    let path = segment_path(&state.history(), SEGMENT);
    let mut before = Before::read(&path)?;
    for name in FILES {
        match source.file(name) {
            Ok(None) => {}
            Ok(Some((_, found))) if found.bytes > FILE_BYTES_MAX => {
                part.left.add(name, format!("it is over {} MB", FILE_BYTES_MAX / 1_000_000));
            }
            Ok(Some((file, found))) => {
                let file = std::io::Read::take(file, found.bytes);
                before.take_file(name, BufReader::new(file), &mut part)?;
            }
            Err(why) => part.left.add(name, why),
        }
    }
    if part.taken > 0 && !dry_run {
        // As they were said; the sort keeps lines of one moment in their order.
        before.lines.sort_by_key(|(at, _)| *at);
        let mut bytes = Vec::with_capacity(before.lines.iter().map(|it| it.1.len() + 1).sum());
        for (_, line) in &before.lines {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        replace(&path, &bytes, Flush::Strict).context("cannot write the history")?;
    }
    Ok(part)
}

impl Before {
    /// What an earlier import left.
    fn read(path: &Path) -> anyhow::Result<Before> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(err) => {
                return Err(err).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut before = Before::default();
        let mut last = 0;
        for bytes in bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()) {
            if let Ok(line) = serde_json::from_slice::<HistoryLine>(bytes) {
                last = line.timestamp;
                before.known.insert((line.key.clone(), line.direction), said(&line));
            }
            // Also one that a later version wrote, where it stands.
            before.lines.push((last, bytes.to_owned()));
        }
        Ok(before)
    }

    fn take_file(
        &mut self,
        name: &str,
        mut reader: impl std::io::BufRead,
        part: &mut ReportPart,
    ) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for number in 1_usize.. {
            bytes.clear();
            let mut limited = std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64 + 1);
            let length = limited
                .read_until(b'\n', &mut bytes)
                .with_context(|| format!("cannot read {name}"))?;
            if length == 0 {
                break;
            }
            let what = || format!("{name} line {number}");
            if length > LINE_BYTES_MAX {
                part.left.add(what(), "it is over 1 MB");
                while bytes.last() != Some(&b'\n') {
                    bytes.clear();
                    let mut rest = std::io::Read::take(&mut reader, LINE_BYTES_MAX as u64);
                    if rest.read_until(b'\n', &mut bytes).with_context(what)? == 0 {
                        break;
                    }
                }
                continue;
            }
            let text = bytes.trim_ascii();
            if text.is_empty() {
                continue;
            }
            match self.line(text) {
                Ok(true) => part.taken += 1,
                Ok(false) => part.here += 1,
                Err(why) => part.left.add(what(), why),
            }
        }
        Ok(())
    }

    /// Takes one line. `false`: it is here already.
    fn line(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let mut line = read_line(bytes)?;
        let it = said(&line);
        // Two different lines that claim the same message: the later one goes by what it says.
        let by_itself = Key::hashed("file", &format!("{it:?}"));
        for key in [line.key.clone(), by_itself] {
            match self.known.entry((key.clone(), line.direction)) {
                Entry::Occupied(known) if *known.get() == it => return Ok(false),
                Entry::Occupied(_) => {}
                Entry::Vacant(place) => {
                    place.insert(it);
                    line.key = key;
                    let bytes = serde_json::to_vec(&line).map_err(|err| err.to_string())?;
                    self.lines.push((line.timestamp, bytes));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn said(line: &HistoryLine) -> SaidBefore {
    (line.timestamp, line.thread_id.clone(), line.sender.clone(), line.message.clone())
}

/// A line of ours from a line of theirs.
fn read_line(bytes: &[u8]) -> Result<HistoryLine, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|err| {
        if err.is_eof() { "it is torn".to_owned() } else { format!("it is not JSON: {err}") }
    })?;
    let old: OldLine =
        serde_json::from_value(value).map_err(|err| format!("it is no message: {err}"))?;
    if !(1.0..TIME_MAX).contains(&old.ts) {
        return Err("its time is none".to_owned());
    }
    let timestamp = old.ts as u64;
    let thread_id = thread_id(&old.thread_id)?;
    let (channel, mut source) = channel(old.channel.as_deref())?;
    if let Some(told) = &old.source {
        source = spoken(told).unwrap_or(source);
    }
    let sender = clip(&one_line(old.sender.as_deref().unwrap_or_default()), 128);
    let message_id = old.message_id.filter(|it| is_message_id(it));
    // An answer of theirs to another thread went under the message's id with an ending.
    let key = message_id.as_deref().map(|it| key(it.trim_end_matches("_tg")));
    let direction = old.direction;
    let key = key.unwrap_or_else(|| {
        Key::hashed(
            "file",
            &json!([timestamp, thread_id, direction, sender, old.message]).to_string(),
        )
    });
    let line = HistoryLine::of(&Message::new(key, channel, thread_id, old.message, timestamp));
    Ok(HistoryLine {
        message_id: message_id.unwrap_or_else(|| line.message_id.clone()),
        direction,
        sender,
        model: old.model.as_deref().and_then(Model::of_name),
        source,
        source_thread_id: old.source_thread_id.and_then(|it| self::thread_id(&it).ok()),
        ..line
    })
}

/// The key of a message of the original: the one that the queue gives a file of the original that is laid into it.
pub(super) fn key(message_id: &str) -> Key {
    Key::hashed("file", message_id)
}

/// Whether a text may stand for a message's id.
pub(super) fn is_message_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.contains(char::is_control)
}

/// A thread's id, a number in the original.
pub(super) fn thread_id(value: &Value) -> Result<ThreadId, String> {
    serde_json::from_value(value.clone())
        .map_err(|_| format!("its thread {} is none", clip(&one_line(&value.to_string()), 40)))
}

/// The channel, and who spoke when nothing else says it. The original called heartbeats a channel.
pub(super) fn channel(text: Option<&str>) -> Result<(Channel, Spoken), String> {
    match text {
        None | Some("telegram") => Ok((Channel::Telegram, Spoken::User)),
        Some("heartbeat") => Ok((Channel::Telegram, Spoken::Heartbeat)),
        Some("cli") => Ok((Channel::Cli, Spoken::Cli)),
        Some("system") => Ok((Channel::System, Spoken::System)),
        Some(other) => Err(format!("its channel {:?} is none of ours", clip(&one_line(other), 40))),
    }
}

/// Who or what spoke.
pub(super) fn spoken(text: &str) -> Option<Spoken> {
    match text {
        // To all threads at once.
        "broadcast" => Some(Spoken::CrossThread),
        other => serde_json::from_value(json!(other)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(before: &mut Before, text: &str) -> ReportPart {
        let mut part = ReportPart::new("history", "line");
        before.take_file("h.jsonl", text.as_bytes(), &mut part).unwrap();
        part
    }

    const ADA: &str = r#"{"ts":1771234567890,"threadId":7,"channel":"telegram","sender":"Ada","direction":"in","message":"hi","messageId":"1771234567890_abc123","source":"user"}"#;
    const ANSWER: &str = r#"{"ts":1771234569000,"threadId":7,"channel":"telegram","sender":"borg","direction":"out","message":"hello","model":"claude-sonnet-4-5","messageId":"1771234567890_abc123_tg"}"#;

    #[test]
    fn a_question_and_its_answer_are_of_one_message() {
        let mut before = Before::default();
        assert_eq!(take(&mut before, &format!("{ADA}\n{ANSWER}\n")).taken, 2);
        let lines: Vec<HistoryLine> =
            before.lines.iter().map(|it| serde_json::from_slice(&it.1).unwrap()).collect();
        assert_eq!(lines[0].key, lines[1].key);
        assert_eq!(lines[0].key.as_str(), "file-1771234567890_abc123");
        assert_eq!(lines[1].model, Some(Model::SONNET));
    }

    #[test]
    fn the_same_line_again_is_nothing_new_and_another_under_its_name_is() {
        let mut before = Before::default();
        let other = ADA.replace("hi", "something else");
        let part = take(&mut before, &format!("{ADA}\n{ADA}\n{other}\n{other}\n"));
        assert_eq!((part.taken, part.here, part.left.count), (2, 2, 0));
        assert_eq!(take(&mut before, &format!("{other}\n{ADA}\n")).here, 2);
    }

    #[test]
    fn what_is_left_is_named_by_its_line() {
        let long = format!("{{\"message\":\"{}\"}}", "x".repeat(3 * LINE_BYTES_MAX));
        let part = take(
            &mut Before::default(),
            &format!(
                "{ADA}\n\n{long}\n{}\n{}\n{}\n{}\n{{\"ts\":1771",
                ADA.replace("\"threadId\":7", "\"threadId\":\"../x\""),
                ADA.replace("telegram", "fax"),
                ADA.replace("1771234567890,", "-5,"),
                "[]",
            ),
        );
        let left: Vec<String> =
            part.left.named.iter().map(|it| format!("{}: {}", it.what, it.why)).collect();
        assert_eq!(part.taken, 1);
        assert_eq!(left[0], "h.jsonl line 3: it is over 1 MB");
        assert_eq!(left[1], r#"h.jsonl line 4: its thread "../x" is none"#);
        assert_eq!(left[2], r#"h.jsonl line 5: its channel "fax" is none of ours"#);
        assert_eq!(left[3], "h.jsonl line 6: its time is none");
        assert!(left[4].starts_with("h.jsonl line 7: it is no message"), "{}", left[4]);
        assert_eq!(left[5], "h.jsonl line 8: it is torn");
    }
}
