use tinyclaw_tidy::{files, production, read};

/// Where the layout of the state folder is known.
const LAYOUT: &str = "crates/domain/src/state_dir.rs";

/// Who has folders of the same name that are none of the state's, and which. A path that ends in a slash is everything
/// below it.
const MAY_JOIN: &[(&str, &str, &str)] = &[
    (
        "crates/engine/src/link/runs.rs",
        "locks",
        "the folder of runs, on whatever machine a link ends",
    ),
    ("crates/cli/src/setup/claude.rs", "home", "the home of a trial, in a folder of its own"),
    (
        "crates/router/examples/",
        "router.toml",
        "tools of the workbench, which write where they are told",
    ),
    ("crates/testkit/", "", "tests only: it plays the operator"),
    ("crates/e2e/", "", "tests only"),
    ("crates/tidy/", "", "it names what it forbids"),
    ("broker/", "", "imports nothing of ours"),
];

/// The names that `StateDir` joins to its root.
fn names() -> Vec<String> {
    let layout = production(&read(LAYOUT.as_ref()));
    let mut joined: Vec<String> = layout
        .split("self.root.join(\"")
        .skip(1)
        .map(|it| it.split('"').next().unwrap_or_default().to_owned())
        .collect();
    joined.sort();
    joined
}

/// Two places that build a path drift apart, and a service looks where nobody writes.
#[test]
fn paths_of_the_state_folder_are_built_in_one_place() {
    let names = names();
    assert!(names.len() >= 18 && names.contains(&"threads.json".to_owned()), "{names:?}");
    let mut wrong = Vec::new();
    for path in files().into_iter().filter(|it| it.extension().is_some_and(|it| it == "rs")) {
        let path = path.to_string_lossy().into_owned();
        let is_test = path.contains("/tests/") || path.ends_with("tests.rs");
        if is_test || path == LAYOUT {
            continue;
        }
        let text = production(&read(path.as_ref()));
        for (at, _) in text.match_indices(".join(\"") {
            let joined = text[at + 7..].split(['"', '/']).next().unwrap_or_default();
            let may = |(may, name, _): &&(&str, &str, &str)| {
                path.starts_with(may) && (name.is_empty() || *name == joined)
            };
            if names.iter().any(|it| it == joined) && !MAY_JOIN.iter().any(|it| may(&it)) {
                wrong.push(format!("{path}: .join({joined:?}) – ask StateDir"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}
