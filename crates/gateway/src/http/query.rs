//! What can be asked for in an address: filters, a place, how many, how long to wait.
//!
//! A word that is not known is refused: a misspelt filter would show everything.

use std::time::Duration;

use axum::http::Uri;
use tinyclaw_service::now_ms;

use crate::event::{Cursor, Timestamp, bad_name, is_name};
use crate::filter::{Filter, Pattern, TYPES_MAX, too_many_types};
use crate::problem::Problem;

/// So many events when nothing is said, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// So long a long poll waits at most.
const WAIT_SECONDS_MAX: u64 = 60;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) filter: Filter,
    pub(super) after: Option<Cursor>,
    /// `since=earliest`: from the first that is kept.
    pub(super) is_from_start: bool,
    pub(super) limit: usize,
    pub(super) wait: Option<Duration>,
    pub(super) is_pai: bool,
    pub(super) ticket: Option<String>,
}

/// What stands behind the `?`.
pub(super) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let pairs: axum::extract::Query<Vec<(String, String)>> =
        axum::extract::Query::try_from_uri(uri)
            .map_err(|_| Problem::query("", "the query is not well formed"))?;
    Ok(pairs.0)
}

impl Question {
    /// From an address.
    pub(super) fn of(uri: &Uri) -> Result<Question, Problem> {
        let mut question = Question { limit: LIMIT, ..Question::default() };
        for (name, value) in pairs(uri)? {
            question.take(&name, value).map_err(|why| Problem::query(&name, why))?;
        }
        Ok(question)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "type" => {
                for it in value.split(',') {
                    self.filter.types.push(Pattern::parse(it)?);
                }
                if self.filter.types.len() > TYPES_MAX {
                    return Err(too_many_types());
                }
            }
            // No event has such a one: a filter that nothing can pass is a mistake.
            "source" | "session" | "subject" if !is_name(&value) => return Err(bad_name()),
            "source" => self.filter.source = Some(value),
            "session" => self.filter.session = Some(value),
            "subject" => self.filter.subject = Some(value),
            "since" if value == "earliest" => self.is_from_start = true,
            "since" => {
                let since = since(&value, now_ms());
                self.filter.since = Some(since.ok_or(
                    "expected a time: ISO 8601, seconds or ms since 1970, 10m, 2h, 3d, or earliest",
                )?);
            }
            "after" => {
                self.after =
                    Some(value.parse().map_err(|it: crate::event::BadCursor| it.to_string())?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|it| (1..=LIMIT_MAX).contains(it));
                self.limit =
                    limit.ok_or_else(|| format!("expected a number from 1 to {LIMIT_MAX}"))?;
            }
            "wait" => {
                let wait = value.parse().ok().filter(|it| *it <= WAIT_SECONDS_MAX);
                let wait =
                    wait.ok_or_else(|| format!("expected seconds, at most {WAIT_SECONDS_MAX}"))?;
                self.wait = Some(Duration::from_secs(wait));
            }
            "shape" => match value.as_str() {
                "pai" => self.is_pai = true,
                "event" => self.is_pai = false,
                _ => return Err("expected event or pai".to_owned()),
            },
            "ticket" => self.ticket = Some(value),
            _ => {
                return Err("is not known here; use type, source, session, subject, since, after, limit, wait, shape, ticket".to_owned());
            }
        }
        Ok(())
    }
}

/// Numbers below this are seconds.
const MS_FROM: u64 = 100_000_000_000;

fn since(text: &str, now: u64) -> Option<u64> {
    if let Ok(number) = text.parse::<u64>() {
        return Some(if number < MS_FROM { number.saturating_mul(1000) } else { number });
    }
    if let Some(it) = Timestamp::of_text(text) {
        return Some(it.ms);
    }
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    Some(now.saturating_sub(count.checked_mul(unit * 1000)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_iso_seconds_milliseconds_or_so_long_ago() {
        let now = 1_771_234_567_905;
        for (text, expected) in [
            ("2026-02-16T09:36:07Z", Some(1_771_234_567_000)),
            ("2026-02-16T10:36:07+01:00", Some(1_771_234_567_000)),
            ("1771234567", Some(1_771_234_567_000)),
            ("1771234567905", Some(1_771_234_567_905)),
            ("10m", Some(now - 600_000)),
            ("2h", Some(now - 7_200_000)),
            ("99999999999999d", None),
            ("99999999d", Some(0)),
            ("1066-10-14T09:00:00Z", Some(0)),
            ("m", None),
            ("ä", None),
            ("", None),
            ("-5m", None),
        ] {
            assert_eq!(since(text, now), expected, "{text}");
        }
    }

    #[test]
    fn a_word_that_is_not_known_is_refused_by_its_name() {
        let of = |it: &str| Question::of(&format!("/events?{it}").parse().unwrap());
        assert!(of("type=session.*,tool&type=a&session=s1&limit=5&wait=60").is_ok());
        for bad in [
            "sesion=s1",
            "subject=%C2%84",
            "source=a%0A",
            "limit=0",
            "limit=1001",
            "wait=61",
            "after=x",
            "type=a b",
            "shape=x",
            &format!("type={}", ["a"; 51].join(",")),
        ] {
            assert_eq!(of(&bad.replace(' ', "%20")).unwrap_err().status(), 422, "{bad}");
        }
    }
}
