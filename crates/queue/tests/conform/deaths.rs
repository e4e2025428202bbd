//! Whoever holds a message may die of it; that is counted, and not for ever.

use super::*;

pub(super) fn a_dropped_lease_is_taken_up_and_counted(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    for attempt in 1..=3 {
        let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
        assert_eq!((lease.attempt(), lease.was_recovered()), (attempt, attempt > 1));
        assert!(lease.is_exhausted().is_none());
        drop(lease);
    }
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(lease.is_exhausted().unwrap(), "whoever worked on it died 3 times");
    lease.bury("it kills its workers").unwrap();
    let seen = queue.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!((seen.place, seen.reason.as_deref()), (Place::Dead, Some("it kills its workers")));
    assert_eq!(queue.requeue(&key("tg-1")).unwrap(), Place::Incoming);
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!((lease.attempt(), lease.was_recovered()), (1, false));
}

pub(super) fn a_death_after_which_the_work_goes_on_is_no_attempt(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    let claim = || queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    let mut first = claim();
    // Nobody died.
    first.goes_on().unwrap();
    assert_eq!(first.attempt(), 1);
    drop(first);
    for _ in 0..DEATHS_MAX * 2 {
        let mut lease = claim();
        assert_eq!((lease.attempt(), lease.is_exhausted()), (2, None));
        lease.goes_on().unwrap();
        lease.goes_on().unwrap();
        assert_eq!((lease.attempt(), lease.message().attempts.deaths), (1, 0));
    }
    let mut lease = claim();
    lease.goes_on().unwrap();
    lease.answer(reply("hi"), Vec::new()).unwrap();
    lease.finish().unwrap();
    let seen = queue.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!((seen.message.attempts.run, seen.message.attempts.deaths), (1, 0));
}

pub(super) fn an_answer_that_kills_its_sender_is_given_up_in_the_end(make: Make) {
    let open = make();
    let queue = open(quiet());
    let mut answered = message("7", "tg-1");
    answered.reply = Some(reply("hi"));
    queue.publish(Side::Send, answered, Durability::None).unwrap();
    // What failed is due again in the next millisecond at the earliest, and a fast disk asks before that.
    let claim = || {
        std::iter::repeat_with(|| {
            queue.try_claim(Side::Send, &Which::Channel(Channel::Telegram)).unwrap()
        })
        .find_map(|it| it)
        .unwrap()
    };
    for deaths in 0..SENDER_DEATHS_MAX {
        let lease = claim();
        assert_eq!(lease.message().attempts.deaths, deaths);
        assert_eq!(lease.is_exhausted(), None, "after {deaths} deaths");
        drop(lease);
    }
    let lease = claim();
    let why = lease.is_exhausted().unwrap();
    assert_eq!(why, "whoever sent it died 12 times");
    lease.bury(&why).unwrap();
    assert_eq!(queue.requeue(&key("tg-1")).unwrap(), Place::Outgoing);
    // Failures are counted beside the deaths, and five are enough.
    for failures in 0..5 {
        drop(claim());
        let lease = claim();
        assert_eq!(lease.is_exhausted(), None, "after {failures} failures");
        lease.retry_after(Duration::ZERO, "refused").unwrap();
    }
    let why = claim().is_exhausted().unwrap();
    assert_eq!(why, "it failed 5 times, the last time because refused");
}
