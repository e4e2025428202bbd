#![doc = include_str!("../README.md")]

pub mod modules;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate of the workspace, as cargo sees it.
#[derive(Debug)]
pub struct Package {
    /// Its name without `tinyclaw-`.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// The crates it imports, with the kind of the edge: `normal`, `build` or `dev`.
    pub imports: Vec<(String, String)>,
}

/// The top of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tidy lies two folders below the top").to_owned()
}

/// A crate's name as the table of arrows has it.
fn short(name: &str) -> &str {
    name.strip_prefix("tinyclaw-").unwrap_or(name)
}

/// Every crate of the workspace, by its short name.
pub fn packages() -> BTreeMap<String, Package> {
    #[expect(clippy::disallowed_methods, reason = "cargo alone knows the edges")]
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let list = |it: &Value| it.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let imports = list(&package["dependencies"])
                .iter()
                .map(|it| {
                    let kind = it["kind"].as_str().unwrap_or("normal").to_owned();
                    (short(&text(&it["name"])).to_owned(), kind)
                })
                .collect();
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let dir = manifest.parent().map(Path::to_owned).unwrap_or_default();
            let name = short(&text(&package["name"])).to_owned();
            (name.clone(), Package { name, dir, imports })
        })
        .collect()
}

/// Every file that belongs to the project: what git tracks, or what lies there where there is no git. Relative.
pub fn files() -> Vec<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "git alone knows what is tracked")]
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let names = match output {
        Ok(it) if it.status.success() => it.stdout,
        _ => {
            let mut found = Vec::new();
            walk(&root(), &mut found);
            let relative = |it: PathBuf| it.strip_prefix(root()).map(Path::to_owned).ok();
            return found.into_iter().filter_map(relative).collect();
        }
    };
    String::from_utf8_lossy(&names)
        .split('\0')
        .filter(|it| !it.is_empty() && root().join(it).is_file())
        .map(PathBuf::from)
        .collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder is readable").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_not_ours = ["target", ".git", "node_modules", "secrets"].contains(&&*name);
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !is_not_ours && !name.starts_with(".tinyclaw") => {
                walk(&entry.path(), found);
            }
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// A file's text, or nothing when it is none.
pub fn read(relative: &Path) -> String {
    let bytes = fs::read(root().join(relative)).expect("a tracked file is readable");
    String::from_utf8(bytes).unwrap_or_default()
}

/// The part of a source file before its tests, with comments taken out: what runs in production.
pub fn production(text: &str) -> String {
    // Between the mark and its module stand at most attributes; anything else that is marked is a single item.
    let is_module = |at: &usize| {
        let rest = &text[*at..];
        let items = ["\nfn ", "\npub ", "\nuse ", "\nimpl ", "\nstruct ", "\nstatic ", "\nconst "];
        let item = items.iter().filter_map(|it| rest.find(it)).min().unwrap_or(rest.len());
        rest.find("\nmod ").is_some_and(|it| it < item)
    };
    let mut marks = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at);
    let end = marks.find(is_module).unwrap_or(text.len());
    let is_code = |it: &&str| !it.trim_start().starts_with("//");
    text[..end].lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_comments_are_not_production() {
        let code = "fn a() {}\n// fs::write(\n";
        for module in ["mod tests {", "#[allow(x, reason = \"y\")]\nmod tests {", "mod tests;"] {
            assert_eq!(
                production(&format!("{code}#[cfg(test)]\n{module}\nfn b() {{}}")),
                "fn a() {}"
            );
        }
        let item = format!("{code}#[cfg(test)]\nfn helper() {{}}\nfn c() {{}}");
        assert!(production(&item).ends_with("fn c() {}"));
    }
}
