//! What a failure of a turn means for its message: a table, and the words that people are told.
//!
//! Pure: no clock, no disk, no lock. Whoever asks says how often the message was tried, how long nobody has been
//! answered, and what time it is; what is decided here, others carry out.

use std::time::Duration;

use tinyclaw_domain::{ButtonPress, Place, ReplyButton};
use tinyclaw_engine::{Advice, OutOfReach, Taken, TurnFailure, Watchdog};
use tinyclaw_queue::{ATTEMPTS_MAX, backoff};
use tinyclaw_service::{conceal, words};

use crate::text::shortened;

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
/// What the API's limits are counted in, when it does not say how long one lasts.
const LIMIT_WINDOW_S: u64 = 60;

/// What is to be done about a failed turn.
#[derive(Debug, PartialEq)]
pub(crate) enum Remedy {
    /// The same message once more, within the same claim.
    AskAgain(Again),
    /// It is answered with what went wrong: trying again by ourselves is of no use.
    Tell { text: String, buttons: Vec<ReplyButton> },
    /// It leaves without an answer.
    Leave(Unanswered),
}

/// What is changed about a message that is asked once more within the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    NewSession,
    DefaultModel,
    FreshUuid,
}

/// How a message leaves a claim that brought no answer. The one type that a failure crosses from here to the queue.
#[derive(Debug, PartialEq)]
pub(crate) enum Unanswered {
    /// Tried again after a while; counts as an attempt.
    Retry { after: Duration, tell: String },
    /// Tried again after a while, as long as nobody is answered; does not count.
    Outlast { after: Duration, since: Duration, what: String, tell: String },
    /// No turn can run at its place; the message waits until one can. Does not count.
    Pause(Pause),
    /// Its place does not answer; the message waits until it does. Does not count.
    Unreached(OutOfReach),
    /// Another office has the thread's directory; the message waits until it is done, or a person acts. Does not count.
    Taken(Taken),
    /// It cannot be asked at the moment. Does not count.
    Wait(Duration),
    /// Given up, with what people are told.
    GiveUp(String),
    /// Put back as it was: we are leaving.
    PutBack,
}

/// Why no turn can run at a place, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pause {
    /// In words for a person: "Claude's plan limit is reached".
    pub(crate) why: String,
    /// In seconds since 1970, when it is known to be over.
    pub(crate) until: Option<u64>,
    /// In what time to try whether it is over.
    pub(crate) look_in: Duration,
    /// Whether a Claude that starts shows that it is over. Of a limit it shows nothing.
    pub(crate) is_proven_by_start: bool,
}

/// How long a message has waited for an API that answers nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    pub(crate) since: Duration,
    pub(crate) tries: u32,
    /// Somebody else was answered meanwhile: then it is this message, and it has its counted tries.
    pub(crate) others_were_answered: bool,
}

/// A failed turn, and what matters about its message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    /// Where Claude ran.
    pub(crate) place: &'a Place,
    pub(crate) failure: &'a TurnFailure,
    /// Which attempt at the message this was, counted from one.
    pub(crate) attempt: u32,
    /// Whether it was the default model that was asked.
    pub(crate) is_default_model: bool,
    pub(crate) waited: Waited,
    /// In seconds since 1970.
    pub(crate) now_s: u64,
    /// From 0 to 1, so that many messages do not all come back in the same moment.
    pub(crate) chance: f64,
}

/// Whether this failure may be one of everybody: then it is noted how long it has lasted.
pub(crate) fn may_be_outage(failure: &TurnFailure) -> bool {
    matches!(failure.advice(), Advice::Outlast(_))
}

