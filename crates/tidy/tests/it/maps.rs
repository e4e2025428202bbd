use std::collections::BTreeMap;

use tinyclaw_tidy::{files, read};

/// A crate of more files has a map.
const FILES_WITHOUT_A_MAP: usize = 14;
/// All maps together answer so many questions.
const QUESTIONS_MIN: usize = 40;

/// The maps of ARCHITECTURE.md: for each folder of sources the rows of its table, a question and its answer.
fn maps() -> BTreeMap<String, Vec<(String, String)>> {
    let text = read("docs/ARCHITECTURE.md".as_ref());
    let mut maps: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut root = None;
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, question, answer, _] = cells[..] else {
            root = None;
            continue;
        };
        if question == "where do I find …" {
            let named = answer.strip_prefix("in `").and_then(|it| it.strip_suffix('`'));
            root = Some(named.expect("a map says of which folder it is").to_owned());
        } else if let Some(root) = root.as_ref().filter(|_| !question.starts_with("---")) {
            let row = (question.to_owned(), answer.to_owned());
            maps.entry(root.clone()).or_default().push(row);
        }
    }
    maps
}

/// What stands between backticks and is a source file, or the like of many.
fn named(answer: &str) -> impl Iterator<Item = &str> {
    answer.split('`').skip(1).step_by(2).filter(|it| it.ends_with(".rs"))
}

/// `commands/<name>.rs`: one of many.
fn is_pattern(name: &str) -> bool {
    name.contains('<')
}

#[test]
fn every_file_that_a_map_names_is_there() {
    let files: Vec<String> = files().iter().map(|it| it.to_string_lossy().into_owned()).collect();
    let maps = maps();
    let mut wrong = Vec::new();
    for (root, rows) in &maps {
        for (question, answer) in rows {
            let mut is_answered = false;
            // A name without a folder is a neighbour of the one before it.
            let mut folder = String::new();
            for name in named(answer) {
                is_answered = true;
                let beside = format!("{root}/{folder}{name}");
                let known = [format!("{root}/{name}"), beside, name.to_owned()];
                if !is_pattern(name) && !known.iter().any(|it| files.contains(it)) {
                    wrong.push(format!("{root}: {question}: there is no {name}"));
                }
                folder = name.rsplit_once('/').map_or(String::new(), |(it, _)| format!("{it}/"));
            }
            if !is_answered {
                wrong.push(format!("{root}: {question}: no file is named"));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/ARCHITECTURE.md:\n{}", wrong.join("\n"));
    let questions: usize = maps.values().map(Vec::len).sum();
    assert!(questions >= QUESTIONS_MIN, "{questions} questions");
}

#[test]
fn every_crate_that_is_not_seen_at_a_glance_has_a_map() {
    let maps = maps();
    let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
    for file in files() {
        let file = file.to_string_lossy();
        if let Some((before, _)) = file.split_once("/src/").filter(|_| file.ends_with(".rs")) {
            *sizes.entry(format!("{before}/src")).or_default() += 1;
        }
    }
    let large = sizes.into_iter().filter(|(_, files)| *files > FILES_WITHOUT_A_MAP);
    let missing: Vec<String> =
        large.map(|(root, _)| root).filter(|it| !maps.contains_key(it)).collect();
    assert!(missing.is_empty(), "docs/ARCHITECTURE.md has no map of {missing:?}");
}
