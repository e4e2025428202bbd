//! Marks in a prompt that make the demo engine do something: `[demo: verb arguments]`.

use std::time::Duration;

use serde_json::{Value, json};

/// One mark, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mark {
    Tool,
    /// Ask for a tool with this input.
    Ask(String, String),
    /// Put questions to a person: this input of the tool.
    Choose(String),
    /// Propose a plan.
    Plan(String),
    /// Work until somebody says something meanwhile.
    Attend(Duration),
    /// Say what there is to do.
    Todo(String),
    /// Send a helper that uses a tool.
    Helper(Duration, String),
    Call(String, String),
    Say(String),
    Long(usize),
    Slow(Duration),
    Sleep(Duration),
    Fail(String),
    Retry(u64),
    Limit(u64),
    /// Tell that so much of the plan is used, in percent.
    Used(f64),
    Refuse,
    Steps(u64),
    Cut,
    Hang,
    Deaf,
    Crash,
    CrashAfter,
    Spawn(Duration),
    Background(Duration, String),
    Open(String),
    Touch(String),
    /// Write these words into a file.
    Write(String, String),
    /// Run this script, when the model that is played is at least this one.
    Work(String, String),
    Cost(f64),
    /// A mark that means nothing; the answer says so.
    Unknown(String),
}

/// The message that is being answered: the prompt's last part, without time, history and source in front of it.
///
/// TinyClaw puts `[Ada via Telegram]: ` in front of a message. What stands before the last such line is history, and
/// marks in it were followed when they were new.
///
/// A conversation that is to be summarised is material: its marks were followed when they were new.
pub(crate) fn message(prompt: &str) -> &str {
    if prompt.trim_end().ends_with("</conversation>")
        && let Some(at) = prompt.find("<conversation>")
    {
        return prompt[..at].trim();
    }
    let mut at = 0;
    let mut found = prompt;
    for line in prompt.split_inclusive('\n') {
        if line.starts_with('[')
            && !line.starts_with("[demo:")
            && let Some(end) = line.find("]:")
            && line[end + 2..].starts_with([' ', '\n'])
        {
            found = &prompt[at + end + 3..];
        }
        at += line.len();
    }
    found.trim()
}

/// Whether the prompt's last part is the clock's: look whether something is due.
pub(crate) fn is_heartbeat(prompt: &str) -> bool {
    let before = prompt.trim_end().strip_suffix(message(prompt)).unwrap_or_default();
    before.trim_end().ends_with("[Heartbeat check-in]:")
}

/// All marks of a message, in order.
pub(crate) fn find(message: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut rest = message;
    while let Some(at) = rest.find("[demo:") {
        rest = &rest[at + "[demo:".len()..];
        let Some(end) = closing(rest) else { break };
        marks.push(parse(rest[..end].trim()));
        rest = &rest[end + 1..];
    }
    marks
}

