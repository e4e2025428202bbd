//! How a question with options looks: one question at a time, what was answered before it above, a button for each option. And
//! how a plan looks.

use serde_json::{Value, json};
use tinyclaw_domain::approval::{Choice, Chosen, Question};
use tinyclaw_domain::{Key, PermissionAnswer, Progress};

use crate::bot::button::{Button, Pick};
use crate::choosing::Picks;
use crate::text::{self, Room};

/// A button's words are cut here; the whole label stands in the text.
const LABEL_UNITS_MAX: usize = 40;
/// Of a person's own words so many are shown.
const WORDS_UNITS_MAX: usize = 160;

/// Where all of a question is to be seen that is too long for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuestionFile {
    /// It is not too long.
    Needless,
    /// In a file that is being sent.
    OnItsWay,
    /// In a file that stands in the chat.
    Stands,
    /// Nowhere: the file could not be sent.
    Failed,
}

/// The words: what is asked now, and what was answered.
pub(super) fn html(progress: &Progress, question: &Question, picks: &Picks) -> String {
    let head = progress.model.map_or_else(|| "Claude".to_owned(), |it| it.to_string());
    let mut html = format!("{head} asks");
    for (choice, chosen) in question.choices.iter().zip(&picks.chosen).take(picks.answered) {
        let what = if choice.header.is_empty() { &choice.question } else { &choice.header };
        let words = text::shortened(&choice.words(chosen), WORDS_UNITS_MAX).replace('\n', " ");
        html.push_str(&format!("\n{}: {}", text::escape(what), text::escape(&words)));
    }
    let Some(choice) = question.choices.get(picks.answered) else {
        html.push_str("\n<i>Answered.</i>");
        return html;
    };
    html.push_str(&format!("\n<b>{}</b>", text::escape(&choice.question)));
    for (at, it) in choice.options.iter().enumerate() {
        let about =
            if it.description.is_empty() { String::new() } else { format!(": {}", it.description) };
        html.push_str(&format!(
            "\n{}. {}{}",
            at + 1,
            text::escape(&it.label),
            text::escape(&about)
        ));
    }
    let hint = match (&picks.awaits, choice.is_many) {
        (Some(who), _) => {
            format!("The next message of {} here is the answer.", text::escape(&who.name))
        }
        (None, true) => "More than one can be chosen; Done ends the choice.".to_owned(),
        (None, false) => return html,
    };
    html.push_str(&format!("\n<i>{hint}</i>"));
    html
}

/// The buttons of what is asked now.
pub(super) fn keyboard(key: &Key, question: &Question, picks: &Picks) -> Value {
    let at = picks.answered;
    let mut rows = match question.choices.get(at) {
        Some(choice) => {
            rows(choice, &picks.current(), |it| Button::choose(at, it, &question.digest, key))
        }
        None => Vec::new(),
    };
    rows.push(json!([Button::stop(key).labelled("Stop", None)]));
    json!({ "inline_keyboard": rows })
}

/// A plan, as Claude wrote it, and whether it may go on.
pub(super) fn plan(
    progress: &Progress,
    question: &Question,
    file: QuestionFile,
    picks: &Picks,
) -> String {
    let head = progress.model.map_or_else(|| "Claude".to_owned(), |it| it.to_string());
    let mut html = format!("{head} has a plan\n\n");
    match (&question.plan, file) {
        (Some(plan), QuestionFile::Needless) => {
            html.extend(text::render(plan, Room::default()).into_iter().map(|it| it.html));
        }
        (_, QuestionFile::Failed) => html.push_str("It could not be sent, so nobody can say go."),
        (_, QuestionFile::OnItsWay) => html.push_str("It comes as a message of its own."),
        (_, QuestionFile::Stands | QuestionFile::Needless) => html.push_str("It stands above."),
    }
    let hint = match &picks.awaits {
        _ if picks.answered > 0 => "Answered.".to_owned(),
        Some(who) => {
            format!(
                "The next message of {} here says what shall be different.",
                text::escape(&who.name)
            )
        }
        None => return format!("{html}\n\n<b>{}</b>", text::escape(&question.title)),
    };
    format!("{html}\n\n<i>{hint}</i>")
}

/// The buttons below a plan.
pub(super) fn plan_keyboard(
    key: &Key,
    question: &Question,
    file: QuestionFile,
    picks: &Picks,
) -> Value {
    let digest = &question.digest;
    let mut rows = Vec::new();
    if picks.answered == 0 {
        if is_whole(file) {
            let go = Button::permission(PermissionAnswer::Allow, digest, key);
            let edit = Button::permission(PermissionAnswer::Always, digest, key);
            rows.push(json!([
                go.labelled("Go", Some("success")),
                edit.labelled("Go, accept edits", None)
            ]));
        }
        let change = Button::choose(0, Pick::Other, digest, key);
        rows.push(json!([change.labelled("Change …", None)]));
    }
    rows.push(json!([Button::stop(key).labelled("Stop", None)]));
    json!({ "inline_keyboard": rows })
}

/// Whether all of it stands in the chat.
pub(super) fn is_whole(file: QuestionFile) -> bool {
    matches!(file, QuestionFile::Needless | QuestionFile::Stands)
}

fn rows(choice: &Choice, chosen: &Chosen, press: impl Fn(Pick) -> Button) -> Vec<Value> {
    let options = choice.options.iter().enumerate().map(|(at, it)| {
        let mark = if chosen.options.contains(&at) { "✓ " } else { "" };
        let label = text::shortened(&format!("{mark}{}", it.label), LABEL_UNITS_MAX);
        json!([press(Pick::Option(at)).labelled(&label, None)])
    });
    let mut rows: Vec<Value> = options.collect();
    let mut last = Vec::new();
    if choice.is_many {
        last.push(press(Pick::Done).labelled("Done", Some("success")));
    }
    last.push(press(Pick::Other).labelled("Other…", None));
    rows.push(last.into());
    rows
}
