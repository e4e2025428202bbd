//! What an earlier process told of a turn that goes on: Claude's words come again from the turn's beginning, and none of them
//! is told twice.
//!
//! Previews are cut by time and cannot be matched; what they end in is. Where the story that comes again differs from the one
//! that was told, it is told anew.

use std::collections::{BTreeSet, VecDeque};

use tinyclaw_domain::{JobEvent, JobLine};

/// How far an earlier process had come in the story of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What is to come again.
    rest: VecDeque<JobEvent>,
    /// The preview at its end, of a piece that was not whole yet.
    preview: String,
    /// Questions that stand open in it.
    open: BTreeSet<String>,
    /// What has come again.
    again: Vec<JobEvent>,
}

/// What is to be written of something that comes.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing: it was told.
    Known,
    /// It is new. Before it, these.
    New(Vec<JobEvent>),
    /// It is not what was told. All that came so far stands here, and is to be told anew.
    Differs(Vec<JobEvent>),
}

impl Told {
    /// What was told of this attempt by these lines of one generation. `None`: nothing that could be gone on with.
    pub(crate) fn of(lines: Vec<JobLine>, attempt: u32) -> Option<Told> {
        let mut told = Told::default();
        for event in lines.into_iter().map(|it| it.event) {
            match event {
                JobEvent::Restart { .. } => told = Told::default(),
                JobEvent::Text { text } => told.preview.push_str(&text),
                JobEvent::Void => told.preview.clear(),
                JobEvent::End { .. } => return None,
                event => {
                    match &event {
                        JobEvent::TextDone { .. } => told.preview.clear(),
                        JobEvent::Ask { request_id, .. } => {
                            told.open.insert(request_id.clone());
                        }
                        JobEvent::AskClosed { request_id, .. } => {
                            told.open.remove(request_id);
                        }
                        _ => {}
                    }
                    told.rest.push_back(event);
                }
            }
        }
        let begins = told.rest.front();
        matches!(begins, Some(JobEvent::Begun { attempt: it, .. }) if *it == attempt)
            .then_some(told)
    }

    /// Whether previews that come now were told, or something after them was.
    pub(crate) fn is_ahead(&self) -> bool {
        self.rest.iter().any(|it| !may_be_missing(it))
    }

    /// What of a preview is new. `None`: it is not the one that was told.
    pub(crate) fn preview(&mut self, text: &str) -> Option<String> {
        if let Some(new) = text.strip_prefix(&self.preview) {
            self.preview.clear();
            return Some(new.to_owned());
        }
        self.preview = self.preview.strip_prefix(text)?.to_owned();
        Some(String::new())
    }

    /// A whole piece has come, or a piece begins anew: its previews do not matter any more.
    pub(crate) fn forget_preview(&mut self) {
        if !self.is_ahead() {
            self.preview.clear();
        }
    }

    /// Holds an event that comes, and is no preview, against what was told.
    pub(crate) fn meet(&mut self, event: &JobEvent) -> Verdict {
        let found = self.rest.iter().position(|it| is_same(it, event));
        let verdict = match found {
            Some(at) if self.rest.range(..at).all(may_be_missing) => {
                self.rest.drain(..=at);
                if let JobEvent::Ask { request_id, .. } = event {
                    self.open.remove(request_id);
                }
                Verdict::Known
            }
            _ if !self.is_ahead() => {
                self.rest.clear();
                // Answered, and the process died before it said so.
                let open = std::mem::take(&mut self.open).into_iter();
                let closed = |request_id| JobEvent::AskClosed { request_id, expired: false };
                Verdict::New(open.map(closed).collect())
            }
            _ if may_be_missing(event) => Verdict::Known,
            _ => Verdict::Differs(std::mem::take(&mut self.again)),
        };
        if verdict == Verdict::Known {
            self.again.push(event.clone());
        }
        verdict
    }

    /// All that has come again, to be told anew.
    pub(crate) fn take_again(&mut self) -> Vec<JobEvent> {
        std::mem::take(&mut self.again)
    }
}

/// What one process tells and the next does not: answered questions are not asked again, and the rest depends on the moment.
fn may_be_missing(event: &JobEvent) -> bool {
    matches!(
        event,
        JobEvent::Ask { .. }
            | JobEvent::AskClosed { .. }
            | JobEvent::Background { .. }
            | JobEvent::Trouble { .. }
            | JobEvent::Gap { .. }
            | JobEvent::Void
            | JobEvent::Unknown
    )
}

