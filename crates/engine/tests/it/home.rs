//! A home for each desk: what one leaves there no other meets, and what all shared before goes on.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use std::time::Duration;
use tinyclaw_domain::ThreadId;

use tinyclaw_engine::{Confined, ConfinedError, Landlock, TurnFailure, TurnOutcome};

use crate::desk::{Desk, is_unconfined, new_session};

const LOGIN: &str = "state/home/7/.claude/.credentials.json";

fn log_in(desk: &Desk, token: &str) {
    let login =
        serde_json::json!({ "claudeAiOauth": { "accessToken": token, "refreshToken": "renewal" } });
    std::fs::create_dir_all(desk.path("home/.claude")).unwrap();
    std::fs::write(desk.path("home/.claude/.credentials.json"), login.to_string()).unwrap();
}

#[tokio::test]
async fn what_a_desk_leaves_in_its_home_no_other_desk_meets() {
    let mut desk = Desk::demo_with(|it| it.landlock = Landlock::On);
    std::fs::write(desk.path("home/.gitconfig"), "[user]\nname = Ada\nemail = a@example.com\n")
        .unwrap();
    let first = desk.say("hello").await;
    if is_unconfined(&first) {
        return;
    }
    let transcript = desk.transcript();
    assert!(transcript.starts_with(desk.path("state/home/7")) && transcript.is_file());
    let config = desk.path("state/home/7/.gitconfig");
    assert!(std::fs::read_to_string(&config).unwrap().contains("a@example.com"));
    for home in ["state/home", "state/home/7"] {
        let mode = std::fs::metadata(desk.path(home)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{home}");
    }
    std::fs::write(&config, "[alias]\n\tpush = !steal\n").unwrap();
    desk.spec.thread = ThreadId::topic(8);
    desk.spec.id = new_session();
    desk.say("hello").await;
    let other = std::fs::read_to_string(desk.path("state/home/8/.gitconfig")).unwrap();
    assert!(!other.contains("steal"), "{other}");
    for path in [config, transcript, desk.path("home/.gitconfig")] {
        for verb in ["open", "touch"] {
            let end = desk.say(&format!("[demo: {verb} {}]", path.display())).await;
            assert!(end.text.contains("ermission denied"), "{verb} {path:?}: {}", end.text);
        }
    }
    // Made once: what the desk made of it stays its own.
    desk.spec.thread = ThreadId::topic(7);
    desk.say("hello again").await;
    assert!(
        std::fs::read_to_string(desk.path("state/home/7/.gitconfig")).unwrap().contains("steal")
    );
}

#[tokio::test]
async fn a_session_of_the_home_that_all_shared_goes_on_in_the_desks_own() {
    let desk = Desk::demo();
    desk.say("remember 4711").await;
    assert!(desk.engine.evict(&desk.spec.thread).await);
    // As an office of before has it: everything in the one home.
    std::fs::rename(desk.path("state/home/7/.claude"), desk.path("home/.claude")).unwrap();
    std::fs::remove_dir_all(desk.path("state/home")).unwrap();
    let side = format!("file-history/{}/a@v1", desk.spec.id);
    let old = desk.path("home/.claude").join(&side);
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, "before").unwrap();
    symlink("/etc/hostname", old.with_file_name("link")).unwrap();

    let end = desk.say("which number?").await;
    assert!(end.resumed && end.text.contains("remember 4711"), "{}", end.text);
    let here = desk.path("state/home/7/.claude").join(&side);
    assert_eq!(std::fs::read_to_string(&here).unwrap(), "before");
    assert!(here.with_file_name("link").symlink_metadata().is_err());
    assert!(old.is_file(), "it stays where it was, too");
    assert!(desk.transcript().is_file(), "it is in the desk's own home");
}

#[tokio::test]
async fn a_desk_gets_the_login_as_it_is_now_and_cannot_renew_it() {
    let desk = Desk::demo();
    let copy = || std::fs::read_to_string(desk.path(LOGIN)).ok();
    desk.say("before anybody logged in").await;
    assert_eq!(copy(), None);
    for token in ["first", "second"] {
        log_in(&desk, token);
        desk.say("hello").await;
        let copy = copy().expect("a login");
        assert!(copy.contains(token) && !copy.contains("renewal"), "{copy}");
        let mode = std::fs::metadata(desk.path(LOGIN)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
    }
    std::fs::remove_file(desk.path("home/.claude/.credentials.json")).unwrap();
    desk.say("after somebody logged out").await;
    assert_eq!(copy(), None);
}

#[tokio::test]
async fn a_link_in_a_home_leads_our_files_nowhere() {
    let desk = Desk::demo();
    log_in(&desk, "token");
    desk.say("hello").await;
    assert!(desk.engine.evict(&desk.spec.thread).await);
    let (dir, elsewhere) = (desk.path("state/home/7/.claude"), desk.path("elsewhere"));
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    symlink(&elsewhere, &dir).unwrap();
    let end = desk.say("hello").await;
    let TurnOutcome::Failed(TurnFailure::NotStarted { detail, lasting: false }) = &end.outcome
    else {
        panic!("{end:?}")
    };
    assert!(detail.contains("is a link, or lies behind one"), "{detail}");
    let left: Vec<PathBuf> =
        std::fs::read_dir(&elsewhere).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left, [] as [PathBuf; 0]);
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(desk.say("mended").await.outcome, TurnOutcome::Answered);
}

#[tokio::test]
async fn a_program_of_ours_at_a_desk_reaches_what_the_desk_reaches() {
    let desk = Desk::demo_with(|it| {
        it.landlock = Landlock::On;
        it.auth = tinyclaw_engine::Auth::ApiKey("hush".into());
    });
    std::fs::create_dir_all(desk.path("state/queue")).unwrap();
    std::fs::create_dir_all(desk.path("material")).unwrap();
    std::fs::write(desk.path("material/x"), "material").unwrap();
    let run = async |script: &str, time: u64| {
        let order = Confined {
            thread: desk.spec.thread.clone(),
            cwd: desk.spec.cwd.clone(),
            program: "sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            readable: vec![desk.path("material")],
            input: None,
            time: Duration::from_secs(time),
        };
        desk.engine.run_confined(order).await
    };
    let said = match run("echo out; echo err >&2; exit 3", 60).await {
        Err(err) => panic!("{err}"),
        Ok(said) if said.stderr.contains("this kernel does not have it") => return,
        Ok(said) => said,
    };
    assert_eq!((&*said.stdout, &*said.stderr, said.exit.code), ("out\n", "err\n", Some(3)));
    let root = desk.path("state").parent().unwrap().display().to_string();
    let said = run(&format!("cat {root}/material/x; env; echo x > here"), 60).await;
    let said = said.unwrap();
    assert!(said.is_success() && said.stdout.contains("material"), "{said:?}");
    assert!(said.stdout.contains(&format!("HOME={root}/state/home/7")), "{said:?}");
    assert!(!said.stdout.contains("hush"), "{said:?}");
    for refused in ["state/queue/x", "material/x", "home/.gitconfig", "state/home/8"] {
        let said = run(&format!("echo x > {root}/{refused}"), 60).await.unwrap();
        assert!(!said.is_success() && said.stderr.contains("ermission denied"), "{said:?}");
    }
    // Whatever it left behind is gone with it.
    let late = run("sleep 600 & sleep 600", 1).await;
    assert!(matches!(late, Err(ConfinedError::Late { .. })), "{late:?}");
    let lock = desk.lock();
    crate::desk::eventually("nobody is left", || crate::desk::alive(&lock).is_empty()).await;
}
