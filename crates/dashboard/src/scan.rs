//! Looking through a log, newest rows first: for words, for a pattern, for one message's key.
//!
//! Plain words are looked for in the raw file first and in the text only where they occur, so a gigabyte takes about as
//! long as reading it. What is matched is the text as it may be shown, without secrets: a search cannot be used to guess
//! one. A pattern takes linear time whatever it says.

use std::os::unix::fs::FileExt;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use tinyclaw_domain::{HistoryLine, PromptLine, RoutingLine};

use crate::index::{Filter, Pick, Span};
use crate::log::Log;
use crate::meta::LogName;
use crate::redact::redacted;

/// The longest pattern.
pub(crate) const QUERY_CHARS_MAX: usize = 500;
/// A pattern may not compile to more than this.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// A span holds one overlong line at worst; of that, only so much is looked at.
const SPAN_BYTES_MAX: u64 = 8 << 20;
/// How much of the text around a hit is shown.
const SNIPPET_CHARS: usize = 80;

/// What is looked for.
#[derive(Debug)]
pub(crate) struct Query {
    pattern: Regex,
    /// The words as they stand in the raw file, if a row can only match where they do.
    raw: Option<regex::bytes::Regex>,
}

/// Text around a hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snippet {
    /// Before it.
    pub(crate) before: String,
    /// The hit.
    pub(crate) hit: String,
    /// After it.
    pub(crate) after: String,
}

impl Query {
    /// Looks for `text`: words as they stand, or a pattern. Case matters when `text` has capitals.
    pub(crate) fn new(text: &str, is_pattern: bool) -> Result<Query, String> {
        if text.is_empty() {
            return Err("q is empty: say what to look for".into());
        }
        if text.chars().count() > QUERY_CHARS_MAX {
            return Err(format!("q is longer than {QUERY_CHARS_MAX} characters"));
        }
        let ignore_case = !text.chars().any(char::is_uppercase);
        let source = if is_pattern { text.to_owned() } else { regex::escape(text) };
        let pattern = RegexBuilder::new(&source)
            .case_insensitive(ignore_case)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|it| format!("q is no pattern: {it}"))?;
        // Quotes, backslashes and control characters are written differently in the file.
        let is_raw = !is_pattern && !text.chars().any(|it| it.is_control() || "\"\\/".contains(it));
        let raw = is_raw.then(|| {
            regex::bytes::RegexBuilder::new(&source).case_insensitive(ignore_case).build()
        });
        Ok(Query { pattern, raw: raw.transpose().map_err(|it| it.to_string())? })
    }

    /// The first hit in a row's texts.
    fn snippet(&self, name: LogName, line: &[u8]) -> Option<Snippet> {
        texts(name, line).into_iter().find_map(|text| {
            let text = redacted(text);
            let hit = self.pattern.find(&text)?;
            Some(Snippet {
                before: last_chars(&text[..hit.start()]),
                hit: hit.as_str().chars().take(SNIPPET_CHARS).collect(),
                after: text[hit.end()..].chars().take(SNIPPET_CHARS).collect(),
            })
        })
    }
}

