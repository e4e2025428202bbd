//! What is too much is refused with a way out, and what was accepted finds room for the rest of its life.

use super::*;

pub(super) fn limits_say_what_to_do(make: Make) {
    let open = make();
    let options =
        Options { lane_max: 1, message_bytes_max: 2_000, reserve_bytes: 0, ..Options::default() };
    let queue = open(Options { free_share_min: 0.0, ..options });
    publish(&queue, "7", "tg-1");
    let second = queue.publish(Side::Run, message("7", "tg-2"), Durability::Strict).unwrap_err();
    assert_eq!(second.to_string(), "1 messages of lane 7 wait already; try again later");
    let mut large = message("8", "tg-3");
    large.message = "x".repeat(3_000);
    let large = queue.publish(Side::Run, large, Durability::Strict).unwrap_err();
    assert!(large.to_string().contains("put large things into files/"), "{large}");
}

pub(super) fn what_was_accepted_has_room_for_the_rest_of_its_life(make: Make) {
    let open = make();
    let queue = open(quiet());
    let mut large = message("7", "tg-1");
    let rest = serde_json::to_vec(&large).unwrap().len();
    large.message.push_str(&"x".repeat((1 << 20) - rest));
    let mut larger = large.clone();
    larger.message.push('x');
    let refused = queue.publish(Side::Run, larger, Durability::None).unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { max: 1_048_576, .. }), "{refused}");
    assert_eq!(queue.publish(Side::Run, large, Durability::None).unwrap(), Published::New);
    // Its owner dies, and the death is kept.
    drop(queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap());
    drop(queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap());
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!((lease.attempt(), lease.message().attempts.deaths), (3, 2));
    lease.checkpoint(checkpoint()).unwrap();
    let mut passed_on = follow_up("8");
    passed_on.message = "y".repeat(1_100_000);
    lease.answer(reply(&"z".repeat(200_000)), vec![passed_on]).unwrap();
    let too_much = lease.answer(reply(&"z".repeat(5 << 20)), vec![]).unwrap_err();
    assert!(matches!(too_much, LeaseError::TooLarge { max: 4_194_304, .. }), "{too_much}");
    lease.finish().unwrap();
    let sent_on = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(sent_on.message().message.len(), 1_100_000);
}
