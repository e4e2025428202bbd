//! The demo engine's turns: what a prompt makes it say and do.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::marks::{self, Mark};
use crate::pipe::{Heard, Pipe};
use crate::session::Session;
use crate::{Options, answer, pipe, words};

/// Why something was not done to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupted,
    /// Nobody is there any more.
    Gone,
}

pub(crate) struct Player {
    options: Options,
    session: Session,
    pub(crate) pipe: Pipe,
    pub(crate) waiting: VecDeque<Value>,
    tools: Vec<String>,
    has_tools: bool,
    answers: Vec<Value>,
    always: HashSet<String>,
    later: Vec<(Instant, String)>,
    word_pause: Duration,
    requests: u64,
    messages: u64,
    cost_usd: f64,
    tokens_out: u64,
}

/// One turn's notes.
struct Notes {
    text: String,
    said: Vec<String>,
    denials: Vec<Value>,
    cost_usd: f64,
    spread: Option<Duration>,
    tokens_in: usize,
    begun: Instant,
}

impl Player {
    pub(crate) fn new(options: Options, session: Session, pipe: Pipe) -> Player {
        let pause = std::env::var("TINYCLAW_DEMO_WORD_MS").ok().and_then(|it| it.parse().ok());
        Player {
            options,
            session,
            pipe,
            waiting: VecDeque::new(),
            tools: Vec::new(),
            has_tools: false,
            answers: Vec::new(),
            always: HashSet::new(),
            later: Vec::new(),
            word_pause: Duration::from_millis(pause.unwrap_or(0)),
            requests: 0,
            messages: 0,
            cost_usd: 0.0,
            tokens_out: 0,
        }
    }

    fn model(&self) -> String {
        format!("demo-{}", self.options.model)
    }

    fn say(&mut self, mut line: Value) {
        line["session_id"] = json!(self.options.session);
        self.pipe.say(&line);
    }

