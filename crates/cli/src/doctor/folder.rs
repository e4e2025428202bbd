//! The state folder: whether it is there, whose it is, and whether its file system can do what the queue stands on. Told
//! by trying, with probe files that are removed again whatever happens.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access};
use tinyclaw_disk::Room;
use tinyclaw_disk::{DiskError, Lock, remove, rename_no_replace, write_new};
use tinyclaw_ledger::health;
use tinyclaw_queue::{Options, Place};
use tinyclaw_service::now_ms;
use tinyclaw_service::words;

use super::{Finding, Patient};

const FOLDER: &str = "state folder";
const CLOCK: &str = "clock";
/// Before this no TinyClaw was built: 1 January 2026.
const BUILT_MS: u64 = 1_767_225_600_000;
/// Clocks of one machine agree better than this.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// What is wrong with the folder, or that it is well.
pub(super) fn look(patient: &Patient) -> Vec<Finding> {
    let root = patient.state.root();
    let shown = root.display();
    let meta = match std::fs::metadata(root) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => {
            let why = format!("{shown} is no folder");
            return vec![Finding::broken(FOLDER, why, "set TINYCLAW_DIR to the state folder")];
        }
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            return vec![Finding::broken(
                FOLDER,
                format!("there is none at {shown}"),
                "./tinyclaw.sh start makes one, or set TINYCLAW_DIR to where it is",
            )];
        }
        Err(err) => {
            let why = format!("{shown} cannot be looked at: {err}");
            return vec![Finding::broken(FOLDER, why, owner_way(patient, root))];
        }
    };
    let mut found = Vec::new();
    if let Err(finding) = probe(patient, root, meta.uid()) {
        found.push(finding);
    }
    found.extend(strangers(root, meta.uid()));
    found.extend(mounts(root, meta.dev()));
    match Room::of(root) {
        Ok(disk) => {
            let (free, share) = (disk.available, disk.share());
            found.extend(room(root, free, share));
            if found.is_empty() {
                let mine = if meta.uid() == own() { "ours" } else { "writable" };
                found.push(Finding::ok(
                    FOLDER,
                    format!("{shown}, {mine}, {} free", words::bytes(free)),
                ));
            }
        }
        Err(err) => {
            let why = format!("nobody knows how much room {shown} has: {err}");
            found.push(Finding::warning(FOLDER, why, format!("df {shown}")));
        }
    }
    found
}

/// Whether the clock can be right, and ran on.
pub(super) fn clock(patient: &Patient) -> Vec<Finding> {
    let now = now_ms();
    if now < BUILT_MS {
        let why = "it is before 2026; Telegram, GitHub and Anthropic refuse such a clock";
        return vec![Finding::broken(CLOCK, why, "sudo timedatectl set-ntp true")];
    }
    let ahead = health::read_all(&patient.state, now).into_iter().map(|it| it.health.at);
    let ahead = ahead.max().unwrap_or(0).saturating_sub(now);
    if u128::from(ahead) > SKEW_MAX.as_millis() {
        let why = format!(
            "it went back: a service has already spoken at a time {} from now",
            words::span(ahead)
        );
        return vec![Finding::warning(CLOCK, why, "sudo timedatectl set-ntp true")];
    }
    let told = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    vec![Finding::ok(CLOCK, told)]
}

/// Probe files, which are gone when this is dropped.
struct Probes(Vec<PathBuf>);

impl Drop for Probes {
    fn drop(&mut self) {
        for it in &self.0 {
            let _ = remove(it);
        }
    }
}

/// Does what the queue does: make, rename without replacing, lock.
fn probe(patient: &Patient, root: &Path, owner: u32) -> Result<(), Finding> {
    let shown = root.display();
    let name = |it: &str| root.join(format!(".doctor-{}-{it}", std::process::id()));
    let probes = Probes(["a", "b"].map(name).to_vec());
    let [a, b] = &probes.0[..] else { return Ok(()) };
    let make = |path: &Path| write_new(path, b"probe").map(drop);
    make(a).and_then(|()| make(b)).map_err(|err| unwritable(patient, root, owner, &err))?;
    if std::fs::metadata(a).and_then(|it| it.modified()).is_ok_and(is_skewed) {
        let why = format!("the file system of {shown} tells another time than this machine");
        return Err(Finding::warning(FOLDER, why, "use a local disk, or set both clocks"));
    }
    let local = "put it on a local disk: ext4, xfs, btrfs and tmpfs are known to work";
    match rename_no_replace(a, b) {
        Err(err) if err.is_already_exists() => {}
        Ok(()) => {
            let why = format!("a rename in {shown} replaces what must not be replaced");
            return Err(Finding::broken(FOLDER, why, local));
        }
        Err(err) => {
            let why = format!(
                "the file system of {shown} cannot rename without replacing: {}",
                err.source
            );
            return Err(Finding::broken(FOLDER, why, local));
        }
    }
    let first = Lock::try_take(b).ok().flatten();
    let second = Lock::try_take(b);
    if first.is_none() || !matches!(second, Ok(None)) {
        let why = format!("locks do not hold on the file system of {shown}");
        return Err(Finding::broken(FOLDER, why, local));
    }
    Ok(())
}

