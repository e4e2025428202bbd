//! Making a bot's acquaintance, for `tinyclaw setup`: who it is, who writes to it and where, what it may do there.
//!
//! It only looks. No update is confirmed, so the first message is still there when the service starts, and is answered
//! then. (That is why it never asks with a negative offset: Telegram forgets what lies before.) A running office is not
//! disturbed: where one serves the bot it says so and ends. The token comes through stdin and is never said.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use teloxide::payloads::{GetChat, GetChatMember, GetMe};
use teloxide::types::{ChatId, Recipient, UserId};
use tinyclaw_disk::Lock;
use tinyclaw_domain::{Meeting, MeetingTrouble, MetChat, MetPerson};
use tinyclaw_ledger::StateDir;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::bot::client::{CallError, Client, Refusal};

/// One look lasts so long at most; whoever waits can give up in between.
const LOOK_MAX: Duration = Duration::from_secs(20);
/// What was seen already comes back at once with every look: it is not asked for more often than this.
const LOOK_GAP: Duration = Duration::from_millis(700);
/// So often in a row may Telegram fail to answer.
const FAILURES_MAX: usize = 4;
/// Telegram shows so many unread updates at most, the oldest first.
const SHOWN_MAX: usize = 100;
/// A token is 46 characters long.
const TOKEN_BYTES_MAX: u64 = 512;

/// What to find out.
#[derive(Debug)]
pub struct Errand {
    /// The bot's token.
    pub token: SecretString,
    /// The Bot API.
    pub api_url: String,
    /// The state folder, where another process may serve the bot.
    pub state: StateDir,
    /// Which of the three things.
    pub question: Question,
}

/// The three things that can be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Who the bot is.
    Bot,
    /// Who writes to it, for so long.
    People(Duration),
    /// What it may do in a chat, and whether somebody is in it.
    Chat {
        /// The chat.
        id: i64,
        /// The person.
        owner: Option<i64>,
    },
}

const USAGE: &str = "\
usage: tinyclaw-telegram meet                          who the bot is
       tinyclaw-telegram meet --wait SECONDS           who writes to it
       tinyclaw-telegram meet --chat ID [--owner ID]   what it may do there
the token is the first line of stdin, and waiting ends when stdin does; TELEGRAM_API_URL is honoured; the answers are
JSON lines";

/// `tinyclaw-telegram meet`: exit code 0, or 1 after a trouble, which is the last line.
pub async fn main(words: &[String], api_url: &str, state: StateDir) -> anyhow::Result<ExitCode> {
    let question = question(words)?;
    let mut token = String::new();
    let mut stdin = BufReader::new(io::stdin());
    let read = stdin.by_ref().take(TOKEN_BYTES_MAX).read_line(&mut token);
    read.context("cannot read the token")?;
    let token = SecretString::from(token.trim());
    let errand = Errand { token, api_url: api_url.to_owned(), state, question };
    let is_fine = meet(errand, |it| {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(it)?)?;
        out.flush()
    });
    let (gone, left) = oneshot::channel();
    if matches!(question, Question::People(_)) {
        // Whoever asked holds the other end of this pipe for as long as the answer matters.
        std::thread::spawn(move || {
            let _ = io::copy(&mut stdin, &mut io::sink());
            let _ = gone.send(());
        });
    }
    tokio::select! {
        is_fine = is_fine => Ok(if is_fine? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Ok(()) = left => Ok(ExitCode::FAILURE),
    }
}

fn question(words: &[String]) -> anyhow::Result<Question> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let id =
        |text: &str| text.parse::<i64>().with_context(|| format!("{text:?} is no id\n{USAGE}"));
    match words[..] {
        [] => Ok(Question::Bot),
        ["--wait", seconds] => {
            let seconds =
                seconds.parse().with_context(|| format!("{seconds:?} is no number\n{USAGE}"))?;
            Ok(Question::People(Duration::from_secs(seconds)))
        }
        ["--chat", chat] => Ok(Question::Chat { id: id(chat)?, owner: None }),
        ["--chat", chat, "--owner", owner] => {
            Ok(Question::Chat { id: id(chat)?, owner: Some(id(owner)?) })
        }
        _ => bail!("{USAGE}"),
    }
}

/// Finds it out, and tells what it learns as it learns it. `false` when the last thing told is a trouble.
///
/// Asked for people it goes on until the time is over or whoever listens has heard enough and ends it.
pub async fn meet(
    errand: Errand,
    mut tell: impl FnMut(&Meeting) -> io::Result<()>,
) -> anyhow::Result<bool> {
    let found = find_out(&errand, &mut tell).await;
    match found {
        Ok(()) => Ok(true),
        Err(Stop::Deaf(err)) => Err(err).context("nobody listens"),
        Err(Stop::Trouble(code, says, way_out)) => {
            tell(&Meeting::Trouble { code, says, way_out: way_out.to_owned() })?;
            Ok(false)
        }
    }
}

