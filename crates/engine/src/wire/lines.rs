//! One line of the CLI's output, understood as far as the engine needs it.
//!
//! Everything is read with getters that take a missing or odd field for an absent one: a newer CLI may say more, and
//! nothing it says makes the engine fall over. What is not known becomes [`Line::Unknown`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use tinyclaw_domain::Usage;

use crate::skill::SkillSource;
use crate::turn::{McpState, RateWindow};

/// One line.
/// A Claude that tells of more skills is not believed.
const SKILLS_MAX: usize = 500;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// `system/init`: said at the start of every turn.
    Init { version: Option<String>, model: Option<String>, mcp: Vec<McpState>, skills: Vec<String> },
    /// `system/session_state_changed`.
    State { idle: bool },
    /// A background task began or ended. Its name is what it was described as, and its tool the use of one that began it, where
    /// that is told.
    Task { id: String, name: Option<String>, tool: Option<String>, is_running: bool },
    /// `system/status`, `thinking_tokens` and other signs of life.
    Alive,
    /// `system/api_retry`: a request failed and will be made again.
    ApiRetry {
        attempt: u64,
        attempts_max: u64,
        delay_ms: u64,
        status: Option<u16>,
        error: Option<String>,
    },
    /// `system/model_fallback`.
    ModelFallback { to: Option<String> },
    /// `rate_limit_event`.
    RateLimit { status: String, resets_at: Option<u64>, windows: Vec<RateWindow> },
    /// `stream_event` of the conversation itself (`parent_tool_use_id` null).
    Stream(StreamEvent),
    /// `assistant`: one content block, whole; of a subagent, with the use of a tool within which that works.
    Assistant {
        parent: Option<String>,
        model: Option<String>,
        error: Option<String>,
        blocks: Vec<Block>,
    },
    /// `user` echoed with `isReplay`.
    Replay { uuid: Option<String> },
    /// `user` with tool results.
    ToolResults { nested: bool, results: Vec<(String, bool)> },
    /// `result`: the turn is over.
    Result(Box<ResultLine>),
    /// The CLI wants something from us.
    Request { id: String, request: HostRequest },
    /// An answer to a control request of ours.
    Response {
        id: String,
        error: Option<String>,
        skills: BTreeMap<String, SkillSource>,
        servers: Vec<McpState>,
        windows: Vec<RateWindow>,
    },
    /// The CLI takes a request back.
    Cancel { id: String },
    /// Known, and of no use here: how far a command came by its uuid, which the echo tells sooner.
    Ignored,
    /// A line of a type that this version does not know.
    Unknown(String),
    /// Not JSON.
    Garbage,
}

/// A part of the running answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamEvent {
    /// A new message of the model begins; an unfinished one before it is void.
    MessageStart {
        model: Option<String>,
        /// The tokens that the model was given for it: everything it knows so far.
        context_tokens: Option<u64>,
    },
    /// A block of text begins.
    TextStart,
    /// More text.
    Text(String),
    /// Anything else.
    Other,
}

/// A content block of an `assistant` line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    /// Text, whole.
    Text(String),
    /// A tool is about to be used.
    ToolUse { id: String, name: String, input: Value },
    /// Thinking and whatever else.
    Other,
}

/// What the CLI asks of its host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HostRequest {
    /// May I?
    CanUseTool { tool: String, input: Value, suggestions: Vec<Value> },
    /// A JSON-RPC message for the in-process MCP server.
    Mcp { message: Value },
    /// A tool is about to be used; see [`super::out::HOOK_HELPERS`].
    BeforeTool { input: Value },
    /// Something else.
    Other(String),
}

/// The `result` line.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ResultLine {
    pub(crate) subtype: String,
    pub(crate) is_error: bool,
    pub(crate) api_error_status: Option<u16>,
    pub(crate) text: String,
    pub(crate) errors: Vec<String>,
    pub(crate) stop_reason: Option<String>,
    pub(crate) terminal_reason: Option<String>,
    /// The class of the API's error behind it, where the CLI tells one.
    pub(crate) api_error: Option<String>,
    pub(crate) num_turns: u32,
    pub(crate) duration_ms: u64,
    pub(crate) ttft_ms: Option<u64>,
    /// Of this turn.
    pub(crate) usage: Usage,
    /// Since the process started, or since the session did: that depends on the CLI's version.
    pub(crate) total_cost_usd: f64,
    /// Output tokens of each model, since the same moment.
    pub(crate) model_output: BTreeMap<String, u64>,
    /// What each model did since the result before, from CLIs that tell. Nothing done is an empty map.
    pub(crate) since_last: Option<BTreeMap<String, Share>>,
    pub(crate) denials: Vec<(String, Value)>,
}

