//! An office as in its container: the bot starts as root with four rights, and every desk is a user of its own.
//!
//! Each attack is first refused there, and then shown to succeed in an office of one user: what is refused is refused by the
//! fence, not by a typing error. They need root, and say by name that a case is not tried where it is not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::Value;
use tinyclaw_domain::Message;
use tinyclaw_testkit::hostile::{self, Act, Done, Ran};
use tinyclaw_warden::DeskNumber;

use crate::den::{Den, Verdict, has_perl, has_scopes, open_ground, ours};
use crate::warden::{Numbers, OFFICE, parent, pids_of, until};

/// How long the bot may take to leave: it gives its services 35 s.
const LEAVE: Duration = Duration::from_secs(60);

/// An office in which every desk is a user of its own, with the hostile `claude`.
pub(crate) struct UsersOffice {
    dir: tempfile::TempDir,
    bot: Option<Child>,
    /// The bot becomes the processor, as systemd starts it.
    is_unit: bool,
    /// Where whoever starts the bot sits, if they sit anywhere.
    terminal: Option<fs::File>,
    numbers: Numbers,
}

impl UsersOffice {
    /// `None`: this process is not root.
    pub(crate) fn open(case: &str) -> Option<UsersOffice> {
        UsersOffice::open_with(case, &[])
    }

    /// One with these variables set.
    pub(crate) fn open_with(case: &str, env: &[(&str, &str)]) -> Option<UsersOffice> {
        UsersOffice::open_prepared_with(case, env, |_| {})
    }

    /// One that somebody starts at this terminal.
    pub(crate) fn open_at(case: &str, terminal: fs::File, env: &[(&str, &str)]) -> Option<Self> {
        let mut office = UsersOffice::prepared(case, |_| {})?;
        office.terminal = Some(terminal);
        office.start(env);
        Some(office)
    }

    /// One as a systemd unit has it.
    fn open_as_unit(case: &str) -> Option<UsersOffice> {
        let mut office = UsersOffice::prepared(case, |_| {})?;
        office.is_unit = true;
        office.start(&[]);
        Some(office)
    }

    /// An office in whose folder something was done, as its user's, before it started.
    pub(crate) fn open_prepared(
        case: &str,
        prepare: impl FnOnce(&UsersOffice),
    ) -> Option<UsersOffice> {
        UsersOffice::open_prepared_with(case, &[], prepare)
    }

    fn open_prepared_with(
        case: &str,
        env: &[(&str, &str)],
        prepare: impl FnOnce(&UsersOffice),
    ) -> Option<UsersOffice> {
        let mut office = UsersOffice::prepared(case, prepare)?;
        office.start(env);
        Some(office)
    }

