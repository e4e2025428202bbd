//! What is set in a thread now, in words: what people are told who say `/model`, `/effort`, `/mode` or `/trust` and nothing
//! behind it, wherever they say it.

use crate::{PermissionMode, Thread, Tier, Trust};

/// What is set in a thread of whatever this command sets. None where it sets nothing that is told so.
pub fn set_now(thread: &Thread, command: &str) -> Option<String> {
    Some(match command {
        "model" => model(thread),
        "effort" => match thread.effort {
            Some(effort) => format!("Claude's effort here is {effort}."),
            None => "How hard Claude thinks here depends on the message.".to_owned(),
        },
        "mode" => choice(MODES, Some(thread.permission_mode)),
        "trust" => match thread.trust {
            Some(_) => choice(TRUSTS, thread.trust),
            // A thread does not know the office's settings.
            None => format!("{}\n\n{OFFICE}", choice(TRUSTS, None)),
        },
        _ => return None,
    })
}

const MODES: &[(PermissionMode, &str, &str)] = &[
    (
        PermissionMode::Plan,
        "plan",
        "Claude looks around and proposes a plan before it changes anything",
    ),
    (PermissionMode::Ask, "ask", "Claude asks before it changes anything"),
    (
        PermissionMode::AcceptEdits,
        "edits",
        "Claude edits files without asking, and asks for the rest",
    ),
    (PermissionMode::Bypass, "bypass", "Claude does everything without asking"),
];

const TRUSTS: &[(Trust, &str, &str)] = &[
    (Trust::None, "none", "nothing of a repository counts, not even its CLAUDE.md"),
    (
        Trust::Text,
        "text",
        "Claude is told a repository's CLAUDE.md and rules, and nothing of it runs",
    ),
    (
        Trust::Settings,
        "settings",
        "a repository's settings count as well: its hooks, helpers, skills, commands and agents run unasked",
    ),
];

/// What counts where nothing was said.
const OFFICE: &str = "Nothing was said here: `text` counts, unless `engine.settingSources` of the office says otherwise.";

fn model(thread: &Thread) -> String {
    let now = match thread.pin {
        Some(model) => format!("This thread uses {model}."),
        None => "The router chooses the model for each message here.".to_owned(),
    };
    let own = |tier: Tier| Some(format!(" {tier} messages go to {}.", thread.tiers.get(tier)?));
    format!("{now}{}", Tier::ALL.into_iter().filter_map(own).collect::<String>())
}

/// Every word with what it does, the one that holds now with a mark.
fn choice<T: Copy + PartialEq>(all: &[(T, &str, &str)], now: Option<T>) -> String {
    let line = |(it, word, about): &(T, &str, &str)| {
        let mark = if Some(*it) == now { " (now)" } else { "" };
        format!("- `{word}`{mark}: {about}")
    };
    all.iter().map(line).collect::<Vec<String>>().join("\n")
}
