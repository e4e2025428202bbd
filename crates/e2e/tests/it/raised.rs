//! What becomes of a decision while and after a turn runs, with the real CLI and the fake Messages API.
//!
//! | what is claimed | by which test |
//! |---|---|
//! | tools that fail twice raise a turn: later requests have the stronger model, people are told, the cause is logged | `real_claude_turn_whose_tools_fail_…` |
//! | where a setting says so, they do not | `real_claude_turn_is_not_raised_…` |
//! | "no, wrong" is kept beside the decision, and the dashboard tells it | `real_claude_answer_that_a_person_corrects_…` |

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use tinyclaw_e2e::{Forum, Office};
use tinyclaw_testkit::telegram::ADA;

use crate::gateway::Service;
use crate::real::{RealClaude, real_claude};

/// A small wish, below which the fake API reads what Claude does about it: two tools fail, a third one runs until `go` is
/// there, and then there is an answer. What stands below an order does not make it harder.
fn wish(desk: &Path) -> String {
    let failing = json!({ "command": "cat notes-of-yesterday.txt", "description": "look" });
    let waiting = format!("until [ -e '{}' ]; do sleep 0.05; done", desk.join("go").display());
    let waiting = json!({ "command": waiting, "description": "wait" });
    let mark = |input: &Value| format!("[api: tool Bash {input}]");
    let (failing, waiting) = (mark(&failing), mark(&waiting));
    format!("hello, are you there?\n\n{failing} {failing} {waiting} [api: say Now it works.]")
}

/// The family of each model that was asked about that wish, in order; of more in a row one is told.
fn models(claude: &RealClaude) -> Vec<&'static str> {
    let asked = claude.api.asked();
    let about = asked.iter().filter(|it| it.prompt.contains("are you there?"));
    let mut models: Vec<&'static str> = about
        .map(|it| {
            let families = ["haiku", "sonnet", "opus"];
            families.into_iter().find(|family| it.model.contains(family)).unwrap_or("another")
        })
        .collect();
    models.dedup();
    models
}

/// A forum over the real CLI with these variables, in which Ada is an admin.
fn forum(claude: &RealClaude, more: &[(&str, &str)]) -> Forum {
    let admin = ADA.to_string();
    let mut env: Vec<(&str, &str)> = vec![("TINYCLAW_ADMINS", &admin)];
    env.extend(claude.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    env.extend(more);
    Forum::open_with(&env)
}

/// The decisions in the log: cause, model, and what showed that another one was needed.
fn decisions(office: &Office) -> Vec<[String; 3]> {
    let word = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let lines = office.lines("routing-log.jsonl").into_iter();
    lines.map(|it| [&it["cause"], &it["effectiveModel"], &it["evidence"]].map(word)).collect()
}

#[test]
fn real_claude_turn_whose_tools_fail_goes_on_with_a_stronger_model_and_says_so() {
    let Some(claude) = real_claude() else { return };
    let forum = forum(&claude, &[]);
    let desk = forum.office.path("work/1");
    forum.ada(None, &wish(&desk));
    // While the third tool runs, the status tells.
    forum.until("was not enough (tools failed twice): sonnet goes on.");
    assert_eq!(models(&claude), ["haiku"], "nothing was asked since");
    File::create(desk.join("go")).expect("a file");
    forum.until("    Now it works.\n");
    assert_eq!(models(&claude), ["haiku", "sonnet"]);
    let [first, second] = decisions(&forum.office).try_into().expect("two decisions");
    assert_eq!(first[1], "haiku", "{first:?}");
    assert_eq!(second, ["raised", "sonnet", "tools failed twice"]);
    forum.close();
}

#[test]
fn real_claude_turn_is_not_raised_where_a_setting_says_so() {
    let Some(claude) = real_claude() else { return };
    let forum = forum(&claude, &[("TINYCLAW_ENGINE_ESCALATE", "false")]);
    let desk = forum.office.path("work/1");
    std::fs::create_dir_all(&desk).expect("folder");
    File::create(desk.join("go")).expect("a file");
    forum.ada(None, &wish(&desk));
    let transcript = forum.until("    Now it works.\n");
    assert!(!transcript.contains("was not enough"), "{transcript}");
    // Both did fail.
    let told = claude.api.asked();
    let results = &told.iter().rfind(|it| it.results.len() == 3).expect("three tools").results;
    let failed = results.iter().filter(|it| it.contains("notes-of-yesterday.txt: No such file"));
    assert_eq!(failed.count(), 2, "{results:?}");
    assert_eq!(models(&claude), ["haiku"]);
    assert_eq!(decisions(&forum.office).len(), 1);
    forum.close();
}

#[test]
fn real_claude_answer_that_a_person_corrects_is_kept_and_told_by_the_dashboard() {
    let Some(claude) = real_claude() else { return };
    let forum = forum(&claude, &[]);
    let office = &forum.office;
    forum.ada(None, "which port is it\n\n[api: say It is 8080.]");
    forum.until("    It is 8080.\n");
    forum.ada(None, "no, wrong\n\n[api: say Then it is 8081.]");
    forum.until("    Then it is 8081.\n");
    let said = office.wait_for("what was said", || office.lines("routing-outcomes.jsonl").pop());
    let asked = office.lines("routing-log.jsonl");
    assert_eq!([&said["key"], &said["by"]], [&asked[0]["key"], &asked[1]["key"]]);
    assert_eq!([&said["said"], &said["model"]], [&json!("wrong"), &asked[0]["effectiveModel"]]);
    // The page asks for it by the message that was decided about.
    let dashboard = Service::start(office, "tinyclaw-dashboard", &[]);
    let told = |key: &Value| {
        let key = key.as_str().expect("a key");
        dashboard.json(&format!("/api/routing/outcomes/{key}"), &[])
    };
    assert_eq!(told(&said["key"]), json!([said]));
    assert_eq!(told(&said["by"]), json!([]));
    forum.close();
}