    /// One that has not started.
    fn prepared(case: &str, prepare: impl FnOnce(&UsersOffice)) -> Option<UsersOffice> {
        if !Uid::effective().is_root() || Command::new("setpriv").arg("--version").output().is_err()
        {
            println!("skipped: {case}: not root, or no setpriv, so there is one user");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("users-").tempdir_in(open_ground()).expect("dir");
        let numbers = Numbers::take();
        let office = UsersOffice { dir, bot: None, is_unit: false, terminal: None, numbers };
        let open = |below: &str, mode: u32, user: u32| {
            let path = office.path(below);
            fs::create_dir_all(&path).expect("folder");
            chown(&path, Some(user), Some(user)).expect("owner");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
            path
        };
        open("", 0o755, 0);
        open("desks", 0o711, 0);
        for (it, mode) in [("state", 0o2770), ("home", 0o750), ("work", 0o750)] {
            open(it, mode, OFFICE);
        }
        fs::copy(ours("hostile-claude"), open("bin", 0o755, 0).join("claude")).expect("claude");
        // Numbers of desks are the whole machine's here: those that this office gives begin above this one's.
        office.write_threads(&serde_json::json!({}));
        prepare(&office);
        Some(office)
    }

    /// Puts threads into the office that has not started.
    fn write_threads(&self, threads: &Value) {
        let mut all = threads.clone();
        all["900"] = serde_json::json!({ "name": "first", "cwd": "/nonexistent",
            "deskNumber": self.numbers.first });
        let path = self.path("state/threads.json");
        fs::write(&path, all.to_string()).expect("threads");
        chown(&path, Some(OFFICE), Some(OFFICE)).expect("owner");
    }

    pub(crate) fn start(&mut self, env: &[(&str, &str)]) {
        let log = fs::File::options().create(true).append(true).open(self.path("said"));
        let log = log.expect("log");
        let at = |below: &str| self.path(below).display().to_string();
        let terminal = self.terminal.as_ref().map(|it| it.try_clone().expect("terminal"));
        // A session of its own, whose terminal that is.
        let mut command = Command::new(if terminal.is_some() { "setsid" } else { "setpriv" });
        command.args(terminal.as_ref().map_or(&[][..], |_| &["--ctty", "setpriv"]));
        let bot = command
            .args(["--bounding-set=-all,+setuid,+setgid,+chown,+kill", "--inh-caps=-all"])
            .arg(ours("tinyclaw-bot"))
            .args(self.is_unit.then_some("processor"))
            .env_clear()
            .envs([
                ("TINYCLAW_DIR", at("state")),
                ("TINYCLAW_DESKS", at("desks")),
                ("WORKSPACE_ROOT", at("work")),
                ("HOME", at("home")),
                ("PATH", std::env::var("PATH").unwrap_or_default()),
                ("TINYCLAW_ENGINE_KIND", "claude".to_owned()),
                ("TINYCLAW_ENGINE_CLAUDE", at("bin/claude")),
                ("TINYCLAW_HEALTH_LISTEN", "127.0.0.1:0".to_owned()),
            ])
            .envs(env.iter().copied())
            .current_dir("/")
            .stdin(terminal.map_or_else(Stdio::null, Stdio::from))
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("a bot");
        self.bot = Some(bot);
    }

    pub(crate) fn stop(&mut self) {
        let Some(mut bot) = self.bot.take() else { return };
        kill(Pid::from_raw(bot.id().cast_signed()), Signal::SIGTERM).expect("told");
        let begun = Instant::now();
        while bot.try_wait().expect("a child").is_none() {
            if begun.elapsed() > LEAVE {
                let _ = bot.kill();
                let _ = bot.wait();
                panic!("the bot does not leave: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap_or_default()
    }

    /// The `tinyclaw` of whoever may speak, as the office's user.
    pub(crate) fn tinyclaw(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("tinyclaw")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ours("tinyclaw"));
        command
            .args(args)
            .env_clear()
            .env("TINYCLAW_DIR", self.path("state"))
            .env("TINYCLAW_DESKS", self.path("desks"))
            .env("WORKSPACE_ROOT", self.path("work"))
            .env("HOME", self.path("home"))
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .uid(OFFICE)
            .gid(OFFICE)
            .current_dir("/");
        command
    }

    /// What became of a message: the whole reply.
    pub(crate) fn ask(&self, thread: &str, more: &[&str], text: &str) -> Value {
        let args = [&["send", "--wait", "--json", "--timeout", "100", "--thread", thread], more];
        let output = self.tinyclaw(&[&args.concat()[..], &["--", text]].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&said)
            .unwrap_or_else(|err| panic!("{err}: {output:?}\n{}", self.said()))
    }

    /// Puts a message where the gateway would, which is of the office's user.
    pub(crate) fn put_into_the_queue(&self, message: &Message) {
        let text = serde_json::to_string(message).expect("a message");
        let queue = self.path("state/queue");
        let name = format!("{}.json", message.key);
        let script = "printf %s \"$1\" > \"tmp/$0\" && mv \"tmp/$0\" \"incoming/$0\"";
        let mut put = Command::new("sh");
        put.args(["-c", script, &name, &text]).current_dir(queue).uid(OFFICE).gid(OFFICE);
        assert!(put.status().expect("sh").success());
    }

    /// Has a desk's agent run a shell script to its end.
    pub(crate) fn run(&self, thread: &str, script: &str) -> Ran {
        self.run_with(thread, &[], script)
    }

    fn run_with(&self, thread: &str, more: &[&str], script: &str) -> Ran {
        let reply = self.ask(thread, more, &hostile::order(&[Act::Run(script.to_owned())]));
        let done = hostile::report_in(&reply.to_string());
        match done.and_then(|it| it.into_iter().next()) {
            Some(Done::Ran(ran)) => Ran { out: ran.out.trim().to_owned(), ..ran },
            other => panic!("not run: {other:?}: {reply}\n{}", self.said()),
        }
    }

    /// The process beside a unit's main one that has root's rights.
    fn find_warden(&self) -> Option<u32> {
        let main = self.bot.as_ref()?.id();
        pids_of(0).into_iter().find(|it| parent(*it) == Some(main))
    }

    fn warden(&self) -> u32 {
        self.find_warden().expect("a warden")
    }

    /// The number of a thread's desk. `None`: it has none yet.
    fn find_desk(&self, thread: &str) -> Option<DeskNumber> {
        let text = fs::read(self.path("state/threads.json")).expect("threads");
        let all: Value = serde_json::from_slice(&text).expect("threads");
        let number = all[thread]["deskNumber"].as_u64()?;
        Some(DeskNumber::try_from(u32::try_from(number).expect("a number")).expect("a desk"))
    }

    pub(crate) fn desk(&self, thread: &str) -> DeskNumber {
        self.find_desk(thread).expect("a number")
    }

    pub(crate) fn find_folder(&self, thread: &str) -> Option<PathBuf> {
        Some(self.path("desks").join(self.find_desk(thread)?.to_string()))
    }

    pub(crate) fn folder(&self, thread: &str) -> PathBuf {
        self.find_folder(thread).expect("a desk")
    }

    /// The process of one of the office's services.
    pub(crate) fn pid(&self, service: &str) -> u32 {
        until("the service runs", || {
            let named = |pid: &u32| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                name.trim_end() == &service[..service.len().min(15)]
            };
            let mine = |pid: &u32| {
                let bot = parent(*pid)?;
                (parent(bot)? == self.bot.as_ref()?.id()).then_some(())
            };
            pids_of(OFFICE).into_iter().find(|it| named(it) && mine(it).is_some())
        })
    }
}

impl Drop for UsersOffice {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        } else if let Some(mut bot) = self.bot.take() {
            let _ = kill(Pid::from_raw(bot.id().cast_signed()), Signal::SIGTERM);
            let _ = bot.wait();
        }
    }
}

