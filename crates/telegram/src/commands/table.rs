//! Commands: one table, from which help and Telegram's own menu are made.
//!
//! Here is said what there is and what is meant; what a command does is in [`crate::commands`].

use std::fmt::Write as _;

use teloxide::payloads::SetMyCommands;
use teloxide::types::BotCommand;

use crate::bot::Bot;

/// One command.
struct Entry {
    name: &'static str,
    /// What follows it.
    takes: &'static str,
    about: &'static str,
    example: &'static str,
}

const fn entry(
    name: &'static str,
    takes: &'static str,
    about: &'static str,
    example: &'static str,
) -> Entry {
    Entry { name, takes, about, example }
}

const TABLE: &[Entry] = &[
    entry("help", "", "what can be said here", "/help"),
    entry("status", "", "how this thread is", "/status"),
    entry(
        "new",
        "NAME [org/repo]",
        "a new topic, with a checkout if you like",
        "/new website ada/website",
    ),
    entry("stop", "", "stop what runs here", "/stop"),
    entry(
        "model",
        "[simple|medium|complex] haiku|sonnet|opus|fable|auto",
        "who answers in this thread, or one tier's messages; also a full name such as claude-opus-5-5",
        "/model opus",
    ),
    entry(
        "effort",
        "low|medium|high|xhigh|max|auto",
        "how hard Claude thinks here",
        "/effort high",
    ),
    entry("haiku", "TEXT", "ask haiku this once", "/haiku what time is it in Oslo?"),
    entry("sonnet", "TEXT", "ask sonnet this once", "/sonnet explain this error"),
    entry("opus", "TEXT", "ask opus this once", "/opus find the race in claim.rs"),
    entry("fable", "TEXT", "ask fable this once", "/fable write the plan for the new storage"),
    entry("reset", "", "end the session; the next message begins a new one", "/reset"),
    entry("clear", "", "the same as /reset", "/clear"),
    entry("mode", "plan|ask|edits|bypass", "what Claude may do without asking", "/mode plan"),
    entry(
        "devbox",
        "[list|status|doctor] [NAME] | add NAME HOST[:PORT] [USER] [DIR] | remove|rename|move|trust|git|forget key|key …",
        "remote machines on which Claude works",
        "/devbox add api 10.0.0.7 deploy /srv/api",
    ),
    entry(
        "mcp",
        "[add NAME COMMAND|add NAME URL|remove NAME|allow NAME TOOLS|reconnect]",
        "tools that others give to Claude here",
        "/mcp add linear https://mcp.example/mcp Authorization=\"Bearer ${MCP_LINEAR}\"",
    ),
    entry("skills", "", "which skills Claude has here, and where from", "/skills"),
    entry(
        "trust",
        "none|text|settings",
        "what of a repository counts: nothing, its CLAUDE.md, or its settings, which run",
        "/trust text",
    ),
    entry("prompt", "TEXT|off", "words for Claude's system prompt", "/prompt Answer in German."),
    entry("dir", "PATH", "work in another directory", "/dir ~/workspace/website"),
    entry("cd", "PATH", "the same as /dir", "/cd ~/workspace/website"),
    entry("setdir", "PATH", "the same as /dir", "/setdir ~/workspace/website"),
    entry("sessions", "", "all threads", "/sessions"),
    entry("queue", "", "what waits", "/queue"),
    entry("cost", "", "what today cost", "/cost"),
    entry("go", "", "go on although today's budget is spent", "/go"),
    entry("retry", "", "try again what could not be answered", "/retry"),
    entry("again", "", "ask the last question again", "/again"),
    entry("export", "", "this thread's history as a file", "/export"),
    entry("close", "", "close this thread", "/close"),
    entry("reopen", "", "open it again", "/reopen"),
    entry("whoami", "", "your id, and what you may do", "/whoami"),
    entry("start", "", "who this is", "/start"),
];

/// A command and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spoken<'a> {
    pub(crate) name: String,
    pub(crate) rest: &'a str,
    /// The bot it is meant for, when it says so.
    pub(crate) bot: Option<&'a str>,
}

pub(crate) fn parse(text: &str) -> Option<Spoken<'_>> {
    let line = text.strip_prefix('/')?;
    let end = line.find(char::is_whitespace).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let (name, bot) = word.split_once('@').map_or((word, None), |(name, bot)| (name, Some(bot)));
    let is_name = !name.is_empty()
        && name.len() <= 32
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
    is_name.then(|| Spoken { name: name.to_ascii_lowercase(), rest: rest.trim(), bot })
}

/// Whether a text is a command, of whatever bot. A question to one model is none.
pub(crate) fn is_command(text: &str) -> bool {
    parse(text).is_some_and(|it| {
        it.rest.is_empty() || !matches!(it.name.as_str(), "haiku" | "sonnet" | "opus" | "fable")
    })
}

/// Whether a text means "stop", which waits for nothing.
pub(crate) fn is_stop(text: &str, username: &str) -> bool {
    parse(text).is_some_and(|it| it.name == "stop" && is_for(it.bot, username))
}

pub(crate) fn is_for(bot: Option<&str>, username: &str) -> bool {
    bot.is_none_or(|it| it.eq_ignore_ascii_case(username))
}

/// Puts the commands into Telegram's menu, once for every change of the table.
pub(crate) async fn register(bot: &Bot) {
    let commands: Vec<BotCommand> =
        TABLE.iter().map(|it| BotCommand::new(it.name, it.about)).collect();
    let fingerprint: String = TABLE.iter().map(|it| format!("{}={};", it.name, it.about)).collect();
    if !bot.addresses.take_commands(&fingerprint) {
        return;
    }
    if let Err(err) = bot.client.call(&SetMyCommands::new(commands)).await {
        bot.addresses.forget_commands();
        tracing::warn!("the commands could not be registered: {err}");
    }
}

/// How a command is said, with an example.
pub(crate) fn usage(name: &str) -> String {
    let it = TABLE.iter().find(|it| it.name == name);
    it.map_or_else(String::new, |it| {
        format!("`/{} {}`: {}.\nFor example `{}`", it.name, it.takes, it.about, it.example)
    })
}

/// Every command in a line.
pub(crate) fn help() -> String {
    let mut words = String::from(
        "Write, and Claude answers. Every topic is a thread of its own. A message that begins with `!` goes to the turn that \
                      runs; when none does, it is a message like any other.\n\n",
    );
    for it in TABLE.iter().filter(|it| !it.about.starts_with("the same")) {
        let takes = if it.takes.is_empty() { String::new() } else { format!(" {}", it.takes) };
        let _ = writeln!(words, "`/{}{takes}` {}", it.name, it.about);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_a_word_after_a_slash() {
        let it = parse("/new@TinyClaw_bot website ada/site").unwrap();
        assert_eq!(
            (it.name.as_str(), it.rest, it.bot),
            ("new", "website ada/site", Some("TinyClaw_bot"))
        );
        for text in ["new", "/", "/etc/passwd is world readable", "/ü", "// comment"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(is_command("/opus") && !is_command("/opus why?"));
        assert!(
            is_stop("/stop@tinyclaw_bot", "TinyClaw_bot")
                && !is_stop("/stop@other_bot", "TinyClaw_bot")
        );
    }

    #[test]
    fn the_table_keeps_to_telegrams_limits() {
        for it in TABLE {
            assert!(it.name.len() <= 32 && it.about.len() <= 256 && it.example.starts_with('/'));
        }
        assert!(TABLE.len() <= 100);
    }
}
