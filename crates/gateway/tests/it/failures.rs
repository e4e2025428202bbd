//! The table of what can go wrong names tests that are there.

use std::collections::BTreeSet;
use std::path::Path;

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
fn every_test_that_the_table_of_failures_names_is_there() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut known = BTreeSet::new();
    for it in
        ["gateway/src", "gateway/tests", "cli/tests", "e2e/tests", "ledger/tests", "service/src"]
    {
        functions(&crates.join(it), &mut known);
    }
    let rows = include_str!("../FAILURES.md").lines().filter(|it| it.starts_with("| ")).skip(1);
    let mut count = 0;
    for row in rows {
        let shown = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let words = shown.split('`').skip(1).step_by(2);
        let names: Vec<&str> =
            words.filter(|it| it.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for it in names {
            assert!(known.contains(it), "{it} is no test: {row}");
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
}
