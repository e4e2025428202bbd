//! A short kill campaign over the whole loop; the long one is `--example kills`.

use std::process::Command;

use tinyclaw_e2e::{Office, processes_of};
use tinyclaw_queue::Place;

#[test]
fn campaign_fifty_kills_of_the_whole_loop() {
    let own = std::env::current_exe().expect("own program");
    let example = own.parent().and_then(|it| it.parent()).expect("folder").join("examples/kills");
    let output = Command::new(example).arg("50").output().expect("the example");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("\"lost\":0,\"askedAgain\":0,\"reordered\":0"), "{report}");
}

/// Without the link; over it the turn goes on (`adopted::`).
#[test]
fn campaign_a_turn_that_does_not_end_is_put_back_when_the_processor_is_told_to_leave() {
    let mut office = Office::open_with(&[("TINYCLAW_ENGINE_LINK", "false")]);
    office.ask("7", "hello");
    let key = office.say("7", "[demo: slow 100s] a long story");
    let waiting = office.say("7", "and then?");
    office.wait_for("the first words", || office.progress(&key).filter(|it| !it.text.is_empty()));
    let took = office.stop();
    println!("left after {took:?}");
    for key in [&key, &waiting] {
        let seen = office.seen(key).expect("kept");
        assert_eq!((seen.place, seen.message.attempts.run), (Place::Incoming, 0), "{key}");
    }
    assert!(office.seen(&key).is_some_and(|it| it.message.checkpoint.is_some()));
    let home = office.path("home");
    office.wait_for("the end of everything", || processes_of(&home).is_empty().then_some(()));
    office.start();
    office.wait_for("the turn that goes on", || (office.prompts().len() == 3).then_some(()));
    let last = office.lines("logs/prompts.jsonl").pop().expect("a prompt");
    let text = last["userMessage"].as_str().unwrap_or_default();
    assert!(text.contains("was interrupted. Continue it"), "{text}");
}
