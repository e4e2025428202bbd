//! An office that was built without devboxes: their registry is SQLite, which takes longer to compile than all the rest. It
//! reaches none, and says so.

use std::sync::Arc;

use tinyclaw_domain::{DevboxName, DevboxTrust, StateDir};
use tinyclaw_engine::DevboxLauncher;
use tinyclaw_service::Vitals;
use tinyclaw_service::settings::{Settings, Store};

use crate::desks::Desks;

/// No devboxes.
#[derive(Debug)]
pub struct Fleet;

impl Fleet {
    /// None of this office's either.
    pub fn new(_: StateDir, _: Store<Settings>, _: Vitals) -> Arc<Fleet> {
        Arc::new(Fleet)
    }

    /// Where threads work is of no matter here.
    pub(crate) fn follow(&self, _: &Arc<Desks>) {}

    /// Nobody's Claude gets more than its own thread's tools.
    pub(crate) fn trusts(&self, _: &DevboxName) -> DevboxTrust {
        DevboxTrust::Own
    }

    /// Nobody starts Claude there.
    pub(crate) fn launcher(self: &Arc<Fleet>) -> Option<Arc<DevboxLauncher>> {
        None
    }
}
