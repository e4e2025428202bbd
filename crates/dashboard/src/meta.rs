//! What the index remembers of a line: fifteen bytes, enough to filter and count without touching the file.
//!
//! Nothing here keeps a text. A line that cannot be read is remembered as broken, never dropped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tinyclaw_domain::{Model, StateDir, ThreadId, Tier};

use crate::models::Models;

/// One of the logs the dashboard follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogName {
    /// `message-history.jsonl`
    Messages,
    /// `routing-log.jsonl`
    Routing,
    /// `logs/prompts.jsonl`
    Prompts,
    /// `logs/telegram.log`
    Telegram,
    /// `logs/queue.log`
    Queue,
}

impl LogName {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [LogName; 5] =
        [LogName::Messages, LogName::Routing, LogName::Prompts, LogName::Telegram, LogName::Queue];

    /// The name in URLs and events.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            LogName::Messages => "messages",
            LogName::Routing => "routing",
            LogName::Prompts => "prompts",
            LogName::Telegram => "telegram",
            LogName::Queue => "queue",
        }
    }

    /// Where the log lies in the state folder.
    pub(crate) fn path(self, state: &Path) -> PathBuf {
        let state = StateDir::new(state);
        match self {
            LogName::Messages => state.history(),
            LogName::Routing => state.routing(),
            LogName::Prompts => state.prompts(),
            LogName::Telegram | LogName::Queue => state.text_log(self.as_str()),
        }
    }

    /// Whether its lines are words for people instead of JSON.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, LogName::Telegram | LogName::Queue)
    }
}

/// A name that is none of the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoSuchLog;

impl FromStr for LogName {
    type Err = NoSuchLog;

    fn from_str(text: &str) -> Result<LogName, NoSuchLog> {
        LogName::ALL.into_iter().find(|it| it.as_str() == text).ok_or(NoSuchLog)
    }
}

/// The tier in a row's marks: 0 is none, then SIMPLE, MEDIUM, COMPLEX.
pub(crate) const TIER: u8 = 0b0000_1100;
/// An answer, in the history; a lifted decision, in the routing log; injected history, in a prompt.
pub(crate) const FLAG: u8 = 0b0001_0000;
/// A prompt that had history injected although its session was not new.
pub(crate) const FAULT: u8 = 0b0010_0000;
/// A line that cannot be read.
pub(crate) const BROKEN: u8 = 0b0100_0000;
/// A line that stands in the log again, after a crash.
pub(crate) const REPEATED: u8 = 0b1000_0000;
/// The level in the marks of a text line: 0 is unknown, then error, warn, info, debug, trace.
pub(crate) const LEVEL: u8 = 0b0000_0111;

/// The levels of text lines, in the order of their numbers from 1.
pub(crate) const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The marks of a tier.
pub(crate) fn tier_marks(tier: Tier) -> u8 {
    (tier as u8 + 1) << 2
}

/// What is remembered of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Meta {
    /// The thread's number in [`ThreadTable`]; 0 is none.
    pub(crate) thread: u16,
    /// Seconds since 1970; 0 is unknown.
    pub(crate) seconds: u32,
    /// The bits above.
    pub(crate) marks: u8,
    /// The model's number in [`ModelTable`]; 0 is none.
    pub(crate) model: u8,
    /// Millionths of a dollar in the history, the prompt's length in the prompts.
    pub(crate) value: u32,
}

/// Short numbers for thread ids.
#[derive(Debug, Default)]
pub(crate) struct ThreadTable {
    names: Vec<ThreadId>,
    by_name: HashMap<ThreadId, u16>,
    by_number: HashMap<u32, u16>,
}

impl ThreadTable {
    /// The number of a thread that occurs in the log.
    pub(crate) fn number_of(&self, thread: &ThreadId) -> Option<u16> {
        self.by_name.get(thread).copied()
    }

    /// The thread with this number.
    pub(crate) fn name_of(&self, number: u16) -> Option<&ThreadId> {
        self.names.get(usize::from(number).checked_sub(1)?)
    }

    fn intern(&mut self, thread: ThreadId) -> u16 {
        if let Some(number) = self.by_name.get(&thread) {
            return *number;
        }
        // More than 65,535 desks: the rest share the number of those without one.
        let Ok(number) = u16::try_from(self.names.len() + 1) else { return 0 };
        if let Some(topic) = thread.number() {
            self.by_number.insert(topic, number);
        }
        self.names.push(thread.clone());
        self.by_name.insert(thread, number);
        number
    }
}

/// Short numbers for models, by their families.
#[derive(Debug, Default)]
pub(crate) struct ModelTable {
    names: Vec<Model>,
}

