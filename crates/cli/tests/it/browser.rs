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
    let (office, gateway, token) = office();
    let url = gateway.url();
    let login = office.run(&["token", "login", "--env", "dev", "--url", &url]).ok();
    let login = login.trim();
    assert!(login.starts_with(&format!("{url}/#tk_")), "{login}");
    let done = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/chat.mjs"))
        .args([&url, &token, login])
        .env("DRIVER", cache)
        .output()
        .unwrap();
    let said = [&*done.stdout, &*done.stderr].map(String::from_utf8_lossy).concat();
    assert!(done.status.success() && said.contains("the chat did everything"), "{said}");
}
