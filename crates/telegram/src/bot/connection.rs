//! Whether Telegram answers. Every call tells it here, and whoever has something to send waits here while it does not.
//!
//! A connection is down from a call without an answer until the next call with one, of whatever kind. While it is down, or
//! a call takes strangely long, somebody asks Telegram for a sign of life (`heartbeat`). Nothing here decides what is sent
//! again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A call that takes longer than this may have been forgotten;
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// and it has been, when a later one was answered this long ago.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3);
/// The connection to Telegram.
#[derive(Debug)]
pub(crate) struct Connection {
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

impl Connection {
    pub(crate) fn new() -> Connection {
        Connection { state: watch::Sender::new(State::default()) }
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

    /// Whether nothing is wrong.
    pub(crate) fn is_well(&self) -> bool {
        self.state.borrow().is_well()
    }

    /// Waits until something is wrong, if nothing is.
    pub(crate) async fn is_troubled(&self) {
        let _ = self.state.subscribe().wait_for(|it| !it.is_well()).await;
    }

    /// Waits until nothing is wrong, if something is.
    pub(crate) async fn is_well_again(&self) {
        let _ = self.state.subscribe().wait_for(State::is_well).await;
    }

    /// Waits until something is wrong and then is well again.
    pub(crate) async fn is_back(&self) {
        self.is_troubled().await;
        self.is_well_again().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_lost_when_it_takes_long_and_a_later_one_is_answered() {
        let connection = Connection::new();
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let lost = connection.has_passed(begun);
        tokio::pin!(lost);
        assert!(tokio::time::timeout(Duration::from_secs(60), &mut lost).await.is_err());
        connection.answered("getMe", Instant::now(), true);
        let late = Instant::now();
        lost.await;
        assert_eq!(late.elapsed(), FORGOTTEN_AFTER);
    }

    #[tokio::test(start_paused = true)]
    async fn any_answer_ends_an_outage_and_only_messages_count_as_messages() {
        let connection = Connection::new();
        connection.failed();
        assert!(tokio::time::timeout(Duration::from_secs(60), connection.up()).await.is_err());
        connection.answered("getUpdates", Instant::now(), true);
        connection.up().await;
        connection.answered("sendChatAction", Instant::now(), true);
        connection.answered("sendMessage", Instant::now(), false);
        assert_eq!(connection.messages(), 0);
        connection.answered("sendMessage", Instant::now(), true);
        assert_eq!(connection.messages(), 1);
    }
}
