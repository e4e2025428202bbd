//! What a desk that is a user of its own tries against its office: its terminal, its processes, its group, and its patience
//! with whatever lies where it reads.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Uid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;
use tinyclaw_domain::{Channel, Command as Order, Message};
use tinyclaw_testkit::hostile::{self, Act};

use crate::den::{Verdict, has_perl};
use crate::desk_users::{USERS_ALONE, UsersOffice, attack, attack_after};
use crate::warden::{OFFICE, parent, pids_of, until};

/// A terminal of the office's user, as somebody sees it who sits there.
struct Terminal {
    screen: fs::File,
    name: String,
}

impl Terminal {
    fn open() -> Terminal {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("terminal");
        grantpt(&screen).expect("terminal");
        unlockpt(&screen).expect("terminal");
        let name = ptsname(&screen, Vec::new()).expect("name").into_string().expect("name");
        fcntl(&screen, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("flags");
        if Uid::effective().is_root() {
            chown(&name, Some(OFFICE), None).expect("owner");
        }
        Terminal { screen: screen.into(), name }
    }

    /// Where a program sits that is started there.
    fn seat(&self) -> fs::File {
        let mut options = fs::File::options();
        options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
        options.open(&self.name).expect("terminal")
    }

    /// What was typed since it was looked at last: it is shown.
    fn typed(&mut self) -> String {
        let mut bytes = [0; 4096];
        match self.screen.read(&mut bytes) {
            Ok(read) => String::from_utf8_lossy(&bytes[..read]).into_owned(),
            // Nothing yet, or nobody has it open.
            Err(err) if err.kind() == ErrorKind::WouldBlock || err.raw_os_error() == Some(5) => {
                String::new()
            }
            Err(err) => panic!("terminal: {err}"),
        }
    }
}

/// Puts a key into the input of every terminal that can be had: what is open, `/dev/tty`, and the one named `T`; as it is, and
/// then in a session of its own, which takes a terminal that nobody has. Says of each what came of it. x86-64 and arm64.
const TYPES: &str = r##"perl -MPOSIX -e '
$| = 1;
my $ioctl = `uname -m` =~ /aarch64/ ? 29 : 16;
my $typed = 0;
sub type_at {
  my ($what, $fd) = @_;
  my $key = "#";
  my $did = syscall($ioctl, $fd, 0x5412, $key) == 0;
  $typed += $did;
  print "TIOCSTI at $what: ", $did ? "typed" : "$!", "\n";
}
sub try_all {
  for my $fd (0..9) { type_at("descriptor $fd", $fd) if -e "/proc/self/fd/$fd" }
  for my $path (@ARGV) {
    my $fd = POSIX::open($path, POSIX::O_RDWR());
    if (defined $fd) { type_at($path, $fd) } else { print "open $path: $!\n" }
  }
}
try_all();
my $child = fork;
if ($child) { waitpid $child, 0; $typed += $? == 0 }
else { POSIX::setsid(); try_all() }
exit($typed ? 0 : 1);
' /dev/tty "$T""##;

/// Keys put into a terminal's input run as whoever sits there.
#[test]
fn nothing_is_typed_into_a_terminal_of_the_offices() {
    let case = "nothing_is_typed_into_a_terminal_of_the_offices";
    if !has_perl(case) {
        return;
    }
    let (mut sat_at, mut other) = (Terminal::open(), Terminal::open());
    // Whoever starts the office sits at one that everybody may open.
    fs::set_permissions(&sat_at.name, fs::Permissions::from_mode(0o666)).expect("mode");
    {
        let Some(office) = UsersOffice::open_at(case, sat_at.seat(), USERS_ALONE) else { return };
        let ran = office.run("7", &format!("T={}\n{TYPES}", sat_at.name));
        ran.is_refused();
        // It was asked of the terminal itself, which is another session's.
        let asked = format!("TIOCSTI at {}: ", sat_at.name);
        assert_eq!(ran.out.matches(&asked).count(), 2, "{ran:?}");
        assert!(ran.out.contains("open /dev/tty: No such device"), "{ran:?}");
        assert_eq!(sat_at.typed(), "");
    }
    if fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|it| it.trim() == "0") {
        println!("skipped: {case}: that it is no typing error; this kernel lets nobody type");
        return;
    }
    // It is no typing error: whoever sits there may.
    let typing = Command::new("setsid")
        .args(["--ctty", "--wait", "sh", "-c", TYPES])
        .env("T", &other.name)
        .uid(OFFICE)
        .stdin(other.seat())
        .stdout(Stdio::null())
        .status();
    assert!(typing.expect("setsid").success());
    until("the key is shown", || other.typed().contains('#').then_some(()));
    // One at which nobody sits: only its owner can take it.
    attack(case, USERS_ALONE, &format!("T={}\n{TYPES}", other.name));
    until("the key is shown", || other.typed().contains('#').then_some(()));
}

