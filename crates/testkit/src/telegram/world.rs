//! Everything that is the case: chats with their topics and messages, files, updates that wait, calls that were made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use super::control::Fault;
use super::limits::{Limits, Meter};

/// The forum that every fake begins with.
pub const FORUM: i64 = -1_001_000_000_001;
/// A person.
pub const ADA: i64 = 101;
/// Another person.
pub const BOB: i64 = 102;
/// Somebody nobody knows.
pub const STRANGER: i64 = 666;

/// The bot's user id, the first half of its token.
pub(crate) const BOT: i64 = 7_000_000_001;

/// Updates that nobody fetches for a day are dropped.
const UPDATE_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// One call of a method, as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it arrived.
    pub at: Instant,
    /// The method, as the schema spells it.
    pub method: String,
    /// The chat it was about, or 0.
    pub chat: i64,
    /// Its parameters; of files only the name.
    pub params: Map<String, Value>,
    /// The error it was answered with, if it was.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Private,
    Group,
    Supergroup,
}

#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) id: i64,
    pub(crate) kind: Kind,
    pub(crate) title: String,
    pub(crate) is_forum: bool,
    pub(crate) topics: BTreeMap<i64, Topic>,
    pub(crate) messages: BTreeMap<i64, Msg>,
    /// Where the chat has gone, if it became a supergroup.
    pub(crate) migrated_to: Option<i64>,
    /// Whether the bot is in it.
    pub(crate) has_bot: bool,
    /// Whether the bot may manage topics and write into closed ones.
    pub(crate) bot_is_admin: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) closed: bool,
    pub(crate) deleted: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Msg {
    pub(crate) id: i64,
    pub(crate) topic: Option<i64>,
    pub(crate) from: i64,
    pub(crate) date: i64,
    /// The text or the caption.
    pub(crate) text: String,
    pub(crate) entities: Vec<Value>,
    /// `photo`, `document` … with the object as the API shows it; none for a text.
    pub(crate) media: Option<(&'static str, Value)>,
    pub(crate) album: Option<String>,
    /// Whose words they are, when the sender only forwards them.
    pub(crate) forwarded_from: Option<String>,
    /// A service message, such as `forum_topic_created`.
    pub(crate) service: Option<(&'static str, Value)>,
    pub(crate) keyboard: Option<Value>,
    pub(crate) reply_to: Option<i64>,
    pub(crate) reactions: BTreeMap<i64, Vec<String>>,
    pub(crate) edited: Option<i64>,
    pub(crate) silent: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    /// What `getFile` claims, which may be more than we keep.
    pub(crate) size: u64,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: i64,
    pub(crate) kind: String,
    pub(crate) body: Value,
    pub(crate) since: Instant,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) chats: BTreeMap<i64, Chat>,
    pub(crate) people: BTreeMap<i64, String>,
    pub(crate) files: BTreeMap<String, StoredFile>,
    pub(crate) updates: VecDeque<Pending>,
    pub(crate) callbacks: BTreeMap<String, Option<String>>,
    pub(crate) commands: Value,
    pub(crate) webhook: Option<String>,
    /// Whether privacy mode is off.
    pub(crate) reads_groups: bool,
    pub(crate) allowed: Option<BTreeSet<String>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) limits: Limits,
    pub(crate) meter: Meter,
    pub(crate) calls: Vec<Call>,
    pub(crate) violations: Vec<String>,
    /// Counted up by every long poll; one that is no longer the newest ends with a conflict.
    pub(crate) poll: u64,
    next_update: i64,
    next_message: BTreeMap<i64, i64>,
    next_file: u64,
}

impl World {
    pub(crate) fn new(limits: Limits) -> World {
        let mut world = World {
            chats: BTreeMap::new(),
            people: BTreeMap::from([
                (ADA, "Ada".to_owned()),
                (BOB, "Bob".to_owned()),
                (STRANGER, "Stranger".to_owned()),
            ]),
            files: BTreeMap::new(),
            updates: VecDeque::new(),
            callbacks: BTreeMap::new(),
            commands: json!([]),
            webhook: None,
            reads_groups: true,
            allowed: None,
            faults: Vec::new(),
            limits,
            meter: Meter::default(),
            calls: Vec::new(),
            violations: Vec::new(),
            poll: 0,
            next_update: 812_345_001,
            next_message: BTreeMap::new(),
            next_file: 1,
        };
        world.add_chat(FORUM, Kind::Supergroup, "Office", true);
        world
    }

