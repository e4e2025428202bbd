//! MCP servers of others: who may add one, what Claude is told of it, and what people see of one that does not work.

use serde_json::{Value, json};
use tinyclaw_domain::{Command, McpOrder, Outcome};

use crate::claude::Step;
use crate::office::{Office, until};

fn order(words: &str, admin: bool) -> Command {
    Command::Mcp { order: words.parse().unwrap(), admin }
}

/// The servers that the Claude started last was told of, by its command line.
fn told(office: &Office) -> Value {
    let (args, _) = office.claude.started_with();
    let value = args.iter().find_map(|it| it.strip_prefix("--mcp-config=")).unwrap();
    serde_json::from_str::<Value>(value).unwrap()["mcpServers"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_adds_a_server_whose_secret_is_named_and_nobody_else_does() {
    let mut office = Office::open(json!({ "mcp": { "servers": {
        "search": { "command": "searcher", "allow": ["*"] } } } }));
    let secrets = office.state.mcp_secrets();
    std::fs::create_dir_all(&secrets).unwrap();
    tinyclaw_disk::replace(
        &secrets.join("MCP_WEB"),
        b"hush-0123456789\n",
        tinyclaw_disk::Flush::None,
    )
    .unwrap();
    let add = r#"add web https://mcp.example/mcp Authorization="Bearer ${MCP_WEB}""#;
    let refused = office.obeyed("7", order(add, false)).await;
    assert_eq!(refused.outcome, Outcome::Failed);
    assert!(refused.text.starts_with("Only admins may change"), "{}", refused.text);

    let added = office.obeyed("7", order(add, true)).await;
    assert!(added.text.contains("`web` (this thread's): not asked yet"), "{}", added.text);
    assert!(added.text.contains("`search` (the office's)"), "{}", added.text);
    office.ask("7", "hello").await;
    let servers = told(&office);
    assert_eq!(servers["web"]["headers"]["Authorization"], "Bearer ${TINYCLAW_MCP_WEB}");
    assert_eq!(servers["search"]["command"], "searcher");
    let (args, env) = office.claude.started_with();
    assert_eq!(env["TINYCLAW_MCP_WEB"], "hush-0123456789");
    assert!(!args.iter().any(|it| it.contains("hush")), "other users read command lines");
    assert!(!tinyclaw_service::conceal("it is hush-0123456789").contains("hush"));
    assert!(args.contains(&"--allowedTools=mcp__tinyclaw,mcp__search".to_owned()), "{args:?}");
    let stored = std::fs::read_to_string(office.state.threads()).unwrap();
    assert!(stored.contains("${MCP_WEB}") && !stored.contains("hush"), "{stored}");

    // The other desk has the office's alone.
    office.ask("8", "hello").await;
    assert!(told(&office)["web"].is_null() && told(&office)["search"].is_object());

    // What is changed counts with the next message, in a process of its own.
    let starts = office.claude.starts();
    office.obeyed("7", order("allow web find", true)).await;
    office.ask("7", "again").await;
    assert_eq!(office.claude.starts(), starts + 1);
    let (args, _) = office.claude.started_with();
    assert!(args.iter().any(|it| it.ends_with("mcp__search,mcp__web__find")), "{args:?}");
    office.obeyed("7", order("remove web", true)).await;
    office.ask("7", "once more").await;
    assert!(told(&office)["web"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_in_the_chat_is_refused_and_not_kept() {
    let mut office = Office::open(json!({}));
    let add =
        "add web https://mcp.example/mcp Authorization=ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let refused = office.obeyed("7", order(add, true)).await;
    assert!(refused.text.contains("looks like a secret"), "{}", refused.text);
    let stored = std::fs::read_to_string(office.state.threads()).unwrap();
    assert!(!stored.contains("ghp_"), "{stored}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_of_no_use_is_named_and_fails_no_turn() {
    let mut office = Office::open(json!({ "mcp": { "servers": {
        "db": { "command": "no-such-program" },
        "web": { "url": "https://mcp.example/mcp", "headers": { "X": "${MCP_NOWHERE}" } } } } }));
    let found = &[("tinyclaw", "connected"), ("db", "failed")];
    office.claude.on("hello", [vec![Step::Servers(found), Step::Hold, Step::Say("Done.")]]);
    let key = office.send("7", "hello");
    let progresses = tinyclaw_ledger::Progresses::new(&office.state);
    let both =
        |it: tinyclaw_domain::Progress| (it.mcp_trouble.len() == 2).then_some(it.mcp_trouble);
    let trouble = until("both named", || progresses.read(&key).and_then(both)).await;
    assert!(trouble[0].starts_with("web: its secret MCP_NOWHERE is missing"), "{trouble:?}");
    assert_eq!(trouble[1], "db: it could not be started or reached");
    office.claude.release();
    assert_eq!(office.reply(&key).await.text, "Done.");
    let listed =
        office.obeyed("7", Command::Mcp { order: McpOrder::List, admin: false }).await.text;
    assert!(listed.contains("`db` (the office's): it could not be started"), "{listed}");
    let said = office.obeyed("7", order("reconnect", false)).await.text;
    assert!(said.starts_with("Claude connects to each MCP server anew"), "{said}");
}
