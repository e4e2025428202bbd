//! What moves, for whoever waits: a ticket for the next change, or every move by its key. A hint; what it misses, a look
//! finds, and it says when to look.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Key, Lane};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};

use crate::{Entry, Place};

/// A message that came, went on, went back or was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Which message.
    pub key: Key,
    /// Its lane.
    pub lane: Lane,
    /// Where it was; `None` when it is new, or nobody saw it leave.
    pub from: Option<Place>,
    /// Where it is; `None` when it was removed.
    pub to: Option<Place>,
    /// To read it with [`View::read`](crate::View::read), which lists nothing.
    pub entry: Option<Entry>,
}

/// What [`Moves`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A message moved.
    Moved(Arc<Moved>),
    /// Moves may have been missed, or there was no news for two seconds: some mounts tell nothing. Whoever waits for keys
    /// asks [`View::knows`](crate::View::knows) once for all of them.
    LookAgain,
}

/// Tells a reader that something moved in the queue. Takes no lock and writes nothing.
pub struct Watch {
    changed: Arc<Notify>,
    news: Sender<News>,
    /// What feeds the two. Ends when dropped.
    source: Arc<dyn Any + Send + Sync>,
}

/// A reader looks again after this time, whatever the kernel says: some mounts say nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So many moves may wait for a slow reader; then it is told to look.
pub(crate) const NEWS_MAX: usize = 1_024;

impl Watch {
    pub(crate) fn new(
        changed: Arc<Notify>,
        news: Sender<News>,
        source: Arc<dyn Any + Send + Sync>,
    ) -> Watch {
        Watch { changed, news, source }
    }

    /// A ticket for the next change. Take it before looking, wait on it after: nothing between is missed.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut notified = Box::pin(self.changed.clone().notified_owned());
        notified.as_mut().enable();
        async move {
            let _ = tokio::time::timeout(LOOK_AGAIN, notified).await;
        }
    }

    /// Every move from now on. Take it before looking, ask it after: nothing between is missed.
    ///
    /// One of these and a map of keys serves any number of waiting callers, without listing the queue for each of them.
    pub fn moves(&self) -> Moves {
        Moves { news: self.news.subscribe(), _source: self.source.clone() }
    }
}

/// The moves of a queue, in the order in which they were heard of.
pub struct Moves {
    news: Receiver<News>,
    _source: Arc<dyn Any + Send + Sync>,
}

impl Moves {
    /// The next news. Dropping the future loses none.
    pub async fn next(&mut self) -> News {
        let news = async {
            match self.news.recv().await {
                Ok(news) => news,
                Err(RecvError::Lagged(_)) => News::LookAgain,
                // Nobody ever tells: there is no queue yet, or the system has no more watches to give. Whoever asks at once
                // again must not turn in a circle.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        };
        tokio::time::timeout(LOOK_AGAIN, news).await.unwrap_or(News::LookAgain)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::View;

    #[tokio::test(start_paused = true)]
    async fn who_watches_a_queue_that_is_not_there_is_not_told_at_once_to_look_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut moves = View::new(dir.path()).watch().moves();
        let began = Instant::now();
        for _ in 0..3 {
            assert!(matches!(moves.next().await, News::LookAgain));
        }
        assert_eq!(began.elapsed().as_secs(), 3 * LOOK_AGAIN.as_secs());
    }
}
