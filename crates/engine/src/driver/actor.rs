//! The task behind a driver: what it hears from Claude, from the engine and from a turn's caller, and what it does then.
//!
//! It decides nothing about time; see `ladder`. What a turn amounts to is `running`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tinyclaw_domain::approval::{ASKS_PERSON, PLANS, choices};
use tinyclaw_domain::{Effort, PermissionAnswer, PermissionMode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::away::Away;
use super::background::{Aside, Task};
use super::diary::Diary;
use super::ladder::{self, Alarm};
use super::pipes::{self, Pen, Tail};
use super::running::{self, Running, Why};
use super::servers::Reconnecting;
use super::{Order, Setup, Signs, stranger};
use crate::config::Mode;
use crate::failure::TurnFailure;
use crate::launch::{Exit, Leash, LeashOrder, Leashed};
use crate::look::OutOfReach;
use crate::skill::SkillSource;
use crate::turn::{Control, McpAnswer, McpState, RateWindow, Skill, TurnEvent, TurnOutcome};
use crate::wire::{HostRequest, Line, ResultLine, out};

/// One process at work.
pub(super) struct Actor {
    pub(super) setup: Setup,
    pub(super) lines: mpsc::Receiver<(Line, u64)>,
    /// Where the last line that was heard ends in Claude's output.
    pub(super) heard: u64,
    pub(super) pen: Pen,
    pub(super) stderr: Tail,
    pub(super) leash: Leash,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) answers_to: mpsc::UnboundedSender<McpAnswer>,
    pub(super) answers: mpsc::UnboundedReceiver<McpAnswer>,
    pub(super) started: Instant,
    pub(super) is_ready: bool,
    /// The model the process is set to.
    pub(super) model: String,
    pub(super) effort: Effort,
    /// Whose skills are not Claude Code's own, as it said at its start.
    pub(super) skills: BTreeMap<String, SkillSource>,
    pub(super) requests: u64,
    pub(super) turn: Option<Running>,
    pub(super) aside: Option<Aside>,
    /// What runs on in the background.
    pub(super) tasks: BTreeMap<String, Task>,
    /// The background task that ended last, by its description.
    pub(super) task_ended: Option<String>,
    pub(super) signs: Arc<Signs>,
    /// When patience with a closing process ends.
    pub(super) close_at: Option<Instant>,
    pub(super) hears_orders: bool,
    pub(super) is_leaving: bool,
    /// Another process goes on with the turn; told when this one has let go.
    pub(super) left: Option<oneshot::Sender<()>>,
    pub(super) is_first: bool,
    pub(super) cost_seen: f64,
    pub(super) output_seen: BTreeMap<String, u64>,
    pub(super) diary: Diary,
    pub(super) reconnecting: Option<Reconnecting>,
    /// Who waits to hear how far the plan is used.
    pub(super) plan_windows: Option<oneshot::Sender<Vec<RateWindow>>>,
    pub(super) away: Away,
    /// Whether it runs on a machine that is not ours.
    pub(super) is_stranger: bool,
}

const INITIALIZE: &str = "initialize";
/// The name of the office's plugin, which is that of its folder (`StateDir::office`).
const OFFICE: &str = "office";

impl Actor {
    pub(super) fn new(
        mut leashed: Leashed,
        setup: Setup,
        orders: mpsc::UnboundedReceiver<Order>,
        signs: Arc<Signs>,
    ) -> Actor {
        let (answers_to, answers) = mpsc::unbounded_channel();
        let (diary, heard, written) = Diary::of(&mut leashed.leash);
        let away = Away::of(leashed.leash.take_link());
        let is_stranger = leashed.leash.is_stranger();
        let line_max = if is_stranger { stranger::LINE_BYTES_MAX } else { pipes::LINE_BYTES_MAX };
        Actor {
            lines: pipes::read(leashed.stdout, heard, line_max),
            heard,
            pen: Pen::new(leashed.stdin, written),
            stderr: pipes::tail(leashed.stderr),
            leash: leashed.leash,
            orders,
            answers_to,
            answers,
            started: Instant::now(),
            is_ready: false,
            model: setup.model.clone(),
            effort: setup.effort,
            skills: BTreeMap::new(),
            requests: 0,
            turn: None,
            aside: None,
            tasks: BTreeMap::new(),
            task_ended: None,
            signs,
            close_at: None,
            hears_orders: true,
            is_leaving: false,
            left: None,
            is_first: true,
            cost_seen: 0.0,
            output_seen: BTreeMap::new(),
            diary,
            reconnecting: None,
            plan_windows: None,
            away,
            is_stranger,
            setup,
        }
    }

