//! An event as it comes in and as it is told, and what it is known by.
//!
//! Nothing here reads a request or the disk. What is not a word of the allowed letters is refused with the place of it;
//! secrets are taken out here, before anything is written.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tinyclaw_service::conceal_and_tell;

/// The longest type or id.
pub const WORD_BYTES_MAX: usize = 128;
/// The longest source, session or subject: a URI has to fit.
pub const NAME_CHARS_MAX: usize = 256;
/// An event's `metadata`, as JSON.
pub const BODY_BYTES_MAX: usize = 256 << 10;
/// How deep `metadata` may be nested: readers must not run out of stack.
pub const DEPTH_MAX: usize = 64;
/// How many values `metadata` may have.
pub const MEMBERS_MAX: usize = 4_096;

/// What a database is known by: a new one has another, so that no cursor of the old one means something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 4]);

impl Epoch {
    /// Another one than before, by chance.
    pub fn fresh() -> Epoch {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let chance: [u8; 4] = rand::random();
        // Not quite even, which does no harm: 1.7 million of them are told apart.
        Epoch(chance.map(|it| LETTERS[usize::from(it) % LETTERS.len()]))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{}", char::from(*it)))
    }
}

impl FromStr for Epoch {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Epoch, BadCursor> {
        let letters: Option<[u8; 4]> = text.as_bytes().try_into().ok();
        let is_plain = |it: &u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        letters.filter(|it| it.iter().all(is_plain)).map(Epoch).ok_or_else(|| BadCursor::of(text))
    }
}

/// A place in the sequence of all events: after this one. Written `<epoch>-<seq>`, and read as an event's id, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Of which database.
    pub epoch: Epoch,
    /// The last event before the place; 0 is the beginning.
    pub seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

/// A text that is no place in the sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cursor; one looks like k7q2-123")]
pub struct BadCursor(String);

impl BadCursor {
    fn of(text: &str) -> BadCursor {
        BadCursor(text.chars().take(40).collect())
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Cursor, BadCursor> {
        let plain = text.strip_prefix("evt_").unwrap_or(text);
        let bad = || BadCursor::of(text);
        let (epoch, seq) = plain.split_once('-').ok_or_else(bad)?;
        let is_number = !seq.is_empty() && seq.bytes().all(|it| it.is_ascii_digit());
        // SQLite counts with a sign.
        let seq = seq.parse().ok().filter(|it| is_number && *it <= i64::MAX as u64);
        Ok(Cursor { epoch: epoch.parse().map_err(|_| bad())?, seq: seq.ok_or_else(bad)? })
    }
}

/// What is wrong with an event, and where: a JSON pointer into it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct Invalid {
    /// Where, such as `/type`.
    pub pointer: String,
    /// What, and what is expected.
    pub detail: String,
}

impl Invalid {
    /// Something wrong at a place.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Invalid {
        Invalid { pointer: pointer.into(), detail: detail.into() }
    }
}

/// An event as somebody tells it, before it is checked.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// What happened, such as `session.start`.
    pub kind: String,
    /// When, as it was given.
    pub timestamp: Option<Timestamp>,
    /// Who says so.
    pub source: String,
    /// The sender's own id of it: the same again is the same event.
    pub id: Option<String>,
    /// The session it is of.
    pub session: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// Everything else.
    pub metadata: Map<String, Value>,
}

/// When something happened, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// In ms since 1970.
    pub ms: u64,
    /// In ISO 8601, as it was given.
    pub text: String,
}

impl Timestamp {
    /// From ISO 8601 with a zone. What is before 1970 counts as its first moment; its text stays.
    pub fn of_text(text: &str) -> Option<Timestamp> {
        let at: jiff::Timestamp = text.parse().ok()?;
        let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Some(Timestamp { ms, text: text.to_owned() })
    }

    /// From ms since 1970.
    pub fn of_ms(ms: u64) -> Option<Timestamp> {
        let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
        Some(Timestamp { ms, text: format!("{at:.3}") })
    }
}

/// An event that may be kept: checked, without secrets, and written out but for what the store gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its type.
    pub kind: String,
    /// When it happened, in ms since 1970, if that was said.
    pub time: Option<u64>,
    /// Who says so.
    pub source: String,
    /// The sender's id.
    pub id: Option<String>,
    /// The session it is of.
    pub session: Option<String>,
    /// What it is about.
    pub subject: Option<String>,
    /// Told apart from another event of the same id.
    pub sum: i64,
    /// `,"timestamp":…`, when it was given.
    timestamp: Option<String>,
    /// `"metadata":…` and all that follows but what the store adds.
    rest: String,
    redacted: u32,
}

