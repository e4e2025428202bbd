//! The turn in flight: what was seen of it, and what it amounts to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::pending;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tinyclaw_domain::approval::{self, Rule};
use tinyclaw_domain::{Ask, SessionId, Usage};
use tokio::time::Instant;

use super::background::Task;
use super::ladder::Step;
use super::{Actor, Bill, TurnOrder};
use crate::failure::{Signs, TurnFailure, Watchdog};
use crate::launch::Exit;
use crate::look::OutOfReach;
use crate::turn::{Control, Denial, RateWindow, TurnEnd, TurnEvent, TurnOutcome};
use crate::wire::{Block, ResultLine, StreamEvent};

/// What the CLI calls the author of texts it makes up itself.
const SYNTHETIC: &str = "<synthetic>";

/// The turn in flight.
pub(super) struct Running {
    pub(super) order: Box<TurnOrder>,
    /// When the prompt went out.
    pub(super) sent: Option<Instant>,
    pub(super) resumed: bool,
    pub(super) model: Option<String>,
    /// How much the model was given for the last message it began.
    pub(super) context_tokens: Option<u64>,
    pub(super) last_line: Instant,
    /// How much was heard in it of what is kept.
    pub(super) heard_bytes: u64,
    /// When the whole turn must be over; put off by the time that questions were open.
    pub(super) over_at: Instant,
    /// When our prompt was echoed before anything else came.
    pub(super) echoed: Option<Instant>,
    pub(super) stopping: Option<Stopping>,
    pub(super) asks: BTreeMap<String, OpenAsk>,
    pub(super) tools: HashMap<String, Instant>,
    /// Whether the process was ready before this turn came to it.
    was_ready: bool,
    /// Whether anything shows that Claude has our prompt.
    is_taken: bool,
    has_begun: bool,
    hears_controls: bool,
    /// Words that were handed to it, and that Claude did not take yet.
    handed: BTreeSet<String>,
    /// What it came to before it went on with such words.
    earlier: Option<TurnEnd>,
    /// What it was told to run on in the background.
    told_running: Vec<String>,
    draft: String,
    said: Vec<String>,
    signs: Signs,
}

/// An open question.
pub(super) struct OpenAsk {
    pub(super) tool: String,
    pub(super) input: Value,
    pub(super) always: Vec<Rule>,
    pub(super) since: Instant,
}

/// A turn that is being ended.
pub(super) struct Stopping {
    pub(super) why: Why,
    pub(super) step: Step,
    pub(super) since: Instant,
}

/// Why a turn is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Asked,
    Watchdog(Watchdog),
    LoggedOut(Option<u16>),
    Duplicate,
    NotReady,
    Closing,
    /// Its machine says more than a turn may say.
    Flood,
}

/// What a turn's caller wants next; `None`: nobody listens any more. Never returns when there is no turn.
pub(super) async fn heard(turn: &mut Option<Running>) -> Option<Control> {
    let Some(turn) = turn else { return pending().await };
    if !turn.hears_controls {
        return pending().await;
    }
    let control = tokio::select! {
        control = turn.order.controls.recv() => control,
        () = turn.order.events.closed() => None,
    };
    turn.hears_controls = control.is_some();
    control
}

impl Running {
    pub(super) fn new(order: Box<TurnOrder>, patience: Duration, was_ready: bool) -> Running {
        let now = Instant::now();
        Running {
            over_at: order.begun.max(now) + patience,
            order,
            sent: None,
            resumed: false,
            model: None,
            context_tokens: None,
            last_line: now,
            heard_bytes: 0,
            echoed: None,
            stopping: None,
            asks: BTreeMap::new(),
            tools: HashMap::new(),
            was_ready,
            is_taken: false,
            has_begun: false,
            hears_controls: true,
            handed: BTreeSet::new(),
            earlier: None,
            told_running: Vec::new(),
            draft: String::new(),
            said: Vec::new(),
            signs: Signs::default(),
        }
    }

    pub(super) fn tell(&mut self, event: TurnEvent) {
        let _ = self.order.events.send(event);
    }

    pub(super) fn has_sent(&mut self) {
        let now = Instant::now();
        self.sent = Some(now);
        self.last_line = now;
    }