    /// Says hello, and what our tools are.
    pub(super) fn introduce(&mut self) {
        let with_tools = !self.setup.tools.is_empty();
        self.pen.write(&out::initialize(INITIALIZE, &self.setup.system_prompt, with_tools));
    }

    /// Works until the process is gone.
    pub(super) async fn run(mut self) {
        let exit = loop {
            let alarm = self.alarm();
            tokio::select! {
                line = self.lines.recv() => match line {
                    Some((line, end)) => self.on_line(line, end),
                    None => break self.fetch_exit().await,
                },
                exit = self.leash.ended() => {
                    // What it said last may still be on its way.
                    while let Ok(Some((line, end))) = timeout(Duration::from_secs(1), self.lines.recv()).await {
                        self.on_line(line, end);
                    }
                    break exit;
                }
                Some(answer) = self.answers.recv() => self.on_mcp_answer(&answer),
                heard = running::heard(&mut self.turn) => self.on_control(heard),
                order = self.orders.recv(), if self.hears_orders => self.on_order(order),
                () = self.away.changed() => self.on_link(),
                () = sleep_until(alarm.at) => self.on_alarm(alarm.what),
            }
        };
        self.on_exit(exit);
    }

    /// Claude has closed its stdout: it leaves, or is made to.
    async fn fetch_exit(&mut self) -> Result<Exit, OutOfReach> {
        self.pen.close();
        if let Ok(exit) = timeout(self.setup.times.close, self.leash.ended()).await {
            return exit;
        }
        self.leash.order(LeashOrder::End);
        self.leash.ended().await
    }

    fn on_order(&mut self, order: Option<Order>) {
        match order {
            // On its way out; another process can have this one.
            Some(Order::Turn(order)) if self.turn.is_some() || self.close_at.is_some() => {
                order.give_back();
            }
            Some(Order::Turn(order)) => {
                self.turn = Some(Running::new(order, self.setup.times.turn, self.is_ready));
                self.send_prompt();
            }
            Some(Order::Close { at_once: true }) => {
                if let Some(turn) = &mut self.turn {
                    turn.stop(Why::Closing, ladder::Step::Ended);
                }
                self.close();
                self.leash.order(LeashOrder::End);
            }
            Some(Order::Close { at_once: false }) => self.leave(),
            Some(Order::Reconnect(done)) => self.reconnect(done),
            Some(Order::PlanWindows(done)) => self.ask_plan_windows(done),
            Some(Order::Leave(done)) => {
                if self.turn_can_be_left() {
                    self.left = Some(done);
                    self.leash.order(LeashOrder::Leave);
                }
            }
            None => {
                self.hears_orders = false;
                self.leave();
            }
        }
    }

    /// Closes now, or when the turn in flight is over.
    fn leave(&mut self) {
        self.is_leaving = true;
        if self.turn.is_none() {
            self.close();
        }
    }

    pub(super) fn close(&mut self) {
        self.pen.close();
        if self.close_at.is_none() {
            self.close_at = Some(Instant::now() + self.setup.times.close);
        }
    }

