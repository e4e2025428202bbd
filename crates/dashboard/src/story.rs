//! The story of one message: when it was received, queued, routed, asked, answered and delivered.
//!
//! It is told from what the files say and from nothing else: a stage nobody wrote down is missing. Waiting is kept apart
//! from working.

use serde::de::DeserializeOwned;
use tinyclaw_domain::{
    Direction, HistoryLine, JobEvent, JobId, Key, PromptLine, RoutingLine, StateDir, ThreadId,
    ToolUse,
};
use tinyclaw_ledger::JobReader;
use tinyclaw_service::now_ms;

use crate::dashboard::Dashboard;
use crate::events::{self, Hook};
use crate::index::Filter;
use crate::meta::LogName;
use crate::office::InQueue;
use crate::scan::rows_of_key;
use crate::shapes::{Stage, Story, StoryRow};

/// How far from the time that is known of a message its other lines are looked for.
const NEAR_S: u64 = 26 * 3600;
/// More lines than this about one message are not needed to tell its story.
const ROWS_MAX: usize = 40;
/// The hook events of so many tool calls are looked for.
const TOOLS_MAX: usize = 500;

/// What is known of the message before its story is looked up; narrows the search.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hint {
    /// Its thread.
    pub(crate) thread: Option<ThreadId>,
    /// About when, in ms since 1970.
    pub(crate) at: Option<u64>,
}

/// Tells the story of `key`. Blocks for the disk.
pub(crate) fn tell(dashboard: &Dashboard, key: &Key, hint: &Hint) -> Story {
    let mut rows = Vec::new();
    let history = lines(dashboard, LogName::Messages, key, hint, &mut rows, |it: &HistoryLine| {
        (it.attempt, Some(it.direction))
    });
    let routing = lines(dashboard, LogName::Routing, key, hint, &mut rows, |it: &RoutingLine| {
        (it.attempt, None)
    });
    let prompts = lines(dashboard, LogName::Prompts, key, hint, &mut rows, |it: &PromptLine| {
        (it.attempt, None)
    });
    let queued = dashboard.office.find(key);
    let turn = dashboard.office.turns().into_iter().find(|it| it.key == *key);
    let known =
        Known { history, routing, prompts, queued, begun: turn.as_ref().map(|it| it.started_at) };
    let hooks = hooks(dashboard, key, &known);
    Story {
        key: key.to_string(),
        hooks,
        stages: known.stages(),
        attempts: known.attempts(),
        tools: turn.as_ref().map_or_else(|| known.tools(), |it| it.tools.clone()),
        line: known.line(),
        turn,
        rows,
        place: known.queued.place,
        position: known.queued.position,
        reason: known.queued.reason,
    }
}

/// What Claude's hooks told of the turn. They know it by its tool calls and its session, not by the message's key.
fn hooks(dashboard: &Dashboard, key: &Key, known: &Known) -> Vec<Hook> {
    let Some(from) = known.prompted() else { return Vec::new() };
    let path = dashboard.office.events();
    if !path.exists() {
        return Vec::new();
    }
    let mut reader = JobReader::open(&StateDir::new(&dashboard.state), key, JobId::default());
    let mut tools = Vec::new();
    // A log that is not there, or no longer, has no tools.
    while let Ok(lines) = reader.poll()
        && !lines.is_empty()
        && tools.len() < TOOLS_MAX
    {
        tools.extend(lines.into_iter().filter_map(|it| match it.event {
            JobEvent::Tool { id, .. } => Some(id),
            _ => None,
        }));
    }
    tools.truncate(TOOLS_MAX);
    let threads = dashboard.office.threads().unwrap_or_default();
    let thread = known.line().and_then(|it| threads.get(&it.thread_id).cloned());
    let session = thread.and_then(|it| it.session_id).map(|it| it.to_string());
    let to = known.outward().map_or_else(now_ms, |it| it.timestamp);
    events::hooks(&path, &tools, session, from..to)
}

fn lines<T: DeserializeOwned>(
    dashboard: &Dashboard,
    name: LogName,
    key: &Key,
    hint: &Hint,
    rows: &mut Vec<StoryRow>,
    which: impl Fn(&T) -> (u32, Option<Direction>),
) -> Vec<T> {
    let log = dashboard.log(name);
    let mut filter = Filter::default();
    if let Some(at) = hint.at {
        filter.since = (at / 1000).saturating_sub(NEAR_S) as u32;
        filter.until = (at / 1000 + NEAR_S) as u32;
    }
    if let Some(thread) = &hint.thread {
        match log.index().tables.threads.number_of(thread) {
            Some(number) => filter.thread = Some(number),
            None => return Vec::new(),
        }
    }
    let found = rows_of_key(log, &filter, key.as_str(), ROWS_MAX);
    let mut lines = Vec::with_capacity(found.len());
    // Oldest first.
    for (row, line) in found.into_iter().rev() {
        if let Ok(line) = serde_json::from_slice(&line) {
            let (attempt, direction) = which(&line);
            rows.push(StoryRow { log: name.as_str(), row, attempt, direction });
            lines.push(line);
        }
    }
    lines
}

