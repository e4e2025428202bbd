//! A turn as others see it: `progress/<key>.json`, written a few times a second at most, and the tools that are kept
//! when it is over.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tinyclaw_domain::{
    Ask, Decision, Message, Model, Progress, TOOL_SPANS_MAX, ToolSpan, ToolUse, TurnState,
};
use tinyclaw_engine::{Draft, TurnEvent};
use tinyclaw_ledger::Progresses;
use tinyclaw_service::{conceal, now_ms};

use crate::text::{shortened, tool_detail};

/// `progress/` is written this often at most: whoever shows it has a budget of seconds.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// So many tools are shown.
const TOOLS_SHOWN: usize = 10;
/// A tool's name is a word; what an MCP server calls its own may be longer.
const NAME_CHARS_MAX: usize = 80;

/// The first state of a turn.
pub(crate) fn begun(message: &Message, attempt: u32, decision: Option<&Decision>) -> Progress {
    let now = now_ms();
    Progress {
        key: message.key.clone(),
        thread_id: message.thread_id.clone(),
        attempt,
        state: TurnState::Starting,
        model: decision.map(|it| it.effective_model),
        tier: decision.map(|it| it.tier),
        started_at: now,
        updated_at: now,
        text: String::new(),
        tools: Vec::new(),
        asks: None,
        mcp_trouble: Vec::new(),
        trouble: None,
    }
}

/// The turn's state as others see it.
pub(crate) struct LiveProgress<'a> {
    file: &'a Progresses,
    pub(crate) progress: Progress,
    draft: Draft,
    ids: Vec<(String, usize)>,
    asks: Asks,
    dropped: usize,
    trail: Trail,
    pub(crate) is_dirty: bool,
    pub(crate) due: Instant,
    /// The last HTTP status that made the API be asked again.
    pub(crate) status: Option<u16>,
    /// Told for the rest of the turn: that another model goes on with it, and why.
    raised: Option<String>,
}

impl<'a> LiveProgress<'a> {
    pub(crate) fn new(file: &'a Progresses, progress: Progress) -> LiveProgress<'a> {
        let (ids, draft) = (Vec::new(), Draft::default());
        LiveProgress {
            file,
            progress,
            draft,
            ids,
            asks: Asks::default(),
            dropped: 0,
            trail: Trail::begin(),
            is_dirty: false,
            due: Instant::now(),
            status: None,
            raised: None,
        }
    }

    /// Another model goes on with the turn.
    pub(crate) fn raise(&mut self, model: Model, why: String) {
        self.progress.model = Some(model);
        self.progress.trouble = Some(why.clone());
        self.raised = Some(why);
        self.write();
    }

    /// The tools used so far, to be kept.
    pub(crate) fn spans(&mut self) -> Vec<ToolSpan> {
        self.trail.end()
    }

    pub(crate) fn apply(&mut self, event: &TurnEvent) {
        self.touch();
        self.trail.apply(event);
        if self.draft.apply(event) {
            self.show_ask();
            return;
        }
        match event {
            TurnEvent::SessionReady { .. } => self.progress.state = TurnState::Working,
            TurnEvent::ToolStarted { id, name, input, .. } => {
                let detail = tool_detail(input);
                self.ids.push((id.clone(), self.dropped + self.progress.tools.len()));
                self.progress.tools.push(ToolUse {
                    name: name.clone(),
                    detail: conceal(&detail).into_owned(),
                    at: now_ms(),
                    duration_ms: None,
                    failed: false,
                });
                if self.progress.tools.len() > TOOLS_SHOWN {
                    self.progress.tools.remove(0);
                    self.dropped += 1;
                }
            }
            TurnEvent::ToolFinished { id, failed, duration } => {
                let at = self
                    .ids
                    .iter()
                    .find(|it| it.0 == *id)
                    .and_then(|it| it.1.checked_sub(self.dropped));
                if let Some(tool) = at.and_then(|at| self.progress.tools.get_mut(at)) {
                    tool.duration_ms = Some(duration.as_millis() as u64);
                    tool.failed = *failed;
                }
            }
            TurnEvent::Asking { .. } | TurnEvent::AskClosed { .. } => {
                self.asks.apply(event);
                self.show_ask();
            }
            TurnEvent::ApiRetry { attempt, attempts_max, delay, status } => {
                self.status = status.or(self.status);
                let status = status.map_or_else(String::new, |it| format!(" ({it})"));
                self.progress.trouble = Some(format!(
                    "The API does not answer{status}. Trying again in {} s, {attempt} of {attempts_max}.",
                    delay.as_secs().max(1)
                ));
            }
            _ => {}
        }
        if matches!(event, TurnEvent::TextDelta(_) | TurnEvent::ToolStarted { .. }) {
            self.progress.trouble.clone_from(&self.raised);
        }
    }

    fn show_ask(&mut self) {
        self.progress.asks = self.asks.shown().cloned();
        self.progress.state = match self.progress.asks {
            Some(_) => TurnState::Asking,
            None => TurnState::Working,
        };
    }

    fn touch(&mut self) {
        if !self.is_dirty {
            self.is_dirty = true;
            self.due = Instant::now() + PROGRESS_EVERY;
        }
    }

    pub(crate) fn write(&mut self) {
        self.is_dirty = false;
        self.progress.text = conceal(&self.draft.text()).into_owned();
        self.progress.updated_at = now_ms();
        if let Err(err) = self.file.write(&self.progress) {
            tracing::warn!("cannot show how {} goes: {err}", self.progress.key);
        }
    }
}

/// The open permission questions, oldest first, as they are shown: nothing is concealed in what a person is asked to
/// allow ([`tinyclaw_domain::approval`]). Claude may ask several things at once; a person is asked one after the
/// other.
#[derive(Default)]
struct Asks(VecDeque<Ask>);

impl Asks {
    fn apply(&mut self, event: &TurnEvent) {
        match event {
            TurnEvent::Asking { ask } => self.0.push_back(ask.clone().kept()),
            TurnEvent::AskClosed { request_id, .. } => {
                self.0.retain(|it| it.request_id != *request_id);
            }
            _ => {}
        }
    }

