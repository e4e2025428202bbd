//! `tinyclaw import DIR`: threads, history, settings and waiting messages of the TypeScript original.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::import::import;
use crate::place;
use crate::terminal::Style;

/// Take over what the TypeScript original left: threads, history, settings, waiting messages.
///
/// DIR is its `.tinyclaw` or `.borg`, or the clone that holds one. It is only read. What is here already stays and is
/// told, so that it can be done again. The processor must be stopped meanwhile.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The original's folder.
    dir: PathBuf,

    /// Say what would be taken, and write nothing.
    #[arg(long)]
    dry_run: bool,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let report = import(&self.dir, &place::state()?, &place::environment(), self.dry_run)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        } else {
            out.write_all(report.draw(Style::of(&out)).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
