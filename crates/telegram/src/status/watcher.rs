//! Status messages: one for each turn that takes a while, showing the truth as the progress file has it.
//!
//! The watcher looks at the queue and the running turns, and tells the task of each turn how it is; that task is in
//! [`crate::status::message`]. Before an answer is delivered its task is retired, so that no late edit overwrites an answer.
//! Nothing here is sent.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tinyclaw_domain::{Channel, Key, Lane, Message, Source};
use tinyclaw_ledger::{Progresses, StateDir, health};
use tinyclaw_queue::{Entry, LookError, Place, View};
use tinyclaw_service::{Shutdown, now_ms};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::bot::Bot;
use crate::origin::Origin;
use crate::status::cleanup::{Cleanup, is_over};
use crate::status::kept::Status;
use crate::status::layout::Phase;
use crate::status::long_question::LongQuestions;
use crate::status::message::{Presenter, Subject};

/// How often the queue and the running turns are looked at while there are any.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// A turn that somebody stops and that goes on for so long does not react.
const DEAF_AFTER_MS: u64 = 5_000;
/// An answer is claimed in a moment; a turn that nothing was heard of for longer has ended without one.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// More messages than this in one folder are not shown.
const LIST_MAX: usize = 2_000;

/// Who watches turns, with the status messages of this process.
pub(crate) struct Watcher {
    bot: Arc<Bot>,
    view: View,
    state: StateDir,
    progresses: Progresses,
    questions: LongQuestions,
    presenter: Arc<Presenter>,
    cleanup: Arc<Cleanup>,
    /// Guards what is shown. Held for a look or a change, with no other lock.
    board: Mutex<Board>,
    /// Something is to be shown at once.
    hurry: Notify,
}

#[derive(Debug, Default)]
struct Board {
    shows: HashMap<Key, Show>,
    /// Keys whose answers are being delivered.
    retired: HashSet<Key>,
    /// What was read of messages; `None` for those that are not shown.
    subjects: HashMap<Key, Option<Arc<Subject>>>,
    /// Messages that somebody stops, and since when, in ms since 1970.
    stopping: HashMap<Key, u64>,
    /// Chats in which topics are at work.
    busy: HashSet<i64>,
}

#[derive(Debug)]
struct Show {
    phase: watch::Sender<Option<Phase>>,
    task: JoinHandle<()>,
    settled_at: Option<Instant>,
}

type Phases = BTreeMap<Key, (Arc<Subject>, Phase)>;