/// Everything known of a message.
struct Known {
    history: Vec<HistoryLine>,
    routing: Vec<RoutingLine>,
    prompts: Vec<PromptLine>,
    queued: InQueue,
    /// When the turn began that runs now.
    begun: Option<u64>,
}

impl Known {
    /// The points in time that are known, in the order a message passes them, made into stages.
    fn stages(&self) -> Vec<Stage> {
        let message = self.queued.message.as_ref();
        let inward = self.history.iter().find(|it| it.direction == Direction::In);
        let received = message.map(|it| it.timestamp).or_else(|| inward.map(|it| it.timestamp));
        // Of several attempts, the last one led to the answer; what was before it was waiting.
        // While it waits for the next one, all of it was waiting.
        let has_turn = self.queued.place != Some("incoming") || self.begun.is_some();
        let routed = self.routing.last().map(|it| it.timestamp).filter(|_| has_turn);
        let prompt = self.prompts.last().map(|it| it.timestamp).filter(|_| has_turn);
        let prompt = prompt.or(self.begun);
        let answered =
            self.outward().map(|it| it.timestamp).or_else(|| Some(prompt? + self.duration()?));
        let intents = message.map(|it| &it.delivery[..]).unwrap_or_default();
        let sending = intents.first().map(|it| it.intent);
        let sent = intents.last().filter(|it| it.telegram_message_id.is_some()).map(|it| it.intent);
        let points = [
            ("received", received, true),
            ("queued", self.queued.queued_at, true),
            ("routed", routed, false),
            ("prompt", prompt, false),
            ("answered", answered, true),
            ("delivered", sending, false),
        ];
        let known: Vec<(&'static str, u64, bool)> = points
            .into_iter()
            .filter_map(|(name, at, waiting)| Some((name, at?, waiting)))
            .collect();
        let mut stages: Vec<Stage> = Vec::with_capacity(known.len());
        for (at, (name, from, waiting)) in known.iter().enumerate() {
            // Clocks of different processes may disagree by a little: no stage ends before it begins.
            let next = known.get(at + 1).map(|(_, next, _)| (*next).max(*from));
            let to = next.or_else(|| self.end_of(name, *from, sent));
            stages.push(Stage { name, from: *from, to, waiting: *waiting });
        }
        stages
    }

    /// What was said: the history's line, or what it will be while the message still waits.
    fn line(&self) -> Option<HistoryLine> {
        let inward = self.history.iter().rev().find(|it| it.direction == Direction::In);
        inward.cloned().or_else(|| self.queued.message.as_ref().map(HistoryLine::of))
    }

    /// When Claude was asked.
    fn prompted(&self) -> Option<u64> {
        self.prompts.last().map(|it| it.timestamp).or(self.begun)
    }

    fn outward(&self) -> Option<&HistoryLine> {
        self.history.iter().rev().find(|it| it.direction == Direction::Out)
    }

    fn duration(&self) -> Option<u64> {
        let reply = self.queued.message.as_ref().and_then(|it| it.reply.as_ref());
        let known = reply.map(|it| it.duration_ms).or_else(|| self.outward()?.duration_ms);
        known.filter(|it| *it > 0)
    }

    /// The tools of the turn that led to the answer, on the clock. Their words were not kept.
    fn tools(&self) -> Vec<ToolUse> {
        let reply = self.queued.message.as_ref().and_then(|it| it.reply.as_ref());
        let spans = self.outward().map(|it| &it.tools).or_else(|| Some(&reply?.tools));
        let prompt = self.prompts.last().map(|it| it.timestamp);
        // A prompt's line is let go of sooner than the answer's.
        let before = || Some(self.outward()?.timestamp.saturating_sub(self.duration()?));
        let (Some(spans), Some(begun)) = (spans, prompt.or_else(before)) else { return Vec::new() };
        let on_the_clock = spans.iter().map(|it| ToolUse {
            name: it.name.clone(),
            detail: String::new(),
            at: begun + it.start_ms,
            duration_ms: Some(it.duration_ms),
            failed: !it.ok,
            is_nested: false,
        });
        on_the_clock.collect()
    }

    /// When the last stage known ended; none while it lasts.
    fn end_of(&self, name: &str, from: u64, sent: Option<u64>) -> Option<u64> {
        match name {
            "delivered" => sent,
            "prompt" if self.begun.is_some() => None,
            _ if matches!(self.queued.place, Some("done" | "dead") | None) => Some(from),
            _ => None,
        }
    }

    fn attempts(&self) -> u32 {
        let routed = self.routing.iter().map(|it| it.attempt).max();
        let counted = self.queued.message.as_ref().map(|it| it.attempts.run);
        routed.max(counted).unwrap_or(0)
    }
}
