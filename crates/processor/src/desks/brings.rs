//! What a repository brings that Claude Code would read or run, told before a person lets it count. Read from the mirror, by
//! names of ours alone: a repository decides neither how much is told of it nor in which words.

use serde_json::{Map, Value};
use tinyclaw_domain::Trust;

use crate::desks::mirror;
use crate::desks::repo::parse;
use crate::desks::threads::Desks;

/// What is to be read.
const TEXTS: [&str; 3] = ["CLAUDE.md", ".claude/CLAUDE.md", ".claude/rules"];
/// What runs, or says what runs, once the repository's settings count.
const RUNS: [&str; 5] = [
    ".claude/settings.json",
    ".claude/skills",
    ".claude/commands",
    ".claude/agents",
    ".claude/scheduled_tasks.json",
];
/// What counts never, whatever is said.
const NEVER: [&str; 2] = [".mcp.json", ".lsp.json"];
const SETTINGS: &str = ".claude/settings.json";
/// The folder of most of them.
const FOLDER: &str = ".claude";
/// How git begins the line of a link.
const LINK_MODE: &str = "120000 ";
/// What in the settings starts programs, or says what they run with.
const KEYS: [&str; 9] = [
    "hooks",
    "env",
    "permissions",
    "apiKeyHelper",
    "awsAuthRefresh",
    "awsCredentialExport",
    "otelHeadersHelper",
    "statusLine",
    "enabledPlugins",
];
/// Settings that are longer are not looked into.
const SETTINGS_BYTES_MAX: u64 = 256 * 1024;

/// What a repository brings, on its default branch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Brings {
    texts: Vec<&'static str>,
    runs: Vec<&'static str>,
    never: Vec<&'static str>,
    /// What of [`KEYS`] its settings have.
    keys: Vec<&'static str>,
}

/// What this repository brings, by its mirror. What cannot be read is told as an error, for people.
pub(crate) async fn brings(desks: &Desks, repo: &str) -> Result<Brings, String> {
    let repo = parse(repo)?;
    let mirror = desks.state.mirror(repo.owner, repo.name);
    // One name at most for each that is asked for.
    let all = [&TEXTS[..], &RUNS, &NEVER].concat();
    let mut list = vec!["ls-tree", "--name-only", "-z", "HEAD", "--"];
    list.extend(&all);
    if mirror::ask(desks, &mirror, &["rev-parse", "--quiet", "--verify", "HEAD"]).await.is_err() {
        // Nothing was committed yet.
        return Ok(Brings::default());
    }
    let told = mirror::ask(desks, &mirror, &list).await?;
    let there: Vec<&str> = told.split('\0').collect();
    let of =
        |names: &[&'static str]| names.iter().copied().filter(|it| there.contains(it)).collect();
    let mut found =
        Brings { texts: of(&TEXTS), runs: of(&RUNS), never: of(&NEVER), keys: Vec::new() };
    // A link in the folder's place leads Claude Code to settings under names that nobody asked for.
    let folder = mirror::ask(desks, &mirror, &["ls-tree", "-z", "HEAD", "--", FOLDER]).await?;
    if folder.starts_with(LINK_MODE) {
        found.runs.push(FOLDER);
    }
    if found.runs.contains(&SETTINGS) {
        let object = format!("HEAD:{SETTINGS}");
        let size = mirror::ask(desks, &mirror, &["cat-file", "-s", &object]).await?;
        if size.trim().parse().is_ok_and(|it: u64| it <= SETTINGS_BYTES_MAX) {
            let text = mirror::ask(desks, &mirror, &["cat-file", "-p", &object]).await?;
            let settings: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
            found.keys = KEYS.into_iter().filter(|it| settings.contains_key(*it)).collect();
        }
    }
    Ok(found)
}

impl Brings {
    /// Whether there is something that a person could let count.
    pub(crate) fn could_run(&self) -> bool {
        !self.runs.is_empty()
    }

    /// The card: what there is, and what of it counts. None when there is nothing to tell.
    pub(crate) fn card(&self, trust: Trust) -> Option<String> {
        let list = |names: &[&str]| {
            names.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ")
        };
        let mut lines = Vec::new();
        if !self.texts.is_empty() {
            let verb = if trust == Trust::None { "Claude is not told" } else { "Claude is told" };
            lines.push(format!("- {verb}: {}", list(&self.texts)));
        }
        if !self.runs.is_empty() {
            let verb = if trust == Trust::Settings {
                "counts and may run"
            } else {
                "neither counts nor runs"
            };
            let keys = match self.keys.is_empty() {
                true => String::new(),
                false => format!("; its settings have {}", list(&self.keys)),
            };
            lines.push(format!("- {verb}: {}{keys}", list(&self.runs)));
        }
        if !self.never.is_empty() {
            lines.push(format!(
                "- never counts: {}; an admin adds servers by /mcp",
                list(&self.never)
            ));
        }
        (!lines.is_empty()).then(|| format!("The repository brings:\n{}", lines.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_says_what_counts_at_each_trust() {
        let it = Brings {
            texts: vec!["CLAUDE.md"],
            runs: vec![SETTINGS, ".claude/skills"],
            never: vec![".mcp.json"],
            keys: vec!["hooks", "env"],
        };
        let of = |trust| it.card(trust).unwrap();
        assert_eq!(
            of(Trust::Text),
            "The repository brings:\n- Claude is told: `CLAUDE.md`\n- neither counts nor runs: `.claude/settings.json`, \
             `.claude/skills`; its settings have `hooks`, `env`\n- never counts: `.mcp.json`; an admin adds servers by /mcp"
        );
        assert!(of(Trust::None).contains("Claude is not told: `CLAUDE.md`"));
        assert!(of(Trust::Settings).contains("counts and may run: `.claude/settings.json`"));
        assert_eq!(Brings::default().card(Trust::Settings), None);
    }
}