impl Watcher {
    pub(crate) fn new(
        bot: Arc<Bot>,
        view: View,
        state: StateDir,
        questions: LongQuestions,
        presenter: Arc<Presenter>,
        cleanup: Arc<Cleanup>,
    ) -> Watcher {
        let progresses = Progresses::new(&state);
        let (board, hurry) = (Mutex::default(), Notify::new());
        Watcher { bot, view, state, progresses, questions, presenter, cleanup, board, hurry }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// Ends the showing of a turn, whose answer is about to be delivered, and gives its status message.
    pub(crate) async fn retire(&self, key: &Key) -> Option<Status> {
        let show = {
            let mut board = self.board();
            board.retired.insert(key.clone());
            board.subjects.remove(key);
            board.shows.remove(key)
        };
        if let Some(show) = show {
            show.phase.send_replace(None);
            // It may be in the middle of an edit, which must not come after the answer.
            let _ = show.task.await;
        }
        self.presenter.files.read(key)
    }

    /// Somebody stops this: it shows at once, before whoever has to do it has heard of it.
    pub(crate) fn stop(&self, key: &Key) {
        self.board().stopping.entry(key.clone()).or_insert_with(now_ms);
        self.hurry.notify_one();
    }

    /// Something was chosen in a question: it shows at once.
    pub(crate) fn look(&self) {
        self.hurry.notify_one();
    }

    /// The delivery is over, well or not.
    pub(crate) fn release(&self, key: &Key) {
        self.board().retired.remove(key);
    }

    /// Keeps the status messages true until the shutdown.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let watch = self.view.watch();
        loop {
            let changed = watch.changed();
            let busy = tokio::task::block_in_place(|| self.tick());
            let pause = async {
                if busy {
                    tokio::time::sleep(LOOK_EVERY).await;
                } else {
                    changed.await;
                    // What has just come is often gone in a moment.
                    tokio::time::sleep(LOOK_EVERY / 4).await;
                }
            };
            tokio::select! {
                () = pause => {}
                () = self.hurry.notified() => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Looks at the queue and tells every task what is the case. `true` while there is something to show.
    fn tick(self: &Arc<Self>) -> bool {
        let phases = match self.phases() {
            Ok(it) => it,
            Err(err) => {
                tracing::warn!("the queue cannot be read: {err}");
                return true;
            }
        };
        let mut gone = Vec::new();
        let busy = {
            let mut board = self.board();
            for (key, (subject, phase)) in &phases {
                if board.retired.contains(key) {
                    continue;
                }
                if let Some(show) = board.shows.get(key) {
                    show.phase.send_if_modified(|it| {
                        let new = it.as_ref() != Some(phase);
                        if new {
                            *it = Some(phase.clone());
                        }
                        new
                    });
                    continue;
                }
                let (sender, receiver) = watch::channel(Some(phase.clone()));
                let presenter = Arc::clone(&self.presenter);
                let task = tokio::spawn(presenter.show(Arc::clone(subject), receiver));
                board.shows.insert(key.clone(), Show { phase: sender, task, settled_at: None });
            }
            for (key, show) in &mut board.shows {
                if phases.contains_key(key) {
                    show.settled_at = None;
                    continue;
                }
                let since = *show.settled_at.get_or_insert_with(Instant::now);
                show.phase.send_if_modified(|it| {
                    let new = *it != Some(Phase::Settled);
                    *it = Some(Phase::Settled);
                    new
                });
                if since.elapsed() > ANSWER_TIME {
                    show.settled_at = Some(Instant::now());
                    gone.push(key.clone());
                }
            }
            board.subjects.retain(|key, _| phases.contains_key(key));
            board.stopping.retain(|key, _| phases.contains_key(key));
            !board.shows.is_empty()
        };
        for key in gone {
            tokio::spawn(Arc::clone(self).end_without_answer(key));
        }
        busy
    }

    /// Whether whoever answers has not been heard of for a while. Of one that was never there nothing is known.
    fn nobody_works(&self, now_ms: u64) -> bool {
        let said = health::read(&self.state, "processor", now_ms).ok().flatten();
        said.is_some_and(|it| !it.is_fresh())
    }

    fn phases(&self) -> Result<Phases, LookError> {
        let now = now_ms();
        let away = self.nobody_works(now);
        let mut phases = Phases::new();
        let mut busy_since: HashMap<Lane, u64> = HashMap::new();
        let mut busy = HashSet::new();
        for entry in self.view.list(Place::Processing, LIST_MAX)? {
            let progress = self.progresses.read(&entry.key);
            let since = progress.as_ref().map_or(entry.queued_at, |it| it.started_at);
            busy_since.insert(entry.lane.clone(), since);
            busy.insert(entry.lane.clone());
            if let Some(subject) = self.subject(&entry) {
                let phase = match progress {
                    // What is told of a turn outlives whoever told it.
                    _ if away => Phase::Away,
                    Some(it) => self.questions.phase(it, subject.origin.as_ref()),
                    None => Phase::Starting,
                };
                phases.insert(entry.key, (subject, phase));
            }
        }
        let mut positions: HashMap<Lane, usize> = HashMap::new();
        for entry in self.view.list(Place::Incoming, LIST_MAX)? {
            let position = positions.entry(entry.lane.clone()).or_default();
            *position += 1;
            busy.insert(entry.lane.clone());
            let Some(subject) = self.subject(&entry) else { continue };
            let busy_since = busy_since.get(&entry.lane).copied();
            let again_at = entry.not_before.filter(|it| *it > now);
            // Who put it back may have left word; else there is what the message itself knows.
            let told = again_at.and_then(|_| self.progresses.read(&entry.key)?.trouble);
            let phase = match (again_at, told, &subject.trouble) {
                _ if away => Phase::Away,
                (Some(_), Some(trouble), _) => Phase::Trouble { trouble, again_at: None },
                (Some(at), None, Some(trouble)) => {
                    Phase::Trouble { trouble: trouble.clone(), again_at: Some(at) }
                }
                _ => Phase::Waiting {
                    // Who is worked on stands before them all.
                    position: *position + usize::from(busy_since.is_some()),
                    busy_since,
                },
            };
            phases.insert(entry.key, (subject, phase));
        }
        for (key, since) in &self.board().stopping {
            if let Some((_, phase)) = phases.get_mut(key) {
                phase.stop(now.saturating_sub(*since) >= DEAF_AFTER_MS);
            }
        }
        self.tell_busy(busy);
        Ok(phases)
    }

    /// Tells the rate limit which topics are at work: their answers come before looks at them.
    fn tell_busy(&self, lanes: HashSet<Lane>) {
        let mut chats: HashMap<i64, BTreeSet<i64>> = HashMap::new();
        for lane in lanes {
            if let Lane::Thread(thread) = lane
                && let Some(address) = self.bot.address_of(&thread)
            {
                chats.entry(address.chat).or_default().insert(address.lane());
            }
        }
        let now: HashSet<i64> = chats.keys().copied().collect();
        let before = std::mem::replace(&mut self.board().busy, now);
        for chat in before {
            chats.entry(chat).or_default();
        }
        for (chat, topics) in chats {
            self.bot.limit.set_busy(chat, topics);
        }
    }

    fn subject(&self, entry: &Entry) -> Option<Arc<Subject>> {
        if !matches!(entry.lane, Lane::Thread(_)) {
            return None;
        }
        // A message that was tried before has something to say about it.
        if entry.not_before.is_none()
            && let Some(known) = self.board().subjects.get(&entry.key)
        {
            return known.clone();
        }
        let message = self.view.read(entry).ok().flatten()?;
        let shown = is_shown(&message, entry.place).then(|| {
            Arc::new(Subject {
                key: message.key.clone(),
                thread: message.thread_id.clone(),
                origin: Origin::of(&message),
                is_from_thread: message.source == Source::CrossThread,
                trouble: message.trouble.clone(),
            })
        });
        // One for the running turn is read anew: it is handed over, or becomes a message like any other.
        if !message.steer {
            self.board().subjects.insert(entry.key.clone(), shown.clone());
        }
        shown
    }

    /// A turn that is over and has nothing to deliver: its status goes.
    async fn end_without_answer(self: Arc<Self>, key: Key) {
        let Ok(found) = tokio::task::block_in_place(|| self.view.find(&key)) else { return };
        if !is_over(found.map(|it| it.place)) || self.board().retired.contains(&key) {
            return;
        }
        self.retire(&key).await;
        if !self.cleanup.clear(&key).await {
            self.cleanup.put(key.clone());
        }
        self.release(&key);
    }
}

fn is_shown(message: &Message, place: Place) -> bool {
    // The status of the turn that has it is its own.
    let is_in_another_turn =
        message.handed.as_ref().is_some_and(|it| it.taken || place == Place::Incoming);
    message.channel == Channel::Telegram
        && message.command.is_none()
        && !is_in_another_turn
        && matches!(message.source, Source::User | Source::CrossThread | Source::Cli | Source::Api)
}
