//! Why a turn failed, told apart by what the caller does about it. The rows of the contract's failure table.

use std::path::PathBuf;
use std::time::Duration;

use crate::launch::{Exit, LaunchError};
use crate::look::OutOfReach;
use crate::wire::ResultLine;

/// Why a turn failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TurnFailure {
    /// Claude has no session of this id here: its transcript is gone or lies under another directory.
    #[error("claude does not know this session here")]
    UnknownSession,
    /// Somebody else works in the session and could not be made to leave.
    #[error("the session is in use elsewhere: {detail}")]
    SessionInUse {
        /// By whom, as far as that can be told.
        detail: String,
    },
    /// Claude has seen this uuid before and keeps silent about it.
    #[error("claude was given this message before")]
    Duplicate,
    /// Claude died in the middle.
    #[error("claude ended in the middle of the turn ({exit})")]
    Crashed {
        /// How it ended.
        exit: Exit,
        /// The end of what it said on stderr, for the operator.
        detail: String,
    },
    /// No login, or not a valid one. Nothing will work until somebody logs in.
    #[error("claude is not logged in")]
    NotLoggedIn {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
    },
    /// Too many requests for this API key.
    #[error("the API's rate limit is reached")]
    RateLimited {
        /// When to try again, in seconds since 1970, if told.
        resets_at: Option<u64>,
    },
    /// The subscription's limit is reached; every thread will see the same.
    #[error("the plan's limit is reached")]
    PlanLimit {
        /// When it is lifted, in seconds since 1970, if told.
        resets_at: Option<u64>,
    },
    /// The API is overloaded, failing, or not reachable.
    #[error("the API does not answer as it should{}", status_text(*.status))]
    Unavailable {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// Whether the answer made no sense; worth fewer tries.
        garbled: bool,
    },
    /// The API does not take this request, and will not take it a second time.
    #[error("the request was refused{}", status_text(*.status))]
    Refused {
        /// The HTTP status; none when the model itself declined to answer.
        status: Option<u16>,
        /// What was said about it, for the user.
        detail: String,
    },
    /// There is no such model for this account.
    #[error("this model is not available")]
    NoSuchModel,
    /// The turn took more steps than allowed.
    #[error("the turn took too many steps")]
    MaxTurns,
    /// The process has spent its budget. The next turn gets another process.
    #[error("the turn's budget is spent")]
    Budget,
    /// A watchdog ended it.
    #[error("claude made no progress: {0}")]
    Hung(Watchdog),
    /// The process could not be started, or did not become ready.
    #[error("claude could not be started: {detail}")]
    NotStarted {
        /// Why, for the operator.
        detail: String,
        /// Whether trying again without changing anything is of no use.
        lasting: bool,
    },
    /// This thread cannot have a process where it works; others can.
    #[error("{detail}; /setdir chooses another")]
    NoDesk {
        /// What is wrong with its directory.
        detail: String,
    },
    /// The place where the thread's Claude runs does not answer.
    #[error(transparent)]
    OutOfReach(OutOfReach),
    /// Another office works in the thread's directory.
    #[error("office {} works in {}", .0.office, .0.dir.display())]
    Taken(Taken),
    /// The turn's files could not be read.
    #[error("an attachment could not be used: {detail}")]
    BadContent {
        /// Which and why.
        detail: String,
    },
    /// The engine is being closed.
    #[error("the engine is closing")]
    Closing,
    /// A failure the CLI reports in words that this version does not know.
    #[error("claude failed: {detail}")]
    Other {
        /// Its words.
        detail: String,
    },
}

/// A directory that another office has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Which, by a part of its name: letters and digits.
    pub office: String,
    /// The directory.
    pub dir: PathBuf,
    /// For how many seconds, by the clock there.
    pub held_s: Option<u64>,
}

/// Which watchdog lost its patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Watchdog {
    /// No line came.
    #[error("silence")]
    Silence,
    /// A tool ran on and on.
    #[error("a tool did not come back")]
    Tool,
    /// The whole turn took too long.
    #[error("the turn took too long")]
    Turn,
}

