//! Words of others made fit for a prompt, a chat or a file: shortened, and quoted as the names that they are.

use tinyclaw_domain::{Quote, quoted};

/// So much of a tool's input is shown.
pub(crate) const TOOL_DETAIL_CHARS_MAX: usize = 160;
/// Names of people, threads and files are no longer than this.
const NAME_CHARS_MAX: usize = 128;

/// The beginning of a text, with a mark when something was left out.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The name of a person, a thread or a file.
pub(crate) fn name(text: &str) -> String {
    quoted(text, Quote::Name, NAME_CHARS_MAX)
}

/// A tool's input on one line: the command, the path, or whatever says most.
pub(crate) fn tool_detail(input: &serde_json::Value) -> String {
    for name in [
        "command",
        "file_path",
        "path",
        "pattern",
        "url",
        "query",
        "description",
        "message",
        "prompt",
    ] {
        if let Some(text) = input.get(name).and_then(serde_json::Value::as_str) {
            return shortened(text.lines().next().unwrap_or_default(), TOOL_DETAIL_CHARS_MAX);
        }
    }
    if input.as_object().is_some_and(serde_json::Map::is_empty) {
        String::new()
    } else {
        shortened(&input.to_string(), TOOL_DETAIL_CHARS_MAX)
    }
}
