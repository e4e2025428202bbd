//! What the demo's chat in the browser needs: an environment in which Claude may work, and a token for whoever opens the page;
//! and what people are told of the gateway.
//!
//! The token may do what the page does, there and nowhere else. Its text is printed and not kept; the file with its sum goes
//! with the demo's folder.

use std::path::Path;

use anyhow::Context as _;
use tinyclaw_disk::{Flush, replace};
use tinyclaw_domain::{Env, EnvName, Envs, LocalEnv, Scope};
use tinyclaw_ledger::StateDir;

use crate::verbs::sibling;
use crate::verbs::token::{self, New};

/// How the environment is called.
const ENV: &str = "demo";
/// And the tokens, of the chat and of a person's own Claude.
const TOKEN: &str = "chat";
const HOOKS_TOKEN: &str = "hooks";

/// Lays both down, and tells the token's text.
pub(super) fn prepare(state: &StateDir) -> anyhow::Result<String> {
    let env: EnvName = ENV.parse()?;
    // What Claude may do there without asking, the office's settings say, as for its other desks.
    let envs = Envs::from([(env.clone(), Env::None(LocalEnv::default()))]);
    let text = serde_json::to_string_pretty(&envs)? + "\n";
    replace(&state.envs(), text.as_bytes(), Flush::None).context("cannot write envs.json")?;
    let scope = vec![Scope::Read, Scope::Execute];
    let name = token::free_name(state, TOKEN)?;
    let new = New {
        name,
        scope,
        env: vec![env],
        origin: Vec::new(),
        expires: None,
        budget_per_day: None,
    };
    token::make(state, &new)
}

/// What people are told of the gateway.
pub(super) struct Told {
    url: String,
    chat: String,
    hooks: String,
    proof: String,
}

impl Told {
    /// Of a gateway at this address, with the token of the chat.
    pub(super) fn new(state: &StateDir, url: String, token: &str) -> anyhow::Result<Told> {
        // By its own name: the file of a program that runs may have been replaced meanwhile.
        let program = shell_word(&sibling("tinyclaw")?);
        let (root, name) = (shell_word(state.root()), token::free_name(state, HOOKS_TOKEN)?);
        let elsewhere =
            if url.ends_with(":3200") { String::new() } else { format!(" --url {url}") };
        // It may read, too: `hook check` asks whether each of them is there.
        let hooks = format!(
            "TINYCLAW_DIR={root} {program} token new {name} --scope ingest,read | {program} hook install{elsewhere}"
        );
        // Behind the # nothing is sent: the page takes it from there.
        let chat = format!("{url}/#{token}");
        Ok(Told {
            url,
            chat,
            hooks,
            proof: format!("{program} hook check says whether one is missing"),
        })
    }

    /// A name and what is told under it.
    pub(super) fn rows(&self) -> [(&'static str, &str); 4] {
        [
            ("gateway", &self.url),
            ("web chat", &self.chat),
            ("hooks", &self.hooks),
            ("proof", &self.proof),
        ]
    }
}

/// A path as a shell takes it for one word.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+".contains(it);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test asks a shell")]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(shell_word(Path::new("/home/ada/.tinyclaw-demo")), "/home/ada/.tinyclaw-demo");
        let word = shell_word(Path::new("/tmp/a b/it's $HOME"));
        let echo = format!("printf %s {word}");
        let said = std::process::Command::new("sh").args(["-c", &echo]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), "/tmp/a b/it's $HOME");
    }
}
