//! Which message in Telegram a message in the queue came from, so that its answer is a reply to it.

use serde::{Deserialize, Serialize};
use tinyclaw_domain::{Key, Message};
use tinyclaw_queue::View;

use crate::bot::addresses::{Address, AddressBook};

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
const FIELD: &str = "telegram";

impl Origin {
    pub(crate) fn of(message: &Message) -> Option<Origin> {
        serde_json::from_value(message.extra.get(FIELD)?.clone()).ok()
    }

    /// Whether a message that goes to `address` may reply to it: it has to be in the same topic.
    pub(crate) fn is_in(&self, address: Address, addresses: &AddressBook) -> bool {
        addresses.present(self.chat) == address.chat && self.topic == address.topic
    }

    pub(crate) fn put(&self, message: &mut Message) {
        if let Ok(value) = serde_json::to_value(self) {
            message.extra.insert(FIELD.to_owned(), value);
        }
    }
}

/// The message that shows what came from another thread, where it is answered.
pub(crate) fn arrival(view: &View, key: &Key) -> Option<i32> {
    let seen = tokio::task::block_in_place(|| view.find(&key.arrival())).ok()??;
    let id = seen.message.delivery.first()?.telegram_message_id?;
    i32::try_from(id).ok()
}
