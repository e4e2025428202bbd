//! Heartbeats: threads that keep a `HEARTBEAT.md` are asked now and then whether something in it is due.

use std::path::Path;

use tinyclaw_disk::foreign::read_below;
use tinyclaw_domain::{Channel, Key, Message, Source, ThreadId, ThreadStatus};
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::now_ms;

use crate::config::now;
use crate::schedule::clock::Clock;

/// Where a thread keeps what it looks after, in its directory.
const HEARTBEAT_FILE: &str = "HEARTBEAT.md";
/// A longer one is not looked through.
const HEARTBEAT_BYTES_MAX: u64 = 256 * 1024;
/// When a thread last looked, in its entry.
const LAST_BEAT: &str = "lastBeat";

/// Lets threads look whether something is due, each at its interval from its last look on: a restart is none.
pub(super) fn beat(clock: &Clock) {
    let settings = clock.settings.current();
    let beat = &settings.heartbeat;
    let is_quiet = beat.quiet_hours.is_some_and(|it| it.contains(now(&clock.settings).time()));
    // While nothing can be answered, one look after another would pile up.
    if !beat.enabled || is_quiet || clock.availability.paused().is_some() {
        return;
    }
    let open = clock.desks.all().into_iter().filter(|it| it.1.status != ThreadStatus::Closed);
    for (id, thread) in open {
        let Some(every) = beat.threads.get(id.as_str()).copied().unwrap_or(Some(beat.interval))
        else {
            continue;
        };
        let now = now_ms();
        // The first one comes after one interval. A clock that was set back begins anew.
        let last = thread.extra.get(LAST_BEAT).and_then(serde_json::Value::as_u64);
        let Some(last) = last.filter(|it| *it <= now) else {
            note_beat(clock, &id, now);
            continue;
        };
        let is_due = now - last >= every.as_millis() as u64;
        if is_due && has_something_due(Path::new(&thread.cwd)) {
            // Published first, under a key of the last one: a crash in between does not make it two.
            publish_beat(clock, &id, last);
            note_beat(clock, &id, now);
        }
    }
}

fn note_beat(clock: &Clock, id: &ThreadId, at: u64) {
    clock.desks.touch(id, |it| {
        it.extra.insert(LAST_BEAT.to_owned(), at.into());
    });
}

/// A heartbeat costs money: a thread without anything to look after is left alone.
fn has_something_due(cwd: &Path) -> bool {
    let bytes = match read_below(cwd, Path::new(HEARTBEAT_FILE), HEARTBEAT_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(err) if err.is_missing() => return false,
        Err(err) => {
            // The thread's own Claude put it there, and it is looked at again with every tick.
            tracing::debug!("nothing is due: {err}");
            return false;
        }
    };
    String::from_utf8_lossy(&bytes)
        .lines()
        .map(str::trim)
        .any(|it| !it.is_empty() && !it.starts_with('#') && !it.starts_with("- [x]"))
}

fn publish_beat(clock: &Clock, id: &ThreadId, last: u64) {
    let channel =
        if clock.notices.is_in_telegram(id) { Channel::Telegram } else { Channel::System };
    let key = Key::hashed("hb", &format!("{id}-{last}"));
    let text = format!(
        "Read {HEARTBEAT_FILE} and see whether something is due now. Do what is due and say what you did in a few \
         words. If nothing is due, answer only [NO_UPDATES]."
    );
    let mut beat = Message::new(key, channel, id.clone(), text, now_ms());
    beat.source = Source::Heartbeat;
    beat.sender = "heartbeat".to_owned();
    if let Err(err) = clock.queue.publish(Side::Run, beat, Durability::Strict) {
        tracing::warn!(thread.id = %id, "thread {id} misses a heartbeat: {err}");
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the test lays files down as Claude would")]
mod tests {
    use super::*;

    /// A pipe in its place stopped the clock of the whole office.
    #[test]
    fn a_heartbeat_that_is_no_file_is_not_due_and_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HEARTBEAT_FILE);
        assert!(!has_something_due(dir.path()));
        std::fs::write(&path, "# Things\n- [x] done\n").unwrap();
        assert!(!has_something_due(dir.path()));
        std::fs::write(&path, "# Things\n- water the plants\n").unwrap();
        assert!(has_something_due(dir.path()));
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(!has_something_due(dir.path()), "a link");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!has_something_due(dir.path()), "a pipe");
        std::fs::remove_file(&path).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(!has_something_due(dir.path()), "a terabyte of nothing");
    }
}
