//! Conversations: through a pipe, as a script has them, and in a terminal, as a person does.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::{Office, Said};

#[test]
fn lines_of_a_pipe_are_answered_in_order_and_then_it_ends() {
    let office = Office::open();
    let lines = "[demo: say one]\n\n/model opus\n[demo: say two]\n/nope\n[demo: say three]";
    let out = office.run_with(&["chat"], lines).ok();
    let said: Vec<&str> = out.lines().collect();
    assert_eq!(
        said,
        [
            "one",
            "This thread uses opus from now on. /model auto lets the router choose again.",
            "two",
            "There is no /nope. /help lists what can be said here.",
            "three"
        ]
    );
    let all = office.run(&["threads", "--json"]).json();
    assert_eq!((&all[0]["threadId"], &all[0]["pin"]), (&"cli".into(), &"opus".into()));
}

#[test]
fn threads_are_made_and_entered_by_id_or_name() {
    let office = Office::open();
    let lines = "/new My Site\n[demo: say here]\n/thread 7\nhello\n/thread my site\n/status\n/thread nobody\n/cost\n/threads\n";
    let out = office.run_with(&["chat"], lines).ok();
    assert!(out.contains("Ready in `"), "{out}");
    assert!(out.contains("**My Site** (thread cli-my-site)"), "{out}");
    assert!(out.contains("there is no thread \"nobody\""), "{out}");
    assert!(out.contains("today: $"), "{out}");
    let all = office.run(&["threads", "--json"]).json();
    let ids: Vec<String> =
        all.as_array().expect("threads").iter().map(|it| it["threadId"].to_string()).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
}

#[test]
fn a_permission_question_is_answered_by_a_line() {
    let office = Office::open();
    let out = office.run_with(&["chat"], "[demo: ask]\na\n").ok();
    let asks = "asks: May I run this?\n    rm -r build\n    ▸ description: Remove the build folder\nAlways here: the command rm -r build, until this session ends.\n";
    assert!(out.contains(asks), "{out}");
    assert!(!out.contains("denied"), "{out}");
    let out = office.run_with(&["chat"], "[demo: ask]\n").ok();
    assert!(out.contains("Nobody is left to answer: denied."), "{out}");
}

#[test]
fn a_question_is_answered_by_numbers_or_in_other_words() {
    let office = Office::open();
    let asks = "[demo: choose Which? | Red: warm | Green; many Which more? | Apple | Pear]";
    let out = office.run_with(&["chat"], &format!("{asks}\n2\n1, 2\n")).ok();
    assert!(
        out.contains(
            "asks: Claude asks you something\n    Which?\n    1. Red: warm\n    2. Green\n    \n    \
             Which more? (more than one can be chosen)\n    1. Apple\n    2. Pear\n\
             Which? Answer with a number, or in other words.\n"
        ),
        "{out}"
    );
    assert!(out.contains("You chose: Which? Green. Which more? Apple, Pear."), "{out}");
    let out = office.run_with(&["chat"], "[demo: choose Which? | Red | Green]\n3 or 4\n").ok();
    assert!(out.contains("You chose: Which? 3 or 4."), "{out}");
    let out = office.run_with(&["chat"], "[demo: choose Which? | Red | Green]\n").ok();
    assert!(out.contains("Nobody is left to answer: denied."), "{out}");
    assert!(out.contains("Not answered: Which?"), "{out}");
}

#[test]
fn a_plan_is_changed_by_a_line_and_gone_on_with_by_a_letter() {
    let office = Office::open();
    let plans =
        "/mode plan\n[demo: plan # One] [demo: plan # Two]\nanother one, please\na\n/status\n";
    let out = office.run_with(&["chat"], plans).ok();
    let asks = "asks: May I go on with this plan?\n    # One\n[a] Go   [A] Go, accept edits   or write what shall be different\n";
    assert!(out.contains(asks), "{out}");
    assert!(out.contains("They say: another one, please"), "{out}");
    assert!(out.contains("You said go: I work in the mode default now."), "{out}");
    assert!(out.contains("- Claude asks\n"), "{out}");
}

#[test]
fn a_setting_without_a_word_says_what_is_set_as_in_telegram() {
    let office = Office::open();
    let out =
        office.run_with(&["chat"], "/mode\nhello\n/mode plan\n/mode\n/trust\n/effort\n/model\n");
    let out = out.ok();
    assert!(
        out.starts_with("Usage: /mode plan|ask|edits|bypass\n"),
        "a thread of nobody's yet: {out}"
    );
    assert!(out.contains("- `plan` (now): Claude looks around"), "{out}");
    assert!(out.contains("Nothing was said here: `text` counts,"), "{out}");
    assert!(out.contains("How hard Claude thinks here depends on the message.\n"), "{out}");
    assert!(out.contains("The router chooses the model for each message here.\n"), "{out}");
}

#[test]
fn what_a_background_task_came_to_is_told() {
    let office = Office::open();
    let mut child = office.command(&["chat"]).stdin(Stdio::piped()).spawn().expect("tinyclaw runs");
    let mut stdin = child.stdin.take().expect("stdin");
    writeln!(stdin, "[demo: background 1s The build is green.]").expect("write");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut said = lines.by_ref().map_while(Result::ok);
    assert!(said.any(|it| it == "*`wait for the build` has ended:*"));
    assert!(said.any(|it| it == "The build is green."));
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(lines.map_while(Result::ok).count(), 0, "it is told once");
}

