//! A turn as its caller sees it: what is asked, what happens meanwhile, and how it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tinyclaw_domain::{
    Ask, Effort, Key, Model, PermissionAnswer, PermissionMode, Place, SessionId, ThreadId, Trust,
    Usage,
};
use tokio::sync::mpsc;

use crate::content::Content;
use crate::failure::TurnFailure;
use crate::look::Desk;
use crate::skill::SkillSource;

/// What a Claude process is started with. A change of anything but the model and the effort means another process.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSpec {
    /// The thread; it has one process at most.
    pub thread: ThreadId,
    /// The session, chosen and stored by the caller before the first turn. Whether it is continued or begun is
    /// decided by whether Claude's transcript of it exists.
    pub id: SessionId,
    /// Where Claude runs.
    pub place: Place,
    /// The directory there that it works in, absolute.
    pub cwd: PathBuf,
    /// What Claude may do without asking.
    pub permission_mode: PermissionMode,
    /// Words added to Claude's own system prompt.
    pub system_prompt: String,
    /// Tools that the caller answers itself, see [`TurnEvent::McpCall`].
    pub tools: Arc<[ToolSpec]>,
    /// Tools that others give, see [`OtherServers`].
    pub servers: Arc<OtherServers>,
    /// The model to start with.
    pub model: Model,
    /// How hard it thinks to start with.
    pub effort: Effort,
    /// What of the repository in `cwd` counts.
    pub trust: Trust,
    /// The office's skills, if it has any.
    pub skills: Option<OfficeSkills>,
    /// Whether there are people whom Claude may ask something.
    pub is_attended: bool,
}

/// How an MCP server is, in the CLI's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct McpState {
    /// Its name.
    pub name: String,
    /// `connected`, or what else it is (`failed`, `pending`, `needs-auth`).
    pub status: String,
    /// Why it is not connected, if that is known.
    pub error: Option<String>,
}

/// What became of the wish to connect to MCP servers anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reconnected {
    /// Done; so they are now.
    Now(Vec<McpState>),
    /// No process is there: the next one connects to all of them.
    WithTheNext,
    /// A turn runs, and nothing was done.
    Busy,
}

/// MCP servers beside our own, in the CLI's own words.
#[derive(Clone, PartialEq, Default)]
pub struct OtherServers {
    /// By name. `${NAME}` in them stands for one of `environment`, which Claude fills in: the command line of a process is
    /// read by every user of the machine, its environment is not.
    pub servers: serde_json::Map<String, Value>,
    /// Tools that Claude uses without asking.
    pub allowed: Vec<String>,
    /// Secrets, by the name that stands for them.
    pub environment: BTreeMap<String, String>,
}

/// Without the secrets.
impl std::fmt::Debug for OtherServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.environment.keys().collect();
        f.debug_struct("OtherServers")
            .field("servers", &self.servers)
            .field("allowed", &self.allowed)
            .field("environment", &names)
            .finish()
    }
}

impl SessionSpec {
    /// What a look for this session is about.
    pub(crate) fn desk(&self) -> Desk {
        Desk { thread: self.thread.clone(), place: self.place.clone(), dir: self.cwd.clone() }
    }
}

/// A tool that Claude may call and the caller of the engine answers.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name; Claude sees it as `mcp__tinyclaw__<name>`.
    pub name: String,
    /// What it does, for Claude.
    pub description: String,
    /// JSON schema of its input.
    pub input_schema: Value,
}

impl ToolSpec {
    pub(crate) fn to_mcp(&self) -> Value {
        json!({ "name": self.name, "description": self.description, "inputSchema": self.input_schema })
    }
}

/// One message to Claude.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// The session to ask in; its `model` is the one that shall answer this message.
    pub session: SessionSpec,
    /// The message, for the log.
    pub key: Key,
    /// A uuid to know the prompt by. To Claude it is an idempotency key, also after a crash: the same one again is
    /// swallowed. Keep it before the turn begins; use it again only when [`Engine::trace`](crate::Engine::trace) says
    /// that Claude never saw it.
    pub uuid: String,
    /// What is said.
    pub content: Vec<Content>,
}

