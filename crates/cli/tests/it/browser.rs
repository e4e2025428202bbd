//! The web chat in Chromium, as a person uses it: real gateway, processor and demo engine.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so by name")]

use std::path::Path;
use std::process::Command;

use crate::driver::driver;
use crate::web::office;

#[test]
fn a_person_chats_asks_stops_leaves_and_finds_the_rest() {
    let cache = match driver() {
        Ok(it) => it,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let (_office, gateway, token) = office();
    let done = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/chat.mjs"))
        .args([&gateway.url(), &token])
        .env("DRIVER", cache)
        .output()
        .unwrap();
    let said = [&*done.stdout, &*done.stderr].map(String::from_utf8_lossy).concat();
    assert!(done.status.success() && said.contains("the chat did everything"), "{said}");
}
