//! What `docs/SECURITY.md` says is held by a test is held by one.

use std::collections::BTreeSet;

use tinyclaw_tidy::{files, read};

/// What an agent of one desk tries in an office of desk users. Each has a row.
const ATTACKS: [&str; 20] = [
    "prlimit",
    "chmod",
    "renice",
    "affinity",
    "ptrace",
    "signals",
    "/proc",
    "abstract sockets",
    "path sockets",
    "another desk's home",
    "transcripts",
    "worktree",
    "capability",
    "queue",
    "symlinks in place of folders",
    "FIFOs and a sparse terabyte",
    "TIOCSTI",
    "fork bombs",
    "disk exhaustion",
    "pid exhaustion",
];
/// Where an office of desk users is attacked.
const OFFICES: [&str; 2] = ["desk_users.rs", "desk_against_office.rs"];

/// The names of tests in a text: of three words and more, between backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |it: &&str| {
        it.matches('_').count() >= 2
            && it.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_')
    };
    text.split('`').skip(1).step_by(2).filter(is_name)
}

/// The functions of a source file, and what stands at the beginning of a line of a macro, as cases in a table do.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        let rest = line.split_once("fn ").map_or(line, |it| it.1);
        let end = rest.find(|it| !is_word(it))?;
        rest[end..].starts_with(['(', '<', ':', ',']).then_some(&rest[..end])
    })
}

#[test]
fn every_test_that_is_said_to_hold_something_is_there() {
    let sources = files().into_iter().filter(|it| it.extension().is_some_and(|it| it == "rs"));
    let texts: Vec<String> = sources.map(|it| read(&it)).collect();
    let all: BTreeSet<&str> = texts.iter().flat_map(|it| functions(it)).collect();
    let said = read("docs/SECURITY.md".as_ref());
    let missing: Vec<&str> = named(&said).filter(|it| !all.contains(it)).collect();
    assert!(missing.is_empty(), "docs/SECURITY.md names tests that are not there: {missing:#?}");
    assert!(named(&said).count() > 100, "there are names");
}

#[test]
fn every_attack_has_a_case_in_an_office_of_desk_users() {
    let texts = OFFICES.map(|it| read(format!("crates/e2e/tests/attacks/{it}").as_ref()));
    let cases: BTreeSet<&str> = texts.iter().flat_map(|it| functions(it)).collect();
    let said = read("docs/SECURITY.md".as_ref());
    let (_, table) = said.split_once("<!-- attacks: crates/tidy reads this table -->").unwrap();
    let rows = table.trim_start().lines().take_while(|it| it.starts_with('|')).skip(2);
    let rows: Vec<(&str, Vec<&str>)> = rows
        .map(|row| {
            let attack = row.split('|').nth(1).unwrap_or_default().trim();
            (attack, named(row).collect())
        })
        .collect();
    let attacks: Vec<&str> = rows.iter().map(|it| it.0).collect();
    let wanted: BTreeSet<&str> = ATTACKS.into_iter().collect();
    assert_eq!(attacks.iter().copied().collect::<BTreeSet<_>>(), wanted);
    for (attack, names) in rows {
        assert!(!names.is_empty(), "{attack}: no case");
        let elsewhere: Vec<_> = names.into_iter().filter(|it| !cases.contains(it)).collect();
        assert!(elsewhere.is_empty(), "{attack}: no such case in such an office: {elsewhere:?}");
    }
}
