//! Claude on devboxes: a link to each, dialled when there is something to ask.
//!
//! Where a devbox is and whose key it has to show is said anew before each connection by whoever keeps the registry; nothing
//! of it is kept here. What a devbox says reaches the thread that asked, and no other.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tinyclaw_devbox::Helper;
use tinyclaw_domain::look::FarHealth;
use tinyclaw_domain::{DevboxName, Place, ThreadId};
use tokio::sync::Semaphore;

use crate::config::Landlock;
use crate::far::{Far, FarLink, of_stranger};
use crate::launch::{AdoptFuture, EndFuture, LaunchError, LaunchFuture, LaunchSpec, Launcher};
use crate::link::{
    Answering, Carrier, Devboxes, GitAnswer, KnownRuns, Lease, LinkLauncher, LinkLook, SshCarrier,
};
use crate::look::{Look, LookError, OutOfReach};

/// So many devboxes are dialled at once: a machine that wakes up is not flooded.
const DIALS: usize = 4;
/// Whoever has a directory taken over means the Claude that is there now, and not one of next week.
const TAKE_OVER: Duration = Duration::from_secs(10 * 60);

/// Starts Claude on devboxes, and looks around there.
pub struct DevboxLauncher {
    devboxes: Arc<dyn Devboxes>,
    helper: Arc<Helper>,
    landlock: Landlock,
    lease: Lease,
    known: Arc<KnownRuns>,
    dials: Arc<Semaphore>,
    links: Mutex<HashMap<DevboxName, Arc<FarLink>>>,
    /// Guards whose next Claude ends another office's, and until when. Held for a look or a change.
    taking_over: Mutex<HashMap<ThreadId, Instant>>,
}

/// Who answers for one devbox.
#[derive(Debug)]
struct OfDevbox {
    name: DevboxName,
    all: Arc<dyn Devboxes>,
}

impl Answering for OfDevbox {
    fn repository(&self) -> Option<String> {
        self.all.repository(&self.name)
    }

    fn git<'a>(&'a self, asked: &'a [u8]) -> GitAnswer<'a> {
        self.all.git(&self.name, asked)
    }
}

impl fmt::Debug for DevboxLauncher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevboxLauncher").field("devboxes", &self.devboxes).finish_non_exhaustive()
    }
}

impl DevboxLauncher {
    /// Of these devboxes, on which this helper is put. Its runs are kept in this file.
    pub fn new(
        devboxes: Arc<dyn Devboxes>,
        helper: PathBuf,
        landlock: Landlock,
        lease: Lease,
        known_runs: PathBuf,
    ) -> DevboxLauncher {
        DevboxLauncher {
            devboxes,
            helper: Arc::new(Helper::new(helper)),
            landlock,
            lease,
            known: Arc::new(KnownRuns::open(known_runs)),
            dials: Arc::new(Semaphore::new(DIALS)),
            links: Mutex::default(),
            taking_over: Mutex::default(),
        }
    }

    /// How a devbox is, and whether Claude could work in this directory of it.
    pub async fn health(&self, name: &DevboxName, dir: &Path) -> Result<FarHealth, LookError> {
        let place = Place::Devbox(name.clone());
        self.link(&place)?.look.health(&place, dir).await
    }

    /// How long a word takes there and back, over a connection that stands: the middle one of five.
    pub async fn ping(&self, name: &DevboxName) -> Result<Duration, LookError> {
        let place = Place::Devbox(name.clone());
        self.link(&place)?.look.ping(&place).await
    }

    /// The next Claude of this thread ends first what another office has running in its directory: a person said so.
    pub fn take_over(&self, thread: &ThreadId) {
        let until = Instant::now() + TAKE_OVER;
        self.taking_over().insert(thread.clone(), until);
    }

    fn taking_over(&self) -> MutexGuard<'_, HashMap<ThreadId, Instant>> {
        self.taking_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what we keep on a devbox: helpers, spools, files that were put there. `false`: something runs there.
    pub async fn clean(&self, name: &DevboxName) -> Result<bool, LookError> {
        let place = Place::Devbox(name.clone());
        self.link(&place)?.look.clean(&place).await
    }

    /// The helper on this machine, and what it is called below the HOME of a devbox. An error is a sentence.
    pub async fn helper(&self) -> Result<(PathBuf, String), String> {
        let loaded = self.helper.load().await.map_err(|err| format!("{err}."))?;
        Ok((self.helper.path().to_owned(), loaded.file()))
    }

    /// Lets go of the connections to a devbox that is called otherwise now, or is none of ours any more. What runs there goes on
    /// until its lease ends.
    pub fn forget(&self, name: &DevboxName) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Far for DevboxLauncher {
    fn link(&self, place: &Place) -> Result<Arc<FarLink>, OutOfReach> {
        let Place::Devbox(name) = place else {
            let why = "it is no devbox".to_owned();
            return Err(OutOfReach { place: place.clone(), why, is_held: false });
        };
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(name.clone()).or_insert_with(|| {
            let carrier: Arc<dyn Carrier> = Arc::new(SshCarrier {
                name: name.clone(),
                devboxes: self.devboxes.clone(),
                helper: self.helper.clone(),
                landlock: self.landlock,
                dials: self.dials.clone(),
            });
            let office = self.known.office();
            let look = Arc::new(LinkLook::new(&office, carrier.clone(), None));
            let known = self.known.clone();
            let answering = Arc::new(OfDevbox { name: name.clone(), all: self.devboxes.clone() });
            let launcher = LinkLauncher::answering(
                place.clone(),
                &office,
                carrier,
                look.clone(),
                self.lease,
                known,
                Some(answering),
            );
            Arc::new(FarLink { launcher, look })
        });
        Ok(link.clone())
    }
}

impl Launcher for DevboxLauncher {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        Box::pin(async move {
            let link = self.link(&spec.place).map_err(LaunchError::OutOfReach)?;
            let thread = spec.thread.clone();
            let until = self.taking_over().remove(&thread).filter(|it| Instant::now() < *it);
            let Some(until) = until else {
                return link.launcher.launch(spec).await.map(of_stranger);
            };
            let launched = link.launcher.take_over(spec).await;
            if matches!(launched, Err(LaunchError::OutOfReach(_))) {
                // Nobody heard it.
                self.taking_over().insert(thread, until);
            }
            launched.map(of_stranger)
        })
    }

    fn look(&self) -> &dyn Look {
        self
    }

    fn adopt<'a>(&'a self, thread: &'a ThreadId, turn_uuid: &'a str) -> AdoptFuture<'a> {
        Box::pin(async move {
            let Some(name) = self.devboxes.of_thread(thread) else { return Ok(None) };
            let link = self.link(&Place::Devbox(name))?;
            let adopted = link.launcher.adopt(thread, turn_uuid).await?;
            Ok(adopted.map(of_stranger))
        })
    }

    fn may_adopt(&self, thread: &ThreadId, turn_uuid: &str) -> bool {
        self.known.waits(thread, turn_uuid)
    }

    /// Each on the devbox of its thread. What is on one that does not answer ends with its lease.
    fn end_all_but<'a>(&'a self, turns: &'a [String]) -> EndFuture<'a> {
        Box::pin(async move {
            for thread in self.known.waiting() {
                let Some(name) = self.devboxes.of_thread(&thread) else { continue };
                if let Ok(link) = self.link(&Place::Devbox(name)) {
                    link.launcher.end_others(Some(&thread), turns).await;
                }
            }
        })
    }
}
