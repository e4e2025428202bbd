//! State folders that a release left, kept so that every later one can show that it goes on from there.
//!
//! `cargo run -p tinyclaw-e2e --example record DIR` makes one. What of it is of one machine alone is left out, and the folder
//! that agents worked in is named [`WORK`]; whoever lays a recorded folder down puts its own in its place.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tinyclaw_domain::checksum;

/// The folder that agents worked in, as a recorded folder names it.
pub const WORK: &str = "/home/ada/workspace";
/// What is of one machine and one moment: nothing that the next release has to go on from.
const PASSING: &[&str] = &[
    "health",
    "home",
    "locks",
    "progress",
    "logs/queue.log",
    "logs/telegram.log",
    "queue/BOOT",
    "queue/OPEN",
    "queue/lanes",
    "queue/reserve.bin",
    "telegram.json.tmp",
];

/// The folder that a release left.
pub fn folder(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("state-{release}"))
}

/// Takes out what passes.
pub fn remove_passing(state: &Path) {
    for name in PASSING {
        let path = state.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("remove");
        } else {
            let _ = fs::remove_file(path);
        }
    }
}

/// Adds the checksums of threads anew, after a folder in them was renamed.
pub fn seal(state: &Path) {
    for name in ["threads.json", "threads.json.last"] {
        let path = state.join(name);
        let Ok(text) = fs::read(&path) else { continue };
        let mut threads: Map<String, Value> = serde_json::from_slice(&text).expect("threads");
        for (id, entry) in &mut threads {
            if let Value::Object(fields) = entry {
                checksum::add(id, fields);
            }
        }
        let mut text = serde_json::to_vec_pretty(&threads).expect("JSON");
        text.push(b'\n');
        fs::write(path, text).expect("write");
    }
}
