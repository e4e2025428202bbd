//! What is true of the folders alone: several that open them at once, litter, versions, what a power cut shows twice.

use std::time::Duration;

use tinyclaw_disk::testing::{Fault, disarm, fail_reads_after};
use tinyclaw_domain::{Command, Lane};
use tinyclaw_queue::{OpenError, PublishError};

use super::*;

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
fn a_disk_without_room_takes_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let poor = Options {
        free_share_min: 2.0,
        free_bytes_enough: u64::MAX,
        reserve_bytes: 0,
        ..Options::default()
    };
    let poor = Queue::open(dir.path(), poor).unwrap();
    let refused = poor.publish(Side::Run, message("9", "tg-4"), Durability::Strict).unwrap_err();
    assert!(matches!(refused, PublishError::NoSpace { .. }), "{refused}");
}

/// What waited for a week before it was given up was removed the same night, because the message's own age counted.
#[test]
fn what_was_given_up_is_kept_from_then_on_however_old_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    publish(&queue, "7", "tg-1");
    let file = std::fs::read_dir(dir.path().join("queue/incoming")).unwrap().next().unwrap();
    let file = std::fs::File::options().write(true).open(file.unwrap().path()).unwrap();
    let week_ago = std::time::SystemTime::now() - Duration::from_secs(7 * 86_400);
    file.set_modified(week_ago).unwrap();
    queue.bury(&key("tg-1"), "nobody needs it").unwrap();
    let hour = Duration::from_secs(3_600);
    let keep = tinyclaw_queue::Keep { dead: hour, quarantine: hour };
    assert_eq!(queue.retire(&keep).unwrap(), 0);
    let dead = dir.path().join("queue/dead");
    assert_eq!(std::fs::read_dir(&dead).unwrap().count(), 2, "the message and its reason");
    for file in std::fs::read_dir(&dead).unwrap().flatten() {
        let file = std::fs::File::options().write(true).open(file.path()).unwrap();
        file.set_modified(week_ago).unwrap();
    }
    assert_eq!(queue.retire(&keep).unwrap(), 1);
    assert_eq!(std::fs::read_dir(&dead).unwrap().count(), 0, "and nothing is left of it");
}
