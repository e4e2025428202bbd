//! `tinyclaw setup`: the parts of an office, one by one or all in turn.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use tinyclaw_service::not_dumpable;

use crate::setup::{
    Answers, Claude, GitHub, OfficePart, Person, SetupContext, Telegram, Tunnel, table, table_json,
};

const AFTER_HELP: &str = "\
Each part is tried before it is written, and can be done again without touching the others. Answers go to .env where
docker-compose.yml is, to FILE with --env FILE, else to settings.json of the state folder.
Exit codes: 0 the part works and is written, or every part that was wanted; 1 it does not and nothing of it is written,
the reason and the way out are on stderr; 2 the command line was not understood.";

/// Set up an office: the bot, Claude's account, GitHub, the dashboard's public name, time and money.
///
/// Without a part it asks for each in turn, and shows how they stand at the end.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Setup {
    #[command(subcommand)]
    part: Option<SetupPart>,

    /// Write to this file, which compose reads.
    #[arg(long, global = true, value_name = "FILE")]
    env: Option<PathBuf>,

    /// Yes to everything that would be asked.
    #[arg(long, short, global = true)]
    yes: bool,

    /// Ask nothing; show how all parts stand.
    #[arg(long)]
    show: bool,

    /// Print what was done as JSON, and ask nothing; without a part, how all parts stand.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SetupPart {
    Telegram(Telegram),
    Claude(Claude),
    #[command(name = "github")]
    GitHub(GitHub),
    Tunnel(Tunnel),
    Office(OfficePart),
}

impl Setup {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        // It is about to hold every secret of the office.
        not_dumpable().context("cannot keep others from reading this process's memory")?;
        let answers = Answers::open(self.env.as_deref())?;
        let desk = SetupContext { answers, person: Person::new(self.yes, self.json) };
        let done = match self.part {
            Some(SetupPart::Telegram(part)) => part.run(&desk),
            Some(SetupPart::Claude(part)) => part.run(&desk),
            Some(SetupPart::GitHub(part)) => part.run(&desk),
            Some(SetupPart::Tunnel(part)) => part.run(&desk),
            Some(SetupPart::Office(part)) => part.run(&desk),
            None if self.json => {
                let parts = table_json(&desk.parts());
                writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&parts)?)?;
                return Ok(ExitCode::SUCCESS);
            }
            None if self.show => {
                let style = desk.person.style();
                std::io::stdout().write_all(table(&desk.parts(), style).as_bytes())?;
                return Ok(ExitCode::SUCCESS);
            }
            None => {
                let is_well = desk.walk()?;
                return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        };
        let done = done?;
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&json!(done))?)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
