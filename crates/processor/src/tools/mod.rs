//! TinyClaw's own tools for Claude. They are called through the engine's pipe, so the thread they come from is known
//! and cannot be pretended. What they send goes out when the turn ends.

pub(crate) mod outbox;
mod send_file;
mod send_message;
pub(crate) mod servers;
mod shown_office;
pub(crate) mod skills;
mod threads;

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tinyclaw_domain::{DevboxTrust, Message, Place, StateDir, Thread, ThreadId};
use tinyclaw_engine::{Engine, ToolSpec};
use tinyclaw_memory::Memory;
use tinyclaw_service::settings::{Settings, Store};

use crate::Fleet;
use crate::availability::notices::Notices;
use crate::config::now;
use crate::desks::{Desks, may_read_others};
use crate::tools::outbox::Outbox;

/// Those that concern a thread and nobody else.
const OWN: [&str; 2] = ["send_file", "note"];

/// What the tools look at. They change nothing but the turn's [`Outbox`], the thread's notes, and its folder of files.
pub(crate) struct Tools {
    pub(crate) state: StateDir,
    pub(crate) settings: Store<Settings>,
    pub(crate) memory: Memory,
    pub(crate) engine: Engine,
    pub(crate) desks: Arc<Desks>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) fleet: Arc<Fleet>,
}

impl Tools {
    /// The tools, as this thread's Claude is told of them.
    pub(crate) fn specs(&self, thread: &Thread) -> Arc<[ToolSpec]> {
        static SPECS: OnceLock<[Arc<[ToolSpec]>; 3]> = OnceLock::new();
        let all = SPECS.get_or_init(|| {
            let mut own = make_specs(false);
            own.retain(|it| OWN.contains(&it.name.as_str()));
            [make_specs(false).into(), make_specs(true).into(), own.into()]
        });
        match self.is_kept_to_itself(thread) {
            true => all[2].clone(),
            false => all[usize::from(self.may_read(thread))].clone(),
        }
    }

    /// Whether its Claude is in a place that is trusted with nothing but its own thread.
    fn is_kept_to_itself(&self, thread: &Thread) -> bool {
        match thread.place().0 {
            Place::Devbox(name) => self.fleet.trusts(&name) == DevboxTrust::Own,
            // What a container says is heard in its own thread, whoever may have got hold of it.
            Place::Env(_) => true,
            Place::Here => false,
        }
    }

    /// Answers one call. An error is for Claude to read, and says what would work.
    pub(crate) async fn call(
        &self,
        message: &Message,
        thread: &Thread,
        outbox: &mut Outbox,
        tool: &str,
        input: &Value,
    ) -> Result<String, String> {
        let text = |name: &str| {
            let given =
                input.get(name).and_then(Value::as_str).map(str::trim).filter(|it| !it.is_empty());
            given.ok_or_else(|| format!("{name} is missing or empty"))
        };
        if !OWN.contains(&tool) && self.is_kept_to_itself(thread) {
            return Err(format!("there is no tool {tool} on this machine"));
        }
        match tool {
            "send_message" => self.send_message(message, thread, outbox, input, text("message")?),
            "list_threads" => Ok(self.list_threads(&message.thread_id, self.may_read(thread))),
            "read_thread" => self.read_thread(message, thread, input),
            "send_file" => self.send_file(message, thread, outbox, text("path")?).await,
            "note" => {
                let now = now(&self.settings);
                let noted = self.memory.note(&message.thread_id, &now, text("text")?);
                noted.map(|()| "Noted.".to_owned()).map_err(|err| err.to_string())
            }
            other => Err(format!("there is no tool {other}")),
        }
    }

    fn may_read(&self, thread: &Thread) -> bool {
        may_read_others(&self.settings.current(), thread)
    }

    fn thread_of(&self, input: &Value, name: &str) -> Result<ThreadId, String> {
        let id: ThreadId = match input.get(name) {
            Some(Value::Number(it)) => it.to_string().parse(),
            Some(Value::String(it)) => it.trim().parse(),
            _ => return Err(format!("{name} is missing")),
        }
        .map_err(|err: tinyclaw_domain::BadId| err.to_string())?;
        // General is there from the beginning, also before anybody spoke in it.
        if id != ThreadId::master() && self.desks.get(&id).is_none() {
            let known: Vec<String> = self.desks.all().keys().map(ToString::to_string).collect();
            return Err(format!("there is no thread {id}; there are {}", known.join(", ")));
        }
        Ok(id)
    }
}

/// `may_read`: other threads may be read, too.
fn make_specs(may_read: bool) -> Vec<ToolSpec> {
    let tool = |name: &str, description: &str, properties: Value, required: &[&str]| ToolSpec {
        name: name.to_owned(),
        description: description.to_owned(),
        input_schema: json!({ "type": "object", "properties": properties, "required": required }),
    };
    let thread = json!({ "type": ["integer", "string"], "description": "the thread's id, as list_threads shows it" });
    vec![
        tool(
            "send_message",
            "Sends a message to another thread. It goes out when this turn ends and is answered in that thread, not here.",
            json!({ "targetThreadId": thread, "message": { "type": "string" } }),
            &["targetThreadId", "message"],
        ),
        tool(
            "list_threads",
            if may_read {
                "Lists all threads with their directory and what they do."
            } else {
                "Lists all threads by their names."
            },
            json!({}),
            &[],
        ),
        tool(
            "read_thread",
            if may_read {
                "Shows the last messages of a thread."
            } else {
                "Shows the last messages of this thread. Other threads cannot be read here: ask in them with send_message."
            },
            json!({ "threadId": thread, "count": { "type": "integer", "minimum": 1, "maximum": 50 } }),
            &["threadId"],
        ),
        tool(
            "send_file",
            "Attaches a file to the answer. It must lie in this thread's directory.",
            json!({ "path": { "type": "string" } }),
            &["path"],
        ),
        tool(
            "note",
            "Adds a line to today's notes of this thread, which later sessions here will read.",
            json!({ "text": { "type": "string" } }),
            &["text"],
        ),
    ]
}
