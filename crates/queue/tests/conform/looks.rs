//! What a look at the queue answers.

use super::*;

pub(super) fn a_list_is_the_oldest_of_a_place_in_order_and_the_newest_of_what_is_done(make: Make) {
    let open = make();
    let queue = open(quiet());
    for number in 0..9 {
        publish(&queue, &format!("{}", number % 3 + 1), &format!("tg-{number}"));
    }
    let keys = |place, most| {
        let listed = queue.view().list(place, most).unwrap();
        listed.into_iter().map(|it| it.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(Place::Incoming, 3), ["tg-0", "tg-1", "tg-2"]);
    assert_eq!(keys(Place::Incoming, usize::MAX).len(), 9);
    while let Some(mut lease) = queue.try_claim(Side::Run, &Which::Ordinary).unwrap() {
        lease.answer(tinyclaw_domain::Reply { silent: true, ..reply("") }, vec![]).unwrap();
        lease.finish().unwrap();
    }
    assert_eq!(keys(Place::Done, 2), ["tg-7", "tg-8"]);
    assert_eq!(keys(Place::Done, 100).first().map(String::as_str), Some("tg-0"));
}

pub(super) fn a_lane_is_listed_in_its_order_and_read_in_one(make: Make) {
    let open = make();
    let queue = open(quiet());
    let mut beat = message("7", "hb-1");
    beat.source = Source::Heartbeat;
    queue.publish(Side::Run, beat, Durability::None).unwrap();
    for (thread, key) in [("7", "tg-1"), ("8", "tg-2"), ("7", "tg-3")] {
        publish(&queue, thread, key);
    }
    let (lane, view) = (Lane::Thread("7".parse().unwrap()), queue.view());
    let keys = |entries: Vec<tinyclaw_queue::Entry>| {
        entries.into_iter().map(|it| it.key.to_string()).collect::<Vec<_>>()
    };
    let listed = view.in_lane(Place::Incoming, &lane, 10).unwrap();
    assert_eq!(keys(listed), ["tg-1", "tg-3", "hb-1"], "what lets others go first comes last");
    assert_eq!(view.read_all(Place::Incoming, None, 10).unwrap().len(), 4);
    assert_eq!(view.read_all(Place::Incoming, None, 2).unwrap().len(), 2);
    let here = view.read_all(Place::Incoming, Some(&lane), 10).unwrap();
    assert!(here.iter().all(|(entry, it)| entry.key == it.key && it.message == "hello"));
    assert_eq!(here.len(), 3);
    let nobody = Lane::Control("7".parse().unwrap());
    assert_eq!(view.in_lane(Place::Incoming, &nobody, 10).unwrap(), []);
}

pub(super) fn many_keys_are_looked_for_in_one_look(make: Make) {
    let open = make();
    let queue = open(quiet());
    for (thread, key) in [("7", "tg-1"), ("8", "tg-2"), ("9", "tg-13")] {
        publish(&queue, thread, key);
    }
    let _lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    queue.bury(&key("tg-2"), "nobody needs it").unwrap();
    let asked = ["tg-1", "tg-2", "tg-3"].map(key);
    let known = queue.view().knows(&asked).unwrap();
    assert_eq!(known.len(), 2);
    assert_eq!(known[&key("tg-1")], Place::Processing);
    assert_eq!(known[&key("tg-2")], Place::Dead);
    assert_eq!(queue.view().knows(&[]).unwrap().len(), 0);
    let places = [Place::Incoming, Place::Processing];
    let found = queue.view().find_by(&places, |it| it.as_str().ends_with("-1")).unwrap();
    assert_eq!(found.map(|it| it.key), Some(key("tg-1")));
    let dead = queue.view().find_by(&places, |it| it.as_str() == "tg-2").unwrap();
    assert_eq!(dead, None, "it lies elsewhere");
    assert_eq!(queue.view().keys("tg-1").unwrap(), ["tg-1", "tg-13"].map(key));
}

pub(super) fn the_last_message_of_a_lane_is_found_by_what_it_says(make: Make) {
    let open = make();
    let queue = open(quiet());
    for (key, text) in [("tg-1", "yes"), ("tg-2", "yes"), ("tg-3", "no")] {
        let mut said = message("7", key);
        said.message = text.to_owned();
        queue.publish(Side::Run, said, Durability::None).unwrap();
    }
    publish(&queue, "8", "tg-4");
    let (lane, view) = (Lane::Thread("7".parse().unwrap()), queue.view());
    let last = |most, text: &str| {
        let found = view.last_of(Place::Incoming, &lane, most, |it| it.message == text);
        found.unwrap().map(|it| it.key.to_string())
    };
    assert_eq!(last(10, "yes").as_deref(), Some("tg-2"));
    assert_eq!(last(10, "hello"), None, "it is of another lane");
    assert_eq!(last(1, "yes"), None, "it is not among the newest");
    while let Some(mut lease) = queue.try_claim(Side::Run, &Which::Ordinary).unwrap() {
        lease.answer(tinyclaw_domain::Reply { silent: true, ..reply("") }, vec![]).unwrap();
        lease.finish().unwrap();
    }
    let last = view.last_of(Place::Done, &lane, 10, |_| true).unwrap();
    assert_eq!(last.map(|it| it.key), Some(key("tg-3")));
}

pub(super) fn what_waits_is_counted_by_lane(make: Make) {
    let open = make();
    let queue = open(quiet());
    assert_eq!(queue.view().waiting().unwrap(), tinyclaw_queue::Waiting::default());
    for (thread, key) in [("7", "tg-1"), ("8", "tg-2"), ("7", "tg-3")] {
        publish(&queue, thread, key);
    }
    let mut stop = message("7", "tg-4");
    stop.command = Some(Command::Stop { key: None });
    queue.publish(Side::Run, stop, Durability::Strict).unwrap();
    let waiting = queue.view().waiting().unwrap();
    let thread = "7".parse().unwrap();
    assert_eq!(waiting.lanes[&Lane::Thread("7".parse().unwrap())], 2);
    assert_eq!((waiting.in_thread(&thread), waiting.lanes.len()), (3, 3));
    let first = queue.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!((waiting.oldest, first.position), (Some(first.queued_at), Some(1)));
    assert!(queue.view().oldest_waiting_ms().unwrap().unwrap() < 600_000);
}
