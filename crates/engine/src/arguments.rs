//! Claude's command line.

use tinyclaw_domain::{PermissionMode, Trust};

use crate::config::EngineConfig;
use crate::turn::SessionSpec;
use crate::wire::out;

/// The tool that begins a plan, which is a person's to ask for (`/mode plan`). And those that reach other sessions of the same
/// home: desks speak to each other through the queue, where a person sees it.
const NOT_HERE: &str = "EnterPlanMode,ListAgents,SendMessage";
/// Where a person did not ask for a plan, Claude proposes none.
const NOT_UNPLANNED: &str = "ExitPlanMode";
/// Where nobody is asked anything, Claude does not ask.
const NOT_ALONE: &str = "AskUserQuestion";
/// Settings of ours that count more than any file: whoever finds this process's socket starts no turn in it.
const SETTINGS: &str = r#"{"crossSessionInbound":"refuse"}"#;

/// What a process is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Turns,
    /// To see whether it answers.
    Probe,
    /// To be asked how far its plan is used; it answers no prompt.
    PlanWindows,
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
    flag("effort", spec.effort.as_str());
    flag("settings", SETTINGS);
    flag("setting-sources", &config.setting_sources(spec.trust));
    if spec.trust == Trust::Text {
        // With no settings of the repository its CLAUDE.md would be gone, too; as a directory to add it is read.
        flag("add-dir", &spec.cwd.display().to_string());
    }
    if let Some(skills) = &spec.skills {
        flag("plugin-dir", &skills.dir.display().to_string());
    }
    let mut not_here = vec![NOT_HERE];
    not_here.extend((spec.permission_mode != PermissionMode::Plan).then_some(NOT_UNPLANNED));
    not_here.extend((!spec.is_attended).then_some(NOT_ALONE));
    flag("disallowedTools", &not_here.join(","));
    flag(if resumed { "resume" } else { "session-id" }, spec.id.as_str());
    let mut servers = spec.servers.servers.clone();
    let mut allowed = spec.servers.allowed.clone();
    if !spec.tools.is_empty() {
        let name = out::MCP_SERVER;
        let ours = serde_json::json!({ "type": "sdk", "name": name, "alwaysLoad": true });
        servers.insert(name.to_owned(), ours);
        allowed.insert(0, format!("mcp__{name}"));
    }
    if !servers.is_empty() {
        flag("mcp-config", &serde_json::json!({ "mcpServers": servers }).to_string());
    }
    if !allowed.is_empty() {
        flag("allowedTools", &allowed.join(","));
    }
    if let Some(model) = config.fallback_model.filter(|it| *it != spec.model) {
        flag("fallback-model", &config.model_name(model));
    }
    if let Some(most) = config.turns_max {
        flag("max-turns", &most.to_string());
    }
    if purpose != Purpose::Turns {
        flag("tools", "");
        args.push("--no-session-persistence".to_owned());
    }
    args
}

/// Flags that are given as they are.
const PLAIN: [&str; 9] = [
    "-p",
    "--input-format=stream-json",
    "--output-format=stream-json",
    "--verbose",
    "--include-partial-messages",
    "--replay-user-messages",
    "--permission-prompt-tool=stdio",
    "--strict-mcp-config",
    "--no-session-persistence",
];
/// Flags whose value is one of ours to choose.
const WITH_VALUE: [&str; 12] = [
    "model",
    "effort",
    "add-dir",
    "disallowedTools",
    "resume",
    "session-id",
    "mcp-config",
    "allowedTools",
    "fallback-model",
    "max-turns",
    "tools",
    "setting-sources",
];

