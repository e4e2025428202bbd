//! A message may change while it waits, and at no other time.

use super::*;

pub(super) fn an_edit_changes_a_waiting_message_and_no_other(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    assert!(queue.replace_waiting(&key("tg-1"), |it| it.message = "better".to_owned()).unwrap());
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(lease.message().message, "better");
    assert!(!queue.replace_waiting(&key("tg-1"), |it| it.message = "late".to_owned()).unwrap());
}

pub(super) fn an_edit_never_brings_a_claimed_message_back(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    let claimer = queue.clone();
    let replaced = queue.replace_waiting(&key("tg-1"), |_| {
        // Somebody claims it between the reading and the writing.
        std::mem::forget(claimer.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap());
    });
    assert!(!replaced.unwrap());
    assert_eq!(queue.view().depth().unwrap().incoming, 0);
}
