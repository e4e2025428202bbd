//! Orders about a thread: open, reset, another directory, another model. Carried out in the thread's own lane, so in
//! order with its messages. Each answers with what is true now.

#[cfg(feature = "devboxes")]
mod devbox;
mod forget;
mod go_on;
mod mcp;
mod open;
mod remove;
mod reset;
mod set_dir;
mod status;

use std::sync::Arc;

use tinyclaw_domain::{
    Command, Message, Outcome, PermissionMode, Reply, Source, Thread, ThreadId, ThreadStatus, Trust,
};
use tinyclaw_engine::Engine;
use tinyclaw_ledger::ThreadsError;
use tinyclaw_queue::Queue;
use tinyclaw_service::settings::{Settings, Store};

use crate::availability::budget::Budgets;
use crate::availability::notices::notice;
use crate::availability::pause::Availability;
use crate::desks::sessions::Sessions;
use crate::desks::{Desks, trust};
#[cfg(feature = "devboxes")]
use crate::devboxes::Fleet;
use crate::tools::servers::Servers;
use crate::tools::skills::Skills;

/// What orders change: the desks, and what waits for them.
pub(crate) struct Commands {
    pub(crate) settings: Store<Settings>,
    pub(crate) queue: Queue,
    pub(crate) engine: Engine,
    pub(crate) desks: Arc<Desks>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) availability: Arc<Availability>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) servers: Arc<Servers>,
    pub(crate) skills: Arc<Skills>,
    #[cfg(feature = "devboxes")]
    pub(crate) fleet: Arc<Fleet>,
}

impl Commands {
    /// Carries a command out and says what came of it.
    pub(crate) async fn carry_out(&self, message: &Message, command: &Command) -> Reply {
        let id = &message.thread_id;
        // Who renames a topic sees that it has another name.
        let is_silent =
            message.source == Source::System || matches!(command, Command::Rename { .. });
        if let Command::Forget {} = command {
            // Nothing is opened in order to be forgotten.
            return self.forget(id).await.unwrap_or_else(refused);
        }
        if let Command::Remove { sure } = command {
            return self.remove(id, *sure).await.unwrap_or_else(refused);
        }
        let said = match self.desks.get_or_open(id, message.topic_name.as_deref()).await {
            Ok(thread) => match command {
                #[cfg(feature = "devboxes")]
                Command::Devbox { order, admin } => {
                    self.devbox(message, &thread, order, *admin).await
                }
                #[cfg(not(feature = "devboxes"))]
                Command::Devbox { .. } => Err(Refusal::Plain(
                    "This TinyClaw was built without devboxes, as for the demo: build it with the feature `devboxes` of tinyclaw-processor.".to_owned(),
                )),
                command => self.obey(id, &thread, command).await,
            },
            Err(err) => Err(match err.downcast::<ThreadsError>() {
                Ok(err) => Refusal::Threads(err),
                Err(err) => Refusal::Plain(format!(
                    "The thread gets no folder: {err:#}. Nothing was changed."
                )),
            }),
        };
        match said {
            Ok(reply) => Reply { silent: is_silent, ..reply },
            Err(refusal) => {
                tracing::warn!(thread.id = %id, "an order to thread {id} was refused: {refusal}");
                refused(refusal)
            }
        }
    }