impl NewEvent {
    /// The checked event, or what is wrong with it.
    pub fn checked(draft: Draft) -> Result<NewEvent, Invalid> {
        let mut redacted = 0;
        let kind = word("/type", draft.kind)?;
        let source = name("/source", draft.source, &mut redacted)?;
        let id = draft.id.map(|it| word("/id", it)).transpose()?;
        let mut optional = |pointer, it: Option<String>| {
            it.filter(|it| !it.is_empty()).map(|it| name(pointer, it, &mut redacted)).transpose()
        };
        let session = optional("/session", draft.session)?;
        let subject = optional("/subject", draft.subject)?;
        let metadata = Value::Object(draft.metadata);
        let mut members = 0;
        measure(&metadata, 1, &mut members)?;
        let text = metadata.to_string();
        if text.len() > BODY_BYTES_MAX {
            let detail = format!("{} bytes are more than {BODY_BYTES_MAX}", text.len());
            return Err(Invalid::at("/metadata", detail));
        }
        let text = without_secrets(text, metadata, &mut redacted);
        let quoted = |it: &str| Value::from(it).to_string();
        let mut rest = format!(r#""metadata":{text},"source":{}"#, quoted(&source));
        for (key, value) in [("session", &session), ("subject", &subject)] {
            if let Some(value) = value {
                rest.push_str(&format!(r#","{key}":{}"#, quoted(value)));
            }
        }
        let timestamp = draft.timestamp.as_ref().map(|it| it.text.clone());
        let mut sum = Sha256::new();
        for part in [kind.as_str(), timestamp.as_deref().unwrap_or_default(), &rest] {
            sum.update(part.as_bytes());
            sum.update([0]);
        }
        let sum = sum.finalize();
        let sum =
            i64::from_be_bytes([sum[0], sum[1], sum[2], sum[3], sum[4], sum[5], sum[6], sum[7]]);
        let time = draft.timestamp.map(|it| it.ms);
        Ok(NewEvent { kind, time, source, id, session, subject, sum, timestamp, rest, redacted })
    }

    /// How many secrets were taken out.
    pub fn redacted(&self) -> u32 {
        self.redacted
    }

    /// About how much it weighs, in bytes.
    pub fn weight(&self) -> usize {
        self.rest.len() + 256
    }

    /// The event as it is told, under its place and with the time it came.
    pub fn told(&self, cursor: Cursor, at: u64) -> String {
        let made = || Timestamp::of_ms(at).map(|it| it.text).unwrap_or_default();
        let timestamp = self.timestamp.clone().unwrap_or_else(made);
        format!(
            r#"{{"id":"evt_{cursor}","type":"{}","timestamp":{},{},"receivedAt":{at},"redacted":{}}}"#,
            self.kind,
            Value::from(timestamp),
            self.rest,
            self.redacted
        )
    }
}

/// A type or an id: a word that is safe in every frame and every query.
fn word(pointer: &str, text: String) -> Result<String, Invalid> {
    let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"._:/-".contains(&it);
    if text.is_empty() || text.len() > WORD_BYTES_MAX || !text.bytes().all(is_letter) {
        let detail = format!("expected 1 to {WORD_BYTES_MAX} of A-Z a-z 0-9 . _ : / -");
        return Err(Invalid::at(pointer, detail));
    }
    Ok(text)
}

/// Whether a text could be a source, a session or a subject: one short line.
pub fn is_name(text: &str) -> bool {
    text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control)
}

/// What is told of one that could not.
pub fn bad_name() -> String {
    format!("expected 1 to {NAME_CHARS_MAX} characters, none of them a control character")
}

/// A name of somebody else's making: one line of text.
fn name(pointer: &str, text: String, redacted: &mut u32) -> Result<String, Invalid> {
    if text.is_empty() || !is_name(&text) {
        return Err(Invalid::at(pointer, bad_name()));
    }
    Ok(concealed(&text, redacted).unwrap_or(text))
}

fn measure(value: &Value, depth: usize, members: &mut usize) -> Result<(), Invalid> {
    if depth > DEPTH_MAX {
        return Err(Invalid::at("/metadata", format!("is nested deeper than {DEPTH_MAX}")));
    }
    let below: &mut dyn Iterator<Item = &Value> = match value {
        Value::Array(all) => &mut all.iter(),
        Value::Object(all) => &mut all.values(),
        _ => return Ok(()),
    };
    for it in below {
        *members += 1;
        if *members > MEMBERS_MAX {
            return Err(Invalid::at("/metadata", format!("has more than {MEMBERS_MAX} values")));
        }
        measure(it, depth + 1, members)?;
    }
    Ok(())
}

/// The text without its secrets, or `None` when it has none.
fn concealed(text: &str, redacted: &mut u32) -> Option<String> {
    let mut found = 0;
    match conceal_and_tell(text, || found += 1) {
        std::borrow::Cow::Borrowed(_) => None,
        std::borrow::Cow::Owned(shown) => {
            // Secrets that we know are not told one by one.
            *redacted += found.max(1);
            Some(shown)
        }
    }
}

fn without_secrets(text: String, mut metadata: Value, redacted: &mut u32) -> String {
    let before = *redacted;
    let Some(shown) = concealed(&text, redacted) else { return text };
    if serde_json::from_str::<serde::de::IgnoredAny>(&shown).is_ok() {
        return shown;
    }
    // What was taken out had a quotation mark in it: word by word, then.
    *redacted = before;
    conceal_each(&mut metadata, redacted);
    metadata.to_string()
}

fn conceal_each(value: &mut Value, redacted: &mut u32) {
    match value {
        Value::String(text) => {
            if let Some(shown) = concealed(text, redacted) {
                *text = shown;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|it| conceal_each(it, redacted)),
        Value::Object(all) => {
            let taken = std::mem::take(all);
            for (key, mut it) in taken {
                conceal_each(&mut it, redacted);
                all.insert(concealed(&key, redacted).unwrap_or(key), it);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(kind: &str, metadata: Value) -> Draft {
        let Value::Object(metadata) = metadata else { panic!("an object") };
        Draft { kind: kind.to_owned(), source: "test".to_owned(), metadata, ..Draft::default() }
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_nothing_else_is() {
        let cursor: Cursor = "k7q2-123".parse().unwrap();
        assert_eq!(cursor.to_string(), "k7q2-123");
        assert_eq!("evt_k7q2-123".parse(), Ok(cursor));
        for bad in ["", "k7q2", "k7q2-", "K7Q2-1", "k7q-1", "k7q2-+1", "k7q2-1x", "k7q2--1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
        assert!("k7q2-9223372036854775808".parse::<Cursor>().is_err());
    }

    #[test]
    fn what_could_break_a_frame_is_no_type_and_no_id() {
        for bad in ["", "a b", "a\nb", "a\rb", "a\0b", "ä", &"x".repeat(129)] {
            let refused = NewEvent::checked(draft(bad, json!({}))).unwrap_err();
            assert_eq!(refused.pointer, "/type", "{bad:?}");
            let mut it = draft("a.b", json!({}));
            it.id = Some((*bad).to_owned());
            assert_eq!(NewEvent::checked(it).unwrap_err().pointer, "/id", "{bad:?}");
        }
        for pointer in ["/source", "/session", "/subject"] {
            let mut it = draft("a.b", json!({}));
            let text = "a\r\ndata: forged".to_owned();
            match pointer {
                "/source" => it.source = text,
                "/session" => it.session = Some(text),
                _ => it.subject = Some(text),
            }
            assert_eq!(NewEvent::checked(it).unwrap_err().pointer, pointer);
        }
    }

    #[test]
    fn a_secret_is_gone_before_anything_is_written_and_the_rest_is_json() {
        let token = format!("ghp_{}", "a1B2".repeat(9));
        let nested = json!({ "a": [{ "b": format!("token {token} \"quoted\"") }], "c": "plain" });
        let event = NewEvent::checked(draft("a.b", nested)).unwrap();
        let told = event.told("k7q2-1".parse().unwrap(), 1);
        assert!(!told.contains(&token));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["redacted"], 1);
        assert_eq!(told["metadata"]["c"], "plain");
        // One that breaks the JSON when it is cut out of it.
        tinyclaw_service::conceal_from_now_on(r#"c","d":"secret-of-two-members"#);
        let event =
            NewEvent::checked(draft("a.b", json!({ "x": "c", "d": "secret-of-two-members" })));
        let told = event.unwrap().told("k7q2-1".parse().unwrap(), 1);
        assert!(serde_json::from_str::<Value>(&told).is_ok(), "{told}");
    }

    #[test]
    fn depth_members_and_bytes_have_a_limit_of_their_own() {
        let mut deep = json!(1);
        for _ in 0..DEPTH_MAX {
            deep = json!([deep]);
        }
        let refused = |it| NewEvent::checked(draft("a.b", it)).unwrap_err().detail;
        assert!(refused(json!({ "x": deep })).contains("deeper"));
        assert!(refused(json!({ "x": vec![1; MEMBERS_MAX] })).contains("values"));
        assert!(refused(json!({ "x": "y".repeat(BODY_BYTES_MAX) })).contains("bytes"));
        assert!(NewEvent::checked(draft("a.b", json!({ "x": vec![1; MEMBERS_MAX - 1] }))).is_ok());
    }

    #[test]
    fn another_body_has_another_sum_and_the_time_it_came_is_no_part_of_it() {
        let event = |it| NewEvent::checked(draft("a.b", it)).unwrap();
        assert_eq!(event(json!({ "a": 1 })).sum, event(json!({ "a": 1 })).sum);
        assert_ne!(event(json!({ "a": 1 })).sum, event(json!({ "a": 2 })).sum);
    }
}