/// What happens in a turn, in order. The last one is always [`TurnEvent::Ended`].
#[derive(Debug)]
pub enum TurnEvent {
    /// Claude's process is there and the prompt goes to it. Comes again when that process turns out to be dead and
    /// another one gets the prompt.
    SessionReady {
        /// Whether the session is continued. `false`: Claude knows nothing of what was said before.
        resumed: bool,
        /// Whether the process was there already.
        warm: bool,
    },
    /// A piece of text begins; what streamed since the last [`TurnEvent::TextDone`] is void.
    TextStarted,
    /// More text. A preview: [`TurnEvent::TextDone`] is the truth.
    TextDelta(String),
    /// A whole piece of text, in place of the deltas since [`TurnEvent::TextStarted`].
    TextDone(String),
    /// A tool begins.
    ToolStarted {
        /// Which use of it.
        id: String,
        /// The tool, such as `Bash`.
        name: String,
        /// What it is used with.
        input: Value,
        /// The use of a tool within which it is: that of the subagent which uses it.
        parent: Option<String>,
    },
    /// A tool is done.
    ToolFinished {
        /// Which use of it.
        id: String,
        /// Whether it failed.
        failed: bool,
        /// How long it took.
        duration: Duration,
    },
    /// Claude asks for permission, or puts questions to a person; answer with [`TurnControl::answer_permission`] or
    /// [`TurnControl::choose`]. The watchdogs rest meanwhile.
    Asking {
        /// The question.
        ask: Ask,
    },
    /// The question is no longer open: withdrawn, answered, or expired.
    AskClosed {
        /// Which question.
        request_id: String,
        /// Whether nobody answered in time.
        expired: bool,
    },
    /// Claude calls one of [`SessionSpec::tools`].
    McpCall {
        /// Which tool.
        tool: String,
        /// Its arguments.
        input: Value,
        /// Takes the answer.
        responder: McpResponder,
    },
    /// A request to the API failed and is made again.
    ApiRetry {
        /// Which retry.
        attempt: u64,
        /// Of how many.
        attempts_max: u64,
        /// In what time.
        delay: Duration,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
    },
    /// How far the windows of the plan are used.
    PlanWindows(Vec<RateWindow>),
    /// Another model took over.
    ModelFallback {
        /// Which, if told.
        to: Option<String>,
    },
    /// Claude has the words of [`TurnControl::steer`].
    Steered {
        /// The uuid they were handed over under.
        uuid: String,
    },
    /// What runs on in the background beside the turn, by its description: all of it each time.
    Background {
        /// The tasks.
        running: Vec<String>,
    },
    /// At the beginning of a turn: how each MCP server is. Once more with the reasons, where one failed.
    McpServers(Vec<McpState>),
    /// At the beginning of a turn: the skills that Claude has.
    Skills(Vec<Skill>),
    /// The link to where Claude runs is lost for a while; it goes on there, and so does the turn.
    LinkLost {
        /// Since when, in ms since 1970.
        at: u64,
        /// Why, in words for a person.
        why: String,
        /// Whether the turn was to be stopped, which will be heard there later.
        is_stopping: bool,
    },
    /// The link is there again.
    LinkBack,
    /// The turn is over.
    Ended(Box<TurnEnd>),
}

/// The office's own skills, which its operator wrote: a folder in the shape of a plugin, whose name is the plugin's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfficeSkills {
    /// The folder. Claude reads it, and its tools do.
    pub dir: PathBuf,
    /// Another number when something in it is another one: a running Claude does not look again.
    pub stamp: u64,
}

/// A skill that Claude has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skill {
    /// Its name, as Claude Code tells it.
    pub name: String,
    /// Where it is from.
    pub from: SkillSource,
}

/// How far a window of the plan is used.
#[derive(Debug, Clone, PartialEq)]
pub struct RateWindow {
    /// Which one: `five_hour`, `seven_day`, or whatever the plan has.
    pub name: String,
    /// The share that is used: 1 is all.
    pub used: f64,
    /// When it begins anew, in seconds since 1970.
    pub resets_at: u64,
}

