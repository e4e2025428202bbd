//! Budgets: what a day may cost, for the office, for a devbox and for a thread. What a devbox says that it spends is held
//! against its own budget, and never against the office's. Warned of at 80 %; when spent, a question comes
//! instead of a turn.
//!
//! What was asked about and whether a person said to go on is kept with the thread, so a restart forgets neither.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tinyclaw_domain::{
    ButtonPress, Command, DevboxName, HistoryLine, Key, Place, ReplyButton, StateDir, Thread,
    ThreadId,
};
use tinyclaw_ledger::{Costs, Spent, ThreadsError, read_envs};
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Vitals, now_ms};

use crate::availability::notices::Notices;
use crate::blocking::{lock, on_disk};
use crate::config::now;
use crate::desks::Desks;

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
    of: Of,
    spent: f64,
    limit: f64,
}

/// Whose budget it is.
enum Of {
    Office,
    Devbox(DevboxName),
    Thread,
}

impl Budget {
    fn name(&self) -> String {
        match &self.of {
            Of::Office => "the office's".to_owned(),
            Of::Devbox(name) => format!("the devbox {name}'s"),
            Of::Thread => "this thread's".to_owned(),
        }
    }
}

/// What today cost, and what it may cost.
pub(crate) struct Budgets {
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    desks: Arc<Desks>,
    notices: Arc<Notices>,
    /// Guards the sums of today. Held for a look or a change, and while they are read anew for another time zone, so that
    /// no turn is counted into the old day; nothing is locked within it.
    costs: Mutex<Costs>,
}

impl Budgets {
    /// Reads what today cost so far. A history that cannot be read stops nobody, but whoever set a budget is told that
    /// the sums begin too late.
    pub(crate) fn open(
        state: StateDir,
        settings: Store<Settings>,
        vitals: Vitals,
        desks: Arc<Desks>,
        notices: Arc<Notices>,
    ) -> Budgets {
        let zone = settings.current().office.timezone.clone();
        let costs = Mutex::new(read(&state, &vitals, zone));
        Budgets { state, settings, vitals, desks, notices, costs }
    }

    /// Another zone has another midnight.
    pub(crate) fn follow_zone(&self) {
        let zone = self.settings.current().office.timezone.clone();
        let mut costs = lock(&self.costs);
        if *costs.zone() != zone {
            *costs = read(&self.state, &self.vitals, zone);
        }
    }

    /// What the office spent today.
    pub(crate) fn of_office(&self) -> Spent {
        lock(&self.costs).office(now_ms())
    }

    /// What a thread spent today.
    pub(crate) fn of_thread(&self, thread: &ThreadId) -> Spent {
        lock(&self.costs).thread(thread, now_ms())
    }

    /// Counts what a line of the history cost, and warns once a day when most of a budget is spent.
    pub(crate) fn spend(&self, line: &HistoryLine) {
        lock(&self.costs).add(line);
        self.warn(&line.thread_id);
    }

    /// The devbox that a thread works on.
    pub(crate) fn devbox_of(&self, thread: &ThreadId) -> Option<DevboxName> {
        match self.desks.get(thread)?.place().0 {
            Place::Devbox(name) => Some(name),
            Place::Here | Place::Env(_) => None,
        }
    }

    fn all(&self, thread: &ThreadId) -> Vec<Budget> {
        let settings = self.settings.current();
        let payer = match self.devbox_of(thread) {
            Some(name) => settings.devbox.budget_a_day.map(|limit| {
                let spent = lock(&self.costs).devbox(&name, now_ms()).usd;
                Budget { of: Of::Devbox(name), spent, limit }
            }),
            None => settings.budget.office_a_day.map(|limit| Budget {
                of: Of::Office,
                spent: self.of_office().usd,
                limit,
            }),
        };
        let own = settings.budget.thread_a_day.map(|limit| Budget {
            of: Of::Thread,
            spent: self.of_thread(thread).usd,
            limit,
        });
        payer.into_iter().chain(own).collect()
    }

    /// Why a session of an environment is not answered today: what all sessions there may cost is spent. Nobody's word lifts
    /// that but the operator's, in `envs.json`.
    pub(crate) fn refusal_of_env(&self, thread: &ThreadId) -> Option<String> {
        let (env, _) = thread.env()?;
        let limit = on_disk(|| read_envs(&self.state)).ok()?.get(&env)?.budget_per_day()?;
        let all = lock(&self.costs).threads(now_ms());
        let of_env = all.iter().filter(|it| it.0.env().is_some_and(|it| it.0 == env));
        let spent: f64 = of_env.map(|it| it.1.usd).sum();
        (spent >= limit).then(|| {
            format!(
                "The budget of environment {env} for today is spent (${spent:.2} of ${limit:.2}). Ask again tomorrow, or the operator for more."
            )
        })
    }

    /// The question to ask instead of a turn, when a budget is spent and nobody here said to go on.
    pub(crate) fn question(&self, thread: &ThreadId) -> Option<String> {
        let spent = self.all(thread).into_iter().find(|it| it.spent >= it.limit)?;
        let today = now(&self.settings).date().to_string();
        let lifted = self.desks.get(thread).and_then(|mut it| it.extra.remove(LIFTED));
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
        let kept = self.desks.change(id, |thread| {
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
    pub(crate) fn lift(&self, id: &ThreadId) -> Result<(), ThreadsError> {
        let today = now(&self.settings).date().to_string();
        self.desks.change(id, |thread| {
            thread.extra.remove(ASKED);
            thread.extra.insert(LIFTED.to_owned(), today.into());
        })?;
        Ok(())
    }

    fn warn(&self, thread: &ThreadId) {
        let today = now(&self.settings).date();
        for budget in self.all(thread) {
            if budget.spent < WARN_AT * budget.limit {
                continue;
            }
            let of = match &budget.of {
                Of::Devbox(name) => format!("{name}-"),
                Of::Office | Of::Thread => String::new(),
            };
            let cause = format!("budget-{of}{today}-{}", budget.limit);
            let nearly = if budget.spent < budget.limit { "nearly " } else { "" };
            let text = format!(
                "{} budget for today is {nearly}spent: ${:.2} of ${:.2}.",
                capitalised(&budget.name()),
                budget.spent,
                budget.limit
            );
            let readers = match budget.of {
                Of::Office => self.notices.operators(),
                Of::Devbox(_) | Of::Thread => vec![thread.clone()],
            };
            for to in readers.iter().filter(|it| self.notices.is_news(Some(it), &cause)) {
                self.notices.say(to, Key::hashed("n", &format!("{cause}-{to}")), &text);
            }
        }
    }
}

fn read(state: &StateDir, vitals: &Vitals, zone: jiff::tz::TimeZone) -> Costs {
    let (costs, trouble) = Costs::read_in_part(state, zone, now_ms());
    let trouble = trouble.map(|err| {
        tracing::error!("what today cost is counted in part only: {err}: {}", err.source);
        format!("What today cost is counted in part only: {err}: {}.", err.source)
    });
    vitals.concern("costs", trouble);
    costs
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
