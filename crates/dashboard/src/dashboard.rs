//! The dashboard itself: five followed logs, the office's small files, the host, and who is told when something moves.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::{EventKind, RecursiveMode, Watcher};
use tinyclaw_domain::{Health, StateDir, ThreadId};
use tinyclaw_service::{Vitals, now_ms};
use tokio::sync::watch;

use crate::answer::Answers;
use crate::costs::Spending;
use crate::host::Host;
use crate::index::Filter;
use crate::log::Log;
use crate::meta::{FLAG, LogName};
use crate::models::Models;
use crate::office::OfficeReader;
use crate::shapes::{Counts, LogState, ModelFamily, Rates, ServiceState, Status, ThreadSummary};

/// How often the host is sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// How often folders that were not there are looked for.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// An answer about the whole office is good for so long, however many pages ask.
const STATUS_AGE_MAX: Duration = Duration::from_millis(400);
/// Folders of the queue whose changes the page wants to know of. Not recursive: `done/` is none of them.
const QUEUE_FOLDERS: [&str; 6] =
    ["incoming", "processing", "outgoing", "sending", "dead", "quarantine"];

/// Everything the server answers from.
#[derive(Debug)]
pub(crate) struct Dashboard {
    logs: [Arc<Log>; 5],
    /// The small files.
    pub(crate) office: OfficeReader,
    /// The models that the office knows.
    pub(crate) models: Models,
    /// The host.
    pub(crate) host: Host,
    /// Where the state folder is.
    pub(crate) state: PathBuf,
    /// The places for large answers.
    pub(crate) answers: Answers,
    /// What the models cost.
    pub(crate) spending: Spending,
    vitals: Vitals,
    boot: String,
    started_at: u64,
    news: watch::Sender<u64>,
    ending: watch::Sender<bool>,
    is_ending: AtomicBool,
    state_version: AtomicU64,
    status: Mutex<Option<(u64, Instant, Arc<Status>)>>,
}

impl Dashboard {
    /// A dashboard on the state folder; nothing is read before [`Dashboard::start`].
    pub(crate) fn new(
        state: &Path,
        proc: Option<PathBuf>,
        models: Models,
        vitals: Vitals,
    ) -> Arc<Dashboard> {
        let started_at = now_ms();
        Arc::new(Dashboard {
            logs: LogName::ALL.map(|name| Arc::new(Log::new(name, state, models.clone()))),
            office: OfficeReader::new(state),
            models,
            host: Host::new(proc, state.to_owned()),
            boot: format!("{started_at:x}-{}", std::process::id()),
            started_at,
            news: watch::Sender::new(0),
            ending: watch::Sender::new(false),
            is_ending: AtomicBool::new(false),
            state_version: AtomicU64::new(0),
            status: Mutex::default(),
            state: state.to_owned(),
            answers: Answers::default(),
            spending: Spending::default(),
            vitals,
        })
    }

    /// Starts following. The threads end after [`Dashboard::end`].
    pub(crate) fn start(self: &Arc<Dashboard>) {
        let mut hints = Vec::new();
        for log in &self.logs {
            let (sender, receiver) = sync_channel(1);
            hints.push((log.name, sender));
            let (it, log) = (Arc::clone(self), Arc::clone(log));
            spawn(&format!("tail {}", log.name.as_str()), move || log.follow(&receiver, &it.news));
        }
        let it = Arc::clone(self);
        spawn("watch", move || it.watch(hints));
        let it = Arc::clone(self);
        spawn("host", move || {
            while !it.is_ending() {
                it.host.sample();
                it.news.send_modify(|it| *it += 1);
                std::thread::sleep(SAMPLE_INTERVAL);
            }
        });
    }

    /// Ends every stream and thread.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        self.ending.send_replace(true);
        for log in &self.logs {
            log.end();
        }
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    /// One of the logs.
    pub(crate) fn log(&self, name: LogName) -> &Arc<Log> {
        &self.logs[name as usize]
    }

    /// Changes whenever there is something new to tell.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// True when the server ends.
    pub(crate) fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// Changes whenever the small files or the queue's folders did, or the index grew.
    pub(crate) fn state_version(&self) -> u64 {
        let indexed: u64 = self.logs.iter().map(|it| it.index().progress.0).sum();
        self.state_version.load(Ordering::Relaxed).wrapping_add(indexed)
    }

    /// Watches the folders, and hints at logs and small files that changed. Without inotify, timers do.
    fn watch(&self, hints: Vec<(LogName, SyncSender<()>)>) {
        let (sender, changes) = sync_channel::<notify::Result<notify::Event>>(1024);
        // A full channel means that a change is known of already.
        let watcher = notify::recommended_watcher(move |it| drop(sender.try_send(it)));
        let mut watcher = match watcher {
            Ok(it) => Some(it),
            Err(source) => {
                tracing::warn!(%source, "no inotify: files are looked at four times a second");
                None
            }
        };
        let mut watched = HashSet::new();
        let mut looked = None::<Instant>;
        while !self.is_ending() {
            if looked.is_none_or(|it| it.elapsed() > WATCH_INTERVAL) {
                looked = Some(Instant::now());
                if let Some(watcher) = &mut watcher {
                    self.watch_folders(watcher, &mut watched);
                }
            }
            self.pass_on(&changes, &hints);
        }
    }

    fn watch_folders(&self, watcher: &mut impl Watcher, watched: &mut HashSet<PathBuf>) {
        let state = StateDir::new(&self.state);
        let own = [state.root().to_owned(), state.logs(), state.healths(), state.progresses()];
        let queue = QUEUE_FOLDERS.map(|it| state.queue().join(it));
        for folder in own.into_iter().chain(queue) {
            if !folder.is_dir() {
                watched.remove(&folder);
            } else if !watched.contains(&folder) {
                match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    Ok(()) => {
                        watched.insert(folder);
                        self.state_version.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(source) => {
                        tracing::debug!(folder = %folder.display(), %source, "cannot watch");
                    }
                }
            }
        }
    }