    fn shown(&self) -> Option<&Ask> {
        self.0.front()
    }
}

/// The tools of a turn, for the picture of it that stays: which and when, never with what.
struct Trail {
    began: Instant,
    spans: Vec<ToolSpan>,
    /// Those not done yet, by their id, with their place among the spans.
    open: HashMap<String, usize>,
}

impl Trail {
    fn begin() -> Trail {
        Trail { began: Instant::now(), spans: Vec::new(), open: HashMap::new() }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn apply(&mut self, event: &TurnEvent) {
        match event {
            TurnEvent::ToolStarted { id, name, .. } if self.spans.len() < TOOL_SPANS_MAX => {
                self.open.insert(id.clone(), self.spans.len());
                self.spans.push(ToolSpan {
                    name: shortened(&conceal(name), NAME_CHARS_MAX),
                    start_ms: self.now(),
                    duration_ms: 0,
                    ok: false,
                });
            }
            TurnEvent::ToolFinished { id, failed, duration } => {
                if let Some(span) = self.open.remove(id).and_then(|at| self.spans.get_mut(at)) {
                    span.duration_ms = duration.as_millis() as u64;
                    span.ok = !failed;
                }
            }
            _ => {}
        }
    }

    /// Everything, once. What was not done when the turn ended lasted until then and did not work.
    fn end(&mut self) -> Vec<ToolSpan> {
        let now = self.now();
        for at in self.open.drain().map(|it| it.1) {
            self.spans[at].duration_ms = now.saturating_sub(self.spans[at].start_ms);
        }
        std::mem::take(&mut self.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: usize) -> TurnEvent {
        TurnEvent::ToolStarted {
            id: id.to_string(),
            name: "Bash".to_owned(),
            input: serde_json::json!({ "command": "echo hush" }),
            nested: false,
        }
    }

    #[test]
    fn tools_are_kept_without_what_they_were_used_with_and_not_without_end() {
        let mut trail = Trail::begin();
        for id in 0..TOOL_SPANS_MAX + 5 {
            trail.apply(&started(id));
            let duration = Duration::from_millis(7);
            trail.apply(&TurnEvent::ToolFinished { id: id.to_string(), failed: id == 1, duration });
        }
        let spans = trail.end();
        assert_eq!(spans.len(), TOOL_SPANS_MAX);
        assert_eq!(
            spans.iter().map(|it| (it.duration_ms, it.ok)).take(3).collect::<Vec<_>>(),
            [(7, true), (7, false), (7, true)]
        );
        assert!(!serde_json::to_string(&spans).unwrap().contains("hush"));
    }

    #[test]
    fn of_several_questions_the_next_comes_when_one_is_answered() {
        let mut asks = Asks::default();
        for id in ["a", "b"] {
            let (request_id, input) = (id.to_owned(), serde_json::json!({}));
            let (tool, always) = ("WebFetch".to_owned(), Vec::new());
            let ask = Ask { request_id, tool, input, at: 0, always, unshown: None };
            asks.apply(&TurnEvent::Asking { ask });
        }
        let shown = |asks: &Asks| asks.shown().map(|it| it.request_id.clone());
        assert_eq!(shown(&asks).as_deref(), Some("a"));
        let closed = |id: &str| TurnEvent::AskClosed { request_id: id.to_owned(), expired: false };
        asks.apply(&closed("a"));
        assert_eq!(shown(&asks).as_deref(), Some("b"));
        asks.apply(&closed("b"));
        assert_eq!(shown(&asks), None);
    }

    #[test]
    fn a_tool_that_was_cut_off_did_not_work() {
        let mut trail = Trail::begin();
        trail.apply(&started(1));
        assert_eq!(trail.end().iter().map(|it| it.ok).collect::<Vec<_>>(), [false]);
        assert!(trail.end().is_empty());
    }
}
