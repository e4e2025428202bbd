//! Which runs are this office's, and the turn in each: `runs.json` in the state folder.
//!
//! A run outlives the process that started it, and whoever comes next goes on with it. For that the token of each run is kept
//! from before it begins until nothing of it is left, and before each prompt and each answer to a question of Claude's what
//! is to be known about the turn. Nothing is flushed: a machine that loses its power loses its runs as well. A file that
//! cannot be read names no runs; their leases end them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tinyclaw_disk::{Flush, foreign, replace};
use tinyclaw_domain::frame::{RunId, RunToken};
use tinyclaw_domain::{Effort, ThreadId};
use uuid::Uuid;

use crate::skill::SkillSource;

/// A longer file was not written by us.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The runs of an office.
#[derive(Debug)]
pub struct KnownRuns {
    /// Where they are kept; nowhere in a test that needs no second process.
    path: Option<PathBuf>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: Kept,
    /// Those that an earlier process began and nobody of this one has taken up.
    unclaimed: Vec<RunId>,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// Who this office is to the far end, chosen by chance.
    office: String,
    runs: BTreeMap<RunId, KnownRun>,
}

/// A run of this office.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KnownRun {
    pub(crate) token: RunToken,
    pub(crate) thread: ThreadId,
    /// The turn that was asked in it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<Note>,
}

/// What has to be known about a turn to go on with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    /// The uuid of its prompt.
    pub(crate) uuid: String,
    /// Claude's output before this offset belongs to earlier turns.
    pub(crate) at: u64,
    /// With so many bytes of input Claude has the whole prompt.
    pub(crate) sent: u64,
    /// When it was begun, in milliseconds since 1970.
    pub(crate) begun_ms: u64,
    /// Whether its session was continued.
    pub(crate) resumed: bool,
    /// The model that the process is set to.
    pub(crate) model: String,
    /// How many requests of ours have had a number.
    pub(crate) requests: u64,
    /// What was billed before it.
    pub(crate) cost_seen: f64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) output_seen: BTreeMap<String, u64>,
    /// What ran on in the background when it began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tasks: BTreeMap<String, String>,
    /// Which requests of Claude's were answered in it, and with how many bytes of input Claude has the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) answered: Vec<(String, u64)>,
    /// Words that were handed to it, by their uuid, and with how many bytes of input Claude has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steered: Vec<(String, u64)>,
    /// What its process was started with, as a digest. Empty: nobody knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) outfit: String,
    /// How hard that thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) effort: Option<Effort>,
    /// Whose its skills are, where they are not Claude Code's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) skills: BTreeMap<String, SkillSource>,
    /// Whether a person stopped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_stopped: bool,
}

impl KnownRuns {
    /// The runs that are kept in this file, of which none is this process's yet.
    pub fn open(path: PathBuf) -> KnownRuns {
        let kept = match read(&path) {
            Ok(kept) => kept,
            Err(why) => {
                tracing::warn!("{} is begun anew: {why}", path.display());
                None
            }
        };
        let kept = kept.unwrap_or_else(Kept::new);
        let unclaimed = kept.runs.keys().cloned().collect();
        KnownRuns { path: Some(path), inner: Mutex::new(Inner { kept, unclaimed }) }
    }

    /// Runs that nobody is to go on with.
    pub fn unkept() -> KnownRuns {
        let inner = Inner { kept: Kept::new(), unclaimed: Vec::new() };
        KnownRuns { path: None, inner: Mutex::new(inner) }
    }

    /// Who this office is to the far end.
    pub fn office(&self) -> String {
        self.lock().kept.office.clone()
    }

    /// A run of this process's, before it begins.
    pub(super) fn add(&self, run: &RunId, token: &RunToken, thread: &ThreadId) {
        let known = KnownRun { token: token.clone(), thread: thread.clone(), turn: None };
        let mut inner = self.lock();
        inner.kept.runs.insert(run.clone(), known);
        self.save(&inner.kept);
    }

    /// Keeps how the turn in a run is. On disk when this returns.
    pub(crate) fn note(&self, run: &RunId, note: &Note) {
        let mut inner = self.lock();
        let Some(known) = inner.kept.runs.get_mut(run) else { return };
        known.turn = Some(note.clone());
        self.save(&inner.kept);
    }

    /// Nothing of a run is left.
    pub(super) fn remove(&self, run: &RunId) {
        let mut inner = self.lock();
        if inner.kept.runs.remove(run).is_some() {
            self.save(&inner.kept);
        }
    }

    /// The run in which an earlier process began this turn of a thread, to be gone on with. It is given away once.
    pub(super) fn claim(&self, thread: &ThreadId, uuid: &str) -> Option<(RunId, KnownRun)> {
        let is_it = |it: &KnownRun| {
            it.thread == *thread && it.turn.as_ref().is_some_and(|turn| turn.uuid == uuid)
        };
        self.claim_all(is_it).pop()
    }

