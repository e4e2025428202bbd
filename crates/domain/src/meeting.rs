//! What `tinyclaw-telegram meet` says on its stdout, one JSON line each: how an office makes a bot's acquaintance.

use serde::{Deserialize, Serialize};

/// One thing that was learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Meeting {
    /// Telegram knows the token.
    Bot {
        /// The bot's user id.
        id: i64,
        /// Its name, without the `@`.
        username: String,
        /// Whether it hears everything in groups where it is no administrator; `false` is privacy mode.
        reads_groups: bool,
    },
    /// Somebody has added the bot to a chat.
    Added {
        /// Where.
        chat: MetChat,
        /// Who.
        by: MetPerson,
    },
    /// Somebody has written where the bot hears it.
    Wrote {
        /// Where.
        chat: MetChat,
        /// Who.
        by: MetPerson,
    },
    /// Somebody has written as the group itself, so that nobody can tell who.
    Anonymous {
        /// Where.
        chat: MetChat,
    },
    /// What the bot is in a chat.
    Chat {
        /// Which.
        chat: MetChat,
        /// Whether it is an administrator.
        bot_is_admin: bool,
        /// Whether it may make, rename and close topics.
        manages_topics: bool,
        /// Whether the owner who was named is in the chat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner_is_member: Option<bool>,
    },
    /// It does not go on. The last line, with exit code 1.
    Trouble {
        /// For programs.
        code: MeetingTrouble,
        /// What is wrong, for a person.
        says: String,
        /// The way out.
        way_out: String,
    },
}

/// A chat, as far as a meeting needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetChat {
    /// Its id.
    pub id: i64,
    /// Its title; empty for a private chat.
    pub title: String,
    /// Telegram's word for its kind: `private`, `group`, `supergroup`, `channel`.
    pub kind: String,
    /// Whether it has topics.
    pub is_forum: bool,
}

/// A person, as far as a meeting needs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetPerson {
    /// Their user id.
    pub id: i64,
    /// What they call themselves.
    pub name: String,
    /// Their `@` name, without it, where they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Why a meeting does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MeetingTrouble {
    /// Telegram does not know the token.
    Token,
    /// Telegram does not answer.
    Reach,
    /// A running office serves this bot from the same state folder.
    Served,
    /// Another program reads this bot's messages.
    Polled,
    /// This bot's messages go to a web address.
    Webhook,
    /// The bot is not in that chat, or there is none.
    Chat,
    /// Nobody has written in time.
    Nobody,
    /// So much waits unread that nothing new can be seen behind it.
    Backlog,
}