    async fn obey(
        &self,
        id: &ThreadId,
        thread: &Thread,
        command: &Command,
    ) -> Result<Reply, Refusal> {
        let change = |change: &dyn Fn(&mut Thread)| self.desks.change(id, change).map(drop);
        Ok(notice(match command {
            Command::Open { name, dir, repo } => {
                return self.open(id, thread, name, dir, repo).await;
            }
            Command::Reset {} => self.reset(id, thread).await?,
            Command::Setdir { dir, admin } => self.set_dir(id, thread, dir, *admin).await?,
            Command::Model { model } => {
                change(&|it| it.pin = *model)?;
                match model {
                    Some(model) => format!(
                        "This thread uses {model} from now on. /model auto lets the router choose again."
                    ),
                    None => "The router chooses the model for each message again.".to_owned(),
                }
            }
            Command::Tier { tier, model } => {
                change(&|it| it.tiers.set(*tier, *model))?;
                match model {
                    Some(model) => format!("{tier} messages go to {model} here from now on."),
                    None => format!("{tier} messages go to the office's model here again."),
                }
            }
            Command::Effort { effort } => {
                change(&|it| it.effort = *effort)?;
                match effort {
                    Some(effort) => format!("Claude's effort here is {effort} from now on."),
                    None => "How hard Claude thinks depends on the message again.".to_owned(),
                }
            }
            Command::Mode { mode, admin } => {
                // Whoever may speak may ask for more questions; for fewer only an admin may.
                if mode.asks_less_than(thread.permission_mode) && !admin {
                    return Err(Refusal::Plain(
                        "Only admins may let Claude do more here without asking. Nothing was changed."
                            .to_owned(),
                    ));
                }
                change(&|it| it.permission_mode = *mode)?;
                match mode {
                    PermissionMode::Plan => {
                        "Claude looks around here and proposes a plan before it changes anything."
                    }
                    PermissionMode::Ask => "Claude asks here before it changes anything.",
                    PermissionMode::AcceptEdits => {
                        "Claude edits files here without asking, and asks for the rest."
                    }
                    PermissionMode::Bypass => {
                        "Claude does everything here without asking. /mode ask ends that."
                    }
                }
                .to_owned()
            }
            Command::Trust { trust: wanted, admin } => {
                // Whoever may speak may let less of a repository count; only an admin lets more of it.
                if *wanted > trust(&self.settings.current(), thread) && !admin {
                    return Err(Refusal::Plain(
                        "Only admins may let more of a repository count here. Nothing was changed."
                            .to_owned(),
                    ));
                }
                change(&|it| it.trust = Some(*wanted))?;
                match wanted {
                    Trust::None => "Nothing of a repository counts for Claude here: not even its CLAUDE.md.",
                    Trust::Text => "Claude is told a repository's CLAUDE.md and rules here. Nothing of it runs.",
                    Trust::Settings => {
                        "A repository's settings count here, as they are and as Claude changes them: its hooks, helpers, skills, commands and agents run, unasked, with Claude's login at hand. /trust text ends that."
                    }
                }
                .to_owned()
            }
            Command::Mcp { order, admin } => self.mcp(id, thread, order, *admin).await?,
            Command::Skills {} => self.skills.listed(id, thread),
            Command::Prompt { text } => {
                change(&|it| it.system_prompt = text.clone().filter(|it| !it.trim().is_empty()))?;
                match text.as_deref().filter(|it| !it.trim().is_empty()) {
                    Some(_) => "Claude is told this from its next message on.".to_owned(),
                    None => "Claude is told nothing of its own here any more.".to_owned(),
                }
            }
            Command::Rename { name } => {
                change(&|it| it.name = name.clone())?;
                format!("This thread is called {name} now.")
            }
            Command::Close {} => {
                change(&|it| it.status = ThreadStatus::Closed)?;
                self.engine.evict(id).await;
                "Closed. The session is kept; /reopen goes on with it.".to_owned()
            }
            Command::Reopen {} => {
                change(&|it| it.status = ThreadStatus::Idle)?;
                "Open again.".to_owned()
            }
            Command::Status {} => self.status(id, thread),
            Command::GoOn {} => self.go_on(id, thread)?,
            Command::Stop { .. }
            | Command::Rate { .. }
            | Command::Permission { .. }
            | Command::Choose { .. }
            | Command::Change { .. }
            | Command::Devbox { .. }
            | Command::Forget {}
            | Command::Remove { .. }
            | Command::Summarize { .. } => {
                return Err(Refusal::Plain("This order came by the wrong way.".to_owned()));
            }
        }))
    }
}

fn refused(refusal: Refusal) -> Reply {
    Reply { outcome: Outcome::Failed, ..notice(refusal.to_string()) }
}

/// Why an order was not carried out, as people are told.
#[derive(Debug)]
enum Refusal {
    Plain(String),
    Threads(ThreadsError),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Plain(text) => f.write_str(text),
            Refusal::Threads(err) => {
                write!(f, "The threads cannot be saved: {err}. Nothing was changed.")
            }
        }
    }
}

impl From<ThreadsError> for Refusal {
    fn from(err: ThreadsError) -> Refusal {
        Refusal::Threads(err)
    }
}
