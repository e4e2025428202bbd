//! The people and the weather: what happens in a Telegram that is not the bot's doing.
//!
//! The same orders work as method calls in one process and as JSON, posted to the control port: `{"do":"say",
//! "chat":-1001000000001,"from":101,"text":"hello"}`. Nothing here is part of the Bot API.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::limits::Limits;
use super::world::{BOT, Kind, Msg, Topic, World, now_s};
use super::{Shared, media, transcript};

/// One thing that happens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[expect(
    missing_docs,
    reason = "chat, topic, from and the rest mean what they mean in the Bot API"
)]
pub enum Control {
    /// A person writes. Gives `message_id` and `update_id`.
    Say {
        chat: i64,
        #[serde(default)]
        topic: Option<i64>,
        from: i64,
        text: String,
        #[serde(default)]
        reply_to: Option<i64>,
    },
    /// A person forwards what somebody else said, who does not show their account. Gives `message_id` and `update_id`.
    Forward {
        chat: i64,
        #[serde(default)]
        topic: Option<i64>,
        from: i64,
        /// Who said it.
        by: String,
        text: String,
    },
    /// A person sends a file. Gives `message_id`.
    Send {
        chat: i64,
        #[serde(default)]
        topic: Option<i64>,
        from: i64,
        file: Attachment,
        #[serde(default)]
        caption: String,
    },
    /// A person sends several files at once: as many messages, one album, the caption on the first.
    Album {
        chat: i64,
        #[serde(default)]
        topic: Option<i64>,
        from: i64,
        files: Vec<Attachment>,
        #[serde(default)]
        caption: String,
    },
    /// A person sends one file of an album, so that others can write in between.
    AlbumPart {
        chat: i64,
        #[serde(default)]
        topic: Option<i64>,
        from: i64,
        file: Attachment,
        #[serde(default)]
        caption: String,
        album: String,
    },
    /// A person edits a message.
    Edit {
        chat: i64,
        message: i64,
        text: String,
    },
    /// A person presses a button: the one with this label on this message. Gives the callback's id.
    Press {
        chat: i64,
        message: i64,
        from: i64,
        label: String,
    },
    /// A person creates a topic. Gives its number.
    CreateTopic {
        chat: i64,
        from: i64,
        name: String,
    },
    /// A person renames, closes, reopens or deletes a topic; what stood in it is deleted with it.
    RenameTopic {
        chat: i64,
        topic: i64,
        from: i64,
        name: String,
    },
    CloseTopic {
        chat: i64,
        topic: i64,
        from: i64,
    },
    ReopenTopic {
        chat: i64,
        topic: i64,
        from: i64,
    },
    DeleteTopic {
        chat: i64,
        topic: i64,
    },
    /// A group, a supergroup or another forum comes into being, with the bot in it.
    AddChat {
        chat: i64,
        title: String,
        forum: bool,
        supergroup: bool,
    },
    /// Somebody adds the bot to the chat.
    AddBot {
        chat: i64,
        from: i64,
    },
    /// The bot may or may not manage topics here.
    SetAdmin {
        chat: i64,
        admin: bool,
    },
    /// `BotFather` switches the bot's privacy mode: whether it hears everything in groups.
    SetPrivacy {
        reads_groups: bool,
    },
    /// A group becomes a supergroup under this id, which may be a forum.
    Migrate {
        chat: i64,
        to: i64,
        forum: bool,
    },
    /// Somebody gives a person a name.
    Name {
        user: i64,
        name: String,
    },
    /// A webhook was left behind.
    SetWebhook {
        url: String,
    },
    /// Another program polls with the same token once, which ends the bot's poll.
    OtherPoller {},
    /// An update of any shape arrives; its id is added.
    RawUpdate {
        kind: String,
        body: Value,
    },
    /// Something breaks.
    Break {
        fault: Fault,
    },
    /// Nothing is broken any more.
    Mend {},
    /// The limits change.
    SetLimits {
        limits: Limits,
    },
    /// What the people see. Gives `text`.
    Transcript {
        chat: i64,
    },
    /// What was called how often, what was wrong, how many updates wait.
    Report {},
}

/// A file that a person sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attachment {
    /// `photo`, `document`, `voice`, `audio`, `video` or `animation`.
    pub kind: String,
    /// Its name, for documents.
    #[serde(default)]
    pub name: String,
    /// Its media type, for documents.
    #[serde(default)]
    pub mime: String,
    /// What is in it.
    #[serde(default)]
    pub bytes: Vec<u8>,
    /// The size it claims, when that is more than is in it.
    #[serde(default)]
    pub size: Option<u64>,
}