    fn pass_on(
        &self,
        changes: &Receiver<notify::Result<notify::Event>>,
        hints: &[(LogName, SyncSender<()>)],
    ) {
        let Ok(change) = changes.recv_timeout(Duration::from_millis(250)) else { return };
        let Ok(event) = change else { return };
        // Our own reading opens files; that is no change.
        if matches!(event.kind, EventKind::Access(_)) && !event.need_rescan() {
            return;
        }
        let logs: Vec<LogName> = event.paths.iter().filter_map(|it| self.log_of(it)).collect();
        for (name, hint) in hints {
            if event.need_rescan() || logs.contains(name) {
                let _ = hint.try_send(());
            }
        }
        if logs.is_empty() {
            self.state_version.fetch_add(1, Ordering::Relaxed);
            self.news.send_modify(|it| *it += 1);
        }
    }

    fn log_of(&self, path: &Path) -> Option<LogName> {
        LogName::ALL.into_iter().find(|name| {
            let log = name.path(&self.state);
            let stem = log.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            path.parent() == log.parent() && name.starts_with(&stem)
        })
    }

    /// How far each log is known.
    pub(crate) fn tail_state(&self) -> BTreeMap<&'static str, LogState> {
        self.logs.iter().map(|log| (log.name.as_str(), log_state(log))).collect()
    }

    /// How each service is, this one included.
    pub(crate) fn services(&self) -> Vec<ServiceState> {
        let mut services = self.office.services();
        let now = self.vitals.snapshot();
        let health = Health {
            service: now.service,
            version: now.version,
            pid: now.pid,
            started_at: now.started_at,
            at: now.at,
            alive: now.alive,
            ready: now.ready,
            why: now.why,
            numbers: now.numbers,
        };
        services.push(ServiceState::of(health, Duration::ZERO));
        services
    }

    /// Everything at a glance. `midnight` is when the asker's day began, in seconds since 1970.
    pub(crate) fn status(&self, midnight: u64) -> Arc<Status> {
        let mut kept = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, at, status)) = &*kept
            && *of == midnight
            && at.elapsed() < STATUS_AGE_MAX
        {
            return Arc::clone(status);
        }
        let status = Arc::new(self.new_status(midnight));
        *kept = Some((midnight, Instant::now(), Arc::clone(&status)));
        status
    }

    fn new_status(&self, midnight: u64) -> Status {
        let (threads, threads_error) = match self.office.threads() {
            Ok(it) => (it, None),
            Err(it) => (Default::default(), Some(it)),
        };
        let counts: BTreeMap<ThreadId, u64> = {
            let index = self.log(LogName::Messages).index();
            let counts = index.rows_by_thread().into_iter();
            counts
                .filter_map(|(it, n)| Some((index.tables.threads.name_of(it)?.clone(), n)))
                .collect()
        };
        let threads = threads.into_iter().map(|(id, thread)| ThreadSummary {
            messages: counts.get(&id).copied().unwrap_or(0),
            id,
            thread,
        });
        Status {
            boot: self.boot.clone(),
            version: env!("CARGO_PKG_VERSION"),
            now: now_ms(),
            started_at: self.started_at,
            host: self.host.latest(),
            services: self.services(),
            queue: self.office.depth(),
            threads: threads.collect(),
            threads_error,
            devboxes: self.office.devboxes(),
            turns: self.office.turns(),
            messages: self.rates(midnight),
            logs: self.tail_state(),
            models: self.models.now().families().iter().map(ModelFamily::of).collect(),
        }
    }

    fn rates(&self, midnight: u64) -> Rates {
        let now = now_ms() / 1000;
        let since = |seconds: u64| now.saturating_sub(seconds);
        let midnight = midnight.clamp(since(48 * 3600), now);
        let mut rates = Rates::default();
        let (hour, day) = (since(3600), since(24 * 3600));
        let filter = Filter { since: day.min(midnight) as u32, ..Filter::default() };
        let index = self.log(LogName::Messages).index();
        index.newest_first(&filter, |it| {
            let is_out = it.meta.marks & FLAG != 0;
            let at = u64::from(it.meta.seconds);
            let count = |counts: &mut Counts| match is_out {
                true => counts.outward += 1,
                false => counts.inward += 1,
            };
            let cost = f64::from(it.meta.value) / 1e6;
            if at >= hour {
                count(&mut rates.last_hour);
            }
            if at >= day {
                count(&mut rates.last_day);
                rates.cost_last_day_usd += cost;
            }
            if at >= midnight {
                count(&mut rates.today);
                rates.cost_today_usd += cost;
            }
            true
        });
        rates.complete = index.complete || index.reaches_back_to(filter.since);
        rates
    }
}

fn log_state(log: &Log) -> LogState {
    let index = log.index();
    let (first, last) = index.range();
    let (done, all) = index.progress;
    LogState {
        first,
        last,
        complete: index.complete,
        indexed: if index.complete || all == 0 { 1.0 } else { done as f64 / all as f64 },
        gaps: index.gaps.iter().filter(|(_, it)| !it.is_lossless()).count(),
        rotations: log.rotations(),
        place: log.place().to_string(),
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    // A dashboard that cannot start a thread at its start cannot do anything.
    if let Err(source) = std::thread::Builder::new().name(name.into()).spawn(work) {
        tracing::error!(%source, "cannot start the thread {name:?}");
    }
}
