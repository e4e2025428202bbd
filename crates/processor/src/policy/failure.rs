//! What is done when a turn failed, and how people are told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tinyclaw_domain::{ButtonPress, Key, ReplyButton};
use tinyclaw_engine::{Advice, TurnFailure, Watchdog};
use tinyclaw_queue::{ATTEMPTS_MAX, backoff};
use tinyclaw_service::conceal;

use crate::availability::notices::Pause;
use crate::office::{Office, lock};
use crate::work::prompt::shortened;

/// A crash or a hang that comes back is not tried for ever.
const CRASHES_MAX: u32 = 3;
/// An answer that makes no sense twice will not make sense.
const GARBLED_MAX: u32 = 2;
/// So much of what the API said about a refused request is told on.
const DETAIL_CHARS_MAX: usize = 300;
/// A message that nobody answers for so long has its counted tries then.
const OUTAGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// A limit that is lifted later than this is looked at now and then: clocks are set.
pub(crate) const LIMIT_LOOK_MAX: Duration = Duration::from_secs(3_600);
/// The longer nobody is answered, the less often it is tried, up to this.
const OUTLAST_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether a login has come back.
pub(crate) const LOOK_AFTER_LOGIN: Duration = Duration::from_secs(60);

/// What becomes of a message whose turn failed.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The same message again in this lease, in a new session.
    NewSession,
    /// The same again in this lease, with the middle model.
    DefaultModel,
    /// The same message again in this lease, under another uuid.
    AskAnew,
    /// Again after a while; counts as an attempt.
    Retry { after: Duration, tell: String },
    /// Again after a while, as long as nobody is answered; does not count.
    Outlast { after: Duration, since: Duration, what: String, tell: String },
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
        key: &Key,
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
            Advice::AskAnew => Verdict::AskAnew,
            Advice::Resume => retry(Duration::from_secs(1), CRASHES_MAX),
            Advice::PauseUntilLogin => {
                self.pause(Pause {
                    why: "Claude is not logged in; run `tinyclaw setup claude`".to_owned(),
                    until: None,
                    next_look: Instant::now() + LOOK_AFTER_LOGIN,
                    is_proven_by_start: true,
                });
                Verdict::Wait
            }
            Advice::PauseUntil(until) => {
                let why = match failure {
                    TurnFailure::PlanLimit { .. } => "Claude's plan limit is reached",
                    _ => "The API's rate limit is reached",
                };
                let now = tinyclaw_service::now_ms() / 1_000;
                let wait = until.map_or(60, |it| it.saturating_sub(now).max(1));
                self.pause(Pause {
                    why: why.to_owned(),
                    until,
                    next_look: Instant::now() + Duration::from_secs(wait).min(LIMIT_LOOK_MAX),
                    is_proven_by_start: false,
                });
                Verdict::Wait
            }
            Advice::BackOff(least) => retry(least, ATTEMPTS_MAX),
            // Somebody was answered meanwhile: it is this message, then, and it has so many tries.
            Advice::Outlast(least) => match self.outlast(key, least) {
                None => retry(least, ATTEMPTS_MAX),
                Some(Wait { after, since, tries }) => Verdict::Outlast {
                    after,
                    since,
                    what: format!("Claude has not answered for {}: {what}.", minutes(since)),
                    tell: format!(
                        "Claude did not answer: {what}. Trying again in {} s, {} try.",
                        after.as_secs(),
                        ordinal(tries + 1)
                    ),
                },
            },
            Advice::BackOffTwice(least) => retry(least, GARBLED_MAX + 1),
            Advice::DefaultModelOnce if !has_fallen_back => Verdict::DefaultModel,
            Advice::DefaultModelOnce | Advice::Report => Verdict::Report {
                text: match failure {
                    // Claude was not asked: the words are about the file.
                    TurnFailure::BadContent { .. } => format!("{what}."),
                    _ => format!("Claude did not answer: {what}."),
                },
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
                    is_proven_by_start: true,
                });
                Verdict::Wait
            }
            Advice::PutBack => Verdict::PutBack,
        }
    }
}

