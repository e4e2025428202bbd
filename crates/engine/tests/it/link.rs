//! What a hub and its holds promise to an office that comes and goes.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use tinyclaw_domain::ThreadId;
use tinyclaw_domain::frame::{
    BODY_BYTES_MAX, Call, Decoder, Refusal, RunExit, RunId, RunLine, RunOrder, RunToken, StartRun,
    Told, encode,
};
use tinyclaw_testkit::state::Place;

use crate::desk::{alive, eventually};

/// A Claude that says back what it hears, numbers itself, and ends at the end of its input.
const PARROT: &str = r#"#!/bin/sh
echo "begun" >> started
while read -r line; do
  case "$line" in
    work*) n=0; while [ $n -lt 2000 ]; do n=$((n+1)); echo "$line $n"; done ;;
    orphan) setsid sleep 600 & echo "left" ;;
    complain) echo "complaint" >&2; echo "complained" ;;
    *) echo "heard $line" ;;
  esac
done
echo "bye"
exit 7
"#;

/// A machine with nothing but a state folder, a directory to work in, and the parrot.
struct Machine {
    place: Place,
    parrot: PathBuf,
}

impl Machine {
    fn new() -> Machine {
        Machine::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    fn below(dir: &Path) -> Machine {
        Machine::with(dir, PARROT)
    }

    fn with(dir: &Path, parrot: &str) -> Machine {
        let (place, script) = (Place::below(dir).unwrap(), parrot);
        let parrot = place.path("bin/parrot");
        std::fs::create_dir_all(place.path("bin")).unwrap();
        std::fs::write(&parrot, script).unwrap();
        std::fs::set_permissions(&parrot, std::fs::Permissions::from_mode(0o755)).unwrap();
        Machine { place, parrot }
    }

    /// The process that holds the directory.
    fn hold(&self) -> Option<nix::unistd::Pid> {
        let locks = std::fs::read_dir(self.place.path("state/locks")).ok()?.flatten();
        let lock = locks.map(|it| it.path()).find(|it| it.to_string_lossy().contains("/dir-"))?;
        let note = std::fs::read_to_string(lock).ok()?;
        Some(nix::unistd::Pid::from_raw(note.split(' ').nth(1)?.parse().ok()?))
    }

    fn start(&self) -> StartRun {
        StartRun {
            thread: ThreadId::topic(7),
            dir: self.place.work(),
            args: vec!["-p".to_owned()],
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            writable: Vec::new(),
            readable: vec![self.place.path("bin")],
            git: None,
            take_over: false,
            lease_s: 600,
            end_s: 600,
        }
    }

    fn lock(&self) -> PathBuf {
        self.place.path("state/locks/session-7")
    }

    fn connect(&self, name: &str) -> Office {
        let mut hub = Command::new(env!("CARGO_BIN_EXE_tinyclaw-leash"))
            .args(["hub", "--state"])
            .arg(self.place.state())
            .arg("--program")
            .arg(&self.parrot)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (hub.stdin.take().unwrap(), hub.stdout.take().unwrap());
        let mut office = Office { hub, to, from, decoder: Decoder::default() };
        office
            .hub_hears(&Call::Hello { v: 1, nonce: "n1".to_owned(), office: name.to_owned() }, b"");
        let hello = office.line();
        assert!(hello.starts_with("\x1e{\"tinyclaw\":1,\"nonce\":\"n1\""), "{hello}");
        office
    }
}

/// What a test leaves running would run on for as long as its lease.
impl Drop for Machine {
    fn drop(&mut self) {
        let is_hold = |pid: nix::unistd::Pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline"));
            line.is_ok_and(|it| it == b"/proc/self/exe\0hold\0")
        };
        if let Some(pid) = self.hold().filter(|it| is_hold(*it)) {
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
}

/// The office's end of a connection.
struct Office {
    hub: Child,
    to: ChildStdin,
    from: ChildStdout,
    decoder: Decoder,
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = self.hub.kill();
        let _ = self.hub.wait();
    }
}

impl Office {
    fn hub_hears(&mut self, call: &Call, body: &[u8]) {
        use std::io::Write;
        self.to.write_all(&encode(call, body)).unwrap();
    }

