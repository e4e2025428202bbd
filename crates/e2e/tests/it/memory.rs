//! What a thread remembers beyond its session.

use std::path::Path;

use tinyclaw_domain::{Command, Lane};
use tinyclaw_e2e::Office;
use tinyclaw_queue::Place;

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

#[test]
fn a_summary_costs_nothing_while_the_budget_is_spent_and_is_not_forgotten() {
    let mut office = Office::open_with(&[("TINYCLAW_BUDGET_THREAD_PER_DAY", "0.50")]);
    office.ask("7", "[demo: cost 0.60] we chose blue for the door");
    let mut reset = office.message("7", "");
    reset.command = Some(Command::Reset {});
    let key = office.publish(reset);
    office.answer(&key);
    let house = Lane::House("7".parse().expect("a thread"));
    office.wait_for("a summary that waits", || {
        let waiting = office.queue().view().list(Place::Incoming, 10).expect("view");
        waiting.into_iter().find(|it| it.lane == house && it.not_before.is_some())
    });
    assert_eq!(office.prompts().len(), 1, "nobody was asked");
}

#[test]
fn a_session_that_was_lost_is_told_once() {
    let mut office = Office::open();
    assert_eq!(office.ask("cli", "[demo: say hello]").text, "hello");
    office.stop();
    assert!(forget_transcripts(&office.path("")) > 0, "nothing to lose");
    office.start();
    let told = "again\n\n*Claude's session of this thread was lost; a new one has begun, with the last messages in mind.*";
    assert_eq!(office.ask("cli", "[demo: say again]").text, told);
    assert_eq!(office.ask("cli", "[demo: say once]").text, "once");
}

/// Removes what Claude keeps of its sessions, wherever its home is; how many.
fn forget_transcripts(dir: &Path) -> usize {
    let mut count = 0;
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|it| it.path()) {
        if path.is_symlink() {
            continue;
        } else if path.is_dir() {
            count += forget_transcripts(&path);
        } else if path.extension().is_some_and(|it| it == "jsonl")
            && path.components().any(|it| it.as_os_str() == "projects")
        {
            std::fs::remove_file(&path).expect("a transcript");
            count += 1;
        }
    }
    count
}