/// When messages that could not be answered first failed, and when anybody was answered last.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// When each failed first, and how often since.
    failed: HashMap<Key, (Instant, u32)>,
    answered_at: Option<Instant>,
}

/// How an outage is waited out.
struct Wait {
    after: Duration,
    since: Duration,
    tries: u32,
}

impl Office {
    /// How long to wait with a message that the API does not answer. `None` when somebody else was answered since it
    /// failed first, or when it has been waited long enough.
    fn outlast(&self, key: &Key, least: Duration) -> Option<Wait> {
        let mut outage = lock(&self.outage);
        let now = Instant::now();
        let (first, tries) = outage.failed.entry(key.clone()).or_insert((now, 0));
        *tries += 1;
        let (first, tries, since) = (*first, *tries, now - *first);
        if since > OUTAGE_MAX || outage.answered_at.is_some_and(|it| it > first) {
            return None;
        }
        Some(Wait { after: since.clamp(least, OUTLAST_MAX.max(least)), since, tries })
    }

    /// Somebody was answered: whatever was out is back.
    pub(crate) fn note_answered(&self, key: &Key) {
        let mut outage = lock(&self.outage);
        outage.failed.remove(key);
        outage.answered_at = Some(Instant::now());
        drop(outage);
        self.cured();
    }
}

/// The failure in words for a chat: `overloaded (529)`.
fn plainly(failure: &TurnFailure) -> String {
    match failure {
        TurnFailure::Unavailable { garbled: true, .. } => "its answer made no sense".to_owned(),
        TurnFailure::Unavailable { status: Some(529), .. } => "overloaded (529)".to_owned(),
        TurnFailure::Unavailable { status: Some(status), .. } => {
            format!("the API answers with an error ({status})")
        }
        TurnFailure::Unavailable { status: None, .. } => "the API does not answer".to_owned(),
        TurnFailure::Crashed { .. } => "it broke off in the middle".to_owned(),
        TurnFailure::Duplicate => "it takes this for a message it has had".to_owned(),
        TurnFailure::Hung(Watchdog::Silence) => "nothing came from it for a long time".to_owned(),
        TurnFailure::Hung(why) => why.to_string(),
        TurnFailure::NotStarted { detail, .. } => {
            format!("it could not be started: {}", told(detail))
        }
        TurnFailure::BadContent { detail } | TurnFailure::Other { detail } => told(detail),
        TurnFailure::Refused { detail, .. } if !detail.trim().is_empty() => {
            format!("{failure}: {}", told(detail))
        }
        other => other.to_string(),
    }
}

/// What somebody else said about a failure, short and without secrets.
fn told(detail: &str) -> String {
    shortened(conceal(detail.trim()).trim_end_matches('.'), DETAIL_CHARS_MAX)
}

/// `a minute`, `12 minutes`.
fn minutes(time: Duration) -> String {
    match time.as_secs() / 60 {
        0 | 1 => "a minute".to_owned(),
        many => format!("{many} minutes"),
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
    fn a_failure_is_told_in_words_for_a_person() {
        let detail = || "photo.jpg is no picture Claude can read".to_owned();
        let all = [
            TurnFailure::Unavailable { status: Some(529), garbled: false },
            TurnFailure::Unavailable { status: Some(500), garbled: false },
            TurnFailure::Unavailable { status: None, garbled: false },
            TurnFailure::Hung(Watchdog::Silence),
            TurnFailure::Hung(Watchdog::Tool),
            TurnFailure::NoSuchModel,
            TurnFailure::MaxTurns,
            TurnFailure::BadContent { detail: detail() },
            TurnFailure::Other { detail: "Something broke.\n".to_owned() },
        ];
        let told: Vec<String> = all.iter().map(plainly).collect();
        assert_eq!(
            told,
            [
                "overloaded (529)",
                "the API answers with an error (500)",
                "the API does not answer",
                "nothing came from it for a long time",
                "a tool did not come back",
                "this model is not available",
                "the turn took too many steps",
                "photo.jpg is no picture Claude can read",
                "Something broke",
            ]
        );
    }

    #[test]
    fn ordinals_read_well() {
        let all: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 22].into_iter().map(ordinal).collect();
        assert_eq!(all, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd"]);
    }
}