/// How a turn ended, with everything worth keeping.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnEnd {
    /// How.
    pub outcome: TurnOutcome,
    /// The answer: Claude's last words of the turn. What there was so far when the turn was stopped or failed.
    /// Never a text the CLI made up about an error.
    pub text: String,
    /// Everything Claude said in the turn, piece by piece; the last one is usually `text`.
    pub said: Vec<String>,
    /// The session.
    pub session: SessionId,
    /// Whether it was continued.
    pub resumed: bool,
    /// Whether the prompt reached Claude's stdin.
    pub sent: bool,
    /// The full name of the model that gave the answer.
    pub model: Option<String>,
    /// All models that wrote something, by full name.
    pub models: Vec<String>,
    /// Tokens of this turn, of all its requests together.
    pub usage: Usage,
    /// Tokens that the model was given with its last request: how large the conversation is.
    pub context_tokens: Option<u64>,
    /// US dollars of this turn, by the CLI's own price table.
    pub cost_usd: f64,
    /// From the call to the end, the start of the process included.
    pub duration: Duration,
    /// Time until the first word, as Claude measured it.
    pub ttft_ms: Option<u64>,
    /// Requests to the model.
    pub num_turns: u32,
    /// What Claude wanted to do and was not allowed to.
    pub denials: Vec<Denial>,
    /// What runs on in the background, by its description; [`Background`] tells what comes of it.
    pub running: Vec<String>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnOutcome {
    /// Claude answered.
    Answered,
    /// [`TurnControl::interrupt`] was called.
    Interrupted,
    /// It did not work.
    Failed(TurnFailure),
}

/// Something Claude was not allowed to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// The tool.
    pub tool: String,
    /// What it wanted to do with it.
    pub input: Value,
}

/// Something that Claude said with no message in flight: a background task reported back.
#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    /// Where.
    pub thread: ThreadId,
    /// In which session.
    pub session: SessionId,
    /// What.
    pub text: String,
    /// The task that ended last before it was said, by its description.
    pub task: Option<String>,
    /// The model that spoke.
    pub model: Option<String>,
    /// Tokens.
    pub usage: Usage,
    /// US dollars.
    pub cost_usd: f64,
}

/// A running turn. Dropping it interrupts the turn.
#[derive(Debug)]
pub struct Turn {
    pub(crate) events: mpsc::UnboundedReceiver<TurnEvent>,
    pub(crate) control: TurnControl,
}

impl Turn {
    /// The next thing that happens; `None` after [`TurnEvent::Ended`]. Cancel-safe.
    pub async fn next(&mut self) -> Option<TurnEvent> {
        self.events.recv().await
    }

    /// The turn's controls, for other tasks.
    pub fn control(&self) -> TurnControl {
        self.control.clone()
    }

    /// Waits for the end, dropping everything else: calls of tools fail, questions stay open until they expire.
    pub async fn end(mut self) -> Option<TurnEnd> {
        while let Some(event) = self.next().await {
            if let TurnEvent::Ended(end) = event {
                return Some(*end);
            }
        }
        None
    }
}

/// What can be done to a running turn. After its end every call is without effect.
#[derive(Debug, Clone)]
pub struct TurnControl {
    pub(crate) to: mpsc::UnboundedSender<Control>,
}

#[derive(Debug)]
pub(crate) enum Control {
    Interrupt,
    Answer { request_id: String, answer: PermissionAnswer, note: Option<String> },
    Choose { request_id: String, answers: Map<String, Value> },
    Steer { uuid: String, text: String },
    Model(String, Effort),
}

impl TurnControl {
    /// Stops the turn: politely, then by SIGINT, then by ending the process. The turn ends either way.
    pub fn interrupt(&self) {
        let _ = self.to.send(Control::Interrupt);
    }

    /// Another model goes on with the turn and thinks so hard, from Claude's next request on. It is named as
    /// [`crate::Engine::model_name`] does. The highest effort is a flag of a process: within a turn it is the one below.
    pub fn set_model(&self, name: String, effort: Effort) {
        let _ = self.to.send(Control::Model(name, effort.min(Effort::XHigh)));
    }

    /// Answers a permission question. An answer to a question that is no longer open is ignored.
    pub fn answer_permission(&self, request_id: &str, answer: PermissionAnswer) {
        self.answer_permission_with(request_id, answer, None);
    }

