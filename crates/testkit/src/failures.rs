//! A table of what can go wrong, `FAILURES.md`: the last column of each row names the tests that show what happens then.
//!
//! A row without a test, or with one that is not there, is refused; whether the test shows what the row says is for people.

use std::collections::BTreeSet;
use std::path::Path;

/// The rows of a table. Panics at one that names no test, or one that is in none of these folders below `crates/`.
#[track_caller]
pub fn rows<'a>(table: &'a str, folders: &[&str]) -> Vec<&'a str> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let mut known = BTreeSet::new();
    for it in folders {
        functions(&crates.join(it), &mut known);
    }
    let rows: Vec<&str> = table.lines().filter(|it| it.starts_with("| ")).skip(1).collect();
    for row in &rows {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let words = shown.split('`').skip(1).step_by(2);
        let names: Vec<&str> =
            words.filter(|it| it.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for it in names {
            assert!(known.contains(it), "{it} is no test: {row}");
        }
    }
    rows
}

/// The names of all functions in the Rust files below a folder.
fn functions(dir: &Path, found: &mut BTreeSet<String>) {
    for it in std::fs::read_dir(dir).expect("a folder of the workspace") {
        let path = it.expect("an entry").path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let names =
                text.split("fn ").skip(1).filter_map(|it| it.split_once('(')).map(|it| it.0);
            found.extend(names.map(str::to_owned));
        }
    }
}
