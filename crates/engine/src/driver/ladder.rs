//! The watchdogs, and the ladder by which a turn is ended: `interrupt`, SIGINT, the leash.

use std::time::Duration;

use tokio::time::Instant;

use super::running::{Running, Why};
use super::{Actor, Wake};
use crate::config::Times;
use crate::failure::{TurnFailure, Watchdog};
use crate::launch::LeashOrder;
use crate::turn::{TurnEvent, TurnOutcome};
use crate::wire::out;

/// Which step of the ladder was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Interrupted,
    Signalled,
    Ended,
}

/// What a driver wakes up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The process did not become ready.
    Start,
    /// The process does not leave.
    Close,
    /// The turn does not end: one step up.
    Ladder,
    /// Nobody answered this question.
    Ask(String),
    /// Patience with the turn is over.
    Watchdog(Watchdog),
    /// The prompt came back and nothing else.
    Duplicate,
    /// Nothing is heard of it for a while.
    Lost,
    /// Nothing to wake up for.
    Never,
}

/// As good as never.
const LONG: Duration = Duration::from_secs(24 * 3600);

impl Running {
    /// The next thing to be done about this turn if nothing happens.
    fn alarm(&self, times: &Times) -> (Instant, Alarm) {
        if let Some(stopping) = &self.stopping {
            let patience = match stopping.step {
                Step::Interrupted => times.interrupt,
                Step::Signalled => times.sigint,
                Step::Ended => LONG,
            };
            return (stopping.since + patience, Alarm::Ladder);
        }
        if let Some((id, ask)) = self.asks.iter().min_by_key(|(_, ask)| ask.since) {
            return (ask.since + times.ask, Alarm::Ask(id.clone()));
        }
        let (patience, watchdog) = match self.tools.is_empty() {
            true => (times.silence, Watchdog::Silence),
            false => (times.tool, Watchdog::Tool),
        };
        let mut alarm = (self.last_line + patience, Alarm::Watchdog(watchdog));
        let others = [
            Some((self.over_at, Alarm::Watchdog(Watchdog::Turn))),
            self.echoed.map(|it| (it + times.duplicate, Alarm::Duplicate)),
        ];
        for other in others.into_iter().flatten() {
            if other.0 < alarm.0 {
                alarm = other;
            }
        }
        alarm
    }
}

impl Actor {
    pub(super) fn alarm(&self) -> Wake {
        if let Some(wake) = self.alarm_while_away() {
            return wake;
        }
        let times = &self.setup.times;
        let (at, what) = match (&self.turn, self.close_at) {
            (None, Some(at)) => (at, Alarm::Close),
            _ if !self.is_ready && self.close_at.is_none() => {
                (self.started + times.start, Alarm::Start)
            }
            (Some(turn), _) => turn.alarm(times),
            (None, None) => (Instant::now() + LONG, Alarm::Never),
        };
        Wake { at, what }
    }

