//! Claude, played within the test: speaks the CLI's protocol over a pipe, and does what the test wrote for each message.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tinyclaw_engine::{
    EngineConfig, Exit, LaunchFuture, LaunchSpec, Launcher, Leash, LeashHand, LeashOrder, Leashed,
    LocalLauncher, Look, transcript_path,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines};
use tokio::sync::watch;

/// One thing that Claude does in a turn. A turn without an end of its own is answered with what was said last.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Say(&'static str),
    /// Tells how its MCP servers are, as it does when a turn begins.
    Servers(&'static [(&'static str, &'static str)]),
    /// Costs so many dollars.
    Cost(f64),
    /// Begins a tool that never ends.
    Tool(&'static str),
    /// A tool that fails.
    FailingTool(&'static str),
    /// Waits until another model is to go on.
    OtherModel,
    /// Asks whether it may run a command, and says what came of it.
    Ask(&'static str),
    /// Puts questions to a person, and says what they answered.
    Choose(Value),
    /// Calls one of TinyClaw's own tools, and says what it answered.
    Call(&'static str, Value),
    /// Waits until the test lets it go on, or the turn is stopped.
    Hold,
    /// The turn fails: its `result` line, and the class of its error.
    Fail(Value, Option<&'static str>),
    /// Tells that so much of the plan's five hours is used, until then (seconds since 1970).
    Plan(f64, u64),
    /// The plan says no until then (seconds since 1970).
    Limit(u64),
    /// Says something that ends the turn in its transcript, whatever comes after.
    Finish(&'static str),
    /// The process dies.
    Die,
}

/// A failure with this HTTP status.
pub(crate) fn fails(status: u16, error: &'static str, text: &str) -> Vec<Step> {
    vec![Step::Fail(json!({ "api_error_status": status, "result": text }), Some(error))]
}

/// The API answers nobody.
pub(crate) fn overloaded() -> Vec<Step> {
    fails(529, "server_error", "API Error: 529 Overloaded")
}

/// What Claude was given.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    pub(crate) thread: String,
    pub(crate) text: String,
    pub(crate) model: String,
    pub(crate) uuid: String,
    pub(crate) session: String,
}

#[derive(Debug, Default)]
struct Script {
    /// What is done for the message of these words, time after time.
    turns: HashMap<&'static str, VecDeque<Vec<Step>>>,
    prompts: Vec<Prompt>,
    /// How many processes were started.
    starts: usize,
    /// What the last one was started with: its command line and its environment.
    started_with: (Vec<String>, BTreeMap<String, String>),
    /// What it says of its plan when it is asked.
    plan: Value,
}

/// Every Claude of an office.
#[derive(Debug, Clone)]
pub(crate) struct Claude {
    /// Their machine is this one.
    here: LocalLauncher,
    script: Arc<Mutex<Script>>,
    /// How many holds were let go.
    released: watch::Sender<usize>,
}

impl Claude {
    /// Claudes of an engine that is told so.
    pub(crate) fn new(config: &EngineConfig) -> Claude {
        let here = LocalLauncher::of(config);
        Claude { here, script: Arc::default(), released: watch::Sender::new(0) }
    }

    /// When a message with these words comes: does the first of these turns; the next time the next one. Afterwards,
    /// and for any other message, it says "Done."
    pub(crate) fn on(&self, words: &'static str, turns: impl IntoIterator<Item = Vec<Step>>) {
        self.script.lock().unwrap().turns.entry(words).or_default().extend(turns);
    }

    /// Lets all holds go that wait now, or will before the next call.
    pub(crate) fn release(&self) {
        self.released.send_modify(|it| *it += 1);
    }

    pub(crate) fn prompts(&self) -> Vec<Prompt> {
        self.script.lock().unwrap().prompts.clone()
    }

    /// The prompts of messages with these words.
    pub(crate) fn prompts_of(&self, words: &str) -> Vec<Prompt> {
        self.prompts().into_iter().filter(|it| said_in(it).contains(words)).collect()
    }

    /// What it says of its plan from now on when it is asked.
    pub(crate) fn has_plan(&self, limits: Value) {
        self.script.lock().unwrap().plan = limits;
    }

    pub(crate) fn starts(&self) -> usize {
        self.script.lock().unwrap().starts
    }

    /// The command line and the environment of the process that was started last.
    pub(crate) fn started_with(&self) -> (Vec<String>, BTreeMap<String, String>) {
        self.script.lock().unwrap().started_with.clone()
    }

    /// Notes a prompt, and tells what to do about it.
    fn hear(&self, prompt: Prompt) -> Vec<Step> {
        let mut script = self.script.lock().unwrap();
        let said = said_in(&prompt).to_owned();
        script.prompts.push(prompt);
        let turns = script.turns.iter_mut().find(|it| said.contains(it.0));
        turns.and_then(|it| it.1.pop_front()).unwrap_or_else(|| vec![Step::Say("Done.")])
    }
}

/// The message in a prompt, behind what stands around it.
fn said_in(prompt: &Prompt) -> &str {
    match prompt.thread.starts_with("sum-") {
        true => "summary",
        false => prompt.text.rsplit("]: ").next().unwrap_or_default(),
    }
}

impl Launcher for Claude {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        let (stdin, heard) = tokio::io::duplex(64 * 1024);
        let (says, stdout) = tokio::io::duplex(64 * 1024);
        let (held, leash) = Leash::pair();
        let after = |name: &str| {
            let found = spec.args.iter().find_map(|it| it.strip_prefix(name));
            found.and_then(|it| it.strip_prefix('=')).map(str::to_owned)
        };
        let session = after("--resume").or_else(|| after("--session-id")).unwrap_or_default();
        let claude_dir = PathBuf::from(&spec.env["CLAUDE_CONFIG_DIR"]);
        let transcript = match session.parse() {
            Ok(session) => transcript_path(&claude_dir, &spec.cwd, &session),
            Err(_) => PathBuf::from("/dev/null"),
        };
        let process = Process {
            transcript,
            claude: self.clone(),
            released: self.released.subscribe(),
            thread: spec.thread.to_string(),
            model: after("--model").unwrap_or_default(),
            session,
            heard: BufReader::new(heard).lines(),
            says,
            leash,
            requests: 0,
            cost: 0.0,
        };
        let mut script = self.script.lock().unwrap();
        script.starts += 1;
        script.started_with = (spec.args, spec.env);
        drop(script);
        tokio::spawn(process.live());
        let leashed = Leashed {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(tokio::io::empty()),
            leash: held,
        };
        Box::pin(async { Ok(leashed) })
    }

    fn look(&self) -> &dyn Look {
        &self.here
    }
}

/// Why a turn was not played to its end.
enum Stop {
    Interrupted,
    Gone,
}

struct Process {
    transcript: PathBuf,
    claude: Claude,
    released: watch::Receiver<usize>,
    thread: String,
    session: String,
    model: String,
    heard: Lines<BufReader<DuplexStream>>,
    says: DuplexStream,
    leash: LeashHand,
    requests: u32,
    cost: f64,
}

impl Process {
    async fn live(mut self) {
        while let Ok(line) = self.hear().await {
            if line["type"] == "user" && self.turn(&line).await.is_err() {
                break;
            }
        }
        let _ = self.leash.exit.send(Ok(Exit { code: Some(137), signal: None }));
    }

    /// The next line that is no order; orders are obeyed.
    async fn hear(&mut self) -> Result<Value, Stop> {
        loop {
            let line = tokio::select! {
                line = self.heard.next_line() => line.ok().flatten().ok_or(Stop::Gone)?,
                order = self.leash.orders.recv() => match order {
                    Some(LeashOrder::Interrupt) => return Err(Stop::Interrupted),
                    Some(LeashOrder::End | LeashOrder::Leave) | None => return Err(Stop::Gone),
                },
            };
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["type"] != "control_request" {
                return Ok(line);
            }
            self.obey(&line).await?;
        }
    }

    async fn obey(&mut self, line: &Value) -> Result<(), Stop> {
        let request = &line["request"];
        if let Some(model) = request["model"].as_str() {
            self.model = model.to_owned();
        }
        let reply = match request["subtype"] == "get_usage" {
            true => json!({ "rate_limits": self.claude.script.lock().unwrap().plan }),
            false => json!({}),
        };
        let response =
            json!({ "subtype": "success", "request_id": line["request_id"], "response": reply });
        self.say(json!({ "type": "control_response", "response": response })).await;
        match request["subtype"] == "interrupt" {
            true => Err(Stop::Interrupted),
            false => Ok(()),
        }
    }

    async fn say(&mut self, line: Value) {
        // Nobody listens any more: then the next look at the pipe says so.
        let _ = self.says.write_all(format!("{line}\n").as_bytes()).await;
    }

    async fn turn(&mut self, line: &Value) -> Result<(), Stop> {
        let content = &line["message"]["content"];
        let blocks = content.as_array().into_iter().flatten();
        let text = match content.as_str() {
            Some(text) => text.to_owned(),
            None => blocks.filter_map(|it| it["text"].as_str()).collect(),
        };
        self.released.mark_unchanged();
        let steps = self.claude.hear(Prompt {
            thread: self.thread.clone(),
            session: self.session.clone(),
            model: self.model.clone(),
            uuid: line["uuid"].as_str().unwrap_or_default().to_owned(),
            text,
        });
        self.remember(json!({ "type": "user", "uuid": line["uuid"], "message": line["message"] }));
        self.say(json!({ "type": "user", "isReplay": true, "uuid": line["uuid"] })).await;
        let mut result = json!({ "is_error": false, "stop_reason": "end_turn" });
        for step in steps {
            match self.play(step, &mut result).await {
                Ok(()) => {}
                Err(Stop::Gone) => return Err(Stop::Gone),
                Err(Stop::Interrupted) => {
                    result["is_error"] = json!(true);
                    result["subtype"] = json!("error_during_execution");
                    result["terminal_reason"] = json!("aborted_streaming");
                    break;
                }
            }
        }
        let cost = result["total_cost_usd"].as_f64().unwrap_or(0.0);
        self.cost += cost;
        let mut line = json!({ "type": "result", "subtype": "success", "num_turns": 1,
            "modelUsage": {}, "model_usage_since_last_result": {
                self.model.clone(): { "outputTokens": 1, "costUSD": cost } } });
        for (name, value) in result.as_object().unwrap() {
            line[name] = value.clone();
        }
        line["total_cost_usd"] = json!(self.cost);
        self.say(line).await;
        self.idle().await
    }

    /// Adds a line to its transcript.
    fn remember(&self, line: Value) {
        std::fs::create_dir_all(self.transcript.parent().unwrap()).unwrap();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.transcript);
        writeln!(file.unwrap(), "{line}").unwrap();
    }

    async fn idle(&mut self) -> Result<(), Stop> {
        let idle = json!({ "type": "system", "subtype": "session_state_changed", "state": "idle" });
        self.say(idle).await;
        Ok(())
    }

    async fn play(&mut self, step: Step, result: &mut Value) -> Result<(), Stop> {
        match step {
            Step::Say(text) => self.tell(text, result).await,
            Step::Servers(found) => {
                let server =
                    |(name, status): &(&str, &str)| json!({ "name": name, "status": status });
                let found: Vec<Value> = found.iter().map(server).collect();
                self.say(json!({ "type": "system", "subtype": "init", "mcp_servers": found }))
                    .await;
            }
            Step::Cost(dollars) => result["total_cost_usd"] = json!(dollars),
            Step::Tool(name) => {
                self.begin_tool(name, json!({ "command": "x" })).await;
            }
            Step::FailingTool(name) => {
                let id = self.begin_tool(name, json!({ "command": "x" })).await;
                self.say(json!({ "type": "user", "parent_tool_use_id": null, "message": {
                    "role": "user", "content": [{ "type": "tool_result", "tool_use_id": id,
                        "content": "no such thing", "is_error": true }] } }))
                    .await;
            }
            Step::OtherModel => {
                let before = self.model.clone();
                while self.model == before {
                    let line = self.heard.next_line().await.ok().flatten().ok_or(Stop::Gone)?;
                    let line = serde_json::from_str(&line).unwrap();
                    self.obey(&line).await?;
                }
            }
            Step::Ask(command) => {
                let input = json!({ "command": command });
                let rule = json!([{ "type": "addRules", "behavior": "allow", "destination": "session",
                    "rules": [{ "toolName": "Bash", "ruleContent": command }] }]);
                let answer = self
                    .request(
                        json!({ "subtype": "can_use_tool", "tool_name": "Bash", "input": input,
                        "permission_suggestions": rule }),
                    )
                    .await?;
                let always = answer["response"]["updatedPermissions"].is_array();
                let said = match answer["response"]["behavior"].as_str() {
                    Some("allow") if always => "It was allowed for good.",
                    Some("allow") => "It was allowed.",
                    _ => "It was denied.",
                };
                self.tell(said, result).await;
            }
            Step::Choose(questions) => {
                let input = json!({ "questions": questions });
                let request = json!({ "subtype": "can_use_tool", "tool_name": "AskUserQuestion", "input": input });
                let answer = self.request(request).await?;
                let answers = &answer["response"]["updatedInput"]["answers"];
                let said = match answers.as_object() {
                    Some(answers) => json!(answers).to_string(),
                    None => answer["response"]["message"].to_string(),
                };
                self.tell(&said, result).await;
            }
            Step::Call(tool, input) => {
                let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                    "params": { "name": tool, "arguments": input } });
                let request = json!({ "subtype": "mcp_message", "server_name": "tinyclaw",
                    "message": message });
                let answer = self.request(request).await?;
                let content = &answer["response"]["mcp_response"]["result"]["content"];
                let said = content[0]["text"].as_str().unwrap_or("nothing").to_owned();
                self.tell(&said, result).await;
            }
            Step::Hold => {
                // Also when it came between the prompt, which tests wait for, and this step.
                let mut released = self.released.clone();
                loop {
                    tokio::select! {
                        _ = released.changed() => break,
                        line = self.hear() => {
                            let line = line?;
                            // Words for the running turn.
                            self.remember(json!({ "type": "attachment", "attachment": { "source_uuid": line["uuid"] } }));
                            self.say(json!({ "type": "user", "isReplay": true, "uuid": line["uuid"] })).await;
                            let text = line["message"]["content"].as_str().unwrap_or_default().to_owned();
                            let text = text.rsplit("]: ").next().unwrap_or_default().to_owned();
                            self.tell(&format!("Heard: {text}"), result).await;
                        }
                    }
                }
                self.released = released;
            }
            Step::Fail(of, error) => {
                if let Some(error) = error {
                    self.say(
                        json!({ "type": "assistant", "error": error, "parent_tool_use_id": null,
                        "message": { "role": "assistant", "model": "<synthetic>",
                            "content": [{ "type": "text", "text": of["result"] }] } }),
                    )
                    .await;
                }
                for (name, value) in of.as_object().unwrap() {
                    result[name] = value.clone();
                }
                result["is_error"] = json!(true);
            }
            Step::Plan(used, until) => {
                self.say(json!({ "type": "rate_limit_event", "rate_limit_info": {
                    "status": "allowed", "resetsAt": until, "rateLimitType": "five_hour", "unifiedWindows": {
                        "five_hour": { "utilization": used, "resetsAt": until },
                        "seven_day": { "utilization": 0.12, "resetsAt": until + 100_000 } } } }))
                    .await;
            }
            Step::Limit(until) => {
                self.say(json!({ "type": "rate_limit_event", "rate_limit_info": {
                    "status": "rejected", "resetsAt": until, "rateLimitType": "five_hour" } }))
                    .await;
                result["is_error"] = json!(true);
                result["api_error_status"] = json!(429);
            }
            Step::Finish(text) => {
                let message = json!({ "id": "last", "model": self.model, "stop_reason": "end_turn",
                    "content": [{ "type": "text", "text": text }] });
                self.remember(json!({ "type": "assistant", "message": message }));
            }
            Step::Die => return Err(Stop::Gone),
        }
        Ok(())
    }

    async fn tell(&mut self, text: &str, result: &mut Value) {
        result["result"] = json!(text);
        self.assistant(json!({ "type": "text", "text": text })).await;
    }

    async fn begin_tool(&mut self, name: &str, input: Value) -> String {
        self.requests += 1;
        let id = format!("toolu_{}", self.requests);
        self.assistant(json!({ "type": "tool_use", "id": id, "name": name, "input": input })).await;
        id
    }

    async fn assistant(&mut self, block: Value) {
        let model = self.model.clone();
        self.requests += 1;
        let id = format!("msg_{}", self.requests);
        self.say(json!({ "type": "assistant", "parent_tool_use_id": null, "message": {
            "id": id, "role": "assistant", "model": model, "content": [block], "stop_reason": null } }))
            .await;
    }

    /// Asks the host something, and waits for the answer.
    async fn request(&mut self, request: Value) -> Result<Value, Stop> {
        self.requests += 1;
        let id = format!("r-{}", self.requests);
        self.say(json!({ "type": "control_request", "request_id": id, "request": request })).await;
        loop {
            match self.hear().await {
                Ok(line) if line["response"]["request_id"] == *id => {
                    return Ok(line["response"].clone());
                }
                Ok(_) => {}
                Err(stop) => {
                    self.say(json!({ "type": "control_cancel_request", "request_id": id })).await;
                    return Err(stop);
                }
            }
        }
    }
}