#[test]
fn a_stop_in_the_pipe_does_not_wait_for_the_answer() {
    let office = Office::open();
    let mut child = office.command(&["chat"]).stdin(Stdio::piped()).spawn().expect("tinyclaw runs");
    let mut stdin = child.stdin.take().expect("stdin");
    writeln!(stdin, "[demo: hang]").expect("write");
    office.wait_for("the turn", || {
        let all = office.run(&["queue", "ls", "processing", "--json"]).json();
        all[0]["key"].as_str().map(str::to_owned)
    });
    writeln!(stdin, "/stop").expect("write");
    drop(stdin);
    let out = Said::of(child.wait_with_output().expect("it ends")).ok();
    assert!(out.contains("Stopped"), "{out}");
}

#[test]
fn files_go_both_ways() {
    let office = Office::open();
    fs::create_dir(office.place.path("work/cli")).expect("folder");
    fs::write(office.place.path("work/cli/report.md"), "# Report").expect("file");
    fs::write(office.place.path("home/note.txt"), "a note").expect("file");
    let lines = "/file note.txt read it\n[demo: call send_file {\"path\":\"report.md\"}]\n/file nowhere.txt\n";
    let out = office.run_with(&["chat"], lines).ok();
    assert!(out.contains("file: ") && out.contains("report.md"), "{out}");
    assert!(out.contains("cannot read nowhere.txt"), "{out}");
    let kept = office.place.files();
    assert!(kept.iter().any(|it| it.starts_with("files/cli/cli-") && it.ends_with("note.txt")));
}

/// A person at a terminal of 60 columns.
pub(crate) struct Person {
    pub(crate) child: Child,
    keys: File,
    // Held, so that the terminal outlives whoever sits at it.
    pub(crate) terminal: OwnedFd,
    seen: Arc<Mutex<String>>,
    /// What was ever on the screen.
    pub(crate) all: Arc<Mutex<String>>,
}

impl Person {
    pub(crate) fn sits_down(office: &Office, arguments: &[&str]) -> Person {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let terminal =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, rustix::fs::Mode::empty())
                .expect("its other side");
        let size = Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("its size");
        let side = || Stdio::from(terminal.try_clone().expect("a descriptor"));
        let plain = office.command(arguments);
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .envs(&office.env)
            .env("TERM", "xterm")
            .current_dir(office.place.home())
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("setsid of util-linux");
        let mut screen = File::from(master.try_clone().expect("a descriptor"));
        let seen = Arc::new(Mutex::new(String::new()));
        let all = Arc::new(Mutex::new(String::new()));
        let kept = [seen.clone(), all.clone()];
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                for it in &kept {
                    it.lock().expect("seen").push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
            }
        });
        Person { child, keys: File::from(master), terminal, seen, all }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("keys");
    }

    /// Waits until this is seen, and forgets everything up to it.
    #[track_caller]
    pub(crate) fn sees(&self, office: &Office, what: &str) {
        let found = std::panic::AssertUnwindSafe(|| {
            office.wait_for(what, || {
                let mut seen = self.seen.lock().expect("seen");
                let at = seen.find(what)?;
                seen.drain(..at + what.len());
                Some(())
            });
        });
        if std::panic::catch_unwind(found).is_err() {
            panic!("{what:?} is not seen, but: {:?}", self.seen.lock());
        }
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn at_a_terminal_words_stream_and_ctrl_c_stops_once_and_leaves_twice() {
    let office = Office::open();
    let before = Person::sits_down(&office, &["help"]);
    let modes = tcgetattr(&before.terminal).expect("modes").local_modes;
    drop(before);
    let mut ada = Person::sits_down(&office, &["chat"]);
    ada.sees(&office, "cli › ");
    ada.types("[demo: slow 60s] tell me everything\r");
    ada.sees(&office, "working");
    ada.types("\u{3}");
    ada.sees(&office, "Ctrl-C again leaves");
    ada.sees(&office, "Stopped after");
    ada.types("[demo: ask]\r");
    ada.sees(&office, "[d] Deny");
    ada.types("d");
    ada.sees(&office, "Denied.");
    ada.sees(&office, "haiku · ");
    // A question that was left behind is there again for whoever comes back.
    ada.types("[demo: ask]\r");
    ada.sees(&office, "[d] Deny");
    ada.types("/thread 9\r");
    ada.sees(&office, "This thread is new");
    ada.types("/thread cli\r");
    ada.sees(&office, "[d] Deny");
    ada.types("d");
    ada.sees(&office, "Denied.");
    ada.sees(&office, "haiku · ");
    ada.types("h\u{e9}llo\u{3}\u{3}");
    let status = ada.child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    let after = tcgetattr(&ada.terminal).expect("modes").local_modes;
    assert!(after.contains(LocalModes::ICANON | LocalModes::ECHO), "the terminal is as it was");
    assert_eq!(after, modes);
}
