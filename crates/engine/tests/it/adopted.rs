//! A turn whose office dies in the middle: the next process of the office goes on with it.

use std::path::PathBuf;

use tinyclaw_domain::{Ask, PermissionAnswer};
use tinyclaw_engine::{
    Engine, EngineConfig, Trace, Turn, TurnEnd, TurnEvent, TurnFailure, TurnOutcome, TurnRequest,
};
use tokio::runtime::{Builder, Runtime};

use crate::desk::{Desk, alive, eventually, tool, until};

/// A process of the office, as far as an engine is one. Dropped, nothing that it would have said any more is said: its tasks
/// are not asked again, and its hub is killed.
struct Process {
    engine: Engine,
    runtime: Runtime,
}

impl Process {
    fn start(config: &EngineConfig) -> Process {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let engine = runtime.block_on(async { Engine::linked(config.clone()) });
        Process { engine, runtime }
    }

    fn ask(&self, request: TurnRequest) -> Turn {
        let _in_it = self.runtime.enter();
        self.engine.turn(request)
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Dies, and only then lets go of what it followed.
    fn die_with(self, turn: Turn) {
        let Process { engine, runtime } = self;
        drop(runtime);
        drop((turn, engine));
    }
}

fn asking(event: TurnEvent) -> Option<Ask> {
    match event {
        TurnEvent::Asking { ask } => Some(ask),
        _ => None,
    }
}

/// A desk whose demo engine keeps what it is asked.
fn desk() -> Desk {
    // Nothing here is started by it.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _in_it = runtime.enter();
    Desk::demo_with(|config| {
        let record = config.state.join("../work/record.jsonl");
        config.env.insert("TINYCLAW_DEMO_RECORD".to_owned(), record.display().to_string());
    })
}

fn prompts(desk: &Desk) -> usize {
    let record = desk.place.work().join("record.jsonl");
    std::fs::read_to_string(record).map_or(0, |it| it.lines().count())
}

fn trace(process: &Process, desk: &Desk, request: &TurnRequest) -> Trace {
    let (at, session) = (desk.at(), &desk.spec.id);
    process.run(process.engine.trace(&at, session, &request.uuid)).unwrap()
}

/// What a new process knows of a turn: its uuid, and not what was asked.
fn again(request: &TurnRequest) -> TurnRequest {
    TurnRequest { content: Vec::new(), ..request.clone() }
}

fn answer_and_end(process: &Process, turn: Turn, ask: &Ask) -> TurnEnd {
    turn.control().answer_permission(&ask.request_id, PermissionAnswer::Allow);
    process.run(turn.end()).unwrap()
}

fn nobody_is_left(process: &Process, desk: &Desk) {
    let lock = desk.lock();
    // A process whose turn was gone on with waits for the next one.
    process.run(process.engine.close());
    process.run(eventually("nobody is left", || alive(&lock).is_empty()));
    let runs = desk.path("state/runs");
    process.run(eventually("its spool is gone", || {
        std::fs::read_dir(&runs).unwrap().next().is_none()
    }));
}

fn known(desk: &Desk) -> PathBuf {
    desk.path("state/runs.json")
}

/// As of one that wrote more than is kept.
#[test]
fn a_turn_whose_output_is_not_there_is_ended_and_nothing_of_it_is_left() {
    let desk = desk();
    let process = Process::start(&desk.config);
    let request = desk.request("[demo: ask]");
    let mut turn = process.ask(request.clone());
    process.run(until(&mut turn, asking));
    let text = std::fs::read_to_string(known(&desk)).unwrap();
    process.die_with(turn);
    let mut runs: serde_json::Value = serde_json::from_str(&text).unwrap();
    for run in runs["runs"].as_object_mut().unwrap().values_mut() {
        run["turn"]["at"] = (1_u64 << 40).into();
    }
    std::fs::write(known(&desk), runs.to_string()).unwrap();
    let process = Process::start(&desk.config);
    assert_ne!(trace(&process, &desk, &request), Trace::Running);
    // Ended by the refusal alone: nothing is closed.
    let lock = desk.lock();
    process.run(eventually("nobody is left", || alive(&lock).is_empty()));
    nobody_is_left(&process, &desk);
}

#[test]
fn a_turn_outlives_its_office_twenty_times_and_is_asked_and_billed_once() {
    let desk = desk();
    let mut process = Process::start(&desk.config);
    let before = process.ask(desk.request("[demo: cost 0.5] hello"));
    assert_eq!(process.run(before.end()).unwrap().outcome, TurnOutcome::Answered);
    let request =
        desk.request("[demo: say Let me look.] [demo: tool] [demo: ask] [demo: cost 0.25]");
    let mut turn = process.ask(request.clone());
    let mut ask = process.run(until(&mut turn, asking));
    let first = ask.request_id.clone();
    for _ in 0..20 {
        process.die_with(turn);
        process = Process::start(&desk.config);
        assert_eq!(trace(&process, &desk, &request), Trace::Running);
        turn = process.ask(again(&request));
        ask = process.run(until(&mut turn, asking));
        assert_eq!(ask.request_id, first, "the same question");
    }
    let end = answer_and_end(&process, turn, &ask);
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert!(end.text.starts_with("Let me look."), "{}", end.text);
    assert_eq!(end.text.matches("Let me look.").count(), 1);
    assert!((end.cost_usd - 0.25).abs() < 1e-9, "{}", end.cost_usd);
    assert!(end.denials.is_empty());
    assert_eq!(prompts(&desk), 2);
    // The process goes with the turn, and the next one is as ever.
    let next = process.run(process.ask(desk.request("hello")).end()).unwrap();
    assert_eq!((next.outcome, next.resumed), (TurnOutcome::Answered, true));
    process.run(process.engine.close());
    nobody_is_left(&process, &desk);
}

#[test]
fn an_answer_that_was_given_is_not_asked_for_again() {
    let desk = desk();
    let process = Process::start(&desk.config);
    let request = desk.request("[demo: ask] [demo: ask Write {\"file_path\":\"x\"}]");
    let mut turn = process.ask(request.clone());
    let first = process.run(until(&mut turn, asking));
    turn.control().answer_permission(&first.request_id, PermissionAnswer::Allow);
    let second = process.run(until(&mut turn, asking));
    process.die_with(turn);
    let process = Process::start(&desk.config);
    assert_eq!(trace(&process, &desk, &request), Trace::Running);
    let mut turn = process.ask(again(&request));
    let ask = process.run(until(&mut turn, asking));
    assert_eq!(ask.request_id, second.request_id);
    let end = answer_and_end(&process, turn, &ask);
    assert_eq!((end.outcome, end.denials.len()), (TurnOutcome::Answered, 0));
    assert_eq!(prompts(&desk), 1);
    nobody_is_left(&process, &desk);
}

#[test]
fn a_call_that_was_not_answered_comes_again_by_its_name() {
    let mut desk = desk();
    desk.spec.tools = [tool("look")].into();
    let process = Process::start(&desk.config);
    let request = desk.request("[demo: call look]");
    let mut turn = process.ask(request.clone());
    let call = |event| match event {
        TurnEvent::McpCall { responder, .. } => Some(responder),
        _ => None,
    };
    let responder = process.run(until(&mut turn, call));
    let id = responder.request_id().to_owned();
    process.die_with(turn);
    drop(responder);
    let process = Process::start(&desk.config);
    assert_eq!(trace(&process, &desk, &request), Trace::Running);
    let mut turn = process.ask(again(&request));
    let responder = process.run(until(&mut turn, call));
    assert_eq!(responder.request_id(), id);
    responder.answer(Ok("seen".to_owned()));
    let end = process.run(turn.end()).unwrap();
    assert!(end.text.contains("seen") || end.said.iter().any(|it| it.contains("seen")), "{end:?}");
    nobody_is_left(&process, &desk);
}

#[test]
fn an_answer_that_came_while_nobody_was_there_is_read_later_and_billed() {
    let desk = desk();
    let process = Process::start(&desk.config);
    let request = desk.request("[demo: tool] [demo: sleep 300ms] [demo: cost 0.25]");
    let mut turn = process.ask(request.clone());
    process.run(until(&mut turn, |it| matches!(it, TurnEvent::ToolStarted { .. }).then_some(())));
    process.die_with(turn);
    let transcript = desk.transcript();
    let process = Process::start(&desk.config);
    // By Claude's own transcript it is done.
    process.run(eventually("the answer", || {
        std::fs::read_to_string(&transcript).is_ok_and(|it| it.contains("end_turn"))
    }));
    assert_eq!(trace(&process, &desk, &request), Trace::Running);
    let end = process.run(process.ask(again(&request)).end()).unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered);
    assert!((end.cost_usd - 0.25).abs() < 1e-9, "{}", end.cost_usd);
    assert_eq!(prompts(&desk), 1);
    nobody_is_left(&process, &desk);
}

