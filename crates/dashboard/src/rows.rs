//! A line of a log as the page gets it: the typed line, its number, and what had to be cut.
//!
//! A line that does not have its log's shape is shown as it is, with the reason. Secrets are taken out last, on the
//! finished JSON ([`redacted_json`]).

use serde::Serialize;
use serde::de::DeserializeOwned;
use tinyclaw_domain::{HistoryLine, PromptLine, RoutingLine};

use crate::meta::{LEVELS, LogName, level_of};
use crate::redact::{redacted, redacted_json};

/// How many characters of a text a live row and a row in a list carry.
pub(crate) const LIVE_CHARS: usize = 600;
/// How much of a text log's line is shown.
const TEXT_CHARS: usize = 4_000;
/// How much of a line that cannot be read is shown.
const BROKEN_CHARS: usize = 2_000;

/// One row of a log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// Its number among all rows.
    pub(crate) row: i64,
    /// Its number among those asked for, when a filter was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rank: Option<i64>,
    /// The line, if it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<AnyLine>,
    /// Why there is no line, and what stands there instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) broken: Option<Broken>,
    /// Texts that were cut, with their whole length in characters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cut: Vec<Cut>,
    /// About how long it is as JSON.
    #[serde(skip)]
    pub(crate) bytes: usize,
}

/// A line of any log.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum AnyLine {
    /// Of the history.
    History(Box<HistoryLine>),
    /// Of the routing log.
    Routing(Box<RoutingLine>),
    /// Of the prompts.
    Prompt(Box<PromptLine>),
    /// Of a text log.
    Text(TextLine),
}

/// A line that cannot be shown as what it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Broken {
    /// Why, for a person.
    pub(crate) why: String,
    /// The line's beginning, as text.
    pub(crate) text: String,
}

/// A text that was cut.
#[derive(Debug, Serialize)]
pub(crate) struct Cut {
    /// Which field.
    pub(crate) field: &'static str,
    /// How many characters the whole text has.
    pub(crate) chars: usize,
}

/// A line of a text log.
#[derive(Debug, Serialize)]
pub(crate) struct TextLine {
    /// `error`, `warn`, `info`, `debug`, `trace`, or empty.
    pub(crate) level: &'static str,
    /// The line, without escape sequences.
    pub(crate) text: String,
}

/// A line with texts that may be long.
trait LongTexts: DeserializeOwned {
    fn long_texts(&mut self) -> Vec<(&'static str, &mut String, Keep)>;
}

/// Which end of a text that is cut stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Beginning,
    /// A prompt ends with what was asked, and begins with what every prompt begins with.
    End,
}

impl LongTexts for HistoryLine {
    fn long_texts(&mut self) -> Vec<(&'static str, &mut String, Keep)> {
        vec![("message", &mut self.message, Keep::Beginning)]
    }
}

impl LongTexts for RoutingLine {
    fn long_texts(&mut self) -> Vec<(&'static str, &mut String, Keep)> {
        vec![("rawInput", &mut self.raw_input, Keep::Beginning)]
    }
}

impl LongTexts for PromptLine {
    fn long_texts(&mut self) -> Vec<(&'static str, &mut String, Keep)> {
        vec![
            ("systemPrompt", &mut self.system_prompt, Keep::Beginning),
            ("userMessage", &mut self.user_message, Keep::End),
        ]
    }
}

/// A row of a log. `line` is `None` when the file it lay in is gone; longer texts than `chars_max` are cut.
pub(crate) fn row(
    name: LogName,
    row: i64,
    rank: Option<i64>,
    line: Option<&[u8]>,
    chars_max: usize,
) -> Row {
    let read = match (name, line) {
        (_, None) => {
            let why = "the file this row lay in was cut, replaced or removed".to_owned();
            Read { shown: Err(Broken { why, text: String::new() }), cut: Vec::new(), bytes: 0 }
        }
        (LogName::Messages, Some(line)) => typed(line, chars_max, AnyLine::History),
        (LogName::Routing, Some(line)) => typed(line, chars_max, AnyLine::Routing),
        (LogName::Prompts, Some(line)) => typed(line, chars_max, AnyLine::Prompt),
        (LogName::Telegram | LogName::Queue, Some(line)) => text(line),
    };
    let (line, broken) = match read.shown {
        Ok(it) => (Some(it), None),
        Err(it) => (None, Some(it)),
    };
    Row { row, rank, line, broken, cut: read.cut, bytes: read.bytes }
}

