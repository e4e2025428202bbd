//! `plan.json`: how far the limits of Claude's plan are used up, and how people are told of it. Written by processor alone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{PlanUse, PlanWindow};

use crate::{JsonError, StateDir, load, save};

/// From this share on people are warned.
pub const WARN_AT: f64 = 0.8;

/// What was told last; nothing where nothing was told yet.
pub fn read(state: &StateDir) -> Result<PlanUse, JsonError> {
    Ok(load(&state.plan())?.unwrap_or_default())
}

/// Keeps it. It is flushed when people were warned of something, so that they are not warned again.
pub fn write(state: &StateDir, plan: &PlanUse, flush: Flush) -> Result<(), JsonError> {
    save(&state.plan(), plan, flush)
}

/// A sentence about the windows that are not over: `Plan: 31 % of 5 hours (new at 18:30), 12 % of 7 days (new on Thu 3 Dec,
/// 09:00).` None where the plan has none, or nothing was told yet.
pub fn sentence(plan: &PlanUse, zone: &TimeZone, now_ms: u64) -> Option<String> {
    let open = plan.open(now_ms);
    let told: Vec<String> =
        open.into_iter().map(|(name, it)| share(name, it, zone, now_ms)).collect();
    (!told.is_empty()).then(|| format!("Plan: {}.", told.join(", ")))
}

/// `31 % of 5 hours (new at 18:30)`.
pub fn share(name: &str, window: PlanWindow, zone: &TimeZone, now_ms: u64) -> String {
    let length = match name {
        "five_hour" => "5 hours".to_owned(),
        "seven_day" => "7 days".to_owned(),
        other => other.replace('_', " "),
    };
    let percent = (window.used * 100.0).floor();
    format!("{percent:.0} % of {length} (new {})", when(window.resets_at, zone, now_ms))
}

/// `at 18:30` today, else `on Thu 3 Dec, 09:00`.
fn when(at_s: u64, zone: &TimeZone, now_ms: u64) -> String {
    let zoned = |ms: u64| {
        let ms = i64::try_from(ms).ok()?;
        Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(zone.clone()))
    };
    let Some(at) = zoned(at_s.saturating_mul(1_000)) else { return "at some time".to_owned() };
    match zoned(now_ms).is_some_and(|now| now.date() == at.date()) {
        true => at.strftime("at %H:%M").to_string(),
        false => at.strftime("on %a %-d %b, %H:%M").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_is_told_with_the_time_at_which_it_begins_anew() {
        let mut plan = PlanUse::default();
        let now = 1_795_190_400_000;
        assert_eq!(sentence(&plan, &TimeZone::UTC, now), None);
        plan.tell("seven_day", 0.127, now / 1_000 + 200_000, now);
        plan.tell("five_hour", 0.31, now / 1_000 + 3_600, now);
        plan.tell("five_hour_opus", 1.2, now / 1_000 + 7_200, now);
        assert_eq!(
            sentence(&plan, &TimeZone::UTC, now).unwrap(),
            "Plan: 31 % of 5 hours (new at 17:00), 120 % of five hour opus (new at 18:00), \
             12 % of 7 days (new on Sun 22 Nov, 23:33)."
        );
        assert_eq!(sentence(&plan, &TimeZone::UTC, now + 300_000_000), None);
    }
}
