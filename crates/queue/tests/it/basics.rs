//! Lanes, keys, retries, limits, foreign files: the ordinary life of a queue.

use std::time::Duration;

use tinyclaw_disk::testing::{Fault, disarm, fail_reads_after};
use tinyclaw_domain::{Channel, Command, Lane, Source};
use tinyclaw_queue::{LeaseError, OpenError, Place, PublishError, SENDER_DEATHS_MAX};

use super::*;

#[test]
fn a_message_travels_from_incoming_to_done() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn a_fetched_answer_goes_straight_to_done() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let asked = Message::new(key("cli-1"), Channel::Cli, "cli".parse().unwrap(), "hello", 1);
    queue.publish(Side::Run, asked, Durability::Strict).unwrap();
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.answer(reply("hi"), vec![]).unwrap();
    lease.finish().unwrap();
    assert_eq!(next(&queue, Side::Send), "-");
    assert_eq!(queue.view().find(&key("cli-1")).unwrap().unwrap().place, Place::Done);
}

#[test]
fn a_key_is_published_once() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    assert_eq!(publish(&queue, "7", "tg-1"), Published::New);
    assert_eq!(publish(&queue, "7", "tg-1"), Published::Duplicate(Place::Incoming));
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(publish(&queue, "7", "tg-1"), Published::Duplicate(Place::Processing));
    lease.answer(tinyclaw_domain::Reply { silent: true, ..reply("") }, vec![]).unwrap();
    lease.finish().unwrap();
    assert_eq!(publish(&queue, "7", "tg-1"), Published::Duplicate(Place::Done));
    // Also for a process that was not there.
    assert_eq!(publish(&open(dir.path()), "7", "tg-1"), Published::Duplicate(Place::Done));
}

#[test]
fn services_that_open_it_at_the_same_moment_all_find_it_ready() {
    for _ in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (together, path) = (&together, dir.path());
                scope.spawn(move || {
                    together.wait();
                    let queue = open(path);
                    assert_eq!(publish(&queue, "7", &format!("tg-{number}")), Published::New);
                });
            }
        });
    }
}

#[test]
fn a_lane_is_worked_on_one_by_one_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn a_lane_has_one_owner_among_processes() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(dir.path()), open(dir.path()));
    publish(&ours, "7", "tg-1");
    publish(&ours, "7", "tg-2");
    let theirs_again = open(dir.path());
    let lease = theirs.try_claim(Side::Run, &Which::Ordinary).unwrap();
    assert!(
        lease.is_none() || lease.is_some(),
        "whether it has seen them yet is the sweep's business"
    );
    let held =
        lease.or_else(|| theirs_again.try_claim(Side::Run, &Which::Ordinary).unwrap()).unwrap();
    assert_eq!(held.message().key, key("tg-1"));
    assert_eq!(next(&ours, Side::Run), "-", "neither the claimed one nor the one behind it");
}

#[test]
fn a_dropped_lease_is_taken_up_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn an_answer_that_kills_its_sender_is_given_up_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn a_failed_head_holds_its_lane_until_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn nothing_waits_longer_than_an_hour_and_what_is_put_back_for_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn control_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(
        dir.path(),
        Options {
            incoming_max: 1,
            outgoing_max: 0,
            reserve_bytes: 0,
            free_share_min: 0.0,
            ..Options::default()
        },
    )
    .unwrap();
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

#[test]
fn limits_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { lane_max: 1, message_bytes_max: 2_000, reserve_bytes: 0, ..Options::default() };
    let queue =
        Queue::open(dir.path(), Options { free_share_min: 0.0, ..options.clone() }).unwrap();
    publish(&queue, "7", "tg-1");
    let second = queue.publish(Side::Run, message("7", "tg-2"), Durability::Strict).unwrap_err();
    assert_eq!(second.to_string(), "1 messages of lane 7 wait already; try again later");
    let mut large = message("8", "tg-3");
    large.message = "x".repeat(3_000);
    let large = queue.publish(Side::Run, large, Durability::Strict).unwrap_err();
    assert!(large.to_string().contains("put large things into files/"), "{large}");
    let poor = Queue::open(
        dir.path(),
        Options { free_share_min: 2.0, free_bytes_enough: u64::MAX, ..options },
    )
    .unwrap();
    // The share of free space is asked for at most once a second.
    std::thread::sleep(Duration::from_millis(1_100));
    let refused = poor.publish(Side::Run, message("9", "tg-4"), Durability::Strict).unwrap_err();
    assert!(matches!(refused, PublishError::NoSpace { .. }), "{refused}");
}