/// The table.
pub(crate) fn judge(case: &Case<'_>) -> Remedy {
    let failure = case.failure;
    let what = plainly(failure);
    match failure.advice() {
        Advice::NewSession => Remedy::AskAgain(Again::NewSession),
        Advice::AskAnew => Remedy::AskAgain(Again::FreshUuid),
        Advice::DefaultModelOnce if !case.is_default_model => Remedy::AskAgain(Again::DefaultModel),
        Advice::Resume => retry(case, &what, Duration::from_secs(1), CRASHES_MAX),
        Advice::BackOff(least) => retry(case, &what, least, ATTEMPTS_MAX),
        Advice::BackOffTwice(least) => retry(case, &what, least, GARBLED_MAX + 1),
        Advice::Outlast(least) => outlast(case, &what, least),
        Advice::OutlastPlace(err) => Remedy::Leave(Unanswered::Unreached(err)),
        Advice::HoldThread(taken) => Remedy::Leave(Unanswered::Taken(taken)),
        Advice::PauseUntilLogin => pause(Pause {
            why: match case.place {
                Place::Here => "Claude is not logged in; run `tinyclaw setup claude`".to_owned(),
                Place::Devbox(name) => {
                    format!("Claude on {name} is not logged in; there: claude, /login")
                }
                Place::Env(name) => format!(
                    "Claude in environment {name} is not logged in; `docker exec --interactive --tty claude-agent-{name} claude`, /login"
                ),
            },
            until: None,
            look_in: LOOK_AFTER_LOGIN,
            is_proven_by_start: true,
        }),
        Advice::PauseUntil(until) => {
            let why = match failure {
                TurnFailure::PlanLimit { .. } => "Claude's plan limit is reached",
                _ => "The API's rate limit is reached",
            };
            let why = format!("{why}{}", on(case.place));
            let wait = until.map_or(LIMIT_WINDOW_S, |it| it.saturating_sub(case.now_s).max(1));
            pause(Pause {
                why,
                until,
                look_in: Duration::from_secs(wait).min(LIMIT_LOOK_MAX),
                is_proven_by_start: false,
            })
        }
        Advice::OutOfOrder => pause(Pause {
            why: format!("Claude cannot be started{} ({what})", on(case.place)),
            until: None,
            look_in: LOOK_AFTER_LOGIN,
            is_proven_by_start: true,
        }),
        Advice::DefaultModelOnce | Advice::Report => Remedy::Tell {
            text: match failure {
                // Claude was not asked: the words are about the file.
                TurnFailure::BadContent { .. } => format!("{what}."),
                _ => format!("Claude did not answer: {what}."),
            },
            buttons: Vec::new(),
        },
        Advice::OfferToContinue => Remedy::Tell {
            text: format!("Stopped: {what}. Say \"continue\" to go on from here."),
            buttons: vec![ReplyButton {
                label: "Continue".to_owned(),
                press: ButtonPress::Say("continue".to_owned()),
            }],
        },
        Advice::PutBack => Remedy::Leave(Unanswered::PutBack),
    }
}

/// Where that is, after words about Claude, unless it is where everybody expects it.
fn on(place: &Place) -> String {
    if place.is_here() { String::new() } else { format!(" on {place}") }
}

fn pause(pause: Pause) -> Remedy {
    Remedy::Leave(Unanswered::Pause(pause))
}

/// Again, after a pause that grows with every attempt; given up after so many.
fn retry(case: &Case<'_>, what: &str, least: Duration, most: u32) -> Remedy {
    let attempt = case.attempt;
    if attempt >= most {
        return Remedy::Leave(Unanswered::GiveUp(format!(
            "This message could not be answered after {attempt} tries: {what}. It is kept; /retry tries again."
        )));
    }
    let after = backoff(attempt, case.chance).max(least);
    let tell = format!(
        "Claude did not answer: {what}. Trying again in {} s, {} of {most}.",
        after.as_secs(),
        words::ordinal(u64::from(attempt) + 1)
    );
    Remedy::Leave(Unanswered::Retry { after, tell })
}

