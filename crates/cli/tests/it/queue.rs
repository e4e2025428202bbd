//! The queue in an operator's hands.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use tinyclaw_domain::STOPPED_WAITING;

use crate::{Office, Said};

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

/// It was counted with what failed, and `retry --all` asked it after all.
#[test]
fn what_a_person_stopped_is_told_as_stopped_and_taken_up_only_by_its_key() {
    let office = Office::closed();
    let bury = |text: &str, reason: &str| {
        let key = office.run(&["send", text]).ok().trim().to_owned();
        office.run(&["queue", "bury", &key, "--reason", reason]).ok();
        key
    };
    let stopped = bury("boil an egg", STOPPED_WAITING);
    let listed = office.run(&["queue", "ls"]).ok();
    assert!(listed.contains("0 given up, 1 stopped by a person"), "{listed}");
    let failed = bury("fry an egg", "the pan is lost");
    let listed = office.run(&["queue", "ls"]).ok();
    assert!(listed.contains("1 given up, 1 stopped by a person"), "{listed}");
    office.run(&["queue", "retry", "--all"]).ok();
    let place = |key: &str| office.run(&["queue", "show", key, "--json"]).json()["place"].clone();
    assert_eq!((place(&stopped), place(&failed)), ("dead".into(), "incoming".into()));
    office.run(&["queue", "retry", &stopped]).ok();
    assert_eq!(place(&stopped), "incoming");
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

/// `queue ls` said "Input/output error" and nothing more, for all messages alike.
#[test]
fn a_message_that_cannot_be_read_is_listed_by_name_and_buried() {
    let office = Office::closed();
    office.run(&["send", "--thread", "7", "put the kettle on"]).ok();
    let key = office.run(&["send", "--thread", "8", "and the biscuits"]).ok();
    let key = key.trim();
    let incoming = office.place.path("state/queue/incoming");
    let files = std::fs::read_dir(incoming).expect("incoming").map(|it| it.expect("entry").path());
    let bad = files.filter(|it| it.to_string_lossy().contains(key)).last().expect("the file");
    // A process's own memory has nothing at its beginning: reading there is an error, as on a bad sector.
    let unread = |arguments: &[&str]| {
        let lay = "mount --bind /proc/$$/mem \"$0\" || exit 77; exec \"$@\"";
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", lay]).arg(&bad);
        command.arg(env!("CARGO_BIN_EXE_tinyclaw")).args(arguments);
        Said::of(command.env_clear().envs(&office.env).output().expect("unshare"))
    };
    let listed = unread(&["queue", "ls"]);
    if listed.code == Some(77) || listed.err.starts_with("unshare:") {
        println!("skipped: a_message_that_cannot_be_read_is_listed_by_name_and_buried: {listed:?}");
        return;
    }
    let listed = listed.ok();
    assert!(listed.contains("put the kettle on"), "{listed}");
    assert!(listed.contains(&key[..10]) && listed.contains("cannot be read: Input"), "{listed}");
    let found = unread(&["doctor"]);
    assert!(found.out.contains(&format!("queue bury {key}")), "{}", found.out);
    assert_ne!(found.code, Some(0));
    // Out here it can be read again; what counts is that burying needs no reading.
    office.run(&["queue", "bury", key, "--reason", "its sector is bad"]).ok();
    assert_eq!(office.run(&["queue", "show", key, "--json"]).json()["place"], "dead");
}