    pub(super) fn on_alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Never => {}
            Alarm::Start => {
                tracing::warn!(thread.id = %self.setup.thread, "claude does not become ready");
                if let Some(turn) = &mut self.turn {
                    turn.stop(Why::NotReady, Step::Ended);
                }
                self.close();
                self.leash.order(LeashOrder::End);
            }
            Alarm::Close => {
                self.close_at = Some(Instant::now() + LONG);
                self.leash.order(LeashOrder::End);
            }
            Alarm::Ladder => self.climb(),
            Alarm::Ask(id) => self.expire(&id),
            Alarm::Watchdog(watchdog) => {
                tracing::warn!(thread.id = %self.setup.thread, %watchdog, "a turn is stopped");
                self.stop(Why::Watchdog(watchdog));
            }
            Alarm::Duplicate => self.on_duplicate(),
            Alarm::Lost => self.tell_lost(),
        }
    }

    /// Begins to end the turn. Once begun, the reason stays the first one.
    pub(super) fn stop(&mut self, why: Why) {
        let Some(turn) = &mut self.turn else { return };
        if turn.stopping.is_some() {
            return;
        }
        // Claude knows nothing of it; but what it is busy with may be what hangs.
        if turn.sent.is_none() && (self.aside.is_none() || matches!(why, Why::Asked)) {
            turn.stop(why, Step::Interrupted);
            let outcome = match why {
                Why::Asked => TurnOutcome::Interrupted,
                _ => TurnOutcome::Failed(TurnFailure::Closing),
            };
            if let Some(turn) = self.turn.take() {
                self.finish(turn, outcome, None);
            }
            return;
        }
        // After an interrupt it would go on with them by itself, and they are somebody else's to ask again.
        let has_words = turn.has_words_waiting();
        turn.stop(why, if has_words { Step::Ended } else { Step::Interrupted });
        self.requests += 1;
        if matches!(why, Why::Asked) {
            self.note_stop();
        }
        // It cannot be heard there now.
        self.tell_lost();
        if has_words {
            self.close();
            return self.leash.order(LeashOrder::End);
        }
        self.pen.write(&out::interrupt(&format!("interrupt-{}", self.requests)));
    }

    /// The turn is still there: one step up.
    fn climb(&mut self) {
        let Some(turn) = &mut self.turn else { return };
        let Some(stopping) = &turn.stopping else { return };
        let (why, step) = (stopping.why, stopping.step);
        match step {
            Step::Interrupted => {
                turn.stop(why, Step::Signalled);
                self.leash.order(LeashOrder::Interrupt);
            }
            Step::Signalled => {
                turn.stop(why, Step::Ended);
                self.leash.order(LeashOrder::End);
            }
            Step::Ended => {}
        }
    }

    fn expire(&mut self, id: &str) {
        let Some(turn) = &mut self.turn else { return };
        if turn.take_ask(id).is_none() {
            return;
        }
        turn.tell(TurnEvent::AskClosed { request_id: id.to_owned(), expired: true });
        self.respond(id, &out::denial(id, out::ASK_UNANSWERED));
    }

    /// Claude took our prompt for one it knows, and will say nothing more. It is idle, and stays.
    fn on_duplicate(&mut self) {
        if let Some(mut turn) = self.turn.take() {
            turn.stop(Why::Duplicate, Step::Interrupted);
            self.finish(turn, TurnOutcome::Failed(TurnFailure::Duplicate), None);
            if self.setup.mode == crate::config::Mode::Spawn {
                self.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::driver::TurnOrder;

    fn running() -> Running {
        let (events, _) = mpsc::unbounded_channel();
        let (_, controls) = mpsc::unbounded_channel();
        let order = TurnOrder {
            key: "tg-1".parse().unwrap(),
            uuid: "u1".to_owned(),
            model: "haiku".to_owned(),
            effort: tinyclaw_domain::Effort::High,
            content: "hello".into(),
            begun: Instant::now(),
            session: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().unwrap(),
            events,
            controls,
            done: None,
            is_ended: false,
        };
        Running::new(Box::new(order), Times::default().turn, true)
    }

    async fn after(turn: &Running) -> (u64, Alarm) {
        let (at, what) = turn.alarm(&Times::default());
        ((at - Instant::now()).as_secs(), what)
    }

    #[tokio::test(start_paused = true)]
    async fn the_clocks_stand_still_while_a_question_is_open() {
        let mut turn = running();
        assert_eq!(after(&turn).await, (120, Alarm::Watchdog(Watchdog::Silence)));
        assert!(turn.ask("q".to_owned(), "Bash".to_owned(), serde_json::Value::Null, &[]));
        assert_eq!(after(&turn).await, (600, Alarm::Ask("q".to_owned())));
        tokio::time::advance(Duration::from_secs(500)).await;
        turn.take_ask("q").unwrap();
        assert_eq!(after(&turn).await, (120, Alarm::Watchdog(Watchdog::Silence)));
        turn.last_line = turn.over_at - Duration::from_secs(10);
        assert_eq!(after(&turn).await, (1800, Alarm::Watchdog(Watchdog::Turn)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_late_that_could_not_be_heard() {
        let mut turn = running();
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(after(&turn).await, (20, Alarm::Watchdog(Watchdog::Silence)));
        // An hour without a link.
        tokio::time::advance(Duration::from_secs(3600)).await;
        turn.put_off(Duration::from_secs(3600));
        assert_eq!(after(&turn).await, (20, Alarm::Watchdog(Watchdog::Silence)));
        turn.stop(Why::Asked, Step::Interrupted);
        tokio::time::advance(Duration::from_secs(60)).await;
        turn.put_off(Duration::from_secs(60));
        assert_eq!(after(&turn).await, (10, Alarm::Ladder));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_question_cannot_become_another() {
        let mut turn = running();
        let input = |command: &str| serde_json::json!({ "command": command });
        assert!(turn.ask("q".to_owned(), "Bash".to_owned(), input("ls"), &[]));
        assert!(!turn.ask("q".to_owned(), "Bash".to_owned(), input("rm -rf ~"), &[]));
        assert_eq!(turn.take_ask("q").unwrap().input, input("ls"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_gets_more_patience_than_silence() {
        let mut turn = running();
        turn.tools.insert("t".to_owned(), Instant::now());
        assert_eq!(after(&turn).await, (660, Alarm::Watchdog(Watchdog::Tool)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_alone_is_a_known_message_and_an_echo_after_work_is_not() {
        let mut turn = running();
        turn.replayed(Some("u1"));
        assert_eq!(after(&turn).await, (10, Alarm::Duplicate));
        turn.has_begun();
        turn.replayed(Some("u1"));
        assert_eq!(after(&turn).await.1, Alarm::Watchdog(Watchdog::Silence));
    }
}
