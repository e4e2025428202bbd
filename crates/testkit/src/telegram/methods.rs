//! What each method of the Bot API does to the world, and what it refuses in which words.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::control::{create_topic, service};
use super::markup::{self, Parsed};
use super::media;
use super::wire::{Request, Upload};
use super::world::{BOT, Chat, Msg, World, now_s};

/// Emoji that a bot may react with.
const REACTIONS: &str = "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡";

/// Colours that a topic may have.
const COLORS: [i64; 6] = [7_322_096, 16_766_590, 13_338_331, 9_367_192, 16_749_490, 16_478_047];

/// How a method refuses.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) description: String,
    pub(crate) parameters: Option<Value>,
}

impl ApiError {
    pub(crate) fn new(code: u16, description: &str) -> ApiError {
        ApiError { code, description: description.to_owned(), parameters: None }
    }

    pub(crate) fn bad(why: &str) -> ApiError {
        ApiError::new(400, &format!("Bad Request: {why}"))
    }

    pub(crate) fn flood(seconds: u64) -> ApiError {
        ApiError {
            code: 429,
            description: format!("Too Many Requests: retry after {seconds}"),
            parameters: Some(json!({"retry_after": seconds})),
        }
    }

    pub(crate) fn webhook() -> ApiError {
        ApiError::new(
            409,
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
        )
    }

    fn migrated(to: i64) -> ApiError {
        ApiError {
            code: 400,
            description: "Bad Request: group chat was upgraded to a supergroup chat".to_owned(),
            parameters: Some(json!({"migrate_to_chat_id": to})),
        }
    }
}

type Done = Result<Value, ApiError>;
type Doing = fn(&mut World, &Request) -> Done;

const METHODS: &[(&str, Doing)] = &[
    ("answerCallbackQuery", answer_callback),
    ("close", |_, _| Ok(true.into())),
    ("closeForumTopic", |world, request| set_closed(world, request, true)),
    ("createForumTopic", create_forum_topic),
    ("deleteForumTopic", delete_forum_topic),
    ("deleteMessage", delete_message),
    ("deleteMyCommands", |world, _| {
        world.commands = json!([]);
        Ok(true.into())
    }),
    ("deleteWebhook", delete_webhook),
    ("editForumTopic", edit_forum_topic),
    ("editMessageReplyMarkup", edit_keyboard),
    ("editMessageText", edit_text),
    ("getChat", |world, request| chat_of(world, request).map(|it| World::chat_json(it))),
    ("getChatMember", get_chat_member),
    ("getFile", get_file),
    ("getMe", get_me),
    ("getMyCommands", |world, _| Ok(world.commands.clone())),
    ("getUpdates", |_, _| Ok(json!([]))),
    ("getWebhookInfo", |world, _| {
        let (url, waiting) = (world.webhook.clone().unwrap_or_default(), world.updates.len());
        Ok(json!({"url": url, "has_custom_certificate": false, "pending_update_count": waiting}))
    }),
    ("leaveChat", |world, request| {
        chat_of(world, request)?.has_bot = false;
        Ok(true.into())
    }),
    ("logOut", |_, _| Ok(true.into())),
    ("reopenForumTopic", |world, request| set_closed(world, request, false)),
    ("sendChatAction", |world, request| {
        // True even for a topic that is gone.
        chat_of(world, request)?;
        Ok(true.into())
    }),
    ("sendDocument", |world, request| send_media(world, request, "document")),
    ("sendMediaGroup", send_album),
    ("sendMessage", send_message),
    ("sendPhoto", |world, request| send_media(world, request, "photo")),
    ("setMessageReaction", set_reaction),
    ("setMyCommands", |world, request| {
        world.commands = request.params.get("commands").cloned().unwrap_or(json!([]));
        Ok(true.into())
    }),
    ("setWebhook", |world, request| {
        world.webhook = request.text("url").filter(|it| !it.is_empty()).map(str::to_owned);
        Ok(true.into())
    }),
];

/// The method's name as the schema spells it, or as it came.
pub(crate) fn spelled(method: &str) -> &str {
    METHODS.iter().find(|(name, _)| name.eq_ignore_ascii_case(method)).map_or(method, |it| it.0)
}

