#![doc = include_str!("../README.md")]

mod chat;
mod client;
mod demo;
mod doctor;
mod hook;
mod import;
mod place;
mod setup;
mod signals;
mod telling;
mod terminal;
mod verbs;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An office of Claude agents in a Telegram forum.
#[derive(Debug, Parser)]
#[command(name = "tinyclaw", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 it went wrong, the reason is on stderr; 2 the command line was not understood;
3 `send --wait --timeout` ran out of time, the message goes on.
The state folder is TINYCLAW_DIR, or .tinyclaw here. NO_COLOR switches colours off; they are for terminals only.";

#[derive(Debug, Subcommand)]
enum Verb {
    Chat(verbs::chat::Chat),
    Demo(verbs::demo::Demo),
    Setup(verbs::setup::Setup),
    Send(verbs::send::Send),
    #[command(subcommand)]
    Queue(verbs::queue::Queue),
    Threads(verbs::threads::Threads),
    Devbox(verbs::devbox::Devbox),
    Logs(verbs::logs::Logs),
    Settings(verbs::settings::Settings),
    Route(verbs::route::Route),
    Token(verbs::token::Token),
    Hook(verbs::hook::Hook),
    Doctor(verbs::doctor::Doctor),
    Import(verbs::import::Import),
    Healthcheck(verbs::healthcheck::Healthcheck),
    DemoEngine(verbs::demo_engine::DemoEngine),
    Completions(verbs::completions::Completions),
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let done = match line.verb {
        Verb::Chat(verb) => verb.run(),
        Verb::Demo(verb) => verb.run(),
        Verb::Setup(verb) => verb.run(),
        Verb::Send(verb) => verb.run(),
        Verb::Queue(verb) => verb.run(),
        Verb::Threads(verb) => verb.run(),
        Verb::Devbox(verb) => verb.run(),
        Verb::Logs(verb) => verb.run(),
        Verb::Settings(verb) => verb.run(),
        Verb::Route(verb) => verb.run().map(|()| ExitCode::SUCCESS),
        Verb::Token(verb) => verb.run(),
        Verb::Hook(verb) => verb.run(),
        Verb::Doctor(verb) => verb.run(),
        Verb::Import(verb) => verb.run(),
        Verb::Healthcheck(verb) => verb.run(),
        Verb::DemoEngine(verb) => verb.run(),
        Verb::Completions(verb) => verb.run(),
    };
    match done {
        Ok(code) => code,
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
