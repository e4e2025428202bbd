//! Processes played by hand, so that they die exactly when a test says so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tinyclaw_domain::Place;
use tinyclaw_engine::{
    Access, Advice, Auth, Engine, Exit, LaunchFuture, LaunchSpec, Launcher, Launchers, Leash,
    LeashHand, Leashed, LocalLauncher, Look, OutOfReach, TurnFailure, TurnOutcome,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines};
use tokio::sync::mpsc;

use crate::desk::Desk;

/// Starts nothing, and hands each process over to the test.
#[derive(Debug)]
struct ByHand {
    hands: mpsc::UnboundedSender<Hand>,
    here: LocalLauncher,
}

/// A process, as its inside sees it.
#[derive(Debug)]
struct Hand {
    spec: LaunchSpec,
    heard: Lines<BufReader<DuplexStream>>,
    says: DuplexStream,
    leash: LeashHand,
}

impl Launcher for ByHand {
    fn launch(&self, spec: LaunchSpec) -> LaunchFuture<'_> {
        let (stdin, heard) = tokio::io::duplex(64 * 1024);
        let (says, stdout) = tokio::io::duplex(64 * 1024);
        let (held, leash) = Leash::pair();
        let _ = self.hands.send(Hand { spec, heard: BufReader::new(heard).lines(), says, leash });
        let leashed = Leashed {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(tokio::io::empty()),
            leash: held,
        };
        Box::pin(async { Ok(leashed) })
    }

    fn look(&self) -> &dyn Look {
        &self.here
    }
}

impl Hand {
    async fn hears(&mut self) -> Value {
        let line = self.heard.next_line().await.unwrap().expect("the pipe is open");
        serde_json::from_str(&line).unwrap()
    }

