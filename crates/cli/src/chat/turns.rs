//! What was sent and is not answered yet: looking how it goes, and showing what became of it.

use std::path::PathBuf;

use anyhow::Context as _;
use tinyclaw_client::{Ending, Standing};
use tinyclaw_disk::Flush;
use tinyclaw_domain::approval::{self, Choice, Chosen};
use tinyclaw_domain::{Ask, Key, Message, Outcome, Progress, ThreadId};
use tinyclaw_service::{now_ms, words};

use super::{Chat, screen, shown};
use crate::terminal;

/// Said while no processor is there.
const NOBODY: &str =
    "nobody works here; the message is kept, and answered when a processor is back";

/// One message on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) key: Key,
    pub(crate) thread: ThreadId,
    /// An order to TinyClaw: answered at once or by the turn it is about.
    pub(crate) is_order: bool,
    /// Its place in the line of its thread, while it waits.
    position: Option<usize>,
    /// Why it was put back, while it waits for its next try.
    trouble: Option<String>,
    /// The question that was shown already.
    asked: Option<Ask>,
}

impl Pending {
    pub(crate) fn new(key: Key, thread: ThreadId, is_order: bool) -> Pending {
        Pending { key, thread, is_order, position: None, trouble: None, asked: None }
    }

    /// An open question of this turn is shown once more.
    pub(super) fn ask_again(&mut self) {
        self.asked = None;
    }
}

/// An open question, as it was shown.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) request_id: String,
    pub(crate) shown: approval::Question,
    /// What was chosen so far, where there is something to choose from.
    pub(crate) chosen: Vec<Chosen>,
}

impl Question {
    /// Whether words are an answer to it.
    pub(crate) fn takes_words(&self) -> bool {
        self.next_choice().is_some() || self.shown.plan.is_some()
    }

    /// What has to be chosen next.
    pub(crate) fn next_choice(&self) -> Option<&Choice> {
        self.shown.choices.get(self.chosen.len())
    }
}

