//! A permission question as a person sees it: all of what would be done, in characters that can be seen.
//!
//! Every face shows the same [`Question`], made from the same [`Ask`]. Nothing in it is concealed: a secret that Claude put
//! into a command is a part of what is approved, and a filter that takes out secrets could be made to take out the command.
//! (Logs are filtered all the same.) What cannot be shown whole cannot be allowed. An answer carries the [`Question::digest`]
//! of what was shown, so that it is an answer to nothing else.

mod body;
mod choices;
mod named;
mod rules;

use sha2::{Digest, Sha256};

use self::body::Body;
pub use self::choices::{
    ANSWER_BYTES_MAX, ASKS_PERSON, Choice, ChoiceError, Choosable, Chosen, answers, choices,
};
pub use self::named::is_invisible;
use self::named::{Namer, Oddity, readable};
pub use self::rules::{Rule, lasting};
use crate::Ask;

/// Begins the line of a field. Named where it stands in a text, so no text can pretend to be a field.
pub(crate) const FIELD: char = '▸';

/// More than this, as JSON, is not kept to be shown: nobody would read it.
pub const INPUT_BYTES_MAX: usize = 512 << 10;
/// What is shown of it may be longer, because of the names in it.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Of what cannot be shown whole so much is shown, to tell by what it is.
const GLIMPSE_CHARS_MAX: usize = 600;
/// The tool by which Claude proposes a plan.
pub const PLANS: &str = "ExitPlanMode";
/// A longer plan nobody reads in a chat.
const PLAN_CHARS_MAX: usize = 20_000;
/// A tool with a longer name is none of the CLI's, nor of an MCP server that a person would allow.
const TOOL_CHARS_MAX: usize = 100;

/// A permission question, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `May I run this?`
    pub title: String,
    /// All of what would be done. Its characters can all be seen; its lines end with `\n`, and it has no other control
    /// characters.
    pub body: String,
    /// What a person should know before they read it, a sentence each.
    pub warnings: Vec<String>,
    /// What "always" would allow until the session ends, in words. None when nothing can be allowed for good.
    pub always: Option<String>,
    /// Why it cannot be allowed, when it cannot: it is not shown whole.
    pub refusal: Option<String>,
    /// What can be chosen, when it is no permission that Claude asks for. Empty otherwise.
    pub choices: Vec<Choice>,
    /// The plan, when Claude asks whether it may go on with one: Markdown in which everything can be seen. "Always" then means
    /// that files are changed without asking.
    pub plan: Option<String>,
    /// What an answer must carry to be one to this question.
    pub digest: String,
}

impl Question {
    /// The question of a turn.
    pub fn of(ask: &Ask) -> Question {
        match ask.tool.as_str() {
            ASKS_PERSON => return Question::to_a_person(ask),
            PLANS => return Question::about_a_plan(ask),
            _ => {}
        }
        let mut namer = Namer::default();
        let tool = namer.line(&ask.tool);
        let title = match ask.tool.as_str() {
            "Bash" => "May I run this?".to_owned(),
            "Edit" | "MultiEdit" => "May I change this file?".to_owned(),
            "Write" => "May I write this file?".to_owned(),
            _ => format!("May I use {}?", glimpse(&tool, TOOL_CHARS_MAX)),
        };
        let mut refusal = ask.unshown.as_ref().map(|why| format!("It cannot be shown: {why}."));
        if tool.chars().count() > TOOL_CHARS_MAX || ask.tool.is_empty() {
            refusal.get_or_insert_with(|| "The name of the tool is none.".to_owned());
        }
        let mut body = Body::of(&ask.tool, &ask.input, &mut namer);
        if body.len() > BODY_BYTES_MAX {
            refusal.get_or_insert_with(|| {
                format!("It is too long to be shown whole: {} kB.", body.len() / 1000)
            });
        }
        if let Some(refusal) = &mut refusal {
            body = glimpse(&body, GLIMPSE_CHARS_MAX);
            refusal.push_str(" So it cannot be allowed.");
        }
        let always = rules::words(&ask.always).filter(|_| refusal.is_none());
        let digest =
            digest(&[&ask.request_id, &title, &body, always.as_deref().unwrap_or_default()]);
        let warnings = warnings(ask, &namer);
        let choices = Vec::new();
        Question { title, body, warnings, always, refusal, choices, plan: None, digest }
    }

