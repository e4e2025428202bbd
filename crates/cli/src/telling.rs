//! An answer told while it is written: the story of a turn, line by line, from its log.
//!
//! Text goes to stdout, everything else to stderr, so that a pipe gets the answer alone. What was printed cannot be taken
//! back: where Claude begins anew that is said, and the whole piece follows.

use std::io::{self, Write as _};

use tinyclaw_client::{Ending, Stream, Told};
use tinyclaw_domain::approval::{ASKS_PERSON, PLANS};
use tinyclaw_domain::{JobEvent, JobLine};

use crate::terminal;

/// One turn, told to a terminal or a pipe.
pub(crate) struct Telling {
    is_json: bool,
    /// The whole pieces that stand on stdout.
    told: String,
    /// What stands there of the piece that is being written.
    piece: String,
}

impl Telling {
    pub(crate) fn new(is_json: bool) -> Telling {
        Telling { is_json, told: String::new(), piece: String::new() }
    }

    /// Tells everything until something has become of the message.
    pub(crate) async fn follow(&mut self, mut stream: Stream) -> anyhow::Result<Ending> {
        loop {
            match stream.next().await? {
                Told::Line(line) => self.tell(line)?,
                Told::Ended(ending) => return Ok(ending),
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

    fn tell(&mut self, line: JobLine) -> io::Result<()> {
        if self.is_json {
            return writeln!(io::stdout(), "{}", serde_json::to_string(&line)?);
        }
        self.say(line)
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
            JobEvent::Tool { name, detail, parent, .. } => {
                let indent = if parent.is_some() { "    " } else { "" };
                let (name, detail) = (terminal::one_line(&name), terminal::one_line(&detail));
                remark(format!("{indent}▸ {name}  {detail}").trim_end())
            }
            JobEvent::Background { running } if running.is_empty() => {
                remark("nothing runs in the background any more")
            }
            JobEvent::Background { running } => {
                let running: Vec<String> =
                    running.iter().map(|it| terminal::one_line(it)).collect();
                remark(&format!("in the background: {}", running.join(", ")))
            }
            JobEvent::Ask { tool, .. } if tool == ASKS_PERSON => {
                remark("Claude asks you something: answer in its topic, or in tinyclaw chat")
            }
            JobEvent::Ask { tool, .. } if tool == PLANS => {
                remark("Claude has a plan: answer in its topic, or in tinyclaw chat")
            }
            JobEvent::Ask { tool, .. } => remark(&format!(
                "Claude asks whether it may use {}: answer in its topic, or in tinyclaw chat",
                terminal::one_line(&tool)
            )),
            JobEvent::Steered { text, .. } => {
                remark(&format!("▸ a message  {}", terminal::one_line(&text)))
            }
            JobEvent::Trouble { text } => remark(&terminal::one_line(&text)),
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
    write!(out, "{}", terminal::plain(text))?;
    out.flush()
}
