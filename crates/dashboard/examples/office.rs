//! Fills a folder with an invented office to look at: `cargo run --example office -- FOLDER [live]`.
//! With `live`, something happens every two seconds until it is stopped.
#![allow(clippy::print_stdout, reason = "an example talks to whoever started it")]

#[path = "../tests/it/demo/mod.rs"]
mod demo;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() {
    let folder = std::env::args().nth(1).expect("which folder?");
    let state = std::path::PathBuf::from(folder);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut demo = demo::Demo::new(&state);
    demo.fill(now(), 400);
    println!(
        "an office is in {}; look at it with TINYCLAW_DIR={}",
        state.display(),
        state.display()
    );
    let mut which = 1;
    while std::env::args().nth(2).as_deref() == Some("live") {
        std::thread::sleep(Duration::from_secs(2));
        demo.exchange(now() - 9_000, which);
        which += 1;
    }
}
