//! The same loop with the real CLI against the fake Messages API. Skipped by name where the CLI is not installed.

use tinyclaw_domain::{Command, Effort, McpOrder, McpServer, Model, Outcome};
use tinyclaw_e2e::{Office, processes_of};
use tinyclaw_testkit::messages_api::MessagesApi;
use tokio::runtime::{Builder, Runtime};

/// The real CLI, the fake API that it talks to, and how an office is told of both.
pub(crate) struct RealClaude {
    pub(crate) api: MessagesApi,
    pub(crate) env: Vec<(String, String)>,
    /// The API lives as long as this does.
    pub(crate) runtime: Runtime,
}

/// Nothing where the CLI is missing.
pub(crate) fn real_claude() -> Option<RealClaude> {
    let claude = match tinyclaw_testkit::claude::program() {
        Ok(it) => it,
        Err(why) => {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            println!("skipped {name}: {why}");
            return None;
        }
    };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("runtime");
    let api = runtime.block_on(MessagesApi::start()).expect("the fake API");
    let env = [
        ("TINYCLAW_ENGINE_KIND", "claude".to_owned()),
        ("TINYCLAW_ENGINE_CLAUDE", claude.display().to_string()),
        ("ANTHROPIC_API_KEY", "dummy".to_owned()),
        ("ANTHROPIC_BASE_URL", api.url()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    Some(RealClaude { api, env, runtime })
}

/// An office with the real CLI.
fn office(env: &[(&str, &str)]) -> Option<(Office, MessagesApi, Runtime)> {
    let claude = real_claude()?;
    let told = claude.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all: Vec<(&str, &str)> = told.chain(env.iter().copied()).collect();
    Some((Office::open_with(&all), claude.api, claude.runtime))
}

#[test]
fn real_claude_that_takes_too_many_steps_is_stopped_and_goes_on_when_told_to() {
    let Some((mut office, _api, _runtime)) = office(&[("TINYCLAW_ENGINE_STEPS_MAX", "1")]) else {
        return;
    };
    let tool = r#"[api: tool Bash {"command":"echo hello","description":"test"}]"#;
    let reply = office.ask("7", tool);
    assert_eq!(reply.outcome, Outcome::Failed, "{}", reply.text);
    assert!(reply.text.ends_with("Say \"continue\" to go on from here."), "{}", reply.text);
    assert_eq!(reply.buttons.len(), 1);
    let used: Vec<(&str, bool)> = reply.tools.iter().map(|it| (it.name.as_str(), it.ok)).collect();
    assert_eq!(used, [("Bash", true)]);
    let reply = office.ask("7", "continue");
    assert_eq!(reply.outcome, Outcome::Answered, "{}", reply.text);
    assert_eq!(office.lines("logs/prompts.jsonl")[1]["newSession"], false);
}

#[test]
fn real_claude_is_asked_for_the_model_the_effort_and_the_cache_that_were_said() {
    let env = [("TINYCLAW_ENGINE_PROMPT_CACHE", "1h")];
    let Some((mut office, api, _runtime)) = office(&env) else { return };
    for command in [
        Command::Model { model: Some(Model::FABLE) },
        Command::Effort { effort: Some(Effort::High) },
    ] {
        let mut message = office.message("7", "");
        message.command = Some(command);
        let key = office.publish(message);
        assert_eq!(office.answer(&key).outcome, Outcome::Notice);
    }
    let asked = |said: &str| {
        let all = api.asked();
        let it = all.iter().rev().find(|it| it.prompt.contains(said)).expect("a request");
        // Each version of the CLI has a version of its own of the family.
        let is_fable = it.model.starts_with("claude-fable-5");
        (is_fable, it.effort.clone(), it.messages.contains(r#""ttl":"1h""#))
    };
    let answer = office.ask("7", "hello, are you there?");
    assert_eq!(answer.model, Some(Model::FABLE), "{}", answer.text);
    let high = Some("high".to_owned());
    assert_eq!(asked("are you there"), (true, high, true));
    // The same process thinks less about the next message, and another one as hard as it can.
    assert_eq!(office.ask("7", "and now? [effort:low]").outcome, Outcome::Answered);
    assert_eq!(asked("and now?").1.as_deref(), Some("low"));
    assert_eq!(office.ask("7", "and then? [effort:max]").outcome, Outcome::Answered);
    assert_eq!(asked("and then?").1.as_deref(), Some("max"));
    assert_eq!(office.lines("logs/prompts.jsonl")[2]["newSession"], false);
}

#[test]
fn real_claude_answers_in_the_office() {
    let Some((mut office, api, _runtime)) = office(&[]) else { return };
    let first = office.ask("7", "hello");
    assert_eq!(first.outcome, Outcome::Answered, "{}", first.text);
    assert!(first.usage.output_tokens > 0);
    let second = office.ask("7", "/opus prove that there is no largest prime");
    assert_eq!(second.model, Some(Model::OPUS), "the model changed on the warm process");
    let prompts = office.lines("logs/prompts.jsonl");
    assert_eq!(prompts[1]["newSession"], false);
    let asked = api.asked();
    assert!(asked.iter().any(|it| format!("{it:?}").contains("Ada at a terminal")
        || format!("{it:?}").contains("Ada via terminal")));
}

/// Speaks MCP over its pipes, in a shell: one tool, which tells what it was given.
pub(crate) const SERVER: &str = r#"while read -r line; do
id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9][0-9]*\).*/\1/p')
case "$line" in
*'"initialize"'*) r='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"weather","version":"1"}}' ;;
*'"tools/list"'*) r='{"tools":[{"name":"now","description":"The weather now.","inputSchema":{"type":"object"}}]}' ;;
*'"tools/call"'*) r="{\"content\":[{\"type\":\"text\",\"text\":\"Rain in $CITY.\"}]}" ;;
*) r='{}' ;;
esac
[ -z "$id" ] || printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done"#;

