//! Status messages: one for each turn that takes a while, showing the truth as the progress file has it.
//!
//! A turn's status is shown by a task of its own, which is in [`crate::status::message`]. Before an answer is delivered the task is retired, so that no late look overwrites an answer. `status/<key>.json`
//! keeps the message's id over a restart. What a status looks like is in [`crate::status::layout`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use teloxide::payloads::{EditMessageText, setters::*};
use teloxide::types::{ChatId, MessageId, ParseMode};
use tinyclaw_disk::Flush;
use tinyclaw_domain::{Channel, Key, Lane, Message, Source, ThreadId};
use tinyclaw_ledger::{health, load, save};
use tinyclaw_queue::Place;
use tinyclaw_service::now_ms;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::bot::addresses::Address;
use crate::bot::client::CallError;
use crate::face::{Face, Origin, no_preview};
use crate::status::cleanup::{clear, is_over};
use crate::status::layout::Look;
use crate::status::long_question;
use crate::status::message::show;

/// How often the queue and the running turns are looked at while there are any.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// A turn that somebody stops and that goes on for so long does not react.
const DEAF_AFTER_MS: u64 = 5_000;
/// More messages than this in one folder are not shown.
const LIST_MAX: usize = 2_000;

/// The status messages of this process.
#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    /// Something is to be shown at once.
    hurry: Notify,
}

#[derive(Debug, Default)]
struct State {
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
    look: watch::Sender<Option<Look>>,
    task: JoinHandle<()>,
    settled_at: Option<Instant>,
}

/// Whose status it is.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) key: Key,
    pub(crate) thread: ThreadId,
    pub(crate) origin: Option<Origin>,
    /// Another thread asked.
    pub(crate) is_from_thread: bool,
    trouble: Option<String>,
}

/// `status/<key>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) address: Address,
    /// When the message was about to be sent, in ms since 1970.
    pub(crate) intent: u64,
    /// The newest message known in the chat then: the status comes after it.
    #[serde(default)]
    pub(crate) after: i64,
    /// The question that was asked with it, with a sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<String>,
    /// Its id. None after a crash means: perhaps sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<i64>,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// Ends the showing of a turn, whose answer is about to be delivered, and gives its status message.
    pub(crate) async fn retire(&self, face: &Face, key: &Key) -> Option<Status> {
        let show = {
            let mut state = self.state();
            state.retired.insert(key.clone());
            state.subjects.remove(key);
            state.shows.remove(key)
        };
        if let Some(show) = show {
            show.look.send_replace(None);
            // It may be in the middle of an edit, which must not come after the answer.
            let _ = show.task.await;
        }
        read_status(face, key)
    }

    /// Somebody stops this: it shows at once, before whoever has to do it has heard of it.
    pub(crate) fn stop(&self, key: &Key) {
        self.state().stopping.entry(key.clone()).or_insert_with(now_ms);
        self.hurry.notify_one();
    }

    /// The delivery is over, well or not.
    pub(crate) fn release(&self, key: &Key) {
        self.state().retired.remove(key);
    }
}

pub(crate) fn read_status(face: &Face, key: &Key) -> Option<Status> {
    tokio::task::block_in_place(|| load(&face.state.status(key))).ok().flatten()
}

/// The ids of status messages in a chat.
pub(crate) fn known_statuses(face: &Face, chat: i64) -> HashSet<i64> {
    let statuses = keys_of_statuses(face).filter_map(|it| read_status(face, &it));
    statuses.filter(|it| it.address.chat == chat).filter_map(|it| it.message).collect()
}

pub(crate) fn keys_of_statuses(face: &Face) -> impl Iterator<Item = Key> + use<> {
    let entries = std::fs::read_dir(face.state.statuses()).into_iter().flatten().flatten();
    entries.filter_map(|it| it.file_name().to_str()?.strip_suffix(".json")?.parse().ok())
}

pub(crate) fn write_status(face: &Face, key: &Key, status: &Status) {
    let path = face.state.status(key);
    if let Err(err) = tokio::task::block_in_place(|| save(&path, status, Flush::None)) {
        tracing::warn!("{:#}", anyhow::Error::from(err));
    }
}

