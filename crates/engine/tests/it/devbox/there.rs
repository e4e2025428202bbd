//! What a machine can have that keeps Claude from working there, and what is brought to it and taken from it.

use std::path::{Path, PathBuf};

use tinyclaw_devbox::Kind;
use tinyclaw_domain::PermissionAnswer;
use tinyclaw_engine::{Launcher as _, TurnEvent, TurnFailure, TurnOutcome};

use super::*;

/// A file system in memory, gone when dropped. `None`: only root can have one.
struct Memory(PathBuf);

impl Memory {
    fn mount(at: &Path, options: &str) -> Option<Memory> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output();
        let is_mounted = mounted.is_ok_and(|it| it.status.success());
        if !is_mounted {
            eprintln!("skipped {}: no file system can be mounted here", name_of_test());
        }
        is_mounted.then(|| Memory(at.to_owned()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn name_of_test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

fn git(dir: &Path, args: &[&str]) -> String {
    let done = std::process::Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_machine_without_claude_is_told_apart_from_one_that_is_out_of_reach() {
    let Some((desk, _devbox)) = with_devbox("a_machine_without_claude") else { return };
    let home = &desk.config.claude_home;
    std::fs::remove_file(home.join(".local/bin/claude")).unwrap();
    std::fs::write(home.join(".profile"), "PATH=/nowhere\n").unwrap();
    let end = desk.say("hello").await;
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::NotStarted { .. })), "{end:?}");
}

#[tokio::test]
async fn a_profile_that_talks_and_dawdles_holds_up_nothing_for_long() {
    let Some((desk, _devbox)) = with_devbox("a_profile_that_talks_and_dawdles") else { return };
    let home = &desk.config.claude_home;
    let mut profile = std::fs::read_to_string(home.join(".profile")).unwrap();
    profile.push_str("echo Welcome; printf 'x\\036y\\n'; sleep 600 &\n");
    std::fs::write(home.join(".profile"), profile).unwrap();
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

#[tokio::test]
async fn how_a_machine_is_is_asked_in_one_question() {
    let Some((desk, devbox)) = with_devbox("how_a_machine_is_is_asked_in_one_question") else {
        return;
    };
    let home = &desk.config.claude_home;
    std::fs::create_dir(desk.spec.cwd.join(".git")).unwrap();
    std::fs::write(desk.spec.cwd.join(".git/HEAD"), "ref: refs/heads/mai\x1bn\n").unwrap();
    let health = launcher(&desk, &devbox).health(&name(), &desk.spec.cwd).await.unwrap();
    assert_eq!(health.claude.as_deref(), Some(home.join(".local/bin/claude").as_path()));
    assert!(health.has_dir && health.version.is_some() && health.clock_ms > 0, "{health:?}");
    assert_eq!(health.branch.as_deref(), Some("main"), "what is told is fit to be shown");
    let gone = launcher(&desk, &devbox).health(&name(), Path::new("/nowhere")).await.unwrap();
    assert!(!gone.has_dir && gone.branch.is_none());
}

/// Whoever has the key runs Claude in one directory there, and nothing else.
#[tokio::test]
async fn a_pinned_devbox_works_in_its_directory_alone_and_gets_no_helper() {
    let forced = |desk: &Desk| {
        let (leash, dir) = (desk.config.leash.display(), desk.spec.cwd.display());
        format!("ForceCommand {leash} hub --pinned --dir {dir} --mode ask")
    };
    let Some((mut desk, devbox)) = with_devbox_by("a_pinned_devbox_works", forced) else { return };
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    assert!(helpers(&desk).is_empty(), "{:?}", helpers(&desk));
    let there = launcher(&desk, &devbox);
    let refused = there.health(&name(), Path::new("/")).await.unwrap_err();
    assert!(format!("{refused:?}").contains("pinned to another directory"), "{refused:?}");
    assert!(there.clean(&name()).await.is_err(), "it was put there by hand");
    desk.spec.cwd = desk.path("other");
    std::fs::create_dir_all(&desk.spec.cwd).unwrap();
    let end = desk.say("hello").await;
    assert!(format!("{end:?}").contains("pinned to another directory"), "{end:?}");
    desk.engine.close().await;
}

#[tokio::test]
async fn a_home_without_room_or_from_which_nothing_runs_is_named() {
    let Some((desk, devbox)) = with_devbox("a_home_without_room") else { return };
    for (options, says) in [("size=600k", "its disk is full"), ("noexec", "(noexec)")] {
        let share = desk.config.claude_home.join(".local/share");
        let Some(_mounted) = Memory::mount(&share, options) else { return };
        let end = desk.say("hello").await;
        assert!(out_of_reach(&end.outcome).contains(says), "{end:?}");
        assert_eq!(devbox.kind(), Some(Kind::NoHelper));
    }
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.close().await;
}

#[tokio::test]
async fn a_machine_of_another_kind_gets_nothing() {
    let other = |desk: &Desk| {
        let bin = desk.path("other-bin");
        std::fs::create_dir_all(&bin).unwrap();
        let uname = bin.join("uname");
        std::fs::write(&uname, "#!/bin/sh\necho Linux riscv64\n").unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&uname, std::fs::Permissions::from_mode(0o755)).unwrap();
        let home = desk.config.claude_home.display();
        format!("SetEnv HOME={home} PATH={}:/usr/bin:/bin", bin.display())
    };
    let Some((desk, devbox)) = with_devbox_by("a_machine_of_another_kind", other) else { return };
    let end = desk.say("hello").await;
    let says = format!("the helper runs on {} and not on Linux riscv64", std::env::consts::ARCH);
    assert!(out_of_reach(&end.outcome).contains(&says), "{end:?}");
    assert_eq!(devbox.kind(), Some(Kind::NoHelper));
    assert!(helpers(&desk).is_empty());
}

#[tokio::test]
async fn a_shell_that_talks_without_end_is_not_listened_to_for_ever() {
    let noise = |desk: &Desk| {
        let banner = desk.path("banner");
        std::fs::write(&banner, "Visit https://login.example.org/a/1b2c\u{202e} to go on\n")
            .unwrap();
        format!(
            "Banner {}\nForceCommand head -c 300000 /dev/zero | tr '\\000' x; sleep 600",
            banner.display()
        )
    };
    let Some((desk, _devbox)) = with_devbox_by("a_shell_that_talks_without_end", noise) else {
        return;
    };
    let end = desk.say("hello").await;
    let why = out_of_reach(&end.outcome);
    assert!(why.contains("wants a person: Visit https://login.example.org/a/1b2c"), "{why}");
    assert!(why.len() < 300 && !why.contains('\u{202e}'), "{why}");
}

/// As one that was put there by hand does after updates of the office.
#[tokio::test]
async fn a_pinned_helper_that_speaks_another_version_is_left_to_a_person() {
    let old = |desk: &Desk| {
        let hub = desk.path("old-hub");
        let script = r#"printf '\036here\n'
read -r wish; read -r hello
nonce=$(printf %s "$hello" | sed 's/.*"nonce":"\([0-9a-z]*\)".*/\1/')
printf '\036{"tinyclaw":0,"nonce":"%s"}\n' "$nonce"
exec cat
"#;
        std::fs::write(&hub, script).unwrap();
        format!("ForceCommand sh {}", hub.display())
    };
    let Some((desk, _devbox)) = with_devbox_by("a_pinned_helper_that_speaks", old) else { return };
    let end = desk.say("hello").await;
    let TurnOutcome::Failed(TurnFailure::OutOfReach(why)) = &end.outcome else { panic!("{end:?}") };
    assert!(why.is_held && why.why.contains("speaks version 0 and this office 1"), "{why:?}");
}

#[tokio::test]
async fn a_directory_that_is_gone_is_its_threads_trouble_alone() {
    let Some((desk, devbox)) = with_devbox("a_directory_that_is_gone") else { return };
    std::fs::remove_dir_all(&desk.spec.cwd).unwrap();
    let end = desk.say("hello").await;
    assert!(matches!(end.outcome, TurnOutcome::Failed(TurnFailure::NoDesk { .. })), "{end:?}");
    assert!(devbox.last().unwrap().is_ok(), "the machine answers");
}

/// Claude waits while what it writes cannot be kept.
#[tokio::test]
async fn a_turn_waits_for_room_on_the_disk_there_and_goes_on() {
    let Some((desk, _devbox)) = with_devbox("a_turn_waits_for_room") else { return };
    let state = state(&desk.config);
    let Some(_mounted) = Memory::mount(&state, "size=48m") else { return };
    let mut turn = desk.ask("[demo: ask] [demo: long 300000]");
    let asking = |it| match it {
        TurnEvent::Asking { ask } => Some(ask.request_id),
        _ => None,
    };
    let id = until(&mut turn, asking).await;
    // The run has begun, and then there is no room.
    let filler = state.join("filler");
    let _ = std::fs::write(&filler, vec![0; 64 * 1024 * 1024]);
    assert_eq!(nix::sys::statvfs::statvfs(&state).unwrap().blocks_available(), 0);
    let claude = claude_of(&desk);
    let (written, kept) = (written_by(claude), spooled(&state));
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    // What goes into the last block that was begun is kept, and what comes after that waits in pipes.
    let block = 4096;
    eventually("Claude has written what nobody can keep", || {
        written_by(claude) > written + 8 * block
    })
    .await;
    assert!(spooled(&state) <= kept + block, "{} after {kept}", spooled(&state));
    std::fs::remove_file(&filler).unwrap();
    let end = turn.end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    assert!(end.text.len() >= 300_000, "{}", end.text.len());
    desk.engine.close().await;
}

/// The process of a desk's Claude.
fn claude_of(desk: &Desk) -> u32 {
    let id = desk.spec.id.to_string();
    let is_it = |pid: &u32| {
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        exe.ends_with("tinyclaw-demo-engine") && line.contains(&id)
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut all = all.filter_map(|it| it.file_name().to_str()?.parse().ok());
    all.find(is_it).expect("it runs")
}

/// How many bytes a process has written, to whatever.
fn written_by(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix("wchar: "));
    line.and_then(|it| it.parse().ok()).expect("a number")
}

/// How much of what Claude wrote is on the disk there.
fn spooled(state: &Path) -> u64 {
    let runs = std::fs::read_dir(state.join("runs")).unwrap().flatten();
    let files = runs.flat_map(|it| std::fs::read_dir(it.path()).unwrap().flatten());
    let outs = files.filter(|it| it.file_name().to_string_lossy().starts_with("out."));
    outs.map(|it| it.metadata().unwrap().len()).sum()
}

/// A token is asked for when git wants one, and again when the connection was cut before anybody answered.
#[tokio::test]
async fn git_there_gets_what_the_office_says_of_the_one_repository_also_over_a_cut() {
    let Some((desk, devbox)) = with_devbox("git_there_gets_what") else { return };
    *devbox.repository.lock().unwrap() = Some("github.com/acme/site".to_owned());
    let fill = || {
        let script = "for path in acme/site.git acme/other; do\n\
            printf 'protocol=https\\nhost=github.com\\npath=%s\\n\\n' $path | GIT_TERMINAL_PROMPT=0 git credential fill\n\
            done > said 2>&1\n";
        std::fs::write(desk.spec.cwd.join("fill.sh"), script).unwrap();
    };
    let said = || std::fs::read_to_string(desk.spec.cwd.join("said")).unwrap();
    let asked = || devbox.asked.lock().unwrap().clone();
    fill();
    let turn = desk.ask("[demo: work haiku fill.sh]");
    eventually("git has asked", || asked().len() == 1).await;
    devbox.sshd.cut();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Answered);
    assert!(
        said().contains("path=acme/site.git\nusername=x-access-token\npassword=of-acme-site\n"),
        "{}",
        said()
    );
    assert_eq!(said().matches("password=").count(), 1, "{}", said());
    let is_of_it = |it: &String| it.starts_with("get\n") && it.contains("\npath=acme/site.git\n");
    assert!(asked().iter().all(is_of_it), "{:?}", asked());
    // From the next Claude on nobody may ask.
    *devbox.repository.lock().unwrap() = None;
    assert!(desk.engine.evict(&desk.spec.thread).await);
    let before = asked().len();
    fill();
    assert_eq!(desk.say("[demo: work haiku fill.sh]").await.outcome, TurnOutcome::Answered);
    assert_eq!((said().contains("password="), asked().len()), (false, before), "{}", said());
    desk.engine.close().await;
}

