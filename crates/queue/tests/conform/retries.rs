//! What failed waits for its time, at the head of its lane.

use super::*;

pub(super) fn a_failed_head_holds_its_lane_until_its_time(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    publish(&queue, "7", "tg-2");
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.retry_after(Duration::from_millis(60), "overloaded (529)").unwrap();
    assert_eq!(next(&queue, Side::Run), "-");
    assert_eq!(queue.view().depth().unwrap().waiting_retries, 1);
    std::thread::sleep(Duration::from_millis(70));
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!((lease.message().key.as_str(), lease.attempt()), ("tg-1", 2));
    assert_eq!(lease.message().trouble.as_deref(), Some("overloaded (529)"));
}

pub(super) fn nothing_waits_longer_than_an_hour_and_what_is_put_back_for_no_time(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    publish(&queue, "8", "tg-2");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.retry_after(Duration::from_secs(36_000), "somebody said ten hours").unwrap();
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.put_back().unwrap();
    let waiting = queue.view().list(Place::Incoming, 2).unwrap();
    let hour = now.as_millis() as u64 + 3_600_000;
    assert!((hour..hour + 600_000).contains(&waiting[0].not_before.unwrap()), "{waiting:?}");
    assert_eq!(
        waiting[1].not_before,
        Some(1),
        "it names no time that a clock could be wrong about"
    );
}
