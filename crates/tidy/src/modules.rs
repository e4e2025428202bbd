//! Which module of a crate uses which, read from the source: `use` trees, and paths that begin with `crate`, `self`, `super`
//! or the name of a child.
//!
//! A name that a module only hands on (`pub use`) leads to where it is defined, so a crate's `lib.rs` hides no arrow. What
//! a module uses of the modules that it stands in is no arrow: privacy makes them one thing. Macros are not expanded, and a
//! module that stands inside a file is part of that file.

use std::collections::{BTreeMap, BTreeSet};

use crate::production;

/// For each module, the modules whose names it uses. A module is named by its path: `driver::actor`; the root is `lib`.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// A module while it is read: its path, and what it imports.
struct Module {
    path: Vec<String>,
    imports: Vec<Import>,
    paths: Vec<Vec<String>>,
}

/// One leaf of a `use` tree.
struct Import {
    path: Vec<String>,
    /// What it is called from here on; `*` for all that is there.
    name: String,
    /// Whether others may take the name from here, and nothing here uses it: then it is no arrow of this module.
    is_handed_on: bool,
}

/// The arrows between the modules of one crate. `sources` has each file's path below `src/` and its text.
pub fn arrows<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arrows {
    let mut modules = BTreeMap::new();
    for (file, text) in sources {
        let module = read(file, text);
        modules.insert(module.path.clone(), module);
    }
    let mut arrows = Arrows::new();
    for module in modules.values() {
        let used = module.imports.iter().filter(|it| !it.is_handed_on).map(|it| &it.path);
        let targets: BTreeSet<String> = used
            .chain(&module.paths)
            .filter_map(|path| resolve(&modules, module, path, 0))
            .filter(|it| !module.path.starts_with(it))
            .map(|it| name(&it))
            .collect();
        arrows.insert(name(&module.path), targets);
    }
    arrows
}

/// The groups of modules each of which reaches all others of its group.
pub fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|from| (from.as_str(), reach(arrows, from))).collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (from, reach) in &reached {
        if !reach.contains(from) || circles.iter().any(|it| it.contains(*from)) {
            continue;
        }
        let comes_back = |it: &&&str| reached.get(**it).is_some_and(|it| it.contains(from));
        circles.push(reach.iter().filter(comes_back).map(|it| (*it).to_owned()).collect());
    }
    circles
}

/// What can be reached from a module by at least one arrow.
fn reach<'a>(arrows: &'a Arrows, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for target in arrows.get(module).into_iter().flatten() {
            if reached.insert(target.as_str()) {
                open.push(target);
            }
        }
    }
    reached
}

fn name(path: &[String]) -> String {
    if path.is_empty() { "lib".to_owned() } else { path.join("::") }
}

/// The module in which a path's name is defined, or nothing when the path leaves the crate.
fn resolve(
    modules: &BTreeMap<Vec<String>, Module>,
    from: &Module,
    path: &[String],
    depth: usize,
) -> Option<Vec<String>> {
    // A name that two modules hand to each other leads nowhere.
    if depth > 8 {
        return None;
    }
    let mut at = from.path.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|it| it == "super") {
                at.pop()?;
                rest = &rest[1..];
            }
        }
        _ => {
            at.push(rest[0].clone());
            if !modules.contains_key(&at) {
                return None;
            }
            rest = &rest[1..];
        }
    }
    while let Some(next) = rest.first() {
        at.push(next.clone());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
        rest = &rest[1..];
    }
    let module = modules.get(&at)?;
    let Some(item) = rest.first() else { return Some(at) };
    let mut handed_on = module.imports.iter().filter(|it| it.name == *item || it.name == "*");
    handed_on
        .find_map(|it| {
            // Of all that stands there, only a module that is known to be there can be told.
            let mut path = it.path.clone();
            if it.name == "*" {
                path.push(item.clone());
                let found = resolve(modules, module, &path, depth + 1)?;
                return modules
                    .get(&found)
                    .is_some_and(|it| it.path.len() == path.len())
                    .then_some(found);
            }
            resolve(modules, module, &path, depth + 1)
        })
        .or(Some(at))
}

/// Reads one file.
fn read(file: &str, text: &str) -> Module {
    let mut path: Vec<String> =
        file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(path.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        path.pop();
    }
    let tokens = tokens(&production(text));
    let mut imports = Vec::new();
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at] == "use" {
            let end = at + tokens[at..].iter().position(|it| it == ";").unwrap_or(0);
            let before = at.checked_sub(1).map(|it| tokens[it].as_str());
            tree(
                &tokens[at + 1..end.max(at + 1)],
                &[],
                matches!(before, Some("pub" | ")")),
                &mut imports,
            );
            at = end.max(at + 1);
            continue;
        }
        let begins = is_word(&tokens[at]) && (at == 0 || tokens[at - 1] != "::");
        let mut end = at + 1;
        while begins && end + 1 < tokens.len() && tokens[end] == "::" && is_word(&tokens[end + 1]) {
            end += 2;
        }
        if begins && end > at + 1 {
            paths.push(tokens[at..end].iter().step_by(2).cloned().collect());
        }
        at = end;
    }
    let words: BTreeMap<&str, usize> = tokens.iter().fold(BTreeMap::new(), |mut words, it| {
        *words.entry(it.as_str()).or_default() += 1;
        words
    });
    for import in imports.iter_mut().filter(|it: &&mut Import| it.is_handed_on) {
        import.is_handed_on = words.get(import.name.as_str()).is_none_or(|it| *it < 2);
    }
    Module { path, imports, paths }
}