    /// Whether an earlier process began this turn of a thread in a run that waits to be gone on with.
    pub(crate) fn waits(&self, thread: &ThreadId, uuid: &str) -> bool {
        let inner = self.lock();
        let is_it = |it: &KnownRun| {
            it.thread == *thread && it.turn.as_ref().is_some_and(|turn| turn.uuid == uuid)
        };
        inner.unclaimed.iter().any(|run| inner.kept.runs.get(run).is_some_and(is_it))
    }

    /// Whose runs an earlier process began that nobody has taken up.
    pub(crate) fn waiting(&self) -> BTreeSet<ThreadId> {
        let inner = self.lock();
        let runs = inner.unclaimed.iter().filter_map(|run| inner.kept.runs.get(run));
        runs.map(|it| it.thread.clone()).collect()
    }

    /// All runs of an earlier process for which this holds. They are given away once.
    pub(super) fn claim_all(&self, is_it: impl Fn(&KnownRun) -> bool) -> Vec<(RunId, KnownRun)> {
        let mut inner = self.lock();
        let Inner { kept, unclaimed } = &mut *inner;
        let taken = unclaimed.extract_if(.., |run| kept.runs.get(run).is_some_and(&is_it));
        taken.filter_map(|run| Some((run.clone(), kept.runs.get(&run)?.clone()))).collect()
    }

    /// A run that could not be reached is to be gone on with later.
    pub(super) fn give_back(&self, run: RunId) {
        self.lock().unclaimed.push(run);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, kept: &Kept) {
        let Some(path) = &self.path else { return };
        let saved = serde_json::to_vec(kept).map_err(|err| err.to_string()).and_then(|bytes| {
            replace(path, &bytes, Flush::None).map_err(|err| format!("{err}: {}", err.source))
        });
        if let Err(why) = saved {
            tracing::warn!("a turn that is cut off now could not be gone on with: {why}");
        }
    }
}

impl Kept {
    fn new() -> Kept {
        Kept { office: Uuid::new_v4().simple().to_string(), runs: BTreeMap::new() }
    }
}

fn read(path: &std::path::Path) -> Result<Option<Kept>, String> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    match foreign::read_below(dir, name.as_ref(), BYTES_MAX) {
        Err(err) if err.is_missing() => Ok(None),
        Err(err) => Err(err.to_string()),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|err| err.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(uuid: &str) -> Note {
        Note {
            uuid: uuid.to_owned(),
            at: 7,
            sent: 12,
            begun_ms: 1,
            resumed: true,
            model: "haiku".to_owned(),
            requests: 2,
            cost_seen: 0.25,
            output_seen: BTreeMap::from([("haiku".to_owned(), 9)]),
            tasks: BTreeMap::new(),
            answered: vec![("q1".to_owned(), 40)],
            steered: vec![("w1".to_owned(), 50)],
            outfit: "ab".to_owned(),
            effort: Some(Effort::High),
            skills: BTreeMap::from([("tidy".to_owned(), SkillSource::Home)]),
            is_stopped: false,
        }
    }

    #[test]
    fn a_run_is_known_to_the_next_process_and_gone_on_with_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.json");
        let (run, token) = ("0123456789abcdef".parse().unwrap(), "ab".repeat(32).parse().unwrap());
        let thread = ThreadId::topic(7);
        let first = KnownRuns::open(path.clone());
        first.add(&run, &token, &thread);
        first.note(&run, &note("u1"));
        assert!(first.claim(&thread, "u1").is_none(), "it is this process's own");
        let next = KnownRuns::open(path.clone());
        assert_eq!(next.office(), first.office());
        assert!(next.claim(&thread, "u2").is_none());
        assert!(next.claim(&ThreadId::topic(8), "u1").is_none());
        let (found, known) = next.claim(&thread, "u1").unwrap();
        assert_eq!((&found, known.token.digest()), (&run, token.digest()));
        assert_eq!(known.turn, Some(note("u1")));
        assert!(next.claim(&thread, "u1").is_none());
        next.give_back(found);
        assert_eq!(next.claim_all(|_| true).len(), 1);
        next.remove(&run);
        assert!(KnownRuns::open(path).claim_all(|_| true).is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_names_no_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.json");
        tinyclaw_disk::write_new(&path, b"{\"office\": 7").unwrap();
        let runs = KnownRuns::open(path.clone());
        assert!(runs.claim_all(|_| true).is_empty());
        let (run, token) = ("0123456789abcdef".parse().unwrap(), "ab".repeat(32).parse().unwrap());
        runs.add(&run, &token, &ThreadId::topic(7));
        assert_eq!(KnownRuns::open(path).claim_all(|_| true).len(), 1);
    }
}
