//! Asking a person: questions, secrets that are not shown, three tries. Without a terminal nothing is asked: the flag
//! that would have answered is named instead.

use std::fmt;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

use crate::terminal::Style;

/// So often may a person try before a part is left as it was.
const TRIES: usize = 3;
/// No line that a person types is longer.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Something that was entered and does not work, with the way out. It may be entered anew.
#[derive(Debug)]
pub(crate) struct Wrong {
    says: String,
    way_out: String,
}

impl Wrong {
    pub(crate) fn new(says: impl Into<String>, way_out: impl Into<String>) -> Wrong {
        Wrong { says: says.into(), way_out: way_out.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  → {}", self.says, self.way_out)
    }
}

impl std::error::Error for Wrong {}

/// Whoever is at the other end: a person at a terminal, or a script.
#[derive(Debug)]
pub(crate) struct Person {
    is_terminal: bool,
    /// Yes is the answer to whatever would be asked.
    agrees: bool,
    /// Stdout belongs to JSON.
    is_json: bool,
    style: Style,
}

impl Person {
    pub(crate) fn new(agrees: bool, is_json: bool) -> Person {
        let (is_terminal, style) = if is_json {
            (false, Style::of(&io::stderr()))
        } else {
            (io::stdin().is_terminal() && io::stdout().is_terminal(), Style::of(&io::stdout()))
        };
        Person { is_terminal, agrees, is_json, style }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether yes is the answer to everything.
    pub(crate) fn agrees_to_all(&self) -> bool {
        self.agrees
    }

    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Says a line, or several.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        if self.is_json {
            writeln!(io::stderr(), "{text}")
        } else {
            writeln!(io::stdout(), "{text}")
        }
    }

    /// Says something that only helps whoever is asked next.
    pub(crate) fn say_to_a_person(&self, text: &str) -> io::Result<()> {
        if self.is_terminal { self.say(text) } else { Ok(()) }
    }

    /// Something works.
    pub(crate) fn ok(&self, what: &str) -> io::Result<()> {
        self.say(&format!("ok    {what}"))
    }

    /// Something works, and could be better.
    pub(crate) fn warn(&self, what: &str, way_out: &str) -> io::Result<()> {
        self.say(&format!("{}  {what}\n      → {way_out}", self.style.yellow("warn")))
    }

    /// Something does not work.
    pub(crate) fn fail(&self, err: &anyhow::Error) -> io::Result<()> {
        let text = format!("{err:#}").replace("\n  →", "\n      →");
        self.say(&format!("{}  {text}", self.style.red("fail")))
    }

    /// Asks for a line. `flag` is what a script would have said.
    pub(crate) fn line(
        &self,
        question: &str,
        default: Option<&str>,
        flag: &str,
    ) -> anyhow::Result<String> {
        self.must_be_there(question, flag)?;
        let shown = default.map(|it| self.style.dim(&format!(" [{it}]"))).unwrap_or_default();
        self.prompt(&format!("{question}{shown}: "))?;
        let line = read_line()?;
        Ok(if line.is_empty() { default.unwrap_or_default().to_owned() } else { line })
    }

    /// Asks for a secret, which is not shown. Empty when nothing was typed.
    pub(crate) fn secret(&self, question: &str, flag: &str) -> anyhow::Result<String> {
        self.must_be_there(question, flag)?;
        self.prompt(&format!("{question} {}: ", self.style.dim("(not shown)")))?;
        let secret = read_secret()?;
        writeln!(io::stdout())?;
        Ok(secret)
    }

    /// Asks whether to. With `--yes` it is yes.
    pub(crate) fn agrees(&self, question: &str, default: bool) -> anyhow::Result<bool> {
        if self.agrees {
            return Ok(true);
        }
        self.must_be_there(question, "--yes")?;
        loop {
            let choice = if default { "[Y/n]" } else { "[y/N]" };
            self.prompt(&format!("{question} {} ", self.style.dim(choice)))?;
            match read_line()?.to_ascii_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.say("Say y or n.")?,
            }
        }
    }

    /// Asks and tries; what is wrong is said, and asked for again, three times in all.
    pub(crate) fn thrice<T, R>(
        &self,
        mut ask: impl FnMut() -> anyhow::Result<T>,
        mut attempt: impl FnMut(T) -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        for tries_left in (0..TRIES).rev() {
            match attempt(ask()?) {
                Err(err) if err.is::<Wrong>() && self.is_terminal && tries_left > 0 => {
                    self.fail(&err)?
                }
                other => return other,
            }
        }
        bail!("there are no tries left")
    }

    fn must_be_there(&self, question: &str, flag: &str) -> anyhow::Result<()> {
        if self.is_terminal {
            return Ok(());
        }
        Err(Wrong::new(
            format!("there is nobody to ask: {}", question.trim_end_matches('?')),
            format!("say it with {flag}"),
        )
        .into())
    }

    fn prompt(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// A secret out of a file, or out of stdin when the file is `-`: never out of an argument, which others see.
pub(crate) fn secret_of(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin()
            .lock()
            .read_to_string(&mut text)
            .context("cannot read the secret from stdin")?;
    } else {
        text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        let says = format!("{} does not hold a secret of one line", file.display());
        return Err(Wrong::new(says, "put nothing but the secret into it").into());
    }
    Ok(text.to_owned())
}

/// One line of the terminal, which does the editing. Read past std's buffer, so that nothing of the next answer hides
/// in it.
fn read_line() -> anyhow::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut bytes = [0; 4096];
        let count =
            rustix::io::read(io::stdin(), &mut bytes).context("cannot read the terminal")?;
        if count == 0 || line.len() > LINE_BYTES_MAX {
            bail!("the input ended; nothing more is changed");
        }
        line.extend_from_slice(&bytes[..count]);
    }
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

/// The terminal's modes, put back however the reading ends.
struct Quiet(rustix::termios::Termios);

impl Drop for Quiet {
    fn drop(&mut self) {
        // What a paste brought after its line is no answer to the next question.
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn read_secret() -> anyhow::Result<String> {
    let before = tcgetattr(io::stdin()).context("cannot read the terminal")?;
    let mut quiet = before.clone();
    // Also Ctrl-C comes as a key: as a signal it would leave the terminal without echo.
    quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    let _quiet = Quiet(before);
    tcsetattr(io::stdin(), OptionalActions::Now, &quiet).context("cannot hide what is typed")?;
    let mut typed = Vec::new();
    loop {
        let mut bytes = [0; 1024];
        let count =
            rustix::io::read(io::stdin(), &mut bytes).context("cannot read the terminal")?;
        if count == 0 || typed.len() > LINE_BYTES_MAX {
            bail!("the input ended; nothing more is changed");
        }
        for byte in &bytes[..count] {
            match byte {
                b'\r' | b'\n' => return Ok(String::from_utf8_lossy(&typed).trim().to_owned()),
                0x03 => {
                    let _ = writeln!(io::stdout());
                    bail!("left; nothing more is changed");
                }
                0x04 if typed.is_empty() => bail!("the input ended; nothing more is changed"),
                0x08 | 0x7f => {
                    typed.pop();
                }
                0x15 => typed.clear(),
                it if *it < 0x20 => {}
                it => typed.push(*it),
            }
        }
    }
}
