//! A chat as its people see it, as text that a person can read and a test can compare.

use std::fmt::Write;

use super::world::{Chat, Msg, World};

/// The chat, topic by topic, oldest message first.
pub(crate) fn of(world: &World, chat: i64) -> String {
    let Some(chat) = world.chats.get(&chat) else { return format!("there is no chat {chat}\n") };
    let mut out = String::new();
    let mut topics: Vec<Option<i64>> = chat.messages.values().map(|it| it.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    for topic in topics {
        if chat.is_forum {
            let _ = writeln!(out, "{}", heading(chat, topic));
        }
        for message in chat.messages.values().filter(|it| it.topic == topic) {
            write_message(world, chat, message, &mut out);
        }
        out.push('\n');
    }
    out
}

fn heading(chat: &Chat, topic: Option<i64>) -> String {
    match topic.map(|it| (it, chat.topics.get(&it))) {
        None => "# General".to_owned(),
        Some((_, Some(topic))) => {
            let state = match (topic.deleted, topic.closed) {
                (true, _) => " (deleted)",
                (_, true) => " (closed)",
                _ => "",
            };
            format!("# {}{state}", topic.name)
        }
        Some((id, None)) => format!("# topic {id}"),
    }
}

fn write_message(world: &World, chat: &Chat, message: &Msg, out: &mut String) {
    if let Some((kind, value)) = &message.service {
        let name = value.get("name").and_then(|it| it.as_str()).unwrap_or_default();
        let line = format!("-- {} {name}", kind.replace('_', " "));
        let _ = writeln!(out, "{}", line.trim_end());
        return;
    }
    let _ = write!(out, "{}", world.name_of(message.from));
    if let Some(to) = message.reply_to.and_then(|it| chat.messages.get(&it)) {
        let quoted: String = to.text.chars().take(24).collect();
        let _ = write!(out, " (to {}: {})", world.name_of(to.from), quoted.replace('\n', " "));
    }
    if message.edited.is_some() {
        out.push_str(" (edited)");
    }
    let reactions: Vec<&str> = message.reactions.values().flatten().map(String::as_str).collect();
    if !reactions.is_empty() {
        let _ = write!(out, " [{}]", reactions.join(" "));
    }
    out.push_str(":\n");
    if let Some((kind, value)) = &message.media {
        let name = value.get("file_name").and_then(|it| it.as_str()).unwrap_or_default();
        let _ = writeln!(out, "    <{}>", format!("{kind} {name}").trim_end());
    }
    for line in message.text.lines() {
        let _ = writeln!(out, "    {line}");
    }
    let rows = message.keyboard.as_ref().and_then(|it| it["inline_keyboard"].as_array());
    for row in rows.into_iter().flatten().filter_map(|it| it.as_array()) {
        let labels: Vec<String> = row
            .iter()
            .map(|it| format!("[ {} ]", it["text"].as_str().unwrap_or_default()))
            .collect();
        let _ = writeln!(out, "    {}", labels.join(" "));
    }
}