    /// When there is something to say unasked.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        self.later.iter().map(|it| it.0).min()
    }

    /// Says what a background task came to.
    pub(crate) fn speak_up(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|it| it.0 <= now);
        self.later = later;
        for (_, text) in due {
            let mut notes = Notes::new(0);
            self.begin();
            if self.tell(&mut notes, &text).is_ok() {
                self.result(&notes);
            }
        }
    }

    /// Takes a line that is not part of a turn.
    pub(crate) fn hear(&mut self, line: Value) -> Result<(), Stop> {
        match line["type"].as_str() {
            Some("user") => self.waiting.push_back(line),
            Some("control_response") => self.answers.push(line["response"].clone()),
            Some("control_request") => return self.obey(&line),
            _ => {}
        }
        Ok(())
    }

    fn obey(&mut self, line: &Value) -> Result<(), Stop> {
        let request = &line["request"];
        let reply = match request["subtype"].as_str() {
            Some("initialize") => {
                self.has_tools = request["sdkMcpServers"].is_array();
                self.learn_tools()?;
                json!({ "commands": [], "models": [], "pid": std::process::id() })
            }
            Some("set_model") => {
                self.options.model = request["model"].as_str().unwrap_or("sonnet").to_owned();
                json!({})
            }
            Some("interrupt") => json!({}),
            other => {
                let error =
                    format!("Unsupported control request subtype: {}", other.unwrap_or("?"));
                self.pipe.say(&json!({ "type": "control_response", "response": {
                    "subtype": "error", "request_id": line["request_id"], "error": error } }));
                return Ok(());
            }
        };
        self.pipe.say(&json!({ "type": "control_response", "response": {
            "subtype": "success", "request_id": line["request_id"], "response": reply } }));
        match request["subtype"] == "interrupt" {
            true => Err(Stop::Interrupted),
            false => Ok(()),
        }
    }

    fn learn_tools(&mut self) -> Result<(), Stop> {
        if !self.has_tools {
            return Ok(());
        }
        self.mcp("initialize", json!({ "protocolVersion": "2025-11-25", "capabilities": {} }))?;
        let list = self.mcp("tools/list", json!({}))?;
        let tools = list["result"]["tools"].as_array().into_iter().flatten();
        self.tools = tools.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect();
        Ok(())
    }

    fn mcp(&mut self, method: &str, params: Value) -> Result<Value, Stop> {
        let message =
            json!({ "jsonrpc": "2.0", "id": self.requests, "method": method, "params": params });
        let request =
            json!({ "subtype": "mcp_message", "server_name": "tinyclaw", "message": message });
        Ok(self.request(request)?["response"]["mcp_response"].clone())
    }

    /// Asks the host something and waits for the answer.
    fn request(&mut self, request: Value) -> Result<Value, Stop> {
        self.requests += 1;
        let id = format!("demo-{}", self.requests);
        self.pipe.say(&json!({ "type": "control_request", "request_id": id, "request": request }));
        loop {
            if let Some(at) = self.answers.iter().position(|it| it["request_id"] == *id) {
                return Ok(self.answers.swap_remove(at));
            }
            if let Err(stop) = self.listen(None) {
                self.pipe.say(&json!({ "type": "control_cancel_request", "request_id": id }));
                return Err(stop);
            }
        }
    }

    /// Waits, with an open ear.
    fn pause(&mut self, time: Duration) -> Result<(), Stop> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.listen(Some(until))?;
        }
        Ok(())
    }

    fn listen(&mut self, until: Option<Instant>) -> Result<(), Stop> {
        match self.pipe.next(until) {
            Heard::Line(line) => self.hear(line),
            Heard::Nothing | Heard::Garbage(_) => Ok(()),
            Heard::End => Err(Stop::Gone),
        }
    }

    fn begin(&mut self) {
        let (model, tools) = (self.model(), self.tools.clone());
        self.say(
            json!({ "type": "system", "subtype": "session_state_changed", "state": "running" }),
        );
        self.say(json!({
            "type": "system", "subtype": "init", "cwd": self.options.cwd, "model": model, "tools": tools,
            "mcp_servers": if self.has_tools { json!([{ "name": "tinyclaw", "status": "connected" }]) } else { json!([]) },
            "permissionMode": self.options.permission_mode, "claude_code_version": "demo",
        }));
    }

    /// One prompt from the first word to the `result`.
    pub(crate) fn turn(&mut self, message: &Value) -> Result<(), Stop> {
        let uuid = message["uuid"].as_str().unwrap_or_default().to_owned();
        let (prompt, files) = words(message);
        let echo = json!({ "type": "user", "message": message["message"], "uuid": uuid, "isReplay": true });
        if !self.session.is_new(&uuid) {
            self.say(echo);
            return Ok(());
        }
        self.session.heard(&uuid, &prompt);
        self.begin();
        self.say(echo);
        let mut notes = Notes::new(prompt.len());
        let played = self.play(&mut notes, &prompt, files);
        self.session.asked.push(prompt);
        match played {
            Ok(true) => self.result(&notes),
            Ok(false) => {}
            Err(Stop::Gone) => return Err(Stop::Gone),
            Err(Stop::Interrupted) => {
                if !notes.text.is_empty() {
                    let (model, id) = (self.model(), self.message_id());
                    let block = json!({ "type": "text", "text": notes.text });
                    self.session.said(&model, &id, &block, None);
                }
                self.failed(&notes, "error_during_execution", json!(null), "", "aborted_streaming");
            }
        }
        self.say(json!({ "type": "system", "subtype": "session_state_changed", "state": "idle" }));
        self.pipe.flush();
        Ok(())
    }

    /// Does what the marks say. `false`: the turn has told its own end.
    fn play(&mut self, notes: &mut Notes, prompt: &str, files: usize) -> Result<bool, Stop> {
        let message = marks::message(prompt).to_owned();
        let login = std::env::var("TINYCLAW_DEMO_LOGIN").ok();
        if login.is_some_and(|it| !std::path::Path::new(&it).exists()) {
            return self.fail(notes, "401");
        }
        let (mut text, mut has_text) = (String::new(), false);
        let mut after = None;
        for mark in marks::find(&message) {
            let report = match mark {
                Mark::Tool => self.tool(notes, Duration::from_millis(20))?,
                Mark::Sleep(time) => self.tool(notes, time)?,
                Mark::Ask => self.ask(notes)?,
                Mark::Call(tool, input) => self.call(notes, &tool, &input)?,
                Mark::Open(path) => format!(
                    "`{path}`: {}",
                    std::fs::File::open(&path)
                        .map_or_else(|it| it.to_string(), |_| "can be read".to_owned())
                ),
                Mark::Touch(path) => {
                    let opened = std::fs::File::options().append(true).create(true).open(&path);
                    let told =
                        opened.map_or_else(|it| it.to_string(), |_| "can be written".to_owned());
                    format!("`{path}`: {told}")
                }
                Mark::Spawn(time) => self.spawn(notes, time),
                Mark::Say(it) => {
                    has_text = true;
                    text.push_str(&it);
                    continue;
                }
                Mark::Long(bytes) => {
                    has_text = true;
                    text.push_str(&answer::long(bytes));
                    continue;
                }
                Mark::Slow(time) => {
                    notes.spread = Some(time);
                    continue;
                }
                Mark::Cost(usd) => {
                    notes.cost_usd = usd;
                    continue;
                }
                Mark::Background(time, it) => {
                    self.later.push((Instant::now() + time, it));
                    "I shall have something to say later.".to_owned()
                }
                Mark::Retry(times) => {
                    for attempt in 1..=times {
                        self.retry(attempt, times, Some(529), "server_error", 5)?;
                    }
                    format!("The pretend API came back after {times} retries.")
                }
                Mark::Cut => {
                    self.stream(notes, "This sentence breaks off in the mid")?;
                    self.pause(Duration::from_millis(5))?;
                    "The stream broke off, and this is the whole text.".to_owned()
                }
                Mark::CrashAfter => {
                    after = Some(Mark::CrashAfter);
                    continue;
                }
                Mark::Hang => loop {
                    self.listen(None)?;
                },
                Mark::Deaf => self.deaf(),
                Mark::Crash => {
                    self.stream(notes, "I am about to")?;
                    self.die();
                }
                Mark::Fail(how) => return self.fail(notes, &how),
                Mark::Limit(seconds) => return self.limit(notes, seconds),
                Mark::Refuse => return self.refuse(notes),
                Mark::Unknown(it) => {
                    format!(
                        "`[demo: {it}]` means nothing to me; the engine's README lists the marks."
                    )
                }
            };
            has_text = true;
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str(&report);
        }
        if !has_text {
            let before = self.session.asked.last().map(|it| marks::message(it).to_owned());
            let desk = self.options.cwd.display().to_string();
            let turn = self.session.asked.len() + 1;
            text =
                answer::plain(&message, &desk, &self.options.model, turn, before.as_deref(), files);
        }
        self.tell(notes, &text)?;
        if after == Some(Mark::CrashAfter) {
            self.die();
        }
        Ok(true)
    }

    fn message_id(&mut self) -> String {
        self.messages += 1;
        format!("msg_demo{}_{}", std::process::id(), self.messages)
    }

    fn event(&mut self, event: Value) {
        self.say(json!({ "type": "stream_event", "event": event, "parent_tool_use_id": null }));
    }

    /// Streams words, without making them the truth.
    fn stream(&mut self, notes: &mut Notes, text: &str) -> Result<(), Stop> {
        let model = self.model();
        let id = self.message_id();
        self.event(json!({ "type": "message_start", "message": {
            "id": id, "role": "assistant", "model": model, "content": [] } }));
        self.event(json!({ "type": "content_block_start", "index": 0,
            "content_block": { "type": "text", "text": "" } }));
        notes.text.clear();
        let words = text.split_inclusive(char::is_whitespace).count().max(1);
        let pause = match notes.spread {
            Some(it) => it / u32::try_from(words).unwrap_or(u32::MAX),
            None => self.word_pause,
        };
        for word in text.split_inclusive(char::is_whitespace) {
            self.event(json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": word } }));
            notes.text.push_str(word);
            if !pause.is_zero() {
                self.pause(pause)?;
            }
        }
        Ok(())
    }

    /// Says something, word by word and then whole.
    fn tell(&mut self, notes: &mut Notes, text: &str) -> Result<(), Stop> {
        self.stream(notes, text)?;
        let model = self.model();
        let id = format!("msg_demo{}_{}", std::process::id(), self.messages);
        let block = json!({ "type": "text", "text": text });
        self.session.said(&model, &id, &block, Some("end_turn"));
        self.say(json!({ "type": "assistant", "message": { "id": id, "role": "assistant",
            "model": model, "content": [block], "stop_reason": null }, "parent_tool_use_id": null }));
        notes.text.clear();
        notes.said.push(text.to_owned());
        Ok(())
    }

    fn tool_begins(&mut self, name: &str, input: &Value) -> String {
        self.requests += 1;
        let id = format!("toolu_demo{}", self.requests);
        let (model, message) = (self.model(), self.message_id());
        let block = json!({ "type": "tool_use", "id": id, "name": name, "input": input });
        self.session.said(&model, &message, &block, Some("tool_use"));
        self.say(json!({ "type": "assistant", "message": { "id": message, "role": "assistant",
            "model": model, "content": [block], "stop_reason": null }, "parent_tool_use_id": null }));
        id
    }

    fn tool_ends(&mut self, id: &str, content: &str, is_error: bool) {
        self.say(json!({ "type": "user", "message": { "role": "user", "content": [{
            "type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error }] },
            "parent_tool_use_id": null }));
    }

    fn tool(&mut self, notes: &mut Notes, time: Duration) -> Result<String, Stop> {
        notes.text.clear();
        let input = json!({ "command": format!("sleep {}", time.as_secs_f32()), "description": "Pretend to work" });
        let id = self.tool_begins("Bash", &input);
        self.pause(time)?;
        self.tool_ends(&id, "pretend output", false);
        Ok(format!("I pretended to run `sleep {}`.", time.as_secs_f32()))
    }

    fn spawn(&mut self, _notes: &mut Notes, time: Duration) -> String {
        let id = self.tool_begins("Bash", &json!({ "command": "a process of its own" }));
        #[expect(
            clippy::disallowed_methods,
            reason = "the demo leaves a process behind, as Claude's tools can"
        )]
        let started = std::process::Command::new("setsid")
            .args(["sleep", &time.as_secs().to_string()])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .spawn();
        let told = match started {
            Ok(child) => format!("Process {} runs in a session of its own.", child.id()),
            Err(err) => format!("I could not start a process: {err}"),
        };
        self.tool_ends(&id, &told, false);
        told
    }

    fn ask(&mut self, notes: &mut Notes) -> Result<String, Stop> {
        let command = "rm -r build";
        let input = json!({ "command": command, "description": "Remove the build folder" });
        let id = self.tool_begins("Bash", &input);
        if self.options.permission_mode == "bypassPermissions" || self.always.contains(command) {
            self.tool_ends(&id, "pretend output", false);
            return Ok(format!("I did not have to ask before I pretended to run `{command}`."));
        }
        let suggestion = json!({ "type": "addRules", "behavior": "allow", "destination": "localSettings",
            "rules": [{ "toolName": "Bash", "ruleContent": command }] });
        let answer = self.request(json!({
            "subtype": "can_use_tool", "tool_name": "Bash", "display_name": "Bash", "input": input,
            "permission_suggestions": [suggestion], "tool_use_id": id,
        }))?;
        let answer = &answer["response"];
        if answer["behavior"] == "allow" {
            let always = answer["updatedPermissions"].as_array().is_some_and(|it| !it.is_empty());
            if always {
                self.always.insert(command.to_owned());
            }
            self.tool_ends(&id, "pretend output", false);
            let how = if always { ", from now on" } else { "" };
            return Ok(format!("You allowed it{how}: I pretended to run `{command}`."));
        }
        let why = answer["message"].as_str().unwrap_or("no").to_owned();
        self.tool_ends(&id, &why, true);
        notes.denials.push(json!({ "tool_name": "Bash", "tool_use_id": id, "tool_input": input }));
        Ok(format!("I was not allowed to run `{command}`: {why}"))
    }

    fn call(&mut self, _notes: &mut Notes, tool: &str, input: &str) -> Result<String, Stop> {
        let Ok(input) = serde_json::from_str::<Value>(input) else {
            return Ok(format!("`{input}` is not JSON."));
        };
        let id = self.tool_begins(&format!("mcp__tinyclaw__{tool}"), &input);
        if !self.tools.iter().any(|it| it == tool) {
            self.tool_ends(&id, "No such tool available", true);
            return Ok(format!("There is no tool `{tool}` here."));
        }
        let reply = self.mcp("tools/call", json!({ "name": tool, "arguments": input }))?;
        let result = &reply["result"];
        let text = result["content"][0]["text"].as_str().unwrap_or("nothing").to_owned();
        let failed = result["isError"] == true;
        self.tool_ends(&id, &text, failed);
        let verb = if failed { "refused" } else { "answered" };
        Ok(format!("`{tool}` {verb}: {text}"))
    }

    fn deaf(&mut self) -> ! {
        self.pipe.flush();
        // The listening thread never hears signals; now nobody does.
        let _ = pipe::signals().thread_block();
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }

    fn die(&mut self) -> ! {
        self.pipe.flush();
        let _ = kill(Pid::this(), Signal::SIGKILL);
        std::process::abort()
    }

    fn retry(
        &mut self,
        attempt: u64,
        attempts_max: u64,
        status: Option<u16>,
        error: &str,
        delay_ms: u64,
    ) -> Result<(), Stop> {
        self.say(json!({ "type": "system", "subtype": "api_retry", "attempt": attempt,
            "max_retries": attempts_max, "retry_delay_ms": delay_ms, "error_status": status, "error": error }));
        self.pause(Duration::from_millis(delay_ms))
    }

    fn fail(&mut self, notes: &mut Notes, how: &str) -> Result<bool, Stop> {
        let (status, error, text) = match how {
            "401" | "403" => {
                (Some(401), "authentication_failed", "Invalid API key · Please run /login")
            }
            "404" => (Some(404), "model_not_found", "There is an issue with the selected model"),
            "429" => (Some(429), "rate_limit", "API Error: Rate limited"),
            "400" => (Some(400), "invalid_request", "API Error: 400 bad request"),
            "413" => (Some(413), "invalid_request", "Prompt is too long"),
            "529" => (None, "server_error", "API Error: Repeated 529 Overloaded errors"),
            "json" => (None, "unknown", "API Error: Failed to parse JSON"),
            _ => (Some(500), "server_error", "API Error: 500 Internal server error"),
        };
        if matches!(how, "401" | "429" | "500" | "529") {
            let told = if how == "529" { Some(529) } else { status };
            for attempt in 1..=3 {
                self.retry(attempt, 3, told, error, 20)?;
            }
        }
        self.synthetic(error, text);
        self.failed(notes, "success", json!(status), text, "completed");
        Ok(false)
    }

    fn limit(&mut self, notes: &mut Notes, seconds: u64) -> Result<bool, Stop> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let text = "You've hit your session limit · resets soon (demo)";
        self.say(json!({ "type": "rate_limit_event", "rate_limit_info": {
            "status": "rejected", "resetsAt": now + seconds, "rateLimitType": "five_hour", "utilization": 1.0 } }));
        self.synthetic("rate_limit", text);
        self.failed(notes, "success", json!(429), text, "completed");
        Ok(false)
    }

    fn refuse(&mut self, notes: &mut Notes) -> Result<bool, Stop> {
        let text = "The demo's pretend model declines to answer this.";
        let mut line = self.result_line(notes, "success", true, text);
        line["stop_reason"] = json!("refusal");
        self.say(line);
        Ok(false)
    }

    fn synthetic(&mut self, error: &str, text: &str) {
        self.say(json!({ "type": "assistant", "error": error, "parent_tool_use_id": null,
            "message": { "role": "assistant", "model": "<synthetic>",
                "content": [{ "type": "text", "text": text }] } }));
    }

    fn failed(&mut self, notes: &Notes, subtype: &str, status: Value, text: &str, reason: &str) {
        let mut line = self.result_line(notes, subtype, true, text);
        line["api_error_status"] = status;
        line["terminal_reason"] = json!(reason);
        if subtype == "error_during_execution" {
            line["errors"] = json!(["[ede_diagnostic] the demo was interrupted"]);
        }
        self.say(line);
    }

    fn result(&mut self, notes: &Notes) {
        let text = notes.said.last().cloned().unwrap_or_default();
        let line = self.result_line(notes, "success", false, &text);
        self.say(line);
    }

    fn result_line(&mut self, notes: &Notes, subtype: &str, is_error: bool, text: &str) -> Value {
        let out = notes.said.iter().map(String::len).sum::<usize>() / 4;
        self.cost_usd += notes.cost_usd;
        self.tokens_out += out as u64;
        let ms = u64::try_from(notes.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut models = serde_json::Map::new();
        models.insert(
            self.model(),
            json!({ "outputTokens": self.tokens_out, "costUSD": self.cost_usd }),
        );
        json!({
            "type": "result", "subtype": subtype, "is_error": is_error, "api_error_status": null,
            "duration_ms": ms, "duration_api_ms": ms, "ttft_ms": 1, "num_turns": 1, "result": text,
            "stop_reason": if is_error { Value::Null } else { json!("end_turn") },
            "total_cost_usd": self.cost_usd,
            "usage": { "input_tokens": notes.tokens_in / 4, "output_tokens": out,
                "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0 },
            "modelUsage": models, "permission_denials": notes.denials, "terminal_reason": "completed",
        })
    }
}

impl Notes {
    fn new(tokens_in: usize) -> Notes {
        Notes {
            text: String::new(),
            said: Vec::new(),
            denials: Vec::new(),
            cost_usd: 0.0,
            spread: None,
            tokens_in,
            begun: Instant::now(),
        }
    }
}