/// What the victim does first, by a shell that has its names: a file of its own, and what the office gave it to read.
const VICTIM: &str =
    "echo hush > note; mkdir -p \"$C\"; echo hush > \"$C/.capability\"; echo $CLAUDE_PID";

/// Without Landlock, so that users alone stand between desks.
pub(crate) const USERS_ALONE: &[(&str, &str)] = &[("TINYCLAW_ENGINE_LANDLOCK", "off")];

/// An attack of desk 7 on the processor (`P`), the state folder (`S`) and desk 8: its folder (`O`), its home (`H`), what it
/// was given to read (`C`), its Claude (`V`).
pub(crate) fn attack(case: &str, env: &[(&str, &str)], script: &str) {
    attack_after(case, env, env, "", script);
}

/// The same after the victim did something more; with an office of one user that has another environment.
pub(crate) fn attack_after(
    case: &str,
    env: &[(&str, &str)],
    env_of_one: &[(&str, &str)],
    victim: &str,
    script: &str,
) {
    {
        let Some(office) = UsersOffice::open_with(case, env) else { return };
        let first = format!("C=\"$HOME/../run/files/8\"\n{VICTIM}\n{victim}");
        let ran = office.run("8", &first);
        ran.is_done();
        office.run("7", "true").is_done();
        let folder = office.folder("8");
        let names = format!(
            "P={} S='{}' O='{}' H='{}' C='{}' V={}",
            office.pid("tinyclaw-processor"),
            office.path("state").display(),
            folder.join("work").display(),
            folder.join("home").display(),
            folder.join("run/files/8").display(),
            ran.out.lines().next().unwrap_or_default(),
        );
        office.run("7", &format!("{names}\n{script}")).is_refused();
    }
    let mut den = Den::open_with(env_of_one);
    let ran = den.run("8", &format!("C=\"$STATE/files/8\"\n{VICTIM}\n{victim}"));
    ran.is_done();
    let names = "P=$PROCESSOR S=$STATE O=$WORK/8 H=$STATE/home/8 C=$STATE/files/8";
    let claude = ran.out.lines().next().unwrap_or_default();
    den.run("7", &format!("{names} V={claude}\n{script}")).is_done();
}

