//! A subscriber: a place in the sequence, and what comes after it. Nothing is queued for anybody.
//!
//! It looks at the head first and reads up to there, so that past and live are one sequence without a seam. A subscriber
//! that does not read costs its socket; what passed it by is read from the database when it goes on. Where events are
//! no longer kept, it is told a gap before the next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::event::Cursor;
use crate::filter::Filter;
use crate::store::{Frame, Head, PAGE_ROWS, Store};

/// So long is waited after the database could not be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Events that cannot be told any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The first place that is missing.
    pub from: String,
    /// The last one.
    pub to: String,
    /// How many events that is; `null` when nobody can know.
    pub count: Option<u64>,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// The gap as a frame of a WebSocket, and as a line.
    pub fn frame(&self) -> String {
        // It has no map, and so cannot fail.
        let gap = serde_json::to_string(self).unwrap_or_default();
        format!(r#"{{"type":"gap","data":{gap}}}"#)
    }
}

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// They were removed by age, number or weight.
    Retention,
    /// The place is of another database.
    Epoch,
    /// The place is beyond the last event: a copy from before was put back.
    Future,
}

/// What a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// An event.
    Event(Arc<Frame>),
    /// Events that are missing.
    Gap(Gap),
}

/// A subscriber.
#[derive(Debug)]
pub struct Feed {
    store: Store,
    filter: Filter,
    heads: watch::Receiver<Head>,
    place: Cursor,
    /// What was read and not yet told: empty between two calls.
    ready: VecDeque<Told>,
}

impl Feed {
    /// What passes the filter after a place.
    pub fn after(store: &Store, filter: Filter, place: Cursor) -> Feed {
        let heads = store.watch();
        Feed { store: store.clone(), filter, heads, place, ready: VecDeque::new() }
    }

    /// Up to here everything was told.
    pub fn place(&self) -> Cursor {
        self.place
    }

    /// Goes on with another filter, from another place if one is named.
    pub fn change(&mut self, filter: Filter, place: Option<Cursor>) {
        self.place = place.unwrap_or(self.place);
        self.filter = filter;
    }

    /// The next ones, at least one, as soon as there are any: at most a page of them. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Vec<Told> {
        loop {
            if !self.ready.is_empty() {
                return self.ready.drain(..).collect();
            }
            // The head first: what comes after it changes it again.
            let head = *self.heads.borrow_and_update();
            if self.place == head {
                if self.heads.changed().await.is_err() {
                    // The store is gone, and so is the server.
                    std::future::pending::<()>().await;
                }
                continue;
            }
            self.read_on(head).await;
        }
    }

    /// What there is by now, without waiting for more.
    pub async fn poll(&mut self) -> Vec<Told> {
        while self.ready.is_empty() {
            let head = *self.heads.borrow_and_update();
            if self.place == head {
                break;
            }
            self.read_on(head).await;
        }
        self.ready.drain(..).collect()
    }

    async fn read_on(&mut self, head: Head) {
        if self.place.epoch != head.epoch {
            let gap = Gap {
                from: self.place.to_string(),
                to: Cursor { seq: 0, ..head }.to_string(),
                count: None,
                reason: GapReason::Epoch,
            };
            self.place = Cursor { seq: 0, ..head };
            // The new database may have lost its beginning, too: that is one gap, and what follows says no other.
            if let Ok(page) = self.store.page(&Filter::default(), 0, 1).await
                && page.head.epoch == head.epoch
            {
                self.place.seq = page.first - 1;
            }
            self.ready.push_back(Told::Gap(Gap { to: self.place.to_string(), ..gap }));
            return;
        }
        if self.place.seq > head.seq {
            self.ready.push_back(Told::Gap(Gap {
                from: Cursor { seq: head.seq + 1, ..head }.to_string(),
                to: self.place.to_string(),
                count: Some(self.place.seq - head.seq),
                reason: GapReason::Future,
            }));
            self.place = head;
            return;
        }
        // What is committed beyond the head that was seen comes with the next one.
        let wanted = usize::try_from(head.seq - self.place.seq).unwrap_or(usize::MAX);
        if let Some(frames) = self.store.recent(self.place, wanted.min(PAGE_ROWS))
            && let Some(last) = frames.last()
        {
            self.place = last.cursor;
            let wanted = frames.into_iter().filter(|it| self.filter.admits(it));
            self.ready.extend(wanted.map(Told::Event));
            return;
        }
        match self.store.page_of_feed(&self.filter, self.place.seq).await {
            Ok(page) if page.head.epoch == self.place.epoch => {
                let missing = page.first.saturating_sub(self.place.seq + 1);
                if missing > 0 {
                    self.ready.push_back(Told::Gap(Gap {
                        from: Cursor { seq: self.place.seq + 1, ..head }.to_string(),
                        to: Cursor { seq: page.first - 1, ..head }.to_string(),
                        count: Some(missing),
                        reason: GapReason::Retention,
                    }));
                }
                self.place.seq = page.next.min(head.seq);
                let frames = page.frames.into_iter().filter(|it| it.cursor.seq <= head.seq);
                self.ready.extend(frames.map(Told::Event));
            }
            // Set aside just now: the next head says so.
            Ok(_) => sleep(Duration::from_millis(1)).await,
            Err(err) => {
                tracing::warn!("cannot read on for a subscriber: {err}");
                sleep(PAUSE).await;
            }
        }
    }
}
