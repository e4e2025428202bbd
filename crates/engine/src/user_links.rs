//! Claude on this machine as a user of its desk's own: a link to each desk, through hubs that the warden starts.
//!
//! The probe's Claude runs as the office's user: it works without tools, in the office's own home. Any other without a number
//! is not started.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tinyclaw_domain::{Place, SessionId, StateDir, ThreadId};

use crate::config::EngineConfig;
use crate::launch::{
    AdoptFuture, EndFuture, LaunchError, LaunchFuture, LaunchSpec, Launcher, PROBE,
};
use crate::link::{KnownRuns, Lease, LinkLauncher, LinkLook, WardenCarrier};
use crate::local::LocalLauncher;
use crate::look::{Desk, FoundFile, Look, LookFuture};
use crate::overlap::Overlap;
use crate::transcript::Trace;
use crate::users::Users;

/// Starts each Claude as its desk.
#[derive(Debug)]
pub(crate) struct UsersLauncher {
    config: EngineConfig,
    users: Users,
    known: Arc<KnownRuns>,
    /// For threads without a number.
    office: Arc<LocalLauncher>,
    links: Mutex<HashMap<ThreadId, Arc<LinkLauncher>>>,
}

impl UsersLauncher {
    pub(crate) fn new(config: &EngineConfig, users: &Users) -> UsersLauncher {
        UsersLauncher {
            config: config.clone(),
            users: users.clone(),
            known: Arc::new(KnownRuns::open(StateDir::new(&config.state).known_runs())),
            office: Arc::new(LocalLauncher::of(config)),
            links: Mutex::default(),
        }
    }

    /// Who starts this thread's Claude. It dials when there is something to ask.
    fn of(&self, thread: &ThreadId) -> Arc<dyn Launcher> {
        let Some(number) = self.users.number(thread) else { return self.office.clone() };
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(thread.clone()).or_insert_with(|| {
            let carrier = WardenCarrier::of(&self.config, self.users.warden(), number);
            Arc::new(link(&self.users, thread, carrier, self.known.clone()))
        });
        link.clone()
    }
}

/// A link to a thread's desk.
fn link(
    users: &Users,
    thread: &ThreadId,
    carrier: WardenCarrier,
    known: Arc<KnownRuns>,
) -> LinkLauncher {
    let (carrier, office) = (Arc::new(carrier), known.office());
    let home = users.folders(thread).map(|it| it.home);
    let look = Arc::new(LinkLook::new(&office, carrier.clone(), home));
    LinkLauncher::new(Place::Here, &office, carrier, look, Lease::HERE, known).of_thread(thread)
}

/// Who runs another program than Claude as this thread's desk, whatever its arguments. `None`: the desk is the office's user.
pub(crate) fn errands(
    config: &EngineConfig,
    thread: &ThreadId,
    program: &Path,
) -> Option<LinkLauncher> {
    let users = config.users.as_ref()?;
    let carrier = WardenCarrier::of(config, users.warden(), users.number(thread)?);
    // Nobody goes on with it when this process is gone.
    Some(link(users, thread, carrier.for_errands(program), Arc::new(KnownRuns::unkept())))
}

impl Launcher for UsersLauncher {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        if self.users.number(&spec.thread).is_none() && spec.thread.as_str() != PROBE {
            let why = format!("thread {} has no user of its own", spec.thread);
            return Box::pin(async move { Err(LaunchError::Refused { path: spec.cwd, why }) });
        }
        let launcher = self.of(&spec.thread);
        Box::pin(async move { launcher.launch(spec).await })
    }

    fn look(&self) -> &dyn Look {
        self
    }

    fn adopt<'a>(&'a self, thread: &'a ThreadId, turn_uuid: &'a str) -> AdoptFuture<'a> {
        let launcher = self.of(thread);
        Box::pin(async move { launcher.adopt(thread, turn_uuid).await })
    }

    fn may_adopt(&self, thread: &ThreadId, turn_uuid: &str) -> bool {
        self.of(thread).may_adopt(thread, turn_uuid)
    }

    fn let_go(&self, thread: &ThreadId) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).remove(thread);
    }

    fn end_all_but<'a>(&'a self, turns: &'a [String]) -> EndFuture<'a> {
        Box::pin(async move {
            for thread in self.users.threads() {
                self.of(&thread).end_all_but(turns).await;
            }
        })
    }
}

/// Each question is asked as the desk that it is about.
impl Look for UsersLauncher {
    fn has_session<'a>(&'a self, desk: &'a Desk, session: &'a SessionId) -> LookFuture<'a, bool> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().has_session(desk, session).await })
    }

    fn trace<'a>(
        &'a self,
        desk: &'a Desk,
        session: &'a SessionId,
        turn_uuid: &'a str,
    ) -> LookFuture<'a, Trace> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().trace(desk, session, turn_uuid).await })
    }

    fn copy_session<'a>(
        &'a self,
        from: &'a Desk,
        to: &'a Path,
        session: &'a SessionId,
    ) -> LookFuture<'a, bool> {
        let launcher = self.of(&from.thread);
        Box::pin(async move { launcher.look().copy_session(from, to, session).await })
    }

    fn real_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, PathBuf> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().real_dir(desk).await })
    }

    fn check_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, ()> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().check_dir(desk).await })
    }

    fn overlaps<'a>(
        &'a self,
        desk: &'a Desk,
        others: &'a [PathBuf],
    ) -> LookFuture<'a, Vec<Overlap>> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().overlaps(desk, others).await })
    }

    fn own_folder<'a>(&'a self, place: &'a Place, thread: &'a ThreadId) -> LookFuture<'a, PathBuf> {
        let launcher = self.of(thread);
        Box::pin(async move { launcher.look().own_folder(place, thread).await })
    }

    fn find_file<'a>(&'a self, desk: &'a Desk, path: &'a Path) -> LookFuture<'a, FoundFile> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().find_file(desk, path).await })
    }

    fn get<'a>(
        &'a self,
        desk: &'a Desk,
        below: &'a Path,
        bytes_max: u64,
    ) -> LookFuture<'a, Vec<u8>> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().get(desk, below, bytes_max).await })
    }

    fn put<'a>(
        &'a self,
        desk: &'a Desk,
        root: &'a Path,
        below: &'a Path,
    ) -> LookFuture<'a, PathBuf> {
        let launcher = self.of(&desk.thread);
        Box::pin(async move { launcher.look().put(desk, root, below).await })
    }

    fn unconfined<'a>(&'a self, place: &'a Place) -> LookFuture<'a, Option<String>> {
        // The kernel is the same for all of them.
        self.office.unconfined(place)
    }
}
