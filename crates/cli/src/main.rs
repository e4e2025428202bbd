#![doc = include_str!("../README.md")]

mod place;
mod verbs;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An office of Claude agents in a Telegram forum.
#[derive(Debug, Parser)]
#[command(name = "tinyclaw", version, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Route(verbs::route::Route),
}

fn main() -> ExitCode {
    let line = Line::parse();
    let done = match line.verb {
        Verb::Route(verb) => verb.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(err) if is_broken_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            let _ = writeln!(std::io::stderr(), "tinyclaw: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.chain()
        .filter_map(|it| it.downcast_ref::<std::io::Error>())
        .any(|it| it.kind() == std::io::ErrorKind::BrokenPipe)
}
