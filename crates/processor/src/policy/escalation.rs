//! When a turn that was begun with a smaller model is raised while it runs: on what its tools show, never on what it says.
//! Pure; it changes no model.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;
use tinyclaw_domain::{Cause, Decision, Model, Tier, Tiers};

/// A turn may touch so many places and commands before the oldest evidence is let go of; a turn is not that long.
const REMEMBERED_MAX: usize = 256;
/// Words of a command that make it a test.
const TEST_WORDS: [&str; 12] = [
    "test", "tests", "pytest", "nextest", "jest", "vitest", "mocha", "rspec", "phpunit", "tox",
    "ctest", "check",
];

/// What showed that the model is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Tools failed twice, and none of them worked in between.
    ToolsFail,
    /// The same place was edited a third time.
    EditedThrice,
    /// A test that was red was run again and is red again.
    RedAgain,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::ToolsFail => "tools failed twice",
            Reason::EditedThrice => "the same place was edited a third time",
            Reason::RedAgain => "a red test is red again",
        })
    }
}

/// The tier that a turn may be raised to: the next one whose model is stronger, unless a person or the clock chose the model.
pub(crate) fn raised_tier(
    decision: &Decision,
    tiers: Tiers,
    is_stronger: impl Fn(Model, Model) -> bool,
) -> Option<Tier> {
    if matches!(decision.cause, Cause::Pinned | Cause::UserHint | Cause::Heartbeat) {
        return None;
    }
    let asked = decision.effective_model;
    Tier::ALL.into_iter().find(|it| *it > decision.tier && is_stronger(tiers.of(*it), asked))
}

/// What a turn's tools have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Tools that run: which, and the command of a test.
    running: HashMap<String, (String, Option<String>)>,
    /// Permission questions that are open: which, and the tool.
    asks: HashMap<String, String>,
    /// Failures of a tool since it worked last.
    failures: HashMap<String, u32>,
    /// Failures of any tool since one worked last.
    failures_in_a_row: u32,
    /// What was edited: the file, what stands there now, and how often it was changed.
    edits: Vec<(String, String, u32)>,
    /// Tests that were red.
    red: Vec<String>,
}

impl Evidence {
    /// Notes that a tool begins. A helper's tools say nothing about the model of the turn.
    pub(crate) fn started(
        &mut self,
        id: &str,
        name: &str,
        input: &Value,
        nested: bool,
    ) -> Option<Reason> {
        if nested {
            return None;
        }
        if self.running.len() < REMEMBERED_MAX {
            self.running.insert(id.to_owned(), (name.to_owned(), test_command(input)));
        }
        self.edited(name, input)
    }

    /// Notes that a person is asked whether a tool may be used.
    pub(crate) fn asked(&mut self, request_id: &str, tool: &str) {
        if self.asks.len() < REMEMBERED_MAX {
            self.asks.insert(request_id.to_owned(), tool.to_owned());
        }
    }

    /// Notes that the question is closed. A tool that a person denies fails, and that says nothing about the model.
    pub(crate) fn closed(&mut self, request_id: &str, denied: bool) {
        let Some(tool) = self.asks.remove(request_id).filter(|_| denied) else { return };
        self.running.retain(|_, it| it.0 != tool);
    }

    /// Notes that a tool is done.
    pub(crate) fn finished(&mut self, id: &str, failed: bool) -> Option<Reason> {
        let (name, test) = self.running.remove(id)?;
        if !failed {
            self.failures.remove(&name);
            self.failures_in_a_row = 0;
            self.red.retain(|it| Some(it) != test.as_ref());
            return None;
        }
        if let Some(test) = test {
            if self.red.contains(&test) {
                return Some(Reason::RedAgain);
            }
            if self.red.len() < REMEMBERED_MAX {
                self.red.push(test);
            }
        }
        self.failures_in_a_row += 1;
        let of_tool = self.failures.entry(name).or_default();
        *of_tool += 1;
        (*of_tool >= 2 || self.failures_in_a_row >= 2).then_some(Reason::ToolsFail)
    }

    /// An edit is of the same place when it replaces what an earlier one put there, or a part of it, or more around it.
    fn edited(&mut self, name: &str, input: &Value) -> Option<Reason> {
        if !matches!(name, "Edit" | "MultiEdit" | "Write" | "NotebookEdit") {
            return None;
        }
        let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
        let path = input["file_path"].as_str().or_else(|| input["notebook_path"].as_str())?;
        let pieces = match input["edits"].as_array() {
            Some(edits) => {
                edits.iter().map(|it| (text(it, "old_string"), text(it, "new_string"))).collect()
            }
            None if name == "Edit" => vec![(text(input, "old_string"), text(input, "new_string"))],
            // The whole of it is one place.
            None => vec![(String::new(), text(input, "content"))],
        };
        let mut most = 0;
        for (old, new) in pieces {
            let meets = |standing: &str| {
                old.is_empty()
                    || standing.is_empty()
                    || standing.contains(&old)
                    || old.contains(standing)
            };
            let same = self.edits.iter_mut().find(|it| it.0 == path && meets(&it.1));
            most = most.max(match same {
                Some((_, standing, times)) => {
                    *standing = new;
                    *times += 1;
                    *times
                }
                None => {
                    if self.edits.len() < REMEMBERED_MAX {
                        self.edits.push((path.to_owned(), new, 1));
                    }
                    1
                }
            });
        }
        (most >= 3).then_some(Reason::EditedThrice)
    }
}

