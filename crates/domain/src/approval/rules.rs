//! What "always" means: the rules that a permission question may leave behind for the rest of the session.
//!
//! Only what can be said in words is offered. What changes more than one kind of command, the mode of the whole session or
//! the folders it may work in, is not: `/mode` and `/dir` are there for that, and they are the admins'.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::named::Namer;

/// The words about all rules together are no longer than this, or nothing is offered.
const WORDS_CHARS_MAX: usize = 400;
/// More rules than this nobody reads.
const RULES_MAX: usize = 5;

/// Programs that run whatever they are given: allowed for good, they allow everything.
const RUNS_ANYTHING: &[&str] = &[
    "sh", "bash", "zsh", "fish", "dash", "ksh", "env", "sudo", "doas", "su", "eval", "exec",
    "source", ".", "python", "python3", "perl", "ruby", "node", "deno", "bun", "php", "lua",
    "xargs", "find", "ssh", "nohup", "timeout", "time", "nice", "watch", "awk", "sed", "setsid",
    "script", "docker", "podman", "npx", "uvx", "command", "builtin",
];

/// Something that may be done without asking for the rest of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The tool, such as `Bash`.
    pub tool: String,
    /// Which uses of it, as the CLI writes it: `cargo test:*`. None means all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

impl Rule {
    /// The rule as the CLI takes it, for this session alone.
    pub fn to_update(rules: &[Rule]) -> Value {
        let rules: Vec<Value> = rules
            .iter()
            .map(|it| match &it.content {
                Some(content) => json!({ "toolName": it.tool, "ruleContent": content }),
                None => json!({ "toolName": it.tool }),
            })
            .collect();
        json!({ "type": "addRules", "behavior": "allow", "destination": "session", "rules": rules })
    }

    /// What it allows, in words.
    fn words(&self, namer: &mut Namer) -> Option<String> {
        let tool = namer.line(&self.tool);
        let Some(content) = &self.content else {
            return Some(format!("every use of {tool}"));
        };
        if content.contains('\n') {
            return None;
        }
        let shown = namer.line(content);
        let prefix = content.strip_suffix(":*");
        Some(match (self.tool.as_str(), prefix) {
            ("Bash", Some(prefix)) => {
                format!("every command that begins with {}", namer.line(prefix))
            }
            ("Bash", None) if content.contains('*') => {
                format!("every command of the form {shown}, where * may be anything")
            }
            ("Bash", None) => format!("the command {shown}"),
            _ => format!("{tool} of {shown}"),
        })
    }

    /// Whether it allows about everything.
    fn is_too_wide(&self, asked: &str) -> bool {
        let Some(content) = &self.content else {
            // A tool of an MCP server does one thing; of the CLI's own each may do anything.
            return !(self.tool.starts_with("mcp__") && self.tool == asked);
        };
        let content = content.trim();
        if self.tool != "Bash" {
            return content.trim_matches(['*', '/', '.', '~', ' ']).is_empty();
        }
        let first = content.split_whitespace().next().unwrap_or_default();
        let program = first.trim_end_matches(":*").rsplit('/').next().unwrap_or_default();
        let is_open = content.contains('*');
        // An assignment before the command chooses what the command is.
        is_open
            && (program.is_empty()
                || program.contains(['*', '=', '$', '`', '('])
                || RUNS_ANYTHING.contains(&program))
    }
}

/// The rules that "always" would add, from what the CLI suggests. Empty when any of it cannot be said in words, or allows
/// too much: then nothing can be allowed for good.
pub fn lasting(asked: &str, suggestions: &[Value]) -> Vec<Rule> {
    let rules: Option<Vec<Vec<Rule>>> = suggestions.iter().map(rules_of).collect();
    let rules = rules.unwrap_or_default().concat();
    let is_fine = !rules.is_empty()
        && rules.len() <= RULES_MAX
        && !rules.iter().any(|it| it.is_too_wide(asked));
    if is_fine && words(&rules).is_some() { rules } else { Vec::new() }
}

fn rules_of(suggestion: &Value) -> Option<Vec<Rule>> {
    let fields = suggestion.as_object()?;
    let is = |name: &str, value: &str| fields.get(name).and_then(Value::as_str) == Some(value);
    let known = ["type", "behavior", "destination", "rules"];
    if !is("type", "addRules")
        || !is("behavior", "allow")
        || !fields.keys().all(|it| known.contains(&it.as_str()))
    {
        return None;
    }
    let rules = fields.get("rules")?.as_array()?.iter().map(|it| {
        let rule = it.as_object()?;
        let content = match rule.get("ruleContent") {
            None | Some(Value::Null) => None,
            Some(it) => Some(it.as_str()?.to_owned()),
        };
        let is_known = rule.keys().all(|it| it == "toolName" || it == "ruleContent");
        is_known.then_some(Rule { tool: rule.get("toolName")?.as_str()?.to_owned(), content })
    });
    rules.collect()
}