impl ModelTable {
    /// The number of a model that occurs in the log.
    pub(crate) fn number_of(&self, model: Model) -> Option<u8> {
        let at = self.names.iter().position(|it| *it == model)?;
        u8::try_from(at + 1).ok()
    }

    fn intern(&mut self, model: Model) -> u8 {
        self.number_of(model).unwrap_or_else(|| {
            // More than 255 models: the rest share the number of those without one.
            let Ok(number) = u8::try_from(self.names.len() + 1) else { return 0 };
            self.names.push(model);
            number
        })
    }
}

/// What lines name again and again, in short.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// The threads.
    pub(crate) threads: ThreadTable,
    /// The models.
    pub(crate) models: ModelTable,
}

/// Every field of the three JSON logs that is remembered. All are optional, so that a line of the original is read too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    timestamp: Option<f64>,
    #[serde(borrow)]
    thread_id: Option<ThreadField<'a>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    attempt: Option<u32>,
    #[serde(borrow)]
    direction: Option<Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    effective_model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tier: Option<Cow<'a, str>>,
    cost_usd: Option<f64>,
    /// Of a thread on a devbox.
    devbox: Option<IgnoredAny>,
    upgraded: Option<bool>,
    /// Of a turn that was raised: a second decision, and not the first one again.
    evidence: Option<IgnoredAny>,
    new_session: Option<bool>,
    history_injected: Option<bool>,
    prompt_length: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ThreadField<'a> {
    Number(u32),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

/// Reads what is to be remembered, and knows lines it has met a moment ago.
#[derive(Debug)]
pub(crate) struct Reader {
    name: LogName,
    models: Models,
    /// Fingerprints of recent lines by (key, attempt, direction): a line stands twice after a crash, soon after.
    recent: Box<[u64; 1024]>,
}

impl Reader {
    /// A reader of the lines of one log.
    pub(crate) fn new(name: LogName, models: Models) -> Reader {
        Reader { name, models, recent: Box::new([0; 1024]) }
    }

    /// What is remembered of `line`.
    pub(crate) fn read(&mut self, line: &[u8], tables: &mut Tables) -> Meta {
        if self.name.is_text() {
            return Meta { marks: level_of(line), ..Meta::default() };
        }
        let broken = Meta { marks: BROKEN, ..Meta::default() };
        let Ok(line) = std::str::from_utf8(line) else { return broken };
        let Ok(fields) = serde_json::from_str::<Fields<'_>>(line) else { return broken };
        let model = fields.effective_model.or(fields.model);
        let model = model.and_then(|it| self.models.now().of_name(&it));
        let tier = fields.tier.as_deref().and_then(|it| it.parse::<Tier>().ok());
        let mut marks = tier.map_or(0, tier_marks);
        let model = model.map_or(0, |it| tables.models.intern(it));
        let is_injected = fields.history_injected == Some(true);
        let is_out = fields.direction.as_deref() == Some("out");
        if is_out || is_injected || fields.upgraded == Some(true) {
            marks |= FLAG;
        }
        if is_injected && fields.new_session == Some(false) {
            marks |= FAULT;
        }
        if let Some(key) = &fields.key {
            let is_second = is_out || fields.evidence.is_some();
            let seen = fingerprint(key, fields.attempt.unwrap_or(1), is_second);
            let slot = &mut self.recent[(seen % 1024) as usize];
            if *slot == seen {
                marks |= REPEATED;
            }
            *slot = seen;
        }
        let threads = &mut tables.threads;
        let thread = match fields.thread_id {
            Some(ThreadField::Number(it)) => match threads.by_number.get(&it) {
                Some(number) => *number,
                None => threads.intern(ThreadId::topic(it)),
            },
            Some(ThreadField::Text(it)) => it.parse().map_or(0, |it| threads.intern(it)),
            None => 0,
        };
        let value = match self.name {
            LogName::Prompts => fields.prompt_length.unwrap_or(0).min(u64::from(u32::MAX)) as u32,
            // A devbox pays with its own login, and says what it likes: it is no part of the office's sums.
            _ if fields.devbox.is_some() => 0,
            _ => (fields.cost_usd.unwrap_or(0.0).max(0.0) * 1e6).round() as u32,
        };
        let seconds = (fields.timestamp.unwrap_or(0.0) / 1000.0) as u32;
        Meta { thread, seconds, marks, model, value }
    }
}

fn fingerprint(key: &str, attempt: u32, is_out: bool) -> u64 {
    let salt = u64::from(attempt) << 1 | u64::from(is_out);
    let start = 0xcbf2_9ce4_8422_2325 ^ salt;
    key.bytes().fold(start, |sum, it| (sum ^ u64::from(it)).wrapping_mul(0x0100_0000_01b3)) | 1
}

