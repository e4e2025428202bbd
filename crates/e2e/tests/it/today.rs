//! What people see of the real CLI in a forum, with the fake Telegram and the fake Messages API: everything between them is real.
//!
//! | what is claimed | by which test |
//! |---|---|
//! | Claude asks a question with three options and gets the second | `real_claude_in_a_forum_asks_…` |
//! | it proposes a plan, is told to go on and edits | `real_claude_in_a_forum_plans_…` |
//! | it uses an MCP server that an admin added | `real_claude_in_a_forum_uses_…` |
//! | `/model fable` and `/effort high` show in the request | `real_claude_in_a_forum_is_asked_…` |
//! | of a hostile repository that is cloned nothing runs | `real_claude_in_a_forum_runs_…` |
//!
//! What else the engine does with the real CLI is shown one by one in `crates/engine/tests/it`; every case of it that a person
//! can meet, with the demo engine, here and in the tests of the services.

use std::path::Path;

use serde_json::json;
use tinyclaw_domain::{PermissionMode, ThreadId, Trust};
use tinyclaw_e2e::Forum;
use tinyclaw_e2e::github::GitHub;
use tinyclaw_testkit::hostile_repository::{Trap, lay_down, marks};
use tinyclaw_testkit::messages_api::Asked;
use tinyclaw_testkit::telegram::ADA;

use crate::real::{RealClaude, SERVER, real_claude};

/// A forum over the real CLI, in which Ada is an admin and Bob is not.
struct Today {
    forum: Forum,
    claude: RealClaude,
}

impl Today {
    fn open(more: &[(&str, &str)]) -> Option<Today> {
        Some(Today::over(real_claude()?, more))
    }

    fn over(claude: RealClaude, more: &[(&str, &str)]) -> Today {
        let admin = ADA.to_string();
        let mut env: Vec<(&str, &str)> = vec![("TINYCLAW_ADMINS", &admin)];
        env.extend(claude.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        env.extend(more);
        Today { forum: Forum::open_with(&env), claude }
    }

    /// The last request in which this was said.
    fn asked(&self, said: &str) -> Asked {
        let all = self.claude.api.asked();
        all.into_iter().rev().find(|it| it.prompt.contains(said)).expect("a request")
    }

    fn close(self) {
        self.forum.close();
    }
}

#[test]
fn real_claude_in_a_forum_asks_with_three_buttons_and_gets_the_second() {
    let Some(today) = Today::open(&[]) else { return };
    let option = |label: &str| json!({ "label": label, "description": format!("it is {label}") });
    let questions = json!({ "questions": [{ "question": "Which colour?", "header": "Colour",
        "multiSelect": false, "options": [option("Red"), option("Green"), option("Blue")] }] });
    today.forum.ada(None, &format!("[api: tool AskUserQuestion {questions}] [api: say Fine.]"));
    today.forum.until("Which colour?\n    1. Red: it is Red\n");
    today.forum.press("Green");
    today.forum.until("    Fine.\n");
    let answered = today.asked("Which colour?").results.join("\n");
    assert!(answered.contains("Green") && !answered.contains("Blue"), "{answered}");
    today.close();
}

#[test]
fn real_claude_in_a_forum_plans_is_told_to_go_on_and_edits() {
    let Some(today) = Today::open(&[]) else { return };
    let Today { forum, .. } = &today;
    forum.ada(None, "/mode plan");
    forum.until("proposes a plan before it changes anything.");
    let file = forum.office.path("work/1/planned.txt");
    let write = json!({ "file_path": file, "content": "as planned" });
    let marks =
        format!("[api: plan # Write planned.txt] [api: tool Write {write}] [api: say Done.]");
    forum.ada(None, &marks);
    forum.until("has a plan\n    \n    Write planned.txt\n");
    assert!(!file.exists());
    forum.press("Go, accept edits");
    forum.until("    Done.\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as planned");
    let general = &forum.office.threads()[&ThreadId::topic(1)];
    assert_eq!(general.permission_mode, PermissionMode::AcceptEdits);
    today.close();
}

#[test]
fn real_claude_in_a_forum_uses_an_mcp_server_that_an_admin_added() {
    let Some(today) = Today::open(&[("MCP_CITY", "Oslo")]) else { return };
    let Today { forum, .. } = &today;
    let server = forum.office.path("work/1/weather.sh");
    std::fs::create_dir_all(server.parent().unwrap()).unwrap();
    std::fs::write(&server, SERVER).unwrap();
    let add = format!("/mcp add weather CITY=${{MCP_CITY}} sh {}", server.display());
    forum.bob(None, &add);
    forum.until("Only admins may change the MCP servers of a thread.");
    forum.ada(None, &add);
    forum.until("weather is added.");
    forum.ada(None, "/mcp allow weather now");
    forum.until("Claude uses now of weather here without asking.");
    forum.ada(None, "[api: tool mcp__weather__now {}]");
    forum.until("    The tool said: Rain in Oslo.\n");
    today.close();
}

#[test]
fn real_claude_in_a_forum_is_asked_for_the_model_and_the_effort_that_were_said() {
    let Some(today) = Today::open(&[]) else { return };
    let Today { forum, .. } = &today;
    forum.ada(None, "/model fable");
    forum.until("This thread uses fable from now on.");
    forum.ada(None, "/effort high");
    forum.until("Claude's effort here is high from now on.");
    forum.ada(None, "[api: say Good morning, Ada.] Good morning.");
    forum.until("    Good morning, Ada.\n");
    let asked = today.asked("Good morning.");
    assert!(asked.model.starts_with("claude-fable-5"), "{}", asked.model);
    assert_eq!(asked.effort.as_deref(), Some("high"));
    today.close();
}

#[test]
fn real_claude_in_a_forum_runs_nothing_of_a_hostile_repository_that_is_cloned() {
    let Some(claude) = real_claude() else { return };
    let trap = claude.runtime.block_on(Trap::set()).unwrap();
    let github = GitHub::open(&["acme/site"]);
    github.push_all("acme/site", |folder| lay_down(folder, Path::new("."), &trap).unwrap());
    let today = Today::over(claude, &github.env());
    let Today { forum, .. } = &today;
    forum.ada(None, "/new website acme/site");
    let topic =
        forum.found("the topic", |it| it.topic_named(tinyclaw_testkit::telegram::FORUM, "website"));
    let card = forum.until("[ Let its settings count ]");
    assert!(card.contains("neither counts nor runs: .claude/settings.json"), "{card}");
    assert!(card.contains("never counts: .mcp.json"), "{card}");
    forum.ada(Some(topic), "[api: say Good morning, Ada.] Good morning.");
    forum.until("    Good morning, Ada.\n");
    let thread = ThreadId::topic(topic.try_into().unwrap());
    let desk = forum.office.threads()[&thread].clone();
    let clone = Path::new(&desk.cwd);
    assert!(clone.join(".claude/settings.json").is_file());
    assert_eq!(marks(clone), [""; 0]);
    assert_eq!(trap.came(), [""; 0]);
    let asked = today.asked("Good morning.");
    assert!(asked.model.contains("sonnet") || asked.model.contains("haiku"), "{}", asked.model);
    assert!(asked.messages.contains("quince"), "its CLAUDE.md is read");

    // And the traps are real.
    forum.press("Let its settings count");
    forum.until("A repository's settings count here");
    assert_eq!(forum.office.threads()[&thread].trust, Some(Trust::Settings));
    forum.ada(Some(topic), "[api: say And now?] And now?");
    forum.office.wait_for("a hook of the repository's", || {
        marks(clone).iter().any(|it| it == "project-SessionStart").then_some(())
    });
    today.close();
}
