//! Budgets: what a day may cost, for the office and for a thread. Warned of at 80 %; when spent, a question comes
//! instead of a turn.
//!
//! What was asked about and whether a person said to go on is kept with the thread, so a restart forgets neither.

use serde_json::Value;
use tinyclaw_domain::{ButtonPress, Command, Key, ReplyButton, Thread, ThreadId};
use tinyclaw_ledger::ThreadsError;
use tinyclaw_service::now_ms;

use crate::office::{Office, lock};

/// From this share on, people are warned.
const WARN_AT: f64 = 0.8;

/// Which messages were answered with the question, in the thread's entry.
const ASKED: &str = "budgetAsked";
/// The day on which a person said to go on, in the thread's entry.
const LIFTED: &str = "budgetLifted";
/// So many messages are taken up again by one "go on".
const ASKED_MAX: usize = 50;

/// The answer to the question, where it can be pressed.
pub(crate) fn button() -> ReplyButton {
    ReplyButton { label: "Go on".to_owned(), press: ButtonPress::Command(Command::GoOn {}) }
}

/// The messages that were asked about, oldest first.
pub(crate) fn asked(thread: &Thread) -> Vec<Key> {
    let all = match thread.extra.get(ASKED) {
        Some(Value::Array(all)) => all.as_slice(),
        // One, as an earlier version kept it.
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    all.iter().filter_map(|it| it.as_str()?.parse().ok()).collect()
}

/// One budget of one day.
struct Budget {
    /// The thread it is for; none for the office.
    of: Option<ThreadId>,
    spent: f64,
    limit: f64,
}

impl Budget {
    fn name(&self) -> String {
        self.of.as_ref().map_or_else(|| "the office's".to_owned(), |_| "this thread's".to_owned())
    }
}

impl Office {
    fn budgets(&self, thread: &ThreadId) -> Vec<Budget> {
        let settings = self.settings();
        let mut costs = lock(&self.costs);
        let office = settings.budget.office_a_day.map(|limit| Budget {
            of: None,
            spent: costs.office(now_ms()).usd,
            limit,
        });
        let own = settings.budget.thread_a_day.map(|limit| Budget {
            of: Some(thread.clone()),
            spent: costs.thread(thread, now_ms()).usd,
            limit,
        });
        office.into_iter().chain(own).collect()
    }

    /// The question to ask instead of a turn, when a budget is spent and nobody here said to go on.
    pub(crate) fn over_budget(&self, thread: &ThreadId) -> Option<String> {
        let spent = self.budgets(thread).into_iter().find(|it| it.spent >= it.limit)?;
        let today = self.now().date().to_string();
        let lifted = self.thread(thread).and_then(|mut it| it.extra.remove(LIFTED));
        if lifted.is_some_and(|it| it == today.as_str()) {
            return None;
        }
        Some(format!(
            "{} budget for today is spent (${:.2} of ${:.2}). Go on today all the same? /go does.",
            capitalised(&spent.name()),
            spent.spent,
            spent.limit
        ))
    }

    /// Keeps a message that was answered with the question, so that "go on" can take it up.
    pub(crate) fn remember_asked(&self, id: &ThreadId, key: &Key) {
        let kept = self.change_thread(id, |thread| {
            let mut all = asked(thread);
            all.retain(|it| it != key);
            all.push(key.clone());
            let from = all.len().saturating_sub(ASKED_MAX);
            let all: Vec<Value> = all.drain(from..).map(|it| it.as_str().into()).collect();
            thread.extra.insert(ASKED.to_owned(), all.into());
        });
        if let Err(err) = kept {
            tracing::error!(thread.id = %id, "cannot keep what thread {id} was asked about: {err}");
        }
    }

    /// A person said to go on, and what was asked about is in line again: today's budgets no longer stop this thread.
    pub(crate) fn lift_budget(&self, id: &ThreadId) -> Result<(), ThreadsError> {
        let today = self.now().date().to_string();
        self.change_thread(id, |thread| {
            thread.extra.remove(ASKED);
            thread.extra.insert(LIFTED.to_owned(), today.into());
        })?;
        Ok(())
    }

    /// After a turn: warns once a day when most of a budget is spent.
    pub(crate) fn warn_of_budget(&self, thread: &ThreadId) {
        let today = self.now().date();
        for budget in self.budgets(thread) {
            if budget.spent < WARN_AT * budget.limit {
                continue;
            }
            let to = budget.of.clone().unwrap_or_else(ThreadId::master);
            let cause = format!("budget-{today}-{}", budget.limit);
            if lock(&self.told).insert((Some(to.clone()), cause.clone())) {
                let nearly = if budget.spent < budget.limit { "nearly " } else { "" };
                let text = format!(
                    "{} budget for today is {nearly}spent: ${:.2} of ${:.2}.",
                    capitalised(&budget.name()),
                    budget.spent,
                    budget.limit
                );
                self.say(&to, Key::hashed("n", &format!("{cause}-{to}")), &text);
            }
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