    pub(crate) fn add_chat(&mut self, id: i64, kind: Kind, title: &str, is_forum: bool) {
        let chat = Chat {
            id,
            kind,
            title: title.to_owned(),
            is_forum,
            topics: BTreeMap::new(),
            messages: BTreeMap::new(),
            migrated_to: None,
            has_bot: true,
            bot_is_admin: true,
        };
        self.chats.insert(id, chat);
    }

    /// The chat a person speaks in; a private one comes into being with its first message.
    pub(crate) fn chat_of_person(&mut self, id: i64) -> Result<&mut Chat, String> {
        if id > 0 && !self.chats.contains_key(&id) {
            let name = self.name_of(id);
            self.add_chat(id, Kind::Private, &name, false);
        }
        self.chats.get_mut(&id).ok_or_else(|| format!("there is no chat {id}"))
    }

    pub(crate) fn name_of(&self, user: i64) -> String {
        match self.people.get(&user) {
            Some(name) => name.clone(),
            None if user == BOT => "TinyClaw".to_owned(),
            None => format!("User {user}"),
        }
    }

    pub(crate) fn next_message_id(&mut self, chat: i64) -> i64 {
        let next = self.next_message.entry(chat).or_insert(1);
        *next += 1;
        *next
    }

    /// Keeps a file and gives its `file_id`.
    pub(crate) fn keep_file(
        &mut self,
        folder: &str,
        name: &str,
        bytes: Vec<u8>,
        size: u64,
    ) -> String {
        let id = format!("FILE{:06}", self.next_file);
        let extension = name.rsplit_once('.').map_or("bin", |(_, it)| it);
        let path = format!("{folder}/file_{}.{extension}", self.next_file);
        self.next_file += 1;
        self.files.insert(id.clone(), StoredFile { path, bytes, size });
        id
    }

    /// Puts a message into a chat and gives its id.
    pub(crate) fn post(&mut self, chat: i64, mut message: Msg) -> i64 {
        message.id = self.next_message_id(chat);
        let id = message.id;
        if let Some(chat) = self.chats.get_mut(&chat) {
            chat.messages.insert(id, message);
        }
        id
    }

    /// Queues an update, unless the bot said it does not want this kind.
    pub(crate) fn push_update(&mut self, kind: &str, body: Value) -> Option<i64> {
        let wanted = match &self.allowed {
            Some(kinds) => kinds.contains(kind),
            // By default everything but these three is sent.
            None => !matches!(kind, "chat_member" | "message_reaction" | "message_reaction_count"),
        };
        wanted.then(|| {
            let id = self.next_update;
            self.next_update += 1;
            let since = Instant::now();
            self.updates.push_back(Pending { id, kind: kind.to_owned(), body, since });
            id
        })
    }

    pub(crate) fn message_update(&mut self, chat: i64, id: i64) -> Option<i64> {
        let body = self.message_json(chat, id)?;
        let kind = if body.get("edit_date").is_some() { "edited_message" } else { "message" };
        self.push_update(kind, body)
    }

    /// Forgets what is confirmed and what is too old; the updates left, oldest first.
    pub(crate) fn updates_from(&mut self, offset: i64, limit: usize) -> Vec<Value> {
        let now = Instant::now();
        self.updates.retain(|it| now - it.since < UPDATE_AGE_MAX);
        if offset > 0 {
            self.updates.retain(|it| it.id >= offset);
        } else if offset < 0 {
            let surplus = self.updates.len().saturating_sub(offset.unsigned_abs() as usize);
            self.updates.drain(..surplus);
        }
        let shown = self.updates.iter().take(limit);
        shown.map(|it| json!({"update_id": it.id, &*it.kind: it.body})).collect()
    }

    pub(crate) fn user_json(&self, id: i64) -> Value {
        if id == BOT {
            return json!({"id": id, "is_bot": true, "first_name": "TinyClaw", "username": "tinyclaw_bot"});
        }
        json!({"id": id, "is_bot": false, "first_name": self.name_of(id), "language_code": "en"})
    }

