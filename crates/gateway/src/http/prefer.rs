//! The header `Prefer` (RFC 7240): how long a caller waits, and how it wants to be told of failures.

use std::time::Duration;

/// So long a caller waits for an answer when it does not say: below the cut of usual proxies, at 100 s.
const WAIT: Duration = Duration::from_secs(90);
/// So long it waits at most.
const WAIT_SECONDS_MAX: u64 = 600;

/// What a caller prefers. What is not known here is passed over, as the RFC wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preferences {
    /// `respond-async`: told at once that it was accepted.
    pub(super) is_async: bool,
    /// `wait=n`.
    pub(super) wait: Duration,
    /// `handling=strict`: a turn that failed is no success of HTTP either.
    pub(super) is_strict: bool,
}

impl Preferences {
    pub(super) fn of(header: Option<&str>) -> Preferences {
        let mut it = Preferences { is_async: false, wait: WAIT, is_strict: false };
        for word in header.unwrap_or_default().split([',', ';']).map(str::trim) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match (name.trim().to_ascii_lowercase().as_str(), value.trim().trim_matches('"')) {
                ("respond-async", _) => it.is_async = true,
                ("handling", "strict") => it.is_strict = true,
                ("wait", seconds) => {
                    if let Ok(seconds) = seconds.parse::<u64>() {
                        it.wait = Duration::from_secs(seconds.min(WAIT_SECONDS_MAX));
                    }
                }
                _ => {}
            }
        }
        it
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_counts_and_the_rest_is_passed_over() {
        let of = |it: &str| Preferences::of(Some(it));
        assert_eq!(Preferences::of(None), of("return=minimal, wait=soon, handling=lenient"));
        let it = of("respond-async, WAIT=\"5\"; handling=strict");
        assert_eq!(
            it,
            Preferences { is_async: true, wait: Duration::from_secs(5), is_strict: true }
        );
        assert_eq!(of("wait=99999").wait, Duration::from_secs(600));
    }
}