/// What one model did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Share {
    pub(crate) cost_usd: f64,
    pub(crate) output_tokens: u64,
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn number(value: &Value, key: &str) -> Option<u64> {
    let it = value.get(key)?;
    it.as_u64().or_else(|| it.as_f64().filter(|it| *it >= 0.0).map(|it| it as u64))
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn status(value: &Value, key: &str) -> Option<u16> {
    number(value, key).and_then(|it| u16::try_from(it).ok())
}

impl Line {
    /// Understands one line. Never fails: there is a variant for everything.
    pub(crate) fn parse(bytes: &[u8]) -> Line {
        let value = serde_json::from_slice::<Value>(bytes);
        // JavaScript writes half of a surrogate pair, and a question that holds one wants an answer all the same.
        let value = value.or_else(|_| serde_json::from_slice(&without_lone_surrogates(bytes)));
        let Ok(value) = value else { return Line::Garbage };
        let kind = text(&value, "type").unwrap_or_default();
        match kind.as_str() {
            "system" => system(&value),
            "stream_event" => stream(&value),
            "assistant" => assistant(&value),
            "user" => user(&value),
            "result" => Line::Result(Box::new(result(&value))),
            "rate_limit_event" => rate_limit(&value),
            "command_lifecycle" => Line::Ignored,
            "control_request" => request(&value),
            "control_response" => response(&value),
            "control_cancel_request" => match text(&value, "request_id") {
                Some(id) => Line::Cancel { id },
                None => Line::Unknown(kind),
            },
            _ => Line::Unknown(kind),
        }
    }
}

/// JSON in which the half of a surrogate pair is U+FFFD, as it becomes wherever text is written as UTF-8.
fn without_lone_surrogates(json: &[u8]) -> Vec<u8> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(br"\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        let len = match (json[at], unit(at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                mended.extend_from_slice(br"\ufffd");
                at += 6;
                continue;
            }
            (b'\\', _) => 2,
            _ => 1,
        };
        let end = json.len().min(at + len);
        mended.extend_from_slice(&json[at..end]);
        at = end;
    }
    mended
}

fn system(value: &Value) -> Line {
    let subtype = text(value, "subtype").unwrap_or_default();
    match subtype.as_str() {
        "init" => Line::Init {
            version: text(value, "claude_code_version"),
            model: text(value, "model"),
            mcp: servers(value, "mcp_servers"),
            skills: list(value, "skills")
                .iter()
                .filter_map(|it| Some(it.as_str()?.to_owned()))
                .take(SKILLS_MAX)
                .collect(),
        },
        "session_state_changed" => {
            Line::State { idle: text(value, "state").as_deref() == Some("idle") }
        }
        "api_retry" => Line::ApiRetry {
            attempt: number(value, "attempt").unwrap_or(0),
            attempts_max: number(value, "max_retries").unwrap_or(0),
            delay_ms: number(value, "retry_delay_ms").unwrap_or(0),
            status: status(value, "error_status"),
            error: text(value, "error"),
        },
        "model_fallback" => Line::ModelFallback {
            to: text(value, "to_model").or_else(|| text(value, "fallback_model")),
        },
        "task_started" | "task_updated" | "task_notification" => task(value, &subtype),
        "status" | "thinking_tokens" | "hook_started" | "hook_response" | "compact_boundary" => {
            Line::Alive
        }
        _ => Line::Unknown(format!("system/{subtype}")),
    }
}

fn task(value: &Value, subtype: &str) -> Line {
    let Some(id) = text(value, "task_id") else { return Line::Alive };
    let name = text(value, "description").filter(|it| !it.is_empty());
    let status = text(value, "status")
        .or_else(|| value.pointer("/patch/status").and_then(Value::as_str).map(str::to_owned));
    let is_running = match status.as_deref() {
        None => subtype != "task_notification",
        Some(it) => matches!(it, "running" | "pending" | "started"),
    };
    Line::Task { id, name, tool: text(value, "tool_use_id"), is_running }
}

