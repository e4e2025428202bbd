//! Words of others made fit for a prompt, a chat or a file: shortened, and quoted as the names that they are.

use serde_json::Value;
use tinyclaw_domain::approval::is_invisible;
use tinyclaw_domain::{Quote, Todo, TodoState, left_to_do, quoted};
use tinyclaw_service::conceal;

/// So much of a tool's input is shown.
pub(crate) const TOOL_DETAIL_CHARS_MAX: usize = 160;
/// The tool by which Claude writes down what it has to do: a list, all of it each time.
pub(crate) const WRITES_TODOS: &str = "TodoWrite";
/// So much of that list is shown.
const TODOS_MAX: usize = 30;
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

/// Words of Claude's on one line of a status: without secrets, and without what cannot be seen.
pub(crate) fn status_line(text: &str) -> String {
    let seen = |it: &char| it.is_whitespace() || !is_invisible(*it);
    let text: String = text.chars().filter(seen).collect();
    let text = text.split_whitespace().collect::<Vec<&str>>().join(" ");
    shortened(&conceal(&text), TOOL_DETAIL_CHARS_MAX)
}

/// What Claude wrote down to do. An entry of another shape is not shown.
pub(crate) fn todos(input: &Value) -> Vec<Todo> {
    let todo = |it: &Value| {
        let state = match it["status"].as_str()? {
            "completed" => TodoState::Done,
            "in_progress" => TodoState::Doing,
            _ => TodoState::Open,
        };
        let text = status_line(it["content"].as_str()?);
        (!text.is_empty()).then_some(Todo { text, state })
    };
    let list = input["todos"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(todo).take(TODOS_MAX).collect()
}

/// A tool's input on one line: the command, the path, or whatever says most.
pub(crate) fn tool_detail(input: &Value) -> String {
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
        if let Some(text) = input.get(name).and_then(Value::as_str) {
            return shortened(text.lines().next().unwrap_or_default(), TOOL_DETAIL_CHARS_MAX);
        }
    }
    if let Some(left) = left_to_do(&todos(input)) {
        return left;
    }
    if input.as_object().is_some_and(serde_json::Map::is_empty) {
        String::new()
    } else {
        shortened(&input.to_string(), TOOL_DETAIL_CHARS_MAX)
    }
}