/// What the failure table recommends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Choose a new session id, bring the history along, send the same message.
    NewSession,
    /// Look at the transcript ([`crate::Engine::trace`]): unseen → the same uuid again; begun → another one, with a word
    /// about the interruption; finished → take the reply from there. At most three attempts.
    Resume,
    /// Claude has this prompt and keeps silent: the same as [`Advice::Resume`] for a turn that has begun, at once.
    AskAnew,
    /// Pause the whole engine, keep every message, tell once, and [`crate::Engine::probe`] every minute.
    PauseUntilLogin,
    /// Pause the whole engine until then (seconds since 1970), or for a minute when nothing was told.
    PauseUntil(Option<u64>),
    /// Try the same message again after this at least. Claude has seen the uuid and would keep silent about it, so it
    /// has to be another one.
    BackOff(Duration),
    /// The same for as long as nobody is answered, not counted as an attempt: it is not the message's fault.
    Outlast(Duration),
    /// Wait until the place answers again, and ask then as after a crash ([`Advice::Resume`]). Not counted as an attempt,
    /// and no other place is concerned.
    OutlastPlace(OutOfReach),
    /// Hold the messages of this thread until the other office is done, or a person takes the directory over. Not counted as
    /// an attempt, and no other thread is concerned.
    HoldThread(Taken),
    /// The same as [`Advice::BackOff`], but twice at most.
    BackOffTwice(Duration),
    /// Ask once more with the default model, then report.
    DefaultModelOnce,
    /// Tell the user; trying again is of no use.
    Report,
    /// Tell the user and offer to go on.
    OfferToContinue,
    /// The engine cannot work: the operator must look. Messages wait.
    OutOfOrder,
    /// Put the message back; whoever comes next asks again.
    PutBack,
}

impl TurnFailure {
    /// What to do about it.
    pub fn advice(&self) -> Advice {
        match self {
            TurnFailure::UnknownSession => Advice::NewSession,
            TurnFailure::SessionInUse { .. } => Advice::BackOff(Duration::from_secs(30)),
            TurnFailure::Duplicate => Advice::AskAnew,
            TurnFailure::Crashed { .. } | TurnFailure::Hung(_) => Advice::Resume,
            TurnFailure::NotLoggedIn { .. } => Advice::PauseUntilLogin,
            // Told a time or not: a minute is what the API's windows are made of.
            TurnFailure::RateLimited { resets_at: Some(it) } => Advice::PauseUntil(Some(*it)),
            TurnFailure::RateLimited { resets_at: None } => {
                Advice::Outlast(Duration::from_secs(60))
            }
            TurnFailure::PlanLimit { resets_at } => Advice::PauseUntil(*resets_at),
            TurnFailure::Unavailable { garbled: true, .. } => {
                Advice::BackOffTwice(Duration::from_secs(20))
            }
            TurnFailure::Unavailable { .. } => Advice::Outlast(Duration::from_secs(20)),
            TurnFailure::OutOfReach(err) => Advice::OutlastPlace(err.clone()),
            TurnFailure::Taken(it) => Advice::HoldThread(it.clone()),
            TurnFailure::NoSuchModel => Advice::DefaultModelOnce,
            TurnFailure::Refused { .. }
            | TurnFailure::BadContent { .. }
            | TurnFailure::NoDesk { .. }
            | TurnFailure::Other { .. } => Advice::Report,
            TurnFailure::MaxTurns | TurnFailure::Budget => Advice::OfferToContinue,
            TurnFailure::NotStarted { lasting: true, .. } => Advice::OutOfOrder,
            TurnFailure::NotStarted { lasting: false, .. } => {
                Advice::BackOff(Duration::from_secs(5))
            }
            TurnFailure::Closing => Advice::PutBack,
        }
    }

