//! Setting an office up: each part asked for, tried, and written down only when it works.
//!
//! A part can be done again at any time and touches nothing of the others. A secret is never shown, never an argument,
//! and in no file that others may read.

mod answers;
mod ask;
mod claude;
mod dotenv;
mod github;
mod office;
pub(crate) mod standing;
mod telegram;
mod tunnel;

use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::answers::{Answers, row};
pub(crate) use self::ask::{Person, Wrong, secret_of};
pub(crate) use self::claude::Claude;
pub(crate) use self::github::GitHub;
pub(crate) use self::office::OfficePart;
pub(crate) use self::telegram::Telegram;
pub(crate) use self::tunnel::Tunnel;

use self::answers::Wrote;
use self::standing::{PartStanding, Standing};
use crate::terminal::Style;

/// A part that was set up.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Done {
    part: &'static str,
    /// What was found out, without secrets.
    found: Value,
    wrote: Vec<Wrote>,
    /// What a person should do about it, besides.
    warnings: Vec<String>,
    /// How it comes into force.
    then: String,
}

/// What all parts have at hand.
#[derive(Debug)]
pub(crate) struct SetupContext {
    pub(crate) answers: Answers,
    pub(crate) person: Person,
}

impl SetupContext {
    /// Says what was written and how it comes into force.
    fn done(
        &self,
        part: &'static str,
        found: Value,
        wrote: Vec<Wrote>,
        warnings: Vec<String>,
    ) -> anyhow::Result<Done> {
        let names = |removed: bool| {
            let names = wrote.iter().filter(|it| it.removed == removed).map(|it| it.name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let file = self.answers.file();
        if !names(false).is_empty() {
            self.person.ok(&format!("{} written to {}", names(false), file.display()))?;
        }
        let removed = names(true);
        if !removed.is_empty() && self.answers.checkout().is_some() {
            self.person
                .ok(&format!("{removed} emptied there, which would have contradicted it"))?;
        }
        let then = if self.answers.checkout().is_some() {
            "variables are read at the start: ./tinyclaw.sh start takes them over"
        } else if matches!(part, "office") {
            "running services take it within two seconds; budgets count by the new time zone from their next start"
        } else {
            "running services read this at their start: start them again"
        };
        self.person.say(&self.person.style().dim(&format!("      {then}")))?;
        Ok(Done { part, found, wrote, warnings, then: then.to_owned() })
    }

    /// Every part in turn, each of which may be skipped, and how they stand at the end.
    pub(crate) fn walk(&self) -> anyhow::Result<bool> {
        if !self.person.is_terminal() {
            let says = "setup asks, and there is nobody to ask";
            let way_out =
                "name a part: tinyclaw setup telegram --help; or --json to see how all parts stand";
            return Err(Wrong::new(says, way_out).into());
        }
        let file = self.answers.file();
        self.person.say(&format!(
            "Answers go to {}. Enter takes what stands in brackets.",
            file.display()
        ))?;
        let mut all_well = true;
        for before in self.parts() {
            self.person.say("")?;
            self.person.say(&format!("{}: {}", before.name, before.why))?;
            // An office does well without GitHub and without a public name.
            let is_extra = matches!(before.name, "github" | "tunnel");
            let wants = match before.standing {
                Standing::Off => !is_extra,
                Standing::Broken | Standing::Demo => true,
                Standing::Real => false,
            };
            if !self.person.agrees(&format!("Set up {}?", before.name), wants)? {
                continue;
            }
            let done = match before.name {
                "telegram" => Telegram::default().run(self),
                "claude" => Claude::default().run(self),
                "github" => GitHub::default().run(self),
                "tunnel" => Tunnel::default().run(self),
                _ => OfficePart::default().run(self),
            };
            if let Err(err) = done {
                all_well = false;
                self.person.fail(&err)?;
                self.person.say(&format!("      {} stays as it was", before.name))?;
            }
        }
        self.person.say("")?;
        self.person.say(table(&self.parts(), self.person.style()).trim_end())?;
        let next = match self.answers.checkout() {
            Some(_) => "./tinyclaw.sh start, then ./tinyclaw.sh doctor",
            None => "start the services, then tinyclaw doctor",
        };
        self.person.say(&format!("→ {next}"))?;
        Ok(all_well)
    }

    /// How every part stands.
    pub(crate) fn parts(&self) -> Vec<PartStanding> {
        standing::standing(self.answers.state(), &self.answers.environment())
    }
}

/// How the parts stand, for a person.
pub(crate) fn table(parts: &[PartStanding], style: Style) -> String {
    let mut text = String::new();
    for it in parts {
        let word = format!("{:<8}", it.standing.as_str());
        let word = match it.standing {
            Standing::Broken => style.red(&word),
            Standing::Demo => style.yellow(&word),
            Standing::Off => style.dim(&word),
            Standing::Real => word,
        };
        text.push_str(&format!("{:<10}{word}{}\n", it.name, it.why));
        if let Some(way_out) = it.way_out.as_ref().filter(|_| it.standing != Standing::Off) {
            text.push_str(&format!("{:18}→ {way_out}\n", ""));
        }
    }
    text
}

/// The parts as JSON.
pub(crate) fn table_json(parts: &[PartStanding]) -> Value {
    json!(parts)
}
