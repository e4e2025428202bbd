//! A refusal: what went wrong, a code for programs and the way out for people.
//!
//! Every answer that is not a token has this shape: `{"error", "code", "hint"}`. Its texts never
//! hold a secret: they are built from names, numbers and GitHub's own messages, scrubbed.

use std::borrow::Cow;

use serde::Serialize;

/// Why nothing was handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// The HTTP status it is answered with.
    #[serde(skip)]
    pub status: u16,
    /// What is wrong, for a person.
    pub error: Cow<'static, str>,
    /// The same for a program: it never changes.
    pub code: &'static str,
    /// The way out.
    pub hint: Cow<'static, str>,
    /// Seconds after which asking again makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal with its status, code, text and way out.
    pub fn new(
        status: u16,
        code: &'static str,
        error: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        Refusal { status, error: error.into(), code, hint: hint.into(), retry_after: None }
    }

    /// The request itself is wrong: 400.
    pub fn malformed(
        code: &'static str,
        error: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        Refusal::new(400, code, error, hint)
    }

    /// The policy or a capability does not allow it: 403.
    pub fn denied(
        code: &'static str,
        error: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        Refusal::new(403, code, error, hint)
    }

    /// The same, worth another try after so many seconds.
    pub fn after(mut self, seconds: u64) -> Refusal {
        self.retry_after = Some(seconds);
        self
    }
}

/// An error with everything behind it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