fn stream(value: &Value) -> Line {
    if is_nested(value) {
        return Line::Alive;
    }
    let Some(event) = value.get("event") else { return Line::Alive };
    Line::Stream(match event.get("type").and_then(Value::as_str) {
        Some("message_start") => StreamEvent::MessageStart {
            model: event.get("message").and_then(|it| text(it, "model")),
            context_tokens: event.pointer("/message/usage").map(|it| usage(it).context()),
        },
        Some("content_block_start")
            if event.pointer("/content_block/type").and_then(Value::as_str) == Some("text") =>
        {
            StreamEvent::TextStart
        }
        Some("content_block_delta")
            if event.pointer("/delta/type").and_then(Value::as_str) == Some("text_delta") =>
        {
            StreamEvent::Text(
                event.get("delta").and_then(|it| text(it, "text")).unwrap_or_default(),
            )
        }
        _ => StreamEvent::Other,
    })
}

fn usage(value: &Value) -> Usage {
    Usage {
        input_tokens: number(value, "input_tokens").unwrap_or(0),
        output_tokens: number(value, "output_tokens").unwrap_or(0),
        cache_read_tokens: number(value, "cache_read_input_tokens").unwrap_or(0),
        cache_write_tokens: number(value, "cache_creation_input_tokens").unwrap_or(0),
    }
}

fn is_nested(value: &Value) -> bool {
    value.get("parent_tool_use_id").is_some_and(|it| !it.is_null())
}

fn assistant(value: &Value) -> Line {
    let message = value.get("message").unwrap_or(&Value::Null);
    let blocks = match message.get("content") {
        Some(Value::String(it)) => vec![Block::Text(it.clone())],
        _ => list(message, "content").iter().map(block).collect(),
    };
    Line::Assistant {
        parent: text(value, "parent_tool_use_id"),
        model: text(message, "model"),
        error: text(value, "error").or_else(|| text(message, "error")),
        blocks,
    }
}

fn block(value: &Value) -> Block {
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Block::Text(text(value, "text").unwrap_or_default()),
        Some("tool_use" | "server_tool_use" | "mcp_tool_use") => Block::ToolUse {
            id: text(value, "id").unwrap_or_default(),
            name: text(value, "name").unwrap_or_default(),
            input: value.get("input").cloned().unwrap_or(Value::Null),
        },
        _ => Block::Other,
    }
}

fn user(value: &Value) -> Line {
    if flag(value, "isReplay") {
        return Line::Replay { uuid: text(value, "uuid") };
    }
    let message = value.get("message").unwrap_or(&Value::Null);
    let results = list(message, "content")
        .iter()
        .filter(|it| it.get("type").and_then(Value::as_str) == Some("tool_result"))
        .filter_map(|it| Some((text(it, "tool_use_id")?, flag(it, "is_error"))))
        .collect();
    Line::ToolResults { nested: is_nested(value), results }
}

fn rate_limit(value: &Value) -> Line {
    let info = value.get("rate_limit_info").unwrap_or(value);
    Line::RateLimit {
        status: text(info, "status").unwrap_or_default(),
        resets_at: number(info, "resetsAt"),
        windows: windows(info),
    }
}

/// All windows of the plan, or the one that an older CLI speaks of.
fn windows(info: &Value) -> Vec<RateWindow> {
    let window = |name: &str, it: &Value| {
        let used = it.get("utilization").and_then(Value::as_f64)?;
        Some(RateWindow { name: name.to_owned(), used, resets_at: number(it, "resetsAt")? })
    };
    match info.get("unifiedWindows").and_then(Value::as_object) {
        Some(all) => all.iter().filter_map(|(name, it)| window(name, it)).collect(),
        None => text(info, "rateLimitType").and_then(|it| window(&it, info)).into_iter().collect(),
    }
}

/// The windows as the CLI tells them when it is asked: in percent, with times in words; and those of single models.
fn asked_windows(limits: &Value) -> Vec<RateWindow> {
    let window = |name: String, it: &Value| {
        let used = it.get("utilization").and_then(Value::as_f64)? / 100.0;
        let ends = it.get("resets_at").and_then(Value::as_str)?.parse::<Timestamp>().ok()?;
        Some(RateWindow { name, used, resets_at: ends.as_second().try_into().ok()? })
    };
    let plain = limits.as_object().into_iter().flatten();
    let plain = plain.filter_map(|(name, it)| window(name.clone(), it));
    let of_models = list(limits, "model_scoped").iter().filter_map(|it| {
        let model = text(it, "display_name")?.to_lowercase();
        window(format!("seven_day_{}", model.replace(|it: char| !it.is_alphanumeric(), "_")), it)
    });
    plain.chain(of_models).collect()
}

