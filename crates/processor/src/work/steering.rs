//! Words for the turn that runs, instead of the end of the line: a message that begins with `!`.
//!
//! Such a message waits in its thread like any other, and stays there until the turn is over. That it is handed over is kept
//! in it before Claude hears of it, and so is that Claude took it. Whoever claims it afterwards does not ask again what Claude
//! took; anything else is a message like any other. So it is asked once, whoever dies in between: where a turn was cut off,
//! Claude's transcript says what it knows, and the rest is handed over again under the uuid that it had.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tinyclaw_domain::{Channel, Handed, Key, Lane, Message, SessionId, Source, ThreadId};
use tinyclaw_engine::{Content, Desk, OutOfReach, Trace, TurnControl};
use tinyclaw_queue::{Entry, Place};

use crate::blocking::on_disk;
use crate::work::prompt::Circumstances;
use crate::work::worker::Worker;

/// After a change of the queue a moment is waited for the next: they come in crowds.
pub(crate) const LOOK_AFTER: Duration = Duration::from_millis(100);
/// More messages than this in a thread's line are not looked at.
const LIST_MAX: usize = 2_000;
/// In a line no longer than this each message is read again at each look: one that waits may become one for the running turn.
const READ_AGAIN_MAX: usize = 50;

/// What is handed to one turn.
pub(crate) struct Steering {
    thread: ThreadId,
    /// Where the turn's answer goes. `None`: to nobody who could say something to it.
    channel: Option<Channel>,
    session: SessionId,
    control: TurnControl,
    /// Messages that were looked at.
    known: HashSet<Key>,
    /// What was handed over and not taken yet, by its uuid.
    handed: HashMap<String, Message>,
    /// Each uuid under which something was handed over.
    said: HashSet<String>,
}

impl Steering {
    /// Nothing yet, for the turn of this message.
    pub(crate) fn of(message: &Message, session: SessionId, control: TurnControl) -> Steering {
        // The answer to a heartbeat may be that there is none.
        let is_heard = matches!(
            message.source,
            Source::User | Source::CrossThread | Source::Cli | Source::Api
        );
        Steering {
            thread: message.thread_id.clone(),
            channel: is_heard.then_some(message.channel),
            session,
            control,
            known: HashSet::new(),
            handed: HashMap::new(),
            said: HashSet::new(),
        }
    }

    /// Hands over what waits for this turn.
    pub(crate) fn look(&mut self, worker: &Worker) {
        if self.channel.is_none() || worker.queue.waiting_in(&self.thread).1 == 0 {
            return;
        }
        let waiting = waiting_of(worker, &self.thread);
        let is_short = waiting.len() <= READ_AGAIN_MAX;
        for entry in waiting {
            if self.known.contains(&entry.key) && !is_short {
                continue;
            }
            let Ok(Some(message)) = on_disk(|| worker.queue.view().read(&entry)) else { continue };
            self.known.insert(entry.key);
            // Whoever says it from elsewhere waits for an answer there.
            let is_for_it = message.steer && Some(message.channel) == self.channel;
            if !is_for_it || message.command.is_some() {
                continue;
            }
            match &message.handed {
                None => self.hand_over(worker, message, uuid::Uuid::new_v4().to_string()),
                // To the attempt before this one.
                Some(it)
                    if !it.taken
                        && it.session_id == self.session
                        && !self.said.contains(&it.turn_uuid) =>
                {
                    let uuid = it.turn_uuid.clone();
                    self.hand_over(worker, message, uuid);
                }
                Some(_) => {}
            }
        }
    }

    fn hand_over(&mut self, worker: &Worker, message: Message, uuid: String) {
        let handed =
            Handed { session_id: self.session.clone(), turn_uuid: uuid.clone(), taken: false };
        let kept = on_disk(|| {
            worker.queue.replace_waiting(&message.key, |it| it.handed = Some(handed.clone()))
        });
        match kept {
            Ok(true) => {
                let prompt = worker.prompts.assemble(&message, &Circumstances::default());
                let words = prompt.content.iter().filter_map(|it| match it {
                    Content::Text(text) => Some(text.as_str()),
                    Content::File { .. } => None,
                });
                self.control.steer(&uuid, &words.collect::<Vec<&str>>().join("\n"));
                self.said.insert(uuid.clone());
                self.handed.insert(uuid, message);
            }
            // It waits no more.
            Ok(false) => {}
            Err(err) => {
                tracing::warn!(key = %message.key, "message {} waits in line: {err}", message.key);
            }
        }
    }

