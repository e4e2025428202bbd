//! What is done when a turn failed, and how people are told.

use std::time::{Duration, Instant};

use tinyclaw_domain::{ButtonPress, ReplyButton};
use tinyclaw_engine::{Advice, TurnFailure};
use tinyclaw_queue::{ATTEMPTS_MAX, backoff};

use crate::notices::Pause;
use crate::office::Office;

/// A crash or a hang that comes back is not tried for ever.
const CRASHES_MAX: u32 = 3;
/// An answer that makes no sense twice will not make sense.
const GARBLED_MAX: u32 = 2;
/// How often it is looked whether a login has come back.
pub(crate) const LOOK_AFTER_LOGIN: Duration = Duration::from_secs(60);

/// What becomes of a message whose turn failed.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The same message again in this lease, in a new session.
    NewSession,
    /// The same again in this lease, with the middle model.
    DefaultModel,
    /// Again after a while; counts as an attempt.
    Retry { after: Duration, tell: String },
    /// Back to where it came from; nothing can be answered at the moment. Does not count.
    Wait,
    /// Given up, with what people are told.
    GiveUp(String),
    /// Answered with what went wrong: trying again by ourselves is of no use.
    Report { text: String, buttons: Vec<ReplyButton> },
    /// Put back as it was: we are leaving.
    PutBack,
}

impl Office {
    /// Decides, and pauses the engine when nobody can be answered.
    pub(crate) fn judge(
        &self,
        failure: &TurnFailure,
        attempt: u32,
        has_fallen_back: bool,
    ) -> Verdict {
        let what = plainly(failure);
        let retry = |least: Duration, most: u32| {
            if attempt >= most {
                return Verdict::GiveUp(format!(
                    "This message could not be answered after {attempt} tries: {what}. It is kept; /retry tries again."
                ));
            }
            let after = backoff(attempt, rand::random()).max(least);
            let tell = format!(
                "Claude did not answer: {what}. Trying again in {} s, {} of {most}.",
                after.as_secs(),
                ordinal(attempt + 1)
            );
            Verdict::Retry { after, tell }
        };
        match failure.advice() {
            Advice::NewSession => Verdict::NewSession,
            Advice::Resume => retry(Duration::from_secs(1), CRASHES_MAX),
            Advice::PauseUntilLogin => {
                self.pause(Pause {
                    why: "Claude is not logged in; run `tinyclaw setup claude`".to_owned(),
                    until: None,
                    next_look: Instant::now() + LOOK_AFTER_LOGIN,
                });
                Verdict::Wait
            }
            Advice::PauseUntil(until) => {
                let why = match failure {
                    TurnFailure::PlanLimit { .. } => "Claude's plan limit is reached",
                    _ => "The API's rate limit is reached",
                };
                let now = tinyclaw_service::now_ms() / 1_000;
                let wait = until.map_or(60, |it| it.saturating_sub(now).clamp(1, 3_600));
                self.pause(Pause {
                    why: why.to_owned(),
                    until,
                    next_look: Instant::now() + Duration::from_secs(wait),
                });
                Verdict::Wait
            }
            Advice::BackOff(least) => retry(least, ATTEMPTS_MAX),
            Advice::BackOffTwice(least) => retry(least, GARBLED_MAX + 1),
            Advice::DefaultModelOnce if !has_fallen_back => Verdict::DefaultModel,
            Advice::DefaultModelOnce | Advice::Report => Verdict::Report {
                text: format!("Claude did not answer: {what}."),
                buttons: Vec::new(),
            },
            Advice::OfferToContinue => Verdict::Report {
                text: format!("Stopped: {what}. Say \"continue\" to go on from here."),
                buttons: vec![ReplyButton {
                    label: "Continue".to_owned(),
                    press: ButtonPress::Say("continue".to_owned()),
                }],
            },
            Advice::OutOfOrder => {
                self.pause(Pause {
                    why: format!("Claude cannot be started ({what})"),
                    until: None,
                    next_look: Instant::now() + LOOK_AFTER_LOGIN,
                });
                Verdict::Wait
            }
            Advice::PutBack => Verdict::PutBack,
        }
    }
}

/// The failure in words for a chat: `overloaded (529)`.
fn plainly(failure: &TurnFailure) -> String {
    match failure {
        TurnFailure::Unavailable { status: Some(529), .. } => "overloaded (529)".to_owned(),
        other => other.to_string(),
    }
}

fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (1, it) if it != 11 => "st",
        (2, it) if it != 12 => "nd",
        (3, it) if it != 13 => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_read_well() {
        let all: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 22].into_iter().map(ordinal).collect();
        assert_eq!(all, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd"]);
    }
}
