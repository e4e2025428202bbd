//! A machine whose inotify instances are all taken: needs user namespaces, in which it is made.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use tinyclaw_queue::Place;

use super::*;

const DIR: &str = "TINYCLAW_TEST_UNWATCHED_DIR";

/// Runs where the kernel gives nobody an inotify instance.
#[tokio::test]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let queue = Queue::open(Path::new(&dir), Options { reserve_bytes: 0, ..Options::default() });
    let lease = queue.unwrap().claim(Side::Run, &Which::Ordinary).await.unwrap();
    lease.bury("as asked").unwrap();
}

#[test]
fn without_an_inotify_instance_the_sweep_alone_does() {
    let dir = tempfile::tempdir().unwrap();
    let none = "echo 0 >/proc/sys/user/max_inotify_instances || exit 77; exec \"$0\" \"$@\"";
    let mut unwatched = std::process::Command::new("unshare");
    unwatched
        .args(["--user", "--map-root-user", "sh", "-c", none])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "unwatched::child"])
        .env(DIR, dir.path());
    let theirs = open(dir.path());
    publish(&theirs, "7", "tg-1");
    let ended = match unwatched.output() {
        Ok(it) if it.status.code() != Some(77) && !it.stderr.starts_with(b"unshare:") => it,
        other => {
            println!("skipped: without_an_inotify_instance_the_sweep_alone_does: {other:?}");
            return;
        }
    };
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(theirs.view().find(&key("tg-1")).unwrap().unwrap().place, Place::Dead);
}
