//! The office's client, as this terminal uses it: by its settings, in the name of whoever sits here, with files by their paths.
//! Nothing here runs Claude.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tinyclaw_client::{Attachment, Client, Ending};
use tinyclaw_domain::{Channel, Command, Key, Message, Model, Reply, Source, ThreadId};
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{Options, Published, Side};
use tinyclaw_service::media_type;
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::{Office, Store};

use crate::place::environment;
use crate::terminal;

/// An order takes no longer: of a devbox, a helper is brought over a slow line, and looked at.
const PATIENCE: Duration = Duration::from_secs(300);
/// A file that goes with a message may be so long.
const FILE_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// The client of this state folder's office.
pub(crate) fn open(state: &StateDir) -> anyhow::Result<Client> {
    // A mistake in the settings keeps nobody from writing: the services say it.
    let office = Store::<Office>::open(state.root(), environment());
    let allow_network_disk = office.is_ok_and(|it| it.current().allow_network_disk);
    let options = Options { watch: false, allow_network_disk, ..Options::default() };
    Client::open(state, options).context("cannot open the queue")
}

/// A message of whoever sits at this terminal, with a key of its own.
pub(crate) fn message(thread: &ThreadId, text: &str) -> Message {
    let key = Key::hashed("cli", &uuid::Uuid::new_v4().simple().to_string());
    let mut message = Message::new(key, Channel::Cli, thread.clone(), text, now_ms());
    message.source = Source::Cli;
    message.sender = sender();
    message.sender_id = Some("cli".to_owned());
    message
}

/// An order to TinyClaw about a thread.
pub(crate) fn order(thread: &ThreadId, command: Command) -> Message {
    Message { command: Some(command), ..message(thread, "") }
}

/// Has the office carry out an order about a thread, and waits for what it says.
pub(crate) fn ask(office: &Client, thread: &ThreadId, command: Command) -> anyhow::Result<Reply> {
    let key = send(office, order(thread, command))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let waited =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, office.wait(&key)).await });
    let Ok(ended) = waited else {
        bail!("no answer within five minutes; the order goes on as {key}")
    };
    match ended? {
        Ending::Answered(message) => {
            let Some(mut reply) = message.reply.clone() else {
                bail!("order {key} ended without an answer")
            };
            reply.text = office.text(&reply)?;
            Ok(reply)
        }
        Ending::GivenUp(why) => bail!("{}", terminal::one_line(&why)),
    }
}

/// Puts a copy of a file where Claude may read it, and names it in the message.
pub(crate) fn attach(client: &Client, message: &mut Message, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let name = path.file_name().and_then(|it| it.to_str());
    let Some(name) = name else { bail!("{shown} has no name that can be sent") };
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
    if !file.metadata().is_ok_and(|it| it.is_file()) {
        bail!("{shown} is no file");
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{shown} is over 50 MB; put it where the thread works and say where it is");
    }
    let mark = format!("{}-{}", message.key, message.files.len() + 1);
    let file = Attachment { name, mime: media_type(name), bytes: &bytes };
    message.files.push(client.attach(&message.thread_id, mark, file)?);
    Ok(())
}

/// Sends a message to Claude. It is on disk when this returns.
pub(crate) fn send(client: &Client, message: Message) -> anyhow::Result<Key> {
    let key = message.key.clone();
    match client.publish(Side::Run, message)? {
        Published::New => Ok(key),
        Published::Duplicate(place) => bail!("message {key} is in {place} already"),
    }
}

/// The text that asks for one model: the router takes the hint off again.
pub(crate) fn hinted(model: Option<Model>, text: &str) -> String {
    match model {
        Some(model) => format!("/{model} {text}"),
        None => text.to_owned(),
    }
}

fn sender() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let user: String = user.chars().filter(|it| !it.is_control()).take(40).collect();
    if user.is_empty() { "cli".to_owned() } else { user }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_model_is_a_hint_the_router_takes_off() {
        let text = hinted(Some(Model::OPUS), "why?");
        let catalogue = tinyclaw_domain::Catalogue::default();
        let (hints, rest) = tinyclaw_router::strip_hints(&text, &catalogue);
        assert_eq!((hints.model, &*rest), (Some(Model::OPUS), "why?"));
    }
}