#[test]
fn what_nobody_waits_for_is_ended() {
    let desk = desk();
    let process = Process::start(&desk.config);
    let mut turn = process.ask(desk.request("[demo: spawn 600s] [demo: ask]"));
    process.run(until(&mut turn, asking));
    // What a tool left behind may be about to become another program, and has no environment at that moment.
    let lock = desk.lock();
    process.run(eventually("all are there", || alive(&lock).len() == 3));
    process.die_with(turn);
    assert_eq!(alive(&lock).len(), 3, "they go on");
    let process = Process::start(&desk.config);
    process.run(process.engine.end_all_but(&[]));
    nobody_is_left(&process, &desk);
    let known = known(&desk);
    process.run(eventually("it is forgotten here", || {
        std::fs::read_to_string(&known).is_ok_and(|it| !it.contains("token"))
    }));
}

/// Half a prompt is none: Claude would wait for the rest, or be asked in pieces.
#[test]
fn a_turn_whose_prompt_did_not_arrive_is_not_gone_on_with() {
    let desk = desk();
    let process = Process::start(&desk.config);
    let request = desk.request("[demo: ask]");
    let mut turn = process.ask(request.clone());
    process.run(until(&mut turn, asking));
    process.die_with(turn);
    let mut kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(known(&desk)).unwrap()).unwrap();
    let run = kept["runs"].as_object_mut().unwrap().values_mut().next().unwrap();
    run["turn"]["sent"] = (run["turn"]["sent"].as_u64().unwrap() + 1).into();
    std::fs::write(known(&desk), kept.to_string()).unwrap();
    let process = Process::start(&desk.config);
    assert_ne!(trace(&process, &desk, &request), Trace::Running);
    nobody_is_left(&process, &desk);
}

