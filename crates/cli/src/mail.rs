//! Sending messages through the queue and waiting for what becomes of them. Nothing here runs Claude, and nothing is
//! written but messages and the files that go with them.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tinyclaw_disk::foreign::read_below;
use tinyclaw_domain::{Channel, Command, FileRef, Key, Message, Model, Reply, Source, ThreadId};
use tinyclaw_ledger::{StateDir, health};
use tinyclaw_queue::{Durability, Options, Place, Published, Queue, Side, View};
use tinyclaw_service::media_type;
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::{Office, Store};

use crate::place::environment;

/// A file that goes with a message may be so long.
const FILE_BYTES_MAX: u64 = 50 * 1024 * 1024;
/// A processor says every two seconds how it is. One that has said nothing for so long is not there.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It has its reply.
    Answered(Box<Message>),
    /// It was given up.
    GivenUp(String),
}

/// A hand on the queue of one office.
pub(crate) struct Mail {
    state: StateDir,
    queue: Queue,
}

impl Mail {
    /// Opens the queue of this state folder.
    pub(crate) fn open(state: &StateDir) -> anyhow::Result<Mail> {
        Ok(Mail { state: state.clone(), queue: queue_of(state)? })
    }

    /// The queue, for what an operator does to it.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// A look at the queue.
    pub(crate) fn view(&self) -> View {
        self.queue.view()
    }

    /// A message of whoever sits at this terminal, with a key of its own.
    pub(crate) fn message(&self, thread: &ThreadId, text: &str) -> Message {
        let key = Key::hashed("cli", &uuid::Uuid::new_v4().simple().to_string());
        let mut message = Message::new(key, Channel::Cli, thread.clone(), text, now_ms());
        message.source = Source::Cli;
        message.sender = sender();
        message.sender_id = Some("cli".to_owned());
        message
    }

    /// An order to TinyClaw about a thread.
    pub(crate) fn order(&self, thread: &ThreadId, command: Command) -> Message {
        Message { command: Some(command), ..self.message(thread, "") }
    }

    /// Puts a copy of a file where Claude may read it, and names it in the message.
    pub(crate) fn attach(&self, message: &mut Message, path: &Path) -> anyhow::Result<()> {
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
        let kept = format!("{}-{}-{}", message.key, message.files.len() + 1, clean(name));
        let dir = self.state.files(&message.thread_id);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        tinyclaw_disk::replace(&dir.join(&kept), &bytes, tinyclaw_disk::Flush::Strict)?;
        message.files.push(FileRef {
            path: format!("files/{}/{kept}", message.thread_id),
            mime: media_type(name).to_owned(),
            name: Some(name.to_owned()),
        });
        Ok(())
    }

    /// Publishes a message. It is on disk when this returns.
    pub(crate) fn send(&self, message: Message) -> anyhow::Result<Key> {
        let key = message.key.clone();
        match self.queue.publish(Side::Run, message, Durability::Strict)? {
            Published::New => Ok(key),
            Published::Duplicate(place) => bail!("message {key} is in {place} already"),
        }
    }

    /// What became of a message, when something has.
    pub(crate) fn ending(&self, key: &Key) -> anyhow::Result<Option<Ending>> {
        let found = self.view().find(key).context("cannot look into the queue")?;
        let Some(seen) = found else { bail!("message {key} is not in the queue any more") };
        let has_reply = seen.message.reply.is_some();
        Ok(match seen.place {
            Place::Done => Some(Ending::Answered(Box::new(seen.message))),
            Place::Dead | Place::Quarantine => {
                let why = seen.reason.or(seen.message.trouble);
                Some(Ending::GivenUp(why.unwrap_or_else(|| "no reason was kept".to_owned())))
            }
            // Somebody else carries it out; what it says is known.
            Place::Outgoing | Place::Sending if has_reply => {
                Some(Ending::Answered(Box::new(seen.message)))
            }
            _ => None,
        })
    }

    /// Waits until something has become of a message.
    pub(crate) async fn wait(&self, key: &Key) -> anyhow::Result<Ending> {
        let watch = self.view().watch();
        loop {
            // The ticket is taken before looking, so that nothing between is missed.
            let changed = watch.changed();
            if let Some(ending) = self.ending(key)? {
                return Ok(ending);
            }
            changed.await;
        }
    }

    /// The whole text of a reply, also of one that was too long for its message file.
    pub(crate) fn text(&self, reply: &Reply) -> anyhow::Result<String> {
        let Some(file) = &reply.file else { return Ok(reply.text.clone()) };
        let bytes = read_below(self.state.root(), Path::new(file), FILE_BYTES_MAX);
        let bytes = bytes.with_context(|| format!("cannot show the answer in {file:?}"))?;
        String::from_utf8(bytes).with_context(|| format!("{file:?} is not text"))
    }

    /// Whether somebody is there to answer.
    pub(crate) fn is_staffed(&self) -> bool {
        let seen = health::read(&self.state, "processor", now_ms()).ok().flatten();
        seen.is_some_and(|it| it.age <= SILENT_AFTER)
    }
}

/// The queue of this state folder, to write to. What comes of it is asked of a view.
pub(crate) fn queue_of(state: &StateDir) -> anyhow::Result<Queue> {
    // A mistake in the settings keeps nobody from writing: the services say it.
    let office = Store::<Office>::open(state.root(), environment());
    let allow_network_disk = office.is_ok_and(|it| it.current().allow_network_disk);
    let options = Options { watch: false, allow_network_disk, ..Options::default() };
    Queue::open(state.root(), options).context("cannot open the queue")
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

/// A file name as a part of ours: letters, digits, dots, dashes, at most so many.
fn clean(name: &str) -> String {
    let kept = name.chars().map(|it| {
        if it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_') { it } else { '_' }
    });
    let kept: Vec<char> = kept.collect();
    kept[kept.len().saturating_sub(80)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_becomes_a_part_of_ours() {
        assert_eq!(clean("../a b/ü.png"), ".._a_b__.png");
        assert_eq!(clean(&"x".repeat(200)).len(), 80);
    }

    #[test]
    fn a_wanted_model_is_a_hint_the_router_takes_off() {
        let text = hinted(Some(Model::Opus), "why?");
        assert_eq!(tinyclaw_router::strip_hint(&text), (Some(Model::Opus), "why?".into()));
    }
}
