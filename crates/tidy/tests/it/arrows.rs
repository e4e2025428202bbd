use std::collections::{BTreeMap, BTreeSet};

use tinyclaw_tidy::{packages, read};

/// A row of the table of `docs/ARCHITECTURE.md`.
struct Row {
    floor: String,
    name: String,
    may_import: String,
}

/// The table: who may import whom.
fn rows() -> Vec<Row> {
    let text = read("docs/ARCHITECTURE.md".as_ref());
    let (_, table) = text.split_once("<!-- arrows:").expect("the table is marked");
    let lines = table.lines().skip(1).skip_while(|it| !it.starts_with('|'));
    lines
        .take_while(|it| it.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [floor, name, _, may_import] = cells[..] else { panic!("not four cells: {line}") };
            let name = name.split('`').nth(1).expect("a crate's name").to_owned();
            Row { floor: floor.to_owned(), name, may_import: may_import.to_owned() }
        })
        .collect()
}

/// The table, with its floors spelled out.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let rows = rows();
    let of_floors = |floors: &[&str]| -> Vec<String> {
        let on_them = rows.iter().filter(|it| floors.contains(&it.floor.as_str()));
        on_them.map(|it| it.name.clone()).collect()
    };
    let mut arrows = BTreeMap::new();
    for row in &rows {
        // Every second piece stands between backticks.
        let mut allowed: BTreeSet<String> =
            row.may_import.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        if row.may_import.contains("floors 0–2") {
            allowed.extend(of_floors(&["0", "1", "2"]));
        } else if row.may_import.contains("floor 0") {
            allowed.extend(of_floors(&["0"]));
        }
        arrows.insert(row.name.clone(), allowed);
    }
    arrows
}

#[test]
fn the_table_has_no_arrow_to_a_neighbour_or_upwards() {
    let floors: BTreeMap<String, u8> =
        rows().iter().filter_map(|it| Some((it.name.clone(), it.floor.parse().ok()?))).collect();
    assert!(floors.len() >= 15, "the table was found");
    for (name, allowed) in arrows() {
        let Some(floor) = floors.get(&name) else { continue };
        for import in allowed {
            assert!(floors.get(&import).is_some_and(|it| it < floor), "{name} → {import}");
        }
    }
}

#[test]
fn a_crate_imports_only_from_below() {
    let packages = packages();
    let arrows = arrows();
    let mut wrong = Vec::new();
    for package in packages.values() {
        let name = package.name.as_str();
        let Some(allowed) = arrows.get(name) else {
            wrong.push(format!("{name} is in no row of the table; add it to docs/ARCHITECTURE.md"));
            continue;
        };
        for (import, kind) in &package.imports {
            let import = import.as_str();
            // A crate may switch its own features on for its tests, and testkit serves everybody's but the broker's.
            let is_for_tests =
                kind == "dev" && (import == name || (import == "testkit" && name != "broker"));
            if packages.contains_key(import) && !allowed.contains(import) && !is_for_tests {
                wrong.push(format!("{name} may not import {import} ({kind})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a room must not even be able to do.
#[test]
fn some_crates_stay_without_some_dependencies() {
    let rules: &[(&str, &[&str])] = &[
        // The router is pure: no files, no clock, no threads of its own.
        ("router", &["tokio", "nix", "notify", "reqwest", "rand", "uuid", "jiff"]),
        ("domain", &["tokio", "nix", "notify", "reqwest", "rand", "uuid"]),
        ("disk", &["tokio", "reqwest", "serde_json"]),
        ("engine", &["teloxide", "reqwest"]),
        ("processor", &["teloxide"]),
        ("dashboard", &["teloxide", "reqwest"]),
    ];
    let packages = packages();
    let mut wrong = Vec::new();
    for (name, refused) in rules {
        let Some(package) = packages.get(*name) else { continue };
        for (import, kind) in package.imports.iter().filter(|(_, kind)| kind != "dev") {
            if refused.contains(&import.as_str()) {
                wrong.push(format!("{name} must do without {import} ({kind})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What runs with root's rights can be read as a whole: calls of the kernel, and nothing else of anybody's.
#[test]
fn the_warden_brings_nothing_along() {
    let packages = packages();
    let imports = packages["warden"].imports.iter().filter(|(_, kind)| kind != "dev");
    let names: Vec<&str> = imports.map(|(import, _)| import.as_str()).collect();
    assert_eq!(names, ["nix", "rustix", "thiserror"]);
}

/// And it is short: what a process of root's does before it has become somebody else. What it does after that stands in
/// `inside.rs`, what the office does in `client.rs`.
#[test]
fn what_runs_with_roots_rights_is_under_600_lines() {
    let dir = packages()["warden"].dir.join("src");
    let lines = |name: &&str| {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_code = |it: &&str| !it.trim().is_empty() && !it.trim_start().starts_with("//");
        code.lines().filter(is_code).count()
    };
    let files = ["serve.rs", "seats.rs", "rights.rs", "folders.rs", "request.rs", "socket.rs"];
    let all: usize = files.iter().map(lines).sum();
    assert!((300..600).contains(&all), "{all}");
}

#[test]
fn every_crate_introduces_itself_and_inherits_the_rules() {
    let mut wrong = Vec::new();
    for package in packages().values() {
        let name = &package.name;
        let manifest = std::fs::read_to_string(package.dir.join("Cargo.toml")).unwrap();
        if !package.dir.join("README.md").is_file() {
            wrong.push(format!("{name} has no README.md"));
        }
        for line in [
            "[lints]\nworkspace = true",
            "\ndescription = ",
            "edition.workspace = true",
            "version.workspace = true",
            "publish.workspace = true",
        ] {
            if !manifest.contains(line) {
                wrong.push(format!("{name}/Cargo.toml lacks {line:?}"));
            }
        }
        let lib = package.dir.join("src/lib.rs");
        let says =
            std::fs::read_to_string(&lib).unwrap_or_else(|_| "#![doc = include_str!".to_owned());
        if !says.starts_with("#![doc = include_str!(\"../README.md\")]") && lib.is_file() {
            wrong.push(format!(
                "{name}/src/lib.rs does not begin with its README as the crate's doc"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
