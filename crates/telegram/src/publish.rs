//! Into the queue: what people said, what they order, and what the office itself says. A full disk is waited out, and the
//! person is told.
//!
//! Nothing here locks; the queue does.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_client::Client;
use tinyclaw_domain::{Channel, FileRef, Key, Message, Outcome, Reply, Source, ThreadId};
use tinyclaw_queue::{PublishError, Published, Side};
use tinyclaw_service::{Shutdown, Vitals, now_ms};

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::origin::Origin;

/// What has no room in the queue is tried again after this,
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// each further time after twice as long, and at least this often.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);

/// The way into the queue.
pub(crate) struct Publisher {
    pub(crate) client: Client,
    pub(crate) bot: Arc<Bot>,
    pub(crate) vitals: Vitals,
    pub(crate) shutdown: Shutdown,
}

/// Something TinyClaw itself says.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) about: Key,
    pub(crate) kind: &'static str,
    pub(crate) thread: ThreadId,
    pub(crate) text: String,
    pub(crate) origin: Option<Origin>,
    pub(crate) files: Vec<FileRef>,
}

impl Publisher {
    /// Publishes, and tries again for as long as there is no room. `Err` means that it never will be.
    pub(crate) async fn publish(
        &self,
        side: Side,
        message: Message,
        address: Option<Address>,
    ) -> Result<Published, PublishError> {
        let mut wait = AGAIN_AFTER;
        let mut told = false;
        loop {
            let copy = message.clone();
            let done = tokio::task::block_in_place(|| self.client.publish(side, copy));
            let err = match done {
                Ok(published) => {
                    self.vitals.unblock("queue");
                    return Ok(published);
                }
                Err(err @ (PublishError::TooLarge { .. } | PublishError::Json { .. })) => {
                    return Err(err);
                }
                Err(err) => err,
            };
            let chain = format!("{:#}", anyhow::Error::from(err));
            self.vitals.block("queue", format!("messages cannot be accepted: {chain}"));
            if !told {
                told = true;
                tracing::error!(key = %message.key, "message {} has to wait: {chain}", message.key);
                if let Some(address) = address {
                    let words = "The disk is full: this message is kept, and is asked as soon as there is room.";
                    self.bot.say_once(address, words).await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.begun() => std::future::pending().await,
            }
            wait = (wait * 2).min(AGAIN_AFTER_MAX);
        }
    }

    /// Says something to a thread through the queue: it arrives, and once. The same `kind` about the same key is said
    /// once.
    pub(crate) async fn notify(&self, notice: Notice) {
        let key = notice.about.notice(0, notice.kind);
        let mut message =
            Message::new(key.clone(), Channel::Telegram, notice.thread.clone(), "", now_ms());
        message.source = Source::System;
        message.sender = "TinyClaw".to_owned();
        if let Some(origin) = &notice.origin {
            origin.put(&mut message);
        }
        message.reply = Some(Reply {
            text: notice.text,
            files: notice.files,
            outcome: Outcome::Notice,
            ..Reply::default()
        });
        if let Err(err) = self.publish(Side::Send, message, None).await {
            tracing::error!(%key, "a notice cannot be published: {err}");
        }
    }
}
