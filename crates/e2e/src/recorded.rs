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

/// Adds the checksums of threads and messages anew, after a folder in them was renamed. What has none keeps none.
pub fn seal(state: &Path) {
    seal_messages(&state.join("queue"));
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

fn seal_messages(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            seal_messages(&path);
        } else if path.extension().is_some_and(|it| it == "json") {
            let text = fs::read_to_string(&path).expect("read");
            let text: String = text.lines().map(|it| sealed(it) + "\n").collect();
            fs::write(&path, text).expect("write");
        }
    }
}

/// A state of a message, whole again.
fn sealed(line: &str) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(line).expect("a message");
    if !fields.contains_key(checksum::CHECKSUM) {
        return line.to_owned();
    }
    checksum::add("", &mut fields);
    Value::Object(fields).to_string()
}