    async fn says(&mut self, line: Value) {
        self.says.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn gets_ready(&mut self) {
        let hello = self.hears().await;
        let response = json!({ "subtype": "success", "request_id": hello["request_id"] });
        self.says(json!({ "type": "control_response", "response": response })).await;
    }

    /// Hears a prompt and answers it.
    async fn answers(&mut self, text: &str) -> Value {
        let prompt = self.hears().await;
        self.echoes(&prompt).await;
        self.says(json!({ "type": "result", "subtype": "success", "result": text })).await;
        let idle = json!({ "type": "system", "subtype": "session_state_changed", "state": "idle" });
        self.says(idle).await;
        prompt
    }

    /// Answers a prompt, and says what was used in its own way of counting.
    async fn bills(&mut self, total: f64, since: Option<f64>) {
        let prompt = self.hears().await;
        self.echoes(&prompt).await;
        let of =
            |cost: f64| json!({ "claude-x": { "outputTokens": cost * 100.0, "costUSD": cost } });
        let mut line = json!({ "type": "result", "subtype": "success", "result": "done",
            "num_turns": 1, "total_cost_usd": total, "modelUsage": of(total) });
        if let Some(since) = since {
            line["model_usage_since_last_result"] = of(since);
        }
        self.says(line).await;
    }

    async fn echoes(&mut self, prompt: &Value) {
        self.says(json!({ "type": "user", "isReplay": true, "uuid": prompt["uuid"] })).await;
    }

    fn dies(self) {
        let _ = self.leash.exit.send(Ok(Exit { code: Some(137), signal: None }));
    }
}

/// A desk whose processes come out of the channel.
fn desk() -> (Desk, mpsc::UnboundedReceiver<Hand>) {
    let (to, hands) = mpsc::unbounded_channel();
    let mut desk = Desk::demo();
    let launcher = Arc::new(ByHand { hands: to, here: LocalLauncher::of(&desk.config) });
    desk.engine = Engine::with_launchers(desk.config.clone(), Launchers::here(launcher));
    (desk, hands)
}

async fn next(hands: &mut mpsc::UnboundedReceiver<Hand>) -> Hand {
    tokio::time::timeout(Duration::from_secs(60), hands.recv()).await.unwrap().unwrap()
}

/// Its death is noticed a moment after it, and a prompt may come in that moment.
#[tokio::test]
async fn a_turn_handed_to_a_dead_process_is_started_on_a_new_one_without_a_word() {
    let (desk, mut hands) = desk();
    let turn = desk.ask("one");
    let mut first = next(&mut hands).await;
    first.gets_ready().await;
    first.answers("1").await;
    assert_eq!(turn.end().await.unwrap().text, "1");

    let turn = desk.ask("two");
    let prompt = first.hears().await;
    first.dies();
    let mut second = next(&mut hands).await;
    second.gets_ready().await;
    let again = second.answers("2").await;
    assert_eq!((&again["uuid"], &again["message"]), (&prompt["uuid"], &prompt["message"]));
    let end = turn.end().await.unwrap();
    assert_eq!((end.outcome, end.text.as_str()), (TurnOutcome::Answered, "2"));
}

/// What a machine elsewhere is told is how Claude shall behave: its login, its paths and its secrets are its own.
#[tokio::test]
async fn a_claude_elsewhere_gets_no_secret_and_no_path_of_this_machine() {
    let (to, mut hands) = mpsc::unbounded_channel();
    let mut desk = Desk::demo_with(|it| {
        it.auth = Auth::ApiKey("hush".into());
        it.base_url = Some("http://127.0.0.1:9".to_owned());
        it.capability = Some(".capability".to_owned());
        it.env.insert("CREDENTIAL_BROKER_URL".to_owned(), "http://broker:3000".to_owned());
    });
    let here = || LocalLauncher::of(&desk.config);
    let there = Arc::new(ByHand { hands: to, here: here() });
    let launchers = Launchers::here(Arc::new(here())).with_devboxes(there);
    desk.engine = Engine::with_launchers(desk.config.clone(), launchers);
    desk.spec.place = Place::Devbox("api".parse().unwrap());
    desk.spec.cwd = "/srv/api".into();
    let turn = desk.ask("one");
    let mut hand = next(&mut hands).await;
    let spec = hand.spec.clone();
    assert_eq!((&spec.place, spec.cwd.as_path()), (&desk.spec.place, Path::new("/srv/api")));
    assert_eq!(spec.access, Access::default());
    let habits = |it: &&String| it.starts_with("CLAUDE_CODE_") || it.starts_with("DISABLE_");
    let rest: Vec<&String> = spec.env.keys().filter(|it| !habits(it)).collect();
    assert_eq!(rest, ["BASH_MAX_TIMEOUT_MS"]);
    let here = desk.path("").display().to_string();
    let told = spec.env.values().chain(&spec.args);
    assert_eq!(told.filter(|it| it.contains(&here) || it.contains("hush")).count(), 0);
    hand.gets_ready().await;
    hand.answers("1").await;
    assert_eq!(turn.end().await.unwrap().text, "1");
}

/// What runs there may go on; nobody here knows. That is no crash, and no fault of the message.
#[tokio::test]
async fn a_turn_whose_place_goes_out_of_reach_says_so_and_not_that_it_crashed() {
    let (desk, mut hands) = desk();
    let turn = desk.ask("one");
    let mut hand = next(&mut hands).await;
    hand.gets_ready().await;
    let prompt = hand.hears().await;
    hand.echoes(&prompt).await;
    let lost = OutOfReach {
        place: Place::Devbox("api".parse().unwrap()),
        why: "api:22 refuses connections".to_owned(),
        is_held: false,
    };
    let _ = hand.leash.exit.send(Err(lost.clone()));
    let end = turn.end().await.unwrap();
    let failure = TurnFailure::OutOfReach(lost.clone());
    assert_eq!(failure.advice(), Advice::OutlastPlace(lost));
    assert_eq!(failure.to_string(), "api is out of reach: api:22 refuses connections");
    assert_eq!(end.outcome, TurnOutcome::Failed(failure));
    assert!(end.sent);
}

/// What Claude has heard it may have begun: whether to ask again is not the engine's to say.
#[tokio::test]
async fn a_turn_that_was_heard_before_the_process_died_is_a_crash() {
    let (desk, mut hands) = desk();
    let turn = desk.ask("one");
    let mut first = next(&mut hands).await;
    first.gets_ready().await;
    first.answers("1").await;
    turn.end().await.unwrap();

    let turn = desk.ask("two");
    let prompt = first.hears().await;
    first.echoes(&prompt).await;
    first.dies();
    let end = turn.end().await.unwrap();
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{end:?}");
    assert!(hands.try_recv().is_err(), "no other process was asked");
}

/// One that dies of every prompt is tried on one more process, and then it is told.
#[tokio::test]
async fn a_prompt_that_kills_every_process_is_told_after_the_second() {
    let (desk, mut hands) = desk();
    let turn = desk.ask("one");
    let mut first = next(&mut hands).await;
    first.gets_ready().await;
    first.answers("1").await;
    turn.end().await.unwrap();

    let turn = desk.ask("deadly");
    first.hears().await;
    first.dies();
    let mut second = next(&mut hands).await;
    second.gets_ready().await;
    second.hears().await;
    second.dies();
    let end = turn.end().await.unwrap();
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{end:?}");
    assert!(hands.try_recv().is_err(), "no third process was asked");
}

/// Old CLIs count from the process's start, new ones from the session's and say what is new.
#[tokio::test]
async fn a_resumed_session_is_billed_once_however_a_cli_counts() {
    for (is_new, totals) in [(true, [0.5, 0.75, 1.0]), (false, [0.5, 0.25, 0.5])] {
        let (desk, mut hands) = desk();
        let mut costs = Vec::new();
        let turn = desk.ask("one");
        let mut first = next(&mut hands).await;
        first.gets_ready().await;
        first.bills(totals[0], is_new.then_some(0.5)).await;
        costs.push(turn.end().await.unwrap().cost_usd);
        first.dies();
        let mut second = None;
        for (text, total) in [("two", totals[1]), ("three", totals[2])] {
            let turn = desk.ask(text);
            if second.is_none() {
                let mut hand = next(&mut hands).await;
                hand.gets_ready().await;
                second = Some(hand);
            }
            second.as_mut().unwrap().bills(total, is_new.then_some(0.25)).await;
            let end = turn.end().await.unwrap();
            assert_eq!(end.models, ["claude-x"]);
            costs.push(end.cost_usd);
        }
        assert_eq!(costs, [0.5, 0.25, 0.25], "new: {is_new}");
    }
}

/// What a newer version says and nobody here knows is counted, and hinders nothing.
#[tokio::test]
async fn a_line_of_an_unknown_type_is_counted_by_its_type() {
    let (desk, mut hands) = desk();
    let turn = desk.ask("one");
    let mut hand = next(&mut hands).await;
    hand.gets_ready().await;
    for times in 0..40 {
        hand.says(json!({ "type": "new_kind" })).await;
        hand.says(json!({ "type": "system", "subtype": format!("new_{times}\u{7}") })).await;
    }
    hand.answers("1").await;
    assert_eq!(turn.end().await.unwrap().text, "1");
    let unknown = desk.engine.version(&Place::Here).unknown;
    assert_eq!((unknown["new_kind"], unknown["system/new_3"]), (40, 1));
    assert!(unknown.len() <= 33 && unknown["others"] > 1, "{unknown:?}");
}

/// A helper is made to answer within the turn, whoever asked for the contrary.
#[tokio::test]
async fn a_helper_is_never_started_behind_the_turn() {
    let (desk, mut hands) = desk();
    let turn = desk.ask("one");
    let mut hand = next(&mut hands).await;
    hand.gets_ready().await;
    let input = json!({ "tool_name": "Agent", "tool_input": { "prompt": "look", "run_in_background": true } });
    let asks = json!({ "subtype": "hook_callback", "callback_id": "helpers", "input": input });
    hand.says(json!({ "type": "control_request", "request_id": "h", "request": asks })).await;
    let mut answer = hand.hears().await;
    if answer["type"] == "user" {
        answer = hand.hears().await;
    }
    let output = answer.pointer("/response/response/hookSpecificOutput").unwrap();
    assert_eq!(output["updatedInput"], json!({ "prompt": "look", "run_in_background": false }));
    drop(turn);
}
