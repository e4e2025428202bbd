//! Claude's command line.

use crate::config::EngineConfig;
use crate::turn::SessionSpec;
use crate::wire::out;

/// Tools that ask a person at a terminal; there is none. Claude is to ask in its answer.
const NOT_HERE: &str = "AskUserQuestion,EnterPlanMode,ExitPlanMode";

/// What a process is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Turns,
    Probe,
}

/// Claude's command line. Values are joined to their flags, so that none can pass for a flag.
pub(crate) fn arguments(
    config: &EngineConfig,
    spec: &SessionSpec,
    resumed: bool,
    purpose: Purpose,
) -> Vec<String> {
    let mut args: Vec<String> = [
        "-p",
        "--input-format=stream-json",
        "--output-format=stream-json",
        "--verbose",
        "--include-partial-messages",
        "--replay-user-messages",
        "--permission-prompt-tool=stdio",
        "--strict-mcp-config",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut flag = |name: &str, value: &str| args.push(format!("--{name}={value}"));
    flag("permission-mode", spec.permission_mode.cli_name());
    flag("model", &config.model_name(spec.model));
    flag("setting-sources", &config.setting_sources);
    flag("disallowedTools", NOT_HERE);
    flag(if resumed { "resume" } else { "session-id" }, spec.id.as_str());
    if !spec.tools.is_empty() {
        let name = out::MCP_SERVER;
        let servers =
            serde_json::json!({ "mcpServers": { name: { "type": "sdk", "name": name } } });
        flag("mcp-config", &servers.to_string());
        flag("allowedTools", &format!("mcp__{name}"));
    }
    if let Some(model) = config.fallback_model.filter(|it| *it != spec.model) {
        flag("fallback-model", &config.model_name(model));
    }
    if let Some(most) = config.turns_max {
        flag("max-turns", &most.to_string());
    }
    if purpose == Purpose::Probe {
        flag("tools", "");
        args.push("--no-session-persistence".to_owned());
    }
    args
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tinyclaw_domain::{Model, PermissionMode, ThreadId};

    use super::*;

    #[test]
    fn a_session_is_resumed_or_begun_and_no_value_can_be_a_flag() {
        let config = EngineConfig::new("claude", "leash", "/state", "/home/claude");
        let spec = SessionSpec {
            thread: ThreadId::topic(7),
            id: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().unwrap(),
            cwd: "/desk".into(),
            permission_mode: PermissionMode::AcceptEdits,
            system_prompt: "--dangerously-skip-permissions".to_owned(),
            tools: Arc::new([]),
            model: Model::Sonnet,
        };
        let begun = arguments(&config, &spec, false, Purpose::Turns);
        let resumed = arguments(&config, &spec, true, Purpose::Turns);
        let id = "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f";
        assert!(begun.contains(&format!("--session-id={id}")));
        assert!(resumed.contains(&format!("--resume={id}")));
        assert!(begun.contains(&"--permission-mode=acceptEdits".to_owned()));
        assert!(!begun.iter().any(|it| it.starts_with("--dangerously")));
    }
}
