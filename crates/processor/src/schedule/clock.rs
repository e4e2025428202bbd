//! What happens by the clock and not by a message: housekeeping, the daily reset, heartbeats, looking after the engine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tinyclaw_disk::foreign::{self, read_below};
use tinyclaw_domain::{
    Channel, Command, Direction, Health, HistoryLine, Key, Message, Model, Outcome, Reply, Source,
    Thread, ThreadId, ThreadStatus,
};
use tinyclaw_engine::Probe;
use tinyclaw_ledger::{ALL_BYTES_MAX, retire_jobs};
use tinyclaw_memory::last_reset;
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::healthcheck::{self, BROKER_IDLES, ProbeError};
use tinyclaw_service::settings::Refreshed;
use tinyclaw_service::{conceal, now_ms};

use crate::desks::mirror;
use crate::office::{Office, lock, on_disk};
use crate::policy::failure::{LIMIT_LOOK_MAX, LOOK_AFTER_LOGIN};
use crate::setup;

const TICK: Duration = Duration::from_secs(1);
/// From this share of free disk down, the operator is told, unless there is room enough all the same.
const DISK_LOW: f64 = 0.08;
const DISK_ENOUGH: u64 = 2 << 30;
/// So many waiting messages are a backlog worth a word.
const BACKLOG: usize = 100;
/// Where a thread keeps what it looks after, in its directory.
const HEARTBEAT_FILE: &str = "HEARTBEAT.md";
/// A longer one is not looked through.
const HEARTBEAT_BYTES_MAX: u64 = 256 * 1024;
/// When a thread last looked, in its entry.
const LAST_BEAT: &str = "lastBeat";

/// Ticks until it is aborted.
pub(crate) async fn run(office: Arc<Office>) {
    let mut due = Due::default();
    loop {
        due.tick(&office).await;
        tokio::time::sleep(TICK).await;
    }
}

/// When what is next.
#[derive(Default)]
struct Due {
    at: HashMap<&'static str, Instant>,
    router_changed: Option<SystemTime>,
}

impl Due {
    fn is(&mut self, what: &'static str, every: Duration) -> bool {
        let now = Instant::now();
        if self.at.get(what).is_some_and(|it| now < *it) {
            return false;
        }
        self.at.insert(what, now + every);
        true
    }

    async fn tick(&mut self, office: &Arc<Office>) {
        look_after_engine(office).await;
        if self.is("settings", Duration::from_secs(2)) {
            self.reload(office);
        }
        if self.is("queue", Duration::from_secs(2)) {
            housekeep(office);
        }
        if self.is("numbers", Duration::from_secs(2)) {
            numbers(office);
        }
        if self.is("broker", Duration::from_secs(15)) {
            look_after_broker(office);
        }
        if self.is("reset", Duration::from_secs(30)) {
            daily_reset(office);
        }
        if self.is("beats", Duration::from_secs(10)) {
            on_disk(|| heartbeats(office));
        }
        if self.is("jobs", Duration::from_secs(600)) {
            let keep = office.settings().retention.jobs;
            let now = SystemTime::now();
            if let Err(err) = on_disk(|| retire_jobs(&office.state, now, keep, ALL_BYTES_MAX)) {
                tracing::warn!("cannot let go of old stories of turns: {err}: {}", err.source);
            }
        }
        if self.is("retention", Duration::from_secs(24 * 3_600)) {
            retire(office);
        }
    }

    fn reload(&mut self, office: &Arc<Office>) {
        match on_disk(|| office.settings.refresh()) {
            Refreshed::Same => {}
            Refreshed::Changed => {
                tracing::info!("settings.json changed and is in force");
                let trouble = on_disk(|| setup::apply(office)).err().map(|it| format!("{it:#}"));
                office.vitals.concern("settings", trouble);
            }
            Refreshed::Refused(mistakes) => {
                tracing::error!(
                    "settings.json is not taken, the last good settings stay in force: {mistakes}"
                );
                office.vitals.concern("settings", Some(mistakes.to_string()));
            }
        }
        let changed = std::fs::metadata(office.state.router()).and_then(|it| it.modified()).ok();
        if changed != self.router_changed {
            self.router_changed = changed;
            let (router, trouble) = on_disk(|| setup::router(&office.state));
            office.vitals.concern("router", trouble);
            *office.router.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(router);
        }
    }
}

