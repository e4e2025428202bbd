//! The machinery of cases about users, and what the warden itself promises: a real warden, and desks with agents that run
//! whatever shell script they are told.
//!
//! The test is the office: it holds the office's end of the warden's socket pair. It needs root, and says by name that a
//! case is not tried where it is not.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Pid, Uid};
use proptest::prelude::*;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tinyclaw_domain::{Place, ThreadId};
use tinyclaw_engine::link::{KnownRuns, Lease, LinkLauncher, WardenCarrier};
use tinyclaw_engine::{Access, EngineConfig, Landlock, LaunchSpec, Launcher, Leash, LocalLauncher};
use tinyclaw_testkit::hostile::Ran;
use tinyclaw_warden::{Answer, AskError, Client, DeskNumber, LENGTH, Outcome, Request, Wish};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::den::{Verdict, open_ground, ours};

/// The office's user in its container.
pub(crate) const OFFICE: u32 = 10_001;
/// Longer than anything may take: what has not happened by then will not.
const PATIENCE: Duration = Duration::from_secs(60);
/// Runs the scripts whose names it is told, and says after each how it ended.
const AGENT: &str = r#"#!/bin/sh
while read -r script; do
  sh "$script" 2>&1 </dev/null
  printf '\n=== %s\n' $?
done
"#;

/// A house with a warden.
pub(crate) struct House {
    dir: tempfile::TempDir,
    child: Child,
    /// The office, as the warden sees it: hanging up ends it.
    office: UnixStream,
    pub(crate) client: Client,
    /// Of each desk, with a runtime of its own.
    launchers: BTreeMap<u32, (Runtime, LinkLauncher)>,
    landlock: Landlock,
    agents: u32,
    numbers: Numbers,
}

/// Ten numbers of desks that no other house has now: users are the whole machine's, and ending a desk ends its user's
/// processes in every house.
pub(crate) struct Numbers {
    pub(crate) first: u32,
    _lock: fs::File,
}

impl Numbers {
    pub(crate) fn take() -> Numbers {
        let lock = |slot: u32| {
            let path = open_ground().join(format!("numbers-{slot}"));
            let file = fs::File::options().create(true).append(true).open(path).expect("file");
            file.try_lock().is_ok().then_some(Numbers { first: slot * 10, _lock: file })
        };
        (0..900).find_map(lock).expect("a number is free")
    }
}

/// An agent at a desk.
pub(crate) struct Agent {
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    stdout: tokio::io::BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    number: u32,
    scripts: PathBuf,
    _leash: Leash,
    pub(crate) work: PathBuf,
}

impl House {
    /// A house whose agents are confined by Landlock besides. `None`: this process is not root.
    pub(crate) fn open(case: &str) -> Option<House> {
        House::open_with(case, Landlock::Auto)
    }

