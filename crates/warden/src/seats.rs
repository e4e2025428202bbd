//! What the warden starts: itself again, which gives up root's rights before it does anything.
//!
//! `office` turns into the office's program, `hub` into the hub of a desk, `end` and `remove` do their work and leave. None
//! of them reads a byte that an office or a desk wrote while it still has a right of root's. `warden` alone keeps its rights: it
//! is the warden, where the process that was started turned into the office.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::SigSet;

use crate::inside::{self, EXIT_STILL_THERE};
use crate::request::DeskNumber;
use crate::rights::{become_desk, become_hand, become_office, program};
use crate::serve::watch;

/// Exit code: a step failed.
const EXIT_FAILED: i32 = 71;

/// The `main` of what the warden starts; `None`: the words are none of these.
pub fn seat(mut words: impl Iterator<Item = OsString>) -> Option<i32> {
    let word = words.next()?;
    let words: Vec<OsString> = words.collect();
    // The warden takes its signals from a descriptor; whoever it starts has them as anybody has.
    let _ = SigSet::empty().thread_set_mask();
    let done = match (word.to_str()?, &words[..]) {
        ("office", [user, path, args @ ..]) => {
            number(user).and_then(become_office).and_then(|()| Err(program(path, args).exec()))
        }
        ("hub", [desk, folder, program]) => start_hub(desk, Path::new(folder), program),
        ("warden", [desks, hub]) => {
            let kept = watch(Path::new(desks), PathBuf::from(hub));
            return Some(kept.unwrap_or_else(|err| finish(Err(err))));
        }
        ("end", [desk]) => return Some(finish(the_desk(desk).and_then(end))),
        ("remove", [desk, folder]) => {
            return Some(finish(the_desk(desk).and_then(|it| remove(it, Path::new(folder)))));
        }
        _ => return None,
    };
    Some(finish(done.map(|()| true)))
}

/// `false`: somebody is still there.
fn finish(done: io::Result<bool>) -> i32 {
    match done {
        Ok(true) => 0,
        Ok(false) => EXIT_STILL_THERE,
        Err(err) => {
            let _ = writeln!(io::stderr(), "tinyclaw-warden: {err}");
            EXIT_FAILED
        }
    }
}

fn number(word: &OsString) -> io::Result<u32> {
    let number = word.to_str().and_then(|it| it.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("{word:?} is no number")))
}

fn the_desk(word: &OsString) -> io::Result<DeskNumber> {
    DeskNumber::try_from(number(word)?).map_err(io::Error::other)
}

fn start_hub(desk: &OsString, folder: &Path, path: &OsString) -> io::Result<()> {
    become_desk(the_desk(desk)?)?;
    inside::furnish(folder)?;
    // What is said on it reaches the office's log; nothing of a desk does.
    let complaints = io::stderr().as_fd().try_clone_to_owned()?;
    let mut hub = program(path, &["hub", "--told", "--state"].map(OsString::from));
    let err = hub.arg(folder.join("run")).stderr(Stdio::null()).exec();
    let _ = writeln!(File::from(complaints), "tinyclaw-warden: cannot start a hub: {err}");
    Err(err)
}

fn end(desk: DeskNumber) -> io::Result<bool> {
    become_hand(desk)?;
    inside::end_all(desk)
}

fn remove(desk: DeskNumber, folder: &Path) -> io::Result<bool> {
    become_hand(desk)?;
    if !inside::end_all(desk)? {
        return Ok(false);
    }
    inside::clear(folder)?;
    Ok(true)
}