/// Lets threads look whether something is due, each at its interval from its last look on: a restart is none.
fn heartbeats(office: &Office) {
    let settings = office.settings();
    let beat = &settings.heartbeat;
    let is_quiet = beat.quiet_hours.is_some_and(|it| it.contains(office.now().time()));
    // While nothing can be answered, one look after another would pile up.
    if !beat.enabled || is_quiet || lock(&office.pause).is_some() {
        return;
    }
    let threads: Vec<(ThreadId, String, Option<u64>)> = {
        let book = lock(&office.book);
        let open = book.all().iter().filter(|it| it.1.status != ThreadStatus::Closed);
        let last = |it: &Thread| it.extra.get(LAST_BEAT).and_then(serde_json::Value::as_u64);
        open.map(|(id, it)| (id.clone(), it.cwd.clone(), last(it))).collect()
    };
    for (id, cwd, last) in threads {
        let Some(every) = beat.threads.get(id.as_str()).copied().unwrap_or(Some(beat.interval))
        else {
            continue;
        };
        let now = now_ms();
        // The first one comes after one interval. A clock that was set back begins anew.
        let Some(last) = last.filter(|it| *it <= now) else {
            note_beat(office, &id, now);
            continue;
        };
        let is_due = now - last >= every.as_millis() as u64;
        if is_due && has_something_due(Path::new(&cwd)) {
            // Published first, under a key of the last one: a crash in between does not make it two.
            publish_beat(office, &id, last);
            note_beat(office, &id, now);
        }
    }
}

fn note_beat(office: &Office, id: &ThreadId, at: u64) {
    let noted = lock(&office.book).touch(|threads| {
        if let Some(it) = threads.get_mut(id) {
            it.extra.insert(LAST_BEAT.to_owned(), at.into());
        }
    });
    if let Err(err) = noted {
        tracing::warn!(thread.id = %id, "cannot note the heartbeat of thread {id}: {err}");
    }
}

/// A heartbeat costs money: a thread without anything to look after is left alone.
fn has_something_due(cwd: &Path) -> bool {
    let bytes = match read_below(cwd, Path::new(HEARTBEAT_FILE), HEARTBEAT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(err) if err.is_missing() => return false,
        Err(err) => {
            // The thread's own Claude put it there, and it is looked at again with every tick.
            tracing::debug!("nothing is due: {err}");
            return false;
        }
    };
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::trim)
        .any(|it| !it.is_empty() && !it.starts_with('#') && !it.starts_with("- [x]"))
}

fn publish_beat(office: &Office, id: &ThreadId, last: u64) {
    let channel = if office.is_in_telegram(id) { Channel::Telegram } else { Channel::System };
    let key = Key::hashed("hb", &format!("{id}-{last}"));
    let text = format!(
        "Read {HEARTBEAT_FILE} and see whether something is due now. Do what is due and say what you did in a few \
         words. If nothing is due, answer only [NO_UPDATES]."
    );
    let mut beat = Message::new(key, channel, id.clone(), text, now_ms());
    beat.source = Source::Heartbeat;
    beat.sender = "heartbeat".to_owned();
    if let Err(err) = office.queue.publish(Side::Run, beat, Durability::Strict) {
        tracing::warn!(thread.id = %id, "thread {id} misses a heartbeat: {err}");
    }
}

/// While no turn can run: looks whether it is over.
async fn look_after_engine(office: &Arc<Office>) {
    let Some(pause) = lock(&office.pause).clone() else { return };
    if Instant::now() < pause.next_look {
        return;
    }
    let left = pause.until.map_or(0, |it| it.saturating_sub(now_ms() / 1_000));
    if left > 0 {
        // By the wall clock, which may have been set meanwhile.
        if let Some(pause) = lock(&office.pause).as_mut() {
            pause.next_look = Instant::now() + Duration::from_secs(left).min(LIMIT_LOOK_MAX);
        }
        return;
    }
    if !pause.is_proven_by_start {
        return office.go_on();
    }
    match office.engine.probe().await {
        Probe::Ready => {
            office.go_on();
            office.cured();
        }
        Probe::NotReady(failure) => {
            tracing::warn!("claude is still not ready: {failure}");
            if let Some(pause) = lock(&office.pause).as_mut() {
                pause.next_look = Instant::now() + LOOK_AFTER_LOGIN;
            }
        }
    }
}

fn housekeep(office: &Arc<Office>) {
    if let Err(err) = on_disk(|| office.queue.housekeep()) {
        tracing::error!("cannot keep the queue's house: {:#}", anyhow::Error::new(err));
    }
    if let Ok((share, bytes)) = free(office.state.root()) {
        let low = share < DISK_LOW && bytes < DISK_ENOUGH;
        office.concern(
            "disk space",
            low.then(|| {
                let mb = bytes / 1_000_000;
                format!("Only {mb} MB of the disk are free; soon nothing new is taken.")
            }),
        );
    }
}

fn free(path: &Path) -> nix::Result<(f64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let share = stat.blocks_available() as f64 / (stat.blocks() as f64).max(1.0);
    Ok((share, stat.blocks_available() * stat.fragment_size()))
}

