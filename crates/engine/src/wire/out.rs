//! Lines that go into the CLI. Made by serde only: a line that is not JSON kills the process.

use serde_json::{Map, Value, json};
use tinyclaw_domain::approval::Rule;
use tinyclaw_domain::{Effort, PermissionAnswer, PermissionMode};

use crate::turn::ToolSpec;

/// The name of our in-process MCP server; Claude sees its tools as `mcp__tinyclaw__<tool>`.
pub(crate) const MCP_SERVER: &str = "tinyclaw";

/// What is said when nobody is there to ask.
pub(crate) const ASK_UNANSWERED: &str =
    "Nobody answered this question in time. Do without it, or say what you would need.";

/// A user message. `uuid` is Claude's idempotency key.
pub(crate) fn user(uuid: &str, content: Value) -> Value {
    json!({
        "type": "user",
        "message": { "role": "user", "content": content },
        "parent_tool_use_id": null,
        "session_id": "",
        "uuid": uuid,
    })
}

/// The name under which the CLI asks us before it starts a helper.
pub(crate) const HOOK_HELPERS: &str = "helpers";
/// The helpers' tool, by its two names.
const HELPERS: &str = "Agent|Task";

fn control(id: &str, request: Value) -> Value {
    json!({ "type": "control_request", "request_id": id, "request": request })
}

/// The first words. The system prompt goes here and not into an argument, which has a length limit and is public.
pub(crate) fn initialize(id: &str, system_prompt: &str, with_tools: bool) -> Value {
    let mut request = json!({
        "subtype": "initialize",
        // A helper that runs on behind the turn answers when nobody waits, and asks when nobody can say yes.
        "hooks": { "PreToolUse": [{ "matcher": HELPERS, "hookCallbackIds": [HOOK_HELPERS] }] },
        // Without this a resumed session keeps the system prompt that it began with.
        "systemPromptSnapshot": false,
    });
    if with_tools {
        request["sdkMcpServers"] = json!([MCP_SERVER]);
    }
    if !system_prompt.is_empty() {
        request["appendSystemPrompt"] = json!(system_prompt);
    }
    control(id, request)
}

pub(crate) fn interrupt(id: &str) -> Value {
    control(id, json!({ "subtype": "interrupt" }))
}

pub(crate) fn set_model(id: &str, model: &str) -> Value {
    control(id, json!({ "subtype": "set_model", "model": model }))
}

/// How hard to think from the next message on. The settings of ours that the process began with go along, so that none of
/// them is lost whether the CLI takes these beside them or instead of them.
pub(crate) fn set_effort(id: &str, effort: Effort) -> Value {
    let settings = json!({ "crossSessionInbound": "refuse", "effortLevel": effort.as_str() });
    control(id, json!({ "subtype": "apply_flag_settings", "settings": settings }))
}

/// How is each MCP server, and why?
pub(crate) fn mcp_status(id: &str) -> Value {
    control(id, json!({ "subtype": "mcp_status" }))
}

/// Connect to an MCP server anew.
pub(crate) fn mcp_reconnect(id: &str, name: &str) -> Value {
    control(id, json!({ "subtype": "mcp_reconnect", "serverName": name }))
}

/// How far is the plan used? What the office's transcripts say of it is not asked: that is a search through all of them.
pub(crate) fn get_usage(id: &str) -> Value {
    control(id, json!({ "subtype": "get_usage", "skip_behaviors": true }))
}

/// An answer to a request of the CLI.
pub(crate) fn success(request_id: &str, response: Value) -> Value {
    json!({
        "type": "control_response",
        "response": { "subtype": "success", "request_id": request_id, "response": response },
    })
}

/// A refusal of a request of the CLI.
pub(crate) fn error(request_id: &str, error: &str) -> Value {
    json!({
        "type": "control_response",
        "response": { "subtype": "error", "request_id": request_id, "error": error },
    })
}

/// The answer to a permission question. "Always" holds for this session: the rules whose words were shown, and nothing else
/// of what the CLI suggested. What may be done is what was asked about, byte for byte.
pub(crate) fn permission(
    request_id: &str,
    answer: PermissionAnswer,
    input: &Value,
    always: &[Rule],
    why_not: &str,
) -> Value {
    let response = match answer {
        PermissionAnswer::Deny => return denial(request_id, why_not),
        PermissionAnswer::Allow => json!({ "behavior": "allow", "updatedInput": input }),
        PermissionAnswer::Always if always.is_empty() => {
            json!({ "behavior": "allow", "updatedInput": input })
        }
        PermissionAnswer::Always => {
            let rules = [Rule::to_update(always)];
            json!({ "behavior": "allow", "updatedInput": input, "updatedPermissions": rules })
        }
    };
    success(request_id, response)
}

