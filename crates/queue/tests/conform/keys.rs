//! A key is published once, whoever publishes it and however often.

use super::*;

pub(super) fn a_key_is_published_once(make: Make) {
    let open = make();
    let queue = open(quiet());
    assert_eq!(publish(&queue, "7", "tg-1"), Published::New);
    assert_eq!(publish(&queue, "7", "tg-1"), Published::Duplicate(Place::Incoming));
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(publish(&queue, "7", "tg-1"), Published::Duplicate(Place::Processing));
    lease.answer(tinyclaw_domain::Reply { silent: true, ..reply("") }, vec![]).unwrap();
    lease.finish().unwrap();
    assert_eq!(publish(&queue, "7", "tg-1"), Published::Duplicate(Place::Done));
    // Also for a process that was not there.
    assert_eq!(publish(&open(quiet()), "7", "tg-1"), Published::Duplicate(Place::Done));
}

pub(super) fn follow_ups_reach_their_lanes_once(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.answer(reply("asked them"), vec![follow_up("8"), follow_up("8")]).unwrap();
    drop(lease);
    // The answer is on disk: whoever takes it up only carries it on.
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert!(lease.was_recovered() && lease.message().reply.is_some());
    assert_eq!(lease.attempt(), 1);
    lease.finish().unwrap();
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(lease.message().key, key("x-tg-1-1"));
    assert_eq!(lease.message().hops, 1);
    assert_eq!(lease.message().source_thread_id, Some("7".parse().unwrap()));
    assert_eq!(queue.view().depth().unwrap().incoming, 1);
}

pub(super) fn follow_ups_of_a_dead_owner_are_looked_for_before_they_are_published_again(
    make: Make,
) {
    let open = make();
    let theirs = open(quiet());
    publish(&theirs, "7", "tg-1");
    let mut lease = theirs.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.answer(reply("asked them"), vec![follow_up("8"), follow_up("8")]).unwrap();
    // We look, find the lane taken, and will not list again for a minute.
    let ours = open(Options { sweep_every: Duration::from_secs(60), ..quiet() });
    assert_eq!(next(&ours, Side::Run), "-");
    // They publish the first of two, and die.
    publish(&theirs, "8", "x-tg-1-1");
    drop(lease);
    let lease = loop {
        match ours.try_claim(Side::Run, &Which::Ordinary).unwrap() {
            Some(lease) => break lease,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    lease.finish().unwrap();
    let waiting = ours.view().list(Place::Incoming, 10).unwrap();
    let keys: Vec<&str> = waiting.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["x-tg-1-1", "x-tg-1-2"]);
}
