use std::collections::BTreeMap;

use tinyclaw_tidy::modules::{arrows, circles};
use tinyclaw_tidy::{files, read};

/// Circles that stay, with the reason: the crate's sources, and its modules in order.
const MAY_CIRCLE: &[(&str, &str, &str)] = &[
    (
        "crates/engine/src",
        "config home login",
        "one constant, the name of Claude's folder: to be moved",
    ),
    ("crates/engine/src", "driver engine pool", "one engine's processes: to be taken apart"),
    (
        "crates/engine/src",
        "driver::actor driver::away driver::background driver::diary driver::ladder driver::running driver::servers driver::stranger",
        "one process in eight files: each acts on what the others keep",
    ),
    (
        "crates/engine/src",
        "failure turn wire::lines wire::out",
        "what a turn says, and what its lines say: to be taken apart",
    ),
    (
        "crates/router/src",
        "config desk desk::config desk::read fields lists policy reading router",
        "a decision: what is asked, how it is read in a chat and at a desk, and the rules that change it",
    ),
    (
        "crates/service/src",
        "settings::read settings::table settings::values",
        "one table: its values, and how they are read",
    ),
    (
        "crates/testkit/src",
        "telegram::control telegram::media telegram::methods telegram::transcript telegram::world",
        "one fake: its world, and the doors to it",
    ),
];

/// Each crate's sources: the folder in which its root stands, with the files below it. A program below `bin/` is a crate.
fn crates() -> BTreeMap<String, Vec<(String, String)>> {
    let mut crates: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for path in files().into_iter().filter(|it| it.extension().is_some_and(|it| it == "rs")) {
        let path = path.to_string_lossy().into_owned();
        let Some((before, below)) = path.split_once("/src/") else { continue };
        let (root, below) = match below.strip_prefix("bin/").map(|it| it.split_once('/')) {
            Some(Some((program, below))) => (format!("{before}/src/bin/{program}"), below),
            Some(None) => continue,
            None => (format!("{before}/src"), below),
        };
        // A program beside a library is its own crate, and imports the library by name.
        let is_program =
            below == "main.rs" && tinyclaw_tidy::root().join(&root).join("lib.rs").exists();
        if !is_program && !below.ends_with("tests.rs") {
            crates.entry(root).or_default().push((below.to_owned(), read(path.as_ref())));
        }
    }
    crates
}

/// Who reads one module of a circle must read all of them.
#[test]
fn modules_of_a_crate_form_no_circle() {
    let mut found = Vec::new();
    for (root, sources) in crates() {
        let sources = sources.iter().map(|(file, text)| (file.as_str(), text.as_str()));
        for circle in circles(&arrows(sources)) {
            found.push((root.clone(), circle.into_iter().collect::<Vec<_>>().join(" ")));
        }
    }
    let is_listed = |root: &str, circle: &str| {
        MAY_CIRCLE.iter().any(|(its, modules, _)| *its == root && *modules == circle)
    };
    let new = found.iter().filter(|(root, circle)| !is_listed(root, circle)).map(|it| {
        format!("new: {it:?}\n  move what they share below all of them, or list it with the reason")
    });
    let is_found = |root: &str, modules: &str| {
        found.iter().any(|(its, circle)| its == root && circle == modules)
    };
    let gone = MAY_CIRCLE
        .iter()
        .filter(|(root, modules, _)| !is_found(root, modules))
        .map(|(root, modules, _)| format!("gone: {root:?}, {modules:?}\n  take it off the list"));
    let wrong: Vec<String> = new.chain(gone).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