/// Forgets a status message, which has gone or has become the answer.
pub(crate) fn forget_status(face: &Face, key: &Key) {
    if let Err(err) = tokio::task::block_in_place(|| tinyclaw_disk::remove(&face.state.status(key)))
    {
        tracing::warn!("{err}");
    }
}

/// Keeps the status messages true until the shutdown.
pub(crate) async fn run(face: Arc<Face>) {
    let watch = face.view.watch();
    loop {
        let changed = watch.changed();
        let busy = tokio::task::block_in_place(|| tick(&face));
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
            () = face.board.hurry.notified() => {}
            () = face.shutdown.begun() => return,
        }
    }
}

/// Looks at the queue and tells every task what is the case. `true` while there is something to show.
fn tick(face: &Arc<Face>) -> bool {
    let looks = match looks(face) {
        Ok(it) => it,
        Err(err) => {
            tracing::warn!("the queue cannot be read: {err}");
            return true;
        }
    };
    let mut gone = Vec::new();
    let busy = {
        let mut state = face.board.state();
        for (key, (subject, look)) in &looks {
            if state.retired.contains(key) {
                continue;
            }
            if let Some(show) = state.shows.get(key) {
                show.look.send_if_modified(|it| {
                    let new = it.as_ref() != Some(look);
                    if new {
                        *it = Some(look.clone());
                    }
                    new
                });
                continue;
            }
            let (sender, receiver) = watch::channel(Some(look.clone()));
            let task = tokio::spawn(show(Arc::clone(face), Arc::clone(subject), receiver));
            state.shows.insert(key.clone(), Show { look: sender, task, settled_at: None });
        }
        for (key, show) in &mut state.shows {
            if looks.contains_key(key) {
                show.settled_at = None;
                continue;
            }
            let since = *show.settled_at.get_or_insert_with(Instant::now);
            show.look.send_if_modified(|it| {
                let new = *it != Some(Look::Settled);
                *it = Some(Look::Settled);
                new
            });
            // An answer is fetched by the outlet in a moment; what is not has ended without one.
            if since.elapsed() > Duration::from_secs(2) {
                show.settled_at = Some(Instant::now());
                gone.push(key.clone());
            }
        }
        state.subjects.retain(|key, _| looks.contains_key(key));
        state.stopping.retain(|key, _| looks.contains_key(key));
        !state.shows.is_empty()
    };
    for key in gone {
        tokio::spawn(end_without_answer(Arc::clone(face), key));
    }
    busy
}

/// Whether whoever answers has not been heard of for a while. Of one that was never there nothing is known.
fn nobody_works(face: &Face, now_ms: u64) -> bool {
    let said = health::read(&face.state, "processor", now_ms).ok().flatten();
    said.is_some_and(|it| !it.is_fresh())
}

type Looks = BTreeMap<Key, (Arc<Subject>, Look)>;

fn looks(face: &Arc<Face>) -> std::io::Result<Looks> {
    let now = now_ms();
    let away = nobody_works(face, now);
    let mut looks = Looks::new();
    let mut busy_since: HashMap<Lane, u64> = HashMap::new();
    let mut busy = HashSet::new();
    for entry in face.view.list(Place::Processing, LIST_MAX)? {
        let progress = face.progress(&entry.key);
        let since = progress.as_ref().map_or(entry.queued_at, |it| it.started_at);
        busy_since.insert(entry.lane.clone(), since);
        busy.insert(entry.lane.clone());
        if let Some(subject) = subject(face, &entry) {
            let look = match progress {
                // What is told of a turn outlives whoever told it.
                _ if away => Look::Away,
                Some(it) => long_question::look(face, it, subject.origin.as_ref()),
                None => Look::Starting,
            };
            looks.insert(entry.key, (subject, look));
        }
    }
    let mut positions: HashMap<Lane, usize> = HashMap::new();
    for entry in face.view.list(Place::Incoming, LIST_MAX)? {
        let position = positions.entry(entry.lane.clone()).or_default();
        *position += 1;
        busy.insert(entry.lane.clone());
        let Some(subject) = subject(face, &entry) else { continue };
        let busy_since = busy_since.get(&entry.lane).copied();
        let again_at = entry.not_before.filter(|it| *it > now);
        // Who put it back may have left word; else there is what the message itself knows.
        let told = again_at.and_then(|_| face.progress(&entry.key)?.trouble);
        let look = match (again_at, told, &subject.trouble) {
            _ if away => Look::Away,
            (Some(_), Some(trouble), _) => Look::Trouble { trouble, again_at: None },
            (Some(at), None, Some(trouble)) => {
                Look::Trouble { trouble: trouble.clone(), again_at: Some(at) }
            }
            _ => Look::Waiting {
                // Who is worked on stands before them all.
                position: *position + usize::from(busy_since.is_some()),
                busy_since,
            },
        };
        looks.insert(entry.key, (subject, look));
    }
    for (key, since) in &face.board.state().stopping {
        if let Some((_, look)) = looks.get_mut(key) {
            look.stop(now.saturating_sub(*since) >= DEAF_AFTER_MS);
        }
    }
    tell_busy(face, busy);
    Ok(looks)
}