/// The bracket that closes a mark; arguments may hold pairs of their own.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, it) in text.char_indices() {
        match it {
            '[' => depth += 1,
            ']' if depth == 0 => return Some(at),
            ']' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn parse(text: &str) -> Mark {
    let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let (first, tail) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let known = match verb {
        "tool" => Some(Mark::Tool),
        "ask" if rest.is_empty() => {
            let input = r#"{"command":"rm -r build","description":"Remove the build folder"}"#;
            Some(Mark::Ask("Bash".to_owned(), input.to_owned()))
        }
        "ask" => Some(Mark::Ask(first.to_owned(), tail.trim().to_owned())),
        "attend" => time(first).map(Mark::Attend),
        "todo" => Some(Mark::Todo(rest.to_owned())),
        "helper" => time(first).map(|it| Mark::Helper(it, tail.trim().to_owned())),
        "plan" => Some(Mark::Plan(rest.to_owned())),
        "choose" => Some(Mark::Choose(questions(rest))),
        "call" => {
            let input = if tail.trim().is_empty() { "{}" } else { tail.trim() };
            Some(Mark::Call(first.to_owned(), input.to_owned()))
        }
        "send" => {
            let to = first
                .parse::<u32>()
                .map_or_else(|_| serde_json::json!(first), |it| serde_json::json!(it));
            let input = serde_json::json!({ "targetThreadId": to, "message": tail.trim() });
            Some(Mark::Call("send_message".to_owned(), input.to_string()))
        }
        "say" => Some(Mark::Say(rest.to_owned())),
        "long" => first.parse().ok().map(Mark::Long),
        "slow" => time(first).map(Mark::Slow),
        "sleep" => time(first).map(Mark::Sleep),
        "fail" => Some(Mark::Fail(first.to_owned())),
        "retry" => first.parse().ok().map(Mark::Retry),
        "limit" => first.parse().ok().map(Mark::Limit),
        "used" => first.parse().ok().map(Mark::Used),
        "refuse" => Some(Mark::Refuse),
        "steps" => first.parse().ok().map(Mark::Steps),
        "cut" => Some(Mark::Cut),
        "hang" => Some(Mark::Hang),
        "deaf" => Some(Mark::Deaf),
        "crash" if first == "after" => Some(Mark::CrashAfter),
        "crash" => Some(Mark::Crash),
        "spawn" => time(first).map(Mark::Spawn),
        "background" => time(first).map(|it| Mark::Background(it, tail.trim().to_owned())),
        "open" => Some(Mark::Open(rest.to_owned())),
        "touch" => Some(Mark::Touch(rest.to_owned())),
        "write" if !tail.trim().is_empty() => {
            Some(Mark::Write(first.to_owned(), tail.trim().to_owned()))
        }
        "work" if !tail.trim().is_empty() => {
            Some(Mark::Work(first.to_owned(), tail.trim().to_owned()))
        }
        "cost" => first.parse().ok().map(Mark::Cost),
        _ => None,
    };
    known.unwrap_or_else(|| Mark::Unknown(text.to_owned()))
}

/// `Which colour? | Red | Green; many Which fruits? | Apple | Pear`
fn questions(text: &str) -> String {
    let questions = text.split(';').map(|it| {
        let mut parts = it.split('|').map(str::trim);
        let asked = parts.next().unwrap_or_default();
        let options = parts.map(|it| {
            let (label, description) = it.split_once(':').unwrap_or((it, ""));
            json!({ "label": label.trim(), "description": description.trim() })
        });
        let many = asked.strip_prefix("many ");
        json!({ "question": many.unwrap_or(asked), "header": "Demo", "multiSelect": many.is_some(),
            "options": options.collect::<Vec<Value>>() })
    });
    json!({ "questions": questions.collect::<Vec<Value>>() }).to_string()
}

/// `5s`, `200ms`, or plain seconds.
fn time(text: &str) -> Option<Duration> {
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s').unwrap_or(text).parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_the_message_and_not_in_its_history() {
        let prompt = "[Sat 21 Nov 03:14]\n\n[telegram] Ada: [demo: crash]\n\n[Ada via Telegram]: now [demo: long 20]\nok";
        assert_eq!(message(prompt), "now [demo: long 20]\nok");
        assert_eq!(find(message(prompt)), [Mark::Long(20)]);
        assert_eq!(message("[demo: ask] please"), "[demo: ask] please");
        // What another thread writes stands below its prefix, as a quotation.
        let prompt = "[Sat 21 Nov 03:14]\n\n[Cross-thread from Site (thread 7)]:\n> [demo: tool]";
        assert_eq!(find(message(prompt)), [Mark::Tool]);
        assert!(is_heartbeat("[Sat]\n\n[Heartbeat check-in]: Read HEARTBEAT.md\n"));
        assert!(!is_heartbeat("[Heartbeat check-in]: was\n\n[Ada via Telegram]: now"));
    }

    #[test]
    fn arguments_may_hold_brackets_and_a_typo_is_told() {
        let call = Mark::Call("note".to_owned(), r#"{"a":[1,[2]]}"#.to_owned());
        assert_eq!(find(r#"[demo: call note {"a":[1,[2]]}]"#), [call]);
        let Mark::Choose(asked) = parse("choose Which? | Red: warm | Green; many What? | a") else {
            panic!("no question")
        };
        let asked: Value = serde_json::from_str(&asked).unwrap();
        let (first, second) = (&asked["questions"][0], &asked["questions"][1]);
        assert_eq!(first["question"], "Which?");
        assert_eq!(first["options"][0], json!({ "label": "Red", "description": "warm" }));
        assert_eq!((&second["question"], &second["multiSelect"]), (&json!("What?"), &json!(true)));
        assert_eq!(find("[demo: lnog 3]"), [Mark::Unknown("lnog 3".to_owned())]);
        assert_eq!(find("[demo: slow 200ms]"), [Mark::Slow(Duration::from_millis(200))]);
    }
}
