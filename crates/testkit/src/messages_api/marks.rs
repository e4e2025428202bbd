//! What a request asks, and what the marks in its prompt make of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::Asked;

/// How a request is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plan {
    Say {
        text: String,
        pause: Duration,
    },
    Tool {
        name: String,
        input: Value,
    },
    Status(u16),
    Cut(String),
    /// Ends the stream in the middle of a sentence, as if all were said.
    Truncate(String),
    /// Stops for want of room.
    TooLong(String),
    /// Tells its usage in so many frames, each time all of it, and so many tokens that it was given.
    Counts {
        frames: u32,
        given: u64,
    },
    Stall(String),
    Hang,
    Garbage,
    Refuse,
    Limit(u64),
}

/// The parts of a request that matter here.
pub(super) fn asked(request: &Value) -> Asked {
    let texts = |it: &Value| match it {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => {
            blocks.iter().filter_map(|it| it["text"].as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    let mut results = Vec::new();
    let mut prompt = String::new();
    for message in request["messages"].as_array().into_iter().flatten().rev() {
        let said = texts(&message["content"]);
        // A message that failed is sent along with the next one: the last marks are the new ones.
        let marked = said.iter().rfind(|it| it.contains("[api:")).cloned();
        // What a person says while a tool runs came from the system once.
        let is_persons = match message["role"].as_str() {
            Some("user") => true,
            Some("system") => marked.is_some(),
            _ => false,
        };
        if !is_persons {
            continue;
        }
        let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
        let told: Vec<String> = blocks
            .iter()
            .filter(|it| it["type"] == "tool_result")
            .map(|it| texts(&it["content"]).join("\n"))
            .collect();
        // New words after an interrupted tool travel in one message with its result.
        if told.is_empty() || marked.is_some() {
            prompt = marked.unwrap_or_else(|| said.join("\n"));
            break;
        }
        results.splice(0..0, told);
    }
    let tools = request["tools"].as_array().into_iter().flatten();
    Asked {
        model: request["model"].as_str().unwrap_or_default().to_owned(),
        system: texts(&request["system"]).join("\n"),
        prompt,
        results,
        tools: tools.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect(),
        messages: request["messages"].to_string(),
        effort: request["output_config"]["effort"].as_str().map(str::to_owned),
    }
}

/// What to do with a request that comes for the `times`th time.
pub(super) fn plan(asked: &Asked, times: u32) -> Plan {
    let mut tools = asked.results.len();
    let quick = Duration::ZERO;
    for (verb, rest) in find(&asked.prompt) {
        let (first, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "tool" if tools > 0 => tools -= 1,
            "tool" => {
                let input = serde_json::from_str(tail.trim())
                    .unwrap_or_else(|_| Value::Object(Default::default()));
                return Plan::Tool { name: first.to_owned(), input };
            }
            "plan" if tools > 1 => tools -= 2,
            "plan" if tools == 1 => {
                let input = Value::Object(Default::default());
                return Plan::Tool { name: "ExitPlanMode".to_owned(), input };
            }
            "plan" => {
                let path = plan_file(&asked.messages);
                let input = json!({ "file_path": path, "content": rest });
                return Plan::Tool { name: "Write".to_owned(), input };
            }
            "say" => return Plan::Say { text: rest.to_owned(), pause: quick },
            "words" => {
                let words: usize = first.parse().unwrap_or(10);
                let text = (0..words).map(|it| format!("word{it} ")).collect();
                let ms = tail.trim().trim_end_matches("ms").parse().unwrap_or(0);
                return Plan::Say { text, pause: Duration::from_millis(ms) };
            }
            "status" if tail.trim().parse().is_ok_and(|most: u32| times > most) => {}
            "status" => return Plan::Status(first.parse().unwrap_or(500)),
            "truncate" if times > first.parse().unwrap_or(u32::MAX) => {}
            "truncate" => return Plan::Truncate("This answer ends in the".to_owned()),
            "counts" => {
                let given = tail.trim().parse().unwrap_or(10);
                return Plan::Counts { frames: first.parse().unwrap_or(1), given };
            }
            "cut" if times > 1 => {}
            "cut" => return Plan::Cut("This answer breaks off in the".to_owned()),
            "stall" => return Plan::Stall("This answer comes to a".to_owned()),
            "hang" => return Plan::Hang,
            "garbage" => return Plan::Garbage,
            "refuse" => return Plan::Refuse,
            "limit" => return Plan::Limit(first.parse().unwrap_or(60)),
            _ => {}
        }
    }
    let text = match asked.results.last() {
        Some(result) => format!("The tool said: {result}"),
        None => {
            let last = asked.prompt.lines().rfind(|it| !it.trim().is_empty()).unwrap_or_default();
            format!("You said: {}", last.chars().take(200).collect::<String>())
        }
    };
    Plan::Say { text, pause: quick }
}

/// The file in which the CLI wants a plan: what is shown to people is what stands there.
fn plan_file(messages: &str) -> Option<&str> {
    let is_end = |it: char| it.is_whitespace() || matches!(it, '"' | '`' | '\\' | '(' | ')');
    let at = messages.rfind("/plans/")?;
    let begin = messages[..at].rfind(is_end)? + 1;
    let end = messages[at..].find(is_end)? + at;
    Some(messages[begin..end].trim_end_matches('.'))
}

fn find(prompt: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = prompt;
    while let Some(at) = rest.find("[api:") {
        rest = &rest[at + "[api:".len()..];
        let Some(end) = closing(rest) else { break };
        let mark = rest[..end].trim();
        found.push(mark.split_once(' ').unwrap_or((mark, "")));
        rest = &rest[end + 1..];
    }
    found
}

/// The bracket that closes a mark; JSON in it may hold pairs of its own.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(messages: Value) -> Asked {
        asked(
            &json!({ "model": "claude-haiku-4-5", "messages": messages, "system": [{ "text": "be" }, { "text": "kind" }] }),
        )
    }

    #[test]
    fn tools_are_asked_for_one_after_the_other_and_then_there_is_an_answer() {
        let prompt = r#"[api: tool Bash {"command":"a[0]"}] [api: tool Read {}]"#;
        let first = request(json!([{ "role": "user", "content": prompt }]));
        let input = json!({ "command": "a[0]" });
        assert_eq!(plan(&first, 1), Plan::Tool { name: "Bash".to_owned(), input });
        assert_eq!(first.system, "be\nkind");
        let result =
            json!({ "role": "user", "content": [{ "type": "tool_result", "content": "ok" }] });
        let tool = json!({ "role": "assistant", "content": [] });
        let second = request(json!([{ "role": "user", "content": prompt }, tool, result]));
        assert!(matches!(plan(&second, 1), Plan::Tool { name, .. } if name == "Read"));
        let last =
            request(json!([{ "role": "user", "content": prompt }, tool, result, tool, result]));
        assert!(matches!(plan(&last, 1), Plan::Say { text, .. } if text == "The tool said: ok"));
    }

    #[test]
    fn a_plan_is_written_where_it_is_wanted_and_then_proposed() {
        let wanted = "create your plan at /home/a/.claude/plans/one.md using the Write tool";
        let prompt = json!({ "role": "user", "content": format!("{wanted}\n[api: plan # One] [api: say Done.]") });
        let result =
            json!({ "role": "user", "content": [{ "type": "tool_result", "content": "ok" }] });
        let tool = json!({ "role": "assistant", "content": [] });
        let input = json!({ "file_path": "/home/a/.claude/plans/one.md", "content": "# One" });
        assert_eq!(
            plan(&request(json!([prompt])), 1),
            Plan::Tool { name: "Write".to_owned(), input }
        );
        let second = request(json!([prompt, tool, result]));
        assert!(matches!(plan(&second, 1), Plan::Tool { name, .. } if name == "ExitPlanMode"));
        let last = request(json!([prompt, tool, result, tool, result]));
        assert!(matches!(plan(&last, 1), Plan::Say { text, .. } if text == "Done."));
    }

    #[test]
    fn words_that_come_while_a_tool_runs_are_heard_whoever_brings_them() {
        let prompt = json!({ "role": "user", "content": "[api: tool Bash {}]" });
        let tool = json!({ "role": "assistant", "content": [] });
        let result = json!({ "type": "tool_result", "content": "ok" });
        let words = "The user sent a new message while you were working:\n[api: say I heard you.]";
        let apart = [
            json!({ "role": "user", "content": [result] }),
            json!({ "role": "system", "content": words }),
        ];
        let within = [
            json!({ "role": "user", "content": [result, { "type": "text", "text": words }] }),
            json!({ "role": "system", "content": "You are at a desk." }),
        ];
        for told in [apart, within] {
            let asked = request(json!([prompt, tool, told[0], told[1]]));
            assert!(matches!(plan(&asked, 1), Plan::Say { text, .. } if text == "I heard you."));
        }
    }

    #[test]
    fn a_status_can_pass() {
        let asked = request(json!([{ "role": "user", "content": "[api: status 529 2] hello" }]));
        assert_eq!(plan(&asked, 2), Plan::Status(529));
        assert!(matches!(plan(&asked, 3), Plan::Say { .. }));
    }
}
