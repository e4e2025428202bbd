//! What the demo's chat in the browser needs: an environment in which Claude may work, and a token for whoever opens the page.
//!
//! The token may do what the page does, there and nowhere else. Its text is printed and not kept; the file with its sum goes
//! with the demo's folder.

use anyhow::Context as _;
use tinyclaw_disk::{Flush, replace};
use tinyclaw_domain::{Env, EnvName, Envs, LocalEnv, Scope};
use tinyclaw_ledger::StateDir;

use crate::verbs::token::{self, New};

/// How the environment is called.
const ENV: &str = "demo";
/// And the token.
const TOKEN: &str = "chat";

/// Lays both down, and tells the token's text.
pub(super) fn prepare(state: &StateDir) -> anyhow::Result<String> {
    let env: EnvName = ENV.parse()?;
    // What Claude may do there without asking, the office's settings say, as for its other desks.
    let envs = Envs::from([(env.clone(), Env::None(LocalEnv::default()))]);
    let text = serde_json::to_string_pretty(&envs)? + "\n";
    replace(&state.envs(), text.as_bytes(), Flush::None).context("cannot write envs.json")?;
    let scope = vec![Scope::Read, Scope::Execute];
    let new =
        New { name: TOKEN.to_owned(), scope, env: vec![env], origin: Vec::new(), expires: None };
    token::make(state, &new)
}
