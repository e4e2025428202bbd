//! Words for the turn that runs, instead of the end of the line: a message that begins with `!`.
//!
//! Such a message waits in its thread like any other, and stays there until the turn is over. That it is handed over is kept
//! in it before Claude hears of it, and so is that Claude took it. Whoever claims it afterwards does not ask again what Claude
//! took; anything else is a message like any other. So it is asked once, whoever dies in between.

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

/// What is handed to one turn.
pub(crate) struct Steering {
    thread: ThreadId,
    /// Where the turn's answer goes. `None`: to nobody who could say something to it.
    channel: Option<Channel>,
    session: SessionId,
    control: TurnControl,
    /// Messages that were looked at.
    known: HashSet<Key>,
    /// What was handed over, by its uuid.
    handed: HashMap<String, Message>,
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
        }
    }

    /// Hands over what waits for this turn.
    pub(crate) fn look(&mut self, worker: &Worker) {
        if self.channel.is_none() || worker.queue.waiting_in(&self.thread).1 == 0 {
            return;
        }
        for entry in waiting_of(worker, &self.thread) {
            if self.known.contains(&entry.key) {
                continue;
            }
            let Ok(Some(message)) = on_disk(|| worker.queue.view().read(&entry)) else { continue };
            self.known.insert(entry.key);
            // Whoever says it from elsewhere waits for an answer there.
            let is_for_it = message.steer && Some(message.channel) == self.channel;
            if is_for_it && message.handed.is_none() && message.command.is_none() {
                self.hand_over(worker, message);
            }
        }
    }

    fn hand_over(&mut self, worker: &Worker, message: Message) {
        let uuid = uuid::Uuid::new_v4().to_string();
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
        let message = self.handed.remove(uuid)?;
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

/// The session is lost, and with it what Claude was told in it: what was handed over there is asked in the next one.
pub(crate) fn forget(worker: &Worker, thread: &ThreadId, session: &SessionId) {
    for entry in waiting_of(worker, thread) {
        let message = on_disk(|| worker.queue.view().read(&entry)).ok().flatten();
        let handed = message.and_then(|it| it.handed).filter(|it| it.session_id == *session);
        if handed.is_none() {
            continue;
        }
        if let Err(err) =
            on_disk(|| worker.queue.replace_waiting(&entry.key, |it| it.handed = None))
        {
            tracing::error!(key = %entry.key, "message {} went with its session: {err}", entry.key);
        }
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