/// How much a call counts against a chat's limit.
pub(crate) fn cost(method: &str, params: &Map<String, Value>) -> usize {
    match method {
        "sendMediaGroup" => params.get("media").and_then(Value::as_array).map_or(1, Vec::len),
        "sendChatAction" => 0,
        "createForumTopic" | "editMessageText" | "editMessageReplyMarkup" => 1,
        other => usize::from(other.starts_with("send")),
    }
}

/// Does what a request asks for.
pub(crate) fn call(world: &mut World, method: &str, request: &Request) -> Done {
    let found = METHODS.iter().find(|(name, _)| name.eq_ignore_ascii_case(method));
    let Some((name, doing)) = found else {
        return Err(ApiError::new(404, "Not Found: method not found"));
    };
    let cost = cost(name, &request.params);
    if cost > 0 {
        let (chat, limits) = (request.int("chat_id").unwrap_or_default(), world.limits);
        world.meter.count(&limits, chat, cost, Instant::now()).map_err(ApiError::flood)?;
    }
    doing(world, request)
}

fn get_me(world: &mut World, _: &Request) -> Done {
    let reads_groups = world.reads_groups;
    let mut me = world.user_json(BOT);
    if let Some(fields) = me.as_object_mut() {
        for (name, value) in [
            ("can_join_groups", true),
            ("can_read_all_group_messages", reads_groups),
            ("supports_inline_queries", false),
            ("can_connect_to_business", false),
            ("has_main_web_app", false),
        ] {
            fields.insert(name.to_owned(), value.into());
        }
    }
    Ok(me)
}

fn chat_of<'a>(world: &'a mut World, request: &Request) -> Result<&'a mut Chat, ApiError> {
    let id = request.int("chat_id").ok_or_else(|| ApiError::bad("chat_id is empty"))?;
    let chat = world.chats.get_mut(&id).ok_or_else(|| ApiError::bad("chat not found"))?;
    if let Some(to) = chat.migrated_to {
        return Err(ApiError::migrated(to));
    }
    if !chat.has_bot {
        return Err(ApiError::new(403, "Forbidden: bot is not a member of the supergroup chat"));
    }
    Ok(chat)
}

/// The topic a request goes to, which must be there and open to the bot.
fn topic_of(chat: &Chat, request: &Request) -> Result<Option<i64>, ApiError> {
    let Some(id) = request.int("message_thread_id") else { return Ok(None) };
    let topic = chat.topics.get(&id).filter(|it| !it.deleted);
    let topic = topic.ok_or_else(|| ApiError::bad("message thread not found"))?;
    if topic.closed && !chat.bot_is_admin {
        return Err(ApiError::bad("TOPIC_CLOSED"));
    }
    Ok(Some(id))
}

fn formatted(request: &Request, field: &str, units_max: usize) -> Result<Parsed, ApiError> {
    let source = request.text(field).unwrap_or_default();
    if source.len() > markup::SOURCE_BYTES_MAX {
        return Err(ApiError::bad("message is too long"));
    }
    let mut parsed = match request.text("parse_mode") {
        Some(mode) if mode.eq_ignore_ascii_case("html") => {
            markup::parse_html(source).map_err(|it| ApiError::bad(&it))?
        }
        Some(mode) if !mode.is_empty() => {
            return Err(ApiError::bad(&format!("the fake knows no parse_mode {mode:?}")));
        }
        _ => Parsed {
            text: source.to_owned(),
            entities: request
                .params
                .get("entities")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            oddities: Vec::new(),
        },
    };
    let trimmed = parsed.text.trim();
    if trimmed.len() != parsed.text.len() {
        parsed.text = trimmed.to_owned();
    }
    if parsed.units() > units_max {
        let what =
            if field == "text" { "message is too long" } else { "message caption is too long" };
        return Err(ApiError::bad(what));
    }
    Ok(parsed)
}