    /// Sends the waiting prompt, unless the process is not ready or busy with something of its own.
    pub(super) fn send_prompt(&mut self) {
        if !self.is_ready || self.aside.is_some() {
            return;
        }
        let Some(turn) = self.turn.as_mut().filter(|it| it.sent.is_none()) else { return };
        let model = turn.order.model.clone();
        let effort = turn.order.effort;
        self.use_model(&model);
        self.use_effort(effort);
        let Some(turn) = self.turn.as_mut() else { return };
        let resumed = self.setup.resumed || !self.is_first;
        let warm = !self.is_first;
        turn.tell(TurnEvent::SessionReady { resumed, warm });
        turn.resumed = resumed;
        self.is_first = false;
        let mut line = out::user(&turn.order.uuid, turn.order.content.take());
        let uuid = turn.order.uuid.clone();
        let bytes = pipes::encode(&line);
        self.note_prompt(uuid, resumed, bytes.len());
        self.pen.write_encoded(bytes);
        let Some(turn) = self.turn.as_mut() else { return };
        // Kept for another process, in case that this one is dead already.
        turn.order.content = line["message"]["content"].take();
        turn.has_sent();
        self.tell_running();
    }

    fn use_model(&mut self, model: &str) {
        if model != self.model {
            self.model = model.to_owned();
            self.requests += 1;
            self.note_model();
            self.pen.write(&out::set_model(&format!("model-{}", self.requests), model));
        }
    }

    fn use_effort(&mut self, effort: Effort) {
        if effort != self.effort {
            self.effort = effort;
            self.requests += 1;
            self.note_model();
            self.pen.write(&out::set_effort(&format!("effort-{}", self.requests), effort));
        }
    }

    fn on_line(&mut self, line: Line, end: u64) {
        let bytes = end.saturating_sub(self.heard);
        self.heard = end;
        if self.is_too_much(&line, bytes) {
            return;
        }
        if let Some(turn) = &mut self.turn {
            turn.last_line = Instant::now();
        }
        match line {
            Line::Init { version, model, mcp, skills } => {
                self.on_init(version, model, mcp, skills);
            }
            Line::Alive => self.with_turn(Running::has_begun),
            Line::Ignored => {}
            Line::State { idle } => self.on_state(idle),
            Line::Task { id, name, tool, is_running } => self.on_task(id, name, tool, is_running),
            Line::Stream(event) => self.on_stream(event),
            Line::Assistant { parent, model, error, blocks } => {
                self.on_assistant(parent, model, error, blocks);
            }
            Line::ToolResults { nested: _, results } => {
                self.with_turn(|turn| turn.tool_results(results));
                self.tell_running();
            }
            Line::Replay { uuid } => self.with_turn(|turn| turn.replayed(uuid.as_deref())),
            Line::ApiRetry { attempt, attempts_max, delay_ms, status, error } => {
                self.on_retry(attempt, attempts_max, delay_ms, status, error.as_deref());
            }
            Line::RateLimit { status, resets_at, windows } => {
                self.with_turn(|turn| turn.rate_limit(&status, resets_at, windows));
            }
            Line::ModelFallback { to } => {
                self.with_turn(|turn| turn.tell(TurnEvent::ModelFallback { to }));
            }
            Line::Result(result) => self.on_result(&result),
            Line::Request { id, request } => self.on_request(id, request),
            Line::Cancel { id } => self.with_turn(|turn| turn.ask_closed(&id, false)),
            Line::Response { id, error, skills, servers, windows } => {
                if id == INITIALIZE {
                    self.skills = skills;
                }
                self.on_plan_windows(&id, windows);
                if !self.on_servers_response(&id, servers) {
                    self.on_response(&id, error);
                }
            }
            Line::Unknown(kind) => self.setup.shared.saw_unknown(&kind),
            Line::Garbage => self.setup.shared.saw_unknown("not JSON"),
        }
    }

    /// Whether Claude has nothing of ours to work on; what it says now is its own idea.
    pub(super) fn is_unasked(&self) -> bool {
        self.turn.as_ref().is_none_or(|it| it.sent.is_none())
    }