impl Attachment {
    /// A file with these bytes.
    pub fn new(kind: &str, name: &str, mime: &str, bytes: impl Into<Vec<u8>>) -> Attachment {
        Attachment {
            kind: kind.to_owned(),
            name: name.to_owned(),
            mime: mime.to_owned(),
            bytes: bytes.into(),
            size: None,
        }
    }
}

/// What goes wrong with the next calls of a method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// The method, in any case; any when empty.
    #[serde(default)]
    pub method: String,
    /// Only calls whose text has these words in it.
    #[serde(default)]
    pub about: String,
    /// How many calls are hit.
    pub times: u32,
    /// What happens to them.
    pub what: What,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// 429, and how long to wait.
    TooMany {
        /// `retry_after`.
        seconds: u64,
    },
    /// An error of the given code and description, nothing done.
    Refused {
        /// `error_code`.
        code: u16,
        /// `description`.
        description: String,
    },
    /// A proxy's page with status 502, nothing done.
    BadGateway {},
    /// This text with status 200, nothing done.
    Body {
        /// The text.
        text: String,
    },
    /// It waits, and is done late.
    Slow {
        /// By how much.
        ms: u64,
    },
    /// It is done at once, and only the answer comes late.
    LateAnswer {
        /// By how much.
        ms: u64,
    },
    /// It is done, and the connection breaks before the answer is there.
    LostAnswer {},
    /// The connection breaks before anything is done.
    LostRequest {},
}

impl Fault {
    /// `times` calls of `method` go wrong.
    pub fn new(method: &str, times: u32, what: What) -> Fault {
        Fault { method: method.to_owned(), about: String::new(), times, what }
    }

    /// It hits only calls whose text has these words in it.
    #[must_use]
    pub fn about(mut self, words: &str) -> Fault {
        words.clone_into(&mut self.about);
        self
    }

    /// `times` calls of `method` are answered with 429.
    pub fn too_many(method: &str, times: u32, seconds: u64) -> Fault {
        Fault::new(method, times, What::TooMany { seconds })
    }

    /// `times` calls of `method` are done, but their answers are lost.
    pub fn lost_answer(method: &str, times: u32) -> Fault {
        Fault::new(method, times, What::LostAnswer {})
    }

    /// `times` calls of `method` are answered with an error.
    pub fn refused(method: &str, times: u32, code: u16, description: &str) -> Fault {
        let description = description.to_owned();
        Fault::new(method, times, What::Refused { code, description })
    }
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let app = Router::new().route("/", post(answer)).with_state(shared);
    let _ = axum::serve(listener, app).await;
}

async fn answer(State(shared): State<Arc<Shared>>, body: String) -> (StatusCode, String) {
    let done = serde_json::from_str(&body)
        .map_err(|it| it.to_string())
        .and_then(|control| act(&shared, control));
    match done {
        Ok(value) => (StatusCode::OK, value.to_string()),
        Err(why) => (StatusCode::BAD_REQUEST, json!({"error": why}).to_string()),
    }
}

pub(super) fn act(shared: &Shared, control: Control) -> Result<Value, String> {
    let done = happen(&mut shared.world(), control);
    shared.news.notify_waiters();
    shared.moved.notify_waiters();
    done
}