    fn line(&mut self) -> String {
        use std::io::Read;
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte != *b"\n" {
            assert_eq!(self.from.read(&mut byte).unwrap(), 1, "the hub left");
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    /// The next frame; `None` when the hub has left.
    fn next(&mut self) -> Option<(Told, Vec<u8>)> {
        use std::io::Read;
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.frame().unwrap() {
                return Some(frame);
            }
            let read = self.from.read(&mut chunk).unwrap();
            if read == 0 {
                return None;
            }
            self.decoder.push(&chunk[..read]);
        }
    }

    fn begin(&mut self, run: &Run, start: &StartRun) -> Result<(), Refusal> {
        let call = Call::Start { run: run.id.clone(), token: run.token.clone() };
        self.hub_hears(&call, &serde_json::to_vec(start).unwrap());
        match self.next().unwrap().0 {
            Told::Started { run: it } => {
                assert_eq!(it, run.id);
                Ok(())
            }
            Told::Refused { run: it, why } => {
                assert_eq!(it, run.id);
                Err(why)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Attaches where the run's reader is, and says which input is next.
    fn attach(&mut self, run: &Run) -> Result<u64, Refusal> {
        let (id, token, offset) = (run.id.clone(), run.token.clone(), run.got.len() as u64);
        self.hub_hears(&Call::Attach { run: id, token, offset }, b"");
        match self.next().unwrap() {
            (Told::Adopted { seq, .. }, _) => Ok(seq),
            (Told::Refused { why, .. }, _) => Err(why),
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, run: &Run, seq: u64, line: &str) {
        self.hub_hears(&Call::In { run: run.id.clone(), seq }, format!("{line}\n").as_bytes());
    }

    fn order(&mut self, run: &Run, order: RunOrder) {
        self.hub_hears(&Call::Order { run: run.id.clone(), order }, b"");
    }

    /// Reads on until the output holds this text.
    fn until(&mut self, run: &mut Run, text: &str) {
        while !run.text().contains(text) {
            let told = self.next().expect("the hub is there");
            run.take(told);
        }
    }

    /// Reads on until the end.
    fn read_on(&mut self, run: &mut Run) -> RunExit {
        loop {
            let told = self.next().expect("the hub is there");
            if let Some(exit) = run.take(told) {
                return exit;
            }
        }
    }
}

/// A run as the office knows it.
struct Run {
    id: RunId,
    token: RunToken,
    got: Vec<u8>,
    err: Vec<u8>,
}

impl Run {
    fn new() -> Run {
        let hex = || uuid::Uuid::new_v4().simple().to_string();
        let token = format!("{}{}", hex(), hex());
        Run { id: hex().parse().unwrap(), token: token.parse().unwrap(), got: vec![], err: vec![] }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.got).into_owned()
    }

    #[track_caller]
    fn take(&mut self, (told, body): (Told, Vec<u8>)) -> Option<RunExit> {
        match told {
            Told::Out { at, .. } => {
                assert_eq!(at, self.got.len() as u64, "exactly what comes next");
                self.got.extend_from_slice(&body);
            }
            Told::Err { .. } => self.err.extend_from_slice(&body),
            Told::Exit { exit, .. } => {
                assert_eq!(exit.size, self.got.len() as u64, "nothing is missing at the end");
                return Some(exit);
            }
            Told::Ack { .. } | Told::Pong {} => {}
            other => panic!("{other:?}"),
        }
        None
    }
}

fn times_begun(machine: &Machine) -> usize {
    std::fs::read_to_string(machine.place.work().join("started"))
        .unwrap_or_default()
        .lines()
        .count()
}

#[test]
fn a_run_goes_on_when_its_connection_is_cut_and_nothing_is_lost_or_said_twice() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    assert_eq!(office.attach(&run), Ok(0));
    let mut wanted = String::new();
    for round in 0..20_u64 {
        let line = format!("work {round}");
        wanted.extend((1..=2000).map(|it| format!("{line} {it}\n")));
        office.say(&run, round, &line);
        // Cut at some moment: before it was heard, in the middle, at the end.
        let until = [None, Some(format!("{line} 700\n")), Some(format!("{line} 2000\n"))];
        if let Some(text) = &until[round as usize % 3] {
            office.until(&mut run, text);
        }
        drop(office);
        office = machine.connect("ada");
        let next = office.attach(&run).unwrap();
        assert!(next == round || next == round + 1, "round {round}: {next}");
        // What it is not sure of it says again.
        office.say(&run, round, &line);
    }
    office.order(&run, RunOrder::Eof);
    let exit = office.read_on(&mut run);
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    assert!(run.text() == format!("{wanted}bye\n"), "byte for byte");
    assert_eq!(times_begun(&machine), 1);
}

/// Its hold broke off each connection before any output went. Where output was what kept Claude from reading, nobody got on, and
/// the run was given up.
#[test]
fn input_for_which_there_is_no_room_is_heard_once_over_the_next_connection() {
    // Together 72 MiB, of which 64 are taken, and what a pipe holds.
    const PIECES: u64 = 72 * 16;
    const TAKEN: u64 = 64 * 16;
    let piece = |seq: u64| vec![b'a' + u8::try_from(seq % 26).unwrap(); BODY_BYTES_MAX];
    let idle = "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done\nexec cat\n";
    let machine = Machine::with(Path::new(env!("CARGO_TARGET_TMPDIR")), idle);
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    let mut next = office.attach(&run).unwrap();
    let say = |office: &mut Office, seq: u64| {
        office.hub_hears(&Call::In { run: run.id.clone(), seq }, &piece(seq));
    };
    (0..PIECES).for_each(|seq| say(&mut office, seq));
    while next < TAKEN {
        let told = office.next().unwrap().0;
        let Told::Ack { seq, .. } = told else { panic!("{told:?}") };
        next = seq;
    }
    std::fs::write(machine.place.work().join("go"), "").unwrap();
    // What comes until there is room: output. It is asked for no more than is dealt with.
    let why = loop {
        match office.next().unwrap() {
            (Told::Bad { why }, _) => break why,
            told => drop(run.take(told)),
        }
        let (run, at) = (run.id.clone(), run.got.len() as u64);
        office.hub_hears(&Call::Seen { run, at, keep: at }, b"");
    };
    assert_eq!(why, "there is room for the input that was left out");
    assert!(!run.got.is_empty());
    let mut office = machine.connect("ada");
    let next = office.attach(&run).unwrap();
    assert!((TAKEN..PIECES).contains(&next), "{next}");
    for seq in next..PIECES {
        office.hub_hears(&Call::In { run: run.id.clone(), seq }, &piece(seq));
    }
    office.order(&run, RunOrder::Eof);
    while run.got.len() < PIECES as usize * BODY_BYTES_MAX {
        let told = office.next().unwrap();
        run.take(told);
        let (run, at) = (run.id.clone(), run.got.len() as u64);
        office.hub_hears(&Call::Seen { run, at, keep: at }, b"");
    }
    assert_eq!(office.read_on(&mut run).code, Some(0));
    assert!(run.got == (0..PIECES).flat_map(piece).collect::<Vec<u8>>(), "byte for byte");
}

#[test]
fn a_start_whose_answer_was_lost_starts_nothing_twice() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    drop(office);
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    office.say(&run, 0, "hello");
    office.until(&mut run, "heard hello\n");
    assert_eq!(times_begun(&machine), 1);
}

#[test]
fn what_a_run_left_is_told_when_everything_of_it_is_gone() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    office.hub_hears(&Call::Note { run: run.id.clone() }, b"{\"uuid\":\"u1\"}");
    office.say(&run, 0, "complain");
    office.say(&run, 1, "hello");
    office.until(&mut run, "heard hello\n");
    office.order(&run, RunOrder::Eof);
    office.read_on(&mut run);
    drop(office);
    let lock = machine.lock();
    eventually_now("nobody is left", || alive(&lock).is_empty());
    // A second office of the same name knows nothing but the run and its token.
    let mut run = Run { got: vec![], err: vec![], ..run };
    let mut office = machine.connect("ada");
    let (id, token) = (run.id.clone(), run.token.clone());
    office.hub_hears(&Call::Attach { run: id, token, offset: 0 }, b"");
    let (adopted, note) = office.next().unwrap();
    assert!(matches!(adopted, Told::Adopted { .. }), "{adopted:?}");
    assert_eq!(note, b"{\"uuid\":\"u1\"}");
    assert_eq!(office.read_on(&mut run).code, Some(7));
    assert_eq!(run.text(), "complained\nheard hello\nbye\n");
    assert_eq!(run.err, b"complaint\n");
    // It is there until it is forgotten.
    office.hub_hears(&Call::Runs {}, b"");
    let (_, runs) = office.next().unwrap();
    let runs: Vec<RunLine> = serde_json::from_slice(&runs).unwrap();
    assert_eq!(runs, [RunLine { run: run.id.clone(), lives: false }]);
    office.hub_hears(&Call::Forget { run: run.id.clone(), token: run.token.clone() }, b"");
    assert_eq!(office.next().unwrap().0, Told::Forgotten { run: run.id.clone() });
    assert_eq!(office.attach(&run), Err(Refusal::NotYours {}));
}

fn exit_of(machine: &Machine, run: &Run) -> bool {
    machine.place.path(&format!("state/runs/{}/exit", run.id)).is_file()
}

#[test]
fn a_run_whose_hold_was_killed_is_over_and_what_it_wrote_is_there() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    office.say(&run, 0, "orphan");
    office.until(&mut run, "left\n");
    kill(machine.hold().unwrap(), Signal::SIGKILL).unwrap();
    let exit = office.read_on(&mut run);
    assert_eq!((exit.code, exit.signal), (None, None), "nobody knows");
    let lock = machine.lock();
    eventually_now("nobody is left", || alive(&lock).is_empty());
}

/// Its hold closed each connection without a word, and its Claude went on for nobody.
#[test]
fn a_run_whose_output_was_taken_away_says_so_at_once_and_ends() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    office.say(&run, 0, "hello");
    office.until(&mut run, "heard hello\n");
    drop(office);
    std::fs::remove_file(machine.place.path(&format!("state/runs/{}/out.0", run.id))).unwrap();
    let run = Run { got: vec![], ..run };
    let mut office = machine.connect("ada");
    let why = "output from 0 on is not there any more".to_owned();
    assert_eq!(office.attach(&run), Err(Refusal::Step { why }));
    let lock = machine.lock();
    eventually_now("nobody is left", || alive(&lock).is_empty());
}

