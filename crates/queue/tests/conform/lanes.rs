//! A lane has one owner and its order, and control waits for neither.

use super::*;

pub(super) fn a_message_travels_from_incoming_to_done(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!((lease.attempt(), lease.was_recovered()), (1, false));
    lease.answer(reply("hi"), vec![]).unwrap();
    lease.finish().unwrap();
    let mut lease =
        queue.try_claim(Side::Send, &Which::Channel(Channel::Telegram)).unwrap().unwrap();
    lease.intend(1, 5).unwrap();
    lease.sent(1, 78, false).unwrap();
    lease.delivered().unwrap();
    let seen = queue.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!(seen.place, Place::Done);
    assert_eq!(seen.message.reply.unwrap().text, "hi");
    assert_eq!(seen.message.delivery[0].telegram_message_id, Some(78));
    assert_eq!((seen.message.attempts.run, seen.message.attempts.send), (1, 1));
}

pub(super) fn a_fetched_answer_goes_straight_to_done(make: Make) {
    let open = make();
    let queue = open(quiet());
    let asked = Message::new(key("cli-1"), Channel::Cli, "cli".parse().unwrap(), "hello", 1);
    queue.publish(Side::Run, asked, Durability::Strict).unwrap();
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.answer(reply("hi"), vec![]).unwrap();
    lease.finish().unwrap();
    assert_eq!(next(&queue, Side::Send), "-");
    assert_eq!(queue.view().find(&key("cli-1")).unwrap().unwrap().place, Place::Done);
}

pub(super) fn a_lane_is_worked_on_one_by_one_and_in_order(make: Make) {
    let open = make();
    let queue = open(quiet());
    for (thread, key) in [("7", "tg-1"), ("7", "tg-2"), ("8", "tg-3")] {
        publish(&queue, thread, key);
    }
    let first = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(first.message().key, key("tg-1"));
    let other = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(other.message().key, key("tg-3"), "the busy lane is passed over");
    assert_eq!(next(&queue, Side::Run), "-");
    first.put_back().unwrap();
    assert_eq!(next(&queue, Side::Run), "tg-1", "put back means first again");
}

pub(super) fn a_lane_has_one_owner_among_processes(make: Make) {
    let open = make();
    let (ours, theirs) = (open(quiet()), open(quiet()));
    publish(&ours, "7", "tg-1");
    publish(&ours, "7", "tg-2");
    let theirs_again = open(quiet());
    // Whether it has seen them yet is the sweep's business.
    let lease = theirs.try_claim(Side::Run, &Which::Ordinary).unwrap();
    let held =
        lease.or_else(|| theirs_again.try_claim(Side::Run, &Which::Ordinary).unwrap()).unwrap();
    assert_eq!(held.message().key, key("tg-1"));
    assert_eq!(next(&ours, Side::Run), "-", "neither the claimed one nor the one behind it");
}

pub(super) fn control_waits_for_nothing(make: Make) {
    let open = make();
    let queue = open(Options { incoming_max: 1, outgoing_max: 0, ..quiet() });
    publish(&queue, "7", "tg-1");
    let full = queue.publish(Side::Run, message("8", "tg-2"), Durability::Strict);
    assert!(matches!(full, Err(PublishError::Full { waiting: 1 })));
    let mut stop = message("7", "tg-3");
    stop.command = Some(Command::Stop { key: None });
    queue.publish(Side::Run, stop, Durability::Strict).unwrap();
    assert_eq!(next(&queue, Side::Run), "-", "no new turn while the way out is full");
    let lane = Which::Lane(Lane::Control("7".parse().unwrap()));
    assert!(queue.try_claim(Side::Run, &lane).unwrap().is_some());
    assert!(queue.try_claim(Side::Run, &Which::Control).unwrap().is_some());
}

pub(super) fn a_waiting_claim_wakes_when_another_process_publishes(make: Make) {
    let open = make();
    let patient = Options { watch: true, sweep_every: Duration::from_secs(600), ..quiet() };
    let (ours, theirs) = (open(patient), open(quiet()));
    runtime().block_on(async move {
        let waiting = tokio::spawn(async move {
            ours.claim(Side::Run, &Which::Ordinary).await.unwrap().message().key.to_string()
        });
        tokio::task::yield_now().await;
        publish(&theirs, "7", "tg-1");
        assert_eq!(waiting.await.unwrap(), "tg-1");
    });
}

pub(super) fn whether_a_lane_has_work_is_known(make: Make) {
    let open = make();
    let queue = open(quiet());
    let house = Lane::House("7".parse().unwrap());
    assert!(!queue.has_work(Side::Run, &house));
    let mut order = message("7", "sum-1");
    let session = "0b8f6f0e-5a3c-4c86-9f0e-1d2c3b4a5968".parse().unwrap();
    order.command = Some(Command::Summarize { session });
    queue.publish(Side::Run, order, Durability::None).unwrap();
    publish(&queue, "7", "tg-1");
    assert!(queue.has_work(Side::Run, &house), "it waits");
    let lease = queue.try_claim(Side::Run, &Which::Lane(house.clone())).unwrap().unwrap();
    assert!(queue.has_work(Side::Run, &house), "it is worked on");
    assert!(open(quiet()).has_work(Side::Run, &house), "also for a process that was not there");
    lease.bury("enough").unwrap();
    assert!(!queue.has_work(Side::Run, &house));
}
