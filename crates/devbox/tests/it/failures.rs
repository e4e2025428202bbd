//! The table of what can go wrong names tests that are there.

use std::collections::BTreeSet;
use std::path::Path;

/// Rows of the table: each trouble has a number, and none is left out.
const ROWS: usize = 47;

/// The names of all functions in the Rust files below a folder.
fn functions(dir: &Path, found: &mut BTreeSet<String>) {
    for it in std::fs::read_dir(dir).unwrap() {
        let path = it.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names =
                text.split("fn ").skip(1).filter_map(|it| it.split_once('(')).map(|it| it.0);
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_trouble_of_a_devbox_has_a_test_that_is_there() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut known = BTreeSet::new();
    for it in ["devbox", "engine", "processor", "domain", "e2e", "telegram", "cli"] {
        for below in ["src", "tests"] {
            let dir = crates.join(it).join(below);
            if dir.is_dir() {
                functions(&dir, &mut known);
            }
        }
    }
    let rows = include_str!("../FAILURES.md").lines().filter(|it| it.starts_with("| "));
    let rows: Vec<&str> = rows.skip(1).collect();
    for (number, row) in rows.iter().enumerate() {
        let first = format!("| {} |", number + 1);
        assert!(row.starts_with(&first), "{first} is missing before: {row}");
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let words = shown.split('`').skip(1).step_by(2);
        let names: Vec<&str> =
            words.filter(|it| it.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for it in names {
            assert!(known.contains(it), "{it} is no test: {row}");
        }
    }
    assert_eq!(rows.len(), ROWS);
}
