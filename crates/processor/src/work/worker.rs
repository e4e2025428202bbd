//! What the work on a message needs. Holds no state and no lock of its own: each of these owns its own.

use std::sync::Arc;

use tinyclaw_domain::{Key, Place, StateDir};
use tinyclaw_engine::{Engine, TurnFailure};
use tinyclaw_ledger::Progresses;
use tinyclaw_memory::Memory;
use tinyclaw_queue::Queue;
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Vitals, now_ms};

use crate::availability::budget::Budgets;
use crate::availability::notices::Notices;
use crate::availability::pause::Availability;
use crate::availability::plan::Plan;
use crate::commands::Commands;
use crate::desks::Desks;
use crate::desks::sessions::Sessions;
use crate::history::History;
use crate::policy::failure::{Case, Remedy, judge, may_be_outage};
use crate::tools::Tools;
use crate::tools::servers::Servers;
use crate::tools::skills::Skills;
use crate::work::control::Control;
use crate::work::prompt::Prompts;
use crate::work::routing::Routing;
use crate::work::slots::Slots;
use crate::work::turns::Turns;

/// Whoever works on messages.
pub(crate) struct Worker {
    pub(crate) state: StateDir,
    pub(crate) settings: Store<Settings>,
    pub(crate) vitals: Vitals,
    pub(crate) queue: Queue,
    pub(crate) engine: Engine,
    pub(crate) memory: Memory,
    pub(crate) desks: Arc<Desks>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) availability: Arc<Availability>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) history: Arc<History>,
    pub(crate) routing: Arc<Routing>,
    pub(crate) control: Arc<Control>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) progresses: Progresses,
    pub(crate) commands: Commands,
    pub(crate) tools: Tools,
    pub(crate) servers: Arc<Servers>,
    pub(crate) skills: Arc<Skills>,
    pub(crate) prompts: Prompts,
}

impl Worker {
    /// What is to be done about a failed turn; notes how long nobody has been answered, when that may be why.
    pub(crate) fn remedy(
        &self,
        place: &Place,
        key: &Key,
        failure: &TurnFailure,
        attempt: u32,
        is_default_model: bool,
    ) -> Remedy {
        let waited = may_be_outage(failure).then(|| self.availability.note_failure(place, key));
        judge(&Case {
            place,
            failure,
            attempt,
            is_default_model,
            waited: waited.unwrap_or_default(),
            now_s: now_ms() / 1_000,
            chance: rand::random(),
        })
    }
}