/// A lock that a hold inherited was held for as long as the run: nobody else got it.
#[test]
fn a_hold_keeps_nothing_open_of_who_started_its_hub() {
    let machine = Machine::new();
    let (kept, theirs) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&theirs, nix::fcntl::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    drop(theirs);
    use std::io::Read;
    let mut kept = kept;
    assert_eq!(kept.read(&mut [0]).unwrap(), 0, "nobody has the other end any more");
}

#[test]
fn who_cannot_show_the_token_is_told_nothing() {
    let machine = Machine::new();
    let run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    let stranger = Run { id: run.id.clone(), ..Run::new() };
    assert_eq!(office.attach(&stranger), Err(Refusal::NotYours {}));
    assert_eq!(office.begin(&stranger, &machine.start()), Err(Refusal::NotYours {}));
    // Nor at the hold's own socket, which Claude's user can open where nothing confines it.
    let socket = machine.place.path(&format!("state/runs/{}/s", run.id));
    let mut hold = std::os::unix::net::UnixStream::connect(socket).unwrap();
    use std::io::{Read, Write};
    let call = Call::Attach { run: run.id.clone(), token: stranger.token.clone(), offset: 0 };
    hold.write_all(&encode(&call, b"")).unwrap();
    let mut said = String::new();
    hold.read_to_string(&mut said).unwrap();
    assert!(said.contains("notYours"), "{said}");
    // And the run is not disturbed.
    assert_eq!(office.attach(&run), Ok(0));
    let kept = std::fs::read(machine.place.path(&format!("state/runs/{}/token", run.id))).unwrap();
    assert_ne!(kept, run.token.as_str().as_bytes(), "no token lies on the disk");
}

