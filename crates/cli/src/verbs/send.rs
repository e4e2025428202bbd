//! `tinyclaw send`: one message into a thread, and its answer when one waits for it.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tinyclaw_client::{Client, Ending};
use tinyclaw_domain::{Channel, Key, Message, Outcome, ThreadId};
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::Telegram;
use tinyclaw_service::{now_ms, words};

use crate::telling::Telling;
use crate::{client, place, terminal};

/// The message goes on, but whoever waited has no answer yet.
const STILL_WORKING: u8 = 3;

/// Send a message to a thread.
///
/// Without --wait the key is printed and the answer goes to the thread's topic, where Telegram is set up.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The message; several words are joined. Without one it is read from stdin.
    text: Vec<String>,

    /// The thread: a topic's number, or a name such as cli or cli-notes. [default: 1 with Telegram, else cli]
    #[arg(long, value_name = "N")]
    thread: Option<ThreadId>,

    /// Wait for the answer and print it. Exits 1 with the reason when there is none.
    #[arg(long)]
    wait: bool,

    /// Wait for the answer and print it as it is written; tools and questions go to stderr. With --json, the lines of the
    /// turn's story as they are, and the reply last.
    #[arg(long, conflicts_with = "wait")]
    stream: bool,

    /// Wait no longer than this; exits 3, and the message goes on.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,

    /// Ask this model instead of the router's choice: haiku, sonnet, opus, fable, or a full name.
    #[arg(long)]
    model: Option<String>,

    /// Send this file along. May be given several times.
    #[arg(long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,

    /// Print JSON: the key, and with --wait the whole reply.
    #[arg(long)]
    json: bool,
}

impl Send {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let state = place::office()?;
        let text = self.text()?;
        let (thread, channel) = self.address(&state)?;
        let model = match &self.model {
            Some(word) => match place::catalogue(&state)?.find(word) {
                Ok(model) => Some(model),
                Err(err) => {
                    // Which models there are stands in the settings; a wrong word is a wrong line all the same.
                    writeln!(std::io::stderr(), "tinyclaw: {err}")?;
                    return Ok(ExitCode::from(2));
                }
            },
            None => None,
        };
        let office = client::open(&state)?;
        let mut message = client::message(&thread, &client::hinted(model, &text));
        message.channel = channel;
        for path in &self.files {
            client::attach(&office, &mut message, path)?;
        }
        if self.timeout.is_some() && !self.waits() {
            bail!("--timeout is for --wait and --stream");
        }
        let key = client::send(&office, message)?;
        if !office.is_staffed(now_ms()) {
            writeln!(
                std::io::stderr(),
                "tinyclaw: the message is kept, but no processor works on {}; it is answered when one does",
                state.root().display()
            )?;
        }
        if self.waits() {
            return self.answer(&office, &key, &thread);
        }
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json!({ "key": key, "threadId": thread, "channel": channel }))?;
        } else {
            writeln!(out, "{key}")?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn waits(&self) -> bool {
        self.wait || self.stream
    }

    fn text(&self) -> anyhow::Result<String> {
        let text = if self.text.is_empty() {
            let mut stdin = std::io::stdin().lock();
            if stdin.is_terminal() {
                bail!("there is no message; do: tinyclaw send \"hello\", or pipe one in");
            }
            let mut bytes = Vec::new();
            stdin.read_to_end(&mut bytes).context("cannot read the message from stdin")?;
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            self.text.join(" ")
        };
        if text.trim().is_empty() && self.files.is_empty() {
            bail!("the message is empty");
        }
        Ok(text)
    }

    /// Which thread, and where its answer goes: to the topic, unless somebody waits for it here.
    fn address(&self, state: &StateDir) -> anyhow::Result<(ThreadId, Channel)> {
        let has_home = place::settings::<Telegram>(state)?.chat_id.is_some();
        let thread = match &self.thread {
            Some(it) => it.clone(),
            None if has_home => ThreadId::master(),
            None => "cli".parse()?,
        };
        let is_pushed = !self.waits() && thread.is_in_telegram(has_home);
        Ok((thread, if is_pushed { Channel::Telegram } else { Channel::Cli }))
    }

    fn answer(&self, office: &Client, key: &Key, thread: &ThreadId) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let patience = Duration::from_secs(self.timeout.unwrap_or(u64::MAX / 4));
        let mut telling = self.stream.then(|| Telling::new(self.json));
        let waited = runtime.block_on(async {
            let ending = async {
                match &mut telling {
                    Some(telling) => telling.follow(office.stream(key)).await,
                    None => Ok(office.wait(key).await?),
                }
            };
            tokio::time::timeout(patience, ending).await
        });
        let Ok(ending) = waited else {
            writeln!(
                std::io::stderr(),
                "tinyclaw: no answer within {}; the message goes on as {key}",
                words::span(patience.as_millis() as u64)
            )?;
            return Ok(ExitCode::from(STILL_WORKING));
        };
        match ending? {
            Ending::Answered(message) => {
                let told = telling.map_or_else(String::new, Telling::told);
                self.print(office, &message, &told)
            }
            Ending::GivenUp(why) => {
                if self.json {
                    let told = json!({ "key": key, "threadId": thread, "reason": why });
                    writeln!(std::io::stdout(), "{told}")?;
                }
                bail!("{}", terminal::one_line(&why))
            }
        }
    }

    /// Prints the answer, as far as it was not told already.
    fn print(&self, office: &Client, message: &Message, told: &str) -> anyhow::Result<ExitCode> {
        let Some(reply) = &message.reply else {
            bail!("message {} ended without a reply", message.key);
        };
        let text = office.text(reply)?;
        let is_answer = matches!(reply.outcome, Outcome::Answered | Outcome::Notice);
        let mut out = std::io::stdout().lock();
        if self.json {
            let mut told =
                json!({ "key": message.key, "threadId": message.thread_id, "reply": reply });
            told["reply"]["text"] = text.into();
            writeln!(out, "{told}")?;
        } else if is_answer {
            let rest = text.trim_end();
            // What was streamed is the answer, or else the answer stands below it.
            let rest = rest.strip_prefix(told).filter(|_| !told.is_empty()).unwrap_or(rest);
            if !rest.is_empty() {
                writeln!(out, "{}", terminal::plain(rest.trim_start_matches('\n')))?;
            }
            for file in &reply.files {
                writeln!(out, "file: {}", terminal::one_line(&file.path))?;
            }
        } else {
            writeln!(std::io::stderr(), "tinyclaw: {}", terminal::plain(text.trim_end()))?;
        }
        Ok(if is_answer { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
