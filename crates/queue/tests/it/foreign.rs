//! What other hands lay into the folders: nothing of it stops a lane, a look or the house.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown, mkfifo, setfsgid, setfsuid};
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
    let unreadable = || {
        let lay = |path: &Path| {
            std::fs::write(path, "{}").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).unwrap();
        };
        check(lay, "it cannot be read: ");
    };
    if !Uid::effective().is_root() {
        return unreadable();
    }
    // Nothing is unreadable to root: a thread of its own sees files as nobody does.
    let dir = tempfile::tempdir().unwrap();
    let nobody = (Uid::from_raw(65_534), Gid::from_raw(65_534));
    chown(dir.path(), Some(nobody.0), Some(nobody.1)).unwrap();
    let as_nobody = move || {
        setfsgid(nobody.1);
        setfsuid(nobody.0);
        unreadable();
    };
    std::thread::spawn(as_nobody).join().unwrap();
}

#[test]
fn a_folder_among_the_litter_stops_no_housekeeping() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let root = dir.path().join("queue");
    for path in ["tmp/old", "done/20200101/old", "dead/old.reason"] {
        let path = root.join(path);
        std::fs::create_dir_all(&path).unwrap();
        let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
        std::fs::File::open(&path).unwrap().set_modified(hour_ago).unwrap();
    }
    std::fs::write(root.join("done/20200101/0-01ARZ3NDEKTSV4RRFFQ69G5FAV~7~tg-9.json"), "{}")
        .unwrap();
    assert_eq!(queue.housekeep().unwrap().reaped, 1);
}
