//! `tinyclaw setup telegram`: the bot, its forum, and who may speak.
//!
//! Telegram is asked by `tinyclaw-telegram meet`, which takes nobody's messages away: the first one is answered once the
//! service runs.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tinyclaw_domain::{Meeting, MetChat, MetPerson};
use tinyclaw_service::settings::{Office, Telegram as Settings};

use super::standing::hint;
use super::{Done, SetupContext, Wrong, secret_of};
use crate::terminal::{count, one_line};
use crate::verbs::sibling;

const KEYS: [&str; 3] = ["telegram.botToken", "telegram.chatId", "telegram.allowedUsers"];
/// Somebody has to make a group, add the bot and write, perhaps for the first time.
const WAIT_SECONDS: u64 = 600;

/// Introduce the bot: its token, its forum, and who may speak.
#[derive(Debug, Args)]
pub(crate) struct Telegram {
    /// A file with the token from BotFather, or - for stdin.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// The forum, when it is known; otherwise the first message tells.
    #[arg(long, value_name = "ID", allow_negative_numbers = true, requires = "owner")]
    chat: Option<i64>,

    /// Who may speak, by Telegram id. Of all who write only this one counts, which --yes should not be without.
    #[arg(long, value_name = "ID")]
    owner: Option<i64>,

    /// So long is waited for the first message.
    #[arg(long, value_name = "SECONDS", default_value_t = WAIT_SECONDS)]
    wait: u64,
}

impl Default for Telegram {
    fn default() -> Telegram {
        Telegram { token_file: None, chat: None, owner: None, wait: WAIT_SECONDS }
    }
}

/// Who the bot is.
struct Bot {
    token: String,
    username: String,
    reads_groups: bool,
}

impl Telegram {
    pub(crate) fn run(self, desk: &SetupContext) -> anyhow::Result<Done> {
        let (answers, person) = (&desk.answers, &desk.person);
        answers.must_count(&KEYS)?;
        let (_, now) = answers.current::<(Office, Settings)>()?;
        let mut warnings = Vec::new();

        let bot = self.bot(desk, &now)?;
        person.ok(&format!("this is @{}, token {}", bot.username, hint(&bot.token)))?;
        if !bot.reads_groups {
            let says =
                "privacy mode is on: where the bot is no administrator it hears only commands";
            let way_out =
                "BotFather: /setprivacy, the bot, Disable; then add it to the group again";
            person.warn(says, way_out)?;
            warnings.push(format!("{says} → {way_out}"));
        }

        let ask = Ask { desk, api_url: &now.api_url, bot: &bot };
        let (chat, owner) = match (self.chat, self.owner) {
            (Some(chat), Some(owner)) => (chat, owner),
            _ => self.first_message(&ask)?,
        };
        let title = ask.check(chat, owner)?;

        let mut users = now.allowed_users.clone();
        if !users.contains(&owner) {
            users.push(owner);
        }
        let list = users.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let [token, home, people] = KEYS;
        let wrote = answers.write(&[
            (token, Some(bot.token.clone())),
            (home, Some(chat.to_string())),
            (people, Some(list)),
        ])?;
        person.ok(&format!("{title} ({chat}) is the home forum, {owner} may speak there"))?;
        if users.len() > 1 {
            let others = count(users.len() - 1, "other");
            person.say(&format!(
                "      so may {others}, as before: `tinyclaw settings get {people}`"
            ))?;
        }
        let found = json!({
            "bot": bot.username, "token": hint(&bot.token), "readsGroups": bot.reads_groups,
            "chatId": chat, "title": title, "owner": owner, "allowedUsers": users,
        });
        desk.done("telegram", found, wrote, warnings)
    }

    /// A token that Telegram knows.
    fn bot(&self, desk: &SetupContext, now: &Settings) -> anyhow::Result<Bot> {
        let known = |token: String| {
            let mut meet = Meet::start(desk, &now.api_url, &token, &[])?;
            match meet.next()? {
                Some(Meeting::Bot { username, reads_groups, .. }) => {
                    Ok(Bot { token, username: one_line(&username), reads_groups })
                }
                other => bail!("tinyclaw-telegram said {other:?} when asked who the bot is"),
            }
        };
        if let Some(file) = &self.token_file {
            return known(secret_of(file)?);
        }
        let person = &desk.person;
        let kept = now.bot_token.as_ref().map(|it| it.expose_secret().to_owned());
        if !person.is_terminal()
            && let Some(token) = kept
        {
            return known(token);
        }
        let question = match &kept {
            Some(token) => format!("Token from BotFather, or Enter to keep {}", hint(token)),
            None => {
                person.say_to_a_person(
                    "Write to @BotFather: /newbot, a name, a user name. It answers with a token.",
                )?;
                "Token from BotFather".to_owned()
            }
        };
        let ask = || {
            let typed = person.secret(&question, "--token-file FILE, or - for stdin")?;
            Ok(if typed.is_empty() { kept.clone().unwrap_or_default() } else { typed })
        };
        person.thrice(ask, known)
    }

    /// Waits until somebody writes in a forum, and learns from it where and who.
    fn first_message(&self, ask: &Ask<'_>) -> anyhow::Result<(i64, i64)> {
        let person = &ask.desk.person;
        person.say("Make a group, turn Topics on in its settings, and add the bot as an administrator that may manage topics.")?;
        person.say(&format!(
            "Then write anything there. Waiting for it up to {} min.",
            self.wait.div_ceil(60)
        ))?;
        let mut meet = ask.meet(&["--wait", &self.wait.to_string()])?;
        loop {
            let Some(met) = meet.next()? else { bail!("tinyclaw-telegram ended without a word") };
            match met {
                Meeting::Added { chat, by } => {
                    person.say(&format!("{} added the bot to {}; now write something there.", name(&by), title(&chat)))?;
                }
                Meeting::Anonymous { chat } => person.warn(
                    &format!("somebody wrote in {} as the group itself, so nobody can tell who", title(&chat)),
                    "the group's administrators, that person, Remain anonymous: off; then write again",
                )?,
                Meeting::Wrote { chat, by } => {
                    if self.is_taken(ask, &chat, &by)? {
                        return Ok((chat.id, by.id));
                    }
                }
                other => bail!("tinyclaw-telegram said {other:?} when asked who writes"),
            }
        }
    }