fn numbers(office: &Arc<Office>) {
    let (waiting, _) = office.queue.waiting_in(&ThreadId::master());
    office.vitals.set("waiting", waiting);
    office.vitals.set("running", office.slots.taken());
    office.vitals.set("claudeProcesses", office.engine.processes());
    let spent = lock(&office.costs).office(now_ms());
    office.vitals.set("costTodayUsd", spent.usd);
    let claude = office.engine.version();
    if let Some(version) = claude.seen {
        office.vitals.set("claudeVersion", version);
        office.vitals.set("claudeTested", claude.pinned);
    }
    if !claude.unknown.is_empty() {
        office.vitals.set("claudeUnknownLines", serde_json::json!(claude.unknown));
    }
    let backlog = waiting >= BACKLOG;
    office.concern("backlog", backlog.then(|| format!("{waiting} messages wait for Claude.")));
    office.concern("queue", crate::serve::trouble(office));
    let Ok(depth) = on_disk(|| office.queue.view().depth()) else { return };
    // The reasons are read only while somebody is troubled by what was given up.
    if depth.dead == 0
        || office.is_told("dead")
            && on_disk(|| office.queue.view().given_up()).is_ok_and(|it| it == 0)
    {
        office.concern("dead", None);
    }
    let odd = match depth.quarantine {
        0 => None,
        1 => Some("A file that is no message lies in quarantine/ with the reason.".to_owned()),
        many => {
            Some(format!("{many} files that are no messages lie in quarantine/ with the reasons."))
        }
    };
    office.concern("quarantine", odd);
}

/// The broker has no volume to write to: its health is noted for it.
fn look_after_broker(office: &Arc<Office>) {
    let Some(url) = office.settings().github.broker_url.clone() else { return };
    let office = office.clone();
    // A look may take seconds when nobody answers.
    tokio::task::spawn_blocking(move || {
        let patience = Duration::from_secs(3);
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let alive = healthcheck::probe(&address, "/health", patience);
        let ready = healthcheck::probe(&address, "/ready", patience);
        let why: Vec<String> = alive
            .as_ref()
            .err()
            .or_else(|| ready.as_ref().err())
            .map(ProbeError::why)
            .into_iter()
            .collect();
        let health = Health {
            service: "broker".to_owned(),
            version: String::new(),
            pid: 0,
            started_at: 0,
            at: now_ms(),
            alive: alive.is_ok(),
            ready: ready.is_ok(),
            why,
            numbers: Default::default(),
        };
        let is_wanted = office.settings().github.app_id.is_some();
        office.concern("broker", broker_trouble(health.why.first(), is_wanted));
        if let Err(err) = tinyclaw_ledger::health::write(&office.state, "broker", &health) {
            tracing::warn!("cannot write how the broker is: {err}");
        }
    });
}

/// What a person must know of the broker. One that nobody has named an App to is as it should be.
fn broker_trouble(why: Option<&String>, is_wanted: bool) -> Option<String> {
    let why = why.filter(|it| is_wanted || !it.contains(BROKER_IDLES))?;
    Some(format!("The credential broker is not ready: {why}."))
}

/// Ends sessions whose day is over, each in its own lane, so in order with its messages.
fn daily_reset(office: &Arc<Office>) {
    let settings = office.settings();
    if !settings.memory.reset {
        return;
    }
    let last = last_reset(Timestamp::now(), &settings.office.timezone, settings.memory.reset_at);
    let before = last.timestamp().as_millisecond().max(0) as u64;
    let over: Vec<(ThreadId, String)> = {
        let book = lock(&office.book);
        let idle = book
            .all()
            .iter()
            .filter(|it| it.1.last_active < before && it.1.status == ThreadStatus::Idle);
        idle.filter_map(|(id, it)| Some((id.clone(), it.session_id.as_ref()?.to_string())))
            .collect()
    };
    for (id, session) in over {
        let key = Key::hashed("reset", &format!("{id}-{session}"));
        let mut order = Message::new(key, Channel::System, id.clone(), "", now_ms());
        order.source = Source::System;
        order.command = Some(Command::Reset {});
        if let Err(err) = on_disk(|| office.queue.publish(Side::Run, order, Durability::Strict)) {
            tracing::warn!(thread.id = %id, "the session of thread {id} goes on after the day: {err}");
        }
    }
}

/// Lets go of what is older than it may be.
fn retire(office: &Arc<Office>) {
    let settings = office.settings();
    let now = SystemTime::now();
    on_disk(|| {
        if let Err(err) = office.journal.retire(now) {
            tracing::warn!("cannot let go of old log lines: {err}");
        }
        if let Err(err) = office.memory.retire(now, settings.retention.conversations) {
            tracing::warn!("cannot let go of old conversations: {err}");
        }
        mirror::retire(office);
        for (dir, keep) in [
            (office.state.all_files(), settings.retention.files),
            (office.state.asks(), settings.retention.files),
            (office.state.queue().join("dead"), settings.retention.dead),
            (office.state.queue().join("quarantine"), settings.retention.dead),
        ] {
            if let Some(keep) = keep {
                remove_old(&dir, Path::new(""), now, keep);
            }
        }
    });
}