fn is_skewed(written: SystemTime) -> bool {
    let now = SystemTime::now();
    let apart = now.duration_since(written).unwrap_or_else(|it| it.duration());
    apart > SKEW_MAX
}

fn unwritable(patient: &Patient, root: &Path, owner: u32, err: &DiskError) -> Finding {
    let shown = root.display();
    if err.is_no_space() {
        return Finding::broken(FOLDER, format!("the disk of {shown} is full"), make_room(root));
    }
    match err.source.kind() {
        std::io::ErrorKind::PermissionDenied if owner != own() => Finding::broken(
            FOLDER,
            format!("{shown} belongs to user {owner}, and this is user {}", own()),
            owner_way(patient, root),
        ),
        std::io::ErrorKind::ReadOnlyFilesystem => {
            let why =
                format!("{shown} is mounted read-only; only the dashboard can work with that");
            Finding::broken(FOLDER, why, "mount it writable, once, at its root")
        }
        _ => {
            let why = format!("nothing can be written in {shown}: {}", err.source);
            Finding::broken(FOLDER, why, owner_way(patient, root))
        }
    }
}

fn owner_way(patient: &Patient, root: &Path) -> String {
    if patient.in_container {
        return "./tinyclaw.sh start names the volume and the chown that gives it to the bot"
            .to_owned();
    }
    match std::fs::metadata(root).map(|it| it.uid()) {
        // The services may be that user's, who then is the one to ask.
        Ok(owner) if owner != own() => {
            format!("look as its owner: sudo -u '#{owner}' tinyclaw doctor")
        }
        _ => format!("sudo chown -R {} {}", own(), root.display()),
    }
}

/// Entries that belong to somebody else than the folder, such as what root left behind: the services cannot change them.
fn strangers(root: &Path, owner: u32) -> Option<Finding> {
    let names = ["settings.json", "threads.json", "queue", "locks", "logs", "health", "memory"];
    let stages = Place::ALL.map(|it| format!("queue/{}", it.as_str()));
    let foreign = names.iter().map(|it| (*it).to_owned()).chain(stages).find_map(|name| {
        let path = root.join(&name);
        let uid = std::fs::metadata(&path).ok()?.uid();
        // The settings may be root's as long as they can be read.
        let matters = name != "settings.json" || access(&path, Access::READ_OK).is_err();
        (uid != owner && matters).then_some((name, uid))
    });
    let (name, uid) = foreign?;
    let why = format!("{name} in it belongs to user {uid}, the folder to {owner}");
    Some(Finding::broken(FOLDER, why, format!("sudo chown -R {owner} {}", root.display())))
}

fn mounts(root: &Path, device: u64) -> Option<Finding> {
    let stages = Place::ALL.map(|it| format!("queue/{}", it.as_str()));
    let other = ["queue".to_owned()]
        .into_iter()
        .chain(stages)
        .find(|name| std::fs::metadata(root.join(name)).is_ok_and(|it| it.dev() != device))?;
    let why = format!("{other} lies on another mount, and a message cannot be moved between two");
    Some(Finding::broken(FOLDER, why, format!("mount {} once, at its root", root.display())))
}

/// By the queue's own rule.
fn room(root: &Path, free: u64, share: f64) -> Option<Finding> {
    let rule = Options::default();
    let has_room = |times: f64| {
        share >= rule.free_share_min * times || free as f64 >= rule.free_bytes_enough as f64 * times
    };
    let left = format!("{} free, {:.0} %", words::bytes(free), share * 100.0);
    if !has_room(1.0) {
        let why = format!("{left}: too little, no new message is accepted");
        Some(Finding::broken(FOLDER, why, make_room(root)))
    } else if !has_room(2.0) {
        let why = format!("{left}: it is getting tight");
        Some(Finding::warning(FOLDER, why, make_room(root)))
    } else {
        None
    }
}

fn make_room(root: &Path) -> String {
    format!("make room; what takes it: du -sh {}/* | sort -h", root.display())
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    const GB: u64 = 1 << 30;

    #[test]
    fn room_is_told_by_the_queues_rule() {
        let state = |free, share| room(Path::new("/s"), free, share).map(|it| it.state);
        assert_eq!(state(GB / 2, 0.04), Some(State::Broken));
        assert_eq!(state(GB, 0.01), Some(State::Warning), "enough, however large the disk");
        assert_eq!(state(GB / 2, 0.06), Some(State::Warning));
        assert_eq!(state(GB / 2, 0.2), None);
        assert_eq!(state(50 * GB, 0.01), None);
    }
}