    fn is_taken(&self, ask: &Ask<'_>, chat: &MetChat, by: &MetPerson) -> anyhow::Result<bool> {
        let person = &ask.desk.person;
        if self.owner.is_some_and(|it| it != by.id) {
            person.say(&format!("{} wrote too, who is not the one who was named.", name(by)))?;
            return Ok(false);
        }
        if chat.kind == "private" {
            person
                .say(&format!("{} wrote to the bot in private; write in the forum.", name(by)))?;
            return Ok(false);
        }
        if !chat.is_forum {
            person.warn(
                &format!("{} is no forum: it has no topics", title(chat)),
                "the group's settings, Topics: on; then write in it again",
            )?;
            return Ok(false);
        }
        // Whoever knows the bot's name may have written first, so a mere Enter is no yes.
        person.agrees(
            &format!(
                "{} wrote in {}. Is that the owner, and the office's forum?",
                name(by),
                title(chat)
            ),
            false,
        )
    }
}

/// What is asked of Telegram from here on.
struct Ask<'a> {
    desk: &'a SetupContext,
    api_url: &'a str,
    bot: &'a Bot,
}

impl Ask<'_> {
    fn meet(&self, words: &[&str]) -> anyhow::Result<Meet> {
        Meet::start(self.desk, self.api_url, &self.bot.token, words)
    }

    /// The forum's title, when it is one, the bot may do there what it has to, and the owner is in it.
    fn check(&self, chat: i64, owner: i64) -> anyhow::Result<String> {
        let person = &self.desk.person;
        let mut is_first = true;
        let ask = || {
            if !std::mem::take(&mut is_first) {
                person.line("Enter looks again", None, "the same command")?;
            }
            Ok(())
        };
        person.thrice(ask, |()| self.check_once(chat, owner))
    }

    fn check_once(&self, chat: i64, owner: i64) -> anyhow::Result<String> {
        let mut meet = self.meet(&["--chat", &chat.to_string(), "--owner", &owner.to_string()])?;
        let Some(Meeting::Chat { chat, bot_is_admin, manages_topics, owner_is_member }) =
            meet.next()?
        else {
            bail!("tinyclaw-telegram did not say what the bot may do");
        };
        let (name, bot) = (title(&chat), &self.bot.username);
        let wrong = |says: String, way_out: &str| Err(Wrong::new(says, way_out).into());
        if !chat.is_forum {
            return wrong(
                format!("{name} is no forum: it has no topics"),
                "the group's settings, Topics: on",
            );
        }
        if !bot_is_admin {
            let says = format!("@{bot} is no administrator of {name}");
            return wrong(says, "the group's administrators, add the bot, with Manage topics on");
        }
        if !manages_topics {
            let says = format!("@{bot} may not manage topics in {name}");
            return wrong(says, "the group's administrators, the bot, Manage topics: on");
        }
        if owner_is_member == Some(false) {
            let says = format!("{owner} is not in {name}");
            return wrong(
                says,
                "name the Telegram id of somebody who is; @userinfobot tells one's own",
            );
        }
        Ok(name)
    }
}

fn title(chat: &MetChat) -> String {
    let title = one_line(&chat.title);
    if title.is_empty() { chat.id.to_string() } else { format!("“{title}”") }
}

fn name(by: &MetPerson) -> String {
    let at = by.username.as_ref().map(|it| format!("@{}, ", one_line(it))).unwrap_or_default();
    format!("{} ({at}{})", one_line(&by.name), by.id)
}

/// A running `tinyclaw-telegram meet`. It ends with this value, whose pipe it watches.
struct Meet {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _alive: ChildStdin,
}

impl Meet {
    fn start(
        desk: &SetupContext,
        api_url: &str,
        token: &str,
        words: &[&str],
    ) -> anyhow::Result<Meet> {
        let program = sibling("tinyclaw-telegram")?;
        #[expect(clippy::disallowed_methods, reason = "only the telegram service knows Telegram")]
        let mut child = Command::new(&program)
            .arg("meet")
            .args(words)
            .env("TELEGRAM_API_URL", api_url)
            .env("TINYCLAW_DIR", desk.answers.state().root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let (Some(mut alive), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("cannot talk to {}", program.display());
        };
        writeln!(alive, "{}", token.replace(['\n', '\r'], ""))
            .context("cannot hand the token on")?;
        Ok(Meet { child, lines: BufReader::new(out).lines(), _alive: alive })
    }

    /// The next thing it says. A trouble is something wrong, with its way out.
    fn next(&mut self) -> anyhow::Result<Option<Meeting>> {
        let Some(line) = self.lines.next() else { return Ok(None) };
        let line = line.context("cannot hear tinyclaw-telegram")?;
        let said = serde_json::from_str(&line).with_context(|| {
            format!("tinyclaw-telegram is another version: {}", one_line(&line))
        })?;
        match said {
            Meeting::Trouble { says, way_out, .. } => Err(Wrong::new(says, way_out).into()),
            other => Ok(Some(other)),
        }
    }
}

impl Drop for Meet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
