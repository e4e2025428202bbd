use std::time::Duration;

use tinyclaw_client::{Ending, Standing, WaitError};
use tokio::time::{Instant, timeout};

use crate::{Office, poll};

/// Whoever looks again does so after two seconds. Where the clock stands still, what comes sooner came by a move.
const SOONER: Duration = Duration::from_millis(500);

#[track_caller]
fn said(ending: Result<Ending, WaitError>) -> String {
    match ending.unwrap() {
        Ending::Answered(message) => message.reply.unwrap().text,
        Ending::GivenUp(why) => format!("given up: {why}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_by_the_move_of_their_message() {
    let office = Office::in_memory();
    let (a, b) = (office.ask("cli-a"), office.ask("cli-b"));
    let began = Instant::now();
    let mut waits = Box::pin(office.client.wait(&a));
    assert!(poll(&mut waits).is_pending(), "nobody has answered");
    office.answer(&b);
    assert!(poll(&mut waits).is_pending(), "another message moved");
    office.answer(&a);
    assert_eq!(said(timeout(SOONER, waits).await.expect("the move was heard")), "to cli-a");
    assert_eq!(began.elapsed(), Duration::ZERO);
    // What has ended long ago is known at once.
    assert_eq!(said(office.client.wait(&b).await), "to cli-b");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_keeps_nobody_else_from_hearing() {
    let office = Office::in_memory();
    let (a, b) = (office.ask("cli-a"), office.ask("cli-b"));
    let mut first = Box::pin(office.client.wait(&a));
    let mut second = Box::pin(office.client.wait(&b));
    let mut third = Box::pin(office.client.wait(&b));
    assert!(poll(&mut first).is_pending());
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    drop(first);
    office.answer(&b);
    let both = async { tokio::join!(second, third) };
    let (second, third) = timeout(SOONER, both).await.expect("the move was heard");
    assert_eq!((said(second), said(third)), ("to cli-b".to_owned(), "to cli-b".to_owned()));
    // Nobody waits, so nobody listens; whoever waits next is heard all the same.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut again = Box::pin(office.client.wait(&a));
    assert!(poll(&mut again).is_pending());
    office.answer(&a);
    assert_eq!(said(timeout(SOONER, again).await.expect("the move was heard")), "to cli-a");
}

/// Who listens for all lives in the runtime of the first who waits.
#[test]
fn a_runtime_that_ends_keeps_nobody_in_another_from_hearing() {
    let office = Office::in_memory();
    let (a, b) = (office.ask("cli-a"), office.ask("cli-b"));
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let mut waits = Box::pin(office.client.wait(&a));
    first.block_on(async { assert!(poll(&mut waits).is_pending()) });
    let mut other = Box::pin(office.client.wait(&b));
    second.block_on(async { assert!(poll(&mut other).is_pending()) });
    drop((waits, first));
    office.answer(&b);
    let ending = second.block_on(async { timeout(SOONER, other).await.expect("heard") });
    assert_eq!(said(ending), "to cli-b");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_who_wait_hear_each_of_their_own_message() {
    let office = Office::in_memory();
    let keys: Vec<_> = (0..200).map(|it| office.ask(&format!("cli-{it}"))).collect();
    let waits: Vec<_> = keys
        .iter()
        .map(|key| {
            let (client, key) = (office.client.clone(), key.clone());
            tokio::spawn(async move { (key.clone(), said(client.wait(&key).await)) })
        })
        .collect();
    // Each has looked and waits.
    tokio::task::yield_now().await;
    for key in keys.iter().rev() {
        office.answer(key);
    }
    for waits in waits {
        let (key, said) = waits.await.unwrap();
        assert_eq!(said, format!("to {key}"));
    }
}

/// More moves than are kept for a reader, while nobody hears: the queue is looked at once for all.
#[tokio::test(start_paused = true)]
async fn what_was_missed_is_found_by_a_look() {
    let office = Office::in_memory();
    let key = office.ask("cli-a");
    let mut waits = Box::pin(office.client.wait(&key));
    assert!(poll(&mut waits).is_pending());
    office.answer(&key);
    for it in 0..2_000 {
        office.ask(&format!("cli-{it}"));
    }
    assert_eq!(said(timeout(SOONER, waits).await.expect("it looked")), "to cli-a");
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_says_why_and_what_was_removed_is_said_to_be_gone() {
    let office = Office::in_memory();
    let (a, b) = (office.ask("cli-a"), office.ask("cli-b"));
    let mut waits = Box::pin(office.client.wait(&a));
    assert!(poll(&mut waits).is_pending());
    office.client.queue().bury(&a, "not today").unwrap();
    assert_eq!(said(timeout(SOONER, waits).await.expect("heard")), "given up: not today");
    let mut waits = Box::pin(office.client.wait(&b));
    assert!(poll(&mut waits).is_pending());
    office.client.queue().bury(&b, "nor this").unwrap();
    office.client.queue().purge(&b).unwrap();
    let gone = timeout(SOONER, waits).await.expect("heard").unwrap_err();
    assert_eq!(gone.to_string(), "message cli-b is not in the queue any more");
}

#[tokio::test]
async fn an_answer_in_another_process_is_heard_of() {
    let office = Office::in_folders();
    let key = office.ask("cli-a");
    let mut waits = Box::pin(office.client.wait(&key));
    assert!(poll(&mut waits).is_pending());
    office.answer(&key);
    assert_eq!(said(waits.await), "to cli-a");
}

#[test]
fn what_is_unfinished_says_its_place_in_the_lane_and_its_trouble() {
    let office = Office::in_memory();
    let key = office.ask("cli-a");
    let standing = || office.client.standing(&key).unwrap();
    let waits = |position, trouble: Option<&str>| Standing::Unfinished {
        position,
        trouble: trouble.map(str::to_owned),
    };
    assert_eq!(standing(), waits(Some(1), None));
    let lease = office.claim(&key);
    assert_eq!(standing(), waits(None, None));
    lease.retry_after(Duration::from_secs(60), "out of breath").unwrap();
    assert_eq!(standing(), waits(Some(1), Some("out of breath")));
    office.client.queue().bury(&key, "not today").unwrap();
    assert_eq!(standing(), Standing::Ended(Ending::GivenUp("not today".to_owned())));
}
