//! What is left to do when a turn is over: its status message goes, and the reaction on the question says how it ended.
//!
//! Both can wait, and do when Telegram wants the chat left alone or cannot be reached: they are tried again until they
//! are done. Over a restart `status/<key>.json` remembers the status.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tinyclaw_domain::{Catalogue, Key, Message, Outcome, STOPPED_WAITING};
use tinyclaw_queue::{Place, View};
use tinyclaw_service::Shutdown;
use tokio::sync::Notify;

use crate::bot::Bot;
use crate::origin::Origin;
use crate::status::kept::{Status, StatusFiles};
use crate::status::recover::Finder;

/// What could not be done is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A reaction at the end of a delivery may not hold it up longer.
const REACTION_TIME: Duration = Duration::from_secs(3);

/// Who clears up, with the turns that left something to do.
pub(crate) struct Cleanup {
    bot: Arc<Bot>,
    view: View,
    files: StatusFiles,
    finder: Arc<Finder>,
    /// Guards the turns that left something to do. Held for a look or a change, with no other lock.
    keys: Mutex<BTreeSet<Key>>,
    more: Notify,
}

impl Cleanup {
    pub(crate) fn new(
        bot: Arc<Bot>,
        view: View,
        files: StatusFiles,
        finder: Arc<Finder>,
    ) -> Cleanup {
        Cleanup { bot, view, files, finder, keys: Mutex::default(), more: Notify::new() }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.keys.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// This turn is over and left something to do.
    pub(crate) fn put(&self, key: Key) {
        self.keys().insert(key);
        self.more.notify_one();
    }

    /// Clears up until the shutdown; at first what an earlier process left.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        self.keys().extend(self.files.keys());
        loop {
            tokio::select! {
                () = self.bot.client.connection().up() => {}
                () = shutdown.begun() => return,
            }
            let keys: Vec<Key> = self.keys().iter().cloned().collect();
            for key in keys {
                if self.clear(&key).await {
                    self.keys().remove(&key);
                }
            }
            let again = !self.keys().is_empty();
            tokio::select! {
                () = tokio::time::sleep(AGAIN_AFTER), if again => {}
                () = self.more.notified() => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Clears up after a turn if it is over. `false` when there is something left to do.
    pub(crate) async fn clear(&self, key: &Key) -> bool {
        let Ok(found) = tokio::task::block_in_place(|| self.view.find(key)) else { return false };
        let place = found.as_ref().map(|it| it.place);
        if !is_over(place) {
            return true;
        }
        let message = found.as_ref().map(|it| &it.message);
        let noted = self.files.read(key);
        let Ok(status) = self.finder.located(key, noted.clone(), message).await else {
            return false;
        };
        if let Some(found) = &status
            && status != noted
        {
            self.files.write(key, found);
        }
        // Who stops what waits has got what they wanted.
        let is_stopped =
            found.as_ref().and_then(|it| it.reason.as_deref()) == Some(STOPPED_WAITING);
        let end = match place {
            Some(Place::Dead) if is_stopped => Ending::Stopped,
            Some(Place::Dead) => Ending::GivenUp,
            _ => Ending::Told,
        };
        self.settle(key, status.as_ref(), message, end).await
    }

    /// Removes a status and sets the last reaction. `false` when there is something left to do.
    pub(crate) async fn settle(
        &self,
        key: &Key,
        status: Option<&Status>,
        message: Option<&Message>,
        end: Ending,
    ) -> bool {
        let bot = &self.bot;
        if let Some(Status { address, message: Some(id), .. }) = status
            && !message.is_some_and(|it| may_be_answer(it, *id, end))
            && let Err(err) = bot.delete(bot.addresses.present(address.chat), *id).await
        {
            tracing::debug!(%key, "the status of {key} stays for the moment: {err}");
            return false;
        }
        self.files.forget(key);
        // A notice says nothing of how the turn went that it is about.
        let Some(message) = message.filter(|_| !key.as_str().starts_with("n-")) else {
            return true;
        };
        let Some(origin) = Origin::of(message) else { return true };
        let emoji = match end {
            Ending::Told => emoji(message, &bot.settings.catalogue()),
            Ending::Stopped => Some("👌"),
            Ending::GivenUp => Some("💔"),
        };
        let reacting = bot.try_react(bot.addresses.present(origin.chat), origin.message_id, emoji);
        match tokio::time::timeout(REACTION_TIME, reacting).await {
            Ok(Ok(())) => true,
            Ok(Err(err)) => err.refusal().is_some(),
            Err(_) => false,
        }
    }

    /// The status message of this turn has gone, or has become the answer.
    pub(crate) fn forget(&self, key: &Key) {
        self.files.forget(key);
    }
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

/// Whether a status has become the answer, which it does when the turn was short. Of a part without an id nobody knows;
/// where the answer was given up it is kept elsewhere, and a status that stands for ever would be a lie.
fn may_be_answer(message: &Message, id: i64, end: Ending) -> bool {
    message.delivery.iter().any(|it| match it.telegram_message_id {
        Some(sent) => sent == id,
        None => it.part == 1 && end != Ending::GivenUp,
    })
}

/// Who answered, or how it ended.
fn emoji(message: &Message, catalogue: &Catalogue) -> Option<&'static str> {
    let reply = message.reply.as_ref().filter(|it| !it.silent)?;
    match reply.outcome {
        Outcome::Failed => Some("💔"),
        Outcome::Stopped => Some("👌"),
        Outcome::Answered => catalogue.family(reply.model?)?.mark,
        Outcome::Notice => None,
    }
}
