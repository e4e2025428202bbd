//! `tinyclaw setup office`: where the office is on the clock, and what it may spend in a day.

use clap::Args;
use jiff::tz::TimeZone;
use serde_json::json;
use tinyclaw_service::settings::{self, Office as Place};

use super::{Done, SetupContext, Wrong};

/// Set the time zone and the daily budget.
#[derive(Debug, Default, Args)]
pub(crate) struct OfficePart {
    /// The time zone, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,

    /// What the office may spend in a day, in US dollars, or none.
    #[arg(long, value_name = "USD")]
    budget: Option<String>,
}

impl OfficePart {
    pub(crate) fn run(self, desk: &SetupContext) -> anyhow::Result<Done> {
        let (answers, person) = (&desk.answers, &desk.person);
        answers.must_count(&["timezone", "budget.officePerDay"])?;
        let is_asked = self.timezone.is_none() && self.budget.is_none();
        let (now, budget) = answers.current::<(Place, settings::Budget)>()?;
        let mut changes = Vec::new();

        let zone_now = now.timezone.iana_name().unwrap_or("UTC").to_owned();
        let zone = match self.timezone {
            Some(text) => Some(zone(&text)?),
            None if is_asked => {
                let machine = TimeZone::system().iana_name().unwrap_or("UTC").to_owned();
                let is_open = zone_now == "UTC" && machine != "Etc/UTC";
                let default = if is_open { machine } else { zone_now.clone() };
                let ask = || person.line("Time zone", Some(&default), "--timezone ZONE");
                Some(person.thrice(ask, |text| zone(&text))?)
            }
            None => None,
        };
        if let Some(zone) = &zone {
            changes.push(("timezone", Some(zone.clone())));
        }

        let budget_now = budget.office_a_day.map(|it| format!("{it:.2}"));
        let usd = match self.budget {
            Some(text) => Some(usd(&text)?),
            None if is_asked => {
                let default = budget_now.as_deref().unwrap_or("none");
                let ask = || {
                    person.line("US dollars a day at most, or none", Some(default), "--budget USD")
                };
                Some(person.thrice(ask, |text| usd(&text))?)
            }
            None => None,
        };
        if let Some(usd) = &usd {
            changes.push(("budget.officePerDay", usd.clone()));
        }

        let wrote = answers.write(&changes)?;
        let zone = zone.unwrap_or(zone_now);
        let usd = usd.unwrap_or(budget_now);
        let budget = usd
            .as_ref()
            .map_or_else(|| "no daily budget".to_owned(), |it| format!("${it} a day at most"));
        person.ok(&format!("{zone}, {budget}"))?;
        desk.done("office", json!({ "timezone": zone, "budgetPerDayUsd": usd }), wrote, Vec::new())
    }
}

/// The zone's name as the time zone database has it.
fn zone(text: &str) -> anyhow::Result<String> {
    let found = TimeZone::get(text.trim()).ok();
    let name = found.as_ref().and_then(|it| it.iana_name());
    match name {
        Some(name) => Ok(name.to_owned()),
        None => {
            let near = jiff::tz::db().available().map(|it| it.to_string()).collect::<Vec<_>>();
            let near = settings::did_you_mean(text, near.iter().map(String::as_str));
            let way_out = near.map_or_else(
                || "a place of the time zone database, such as Europe/Berlin, or UTC".to_owned(),
                |it| format!("did you mean {it}?"),
            );
            Err(Wrong::new(format!("there is no time zone {text:?}"), way_out).into())
        }
    }
}

/// An amount as it is written down; `None` for none.
fn usd(text: &str) -> anyhow::Result<Option<String>> {
    let plain = text.trim().trim_start_matches('$');
    if plain.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    match plain.parse::<f64>() {
        Ok(usd) if usd.is_finite() && usd > 0.0 => Ok(Some(format!("{usd:.2}"))),
        _ => {
            let says = format!("{text:?} is no amount");
            Err(Wrong::new(says, "US dollars above 0, such as 20 or 7.50, or none").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_one_of_the_database_and_a_typo_finds_it() {
        assert_eq!(zone(" europe/berlin ").unwrap(), "Europe/Berlin");
        assert!(
            zone("Europe/Berln").unwrap_err().to_string().contains("did you mean Europe/Berlin?")
        );
        assert!(zone("Mars").unwrap_err().to_string().contains("such as Europe/Berlin"));
    }

    #[test]
    fn an_amount_is_positive_or_none() {
        assert_eq!(usd("$7.5").unwrap().as_deref(), Some("7.50"));
        assert_eq!(usd("None").unwrap(), None);
        for text in ["", "0", "-3", "lots", "inf", "NaN"] {
            assert!(usd(text).is_err(), "{text}");
        }
    }
}