/// What the rules allow, in words that are shown beside the button.
pub(super) fn words(rules: &[Rule]) -> Option<String> {
    let mut namer = Namer::default();
    let words: Option<Vec<String>> = rules.iter().map(|it| it.words(&mut namer)).collect();
    let words = words.filter(|it| !it.is_empty())?.join("; ");
    (words.chars().count() <= WORDS_CHARS_MAX).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(rules: Value) -> Value {
        json!({ "type": "addRules", "behavior": "allow", "destination": "localSettings", "rules": rules })
    }

    fn said(tool: &str, suggestions: &[Value]) -> Option<String> {
        words(&lasting(tool, suggestions))
    }

    #[test]
    fn always_says_in_words_what_it_allows() {
        for (tool, rule, says) in [
            ("Bash", "rm -r build", "the command rm -r build"),
            ("Bash", "cargo test:*", "every command that begins with cargo test"),
            ("Bash", "curl *", "every command of the form curl *, where * may be anything"),
            ("WebFetch", "domain:example.com", "WebFetch of domain:example.com"),
            ("Read", "//srv/data/**", "Read of //srv/data/**"),
            ("Bash", "echo \u{202e}x", "the command echo ⟨U+202E⟩x"),
        ] {
            let rules = add(json!([{ "toolName": tool, "ruleContent": rule }]));
            assert_eq!(said(tool, &[rules]).as_deref(), Some(says));
        }
        let mcp = add(json!([{ "toolName": "mcp__site__deploy" }]));
        assert_eq!(
            said("mcp__site__deploy", &[mcp]).as_deref(),
            Some("every use of mcp__site__deploy")
        );
    }

    #[test]
    fn what_cannot_be_said_or_allows_too_much_is_not_offered() {
        let rule =
            |tool: &str, content: &str| add(json!([{ "toolName": tool, "ruleContent": content }]));
        let fine = rule("Bash", "cargo test:*");
        for (tool, suggestions) in [
            (
                "Write",
                vec![json!({ "type": "setMode", "mode": "acceptEdits", "destination": "session" })],
            ),
            (
                "Bash",
                vec![
                    json!({ "type": "addDirectories", "directories": ["/"], "destination": "session" }),
                ],
            ),
            ("Bash", vec![fine.clone(), json!({ "type": "setMode", "mode": "bypassPermissions" })]),
            ("Bash", vec![fine.clone(), json!({ "type": "somethingNew" })]),
            ("Bash", vec![json!({ "type": "replaceRules", "behavior": "allow", "rules": [] })]),
            (
                "Bash",
                vec![
                    json!({ "type": "addRules", "behavior": "deny", "rules": [{ "toolName": "Bash", "ruleContent": "x" }] }),
                ],
            ),
            ("Bash", vec![add(json!([{ "toolName": "Bash" }]))]),
            ("Bash", vec![add(json!([{ "toolName": "Bash", "ruleContent": 7 }]))]),
            ("Bash", vec![add(json!([{ "toolName": "Bash", "ruleContent": "x", "more": 1 }]))]),
            ("Bash", vec![rule("Bash", "*")]),
            ("Bash", vec![rule("Bash", ":*")]),
            ("Bash", vec![rule("Bash", "bash:*")]),
            ("Bash", vec![rule("Bash", "/usr/bin/python3 *")]),
            ("Bash", vec![rule("Bash", "X=1 *")]),
            ("Bash", vec![rule("Bash", "ls\nrm")]),
            ("Bash", vec![rule("Bash", &"x".repeat(500))]),
            ("Read", vec![rule("Read", "//**")]),
            ("mcp__site__deploy", vec![add(json!([{ "toolName": "mcp__site" }]))]),
            ("Bash", vec![add(json!([]))]),
            ("Bash", vec![]),
        ] {
            assert_eq!(lasting(tool, &suggestions), [], "{suggestions:?}");
        }
    }

    #[test]
    fn what_is_sent_is_what_was_said_and_holds_for_the_session() {
        let rules =
            lasting("Bash", &[add(json!([{ "toolName": "Bash", "ruleContent": "curl *" }]))]);
        assert_eq!(
            Rule::to_update(&rules),
            json!({ "type": "addRules", "behavior": "allow", "destination": "session",
                "rules": [{ "toolName": "Bash", "ruleContent": "curl *" }] })
        );
    }
}
