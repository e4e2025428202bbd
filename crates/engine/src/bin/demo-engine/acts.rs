//! What the demo engine can do in a turn: say something, use a pretend tool, ask, fail, die.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::pipe;
use crate::play::{Notes, Player, Stop};

impl Player {
    pub(crate) fn message_id(&mut self) -> String {
        self.messages += 1;
        format!("msg_demo{}_{}", std::process::id(), self.messages)
    }

    fn event(&mut self, event: Value) {
        self.say(json!({ "type": "stream_event", "event": event, "parent_tool_use_id": null }));
    }

    /// Streams words, without making them the truth.
    pub(crate) fn stream(&mut self, notes: &mut Notes, text: &str) -> Result<(), Stop> {
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
    pub(crate) fn tell(&mut self, notes: &mut Notes, text: &str) -> Result<(), Stop> {
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

    pub(crate) fn tool(&mut self, notes: &mut Notes, time: Duration) -> Result<String, Stop> {
        notes.text.clear();
        let input = json!({ "command": format!("sleep {}", time.as_secs_f32()), "description": "Pretend to work" });
        let id = self.tool_begins("Bash", &input);
        self.pause(time)?;
        self.tool_ends(&id, "pretend output", false);
        Ok(format!("I pretended to run `sleep {}`.", time.as_secs_f32()))
    }

    /// Works until somebody says something meanwhile, and reads it between two steps.
    pub(crate) fn attend(&mut self, notes: &mut Notes, time: Duration) -> Result<String, Stop> {
        notes.text.clear();
        let input = json!({ "command": "wait for words", "description": "Pretend to work" });
        let id = self.tool_begins("Bash", &input);
        let until = Instant::now() + time;
        while self.waiting.is_empty() && Instant::now() < until {
            self.listen(Some(until))?;
        }
        self.tool_ends(&id, "pretend output", false);
        let mut told = String::from("I waited.");
        while let Some(line) = self.waiting.pop_front() {
            let uuid = line["uuid"].as_str().unwrap_or_default().to_owned();
            let said = crate::words(&line).0;
            self.say(json!({ "type": "user", "message": line["message"], "uuid": uuid, "isReplay": true }));
            if self.session.is_new(&uuid) {
                self.session.heard(&uuid, &said);
                told.push_str(&format!(" You said meanwhile: {}", crate::marks::message(&said)));
            }
        }
        Ok(told)
    }

    pub(crate) fn spawn(&mut self, _notes: &mut Notes, time: Duration) -> String {
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

    /// Really runs a script, takes it away, and says how it ended: when the model that is played is at least `least`. A
    /// weaker one takes it away and does nothing.
    pub(crate) fn work(&mut self, least: &str, script: &str) -> String {
        const MODELS: [&str; 4] = ["haiku", "sonnet", "opus", "fable"];
        let rank = |name: &str| MODELS.iter().position(|it| name.contains(it));
        let is_enough = rank(&self.options.model) >= rank(least);
        let id = self.tool_begins("Bash", &json!({ "command": format!("sh {script}") }));
        #[expect(clippy::disallowed_methods, reason = "a tool that works is a program")]
        let ended = is_enough.then(|| std::process::Command::new("sh").arg(script).output());
        let told = match ended {
            None => format!("This is too hard for {}.", self.options.model),
            Some(Ok(it)) if it.status.success() => "Done.".to_owned(),
            Some(Ok(it)) => format!("`{script}` ended with {}.", it.status),
            Some(Err(err)) => format!("`{script}` did not start: {err}."),
        };
        let _ = std::fs::remove_file(script);
        self.tool_ends(&id, &told, !is_enough);
        told
    }

    /// Asks for a tool, as the CLI does: for commands it offers a rule, for changes of files another mode.
    pub(crate) fn ask(
        &mut self,
        notes: &mut Notes,
        tool: &str,
        input: &str,
    ) -> Result<String, Stop> {
        let Ok(input) = serde_json::from_str::<Value>(input) else {
            return Ok(format!("`{input}` is not JSON."));
        };
        let told = |input: &Value| match input["command"].as_str() {
            Some(command) => format!("run `{command}`"),
            None => format!("use {tool}"),
        };
        let id = self.tool_begins(tool, &input);
        let rule = format!("{tool} {input}");
        let is_free = match self.options.permission_mode.as_str() {
            "bypassPermissions" => true,
            "acceptEdits" => matches!(tool, "Edit" | "MultiEdit" | "Write"),
            _ => self.always.contains(&rule),
        };
        if is_free {
            self.tool_ends(&id, "pretend output", false);
            return Ok(format!("I did not have to ask before I pretended to {}.", told(&input)));
        }
        let suggestion = match &input["command"] {
            Value::String(command) => {
                json!({ "type": "addRules", "behavior": "allow", "destination": "localSettings",
                "rules": [{ "toolName": tool, "ruleContent": command }] })
            }
            _ => json!({ "type": "setMode", "mode": "acceptEdits", "destination": "session" }),
        };
        let answer = self.request(json!({
            "subtype": "can_use_tool", "tool_name": tool, "display_name": tool, "input": input,
            "permission_suggestions": [suggestion], "tool_use_id": id,
        }))?;
        let answer = &answer["response"];
        if answer["behavior"] == "allow" {
            let always = answer["updatedPermissions"].as_array().is_some_and(|it| !it.is_empty());
            if always {
                self.always.insert(rule);
            }
            self.tool_ends(&id, "pretend output", false);
            let how = if always { ", from now on" } else { "" };
            // What runs is what comes back, whatever was asked.
            let told = told(&answer["updatedInput"]);
            return Ok(format!("You allowed it{how}: I pretended to {told}."));
        }
        let why = answer["message"].as_str().unwrap_or("no").to_owned();
        self.tool_ends(&id, &why, true);
        notes.denials.push(json!({ "tool_name": tool, "tool_use_id": id, "tool_input": input }));
        Ok(format!("I was not allowed to {}: {why}", told(&input)))
    }

    /// Puts questions to a person, in every mode.
    pub(crate) fn choose(&mut self, notes: &mut Notes, input: &str) -> Result<String, Stop> {
        let tool = "AskUserQuestion";
        let input = serde_json::from_str::<Value>(input).unwrap_or_default();
        let id = self.tool_begins(tool, &input);
        let answer = self.request(json!({
            "subtype": "can_use_tool", "tool_name": tool, "display_name": tool, "input": input,
            "permission_suggestions": [], "requires_user_interaction": true, "tool_use_id": id,
        }))?;
        let answer = &answer["response"];
        if answer["behavior"] == "allow" {
            let chosen = answer["updatedInput"]["answers"].as_object().into_iter().flatten();
            let chosen =
                chosen.map(|(asked, it)| format!("{asked} {}.", it.as_str().unwrap_or("?")));
            let told = chosen.collect::<Vec<String>>().join(" ");
            self.tool_ends(&id, &told, false);
            return Ok(format!("You chose: {told}"));
        }
        let why = answer["message"].as_str().unwrap_or("no").to_owned();
        self.tool_ends(&id, &why, true);
        notes.denials.push(json!({ "tool_name": tool, "tool_use_id": id, "tool_input": input }));
        Ok(format!("I got no answer: {why}"))
    }

    /// Says what there is to do: `done: look | doing: write | test`.
    pub(crate) fn todo(&mut self, list: &str) -> String {
        let todos = list.split('|').map(str::trim).map(|it| {
            let (status, content) = match it.split_once(':') {
                Some(("done", rest)) => ("completed", rest),
                Some(("doing", rest)) => ("in_progress", rest),
                _ => ("pending", it),
            };
            json!({ "content": content.trim(), "status": status, "activeForm": content.trim() })
        });
        let input = json!({ "todos": todos.collect::<Vec<Value>>() });
        let id = self.tool_begins("TodoWrite", &input);
        self.tool_ends(&id, "Todos have been modified successfully.", false);
        "I wrote down what there is to do.".to_owned()
    }

    /// A helper works for a while, with a tool of its own.
    pub(crate) fn helper(
        &mut self,
        notes: &mut Notes,
        time: Duration,
        what: &str,
    ) -> Result<String, Stop> {
        notes.text.clear();
        let id = self.tool_begins("Task", &json!({ "description": what, "prompt": what }));
        let (model, message) = (self.model(), self.message_id());
        let (own, command) = (format!("{id}-own"), json!({ "command": format!("grep {what}") }));
        let block = json!({ "type": "tool_use", "id": own, "name": "Bash", "input": command });
        self.say(json!({ "type": "assistant", "parent_tool_use_id": id, "message": {
            "id": message, "role": "assistant", "model": model, "content": [block], "stop_reason": null } }));
        self.pause(time)?;
        self.say(json!({ "type": "user", "parent_tool_use_id": id, "message": { "role": "user",
            "content": [{ "type": "tool_result", "tool_use_id": own, "content": "found", "is_error": false }] } }));
        self.tool_ends(&id, "found", false);
        Ok(format!("My helper looked: {what}."))
    }

    /// Proposes a plan, where one was asked for.
    pub(crate) fn plan(&mut self, notes: &mut Notes, plan: &str) -> Result<String, Stop> {
        if self.options.permission_mode != "plan" {
            return Ok("Nobody asked me for a plan here.".to_owned());
        }
        let tool = "ExitPlanMode";
        let input = json!({ "plan": plan, "planFilePath": "plans/demo.md" });
        let id = self.tool_begins(tool, &input);
        let answer = self.request(json!({
            "subtype": "can_use_tool", "tool_name": tool, "display_name": tool, "input": input,
            "permission_suggestions": [], "requires_user_interaction": true, "tool_use_id": id,
        }))?;
        let answer = &answer["response"];
        if answer["behavior"] == "allow" {
            let mode = answer["updatedPermissions"][0]["mode"].as_str().unwrap_or("default");
            self.options.permission_mode = mode.to_owned();
            self.tool_ends(&id, "User has approved your plan.", false);
            return Ok(format!("You said go: I work in the mode {mode} now."));
        }
        let why = answer["message"].as_str().unwrap_or("no").to_owned();
        self.tool_ends(&id, &why, true);
        notes.denials.push(json!({ "tool_name": tool, "tool_use_id": id, "tool_input": input }));
        Ok(format!("I plan anew: {why}"))
    }

    pub(crate) fn call(
        &mut self,
        _notes: &mut Notes,
        tool: &str,
        input: &str,
    ) -> Result<String, Stop> {
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

    pub(crate) fn deaf(&mut self) -> ! {
        self.pipe.flush();
        // The listening thread never hears signals; now nobody does.
        let _ = pipe::signals().thread_block();
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }

    pub(crate) fn die(&mut self) -> ! {
        self.pipe.flush();
        let _ = kill(Pid::this(), Signal::SIGKILL);
        std::process::abort()
    }

    pub(crate) fn retry(
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

    pub(crate) fn fail(&mut self, notes: &mut Notes, how: &str) -> Result<bool, Stop> {
        let (status, error, text) = match how {
            "401" | "403" => {
                (Some(401), "authentication_failed", "Invalid API key · Please run /login")
            }
            "404" => (Some(404), "model_not_found", "There is an issue with the selected model"),
            "429" => (Some(429), "rate_limit", "API Error: Rate limited"),
            "400" => (Some(400), "invalid_request", "API Error: 400 bad request"),
            "413" => (Some(413), "invalid_request", "Prompt is too long"),
            "529" => (None, "server_error", "API Error: Repeated 529 Overloaded errors"),
            "json" => (
                None,
                "unknown",
                "API Error: API returned an empty or malformed response (HTTP 200)",
            ),
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

    pub(crate) fn limit(&mut self, notes: &mut Notes, seconds: u64) -> Result<bool, Stop> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let text = "You've hit your session limit · resets soon (demo)";
        self.say(json!({ "type": "rate_limit_event", "rate_limit_info": {
            "status": "rejected", "resetsAt": now + seconds, "rateLimitType": "five_hour", "utilization": 1.0 } }));
        self.synthetic("rate_limit", text);
        self.failed(notes, "success", json!(429), text, "completed");
        Ok(false)
    }

    /// The plan's windows, as they are told with an answer.
    pub(crate) fn plan_used(&mut self, share: f64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let status = if share < 0.8 { "allowed" } else { "allowed_warning" };
        let (soon, later) = (now + 2 * 3_600, now + 4 * 86_400);
        self.say(json!({ "type": "rate_limit_event", "rate_limit_info": {
            "status": status, "resetsAt": soon, "rateLimitType": "five_hour", "utilization": share,
            "unifiedWindows": { "five_hour": { "utilization": share, "resetsAt": soon },
                "seven_day": { "utilization": share / 2.0, "resetsAt": later } } } }));
    }

    pub(crate) fn refuse(&mut self, notes: &mut Notes) -> Result<bool, Stop> {
        let text = "The demo's pretend model declines to answer this.";
        let mut line = self.result_line(notes, "success", true, text);
        line["stop_reason"] = json!("refusal");
        self.say(line);
        Ok(false)
    }

    pub(crate) fn too_many_steps(&mut self, notes: &mut Notes, most: u64) -> Result<bool, Stop> {
        self.tell(notes, "I got this far.")?;
        let mut line = self.result_line(notes, "error_max_turns", true, "");
        line["errors"] = json!([format!("Reached maximum number of turns ({most})")]);
        line["num_turns"] = json!(most);
        self.say(line);
        Ok(false)
    }

    fn synthetic(&mut self, error: &str, text: &str) {
        self.say(json!({ "type": "assistant", "error": error, "parent_tool_use_id": null,
            "message": { "role": "assistant", "model": "<synthetic>",
                "content": [{ "type": "text", "text": text }] } }));
    }

    pub(crate) fn failed(
        &mut self,
        notes: &Notes,
        subtype: &str,
        status: Value,
        text: &str,
        reason: &str,
    ) {
        let mut line = self.result_line(notes, subtype, true, text);
        line["api_error_status"] = status;
        line["terminal_reason"] = json!(reason);
        if subtype == "error_during_execution" {
            line["errors"] = json!(["[ede_diagnostic] the demo was interrupted"]);
        }
        self.say(line);
    }

    pub(crate) fn result(&mut self, notes: &Notes) {
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
        let since = match (out, notes.cost_usd) {
            (0, cost) if cost <= 0.0 => json!({}),
            (out, cost) => json!({ self.model(): { "outputTokens": out, "costUSD": cost } }),
        };
        json!({
            "type": "result", "subtype": subtype, "is_error": is_error, "api_error_status": null,
            "duration_ms": ms, "duration_api_ms": ms, "ttft_ms": 1, "num_turns": 1, "result": text,
            "stop_reason": if is_error { Value::Null } else { json!("end_turn") },
            "total_cost_usd": self.cost_usd,
            "usage": { "input_tokens": notes.tokens_in / 4, "output_tokens": out,
                "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0 },
            "modelUsage": models, "model_usage_since_last_result": since, "permission_denials": notes.denials, "terminal_reason": "completed",
        })
    }
}