/// The level that a text line names in its first hundred bytes.
pub(crate) fn level_of(line: &[u8]) -> u8 {
    let start = &line[..line.len().min(100)];
    let found = LEVELS.iter().enumerate().filter_map(|(at, level)| {
        let upper = level.to_ascii_uppercase();
        let from = memchr::memmem::find(start, upper.as_bytes())?;
        Some((from, at as u8 + 1))
    });
    found.min().map_or(0, |(_, level)| level)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tinyclaw_domain::Catalogue;

    use super::*;

    fn read(name: LogName, line: &str) -> Meta {
        Reader::new(name, Models::new(Catalogue::default()))
            .read(line.as_bytes(), &mut Tables::default())
    }

    #[test]
    fn what_a_devbox_spends_is_no_part_of_the_offices_sums() {
        let line = |devbox: &str| {
            let line = format!(
                r#"{{"timestamp":1771234567890,"key":"tg-1","threadId":42,"direction":"out","costUsd":2.5{devbox}}}"#
            );
            read(LogName::Messages, &line).value
        };
        assert_eq!((line(""), line(r#","devbox":"api""#)), (2_500_000, 0));
    }

    #[test]
    fn a_line_is_remembered_by_thread_time_model_and_cost() {
        let line = r#"{"timestamp":1771234567890,"key":"tg-1","attempt":1,"threadId":42,"direction":"out","model":"opus","tier":"COMPLEX","costUsd":0.0123}"#;
        let meta = read(LogName::Messages, line);
        assert_eq!(
            meta,
            Meta { thread: 1, seconds: 1_771_234_567, marks: 0b1_1100, model: 1, value: 12_300 }
        );
    }

    /// They were read at the start alone, and a family that was added later had no name and no colour until the next one.
    #[test]
    fn a_family_that_the_settings_add_is_known_from_then_on() {
        let models = Models::new(Catalogue::default());
        let mut reader = Reader::new(LogName::Messages, models.clone());
        let mut tables = Tables::default();
        let line = br#"{"key":"tg-1","attempt":1,"direction":"out","model":"claude-saga-7"}"#;
        let mut check = |name: &str| {
            let number = reader.read(line, &mut tables).model;
            assert_eq!(
                tables.models.number_of(Model::named(name).unwrap()),
                Some(number),
                "{name}"
            );
        };
        check("claude-saga-7");
        let families = [("saga".to_owned(), String::new())];
        models.change(Catalogue::read(&families.into(), &BTreeMap::new()).unwrap());
        check("saga");
    }

    #[test]
    fn a_line_that_stands_again_is_known() {
        let mut reader = Reader::new(LogName::Messages, Models::new(Catalogue::default()));
        let mut tables = Tables::default();
        let mut marks = |line: &str| reader.read(line.as_bytes(), &mut tables).marks & REPEATED;
        let line = r#"{"key":"tg-1","attempt":1,"direction":"in"}"#;
        assert_eq!(marks(line), 0);
        assert_eq!(marks(r#"{"key":"tg-1","attempt":1,"direction":"out"}"#), 0);
        assert_eq!(marks(r#"{"key":"tg-1","attempt":2,"direction":"in"}"#), 0);
        assert_eq!(marks(line), REPEATED);
        let raised = r#"{"key":"tg-2","attempt":1,"evidence":"tools failed twice"}"#;
        assert_eq!(marks(r#"{"key":"tg-2","attempt":1}"#), 0);
        assert_eq!(marks(raised), 0, "a turn that is raised is decided on twice");
        assert_eq!(marks(raised), REPEATED);
    }

    #[test]
    fn what_cannot_be_read_is_broken_and_not_lost() {
        for line in ["{\"half", "[]", "\u{feff}{}", "{\"threadId\":{}}"] {
            assert_eq!(read(LogName::Messages, line).marks, BROKEN, "{line}");
        }
        assert_eq!(read(LogName::Messages, r#"{"threadId":"../x"}"#).thread, 0);
    }

    #[test]
    fn history_in_a_running_session_is_a_fault() {
        let prompt = |new: bool| {
            let line =
                format!(r#"{{"newSession":{new},"historyInjected":true,"promptLength":4523}}"#);
            read(LogName::Prompts, &line)
        };
        assert_eq!(prompt(true).marks, FLAG);
        assert_eq!(prompt(false).marks, FLAG | FAULT);
        assert_eq!(prompt(true).value, 4523);
    }

    #[test]
    fn a_level_is_the_first_one_named() {
        assert_eq!(level_of(b"2026-11-20T10:00:00Z  WARN queue: an ERROR was met"), 2);
        assert_eq!(level_of(b"no level here"), 0);
    }
}
