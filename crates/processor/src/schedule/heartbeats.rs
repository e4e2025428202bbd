//! Heartbeats: threads that keep a `HEARTBEAT.md` are asked now and then whether something in it is due.

use std::path::Path;
use std::time::Duration;

use tinyclaw_domain::{Channel, Key, Message, Source, ThreadId, ThreadStatus};
use tinyclaw_engine::{Desk, Look};
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::now_ms;

use crate::config::now;
use crate::schedule::clock::Clock;

/// Where a thread keeps what it looks after, in its directory.
const HEARTBEAT_FILE: &str = "HEARTBEAT.md";
/// A longer one is not looked through.
const HEARTBEAT_BYTES_MAX: u64 = 256 * 1024;
/// So long is waited for a look at one.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// When a thread last looked, in its entry.
const LAST_BEAT: &str = "lastBeat";

/// Lets threads look whether something is due, each at its interval from its last look on: a restart is none.
pub(super) async fn beat(clock: &Clock) {
    let settings = clock.settings.current();
    let beat = &settings.heartbeat;
    let is_quiet = beat.quiet_hours.is_some_and(|it| it.contains(now(&clock.settings).time()));
    if !beat.enabled || is_quiet {
        return;
    }
    let open = clock.desks.all().into_iter().filter(|it| it.1.status != ThreadStatus::Closed);
    for (id, thread) in open {
        let desk = Desk::of(&id, &thread);
        // While nothing can be answered, one look after another would pile up.
        let (availability, place) = (&clock.availability, &desk.place);
        if availability.paused(place).is_some() || availability.is_away(place) {
            continue;
        }
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
        if is_due && is_something_due_at(clock, &desk).await {
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

/// The clock does not stand still for a place that is slow; the next beat asks again.
async fn is_something_due_at(clock: &Clock, desk: &Desk) -> bool {
    let Ok(look) = clock.engine.look(&desk.place) else { return false };
    let due = tokio::time::timeout(LOOK_MAX, has_something_due(look, desk)).await;
    due.unwrap_or(false)
}

/// A heartbeat costs money: a thread without anything to look after is left alone.
async fn has_something_due(look: &dyn Look, desk: &Desk) -> bool {
    let bytes = match look.get(desk, Path::new(HEARTBEAT_FILE), HEARTBEAT_BYTES_MAX).await {
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
    use tinyclaw_engine::{EngineConfig, LocalLauncher};

    use super::*;

    /// A pipe in its place stopped the clock of the whole office.
    #[tokio::test]
    async fn a_heartbeat_that_is_no_file_is_not_due_and_holds_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let config = EngineConfig::new("/nowhere", "/nowhere", "/nowhere", "/nowhere");
        let here = LocalLauncher::of(&config);
        let desk = Desk::here(&"7".parse().unwrap(), dir.path());
        let is_due = async || has_something_due(&here, &desk).await;
        let path = dir.path().join(HEARTBEAT_FILE);
        assert!(!is_due().await);
        std::fs::write(&path, "# Things\n- [x] done\n").unwrap();
        assert!(!is_due().await);
        std::fs::write(&path, "# Things\n- water the plants\n").unwrap();
        assert!(is_due().await);
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(!is_due().await, "a link");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!is_due().await, "a pipe");
        std::fs::remove_file(&path).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(!is_due().await, "a terabyte of nothing");
    }
}