fn happen(world: &mut World, control: Control) -> Result<Value, String> {
    match control {
        Control::Say { chat, topic, from, text, reply_to } => {
            let mut message = Msg::text(from, topic, &text);
            message.entities = command_entities(&text);
            message.reply_to = reply_to;
            say(world, chat, message)
        }
        Control::Forward { chat, topic, from, by, text } => {
            let mut message = Msg::text(from, topic, &text);
            message.forwarded_from = Some(by);
            say(world, chat, message)
        }
        Control::Send { chat, topic, from, file, caption } => {
            let mut message = Msg::text(from, topic, &caption);
            message.media = Some(describe(world, file)?);
            say(world, chat, message)
        }
        Control::Album { chat, topic, from, files, caption } => {
            let album = format!("album-{}", world.next_message_id(0));
            let mut last = Value::Null;
            for (at, file) in files.into_iter().enumerate() {
                let mut message = Msg::text(from, topic, if at == 0 { &caption } else { "" });
                message.media = Some(describe(world, file)?);
                message.album = Some(album.clone());
                last = say(world, chat, message)?;
            }
            Ok(last)
        }
        Control::AlbumPart { chat, topic, from, file, caption, album } => {
            let mut message = Msg::text(from, topic, &caption);
            message.media = Some(describe(world, file)?);
            message.album = Some(album);
            say(world, chat, message)
        }
        Control::Edit { chat, message, text } => {
            let there = message_mut(world, chat, message)?;
            there.text = text;
            there.edited = Some(now_s());
            let update = world.message_update(chat, message);
            Ok(json!({"update_id": update}))
        }
        Control::Press { chat, message, from, label } => press(world, chat, message, from, &label),
        Control::CreateTopic { chat, from, name } => {
            let topic = create_topic(world, chat, from, &name, 7_322_096)?;
            world.message_update(chat, topic);
            Ok(topic.into())
        }
        Control::RenameTopic { chat, topic, from, name } => {
            topic_mut(world, chat, topic)?.name.clone_from(&name);
            service(world, chat, Some(topic), from, "forum_topic_edited", json!({"name": name}))
        }
        Control::CloseTopic { chat, topic, from } => {
            topic_mut(world, chat, topic)?.closed = true;
            service(world, chat, Some(topic), from, "forum_topic_closed", json!({}))
        }
        Control::ReopenTopic { chat, topic, from } => {
            topic_mut(world, chat, topic)?.closed = false;
            service(world, chat, Some(topic), from, "forum_topic_reopened", json!({}))
        }
        Control::DeleteTopic { chat, topic } => {
            // Nobody is told: a bot learns it from the next error.
            topic_mut(world, chat, topic)?.deleted = true;
            if let Some(there) = world.chats.get_mut(&chat) {
                there.messages.retain(|_, it| it.topic != Some(topic));
            }
            Ok(Value::Null)
        }
        Control::AddChat { chat, title, forum, supergroup } => {
            let kind = if supergroup || forum { Kind::Supergroup } else { Kind::Group };
            world.add_chat(chat, kind, &title, forum);
            Ok(Value::Null)
        }
        Control::AddBot { chat, from } => {
            let there =
                world.chats.get_mut(&chat).ok_or_else(|| format!("there is no chat {chat}"))?;
            there.has_bot = true;
            let body = json!({
                "chat": World::chat_json(there), "from": world.user_json(from), "date": now_s(),
                "old_chat_member": {"user": world.user_json(BOT), "status": "left"},
                "new_chat_member": {"user": world.user_json(BOT), "status": "member"},
            });
            Ok(json!({"update_id": world.push_update("my_chat_member", body)}))
        }
        Control::SetAdmin { chat, admin } => {
            let there =
                world.chats.get_mut(&chat).ok_or_else(|| format!("there is no chat {chat}"))?;
            there.bot_is_admin = admin;
            Ok(Value::Null)
        }
        Control::SetPrivacy { reads_groups } => {
            world.reads_groups = reads_groups;
            Ok(Value::Null)
        }
        Control::Migrate { chat, to, forum } => migrate(world, chat, to, forum),
        Control::Name { user, name } => {
            world.people.insert(user, name);
            Ok(Value::Null)
        }
        Control::SetWebhook { url } => {
            world.webhook = Some(url);
            world.poll += 1;
            Ok(Value::Null)
        }
        Control::OtherPoller {} => {
            world.poll += 1;
            Ok(Value::Null)
        }
        Control::RawUpdate { kind, body } => {
            Ok(json!({"update_id": world.push_update(&kind, body)}))
        }
        Control::Break { fault } => {
            world.faults.push(fault);
            Ok(Value::Null)
        }
        Control::Mend {} => {
            world.faults.clear();
            Ok(Value::Null)
        }
        Control::SetLimits { limits } => {
            world.limits = limits;
            Ok(Value::Null)
        }
        Control::Transcript { chat } => Ok(json!({"text": transcript::of(world, chat)})),
        Control::Report {} => {
            let mut methods = BTreeMap::<&str, usize>::new();
            for call in &world.calls {
                *methods.entry(&call.method).or_default() += 1;
            }
            Ok(
                json!({"calls": methods, "violations": world.violations, "unconfirmed": world.updates.len()}),
            )
        }
    }
}