impl Chat {
    /// Looks at everything once, and shows what is new.
    pub(crate) fn look(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.has_moved) {
            self.look_for_endings()?;
        }
        self.look_at_turns()?;
        self.look_for_said_later()?;
        self.look_for_somebody()?;
        if !self.screen.is_terminal() {
            self.say_lines()?;
            self.is_over |= self.is_at_end && self.pending.is_empty() && self.lines.is_empty();
        }
        self.draw()
    }

    fn look_for_endings(&mut self) -> anyhow::Result<()> {
        let mut at = 0;
        while at < self.pending.len() {
            let key = self.pending[at].key.clone();
            match self.client.standing(&key) {
                Ok(Standing::Unfinished { position, trouble }) => {
                    (self.pending[at].position, self.pending[at].trouble) = (position, trouble);
                    at += 1;
                }
                Ok(Standing::Ended(ending)) => {
                    let pending = self.pending.remove(at);
                    self.show_ending(&pending, ending)?;
                }
                Err(err) => {
                    self.pending.remove(at);
                    let text = format!("{:#}", anyhow::Error::from(err));
                    let text = self.screen.style().red(&text);
                    self.screen.print(&text)?;
                }
            }
        }
        Ok(())
    }

    /// Says once that nobody is there to answer, where no row says it all the time.
    fn look_for_somebody(&mut self) -> anyhow::Result<()> {
        if self.screen.is_terminal() || self.pending.is_empty() {
            return Ok(());
        }
        let is_alone = !self.client.is_staffed(now_ms());
        if is_alone && !std::mem::replace(&mut self.is_alone, is_alone) {
            self.screen.remark(NOBODY)?;
        }
        self.is_alone = is_alone;
        Ok(())
    }

    fn look_at_turns(&mut self) -> anyhow::Result<()> {
        let mut question = None;
        for at in 0..self.pending.len() {
            let it = &self.pending[at];
            if it.is_order {
                continue;
            }
            let Some(progress) = self.progresses.read(&it.key) else { continue };
            let is_here = it.thread == self.thread;
            if let Some(ask) = &progress.asks {
                if self.pending[at].asked.as_ref() != Some(ask) {
                    self.pending[at].asked = Some(ask.clone());
                    let shown = approval::Question::of(ask);
                    self.show_question(&progress, &shown, is_here)?;
                    if is_here {
                        let (request_id, chosen) = (ask.request_id.clone(), Vec::new());
                        question = Some(Question { request_id, shown, chosen });
                    }
                } else if is_here
                    && self.question.as_ref().is_some_and(|it| it.request_id == ask.request_id)
                {
                    question = self.question.take();
                }
            }
            let is_next = self.streaming.as_ref().is_none_or(|it| *it == progress.key);
            if is_here && is_next && !progress.text.is_empty() {
                self.streaming = Some(progress.key.clone());
                self.screen.stream(&progress.text)?;
            }
        }
        self.question = question;
        Ok(())
    }

    fn show_question(
        &mut self,
        progress: &Progress,
        question: &approval::Question,
        is_here: bool,
    ) -> anyhow::Result<()> {
        if !is_here {
            let thread = &progress.thread_id;
            let what = match (&question.plan, question.choices.is_empty()) {
                (Some(_), _) => "has a plan",
                (None, false) => "asks you something",
                (None, true) => "asks for permission",
            };
            let text = format!("Thread {thread} {what}: /thread {thread}");
            return Ok(self.screen.print(&text)?);
        }
        // What was said before the question stands above it.
        if self.streaming.as_ref() == Some(&progress.key) {
            self.screen.stream(&progress.text)?;
        }
        let file = shown::is_long(question).then(|| self.keep_question(question)).transpose()?;
        let style = self.screen.style();
        Ok(self.screen.print(&shown::question(progress, question, file.as_deref(), style))?)
    }

    /// All of a long question, as a file that no agent can change before it is read.
    fn keep_question(&self, question: &approval::Question) -> anyhow::Result<PathBuf> {
        let dir = self.state.asks();
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join(format!("cli-{}.txt", question.digest));
        tinyclaw_disk::replace(&path, question.body.as_bytes(), Flush::None)?;
        Ok(path)
    }

    fn show_ending(&mut self, pending: &Pending, ending: Ending) -> anyhow::Result<()> {
        let is_streamed = self.streaming.as_ref() == Some(&pending.key);
        if is_streamed {
            self.streaming = None;
            self.question = None;
        }
        let style = self.screen.style();
        let message = match ending {
            Ending::Answered(message) => message,
            Ending::GivenUp(why) => {
                if is_streamed {
                    self.screen.end_stream()?;
                }
                let text = style.red(&terminal::plain(&why));
                return Ok(self.screen.print(&text)?);
            }
        };
        let Some(reply) = &message.reply else { return Ok(()) };
        if reply.silent {
            return Ok(());
        }
        if pending.thread != self.thread {
            self.screen.print(&style.dim(&format!("in thread {}:", pending.thread)))?;
        }
        let text = self.client.text(reply)?;
        if is_streamed || reply.outcome != Outcome::Failed {
            self.screen.finish_stream(&text)?;
        } else {
            self.screen.print(&style.red(&terminal::plain(&text)))?;
        }
        for file in &reply.files {
            self.screen.print(&format!("file: {}", terminal::one_line(&file.path)))?;
        }
        self.show_bill(&message)?;
        if pending.is_order && pending.thread == self.thread {
            self.learn_name();
        }
        Ok(())
    }

    /// Below an answer, small and on one line: who answered, how long it took, what it cost.
    fn show_bill(&mut self, message: &Message) -> anyhow::Result<()> {
        let Some(reply) = &message.reply else { return Ok(()) };
        let Some(model) = reply.model else { return Ok(()) };
        let mut bill = format!("{model} · {}", words::span(reply.duration_ms));
        if reply.cost_usd > 0.0 {
            bill.push_str(&format!(" · ${:.2}", reply.cost_usd));
        }
        Ok(self.screen.remark(&bill)?)
    }

    /// The rows that rewrite themselves: how the turn goes, and what is being typed.
    fn draw(&mut self) -> anyhow::Result<()> {
        if !self.screen.is_terminal() {
            return Ok(());
        }
        let columns = screen::columns() - 1;
        let style = self.screen.style();
        let mut rows = Vec::new();
        let here = self.pending.iter().filter(|it| it.thread == self.thread);
        if let Some(it) = here.min_by_key(|it| it.is_order) {
            let row = match self.progresses.read(&it.key) {
                // What a turn said last is no news when nobody is there to go on with it.
                _ if !self.client.is_staffed(now_ms()) => NOBODY.to_owned(),
                Some(progress) => shown::working(&progress),
                None => shown::waiting(it.position, it.trouble.as_deref()),
            };
            rows.push(style.dim(&terminal::clip(&row, columns)));
        }
        let (prompt, typed) = (self.prompt(), self.editor.typed());
        let room = columns.saturating_sub(terminal::width(&prompt));
        // The end of a long line is what one is typing.
        let skipped = typed.char_indices().find(|(at, _)| terminal::width(&typed[*at..]) <= room);
        let typed = &typed[skipped.map_or(typed.len(), |(at, _)| at)..];
        rows.push(format!("{}{}", style.dim(&prompt), terminal::plain(typed)));
        Ok(self.screen.live(rows)?)
    }
}
