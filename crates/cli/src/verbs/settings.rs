//! `tinyclaw settings`: what is set, where it comes from, and changing it in `settings.json`.
//!
//! Everything goes through the one table of settings. A secret is neither shown nor taken as an argument, and what a
//! variable would override is not written.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tinyclaw_service::settings::{Origin, Reader, Row, Source, rows};

use crate::place;
use crate::setup::standing::hint;
use crate::setup::{Answers, Person, Wrong, row, secret_of};
use crate::terminal::{self, Style, Table};

/// What of a value is shown in a table.
const SHOWN_MAX: usize = 48;
/// Read at the start of a service and not again.
const AT_START: [&str; 9] = [
    "engine.",
    "claude.",
    "github.",
    "dashboard.",
    "log.",
    "health.",
    "retention.",
    "telegram.botToken",
    "telegram.apiUrl",
];

/// Show or change settings.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what is set; with --all everything that can be.
    Ls(Ls),
    /// Print one value. Exits 1 when there is none.
    Get(Get),
    /// Write one into settings.json.
    Set(Set),
    /// Take one out of settings.json.
    Unset(Unset),
}

#[derive(Debug, Default, Args)]
struct Ls {
    /// Also what is as it comes.
    #[arg(long)]
    all: bool,

    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Get {
    /// The key, as in settings.json.
    key: String,

    /// Print a JSON object that also says where it comes from.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Set {
    /// The key, as in settings.json.
    key: String,

    /// The value; a list or an object as JSON, or a list with commas between. A secret never stands here.
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,

    /// Take the value from a file, or from stdin with -.
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,

    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Unset {
    /// The key, as in settings.json.
    key: String,

    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
}

/// A setting as it stands.
struct ShownSetting {
    row: &'static Row,
    /// What it is, never a secret; `None` when there is nothing.
    value: Option<Json>,
    /// Where it was set; `None` for the default.
    origin: Option<Origin>,
}

impl ShownSetting {
    fn from(&self) -> String {
        match &self.origin {
            None => "default".to_owned(),
            Some(Origin::Key(_) | Origin::File) => "settings.json".to_owned(),
            Some(Origin::Variable(name)) => name.clone(),
        }
    }

    fn text(&self) -> String {
        match &self.value {
            None => "–".to_owned(),
            Some(it) => plain(it),
        }
    }

    fn json(&self) -> Json {
        json!({
            "key": self.row.key, "value": self.value, "from": self.from(), "isSet": self.origin.is_some(),
            "isSecret": self.row.is_secret, "default": (!self.row.default.is_empty()).then_some(self.row.default),
            "variable": self.row.variables()[0], "looks": self.row.looks, "about": about(self.row),
        })
    }
}

impl Settings {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb.unwrap_or_else(|| Verb::Ls(Ls::default())) {
            Verb::Ls(it) => it.run(),
            Verb::Get(it) => it.run(),
            Verb::Set(it) => it.run(),
            Verb::Unset(it) => change(&it.key, None, it.json),
        }
    }
}

/// Every setting, and the mistakes that stand in the way of reading some.
fn seen() -> anyhow::Result<(Vec<ShownSetting>, Vec<String>)> {
    let environment = place::environment();
    let file = std::fs::read_to_string(place::state()?.settings()).unwrap_or_default();
    let mut reader = Reader::new(&file, &environment);
    let mut all = Vec::new();
    for row in rows() {
        let given = reader.given(row);
        let (origin, source) =
            given.map_or((None, None), |(origin, source)| (Some(origin), Some(source)));
        let value = source
            .map(|it| json_of(&it))
            .or_else(|| (!row.default.is_empty()).then(|| row.default.into()));
        let value = value.map(|it| if row.is_secret { hint(&plain(&it)).into() } else { it });
        all.push(ShownSetting { row, value, origin });
    }
    let read = Reader::new(&file, &environment).finish::<tinyclaw_service::settings::Settings>();
    let mistakes = read.err().map(|it| it.0).unwrap_or_default();
    Ok((all, mistakes.iter().map(ToString::to_string).collect()))
}

fn json_of(source: &Source) -> Json {
    match source {
        Source::One(text) => text.as_str().into(),
        Source::Many(parts) => parts.clone().into(),
        Source::Map(map) => json!(map),
        Source::Nested(map) => json!(map),
    }
}

/// A value as one would type it.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(parts) => parts.iter().map(plain).collect::<Vec<_>>().join(","),
        Json::Object(map) => {
            let pairs: BTreeMap<_, _> = map.iter().map(|(name, it)| (name, plain(it))).collect();
            pairs.iter().map(|(name, it)| format!("{name}={it}")).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

fn about(row: &Row) -> String {
    row.about.iter().map(|it| it.trim()).collect::<Vec<_>>().join(" ")
}

impl Ls {
    fn run(self) -> anyhow::Result<ExitCode> {
        let (mut all, mistakes) = seen()?;
        if !self.all {
            all.retain(|it| it.origin.is_some());
        }
        // What somebody decided comes first.
        all.sort_by_key(|it| it.origin.is_none());
        let mut out = std::io::stdout().lock();
        if self.json {
            let all: Vec<Json> = all.iter().map(ShownSetting::json).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let style = Style::of(&out);
        let mut table = Table::new(&["key", "value", "from"]);
        for it in &all {
            let value = terminal::clip(&terminal::one_line(&it.text()), SHOWN_MAX);
            table.row(vec![it.row.key.to_owned(), value, it.from()]);
        }
        if all.is_empty() {
            writeln!(out, "Everything is as it comes. `tinyclaw settings ls --all` shows how.")?;
        } else {
            out.write_all(table.draw(style).as_bytes())?;
        }
        for it in &mistakes {
            writeln!(out, "{}", style.red(&terminal::one_line(it)))?;
        }
        if !mistakes.is_empty() {
            writeln!(
                out,
                "→ while there are mistakes, services keep the last good settings; docs/SETTINGS.md"
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Get {
    fn run(self) -> anyhow::Result<ExitCode> {
        let wanted = row(&self.key)?;
        let (all, _) = seen()?;
        let Some(seen) = all.into_iter().find(|it| it.row.key == wanted.key) else {
            bail!("there is no setting {}", self.key);
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&seen.json())?)?;
        } else if seen.value.is_some() {
            writeln!(out, "{}", terminal::one_line(&seen.text()))?;
        }
        Ok(if seen.value.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Set {
    fn run(self) -> anyhow::Result<ExitCode> {
        let row = row(&self.key)?;
        let value = match (self.value, &self.file) {
            (Some(_), _) if row.is_secret => {
                let says =
                    format!("{} is a secret, and others see what stands in a command", row.key);
                let way_out =
                    format!("tinyclaw settings set {} --file FILE, or - for stdin", row.key);
                return Err(Wrong::new(says, way_out).into());
            }
            (Some(text), _) => text,
            (None, Some(file)) => secret_of(file)?,
            (None, None) if std::io::stdin().is_terminal() => {
                let person = Person::new(false, self.json);
                let typed = match row.is_secret {
                    true => person.secret(row.key, "--file FILE")?,
                    false => person.line(row.key, None, "VALUE")?,
                };
                if typed.is_empty() {
                    bail!("nothing was entered; nothing is changed");
                }
                typed
            }
            (None, None) => {
                let says = format!("{} needs a value", row.key);
                let way_out = format!("expected {}; or --file FILE, - for stdin", row.looks);
                return Err(Wrong::new(says, way_out).into());
            }
        };
        change(row.key, Some(typed(row, &value)), self.json)
    }
}

/// What was typed as a file would have it.
fn typed(row: &Row, text: &str) -> Json {
    let text = text.trim();
    let is_text = row.is_secret || row.looks == "text";
    match serde_json::from_str::<Json>(text) {
        Ok(it @ (Json::Array(_) | Json::Object(_))) => it,
        Ok(it @ (Json::Bool(_) | Json::Number(_))) if !is_text => it,
        _ => text.into(),
    }
}

/// Writes a setting, or takes it out, and says what was before and when it counts.
fn change(key: &str, value: Option<Json>, as_json: bool) -> anyhow::Result<ExitCode> {
    let row = row(key)?;
    let state = place::office()?;
    let before = seen()?.0.into_iter().find(|it| it.row.key == row.key);
    // Only this process's own variables: the file is the state folder's, wherever one stands.
    let answers = Answers::of_state(state);
    answers.must_count(&[row.key])?;
    answers.write_settings(&[(row.key, value)])?;
    let after = seen()?.0.into_iter().find(|it| it.row.key == row.key);
    let (Some(before), Some(after)) = (before, after) else { bail!("there is no setting {key}") };
    let at_start = AT_START.iter().any(|it| row.key.starts_with(it));
    let mut out = std::io::stdout().lock();
    if as_json {
        let told = json!({
            "key": row.key, "value": after.value, "was": before.value, "from": after.from(),
            "needsRestart": at_start, "file": answers.file(),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&told)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let origin = if before.origin.is_none() { ", the default" } else { "" };
    let (now, was) = (terminal::one_line(&after.text()), terminal::one_line(&before.text()));
    writeln!(out, "{} is {now} (was {was}{origin})", row.key)?;
    let then = match at_start {
        true => "services read it at their start: ./tinyclaw.sh restart, or start them again",
        false => "running services take it within two seconds",
    };
    writeln!(out, "{}", Style::of(&out).dim(then))?;
    Ok(ExitCode::SUCCESS)
}
