//! How far the limits of Claude's plan are used up: `plan.json`. A plan has windows, such as five hours and seven days, each
//! with a share that is used and a time at which it begins anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A plan has two windows today; somebody who tells of a thousand does not fill the disk.
const WINDOWS_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 40;

/// A window of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanWindow {
    /// How much of it is used: 1 is all.
    pub used: f64,
    /// When it begins anew, in seconds since 1970.
    pub resets_at: u64,
    /// Whether people were told that it is nearly used up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warned: bool,
}

/// The windows of the plan, as Claude Code told them last. Empty with an API key, which has none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanUse {
    /// When they were told, in ms since 1970.
    pub at: u64,
    /// Each by the name that Claude Code gives it, such as `five_hour`.
    pub windows: BTreeMap<String, PlanWindow>,
}

impl PlanUse {
    /// Takes a window in as it was told. That people were warned holds until the window that they were warned of is over.
    /// Whatever is no window of a plan is left out.
    pub fn tell(&mut self, name: &str, used: f64, resets_at: u64, now_ms: u64) {
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_');
        let is_new = !self.windows.contains_key(name);
        if !is_name || !used.is_finite() || (is_new && self.windows.len() >= WINDOWS_MAX) {
            return;
        }
        let before = self.windows.get(name);
        let warned = before.is_some_and(|it| it.warned && now_ms / 1_000 < it.resets_at);
        self.at = now_ms;
        self.windows.insert(name.to_owned(), PlanWindow { used: used.max(0.0), resets_at, warned });
    }

    /// The windows that are not over, the one that begins anew first in front.
    pub fn open(&self, now_ms: u64) -> Vec<(&str, PlanWindow)> {
        let windows = self.windows.iter().map(|(name, it)| (name.as_str(), *it));
        let mut open: Vec<_> = windows.filter(|(_, it)| now_ms / 1_000 < it.resets_at).collect();
        open.sort_by_key(|(_, it)| it.resets_at);
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_holds_until_its_window_is_over() {
        let mut plan = PlanUse::default();
        plan.tell("five_hour", 0.83, 1_000, 500_000);
        plan.windows.get_mut("five_hour").unwrap().warned = true;
        // The end is told a little differently each time.
        plan.tell("five_hour", 0.9, 1_001, 999_000);
        assert!(plan.windows["five_hour"].warned);
        plan.tell("five_hour", 0.85, 19_000, 1_002_000);
        assert!(!plan.windows["five_hour"].warned, "the next window is another one");
    }

    #[test]
    fn what_is_no_window_is_left_out_and_one_that_is_over_is_not_told() {
        let mut plan = PlanUse::default();
        for name in ["", "../up", "Five Hours", "ünf"] {
            plan.tell(name, 0.5, 1_000, 0);
        }
        plan.tell("five_hour", f64::NAN, 1_000, 0);
        assert!(plan.windows.is_empty());
        (0..20).for_each(|it| plan.tell(&format!("w{it}"), 0.5, 1_000, 0));
        assert_eq!(plan.windows.len(), WINDOWS_MAX);
        assert_eq!((plan.open(999_000).len(), plan.open(1_000_000).len()), (WINDOWS_MAX, 0));
    }
}