#[test]
fn what_was_accepted_has_room_for_the_rest_of_its_life() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn only_one_heartbeat_waits_and_behind_people() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn an_edit_changes_a_waiting_message_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    publish(&queue, "7", "tg-1");
    assert!(queue.replace_waiting(&key("tg-1"), |it| it.message = "better".to_owned()).unwrap());
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(lease.message().message, "better");
    assert!(!queue.replace_waiting(&key("tg-1"), |it| it.message = "late".to_owned()).unwrap());
}

#[test]
fn an_edit_never_brings_a_claimed_message_back() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    publish(&queue, "7", "tg-1");
    let claimer = queue.clone();
    let replaced = queue.replace_waiting(&key("tg-1"), |_| {
        // Somebody claims it between the reading and the writing.
        std::mem::forget(claimer.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap());
    });
    assert!(!replaced.unwrap());
    assert_eq!(queue.view().depth().unwrap().incoming, 0);
}

#[test]
fn follow_ups_reach_their_lanes_once() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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

#[test]
fn a_broken_file_under_a_proper_name_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let name = "0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-1.json";
    std::fs::create_dir_all(dir.path().join("queue/incoming")).unwrap();
    std::fs::write(dir.path().join("queue/incoming").join(name), "{torn").unwrap();
    let queue = open(dir.path());
    publish(&queue, "7", "tg-2");
    assert_eq!(next(&queue, Side::Run), "tg-2");
    assert_eq!(queue.view().depth().unwrap().quarantine, 1);
}

#[test]
fn a_name_that_shows_twice_after_a_power_cut_is_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    publish(&queue, "7", "tg-1");
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    drop(lease);
    drop(queue);
    let root = dir.path().join("queue");
    std::fs::remove_file(root.join("BOOT")).unwrap();
    let file = std::fs::read_dir(root.join("processing")).unwrap().next().unwrap().unwrap();
    std::fs::copy(file.path(), root.join("incoming").join(file.file_name())).unwrap();
    let queue = open(dir.path());
    assert_eq!(
        std::fs::read_dir(root.join("incoming")).unwrap().count(),
        0,
        "the further place wins"
    );
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert!(lease.was_recovered());
    lease.answer(tinyclaw_domain::Reply { silent: true, ..reply("") }, vec![]).unwrap();
    lease.finish().unwrap();
    assert_eq!(next(&queue, Side::Run), "-");
    assert_eq!(
        next(&open(dir.path()), Side::Run),
        "-",
        "also for a process that never saw the further one"
    );
}

#[test]
fn a_queue_of_another_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("queue/FORMAT"), "{\"v\":2}\n").unwrap();
    let refused = Queue::open(dir.path(), Options::default()).err().unwrap();
    assert!(matches!(refused, OpenError::OtherFormat { .. }), "{refused}");
}

#[test]
fn old_answers_are_forgotten_and_litter_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let old = dir.path().join("queue/done/20200101");
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-1.json"), "{}").unwrap();
    let litter = dir.path().join("queue/tmp/0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-2.json");
    std::fs::write(&litter, "{").unwrap();
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
    std::fs::File::options().write(true).open(&litter).unwrap().set_modified(hour_ago).unwrap();
    let swept = queue.housekeep().unwrap();
    assert_eq!((swept.reaped, swept.litter), (1, 1));
    assert!(!old.exists() && !litter.exists());
}

