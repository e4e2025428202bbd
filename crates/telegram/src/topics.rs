//! Making a topic in Telegram. Which thread lives in it is the book's business, not ours.

use serde_json::Value;
use teloxide::payloads::{CreateForumTopic, setters::*};
use teloxide::types::{ChatId, Rgb};

use crate::book::Address;
use crate::budget::Priority;
use crate::client::CallError;
use crate::face::Face;

/// The colours that Telegram has for topics without an icon of their own.
const COLORS: [u32; 6] = [0x6F_B9F0, 0xFF_D67E, 0xCB_86DB, 0x8E_EE98, 0xFF_93B2, 0xFB_6F5F];

/// A topic's colour comes from its name: topics can be told apart, and one that is made anew looks as before. It cannot
/// follow the state of a thread, since Telegram lets nobody change it.
fn color_of(name: &str) -> u32 {
    let sum = name.bytes().fold(0_usize, |sum, it| sum.wrapping_mul(31).wrapping_add(it.into()));
    COLORS[sum % COLORS.len()]
}

/// Makes a topic.
pub(crate) async fn create_topic(face: &Face, chat: i64, name: &str) -> Result<Address, CallError> {
    let permit = face.budget.permit(chat, 1, Priority::Urgent, 1).await;
    let payload =
        CreateForumTopic::new(ChatId(chat), name).icon_color(Rgb::from_u32(color_of(name)));
    let made = face.client.call(&payload).await;
    if let Err(CallError::Flood { wait, .. }) = &made {
        face.budget.freeze(chat, *wait);
    }
    drop(permit);
    let topic = made?.get("message_thread_id").and_then(Value::as_i64);
    let topic = topic.and_then(|it| i32::try_from(it).ok());
    let method = "createForumTopic";
    let topic =
        topic.ok_or_else(|| CallError::Ambiguous { method, why: "no number".to_owned() })?;
    Ok(Address { chat, topic: Some(topic) })
}