    /// Claude has our prompt: no other process will need it.
    fn taken(&mut self) {
        self.is_taken = true;
        self.order.content = Value::Null;
    }

    /// Claude works on our prompt.
    pub(super) fn has_begun(&mut self) {
        self.has_begun = true;
        self.taken();
        self.echoed = None;
    }

    /// Something of Claude's goes on, which says nothing about whether it took our prompt.
    pub(super) fn still_works(&mut self) {
        if self.is_taken {
            self.has_begun();
        }
    }

    /// Takes words for Claude, if it works on our prompt.
    pub(super) fn takes_words(&mut self, uuid: &str) -> bool {
        let takes = self.has_begun && self.stopping.is_none();
        takes && self.handed.insert(uuid.to_owned())
    }

    /// Claude was handed these words, by an earlier process.
    pub(super) fn has_words(&mut self, uuids: impl Iterator<Item = String>) {
        self.handed.extend(uuids);
    }

    /// Whether Claude has words of this turn in its queue. It takes them by itself, whatever comes of the turn.
    pub(super) fn has_words_waiting(&self) -> bool {
        !self.handed.is_empty()
    }

    /// It was answered, and goes on with words that came too late to be a part of that.
    pub(super) fn goes_on(&mut self, result: &ResultLine, bill: Bill) {
        let end = self.end(TurnOutcome::Answered, Some((result, bill)));
        self.said.clone_from(&end.said);
        self.model.clone_from(&end.model);
        self.earlier = Some(end);
    }

