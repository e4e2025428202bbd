//! A turn in words: how it goes on one row, and what it asks for.

use std::path::Path;

use tinyclaw_domain::approval::{Choice, Question};
use tinyclaw_domain::{Progress, TurnState, left_to_do};
use tinyclaw_service::now_ms;
use tinyclaw_service::words;

use crate::terminal::{self, Style};

/// A question is printed whole up to here; a terminal keeps some thousand lines.
const BODY_LINES_MAX: usize = 400;
const BODY_BYTES_MAX: usize = 40_000;
/// Of a longer one so much.
const GLIMPSE_LINES: usize = 20;

/// `sonnet · working 34 s · ▸ Bash  cargo nextest run`.
pub(crate) fn working(progress: &Progress) -> String {
    let state = match progress.state {
        TurnState::Starting => "starting",
        TurnState::Working => "working",
        TurnState::Asking => "asking",
        TurnState::Stopping => "stopping",
    };
    if progress.state == TurnState::Asking {
        return progress.model.map_or_else(|| "Claude asks".to_owned(), |it| format!("{it} asks"));
    }
    let for_ms = now_ms().saturating_sub(progress.started_at);
    let mut row = format!("{state} {}", words::span(for_ms));
    if let Some(model) = progress.model {
        row = format!("{model} · {row}");
    }
    if let Some(left) = left_to_do(&progress.todos) {
        row.push_str(&format!(" · {}", terminal::one_line(&left)));
    }
    if let Some(trouble) = &progress.trouble {
        row.push_str(&format!(" · {}", terminal::one_line(trouble)));
    } else if let Some(tool) = progress.tools.iter().rfind(|it| it.duration_ms.is_none()) {
        row.push_str(&format!(" · ▸ {}", terminal::one_line(&tool.name)));
        if !tool.detail.is_empty() {
            row.push_str(&format!("  {}", terminal::one_line(&tool.detail)));
        }
    }
    row
}

/// `waiting · next here`, `waiting · 3rd in line here`.
pub(crate) fn waiting(position: Option<usize>, trouble: Option<&str>) -> String {
    match (position, trouble) {
        (_, Some(trouble)) => format!("waiting · {}", terminal::one_line(trouble)),
        (Some(1), None) => "waiting · next here".to_owned(),
        (Some(at @ 2..), None) => format!("waiting · {} in line here", words::ordinal(at as u64)),
        _ => "waiting".to_owned(),
    }
}

/// A permission question: all of what would be done, indented, and the keys that answer it. `file` is where a long one lies
/// whole.
pub(crate) fn question(
    progress: &Progress,
    question: &Question,
    file: Option<&Path>,
    style: Style,
) -> String {
    let model = progress.model.map_or_else(|| "Claude".to_owned(), |it| it.to_string());
    let mut rows = vec![style.yellow(&format!("{model} asks: {}", question.title))];
    rows.extend(question.warnings.iter().map(|it| style.yellow(it)));
    let most = if file.is_some() { GLIMPSE_LINES } else { usize::MAX };
    // There are no control characters in it; that it is plain is asked all the same, here at the terminal.
    rows.extend(terminal::plain(&question.body).lines().take(most).map(|it| format!("    {it}")));
    if let Some(file) = file {
        let count = terminal::count(question.body.lines().count(), "line");
        rows.push(format!(
            "This is its beginning. All {count}: {}",
            terminal::one_line(&file.to_string_lossy())
        ));
    }
    rows.extend(question.refusal.clone());
    if let Some(always) = question.always.as_ref().filter(|_| question.plan.is_none()) {
        rows.push(format!("Always here: {always}, until this session ends."));
    }
    if question.plan.is_some() {
        rows.push("[a] Go   [A] Go, accept edits   or write what shall be different".to_owned());
        return rows.join("\n");
    }
    if let Some(choice) = question.choices.first() {
        rows.push(choice_row(choice));
        return rows.join("\n");
    }
    rows.push(match (question.may_allow(), &question.always) {
        (false, _) => "[d] Deny".to_owned(),
        (true, None) => "[a] Allow   [d] Deny".to_owned(),
        (true, Some(_)) => "[a] Allow   [A] Always here   [d] Deny".to_owned(),
    });
    rows.join("\n")
}

/// How a question with options is answered.
pub(crate) fn choice_row(choice: &Choice) -> String {
    let how = if choice.is_many { "numbers, such as 1,2" } else { "a number" };
    format!("{} Answer with {how}, or in other words.", terminal::one_line(&choice.question))
}

/// Whether a question is too long for a terminal, whose first lines would be out of reach.
pub(crate) fn is_long(question: &Question) -> bool {
    question.body.lines().count() > BODY_LINES_MAX || question.body.len() > BODY_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_in_line_is_told_in_words() {
        assert_eq!(waiting(None, None), "waiting");
        assert_eq!(waiting(Some(1), None), "waiting · next here");
        assert_eq!(waiting(Some(3), None), "waiting · 3rd in line here");
    }

    fn asks(input: serde_json::Value) -> (Progress, Question) {
        let progress = serde_json::json!({
            "key": "cli-1", "threadId": "cli", "attempt": 1, "state": "asking", "model": "sonnet",
            "startedAt": 0, "updatedAt": 0,
            "asks": { "requestId": "r", "tool": "Bash", "input": input, "at": 0,
                "always": [{ "tool": "Bash", "content": "rm:*" }] },
        });
        let progress: Progress = serde_json::from_value(progress).unwrap();
        let question = Question::of(progress.asks.as_ref().unwrap());
        (progress, question)
    }

    #[test]
    fn what_is_asked_for_is_shown_whole_and_cannot_move_the_cursor() {
        let input = serde_json::json!({"command": "rm -r build\x1b[2K\nls", "timeout": 5});
        let (progress, it) = asks(input);
        let shown = question(&progress, &it, None, Style::plain());
        assert_eq!(
            shown,
            "sonnet asks: May I run this?\n\
             It holds characters that cannot be seen; each is named, like ⟨U+202E⟩.\n    \
             rm -r build⟨U+001B⟩[2K⏎\n    ls\n    ▸ timeout: 5\n\
             Always here: every command that begins with rm, until this session ends.\n\
             [a] Allow   [A] Always here   [d] Deny"
        );
        let long = serde_json::json!({"command": "echo\n".repeat(900)});
        let (progress, it) = asks(long);
        assert!(is_long(&it));
        let shown = question(&progress, &it, Some(Path::new("/x/ask.txt")), Style::plain());
        assert!(
            shown.contains("All 900 lines: /x/ask.txt") && shown.lines().count() < 30,
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn no_question_sends_the_terminal_anything_but_text(command in any::<String>(), more in "[\\x00-\\x1f\\x7f-\u{9f}\u{202e}a]{0,40}") {
            let (progress, it) = asks(serde_json::json!({"command": format!("{command}{more}")}));
            let shown = question(&progress, &it, None, Style::plain());
            prop_assert!(!shown.chars().any(|it| it.is_control() && it != '\n'), "{shown:?}");
        }
    }
}
