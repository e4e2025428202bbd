use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tinyclaw_domain::{
    Command, ConversationLine, Decision, DevboxViews, Envs, Health, HistoryLine, JobLine, Message,
    OutcomeLine, PlanUse, Progress, PromptLine, Reply, RoutingLine, Threads, Tokens,
};
use tinyclaw_tidy::read;

/// Reads an example as `T`, and gives back what is written from it.
fn through<T: DeserializeOwned + Serialize>(example: &Value) -> Result<Value, String> {
    let value: T = serde_json::from_value(example.clone()).map_err(|err| err.to_string())?;
    serde_json::to_value(value).map_err(|err| err.to_string())
}

/// The types that have examples. One without a type of ours, read by nobody but a person, is `Value`.
fn round(name: &str, example: &Value) -> Result<Value, String> {
    match name {
        "Message" => through::<Message>(example),
        "Reply" => through::<Reply>(example),
        "Command" => through::<Command>(example),
        "Threads" => through::<Threads>(example),
        "HistoryLine" => through::<HistoryLine>(example),
        "OutcomeLine" => through::<OutcomeLine>(example),
        "RoutingLine" => through::<RoutingLine>(example),
        "Decision" => through::<Decision>(example),
        "PromptLine" => through::<PromptLine>(example),
        "ConversationLine" => through::<ConversationLine>(example),
        "JobLine" => through::<JobLine>(example),
        "Progress" => through::<Progress>(example),
        "Tokens" => through::<Tokens>(example),
        "Envs" => through::<Envs>(example),
        "Health" => through::<Health>(example),
        "PlanUse" => through::<PlanUse>(example),
        "DevboxViews" => through::<DevboxViews>(example),
        "Value" => through::<Value>(example),
        _ => Err("no type of that name is known to the test".to_owned()),
    }
}

/// Types that cross the disk and must have an example.
const MUST_HAVE: [&str; 15] = [
    "Message",
    "Command",
    "Threads",
    "HistoryLine",
    "OutcomeLine",
    "RoutingLine",
    "PromptLine",
    "ConversationLine",
    "Progress",
    "JobLine",
    "Tokens",
    "Envs",
    "Health",
    "PlanUse",
    "DevboxViews",
];

#[test]
fn every_example_is_read_and_written_as_it_stands() {
    let text = read("docs/FORMATS.md".as_ref());
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (at, block) in text.split("\n```json").skip(1).enumerate() {
        let block = block.split("\n```").next().unwrap_or_default();
        let (info, body) = block.split_once('\n').unwrap_or_default();
        let (is_lines, name) = match info.strip_prefix('l') {
            Some(name) => (true, name.trim()),
            None => (false, info.trim()),
        };
        seen.insert(name.to_owned());
        let bodies: Vec<&str> = if is_lines { body.lines().collect() } else { vec![body] };
        for body in bodies {
            let example: Value = match serde_json::from_str(body) {
                Ok(it) => it,
                Err(err) => {
                    wrong.push(format!("example {} ({name}) is not JSON: {err}", at + 1));
                    continue;
                }
            };
            match round(name, &example) {
                Ok(written) if written == example => {}
                Ok(written) => {
                    wrong.push(format!("{name}: stands\n{example}\nis written\n{written}"))
                }
                Err(err) => wrong.push(format!("{name}: {err}: {example}")),
            }
        }
    }
    wrong.extend(
        MUST_HAVE.iter().filter(|it| !seen.contains(**it)).map(|it| format!("{it} has no example")),
    );
    assert!(wrong.is_empty(), "docs/FORMATS.md:\n{}", wrong.join("\n"));
}
