//! What a status message looks like. Words and buttons only; nothing here is sent.

use serde_json::{Value, json};
use tinyclaw_domain::{Ask, Key, PermissionAnswer, Progress, ReplyButton, TurnState};
use tinyclaw_service::conceal;

use crate::press::Button;
use crate::text::{self, Room};

/// So many of the last tools are shown.
const TOOLS_MAX: usize = 5;
/// A tool's line is cut here.
const TOOL_UNITS_MAX: usize = 80;
/// What Claude asks to run is cut here.
const INPUT_UNITS_MAX: usize = 2500;
/// After so long without anything new the status says so,
const QUIET_AFTER_S: u64 = 30;
/// and after so long what can be done about it.
const LONG_QUIET_AFTER_S: u64 = 90;

/// A turn of which nothing was heard for so long is no longer said to be typing: more than a tool may take, as a rule.
const TYPING_QUIET_MAX_S: u64 = 15 * 60;

/// How a message is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Look {
    /// It waits in its thread.
    Waiting { position: usize, busy_since: Option<u64> },
    /// It failed and will be tried again.
    Trouble { trouble: String, again_at: Option<u64> },
    /// It was taken up, and nothing is known yet.
    Starting,
    /// It is being answered.
    Turn(Box<Progress>),
    /// There is nobody to work on it.
    Away,
    /// It is over; nothing is shown any more.
    Settled,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    pub(crate) html: String,
    pub(crate) keyboard: Option<Value>,
}

impl Look {
    /// Whether somebody is at it, which "typing" says. `since` is when it was first seen.
    pub(crate) fn is_working(&self, since: u64, now_ms: u64) -> bool {
        let heard = match self {
            Look::Starting => since,
            Look::Turn(progress) if progress.asks.is_none() => progress.updated_at,
            _ => return false,
        };
        now_ms.saturating_sub(heard) / 1000 < TYPING_QUIET_MAX_S
    }

    /// Whether something else has to be done first, which a reaction says.
    pub(crate) fn is_behind_others(&self) -> bool {
        matches!(self, Look::Waiting { position: 2.., .. })
    }

    /// The open question, if there is one.
    pub(crate) fn question(&self) -> Option<String> {
        match self {
            Look::Turn(progress) => progress.asks.as_ref().map(|it| it.request_id.clone()),
            _ => None,
        }
    }

    /// The message that says it.
    pub(crate) fn picture(&self, key: &Key, now_ms: u64) -> Option<Picture> {
        let picture = |html, keyboard| Some(Picture { html, keyboard });
        match self {
            Look::Settled => None,
            Look::Waiting { position, busy_since } => {
                let busy = busy_since.map(|it| {
                    format!(" · this thread is busy since {}", text::ago(now_ms.saturating_sub(it)))
                });
                picture(
                    format!("{} in line{}", ordinal(*position), busy.unwrap_or_default()),
                    Some(stop(key)),
                )
            }
            Look::Trouble { trouble, again_at } => {
                let mut words = sentence(trouble);
                if let Some(at) = again_at {
                    let wait = text::ago(at.saturating_sub(now_ms).max(1000));
                    words.push_str(&format!(" Trying again in {wait}."));
                }
                picture(text::escape(&words), Some(stop(key)))
            }
            Look::Away => picture(
                "Nobody is at work. This goes on when the processor is back.".to_owned(),
                Some(stop(key)),
            ),
            Look::Starting => picture("starting".to_owned(), Some(stop(key))),
            Look::Turn(progress) => match &progress.asks {
                Some(ask) => picture(question(progress, ask, now_ms), Some(answers(key, ask))),
                None => picture(working(progress, now_ms), Some(stop(key))),
            },
        }
    }
}

fn head(progress: &Progress, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(progress.started_at) / 1000;
    let verb = match progress.state {
        TurnState::Starting => "starting",
        TurnState::Working | TurnState::Asking => "working",
        TurnState::Stopping => "stopping",
    };
    match progress.model {
        Some(model) => format!("{model} · {verb} {seconds} s"),
        None => format!("{verb} {seconds} s"),
    }
}