    /// Our prompt came back. Usually Claude works on it by then; an echo and nothing else means it was known.
    pub(super) fn replayed(&mut self, uuid: Option<&str>) {
        if let Some(uuid) = uuid
            && self.handed.remove(uuid)
        {
            self.tell(TurnEvent::Steered { uuid: uuid.to_owned() });
        }
        if uuid == Some(self.order.uuid.as_str()) {
            self.taken();
            if !self.has_begun {
                self.echoed = Some(Instant::now());
            }
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.stopping.is_none() && !self.order.events.is_closed()
    }

    /// Whether its process was dead already when it came, and nobody had noticed: it was ready and idle, and gives no
    /// sign of having heard of it. Another process can have the turn, under the same uuid: had this one read the prompt
    /// after all and written it down, Claude would not answer it twice.
    pub(super) fn came_too_late(&self) -> bool {
        self.was_ready && !self.is_taken && self.is_wanted()
    }

    pub(super) fn has_signalled(&self) -> bool {
        self.stopping.as_ref().is_some_and(|it| it.step != Step::Interrupted)
    }

    pub(super) fn stop(&mut self, why: Why, step: Step) {
        let why = self.stopping.as_ref().map_or(why, |it| it.why);
        self.stopping = Some(Stopping { why, step, since: Instant::now() });
    }

    /// Opens a question. `false`: there is one with this id already. Somebody has seen that one, and an answer to it must
    /// not be one to this.
    #[must_use]
    pub(super) fn ask(
        &mut self,
        id: String,
        tool: String,
        input: Value,
        suggestions: &[Value],
    ) -> bool {
        if self.asks.contains_key(&id) {
            return false;
        }
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ask = Ask {
            request_id: id.clone(),
            always: approval::lasting(&tool, suggestions),
            tool,
            input: input.clone(),
            at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            unshown: None,
        };
        let always = ask.always.clone();
        self.asks
            .insert(id, OpenAsk { tool: ask.tool.clone(), input, always, since: Instant::now() });
        self.tell(TurnEvent::Asking { ask });
        true
    }

    /// Closes a question; the clocks go on when it was the last.
    pub(super) fn take_ask(&mut self, id: &str) -> Option<OpenAsk> {
        let first = self.asks.values().map(|it| it.since).min()?;
        let ask = self.asks.remove(id)?;
        if self.asks.is_empty() {
            self.over_at += first.elapsed();
            self.last_line = Instant::now();
        }
        Some(ask)
    }

    pub(super) fn ask_closed(&mut self, id: &str, expired: bool) {
        if self.take_ask(id).is_some() {
            self.tell(TurnEvent::AskClosed { request_id: id.to_owned(), expired });
        }
    }

    pub(super) fn tool_results(&mut self, results: Vec<(String, bool)>) {
        for (id, failed) in results {
            if let Some(begun) = self.tools.remove(&id) {
                self.tell(TurnEvent::ToolFinished { id, failed, duration: begun.elapsed() });
            }
        }
    }

    /// What runs on in the background changed. What a tool of this turn still waits for runs in the turn.
    pub(super) fn tell_running(&mut self, tasks: &BTreeMap<String, Task>) {
        let is_beside = |it: &&Task| it.tool.as_ref().is_none_or(|it| !self.tools.contains_key(it));
        let running: Vec<String> =
            tasks.values().filter(is_beside).map(|it| it.name.clone()).collect();
        if running != self.told_running {
            self.told_running.clone_from(&running);
            self.tell(TurnEvent::Background { running });
        }
    }

    pub(super) fn rate_limit(
        &mut self,
        status: &str,
        resets_at: Option<u64>,
        windows: Vec<RateWindow>,
    ) {
        self.signs.limit_rejected = status == "rejected";
        self.signs.resets_at = resets_at;
        if !windows.is_empty() {
            self.tell(TurnEvent::PlanWindows(windows));
        }
    }

    /// How the turn ended, by Claude's own word and by what was done to it.
    pub(super) fn outcome_of(&self, result: &ResultLine) -> TurnOutcome {
        let failure = TurnFailure::of_result(result, &self.signs);
        match (failure, self.stopping.as_ref()) {
            // It was done before it could be stopped.
            (None, _) => TurnOutcome::Answered,
            (Some(failure), None) => TurnOutcome::Failed(failure),
            (Some(_), Some(stopping)) => stopping.why.outcome(),
        }
    }

    /// How the turn ended when Claude is gone without a word.
    pub(super) fn outcome_of_exit(
        &self,
        exit: Result<Exit, OutOfReach>,
        stderr: &str,
    ) -> TurnOutcome {
        match (&self.stopping, exit) {
            (Some(stopping), _) => stopping.why.outcome(),
            (None, Err(err)) => TurnOutcome::Failed(TurnFailure::OutOfReach(err)),
            (None, Ok(exit)) => {
                TurnOutcome::Failed(TurnFailure::of_exit(exit, stderr, self.sent.is_some()))
            }
        }
    }

    /// Everything worth keeping.
    pub(super) fn end(
        &mut self,
        outcome: TurnOutcome,
        result: Option<(&ResultLine, Bill)>,
    ) -> TurnEnd {
        let mut end = TurnEnd::unsent(&self.order.session, self.order.begun, outcome);
        if !self.draft.is_empty() {
            // Stopped in the middle of a sentence: it was said, and Claude remembers it.
            self.said.push(std::mem::take(&mut self.draft));
        }
        end.said = std::mem::take(&mut self.said);
        end.text = match (&end.outcome, result.as_ref().map(|it| it.0)) {
            (TurnOutcome::Answered, Some(result)) if !result.text.is_empty() => result.text.clone(),
            (TurnOutcome::Answered, _) => end.said.last().cloned().unwrap_or_default(),
            _ => end.said.join("\n\n"),
        };
        end.resumed = self.resumed;
        end.sent = self.sent.is_some();
        end.model = self.model.take();
        end.context_tokens = self.context_tokens;
        if let Some((result, bill)) = result {
            end.usage = result.usage;
            end.cost_usd = bill.cost_usd;
            end.models = bill.models;
            end.ttft_ms = result.ttft_ms;
            end.num_turns = result.num_turns;
            end.denials = result
                .denials
                .iter()
                .map(|(tool, input)| Denial { tool: tool.clone(), input: input.clone() })
                .collect();
        }
        if let Some(earlier) = self.earlier.take() {
            end.usage = end.usage.plus(earlier.usage);
            end.cost_usd += earlier.cost_usd;
            end.num_turns += earlier.num_turns;
            end.ttft_ms = earlier.ttft_ms.or(end.ttft_ms);
            end.denials.splice(0..0, earlier.denials);
            for model in earlier.models {
                if !end.models.contains(&model) {
                    end.models.push(model);
                }
            }
        }
        end
    }
}

impl Why {
    fn outcome(self) -> TurnOutcome {
        TurnOutcome::Failed(match self {
            Why::Asked => return TurnOutcome::Interrupted,
            Why::Watchdog(it) => TurnFailure::Hung(it),
            Why::LoggedOut(status) => TurnFailure::NotLoggedIn { status },
            Why::Duplicate => TurnFailure::Duplicate,
            Why::NotReady => TurnFailure::NotStarted {
                detail: "it did not become ready in time".to_owned(),
                lasting: false,
            },
            Why::Closing => TurnFailure::Closing,
            Why::Flood => {
                TurnFailure::Other { detail: "it says more than a turn may say".to_owned() }
            }
        })
    }
}

impl Actor {
    pub(super) fn on_stream(&mut self, event: StreamEvent) {
        if let StreamEvent::MessageStart { .. } = &event
            && self.is_unasked()
        {
            self.aside.get_or_insert_default();
        }
        self.with_turn(|turn| {
            turn.has_begun();
            match event {
                StreamEvent::MessageStart { model, context_tokens } => {
                    turn.draft.clear();
                    turn.context_tokens = context_tokens.or(turn.context_tokens);
                    turn.model = model.or_else(|| turn.model.take());
                }
                StreamEvent::TextStart => {
                    turn.draft.clear();
                    turn.tell(TurnEvent::TextStarted);
                }
                StreamEvent::Text(text) => {
                    turn.draft.push_str(&text);
                    turn.tell(TurnEvent::TextDelta(text));
                }
                StreamEvent::Other => {}
            }
        });
    }

