//! The same loop with the real CLI against the fake Messages API. Skipped by name where the CLI is not installed.

use std::path::PathBuf;

use tinyclaw_domain::{Model, Outcome};
use tinyclaw_e2e::Office;
use tinyclaw_testkit::messages_api::MessagesApi;

/// The CLI that `scripts/install-claude.sh` installs.
fn claude() -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let cache =
        std::env::var("TINYCLAW_TEST_CACHE").unwrap_or_else(|_| format!("{home}/.cache/tinyclaw"));
    let versions = std::fs::read_dir(PathBuf::from(cache).join("claude")).ok()?;
    versions.flatten().map(|it| it.path().join("claude")).find(|it| it.is_file())
}

#[test]
fn real_claude_answers_in_the_office() {
    let Some(claude) = claude() else {
        println!("skipped real_claude_answers_in_the_office: run scripts/install-claude.sh");
        return;
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("runtime");
    let api = runtime.block_on(MessagesApi::start()).expect("the fake API");
    let mut office = Office::open_with(&[
        ("TINYCLAW_ENGINE_KIND", "claude"),
        ("TINYCLAW_ENGINE_CLAUDE", &claude.display().to_string()),
        ("ANTHROPIC_API_KEY", "dummy"),
        ("ANTHROPIC_BASE_URL", &api.url()),
    ]);
    let first = office.ask("7", "hello");
    assert_eq!(first.outcome, Outcome::Answered, "{}", first.text);
    assert!(first.usage.output_tokens > 0);
    let second = office.ask("7", "/opus prove that there is no largest prime");
    assert_eq!(second.model, Some(Model::Opus), "the model changed on the warm process");
    let prompts = office.lines("logs/prompts.jsonl");
    assert_eq!(prompts[1]["newSession"], false);
    let asked = api.asked();
    assert!(asked.iter().any(|it| format!("{it:?}").contains("Ada at a terminal")
        || format!("{it:?}").contains("Ada via terminal")));
}