    pub(super) fn with_turn(&mut self, work: impl FnOnce(&mut Running)) {
        if let Some(turn) = self.turn.as_mut().filter(|it| it.sent.is_some()) {
            work(turn);
        }
    }

    fn on_init(
        &mut self,
        version: Option<String>,
        model: Option<String>,
        mcp: Vec<McpState>,
        skills: Vec<String>,
    ) {
        if let Some(version) = version {
            self.setup.shared.saw_version(version);
        }
        if self.is_unasked() {
            self.aside.get_or_insert_default();
        }
        let skills = skills.into_iter().map(|name| Skill { from: self.source_of(&name), name });
        let skills = skills.collect();
        self.with_turn(|turn| {
            turn.has_begun();
            turn.model = model;
            turn.tell(TurnEvent::Skills(skills));
        });
        self.on_servers(mcp);
    }

    /// Where a skill is from. One of a plugin has the plugin's name in front; the office's plugin has the folder's, and any
    /// other one can only be the repository's.
    fn source_of(&self, name: &str) -> SkillSource {
        match name.split_once(':') {
            Some((OFFICE, _)) => SkillSource::Office,
            Some(_) => SkillSource::Repository,
            None => self.skills.get(name).copied().unwrap_or(SkillSource::Claude),
        }
    }

    fn on_state(&mut self, idle: bool) {
        match (idle, self.is_unasked()) {
            (false, true) => {
                self.aside.get_or_insert_default();
            }
            (false, false) => self.with_turn(Running::has_begun),
            // Done with something of its own, and nothing to say about it.
            (true, _) if self.aside.take().is_some() => self.send_prompt(),
            (true, _) => {}
        }
    }

    fn on_response(&mut self, id: &str, error: Option<String>) {
        match (id, error) {
            (INITIALIZE, None) => {
                self.is_ready = true;
                self.send_prompt();
            }
            (INITIALIZE, Some(error)) => {
                tracing::warn!(thread.id = %self.setup.thread, error, "claude refuses to be driven");
                self.leash.order(LeashOrder::End);
            }
            // Answers of ours come back as an echo; only a refusal of what we asked is news.
            (_, Some(error)) if id.starts_with("model-") => {
                tracing::warn!(thread.id = %self.setup.thread, error, "claude does not change its model");
            }
            (_, Some(error)) if id.starts_with("effort-") => {
                tracing::warn!(thread.id = %self.setup.thread, error, "claude does not change how hard it thinks");
            }
            _ => {}
        }
    }

    fn on_request(&mut self, id: String, request: HostRequest) {
        if self.diary.has_answered(&id) {
            return;
        }
        match request {
            HostRequest::CanUseTool { tool, input, suggestions } => {
                if tool == ASKS_PERSON
                    && let Err(why) = choices(&input)
                {
                    // Whoever asked can ask in another way; a person could not answer.
                    let why =
                        format!("These questions cannot be shown: {why}. Ask in another way.");
                    return self.respond(&id, &out::denial(&id, &why));
                }
                let turn = self.turn.as_mut().filter(|it| it.sent.is_some());
                let known = turn.as_ref().is_some_and(|it| it.asks.contains_key(&id));
                let is_open = turn.is_some_and(|it| it.ask(id.clone(), tool, input, &suggestions));
                if known {
                    tracing::warn!(thread.id = %self.setup.thread, "a question changed while it was open: denied");
                    self.with_turn(|turn| turn.ask_closed(&id, false));
                }
                if !is_open {
                    // Nobody is there to ask when Claude does something by itself.
                    self.respond(&id, &out::denial(&id, out::ASK_UNANSWERED));
                }
            }
            HostRequest::Mcp { message } => match out::mcp_reply(&message, &self.setup.tools) {
                Some(reply) => self.mcp(&id, reply),
                None => self.on_mcp_call(id, message),
            },
            HostRequest::BeforeTool { input } => {
                self.respond(&id, &out::helper_within_the_turn(&id, &input));
            }
            HostRequest::Other(subtype) => {
                self.respond(&id, &out::error(&id, &format!("unsupported request: {subtype}")));
            }
        }
    }