/// The first of these that no office makes: a helper on another machine starts Claude with nothing else.
pub(crate) fn not_ours(args: &[String]) -> Option<&str> {
    let is_ours = |it: &str| {
        let Some((flag, value)) = it.strip_prefix("--").and_then(|it| it.split_once('=')) else {
            return PLAIN.contains(&it);
        };
        match flag {
            "permission-mode" => {
                use tinyclaw_domain::PermissionMode::{AcceptEdits, Ask, Bypass, Plan};
                [Plan, Ask, AcceptEdits, Bypass].iter().any(|it| it.cli_name() == value)
            }
            // The office's own folder, by its name (`StateDir::office`).
            "plugin-dir" => {
                let dir = std::path::Path::new(value);
                dir.is_absolute() && dir.file_name().is_some_and(|it| it == "office")
            }
            "settings" => value == SETTINGS,
            _ => PLAIN.contains(&it) || WITH_VALUE.contains(&flag),
        }
    };
    args.iter().map(String::as_str).find(|it| !is_ours(it))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tinyclaw_domain::{Effort, Model, Place, ThreadId};

    use super::*;
    use crate::turn::{OtherServers, ToolSpec};

    fn spec() -> SessionSpec {
        SessionSpec {
            thread: ThreadId::topic(7),
            id: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().unwrap(),
            place: Place::Here,
            cwd: "/desk".into(),
            permission_mode: PermissionMode::AcceptEdits,
            system_prompt: "--dangerously-skip-permissions".to_owned(),
            tools: Arc::new([]),
            servers: Arc::default(),
            model: Model::SONNET,
            effort: Effort::High,
            trust: Trust::Text,
            skills: None,
            is_attended: true,
        }
    }

    #[test]
    fn a_session_is_resumed_or_begun_and_no_value_can_be_a_flag() {
        let config = EngineConfig::new("claude", "leash", "/state", "/home/claude");
        let spec = spec();
        let begun = arguments(&config, &spec, false, Purpose::Turns);
        let resumed = arguments(&config, &spec, true, Purpose::Turns);
        let id = "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f";
        assert!(begun.contains(&format!("--session-id={id}")));
        assert!(resumed.contains(&format!("--resume={id}")));
        assert!(begun.contains(&"--permission-mode=acceptEdits".to_owned()));
        assert!(begun.contains(&"--setting-sources=".to_owned()), "nothing of a repository counts");
        assert!(begun.contains(&"--add-dir=/desk".to_owned()));
        assert!(!begun.iter().any(|it| it.starts_with("--dangerously")));
        let alone = SessionSpec { is_attended: false, ..spec.clone() };
        let alone = arguments(&config, &alone, false, Purpose::Turns);
        let lacks = |it: &[String], tool: &str| it.iter().any(|it| it.contains(tool));
        assert!(lacks(&alone, "AskUserQuestion") && !lacks(&begun, "AskUserQuestion"));
        let plan = SessionSpec { permission_mode: PermissionMode::Plan, ..spec.clone() };
        let plan = arguments(&config, &plan, false, Purpose::Turns);
        assert!(lacks(&begun, "ExitPlanMode") && !lacks(&plan, "ExitPlanMode"));
        assert_eq!(not_ours(&plan), None);
        assert_eq!(not_ours(&begun), None);
        assert_eq!(not_ours(&resumed), None);
        assert_eq!(not_ours(&arguments(&config, &spec, false, Purpose::Probe)), None);
    }

    #[test]
    fn other_servers_stand_beside_ours_and_no_secret_stands_in_the_line() {
        let config = EngineConfig::new("claude", "leash", "/state", "/home/claude");
        let server = serde_json::json!({ "type": "stdio", "command": "npx",
            "env": { "TOKEN": "${TINYCLAW_MCP_TOKEN}" } });
        let tool = ToolSpec {
            name: "x".to_owned(),
            description: String::new(),
            input_schema: serde_json::json!({}),
        };
        let spec = SessionSpec {
            tools: Arc::new([tool]),
            servers: Arc::new(OtherServers {
                servers: [("linear".to_owned(), server)].into_iter().collect(),
                allowed: vec!["mcp__linear__find".to_owned()],
                environment: [("TINYCLAW_MCP_TOKEN".to_owned(), "hush".to_owned())].into(),
            }),
            ..spec()
        };
        let line = arguments(&config, &spec, false, Purpose::Turns);
        let value = |flag: &str| line.iter().find_map(|it| it.strip_prefix(flag)).unwrap();
        let servers: serde_json::Value = serde_json::from_str(value("--mcp-config=")).unwrap();
        assert_eq!(servers["mcpServers"]["tinyclaw"]["type"], "sdk");
        assert_eq!(servers["mcpServers"]["linear"]["command"], "npx");
        assert_eq!(value("--allowedTools="), "mcp__tinyclaw,mcp__linear__find");
        assert!(!format!("{line:?} {spec:?}").contains("hush"));
    }

    #[test]
    fn a_helper_takes_no_argument_that_no_office_makes() {
        for bad in [
            "--dangerously-skip-permissions",
            "--permission-mode=whatever",
            r#"--settings={"hooks":{}}"#,
            "--plugin-dir=/tmp/x",
            "--mcp-config",
            "mcp.json",
            "--model",
            "-r",
            "",
        ] {
            let args = ["-p".to_owned(), bad.to_owned()];
            assert_eq!(not_ours(&args), Some(bad));
        }
    }
}