/// Why it does not go on.
enum Stop {
    /// Nobody listens any more.
    Deaf(io::Error),
    Trouble(MeetingTrouble, String, &'static str),
}

impl From<io::Error> for Stop {
    fn from(err: io::Error) -> Stop {
        Stop::Deaf(err)
    }
}

impl From<CallError> for Stop {
    fn from(err: CallError) -> Stop {
        let trouble = |code, says: &str, way_out| Stop::Trouble(code, says.to_owned(), way_out);
        if let CallError::Migrated { to, .. } = err {
            let says = format!("this group has become another one, {to}");
            return Stop::Trouble(MeetingTrouble::Chat, says, "name that one: --chat ID");
        }
        match err.refusal() {
            Some(Refusal::Unauthorized) => trouble(
                MeetingTrouble::Token,
                "Telegram does not know this token",
                "BotFather: /mybots, the bot, API Token; copy all of it",
            ),
            Some(Refusal::OtherPoller) => trouble(
                MeetingTrouble::Polled,
                "another program reads this bot's messages at this moment",
                "stop it (./tinyclaw.sh stop, or wherever the bot runs), or make another bot with BotFather",
            ),
            Some(Refusal::Webhook) => trouble(
                MeetingTrouble::Webhook,
                "this bot's messages go to a web address that another program has set",
                "make another bot with BotFather, or remove the webhook where it was set",
            ),
            Some(Refusal::ChatGone) => trouble(
                MeetingTrouble::Chat,
                "the bot is not in this chat, or there is none with this id",
                "add the bot to the forum; a forum's id begins with -100",
            ),
            _ => Stop::Trouble(
                MeetingTrouble::Reach,
                format!("Telegram does not answer: {err}"),
                "check this machine's way to the internet; behind a proxy, set HTTPS_PROXY",
            ),
        }
    }
}

async fn find_out(
    errand: &Errand,
    tell: &mut impl FnMut(&Meeting) -> io::Result<()>,
) -> Result<(), Stop> {
    let token = errand.token.expose_secret();
    let bot_id = token.split_once(':').and_then(|(id, _)| id.parse::<i64>().ok());
    let is_plain = !token.is_empty() && token.bytes().all(|it| it.is_ascii_graphic() && it != b'/');
    let Some(bot_id) = bot_id.filter(|_| is_plain) else {
        return Err(Stop::Trouble(
            MeetingTrouble::Token,
            "this is no token: BotFather's look like 123456:ABC-DEF".to_owned(),
            "BotFather: /mybots, the bot, API Token; copy all of it",
        ));
    };
    let client = Client::new(&errand.api_url, errand.token.clone()).map_err(|err| {
        Stop::Trouble(
            MeetingTrouble::Reach,
            format!("{err:#}"),
            "mend TELEGRAM_API_URL, or unset it",
        )
    })?;
    match errand.question {
        Question::Bot => {
            let me = client.call(&GetMe::new()).await?;
            tell(&Meeting::Bot {
                id: me["id"].as_i64().unwrap_or(bot_id),
                username: text(&me["username"]),
                reads_groups: me["can_read_all_group_messages"] == true,
            })?;
            Ok(())
        }
        Question::People(patience) => {
            let _lock = hold(&errand.state, bot_id)?;
            people(&client, patience, tell).await
        }
        Question::Chat { id, owner } => chat(&client, bot_id, id, owner, tell).await,
    }
}

/// Keeps the service of this folder, if it starts meanwhile, from reading the same bot. Where there is no folder there
/// is no service of it.
fn hold(state: &StateDir, bot_id: i64) -> Result<Option<Lock>, Stop> {
    if !state.locks().is_dir() {
        return Ok(None);
    }
    let lock = Lock::try_take(&state.telegram_lock(bot_id));
    match lock {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(Stop::Trouble(
            MeetingTrouble::Served,
            "a running office serves this bot, and reads what is written to it".to_owned(),
            "stop it until this is done (./tinyclaw.sh stop), or name the forum and its owner: --chat ID --owner ID",
        )),
        Err(err) => Err(Stop::Trouble(
            MeetingTrouble::Served,
            format!("{err}: {}", err.source),
            "run this as the user to whom the state folder belongs",
        )),
    }
}

/// Tells of everybody who writes, once for each place and person.
async fn people(
    client: &Client,
    patience: Duration,
    tell: &mut impl FnMut(&Meeting) -> io::Result<()>,
) -> Result<(), Stop> {
    let until = Instant::now() + patience;
    let mut seen = BTreeSet::new();
    let mut failures = 0;
    // The first look does not wait: it only finds out whether one may look at all.
    let mut look = Duration::ZERO;
    loop {
        match client.updates(None, look).await {
            Ok(updates) => {
                failures = 0;
                let is_full = updates.len() >= SHOWN_MAX;
                let mut is_news = false;
                for update in updates {
                    if seen.insert(update["update_id"].as_i64())
                        && let Some(met) = met(&update)
                    {
                        is_news = true;
                        tell(&met)?;
                    }
                }
                if is_full && !is_news {
                    return Err(Stop::Trouble(
                        MeetingTrouble::Backlog,
                        format!(
                            "{SHOWN_MAX} messages to this bot wait unread, and new ones are behind them"
                        ),
                        "name the forum and its owner instead: --chat ID --owner ID",
                    ));
                }
            }
            Err(CallError::Flood { wait, .. }) => tokio::time::sleep(wait).await,
            Err(err) if err.is_passing() && failures + 1 < FAILURES_MAX => failures += 1,
            Err(err) => return Err(err.into()),
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Stop::Trouble(
                MeetingTrouble::Nobody,
                "nobody has written to the bot in time".to_owned(),
                "write anything in the forum, then try again; the bot has to be in it as an administrator",
            ));
        }
        // Unread updates come back at once, however long one offers to wait.
        tokio::time::sleep(LOOK_GAP.min(left)).await;
        look = left.min(LOOK_MAX);
    }
}

