//! Reactions on people's messages: what is wanted on each, the newest wish only, and no more at once than Telegram likes.
//!
//! They have a pace and a rest of their own: what Telegram says to a reaction holds up no message. While a chat is left
//! alone they wait, and what is still wanted then goes out. Telegram keeps the last reaction that it hears, so there is
//! one request for a message at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use teloxide::payloads::{SetMessageReaction, setters::*};
use teloxide::types::{ChatId, MessageId, ReactionType};
use tinyclaw_service::Shutdown;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::bot::Bot;
use crate::bot::client::CallError;

/// A message: its chat and its number.
type Place = (i64, i32);

/// What is wanted and not done yet.
#[derive(Debug, Default)]
pub(crate) struct Reactions {
    /// Guards what is wanted and what is under way. Taken before the lock of the rate limit, and never held over a call.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    wishes: HashMap<Place, Wish>,
    order: VecDeque<Place>,
    /// Messages for which a request is under way.
    under_way: HashSet<Place>,
}

#[derive(Debug)]
struct Wish {
    emoji: Option<&'static str>,
    done: Option<oneshot::Sender<Result<(), CallError>>>,
}

impl Reactions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// From now on this is wanted there, and nothing else.
    fn want(&self, place: Place, wish: Wish) {
        let mut state = self.state();
        if state.wishes.insert(place, wish).is_none() {
            state.order.push_back(place);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The next wish that may go out, or when it is worth asking again.
    fn next(&self, mut may: impl FnMut(i64) -> Result<(), Instant>) -> Next {
        let mut state = self.state();
        let (mut at, mut again) = (0, None::<Instant>);
        let mut asked = HashMap::<i64, Instant>::new();
        while let Some(place) = state.order.get(at).copied() {
            at += 1;
            if state.under_way.contains(&place) || asked.contains_key(&place.0) {
                continue;
            }
            if let Err(when) = may(place.0) {
                asked.insert(place.0, when);
                again = Some(again.map_or(when, |it| it.min(when)));
                continue;
            }
            state.order.remove(at - 1);
            if let Some(wish) = state.wishes.remove(&place) {
                state.under_way.insert(place);
                return Next::Go(place, wish);
            }
        }
        Next::Later(again)
    }

    /// The request is over. What did not work is wanted again, unless something else is by now.
    fn ended(&self, place: Place, again: Option<Wish>) {
        let mut state = self.state();
        state.under_way.remove(&place);
        if let Some(wish) = again
            && !state.wishes.contains_key(&place)
        {
            state.wishes.insert(place, wish);
            state.order.push_front(place);
        }
        drop(state);
        self.changed.notify_one();
    }
}

enum Next {
    Go(Place, Wish),
    Later(Option<Instant>),
}

/// Puts reactions where they are wanted, until the shutdown. What may pass is tried again after `retry`.
pub(crate) async fn run(bot: Arc<Bot>, retry: Duration, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = bot.client.connection().up() => {}
            () = shutdown.begun() => return,
        }
        match bot.reactions.next(|chat| bot.limit.try_reaction(chat)) {
            Next::Go(place, wish) => {
                tokio::spawn(put(Arc::clone(&bot), place, wish, retry));
            }
            Next::Later(when) => {
                let due = async {
                    match when {
                        Some(it) => tokio::time::sleep_until(it).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = due => {}
                    () = bot.reactions.changed.notified() => {}
                    () = shutdown.begun() => return,
                }
            }
        }
    }
}

async fn put(bot: Arc<Bot>, place: Place, wish: Wish, retry: Duration) {
    let (chat, message) = place;
    let reaction = wish.emoji.map(|it| ReactionType::Emoji { emoji: it.to_owned() });
    let payload = SetMessageReaction::new(ChatId(chat), MessageId(message)).reaction(reaction);
    let done = bot.client.call(&payload).await.map(drop);
    match done {
        Err(CallError::Flood { wait, .. }) => {
            bot.vitals.count("reactionFloodsTotal", 1);
            bot.limit.freeze_reactions(chat, wait);
            bot.reactions.ended(place, Some(wish));
        }
        Err(err) if err.is_passing() => {
            tracing::debug!("no reaction for the moment: {err}");
            tokio::time::sleep(retry).await;
            bot.reactions.ended(place, Some(wish));
        }
        done => {
            if let Err(err) = &done {
                tracing::debug!("no reaction: {err}");
            }
            bot.reactions.ended(place, None);
            if let Some(it) = wish.done {
                let _ = it.send(done);
            }
        }
    }
}

impl Bot {
    /// Puts one emoji on a message, or takes ours off, as soon as may be.
    pub(crate) fn react(&self, chat: i64, message: i32, emoji: Option<&'static str>) {
        self.reactions.want((chat, message), Wish { emoji, done: None });
    }

    /// [`Bot::react`] for a reaction that matters: waits until it is there, or something else is wanted.
    pub(crate) async fn try_react(
        &self,
        chat: i64,
        message: i32,
        emoji: Option<&'static str>,
    ) -> Result<(), CallError> {
        let (sender, receiver) = oneshot::channel();
        self.reactions.want((chat, message), Wish { emoji, done: Some(sender) });
        receiver.await.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(emoji: &'static str) -> Wish {
        Wish { emoji: Some(emoji), done: None }
    }

    fn next(reactions: &Reactions) -> Option<(Place, &'static str)> {
        match reactions.next(|_| Ok(())) {
            Next::Go(place, wish) => Some((place, wish.emoji?)),
            Next::Later(_) => None,
        }
    }

    #[test]
    fn the_newest_wish_for_a_message_is_the_only_one_and_one_is_under_way_at_a_time() {
        let reactions = Reactions::default();
        reactions.want((1, 1), wish("👀"));
        reactions.want((1, 2), wish("👀"));
        reactions.want((1, 1), wish("✍"));
        assert_eq!(next(&reactions), Some(((1, 1), "✍")));
        reactions.want((1, 1), wish("💔"));
        assert_eq!(next(&reactions), Some(((1, 2), "👀")));
        assert_eq!(next(&reactions), None);
        // What failed gives way to what is wanted by now.
        reactions.ended((1, 1), Some(wish("✍")));
        assert_eq!(next(&reactions), Some(((1, 1), "💔")));
        reactions.ended((1, 2), Some(wish("👀")));
        assert_eq!(next(&reactions), Some(((1, 2), "👀")));
    }

    #[test]
    fn a_chat_that_rests_holds_no_other_up() {
        let reactions = Reactions::default();
        reactions.want((1, 1), wish("👀"));
        reactions.want((2, 1), wish("👀"));
        let later = Instant::now() + std::time::Duration::from_secs(5);
        let rests = |chat| if chat == 1 { Err(later) } else { Ok(()) };
        assert!(matches!(reactions.next(rests), Next::Go((2, 1), _)));
        assert!(matches!(reactions.next(rests), Next::Later(Some(it)) if it == later));
    }
}