/// `PTRACE_SEIZE` on x86-64 and arm64: begins nothing, stops nobody.
fn seize(pid: &str) -> String {
    format!(
        "perl -e '$n = `uname -m` =~ /aarch64/ ? 117 : 101; \
         syscall($n, 0x4206, {pid}, 0, 0) == 0 or die \"$!\\n\"'"
    )
}

fn does_by_root(script: &str) -> bool {
    let done = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).status();
    done.expect("sh").success()
}

/// No program below a leash attaches to one that runs; the kernel would refuse another user's in any case.
#[test]
fn nobody_attaches_to_the_claude_of_another_desk() {
    let case = "nobody_attaches_to_the_claude_of_another_desk";
    if !has_perl(case) {
        return;
    }
    let Some(office) = UsersOffice::open_with(case, USERS_ALONE) else { return };
    let claude = office.run("8", "echo $CLAUDE_PID").out;
    office.run("7", &seize(&claude)).is_refused();
    office.run("8", "echo fine").is_done();
    // It is no typing error: this process may.
    assert!(does_by_root(&seize(&claude)));
}

/// The services keep their memory from everybody but root, in an office of one user as well: so root shows here that it is no
/// typing error.
#[test]
fn no_process_of_the_office_is_looked_into_attached_to_or_signalled() {
    let case = "no_process_of_the_office_is_looked_into_attached_to_or_signalled";
    if !has_perl(case) {
        return;
    }
    let Some(office) = UsersOffice::open_with(case, USERS_ALONE) else { return };
    office.run("7", "true").is_done();
    let processor = office.pid("tinyclaw-processor");
    let bot = parent(processor).expect("a bot");
    let warden = parent(bot).expect("a warden");
    for pid in [processor, office.pid("tinyclaw-telegram"), bot, warden] {
        let acts = [
            format!("cat /proc/{pid}/environ"),
            format!("ls /proc/{pid}/fd/"),
            format!("ls /proc/{pid}/cwd/"),
            format!("head -c 0 /proc/{pid}/mem"),
            format!("kill -CONT {pid}"),
            seize(&pid.to_string()),
        ];
        for act in acts {
            office.run("7", &act).is_refused();
            assert!(does_by_root(&act), "{act}");
        }
    }
}

/// It lies in the desk's own folder, which that opened to everybody.
#[test]
fn a_socket_with_a_path_of_another_desk_is_not_connected_to() {
    let case = "a_socket_with_a_path_of_another_desk_is_not_connected_to";
    if !has_perl(case) {
        return;
    }
    let socket = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) or die;";
    let listen = format!(
        "chmod 711 . ..; {socket} bind(S, pack_sockaddr_un(\"s\")) or die \"$!\\n\"; listen(S, 9) or die; \
         open(R, \">\", \"listens\"); sleep 600' > /dev/null 2>&1 &\nwhile ! [ -e listens ]; do sleep 0.01; done"
    );
    let connect = format!(
        "cd \"$O\" || exit; {socket} connect(S, pack_sockaddr_un(\"s\")) or die \"$!\\n\"'"
    );
    attack_after(case, USERS_ALONE, USERS_ALONE, &listen, &connect);
}

