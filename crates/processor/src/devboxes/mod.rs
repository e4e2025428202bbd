//! The devboxes of the office: the one owner of their registry, and who tells the engine how to reach each.
//!
//! A registry that cannot be used holds up the threads of devboxes, with its reason, and nothing else. What is public of it is
//! written to `devboxes.json` with every change.

mod git;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use tinyclaw_devbox::{Devbox, HostKey, Kind, NewDevbox, Registry, RegistryError, Route, Trouble};
use tinyclaw_disk::{Flush, replace};
use tinyclaw_domain::{
    DevboxDir, DevboxName, DevboxStatus, DevboxTrust, DevboxView, DevboxViews, Fingerprint, MoveTo,
    Place, StateDir, ThreadId,
};
use tinyclaw_engine::link::Lease;
use tinyclaw_engine::{
    DevboxLauncher, DevboxWay, Devboxes, GitAnswer, Landlock, find_helper, find_sibling,
};
use tinyclaw_service::settings::{self, EngineKind, Settings, Store};
use tinyclaw_service::{Vitals, now_ms};

use crate::blocking::{lock, on_disk};
use crate::desks::Desks;

pub(crate) use git::repository_of;
pub(crate) use words::{fault, health_lines, listed, shown_status};

/// Under which name trouble with the registry is told.
const CONCERN: &str = "devboxes";
/// Everything that is left of a run ends this long after its stdin was closed.
const LEASE_END: Duration = Duration::from_secs(30 * 60);
/// So often it is kept how long a word takes.
const PING_KEPT_EVERY: Duration = Duration::from_secs(60);
/// Said while they are not switched on.
pub(crate) const OFF: &str = "Devboxes are off: set devbox.enabled and devbox.sshKey.";

/// All devboxes.
#[derive(Debug)]
pub struct Fleet {
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    /// Guards the registry, once it was opened. Held for one look or change, and nothing is locked within it.
    registry: Mutex<Option<Registry>>,
    /// Guards what was asked about devboxes and not answered yet. Held for a look or a change, and nothing is locked within it.
    asked: Mutex<BTreeMap<DevboxName, Question>>,
    /// The desks, once there are some: they know where each thread works.
    desks: OnceLock<Weak<Desks>>,
    /// Guards when it was last kept how long a word takes to each. Held for a look or a change, and nothing is locked within it.
    pinged: Mutex<BTreeMap<DevboxName, Instant>>,
    /// Guards the tokens that git there was given a moment ago. Held for a look or a change, and nothing is locked within it.
    tokens: Mutex<git::Tokens>,
    /// Guards who starts Claude there. Held for a look or a change, and nothing is locked within it.
    launcher: Mutex<Weak<DevboxLauncher>>,
}

/// What a person is asked about a devbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether to remove it, and Claude's turn with it where one runs.
    Remove,
    /// Whether a thread is to move.
    Move {
        /// Which.
        thread: ThreadId,
        /// Where to.
        to: MoveTo,
        /// In which directory there.
        dir: Option<DevboxDir>,
    },
}

impl Fleet {
    /// Those of this state folder. Opens nothing until one is asked about.
    pub fn new(state: StateDir, settings: Store<Settings>, vitals: Vitals) -> Arc<Fleet> {
        let (registry, asked, launcher) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (desks, pinged, tokens) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Arc::new(Fleet {
            state,
            settings,
            vitals,
            registry,
            asked,
            desks,
            pinged,
            tokens,
            launcher,
        })
    }

    /// From now on these say where each thread works.
    pub(crate) fn follow(&self, desks: &Arc<Desks>) {
        // An office that begins a second time in one process follows the first one's; there is none that does.
        let _ = self.desks.set(Arc::downgrade(desks));
    }

    /// Who starts Claude on them: one for as long as an engine has it. `None`: a program of ours is missing.
    pub(crate) fn launcher(self: &Arc<Fleet>) -> Option<Arc<DevboxLauncher>> {
        let mut launcher = lock(&self.launcher);
        if let Some(known) = launcher.upgrade() {
            return Some(known);
        }
        let settings = self.settings.current();
        let landlock = match settings.engine.landlock {
            settings::Landlock::Auto => Landlock::Auto,
            settings::Landlock::On => Landlock::On,
            settings::Landlock::Off => Landlock::Off,
        };
        let lease = Lease { close: settings.devbox.lease, end: LEASE_END };
        let (helper, known) = (find_helper()?, self.state.devbox_runs());
        let made = Arc::new(DevboxLauncher::new(self.clone(), helper, landlock, lease, known));
        *launcher = Arc::downgrade(&made);
        Some(made)
    }

    /// Something was asked about one; what was asked before is not any more.
    pub(crate) fn ask(&self, name: &DevboxName, question: Question) {
        lock(&self.asked).insert(name.clone(), question);
    }

