//! The same loop with the real CLI against the fake Messages API. Skipped by name where the CLI is not installed.

use tinyclaw_domain::{Model, Outcome};
use tinyclaw_e2e::Office;
use tinyclaw_testkit::messages_api::MessagesApi;
use tokio::runtime::{Builder, Runtime};

/// An office with the real CLI and a fake API, which lives as long as the runtime; nothing where the CLI is missing.
fn office(env: &[(&str, &str)]) -> Option<(Office, MessagesApi, Runtime)> {
    let claude = match tinyclaw_testkit::claude::program() {
        Ok(it) => it,
        Err(why) => {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            println!("skipped {name}: {why}");
            return None;
        }
    };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("runtime");
    let api = runtime.block_on(MessagesApi::start()).expect("the fake API");
    let (claude, url) = (claude.display().to_string(), api.url());
    let mut all = vec![
        ("TINYCLAW_ENGINE_KIND", "claude"),
        ("TINYCLAW_ENGINE_CLAUDE", claude.as_str()),
        ("ANTHROPIC_API_KEY", "dummy"),
        ("ANTHROPIC_BASE_URL", url.as_str()),
    ];
    all.extend(env);
    Some((Office::open_with(&all), api, runtime))
}

#[test]
fn real_claude_that_takes_too_many_steps_is_stopped_and_goes_on_when_told_to() {
    let Some((mut office, _api, _runtime)) = office(&[("TINYCLAW_ENGINE_STEPS_MAX", "1")]) else {
        return;
    };
    let tool = r#"[api: tool Bash {"command":"echo hello","description":"test"}]"#;
    let reply = office.ask("7", tool);
    assert_eq!(reply.outcome, Outcome::Failed, "{}", reply.text);
    assert!(reply.text.ends_with("Say \"continue\" to go on from here."), "{}", reply.text);
    assert_eq!(reply.buttons.len(), 1);
    let used: Vec<(&str, bool)> = reply.tools.iter().map(|it| (it.name.as_str(), it.ok)).collect();
    assert_eq!(used, [("Bash", true)]);
    let reply = office.ask("7", "continue");
    assert_eq!(reply.outcome, Outcome::Answered, "{}", reply.text);
    assert_eq!(office.lines("logs/prompts.jsonl")[1]["newSession"], false);
}

#[test]
fn real_claude_answers_in_the_office() {
    let Some((mut office, api, _runtime)) = office(&[]) else { return };
    let first = office.ask("7", "hello");
    assert_eq!(first.outcome, Outcome::Answered, "{}", first.text);
    assert!(first.usage.output_tokens > 0);
    let second = office.ask("7", "/opus prove that there is no largest prime");
    assert_eq!(second.model, Some(Model::OPUS), "the model changed on the warm process");
    let prompts = office.lines("logs/prompts.jsonl");
    assert_eq!(prompts[1]["newSession"], false);
    let asked = api.asked();
    assert!(asked.iter().any(|it| format!("{it:?}").contains("Ada at a terminal")
        || format!("{it:?}").contains("Ada via terminal")));
}
