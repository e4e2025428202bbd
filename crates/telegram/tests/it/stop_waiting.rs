//! `/stop` right after a message: wherever the message is by then, it does not run.

use tinyclaw_domain::Command;
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, Attachment, BOB, Control, FORUM, What};

use crate::office::{Office, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn what_still_waits_for_more_is_never_asked() {
    let office = Office::patient(3000).await;
    office.stop().await;
    office.bob(None, "mine");
    office.ada(None, "delete everything");
    office.ada(None, "really");
    office.ada(None, "/stop");
    office.ada(None, "hello");
    office.start();
    for expected in ["mine", "hello"] {
        let turn = office.claim().await;
        assert_eq!(turn.message().message, expected);
        turn.done();
    }
    office.until_said("TinyClaw (to Ada: /stop):\n    Stopped before it began.\n").await;
    office.until_dealt_with().await;
    // Nobody looks at it any more.
    office.until_said("Ada:\n    delete everything\nAda:\n    really\nAda:\n    /stop\n").await;
    assert_eq!(office.queue.view().list(Place::Incoming, 10).unwrap().len(), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_being_fetched_is_never_asked() {
    let office = Office::open().await;
    office.break_it("getFile", 1, What::Slow { ms: 3_600_000 });
    let file = Attachment::new("document", "a.txt", "text/plain", "a");
    let caption = "read this".to_owned();
    office.fake.act(Control::Send { chat: FORUM, topic: None, from: ADA, file, caption });
    let fetching = office
        .fake
        .wait_for(PATIENCE, |it| it.calls().iter().any(|it| it.method == "getFile").then_some(()));
    fetching.await.unwrap();
    office.ada(None, "/stop");
    office.until_said("Stopped before it began.").await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "hello");
    turn.done();
    office.until_dealt_with().await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_line_is_taken_out_of_it() {
    let office = Office::open().await;
    office.ada(None, "one");
    office.ada(None, "two");
    let two = office.until_waiting("two").await;
    office.ada(None, "/stop");
    assert_eq!(office.control().await.command, Some(Command::Stop { key: Some(two.clone()) }));
    // Somebody else's turn goes on.
    office.queue.bury(&two, "stopped").unwrap();
    let turn = office.claim().await;
    office.fake.say(FORUM, None, BOB, "three");
    let three = office.until_waiting("three").await;
    office.fake.say(FORUM, None, BOB, "/stop");
    assert_eq!(office.control().await.command, Some(Command::Stop { key: Some(three) }));
    // What runs comes before what waits.
    office.ada(None, "four");
    office.until_waiting("four").await;
    let running = Some(turn.message().key.clone());
    office.ada(None, "/stop");
    assert_eq!(office.control().await.command, Some(Command::Stop { key: running }));
    turn.done();
    office.close().await;
}