macro_rules! attacks {
    ($env:expr; $($(#[$about:meta])* $name:ident: $script:expr;)*) => {
        $($(#[$about])* #[test] fn $name() { attack(stringify!($name), $env, $script); })*
    };
}

attacks! {
    USERS_ALONE;
    another_desks_home_is_not_listed: "ls \"$H\"";
    another_desks_transcripts_are_not_read: "cat \"$H\"/.claude/projects/*/*.jsonl";
    another_desks_worktree_is_not_read: "cat \"$O/note\"";
    another_desks_worktree_is_not_written: "echo forged > \"$O/forged\"";
    another_desks_capability_is_not_read: "cat \"$C/.capability\"";
    another_desks_folder_is_not_replaced_by_a_link: "mv \"$O\" \"$O.away\" && ln -s \"$S/queue\" \"$O\"";
    the_state_is_not_read: "cat \"$S/threads.json\"";
    the_queue_is_not_listed: "ls \"$S/queue/incoming\"";
    messages_are_not_put_into_the_queue: "echo '{}' > \"$S/queue/incoming/cli-99.json\"";
    the_state_is_not_moved_away: "mv \"$S/memory\" \"$S/elsewhere\"";
    no_signal_reaches_the_processor: "kill -CONT $P";
    no_signal_reaches_another_desk: "kill -CONT $V";
    another_desks_environment_is_not_seen: "cat /proc/$V/environ";
    another_desks_descriptors_are_not_seen: "ls /proc/$V/fd/";
    another_desks_memory_is_not_read: "head -c 0 /proc/$V/mem";
    another_desks_folders_are_not_reached_by_its_process: "ls /proc/$V/cwd/";
    another_desks_limits_are_not_changed: "prlimit --pid $V --core=0:0";
}

/// Here users do not help: it is Landlock's sixth version that refuses.
#[test]
fn an_abstract_socket_of_another_desk_is_not_connected_to() {
    let case = "an_abstract_socket_of_another_desk_is_not_connected_to";
    if !has_scopes(case) || !has_perl(case) {
        return;
    }
    let socket = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die;";
    let name = format!("tinyclaw-desk-{}", std::process::id());
    let listen = format!(
        "{socket} bind(S, pack_sockaddr_un(\"\\0{name}\")) or die \"$!\\n\"; listen(S, 9) or die; \
         open(R, \">\", \"listens\"); sleep 600' > /dev/null 2>&1 &\nwhile ! [ -e listens ]; do sleep 0.01; done"
    );
    let connect = format!("{socket} connect(S, pack_sockaddr_un(\"\\0{name}\")) or die \"$!\\n\"'");
    attack_after(case, &[], USERS_ALONE, &listen, &connect);
}

/// Desks have a disk of their own here, as they may have.
#[test]
fn a_desk_that_fills_the_disk_of_desks_stops_no_office_and_costs_nobody_a_file() {
    let case = "a_desk_that_fills_the_disk_of_desks_stops_no_office_and_costs_nobody_a_file";
    let mut mounted = false;
    let office = UsersOffice::open_prepared(case, |office| {
        let desks = office.path("desks");
        mounted = unshare(CloneFlags::CLONE_NEWNS).is_ok()
            && mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                None::<&str>,
            )
            .is_ok()
            && mount(
                Some("tmpfs"),
                &desks,
                Some("tmpfs"),
                MsFlags::empty(),
                Some("size=16m,mode=711"),
            )
            .is_ok();
    });
    let Some(office) = office else { return };
    if !mounted {
        println!("skipped: {case}: this process may not mount a disk");
        return;
    }
    office.run("8", "echo kept > note").is_done();
    let ran = office.run("7", "head -c 100M /dev/zero > full");
    assert_ne!(ran.code, 0, "there is no room: {ran:?}");
    // Nobody at that disk works now, and everybody hears something.
    let processor = office.pid("tinyclaw-processor");
    let _ = office.ask("8", &[], &hostile::order(&[Act::Run("cat note".to_owned())]));
    fs::remove_file(office.folder("7").join("work/full")).expect("room");
    assert_eq!(office.run("8", "cat note").out, "kept");
    assert_eq!(office.run("7", "echo room > note; cat note").out, "room");
    assert_eq!(office.pid("tinyclaw-processor"), processor, "the office goes on");
}

attacks! {
    &[];
    /// A processor that may write no file stops.
    limits_of_the_processor_are_not_changed: "prlimit --pid $P --core=0:0";
    priorities_of_the_processor_are_not_changed: "renice -n 19 -p $P";
    processors_of_the_processor_are_not_chosen: "taskset -p $(taskset -p $P | sed 's/.*: //') $P";
    scheduling_of_the_processor_is_not_changed: "chrt --idle -p 0 $P";
    /// Mode 0 outlasts every restart.
    modes_of_the_state_are_not_changed: "chmod 2770 \"$S\"";
    times_of_the_state_are_not_changed: "touch -d 2001-01-01 \"$S\"";
    files_of_the_state_are_not_even_seen: "stat \"$S/threads.json\"";
    modes_of_the_queue_are_not_changed: "chmod 2770 \"$S/queue\"";
    modes_of_another_desk_are_not_changed: "chmod 700 \"$O\"";
    times_of_another_desk_are_not_changed: "touch -d 2001-01-01 \"$O\"";
    priorities_of_another_desks_claude_are_not_changed: "renice -n 19 -p $V";
    processors_of_another_desks_claude_are_not_chosen: "taskset -p $(taskset -p $V | sed 's/.*: //') $V";
    scheduling_of_another_desks_claude_is_not_changed: "chrt --idle -p 0 $V";
    files_of_another_desk_are_not_even_seen: "stat \"$O/note\"";
}

#[test]
fn in_an_office_every_desk_is_a_user_with_folders_of_its_own() {
    let case = "in_an_office_every_desk_is_a_user_with_folders_of_its_own";
    let Some(office) = UsersOffice::open(case) else { return };
    for thread in ["7", "8"] {
        let ran =
            office.run(thread, "id -u; id -G; pwd; echo $HOME; echo $TMPDIR; touch $TMPDIR/x");
        ran.is_done();
        let (user, folder) = (office.desk(thread).user(), office.folder(thread));
        let at = |below: &str| folder.join(below).display().to_string();
        let wanted = [user.to_string(), user.to_string(), at("work"), at("home"), at("tmp")];
        assert_eq!(ran.out.lines().collect::<Vec<_>>(), wanted);
        for part in ["", "home", "work", "tmp", "run"] {
            let about = fs::metadata(folder.join(part)).expect("a folder");
            assert_eq!((about.uid(), about.mode() & 0o777), (user, 0o700), "{part}");
        }
    }
    assert_ne!(office.desk("7"), office.desk("8"));
    for service in ["tinyclaw-processor", "tinyclaw-telegram"] {
        let pid = office.pid(service);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        assert!(status.contains("CapBnd:\t00000000000000e1"), "{status}");
        assert!(status.contains("CapPrm:\t0000000000000000"), "{status}");
        // The dashboard is in its group, and reads what it writes.
        assert!(status.contains("Umask:\t0022"), "{status}");
        // Telegram has no way to the warden.
        let asks = fs::read(format!("/proc/{pid}/environ")).expect("environment");
        let asks = String::from_utf8_lossy(&asks).contains("TINYCLAW_WARDEN");
        assert_eq!(asks, service == "tinyclaw-processor");
    }
}

/// systemd watches the process that it started, and hears no other: that is the processor. The warden beside it leaves with it,
/// and it does not stay without the warden.
#[test]
fn a_unit_s_main_process_becomes_the_processor_and_a_turn_outlives_it() {
    let case = "a_unit_s_main_process_becomes_the_processor_and_a_turn_outlives_it";
    let Some(mut office) = UsersOffice::open_as_unit(case) else { return };
    let user = office.run("7", "id -u").out;
    assert_eq!(user, office.desk("7").user().to_string());
    let main = office.bot.as_ref().expect("a processor").id();
    let status = fs::read_to_string(format!("/proc/{main}/status")).expect("status");
    assert!(status.contains("Name:\ttinyclaw-proces"), "{status}");
    assert!(status.contains(&format!("Uid:\t{OFFICE}\t{OFFICE}\t{OFFICE}")), "{status}");
    assert!(status.contains("CapPrm:\t0000000000000000"), "{status}");
    let warden = office.warden();
    let status = fs::read_to_string(format!("/proc/{warden}/status")).expect("status");
    assert!(status.contains("CapEff:\t00000000000000e1"), "{status}");
    assert!(status.contains("CapBnd:\t00000000000000e1"), "{status}");

    let script = "echo $CLAUDE_PID >> begun; while ! [ -e go ]; do sleep 0.05; done; echo gone on";
    let order = hostile::order(&[Act::Run(script.to_owned())]);
    let sent = ["send", "--wait", "--json", "--timeout", "100", "--thread", "7", "--", &order];
    let asking = office.command(&sent).stdout(Stdio::piped()).spawn().expect("tinyclaw");
    let work = office.folder("7").join("work");
    until("the turn runs", || work.join("begun").exists().then_some(()));
    kill(Pid::from_raw(main.cast_signed()), Signal::SIGKILL).expect("told");
    office.bot.take().expect("a processor").wait().expect("a child");
    until("the warden leaves", || (!runs(warden)).then_some(()));
    office.start(&[]);
    until("the next warden", || office.find_warden());
    fs::write(work.join("go"), "").expect("file");
    let answer = asking.wait_with_output().expect("an answer");
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    let done = hostile::report_in(&said).and_then(|it| it.into_iter().next());
    let Some(Done::Ran(ran)) = done else { panic!("{said}\n{}", office.said()) };
    assert_eq!(ran.out.trim(), "gone on");
    let begun = fs::read_to_string(work.join("begun")).expect("file");
    assert_eq!(begun.lines().count(), 1, "one prompt: {begun}");

    kill(Pid::from_raw(office.warden().cast_signed()), Signal::SIGKILL).expect("told");
    let mut processor = office.bot.take().expect("a processor");
    let code = until("the processor leaves", || processor.try_wait().expect("a child")).code();
    assert_eq!(code, Some(1));
    assert!(office.said().contains("the warden is gone"), "{}", office.said());
}

fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|it| !it.is_empty() && !it.starts_with(" Z"))
}

#[test]
fn a_removed_thread_takes_all_that_its_desk_has_along_and_its_number_is_nobodys() {
    let case = "a_removed_thread_takes_all_that_its_desk_has_along_and_its_number_is_nobodys";
    let Some(office) = UsersOffice::open(case) else { return };
    office.run("8", "echo mine > note").is_done();
    let work = "git init -q site && cd site && echo x > x && git add . && \
        git -c user.name=Ada -c user.email=ada@example.org commit -qm x && echo changed > x; echo kept > ~/kept; mkdir -m 0 ~/shut";
    office.run("7", work).is_done();
    let (desk, folder) = (office.desk("7"), office.folder("7"));
    let remove = |more: &[&str]| office.tinyclaw(&[&["threads", "remove", "7"], more].concat());
    let script = "touch begun; while ! [ -e go ]; do sleep 0.05; done";
    let order = hostile::order(&[Act::Run(script.to_owned())]);
    let sent = ["send", "--wait", "--json", "--timeout", "100", "--thread", "7", "--", &order];
    let asking = office.command(&sent).stdout(Stdio::null()).spawn();
    until("the turn runs", || folder.join("work/begun").exists().then_some(()));
    let refused = until("it is told", || {
        let said = remove(&["--yes"]);
        String::from_utf8_lossy(&said.stderr).contains("at work").then_some(said)
    });
    assert!(!refused.status.success());
    fs::write(folder.join("work/go"), "").expect("file");
    assert!(asking.expect("tinyclaw").wait().expect("an answer").success());
    let asked = until("the turn is over", || {
        let said = remove(&[]);
        String::from_utf8_lossy(&said.stderr).contains("say --yes").then_some(said)
    });
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(said.contains("site/: 1 files changed, 1 commits that no remote has"), "{said}");
    assert!(folder.join("home/kept").exists() && !asked.status.success(), "nobody said yes");
    let done = remove(&["--yes"]);
    assert!(done.status.success(), "{done:?}\n{}", office.said());
    // Empty, so that no desk after it owns what it left elsewhere.
    assert_eq!(fs::read_dir(&folder).expect("folder").count(), 0);
    assert_eq!(pids_of(desk.user()), [] as [u32; 0]);
    assert!(!office.tinyclaw(&["threads", "remove", "7", "--yes"]).status.success(), "it is gone");
    assert_eq!(office.run("8", "cat note").out, "mine");
    assert_ne!(office.run("7", "cat ~/kept").code, 0, "a new thread");
    assert_ne!(office.desk("7"), desk);
    assert_eq!(fs::read_dir(&folder).expect("folder").count(), 0, "nobody comes back");
}

/// A backup of containers that was restored where desks have another folder.
#[test]
fn desks_whose_folder_is_elsewhere_by_now_go_on_there() {
    let case = "desks_whose_folder_is_elsewhere_by_now_go_on_there";
    let Some(mut office) = UsersOffice::open(case) else { return };
    office.run("7", "mkdir site; echo kept > note").is_done();
    office.stop();
    let elsewhere = office.path("elsewhere");
    fs::rename(office.path("desks"), &elsewhere).expect("moved");
    office.start(&[("TINYCLAW_DESKS", &elsewhere.display().to_string())]);
    let ran = office
        .run("7", "pwd; cat note; cat ~/.claude/projects/*/*.jsonl | grep -c '\"type\":\"user\"'");
    let work = elsewhere.join(office.desk("7").to_string()).join("work");
    let wanted = [&work.display().to_string(), "kept"];
    assert_eq!(ran.out.lines().take(2).collect::<Vec<_>>(), wanted, "{}", office.said());
    // The session went along: its first message stands in the transcript of the second.
    let last: u32 = ran.out.lines().last().and_then(|it| it.parse().ok()).expect("a number");
    assert!(last >= 2, "{}", ran.out);
}

#[test]
fn a_session_and_what_was_sent_reach_a_desk_that_is_a_user() {
    let case = "a_session_and_what_was_sent_reach_a_desk_that_is_a_user";
    let Some(mut office) = UsersOffice::open(case) else { return };
    let sent = office.path("sent.txt");
    fs::write(&sent, "from ada").expect("file");
    let sent = sent.display().to_string();
    let ran =
        office.run_with("7", &["--file", &sent], "cat \"$HOME\"/../run/files/7/*; ls -l ~/.claude");
    assert!(ran.out.contains("from ada"), "{ran:?}");
    let transcripts = || {
        let ran = office.run("7", "cat ~/.claude/projects/*/*.jsonl | grep -c '\"type\":\"user\"'; ls ~/.claude/projects/*/ | wc -l");
        ran.out.split_whitespace().map(|it| it.parse().expect("a number")).collect::<Vec<u32>>()
    };
    assert_eq!(transcripts(), [2, 1]);
    // The next office goes on with the session: it is found in the desk's home, by the desk.
    office.stop();
    office.start(&[]);
    let after = office.run("7", "cat ~/.claude/projects/*/*.jsonl | grep -c '\"type\":\"user\"'; ls ~/.claude/projects/*/ | wc -l");
    assert_eq!(after.out.split_whitespace().collect::<Vec<_>>(), ["3", "1"]);
}

#[test]
fn an_office_of_one_user_becomes_one_of_many_and_back_with_what_its_desks_had() {
    let case = "an_office_of_one_user_becomes_one_of_many_and_back_with_what_its_desks_had";
    let office = UsersOffice::open_prepared(case, |office| {
        let dir = office.path("work/7/site");
        let script = "mkdir -p \"$0\" && cd \"$0\" && echo kept > note && ln -s /etc/passwd link && mkfifo pipe && truncate -s 1T ../huge";
        let done =
            Command::new("sh").args(["-c", script]).arg(&dir).uid(OFFICE).gid(OFFICE).status();
        assert!(done.expect("sh").success());
        // Two that an admin chose: of one the desk's user may do something, of the other nothing.
        let [open, shut] = ["open", "work/shut"].map(|it| office.path(it));
        for (path, mode) in [(&open, 0o777), (&shut, 0o755)] {
            fs::create_dir(path).expect("folder");
            fs::write(path.join("note"), "chosen\n").expect("file");
            chown(path, Some(OFFICE), Some(OFFICE)).expect("owner");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
        }
        office.write_threads(&serde_json::json!({
            "7": { "name": "site", "cwd": dir },
            "8": { "name": "open", "cwd": open, "dirByAdmin": true },
            "9": { "name": "shut", "cwd": shut, "dirByAdmin": true }
        }));
    });
    let Some(mut office) = office else { return };
    let look = "id -u; pwd; cat note; readlink link; test -p pipe; stat -c %s ../huge";
    let ran = office.run("7", &format!("{look}; echo new > new; echo changed > note"));
    let (user, work) = (office.desk("7").user().to_string(), office.folder("7").join("work/site"));
    let as_user = [&user, &work.display().to_string(), "kept", "/etc/passwd", "1099511627776"];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), as_user);
    let told = format!("thread 7 is user {user} now and works in {}", work.display());
    assert_eq!(office.said().matches(&told).count(), 1, "{}", office.said());
    let chosen = [("8", office.path("open")), ("9", office.folder("9").join("work"))];
    for (thread, dir) in chosen {
        let ran = office.run(thread, "pwd; cat note; touch mine && echo written");
        let wanted = [&dir.display().to_string(), "chosen", "written"];
        assert_eq!(ran.out.lines().collect::<Vec<_>>(), wanted);
    }
    // Once: the next start finds it moved.
    office.stop();
    office.start(&[]);
    assert_eq!(office.run("7", "cat note").out, "changed");
    assert_eq!(office.said().matches(&told).count(), 1, "{}", office.said());
    office.stop();
    office.start(&[("TINYCLAW_ENGINE_USERS", "false")]);
    let back = office.path("work/7-back-1/site");
    let as_one = [&OFFICE.to_string(), &back.display().to_string(), "changed", "new"];
    let ran = office.run("7", "id -u; pwd; cat note new");
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), as_one);
    // And again: with what it has by now, and as a user that it was not before.
    office.stop();
    office.start(&[]);
    let ran = office.run("7", "id -u; cat note new");
    assert_ne!(office.desk("7").user().to_string(), user);
    let user = office.desk("7").user().to_string();
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), [&*user, "changed", "new"]);
}