    /// A question of Claude's own, to be answered and not to be allowed.
    fn to_a_person(ask: &Ask) -> Question {
        let title = "Claude asks you something".to_owned();
        let (choices, refusal) = match (&ask.unshown, choices(&ask.input)) {
            (None, Ok(choices)) => (choices, None),
            (Some(why), _) => (Vec::new(), Some(format!("It cannot be shown: {why}."))),
            (None, Err(err)) => (Vec::new(), Some(format!("It cannot be shown: {err}."))),
        };
        let body: Vec<String> = choices.iter().map(Choice::lines).collect();
        let body = body.join("\n").trim_end().to_owned();
        let digest = digest(&[&ask.request_id, &title, &body, &ask.input.to_string()]);
        let warnings = Vec::new();
        Question { title, body, warnings, always: None, refusal, choices, plan: None, digest }
    }

    /// Whether Claude may go on with its plan. Every change that it makes is asked about as in any turn, or none of a file is.
    fn about_a_plan(ask: &Ask) -> Question {
        let title = "May I go on with this plan?".to_owned();
        let plan = readable(ask.input["plan"].as_str().unwrap_or_default().trim());
        let refusal = match (&ask.unshown, plan.chars().count()) {
            (Some(why), _) => Some(format!("It cannot be shown: {why}.")),
            (None, 0) => Some("It cannot be shown: it is empty.".to_owned()),
            (None, chars) if chars > PLAN_CHARS_MAX => Some(format!(
                "It cannot be shown: it has {chars} characters, and {PLAN_CHARS_MAX} are the most."
            )),
            _ => None,
        };
        let (body, always) = match refusal {
            Some(_) => (glimpse(&plan, GLIMPSE_CHARS_MAX), None),
            None => (plan.clone(), Some("changes of files without asking".to_owned())),
        };
        let digest = digest(&[&ask.request_id, &title, &plan]);
        let (warnings, choices) = (Vec::new(), Vec::new());
        let plan = refusal.is_none().then_some(plan);
        Question { title, body, warnings, always, refusal, choices, plan, digest }
    }

    /// Whether there is an *Allow*.
    pub fn may_allow(&self) -> bool {
        self.refusal.is_none() && self.choices.is_empty()
    }
}

impl Ask {
    /// The question as it is kept: an input that is too large to be shown is left out, and that is said.
    pub fn kept(mut self) -> Ask {
        let bytes = self.input.to_string().len();
        if bytes > INPUT_BYTES_MAX {
            self.input = serde_json::Value::Null;
            self.unshown = Some(format!(
                "it has {} kB, and {} kB are the most",
                bytes / 1000,
                INPUT_BYTES_MAX / 1000
            ));
        }
        self
    }
}

fn warnings(ask: &Ask, namer: &Namer) -> Vec<String> {
    let is_on = |name: &str| ask.input.get(name).is_some_and(|it| *it != false);
    let mut warnings = Vec::new();
    if is_on("dangerouslyDisableSandbox") {
        warnings.push("It asks to run outside of Claude's sandbox.");
    }
    for (oddity, says) in [
        (Oddity::Hidden, "It holds characters that cannot be seen; each is named, like ⟨U+202E⟩."),
        (Oddity::Lookalike, "It holds letters or signs that look like others; each is named."),
        (Oddity::Blanks, "It holds long runs of blanks; they are counted."),
    ] {
        if namer.oddities.contains(&oddity) {
            warnings.push(says);
        }
    }
    warnings.into_iter().map(str::to_owned).collect()
}

fn glimpse(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, so that no part can begin in the one before.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests;