fn request(value: &Value) -> Line {
    let Some(id) = text(value, "request_id") else {
        return Line::Unknown("control_request".to_owned());
    };
    let request = value.get("request").unwrap_or(&Value::Null);
    let subtype = text(request, "subtype").unwrap_or_default();
    let request = match subtype.as_str() {
        "can_use_tool" => HostRequest::CanUseTool {
            tool: text(request, "tool_name").unwrap_or_default(),
            input: request.get("input").cloned().unwrap_or(Value::Null),
            suggestions: list(request, "permission_suggestions").to_vec(),
        },
        "mcp_message" => {
            HostRequest::Mcp { message: request.get("message").cloned().unwrap_or(Value::Null) }
        }
        "hook_callback"
            if text(request, "callback_id").as_deref() == Some(super::out::HOOK_HELPERS) =>
        {
            let input = request.pointer("/input/tool_input").cloned().unwrap_or(Value::Null);
            HostRequest::BeforeTool { input }
        }
        _ => HostRequest::Other(subtype),
    };
    Line::Request { id, request }
}

fn response(value: &Value) -> Line {
    let response = value.get("response").unwrap_or(&Value::Null);
    match text(response, "request_id") {
        Some(id) => {
            let failed = text(response, "subtype").as_deref() == Some("error");
            let error =
                failed.then(|| text(response, "error").unwrap_or_else(|| "no reason".to_owned()));
            let inner = response.get("response").unwrap_or(&Value::Null);
            let servers = servers(inner, "mcpServers");
            let windows = inner.get("rate_limits").map(asked_windows).unwrap_or_default();
            Line::Response { id, error, skills: sources(response), servers, windows }
        }
        None => Line::Unknown("control_response".to_owned()),
    }
}

/// How each MCP server is.
fn servers(value: &Value, key: &str) -> Vec<McpState> {
    let state = |it: &Value| {
        let (name, status) = (text(it, "name")?, text(it, "status")?);
        Some(McpState { name, status, error: text(it, "error") })
    };
    list(value, key).iter().filter_map(state).collect()
}

/// The skills of the repository and of the home among the commands of an `initialize` reply: the CLI says it behind what they
/// are described as.
fn sources(response: &Value) -> BTreeMap<String, SkillSource> {
    let commands = response.get("response").map(|it| list(it, "commands")).unwrap_or_default();
    let source = |it: &Value| {
        let about = text(it, "description")?;
        let from = match about.rsplit_once(' ')?.1 {
            "(project)" => SkillSource::Repository,
            "(user)" => SkillSource::Home,
            _ => return None,
        };
        Some((text(it, "name")?, from))
    };
    commands.iter().filter_map(source).take(SKILLS_MAX).collect()
}

fn shares(value: &Value, key: &str) -> Option<BTreeMap<String, Share>> {
    let models = value.get(key)?.as_object()?;
    let share = |it: &Value| Share {
        cost_usd: it.get("costUSD").and_then(Value::as_f64).filter(|it| *it > 0.0).unwrap_or(0.0),
        output_tokens: number(it, "outputTokens").unwrap_or(0),
    };
    Some(models.iter().map(|(name, it)| (name.clone(), share(it))).collect())
}

