//! What a thread remembers beyond its session.

use tinyclaw_domain::Command;
use tinyclaw_e2e::Office;

#[test]
fn a_reset_leaves_a_summary_that_the_next_session_reads() {
    let mut office = Office::open();
    office.ask("7", "we chose blue for the door");
    office.ask("7", r#"[demo: call note {"text":"buy blue paint"}]"#);
    let mut reset = office.message("7", "");
    reset.command = Some(Command::Reset {});
    let key = office.publish(reset);
    office.answer(&key);
    office.ask("7", "where were we?");
    let prompts = office.lines("logs/prompts.jsonl");
    let last = prompts.last().expect("a prompt");
    assert_eq!(last["newSession"], true);
    assert_eq!(last["historyInjected"], true);
    let text = last["userMessage"].as_str().unwrap_or_default();
    assert!(text.contains("buy blue paint"), "{text}");
    let names: Vec<&str> = last["parts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert!(
        names.contains(&"summaries") && names.contains(&"daily") && names.contains(&"history"),
        "{names:?}"
    );
    let summaries =
        std::fs::read_dir(office.path("state/memory/summaries/7")).expect("summaries").count();
    assert_eq!(summaries, 1);
}
