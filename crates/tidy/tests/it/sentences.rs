//! Every sentence that the product says to people in a chat, in one list: `sentences.txt`. Whoever adds or changes one sees
//! it beside the others, and reads it as a person on a phone would. `UPDATE_EXPECT=1` writes the list anew.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tinyclaw_tidy::{files, production, read, root};

/// Where such sentences stand.
const ROOMS: [&str; 3] = ["crates/processor/src", "crates/telegram/src", "crates/cli/src/chat"];

/// The string literals of a piece of Rust, each with the code before it.
fn literals(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += code[at..].find('\n').unwrap_or(code.len() - at);
            }
            // A character, which may be a quotation mark; a lifetime has no second one.
            b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 3,
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => {
                at += 3 + code[at + 3..].find('\'').unwrap_or(0) + 1;
            }
            b'"' => {
                let mut end = at + 1;
                while end < bytes.len() && bytes[end] != b'"' {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                let end = end.min(bytes.len());
                let before = code[..at].rsplit([';', '{', '}']).next().unwrap_or_default();
                found.push((before.to_owned(), one_line(&code[at + 1..end])));
                at = end + 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// A literal on one line: where the code was broken, there is nothing.
fn one_line(literal: &str) -> String {
    let mut out = String::new();
    let mut rest = literal;
    while let Some((before, after)) = rest.split_once("\\\n") {
        out.push_str(before);
        rest = after.trim_start();
    }
    out.push_str(rest);
    out
}

/// Whether a person is told this: it begins like a sentence and has words in it. What is logged begins small.
fn is_said(before: &str, text: &str) -> bool {
    let is_logged = before.contains("tracing::") || before.contains(".expect(");
    let begins = text
        .trim_start_matches(['*', '<', '>', 'i', 'b', '`'])
        .starts_with(|it: char| it.is_uppercase() || it == '{' || it == '1');
    let words = text.split_whitespace().filter(|it| it.chars().any(char::is_alphabetic)).count();
    let ends =
        text.trim_end_matches(['*', '`', '>', '<', '/', 'i', 'b']).ends_with(['.', '?', ':', '!']);
    !is_logged
        && begins
        && words >= 2
        && (ends || !text.contains('{') && text.starts_with(char::is_uppercase))
}

#[test]
fn every_sentence_that_people_are_told_was_read() {
    let mut list = String::new();
    for room in ROOMS {
        let is_here =
            |it: &PathBuf| it.starts_with(room) && it.extension().is_some_and(|it| it == "rs");
        let here = files().into_iter().filter(is_here);
        // Sorted, so that code may move without changing the list.
        let mut all = BTreeSet::new();
        for path in here {
            let text = read(&path);
            let said = literals(&production(&text)).into_iter();
            all.extend(said.filter(|it| is_said(&it.0, &it.1)).map(|it| it.1));
        }
        list.push_str(&format!("\n{room}\n"));
        all.iter().for_each(|it| list.push_str(&format!("    {it}\n")));
    }
    let expected = root().join("crates/tidy/tests/it/sentences.txt");
    expect_test::expect_file![expected].assert_eq(list.trim_start());
}
