//! What works, what does not, and what to do: every part of an office looked at once, from where one stands.
//!
//! Nobody is asked to do anything, nothing is spent, and nothing is written but a few probe files in the state folder
//! that are gone again. It works with nothing running, in the bot's container, and beside a running office.

pub(crate) mod deep;
mod devboxes;
mod facts;
mod folder;
mod machine;
pub(crate) mod numbers;
mod office;
mod queue;
mod services;
mod tools;

use std::fmt::Write as _;

use serde::Serialize;
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::{Environment, Reader, Settings};

pub(crate) use self::facts::Facts;
pub(crate) use self::machine::MachineFacts;
use crate::terminal::{Style, one_line};

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It works, or is not wanted.
    Ok,
    /// It works, and a person should know something about it.
    Warning,
    /// It does not work.
    Broken,
}

impl State {
    /// The word in front of its line, as wide as the others.
    fn word(self, style: Style) -> String {
        match self {
            State::Ok => style.green("ok  "),
            State::Warning => style.yellow("warn"),
            State::Broken => style.red("fail"),
        }
    }
}

/// One part, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    part: &'static str,
    state: State,
    /// What it is, or what is wrong with it.
    why: String,
    /// The one thing to do about it.
    way_out: Option<String>,
}

impl Finding {
    fn ok(part: &'static str, why: impl Into<String>) -> Finding {
        Finding { part, state: State::Ok, why: why.into(), way_out: None }
    }

    fn warning(part: &'static str, why: impl Into<String>, way_out: impl Into<String>) -> Finding {
        let way_out = Some(way_out.into());
        Finding { part, state: State::Warning, why: why.into(), way_out }
    }

    fn broken(part: &'static str, why: impl Into<String>, way_out: impl Into<String>) -> Finding {
        let way_out = Some(way_out.into());
        Finding { part, state: State::Broken, why: why.into(), way_out }
    }
}

/// What a look needs.
pub(crate) struct Patient {
    /// The state folder, which need not be there.
    pub(crate) state: StateDir,
    /// What the services see.
    pub(crate) environment: Environment,
    /// What Docker says, when somebody asked it.
    pub(crate) facts: Facts,
    /// What root says of the machine, where systemd runs the office.
    pub(crate) machine: MachineFacts,
    /// Whether this is the bot's container, from which the others are not all seen.
    pub(crate) in_container: bool,
}

impl Patient {
    /// The office that is meant here.
    pub(crate) fn new(state: StateDir, environment: Environment, facts: Facts) -> Patient {
        // The bot's own image sets it so; another container may hold a whole office.
        let in_container =
            state.root().starts_with("/app") && std::path::Path::new("/.dockerenv").exists();
        Patient { state, environment, facts, machine: MachineFacts::default(), in_container }
    }

    /// Looks at everything, in the order in which one thing needs another.
    pub(crate) fn examine(&self) -> Vec<Finding> {
        let mut found = folder::look(self);
        // What may not be looked into is not looked into: everything below would only say the same again.
        let root = self.state.root();
        let is_shut = root.is_dir() && std::fs::read_dir(root).is_err();
        if is_shut {
            found.extend(folder::clock(self));
            found.extend(tools::look(self, None));
            return found;
        }
        let has_folder = root.is_dir();
        found.extend(folder::clock(self));
        let file = std::fs::read_to_string(self.state.settings()).unwrap_or_default();
        found.extend(office::settings(self, &file));
        let settings = Reader::new(&file, &self.environment).finish::<Settings>().ok();
        let settings = settings.map(|(it, _)| it);
        found.extend(services::look(self, settings.as_ref()));
        if has_folder {
            found.extend(queue::look(self));
            found.extend(office::threads(self));
        }
        found.extend(self.machine.look());
        found.extend(tools::look(self, settings.as_ref()));
        if let Some(settings) = &settings {
            found.extend(office::day(self, settings));
            if has_folder {
                found.extend(devboxes::look(self, settings));
            }
        }
        if self.in_container {
            // These write `.env` and ask Docker, and are typed on the host.
            for way_out in found.iter_mut().filter_map(|it| it.way_out.as_mut()) {
                if way_out.starts_with("tinyclaw set") {
                    *way_out = way_out.replacen("tinyclaw ", "./tinyclaw.sh ", 1);
                }
            }
        }
        found
    }

    /// Whether what the bot reads is to be seen from here: it is the same machine, and as many rights.
    fn is_where_the_bot_is(&self) -> bool {
        let is_ours = std::fs::metadata(self.state.root()).is_ok_and(|it| {
            std::os::unix::fs::MetadataExt::uid(&it) == rustix::process::geteuid().as_raw()
        });
        self.in_container || is_ours && !std::path::Path::new("/.dockerenv").exists()
    }

    /// A command of this program, as one types it where one sits.
    fn ours(&self, words: &str) -> String {
        if self.in_container {
            format!("docker compose exec --user 10001 bot tinyclaw {words}")
        } else {
            format!("tinyclaw {words}")
        }
    }

    /// How to see what a service logs.
    fn logs(&self, service: &str) -> String {
        if self.in_container || service == "broker" {
            let container = if service == "broker" { "broker" } else { "bot" };
            format!("./tinyclaw.sh logs {container}")
        } else {
            format!("tinyclaw logs {service}")
        }
    }
}

/// Whether anything is broken.
pub(crate) fn is_broken(found: &[Finding]) -> bool {
    found.iter().any(|it| it.state == State::Broken)
}

/// One line for each finding, and an arrow below those that have a way out.
pub(crate) fn draw(found: &[Finding], style: Style) -> String {
    let wide = found.iter().map(|it| it.part.len()).max().unwrap_or(0);
    let mut text = String::new();
    for it in found {
        let why = one_line(&it.why);
        let _ = writeln!(text, "{}  {:<wide$}  {why}", it.state.word(style), it.part);
        if let Some(way_out) = &it.way_out {
            let arrow = format!("      → {}", one_line(way_out));
            let arrow = if it.state == State::Ok { style.dim(&arrow) } else { arrow };
            let _ = writeln!(text, "{arrow}");
        }
    }
    let count = |state| found.iter().filter(|it| it.state == state).count();
    let (broken, warnings) = (count(State::Broken), count(State::Warning));
    let verdict = match (broken, warnings) {
        (0, 0) => "everything works".to_owned(),
        (0, some) => format!("nothing is broken, {some} to look at"),
        (some, 0) => format!("{some} broken"),
        (some, others) => format!("{some} broken, {others} to look at"),
    };
    let _ = writeln!(text, "{verdict}");
    text
}
