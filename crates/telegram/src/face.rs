//! What every part of the service shares: the connection, the budget, the queue, the book, and small things said with them.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use teloxide::payloads::{DeleteMessage, SendChatAction, SendMessage, setters::*};
use teloxide::requests::Payload;
use teloxide::types::{
    ChatAction, ChatId, LinkPreviewOptions, MessageId, ParseMode, ThreadId as TgThread,
};
use tinyclaw_domain::{
    Channel, FileRef, Key, Message, Outcome, Progress, Reply, Source, ThreadId, Threads,
};
use tinyclaw_ledger::{Progresses, StateDir, read_threads};
use tinyclaw_queue::{Durability, PublishError, Published, Queue, Side, View};
use tinyclaw_service::settings::{Office, Store, Telegram};
use tinyclaw_service::{Shutdown, Vitals, now_ms};

use crate::bot::addresses::{Address, Book};
use crate::bot::client::{CallError, Client};
use crate::bot::rate_limit::{Budget, Priority};
use crate::bot::reactions::Reactions;
use crate::inbound::access::People;
use crate::inbound::updates::Inbox;
use crate::status::cleanup::Leftovers;
use crate::status::watcher::Board;
use crate::text;

/// How long things take. Tests shorten some of it.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long one poll waits for updates.
    pub poll: Duration,
    /// No completed poll for so long means that something is wrong, whatever it looks like.
    pub stall: Duration,
    /// A turn that takes longer gets a status message.
    pub status_after: Duration,
    /// The same when more than a few topics of its chat are at work.
    pub crowd_status_after: Duration,
    /// An album is complete when nothing came for so long.
    pub album_gap: Duration,
    /// What is sent in one go, an album or not, is complete after this at last.
    pub join_max: Duration,
    /// A client sends the pieces of a long text within this time.
    pub split_gap: Duration,
    /// Telegram shows "typing" for five seconds.
    pub typing: Duration,
    /// An answer that was waited for less than this takes the place of the status; a later one is a new message, which
    /// makes a sound.
    pub edit_max: Duration,
    /// What had no answer is sent again after this, and each further time after longer.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            poll: Duration::from_secs(50),
            stall: Duration::from_secs(120),
            status_after: Duration::from_secs(2),
            crowd_status_after: Duration::from_secs(5),
            album_gap: Duration::from_millis(600),
            join_max: Duration::from_secs(3),
            split_gap: Duration::from_millis(1500),
            typing: Duration::from_secs(4),
            edit_max: Duration::from_secs(10),
            retry: Duration::from_secs(1),
        }
    }
}

/// Which bot we are.
#[derive(Debug, Clone)]
pub(crate) struct Bot {
    pub(crate) id: i64,
    pub(crate) username: String,
}

/// The message in Telegram that a message in the queue came from; travels with it in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Origin {
    pub(crate) chat: i64,
    pub(crate) message_id: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<i32>,
    /// A button below the answer that asks again with this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) again: Option<String>,
}

/// Under this name it stands in the message file.
pub(crate) const ORIGIN: &str = "telegram";

impl Origin {
    pub(crate) fn of(message: &Message) -> Option<Origin> {
        serde_json::from_value(message.extra.get(ORIGIN)?.clone()).ok()
    }

    /// Whether a message that goes to `address` may reply to it: it has to be in the same topic.
    pub(crate) fn is_in(&self, address: Address, book: &Book) -> bool {
        book.present(self.chat) == address.chat && self.topic == address.topic
    }

    pub(crate) fn put(&self, message: &mut Message) {
        if let Ok(value) = serde_json::to_value(self) {
            message.extra.insert(ORIGIN.to_owned(), value);
        }
    }
}

pub(crate) struct Face {
    pub(crate) client: Client,
    pub(crate) budget: Budget,
    pub(crate) queue: Queue,
    pub(crate) view: View,
    pub(crate) state: StateDir,
    pub(crate) book: Book,
    pub(crate) inbox: Inbox,
    pub(crate) settings: Store<(Office, Telegram)>,
    pub(crate) vitals: Vitals,
    pub(crate) shutdown: Shutdown,
    pub(crate) bot: Bot,
    pub(crate) timing: Timing,
    pub(crate) board: Board,
    /// Held by whoever looks for a lost status message.
    pub(crate) searching: tokio::sync::Mutex<()>,
    /// Turns that are over and whose status or reaction is not as it should be.
    pub(crate) leftovers: Leftovers,
    pub(crate) reactions: Reactions,
}

impl Face {
    pub(crate) fn people(&self) -> People {
        let settings = self.settings.current();
        let (office, telegram) = &*settings;
        People::of(office, telegram, |chat| self.book.present(chat))
    }

    pub(crate) fn thread_at(&self, address: Address) -> Option<ThreadId> {
        self.book.thread_at(address, self.people().home)
    }

    pub(crate) fn address_of(&self, thread: &ThreadId) -> Option<Address> {
        self.book.address(thread, self.people().home)
    }

    /// All threads; none while there is no list that can be read.
    pub(crate) fn threads(&self) -> Threads {
        read_threads(&self.state).unwrap_or_else(|err| {
            tracing::warn!("{:#}", anyhow::Error::from(err));
            Threads::new()
        })
    }