/// The row as JSON, as a live stream carries it.
pub(crate) fn row_json(name: LogName, row: i64, line: Option<&[u8]>) -> String {
    redacted_json(&self::row(name, row, None, line, LIVE_CHARS))
}

/// What was made of a line.
struct Read {
    shown: Result<AnyLine, Broken>,
    cut: Vec<Cut>,
    bytes: usize,
}

fn typed<T: LongTexts>(line: &[u8], chars_max: usize, shown: fn(Box<T>) -> AnyLine) -> Read {
    match serde_json::from_slice::<T>(line) {
        Ok(mut it) => {
            let mut cuts = Vec::new();
            let mut bytes = line.len();
            for (field, text, keep) in it.long_texts() {
                let whole = text.len();
                if let Some(chars) = cut(text, chars_max, keep) {
                    cuts.push(Cut { field, chars });
                    bytes = bytes.saturating_sub(whole.saturating_sub(text.len()));
                }
            }
            Read { shown: Ok(shown(Box::new(it))), cut: cuts, bytes }
        }
        Err(source) => {
            let mut text = String::from_utf8_lossy(line).into_owned();
            cut(&mut text, BROKEN_CHARS, Keep::Beginning);
            let bytes = text.len();
            Read { shown: Err(Broken { why: source.to_string(), text }), cut: Vec::new(), bytes }
        }
    }
}

fn text(line: &[u8]) -> Read {
    let mut text = without_escapes(&String::from_utf8_lossy(line));
    let whole = cut(&mut text, TEXT_CHARS, Keep::Beginning);
    let level = usize::from(level_of(line)).checked_sub(1).map_or("", |it| LEVELS[it]);
    let cut = whole.map(|chars| Cut { field: "text", chars }).into_iter().collect();
    let bytes = text.len();
    Read { shown: Ok(AnyLine::Text(TextLine { level, text })), cut, bytes }
}

/// Cuts `text` to `chars_max` characters; tells how many there were. Half a secret would not be known as one, so
/// secrets are taken out before.
fn cut(text: &mut String, chars_max: usize, keep: Keep) -> Option<usize> {
    text.char_indices().nth(chars_max)?;
    let chars = text.chars().count();
    *text = redacted(std::mem::take(text));
    if keep == Keep::End {
        let from = text.char_indices().rev().nth(chars_max.saturating_sub(1));
        *text = match from {
            Some((from, _)) if chars_max > 0 => text.split_off(from),
            _ => String::new(),
        };
        return Some(chars);
    }
    let Some((end, _)) = text.char_indices().nth(chars_max) else { return Some(chars) };
    text.truncate(end);
    Some(chars)
}

/// Terminal colours mean nothing on a page.
fn without_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(it) = chars.next() {
        if it == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            while chars.next().is_some_and(|it| !it.is_ascii_alphabetic()) {}
        } else {
            clean.push(it);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_letters_and_says_so() {
        let line = r#"{"timestamp":1,"key":"tg-1","attempt":1,"messageId":"1_tg1","threadId":7,"channel":"telegram","direction":"in","sender":"Ada","message":"äöü😀!"}"#;
        let json = redacted_json(&row(LogName::Messages, 3, None, Some(line.as_bytes()), 4));
        let row: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(row["line"]["message"], "äöü😀");
        assert_eq!(row["cut"][0]["chars"], 5);
    }

    #[test]
    fn a_line_of_another_shape_is_shown_as_it_is() {
        let json = row_json(LogName::Routing, 3, Some(b"{\"half"));
        let row: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(row["broken"]["text"], "{\"half");
        assert!(row["broken"]["why"].as_str().unwrap().contains("EOF"));
    }

    #[test]
    fn a_text_line_loses_its_colours() {
        let json = row_json(LogName::Queue, 0, Some(b"\x1b[33m WARN\x1b[0m slow disk"));
        assert_eq!(json, r#"{"row":0,"line":{"level":"warn","text":" WARN slow disk"}}"#);
    }
}