#[tokio::test]
async fn a_thread_moves_with_what_git_has_what_is_changed_and_its_session() {
    let Some((desk, devbox)) = with_devbox("a_thread_moves") else { return };
    let from = &desk.spec.cwd;
    git(from, &["init", "-q", "-b", "main"]);
    std::fs::write(from.join("a.txt"), "one\n").unwrap();
    std::fs::write(from.join("gone.txt"), "x\n").unwrap();
    git(from, &["add", "-A"]);
    git(from, &["commit", "-q", "-m", "first"]);
    std::fs::write(from.join("a.txt"), "two\n").unwrap();
    std::fs::write(from.join("new.txt"), "new\n").unwrap();
    std::fs::remove_file(from.join("gone.txt")).unwrap();
    // What the agent left for git reaches no further than the agent.
    let outside = desk.path("outside");
    std::fs::write(from.join(".gitattributes"), "*.txt filter=evil\n").unwrap();
    git(
        from,
        &["config", "filter.evil.clean", &format!("sh -c 'touch {}; cat'", outside.display())],
    );
    assert_eq!(desk.say("hello").await.outcome, TurnOutcome::Answered);
    desk.engine.evict(&desk.spec.thread).await;

    let there = launcher(&desk, &devbox);
    let before = git(from, &["status", "--porcelain"]);
    // Whoever runs git there as they are does what the agent left.
    std::fs::remove_file(&outside).unwrap();
    let parcel = there.look().pack_up(&desk.at(), Some(&desk.spec.id)).await.unwrap();
    let packed = parcel.git.as_ref().unwrap();
    assert_eq!((packed.branch.as_deref(), packed.changed), (Some("main"), 4));
    assert!(!parcel.transcript.is_empty());
    let is_confined = there.look().unconfined(&desk.spec.place).await.unwrap().is_none();
    assert!(!is_confined || !outside.exists());
    assert_eq!(git(from, &["status", "--porcelain"]), before, "there all is as it was");

    // Elsewhere on the same machine, as if it were another one.
    let target = desk.path("target");
    std::fs::create_dir_all(&target).unwrap();
    let to = desk.at().with_dir(&target);
    there.look().lay_out(&to, Some(&desk.spec.id), &parcel).await.unwrap();
    assert_eq!(std::fs::read_to_string(target.join("a.txt")).unwrap(), "two\n");
    assert!(target.join("new.txt").exists() && !target.join("gone.txt").exists());
    assert_eq!(git(&target, &["symbolic-ref", "--short", "HEAD"]), "main");
    assert_eq!(git(&target, &["rev-parse", "HEAD"]), packed.head);
    assert_eq!(git(&target, &["status", "--porcelain"]).lines().count(), 4);
    assert!(there.look().has_session(&to, &desk.spec.id).await.unwrap());

    // To this machine, where the thread never had a home.
    let (here, own) = (desk.engine.look(&Place::Here).unwrap(), desk.path("own"));
    std::fs::create_dir_all(&own).unwrap();
    let at_home = tinyclaw_engine::Desk { place: Place::Here, ..to.with_dir(&own) };
    here.lay_out(&at_home, Some(&desk.spec.id), &parcel).await.unwrap();
    assert!(here.has_session(&at_home, &desk.spec.id).await.unwrap());
    assert_eq!(std::fs::read_to_string(own.join("a.txt")).unwrap(), "two\n");

    // What is in the way stays.
    let refused = there.look().lay_out(&to, Some(&desk.spec.id), &parcel).await.unwrap_err();
    assert!(format!("{:?}", refused).contains("there are changed files in that repository"));
    let full = desk.path("full");
    std::fs::create_dir_all(&full).unwrap();
    std::fs::write(full.join("mine"), "mine").unwrap();
    let refused = there.look().lay_out(&to.with_dir(&full), None, &parcel).await.unwrap_err();
    assert!(format!("{:?}", refused).contains("not empty"), "{refused:?}");
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1);
    // Without git the session goes alone.
    let plain = desk.path("plain");
    std::fs::create_dir_all(&plain).unwrap();
    let alone = there.look().pack_up(&desk.at().with_dir(&plain), None).await.unwrap();
    assert_eq!(alone, tinyclaw_engine::Parcel::default());
    desk.engine.close().await;
}

