//! The signals that ask a conversation to end, heard by one listener from the first moment on: one that came while
//! something else was being waited for is not missed.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens. While it lives, and afterwards too, these signals no longer end the process by themselves.
pub(crate) struct Signals {
    interrupts: Signal,
    ends: Signal,
    hang_ups: Signal,
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Ctrl-C: whoever sits there wants something stopped, or to leave.
    Interrupt,
    /// Somebody else wants it to end, or the terminal is gone.
    End,
}

impl Signals {
    /// Begins to listen. Must be called inside a tokio runtime.
    pub(crate) fn listen() -> anyhow::Result<Signals> {
        Ok(Signals {
            interrupts: signal(SignalKind::interrupt()).context("cannot hear Ctrl-C")?,
            ends: signal(SignalKind::terminate()).context("cannot hear signals")?,
            hang_ups: signal(SignalKind::hangup()).context("cannot hear signals")?,
        })
    }

    /// Waits for the next one. May be dropped and asked again: nothing is lost between.
    pub(crate) async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupts.recv() => Heard::Interrupt,
            _ = self.ends.recv() => Heard::End,
            _ = self.hang_ups.recv() => Heard::End,
        }
    }
}
