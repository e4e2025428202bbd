//! Whether Telegram answers. Every call tells it here, and whoever has something to send waits here while it does not.
//!
//! A line is down from a call without an answer until the next call with one, of whatever kind. While it is down, or a
//! call takes strangely long, Telegram is asked who we are again and again, since that changes nothing there. Nothing here
//! decides what is sent again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::face::Face;

/// A call that takes longer than this may have been forgotten;
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// and it has been, when a later one was answered this long ago.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3);
/// The first question whether Telegram is back comes after this, the next ones after twice as long each,
const ASK_AFTER: Duration = Duration::from_millis(500);
/// and at least this often.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// The line to Telegram.
#[derive(Debug)]
pub(crate) struct Line {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    is_down: bool,
    /// A call takes strangely long.
    is_doubted: bool,
    /// When the newest call that was answered was begun.
    answered: Option<Instant>,
    /// New messages that Telegram has taken.
    messages: u64,
}

impl State {
    fn is_well(&self) -> bool {
        !self.is_down && !self.is_doubted
    }
}

impl Line {
    pub(crate) fn new() -> Line {
        Line { state: watch::Sender::new(State::default()) }
    }

    /// A call that was begun then has an answer, whatever it says.
    pub(crate) fn answered(&self, method: &str, begun: Instant, is_taken: bool) {
        let named = method.to_ascii_lowercase();
        let is_message = named.starts_with("send") && named != "sendchataction";
        self.state.send_modify(|it| {
            it.answered = it.answered.max(Some(begun));
            (it.is_down, it.is_doubted) = (false, false);
            it.messages += u64::from(is_message && is_taken);
        });
    }

    /// A call has no answer.
    pub(crate) fn failed(&self) {
        self.state.send_if_modified(|it| !std::mem::replace(&mut it.is_down, true));
    }

    /// Waits until Telegram answers, if it does not.
    pub(crate) async fn up(&self) {
        let _ = self.state.subscribe().wait_for(|it| !it.is_down).await;
    }

    /// Whether nothing was answered lately.
    pub(crate) fn is_down(&self) -> bool {
        self.state.borrow().is_down
    }

    /// How many new messages Telegram has taken.
    pub(crate) fn messages(&self) -> u64 {
        self.state.borrow().messages
    }

    /// Waits until something is wrong and then is well again.
    pub(crate) async fn is_back(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|it| !it.is_well()).await;
        let _ = state.wait_for(State::is_well).await;
    }

    /// Waits until a call that was begun then must be taken for lost: it takes long, and later ones were answered.
    pub(crate) async fn has_passed(&self, begun: Instant) {
        tokio::time::sleep_until(begun + SLOW_AFTER).await;
        let mut state = self.state.subscribe();
        self.state.send_if_modified(|it| !std::mem::replace(&mut it.is_doubted, true));
        let _ = state.wait_for(|it| it.answered > Some(begun)).await;
        tokio::time::sleep(FORGOTTEN_AFTER).await;
    }
}

/// Asks Telegram for a sign of life whenever there is none, until the shutdown.
pub(crate) async fn run(face: Arc<Face>) {
    let line = face.client.line();
    let mut state = line.state.subscribe();
    loop {
        tokio::select! {
            it = state.wait_for(|it| !it.is_well()) => if it.is_err() { return },
            () = face.shutdown.begun() => return,
        }
        let words = "Telegram does not answer: what is to be sent waits";
        tracing::warn!("{words}");
        face.vitals.concern("line", Some(words.to_owned()));
        let mut wait = ASK_AFTER;
        while !state.borrow_and_update().is_well() {
            let is_well = async { drop(state.wait_for(State::is_well).await) };
            tokio::select! {
                () = is_well => {}
                () = tokio::time::sleep(wait) => face.client.ask_for_life().await,
                () = face.shutdown.begun() => return,
            }
            wait = (wait * 2).min(ASK_EVERY);
        }
        tracing::info!("Telegram answers");
        face.vitals.concern("line", None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_lost_when_it_takes_long_and_a_later_one_is_answered() {
        let line = Line::new();
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let lost = line.has_passed(begun);
        tokio::pin!(lost);
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut lost).await.is_err());
        line.answered("getMe", Instant::now(), true);
        let late = Instant::now();
        lost.await;
        assert_eq!(late.elapsed(), FORGOTTEN_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn any_answer_ends_an_outage_and_only_messages_count_as_messages() {
        let line = Line::new();
        line.failed();
        assert!(tokio::time::timeout(Duration::from_secs(60), line.up()).await.is_err());
        line.answered("getUpdates", Instant::now(), true);
        line.up().await;
        line.answered("sendChatAction", Instant::now(), true);
        line.answered("sendMessage", Instant::now(), false);
        assert_eq!(line.messages(), 0);
        line.answered("sendMessage", Instant::now(), true);
        assert_eq!(line.messages(), 1);
    }
}
