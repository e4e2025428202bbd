//! What is left to do when a turn is over: its status message goes, and the reaction on the question says how it ended.
//!
//! Both can wait, and do when Telegram wants the chat left alone or cannot be reached: they are tried again until they
//! are done. Over a restart `status/<key>.json` remembers the status.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tinyclaw_domain::{Key, Message, Model, Outcome, STOPPED_WAITING};
use tinyclaw_queue::Place;
use tokio::sync::Notify;

use crate::face::{Face, Origin};
use crate::status::recover;
use crate::status::watcher::{Status, forget_status, keys_of_statuses, read_status, write_status};

/// What could not be done is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A reaction at the end of a delivery may not hold it up longer.
const REACTION_TIME: Duration = Duration::from_secs(3);

/// The turns that left something to do.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    keys: Mutex<BTreeSet<Key>>,
    more: Notify,
}

impl Leftovers {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.keys.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// This turn is over and left something to do.
    pub(crate) fn put(&self, key: Key) {
        self.keys().insert(key);
        self.more.notify_one();
    }
}

/// Clears up until the shutdown; at first what an earlier process left.
pub(crate) async fn run(face: Arc<Face>) {
    face.leftovers.keys().extend(keys_of_statuses(&face));
    loop {
        tokio::select! {
            () = face.client.line().up() => {}
            () = face.shutdown.begun() => return,
        }
        let keys: Vec<Key> = face.leftovers.keys().iter().cloned().collect();
        for key in keys {
            if clear(&face, &key).await {
                face.leftovers.keys().remove(&key);
            }
        }
        let again = !face.leftovers.keys().is_empty();
        tokio::select! {
            () = tokio::time::sleep(AGAIN_AFTER), if again => {}
            () = face.leftovers.more.notified() => {}
            () = face.shutdown.begun() => return,
        }
    }
}

/// Clears up after a turn if it is over. `false` when there is something left to do.
pub(crate) async fn clear(face: &Face, key: &Key) -> bool {
    let Ok(found) = tokio::task::block_in_place(|| face.view.find(key)) else { return false };
    let place = found.as_ref().map(|it| it.place);
    if !is_over(place) {
        return true;
    }
    let message = found.as_ref().map(|it| &it.message);
    let noted = read_status(face, key);
    let Ok(status) = recover::located(face, key, noted.clone(), message).await else {
        return false;
    };
    if let Some(found) = &status
        && status != noted
    {
        write_status(face, key, found);
    }
    // Who stops what waits has got what they wanted.
    let is_stopped = found.as_ref().and_then(|it| it.reason.as_deref()) == Some(STOPPED_WAITING);
    let end = match place {
        Some(Place::Dead) if is_stopped => Ending::Stopped,
        Some(Place::Dead) => Ending::GivenUp,
        _ => Ending::Told,
    };
    settle(face, key, status.as_ref(), message, end).await
}

/// Whether nothing happens to a message any more.
pub(crate) fn is_over(place: Option<Place>) -> bool {
    matches!(place, None | Some(Place::Done | Place::Dead | Place::Quarantine))
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As its reply says.
    Told,
    /// A person stopped it before it began.
    Stopped,
    /// It was given up.
    GivenUp,
}

/// Removes a status and sets the last reaction. `false` when there is something left to do.
pub(crate) async fn settle(
    face: &Face,
    key: &Key,
    status: Option<&Status>,
    message: Option<&Message>,
    end: Ending,
) -> bool {
    if let Some(Status { address, message: Some(id), .. }) = status
        && !message.is_some_and(|it| may_be_answer(it, *id, end))
        && let Err(err) = face.delete(face.book.present(address.chat), *id).await
    {
        tracing::debug!(%key, "the status of {key} stays for the moment: {err}");
        return false;
    }
    forget_status(face, key);
    // A notice says nothing of how the turn went that it is about.
    let Some(message) = message.filter(|_| !key.as_str().starts_with("n-")) else { return true };
    let Some(origin) = Origin::of(message) else { return true };
    let emoji = match end {
        Ending::Told => emoji(message),
        Ending::Stopped => Some("👌"),
        Ending::GivenUp => Some("💔"),
    };
    let reacting = face.try_react(face.book.present(origin.chat), origin.message_id, emoji);
    match tokio::time::timeout(REACTION_TIME, reacting).await {
        Ok(Ok(())) => true,
        Ok(Err(err)) => err.refusal().is_some(),
        Err(_) => false,
    }
}

/// Whether a status has become the answer, which it does when the turn was short. Of a part without an id nobody knows;
/// where the answer was given up it is kept elsewhere, and a status that stands for ever would be a lie.
fn may_be_answer(message: &Message, id: i64, end: Ending) -> bool {
    message.delivery.iter().any(|it| match it.telegram_message_id {
        Some(sent) => sent == id,
        None => it.part == 1 && end != Ending::GivenUp,
    })
}

/// Who answered, or how it ended.
fn emoji(message: &Message) -> Option<&'static str> {
    let reply = message.reply.as_ref().filter(|it| !it.silent)?;
    match (reply.outcome, reply.model) {
        (Outcome::Failed, _) => Some("💔"),
        (Outcome::Stopped, _) => Some("👌"),
        (Outcome::Answered, Some(Model::Haiku)) => Some("⚡"),
        (Outcome::Answered, Some(Model::Sonnet)) => Some("✍"),
        (Outcome::Answered, Some(Model::Opus)) => Some("🔥"),
        (Outcome::Answered | Outcome::Notice, _) => None,
    }
}
