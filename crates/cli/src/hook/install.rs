//! Claude's own settings: `tinyclaw hook` is put beside whatever hooks are there, and taken out again.
//!
//! Nothing else in the file is touched. A hook whose output Claude waits for to do its own work is left out.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};
use tinyclaw_disk::{Flush, replace};

/// What ends every command of ours, by which it is found again.
const MARK: &str = " hook # tinyclaw";
/// Claude gives up on a command after so many seconds.
const TIMEOUT_SECONDS: u64 = 10;
/// All that the CLI knows of, but `WorktreeCreate` and `WorktreeRemove`: whoever hooks those makes the worktree instead
/// of Claude.
const EVENTS: [&str; 32] = [
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "PostToolBatch",
    "PreSkillShellCommand",
    "PermissionRequest",
    "PermissionDenied",
    "UserPromptSubmit",
    "UserPromptExpansion",
    "MessageDisplay",
    "Notification",
    "Elicitation",
    "ElicitationResult",
    "SessionStart",
    "SessionEnd",
    "Setup",
    "Stop",
    "StopFailure",
    "SubagentStart",
    "SubagentStop",
    "TeammateIdle",
    "TaskCreated",
    "TaskCompleted",
    "PreCompact",
    "PostCompact",
    "PreModelSwitch",
    "PostModelSwitch",
    "ConfigChange",
    "InstructionsLoaded",
    "CwdChanged",
    "DirectoryAdded",
    "FileChanged",
];

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    /// It was written.
    Changed,
    /// It was so already.
    Same,
}

/// Puts our command into a settings file of Claude's, for every event.
pub(crate) fn install(settings: &Path, program: &Path) -> anyhow::Result<Installed> {
    let program = program.display().to_string().replace('\'', r"'\''");
    let command = format!("'{program}'{MARK}");
    change(settings, |hooks| {
        take_out(hooks);
        for event in EVENTS {
            let ours = json!({ "hooks": [{ "type": "command", "command": command, "timeout": TIMEOUT_SECONDS }] });
            match hooks.entry(event).or_insert_with(|| json!([])) {
                Value::Array(all) => all.push(ours),
                _ => bail!("hooks.{event} is no list"),
            }
        }
        Ok(())
    })
}

/// Takes our command out again.
pub(crate) fn remove(settings: &Path) -> anyhow::Result<Installed> {
    change(settings, |hooks| {
        take_out(hooks);
        Ok(())
    })
}

fn take_out(hooks: &mut Map<String, Value>) {
    let is_ours = |it: &Value| it["command"].as_str().is_some_and(|it| it.ends_with(MARK));
    for all in hooks.values_mut().filter_map(Value::as_array_mut) {
        all.retain_mut(|group| {
            let Some(commands) = group.get_mut("hooks").and_then(Value::as_array_mut) else {
                return true;
            };
            let before = commands.len();
            commands.retain(|it| !is_ours(it));
            before == commands.len() || !commands.is_empty()
        });
    }
    hooks.retain(|_, it| it.as_array().is_none_or(|it| !it.is_empty()));
}

fn change(
    settings: &Path,
    change: impl FnOnce(&mut Map<String, Value>) -> anyhow::Result<()>,
) -> anyhow::Result<Installed> {
    let text = match std::fs::read_to_string(settings) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(err).with_context(|| format!("cannot read {}", settings.display())),
    };
    let what = || format!("{} is not what Claude's settings look like", settings.display());
    let mut root: Map<String, Value> = match text.trim() {
        "" => Map::new(),
        text => serde_json::from_str(text).with_context(what)?,
    };
    let before = root.clone();
    let hooks = root.entry("hooks").or_insert_with(|| json!({}));
    let Value::Object(hooks) = hooks else { bail!("{}: hooks is no object", what()) };
    change(hooks).with_context(what)?;
    if hooks.is_empty() {
        root.shift_remove("hooks");
    }
    if root == before {
        return Ok(Installed::Same);
    }
    if let Some(dir) = settings.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let text = serde_json::to_string_pretty(&root)? + "\n";
    // A link stays one: what it leads to is changed.
    let file = std::fs::canonicalize(settings).unwrap_or_else(|_| settings.to_owned());
    replace(&file, text.as_bytes(), Flush::Strict)
        .with_context(|| format!("cannot write {}", settings.display()))?;
    Ok(Installed::Changed)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test plays the person who wrote the settings")]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_wrote_is_there_after_installing_and_as_it_was_after_removing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.json");
        let own = json!({
            "model": "opus",
            "hooks": { "PreToolUse": [{ "matcher": "Bash", "hooks": [{ "type": "command", "command": "my hook" }] }] },
        });
        std::fs::write(&file, own.to_string()).unwrap();
        let program = Path::new("/opt/tiny claw/tinyclaw");
        assert_eq!(install(&file, program).unwrap(), Installed::Changed);
        assert_eq!(install(&file, program).unwrap(), Installed::Same, "once is enough");
        let now: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(now["hooks"].as_object().unwrap().len(), EVENTS.len());
        assert_eq!(now["hooks"]["PreToolUse"].as_array().unwrap().len(), 2);
        assert_eq!(now["hooks"]["PreToolUse"][0], own["hooks"]["PreToolUse"][0]);
        assert!(now["hooks"].get("WorktreeCreate").is_none());
        assert_eq!(remove(&file).unwrap(), Installed::Changed);
        let after: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(after, own);
    }

    #[test]
    fn a_file_that_is_no_settings_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings.json");
        for text in ["{ not json", "[]", r#"{"hooks":[]}"#, r#"{"hooks":{"Stop":{}}}"#] {
            std::fs::write(&file, text).unwrap();
            assert!(install(&file, Path::new("/tinyclaw")).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }
}
