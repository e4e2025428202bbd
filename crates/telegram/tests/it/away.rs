//! A processor that is not there: nobody types, and the status says so.

use tinyclaw_ledger::health;
use tinyclaw_service::now_ms;
use tinyclaw_testkit::telegram::{FakeTelegram, Limits};

use crate::office::{Office, PATIENCE, quick};

/// An office in which typing is shown often.
async fn typing() -> Office {
    let mut options = quick();
    options.timing.typing = std::time::Duration::from_millis(20);
    options.timing.status_after = std::time::Duration::from_millis(30);
    Office::open_with(Limits::none(), options, "101").await
}

fn typed(fake: &FakeTelegram) -> usize {
    fake.calls().iter().filter(|it| it.method == "sendChatAction").count()
}

async fn until_typing(office: &Office) {
    let before = typed(&office.fake);
    let more = office.fake.wait_for(PATIENCE, |it| (typed(it) >= before + 3).then_some(())).await;
    assert!(more.is_some(), "nobody types");
}

/// At most one more was on its way.
async fn nobody_types(office: &Office) {
    let before = typed(&office.fake);
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert!(typed(&office.fake) <= before + 1);
}

/// The processor was last heard of so long ago.
fn processor_seen(office: &Office, ago_ms: u64) {
    let mut said = office.vitals.snapshot();
    said.at = now_ms() - ago_ms;
    health::write(&office.state, "processor", &said).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_processor_nobody_is_said_to_work() {
    let office = typing().await;
    processor_seen(&office, 0);
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    until_typing(&office).await;
    office.until_said("sonnet · working").await;
    processor_seen(&office, 61_000);
    office
        .until_said("TinyClaw is not at work at the moment. This goes on by itself when it is back.\n    [ Stop ]")
        .await;
    nobody_types(&office).await;
    processor_seen(&office, 0);
    office.until_said("sonnet · working").await;
    until_typing(&office).await;
    turn.answer("Thought.");
    office.until_said("    Thought.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_for_very_long_is_not_typing() {
    let office = typing().await;
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    until_typing(&office).await;
    turn.show(|it| it.updated_at -= 16 * 60_000);
    office.until_said("Nothing new for 16 min.").await;
    nobody_types(&office).await;
    turn.show(|_| {});
    until_typing(&office).await;
    turn.done();
    office.close().await;
}