    /// What was asked; from now on it is not.
    pub(crate) fn take_question(&self, name: &DevboxName) -> Option<Question> {
        lock(&self.asked).remove(name)
    }

    /// Whether there may be any.
    pub(crate) fn is_on(&self) -> bool {
        self.settings.current().devbox.enabled
    }

    /// Looks at the registry, or changes it. An error is a sentence for a person.
    fn with<T>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, RegistryError>,
    ) -> Result<T, String> {
        if !self.is_on() {
            return Err(OFF.to_owned());
        }
        let done = on_disk(|| {
            let mut registry = lock(&self.registry);
            if registry.is_none() {
                *registry = Some(Registry::open(&self.state.devboxes())?);
            }
            match &*registry {
                Some(registry) => work(registry),
                None => unreachable!("it was opened just now"),
            }
        });
        let trouble = done.as_ref().err().filter(|it| !matches!(it, RegistryError::Taken));
        self.vitals.concern(CONCERN, trouble.map(|it| format!("{it}: devboxes wait.")));
        done.map_err(|err| match err {
            RegistryError::Taken => "There is a devbox of this name or thread already.".to_owned(),
            other => {
                let source = std::error::Error::source(&other).map(|it| format!(": {it}"));
                tracing::error!("{other}{}", source.unwrap_or_default());
                format!("The registry of devboxes cannot be used: {other}.")
            }
        })
    }

    /// The same for what changes what everybody may know.
    fn change<T>(
        &self,
        work: impl FnOnce(&Registry) -> Result<T, RegistryError>,
    ) -> Result<T, String> {
        let done = self.with(work)?;
        self.publish();
        Ok(done)
    }

    /// One of them.
    pub(crate) fn get(&self, name: &DevboxName) -> Result<Option<Devbox>, String> {
        self.with(|it| it.get(name))
    }

    /// All of them; with those that were removed, if they are asked for.
    pub(crate) fn all(&self, with_removed: bool) -> Result<Vec<Devbox>, String> {
        self.with(|it| it.all(with_removed))
    }

    /// A new one, and who added it.
    pub(crate) fn add(&self, new: &NewDevbox) -> Result<Devbox, String> {
        let detail = new.host.as_ref().map_or_else(|| "local".to_owned(), ToString::to_string);
        let by = new.owner.as_deref();
        self.change(|it| {
            it.add(new, now_ms())?;
            let added = it.get(&new.name)?.ok_or(RegistryError::Taken)?;
            it.event(now_ms(), Some(added.id), by, "add", &detail)?;
            Ok(added)
        })
    }

    /// Asks one for its key, which from then on can be approved.
    pub(crate) async fn learn(&self, devbox: &Devbox) -> Result<Result<HostKey, Trouble>, String> {
        let Some(route) = self.route(devbox) else { return Err(OFF.to_owned()) };
        let learned = HostKey::learn(&route).await;
        match &learned {
            Ok(key) => self.with(|it| it.see_key(devbox.id, &key.to_text()))?,
            Err(trouble) => self.note(devbox.id, Err(trouble)),
        }
        Ok(learned)
    }

    /// Keeps the key that was shown, if it is the one that a person means.
    pub(crate) fn approve(
        &self,
        devbox: &Devbox,
        fingerprint: &Fingerprint,
        by: Option<&str>,
    ) -> Result<bool, String> {
        let seen = devbox.seen_key.as_deref().and_then(|it| it.parse::<HostKey>().ok());
        let Some(key) = seen.filter(|it| it.fingerprint().as_ref() == Some(fingerprint)) else {
            return Ok(false);
        };
        self.change(|it| {
            it.approve_key(devbox.id, &key.to_text(), by, now_ms())?;
            it.event(now_ms(), Some(devbox.id), by, "approve", fingerprint.as_str())
        })?;
        Ok(true)
    }

    /// Forgets whose key it was.
    pub(crate) fn forget_key(&self, devbox: &Devbox, by: Option<&str>) -> Result<(), String> {
        self.change(|it| {
            it.forget_key(devbox.id)?;
            it.event(now_ms(), Some(devbox.id), by, "forget key", "")
        })
    }

    /// Calls one something else.
    pub(crate) fn rename(
        &self,
        devbox: &Devbox,
        to: &DevboxName,
        by: Option<&str>,
    ) -> Result<(), String> {
        self.change(|it| {
            it.rename(devbox.id, to)?;
            it.event(now_ms(), Some(devbox.id), by, "rename", to.as_str())
        })
    }

    /// Which of our tools its Claude gets from now on.
    pub(crate) fn trust(
        &self,
        devbox: &Devbox,
        trust: DevboxTrust,
        by: Option<&str>,
    ) -> Result<(), String> {
        self.change(|it| {
            it.trust(devbox.id, trust)?;
            it.event(now_ms(), Some(devbox.id), by, "trust", trust.as_str())
        })
    }

    /// Which of our tools the Claude of a devbox gets. Of one that nobody knows: the least.
    pub(crate) fn trusts(&self, name: &DevboxName) -> DevboxTrust {
        self.get(name).ok().flatten().map_or(DevboxTrust::Own, |it| it.trust)
    }

    /// Of which repository its Claude may ask for tokens from now on.
    pub(crate) fn git(
        &self,
        devbox: &Devbox,
        repository: Option<&str>,
        by: Option<&str>,
    ) -> Result<(), String> {
        lock(&self.tokens).forget(&devbox.name);
        self.change(|it| {
            it.git(devbox.id, repository)?;
            it.event(now_ms(), Some(devbox.id), by, "git", repository.unwrap_or("off"))
        })
    }

    /// A thread works elsewhere from now on.
    pub(crate) fn moved(
        &self,
        thread: &ThreadId,
        from: &Place,
        to: &Place,
        by: Option<&str>,
    ) -> Result<(), String> {
        self.with(|it| {
            let detail = format!("thread {thread} from {from} to {to}");
            it.event(now_ms(), None, by, "move", &detail)
        })
    }

    /// What another office has running in the directory of one is ended.
    pub(crate) fn taken_over(
        &self,
        devbox: &Devbox,
        office: &str,
        by: Option<&str>,
    ) -> Result<(), String> {
        self.with(|it| it.event(now_ms(), Some(devbox.id), by, "take over", office))
    }

    /// Lets go of one.
    pub(crate) fn remove(&self, devbox: &Devbox, by: Option<&str>) -> Result<(), String> {
        self.change(|it| {
            it.remove(devbox.id, now_ms())?;
            it.event(now_ms(), Some(devbox.id), by, "remove", "")
        })?;
        for of_ssh in [devbox.name.to_string(), format!("{}-cert.pub", devbox.name)] {
            let _ = on_disk(|| std::fs::remove_file(self.state.devbox_keys().join(of_ssh)));
        }
        Ok(())
    }

    /// What Claude said there of its version.
    pub(crate) fn note_version(&self, devbox: &Devbox, version: &str) {
        if devbox.claude_version.as_deref() != Some(version)
            && let Err(why) = self.change(|it| it.note_version(devbox.id, version))
        {
            tracing::warn!("{why}");
        }
    }

    fn note(&self, id: i64, dialled: Result<(), &Trouble>) {
        let noted = self.change(|it| match dialled {
            Ok(()) => it.reached(id, now_ms()),
            Err(trouble) => {
                let status = match trouble.kind {
                    Kind::KeyChanged => DevboxStatus::KeyChanged,
                    Kind::KeyUnknown => DevboxStatus::New,
                    _ => DevboxStatus::Unreachable,
                };
                it.missed(id, status, &trouble.text, now_ms())
            }
        });
        if let Err(why) = noted {
            tracing::warn!("{why}");
        }
    }

    /// How long a word took to a devbox and back, in whole milliseconds; the shortest is one.
    pub(crate) fn pinged(&self, devbox: &Devbox, took: Duration) {
        let ms = u64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        if let Err(why) = self.change(|it| it.pinged(devbox.id, ms, now_ms())) {
            tracing::warn!("{why}");
        }
    }

    fn known_hosts(&self, name: &DevboxName) -> PathBuf {
        self.state.devbox_keys().join(name.as_str())
    }

    /// How ssh reaches one; `None` without a key of our own, and for one on this machine.
    fn route(&self, devbox: &Devbox) -> Option<Route> {
        let settings = self.settings.current();
        Some(Route {
            name: devbox.name.clone(),
            host: devbox.host.clone()?,
            user: devbox.user.clone(),
            key: settings.devbox.ssh_key.clone()?,
            config: settings.devbox.ssh_config.clone(),
            known_hosts: self.known_hosts(&devbox.name),
            cert_command: settings.devbox.cert_command.clone(),
        })
    }

    /// Whether one may be added on this machine.
    pub(crate) fn may_be_local(&self) -> bool {
        let settings = self.settings.current();
        settings.devbox.allow_local || settings.engine.kind == EngineKind::Demo
    }

    fn publish(&self) {
        let Ok(all) = self.all(false) else { return };
        let pings = |it: &Devbox| self.with(|registry| registry.probes(it.id)).unwrap_or_default();
        let devboxes = all.iter().map(|it| DevboxView { pings: pings(it), ..view(it) }).collect();
        let written = serde_json::to_vec_pretty(&DevboxViews { devboxes })
            .map_err(|err| err.to_string())
            .and_then(|bytes| {
                on_disk(|| replace(&self.state.devbox_views(), &bytes, Flush::None))
                    .map_err(|err| err.to_string())
            });
        if let Err(why) = written {
            tracing::warn!("devboxes.json is not written: {why}");
        }
    }
}

