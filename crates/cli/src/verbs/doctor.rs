//! `tinyclaw doctor`: what works, what does not, and what to do about it; with `--numbers`, what it weighs.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::doctor::{Facts, MachineFacts, Patient, deep, draw, is_broken, numbers};
use crate::place;
use crate::terminal::Style;

/// Say what works, what does not, and what to do about it. Exits 1 when something is broken.
///
/// It looks at the state folder, the settings, every service, the queue and the tools, and changes nothing. With nothing
/// running it says what a start would find.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Measure instead: sizes, memory, and how long an office takes that is started for it and stopped again.
    #[arg(long)]
    numbers: bool,

    /// Read every file of the state folder instead, and check what can be checked. Exits 1 when something is not as it
    /// should be.
    #[arg(long, conflicts_with = "numbers")]
    deep: bool,

    /// Print JSON: an array of {part, state, why, wayOut}, state being ok, warning or broken; or the numbers by name; or
    /// {files, bytes, kinds, wrong: [{path, line, why}], aside}.
    #[arg(long)]
    json: bool,

    /// What Docker says, as scripts/docker-facts.sh prints it, on stdin: for where there is no Docker to ask.
    #[arg(long, hide = true)]
    docker_facts: bool,

    /// What root sees of the machine, as deploy/deb/admin prints it, on stdin.
    #[arg(long, hide = true, conflicts_with = "docker_facts")]
    machine_facts: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if self.deep {
            return self.deep();
        }
        let facts = if self.docker_facts {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read what Docker says")?;
            Facts::parse(&text)
        } else if self.numbers {
            Facts::ask()
        } else {
            // The services answer for themselves.
            Facts::default()
        };
        let mut patient = Patient::new(place::state()?, place::environment(), facts);
        if self.machine_facts {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read what root says")?;
            patient.machine = MachineFacts::parse(&text);
        }
        if self.numbers {
            let numbers = numbers::measure(&patient)?;
            let mut out = std::io::stdout().lock();
            if self.json {
                writeln!(out, "{}", serde_json::to_string_pretty(&numbers)?)?;
            } else {
                out.write_all(numbers.draw(Style::of(&out)).as_bytes())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let found = patient.examine();
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
        } else {
            out.write_all(draw(&found, Style::of(&out)).as_bytes())?;
        }
        Ok(if is_broken(&found) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn deep(&self) -> anyhow::Result<ExitCode> {
        let found = deep::read(&place::state()?);
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
        } else {
            out.write_all(found.draw(Style::of(&out)).as_bytes())?;
        }
        Ok(if found.is_broken() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