#[test]
fn a_directory_has_one_run_the_last_of_its_office_and_never_two_offices() {
    let machine = Machine::new();
    let mut first = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&first, &machine.start()).unwrap();
    office.attach(&first).unwrap();
    office.say(&first, 0, "orphan");
    office.until(&mut first, "left\n");
    let mut bobs = machine.connect("bob");
    let refused = bobs.begin(&Run::new(), &machine.start()).unwrap_err();
    assert!(matches!(refused, Refusal::Busy { ref office, .. } if office == "ada"), "{refused:?}");
    let mut second = Run::new();
    let mut other = machine.connect("ada");
    other.begin(&second, &machine.start()).unwrap();
    let exit = office.read_on(&mut first);
    assert_ne!(exit.code, Some(7), "the first was ended");
    other.attach(&second).unwrap();
    other.say(&second, 0, "hello");
    other.until(&mut second, "heard hello\n");
    let lock = machine.lock();
    eventually_now("only the second is left", || alive(&lock).len() == 2);
}

/// The second took the first for an earlier Claude of its own thread, and ended it without a word.
#[test]
fn threads_of_two_offices_that_have_one_number_do_not_end_each_other() {
    let machine = Machine::new();
    let other_dir = machine.place.path("other");
    std::fs::create_dir(&other_dir).unwrap();
    let (mut adas_run, mut bobs_run) = (Run::new(), Run::new());
    let mut ada = machine.connect("ada");
    ada.begin(&adas_run, &machine.start()).unwrap();
    ada.attach(&adas_run).unwrap();
    let mut bob = machine.connect("bob");
    bob.begin(&bobs_run, &StartRun { dir: other_dir, ..machine.start() }).unwrap();
    bob.attach(&bobs_run).unwrap();
    bob.say(&bobs_run, 0, "good evening");
    bob.until(&mut bobs_run, "heard good evening\n");
    ada.say(&adas_run, 0, "good morning");
    ada.until(&mut adas_run, "heard good morning\n");
    for (office, run) in [(&mut ada, &mut adas_run), (&mut bob, &mut bobs_run)] {
        office.order(run, RunOrder::End);
        office.read_on(run);
    }
    assert_eq!(alive(&machine.lock()), [] as [u32; 0]);
}