    fn mcp(&mut self, id: &str, reply: Value) {
        self.respond(id, &out::success(id, serde_json::json!({ "mcp_response": reply })));
    }

    fn on_mcp_call(&mut self, request_id: String, message: Value) {
        let to = self.answers_to.clone();
        let tool = message.pointer("/params/name").and_then(Value::as_str).unwrap_or_default();
        let tool = tool.to_owned();
        let input = message.pointer("/params/arguments").cloned().unwrap_or(Value::Null);
        let responder = crate::turn::McpResponder { to, request_id, message, is_answered: false };
        // Without a turn the responder is dropped, which answers that the tool is not there.
        self.with_turn(|turn| turn.tell(TurnEvent::McpCall { tool, input, responder }));
    }

    fn on_mcp_answer(&mut self, answer: &McpAnswer) {
        let reply = out::mcp_called(&answer.message, &answer.answer);
        self.mcp(&answer.request_id, reply);
    }

    fn on_control(&mut self, control: Option<Control>) {
        match control {
            // Nobody listens any more: a turn without an audience is stopped like any other.
            None | Some(Control::Interrupt) => self.stop(Why::Asked),
            Some(Control::Answer { request_id, answer, note }) => {
                let Some(turn) = &mut self.turn else { return };
                let Some(ask) = turn.take_ask(&request_id) else { return };
                let note = note.as_deref().unwrap_or("The user said no.");
                let line = match (ask.tool.as_str(), answer) {
                    (PLANS, PermissionAnswer::Allow) => {
                        out::go_on(&request_id, &ask.input, PermissionMode::Ask)
                    }
                    (PLANS, PermissionAnswer::Always) => {
                        out::go_on(&request_id, &ask.input, PermissionMode::AcceptEdits)
                    }
                    _ => out::permission(&request_id, answer, &ask.input, &ask.always, note),
                };
                turn.tell(TurnEvent::AskClosed { request_id: request_id.clone(), expired: false });
                self.respond(&request_id, &line);
            }
            Some(Control::Steer { uuid, text }) => {
                if self.turn.as_mut().is_some_and(|it| it.takes_words(&uuid)) {
                    self.steer(&uuid, &out::user(&uuid, text.into()));
                }
            }
            Some(Control::Choose { request_id, answers }) => {
                let Some(turn) = &mut self.turn else { return };
                let is_it = |it: &running::OpenAsk| it.tool == ASKS_PERSON;
                if !turn.asks.get(&request_id).is_some_and(is_it) {
                    return;
                }
                let Some(ask) = turn.take_ask(&request_id) else { return };
                let line = out::chosen(&request_id, &ask.input, answers);
                turn.tell(TurnEvent::AskClosed { request_id: request_id.clone(), expired: false });
                self.respond(&request_id, &line);
            }
            Some(Control::Model(name, effort)) => {
                let Some(turn) = &mut self.turn else { return };
                // Another process would begin with them as well.
                turn.order.model.clone_from(&name);
                turn.order.effort = effort;
                if turn.sent.is_some() {
                    self.use_model(&name);
                    self.use_effort(effort);
                }
            }
        }
    }

