//! Turns that an earlier process of this office began, and which go on in this one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tinyclaw_domain::{Place, ThreadId};

use crate::launch::{LeashOrder, Leashed};
use crate::launchers::Launchers;
use crate::look::{Desk, OutOfReach};

/// Claudes that were found in a turn, until somebody goes on with it. Dropped, they are ended.
#[derive(Default)]
pub(crate) struct AdoptedTurns(Mutex<HashMap<ThreadId, (String, Leashed)>>);

impl std::fmt::Debug for AdoptedTurns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

impl AdoptedTurns {
    fn lock(&self) -> MutexGuard<'_, HashMap<ThreadId, (String, Leashed)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this turn was begun by an earlier process and can be gone on with. It waits here for whoever does.
    pub(crate) async fn find(
        &self,
        launchers: &Launchers,
        desk: &Desk,
        uuid: &str,
    ) -> Result<bool, OutOfReach> {
        if self.lock().get(&desk.thread).is_some_and(|it| it.0 == uuid) {
            return Ok(true);
        }
        let launcher = launchers.of(&desk.place)?;
        let Some(leashed) = launcher.adopt(&desk.thread, uuid).await? else { return Ok(false) };
        self.lock().insert(desk.thread.clone(), (uuid.to_owned(), leashed));
        Ok(true)
    }

    /// The Claude with this turn. One with another turn of the thread is ended: it was waited for in vain.
    pub(crate) fn take(&self, thread: &ThreadId, uuid: &str) -> Option<Leashed> {
        let found = self.lock().remove(thread);
        found.filter(|it| it.0 == uuid).map(|it| it.1)
    }

    /// Leaves all of them to the next process. Whose they are.
    pub(crate) async fn leave(&self) -> Vec<ThreadId> {
        let found: Vec<_> = self.lock().drain().map(|(id, it)| (id, it.1)).collect();
        let mut left = Vec::new();
        for (thread, mut leashed) in found {
            leashed.leash.order(LeashOrder::Leave);
            let _ = leashed.leash.ended().await;
            left.push(thread);
        }
        left
    }

    /// Ends all of them.
    pub(crate) fn end(&self) {
        self.lock().clear();
    }
}

/// Ends what earlier processes left, but the Claudes with these turns. What is elsewhere is not waited for: a machine may be
/// out of reach.
pub(crate) async fn end_all_but(launchers: &Launchers, turns: &[String]) {
    if let Some(there) = launchers.devboxes() {
        let turns = turns.to_vec();
        tokio::spawn(async move { there.end_all_but(&turns).await });
    }
    if let Ok(launcher) = launchers.of(&Place::Here) {
        launcher.end_all_but(turns).await;
    }
}
