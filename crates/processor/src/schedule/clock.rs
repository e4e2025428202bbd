//! What the clock looks after. What it does about it stands beside this file.

use std::sync::Arc;

use tinyclaw_domain::StateDir;
use tinyclaw_engine::Engine;
use tinyclaw_memory::Memory;
use tinyclaw_queue::Queue;
use tinyclaw_service::Vitals;
use tinyclaw_service::settings::{Settings, Store};

use crate::availability::budget::Budgets;
use crate::availability::notices::Notices;
use crate::availability::pause::Availability;
use crate::availability::plan::Plan;
use crate::desks::Desks;
use crate::history::History;
use crate::work::routing::Routing;
use crate::work::slots::Slots;

/// What the clock looks after. Holds no lock.
pub(crate) struct Clock {
    pub(crate) state: StateDir,
    pub(crate) settings: Store<Settings>,
    pub(crate) vitals: Vitals,
    pub(crate) queue: Queue,
    pub(crate) engine: Engine,
    pub(crate) memory: Memory,
    pub(crate) desks: Arc<Desks>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) availability: Arc<Availability>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) history: Arc<History>,
    pub(crate) routing: Arc<Routing>,
    pub(crate) slots: Arc<Slots>,
}
