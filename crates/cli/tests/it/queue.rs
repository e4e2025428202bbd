//! The queue in an operator's hands.

use crate::Office;

#[test]
fn a_message_is_listed_shown_buried_taken_up_and_purged() {
    let office = Office::closed();
    let key = office.run(&["send", "--thread", "7", "put the kettle on"]).ok();
    let key = key.trim();
    let listed = office.run(&["queue", "ls"]).ok();
    assert!(listed.contains("put the kettle on") && listed.contains("1 waiting"), "{listed}");
    let short = listed.lines().nth(1).and_then(|it| it.split_whitespace().next()).expect("a key");
    assert!(key.starts_with(short) && short.len() < key.len(), "{short} of {key}");
    let shown = office.run(&["queue", "show", short]).ok();
    assert!(
        shown.contains("incoming, number 1 in line") && shown.contains("Ada by cli"),
        "{shown}"
    );
    office.run(&["queue", "bury", short, "--reason", "not now"]).ok();
    let listed = office.run(&["queue", "ls", "dead"]).ok();
    assert!(listed.contains("not now") && listed.contains("1 given up"), "{listed}");
    office.run(&["queue", "retry", short]).ok();
    assert_eq!(office.run(&["queue", "show", key, "--json"]).json()["place"], "incoming");
    office.run(&["queue", "bury", key]).ok();
    assert_eq!(office.run(&["queue", "purge", "--all"]).code, Some(1), "not without --yes");
    office.run(&["queue", "purge", "--all", "--yes"]).ok();
    assert_eq!(office.run(&["queue", "show", key]).code, Some(1));
}

#[test]
fn a_beginning_that_two_keys_share_is_refused_by_name() {
    let office = Office::closed();
    for text in ["a", "b"] {
        office.run(&["send", text]).ok();
    }
    let said = office.run(&["queue", "bury", "cli-"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("the beginning of 2 keys"), "{}", said.err);
    let said = office.run(&["queue", "bury", "../../etc/passwd"]);
    assert!(said.err.contains("there is no message"), "{}", said.err);
}

#[test]
fn looking_changes_nothing() {
    let office = Office::closed();
    office.run(&["queue", "ls"]).ok();
    office.run(&["threads"]).ok();
    office.run(&["logs"]).ok();
    assert_eq!(office.place.files(), [""; 0]);
}
