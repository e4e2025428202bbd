//! A topic that an answer renames or closes. It is done once the answer is there, and what Telegram refuses of it is logged: the
//! answer says in words what is true.

use teloxide::payloads::{CloseForumTopic, EditForumTopic, EditForumTopicSetters as _};
use teloxide::types::{ChatId, MessageId, ThreadId as TgThread};
use tinyclaw_domain::TopicChange;

use crate::bot::Bot;
use crate::bot::client::Refusal;
use crate::bot::rate_limit::Priority;
use crate::text;

/// The longest name that a topic can have.
const NAME_CHARS_MAX: usize = 128;

/// Does what was said of a topic.
pub(super) async fn change(bot: &Bot, change: &TopicChange) {
    let Some(address) = bot.address_of(&change.thread) else { return };
    let Some(topic) = address.topic else { return };
    let (chat, topic) = (ChatId(address.chat), TgThread(MessageId(topic)));
    let name = text::shortened(&change.name, NAME_CHARS_MAX);
    let permit = bot.limit.permit(address.chat, address.lane(), Priority::Urgent, 1).await;
    let renamed = bot.client.call(&EditForumTopic::new(chat, topic).name(name.clone())).await;
    drop(permit);
    let mut done = vec![renamed];
    if change.close {
        let permit = bot.limit.permit(address.chat, address.lane(), Priority::Urgent, 1).await;
        done.push(bot.client.call(&CloseForumTopic::new(chat, topic)).await);
        drop(permit);
    }
    bot.addresses.set_name(&change.thread, address, &name);
    for err in done.into_iter().filter_map(Result::err) {
        if err.refusal() != Some(Refusal::NotModified) {
            tracing::warn!(thread.id = %change.thread, "the topic of thread {} is not changed: {err}", change.thread);
        }
    }
}
