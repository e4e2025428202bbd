//! Log lines: time, LEVEL, text and its fields, to stdout and to a sink; one event is one line, without secrets.
//!
//! Spans are not shown: a line reads alone and carries the ids it is about (`docs/LOGGING.md`). Nothing here opens a
//! file. The sink is whatever the service hands in, usually an appender that rotates.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::conceal;

/// A longer line is cut: no log line is worth more, and a reader must be able to hold one.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Takes each line, without its newline. An error is told on stdout, once until it works again.
pub type Sink = Box<dyn FnMut(&str) -> Result<(), String> + Send>;

/// What remains in hand after [`init`].
#[derive(Debug, Clone)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// The one that this process's lines go through.
static IN_PLACE: OnceLock<Logs> = OnceLock::new();

/// A log level that is none.
#[derive(Debug, thiserror::Error)]
#[error("log level {text:?} is not valid: {why}")]
pub struct BadLevel {
    text: String,
    why: String,
}

/// Sends this process's log lines to stdout and, if given, to `sink`. Once, at the start; a second call changes nothing.
///
/// `level` is `error`, `warn`, `info`, `debug`, `trace` or a list such as `info,tinyclaw_queue=debug`.
pub fn init(level: &str, sink: Option<Sink>) -> Result<Logs, BadLevel> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let lines = Lines { sink: Mutex::new((sink, false)) };
    let logs = Logs { filter: handle };
    // Fails only when somebody was first, which in a test binary is another test.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = IN_PLACE.set(logs.clone());
    }
    Ok(logs)
}

/// Keeps this process's log at the level that its settings name: from now on, and after each change of them.
///
/// A service begins with `init("info", …)`, so that what is wrong with its settings is said whatever they are, and calls
/// this as soon as they are good. Without [`init`] it does nothing.
pub fn follow<S: Send + Sync + 'static>(
    mut settings: watch::Receiver<Arc<S>>,
    level: impl Fn(&S) -> &str + Send + 'static,
) {
    let Some(logs) = IN_PLACE.get() else { return };
    let set = move |settings: &S| {
        if let Err(err) = logs.set_level(level(settings)) {
            tracing::warn!("the log stays as it is: {err}");
        }
    };
    set(&Arc::clone(&settings.borrow_and_update()));
    tokio::spawn(async move {
        while settings.changed().await.is_ok() {
            let now = Arc::clone(&settings.borrow_and_update());
            set(&now);
        }
    });
}

impl Logs {
    /// Changes the level while running.
    pub fn set_level(&self, level: &str) -> Result<(), BadLevel> {
        let filter = parse(level)?;
        // The subscriber is gone only when the process ends.
        let _ = self.filter.reload(filter);
        Ok(())
    }
}

/// Whether `level` is one that [`init`] takes.
pub fn check_level(level: &str) -> Result<(), BadLevel> {
    parse(level).map(drop)
}

fn parse(level: &str) -> Result<EnvFilter, BadLevel> {
    let bad = |why: String| BadLevel { text: level.to_owned(), why };
    // The filter takes any word for a crate's name; a level that is misspelt must not silence everything.
    for part in level.split(',') {
        let word = part.rsplit('=').next().unwrap_or_default().trim();
        let is_level = word.parse::<tracing::level_filters::LevelFilter>().is_ok();
        if !is_level || word.bytes().all(|it| it.is_ascii_digit()) {
            return Err(bad("use error, warn, info, debug, trace or off".to_owned()));
        }
    }
    EnvFilter::try_new(level).map_err(|err| bad(err.to_string()))
}

struct Lines {
    sink: Mutex<(Option<Sink>, bool)>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        thread_local! {
            static LINE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        LINE.with(|line| {
            // Borrowed already when formatting a field logs: that inner line is dropped, not the process.
            let Ok(mut line) = line.try_borrow_mut() else { return };
            line.clear();
            let now = Timestamp::now();
            write_line(&mut line, now, event);
            let shown = conceal(&line);
            say(&shown);
            let (sink, has_failed) = &mut *self.sink.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(sink) = sink else { return };
            match sink(&shown) {
                Ok(()) => *has_failed = false,
                Err(why) if !*has_failed => {
                    *has_failed = true;
                    say(&format!("{now:.3} ERROR the log file takes no more lines: {why}"));
                }
                Err(_) => {}
            }
        });
    }
}

/// To stdout, where nobody may be listening any more.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
}

fn write_line(line: &mut String, now: Timestamp, event: &Event<'_>) {
    let level = match *event.metadata().level() {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN ",
        Level::INFO => "INFO ",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    };
    let _ = write!(line, "{now:.3} {level} ");
    let mut fields = Fields { text: String::new(), rest: String::new() };
    event.record(&mut fields);
    push_escaped(line, &fields.text);
    push_escaped(line, &fields.rest);
    if line.len() > LINE_BYTES_MAX {
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        line.push_str(" [cut]");
    }
}

/// One event is one line: what would break it, or move a terminal's cursor, is written out.
fn push_escaped(line: &mut String, text: &str) {
    for it in text.chars() {
        if it.is_control() && it != '\t' {
            line.extend(it.escape_default());
        } else {
            line.push(it);
        }
    }
}

/// The message, then ` name=value` for each field.
struct Fields {
    text: String,
    rest: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &dyn fmt::Display) {
        let _ = match field.name() {
            "message" => write!(self.text, "{value}"),
            name => write!(self.rest, " {name}={value}"),
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = !value.is_empty() && !value.contains([' ', '"', '=']);
        if is_plain || field.name() == "message" {
            self.put(field, &value);
        } else {
            self.put(field, &format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, &value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `work` logs, without their times.
    fn lines_of(work: impl FnOnce()) -> Vec<String> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let sink: Sink = Box::new(move |line: &str| {
            kept.lock().unwrap().push(line[line.find(' ').unwrap() + 1..].to_owned());
            Ok(())
        });
        let lines = Lines { sink: Mutex::new((Some(sink), false)) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), work);
        seen.lock().unwrap().clone()
    }

    #[test]
    fn a_line_is_level_text_and_fields() {
        let lines = lines_of(|| {
            tracing::info!(thread.id = %7, model = "opus", queued_ms = 12, "thread 7 goes to opus");
            tracing::warn!(reason = "two words", "slow");
        });
        assert_eq!(
            lines,
            [
                "INFO  thread 7 goes to opus thread.id=7 model=opus queued_ms=12",
                "WARN  slow reason=\"two words\"",
            ]
        );
    }

    #[test]
    fn a_stranger_cannot_forge_a_second_line_or_a_colour() {
        let lines = lines_of(|| {
            tracing::info!(name = %"Ada\n2026 ERROR all is lost", "\u{1b}[31mred");
        });
        assert_eq!(lines, ["INFO  \\u{1b}[31mred name=Ada\\n2026 ERROR all is lost"]);
    }

    #[test]
    fn a_token_in_an_error_does_not_reach_the_log() {
        let url = format!("https://api.telegram.org/bot12345678:{}/x", "B".repeat(35));
        let lines = lines_of(|| tracing::error!("cannot reach {url}"));
        assert_eq!(
            lines,
            ["ERROR cannot reach https://api.telegram.org/bot[hidden: telegram token]/x"]
        );
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        assert!(check_level("info,tinyclaw_queue=debug").is_ok());
        let err = check_level("inof").unwrap_err();
        assert_eq!(
            err.to_string(),
            "log level \"inof\" is not valid: use error, warn, info, debug, trace or off"
        );
    }
}