/// What an update tells, if it is about somebody who writes, or who adds the bot.
fn met(update: &Value) -> Option<Meeting> {
    if let Some(message) = update.get("message") {
        let chat = met_chat(&message["chat"])?;
        if message.get("sender_chat").is_some() {
            return Some(Meeting::Anonymous { chat });
        }
        return Some(Meeting::Wrote { chat, by: met_person(&message["from"])? });
    }
    let change = update.get("my_chat_member")?;
    let is_in =
        matches!(change["new_chat_member"]["status"].as_str(), Some("member" | "administrator"));
    let chat = met_chat(&change["chat"]).filter(|it| is_in && it.kind != "private")?;
    Some(Meeting::Added { chat, by: met_person(&change["from"])? })
}

async fn chat(
    client: &Client,
    bot_id: i64,
    id: i64,
    owner: Option<i64>,
    tell: &mut impl FnMut(&Meeting) -> io::Result<()>,
) -> Result<(), Stop> {
    let there = Recipient::Id(ChatId(id));
    let chat = client.call(&GetChat::new(there.clone())).await?;
    let Some(chat) = met_chat(&chat) else {
        return Err(Stop::Trouble(
            MeetingTrouble::Reach,
            "Telegram's answer is about no chat".to_owned(),
            "try again",
        ));
    };
    let member = async |user: i64| {
        let user = UserId(user.unsigned_abs());
        client.call(&GetChatMember::new(there.clone(), user)).await
    };
    let owner_is_member = match owner {
        None => None,
        Some(owner) => Some(match member(owner).await {
            Ok(it) => {
                let is_restricted_out = it["status"] == "restricted" && it["is_member"] == false;
                !is_restricted_out && !matches!(it["status"].as_str(), Some("left" | "kicked"))
            }
            // "participant", "user", "member" not found: Telegram's words differ by what it knows of the person.
            Err(CallError::Refused { .. }) => false,
            Err(err) => return Err(err.into()),
        }),
    };
    let bot = member(bot_id).await?;
    tell(&Meeting::Chat {
        chat,
        bot_is_admin: bot["status"] == "administrator",
        manages_topics: bot["can_manage_topics"] == true,
        owner_is_member,
    })?;
    Ok(())
}

fn met_chat(chat: &Value) -> Option<MetChat> {
    Some(MetChat {
        id: chat["id"].as_i64()?,
        title: text(&chat["title"]),
        kind: text(&chat["type"]),
        is_forum: chat["is_forum"] == true,
    })
}

/// A person, and no bot.
fn met_person(user: &Value) -> Option<MetPerson> {
    if user["is_bot"] == true {
        return None;
    }
    let name = format!("{} {}", text(&user["first_name"]), text(&user["last_name"]));
    Some(MetPerson {
        id: user["id"].as_i64()?,
        name: name.trim().to_owned(),
        username: user["username"].as_str().map(str::to_owned),
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
