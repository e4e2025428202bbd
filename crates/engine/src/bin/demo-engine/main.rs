//! `tinyclaw-demo-engine`: speaks the CLI's protocol without a model, without an account, without a network.
//!
//! It exists so that all of TinyClaw can be tried and tested by anybody, and it never pretends: every answer that it
//! makes up says that it is a demo. What it is made to do by marks in a prompt stands in the crate's README.

mod acts;
mod answer;
mod marks;
mod pipe;
mod play;
mod session;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use tinyclaw_domain::SessionId;

use crate::pipe::{Heard, Pipe};
use crate::play::{Player, Stop};
use crate::session::Session;

/// What the command line says. The flags are Claude's; those that mean nothing here are passed over.
#[derive(Debug)]
struct Options {
    session: SessionId,
    resume: bool,
    model: String,
    effort: String,
    /// Names of MCP servers of others.
    servers: Vec<String>,
    permission_mode: String,
    keep: bool,
    cwd: PathBuf,
    claude_dir: PathBuf,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|it| it == "--version" || it == "-v") {
        // Where Claude says it, too.
        let version = env!("CARGO_PKG_VERSION");
        return match writeln!(std::io::stdout(), "{version} (TinyClaw demo engine)") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match options(&args) {
        Ok(options) => serve(options),
        Err(complaint) => {
            pipe::complain(&complaint);
            ExitCode::FAILURE
        }
    }
}

fn options(args: &[String]) -> Result<Options, String> {
    let value = |name: &str| {
        let joined = format!("--{name}=");
        let plain = format!("--{name}");
        args.iter().find_map(|it| it.strip_prefix(&joined).map(str::to_owned)).or_else(|| {
            let at = args.iter().position(|it| *it == plain)?;
            args.get(at + 1).cloned()
        })
    };
    let var = |name: &str| std::env::var(name).ok();
    let home = PathBuf::from(var("HOME").unwrap_or_else(|| "/".to_owned()));
    let (id, resume) = match (value("session-id"), value("resume")) {
        (Some(id), None) => (id, false),
        (None, Some(id)) => (id, true),
        _ => return Err("Error: say either --session-id=UUID or --resume=UUID".to_owned()),
    };
    Ok(Options {
        session: id.parse().map_err(|it| format!("Error: {it}"))?,
        resume,
        model: value("model").unwrap_or_else(|| "sonnet".to_owned()),
        servers: value("mcp-config").map_or_else(Vec::new, |it| servers(&it)),
        effort: value("effort").unwrap_or_else(|| "medium".to_owned()),
        permission_mode: value("permission-mode").unwrap_or_else(|| "default".to_owned()),
        keep: !args.iter().any(|it| it == "--no-session-persistence"),
        cwd: std::env::current_dir().map_err(|it| format!("Error: no working directory: {it}"))?,
        claude_dir: var("CLAUDE_CONFIG_DIR").map_or_else(|| home.join(".claude"), PathBuf::from),
    })
}

fn servers(config: &str) -> Vec<String> {
    let config: Value = serde_json::from_str(config).unwrap_or_default();
    let all = config["mcpServers"].as_object().into_iter().flatten();
    all.filter(|(_, it)| it["type"] != "sdk").map(|(name, _)| name.clone()).collect()
}

fn serve(options: Options) -> ExitCode {
    let mut pipe = Pipe::open();
    let session = match Session::open(&options) {
        Ok(it) => it,
        Err(complaint) => {
            if complaint.starts_with("No conversation found") {
                pipe.say(&json!({
                    "type": "result", "subtype": "error_during_execution", "is_error": true,
                    "num_turns": 0, "errors": [complaint], "session_id": options.session,
                }));
                pipe.flush();
            }
            pipe::complain(&complaint);
            return ExitCode::FAILURE;
        }
    };
    let mut player = Player::new(options, session, pipe);
    loop {
        match player.pipe.next(player.wakes_at()) {
            Heard::Line(line) => match player.hear(line) {
                Ok(()) => {}
                Err(Stop::Gone) => return ExitCode::SUCCESS,
                // Nothing runs that could be interrupted.
                Err(Stop::Interrupted) => {}
            },
            Heard::Nothing => player.speak_up(),
            Heard::Garbage(line) => {
                pipe::complain(&format!("Error parsing streaming input line: {line}"));
                return ExitCode::FAILURE;
            }
            Heard::End => return ExitCode::SUCCESS,
        }
        while let Some(message) = player.waiting.pop_front() {
            if player.turn(&message).is_err() && player.pipe.is_ended {
                return ExitCode::SUCCESS;
            }
        }
    }
}

/// The text of a user message, and how many things came with it.
fn words(message: &Value) -> (String, usize) {
    match message.pointer("/message/content") {
        Some(Value::String(text)) => (text.clone(), 0),
        Some(Value::Array(blocks)) => {
            let texts: Vec<&str> =
                blocks.iter().filter_map(|it| it.get("text").and_then(Value::as_str)).collect();
            (texts.join("\n"), blocks.len() - texts.len())
        }
        _ => (String::new(), 0),
    }
}
