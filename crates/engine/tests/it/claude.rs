//! The real CLI at a desk, with the fake Messages API in place of the real one. Skipped by name where the CLI is not
//! installed: the test command installs it with `scripts/install-claude.sh`.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;
use tinyclaw_domain::approval::Rule;
use tinyclaw_engine::{
    Auth, EngineConfig, PINNED_VERSION, Turn, TurnEnd, TurnEvent, TurnFailure, TurnOutcome,
};
use tinyclaw_testkit::messages_api::MessagesApi;

use crate::desk::{Desk, until};

/// What this program calls itself.
pub(crate) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let program = tinyclaw_testkit::claude::program().unwrap();
        let said = std::process::Command::new(program).arg("--version").output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        said.split_whitespace().next().unwrap_or_default().to_owned()
    })
}

/// Whether this version is older than the one that all of this was made for; says so, for a test that asks too much of it.
pub(crate) fn is_older() -> bool {
    let parts = |it: &str| it.split('.').map(|it| it.parse().unwrap_or(0)).collect::<Vec<u64>>();
    let is_older = parts(version()) < parts(PINNED_VERSION);
    if is_older {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        eprintln!("not asked of claude {}: {name}", version());
    }
    is_older
}

/// A desk with the real CLI, or nothing where it is not installed.
pub(crate) async fn real_with(
    change: impl FnOnce(&mut EngineConfig),
) -> Option<(Desk, MessagesApi)> {
    let program = match tinyclaw_testkit::claude::program() {
        Ok(it) => it,
        Err(why) => {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            eprintln!("skipped {name}: {why}");
            return None;
        }
    };
    let api = MessagesApi::start().await.unwrap();
    let desk = Desk::new(program, |config| {
        config.auth = Auth::ApiKey("dummy".into());
        config.base_url = Some(api.url());
        config.times.start = Duration::from_secs(60);
        change(config);
    });
    Some((desk, api))
}

macro_rules! real {
    () => {
        real!(|_| {})
    };
    ($change:expr) => {
        match crate::claude::real_with($change).await {
            Some(it) => it,
            None => return,
        }
    };
}

#[track_caller]
pub(crate) fn failure(end: &TurnEnd) -> &TurnFailure {
    match &end.outcome {
        TurnOutcome::Failed(it) => it,
        _ => panic!("not a failure: {end:?}"),
    }
}

/// Runs a command in Claude's shell without asking.
pub(crate) fn bash(command: &str) -> String {
    format!("[api: tool Bash {}]", json!({ "command": command, "description": "test" }))
}

pub(crate) async fn asking(turn: &mut Turn) -> (String, Vec<Rule>) {
    until(turn, |it| match it {
        TurnEvent::Asking { ask } => Some((ask.request_id, ask.always)),
        _ => None,
    })
    .await
}

pub(crate) use real;