    /// What a turn is doing, if it is running.
    pub(crate) fn progress(&self, key: &Key) -> Option<Progress> {
        Progresses::new(&self.state).read(key)
    }

    /// Where a file that is about to be kept for a thread lies, and how a message refers to it.
    pub(crate) fn place_for_file(
        &self,
        thread: &ThreadId,
        name: &str,
    ) -> std::io::Result<(PathBuf, String)> {
        let dir = self.state.files(thread);
        std::fs::create_dir_all(&dir)?;
        Ok((dir.join(name), format!("files/{thread}/{name}")))
    }

    /// Whether nothing that is said may make a sound now.
    pub(crate) fn is_quiet(&self) -> bool {
        let settings = self.settings.current();
        let (office, telegram) = &*settings;
        let now = jiff::Timestamp::now().to_zoned(office.timezone.clone());
        telegram.quiet_hours.is_some_and(|it| it.contains(now.time()))
    }

    /// The message that shows what came from another thread, where it is answered.
    pub(crate) fn arrival(&self, key: &Key) -> Option<i32> {
        let seen = tokio::task::block_in_place(|| self.view.find(&key.arrival())).ok()??;
        let id = seen.message.delivery.first()?.telegram_message_id?;
        i32::try_from(id).ok()
    }

    /// What people call a thread.
    pub(crate) fn name_of(&self, thread: &ThreadId) -> String {
        let listed = self.threads().remove(thread).map(|it| it.name);
        listed.filter(|it| !it.is_empty()).or_else(|| self.book.name(thread)).unwrap_or_else(|| {
            if *thread == ThreadId::master() {
                "General".to_owned()
            } else if thread.as_str().starts_with('u') {
                "Private chat".to_owned()
            } else {
                format!("Thread {thread}")
            }
        })
    }

    /// Shows "typing" for a few seconds.
    pub(crate) async fn type_in(&self, address: Address) {
        let mut payload = SendChatAction::new(ChatId(address.chat), ChatAction::Typing);
        if let Some(topic) = address.topic {
            payload = payload.message_thread_id(TgThread(MessageId(topic)));
        }
        if self.budget.is_hushed(address.chat) {
            return;
        }
        match self.client.call(&payload).await {
            // As light as a reaction: messages go on.
            Err(CallError::Flood { wait, .. }) => {
                self.budget.freeze_reactions(address.chat, wait);
            }
            Err(err) => tracing::debug!("no typing: {err}"),
            Ok(_) => {}
        }
    }

    /// Removes a message of ours, which no limit of messages counts. One that is gone is as good. In a chat that Telegram
    /// wants left alone it is not tried, and what Telegram says to it holds for the chat.
    pub(crate) async fn delete(&self, chat: i64, message: i64) -> Result<(), CallError> {
        if self.budget.is_frozen(chat) {
            let why = "the chat is left alone for a while".to_owned();
            return Err(CallError::Unsent { method: DeleteMessage::NAME, why });
        }
        let id = MessageId(i32::try_from(message).unwrap_or_default());
        let done = self.client.call(&DeleteMessage::new(ChatId(chat), id)).await;
        if let Err(CallError::Flood { wait, .. }) = &done {
            self.budget.freeze(chat, *wait);
            self.vitals.count("floodsTotal", 1);
        }
        match done {
            Err(err) if err.refusal().is_none() => Err(err),
            _ => Ok(()),
        }
    }

    /// What every text of ours is sent with.
    pub(crate) fn new_text(address: Address, html: &str) -> SendMessage {
        let mut payload = SendMessage::new(ChatId(address.chat), html)
            .parse_mode(ParseMode::Html)
            .link_preview_options(no_preview());
        if let Some(topic) = address.topic {
            payload = payload.message_thread_id(TgThread(MessageId(topic)));
        }
        payload
    }

    /// Says something once, without the queue: for when the queue is what fails. It may be lost.
    pub(crate) async fn say_once(&self, address: Address, words: &str) {
        let permit = self.budget.permit(address.chat, address.lane(), Priority::Error, 1).await;
        let payload =
            Face::new_text(address, &text::escape(words)).disable_notification(self.is_quiet());
        let done = self.client.call(&payload).await;
        drop(permit);
        if let Err(err) = done {
            tracing::warn!(chat = address.chat, "cannot tell the chat what is wrong: {err}");
        }
    }

    /// Publishes, and tries again for as long as there is no room. `Err` means that it never will be.
    pub(crate) async fn publish(
        &self,
        side: Side,
        message: Message,
        address: Option<Address>,
    ) -> Result<Published, PublishError> {
        let mut wait = Duration::from_millis(500);
        let mut told = false;
        loop {
            let copy = message.clone();
            let done =
                tokio::task::block_in_place(|| self.queue.publish(side, copy, Durability::Strict));
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
                    self.say_once(address, words).await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.begun() => std::future::pending().await,
            }
            wait = (wait * 2).min(Duration::from_secs(30));
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

pub(crate) fn no_preview() -> LinkPreviewOptions {
    LinkPreviewOptions {
        is_disabled: true,
        url: None,
        prefer_small_media: false,
        prefer_large_media: false,
        show_above_text: false,
    }
}