#[tokio::test]
async fn a_waiting_claim_wakes_when_another_process_publishes() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { reserve_bytes: 0, sweep_every: Duration::from_secs(600), ..Options::default() };
    let (ours, theirs) = (Queue::open(dir.path(), options).unwrap(), open(dir.path()));
    let waiting = tokio::spawn(async move {
        ours.claim(Side::Run, &Which::Ordinary).await.unwrap().message().key.to_string()
    });
    tokio::task::yield_now().await;
    publish(&theirs, "7", "tg-1");
    assert_eq!(waiting.await.unwrap(), "tg-1");
}

#[tokio::test]
async fn without_a_watcher_the_sweep_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        reserve_bytes: 0,
        sweep_every: Duration::from_millis(20),
        watch: false,
        ..Options::default()
    };
    let (ours, theirs) = (Queue::open(dir.path(), options).unwrap(), open(dir.path()));
    let waiting =
        tokio::spawn(
            async move { ours.claim(Side::Run, &Which::Ordinary).await.unwrap().attempt() },
        );
    tokio::task::yield_now().await;
    publish(&theirs, "7", "tg-1");
    assert_eq!(waiting.await.unwrap(), 1);
}

#[test]
fn an_answer_is_not_overwritten_by_an_older_copy_of_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    publish(&queue, "7", "tg-1");
    // What a power cut on a weak file system may leave, found by a process that has not heard of the further one.
    let root = dir.path().join("queue");
    let file = std::fs::read_dir(root.join("incoming")).unwrap().next().unwrap().unwrap();
    let mut answered = message("7", "tg-1");
    answered.reply = Some(reply("hi"));
    let answered = serde_json::to_vec(&answered).unwrap();
    std::fs::write(root.join("processing").join(file.file_name()), answered).unwrap();
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert!(lease.was_recovered());
    assert_eq!(lease.message().reply.as_ref().map(|it| it.text.as_str()), Some("hi"));
    assert!(!file.path().exists());
}

#[test]
fn follow_ups_of_a_dead_owner_are_looked_for_before_they_are_published_again() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = open(dir.path());
    publish(&theirs, "7", "tg-1");
    let mut lease = theirs.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.answer(reply("asked them"), vec![follow_up("8"), follow_up("8")]).unwrap();
    // We look, find the lane taken, and will not list again for a minute.
    let patient = Options {
        reserve_bytes: 0,
        free_share_min: 0.0,
        watch: false,
        sweep_every: Duration::from_secs(60),
        ..Options::default()
    };
    let ours = Queue::open(dir.path(), patient).unwrap();
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

/// Every new session listed and sorted all that waited, to learn whether one lane was empty.
#[test]
fn whether_a_lane_has_work_is_known_without_a_look_at_the_folders() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let house = Lane::House("7".parse().unwrap());
    assert!(!queue.has_work(Side::Run, &house));
    let mut order = message("7", "sum-1");
    let session = "0b8f6f0e-5a3c-4c86-9f0e-1d2c3b4a5968".parse().unwrap();
    order.command = Some(Command::Summarize { session });
    queue.publish(Side::Run, order, Durability::None).unwrap();
    publish(&queue, "7", "tg-1");
    fail_reads_after(0, Fault::Errno(5));
    assert!(queue.has_work(Side::Run, &house), "it waits");
    assert!(!disarm(), "no folder was listed and no file was read");
    let claim = || queue.try_claim(Side::Run, &Which::Lane(house.clone())).unwrap().unwrap();
    let lease = claim();
    assert!(queue.has_work(Side::Run, &house), "it is worked on");
    lease.retry_after(Duration::ZERO, "again").unwrap();
    assert!(queue.has_work(Side::Run, &house), "it waits again");
    assert!(open(dir.path()).has_work(Side::Run, &house), "also for a process that was not there");
    std::thread::sleep(Duration::from_millis(3));
    claim().bury("enough").unwrap();
    assert!(!queue.has_work(Side::Run, &house));
}

#[test]
fn a_list_is_the_oldest_of_a_place_in_order_and_the_newest_of_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
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
