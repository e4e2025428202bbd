//! Settings that change while the office works.

use serde_json::{Value, json};
use tinyclaw_e2e::Office;

/// Asks until an answer's prompt was told by another process than the one before; the last two prompts.
fn until_another_process(office: &mut Office) -> (Value, Value) {
    for _ in 0..2_000 {
        office.ask("7", "hello");
        let prompts = office.prompts();
        let [.., before, last] = &prompts[..] else { continue };
        if before["pid"] != last["pid"] {
            return (before.clone(), last.clone());
        }
    }
    panic!("it stays the same process");
}

#[test]
fn the_engines_settings_count_at_the_next_turn_and_the_session_goes_on() {
    let mut office = Office::open();
    office.ask("7", "hello");
    office.set(&json!({"engine": {"mode": "spawn"}}));
    let (before, last) = until_another_process(&mut office);
    assert_eq!(before["session"], last["session"]);
    let (before, last) = until_another_process(&mut office);
    assert_ne!(before["pid"], last["pid"], "a process a message from now on");
    // And back: warm again.
    office.set(&json!({}));
    for _ in 0..2_000 {
        office.ask("7", "hello");
        let prompts = office.prompts();
        if prompts.len() > 2
            && prompts[prompts.len() - 2]["pid"] == prompts[prompts.len() - 1]["pid"]
        {
            return;
        }
    }
    panic!("it never stays warm");
}

#[test]
fn what_has_to_wait_for_the_next_start_is_told() {
    let mut office = Office::open();
    // An answer means that the settings were read.
    office.ask("7", "hello");
    office.set(&json!({"engine": {"landlock": "off"}}));
    office.wait_for("the word about it", || {
        let health = std::fs::read_to_string(office.state().health("processor")).ok()?;
        health.contains("the engine's landlock; that waits for the next start").then_some(())
    });
    office.set(&json!({}));
    office.wait_for("no word about it", || {
        let health = std::fs::read_to_string(office.state().health("processor")).ok()?;
        (!health.contains("waits for the next start")).then_some(())
    });
}
