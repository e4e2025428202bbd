//! The table of what can go wrong names tests that are there.

use tinyclaw_testkit::failures;

/// Rows of the table: each trouble has a number, and none is left out.
const ROWS: usize = 47;

#[test]
fn every_trouble_of_a_devbox_has_a_test_that_is_there() {
    let folders = [
        "devbox/src",
        "devbox/tests",
        "engine/src",
        "engine/tests",
        "processor/src",
        "processor/tests",
        "domain/src",
        "queue/tests",
        "e2e/tests",
        "telegram/src",
        "telegram/tests",
        "cli/src",
        "cli/tests",
    ];
    let rows = failures::rows(include_str!("../FAILURES.md"), &folders);
    for (number, row) in rows.iter().enumerate() {
        let first = format!("| {} |", number + 1);
        assert!(row.starts_with(&first), "{first} is missing before: {row}");
    }
    assert_eq!(rows.len(), ROWS);
}