/// What the office asks its desks for: transcripts, files that were sent, folders, runs.
#[test]
fn what_a_desk_puts_in_place_of_its_folders_keeps_no_other_desk_waiting() {
    let case = "what_a_desk_puts_in_place_of_its_folders_keeps_no_other_desk_waiting";
    let Some(office) = UsersOffice::open(case) else { return };
    office.run("8", "echo mine > note").is_done();
    office.run("7", "true").is_done();
    let other = office.folder("8").join("work").display().to_string();
    for put in ["mkfifo", "ln -s \"$O\"", "truncate -s 1T"] {
        let script = format!(
            "O='{other}'\nfor it in \"$HOME/.claude\" \"$HOME/../run/files/7\" \"$HOME/../tmp\" HEARTBEAT.md CLAUDE.md; do \
             rm -rf \"$it\" && {put} \"$it\"; done; true"
        );
        let _ = office.ask("7", &[], &hostile::order(&[Act::Run(script)]));
        assert_eq!(office.run("8", "cat note").out, "mine", "after {put}");
        // Answered or given up, and not for ever.
        let _ = office.ask("7", &[], &hostile::order(&[Act::Run("rm -rf ~/.claude".to_owned())]));
    }
}

#[test]
fn a_desk_that_forks_without_end_keeps_no_other_from_its_answer() {
    let case = "a_desk_that_forks_without_end_keeps_no_other_from_its_answer";
    let Some(office) = UsersOffice::open(case) else { return };
    office.run("7", "true").is_done();
    let bomb = "i=0; while [ $i -lt 900 ]; do sleep 600 & i=$((i+1)); done";
    let ran = office.run("7", bomb);
    let user = office.desk("7").user();
    assert!(ran.code != 0 && pids_of(user).len() <= 600, "{ran:?}");
    assert_eq!(office.run("8", "echo fine").out, "fine");
    // The desk's own next message is answered, too: what it left ends with its Claude.
    let _ = office.ask("7", &[], &hostile::order(&[Act::Exit(1)]));
    drop(office);
    assert_eq!(pids_of(user), [] as [u32; 0], "nobody is left when the office is gone");
}