    fn on_result(&mut self, result: &ResultLine) {
        let bill = self.bill(result);
        if let Some(turn) = self.turn.as_mut().filter(|it| it.is_wanted() && it.has_words_waiting())
            && turn.outcome_of(result) == TurnOutcome::Answered
        {
            return turn.goes_on(result, bill);
        }
        let Some(turn) = self.turn.take_if(|it| it.sent.is_some()) else {
            // Claude said something by itself; or it could not begin at all.
            return self.on_aside_result(result, bill);
        };
        let outcome = turn.outcome_of(result);
        let keep = match &outcome {
            TurnOutcome::Answered | TurnOutcome::Interrupted => true,
            TurnOutcome::Failed(failure) => !matches!(
                failure,
                TurnFailure::NotLoggedIn { .. }
                    | TurnFailure::Budget
                    | TurnFailure::Hung(_)
                    | TurnFailure::UnknownSession
            ),
        };
        if outcome != TurnOutcome::Failed(TurnFailure::UnknownSession) {
            self.signs.has_turns.store(true, Ordering::Relaxed);
        }
        if turn.has_words_waiting() {
            // It would go on with them by itself, and they are somebody else's to ask again.
            self.close();
            self.leash.order(LeashOrder::End);
        } else if !keep || self.setup.mode == Mode::Spawn || turn.has_signalled() {
            self.close();
        }
        self.finish(turn, outcome, Some((result, bill)));
    }

    /// What this result costs beyond what was told before.
    ///
    /// A CLI that tells what was used since the last result is believed. Totals count from the process's start with old
    /// CLIs, and from the session's with new ones: there the difference would bill a resumed session again.
    fn bill(&mut self, result: &ResultLine) -> Bill {
        let before = self.cost_seen;
        self.cost_seen = before.max(result.total_cost_usd);
        let mut models = Vec::new();
        for (name, output) in &result.model_output {
            let seen = self.output_seen.insert(name.clone(), *output).unwrap_or(0);
            if *output > seen {
                models.push(name.clone());
            }
        }
        if let Some(since) = &result.since_last {
            let wrote = since.iter().filter(|(_, it)| it.output_tokens > 0);
            models = wrote.map(|(name, _)| name.clone()).collect();
            return Bill { cost_usd: since.values().map(|it| it.cost_usd).sum(), models };
        }
        if result.is_error && result.num_turns == 0 {
            // It could not even begin; whatever its totals say was billed before.
            return Bill { cost_usd: 0.0, models: Vec::new() };
        }
        Bill { cost_usd: (result.total_cost_usd - before).max(0.0), models }
    }

    pub(super) fn finish(
        &mut self,
        mut turn: Running,
        outcome: TurnOutcome,
        result: Option<(&ResultLine, Bill)>,
    ) {
        let mut end = turn.end(outcome, result);
        end.running = self.tasks.values().map(|it| it.name.clone()).collect();
        tracing::info!(
            thread.id = %self.setup.thread,
            key = %turn.order.key,
            model = end.model.as_deref().unwrap_or("-"),
            outcome = end.outcome.word(),
            duration_ms = u64::try_from(end.duration.as_millis()).unwrap_or(u64::MAX),
            "thread {}: turn {}", self.setup.thread, end.outcome.word(),
        );
        let done = turn.order.done.take();
        turn.order.end(end);
        if let Some(done) = done {
            let _ = done.send(None);
        }
        if self.is_leaving {
            self.close();
        }
    }

    fn on_exit(mut self, exit: Result<Exit, OutOfReach>) {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Turn(order) = order {
                order.give_back();
            }
        }
        let stderr = self.stderr.text();
        let Some(turn) = self.turn.take() else {
            if self.close_at.is_none() && self.left.is_none() {
                let exit = exit.map_or_else(|err| err.to_string(), |it| it.to_string());
                tracing::warn!(thread.id = %self.setup.thread, exit, "an idle claude ended by itself");
            }
            return;
        };
        if turn.came_too_late() {
            return turn.order.give_back();
        }
        let left = self.left.take();
        let outcome = match left {
            Some(_) => TurnOutcome::Failed(TurnFailure::Closing),
            None => turn.outcome_of_exit(exit, &stderr),
        };
        self.finish(turn, outcome, None);
        if let Some(left) = left {
            let _ = left.send(());
        }
    }
}

/// What one turn costs.
pub(super) struct Bill {
    pub(super) cost_usd: f64,
    pub(super) models: Vec<String>,
}

/// When to wake up, and what for.
pub(super) struct Wake {
    pub(super) at: Instant,
    pub(super) what: Alarm,
}