    /// [`TurnControl::answer_permission`] with a word to Claude about why not.
    pub fn answer_permission_with(
        &self,
        request_id: &str,
        answer: PermissionAnswer,
        note: Option<String>,
    ) {
        let request_id = request_id.to_owned();
        let _ = self.to.send(Control::Answer { request_id, answer, note });
    }

    /// Hands words to the running turn. Claude reads them between two steps of its work; when it is about to end, it goes on
    /// with them in the same turn. [`TurnEvent::Steered`] says that it has them. Without that event before the end it never
    /// had them, unless the process died: then [`Engine::trace`](crate::Engine::trace) knows.
    pub fn steer(&self, uuid: &str, text: &str) {
        let _ = self.to.send(Control::Steer { uuid: uuid.to_owned(), text: text.to_owned() });
    }

    /// Answers the questions that Claude put to a person ([`tinyclaw_domain::approval::answers`]). Answers to questions
    /// that are no longer open, and to a permission question, are ignored.
    pub fn choose(&self, request_id: &str, answers: Map<String, Value>) {
        let _ = self.to.send(Control::Choose { request_id: request_id.to_owned(), answers });
    }
}

/// Takes the answer to one tool call. Dropped without an answer, it tells Claude that the tool failed.
#[derive(Debug)]
pub struct McpResponder {
    pub(crate) to: mpsc::UnboundedSender<McpAnswer>,
    pub(crate) request_id: String,
    pub(crate) message: Value,
    pub(crate) is_answered: bool,
}

#[derive(Debug)]
pub(crate) struct McpAnswer {
    pub(crate) request_id: String,
    pub(crate) message: Value,
    pub(crate) answer: Result<String, String>,
}

impl McpResponder {
    /// What Claude calls this call. Whoever goes on with a turn hears of a call again that was not answered, by the same
    /// name.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Answers: `Ok` is the tool's result, `Err` what went wrong, both for Claude to read.
    pub fn answer(mut self, answer: Result<String, String>) {
        self.send(answer);
    }

    fn send(&mut self, answer: Result<String, String>) {
        self.is_answered = true;
        let request_id = std::mem::take(&mut self.request_id);
        let message = self.message.take();
        let _ = self.to.send(McpAnswer { request_id, message, answer });
    }
}

impl Drop for McpResponder {
    fn drop(&mut self) {
        if !self.is_answered {
            self.send(Err("this tool is not available at the moment".to_owned()));
        }
    }
}

/// The answer as it looks while it is being written: feed it every event, show [`Draft::text`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    done: String,
    running: String,
}

impl Draft {
    /// Takes one event; says whether the text changed.
    pub fn apply(&mut self, event: &TurnEvent) -> bool {
        match event {
            TurnEvent::TextStarted => {
                let had_some = !self.running.is_empty();
                self.running.clear();
                had_some
            }
            TurnEvent::TextDelta(text) => {
                self.running.push_str(text);
                true
            }
            TurnEvent::TextDone(text) => {
                self.running.clear();
                if !self.done.is_empty() && !text.is_empty() {
                    self.done.push_str("\n\n");
                }
                self.done.push_str(text);
                true
            }
            _ => false,
        }
    }

    /// All text so far, pieces apart by an empty line.
    pub fn text(&self) -> String {
        match (self.done.is_empty(), self.running.is_empty()) {
            (true, _) => self.running.clone(),
            (_, true) => self.done.clone(),
            _ => format!("{}\n\n{}", self.done, self.running),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_stream_is_replaced_and_never_appended_to() {
        let mut draft = Draft::default();
        draft.apply(&TurnEvent::TextDone("Let me look.".to_owned()));
        draft.apply(&TurnEvent::TextStarted);
        draft.apply(&TurnEvent::TextDelta("The ans".to_owned()));
        assert_eq!(draft.text(), "Let me look.\n\nThe ans");
        draft.apply(&TurnEvent::TextDone("The answer is 7.".to_owned()));
        assert_eq!(draft.text(), "Let me look.\n\nThe answer is 7.");
    }
}
