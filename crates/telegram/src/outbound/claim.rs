//! Answers are claimed here, and each is delivered by a task of its own. Before the first part is sent the turn's status is
//! retired, so that nothing overwrites an answer.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::Channel;
use tinyclaw_queue::{Lease, Queue, Side, Which};
use tinyclaw_service::Shutdown;
use tokio::sync::Semaphore;

use crate::outbound::deliver::{Deliverer, Delivery, Stop};
use crate::status::recover::Finder;
use crate::status::watcher::Watcher;

/// Answers in hand at once, in as many topics. Most of them wait for their chat's rate limit.
const AT_ONCE: usize = 64;

/// Who claims answers. It has no lock: the queue's lease says whose an answer is.
pub(crate) struct Outbox {
    pub(crate) queue: Queue,
    pub(crate) deliverer: Deliverer,
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) finder: Arc<Finder>,
    pub(crate) shutdown: Shutdown,
}

impl Outbox {
    /// Delivers answers until the shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let lease = tokio::select! {
                lease = self.queue.claim(Side::Send, &Which::Channel(Channel::Telegram)) => lease,
                () = self.shutdown.begun() => return,
            };
            match lease {
                Ok(lease) => {
                    let outbox = Arc::clone(&self);
                    tokio::spawn(async move {
                        outbox.deliver(lease).await;
                        drop(slot);
                    });
                }
                Err(err) => {
                    tracing::error!("no answer could be claimed: {:#}", anyhow::Error::from(err));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn deliver(&self, lease: Lease) {
        let message = lease.message().clone();
        let key = message.key.clone();
        tokio::select! {
            () = self.deliverer.connection_is_up() => {}
            () = self.shutdown.begun() => {
                if let Err(err) = tokio::task::block_in_place(|| lease.put_back()) {
                    tracing::error!(%key, "{:#}", anyhow::Error::from(err));
                }
                return;
            }
        }
        let status = self.watcher.retire(&key).await;
        // What cannot be found now is looked for again when the answer is there.
        let (status, is_lost) = match self.finder.located(&key, status, Some(&message)).await {
            Ok(it) => (it, false),
            Err(_) => (None, true),
        };
        let mut delivery = Delivery { deliverer: &self.deliverer, lease, message, status, is_lost };
        let ended = match delivery.lease.is_exhausted() {
            // Whoever sends it dies of it: it must not keep everything else from being sent.
            Some(why) => Err(Stop::never(why)),
            None => tokio::select! {
                ended = delivery.run() => ended,
                // A call that is under way is cut off; whether it arrived is what the mark is for.
                () = self.shutdown.begun() => Err(Stop::Later(Duration::ZERO)),
            },
        };
        let done = match ended {
            Ok(()) => delivery.end().await,
            Err(Stop::Later(wait)) => {
                tokio::task::block_in_place(|| delivery.lease.put_back_for(wait))
            }
            Err(Stop::Lost) => {
                self.deliverer.vitals.count("takenOverTotal", 1);
                tracing::warn!(%key, "the answer to {key} was taken over; it is sent from there");
                Ok(())
            }
            Err(Stop::Never { why, told }) => delivery.bury(&why, told).await,
        };
        if let Err(err) = done {
            tracing::error!(%key, "{:#}", anyhow::Error::from(err));
        }
        self.watcher.release(&key);
    }
}