/// Tells the budget which topics are at work: their answers come before looks at them.
fn tell_busy(face: &Face, lanes: HashSet<Lane>) {
    let mut chats: HashMap<i64, BTreeSet<i64>> = HashMap::new();
    for lane in lanes {
        if let Lane::Thread(thread) = lane
            && let Some(address) = face.address_of(&thread)
        {
            chats.entry(address.chat).or_default().insert(address.lane());
        }
    }
    let now: HashSet<i64> = chats.keys().copied().collect();
    let before = std::mem::replace(&mut face.board.state().busy, now);
    for chat in before {
        chats.entry(chat).or_default();
    }
    for (chat, topics) in chats {
        face.budget.set_busy(chat, topics);
    }
}

fn subject(face: &Face, entry: &tinyclaw_queue::Entry) -> Option<Arc<Subject>> {
    if !matches!(entry.lane, Lane::Thread(_)) {
        return None;
    }
    // A message that was tried before has something to say about it.
    if entry.not_before.is_none()
        && let Some(known) = face.board.state().subjects.get(&entry.key)
    {
        return known.clone();
    }
    let message = face.view.read(entry).ok().flatten()?;
    let shown = is_shown(&message).then(|| {
        Arc::new(Subject {
            key: message.key.clone(),
            thread: message.thread_id.clone(),
            origin: Origin::of(&message),
            is_from_thread: message.source == Source::CrossThread,
            trouble: message.trouble.clone(),
        })
    });
    face.board.state().subjects.insert(entry.key.clone(), shown.clone());
    shown
}

fn is_shown(message: &Message) -> bool {
    message.channel == Channel::Telegram
        && message.command.is_none()
        && matches!(message.source, Source::User | Source::CrossThread | Source::Cli | Source::Api)
}

/// Edits a message of ours. The keyboard is always said: an edit without one takes it away.
pub(crate) async fn edit(
    face: &Face,
    address: Address,
    message: i64,
    html: &str,
    keyboard: Option<Value>,
) -> Result<(), CallError> {
    let id = MessageId(i32::try_from(message).unwrap_or_default());
    let payload = EditMessageText::new(ChatId(address.chat), id, html)
        .parse_mode(ParseMode::Html)
        .link_preview_options(no_preview());
    face.client.call_with(&payload, markup(keyboard)).await.map(drop)
}

pub(crate) fn markup(keyboard: Option<Value>) -> Map<String, Value> {
    keyboard.map(|it| ("reply_markup".to_owned(), it)).into_iter().collect()
}

/// A turn that is over and has nothing to deliver: its status goes.
async fn end_without_answer(face: Arc<Face>, key: Key) {
    let Ok(found) = tokio::task::block_in_place(|| face.view.find(&key)) else { return };
    if !is_over(found.map(|it| it.place)) || face.board.state().retired.contains(&key) {
        return;
    }
    face.board.retire(&face, &key).await;
    if !clear(&face, &key).await {
        face.leftovers.put(key.clone());
    }
    face.board.release(&key);
}
