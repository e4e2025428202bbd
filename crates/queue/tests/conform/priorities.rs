//! Heartbeats wait behind people, and one at a time.

use super::*;

pub(super) fn only_one_heartbeat_waits_and_behind_people(make: Make) {
    let open = make();
    let queue = open(quiet());
    let beat = |key: &str| {
        let mut beat = message("7", key);
        beat.source = Source::Heartbeat;
        queue.publish(Side::Run, beat, Durability::Strict).unwrap()
    };
    assert_eq!(beat("hb-1"), Published::New);
    assert_eq!(beat("hb-2"), Published::Duplicate(Place::Incoming));
    publish(&queue, "7", "tg-1");
    assert_eq!(next(&queue, Side::Run), "tg-1");
}