/// Reads a `use` tree: `a::{b, c as d, e::*}`.
fn tree(tokens: &[String], before: &[String], is_public: bool, imports: &mut Vec<Import>) {
    let mut path = before.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                let mut depth = 0;
                let mut from = at + 1;
                for (end, token) in tokens.iter().enumerate().skip(at) {
                    match token.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    if (token == "," && depth == 1) || depth == 0 {
                        if from < end {
                            tree(&tokens[from..end], &path, is_public, imports);
                        }
                        from = end + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
                return;
            }
            "as" => break,
            "::" => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    let mut name = tokens.last().cloned().unwrap_or_default();
    if name == "self" {
        path.pop();
        name = path.last().cloned().unwrap_or_default();
    }
    if name == "*" {
        path.pop();
    }
    imports.push(Import { path, name, is_handed_on: is_public });
}

fn is_word(token: &str) -> bool {
    token.starts_with(|it: char| it.is_alphabetic() || it == '_')
}

/// Words, `::`, and every other sign for itself. Comments and what stands between quotes are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |it| it + 2)
        } else if first == '"' {
            quoted(rest)
        } else if let Some(length) = raw(rest) {
            length
        } else if first == '\'' {
            character(rest)
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let token = &rest[..length];
        let is_left_out = first.is_whitespace()
            || first == '"'
            || first == '\''
            || token.starts_with("//")
            || token.starts_with("/*")
            || raw(rest).is_some();
        if !is_left_out {
            tokens.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// The length of a literal between quotes.
fn quoted(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, sign) in rest.char_indices().skip(1) {
        match sign {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = sign == '\\' && !is_escaped,
        }
    }
    rest.len()
}

/// The length of a raw literal: `r"…"`, `r#"…"#`, and the same of bytes.
fn raw(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let marks = after.bytes().take_while(|it| *it == b'#').count();
    let body = after[marks..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(marks));
    let length = body.find(&end).map_or(body.len(), |it| it + end.len());
    Some(rest.len() - body.len() + length)
}

/// The length of a character, or of the sign before a lifetime.
fn character(rest: &str) -> usize {
    let mut signs = rest.char_indices().skip(1);
    match (signs.next(), signs.next()) {
        (Some((_, '\\')), Some((second, _))) => {
            rest[second + 1..].find('\'').map_or(rest.len(), |it| second + 1 + it + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sources: &[(&str, &str)], expect: &[&str]) {
        let circles = circles(&arrows(sources.iter().copied()));
        let circles: Vec<String> =
            circles.iter().map(|it| it.iter().cloned().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(circles, expect);
    }

    #[test]
    fn two_modules_that_use_each_other_are_a_circle() {
        check(&[("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { crate::a::g() }")], &["a b"]);
        check(&[("a.rs", "use crate::b::B;"), ("b.rs", "struct B;")], &[]);
    }

    #[test]
    fn a_circle_goes_over_three_and_through_groups() {
        check(
            &[
                ("a.rs", "use crate::{x::Y, b::{self, B as C}};"),
                ("b.rs", "use super::c::C;"),
                ("c.rs", "use std::fs;\nuse super::{a, d};"),
                ("d.rs", "use crate::e;"),
                ("e.rs", ""),
                ("x.rs", ""),
            ],
            &["a b c"],
        );
    }

    #[test]
    fn the_root_hides_no_arrow() {
        let root = "mod a;\nmod b;\npub use a::A;\npub(crate) use b::{B, C as D};";
        check(&[("lib.rs", root), ("a.rs", "use crate::D;"), ("b.rs", "use crate::A;")], &["a b"]);
        check(&[("lib.rs", root), ("a.rs", "use crate::D;"), ("b.rs", "")], &[]);
    }

    #[test]
    fn a_child_may_use_its_parent_but_not_its_sibling_in_a_circle() {
        let parent = "mod c;\nmod d;\npub use c::C;\nstruct Own;\nfn f() { d::g() }";
        check(&[("p/mod.rs", parent), ("p/c.rs", "use super::Own;"), ("p/d.rs", "")], &[]);
        check(
            &[("p.rs", parent), ("p/c.rs", "use super::d;"), ("p/d.rs", "use crate::p::C;")],
            &["p::c p::d"],
        );
        check(
            &[("p.rs", parent), ("p/d.rs", "use super::super::q;"), ("q.rs", "use crate::p;")],
            &["p p::d q"],
        );
    }

    #[test]
    fn tests_comments_and_texts_are_no_use() {
        let quiet = "// use crate::b;\n/* crate::b::x */ fn f<'a>(it: &'a str) { \
            g('\"', '\\'', \"crate::b::x \\\" crate::b::y\", r#\"crate::b::\"z\"#) }\n\
            #[cfg(test)]\nmod tests {\n use crate::b;\n}";
        check(&[("a.rs", quiet), ("b.rs", "use crate::a::f;")], &[]);
    }
}
