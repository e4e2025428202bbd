//! `tinyclaw route`: which model a message would get, and why; how often that is right for a file of labelled ones; or what
//! the office's past would have cost otherwise, or would teach. It asks the router and nobody else, and writes nothing but what
//! was learned, when told; only `--tasks` asks Claude, in an office made for it.

mod eval;
mod learn;
mod replay;
mod table;
mod tasks;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tinyclaw_domain::{DeskKind, Direction, Model, WarmCache};
use tinyclaw_ledger::StateDir;
use tinyclaw_router::{Input, Router, Turn};

use crate::place;

/// Show which model a message would get, and why.
#[derive(Debug, Args)]
pub(crate) struct Route {
    /// The message; several words are joined. Without one it is read from stdin.
    text: Vec<String>,

    /// Print the decision as JSON instead of a table.
    #[arg(long)]
    json: bool,

    /// Pretend the message replies to an answer of this model.
    #[arg(long, value_name = "MODEL")]
    reply_to: Option<Model>,

    /// What the desk holds that it is typed at. Without it the text is read as a chat's.
    #[arg(long, value_enum)]
    desk: Option<Holds>,

    /// Pretend the message follows this answer.
    #[arg(long, value_name = "TEXT", requires = "desk")]
    after: Option<String>,

    /// Pretend a file of this media type came with it.
    #[arg(long, value_name = "TYPE", requires = "desk")]
    attach: Vec<String>,

    /// Pretend the thread is pinned to this model.
    #[arg(long, value_name = "MODEL")]
    pin: Option<Model>,

    /// Pretend the conversation holds so many tokens already.
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    context: u64,

    /// Pretend this model has the conversation cached.
    #[arg(long, value_name = "MODEL", requires = "context")]
    warm: Vec<Model>,

    /// Leave the learned term out.
    #[arg(long)]
    no_learned: bool,

    /// Show what the last 30 days cost, and what they would have cost with other models; from the logs of this state folder, or
    /// of the one in use.
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with_all = ["text", "reply_to", "pin", "desk", "eval"])]
    replay: Option<Option<PathBuf>>,

    /// Propose weights for this office from what its people said about answers, with what they would change in its own past.
    #[arg(long, conflicts_with_all = ["text", "reply_to", "pin", "desk", "eval", "replay", "forget"])]
    learn: bool,

    /// Put the proposed weights in force.
    #[arg(long, requires = "learn", conflicts_with = "forget")]
    apply: bool,

    /// Let go of the weights that were learned in this office.
    #[arg(long, conflicts_with_all = ["text", "json", "reply_to", "pin", "desk", "eval", "replay"])]
    forget: bool,

    /// Do every task of this folder with every tier's model, and print what quality costs: always the same model, this router, and
    /// who knows before which model is enough. It needs an account and spends real money.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["text", "reply_to", "pin", "desk", "eval", "replay", "learn", "forget"])]
    tasks: Option<PathBuf>,

    /// Have the demo engine play the models: it shows the mechanics, and spends nothing.
    #[arg(long, requires = "tasks")]
    demo: bool,

    /// Decide every labelled row of this file and print one JSON object of measures.
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["text", "json", "reply_to", "pin", "desk"])]
    eval: Option<PathBuf>,

    /// Which rows of the file count.
    #[arg(long, value_enum, default_value = "author", requires = "eval")]
    kind: eval::Kind,
}

/// What a desk holds.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Holds {
    /// A git repository.
    Repo,
    /// Other files.
    Files,
    /// Nothing.
    None,
}

impl From<Holds> for DeskKind {
    fn from(holds: Holds) -> DeskKind {
        match holds {
            Holds::Repo => DeskKind::Repo,
            Holds::Files => DeskKind::Files,
            Holds::None => DeskKind::None,
        }
    }
}

impl Route {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some(folder) = self.replay {
            let state = match folder {
                Some(folder) => StateDir::new(folder),
                None => place::office()?,
            };
            return replay::run(&state, self.json);
        }
        if self.learn {
            return learn::run(&place::office()?, self.json, self.apply);
        }
        if let Some(dir) = &self.tasks {
            return tasks::run(dir, self.demo, self.json);
        }
        if self.forget {
            return learn::forget(&place::office()?);
        }
        let mut config = place::router_config()?;
        if self.no_learned {
            config = config.with_learned(false);
        }
        let state = place::state()?;
        let router = Router::new(config).with_catalogue(place::catalogue(&state)?);
        let mut out = std::io::stdout().lock();
        if let Some(path) = &self.eval {
            let measures = eval::measure(&router, path, self.kind)?;
            writeln!(out, "{}", serde_json::to_string(&measures)?)?;
            return Ok(());
        }
        let text = if self.text.is_empty() { stdin()? } else { self.text.join(" ") };
        let answer = self.after.as_deref().map(|text| Turn {
            direction: Direction::Out,
            text,
            tier: None,
            model: self.reply_to,
        });
        let cached = |model: &Model| WarmCache { model: *model, tokens: self.context, until: 0 };
        let warm: Vec<WarmCache> = self.warm.iter().map(cached).collect();
        let attachments: Vec<&str> = self.attach.iter().map(String::as_str).collect();
        let input = Input {
            reply_to_model: self.reply_to,
            pin: self.pin,
            desk: self.desk.map(DeskKind::from),
            history: answer.as_slice(),
            attachments: &attachments,
            context_tokens: self.context,
            warm: &warm,
            cache: place::cache_ttl(&state)?,
            ..Input::new(&text)
        };
        let decision = router.decide(&input);
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&decision)?)?;
        } else {
            let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            out.write_all(table::draw(&decision, &router, colours).as_bytes())?;
        }
        Ok(())
    }
}

/// Whatever stdin holds; bytes that are no UTF-8 are replaced, as they are in a chat.
fn stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .context("cannot read the message from stdin")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
