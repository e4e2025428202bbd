//! What other hands lay into the folders: nothing of it stops a lane, a look or the house.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, mkfifo, setfsgid, setfsuid};
use tinyclaw_disk::testing::{Fault, disarm, fail_after, unreadable};
use tinyclaw_domain::Channel;
use tinyclaw_queue::Place;

use super::*;

/// A name as ours are, older than everything that is published now.
const NAME: &str = "0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-1.json";

/// Lays something down under a proper name, on either side, and lets a message come behind it.
#[track_caller]
fn check(lay: impl Fn(&Path), why: &str) {
    for (side, waiting) in [(Side::Run, "incoming"), (Side::Send, "outgoing")] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        lay(&dir.path().join("queue").join(waiting).join(NAME));
        let queue = open(dir.path());
        let place = if side == Side::Run { Place::Incoming } else { Place::Outgoing };
        let listed = queue.view().list(place, 10).unwrap();
        assert_eq!(queue.view().read(&listed[0]).unwrap(), None, "a look neither fails nor hangs");
        assert_eq!(queue.view().find(&key("tg-1")).unwrap(), None);
        queue.publish(side, message("7", "tg-2"), Durability::None).unwrap();
        let which = match side {
            Side::Run => Which::Ordinary,
            Side::Send => Which::Channel(Channel::Telegram),
        };
        let next = queue.try_claim(side, &which).unwrap().expect("the one behind it");
        assert_eq!(next.message().key, key("tg-2"));
        let quarantine = dir.path().join("queue/quarantine");
        assert!(quarantine.join(NAME).symlink_metadata().is_ok(), "it is put aside: {why}");
        let reason = std::fs::read_to_string(quarantine.join(format!("{NAME}.reason"))).unwrap();
        assert!(reason.starts_with(why), "{reason}");
        assert_eq!(queue.view().find(&key("tg-1")).unwrap(), None);
        assert!(queue.requeue(&key("tg-1")).is_err(), "nor does it come back unmended");
    }
}

#[test]
fn a_pipe_under_a_proper_name_holds_nobody() {
    check(|path| mkfifo(path, Mode::S_IRWXU).unwrap(), "it is not a regular file");
}

#[test]
fn a_folder_under_a_proper_name_stops_no_lane() {
    check(|path| std::fs::create_dir(path).unwrap(), "it is not a regular file");
}

#[test]
fn a_socket_under_a_proper_name_stops_no_lane() {
    check(|path| drop(UnixListener::bind(path).unwrap()), "it cannot be read: ");
}

#[test]
fn a_symlink_is_never_followed_wherever_it_leads() {
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("secret.json");
    std::fs::write(&secret, serde_json::to_vec(&message("7", "tg-1")).unwrap()).unwrap();
    check(|path| symlink(&secret, path).unwrap(), "it is not a regular file");
    check(|path| symlink("/nowhere", path).unwrap(), "it is not a regular file");
    assert!(secret.exists());
}

#[test]
fn a_file_too_large_to_be_a_message_is_not_read() {
    let lay = |path: &Path| std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
    check(lay, "it has 1099511627776 bytes");
}

#[test]
fn a_file_that_may_not_be_read_stops_no_lane() {
    let try_it = || {
        let lay = |path: &Path| {
            std::fs::write(path, "{}").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).unwrap();
        };
        check(lay, "it cannot be read: ");
    };
    if !Uid::effective().is_root() {
        return try_it();
    }
    // Nothing is unreadable to root: a thread of its own sees files as nobody does.
    let dir = tempfile::tempdir().unwrap();
    let nobody = (Uid::from_raw(65_534), Gid::from_raw(65_534));
    chown(dir.path(), Some(nobody.0), Some(nobody.1)).unwrap();
    let as_nobody = move || {
        setfsgid(nobody.1);
        setfsuid(nobody.0);
        try_it();
    };
    std::thread::spawn(as_nobody).join().unwrap();
}