#[test]
fn a_stop_outlives_the_office_that_was_told_it() {
    let desk = desk();
    let process = Process::start(&desk.config);
    // It does not hear the stop, and goes on.
    let request = desk.request("[demo: tool] [demo: deaf]");
    let mut turn = process.ask(request.clone());
    process.run(until(&mut turn, |it| matches!(it, TurnEvent::ToolStarted { .. }).then_some(())));
    turn.control().interrupt();
    let known = known(&desk);
    process.run(eventually("the stop is kept", || {
        std::fs::read_to_string(&known).is_ok_and(|it| it.contains("\"isStopped\":true"))
    }));
    process.die_with(turn);
    let mut config = desk.config.clone();
    config.times.interrupt = std::time::Duration::from_millis(100);
    config.times.sigint = std::time::Duration::from_millis(100);
    let process = Process::start(&config);
    assert_eq!(trace(&process, &desk, &request), Trace::Running);
    let end = process.run(process.ask(again(&request)).end()).unwrap();
    assert_eq!(end.outcome, TurnOutcome::Interrupted);
    nobody_is_left(&process, &desk);
}

/// A processor that is told to stop, and does not wait for a long turn.
#[test]
fn a_turn_that_its_process_leaves_is_gone_on_with() {
    let desk = desk();
    let first = Process::start(&desk.config);
    let request = desk.request("[demo: ask] [demo: cost 0.25]");
    let mut turn = first.ask(request.clone());
    let asked = first.run(until(&mut turn, asking));
    first.run(first.engine.leave());
    let end = first.run(turn.end()).unwrap();
    assert_eq!(end.outcome, TurnOutcome::Failed(TurnFailure::Closing));
    first.run(first.engine.close());
    assert_eq!(alive(&desk.lock()).len(), 2, "the leash and its claude are there");
    drop(first);
    let second = Process::start(&desk.config);
    assert_eq!(trace(&second, &desk, &request), Trace::Running);
    let mut turn = second.ask(again(&request));
    let ask = second.run(until(&mut turn, asking));
    assert_eq!(ask.request_id, asked.request_id, "the same question");
    let end = answer_and_end(&second, turn, &ask);
    assert_eq!((end.outcome, end.cost_usd), (TurnOutcome::Answered, 0.25));
    assert_eq!(prompts(&desk), 1);
    second.run(second.engine.close());
    second.run(eventually("nobody is left", || alive(&desk.lock()).is_empty()));
}

#[test]
fn what_was_found_and_not_gone_on_with_is_left_again() {
    let desk = desk();
    let first = Process::start(&desk.config);
    let request = desk.request("[demo: ask]");
    let mut turn = first.ask(request.clone());
    let asked = first.run(until(&mut turn, asking));
    first.die_with(turn);
    let second = Process::start(&desk.config);
    assert_eq!(trace(&second, &desk, &request), Trace::Running);
    second.run(second.engine.leave());
    second.run(second.engine.close());
    drop(second);
    let third = Process::start(&desk.config);
    assert_eq!(trace(&third, &desk, &request), Trace::Running);
    let mut turn = third.ask(again(&request));
    let ask = third.run(until(&mut turn, asking));
    assert_eq!(ask.request_id, asked.request_id);
    assert_eq!(answer_and_end(&third, turn, &ask).outcome, TurnOutcome::Answered);
    assert_eq!(prompts(&desk), 1);
    third.run(third.engine.close());
}

#[test]
fn what_nobody_could_go_on_with_is_not_left() {
    let desk = desk();
    let process = Process::start(&desk.config);
    let end = process.run(process.ask(desk.request("hello")).end()).unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered);
    process.run(process.engine.leave());
    process.run(process.engine.close());
    process.run(eventually("an idle one has ended", || alive(&desk.lock()).is_empty()));
    drop(process);
    // Without a link a turn goes on for as long as its process does.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let engine = runtime.block_on(async { Engine::new(desk.config.clone()) });
    let process = Process { engine, runtime };
    let mut turn = process.ask(desk.request("[demo: ask]"));
    let ask = process.run(until(&mut turn, asking));
    process.run(process.engine.leave());
    assert_eq!(answer_and_end(&process, turn, &ask).outcome, TurnOutcome::Answered);
    process.run(process.engine.close());
}