fn keyboard(request: &Request) -> Result<Option<Value>, ApiError> {
    let Some(markup) = request.params.get("reply_markup") else { return Ok(None) };
    let rows = markup["inline_keyboard"].as_array();
    for button in rows.into_iter().flatten().flat_map(|it| it.as_array().into_iter().flatten()) {
        let data = button["callback_data"].as_str();
        if data.is_some_and(|it| it.is_empty() || it.len() > 64) {
            return Err(ApiError::bad("BUTTON_DATA_INVALID"));
        }
        if data.is_none() && button["url"].is_null() {
            return Err(ApiError::bad(
                "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
            ));
        }
    }
    // An empty keyboard is none.
    Ok(rows.filter(|it| !it.is_empty()).map(|_| markup.clone()))
}

/// The message a new one answers; one that is gone, or in another topic, is an error unless the request says otherwise.
fn reply_of(chat: &Chat, topic: Option<i64>, request: &Request) -> Result<Option<i64>, ApiError> {
    let parameters = request.params.get("reply_parameters");
    let id = parameters.and_then(|it| it["message_id"].as_i64());
    match id {
        Some(id) if chat.messages.get(&id).is_some_and(|it| it.topic == topic) => Ok(Some(id)),
        Some(_) if parameters.is_some_and(|it| it["allow_sending_without_reply"] == true) => {
            Ok(None)
        }
        Some(_) => Err(ApiError::bad("message to be replied not found")),
        None => Ok(None),
    }
}

fn new_message(world: &mut World, request: &Request) -> Result<(i64, Msg), ApiError> {
    let keyboard = keyboard(request)?;
    let chat = chat_of(world, request)?;
    let topic = topic_of(chat, request)?;
    let mut message = Msg::text(BOT, topic, "");
    message.reply_to = reply_of(chat, topic, request)?;
    message.keyboard = keyboard;
    message.silent = request.flag("disable_notification");
    Ok((chat.id, message))
}

fn posted(world: &mut World, chat: i64, message: Msg) -> Value {
    let id = world.post(chat, message);
    world.message_json(chat, id).unwrap_or_default()
}

fn send_message(world: &mut World, request: &Request) -> Done {
    let (chat, mut message) = new_message(world, request)?;
    let parsed = formatted(request, "text", markup::TEXT_UNITS_MAX)?;
    if parsed.text.is_empty() {
        return Err(ApiError::bad("message text is empty"));
    }
    note_oddities(world, &parsed);
    (message.text, message.entities) = (parsed.text, parsed.entities);
    Ok(posted(world, chat, message))
}

fn note_oddities(world: &mut World, parsed: &Parsed) {
    world.violations.extend(parsed.oddities.iter().map(|it| format!("markup: {it}")));
}

fn edit_text(world: &mut World, request: &Request) -> Done {
    let keyboard = keyboard(request)?;
    let parsed = formatted(request, "text", markup::TEXT_UNITS_MAX)?;
    if parsed.text.is_empty() {
        return Err(ApiError::bad("message text is empty"));
    }
    note_oddities(world, &parsed);
    edit(world, request, |it| {
        let same =
            it.text == parsed.text && it.entities == parsed.entities && it.keyboard == keyboard;
        (it.text, it.entities) = (parsed.text.clone(), parsed.entities.clone());
        // An edit that says nothing of the keyboard takes it away.
        it.keyboard.clone_from(&keyboard);
        same
    })
}

fn edit_keyboard(world: &mut World, request: &Request) -> Done {
    let keyboard = keyboard(request)?;
    edit(world, request, |it| {
        let same = it.keyboard == keyboard;
        it.keyboard.clone_from(&keyboard);
        same
    })
}

/// Changes a message of the bot; `change` says whether it was a change at all.
fn edit(world: &mut World, request: &Request, change: impl FnOnce(&mut Msg) -> bool) -> Done {
    let chat = chat_of(world, request)?;
    let chat_id = chat.id;
    let id = request.int("message_id").unwrap_or_default();
    let message =
        chat.messages.get_mut(&id).ok_or_else(|| ApiError::bad("message to edit not found"))?;
    if message.from != BOT || message.service.is_some() {
        return Err(ApiError::bad("message can't be edited"));
    }
    if message.media.is_some() {
        return Err(ApiError::bad("there is no text in the message to edit"));
    }
    if change(message) {
        return Err(ApiError::bad(
            "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
        ));
    }
    message.edited = Some(now_s());
    Ok(world.message_json(chat_id, id).unwrap_or_default())
}