const EIO: i32 = 5;

fn impatient(dir: &Path) -> Queue {
    let options = Options {
        reserve_bytes: 0,
        free_share_min: 0.0,
        watch: false,
        sweep_every: Duration::from_millis(1),
        ..Options::default()
    };
    Queue::open(dir, options).unwrap()
}

/// Two bad sectors stopped everybody: the oldest was tried again each second, and nobody got beyond it.
#[test]
fn files_that_cannot_be_read_cost_their_own_lanes_and_a_complaint_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let queue = impatient(dir.path());
    for (thread, key) in [("7", "tg-71"), ("8", "tg-81"), ("9", "tg-91"), ("7", "tg-72")] {
        publish(&queue, thread, key);
    }
    unreadable("tg-71", EIO);
    unreadable("tg-81", EIO);
    let mut taken = Vec::new();
    let (mut complaints, mut told) = (0, Vec::new());
    let put_aside = || queue.view().depth().unwrap().quarantine;
    while complaints < 20 && (taken.len() < 2 || put_aside() < 2) {
        std::thread::sleep(Duration::from_millis(2));
        match queue.try_claim(Side::Run, &Which::Ordinary) {
            Ok(Some(lease)) => {
                taken.push(lease.message().key.to_string());
                std::mem::forget(lease);
            }
            Ok(None) => {}
            Err(err) => {
                complaints += 1;
                told = queue.troubles().into_iter().map(|it| it.why).collect();
                assert!(err.to_string().contains("tg-71") || err.to_string().contains("tg-81"));
            }
        }
    }
    assert_eq!(taken, ["tg-91", "tg-72"], "the others go on at once, and the lane in the end");
    assert!(told.iter().any(|it| it.contains("tg-71.json: Input/output error")), "{told:?}");
    let reasons: Vec<String> = std::fs::read_dir(dir.path().join("queue/quarantine"))
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "reason"))
        .map(|it| std::fs::read_to_string(it).unwrap())
        .collect();
    assert_eq!(reasons, ["it cannot be read: Input/output error (os error 5)\n"; 2]);
    disarm();
    assert_eq!(queue.troubles(), []);
    // The disk was mended: nothing was changed, and nobody died of it.
    assert_eq!(queue.requeue(&key("tg-81")).unwrap(), Place::Incoming);
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!((lease.message().key.as_str(), lease.message().attempts.deaths), ("tg-81", 0));
}

#[test]
fn a_file_that_cannot_be_read_for_a_moment_is_nobodys_death() {
    let dir = tempfile::tempdir().unwrap();
    let queue = impatient(dir.path());
    publish(&queue, "7", "tg-1");
    unreadable("tg-1", EIO);
    assert!(queue.try_claim(Side::Run, &Which::Ordinary).is_err());
    disarm();
    std::thread::sleep(Duration::from_millis(5));
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!((lease.attempt(), lease.was_recovered()), (1, false));
}