#[test]
fn real_claude_uses_an_mcp_server_that_an_admin_added() {
    let Some((mut office, api, _runtime)) = office(&[("MCP_CITY", "Oslo")]) else { return };
    let server = McpServer {
        command: Some("sh".to_owned()),
        args: vec!["-c".to_owned(), SERVER.to_owned()],
        env: [("CITY".to_owned(), "${MCP_CITY}".to_owned())].into(),
        allow: vec!["now".to_owned()],
        ..McpServer::default()
    };
    let add = McpOrder::Add { name: "weather".parse().expect("a name"), server: Box::new(server) };
    let order = |office: &mut Office, order: McpOrder| {
        let mut message = office.message("7", "");
        message.command = Some(Command::Mcp { order, admin: true });
        let key = office.publish(message);
        office.answer(&key)
    };
    let added = order(&mut office, add);
    assert!(added.text.contains("`weather` is added"), "{}", added.text);
    // One that cannot begin yet, with the reason.
    let there = office.path("work/there");
    let late = McpServer {
        command: Some("sh".to_owned()),
        args: vec!["-c".to_owned(), format!("[ -e '{}' ] || exit 3\n{SERVER}", there.display())],
        ..McpServer::default()
    };
    let add = McpOrder::Add { name: "late".parse().expect("a name"), server: Box::new(late) };
    order(&mut office, add);
    let reply = office.ask("7", "[api: tool mcp__weather__now {}]");
    assert_eq!(reply.outcome, Outcome::Answered, "{}", reply.text);
    let heard = api.asked().iter().any(|it| it.results.iter().any(|it| it == "Rain in Oslo."));
    assert!(heard, "{:?}", api.asked());
    let listed = order(&mut office, McpOrder::List).text;
    assert!(listed.contains("`weather` (this thread's): connected; allowed: now"), "{listed}");
    let failed = "`late` (this thread's): it could not be started or reached";
    assert!(listed.contains(failed), "{listed}");
    // An older one says so and not why.
    let is_pinned = std::env::var_os("TINYCLAW_TEST_CLAUDE").is_none();
    assert!(!is_pinned || listed.contains(&format!("{failed}: Connection closed; ")), "{listed}");
    // In the process that is there.
    let claudes = |office: &Office| {
        let mut all = processes_of(&office.path("state/home"));
        all.retain(|it| it.contains("--mcp-config"));
        all
    };
    let before = claudes(&office);
    assert!(!before.is_empty());
    std::fs::File::create(&there).expect("a file");
    let mut message = office.message("7", "");
    message.command = Some(Command::Mcp { order: McpOrder::Reconnect, admin: false });
    let key = office.publish(message);
    let anew = office.answer(&key).text;
    assert!(anew.starts_with("Claude has connected anew.\n\n"), "{anew}");
    assert!(anew.contains("`late` (this thread's): connected; "), "{anew}");
    assert_eq!(claudes(&office), before);
}
