//! `tinyclaw-telegram`: log, settings, serve, stop. `tinyclaw-telegram meet` only asks Telegram a question.

use std::process::ExitCode;

use anyhow::{Context, bail};
use tinyclaw_ledger::{StateDir, text_log};
use tinyclaw_service::settings::{Environment, state_dir};
use tinyclaw_service::{Shutdown, Vitals, logs, not_dumpable, was_asked};
use tinyclaw_telegram::{Options, discover};

const USAGE: &str = "\
tinyclaw-telegram: the office's face in a Telegram forum

  tinyclaw-telegram             serves until it is told to stop; settings are in docs/SETTINGS.md
  tinyclaw-telegram meet ...    asks Telegram about a bot; `tinyclaw setup telegram` does
";

// Two threads: one may be at the disk while the other answers.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    if was_asked(USAGE, env!("CARGO_PKG_VERSION")) {
        return Ok(ExitCode::SUCCESS);
    }
    not_dumpable().context("cannot keep others from reading this process's memory")?;
    let environment: Environment = std::env::vars().collect();
    let state = StateDir::new(state_dir(&environment).context("cannot find the state folder")?);
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first().map(|(verb, rest)| (verb.as_str(), rest)) {
        None => {}
        Some(("meet", rest)) => {
            let given = environment.get("TELEGRAM_API_URL").map(|it| it.trim());
            let api_url = given.filter(|it| !it.is_empty()).unwrap_or("https://api.telegram.org");
            return discover::main(rest, api_url, state).await;
        }
        Some((word, _)) => bail!("{word:?} is no command: use none, or meet"),
    }
    tinyclaw_ledger::create_folders(&state)
        .with_context(|| format!("cannot make {}", state.root().display()))?;
    // The settings name the level; what is wrong with them is said before they are good.
    logs::init("info", Some(text_log(&state, "telegram")))?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let vitals = Vitals::new("telegram", env!("CARGO_PKG_VERSION"));
    tinyclaw_telegram::run(state, environment, Options::default(), vitals, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}