fn result(value: &Value) -> ResultLine {
    let model_output = shares(value, "modelUsage")
        .unwrap_or_default()
        .into_iter()
        .map(|(name, it)| (name, it.output_tokens))
        .collect();
    ResultLine {
        subtype: text(value, "subtype").unwrap_or_default(),
        is_error: flag(value, "is_error"),
        api_error_status: status(value, "api_error_status"),
        text: text(value, "result").unwrap_or_default(),
        errors: list(value, "errors").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        stop_reason: text(value, "stop_reason"),
        terminal_reason: text(value, "terminal_reason"),
        api_error: text(value, "api_error"),
        num_turns: number(value, "num_turns").and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
        duration_ms: number(value, "duration_ms").unwrap_or(0),
        ttft_ms: number(value, "ttft_ms"),
        usage: usage(value.get("usage").unwrap_or(&Value::Null)),
        total_cost_usd: value.get("total_cost_usd").and_then(Value::as_f64).unwrap_or(0.0),
        model_output,
        since_last: shares(value, "model_usage_since_last_result"),
        denials: list(value, "permission_denials")
            .iter()
            .map(|it| {
                let input = it.get("tool_input").cloned().unwrap_or(Value::Null);
                (text(it, "tool_name").unwrap_or_default(), input)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Line {
        Line::parse(text.as_bytes())
    }

    #[test]
    fn a_result_that_says_success_can_be_an_error() {
        let Line::Result(it) = parse(
            r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":529,"result":"API Error",
                "usage":{"input_tokens":3,"cache_read_input_tokens":4},"total_cost_usd":0.5,
                "modelUsage":{"claude-opus-4-8[1m]":{"outputTokens":21}}}"#,
        ) else {
            panic!("not a result")
        };
        assert!(it.is_error);
        assert_eq!(it.api_error_status, Some(529));
        assert_eq!(it.usage.cache_read_tokens, 4);
        assert_eq!(it.model_output["claude-opus-4-8[1m]"], 21);
    }

    #[test]
    fn what_a_subagent_says_is_a_sign_of_life_and_no_text() {
        let line = r#"{"type":"stream_event","parent_tool_use_id":"toolu_1",
            "event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}}"#;
        assert_eq!(parse(line), Line::Alive);
    }

    #[test]
    fn a_task_runs_until_it_is_said_to_have_ended() {
        let running = |line| match parse(line) {
            Line::Task { is_running, .. } => is_running,
            other => panic!("{other:?}"),
        };
        assert!(running(r#"{"type":"system","subtype":"task_started","task_id":"b"}"#));
        assert!(running(r#"{"type":"system","subtype":"task_updated","task_id":"b","patch":{}}"#));
        assert!(!running(
            r#"{"type":"system","subtype":"task_updated","task_id":"b","patch":{"status":"killed"}}"#
        ));
        assert!(!running(
            r#"{"type":"system","subtype":"task_notification","task_id":"b","status":"completed"}"#
        ));
    }

    #[test]
    fn half_a_surrogate_pair_does_not_swallow_a_question() {
        let line = r#"{"type":"control_request","request_id":"r","request":{"subtype":"can_use_tool",
            "tool_name":"Bash","input":{"command":"echo \ud83d \ud83d\ude00 \\ud83d \udc00"}}}"#;
        let Line::Request { request: HostRequest::CanUseTool { input, .. }, .. } = parse(line)
        else {
            panic!("the question is lost")
        };
        assert_eq!(input["command"], "echo \u{fffd} \u{1f600} \\ud83d \u{fffd}");
    }

    #[test]
    fn windows_of_the_plan_are_read_as_they_are_told_when_asked() {
        let line = r#"{"type":"control_response","response":{"subtype":"success","request_id":"u","response":{
            "rate_limits_available":true,"rate_limits":{
                "five_hour":{"utilization":31,"resets_at":"2026-12-01T02:00:00+00:00"},
                "seven_day":{"utilization":82.5,"resets_at":"2026-12-04T03:00:00+01:00"},
                "seven_day_opus":{"utilization":5,"resets_at":null},"seven_day_sonnet":null,
                "model_scoped":[{"display_name":"Fable","utilization":7,"resets_at":"2026-12-01T02:00:00Z"}],
                "extra_usage":{"is_enabled":false,"utilization":null}}}}}"#;
        let Line::Response { windows, .. } = parse(line) else { panic!("no answer") };
        let window =
            |name: &str, used, resets_at| RateWindow { name: name.to_owned(), used, resets_at };
        assert_eq!(
            windows,
            [
                window("five_hour", 0.31, 1_796_090_400),
                window("seven_day", 0.825, 1_796_349_600),
                window("seven_day_fable", 0.07, 1_796_090_400),
            ]
        );
        let nothing = r#"{"type":"control_response","response":{"subtype":"success","request_id":"u",
            "response":{"rate_limits_available":false,"rate_limits":null}}}"#;
        assert!(matches!(parse(nothing), Line::Response { windows, .. } if windows.is_empty()));
    }

    #[test]
    fn an_unknown_line_is_named_and_nothing_more() {
        assert_eq!(parse(r#"{"type":"new_kind","a":[1]}"#), Line::Unknown("new_kind".to_owned()));
        assert_eq!(parse("Segmentation fault"), Line::Garbage);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let keys = prop::sample::select(vec![
            "type",
            "subtype",
            "message",
            "content",
            "event",
            "delta",
            "request",
            "request_id",
            "response",
            "usage",
            "modelUsage",
            "text",
            "id",
            "is_error",
            "errors",
            "isReplay",
        ]);
        let words = prop::sample::select(vec![
            "system",
            "init",
            "assistant",
            "user",
            "result",
            "stream_event",
            "control_request",
            "can_use_tool",
            "mcp_message",
            "control_response",
            "text",
            "tool_use",
            "api_retry",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            words.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| {
                    Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_fall_over(value in any_json(), noise in any::<Vec<u8>>()) {
            let _ = Line::parse(value.to_string().as_bytes());
            let _ = Line::parse(&noise);
        }
    }
}