fn working(progress: &Progress, now_ms: u64) -> String {
    let mut html = text::escape(&head(progress, now_ms));
    let last = progress.tools.len().saturating_sub(TOOLS_MAX);
    for tool in &progress.tools[last..] {
        let mark = if tool.failed { "✗" } else { "▸" };
        let line = conceal(tool.detail.trim()).replace('\n', " ");
        let line = text::shortened(&format!("{mark} {}  {line}", tool.name), TOOL_UNITS_MAX);
        html.push('\n');
        html.push_str(&text::escape(line.trim_end()));
    }
    if let Some(trouble) = &progress.trouble {
        html.push('\n');
        html.push_str(&text::escape(&sentence(trouble)));
    } else if let Some(words) = quiet(progress, now_ms) {
        html.push_str(&format!("\n<i>{}</i>", text::escape(&words)));
    }
    // The answer so far, as it will look; of a long one the end.
    let room = Room::default().less(text::units(&html) + 8);
    let mut parts = text::render(&progress.text, room);
    let is_long = parts.len() > 1;
    if let Some(part) = parts.pop() {
        html.push_str(if is_long { "\n\n…\n" } else { "\n\n" });
        html.push_str(&part.html);
    }
    html
}

/// What to say when nothing has come for a while.
fn quiet(progress: &Progress, now_ms: u64) -> Option<String> {
    if progress.state != TurnState::Working {
        return None;
    }
    let silence = now_ms.saturating_sub(progress.updated_at) / 1000;
    if silence < QUIET_AFTER_S {
        return None;
    }
    let long = silence >= LONG_QUIET_AFTER_S;
    let advice = if long { " Stop ends the turn and keeps the session." } else { "" };
    let tool = progress.tools.last().filter(|it| it.duration_ms.is_none() && !it.failed);
    let what = match tool {
        Some(tool) => {
            let seconds = now_ms.saturating_sub(tool.at) / 1000;
            format!("{} has been running for {seconds} s.", tool.name)
        }
        None => format!("Nothing new for {silence} s."),
    };
    Some(format!("{what}{advice}"))
}

/// All of what Claude wants to do, with secrets taken out.
pub(crate) fn input_of(ask: &Ask) -> String {
    let input = match ask.input.get("command").and_then(Value::as_str) {
        Some(command) => command.to_owned(),
        None => serde_json::to_string_pretty(&ask.input).unwrap_or_default(),
    };
    conceal(&input).trim().to_owned()
}

fn is_long(ask: &Ask) -> bool {
    text::units(&input_of(ask)) > INPUT_UNITS_MAX
}

fn question(progress: &Progress, ask: &Ask, now_ms: u64) -> String {
    let input = text::shortened(&input_of(ask), INPUT_UNITS_MAX);
    let may = if ask.tool == "Bash" {
        "May I run this?".to_owned()
    } else {
        format!("May I use {}?", ask.tool)
    };
    format!(
        "{}\n<b>{}</b>\n<pre>{}</pre>",
        text::escape(&head(progress, now_ms)),
        text::escape(&may),
        text::escape(&input)
    )
}

