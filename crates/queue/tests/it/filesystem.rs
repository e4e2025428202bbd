//! A real file system that is shut down under the queue, as a power cut would: needs root, a loop device and Python.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// `EXT4_IOC_SHUTDOWN` without flushing the journal. Python, because the call has no safe wrapper in Rust.
const SHUTDOWN: &str = "
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))
";

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| err.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = run("umount", &["-l", &self.0.display().to_string()]);
    }
}

fn mounted(image: &Path, at: &Path) -> Result<(), String> {
    run("mount", &["-o", "loop", &image.display().to_string(), &at.display().to_string()])
}

#[test]
fn a_confirmed_message_survives_a_real_file_system_shut_down() {
    let dir = tempfile::tempdir().unwrap();
    let (image, at) = (dir.path().join("disk.img"), dir.path().join("mnt"));
    std::fs::create_dir(&at).unwrap();
    std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let ready = run("mkfs.ext4", &["-q", "-F", &image.display().to_string()])
        .and_then(|()| mounted(&image, &at));
    if let Err(why) = ready {
        println!("skipped: a_confirmed_message_survives_a_real_file_system_shut_down: {why}");
        return;
    }
    let mount = Mount(&at);
    let queue = open(&at);
    for number in 0..20 {
        publish(&queue, "7", &format!("tg-{number}"));
    }
    let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    lease.answer(reply("hi"), vec![]).unwrap();
    if let Err(why) = run("python3", &["-c", SHUTDOWN, &at.display().to_string()]) {
        println!("skipped: a_confirmed_message_survives_a_real_file_system_shut_down: {why}");
        return;
    }
    drop(lease);
    drop(queue);
    drop(mount);
    mounted(&image, &at).unwrap();
    let _mount = Mount(&at);
    let queue = open(&at);
    for number in 0..20 {
        let seen = queue.view().find(&key(&format!("tg-{number}"))).unwrap();
        assert!(seen.is_some(), "tg-{number} was confirmed and is gone");
    }
    let first = queue.view().find(&key("tg-0")).unwrap().unwrap();
    assert_eq!(first.message.reply.map(|it| it.text).as_deref(), Some("hi"));
}