fn last_chars(text: &str) -> String {
    let from = text.char_indices().rev().nth(SNIPPET_CHARS - 1).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

/// What people would search in a row.
fn texts(name: LogName, line: &[u8]) -> Vec<String> {
    let whole = || vec![String::from_utf8_lossy(line).into_owned()];
    match name {
        LogName::Messages => serde_json::from_slice::<HistoryLine>(line)
            .map_or_else(|_| whole(), |it| vec![it.message, it.sender, it.key.to_string()]),
        LogName::Routing => serde_json::from_slice::<RoutingLine>(line)
            .map_or_else(|_| whole(), |it| vec![it.raw_input, it.key.to_string()]),
        LogName::Prompts => serde_json::from_slice::<PromptLine>(line).map_or_else(
            |_| whole(),
            |it| vec![it.user_message, it.system_prompt, it.key.to_string()],
        ),
        LogName::Telegram | LogName::Queue => whole(),
    }
}

/// Looks through the rows that the filter lets through, newest first. `hit` gets each match and says whether to go on;
/// `passed` is told the bytes looked through and says the same.
pub(crate) fn search(
    log: &Log,
    filter: &Filter,
    query: &Query,
    mut hit: impl FnMut(&Pick, &[u8], Snippet) -> bool,
    mut passed: impl FnMut(u64, u64) -> bool,
) {
    let spans = log.index().spans(filter);
    let total = spans.iter().map(|it| it.end - it.start).sum();
    let mut done = 0;
    for span in spans {
        let bytes = read_span(log, &span).unwrap_or_default();
        let may_match = query.raw.as_ref().is_none_or(|it| it.is_match(&bytes));
        if may_match {
            let picks = log.index().picks_in(filter, &span);
            for pick in picks {
                let Some(line) = line_in(&bytes, &span, &pick) else { continue };
                if query.raw.as_ref().is_some_and(|it| !it.is_match(line)) {
                    continue;
                }
                if let Some(snippet) = query.snippet(log.name, line)
                    && !hit(&pick, line, snippet)
                {
                    return;
                }
            }
        }
        done += span.end - span.start;
        if !passed(done, total) {
            return;
        }
    }
}

/// The rows of one message within the filter, newest first.
pub(crate) fn rows_of_key(
    log: &Log,
    filter: &Filter,
    key: &str,
    rows_max: usize,
) -> Vec<(i64, Vec<u8>)> {
    #[derive(Deserialize)]
    struct Keyed<'a> {
        #[serde(borrow)]
        key: std::borrow::Cow<'a, str>,
    }
    let finder = memchr::memmem::Finder::new(key.as_bytes());
    let mut rows = Vec::new();
    for span in log.index().spans(filter) {
        let Some(bytes) = read_span(log, &span) else { continue };
        if finder.find(&bytes).is_none() {
            continue;
        }
        let picks = log.index().picks_in(filter, &span);
        for pick in picks {
            let Some(line) = line_in(&bytes, &span, &pick) else { continue };
            if finder.find(line).is_some()
                && serde_json::from_slice::<Keyed<'_>>(line).is_ok_and(|it| it.key == key)
            {
                rows.push((pick.row, line.to_vec()));
            }
        }
        if rows.len() >= rows_max {
            break;
        }
    }
    rows
}

fn read_span(log: &Log, span: &Span) -> Option<Vec<u8>> {
    let file = log.open_volume(span.volume)?;
    let mut bytes = vec![0; (span.end - span.start).min(SPAN_BYTES_MAX) as usize];
    file.read_exact_at(&mut bytes, span.start).ok()?;
    Some(bytes)
}

fn line_in<'a>(bytes: &'a [u8], span: &Span, pick: &Pick) -> Option<&'a [u8]> {
    let from = (pick.start - span.start) as usize;
    let to = (from + pick.length as usize).min(bytes.len());
    bytes.get(from..to).map(|it| it.trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str, is_pattern: bool, text: &str) -> Option<String> {
        Query::new(query, is_pattern)
            .unwrap()
            .snippet(LogName::Queue, text.as_bytes())
            .map(|it| it.hit)
    }

    #[test]
    fn words_are_words_and_patterns_are_patterns() {
        assert_eq!(found("a.c", false, "abc a.c").as_deref(), Some("a.c"));
        assert_eq!(found("a.c", true, "abc a.c").as_deref(), Some("abc"));
        assert_eq!(found("Ada", false, "ada"), None, "capitals are meant");
        assert_eq!(found("ada", false, "ADA").as_deref(), Some("ADA"));
        assert!(Query::new("(", true).unwrap_err().contains("no pattern"));
        assert!(Query::new("(a{500}){500}", true).is_err());
    }

    #[test]
    fn a_secret_cannot_be_guessed_by_searching() {
        let line = format!("token ghs_{}", "q".repeat(36));
        assert_eq!(found("ghs_qqq", false, &line), None);
        assert!(found("hidden", false, &line).is_some());
    }
}