    pub(super) fn on_assistant(
        &mut self,
        parent: Option<String>,
        model: Option<String>,
        error: Option<String>,
        blocks: Vec<Block>,
    ) {
        let is_synthetic = model.as_deref() == Some(SYNTHETIC);
        if self.is_unasked() {
            let aside = self.aside.get_or_insert_default();
            aside.model = model.filter(|_| !is_synthetic);
            return;
        }
        self.with_turn(|turn| {
            turn.has_begun();
            if is_synthetic {
                // An error in the clothes of an answer.
                turn.signs.error = error.or_else(|| turn.signs.error.take());
                return;
            }
            if parent.is_none() {
                turn.model = model.or_else(|| turn.model.take());
            }
            for block in blocks {
                match block {
                    Block::Text(text) if parent.is_none() => {
                        turn.draft.clear();
                        turn.said.push(text.clone());
                        turn.tell(TurnEvent::TextDone(text));
                    }
                    Block::ToolUse { id, name, input } => {
                        turn.tools.insert(id.clone(), Instant::now());
                        let parent = parent.clone();
                        turn.tell(TurnEvent::ToolStarted { id, name, input, parent });
                    }
                    Block::Text(_) | Block::Other => {}
                }
            }
        });
    }

    pub(super) fn on_retry(
        &mut self,
        attempt: u64,
        attempts_max: u64,
        delay_ms: u64,
        status: Option<u16>,
        error: Option<&str>,
    ) {
        self.with_turn(|turn| {
            turn.has_begun();
            let delay = Duration::from_millis(delay_ms);
            turn.tell(TurnEvent::ApiRetry { attempt, attempts_max, delay, status });
        });
        if status == Some(401) || error == Some("authentication_failed") {
            // The same key will not open the door at the third knock.
            self.stop(Why::LoggedOut(status));
        }
    }
}

impl TurnEnd {
    /// The end of a turn of which nothing is known yet.
    pub(crate) fn unsent(session: &SessionId, begun: Instant, outcome: TurnOutcome) -> TurnEnd {
        TurnEnd {
            outcome,
            text: String::new(),
            said: Vec::new(),
            session: session.clone(),
            resumed: false,
            sent: false,
            model: None,
            models: Vec::new(),
            usage: Usage::default(),
            context_tokens: None,
            cost_usd: 0.0,
            duration: begun.elapsed(),
            ttft_ms: None,
            num_turns: 0,
            denials: Vec::new(),
            running: Vec::new(),
        }
    }
}

impl TurnOutcome {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            TurnOutcome::Answered => "answered",
            TurnOutcome::Interrupted => "interrupted",
            TurnOutcome::Failed(_) => "failed",
        }
    }
}