/// `deploy@api.example.org:22`.
pub(crate) fn at(devbox: &Devbox) -> String {
    match &devbox.host {
        Some(host) => format!("{}@{}", devbox.user, host.with_port()),
        None => "this machine".to_owned(),
    }
}

fn view(devbox: &Devbox) -> DevboxView {
    let key = devbox.host_key.as_deref().and_then(|it| it.parse::<HostKey>().ok());
    DevboxView {
        name: devbox.name.clone(),
        at: at(devbox),
        dir: devbox.dir.clone(),
        thread: devbox.thread.clone(),
        status: devbox.status,
        host_key: key.and_then(|it| it.fingerprint()),
        ping_ms: devbox.ping_ms,
        claude: devbox.claude_version.clone(),
        last_error: devbox.last_error.clone(),
        last_error_at: devbox.last_error_at,
        pings: Vec::new(),
        last_used_at: devbox.last_used_at,
    }
}

impl Devboxes for Fleet {
    fn way(&self, name: &DevboxName) -> Result<DevboxWay, Trouble> {
        let other = |it: String| Trouble::new(Kind::Other, it.trim_end_matches('.'));
        let Some(devbox) = self.get(name).map_err(other)? else {
            return Err(other(format!("there is no devbox {name}")));
        };
        if devbox.host.is_none() {
            if !self.may_be_local() {
                let text = "devboxes on this machine are off (devbox.allowLocal)";
                return Err(other(text.to_owned()));
            }
            let settings = self.settings.current();
            let home = settings
                .engine
                .home
                .clone()
                .or_else(|| std::env::var_os("HOME").map(PathBuf::from));
            let home = home.ok_or_else(|| other("HOME is not set".to_owned()))?;
            let claude = match settings.engine.kind {
                EngineKind::Demo => find_sibling("tinyclaw-demo-engine"),
                EngineKind::Claude => None,
            };
            return Ok(DevboxWay::Local { home, claude });
        }
        let key = devbox.host_key.as_deref().and_then(|it| it.parse::<HostKey>().ok());
        let key = key.ok_or_else(|| {
            let text =
                format!("nobody has approved the key of {name} (/devbox doctor {name} shows it)");
            Trouble::new(Kind::KeyUnknown, text)
        })?;
        let route = self.route(&devbox).ok_or_else(|| other(OFF.to_owned()))?;
        let text = key.known_hosts(name);
        on_disk(|| {
            std::fs::create_dir_all(self.state.devbox_keys()).map_err(|err| err.to_string())?;
            replace(&route.known_hosts, text.as_bytes(), Flush::None).map_err(|err| err.to_string())
        })
        .map_err(|why| other(format!("its key cannot be written for ssh: {why}")))?;
        Ok(DevboxWay::Ssh(Box::new(route)))
    }

