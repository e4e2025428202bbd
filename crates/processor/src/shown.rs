//! A turn as others see it: `progress/<key>.json`, written a few times a second at most.

use std::time::{Duration, Instant};

use tinyclaw_domain::{Progress, ToolUse, TurnState};
use tinyclaw_engine::{Draft, TurnEvent};
use tinyclaw_service::{conceal, now_ms};

use crate::office::Office;
use crate::prompt::shortened;

/// `progress/` is written this often at most: whoever shows it has a budget of seconds.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// So many tools are shown.
const TOOLS_SHOWN: usize = 10;
/// So much of a tool's input is shown.
pub(crate) const DETAIL_CHARS_MAX: usize = 160;

/// The turn's state as others see it.
pub(crate) struct Shown<'a> {
    office: &'a Office,
    pub(crate) progress: Progress,
    draft: Draft,
    ids: Vec<(String, usize)>,
    dropped: usize,
    pub(crate) is_dirty: bool,
    pub(crate) due: Instant,
    /// The last HTTP status that made the API be asked again.
    pub(crate) status: Option<u16>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(office: &'a Office, progress: Progress) -> Shown<'a> {
        let (ids, draft) = (Vec::new(), Draft::default());
        Shown {
            office,
            progress,
            draft,
            ids,
            dropped: 0,
            is_dirty: false,
            due: Instant::now(),
            status: None,
        }
    }

    pub(crate) fn apply(&mut self, event: &TurnEvent) {
        self.touch();
        if self.draft.apply(event) {
            self.progress.state = TurnState::Working;
            return;
        }
        match event {
            TurnEvent::SessionReady { .. } => self.progress.state = TurnState::Working,
            TurnEvent::ToolStarted { id, name, input, .. } => {
                let detail = shortened(&detail(input), DETAIL_CHARS_MAX);
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
            TurnEvent::Asking { ask, .. } => {
                self.progress.state = TurnState::Asking;
                self.progress.asks = Some(ask.clone());
            }
            TurnEvent::AskClosed { .. } => {
                self.progress.state = TurnState::Working;
                self.progress.asks = None;
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
            self.progress.trouble = None;
        }
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
        if let Err(err) = self.office.progresses.write(&self.progress) {
            tracing::warn!("cannot show how {} goes: {err}", self.progress.key);
        }
    }
}

/// A tool's input on one line: the command, the path, or whatever says most.
pub(crate) fn detail(input: &serde_json::Value) -> String {
    for name in [
        "command",
        "file_path",
        "path",
        "pattern",
        "url",
        "query",
        "description",
        "message",
        "prompt",
    ] {
        if let Some(text) = input.get(name).and_then(serde_json::Value::as_str) {
            return text.lines().next().unwrap_or_default().to_owned();
        }
    }
    if input.as_object().is_some_and(serde_json::Map::is_empty) {
        String::new()
    } else {
        input.to_string()
    }
}
