//! What Claude may touch: Landlock rules, set by the process that turns into Claude, inherited by all below it.
//!
//! Reading is granted for what programs need to run, writing for the thread's directory and what the errand names. What
//! is granted is what the errand's descriptors are, not what a path leads to by now, and nothing that lies in the state
//! folder but the desk's own places there. Rules reach downwards and cannot be taken back below, so a folder to be read
//! that contains the state folder (and /tmp, where tests have theirs) is granted child by child, leaving that one out. Besides files, nothing outside may be
//! signalled, looked into or spoken to by an abstract socket; terminals and other devices are not reached at all.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use tinyclaw_disk::foreign::ForeignError;
use tinyclaw_domain::StateDir;

use super::Errand;
use super::folders::{self, Relation};
use super::promises::{Promise, known_rights, missing_promises};
use crate::config::Landlock;

/// Files, devices, signals and abstract sockets: what [`Promise`] is about, all of it.
const PROMISED: ABI = ABI::V6;
/// The newest rights that this code knows what to do with; a kernel that knows fewer leaves the rest out.
const KNOWN: ABI = ABI::V9;

/// What every program reads.
const SYSTEM: [&str; 18] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix",
    "/snap",
    "/proc",
    "/sys",
    "/run/current-system",
    "/var/lib/dpkg",
    "/var/lib/ca-certificates",
    "/var/cache/fontconfig",
    "/mnt/wsl/resolv.conf",
];
/// Where the C library asks for names and users: files, and sockets that answer.
const RESOLVERS: [&str; 3] = ["/run/systemd/resolve", "/run/resolvconf", "/run/nscd"];
/// What every program writes. No terminal: one of the operator's could be read there, as it is the same user's.
const SCRATCH: [&str; 8] = [
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

#[derive(Debug, thiserror::Error)]
pub(super) enum ConfineError {
    #[error("cannot confine claude")]
    Rules(#[from] RulesetError),
    #[error("engine.landlock is on, and this kernel {}", Promise::told(.0))]
    Missing(Vec<Promise>),
    #[error("the kernel did not take all of the rules that it said it knows")]
    NotTaken,
    #[error("cannot open the state folder")]
    State(#[source] ForeignError),
    #[error("cannot open what claude is given")]
    Open(#[source] ForeignError),
    #[error("cannot look at {}, which claude is given", .0.display())]
    Look(PathBuf, #[source] io::Error),
    #[error("{} lies in TinyClaw's own state and is no place of this desk", .0.display())]
    Inside(PathBuf),
    #[error("{} contains TinyClaw's own state and is to be written", .0.display())]
    Around(PathBuf),
}

/// The error that names what could not be looked at.
fn unseen(given: &OwnedFd) -> impl FnOnce(io::Error) -> ConfineError {
    |err| ConfineError::Look(folders::place_of(given), err)
}

/// What the errand gives to Claude, opened.
#[derive(Debug)]
pub(super) struct Grants {
    state: OwnedFd,
    cwd: OwnedFd,
    own: Vec<OwnedFd>,
    writable: Vec<OwnedFd>,
    readable: Vec<OwnedFd>,
    /// The folder of the office's skills, if it is given: it lies in the state, and every desk may read it.
    office: Vec<OwnedFd>,
}

impl Grants {
    /// Opens what the errand hands over, so that Claude inherits none of it, and refuses what no agent may have. That is
    /// the launcher's duty first; here nobody has to believe it.
    pub(super) fn open(errand: &Errand) -> Result<Grants, ConfineError> {
        let take = |number: i32| -> Result<OwnedFd, ConfineError> {
            folders::reopen(number, OFlag::O_PATH)
                .map_err(|err| ConfineError::Look(folders::place_of_number(number), err))
        };
        let take_all = |numbers: &[i32]| -> Result<Vec<OwnedFd>, ConfineError> {
            numbers.iter().copied().map(take).collect()
        };
        let own = errand.own.iter().map(|it| folders::open_own(&errand.shut, it));
        let there = folders::open(&StateDir::new(&errand.shut).office()).ok();
        let (mut office, mut readable) = (Vec::new(), Vec::new());
        for given in take_all(&errand.readable)? {
            let is_office = match &there {
                Some(there) => folders::is_same(there, &given).map_err(unseen(&given))?,
                None => false,
            };
            if is_office { office.push(given) } else { readable.push(given) }
        }
        let grants = Grants {
            state: folders::open(&errand.shut).map_err(ConfineError::State)?,
            cwd: take(errand.cwd)?,
            own: own.collect::<Result<_, _>>().map_err(ConfineError::Open)?,
            writable: take_all(&errand.writable)?,
            readable,
            office,
        };
        if errand.landlock != Landlock::Off {
            grants.check()?;
        }
        Ok(grants)
    }

    fn check(&self) -> Result<(), ConfineError> {
        let relation = |it| folders::relation(it, &self.state).map_err(unseen(it));
        for given in &self.readable {
            if relation(given)? == Relation::Inside {
                return Err(ConfineError::Inside(folders::place_of(given)));
            }
        }
        for given in self.writable.iter().chain([&self.cwd]) {
            match relation(given)? {
                Relation::Beside => {}
                Relation::Inside if self.is_own(given)? => {}
                Relation::Inside => return Err(ConfineError::Inside(folders::place_of(given))),
                Relation::Around => return Err(ConfineError::Around(folders::place_of(given))),
            }
        }
        Ok(())
    }

    fn is_own(&self, given: &OwnedFd) -> Result<bool, ConfineError> {
        for own in &self.own {
            if folders::is_same(own, given).map_err(unseen(given))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directory that Claude works in.
    pub(super) fn cwd(&self) -> &OwnedFd {
        &self.cwd
    }
}

/// Confines this process for good. Gives back what the kernel cannot promise, if the errand does not insist.
pub(super) fn confine(errand: &Errand, grants: &Grants) -> Result<Vec<Promise>, ConfineError> {
    if errand.landlock == Landlock::Off {
        return Ok(Vec::new());
    }
    let missing = accept(errand.landlock, missing_promises())?;
    if missing.contains(&Promise::Files) {
        return Ok(missing);
    }
    // What is promised is either taken whole or an error; what a newer kernel can do besides is asked of none that cannot.
    let (level, all) = match missing.is_empty() {
        true => (CompatLevel::HardRequirement, known_rights(AccessFs::from_all(KNOWN))),
        false => (CompatLevel::BestEffort, AccessFs::from_all(KNOWN)),
    };
    let read = AccessFs::from_read(KNOWN) & all;
    let mut rules = Ruleset::default()
        .set_compatibility(level)
        .handle_access(all)?
        .scope(Scope::from_all(PROMISED))?
        .create()?;
    let mut grant = |given: &OwnedFd, rights: BitFlags<AccessFs>| -> Result<(), ConfineError> {
        for part in around(given, &grants.state).map_err(unseen(given))? {
            add(&mut rules, &part, rights)?;
        }
        Ok(())
    };
    let program = errand.program.parent().map(Path::to_owned);
    for path in SYSTEM.iter().map(PathBuf::from).chain(program) {
        if let Some(it) = named(&path) {
            grant(&it, read)?;
        }
    }
    for (paths, rights) in [
        (&RESOLVERS[..], read | (all & AccessFs::ResolveUnix)),
        (&SCRATCH[..], all),
        // Its names only; of what is behind them there is the list above.
        (&["/dev"][..], AccessFs::ReadDir.into()),
    ] {
        for it in paths.iter().filter_map(|it| named(Path::new(it))) {
            grant(&it, rights)?;
        }
    }
    for it in &grants.readable {
        grant(it, read)?;
    }
    for it in &grants.writable {
        grant(it, all)?;
    }
    for it in &grants.office {
        add(&mut rules, it, read)?;
    }
    // Places of the desk itself are granted as they are, wherever they lie.
    for it in grants.own.iter().chain([&grants.cwd]) {
        add(&mut rules, it, all)?;
    }
    check_taken(errand.landlock, rules.restrict_self()?.ruleset)?;
    Ok(missing)
}

/// What the kernel cannot promise, where that may be lived with.
fn accept(landlock: Landlock, missing: Vec<Promise>) -> Result<Vec<Promise>, ConfineError> {
    match landlock {
        Landlock::On if !missing.is_empty() => Err(ConfineError::Missing(missing)),
        Landlock::On | Landlock::Auto | Landlock::Off => Ok(missing),
    }
}

/// Whether what the kernel took is what was asked for. A part of it, without what is named as missing, is not "on".
fn check_taken(landlock: Landlock, taken: RulesetStatus) -> Result<(), ConfineError> {
    match (taken, landlock) {
        (RulesetStatus::FullyEnforced, _) | (RulesetStatus::PartiallyEnforced, Landlock::Auto) => {
            Ok(())
        }
        (RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced, _) => {
            Err(ConfineError::NotTaken)
        }
    }
}

fn add(
    rules: &mut RulesetCreated,
    given: &OwnedFd,
    rights: BitFlags<AccessFs>,
) -> Result<(), ConfineError> {
    let is_folder = fstat(given).is_ok_and(|it| folders::is_folder(&it));
    let rights = if is_folder { rights } else { rights & AccessFs::from_file(KNOWN) };
    // A file in a folder whose names alone are granted, where the state lies in that folder.
    if rights.is_empty() {
        return Ok(());
    }
    rules.add_rule(PathBeneath::new(given, rights))?;
    Ok(())
}

/// What the system has under this name; it may be a link of the system's. `None`: it has no such thing.
fn named(path: &Path) -> Option<OwnedFd> {
    openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

/// What is given, or its children but for the state folder if it contains that. Nothing of what lies in the state folder.
fn around(given: &OwnedFd, state: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    match folders::relation(given, state)? {
        Relation::Beside => Ok(vec![given.try_clone()?]),
        Relation::Inside => Ok(Vec::new()),
        Relation::Around => around_each(&folders::children(given)?, state),
    }
}

/// The same of each of these. What is gone or elsewhere meanwhile is not granted, and keeps no Claude from starting: others
/// make and remove files in `/tmp` all the time.
fn around_each(given: &[OwnedFd], state: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for it in given {
        match around(it, state) {
            Ok(parts) => found.extend(parts),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use super::*;

    #[test]
    fn on_is_all_that_was_promised_and_what_is_missing_is_named() {
        for landlock in [Landlock::On, Landlock::Auto] {
            assert_eq!(accept(landlock, Vec::new()).unwrap(), []);
        }
        for missing in Promise::ALL {
            let err = accept(Landlock::On, vec![missing]).unwrap_err().to_string();
            assert!(err.starts_with("engine.landlock is on, and this kernel has "), "{err}");
            assert!(err.contains(missing.without()), "{err}");
            assert_eq!(accept(Landlock::Auto, vec![missing]).unwrap(), [missing], "and is told");
        }
        let err = accept(Landlock::On, vec![Promise::Signals, Promise::Devices]).unwrap_err();
        let all = [Promise::Signals, Promise::Devices].map(Promise::without);
        assert!(all.iter().all(|it| err.to_string().contains(it)), "{err}");
    }

    #[test]
    fn a_part_of_the_rules_is_not_on() {
        use RulesetStatus::{FullyEnforced, NotEnforced, PartiallyEnforced};
        for (landlock, taken, is_enough) in [
            (Landlock::On, FullyEnforced, true),
            (Landlock::On, PartiallyEnforced, false),
            (Landlock::On, NotEnforced, false),
            (Landlock::Auto, FullyEnforced, true),
            (Landlock::Auto, PartiallyEnforced, true),
            (Landlock::Auto, NotEnforced, false),
        ] {
            let told = format!("{landlock:?} {taken:?}");
            assert_eq!(check_taken(landlock, taken).is_ok(), is_enough, "{told}");
        }
    }

    #[test]
    fn what_goes_or_moves_while_it_is_looked_at_is_not_granted_and_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for it in ["state", "stays"] {
            std::fs::create_dir(root.join(it)).unwrap();
        }
        for it in ["gone.txt", "replaced.txt", "stays.txt"] {
            std::fs::write(root.join(it), "").unwrap();
        }
        let children = folders::children(&folders::open(&root).unwrap()).unwrap();
        std::fs::remove_file(root.join("gone.txt")).unwrap();
        std::fs::write(root.join("new"), "").unwrap();
        std::fs::rename(root.join("new"), root.join("replaced.txt")).unwrap();
        let state = folders::open(&root.join("state")).unwrap();
        let found = around_each(&children, &state).unwrap();
        let mut places: Vec<PathBuf> = found.iter().map(folders::place_of).collect();
        places.sort();
        assert_eq!(places, [root.join("stays"), root.join("stays.txt")]);
    }

    #[test]
    fn a_folder_around_the_state_is_granted_child_by_child() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for it in ["home/.tinyclaw/queue", "home/project/src", "home/.claude"] {
            std::fs::create_dir_all(root.join(it)).unwrap();
        }
        std::os::unix::fs::symlink(root.join("home/.tinyclaw/queue"), root.join("home/link"))
            .unwrap();
        let open = |below: &str| folders::open(&root.join(below)).unwrap();
        let state = open("home/.tinyclaw");
        let found = |below: &str| {
            let found = around(&open(below), &state).unwrap();
            let mut found: Vec<PathBuf> = found.iter().map(folders::place_of).collect();
            found.sort();
            found
        };
        assert_eq!(found("home"), ["home/.claude", "home/project"].map(|it| root.join(it)));
        assert_eq!(found("home/project"), [root.join("home/project")]);
        for nothing in ["home/.tinyclaw", "home/.tinyclaw/queue"] {
            assert_eq!(found(nothing), [] as [PathBuf; 0]);
        }
    }
}
