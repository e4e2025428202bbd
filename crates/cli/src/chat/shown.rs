//! A turn in words: how it goes on one row, and what it asks for.

use serde_json::Value;
use tinyclaw_domain::{Ask, Progress, TurnState};
use tinyclaw_service::now_ms;

use crate::face;

/// So many lines of what Claude wants to do are shown.
const WANTED_LINES: usize = 12;

/// `sonnet · working 34 s · ▸ Bash  cargo nextest run`.
pub(crate) fn working(progress: &Progress) -> String {
    let state = match progress.state {
        TurnState::Starting => "starting",
        TurnState::Working => "working",
        TurnState::Asking => "asking",
        TurnState::Stopping => "stopping",
    };
    let for_ms = now_ms().saturating_sub(progress.started_at);
    let mut row = format!("{state} {}", face::span(for_ms));
    if let Some(model) = progress.model {
        row = format!("{model} · {row}");
    }
    if let Some(trouble) = &progress.trouble {
        row.push_str(&format!(" · {}", face::one_line(trouble)));
    } else if let Some(tool) = progress.tools.iter().rfind(|it| it.duration_ms.is_none()) {
        row.push_str(&format!(" · ▸ {}", face::one_line(&tool.name)));
        if !tool.detail.is_empty() {
            row.push_str(&format!("  {}", face::one_line(&tool.detail)));
        }
    }
    row
}

/// `waiting · 3rd in line`.
pub(crate) fn waiting(position: Option<usize>, trouble: Option<&str>) -> String {
    match (position, trouble) {
        (_, Some(trouble)) => format!("waiting · {}", face::one_line(trouble)),
        (Some(at @ 2..), None) => format!("waiting · {} in line", ordinal(at)),
        _ => "waiting".to_owned(),
    }
}

fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (1, it) if it != 11 => "st",
        (2, it) if it != 12 => "nd",
        (3, it) if it != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// What Claude wants to do, indented: the command, the path, or the whole of it.
pub(crate) fn wanted(ask: &Ask) -> String {
    let named = ["command", "file_path", "path", "url", "pattern"];
    let text = named.iter().find_map(|it| ask.input.get(it).and_then(Value::as_str));
    let text = match text {
        Some(text) => text.to_owned(),
        None => serde_json::to_string_pretty(&ask.input).unwrap_or_default(),
    };
    let text = face::plain(&text).into_owned();
    let count = text.lines().count();
    let mut lines: Vec<String> =
        text.lines().take(WANTED_LINES).map(|it| format!("    {it}")).collect();
    if count > WANTED_LINES {
        lines.push(format!("    … {} more", face::count(count - WANTED_LINES, "line")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_line_is_told_in_words() {
        for (number, told) in [(2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (21, "21st")] {
            assert_eq!(ordinal(number), told);
        }
        assert_eq!(waiting(Some(1), None), "waiting");
        assert_eq!(waiting(Some(3), None), "waiting · 3rd in line");
    }

    #[test]
    fn what_is_asked_for_is_shown_as_it_would_run() {
        let ask = |input| Ask { request_id: "1".to_owned(), tool: "Bash".to_owned(), input, at: 0 };
        let shown = wanted(&ask(serde_json::json!({"command": "rm -r build\x1b[2K\nls"})));
        assert_eq!(shown, "    rm -r build\u{fffd}[2K\n    ls");
        assert!(wanted(&ask(serde_json::json!({"x": 1}))).contains("\"x\": 1"));
        let long = "echo\n".repeat(30);
        assert!(wanted(&ask(serde_json::json!({"command": long}))).ends_with("… 18 lines more"));
    }
}