    /// Claude took it: whoever claims the message has nothing to ask. Gives the message.
    pub(crate) fn taken(&mut self, worker: &Worker, uuid: &str) -> Option<Message> {
        let message = self.handed.remove(uuid).or_else(|| self.handed_before(worker, uuid))?;
        let kept = on_disk(|| {
            worker.queue.replace_waiting(&message.key, |it| {
                if let Some(handed) = &mut it.handed {
                    handed.taken = true;
                }
            })
        });
        if let Err(err) = kept {
            // Claude's transcript knows it, too.
            tracing::warn!(key = %message.key, "cannot keep that Claude has message {}: {err}", message.key);
        }
        tracing::info!(
            thread.id = %self.thread, key = %message.key,
            "message {} is taken by the running turn of thread {}", message.key, self.thread
        );
        Some(message)
    }
}

impl Steering {
    /// What an earlier process handed to this turn under that uuid.
    fn handed_before(&self, worker: &Worker, uuid: &str) -> Option<Message> {
        let read = |it: Entry| on_disk(|| worker.queue.view().read(&it)).ok().flatten();
        waiting_of(worker, &self.thread).into_iter().filter_map(read).find(|it| {
            let handed = it.handed.as_ref();
            handed.is_some_and(|it| it.session_id == self.session && it.turn_uuid == uuid)
        })
    }
}

/// The session is lost, and with it what Claude was told in it: what was handed over there is asked in the next one.
pub(crate) fn forget(worker: &Worker, thread: &ThreadId, session: &SessionId) {
    for (key, _) in handed_in(worker, thread, session) {
        change(worker, &key, |it| *it = None);
    }
}

/// The attempt before this one was cut off: what was handed to it is taken if Claude wrote it down, and only then. Claude
/// writes a moment behind what it hears.
pub(crate) async fn settle(
    worker: &Worker,
    desk: &Desk,
    session: &SessionId,
) -> Result<(), OutOfReach> {
    for (key, handed) in handed_in(worker, &desk.thread, session) {
        let trace = worker.engine.trace(desk, session, &handed.turn_uuid).await?;
        let is_known = trace != Trace::Unseen;
        if is_known != handed.taken {
            change(worker, &key, |it| {
                if let Some(it) = it {
                    it.taken = is_known;
                }
            });
        }
    }
    Ok(())
}

/// What waits in a thread and was handed to a turn of this session.
fn handed_in(worker: &Worker, thread: &ThreadId, session: &SessionId) -> Vec<(Key, Handed)> {
    if worker.queue.waiting_in(thread).1 == 0 {
        return Vec::new();
    }
    let read = |it: Entry| {
        let message = on_disk(|| worker.queue.view().read(&it)).ok().flatten()?;
        let handed = message.handed.filter(|it| it.session_id == *session)?;
        Some((it.key, handed))
    };
    waiting_of(worker, thread).into_iter().filter_map(read).collect()
}

fn change(worker: &Worker, key: &Key, change: impl FnOnce(&mut Option<Handed>)) {
    if let Err(err) = on_disk(|| worker.queue.replace_waiting(key, |it| change(&mut it.handed))) {
        tracing::error!(key = %key, "cannot keep what became of message {key}: {err}");
    }
}

/// What waits in a thread, however much waits in others.
fn waiting_of(worker: &Worker, thread: &ThreadId) -> Vec<Entry> {
    let lane = Lane::Thread(thread.clone());
    on_disk(|| worker.queue.view().in_lane(Place::Incoming, &lane, LIST_MAX)).unwrap_or_default()
}

/// Whether Claude took a message while it worked on the one before.
pub(crate) async fn is_taken(
    worker: &Worker,
    message: &Message,
    desk: &Desk,
) -> Result<bool, OutOfReach> {
    let Some(handed) = &message.handed else { return Ok(false) };
    if handed.taken {
        return Ok(true);
    }
    let trace = worker.engine.trace(desk, &handed.session_id, &handed.turn_uuid).await?;
    // Begun and not answered: Claude was cut off there, and whoever asked waits for an answer.
    Ok(matches!(trace, Trace::Finished(_)))
}