/// Removes files below a folder that nobody has changed for `keep`. A desk's agent may put a link in place of a folder at any
/// moment, so each step goes by what was opened; links themselves stay.
fn remove_old(root: &Path, below: &Path, now: SystemTime, keep: Duration) {
    for name in foreign::names_below(root, below).unwrap_or_default() {
        let path = below.join(name);
        let Ok(opened) = foreign::open_path_below(root, &path) else { continue };
        let Ok(about) = std::fs::File::from(opened).metadata() else { continue };
        if about.is_dir() {
            remove_old(root, &path, now, keep);
        } else if about
            .modified()
            .is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age > keep))
            && let Err(err) = foreign::remove_below(root, &path)
        {
            tracing::warn!("cannot let go of an old file: {err}");
        }
    }
}

/// Passes on what Claude says with no message in flight: a background task reported back.
pub(crate) async fn background(office: Arc<Office>) {
    let Some(mut words) = office.engine.background() else { return };
    while let Some(said) = words.recv().await {
        let mut text = conceal(&said.text).into_owned();
        if let Some(task) = &said.task {
            text = format!("*`{}` has ended:*\n\n{text}", conceal(task).replace('`', "'"));
        }
        let key = Key::hashed("bg", &format!("{}-{}", said.session, uuid::Uuid::new_v4()));
        let mut out = Message::new(key, Channel::Telegram, said.thread.clone(), "", now_ms());
        out.source = Source::System;
        let line = HistoryLine {
            direction: Direction::Out,
            sender: "Claude".to_owned(),
            message: text.clone(),
            model: said.model.as_deref().and_then(Model::of_name),
            cost_usd: Some(said.cost_usd),
            usage: Some(said.usage),
            ..HistoryLine::of(&out)
        };
        lock(&office.costs).add(&line);
        if let Err(err) = office.journal.history(&line) {
            tracing::error!("cannot write the history: {err}");
        }
        if !office.is_in_telegram(&said.thread) {
            continue;
        }
        out.reply = Some(Reply {
            text,
            outcome: Outcome::Answered,
            model: line.model,
            usage: said.usage,
            cost_usd: said.cost_usd,
            ..Reply::default()
        });
        if let Err(err) = on_disk(|| office.queue.publish(Side::Send, out, Durability::Strict)) {
            tracing::error!(thread.id = %said.thread, "cannot pass on what Claude said later: {err}");
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test lays files down as Claude would")]
mod tests {
    use super::*;

    /// A pipe in its place stopped the clock of the whole office.
    #[test]
    fn a_heartbeat_that_is_no_file_is_not_due_and_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HEARTBEAT_FILE);
        assert!(!has_something_due(dir.path()));
        std::fs::write(&path, "# Things\n- [x] done\n").unwrap();
        assert!(!has_something_due(dir.path()));
        std::fs::write(&path, "# Things\n- water the plants\n").unwrap();
        assert!(has_something_due(dir.path()));
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(!has_something_due(dir.path()), "a link");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!has_something_due(dir.path()), "a pipe");
        std::fs::remove_file(&path).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(!has_something_due(dir.path()), "a terabyte of nothing");
    }

    /// A folder that was looked at and has become a link before it was listed: what lay behind it was removed.
    #[test]
    fn what_lies_behind_a_link_is_never_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let (root, theirs) = (dir.path().join("files"), dir.path().join("memory"));
        std::fs::create_dir_all(root.join("7/folder")).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("notes.md"), "yours").unwrap();
        std::fs::write(root.join("7/folder/old.txt"), "old").unwrap();
        std::os::unix::fs::symlink(&theirs, root.join("7/link")).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3_600);
        for below in ["7/link", ""] {
            remove_old(&root, Path::new(below), later, Duration::from_secs(60));
            assert!(theirs.join("notes.md").exists(), "from {below:?}");
        }
        assert!(!root.join("7/folder/old.txt").exists(), "what is old goes");
    }

    #[test]
    fn a_broker_that_waits_for_its_app_troubles_nobody() {
        let (idles, broken) = (BROKER_IDLES.to_owned(), "the key is not readable".to_owned());
        assert_eq!(broker_trouble(None, true), None);
        assert_eq!(broker_trouble(Some(&idles), false), None);
        assert!(broker_trouble(Some(&idles), true).is_some(), "an App was named, and not to it");
        assert!(broker_trouble(Some(&broken), false).is_some());
    }
}