#[test]
fn what_cannot_be_read_can_be_found_by_name_and_buried() {
    let dir = tempfile::tempdir().unwrap();
    let queue = impatient(dir.path());
    publish(&queue, "7", "tg-1");
    publish(&queue, "7", "tg-2");
    unreadable("tg-1", EIO);
    let err = queue.view().read(&queue.view().list(Place::Incoming, 1).unwrap()[0]).unwrap_err();
    assert!(err.to_string().contains("~7~tg-1.json cannot be read: Input/output"), "{err}");
    assert!(queue.try_claim(Side::Run, &Which::Ordinary).is_err());
    assert_eq!(queue.view().place_of(&key("tg-1")).unwrap(), Some(Place::Processing));
    queue.bury(&key("tg-1"), "its sector is bad").unwrap();
    assert_eq!(queue.view().place_of(&key("tg-1")).unwrap(), Some(Place::Dead));
    disarm();
    let seen = queue.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!(seen.reason.as_deref(), Some("its sector is bad"));
    // What is really worked on is not buried under its owner.
    let _held = loop {
        match queue.try_claim(Side::Run, &Which::Ordinary).unwrap() {
            Some(lease) => break lease,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    assert_eq!(queue.troubles(), []);
    let busy = queue.bury(&key("tg-2"), "no").unwrap_err();
    assert_eq!(busy.to_string(), "message tg-2 is being worked on; stop it first");
}

#[test]
fn a_folder_among_the_litter_stops_no_housekeeping() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let root = dir.path().join("queue");
    for path in ["tmp/old", "done/20200101/old", "dead/old.reason"] {
        let path = root.join(path);
        std::fs::create_dir_all(&path).unwrap();
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
        std::fs::File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    }
    std::fs::write(root.join("done/20200101/0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-9.json"), "{}")
        .unwrap();
    assert_eq!(queue.housekeep().unwrap().reaped, 1);
}

#[test]
fn a_hand_made_file_of_the_original_is_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let old = r#"{"channel":"telegram","source":"cli","threadId":1,"sender":"CLI","senderId":"cli","message":"hello",
        "timestamp":1771234567890,"messageId":"cli_1771234567_42","mood":"kept"}"#;
    std::fs::write(dir.path().join("queue/incoming/cli_1771234567_42.json"), old).unwrap();
    let swept = queue.housekeep().unwrap();
    assert_eq!((swept.adopted, swept.quarantined), (1, 0));
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(lease.message().message, "hello");
    assert_eq!(lease.message().message_id, "cli_1771234567_42");
    assert_eq!(lease.message().extra["mood"], "kept");
    drop(lease);
    // What says that it is the same message is not worked on again, and not thrown away either.
    std::fs::write(dir.path().join("queue/incoming/cli_1771234567_42.json"), old).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(queue.housekeep().unwrap().quarantined, 1);
    assert_eq!(queue.view().depth().unwrap().incoming, 0);
    let kept = dir.path().join("queue/quarantine/cli_1771234567_42.json");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), old);
    let why = std::fs::read_to_string(kept.with_extension("json.reason")).unwrap();
    assert!(why.contains("known already, in processing/; to send it all the same"), "{why}");
}

/// Every message after the first was taken for the first, and thrown away.
#[test]
fn a_script_may_use_one_name_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let template = dir.path().join("ping.json");
    std::fs::write(&template, r#"{"message":"ping"}"#).unwrap();
    let drop_here = dir.path().join("queue/incoming/ping.json");
    for round in 1..=3 {
        // As `cp -p` does: every copy has the time and the length of the first.
        std::fs::copy(&template, &drop_here).unwrap();
        let modified = std::fs::metadata(&template).unwrap().modified().unwrap();
        std::fs::File::options()
            .write(true)
            .open(&drop_here)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        assert_eq!(queue.housekeep().unwrap().adopted, 1, "round {round}");
        assert_eq!(queue.view().depth().unwrap().incoming, round);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_crash_before_a_hand_made_file_is_removed_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    std::fs::write(dir.path().join("queue/incoming/ping.json"), r#"{"message":"ping"}"#).unwrap();
    // Create, flush, rename, flush the folder: then the removal fails.
    fail_after(4, Fault::Errno(5));
    assert_eq!(queue.housekeep().unwrap().adopted, 0);
    assert!(disarm());
    assert_eq!(std::fs::read_dir(dir.path().join("queue/incoming")).unwrap().count(), 2);
    let queue = open(dir.path());
    std::thread::sleep(Duration::from_millis(1_100));
    queue.housekeep().unwrap();
    let depth = queue.view().depth().unwrap();
    assert_eq!((depth.incoming, depth.quarantine), (1, 1));
}

#[test]
fn a_heartbeat_beside_one_that_waits_is_no_news() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    for name in ["a.json", "b.json"] {
        let beat = r#"{"channel":"heartbeat","message":"look"}"#;
        std::fs::write(dir.path().join("queue/incoming").join(name), beat).unwrap();
    }
    queue.housekeep().unwrap();
    let depth = queue.view().depth().unwrap();
    assert_eq!((depth.incoming, depth.quarantine), (1, 0));
}

#[test]
fn what_is_no_message_goes_to_quarantine_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let incoming = dir.path().join("queue/incoming");
    std::fs::write(incoming.join("broken.json"), "{").unwrap();
    std::fs::write(incoming.join("list.json"), "[]").unwrap();
    std::fs::write(incoming.join("future.json"), r#"{"v":9,"message":"x"}"#).unwrap();
    std::fs::write(incoming.join("notes.txt"), "hello").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", incoming.join("link.json")).unwrap();
    let early = queue.housekeep().unwrap();
    assert_eq!(early.quarantined, 0, "a slow writer gets a second");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(queue.housekeep().unwrap().quarantined, 5);
    assert_eq!(queue.view().depth().unwrap().quarantine, 5);
    let why =
        std::fs::read_to_string(dir.path().join("queue/quarantine/future.json.reason")).unwrap();
    assert_eq!(why, "its version is 9, this one knows 1\n");
    assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0);
}