    /// The failure that a `result` line reports, if it does. `said` is what else was seen in the turn.
    pub(crate) fn of_result(result: &ResultLine, said: &Signs) -> Option<TurnFailure> {
        if !result.is_error && result.stop_reason.as_deref() != Some("refusal") {
            return None;
        }
        if result.errors.iter().any(|it| it.contains("No conversation found")) {
            return Some(TurnFailure::UnknownSession);
        }
        match result.subtype.as_str() {
            "error_max_turns" => return Some(TurnFailure::MaxTurns),
            "error_max_budget_usd" => return Some(TurnFailure::Budget),
            _ => {}
        }
        if result.stop_reason.as_deref() == Some("refusal") {
            return Some(TurnFailure::Refused { status: None, detail: brief(&result.text) });
        }
        if said.limit_rejected {
            return Some(TurnFailure::PlanLimit { resets_at: said.resets_at });
        }
        let status = result.api_error_status;
        // The same answer as last time would come again; the person can ask for it in pieces.
        if result.api_error.as_deref() == Some("max_output_tokens")
            || said.error.as_deref() == Some("max_output_tokens")
        {
            return Some(TurnFailure::Refused { status: None, detail: brief(TOO_LONG) });
        }
        let garbled = GARBLED.iter().any(|it| result.text.contains(it));
        // The status first: to the CLI an overloaded API is a rate limit, too.
        let failure = match (status, said.error.as_deref()) {
            (Some(401 | 403), _) => TurnFailure::NotLoggedIn { status },
            (Some(404), _) => TurnFailure::NoSuchModel,
            (Some(429), _) => TurnFailure::RateLimited { resets_at: said.resets_at },
            (Some(500..), _) => TurnFailure::Unavailable { status, garbled },
            (Some(400..), _) => TurnFailure::Refused { status, detail: brief(&result.text) },
            (_, Some("authentication_failed" | "oauth_org_not_allowed")) => {
                TurnFailure::NotLoggedIn { status }
            }
            (_, Some("model_not_found")) => TurnFailure::NoSuchModel,
            (_, Some("invalid_request" | "billing_error")) => {
                TurnFailure::Refused { status, detail: brief(&result.text) }
            }
            // No connection, a time-out, an answer that makes no sense: all come without a status.
            (_, Some("server_error" | "overloaded" | "rate_limit" | "unknown")) => {
                TurnFailure::Unavailable { status, garbled }
            }
            _ if garbled || result.text.starts_with("API Error") => {
                TurnFailure::Unavailable { status, garbled }
            }
            _ => {
                let detail = result.errors.first().map_or(result.text.as_str(), String::as_str);
                TurnFailure::Other { detail: brief(detail) }
            }
        };
        Some(failure)
    }

    /// The failure behind a process that is gone: its own last words tell some of them apart.
    pub(crate) fn of_exit(exit: Exit, stderr: &str, sent: bool) -> TurnFailure {
        if stderr.contains("No conversation found") {
            return TurnFailure::UnknownSession;
        }
        let detail = last_words(stderr);
        if stderr.contains("is already in use") || exit.code == Some(crate::leash::EXIT_HELD) {
            return TurnFailure::SessionInUse { detail };
        }
        if exit.code == Some(crate::leash::EXIT_NOT_STARTED) {
            return TurnFailure::NotStarted { detail, lasting: true };
        }
        if sent {
            return TurnFailure::Crashed { exit, detail };
        }
        // It read its arguments and did not like them: the same ones will not please it tomorrow.
        let lasting = exit.code == Some(1) && stderr.contains("rror:");
        let detail = if detail.is_empty() { exit.to_string() } else { detail };
        TurnFailure::NotStarted { detail, lasting }
    }
}

impl From<&LaunchError> for TurnFailure {
    fn from(err: &LaunchError) -> TurnFailure {
        if let LaunchError::OutOfReach(err) = err {
            return TurnFailure::OutOfReach(err.clone());
        }
        if let LaunchError::Taken { office, path, held_s } = err {
            let (office, dir) = (office.clone(), path.clone());
            return TurnFailure::Taken(Taken { office, dir, held_s: *held_s });
        }
        if matches!(
            err,
            LaunchError::NoCwd(_)
                | LaunchError::StateInside { .. }
                | LaunchError::InsideState { .. }
                | LaunchError::Linked { .. }
                | LaunchError::Refused { .. }
        ) {
            return TurnFailure::NoDesk { detail: err.to_string() };
        }
        let source = std::error::Error::source(err).map(|it| format!(": {it}")).unwrap_or_default();
        TurnFailure::NotStarted { detail: format!("{err}{source}"), lasting: err.is_lasting() }
    }
}

/// What was seen in a turn that says more about its failure than the `result` line does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Signs {
    /// The error class of a synthetic answer.
    pub(crate) error: Option<String>,
    /// Whether the plan said no.
    pub(crate) limit_rejected: bool,
    /// Until when.
    pub(crate) resets_at: Option<u64>,
}

/// How the CLI says that the API's answer made no sense, by its versions.
const GARBLED: [&str; 2] = ["Failed to parse JSON", "API returned an empty or malformed response"];
/// Said in place of the CLI's own words, which name a variable that nobody here can set.
const TOO_LONG: &str = "the answer grew longer than the model may write; ask for it in parts";

