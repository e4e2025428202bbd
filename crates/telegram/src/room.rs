//! One topic's updates, one after the other, and what belongs together in them joined: albums, a text that a client cut
//! to pieces, and messages that a person sends in one go, such as some that are forwarded with a word about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::commands;
use crate::desk;
use crate::face::Face;
use crate::hear::{Event, Said};
use crate::held::Held;
use crate::intake::finish;
use crate::said;
use crate::text;

/// A client cuts texts at 4,096 units; what is about as long may have a second half.
const SPLIT_UNITS_MIN: usize = 4000;
/// More pieces than this are no longer one message.
const PIECES_MAX: usize = 12;
/// The pieces of a text lie no further apart than this, by Telegram's clock, which counts seconds;
const SPLIT_APART_MS: u64 = 2000;
/// and messages that are sent in one go no further than this.
const BURST_APART_MS: u64 = 1000;

/// What waits in a topic.
pub(crate) enum Work {
    /// One update.
    One(i64, Event),
    /// Updates that were joined before and belong together.
    Joined(Vec<Said>),
}

/// A topic's desk clerk.
pub(crate) struct Room {
    face: Arc<Face>,
    receiver: mpsc::UnboundedReceiver<Work>,
    /// What was said here and is not published.
    held: Arc<Held>,
    /// How many updates are not dealt with, of all topics.
    backlog: Arc<AtomicUsize>,
    /// What may have more pieces.
    pieces: Vec<Said>,
    first_at: Instant,
    last_at: Instant,
}

impl Room {
    pub(crate) fn new(
        face: Arc<Face>,
        receiver: mpsc::UnboundedReceiver<Work>,
        held: Arc<Held>,
        backlog: Arc<AtomicUsize>,
    ) -> Room {
        let now = Instant::now();
        Room { face, receiver, held, backlog, pieces: Vec::new(), first_at: now, last_at: now }
    }

    /// Works until nobody can send anything any more.
    pub(crate) async fn run(mut self) {
        loop {
            let work = if self.pieces.is_empty() {
                self.receiver.recv().await
            } else {
                let (ids, deadline) = (ids_of(&self.pieces), self.deadline());
                tokio::select! {
                    biased;
                    () = self.held.stopped(&ids) => {
                        self.flush().await;
                        continue;
                    }
                    work = self.receiver.recv() => work,
                    () = tokio::time::sleep_until(deadline) => {
                        self.flush().await;
                        continue;
                    }
                }
            };
            match work {
                None => return,
                Some(Work::Joined(pieces)) => {
                    self.flush().await;
                    self.publish(pieces).await;
                }
                Some(Work::One(id, event)) => self.one(id, event).await,
            }
        }
    }

    async fn one(&mut self, id: i64, event: Event) {
        let Event::Said(said) = event else {
            self.flush().await;
            match event {
                Event::Edited(said) => said::edited(&self.face, *said).await,
                Event::Topic { by, address, change } => {
                    said::topic_changed(&self.face, id, by, address, change).await;
                }
                _ => {}
            }
            self.end(&[id]);
            return;
        };
        if !self.belongs(&said) {
            self.flush().await;
        }
        if is_command(&said) {
            desk::run(&self.face, *said).await;
            self.end(&[id]);
            return;
        }
        self.last_at = Instant::now();
        if self.pieces.is_empty() {
            self.first_at = self.last_at;
        }
        self.pieces.push(*said);
        if self.pieces.len() == PIECES_MAX || self.deadline() <= self.last_at {
            self.flush().await;
        }
    }

    /// Whether this is the next piece of what waits.
    fn belongs(&self, said: &Said) -> bool {
        let (Some(first), Some(last)) = (self.pieces.first(), self.pieces.last()) else {
            return true;
        };
        if last.from != said.from || is_command(said) {
            return false;
        }
        if last.album.is_some() && last.album == said.album {
            return true;
        }
        let apart_max = if is_cut(last) { SPLIT_APART_MS } else { BURST_APART_MS };
        // An answer to something else is about something else.
        let about_the_same = said.reply.is_none() || said.reply == first.reply;
        about_the_same && said.at_ms.saturating_sub(last.at_ms) <= apart_max
    }

    /// When nothing more is waited for.
    fn deadline(&self) -> Instant {
        let timing = &self.face.timing;
        let Some(last) = self.pieces.last() else { return self.last_at };
        if is_cut(last) {
            return self.last_at + timing.split_gap;
        }
        let burst = Duration::from_millis(self.face.settings.current().1.burst_ms);
        let gap = if last.album.is_some() { timing.album_gap.max(burst) } else { burst };
        (self.last_at + gap).min(self.first_at + timing.join_max)
    }

    async fn flush(&mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        if !pieces.is_empty() {
            self.publish(pieces).await;
        }
    }

    /// Makes one message of the pieces and publishes it, unless who said them stops it before.
    async fn publish(&self, mut pieces: Vec<Said>) {
        while !pieces.is_empty() {
            let ids = ids_of(&pieces);
            let mut stopped = self.held.unless_stopped(&ids, || self.group(&ids));
            if stopped.is_empty() {
                let prepared = tokio::select! {
                    it = said::prepare(&self.face, &pieces) => it,
                    () = self.held.stopped(&ids) => None,
                };
                stopped = self.held.release(&ids);
                if stopped.is_empty() {
                    if let Some(prepared) = prepared {
                        said::publish(&self.face, &pieces, prepared).await;
                    }
                    self.end(&ids);
                    self.unlook(&pieces, 1);
                    return;
                }
            }
            let (gone, rest): (Vec<Said>, Vec<Said>) =
                pieces.into_iter().partition(|it| stopped.contains(&it.update));
            self.end(&ids_of(&gone));
            self.unlook(&gone, 0);
            pieces = rest;
        }
    }

    /// These are one message, whatever happens before it is published.
    fn group(&self, ids: &[i64]) {
        if ids.len() > 1
            && let Err(err) = tokio::task::block_in_place(|| self.face.inbox.group(ids))
        {
            tracing::error!("cannot keep that updates {ids:?} belong together: {err}");
        }
    }

    /// Takes the 👀 off all pieces but the first `shown`: how it goes is shown there, and elsewhere they would stay for
    /// ever.
    fn unlook(&self, pieces: &[Said], shown: usize) {
        let looked_at = pieces
            .iter()
            .enumerate()
            .filter(|(at, it)| *at == 0 || it.album.is_none() || it.album != pieces[at - 1].album);
        let others: Vec<(i64, i32)> =
            looked_at.skip(shown).map(|(_, it)| (it.address.chat, it.message)).collect();
        let face = Arc::clone(&self.face);
        tokio::spawn(async move {
            for (chat, message) in others {
                face.react(chat, message, None).await;
            }
        });
    }

    fn end(&self, ids: &[i64]) {
        finish(&self.face, ids);
        self.backlog.fetch_sub(ids.len(), Ordering::Relaxed);
    }
}

fn ids_of(pieces: &[Said]) -> Vec<i64> {
    pieces.iter().map(|it| it.update).collect()
}

/// A client may have cut this, and the rest comes next.
fn is_cut(said: &Said) -> bool {
    said.album.is_none() && text::units(&said.text) >= SPLIT_UNITS_MIN
}

pub(crate) fn is_command(said: &Said) -> bool {
    commands::is_command(&said.text) && said.files.is_empty()
}