    fn of_thread(&self, thread: &ThreadId) -> Option<DevboxName> {
        if !self.is_on() {
            return None;
        }
        // A thread may have moved.
        if let Some(known) = self.desks.get().and_then(Weak::upgrade).and_then(|it| it.get(thread))
        {
            return match known.place().0 {
                Place::Devbox(name) => Some(name),
                Place::Here | Place::Env(_) => None,
            };
        }
        let all = self.all(false).ok()?;
        all.into_iter().find(|it| it.thread == *thread).map(|it| it.name)
    }

    fn repository(&self, name: &DevboxName) -> Option<String> {
        let repository = self.get(name).ok().flatten()?.git?;
        Some(git::address(&self.settings.current().github.url, &repository))
    }

    fn git<'a>(&'a self, name: &'a DevboxName, asked: &'a [u8]) -> GitAnswer<'a> {
        Box::pin(self.answer_git(name, asked))
    }

    /// Every few seconds somebody says it; what is kept of a day is a point a minute.
    fn note_ping(&self, name: &DevboxName, took: Duration) {
        let now = Instant::now();
        {
            let mut pinged = lock(&self.pinged);
            if pinged.get(name).is_some_and(|at| now - *at < PING_KEPT_EVERY) {
                return;
            }
            pinged.insert(name.clone(), now);
        }
        match self.get(name) {
            Ok(Some(devbox)) => self.pinged(&devbox, took),
            Ok(None) => {}
            Err(why) => tracing::warn!("{why}"),
        }
    }

    fn note_dial(&self, name: &DevboxName, dialled: Result<(), &Trouble>) {
        match self.get(name) {
            Ok(Some(devbox)) => {
                if dialled.is_err() {
                    // The first word after it is worth a point of its own.
                    lock(&self.pinged).remove(name);
                }
                self.note(devbox.id, dialled);
            }
            Ok(None) => {}
            Err(why) => tracing::warn!("{why}"),
        }
    }
}
