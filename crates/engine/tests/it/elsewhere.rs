//! Claudes of another machine: driven as those of this one, and out of reach with it.

use std::sync::Arc;

use tinyclaw_domain::Place;
use tinyclaw_engine::testing::FakePlace;
use tinyclaw_engine::{
    Advice, Engine, Launchers, LocalLauncher, Probe, Trace, TurnEvent, TurnFailure, TurnOutcome,
};

use crate::desk::{Desk, until};

/// A desk on the devbox `api`, whose disk lies in `box/`.
fn desk() -> (Desk, FakePlace) {
    let mut desk = Desk::demo();
    let root = desk.path("box");
    std::fs::create_dir_all(root.join("srv/api")).unwrap();
    std::fs::create_dir_all(root.join("state")).unwrap();
    let there = FakePlace::of_processes(root, &desk.config);
    let here = Arc::new(LocalLauncher::of(&desk.config));
    let launchers = Launchers::here(here).with_devboxes(Arc::new(there.clone()));
    desk.engine = Engine::with_launchers(desk.config.clone(), launchers);
    desk.spec.place = Place::Devbox("api".parse().unwrap());
    desk.spec.cwd = "/srv/api".into();
    (desk, there)
}

fn lost(outcome: &TurnOutcome) -> String {
    match outcome {
        TurnOutcome::Failed(failure @ TurnFailure::OutOfReach(_)) => failure.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_goes_on_where_its_place_is_and_nothing_of_it_is_here() {
    let (desk, there) = desk();
    assert!(!desk.knows().await);
    let first = desk.say("remember 4711").await;
    assert_eq!(first.outcome, TurnOutcome::Answered);
    assert!(desk.knows().await);
    assert!(desk.engine.evict(&desk.spec.thread).await);
    let second = desk.say("and now?").await;
    assert!(second.resumed && second.text.contains("remember 4711"), "{}", second.text);
    assert!(there.on_disk("/state/home/7/.claude").is_dir());
    assert!(!desk.path("state/home/7").exists(), "this machine has no home for it");
    assert_eq!(desk.engine.processes(), 0, "it is another machine's process");
    assert!(desk.engine.version(&desk.spec.place).seen.is_some());
    assert_eq!(desk.engine.version(&Place::Here).seen, None);
    assert_eq!(desk.engine.probe(&desk.spec.place).await, Probe::Ready);
}

#[tokio::test]
async fn what_runs_elsewhere_goes_on_while_it_is_out_of_reach_and_its_answer_is_found() {
    let (desk, there) = desk();
    let request = desk.request("[demo: sleep 1s] [demo: say it is done]");
    let mut turn = desk.engine.turn(request.clone());
    until(&mut turn, |it| matches!(it, TurnEvent::SessionReady { .. }).then_some(())).await;
    // It has the prompt once it says anything.
    until(&mut turn, |it| (!matches!(it, TurnEvent::SessionReady { .. })).then_some(())).await;
    there.go_away("api:22 refuses connections");
    let end = turn.end().await.unwrap();
    assert_eq!(lost(&end.outcome), "api is out of reach: api:22 refuses connections");
    let asked = desk.engine.trace(&desk.at(), &desk.spec.id, &request.uuid).await;
    assert!(asked.is_err(), "nobody knows, which is not the same as that it never came");
    let again = desk.say("hello?").await;
    let TurnOutcome::Failed(failure) = &again.outcome else { panic!("{again:?}") };
    assert!(matches!(failure.advice(), Advice::OutlastPlace(_)), "{failure:?}");
    assert!(matches!(desk.engine.probe(&desk.spec.place).await, Probe::NotReady(_)));
    there.come_back();
    let trace = desk.until_traced(&request.uuid, |it| matches!(it, Trace::Finished(_))).await;
    let Trace::Finished(found) = trace else { unreachable!() };
    assert!(found.said.concat().contains("it is done"), "{found:?}");
}

#[tokio::test]
async fn a_place_that_nobody_reaches_from_here_is_out_of_reach() {
    let mut desk = Desk::demo();
    desk.spec.place = Place::Env("dev".parse().unwrap());
    let end = desk.say("hello").await;
    assert_eq!(
        lost(&end.outcome),
        "dev is out of reach: this version of TinyClaw reaches no environments"
    );
}