fn say(world: &mut World, chat: i64, message: Msg) -> Result<Value, String> {
    let there = world.chat_of_person(chat)?;
    if let Some(topic) = message.topic
        && there.topics.get(&topic).is_none_or(|it| it.deleted || it.closed)
    {
        return Err(format!("topic {topic} is not open to people"));
    }
    let id = world.post(chat, message);
    let update = world.message_update(chat, id);
    Ok(json!({"message_id": id, "update_id": update}))
}

fn describe(world: &mut World, file: Attachment) -> Result<(&'static str, Value), String> {
    media::describe(world, &file.kind, &file.name, &file.mime, file.bytes, file.size)
}

/// Clients mark a leading `/command`; bots rely on it.
fn command_entities(text: &str) -> Vec<Value> {
    let word = text.split_whitespace().next().unwrap_or_default();
    if text.starts_with('/') && word.len() > 1 {
        return vec![
            json!({"type": "bot_command", "offset": 0, "length": word.encode_utf16().count()}),
        ];
    }
    Vec::new()
}

fn press(world: &mut World, chat: i64, id: i64, from: i64, label: &str) -> Result<Value, String> {
    let message = message_mut(world, chat, id)?;
    let rows = message.keyboard.as_ref().and_then(|it| it["inline_keyboard"].as_array().cloned());
    let data = rows
        .into_iter()
        .flatten()
        .flat_map(|row| row.as_array().cloned().unwrap_or_default())
        .find(|it| it["text"] == label)
        .and_then(|it| it["callback_data"].as_str().map(str::to_owned))
        .ok_or_else(|| format!("message {id} has no button {label:?}"))?;
    let callback = format!("cb{}", world.next_message_id(0));
    let body = json!({
        "id": callback, "from": world.user_json(from), "chat_instance": chat.to_string(),
        "message": world.message_json(chat, id), "data": data,
    });
    world.callbacks.insert(callback.clone(), None);
    let update = world.push_update("callback_query", body);
    Ok(json!({"id": callback, "update_id": update}))
}

/// A topic and its first message, whose id is the topic's number.
pub(super) fn create_topic(
    world: &mut World,
    chat: i64,
    from: i64,
    name: &str,
    icon_color: i64,
) -> Result<i64, String> {
    if !world.chats.get(&chat).is_some_and(|it| it.is_forum) {
        return Err("the chat is not a forum".to_owned());
    }
    let mut message = Msg::text(from, None, "");
    message.service =
        Some(("forum_topic_created", json!({"name": name, "icon_color": icon_color})));
    let id = world.post(chat, message);
    if let Some(there) = world.chats.get_mut(&chat) {
        if let Some(message) = there.messages.get_mut(&id) {
            message.topic = Some(id);
        }
        let topic = Topic { name: name.to_owned(), closed: false, deleted: false };
        there.topics.insert(id, topic);
    }
    Ok(id)
}

/// A service message, with its update when a person caused it.
pub(super) fn service(
    world: &mut World,
    chat: i64,
    topic: Option<i64>,
    from: i64,
    kind: &'static str,
    value: Value,
) -> Result<Value, String> {
    let mut message = Msg::text(from, topic, "");
    message.service = Some((kind, value));
    let id = world.post(chat, message);
    if from != BOT {
        world.message_update(chat, id);
    }
    Ok(Value::Null)
}

fn migrate(world: &mut World, chat: i64, to: i64, forum: bool) -> Result<Value, String> {
    let old = world.chats.get_mut(&chat).ok_or_else(|| format!("there is no chat {chat}"))?;
    old.migrated_to = Some(to);
    let title = old.title.clone();
    world.add_chat(to, Kind::Supergroup, &title, forum);
    let from = super::ADA;
    service(world, chat, None, from, "migrate_to_chat_id", to.into())?;
    service(world, to, None, from, "migrate_from_chat_id", chat.into())
}

fn message_mut(world: &mut World, chat: i64, id: i64) -> Result<&mut Msg, String> {
    let there = world.chats.get_mut(&chat).ok_or_else(|| format!("there is no chat {chat}"))?;
    there.messages.get_mut(&id).ok_or_else(|| format!("there is no message {id} in chat {chat}"))
}

fn topic_mut(world: &mut World, chat: i64, id: i64) -> Result<&mut Topic, String> {
    let there = world.chats.get_mut(&chat).ok_or_else(|| format!("there is no chat {chat}"))?;
    there.topics.get_mut(&id).ok_or_else(|| format!("there is no topic {id} in chat {chat}"))
}
