//! The demo engine's turns: it listens, follows the marks of a prompt, and ends with a `result`.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::marks::{self, Mark};
use crate::pipe::{Heard, Pipe};
use crate::session::Session;
use crate::{Options, answer, words};

/// Why something was not done to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupted,
    /// Nobody is there any more.
    Gone,
}

/// Why no MCP server of others is connected.
const DEAF_TO_SERVERS: &str = "the demo speaks to no server";

pub(crate) struct Player {
    pub(crate) options: Options,
    pub(crate) session: Session,
    pub(crate) pipe: Pipe,
    pub(crate) waiting: VecDeque<Value>,
    pub(crate) tools: Vec<String>,
    has_tools: bool,
    answers: Vec<Value>,
    pub(crate) always: HashSet<String>,
    /// What background tasks come to, and when; each with its id.
    later: Vec<(Instant, String, String)>,
    pub(crate) word_pause: Duration,
    pub(crate) requests: u64,
    pub(crate) messages: u64,
    pub(crate) cost_usd: f64,
    pub(crate) tokens_out: u64,
}

/// One turn's notes.
pub(crate) struct Notes {
    pub(crate) text: String,
    pub(crate) said: Vec<String>,
    pub(crate) denials: Vec<Value>,
    pub(crate) cost_usd: f64,
    pub(crate) spread: Option<Duration>,
    pub(crate) tokens_in: usize,
    pub(crate) begun: Instant,
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

    pub(crate) fn model(&self) -> String {
        format!("demo-{}", self.options.model)
    }

    pub(crate) fn say(&mut self, mut line: Value) {
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
        for (_, task, text) in due {
            self.say(json!({
                "type": "system", "subtype": "task_notification", "task_id": task,
                "status": "completed",
            }));
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
            Some("apply_flag_settings") => {
                if let Some(effort) = request["settings"]["effortLevel"].as_str() {
                    self.options.effort = effort.to_owned();
                }
                json!({})
            }
            Some("mcp_status") => {
                let failed =
                    self.options.servers.iter().map(
                        |it| json!({ "name": it, "status": "failed", "error": DEAF_TO_SERVERS }),
                    );
                json!({ "mcpServers": failed.collect::<Vec<Value>>() })
            }
            Some("mcp_reconnect") => {
                self.turn_down(line, DEAF_TO_SERVERS);
                return Ok(());
            }
            Some("interrupt") => json!({}),
            other => {
                let error =
                    format!("Unsupported control request subtype: {}", other.unwrap_or("?"));
                self.turn_down(line, &error);
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

    fn turn_down(&mut self, line: &Value, error: &str) {
        self.pipe.say(&json!({ "type": "control_response", "response": {
            "subtype": "error", "request_id": line["request_id"], "error": error } }));
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

    pub(crate) fn mcp(&mut self, method: &str, params: Value) -> Result<Value, Stop> {
        let message =
            json!({ "jsonrpc": "2.0", "id": self.requests, "method": method, "params": params });
        let request =
            json!({ "subtype": "mcp_message", "server_name": "tinyclaw", "message": message });
        Ok(self.request(request)?["response"]["mcp_response"].clone())
    }

    /// Asks the host something and waits for the answer.
    pub(crate) fn request(&mut self, request: Value) -> Result<Value, Stop> {
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
    pub(crate) fn pause(&mut self, time: Duration) -> Result<(), Stop> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.listen(Some(until))?;
        }
        Ok(())
    }

    pub(crate) fn listen(&mut self, until: Option<Instant>) -> Result<(), Stop> {
        match self.pipe.next(until) {
            Heard::Line(line) => self.hear(line),
            Heard::Nothing | Heard::Garbage(_) => Ok(()),
            Heard::End => Err(Stop::Gone),
        }
    }

    fn begin(&mut self) {
        let (model, tools) = (self.model(), self.tools.clone());
        let status = |name: &str, status: &str| json!({ "name": name, "status": status });
        let ours = self.has_tools.then(|| status("tinyclaw", "connected"));
        // It speaks to nobody.
        let others = self.options.servers.iter().map(|it| status(it, "failed"));
        let servers: Vec<Value> = ours.into_iter().chain(others).collect();
        self.say(
            json!({ "type": "system", "subtype": "session_state_changed", "state": "running" }),
        );
        self.say(json!({
            "type": "system", "subtype": "init", "cwd": self.options.cwd, "model": model, "tools": tools,
            "mcp_servers": servers,
            "permissionMode": self.options.permission_mode, "claude_code_version": "demo",
            "skills": ["pretend"],
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
        let mut message = marks::message(prompt).to_owned();
        let is_heartbeat = marks::is_heartbeat(prompt);
        if is_heartbeat {
            // As Claude would: what is written there is what is due.
            let path = self.options.cwd.join("HEARTBEAT.md");
            message = std::fs::read_to_string(path).unwrap_or_default();
        }
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
                Mark::Ask(tool, input) => self.ask(notes, &tool, &input)?,
                Mark::Attend(time) => self.attend(notes, time)?,
                Mark::Todo(list) => self.todo(&list),
                Mark::Helper(time, what) => self.helper(notes, time, &what)?,
                Mark::Plan(plan) => self.plan(notes, &plan)?,
                Mark::Choose(input) => self.choose(notes, &input)?,
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
                Mark::Write(path, words) => {
                    #[expect(clippy::disallowed_methods, reason = "it plays an agent")]
                    let written = std::fs::write(&path, format!("{words}\n"));
                    let told =
                        written.map_or_else(|it| it.to_string(), |()| "is written".to_owned());
                    format!("`{path}`: {told}")
                }
                Mark::Work(least, script) => self.work(&least, &script),
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
                    let task = format!("demo-{}-{}", self.messages, self.later.len());
                    self.later.push((Instant::now() + time, task.clone(), it));
                    self.say(json!({
                        "type": "system", "subtype": "task_started",
                        "task_id": task, "description": "wait for the build",
                    }));
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
                Mark::Used(percent) => {
                    self.plan_used(percent / 100.0);
                    format!("{percent} % of the pretend plan are used.")
                }
                Mark::Limit(seconds) => return self.limit(notes, seconds),
                Mark::Refuse => return self.refuse(notes),
                Mark::Steps(most) => return self.too_many_steps(notes, most),
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
        if is_heartbeat && !has_text {
            text = "[NO_UPDATES]".to_owned();
        } else if !has_text {
            let before = self.session.asked.last().map(|it| marks::message(it).to_owned());
            let desk = self.options.cwd.display().to_string();
            let turn = self.session.asked.len() + 1;
            let who = format!("**{}**, effort {}", self.options.model, self.options.effort);
            text = answer::plain(&message, &desk, &who, turn, before.as_deref(), files);
        }
        self.tell(notes, &text)?;
        if after == Some(Mark::CrashAfter) {
            self.die();
        }
        Ok(true)
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
