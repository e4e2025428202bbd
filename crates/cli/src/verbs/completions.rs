//! `tinyclaw completions`: what a shell needs to complete verbs and options.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{generate, shells};

use crate::CommandLine;

/// Print completions for a shell: source them, or put them where it looks.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut command = CommandLine::command();
        let mut text = Vec::new();
        match self.shell {
            Shell::Bash => generate(shells::Bash, &mut command, "tinyclaw", &mut text),
            Shell::Zsh => generate(shells::Zsh, &mut command, "tinyclaw", &mut text),
            Shell::Fish => generate(shells::Fish, &mut command, "tinyclaw", &mut text),
        }
        std::io::stdout().write_all(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