fn delete_message(world: &mut World, request: &Request) -> Done {
    let chat = chat_of(world, request)?;
    let id = request.int("message_id").unwrap_or_default();
    match chat.messages.remove(&id) {
        Some(_) => Ok(true.into()),
        None => Err(ApiError::bad("message to delete not found")),
    }
}

fn uploaded<'a>(request: &'a Request, value: Option<&Value>) -> Result<&'a Upload, ApiError> {
    let file = value.and_then(|it| request.file(it));
    let file = file.ok_or_else(|| ApiError::bad("there is no file in the request"))?;
    if file.bytes.is_empty() {
        return Err(ApiError::bad("file must be non-empty"));
    }
    if file.bytes.len() > media::UPLOAD_BYTES_MAX {
        return Err(ApiError::new(413, "Request Entity Too Large"));
    }
    Ok(file)
}

fn attached(
    world: &mut World,
    kind: &str,
    file: &Upload,
) -> Result<(&'static str, Value), ApiError> {
    if kind == "photo" && file.bytes.len() > media::PHOTO_BYTES_MAX {
        return Err(ApiError::bad("PHOTO_SAVE_FILE_INVALID"));
    }
    media::describe(world, kind, &file.name, &file.mime, file.bytes.clone(), None)
        .map_err(|it| ApiError::bad(&it))
}

fn send_media(world: &mut World, request: &Request, kind: &str) -> Done {
    let (chat, mut message) = new_message(world, request)?;
    let parsed = formatted(request, "caption", 1024)?;
    let file = uploaded(request, request.params.get(kind))?;
    message.media = Some(attached(world, kind, file)?);
    (message.text, message.entities) = (parsed.text, parsed.entities);
    Ok(posted(world, chat, message))
}

fn send_album(world: &mut World, request: &Request) -> Done {
    let items = request.params.get("media").and_then(Value::as_array).cloned().unwrap_or_default();
    if !(2..=10).contains(&items.len()) {
        return Err(ApiError::bad("Wrong number of items in the album"));
    }
    let (chat, template) = new_message(world, request)?;
    let album = format!("album-{}", world.next_message_id(0));
    let mut sent = Vec::new();
    for item in &items {
        let kind = item["type"].as_str().unwrap_or_default();
        let file = uploaded(request, item.get("media"))?;
        let mut message = template.clone();
        message.media = Some(attached(world, kind, file)?);
        message.text = item["caption"].as_str().unwrap_or_default().to_owned();
        message.album = Some(album.clone());
        sent.push(posted(world, chat, message));
    }
    Ok(sent.into())
}

fn set_reaction(world: &mut World, request: &Request) -> Done {
    let chat = chat_of(world, request)?;
    let id = request.int("message_id").unwrap_or_default();
    let message =
        chat.messages.get_mut(&id).ok_or_else(|| ApiError::bad("message to react not found"))?;
    let wanted = request.params.get("reaction").and_then(Value::as_array);
    let mut emoji = Vec::new();
    for reaction in wanted.into_iter().flatten() {
        let it = reaction["emoji"].as_str().unwrap_or_default();
        if !REACTIONS.split(' ').any(|legal| legal == it) {
            return Err(ApiError::bad("REACTION_INVALID"));
        }
        emoji.push(it.to_owned());
    }
    if emoji.len() > 1 {
        return Err(ApiError::bad("REACTIONS_TOO_MANY"));
    }
    message.reactions.insert(BOT, emoji);
    Ok(true.into())
}

fn answer_callback(world: &mut World, request: &Request) -> Done {
    let id = request.text("callback_query_id").unwrap_or_default();
    match world.callbacks.get_mut(id) {
        Some(answer @ None) => {
            *answer = Some(request.text("text").unwrap_or_default().to_owned());
            Ok(true.into())
        }
        _ => Err(ApiError::bad(
            "query is too old and response timeout expired or query ID is invalid",
        )),
    }
}

