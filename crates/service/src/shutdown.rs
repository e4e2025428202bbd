//! The word that it is time to stop, heard by everybody who holds a clone.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::systemd;

/// Told once, never taken back. Clones hear the same word.
#[derive(Debug, Clone)]
pub struct Shutdown {
    word: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown { word: Arc::new(watch::Sender::new(false)) }
    }
}

impl Shutdown {
    /// One that SIGTERM and SIGINT begin. A second SIGINT ends the process at once with status 130: whoever presses
    /// Ctrl-C twice means it.
    ///
    /// From then on systemd is told how this process fares, where it asks. Must be called inside a tokio runtime, once, early:
    /// from then on the signals no longer kill.
    pub fn on_signals() -> io::Result<Shutdown> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = Shutdown::default();
        let told = shutdown.clone();
        tokio::spawn(systemd::keep_told(|name| std::env::var(name).ok(), async move {
            told.begun().await
        }));
        let told = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
            told.begin();
            interrupt.recv().await;
            tracing::warn!("SIGINT again: leaving at once");
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Says the word, from within: a neighbour died, a test is over.
    pub fn begin(&self) {
        self.word.send_replace(true);
    }

    /// Whether it has been said.
    pub fn has_begun(&self) -> bool {
        *self.word.borrow()
    }

    /// Waits until it is said; at once when it has been.
    pub async fn begun(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.word.subscribe().wait_for(|it| *it).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_it_also_who_comes_late() {
        let shutdown = Shutdown::default();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.begun().await }
        });
        assert!(!shutdown.has_begun());
        shutdown.clone().begin();
        early.await.unwrap();
        shutdown.begun().await;
    }

    #[tokio::test]
    async fn sigterm_begins_it() {
        let shutdown = Shutdown::on_signals().unwrap();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
        shutdown.begun().await;
    }
}
