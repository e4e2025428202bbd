//! A turn that was begun with a smaller model goes on with a stronger one when its tools show that it needs that.

use serde_json::{Value, json};
use tinyclaw_domain::{Key, Model, Progress};
use tinyclaw_ledger::Progresses;

use crate::claude::Step;
use crate::office::{Office, until};

/// Fails with a tool twice, waits for another model, and then for the test.
fn stuck() -> Vec<Step> {
    let failing = Step::FailingTool("Read");
    vec![failing.clone(), failing, Step::OtherModel, Step::Hold, Step::Say("Now it works.")]
}

/// The causes and models that were logged for a message.
fn logged(office: &Office, key: &Key) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(office.state.routing()).unwrap_or_default();
    let lines = text.lines().map(|it| serde_json::from_str::<Value>(it).expect("a line"));
    let word = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    lines
        .filter(|it| it["key"] == key.as_str())
        .map(|it| (word(&it["cause"]), word(&it["effectiveModel"])))
        .collect()
}

async fn shown(office: &Office, key: &Key, is: impl Fn(&Progress) -> bool) -> Progress {
    let progresses = Progresses::new(&office.state);
    until("the status", || progresses.read(key).filter(&is)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_whose_tools_fail_goes_on_with_a_stronger_model_and_says_so() {
    let mut office = Office::open(json!({}));
    office.claude.on("thanks", [stuck()]);
    let key = office.send("7", "thanks");
    let progress = shown(&office, &key, |it| it.model == Some(Model::SONNET)).await;
    let told = progress.trouble.expect("the status tells why");
    assert_eq!(told, "haiku was not enough (tools failed twice): sonnet goes on.");
    // The played Claude goes on only when it was given another model.
    office.claude.release();
    let reply = office.reply(&key).await;
    assert_eq!((reply.text.as_str(), reply.model), ("Now it works.", Some(Model::SONNET)));
    let [first, second] = logged(&office, &key).try_into().expect("two decisions");
    assert_eq!(first.1, "haiku");
    assert_eq!((second.0.as_str(), second.1.as_str()), ("raised", "sonnet"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_not_raised_where_the_office_or_a_person_says_otherwise() {
    let failing = Step::FailingTool("Read");
    let fails = [failing.clone(), failing.clone(), failing, Step::Say("No luck.")].to_vec();
    for (settings, text) in
        [(json!({ "engine": { "escalate": false } }), "thanks"), (json!({}), "/haiku thanks")]
    {
        let mut office = Office::open(settings);
        office.claude.on("thanks", [fails.clone()]);
        let key = office.send("7", text);
        let reply = office.reply(&key).await;
        assert_eq!((reply.text.as_str(), reply.model), ("No luck.", Some(Model::HAIKU)), "{text}");
        assert_eq!(logged(&office, &key).len(), 1, "{text}");
    }
}
