//! The table of what can go wrong names tests that are there.

use tinyclaw_testkit::failures;

#[test]
fn every_test_that_the_table_of_failures_names_is_there() {
    let folders =
        ["gateway/src", "gateway/tests", "cli/tests", "e2e/tests", "ledger/tests", "service/src"];
    let rows = failures::rows(include_str!("../FAILURES.md"), &folders);
    assert!(rows.len() > 20, "{}", rows.len());
}
