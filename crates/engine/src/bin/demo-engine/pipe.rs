//! The demo engine's stdin and stdout. A thread listens, so that an interrupt is heard in the middle of a sentence.

use std::io::{self, BufRead, BufWriter, Stdout, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};
use serde_json::Value;

/// What came next.
pub(crate) enum Heard {
    Line(Value),
    Garbage(String),
    /// It is time for something else.
    Nothing,
    End,
}

pub(crate) struct Pipe {
    from: Receiver<Result<Value, String>>,
    to: BufWriter<Stdout>,
    pub(crate) is_ended: bool,
}

impl Pipe {
    pub(crate) fn open() -> Pipe {
        let (heard, from) = channel();
        // Signals are the main thread's, so that it alone decides whether to be deaf to them.
        let _ = signals().thread_block();
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if line.trim().is_empty() {
                    continue;
                }
                let parsed = serde_json::from_str(&line);
                if heard.send(parsed.map_err(|_| line.chars().take(80).collect())).is_err() {
                    return;
                }
            }
        });
        let _ = signals().thread_unblock();
        Pipe { from, to: BufWriter::with_capacity(64 * 1024, io::stdout()), is_ended: false }
    }

    pub(crate) fn say(&mut self, line: &Value) {
        // Nobody listens any more: the end of stdin will tell.
        let _ = writeln!(self.to, "{line}");
    }

    pub(crate) fn flush(&mut self) {
        let _ = self.to.flush();
    }

    /// The next line, waiting until then at most.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Heard {
        self.flush();
        let heard = match until {
            None => self.from.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => self.from.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        match heard {
            Ok(Ok(line)) => Heard::Line(line),
            Ok(Err(line)) => Heard::Garbage(line),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => {
                self.is_ended = true;
                Heard::End
            }
        }
    }
}

pub(crate) fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
