//! The Steer button: the next message of whoever pressed, or the one that waits, is for the turn that runs.

use tinyclaw_domain::{FileRef, Key, Message};
use tinyclaw_testkit::telegram::ADA;

use crate::office::Office;
use crate::questions::until_told;

/// What waits under this key.
fn waiting(office: &Office, key: &Key) -> Message {
    office.queue.view().find(key).unwrap().expect("a message").message
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_message_of_whoever_pressed_is_for_the_running_turn() {
    let office = Office::watched().await;
    office.ada(None, "begin");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_said(" s\n    [ Stop ] [ Steer ]").await;
    office.until_noted(turn.message()).await;
    office.press(ADA, "Steer").await;
    until_told(&office, "Your next message here reaches the running turn.").await;
    // Whoever takes over knows it.
    office.kill().await;
    office.start();
    office.bob(None, "What Bob says.");
    let bobs = office.until_waiting("What Bob says.").await;
    office.ada(None, "Use the other folder.");
    let adas = office.until_waiting("Use the other folder.").await;
    office.ada(None, "And then tidy up.");
    let next = office.until_waiting("And then tidy up.").await;
    let steers = [&bobs, &adas, &next].map(|it| waiting(&office, it).steer);
    assert_eq!(steers, [false, true, false]);
    // The status is the same message, found by its buttons.
    turn.answer("Done.");
    office.until_said("    Done.\n").await;
    office.until_unsaid("working").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_for_the_running_turn_once_its_button_is_pressed() {
    let office = Office::watched().await;
    office.ada(None, "begin");
    let turn = office.claim().await;
    office.ada(None, "Use the other folder.");
    let key = office.until_waiting("Use the other folder.").await;
    office.until_said("Next here · busy since").await;
    // Files are not brought to a turn that runs.
    let file = FileRef { path: "files/1/a.txt".to_owned(), mime: String::new(), name: None };
    assert!(office.queue.replace_waiting(&key, |it| it.files = vec![file]).unwrap());
    office.press(ADA, "Steer").await;
    let no = "A message with files waits in line: they have to be brought to Claude first.";
    until_told(&office, no).await;
    assert!(!waiting(&office, &key).steer);
    assert!(office.queue.replace_waiting(&key, |it| it.files.clear()).unwrap());
    office.press(ADA, "Steer").await;
    until_told(&office, "The running turn gets it.").await;
    assert!(waiting(&office, &key).steer);
    turn.answer("Done.");
    office.until_said("    Done.\n").await;
    office.close().await;
}