/// "Go on" with a plan: what the session does without asking from then on. What else came with the plan is not granted: a
/// person has not seen it.
pub(crate) fn go_on(request_id: &str, input: &Value, mode: PermissionMode) -> Value {
    let mut input = input.clone();
    if let Some(input) = input.as_object_mut() {
        input.remove("allowedPrompts");
    }
    let mode = json!({ "type": "setMode", "mode": mode.cli_name(), "destination": "session" });
    success(
        request_id,
        json!({ "behavior": "allow", "updatedInput": input, "updatedPermissions": [mode] }),
    )
}

/// "No" to whatever was asked.
pub(crate) fn denial(request_id: &str, why_not: &str) -> Value {
    success(request_id, json!({ "behavior": "deny", "message": why_not }))
}

/// The answers to questions that Claude put to a person: the questions go back as they came.
pub(crate) fn chosen(request_id: &str, input: &Value, answers: Map<String, Value>) -> Value {
    let mut input = input.clone();
    if let Some(input) = input.as_object_mut() {
        input.insert("answers".to_owned(), answers.into());
    }
    success(request_id, json!({ "behavior": "allow", "updatedInput": input }))
}

/// The answer to [`HOOK_HELPERS`]: a helper works within the turn. Whether it may at all is asked elsewhere.
pub(crate) fn helper_within_the_turn(request_id: &str, input: &Value) -> Value {
    let mut input = input.clone();
    if let Some(input) = input.as_object_mut() {
        input.insert("run_in_background".to_owned(), json!(false));
    }
    let output = json!({ "hookEventName": "PreToolUse", "updatedInput": input });
    success(request_id, json!({ "hookSpecificOutput": output }))
}

/// The part of MCP that needs no thinking: everything but `tools/call`. `None` is that call.
pub(crate) fn mcp_reply(message: &Value, tools: &[ToolSpec]) -> Option<Value> {
    let result = match message.get("method").and_then(Value::as_str).unwrap_or_default() {
        "tools/call" => return None,
        "initialize" => json!({
            "protocolVersion": message.pointer("/params/protocolVersion").cloned().unwrap_or_else(|| json!("2025-06-18")),
            "capabilities": { "tools": {} },
            "serverInfo": { "name": MCP_SERVER, "version": env!("CARGO_PKG_VERSION") },
        }),
        "tools/list" => json!({ "tools": tools.iter().map(ToolSpec::to_mcp).collect::<Vec<_>>() }),
        "ping" => json!({}),
        method if method.starts_with("notifications/") => json!({}),
        _ => {
            return Some(json!({
                "jsonrpc": "2.0",
                "id": message.get("id").cloned().unwrap_or(Value::Null),
                "error": { "code": -32601, "message": "method not found" },
            }));
        }
    };
    Some(rpc(message, result))
}

/// The answer to a `tools/call`.
pub(crate) fn mcp_called(message: &Value, answer: &Result<String, String>) -> Value {
    let (text, failed) = match answer {
        Ok(it) => (it, false),
        Err(it) => (it, true),
    };
    rpc(message, json!({ "content": [{ "type": "text", "text": text }], "isError": failed }))
}

fn rpc(message: &Value, result: Value) -> Value {
    let id = message.get("id").cloned().unwrap_or_else(|| json!(0));
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_sends_the_rules_that_were_said_and_nothing_else() {
        let input = json!({"command": "x"});
        let rules = [Rule { tool: "Bash".to_owned(), content: Some("curl *".to_owned()) }];
        let updates = |rules: &[Rule]| {
            let line = permission("r", PermissionAnswer::Always, &input, rules, "");
            assert_eq!(line["response"]["response"]["updatedInput"], input);
            line["response"]["response"]["updatedPermissions"].clone()
        };
        assert_eq!(
            updates(&rules),
            json!([{ "type": "addRules", "behavior": "allow", "destination": "session",
                "rules": [{ "toolName": "Bash", "ruleContent": "curl *" }] }])
        );
        assert_eq!(updates(&[]), Value::Null);
    }
}