fn status_text(status: Option<u16>) -> String {
    status.map(|it| format!(" (status {it})")).unwrap_or_default()
}

/// A text short enough for an error.
fn brief(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn last_words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|it| !it.trim().is_empty()).collect();
    brief(&lines[lines.len().saturating_sub(3)..].join(" · "))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(result: ResultLine, error: Option<&str>, expect: Expect) {
        let signs = Signs { error: error.map(str::to_owned), ..Signs::default() };
        expect.assert_eq(&match TurnFailure::of_result(&result, &signs) {
            Some(it) => format!("{it:?} → {:?}", it.advice()),
            None => "fine".to_owned(),
        });
    }

    fn failed(status: Option<u16>, text: &str) -> ResultLine {
        ResultLine {
            subtype: "success".to_owned(),
            is_error: true,
            api_error_status: status,
            text: text.to_owned(),
            ..ResultLine::default()
        }
    }

    #[test]
    fn success_by_name_is_an_error_by_flag() {
        check(ResultLine { is_error: false, ..failed(None, "x") }, None, expect!["fine"]);
        check(
            failed(Some(401), "Invalid API key"),
            Some("authentication_failed"),
            expect!["NotLoggedIn { status: Some(401) } → PauseUntilLogin"],
        );
        check(
            failed(None, "Not logged in · Please run /login"),
            Some("authentication_failed"),
            expect!["NotLoggedIn { status: None } → PauseUntilLogin"],
        );
        check(
            failed(Some(429), "API Error"),
            Some("rate_limit"),
            expect!["RateLimited { resets_at: None } → Outlast(60s)"],
        );
        check(
            failed(None, "API Error: Repeated 529 Overloaded errors"),
            Some("server_error"),
            expect!["Unavailable { status: None, garbled: false } → Outlast(20s)"],
        );
        check(
            failed(Some(529), "API Error: 529 Overloaded"),
            Some("rate_limit"),
            expect!["Unavailable { status: Some(529), garbled: false } → Outlast(20s)"],
        );
        check(
            failed(None, "API Error: Failed to parse JSON"),
            Some("unknown"),
            expect!["Unavailable { status: None, garbled: true } → BackOffTwice(20s)"],
        );
        check(
            failed(None, "API Error: API returned an empty or malformed response (HTTP 200)"),
            Some("unknown"),
            expect!["Unavailable { status: None, garbled: true } → BackOffTwice(20s)"],
        );
        let too_long = ResultLine {
            api_error: Some("max_output_tokens".to_owned()),
            ..failed(None, "API Error: Claude's response exceeded the 128000 output token maximum")
        };
        check(
            too_long,
            Some("max_output_tokens"),
            expect![[
                r#"Refused { status: None, detail: "the answer grew longer than the model may write; ask for it in parts" } → Report"#
            ]],
        );
        check(
            failed(Some(404), "no such model"),
            Some("model_not_found"),
            expect!["NoSuchModel → DefaultModelOnce"],
        );
        check(
            failed(Some(413), "Prompt is too long"),
            Some("invalid_request"),
            expect![[r#"Refused { status: Some(413), detail: "Prompt is too long" } → Report"#]],
        );
        let budget = ResultLine { subtype: "error_max_budget_usd".to_owned(), ..failed(None, "") };
        check(budget, None, expect!["Budget → OfferToContinue"]);
    }

    #[test]
    fn a_rejected_limit_is_the_plans_and_pauses_everything() {
        let signs = Signs { limit_rejected: true, resets_at: Some(1_795_229_632), error: None };
        let failure =
            TurnFailure::of_result(&failed(Some(429), "You've hit your session limit"), &signs);
        assert_eq!(failure.unwrap().advice(), Advice::PauseUntil(Some(1_795_229_632)));
    }

    #[test]
    fn a_process_that_never_got_the_prompt_has_not_crashed_on_it() {
        let one = Exit { code: Some(1), signal: None };
        let gone = "No conversation found with session ID: 6f1d4c0e";
        assert_eq!(TurnFailure::of_exit(one, gone, false), TurnFailure::UnknownSession);
        let killed = Exit { code: None, signal: Some(9) };
        assert!(matches!(TurnFailure::of_exit(killed, "", true), TurnFailure::Crashed { .. }));
        let not_started = TurnFailure::of_exit(killed, "", false);
        assert_eq!(not_started.advice(), Advice::BackOff(Duration::from_secs(5)));
    }
}
