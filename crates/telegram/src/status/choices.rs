//! How a question with options looks: one question at a time, what was answered before it above, a button for each option.

use serde_json::{Value, json};
use tinyclaw_domain::approval::{Choice, Chosen, Question};
use tinyclaw_domain::{Key, Progress};

use crate::bot::button::{Button, Pick};
use crate::choosing::Picks;
use crate::text;

/// A button's words are cut here; the whole label stands in the text.
const LABEL_UNITS_MAX: usize = 40;
/// Of a person's own words so many are shown.
const WORDS_UNITS_MAX: usize = 160;

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