/// The state is its group's, for the dashboard.
#[test]
fn no_process_of_a_desk_is_in_the_group_of_the_state() {
    let case = "no_process_of_a_desk_is_in_the_group_of_the_state";
    let Some(office) = UsersOffice::open_with(case, USERS_ALONE) else { return };
    let state = fs::metadata(office.path("state")).expect("state");
    assert_eq!((state.gid(), state.mode() & 0o7777), (OFFICE, 0o2770));
    for thread in ["7", "8"] {
        office.run(thread, "id -G").is_done();
        let user = office.desk(thread).user();
        let all = pids_of(user);
        // Claude, its leash, its hold and its hub.
        assert!(all.len() >= 3, "{all:?}");
        for pid in all {
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            let field = |name: &str| {
                let line = status.lines().find_map(|it| it.strip_prefix(name));
                line.unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(field("Gid:"), vec![user.to_string(); 4], "{status}");
            assert_eq!(field("Groups:"), [""; 0], "{status}");
        }
    }
    let reads = format!("ls '{0}'; cat '{0}/threads.json'", office.path("state").display());
    office.run("7", &reads).is_refused();
    // It is no typing error: who is in the group may.
    let by_group = Command::new("sh").args(["-c", &reads]).uid(20_000).gid(OFFICE).status();
    assert!(by_group.expect("sh").success());
}

/// Whatever the office has the desk's hub read: transcripts, what its runs leave, what a heartbeat is about, what git knows.
#[test]
fn what_a_desk_puts_in_place_of_files_that_the_office_reads_keeps_nobody_waiting() {
    let case = "what_a_desk_puts_in_place_of_files_that_the_office_reads_keeps_nobody_waiting";
    let Some(mut office) = UsersOffice::open_with(case, USERS_ALONE) else { return };
    office.run("8", "echo mine > note").is_done();
    let other = office.folder("8").join("work/note").display().to_string();
    let files = [
        "\"$HOME\"/.claude/projects/*/*.jsonl HEARTBEAT.md CLAUDE.md .git",
        "\"$HOME\"/../run/runs/*/* \"$HOME\"/../run/locks/*",
    ];
    let puts = ["mkfifo", "ln -s \"$O\"", "truncate -s 1T"];
    let all = puts.iter().flat_map(|put| files.map(|them| (put, them)));
    let mut numbers = Vec::new();
    for (number, (put, them)) in (21..).zip(all) {
        let number = number.to_string();
        // It dies, so that the office looks what became of the turn.
        let script = format!(
            "O='{other}'\nfor it in {them}; do rm -rf \"$it\" && {put} \"$it\"; done\n\
             echo x > ../spoiled; kill -9 $CLAUDE_PID"
        );
        let order = hostile::order(&[Act::Run(script)]);
        let sent = office.tinyclaw(&["send", "--thread", &number, "--", &order]);
        assert!(sent.status.success(), "{sent:?}");
        numbers.push(number);
    }
    let has_done_it =
        |it: &String| office.find_folder(it).is_some_and(|it| it.join("spoiled").exists());
    until("all did it", || numbers.iter().all(has_done_it).then_some(()));
    assert_eq!(office.run("8", "cat note").out, "mine");
    // With the next office, too, which asks those desks what became of their turns.
    office.stop();
    office.start(USERS_ALONE);
    assert_eq!(office.run("8", "cat note").out, "mine");
}

/// Each starts itself anew, in a session of its own, and leaves: no list of them is ever whole.
#[test]
fn processes_of_a_desk_that_fork_without_end_are_gone_with_its_office() {
    let case = "processes_of_a_desk_that_fork_without_end_are_gone_with_its_office";
    let Some(mut office) = UsersOffice::open(case) else { return };
    let fork = "#!/bin/sh\nif [ \"$1\" = one ]; then setsid \"$0\" one & exit; fi\n\
        n=0; while [ $n -lt 60 ]; do n=$((n+1)); setsid \"$0\" one & done\n";
    let forker = format!("cat > forker <<'END'\n{fork}END\nchmod 755 forker && ./forker");
    office.run("7", &forker).is_done();
    let user = office.desk("7").user();
    until("they fork", || (pids_of(user).len() > 10).then_some(()));
    assert_eq!(office.run("8", "echo fine").out, "fine");
    office.stop();
    assert_eq!(pids_of(user), [] as [u32; 0]);
}

/// Once a session of an environment is forgotten, its user is nobody's: no later desk owns what it left elsewhere.
#[test]
fn a_forgotten_session_takes_all_that_its_desk_has_along_but_for_what_its_caller_may_want() {
    let case =
        "a_forgotten_session_takes_all_that_its_desk_has_along_but_for_what_its_caller_may_want";
    let office = UsersOffice::open_prepared(case, |office| {
        // Each session works in a folder of its own.
        let envs = json!({ "open": { "isolation": "none" } });
        fs::write(office.path("state/envs.json"), envs.to_string()).expect("envs");
    });
    let Some(office) = office else { return };
    let [bare, full, next] =
        ["0nps", "0npt", "0npv"].map(|it| format!("api.open.01kc8m4q2v7x3z9d5f1h6j{it}"));
    let leaves = "echo kept > ~/kept; mkdir -m 0 ~/shut; sleep 600 > /dev/null 2>&1 &";
    office.run(&bare, leaves).is_done();
    office.run(&full, &format!("echo result > result; {leaves}")).is_done();
    let (desk, folder) = (office.desk(&bare), office.folder(&bare));
    let (kept, kept_folder) = (office.desk(&full), office.folder(&full));
    for thread in [&bare, &full] {
        let mut order = Message::new(
            format!("api-{}", &thread[thread.len() - 4..]).parse().expect("a key"),
            Channel::Api,
            thread.parse().expect("a thread"),
            "",
            0,
        );
        order.command = Some(Order::Forget {});
        office.put_into_the_queue(&order);
    }
    until("both are forgotten", || {
        let all = fs::read_to_string(office.path("state/threads.json")).ok()?;
        (!all.contains(&bare) && !all.contains(&full)).then_some(())
    });
    // Ended, emptied, and made anew, so that its number is given to nobody.
    until("its desk is empty", || {
        let is_empty = fs::read_dir(&folder).ok()?.next().is_none();
        (is_empty && pids_of(desk.user()).is_empty()).then_some(())
    });
    // What its agent made there is its caller's, and stays as it was.
    let result = fs::read_to_string(kept_folder.join("work/result"));
    assert_eq!(result.expect("a result"), "result\n");
    assert_eq!(fs::read_to_string(kept_folder.join("home/kept")).expect("a file"), "kept\n");
    let ran = office.run(&next, "id -u; ls -A ~ | grep -c kept");
    let later = office.desk(&next);
    assert!(later != desk && later != kept, "{later}");
    assert_eq!(ran.out, format!("{}\n0", later.user()));
    assert_eq!(fs::read_dir(&folder).expect("folder").count(), 0, "nobody comes back");
}

/// Without Landlock a desk can speak in its own hold's place. What it said was taken for this machine's word, where all desks
/// are, and everybody waited for a person.
#[test]
fn a_desk_that_speaks_in_its_holds_place_keeps_no_other_desk_waiting() {
    let case = "a_desk_that_speaks_in_its_holds_place_keeps_no_other_desk_waiting";
    if !has_perl(case) {
        return;
    }
    let Some(office) = UsersOffice::open_with(case, USERS_ALONE) else { return };
    office.run("8", "echo mine > note").is_done();
    let script = r#"cd "$HOME/../run/runs" && cd * && rm s || exit
perl -MSocket -e '
socket(S, AF_UNIX, SOCK_STREAM, 0) or die; bind(S, pack_sockaddr_un("s")) or die; listen(S, 9) or die;
open(R, ">", "listens");
while (accept(C, S)) {
  syswrite C, "{\"op\":\"out\",\"run\":\"$ARGV[0]\",\"at\":999999999,\"bytes\":1}\nx";
  1 while sysread C, $_, 65536;
}' "$(basename "$PWD")" > /dev/null 2>&1 &
while ! [ -e listens ]; do sleep 0.01; done
for it in /proc/[0-9]*; do
  if tr '\0' ' ' < $it/cmdline | grep -q '[l]eash hub'; then kill -9 "${it#/proc/}"; fi
done 2> /dev/null
sleep 600"#;
    let sent = office.tinyclaw(&[
        "send",
        "--thread",
        "7",
        "--",
        &hostile::order(&[Act::Run(script.to_owned())]),
    ]);
    assert!(sent.status.success(), "{sent:?}");
    until("nobody listens to it", || {
        let said = office.said();
        let is_waiting = said.contains(" is held: ") || said.contains(" waits: ");
        (said.contains("is not heard any more") && is_waiting).then_some(())
    });
    assert_eq!(office.run("8", "cat note").out, "mine");
}
