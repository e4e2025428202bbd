//! An answer told while it is written: the story of a turn, line by line, from its log.
//!
//! Text goes to stdout, everything else to stderr, so that a pipe gets the answer alone. What was printed cannot be taken
//! back: where Claude begins anew that is said, and the whole piece follows.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use tinyclaw_domain::approval::ASKS_PERSON;
use tinyclaw_domain::{JobEvent, JobId, JobLine, Key};
use tinyclaw_ledger::{JobReader, StateDir};

use crate::face;
use crate::mail::{Ending, Mail};

/// Lines come fifty a second at most.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The queue says when something moves; where it cannot, it is asked so often.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// One turn, told to a terminal or a pipe.
pub(crate) struct Telling {
    reader: JobReader,
    is_json: bool,
    /// The whole pieces that stand on stdout.
    told: String,
    /// What stands there of the piece that is being written.
    piece: String,
}

impl Telling {
    pub(crate) fn new(state: &StateDir, key: &Key, is_json: bool) -> Telling {
        let reader = JobReader::open(state, key, JobId::default());
        Telling { reader, is_json, told: String::new(), piece: String::new() }
    }

    /// Tells everything until something has become of the message.
    pub(crate) async fn follow(&mut self, mail: &Mail, key: &Key) -> anyhow::Result<Ending> {
        let watch = mail.view().watch();
        let mut changed = Box::pin(watch.changed());
        let mut asked: Option<Instant> = None;
        loop {
            self.tell()?;
            if asked.is_none_or(|it| it.elapsed() > ASK_EVERY) {
                asked = Some(Instant::now());
                if let Some(ending) = mail.ending(key)? {
                    // What was written before it moved on is there by now.
                    self.tell()?;
                    return Ok(ending);
                }
            }
            tokio::select! {
                () = &mut changed => {
                    changed = Box::pin(watch.changed());
                    asked = None;
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// What stands on stdout of the answer, its line closed.
    pub(crate) fn told(self) -> String {
        if !self.told.is_empty() {
            // Whoever read along may be gone.
            let _ = writeln!(io::stdout());
        }
        self.told
    }

    fn tell(&mut self) -> anyhow::Result<()> {
        for line in self.reader.poll()? {
            if self.is_json {
                writeln!(io::stdout(), "{}", serde_json::to_string(&line)?)?;
            } else {
                self.say(line)?;
            }
        }
        Ok(())
    }

    fn say(&mut self, line: JobLine) -> io::Result<()> {
        let remark = |text: &str| writeln!(io::stderr(), "{text}");
        match line.event {
            JobEvent::Text { text } => {
                let text = if self.piece.is_empty() { self.apart(text.trim_start()) } else { text };
                self.piece.push_str(text.trim_start_matches('\n'));
                put(&text)
            }
            JobEvent::TextDone { text } => {
                let shown = std::mem::take(&mut self.piece);
                let rest = match text.strip_prefix(&shown) {
                    Some(rest) if !shown.is_empty() => rest.to_owned(),
                    _ if shown.is_empty() => self.apart(&text),
                    // A preview that was none.
                    _ => format!("\n\n{text}"),
                };
                if !self.told.is_empty() && !text.is_empty() {
                    self.told.push_str("\n\n");
                }
                self.told.push_str(&text);
                put(&rest)
            }
            JobEvent::Void | JobEvent::Restart { .. } => {
                if !std::mem::take(&mut self.piece).is_empty() || !self.told.is_empty() {
                    writeln!(io::stdout())?;
                    remark("(Claude begins this again)")?;
                }
                if matches!(line.event, JobEvent::Restart { .. }) {
                    self.told.clear();
                }
                Ok(())
            }
            JobEvent::Tool { name, detail, .. } => {
                let row = format!("▸ {}  {}", face::one_line(&name), face::one_line(&detail));
                remark(row.trim_end())
            }
            JobEvent::Ask { tool, .. } if tool == ASKS_PERSON => {
                remark("Claude asks you something: answer in its topic, or in tinyclaw chat")
            }
            JobEvent::Ask { tool, .. } => remark(&format!(
                "Claude asks whether it may use {}: answer in its topic, or in tinyclaw chat",
                face::one_line(&tool)
            )),
            JobEvent::Trouble { text } => remark(&face::one_line(&text)),
            JobEvent::Gap { .. } => {
                remark("(some of the text was not kept; the answer follows whole)")
            }
            _ => Ok(()),
        }
    }

    /// The beginning of a piece, apart from what stands before it.
    fn apart(&self, text: &str) -> String {
        if self.told.is_empty() || text.is_empty() {
            text.to_owned()
        } else {
            format!("\n\n{text}")
        }
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{}", face::plain(text))?;
    out.flush()
}