/// Again, uncounted, for as long as the API answers nobody.
fn outlast(case: &Case<'_>, what: &str, least: Duration) -> Remedy {
    let Waited { since, tries, others_were_answered } = case.waited;
    if others_were_answered || since > OUTAGE_MAX {
        return retry(case, what, least, ATTEMPTS_MAX);
    }
    let after = since.clamp(least, OUTLAST_MAX.max(least));
    Remedy::Leave(Unanswered::Outlast {
        after,
        since,
        what: format!("Claude{} has not answered for {}: {what}.", on(case.place), minutes(since)),
        tell: format!(
            "Claude did not answer: {what}. Trying again in {} s, {} try.",
            after.as_secs(),
            words::ordinal(u64::from(tries) + 1)
        ),
    })
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use tinyclaw_engine::Exit;

    use super::*;

    const NOW_S: u64 = 1_000_000;
    const ALONE: Waited = Waited { since: Duration::ZERO, tries: 1, others_were_answered: false };

    fn case(failure: &TurnFailure) -> Case<'_> {
        let place = &Place::Here;
        let (attempt, is_default_model, waited, chance) = (1, false, ALONE, 0.0);
        Case { place, failure, attempt, is_default_model, waited, now_s: NOW_S, chance }
    }

    /// What is done, and on the next line what people read.
    fn told(remedy: Remedy) -> String {
        match remedy {
            Remedy::AskAgain(again) => format!("ask again: {again:?}"),
            Remedy::Tell { text, buttons } => {
                let buttons: Vec<String> = buttons.into_iter().map(|it| it.label).collect();
                format!("tell {buttons:?}\n{text}")
            }
            Remedy::Leave(Unanswered::Retry { after, tell }) => {
                format!("retry after {} s\n{tell}", after.as_secs())
            }
            Remedy::Leave(Unanswered::Outlast { after, tell, what, .. }) => {
                format!("outlast for {} s\n{tell}\n{what}", after.as_secs())
            }
            Remedy::Leave(Unanswered::Pause(it)) => {
                let Pause { why, until, look_in, is_proven_by_start } = it;
                format!(
                    "pause until {until:?}, look in {look_in:?}, by a start: {is_proven_by_start}\n{why}"
                )
            }
            Remedy::Leave(other) => format!("{other:?}"),
        }
    }

    /// Every failure on its first attempt.
    #[test]
    fn each_failure_has_its_remedy_and_its_words() {
        let detail = || "Something broke.\n".to_owned();
        let exit = Exit { code: Some(137), signal: None };
        let all = [
            TurnFailure::UnknownSession,
            TurnFailure::SessionInUse { detail: "pid 7".to_owned() },
            TurnFailure::Duplicate,
            TurnFailure::Crashed { exit, detail: detail() },
            TurnFailure::NotLoggedIn { status: Some(401) },
            TurnFailure::RateLimited { resets_at: None },
            TurnFailure::RateLimited { resets_at: Some(NOW_S + 30) },
            TurnFailure::PlanLimit { resets_at: None },
            TurnFailure::PlanLimit { resets_at: Some(NOW_S + 7_200) },
            TurnFailure::PlanLimit { resets_at: Some(NOW_S - 5) },
            TurnFailure::Unavailable { status: Some(529), garbled: false },
            TurnFailure::Unavailable { status: Some(500), garbled: false },
            TurnFailure::Unavailable { status: None, garbled: false },
            TurnFailure::Unavailable { status: None, garbled: true },
            TurnFailure::Refused { status: Some(413), detail: "Prompt is too long".to_owned() },
            TurnFailure::Refused { status: None, detail: String::new() },
            TurnFailure::NoSuchModel,
            TurnFailure::MaxTurns,
            TurnFailure::Budget,
            TurnFailure::Hung(Watchdog::Silence),
            TurnFailure::Hung(Watchdog::Tool),
            TurnFailure::Hung(Watchdog::Turn),
            TurnFailure::NotStarted { detail: detail(), lasting: false },
            TurnFailure::NotStarted { detail: detail(), lasting: true },
            TurnFailure::NoDesk { detail: "/work/7 is not there".to_owned() },
            TurnFailure::BadContent {
                detail: "photo.jpg is no picture Claude can read".to_owned(),
            },
            TurnFailure::Closing,
            TurnFailure::Other { detail: detail() },
        ];
        let rows = all.iter().map(|it| {
            let name = format!("{it:?}");
            let name = name.split([' ', '(']).next().unwrap_or_default().to_owned();
            format!("{name}: {}\n", told(judge(&case(it))))
        });
        expect![[r#"
            UnknownSession: ask again: NewSession
            SessionInUse: retry after 30 s
            Claude did not answer: the session is in use elsewhere: pid 7. Trying again in 30 s, 2nd of 5.
            Duplicate: ask again: FreshUuid
            Crashed: retry after 1 s
            Claude did not answer: it broke off in the middle. Trying again in 1 s, 2nd of 3.
            NotLoggedIn: pause until None, look in 60s, by a start: true
            Claude is not logged in; run `tinyclaw setup claude`
            RateLimited: outlast for 60 s
            Claude did not answer: the API's rate limit is reached. Trying again in 60 s, 2nd try.
            Claude has not answered for a minute: the API's rate limit is reached.
            RateLimited: pause until Some(1000030), look in 30s, by a start: false
            The API's rate limit is reached
            PlanLimit: pause until None, look in 60s, by a start: false
            Claude's plan limit is reached
            PlanLimit: pause until Some(1007200), look in 3600s, by a start: false
            Claude's plan limit is reached
            PlanLimit: pause until Some(999995), look in 1s, by a start: false
            Claude's plan limit is reached
            Unavailable: outlast for 20 s
            Claude did not answer: overloaded (529). Trying again in 20 s, 2nd try.
            Claude has not answered for a minute: overloaded (529).
            Unavailable: outlast for 20 s
            Claude did not answer: the API answers with an error (500). Trying again in 20 s, 2nd try.
            Claude has not answered for a minute: the API answers with an error (500).
            Unavailable: outlast for 20 s
            Claude did not answer: the API does not answer. Trying again in 20 s, 2nd try.
            Claude has not answered for a minute: the API does not answer.
            Unavailable: retry after 20 s
            Claude did not answer: its answer made no sense. Trying again in 20 s, 2nd of 3.
            Refused: tell []
            Claude did not answer: the request was refused (status 413): Prompt is too long.
            Refused: tell []
            Claude did not answer: the request was refused.
            NoSuchModel: ask again: DefaultModel
            MaxTurns: tell ["Continue"]
            Stopped: the turn took too many steps. Say "continue" to go on from here.
            Budget: tell ["Continue"]
            Stopped: the turn's budget is spent. Say "continue" to go on from here.
            Hung: retry after 1 s
            Claude did not answer: nothing came from it for a long time. Trying again in 1 s, 2nd of 3.
            Hung: retry after 1 s
            Claude did not answer: a tool did not come back. Trying again in 1 s, 2nd of 3.
            Hung: retry after 1 s
            Claude did not answer: the turn took too long. Trying again in 1 s, 2nd of 3.
            NotStarted: retry after 5 s
            Claude did not answer: it could not be started: Something broke. Trying again in 5 s, 2nd of 5.
            NotStarted: pause until None, look in 60s, by a start: true
            Claude cannot be started (it could not be started: Something broke)
            NoDesk: tell []
            Claude did not answer: /work/7 is not there; /setdir chooses another.
            BadContent: tell []
            photo.jpg is no picture Claude can read.
            Closing: PutBack
            Other: tell []
            Claude did not answer: Something broke.
        "#]].assert_eq(&rows.collect::<String>());
    }

    /// A machine elsewhere has a login, limits and words of its own, and a way to it that can be cut.
    #[test]
    fn what_fails_elsewhere_is_told_of_that_place() {
        let api = Place::Devbox("api".parse().unwrap());
        let why = "api:22 refuses connections".to_owned();
        let all = [
            TurnFailure::OutOfReach(OutOfReach { place: api.clone(), why, is_held: false }),
            TurnFailure::Taken(Taken {
                office: "blue".to_owned(),
                dir: "/srv/api".into(),
                held_s: Some(7),
            }),
            TurnFailure::NotLoggedIn { status: Some(401) },
            TurnFailure::PlanLimit { resets_at: Some(NOW_S + 30) },
            TurnFailure::Unavailable { status: Some(529), garbled: false },
            TurnFailure::NotStarted { detail: "Something broke.".to_owned(), lasting: true },
        ];
        let rows = all.iter().map(|it| told(judge(&Case { place: &api, ..case(it) })) + "\n");
        expect![[r#"
            Unreached(OutOfReach { place: Devbox(DevboxName(api)), why: "api:22 refuses connections", is_held: false })
            Taken(Taken { office: "blue", dir: "/srv/api", held_s: Some(7) })
            pause until None, look in 60s, by a start: true
            Claude on api is not logged in; there: claude, /login
            pause until Some(1000030), look in 30s, by a start: false
            Claude's plan limit is reached on api
            outlast for 20 s
            Claude did not answer: overloaded (529). Trying again in 20 s, 2nd try.
            Claude on api has not answered for a minute: overloaded (529).
            pause until None, look in 60s, by a start: true
            Claude cannot be started on api (it could not be started: Something broke)
        "#]].assert_eq(&rows.collect::<String>());
    }

    #[track_caller]
    fn check(case: Case<'_>, expect: Expect) {
        expect.assert_eq(&told(judge(&case)));
    }

    #[test]
    fn a_crash_is_tried_three_times_and_an_outage_of_one_message_as_often_as_the_queue_allows() {
        let exit = Exit { code: Some(1), signal: None };
        let crashed = TurnFailure::Crashed { exit, detail: String::new() };
        check(
            Case { attempt: 2, ..case(&crashed) },
            expect![[r#"
            retry after 3 s
            Claude did not answer: it broke off in the middle. Trying again in 3 s, 3rd of 3."#]],
        );
        check(
            Case { attempt: 3, ..case(&crashed) },
            expect![[
                r#"GiveUp("This message could not be answered after 3 tries: it broke off in the middle. It is kept; /retry tries again.")"#
            ]],
        );
        let garbled = TurnFailure::Unavailable { status: None, garbled: true };
        check(
            Case { attempt: 2, ..case(&garbled) },
            expect![[r#"
            retry after 20 s
            Claude did not answer: its answer made no sense. Trying again in 20 s, 3rd of 3."#]],
        );
        check(
            Case { attempt: 3, ..case(&garbled) },
            expect![[
                r#"GiveUp("This message could not be answered after 3 tries: its answer made no sense. It is kept; /retry tries again.")"#
            ]],
        );
        let in_use = TurnFailure::SessionInUse { detail: "pid 7".to_owned() };
        check(
            Case { attempt: ATTEMPTS_MAX - 1, ..case(&in_use) },
            expect![[r#"
            retry after 30 s
            Claude did not answer: the session is in use elsewhere: pid 7. Trying again in 30 s, 5th of 5."#]],
        );
        check(
            Case { attempt: ATTEMPTS_MAX, ..case(&in_use) },
            expect![[
                r#"GiveUp("This message could not be answered after 5 tries: the session is in use elsewhere: pid 7. It is kept; /retry tries again.")"#
            ]],
        );
    }

    #[test]
    fn an_outage_is_outlasted_uncounted_until_somebody_else_is_answered_or_a_day_is_over() {
        let down = TurnFailure::Unavailable { status: Some(529), garbled: false };
        let after = |minutes: u64, tries| Case {
            attempt: 4,
            waited: Waited { since: Duration::from_secs(minutes * 60), tries, ..ALONE },
            ..case(&down)
        };
        check(
            after(1, 3),
            expect![[r#"
            outlast for 60 s
            Claude did not answer: overloaded (529). Trying again in 60 s, 4th try.
            Claude has not answered for a minute: overloaded (529)."#]],
        );
        check(
            after(60, 21),
            expect![[r#"
            outlast for 300 s
            Claude did not answer: overloaded (529). Trying again in 300 s, 22nd try.
            Claude has not answered for 60 minutes: overloaded (529)."#]],
        );
        check(
            after(24 * 60 + 1, 300),
            expect![[r#"
            retry after 20 s
            Claude did not answer: overloaded (529). Trying again in 20 s, 5th of 5."#]],
        );
        let others = Waited { others_were_answered: true, ..ALONE };
        check(
            Case { waited: others, ..case(&down) },
            expect![[r#"
            retry after 20 s
            Claude did not answer: overloaded (529). Trying again in 20 s, 2nd of 5."#]],
        );
        check(
            Case { waited: others, attempt: ATTEMPTS_MAX, ..case(&down) },
            expect![[
                r#"GiveUp("This message could not be answered after 5 tries: overloaded (529). It is kept; /retry tries again.")"#
            ]],
        );
    }

    #[test]
    fn a_model_that_is_not_there_is_replaced_once() {
        let failure = TurnFailure::NoSuchModel;
        check(
            Case { is_default_model: true, ..case(&failure) },
            expect![[r#"
            tell []
            Claude did not answer: this model is not available."#]],
        );
    }

    /// Many that failed together do not come back together.
    #[test]
    fn chance_spreads_retries_and_never_undercuts_the_least_pause() {
        let failure = TurnFailure::NotStarted { detail: String::new(), lasting: false };
        let after = |chance| match judge(&Case { attempt: 3, chance, ..case(&failure) }) {
            Remedy::Leave(Unanswered::Retry { after, .. }) => after,
            other => panic!("{other:?}"),
        };
        assert!(after(0.0) < after(1.0));
        assert!(after(0.0) >= Duration::from_secs(5));
    }

    #[test]
    fn secrets_and_long_words_of_others_are_not_told_on() {
        let long = TurnFailure::Other { detail: "x".repeat(DETAIL_CHARS_MAX * 2) };
        let Remedy::Tell { text, .. } = judge(&case(&long)) else { panic!() };
        assert!(text.chars().count() < DETAIL_CHARS_MAX + 60, "{text}");
        let token = format!("key sk-ant-{} was refused", "a1".repeat(30));
        let Remedy::Tell { text, .. } = judge(&case(&TurnFailure::Other { detail: token })) else {
            panic!()
        };
        assert!(!text.contains("a1a1a1a1"), "{text}");
    }
}
