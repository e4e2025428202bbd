//! Budgets: what a day may cost, for the office and for a thread. Warned of at 80 %; when spent, a question comes
//! instead of a turn.

use tinyclaw_domain::{Key, ThreadId};
use tinyclaw_service::now_ms;

use crate::office::{Office, lock};

/// From this share on, people are warned.
const WARN_AT: f64 = 0.8;

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

    /// The question to ask instead of a turn, when a budget is spent and nobody said to go on.
    pub(crate) fn over_budget(&self, thread: &ThreadId) -> Option<String> {
        let today = self.now().date();
        let lifted = lock(&self.lifted);
        let spent = self
            .budgets(thread)
            .into_iter()
            .find(|it| it.spent >= it.limit && !lifted.contains(&(it.of.clone(), today)))?;
        Some(format!(
            "{} budget for today is spent (${:.2} of ${:.2}). Go on today all the same?",
            capitalised(&spent.name()),
            spent.spent,
            spent.limit
        ))
    }

    /// A person said to go on: today's budgets no longer stop this thread.
    pub(crate) fn lift_budget(&self, thread: &ThreadId) {
        let today = self.now().date();
        let mut lifted = lock(&self.lifted);
        lifted.retain(|(_, day)| *day == today);
        lifted.insert((Some(thread.clone()), today));
        lifted.insert((None, today));
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
                let text = format!(
                    "{} budget for today is nearly spent: ${:.2} of ${:.2}.",
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