fn sentence(words: &str) -> String {
    let words = words.trim();
    if words.ends_with(['.', '!', '?', '…']) { words.to_owned() } else { format!("{words}.") }
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

fn button(label: &str, style: Option<&str>, button: &Button) -> Value {
    let mut it = json!({"text": label, "callback_data": button.data()});
    if let (Some(style), Some(fields)) = (style, it.as_object_mut()) {
        fields.insert("style".to_owned(), style.into());
    }
    it
}

/// The button that every status has; by it a status is known for what it is.
pub(crate) fn stop(key: &Key) -> Value {
    json!({"inline_keyboard": [[button("Stop", Some("danger"), &Button::stop(key))]]})
}

fn answers(key: &Key, ask: &Ask) -> Value {
    let answer = |it| Button::permission(it, &ask.request_id, key);
    let more = || button("See more", None, &Button::more(&ask.request_id, key));
    let mut last = vec![button("Stop", None, &Button::stop(key))];
    if is_long(ask) {
        last.insert(0, more());
    }
    json!({"inline_keyboard": [
        [
            button("Allow", Some("success"), &answer(PermissionAnswer::Allow)),
            button("Always here", None, &answer(PermissionAnswer::Always)),
            button("Deny", Some("danger"), &answer(PermissionAnswer::Deny)),
        ],
        last,
    ]})
}

/// The offer to ask again with a newer text.
pub(crate) fn again(key: &Key) -> Value {
    json!({"inline_keyboard": [[button("Ask again", Some("primary"), &Button::again(key))]]})
}

/// What an answer offers, one row.
pub(crate) fn offers(key: &Key, offers: &[ReplyButton]) -> Option<Value> {
    let row = offers.iter().enumerate();
    let row = row.map(|(at, it)| Some(button(&it.label, None, &Button::offer(at, key)?)));
    let row = row.collect::<Option<Vec<Value>>>()?;
    (!row.is_empty()).then(|| json!({"inline_keyboard": [row]}))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tinyclaw_domain::{Model, ThreadId, ToolUse};

    use super::*;

    const NOW: u64 = 1_771_000_034_000;

    fn progress() -> Progress {
        let tool = |name: &str, detail: &str, failed| ToolUse {
            name: name.to_owned(),
            detail: detail.to_owned(),
            at: NOW,
            duration_ms: None,
            failed,
        };
        Progress {
            key: "tg-1".parse().unwrap(),
            thread_id: ThreadId::master(),
            attempt: 1,
            state: TurnState::Working,
            model: Some(Model::Sonnet),
            tier: None,
            started_at: NOW - 34_000,
            updated_at: NOW,
            text: "Two tests **fail** in `claim.rs`".to_owned(),
            tools: vec![
                tool("Bash", "cargo nextest run -p queue", true),
                tool("Edit", "crates/queue/src/<claim>.rs", false),
            ],
            asks: None,
            trouble: None,
        }
    }

    #[track_caller]
    fn check(look: Look, expect: Expect) {
        let picture = look.picture(&"tg-1".parse().unwrap(), NOW).unwrap();
        tinyclaw_testkit::telegram::markup::parse_html(&picture.html).unwrap();
        let labels: Vec<String> = picture
            .keyboard
            .iter()
            .flat_map(|it| {
                let rows = it["inline_keyboard"].as_array().unwrap().clone();
                rows.into_iter()
                    .flat_map(|row| row.as_array().unwrap().clone())
                    .map(|it| it["text"].to_string())
            })
            .collect();
        expect.assert_eq(&format!("{}\n{}", picture.html, labels.join(" ")));
    }

    #[test]
    fn a_working_turn() {
        check(
            Look::Turn(Box::new(progress())),
            expect![[r#"
                sonnet · working 34 s
                ✗ Bash  cargo nextest run -p queue
                ▸ Edit  crates/queue/src/&lt;claim&gt;.rs

                Two tests <b>fail</b> in <code>claim.rs</code>
                "Stop""#]],
        );
    }

    #[test]
    fn a_question_shows_what_would_be_run() {
        let ask = Ask {
            request_id: "r1".to_owned(),
            tool: "Bash".to_owned(),
            input: json!({"command": "rm -rf target && echo \"<done>\""}),
            at: NOW,
        };
        check(
            Look::Turn(Box::new(Progress {
                asks: Some(ask),
                state: TurnState::Asking,
                ..progress()
            })),
            expect![[r#"
                sonnet · working 34 s
                <b>May I run this?</b>
                <pre>rm -rf target &amp;&amp; echo &quot;&lt;done&gt;&quot;</pre>
                "Allow" "Always here" "Deny" "Stop""#]],
        );
    }

    #[test]
    fn silence_is_told_and_then_what_can_be_done_about_it() {
        let quiet_for = |seconds: u64, tools: Vec<ToolUse>| {
            let updated_at = NOW - seconds * 1000;
            let text = String::new();
            Look::Turn(Box::new(Progress { updated_at, tools, text, ..progress() }))
        };
        check(
            quiet_for(29, vec![]),
            expect![[r#"
                sonnet · working 34 s
                "Stop""#]],
        );
        check(
            quiet_for(31, vec![]),
            expect![[r#"
                sonnet · working 34 s
                <i>Nothing new for 31 s.</i>
                "Stop""#]],
        );
        let mut running = progress().tools.remove(1);
        running.at = NOW - 95_000;
        check(
            quiet_for(90, vec![running]),
            expect![[r#"
                sonnet · working 34 s
                ▸ Edit  crates/queue/src/&lt;claim&gt;.rs
                <i>Edit has been running for 95 s. Stop ends the turn and keeps the session.</i>
                "Stop""#]],
        );
    }

    #[test]
    fn waiting_and_trouble() {
        check(
            Look::Away,
            expect![[r#"
                Nobody is at work. This goes on when the processor is back.
                "Stop""#]],
        );
        check(
            Look::Waiting { position: 3, busy_since: Some(NOW - 120_000) },
            expect![[r#"
                3rd in line · this thread is busy since 2 min
                "Stop""#]],
        );
        check(
            Look::Trouble {
                trouble: "Claude did not answer: overloaded (529)".to_owned(),
                again_at: Some(NOW + 40_000),
            },
            expect![[r#"
                Claude did not answer: overloaded (529). Trying again in 40 s.
                "Stop""#]],
        );
    }
}