    pub(crate) fn open_with(case: &str, landlock: Landlock) -> Option<House> {
        if !Uid::effective().is_root() {
            println!("skipped: {case}: not root, so there is one user");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("house-").tempdir_in(open_ground()).expect("dir");
        let open = |below: &str, mode: u32| {
            let path = dir.path().join(below);
            fs::create_dir_all(&path).expect("folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
            path
        };
        open("", 0o755);
        open("desks", 0o711);
        let state = open("state", 0o700);
        fs::write(state.join("threads.json"), "{}").expect("file");
        for it in [&state, &state.join("threads.json")] {
            chown(it, Some(OFFICE), Some(OFFICE)).expect("owner");
        }
        let agent = open("bin", 0o755).join("agent");
        fs::write(&agent, AGENT).expect("agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("mode");
        open("scripts", 0o755);
        open("shared", 0o1777);
        let meeting = dir.path().join("meeting");
        let listener = UnixListener::bind(&meeting).expect("socket");
        fs::set_permissions(&meeting, fs::Permissions::from_mode(0o777)).expect("mode");
        let child = command(dir.path(), OFFICE)
            .arg(ours("warden-office"))
            .arg(&meeting)
            .spawn()
            .expect("a warden");
        let (office, socket) = handed_over(&listener);
        let client = Client::over(socket).expect("a client");
        let launchers = BTreeMap::new();
        Some(House {
            dir,
            child,
            office,
            client,
            launchers,
            landlock,
            agents: 0,
            numbers: Numbers::take(),
        })
    }

    /// An agent at the desk with this number, in a folder of this name there. Two at one desk are what all are in an office
    /// of one user.
    pub(crate) fn agent(&mut self, number: u32, name: &str) -> Agent {
        let (desk, root) = (self.desk(number), self.folder(number));
        self.client.make(desk).expect("made");
        let work = root.join("work").join(name);
        let config = EngineConfig {
            landlock: self.landlock,
            ..EngineConfig::new(
                self.path("bin/agent"),
                ours("tinyclaw-leash"),
                self.path("state"),
                root.join("home"),
            )
        };
        let (runtime, launcher) = self.launchers.entry(number).or_insert_with(|| {
            let runtime = Runtime::new().expect("a runtime");
            let carrier = Arc::new(WardenCarrier::of(&config, self.client.clone(), desk));
            let look = Arc::new(LocalLauncher::of(&config));
            let known = Arc::new(KnownRuns::unkept());
            let _in_it = runtime.enter();
            let lease = Lease::default();
            let launcher = LinkLauncher::new(Place::Here, "ada", carrier, look, lease, known);
            (runtime, launcher)
        });
        // A hub makes what a desk has in its folder.
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        self.client.start_hub(desk, theirs.as_fd()).expect("a hub");
        until("the desk has its folders", || root.join("run").is_dir().then_some(()));
        drop(ours);
        fs::create_dir_all(&work).expect("folder");
        chown(&work, Some(desk.user()), Some(desk.user())).expect("owner");
        let scripts = self.dir.path().join("scripts");
        self.agents += 1;
        let launched = runtime.block_on(launcher.launch(LaunchSpec {
            // Each agent has a session of its own.
            thread: ThreadId::topic(self.agents),
            place: Place::Here,
            cwd: work.clone(),
            args: vec!["-p".to_owned()],
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            access: Access { writable: Vec::new(), readable: vec![scripts.clone()] },
        }));
        let launched = launched.expect("an agent");
        let stdout = tokio::io::BufReader::new(launched.stdout);
        Agent { stdin: launched.stdin, stdout, number, scripts, _leash: launched.leash, work }
    }

    /// Has the agent run a shell script to its end.
    pub(crate) fn run(&self, agent: &mut Agent, script: &str) -> Ran {
        let name = format!("{}.sh", fs::read_dir(&agent.scripts).expect("scripts").count());
        let path = agent.scripts.join(name);
        fs::write(&path, script).expect("script");
        let (mut out, mut line) = (String::new(), String::new());
        self.launchers[&agent.number].0.block_on(async {
            let order = format!("{}\n", path.display());
            agent.stdin.write_all(order.as_bytes()).await.expect("it hears");
            loop {
                line.clear();
                let read = tokio::time::timeout(PATIENCE, agent.stdout.read_line(&mut line));
                let read = read.await.unwrap_or_else(|_| panic!("no end of {script:?}: {out}"));
                assert!(read.expect("it speaks") > 0, "it ended in {script:?}: {out}");
                if let Some(code) = line.strip_prefix("=== ") {
                    let code = code.trim().parse().expect("a code");
                    return Ran { code, out: out.trim().to_owned() };
                }
                out.push_str(&line);
            }
        })
    }

    /// Has the agent run a script, and does not wait.
    pub(crate) fn leave(&self, agent: &mut Agent, script: &str) {
        let path = agent.scripts.join("left.sh");
        fs::write(&path, script).expect("script");
        let order = format!("{}\n", path.display());
        self.launchers[&agent.number]
            .0
            .block_on(agent.stdin.write_all(order.as_bytes()))
            .expect("it hears");
    }

    /// Cuts the office off from a desk, and ends the desk: nobody dials again when its hub is gone.
    pub(crate) fn end(&mut self, number: u32) {
        self.cut_off(number);
        self.client.end(self.desk(number)).expect("ended");
        assert_eq!(self.pids(number), [] as [u32; 0]);
    }

    fn cut_off(&mut self, number: u32) {
        if let Some((runtime, _)) = self.launchers.remove(&number) {
            // Waits until nothing of it runs any more.
            runtime.shutdown_timeout(PATIENCE);
        }
    }

    pub(crate) fn desk(&self, number: u32) -> DeskNumber {
        DeskNumber::try_from(self.numbers.first + number).expect("a desk")
    }

    /// The processes of a desk that run.
    pub(crate) fn pids(&self, number: u32) -> Vec<u32> {
        pids_of(self.desk(number).user())
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn folder(&self, number: u32) -> PathBuf {
        self.path("desks").join(self.desk(number).to_string())
    }

    /// The office's process.
    pub(crate) fn office_pid(&self) -> u32 {
        let pids = pids_of(OFFICE);
        let below = |pid: &&u32| parent(**pid) == Some(self.child.id());
        *pids.iter().find(below).expect("the office runs")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        while let Some((number, (runtime, _))) = self.launchers.pop_first() {
            runtime.shutdown_background();
            let _ = self.client.end(self.desk(number));
        }
        let _ = self.office.shutdown(std::net::Shutdown::Both);
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Path, user: u32) -> Command {
    let mut command = Command::new(ours("tinyclaw-warden"));
    command.arg("--desks").arg(dir.join("desks")).arg("--user").arg(user.to_string());
    command.arg("--hub").arg(ours("tinyclaw-leash")).stdin(Stdio::null());
    command
}

/// What the office under test hands over: a line to it, and its end of the warden's socket pair.
fn handed_over(listener: &UnixListener) -> (UnixStream, OwnedFd) {
    let (office, _) = listener.accept().expect("the office comes");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bytes = [std::io::IoSliceMut::new(&mut byte)];
    recvmsg(&office, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a descriptor");
    let found = control.drain().find_map(|it| match it {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    (office, found.expect("a descriptor"))
}

#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(it) = look() {
            return it;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes of a user that run.
pub(crate) fn pids_of(user: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|it| it.strip_prefix(name));
        field("State:").is_some_and(|it| !it.trim_start().starts_with('Z'))
            && field("Uid:")
                .is_some_and(|it| it.split_whitespace().any(|it| it == user.to_string()))
    })
    .collect()
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|it| it.strip_prefix("PPid:")?.trim().parse().ok())
}

#[test]
fn a_desk_is_a_user_of_its_own_without_any_right_of_roots() {
    let case = "a_desk_is_a_user_of_its_own_without_any_right_of_roots";
    let Some(mut house) = House::open(case) else { return };
    let mut agent = house.agent(7, "a");
    // And when memory runs out it is ended before the office.
    let ids = "id -u; id -g; id -G; umask; ulimit -c; cat /proc/self/oom_score_adj";
    let ids = house.run(&mut agent, ids);
    let user = house.desk(7).user();
    assert_eq!(ids.out.replace('\n', " "), format!("{user} {user} {user} 0077 0 500"));
    let status = house.run(&mut agent, "cat /proc/self/status").out;
    for right in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status.contains(&format!("{right}:\t0000000000000000")), "{right}: {status}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    for part in ["", "home", "work", "tmp", "run"] {
        let about = fs::metadata(house.folder(7).join(part)).expect("a folder");
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o777), (user, user, 0o700));
    }
    // The warden is not in its reach, and has four rights: changing owners, signals, groups and users.
    let warden = fs::read_to_string(format!("/proc/{}/status", house.child.id())).expect("status");
    assert!(warden.contains("CapPrm:\t00000000000000e1"), "{warden}");
    house.run(&mut agent, &format!("kill -0 {}", house.child.id())).is_refused();
}

#[test]
fn the_office_runs_as_its_user_and_its_end_is_the_wardens() {
    let Some(mut house) = House::open("the_office_runs_as_its_user_and_its_end_is_the_wardens")
    else {
        return;
    };
    let pid = house.office_pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    assert!(
        status.contains("Groups:\t \n") && status.contains("CapPrm:\t0000000000000000"),
        "{status}"
    );
    house.office.write_all(&[42]).expect("it hears");
    assert_eq!(ended(&mut house.child).code(), Some(42));
    // The client hears that nobody answers any more.
    assert!(matches!(house.client.make(house.desk(1)), Err(AskError::Gone | AskError::Ask(_))));
}

#[test]
fn a_signal_to_the_warden_goes_on_to_the_office() {
    let Some(mut house) = House::open("a_signal_to_the_warden_goes_on_to_the_office") else {
        return;
    };
    kill(Pid::from_raw(house.child.id().cast_signed()), Signal::SIGTERM).expect("told");
    assert_eq!(ended(&mut house.child).code(), Some(128 + 15));
}

#[track_caller]
fn ended(child: &mut Child) -> ExitStatus {
    until("the warden ends", || child.try_wait().expect("a child"))
}

#[test]
fn not_root_it_turns_into_the_office_and_says_that_there_is_one_user() {
    if !Uid::effective().is_root() {
        println!(
            "skipped: not_root_it_turns_into_the_office_and_says_that_there_is_one_user: not root"
        );
        return;
    }
    let dir = tempfile::tempdir_in(open_ground()).expect("dir");
    let mut command = command(dir.path(), OFFICE);
    command.args(["sh", "-c", "id -u; echo \"${TINYCLAW_WARDEN:-none}\"; exit 3"]);
    let output = command.uid(10_005).gid(10_005).env("TINYCLAW_WARDEN", "7").output().expect("ran");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "10005\nnone\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "tinyclaw-warden: all desks are one user: not started as root\n");
}

#[test]
fn root_without_one_of_the_four_rights_is_told_what_is_missing() {
    let case = "root_without_one_of_the_four_rights_is_told_what_is_missing";
    let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if !Uid::effective().is_root() || !has_setpriv {
        println!("skipped: {case}: not root, or no setpriv");
        return;
    }
    let dir = tempfile::tempdir_in(open_ground()).expect("dir");
    let output = Command::new("setpriv")
        .args(["--bounding-set=-kill,-chown", "--inh-caps=-all"])
        .arg(ours("tinyclaw-warden"))
        .args(["--user", "10001", "--desks"])
        .arg(dir.path())
        .arg("true")
        .output()
        .expect("ran");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("root without CAP_CHOWN, CAP_KILL: give it all four"), "{said}");
}