/// A folder of the operator's, which an environment names, is nobody's desk.
#[test]
fn a_session_of_an_environment_works_in_its_folder_as_its_own_user_or_says_that_it_may_not() {
    let case =
        "a_session_of_an_environment_works_in_its_folder_as_its_own_user_or_says_that_it_may_not";
    let office = UsersOffice::open_prepared(case, |office| {
        for (name, mode) in [("open", 0o777), ("shut", 0o700)] {
            let path = office.path(name);
            fs::create_dir(&path).expect("folder");
            chown(&path, Some(OFFICE), Some(OFFICE)).expect("owner");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        }
        let envs = serde_json::json!({ "open": { "isolation": "none", "cwd": office.path("open") },
            "shut": { "isolation": "none", "cwd": office.path("shut") } });
        fs::write(office.path("state/envs.json"), envs.to_string()).expect("envs");
    });
    let Some(office) = office else { return };
    let (open, shut) =
        ("api.open.01kc8m4q2v7x3z9d5f1h6j0nps", "api.shut.01kc8m4q2v7x3z9d5f1h6j0nps");
    let ran = office.run(open, "id -u; pwd; echo mine > mine");
    let wanted = [office.desk(open).user().to_string(), office.path("open").display().to_string()];
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), wanted);
    let refused = office.ask(shut, &[], &hostile::order(&[Act::Run("id".to_owned())]));
    let said = refused["reply"]["text"].as_str().unwrap_or_default();
    assert!(said.contains(&office.path("shut").display().to_string()), "{refused}");
    assert_ne!(refused["reply"]["outcome"], "answered", "{refused}");
}
