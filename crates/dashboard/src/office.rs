//! The small files of the state folder: threads, health, running turns, and what waits in the queue.
//!
//! They are read anew each time, because they are small and others replace them whole. A file that is missing or cannot
//! be read is said to be so; nothing here fails because of one.

use std::path::{Path, PathBuf};

use tinyclaw_disk::foreign;
use tinyclaw_domain::{
    DevboxView, DevboxViews, HistoryLine, Key, Message, OutcomeLine, Progress, Threads,
};
use tinyclaw_ledger::{Progresses, StateDir, health, load, log, read_threads};
use tinyclaw_queue::{Depth, Place, View};
use tinyclaw_service::now_ms;

use crate::shapes::{ServiceState, Waiting};

/// The services whose health is shown, in this order. The dashboard writes no file, so it speaks for itself.
const SERVICES: [&str; 3] = ["telegram", "processor", "broker"];
/// More running turns than this are not listed.
const TURNS_MAX: usize = 200;
/// The message looked for is among the last so many that are done, or its time of queueing is not told.
const DONE_MAX: usize = 20_000;

/// What is said about an answer is looked for among so many of the newest outcomes.
const OUTCOMES_MAX: usize = 20_000;

/// Twenty numbers and what they come from.
const LEARNED_BYTES_MAX: u64 = 64 * 1024;

/// So many messages of a folder are listed, and no more once their texts have this many bytes.
const WAITING_MAX: usize = 200;
const WAITING_BYTES_MAX: usize = 1 << 20;

/// What the queue knows of a message.
#[derive(Debug, Default)]
pub(crate) struct InQueue {
    /// The message's file.
    pub(crate) message: Option<Message>,
    /// The folder it is in.
    pub(crate) place: Option<&'static str>,
    /// Its place in its lane.
    pub(crate) position: Option<usize>,
    /// Why it was buried.
    pub(crate) reason: Option<String>,
    /// When it was queued, in ms since 1970.
    pub(crate) queued_at: Option<u64>,
}

/// The small files of one state folder.
#[derive(Debug)]
pub(crate) struct OfficeReader {
    state: StateDir,
    queue: View,
}

impl OfficeReader {
    /// The office in a state folder.
    pub(crate) fn new(state: &Path) -> OfficeReader {
        OfficeReader { state: StateDir::new(state), queue: View::new(state) }
    }

    /// `threads.json`; empty when it is not there yet.
    pub(crate) fn threads(&self) -> Result<Threads, String> {
        read_threads(&self.state).map_err(|it| format!("{:#}", anyhow::Error::new(it)))
    }

    /// What everybody may know of the devboxes.
    pub(crate) fn devboxes(&self) -> Vec<DevboxView> {
        let views = load::<DevboxViews>(&self.state.devbox_views());
        views.ok().flatten().unwrap_or_default().devboxes
    }

    /// Where the gateway keeps its events, if there is one.
    pub(crate) fn events(&self) -> PathBuf {
        self.state.events()
    }

    /// How each service says it is.
    pub(crate) fn services(&self) -> Vec<ServiceState> {
        let now = now_ms();
        let state_of = |service: &&str| match health::read(&self.state, service, now) {
            Ok(Some(seen)) => ServiceState::of(seen.health, seen.age),
            _ => ServiceState {
                service: (*service).to_owned(),
                state: "missing",
                age_ms: None,
                health: None,
            },
        };
        SERVICES.iter().map(state_of).collect()
    }

    /// How much waits where; `None` when there is no queue yet.
    pub(crate) fn depth(&self) -> Option<Depth> {
        if !self.state.queue().is_dir() {
            return None;
        }
        self.queue.depth().ok()
    }

    /// What the queue knows of a message.
    pub(crate) fn find(&self, key: &Key) -> InQueue {
        let Ok(Some(seen)) = self.queue.find(key) else { return InQueue::default() };
        InQueue {
            queued_at: Some(seen.queued_at),
            message: Some(seen.message),
            place: Some(place_name(seen.place)),
            position: seen.position,
            reason: seen.reason,
        }
    }

    /// The first messages that lie in a place of the queue; none when it has no place of that name.
    pub(crate) fn waiting(&self, place: &str) -> Option<Waiting> {
        let places = [Place::Incoming, Place::Processing, Place::Outgoing, Place::Dead];
        let place = places.into_iter().find(|it| place_name(*it) == place)?;
        let mut entries = self.queue.list(place, DONE_MAX).unwrap_or_default();
        if place == Place::Outgoing {
            entries.extend(self.queue.list(Place::Sending, DONE_MAX).unwrap_or_default());
        }
        let mut bytes = 0;
        let mut lines = Vec::new();
        for entry in entries.iter().take(WAITING_MAX) {
            if bytes > WAITING_BYTES_MAX {
                break;
            }
            // What has moved on meanwhile does not wait here any more.
            if let Ok(Some(message)) = self.queue.read(entry) {
                bytes += message.message.len();
                lines.push(HistoryLine::of(&message));
            }
        }
        let more = entries.len().saturating_sub(lines.len());
        Some(Waiting { lines, more })
    }

    /// What people said about the answer of a message, the newest first. A line may stand twice after a crash.
    pub(crate) fn outcomes(&self, key: &Key) -> Vec<OutcomeLine> {
        let Ok(lines) = log::<OutcomeLine>(&self.state.outcomes()) else { return Vec::new() };
        let lines = lines.take(OUTCOMES_MAX).map_while(Result::ok);
        let mut found: Vec<OutcomeLine> = lines.filter(|it| it.key == *key).collect();
        found.dedup_by(|a, b| a.by == b.by);
        found
    }

    /// The weights that the router has learned in this office, as their file has them.
    pub(crate) fn learned(&self) -> Option<String> {
        let path = self.state.learned_router();
        let below = path.strip_prefix(self.state.root()).ok()?;
        let bytes = foreign::read_below(self.state.root(), below, LEARNED_BYTES_MAX).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// The turns that are running, the longest running first.
    pub(crate) fn turns(&self) -> Vec<Progress> {
        let mut turns = Progresses::new(&self.state).list();
        turns.truncate(TURNS_MAX);
        turns
    }
}

fn place_name(place: Place) -> &'static str {
    match place {
        Place::Incoming => "incoming",
        Place::Processing => "processing",
        Place::Outgoing => "outgoing",
        Place::Sending => "sending",
        Place::Done => "done",
        Place::Dead => "dead",
        Place::Quarantine => "quarantine",
    }
}