/// A shell's command without its spacing, if it runs tests.
fn test_command(input: &Value) -> Option<String> {
    let command: Vec<&str> = input["command"].as_str()?.split_whitespace().collect();
    let is_test = |word: &&str| {
        word.split(|it: char| !it.is_alphanumeric()).any(|it| TEST_WORDS.contains(&it))
    };
    command.iter().any(is_test).then(|| command.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One use of a tool: its name, its input, and whether it failed.
    type Use = (&'static str, Value, bool);

    fn bash(command: &str, failed: bool) -> Use {
        ("Bash", json!({ "command": command }), failed)
    }

    fn edit(path: &str, old: &str, new: &str) -> Use {
        ("Edit", json!({ "file_path": path, "old_string": old, "new_string": new }), false)
    }

    fn read(failed: bool) -> Use {
        ("Read", json!({ "file_path": "/srv/a.rs" }), failed)
    }

    /// The first reason, and which use showed it.
    fn shown(uses: &[Use]) -> Option<(usize, Reason)> {
        let mut evidence = Evidence::default();
        uses.iter().enumerate().find_map(|(at, (name, input, failed))| {
            let id = at.to_string();
            let begun = evidence.started(&id, name, input, false);
            begun.or_else(|| evidence.finished(&id, *failed)).map(|it| (at, it))
        })
    }

    #[test]
    fn a_turn_is_raised_by_what_its_tools_show_and_by_nothing_else() {
        let write = |text: &str| ("Write", json!({ "file_path": "/a", "content": text }), false);
        let both = |edits: [(&str, &str); 2]| {
            let edits = edits.map(|it| json!({ "old_string": it.0, "new_string": it.1 }));
            ("MultiEdit", json!({ "file_path": "/a", "edits": edits }), false)
        };
        use Reason::{EditedThrice, RedAgain, ToolsFail};
        for (uses, expected) in [
            (vec![], None),
            (vec![read(false), bash("ls", false), read(false)], None),
            // Failures.
            (vec![read(true)], None),
            (vec![read(true), bash("ls", true)], Some((1, ToolsFail))),
            (vec![read(true), bash("ls", false), bash("pwd", true)], None),
            (vec![read(true), bash("ls", false), read(true)], Some((2, ToolsFail))),
            (vec![read(true), read(false), read(true)], None),
            // Edits.
            (vec![edit("/a", "x", "y"), edit("/a", "y", "z")], None),
            (
                vec![edit("/a", "x", "y"), edit("/a", "y", "z"), edit("/a", "z", "x")],
                Some((2, EditedThrice)),
            ),
            (vec![edit("/a", "x", "y"), edit("/b", "y", "z"), edit("/a", "y", "w")], None),
            (vec![edit("/a", "one", "1"), edit("/a", "two", "2"), edit("/a", "three", "3")], None),
            (
                vec![
                    edit("/a", "f()", "f(1)"),
                    edit("/a", "let f(1);", "let f(2);"),
                    edit("/a", "f(2)", "f(3)"),
                ],
                Some((2, EditedThrice)),
            ),
            (vec![write("1"), write("2"), write("3")], Some((2, EditedThrice))),
            (
                vec![both([("x", "y"), ("p", "q")]), edit("/a", "q", "r"), edit("/a", "r", "s")],
                Some((2, EditedThrice)),
            ),
            // Tests.
            (
                vec![
                    bash("cargo test -p x", true),
                    bash("ls", false),
                    bash("cargo  test -p x", true),
                ],
                Some((2, RedAgain)),
            ),
            (vec![bash("npm run check", true), bash("ls", false), bash("npm test", true)], None),
            (
                vec![bash("pytest -q", true), bash("pytest -q", false), bash("pytest -q", true)],
                None,
            ),
            (vec![bash("./latest.sh", true), bash("ls", false), bash("./latest.sh", true)], None),
        ] {
            assert_eq!(shown(&uses), expected, "{uses:?}");
        }
    }

    #[test]
    fn what_a_person_denies_raises_nothing() {
        for denied in [true, false] {
            let mut evidence = Evidence::default();
            let mut shown = None;
            for id in ["a", "b"] {
                evidence.started(id, "Bash", &json!({ "command": "rm -r build" }), false);
                evidence.asked(id, "Bash");
                evidence.closed(id, denied);
                shown = shown.or_else(|| evidence.finished(id, true));
            }
            assert_eq!(shown, (!denied).then_some(Reason::ToolsFail));
        }
    }

    #[test]
    fn a_helpers_tools_raise_nothing() {
        let mut evidence = Evidence::default();
        for id in ["a", "b", "c"] {
            assert_eq!(
                evidence.started(id, "Bash", &json!({ "command": "cargo test" }), true),
                None
            );
            assert_eq!(evidence.finished(id, true), None);
        }
    }

    #[test]
    fn the_next_tier_takes_over_unless_somebody_chose_the_model() {
        let decided = |text: &str, pin| {
            tinyclaw_router::Router::default()
                .decide(&tinyclaw_router::Input { pin, ..tinyclaw_router::Input::new(text) })
        };
        let hard = "design a distributed ledger and prove that it never loses a payment";
        let prices = tinyclaw_router::Prices::default();
        let raised = |it: &Decision| {
            raised_tier(it, Tiers::default(), |one, other| prices.is_stronger(one, other))
        };
        assert_eq!(raised(&decided("thanks", None)), Some(Tier::Medium));
        assert_eq!(raised(&decided(hard, None)), None);
        assert_eq!(raised(&decided("/haiku thanks", None)), None);
        assert_eq!(raised(&decided("thanks", Some(Model::HAIKU))), None);
        // It stays with a warm, stronger model already.
        let warm = Decision { effective_model: Model::OPUS, ..decided("thanks", None) };
        assert_eq!(raised(&warm), None);
    }
}