/// Two offices have one user there. Nobody's Claude is ended but where a person says so, and then once.
#[tokio::test]
async fn a_directory_that_another_office_has_is_taken_over_when_a_person_says_so() {
    let Some((desk, devbox)) = with_devbox("a_directory_that_another_office_has") else { return };
    let mut theirs = desk.ask("[demo: spawn 600s] [demo: hang]");
    spawned(&mut theirs).await;
    let lease = Lease { close: Duration::from_secs(20), end: Duration::from_secs(5) };
    let (helper, known) = (desk.config.leash.clone(), desk.path("runs-of-another-office.json"));
    let there =
        Arc::new(DevboxLauncher::new(devbox.clone(), helper, desk.config.landlock, lease, known));
    let engine = Engine::reaching(desk.config.clone(), false, Some(there.clone()), None);
    let ask = |text: &str| {
        let mut request = desk.request(text);
        request.session.thread = ThreadId::topic(8);
        engine.turn(request)
    };
    let taken = |outcome| match outcome {
        TurnOutcome::Failed(TurnFailure::Taken(it)) => it,
        other => panic!("{other:?}"),
    };
    let by = taken(ask("hello").end().await.unwrap().outcome);
    assert_eq!(by.dir, desk.spec.cwd);
    assert!(by.office.len() == 8 && by.held_s.is_some_and(|it| it < 600), "{by:?}");
    assert!(!alive(&desk.lock()).is_empty(), "it is not disturbed");

    there.take_over(&ThreadId::topic(8));
    let end = ask("hello").end().await.unwrap();
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    let ended = theirs.end().await.unwrap().outcome;
    assert!(matches!(ended, TurnOutcome::Failed(TurnFailure::Crashed { .. })), "{ended:?}");

    // The other way round it is the same, and what was said is not said for good.
    let back = taken(desk.say("hello").await.outcome);
    assert_ne!(back.office, by.office);
    assert!(engine.evict(&ThreadId::topic(8)).await);
    // Its hold is a moment longer there than its Claude.
    let end = loop {
        let end = desk.say("hello").await;
        if !matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Taken(_))) {
            break end;
        }
    };
    assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
    let again = taken(ask("hello").end().await.unwrap().outcome);
    assert_eq!(again.office, by.office);
    engine.close().await;
    desk.engine.close().await;
}

#[tokio::test]
async fn what_we_keep_there_goes_with_the_devbox_unless_something_runs() {
    let Some((desk, devbox)) = with_devbox("what_we_keep_there_goes") else { return };
    let there = launcher(&desk, &devbox);
    let mut turn = desk.ask("[demo: spawn 600s] [demo: hang]");
    spawned(&mut turn).await;
    assert!(!there.clean(&name()).await.unwrap(), "a Claude runs there");
    assert!(!helpers(&desk).is_empty());
    turn.control().interrupt();
    turn.end().await.unwrap();
    desk.engine.evict(&desk.spec.thread).await;
    assert!(there.clean(&name()).await.unwrap());
    let home = &desk.config.claude_home;
    assert!(!home.join(".local/share/tinyclaw").exists() && !state(&desk.config).exists());
    assert!(home.join(".local/bin/claude").exists(), "what is not ours stays");
}