#[test]
fn a_folder_of_desks_that_is_not_roots_alone_is_refused() {
    if !Uid::effective().is_root() {
        println!("skipped: a_folder_of_desks_that_is_not_roots_alone_is_refused: not root");
        return;
    }
    let dir = tempfile::tempdir_in(open_ground()).expect("dir");
    let desks = dir.path().join("desks");
    fs::create_dir(&desks).expect("folder");
    let try_it = |mode: u32, owner: u32| {
        fs::set_permissions(&desks, fs::Permissions::from_mode(mode)).expect("mode");
        chown(&desks, Some(owner), None).expect("owner");
        let output = command(dir.path(), OFFICE).arg("true").output().expect("ran");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (mode, owner) in [(0o777, 0), (0o731, 0), (0o700, 0), (0o711, OFFICE)] {
        let (code, said) = try_it(mode, owner);
        assert_eq!(code, Some(78), "{mode:o} {owner}: {said}");
        assert!(said.contains("desks need a folder of root's, mode 711"), "{said}");
    }
    assert_eq!(try_it(0o711, 0).0, Some(0));
}

#[test]
fn a_desk_that_is_ended_leaves_nobody_and_no_other_desk_notices() {
    let case = "a_desk_that_is_ended_leaves_nobody_and_no_other_desk_notices";
    // Without Landlock, so that nothing keeps the desk from signals but its user.
    let Some(mut house) = House::open_with(case, Landlock::Off) else { return };
    let mut other = house.agent(8, "a");
    let mut agent = house.agent(7, "a");
    // The first words stand on the disk without a fork: those may be refused at the desk's limit.
    let forks = "trap '' TERM HUP INT; hop() { hop & }\n\
                 hop; : > forking; for i in $(seq 60); do hop & done; wait";
    house.leave(&mut agent, forks);
    until("they fork", || agent.work.join("forking").exists().then_some(()));
    house.end(7);
    house.run(&mut other, "echo here").is_done();
    // And again, against one that kills whoever comes.
    let mut agent = house.agent(7, "b");
    house.leave(&mut agent, "exec sh -c 'trap \"\" TERM HUP INT; while :; do kill -KILL -1; done'");
    until("it is alone", || (house.pids(7).len() == 1).then_some(()));
    house.end(7);
    house.run(&mut other, "echo here").is_done();
}

#[test]
fn a_removed_desk_leaves_nothing_and_can_be_made_anew() {
    let Some(mut house) = House::open("a_removed_desk_leaves_nothing_and_can_be_made_anew") else {
        return;
    };
    let mut agent = house.agent(7, "a");
    let beside = house.path("beside");
    fs::create_dir(&beside).expect("folder");
    fs::write(beside.join("file"), "stays").expect("file");
    let script = format!(
        "mkdir -p deep/er/est && touch deep/er/est/file && ln -s '{}' link && mkfifo pipe && chmod 0 deep/er deep .. .",
        beside.display()
    );
    house.run(&mut agent, &script).is_done();
    symlink(&beside, house.folder(7).join("home/link")).expect("link");
    let desk = house.desk(7);
    house.cut_off(7);
    house.client.remove(desk).expect("removed");
    assert!(!house.folder(7).exists());
    assert_eq!(fs::read_to_string(beside.join("file")).expect("file"), "stays");
    assert_eq!(house.pids(7), [] as [u32; 0]);
    house.client.remove(desk).expect("nothing to remove");
    house.client.make(desk).expect("made");
    assert_eq!(fs::metadata(house.folder(7)).expect("folder").uid(), desk.user());
}

#[test]
fn what_is_not_a_desks_is_not_given_to_it() {
    let Some(house) = House::open("what_is_not_a_desks_is_not_given_to_it") else { return };
    fs::create_dir(house.path("theirs")).expect("folder");
    symlink(house.path("theirs"), house.folder(1)).expect("link");
    fs::write(house.folder(2), "").expect("file");
    fs::create_dir(house.folder(3)).expect("folder");
    chown(house.folder(3), Some(house.desk(4).user()), None).expect("owner");
    for number in [1, 2, 3] {
        let made = house.client.make(house.desk(number));
        assert!(matches!(made, Err(AskError::Failed { .. })), "{number}: {made:?}");
    }
    assert_eq!(fs::metadata(house.path("theirs")).expect("folder").uid(), 0);
    // One that a crash left between making and handing over.
    fs::create_dir(house.folder(4)).expect("folder");
    house.client.make(house.desk(4)).expect("handed over");
    assert_eq!(fs::metadata(house.folder(4)).expect("folder").uid(), house.desk(4).user());
}

/// Whatever is sent, with whatever descriptors: what is no request changes nothing, and the next request is answered.
#[test]
fn a_warden_does_what_it_is_asked_and_nothing_else() {
    let Some(house) = House::open("a_warden_does_what_it_is_asked_and_nothing_else") else {
        return;
    };
    // Asked below the client, which sends nothing but requests.
    let dir = house.path("raw");
    fs::create_dir(&dir).expect("folder");
    fs::create_dir(dir.join("desks")).expect("folder");
    fs::set_permissions(dir.join("desks"), fs::Permissions::from_mode(0o711)).expect("mode");
    let listener = UnixListener::bind(dir.join("meeting")).expect("socket");
    fs::set_permissions(dir.join("meeting"), fs::Permissions::from_mode(0o777)).expect("mode");
    let mut child = command(&dir, OFFICE)
        .arg(ours("warden-office"))
        .arg(dir.join("meeting"))
        .spawn()
        .expect("a warden");
    let (office, socket) = handed_over(&listener);
    let file = fs::File::open("/dev/null").expect("file");
    let (stream, _other) = UnixStream::pair().expect("a pair");
    let ask = |bytes: &[u8], with: &[i32]| {
        let rights = [ControlMessage::ScmRights(with)];
        let rights = if with.is_empty() { &rights[..0] } else { &rights[..] };
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], rights, MsgFlags::empty(), None)
            .expect("sent");
        let mut answer = [0; LENGTH];
        assert_eq!(nix::unistd::read(&socket, &mut answer).expect("an answer"), LENGTH);
        Answer::parse(&answer).expect("an answer")
    };
    let (file, stream) = (file.as_raw_fd(), stream.as_raw_fd());
    let descriptors = prop_oneof![
        Just(vec![]),
        Just(vec![file]),
        Just(vec![stream, stream]),
        Just(vec![stream; 9])
    ];
    let near = prop_oneof![Just(0_u32), Just(10_000), any::<u32>()];
    let broken = (0..9_u8, near, any::<u32>(), 0..24_usize, any::<u8>()).prop_map(
        |(code, desk, tag, at, byte)| {
            let seven = DeskNumber::try_from(7).expect("a desk");
            let mut bytes = Request { wish: Wish::Make, desk: seven, tag }.to_bytes().to_vec();
            bytes[4] = code;
            bytes[8..12].copy_from_slice(&desk.to_le_bytes());
            match bytes.get_mut(at) {
                Some(it) => *it ^= byte,
                None => bytes.resize(at + 1, byte),
            }
            bytes
        },
    );
    let bytes = prop_oneof![broken, proptest::collection::vec(any::<u8>(), 1..64)];
    let is_no_request = |it: &Vec<u8>| Request::parse(it).is_err();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(3000));
    let ran =
        runner.run(&(bytes.prop_filter("none", is_no_request), descriptors), |(bytes, with)| {
            prop_assert_eq!(ask(&bytes, &with), Answer { outcome: Outcome::NoRequest, tag: 0 });
            Ok(())
        });
    ran.expect("refused");
    // Requests whose descriptors are not what belongs to them.
    let desk = DeskNumber::try_from(7).expect("a desk");
    for (tag, wish) in (1..).zip([Wish::StartHub, Wish::End, Wish::Make, Wish::Remove]) {
        let wrong: &[&[i32]] = match wish {
            Wish::StartHub => &[&[], &[file], &[stream, stream]],
            _ => &[&[file], &[stream]],
        };
        for with in wrong {
            let answer = ask(&Request { wish, desk, tag }.to_bytes(), with);
            assert_eq!(answer, Answer { outcome: Outcome::WrongDescriptors, tag }, "{wish:?}");
        }
    }
    let made = fs::read_dir(dir.join("desks")).expect("folder").flatten();
    let made: Vec<_> = made.map(|it| it.file_name()).collect();
    assert_eq!(made, ["office"], "what the office shows all desks, and no desk's");
    let open = fs::read_dir(format!("/proc/{}/fd", child.id())).expect("descriptors").count();
    assert!(open < 12, "{open} descriptors are open");
    let answer = ask(&Request { wish: Wish::Make, desk, tag: 9 }.to_bytes(), &[]);
    assert_eq!(answer, Answer { outcome: Outcome::Done, tag: 9 });
    drop(office);
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn a_hub_that_does_not_start_is_told_in_the_log_and_hangs_up() {
    let case = "a_hub_that_does_not_start_is_told_in_the_log_and_hangs_up";
    if !Uid::effective().is_root() {
        println!("skipped: {case}: not root");
        return;
    }
    let dir = tempfile::tempdir_in(open_ground()).expect("dir");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    fs::create_dir(dir.path().join("desks")).expect("folder");
    fs::set_permissions(dir.path().join("desks"), fs::Permissions::from_mode(0o711)).expect("mode");
    let listener = UnixListener::bind(dir.path().join("meeting")).expect("socket");
    fs::set_permissions(dir.path().join("meeting"), fs::Permissions::from_mode(0o777))
        .expect("mode");
    let mut child = Command::new(ours("tinyclaw-warden"))
        .args(["--hub", "/nowhere/leash", "--user", "10001", "--desks"])
        .arg(dir.path().join("desks"))
        .arg(ours("warden-office"))
        .arg(dir.path().join("meeting"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("a warden");
    let (office, socket) = handed_over(&listener);
    let client = Client::over(socket).expect("a client");
    let desk = DeskNumber::try_from(7).expect("a desk");
    client.make(desk).expect("made");
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    client.start_hub(desk, theirs.as_fd()).expect("started, as far as the warden knows");
    drop(theirs);
    ours.set_read_timeout(Some(PATIENCE)).expect("a limit");
    assert_eq!(std::io::Read::read(&mut ours, &mut [0]).expect("its end"), 0);
    drop(office);
    let said = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
    let said: Vec<String> = said.collect();
    assert!(said.iter().any(|it| it.contains("cannot start a hub: No such file")), "{said:?}");
    assert_eq!(ended(&mut child).code(), Some(0));
}
