//! What the broker counts, and how `/metrics` spells it. No label holds a name from outside.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($field:ident: $help:literal),* $(,)?) => {
        /// All of them.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $field: Count,)*
        }

        impl Counters {
            /// As Prometheus reads them.
            pub fn render(&self, text: &mut String) {
                $(
                    let name = concat!("tinyclaw_broker_", stringify!($field), "_total");
                    let value = self.$field.get();
                    let _ = write!(text, "# HELP {name} {}\n# TYPE {name} counter\n{name} {value}\n", $help);
                )*
            }
        }
    };
}

counters! {
    granted: "Tokens handed out.",
    cached: "Tokens handed out without asking GitHub.",
    denied: "Requests that were understood and not granted.",
    malformed: "Requests that were not understood.",
    mints: "Tokens minted at GitHub.",
    refreshes: "Tokens renewed before their end.",
    wider: "Tokens that GitHub made wider than asked: revoked.",
    revoked: "Tokens revoked.",
    github_requests: "Requests to GitHub.",
    github_errors: "Requests to GitHub without a usable answer.",
    skews: "Times that GitHub's clock taught us ours.",
    audit_failures: "Audit lines that could not be written.",
    reloads: "Policy, clients or key taken over anew.",
}

/// One number that goes up and down.
pub fn gauge(text: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    let name = format!("tinyclaw_broker_{name}");
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
}