/// A person of that office said so.
#[test]
fn another_offices_run_is_ended_where_its_directory_is_taken_over() {
    let machine = Machine::new();
    let mut first = Run::new();
    let mut adas = machine.connect("ada");
    adas.begin(&first, &machine.start()).unwrap();
    adas.attach(&first).unwrap();
    adas.say(&first, 0, "orphan");
    adas.until(&mut first, "left\n");
    let mut bobs = machine.connect("bob");
    let refused = bobs.begin(&Run::new(), &machine.start()).unwrap_err();
    let Refusal::Busy { held_s, .. } = refused else { panic!("{refused:?}") };
    assert!(held_s.is_some_and(|it| it < 600), "{held_s:?}");
    let mut second = Run::new();
    bobs.begin(&second, &StartRun { take_over: true, ..machine.start() }).unwrap();
    let exit = adas.read_on(&mut first);
    assert_ne!(exit.code, Some(7), "the first was ended");
    bobs.attach(&second).unwrap();
    bobs.say(&second, 0, "hello");
    bobs.until(&mut second, "heard hello\n");
    let lock = machine.lock();
    eventually_now("only the second is left", || alive(&lock).len() == 2);
}

#[test]
fn the_last_connection_is_the_one_that_is_heard() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut old = machine.connect("ada");
    old.begin(&run, &machine.start()).unwrap();
    old.attach(&run).unwrap();
    let mut new = machine.connect("ada");
    assert_eq!(new.attach(&run), Ok(0));
    // A zombie of an office that believes it is still connected.
    old.say(&run, 0, "from the past");
    new.say(&run, 0, "from today");
    new.until(&mut run, "heard from today\n");
    assert!(!run.text().contains("past"), "{}", run.text());
    let (told, _) = old.next().unwrap();
    assert!(matches!(told, Told::Refused { why: Refusal::Superseded {}, .. }), "{told:?}");
    new.say(&run, 1, "and still here");
    new.until(&mut run, "heard and still here\n");
}

#[test]
fn the_end_leaves_nobody() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    office.say(&run, 0, "orphan");
    office.until(&mut run, "left\n");
    office.order(&run, RunOrder::End);
    office.read_on(&mut run);
    assert_eq!(alive(&machine.lock()), [] as [u32; 0]);
}

