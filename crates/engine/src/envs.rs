//! Claude in containers: a link to each environment, through the porter, made when there is something to ask.
//!
//! What an environment is made of is the porter's to know. What one says reaches the thread that asked, and no other.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tinyclaw_domain::{EnvName, Place, ThreadId};

use crate::config::Landlock;
use crate::far::{Far, FarLink, of_stranger};
use crate::launch::{AdoptFuture, EndFuture, LaunchError, LaunchFuture, LaunchSpec, Launcher};
use crate::link::{ExecCarrier, KnownRuns, Lease, LinkLauncher, LinkLook};
use crate::look::{Look, OutOfReach};

/// Starts Claude in environments that are containers, and looks around there.
pub struct EnvLauncher {
    /// Where the porter listens.
    porter: PathBuf,
    landlock: Landlock,
    lease: Lease,
    known: Arc<KnownRuns>,
    links: Mutex<HashMap<EnvName, Arc<FarLink>>>,
}

impl fmt::Debug for EnvLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvLauncher").field("porter", &self.porter).finish_non_exhaustive()
    }
}

impl EnvLauncher {
    /// Of the environments that the porter at this socket has. Its runs are kept in this file.
    pub fn new(
        porter: PathBuf,
        landlock: Landlock,
        lease: Lease,
        known_runs: PathBuf,
    ) -> EnvLauncher {
        let known = Arc::new(KnownRuns::open(known_runs));
        EnvLauncher { porter, landlock, lease, known, links: Mutex::default() }
    }

    /// Where a thread of the web API works.
    fn of_thread(&self, thread: &ThreadId) -> Option<Arc<FarLink>> {
        self.link(&Place::Env(thread.env()?.0)).ok()
    }
}

impl Far for EnvLauncher {
    fn link(&self, place: &Place) -> Result<Arc<FarLink>, OutOfReach> {
        let Place::Env(name) = place else {
            let why = "it is no environment".to_owned();
            return Err(OutOfReach { place: place.clone(), why, is_held: false });
        };
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(name.clone()).or_insert_with(|| {
            let (env, socket) = (name.clone(), self.porter.clone());
            let carrier = Arc::new(ExecCarrier { env, socket, landlock: self.landlock });
            let office = self.known.office();
            let look = Arc::new(LinkLook::new(&office, carrier.clone(), None));
            let (place, known) = (place.clone(), self.known.clone());
            let launcher =
                LinkLauncher::new(place, &office, carrier, look.clone(), self.lease, known);
            Arc::new(FarLink { launcher, look })
        });
        Ok(link.clone())
    }
}

impl Launcher for EnvLauncher {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        Box::pin(async move {
            let link = self.link(&spec.place).map_err(LaunchError::OutOfReach)?;
            link.launcher.launch(spec).await.map(of_stranger)
        })
    }

    fn look(&self) -> &dyn Look {
        self
    }

    fn adopt<'a>(&'a self, thread: &'a ThreadId, turn_uuid: &'a str) -> AdoptFuture<'a> {
        Box::pin(async move {
            let Some(link) = self.of_thread(thread) else { return Ok(None) };
            let adopted = link.launcher.adopt(thread, turn_uuid).await?;
            Ok(adopted.map(of_stranger))
        })
    }

    fn may_adopt(&self, thread: &ThreadId, turn_uuid: &str) -> bool {
        self.known.waits(thread, turn_uuid)
    }

    /// Each in the environment of its thread. What is in one that does not answer ends with its lease.
    fn end_all_but<'a>(&'a self, turns: &'a [String]) -> EndFuture<'a> {
        Box::pin(async move {
            for thread in self.known.waiting() {
                if let Some(link) = self.of_thread(&thread) {
                    link.launcher.end_others(Some(&thread), turns).await;
                }
            }
        })
    }
}
