//! A turn as others see it: `progress/<key>.json`, written a few times a second at most, and the tools that are kept
//! when it is over.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;
use tinyclaw_domain::{
    Ask, Decision, Message, Model, Progress, TOOL_SPANS_MAX, ToolSpan, ToolUse, TurnState,
};
use tinyclaw_engine::{Draft, TurnEvent};
use tinyclaw_ledger::Progresses;
use tinyclaw_service::{conceal, now_ms};

use crate::text::{WRITES_TODOS, shortened, status_line, todos, tool_detail};

/// `progress/` is written this often at most: whoever shows it has a budget of seconds.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// So many tools are shown.
const TOOLS_SHOWN: usize = 10;
/// Where a person's words reached a turn, among its tools.
const STEERED: &str = "a message";
/// So much of what runs in the background is shown.
const BACKGROUND_SHOWN: usize = 5;
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
        todos: Vec::new(),
        background: Vec::new(),
        asks: None,
        devbox: None,
        mcp_trouble: Vec::new(),
        trouble: None,
    }
}

/// The turn's state as others see it.
pub(crate) struct LiveProgress<'a> {
    file: &'a Progresses,
    pub(crate) progress: Progress,
    draft: Draft,
    /// The uses of tools that are shown, as the engine calls them, each at the place where it is shown.
    ids: Vec<String>,
    asks: Asks,
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

    /// Nothing is heard of the turn, in these words, or it is heard again.
    pub(crate) fn lose_link(&mut self, told: Option<String>) {
        self.progress.trouble = told.or_else(|| self.raised.clone());
        self.write();
    }

    /// Claude took a message while it worked on this one.
    pub(crate) fn steered(&mut self, message: &Message) {
        let tool = ToolUse {
            name: STEERED.to_owned(),
            detail: status_line(&message.message),
            at: now_ms(),
            duration_ms: Some(0),
            failed: false,
            is_nested: false,
        };
        self.insert(self.ids.len(), message.key.to_string(), tool);
        self.touch();
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
            TurnEvent::ToolStarted { name, input, parent: None, .. } if name == WRITES_TODOS => {
                self.progress.todos = todos(input);
            }
            TurnEvent::ToolStarted { id, name, input, parent } => {
                self.begin_tool(id, name, input, parent.as_deref());
            }
            TurnEvent::ToolFinished { id, failed, duration } => {
                let at = self.ids.iter().position(|it| it == id);
                if let Some(tool) = at.and_then(|at| self.progress.tools.get_mut(at)) {
                    tool.duration_ms = Some(duration.as_millis() as u64);
                    tool.failed = *failed;
                }
            }
            TurnEvent::Background { running } => {
                let shown = running.iter().take(BACKGROUND_SHOWN).map(|it| status_line(it));
                self.progress.background = shown.collect();
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

    /// A subagent's tools stand below it, in their order, whatever others do meanwhile.
    fn begin_tool(&mut self, id: &str, name: &str, input: &Value, parent: Option<&str>) {
        let (ids, tools) = (&self.ids, &self.progress.tools);
        // One whose subagent is no longer shown stands by itself.
        let above = parent.and_then(|parent| ids.iter().position(|it| it == parent));
        let at = above.map_or(ids.len(), |above| above + 1 + count_nested(&tools[above + 1..]));
        let tool = ToolUse {
            name: name.to_owned(),
            detail: conceal(&tool_detail(input)).into_owned(),
            at: now_ms(),
            duration_ms: None,
            failed: false,
            is_nested: above.is_some(),
        };
        self.insert(at, id.to_owned(), tool);
    }

    /// Shows one more, which may cost another its place.
    fn insert(&mut self, at: usize, id: String, tool: ToolUse) {
        let (ids, tools) = (&mut self.ids, &mut self.progress.tools);
        ids.insert(at, id);
        tools.insert(at, tool);
        if tools.len() > TOOLS_SHOWN {
            let gone = first_to_go(tools, at);
            ids.drain(gone.clone());
            tools.drain(gone);
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

fn count_nested(below: &[ToolUse]) -> usize {
    below.iter().take_while(|it| it.is_nested).count()
}

/// What makes room for the tool that has begun at `newest`: the oldest that is done, for whoever still works stays in sight.
/// A subagent goes with all that stands below it.
fn first_to_go(tools: &[ToolUse], newest: usize) -> Range<usize> {
    let family = |at: usize| at..at + 1 + count_nested(&tools[at + 1..]);
    let is_done = |at: &usize| {
        let works = |it: &ToolUse| it.duration_ms.is_none();
        !tools[*at].is_nested && !tools[family(*at)].iter().any(works)
            || tools[*at].is_nested && !works(&tools[*at])
    };
    let oldest = (0..tools.len()).filter(|at| *at != newest).find(is_done);
    // All of them work: the oldest that has none below it.
    let single = || {
        (0..tools.len())
            .find(|at| *at != newest && (tools[*at].is_nested || family(*at).len() == 1))
    };
    let at = oldest.or_else(single).unwrap_or(0);
    if tools[at].is_nested { at..at + 1 } else { family(at) }
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
            TurnEvent::Steered { .. } if self.spans.len() < TOOL_SPANS_MAX => {
                let (name, start_ms) = (STEERED.to_owned(), self.now());
                self.spans.push(ToolSpan { name, start_ms, duration_ms: 0, ok: true });
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
            parent: None,
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

    fn shown_of(events: &[TurnEvent]) -> Progress {
        let dir = tempfile::tempdir().unwrap();
        let file = Progresses::new(&tinyclaw_domain::StateDir::new(dir.path()));
        let key = "tg-1".parse().unwrap();
        let message =
            Message::new(key, tinyclaw_domain::Channel::Telegram, "7".parse().unwrap(), "", 0);
        let mut live = LiveProgress::new(&file, begun(&message, 1, None));
        events.iter().for_each(|it| live.apply(it));
        live.progress
    }

    fn uses(id: &str, name: &str, input: Value, parent: Option<&str>) -> TurnEvent {
        let (id, name, parent) = (id.to_owned(), name.to_owned(), parent.map(str::to_owned));
        TurnEvent::ToolStarted { id, name, input, parent }
    }

    fn done(id: &str) -> TurnEvent {
        TurnEvent::ToolFinished { id: id.to_owned(), failed: false, duration: Duration::ZERO }
    }

    #[test]
    fn tools_of_helpers_stand_below_their_helper_and_what_works_stays_in_sight() {
        let call = |it: &str| serde_json::json!({ "command": it });
        let mut events = vec![
            uses("1", "Task", call("one"), None),
            uses("2", "Task", call("two"), None),
            uses("1a", "Bash", call("a"), Some("1")),
            uses("2a", "Bash", call("b"), Some("2")),
            uses("1b", "Bash", call("c"), Some("1")),
            done("1a"),
        ];
        let rows = |it: &Progress| {
            it.tools.iter().map(|it| it.detail.clone()).collect::<Vec<_>>().join(" ")
        };
        let progress = shown_of(&events);
        assert_eq!(rows(&progress), "one a c two b");
        let nested: Vec<bool> = progress.tools.iter().map(|it| it.is_nested).collect();
        assert_eq!(nested, [false, true, true, false, true]);
        assert_eq!(progress.tools[1].duration_ms, Some(0));
        for at in 0..9 {
            let id = format!("1-{at}");
            events.extend([uses(&id, "Bash", call(&id), Some("1")), done(&id)]);
        }
        let progress = shown_of(&events);
        assert_eq!(rows(&progress), "one c 1-3 1-4 1-5 1-6 1-7 1-8 two b");
        // A helper that is done goes with its tools, and what it says afterwards stands by itself.
        events.extend([done("1b"), done("1")]);
        events.extend((0..2).map(|at| uses(&format!("3-{at}"), "Bash", call("new"), None)));
        events.push(uses("1c", "Bash", call("late"), Some("1")));
        let progress = shown_of(&events);
        assert_eq!(rows(&progress), "two b new new late");
        let nested: Vec<bool> = progress.tools.iter().map(|it| it.is_nested).collect();
        assert_eq!(nested, [false, true, false, false, false]);
    }

    #[test]
    fn however_many_tools_work_at_once_the_newest_is_shown_and_no_more_than_fit() {
        let call = |it: usize| serde_json::json!({ "command": it.to_string() });
        let mut events = vec![uses("h", "Task", call(0), None)];
        events.extend((0..30).map(|at| uses(&format!("n{at}"), "Bash", call(at), Some("h"))));
        let progress = shown_of(&events);
        assert_eq!(progress.tools.len(), TOOLS_SHOWN);
        assert_eq!(
            (progress.tools[0].name.as_str(), progress.tools[9].detail.as_str()),
            ("Task", "29")
        );
    }

    #[test]
    fn what_there_is_to_do_is_a_list_and_no_tool() {
        let todos = serde_json::json!([
            { "content": "look\n\u{1b}[2Khere\u{202e}", "status": "completed" }, { "content": "\u{200b}" }, { "content": "write", "status": "in_progress" },
            { "content": "test", "status": "pending" }, { "content": 7 }, "odd" ]);
        let progress = shown_of(&[
            uses(
                "1",
                "TodoWrite",
                serde_json::json!({ "todos": [{ "content": "old", "status": "pending" }] }),
                None,
            ),
            uses("2", "TodoWrite", serde_json::json!({ "todos": todos }), None),
            TurnEvent::Background { running: vec!["wait for the build".to_owned()] },
        ]);
        let shown: Vec<String> =
            progress.todos.iter().map(|it| format!("{:?} {}", it.state, it.text)).collect();
        assert_eq!(shown, ["Done look [2Khere", "Doing write", "Open test"]);
        let detail = tool_detail(&serde_json::json!({ "todos": todos }));
        assert_eq!(detail, "1 of 3 done: write", "for a helper's list");
        assert_eq!(
            (progress.tools.len(), progress.background),
            (0, vec!["wait for the build".to_owned()])
        );
        assert_eq!(shown_of(&[TurnEvent::Background { running: vec![] }]).background, [""; 0]);
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