fn get_file(world: &mut World, request: &Request) -> Done {
    let id = request.text("file_id").unwrap_or_default();
    let file = world
        .files
        .get(id)
        .ok_or_else(|| ApiError::bad("wrong file_id or the file is temporarily unavailable"))?;
    if file.size > media::DOWNLOAD_BYTES_MAX {
        return Err(ApiError::bad("file is too big"));
    }
    Ok(json!({"file_id": id, "file_unique_id": format!("{id}U"), "file_size": file.size,
        "file_path": file.path}))
}

fn get_chat_member(world: &mut World, request: &Request) -> Done {
    let user = request.int("user_id").unwrap_or_default();
    let chat = chat_of(world, request)?;
    let is_admin = user == BOT && chat.bot_is_admin;
    let mut member = json!({"user": world.user_json(user), "status": "member"});
    if is_admin {
        member["status"] = "administrator".into();
        for right in ["can_manage_topics", "can_delete_messages", "can_pin_messages"] {
            member[right] = true.into();
        }
    }
    Ok(member)
}

fn managed<'a>(world: &'a mut World, request: &Request) -> Result<&'a mut Chat, ApiError> {
    let chat = chat_of(world, request)?;
    if !chat.is_forum {
        return Err(ApiError::bad("the chat is not a forum"));
    }
    if !chat.bot_is_admin {
        return Err(ApiError::bad("not enough rights to create a topic"));
    }
    Ok(chat)
}

fn create_forum_topic(world: &mut World, request: &Request) -> Done {
    let chat = managed(world, request)?.id;
    let name = request.text("name").unwrap_or_default().trim().to_owned();
    if name.is_empty() || name.chars().count() > 128 {
        return Err(ApiError::bad("TOPIC_TITLE_INVALID"));
    }
    let color = request.int("icon_color").unwrap_or(7_322_096);
    if !COLORS.contains(&color) {
        world.violations.push(format!("createForumTopic: {color} is no colour of a topic"));
    }
    let id = create_topic(world, chat, BOT, &name, color).map_err(|it| ApiError::bad(&it))?;
    Ok(json!({"message_thread_id": id, "name": name, "icon_color": color}))
}

fn edit_forum_topic(world: &mut World, request: &Request) -> Done {
    let chat = managed(world, request)?;
    let id = topic_of(chat, request)?.unwrap_or_default();
    let name = request.text("name").unwrap_or_default().to_owned();
    let topic = chat.topics.get_mut(&id).ok_or_else(|| ApiError::bad("TOPIC_ID_INVALID"))?;
    if name.is_empty() || topic.name == name {
        return Err(ApiError::bad("TOPIC_NOT_MODIFIED"));
    }
    topic.name.clone_from(&name);
    let chat = chat.id;
    let _ = service(world, chat, Some(id), BOT, "forum_topic_edited", json!({"name": name}));
    Ok(true.into())
}

fn set_closed(world: &mut World, request: &Request, closed: bool) -> Done {
    let chat = managed(world, request)?;
    let id = topic_of(chat, request)?.unwrap_or_default();
    let topic = chat.topics.get_mut(&id).ok_or_else(|| ApiError::bad("TOPIC_ID_INVALID"))?;
    if topic.closed == closed {
        return Err(ApiError::bad("TOPIC_NOT_MODIFIED"));
    }
    topic.closed = closed;
    let chat = chat.id;
    let kind = if closed { "forum_topic_closed" } else { "forum_topic_reopened" };
    let _ = service(world, chat, Some(id), BOT, kind, json!({}));
    Ok(true.into())
}

fn delete_forum_topic(world: &mut World, request: &Request) -> Done {
    let chat = managed(world, request)?;
    let id = topic_of(chat, request)?.unwrap_or_default();
    let topic = chat.topics.get_mut(&id).ok_or_else(|| ApiError::bad("TOPIC_ID_INVALID"))?;
    topic.deleted = true;
    chat.messages.retain(|_, it| it.topic != Some(id));
    Ok(true.into())
}

fn delete_webhook(world: &mut World, request: &Request) -> Done {
    world.webhook = None;
    if request.flag("drop_pending_updates") {
        world.updates.clear();
    }
    Ok(true.into())
}
