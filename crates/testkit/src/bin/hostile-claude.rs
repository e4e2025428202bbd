//! A hostile `claude`: speaks the CLI's protocol as far as an office needs, and does whatever a message orders.
//!
//! It stands for an agent that was talked into anything. See `tinyclaw_testkit::hostile` for what it can be told; a
//! script named `at-start` beside the program runs before the first message is read. It keeps a transcript where Claude
//! would, and knows no model, no permission rule and no network.
#![allow(clippy::disallowed_methods, reason = "running whatever it is told is what it is for")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tinyclaw_testkit::hostile::{Act, Done, Ran, order_in, report};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|it| it == "--version") {
        return writeln!(io::stdout(), "0.0.0 (hostile claude)");
    }
    let at_start = std::env::current_exe()?.with_file_name("at-start");
    if at_start.is_file() {
        run(&format!(". '{}'", at_start.display()))?;
    }
    let value = |name: &str| {
        args.iter().find_map(|it| it.strip_prefix(&format!("--{name}=")).map(str::to_owned))
    };
    let session = value("session-id").or_else(|| value("resume")).unwrap_or_default();
    let mut claude = Hostile { transcript: transcript(&session), session, requests: 0 };
    while let Some(line) = read_line()? {
        claude.hear(&line)?;
    }
    Ok(())
}

struct Hostile {
    session: String,
    transcript: Option<PathBuf>,
    requests: u64,
}

impl Hostile {
    fn hear(&mut self, line: &Value) -> io::Result<()> {
        match line["type"].as_str() {
            Some("control_request") => say(&json!({ "type": "control_response", "response": {
                "subtype": "success", "request_id": line["request_id"], "response": {} } })),
            Some("user") => self.turn(line),
            _ => Ok(()),
        }
    }

    fn turn(&mut self, message: &Value) -> io::Result<()> {
        let mut echo = message.clone();
        echo["isReplay"] = json!(true);
        say(&echo)?;
        self.keep(message);
        say(&json!({ "type": "system", "subtype": "init", "session_id": self.session,
            "model": "hostile", "tools": [], "claude_code_version": "0.0.0" }))?;
        let text = match &message["message"]["content"] {
            Value::String(text) => text.clone(),
            blocks => {
                let blocks = blocks.as_array().map(Vec::as_slice).unwrap_or_default();
                blocks.iter().filter_map(|it| it["text"].as_str()).collect::<Vec<_>>().join("\n")
            }
        };
        let (mut done, mut words) = (Vec::new(), None);
        for act in order_in(&text).unwrap_or_default() {
            match act {
                Act::Run(script) => done.push(Done::Ran(run(&script)?)),
                Act::Leave(script) => {
                    shell(&script).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
                    done.push(Done::Left);
                }
                Act::Ask(command) => done.push(Done::Answered(self.ask(&command)?)),
                Act::Write(line) => {
                    writeln!(io::stdout(), "{line}")?;
                    done.push(Done::Left);
                }
                Act::Complain(line) => {
                    writeln!(io::stderr(), "{line}")?;
                    done.push(Done::Left);
                }
                Act::Say(text) => words = Some(text),
                Act::Exit(code) => std::process::exit(code),
            }
        }
        self.answer(&words.unwrap_or_else(|| report(&done)))
    }

    fn answer(&mut self, text: &str) -> io::Result<()> {
        let line = json!({ "type": "assistant", "session_id": self.session, "parent_tool_use_id": null,
            "message": { "id": format!("msg_{}", std::process::id()), "role": "assistant",
                "model": "hostile", "content": [{ "type": "text", "text": text }],
                "stop_reason": "end_turn" } });
        self.keep(&line);
        say(&line)?;
        say(&json!({ "type": "result", "subtype": "success", "is_error": false,
            "duration_ms": 1, "num_turns": 1, "result": text, "stop_reason": "end_turn",
            "session_id": self.session, "total_cost_usd": 0.0,
            "usage": { "input_tokens": 1, "output_tokens": 1 }, "terminal_reason": "completed" }))
    }

    /// Asks as the CLI does, and returns what was answered. Other lines that come meanwhile are obeyed or dropped.
    fn ask(&mut self, command: &str) -> io::Result<Value> {
        self.requests += 1;
        let id = format!("hostile-{}", self.requests);
        say(&json!({ "type": "control_request", "request_id": id, "request": {
            "subtype": "can_use_tool", "tool_name": "Bash", "display_name": "Bash",
            "input": { "command": command }, "permission_suggestions": [],
            "tool_use_id": format!("toolu_{}", self.requests) } }))?;
        while let Some(line) = read_line()? {
            if line["type"] == "control_response" && line["response"]["request_id"] == *id {
                return Ok(line["response"]["response"].clone());
            }
            if line["type"] == "control_request" {
                self.hear(&line)?;
            }
        }
        Ok(Value::Null)
    }

    fn keep(&self, line: &Value) {
        let Some(path) = &self.transcript else { return };
        // A transcript that an earlier act made into something else is left as it is: that is the act's point.
        if path.symlink_metadata().is_ok_and(|it| !it.is_file()) {
            return;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut it| writeln!(it, "{line}"));
    }
}

/// Where Claude would keep the session: the directory's name with dashes for everything but letters and digits.
fn transcript(session: &str) -> Option<PathBuf> {
    let cwd = std::env::current_dir().ok()?;
    let slug = cwd.to_string_lossy().replace(|it: char| !it.is_ascii_alphanumeric(), "-");
    let dir = PathBuf::from(std::env::var_os("CLAUDE_CONFIG_DIR")?).join("projects").join(slug);
    fs::create_dir_all(&dir).ok()?;
    Some(dir.join(format!("{session}.jsonl")))
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).env("CLAUDE_PID", std::process::id().to_string());
    command.stdin(Stdio::null());
    command
}

/// Runs a script to its end. What it leaves behind may keep its output open; nobody waits for that.
fn run(script: &str) -> io::Result<Ran> {
    let mut output = scratch()?;
    let status = shell(script).stdout(output.try_clone()?).stderr(output.try_clone()?).status()?;
    output.rewind()?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(Ran { code, out: String::from_utf8_lossy(&bytes).into_owned() })
}

/// A file without a name, where an agent may write.
fn scratch() -> io::Result<File> {
    let dir = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    tempfile::tempfile_in(Some(dir).filter(|it| Path::is_dir(it)).unwrap_or_else(|| "/tmp".into()))
}

fn say(line: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// `None`: stdin has ended.
fn read_line() -> io::Result<Option<Value>> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line).unwrap_or(Value::Null)))
}