/// A hold whose folder was removed tried for ever to write into it, and nothing but SIGKILL ended it.
#[test]
fn a_run_whose_folder_is_removed_ends() {
    let machine = Machine::new();
    let run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    let (hold, lock) = (machine.hold().unwrap(), machine.lock());
    std::fs::remove_dir_all(machine.place.path("state/runs")).unwrap();
    office.say(&run, 0, "orphan");
    let is_gone = || !Path::new(&format!("/proc/{hold}")).exists();
    eventually_now("it ended", || is_gone() && alive(&lock).is_empty());
}

#[test]
fn what_nobody_fetches_ends_by_itself() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &StartRun { lease_s: 1, ..machine.start() }).unwrap();
    office.attach(&run).unwrap();
    office.say(&run, 0, "hello");
    office.until(&mut run, "heard hello\n");
    drop(office);
    eventually_now("its stdin was closed", || exit_of(&machine, &run));
    let mut office = machine.connect("ada");
    office.attach(&run).unwrap();
    assert_eq!(office.read_on(&mut run).code, Some(7));
    assert_eq!(run.text(), "heard hello\nbye\n");
}

#[test]
fn a_run_that_does_not_end_by_itself_is_ended_when_nobody_comes() {
    let machine = Machine::new();
    std::fs::write(&machine.parrot, "#!/bin/sh\nexec sleep 600\n").unwrap();
    let run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &StartRun { lease_s: 1, end_s: 1, ..machine.start() }).unwrap();
    drop(office);
    let lock = machine.lock();
    eventually_now("everything was ended", || exit_of(&machine, &run) && alive(&lock).is_empty());
}

#[test]
fn what_may_not_be_started_is_refused_by_name() {
    let machine = Machine::new();
    let mut office = machine.connect("ada");
    let bad =
        StartRun { args: vec!["--dangerously-skip-permissions".to_owned()], ..machine.start() };
    let flag = "--dangerously-skip-permissions".to_owned();
    assert_eq!(office.begin(&Run::new(), &bad), Err(Refusal::Arguments { flag }));
    let path = machine.place.path("nowhere");
    let bad = StartRun { dir: path.clone(), ..machine.start() };
    assert_eq!(office.begin(&Run::new(), &bad), Err(Refusal::NoDir { path }));
    let bad = StartRun { dir: machine.place.state(), ..machine.start() };
    let refused = office.begin(&Run::new(), &bad).unwrap_err();
    assert!(matches!(refused, Refusal::NotGiven { .. }), "{refused:?}");
    std::os::unix::fs::symlink(machine.place.work(), machine.place.path("link")).unwrap();
    let bad = StartRun { dir: machine.place.path("link"), ..machine.start() };
    let refused = office.begin(&Run::new(), &bad).unwrap_err();
    assert!(matches!(refused, Refusal::NotGiven { .. }), "{refused:?}");
    let left = std::fs::read_dir(machine.place.path("state/runs")).unwrap().count();
    assert_eq!(left, 0, "what was refused leaves nothing");
}

#[test]
fn nonsense_ends_the_connection_and_not_the_run() {
    let machine = Machine::new();
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    use std::io::Write;
    office.to.write_all(b"{\"op\":\"format\",\"disk\":\"all\"}\n").unwrap();
    let (told, _) = office.next().unwrap();
    assert!(matches!(told, Told::Bad { .. }), "{told:?}");
    assert!(office.next().is_none(), "the hub left");
    let mut office = machine.connect("ada");
    office.attach(&run).unwrap();
    // A number that leaves one out: something was lost on the way, and nobody guesses what.
    office.say(&run, 3, "hello");
    let (told, _) = office.next().unwrap();
    assert!(matches!(told, Told::Bad { .. }), "{told:?}");
    let mut office = machine.connect("ada");
    assert_eq!(office.attach(&run), Ok(0));
    office.say(&run, 0, "hello");
    office.until(&mut run, "heard hello\n");
}

#[track_caller]
fn eventually_now(what: &str, is_true: impl Fn() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(eventually(what, is_true));
}

#[test]
fn a_socket_with_a_long_path_is_no_hindrance() {
    let deep = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a-rather-deep-folder/".repeat(6));
    std::fs::create_dir_all(&deep).unwrap();
    let machine = Machine::below(&deep);
    let mut run = Run::new();
    let mut office = machine.connect("ada");
    office.begin(&run, &machine.start()).unwrap();
    office.attach(&run).unwrap();
    office.say(&run, 0, "hello");
    office.until(&mut run, "heard hello\n");
}