    pub(crate) fn chat_json(chat: &Chat) -> Value {
        match chat.kind {
            Kind::Private => json!({"id": chat.id, "type": "private", "first_name": chat.title}),
            Kind::Group => json!({"id": chat.id, "type": "group", "title": chat.title,
                "all_members_are_administrators": false}),
            Kind::Supergroup if chat.is_forum => {
                json!({"id": chat.id, "type": "supergroup", "title": chat.title, "is_forum": true})
            }
            Kind::Supergroup => json!({"id": chat.id, "type": "supergroup", "title": chat.title}),
        }
    }

    /// A message as the API shows it, with what it replies to.
    pub(crate) fn message_json(&self, chat: i64, id: i64) -> Option<Value> {
        self.message_json_to_depth(chat, id, 1)
    }

    fn message_json_to_depth(&self, chat_id: i64, id: i64, depth: u32) -> Option<Value> {
        let chat = self.chats.get(&chat_id)?;
        let message = chat.messages.get(&id)?;
        let mut it = json!({
            "message_id": id, "from": self.user_json(message.from),
            "chat": World::chat_json(chat), "date": message.date,
        });
        let fields = it.as_object_mut()?;
        if let Some(topic) = message.topic {
            fields.insert("message_thread_id".to_owned(), topic.into());
            fields.insert("is_topic_message".to_owned(), true.into());
        } else if chat.is_forum
            && let Some(reply_to) = message.reply_to
        {
            // In General a reply carries a thread id that is no topic's: the trap that bridges fall into.
            fields.insert("message_thread_id".to_owned(), reply_to.into());
        }
        // A message in a topic that replies to nothing replies to the topic's first message.
        let reply_to = message.reply_to.or_else(|| message.topic.filter(|it| *it != id));
        if depth > 0
            && let Some(reply) =
                reply_to.and_then(|it| self.message_json_to_depth(chat_id, it, depth - 1))
        {
            fields.insert("reply_to_message".to_owned(), reply);
        }
        if let Some(date) = message.edited {
            fields.insert("edit_date".to_owned(), date.into());
        }
        if let Some(name) = &message.forwarded_from {
            let origin =
                json!({"type": "hidden_user", "date": message.date, "sender_user_name": name});
            fields.insert("forward_origin".to_owned(), origin);
        }
        if let Some(album) = &message.album {
            fields.insert("media_group_id".to_owned(), album.as_str().into());
        }
        if let Some((kind, value)) = &message.service {
            fields.insert((*kind).to_owned(), value.clone());
        } else {
            let (text, entities) = match &message.media {
                Some((kind, value)) => {
                    fields.insert((*kind).to_owned(), value.clone());
                    if *kind == "animation" {
                        // For bots that are older than animations.
                        fields.insert("document".to_owned(), value.clone());
                    }
                    ("caption", "caption_entities")
                }
                None => ("text", "entities"),
            };
            if !message.text.is_empty() {
                fields.insert(text.to_owned(), message.text.as_str().into());
            }
            if !message.entities.is_empty() {
                fields.insert(entities.to_owned(), message.entities.clone().into());
            }
        }
        if let Some(keyboard) = &message.keyboard {
            fields.insert("reply_markup".to_owned(), keyboard.clone());
        }
        Some(it)
    }

    pub(crate) fn busiest_minute(&self, chat: i64) -> usize {
        let times: Vec<Instant> = self
            .calls
            .iter()
            .filter(|it| it.chat == chat && super::methods::cost(&it.method, &it.params) > 0)
            .flat_map(|it| std::iter::repeat_n(it.at, super::methods::cost(&it.method, &it.params)))
            .collect();
        let minute = Duration::from_secs(60);
        (0..times.len())
            .map(|first| {
                times[first..].iter().take_while(|it| **it - times[first] < minute).count()
            })
            .max()
            .unwrap_or(0)
    }
}

impl Msg {
    pub(crate) fn text(from: i64, topic: Option<i64>, text: &str) -> Msg {
        Msg {
            id: 0,
            topic,
            from,
            date: now_s(),
            text: text.to_owned(),
            entities: Vec::new(),
            media: None,
            album: None,
            forwarded_from: None,
            service: None,
            keyboard: None,
            reply_to: None,
            reactions: BTreeMap::new(),
            edited: None,
            silent: false,
        }
    }
}

pub(crate) fn now_s() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs() as i64)
}