#[test]
fn what_lies_in_quarantine_is_not_overwritten_by_the_next_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let quarantine = dir.path().join("queue/quarantine");
    for text in ["[1]", "{", r#"{"v":9}"#] {
        std::fs::write(dir.path().join("queue/incoming/x.json"), text).unwrap();
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
        let file =
            std::fs::File::options().write(true).open(dir.path().join("queue/incoming/x.json"));
        file.unwrap().set_modified(hour_ago).unwrap();
        assert_eq!(queue.housekeep().unwrap().quarantined, 1);
    }
    for (name, text, why) in [
        ("x.json", "[1]", "it is not a JSON object"),
        ("x.json.2", "{", "it is not JSON"),
        ("x.json.3", r#"{"v":9}"#, "its version is 9"),
    ] {
        assert_eq!(std::fs::read_to_string(quarantine.join(name)).unwrap(), text);
        let reason = std::fs::read_to_string(quarantine.join(format!("{name}.reason"))).unwrap();
        assert!(reason.starts_with(why), "{name}: {reason}");
    }
    assert_eq!(queue.view().depth().unwrap().quarantine, 3);
}

/// A bit of the thread's number sent an answer to another topic, and nobody saw it.
#[test]
fn what_the_disk_changed_goes_to_quarantine_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    publish(&queue, "7", "tg-1");
    let path = std::fs::read_dir(dir.path().join("queue/incoming")).unwrap().next().unwrap();
    let path = path.unwrap().path();
    let text = std::fs::read_to_string(&path).unwrap();
    // As a person would write it, without a sum: what does not fit its name is no message all the same.
    let mut other = message("7", "tg-1");
    other.thread_id = "5".parse().unwrap();
    for (bytes, why) in [
        (text.replace("hello", "hellp").into_bytes(), "its checksum does not fit"),
        (serde_json::to_vec(&other).unwrap(), "its lane is 5, its name says 7"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        // A queue that has not seen where the one before it went.
        assert_eq!(next(&open(dir.path()), Side::Run), "-");
        let name = path.file_name().unwrap().to_str().unwrap();
        let put_aside = dir.path().join("queue/quarantine").join(name);
        let reason = std::fs::read_to_string(format!("{}.reason", put_aside.display())).unwrap();
        assert!(reason.starts_with(why), "{reason}");
        std::fs::remove_file(&put_aside).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    // Mended by hand and without a sum it is welcome, and marked.
    std::fs::write(&path, serde_json::to_vec_pretty(&message("7", "tg-1")).unwrap()).unwrap();
    let lease = open(dir.path()).try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(lease.message().extra["unchecked"], true);
}
