use std::collections::BTreeSet;

use tinyclaw_tidy::packages;

const WORDS_AND_TOOLS: &[&str] = &["domain", "disk", "service"];

/// Who may import whom: the table of `docs/ARCHITECTURE.md`. Later rooms are added with their first real code.
fn may_import(name: &str) -> Option<Vec<&'static str>> {
    let with = |more: &[&'static str]| [WORDS_AND_TOOLS, more].concat();
    Some(match name {
        "domain" | "disk" | "service" | "broker" => vec![],
        "router" => vec!["domain"],
        "queue" | "ledger" | "memory" | "devbox" | "engine" => vec!["domain", "disk"],
        "telegram" | "gateway" | "dashboard" => with(&["queue", "ledger"]),
        "processor" | "cli" => with(&["router", "queue", "ledger", "memory", "devbox", "engine"]),
        "bot" => with(&[]),
        "testkit" => with(&["router", "queue", "ledger", "memory", "devbox", "engine"]),
        "e2e" => with(&["queue", "ledger"]),
        // It reads docs/FORMATS.md with the types of its examples, and tries what neighbours promise each other.
        "tidy" => vec!["domain", "service", "ledger"],
        _ => return None,
    })
}

#[test]
fn a_crate_imports_only_from_below() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for package in packages.values() {
        let name = package.name.as_str();
        let Some(allowed) = may_import(name) else {
            wrong.push(format!(
                "{name} is in no row of the table; add it to docs/ARCHITECTURE.md and here"
            ));
            continue;
        };
        for (import, kind) in &package.imports {
            let import = import.as_str();
            // A crate may switch its own features on for its tests, and testkit serves everybody's but the broker's.
            let is_for_tests =
                kind == "dev" && (import == name || (import == "testkit" && name != "broker"));
            let is_wiring = import == "testkit" && name == "e2e";
            if ours.contains(import) && !allowed.contains(&import) && !is_for_tests && !is_wiring {
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