/// Whether it is the same event; how long it took, and on what kind of process, does not matter.
fn is_same(one: &JobEvent, other: &JobEvent) -> bool {
    match (one, other) {
        (JobEvent::Begun { .. }, JobEvent::Begun { .. }) => true,
        (JobEvent::ToolDone { id, failed, .. }, JobEvent::ToolDone { id: of, failed: how, .. }) => {
            (id, failed) == (of, how)
        }
        (JobEvent::Ask { request_id, .. }, JobEvent::Ask { request_id: of, .. })
        | (JobEvent::AskClosed { request_id, .. }, JobEvent::AskClosed { request_id: of, .. }) => {
            request_id == of
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(events: &[JobEvent]) -> Vec<JobLine> {
        let line = |(seq, event): (usize, &JobEvent)| JobLine {
            generation: 1,
            seq: seq as u64 + 1,
            at: 1,
            event: event.clone(),
        };
        events.iter().enumerate().map(line).collect()
    }

    fn begun() -> JobEvent {
        JobEvent::Begun { attempt: 2, model: None, tier: None, warm: false }
    }

    fn text(text: &str) -> JobEvent {
        JobEvent::Text { text: text.to_owned() }
    }

    fn done(text: &str) -> JobEvent {
        JobEvent::TextDone { text: text.to_owned() }
    }

    fn tool_done(ms: u64) -> JobEvent {
        JobEvent::ToolDone { id: "t1".to_owned(), failed: false, ms }
    }

    fn ask(id: &str) -> JobEvent {
        let (request_id, tool) = (id.to_owned(), "Bash".to_owned());
        JobEvent::Ask { request_id, tool, input: serde_json::Value::Null, always: Vec::new() }
    }

    fn closed(id: &str) -> JobEvent {
        JobEvent::AskClosed { request_id: id.to_owned(), expired: false }
    }

    #[test]
    fn what_comes_again_is_known_and_what_comes_then_is_new() {
        let told = [
            begun(),
            text("Let "),
            text("me look."),
            done("Let me look."),
            ask("q1"),
            closed("q1"),
        ];
        let told = [&told[..], &[tool_done(70), text("The an")]].concat();
        let mut told = Told::of(lines(&told), 2).unwrap();
        assert_eq!(told.meet(&begun()), Verdict::Known);
        assert!(told.is_ahead(), "previews before a whole piece do not matter");
        assert_eq!(told.meet(&done("Let me look.")), Verdict::Known);
        // The question was answered, and is not asked again.
        assert_eq!(told.meet(&tool_done(3)), Verdict::Known);
        assert!(!told.is_ahead());
        assert_eq!(told.preview("The").as_deref(), Some(""));
        assert_eq!(told.preview(" answer").as_deref(), Some("swer"));
        assert_eq!(told.preview(" is 42").as_deref(), Some(" is 42"));
        assert_eq!(told.meet(&done("The answer is 42")), Verdict::New(Vec::new()));
    }

    #[test]
    fn an_open_question_stays_open_and_one_that_was_answered_is_closed() {
        let mut told = Told::of(lines(&[begun(), ask("q1")]), 2).unwrap();
        assert_eq!((told.meet(&begun()), told.meet(&ask("q1"))), (Verdict::Known, Verdict::Known));
        assert_eq!(told.meet(&closed("q1")), Verdict::New(Vec::new()));
        let mut told = Told::of(lines(&[begun(), ask("q1")]), 2).unwrap();
        told.meet(&begun());
        assert_eq!(told.meet(&tool_done(1)), Verdict::New(vec![closed("q1")]));
    }

    #[test]
    fn another_story_is_told_anew_with_all_that_came_so_far() {
        let mut told = Told::of(lines(&[begun(), done("One"), done("Two")]), 2).unwrap();
        told.meet(&begun());
        told.meet(&done("One"));
        assert_eq!(told.meet(&done("Three")), Verdict::Differs(vec![begun(), done("One")]));
        let mut told = Told::of(lines(&[begun(), text("On")]), 2).unwrap();
        told.meet(&begun());
        assert_eq!(told.preview("Two"), None);
        assert_eq!(told.take_again(), [begun()]);
    }

    #[test]
    fn only_this_attempt_is_gone_on_with() {
        assert!(Told::of(lines(&[begun()]), 1).is_none());
        assert!(Told::of(Vec::new(), 1).is_none());
        let ended = JobEvent::End { outcome: tinyclaw_domain::Outcome::Answered };
        assert!(Told::of(lines(&[begun(), ended]), 2).is_none());
        let restart = JobEvent::Restart { attempt: 2 };
        let told = Told::of(lines(&[begun(), done("One"), restart, begun()]), 2).unwrap();
        assert_eq!(told.rest.len(), 1);
    }
}
