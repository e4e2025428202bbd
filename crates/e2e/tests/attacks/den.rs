//! The machinery of all cases: an office as in the container, with the hostile `claude` in it.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Once, OnceLock};

use landlock::{ABI, Access, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use tinyclaw_domain::Key;
use tinyclaw_e2e::{Office, program};
use tinyclaw_queue::Place;
use tinyclaw_testkit::hostile::{self, Act, Done, Ran};

/// The bot's user in its container.
const USER: u32 = 10_001;

/// An office whose `claude` does whatever it is told.
pub(crate) struct Den(Office);

impl Deref for Den {
    type Target = Office;

    fn deref(&self) -> &Office {
        &self.0
    }
}

impl DerefMut for Den {
    fn deref_mut(&mut self) -> &mut Office {
        &mut self.0
    }
}

impl Den {
    /// A fresh office with a running processor.
    pub(crate) fn open() -> Den {
        Den::open_with(&[])
    }

    /// A fresh office with these variables set.
    pub(crate) fn open_with(env: &[(&str, &str)]) -> Den {
        Den::open_prepared(env, |_| {})
    }

    /// A fresh office in whose folder something was done before its processor started. A shell script that is put at
    /// `bin/at-start` runs in every `claude` before it hears a word.
    pub(crate) fn open_prepared(env: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Den {
        let dir = tempfile::Builder::new().prefix("den-").tempdir_in(ground()).expect("folder");
        let claude = dir.path().join("bin/claude");
        fs::create_dir(dir.path().join("bin")).expect("folder");
        fs::copy(ours("hostile-claude"), &claude).expect("hostile-claude");
        fs::create_dir(dir.path().join("state")).expect("folder");
        // As in the image: the dashboard's user reads, others do nothing.
        let mode = fs::Permissions::from_mode(0o2770);
        fs::set_permissions(dir.path().join("state"), mode).expect("mode");
        prepare(dir.path());
        let claude = claude.display().to_string();
        let mut all =
            vec![("TINYCLAW_ENGINE_KIND", "claude"), ("TINYCLAW_ENGINE_CLAUDE", claude.as_str())];
        all.extend(env);
        Den(Office::open_in(dir, attacked("tinyclaw-processor"), &all))
    }

    /// Has a desk's agent run a shell script to its end.
    pub(crate) fn run(&mut self, desk: &str, script: &str) -> Ran {
        let done = self.order(desk, &[Act::Run(self.with_names(script))]);
        match done.into_iter().next() {
            Some(Done::Ran(ran)) => ran,
            other => panic!("the script was not run: {other:?}"),
        }
    }

    /// Has a desk's agent start a shell script and leave it alone.
    pub(crate) fn leave(&mut self, desk: &str, script: &str) {
        self.order(desk, &[Act::Leave(self.with_names(script))]);
    }

    /// Has a desk's agent do all this in one turn, and waits for what became of it.
    pub(crate) fn order(&mut self, desk: &str, acts: &[Act]) -> Vec<Done> {
        let key = self.send(desk, acts);
        self.report(&key)
    }

    /// Has a desk's agent do all this, and does not wait.
    pub(crate) fn send(&mut self, desk: &str, acts: &[Act]) -> Key {
        let order = hostile::order(acts);
        self.say(desk, &order)
    }

    /// What became of what was sent.
    pub(crate) fn report(&self, key: &Key) -> Vec<Done> {
        let reply = self.answer(key);
        hostile::report_in(&reply.text).unwrap_or_else(|| panic!("no report: {reply:?}"))
    }

    /// Waits until a message is given up, since its agent died of it each time.
    pub(crate) fn is_given_up(&self, key: &Key) {
        let is_dead = || self.seen(key).filter(|it| it.place == Place::Dead).map(|_| ());
        self.wait_for("its giving up", is_dead);
    }

    /// A script that knows the office's places by name.
    pub(crate) fn with_names(&self, script: &str) -> String {
        let at = |below: &str| self.path(below).display().to_string();
        format!(
            "DEN='{}' STATE='{}' WORK='{}' PROCESSOR={}\n{script}",
            at(""),
            at("state"),
            at("work"),
            self.pid()
        )
    }
}

/// What a case asks of a script's end.
pub(crate) trait Verdict {
    /// It failed, because it may not.
    fn is_refused(&self);
    /// It failed, because there is no such thing where it looked.
    fn is_missing(&self);
    /// It worked: what is refused elsewhere is refused by the fence, not by a typing error.
    fn is_done(&self);
}

impl Verdict for Ran {
    #[track_caller]
    fn is_refused(&self) {
        // The last is what the kernel says of a file that would move to where its rights are others.
        let words = ["ermission denied", "not permitted", "No such device", "cross-device link"];
        let is_refused = self.code != 0 && words.iter().any(|it| self.out.contains(it));
        assert!(is_refused, "not refused: {self:?}");
    }

    #[track_caller]
    fn is_missing(&self) {
        let is_missing = self.code != 0
            && ["No such file", "nonexistent"].iter().any(|it| self.out.contains(it));
        assert!(is_missing, "not missing: {self:?}");
    }

    #[track_caller]
    fn is_done(&self) {
        assert_eq!(self.code, 0, "not done: {self:?}");
    }
}

/// Whether this kernel has what every case here stands on: Landlock, and with it scopes for signals and abstract
/// sockets (ABI 6, Linux 6.12). Says by name that a case is not tried where it has not; the case passes then.
pub(crate) fn has_scopes(case: &str) -> bool {
    let asked = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .scope(Scope::from_all(ABI::V6));
    let has_them = asked.and_then(Ruleset::create).is_ok();
    if !has_them {
        println!("skipped: {case}: this kernel's Landlock has no scopes");
    }
    has_them
}

/// Whether there is perl, for calls that no shell makes. Says by name that a case is not tried without it.
pub(crate) fn has_perl(case: &str) -> bool {
    let has_it = Command::new("perl").arg("-v").output().is_ok_and(|it| it.status.success());
    if !has_it {
        println!("skipped: {case}: there is no perl");
    }
    has_it
}

/// Which of our programs are attacked.
fn attacked(name: &str) -> PathBuf {
    match std::env::var_os("TINYCLAW_ATTACKED") {
        Some(dir) => PathBuf::from(dir).join(name),
        None => ours(name),
    }
}

/// A folder of root's that every user can come to, for who needs more users than one.
pub(crate) fn open_ground() -> PathBuf {
    let ground = reach().ground.with_file_name("attacks-0");
    fs::create_dir_all(&ground).expect("folder");
    ground
}

/// One of our programs, where the bot's user can start it.
pub(crate) fn ours(name: &str) -> PathBuf {
    reach().programs.join(name)
}

/// What the bot's user must come to.
struct Reach {
    /// Our programs.
    programs: PathBuf,
    /// Where offices are made: outside of what every agent may write.
    ground: PathBuf,
}

/// Both places. Where the project lies in a folder that is closed to others, as a build machine's may be, this process
/// sees them at another one that is not.
fn reach() -> &'static Reach {
    static REACH: OnceLock<Reach> = OnceLock::new();
    REACH.get_or_init(|| {
        let ground = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let processor = program("tinyclaw-processor");
        let programs = processor.parent().expect("a folder");
        let target = ground.parent().expect("target");
        let at = |path: &Path| match Uid::effective().is_root() && !is_open(target) {
            true => elsewhere(target).join(path.strip_prefix(target).expect("below target")),
            false => path.to_owned(),
        };
        Reach { programs: at(programs), ground: at(ground).join(format!("attacks-{USER}")) }
    })
}

/// A name for a folder that everybody may come to, in this process and all it starts.
fn elsewhere(folder: &Path) -> &'static Path {
    static ONCE: Once = Once::new();
    let place = Path::new("/run/tinyclaw-attacks");
    ONCE.call_once(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        fs::create_dir_all(place).expect("folder");
        let folder = folder.to_str().expect("a name");
        for words in [&["--make-rprivate", "/"][..], &["--bind", folder, "/run/tinyclaw-attacks"]] {
            let mounted = Command::new("mount").args(words).status().expect("mount");
            assert!(mounted.success(), "mount {words:?}");
        }
    });
    place
}

/// Where offices are made. From here on this process, and all it starts, is the bot's user, if it was root.
fn ground() -> PathBuf {
    static DROP: Once = Once::new();
    let ground = reach().ground.clone();
    DROP.call_once(|| {
        if Uid::effective().is_root() {
            fs::create_dir_all(&ground).expect("folder");
            chown(&ground, Some(USER), Some(USER)).expect("owner");
            setgroups(&[]).expect("groups");
            let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
            setresgid(group, group, group).expect("group");
            // The last step: with it go all capabilities.
            setresuid(user, user, user).expect("user");
            // What changed its user is hidden from itself in /proc, where a test finds its own program.
            prctl::set_dumpable(true).expect("dumpable");
        }
        fs::create_dir_all(&ground).expect("folder");
        prctl::set_no_new_privs().expect("no new privileges");
    });
    ground
}

/// Whether everybody may come to this folder.
fn is_open(path: &Path) -> bool {
    let mut dirs = path.ancestors().filter(|it| !it.as_os_str().is_empty());
    dirs.all(|it| fs::metadata(it).is_ok_and(|it| it.mode() & 0o001 != 0))
}
