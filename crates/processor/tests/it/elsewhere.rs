//! Threads whose Claude runs on another machine: nobody looks for them on this one, and what that machine lacks is no
//! other thread's trouble.

use serde_json::json;
use tinyclaw_domain::{
    Command, DevboxAddress, DevboxOrder, FileRef, Key, MoveTo, Outcome, Progress, ThreadStatus,
};
use tinyclaw_engine::testing::Lie;
use tinyclaw_engine::{FinishedReply, Trace};
use tinyclaw_queue::Place;
use tinyclaw_service::now_ms;

use crate::claude::{Step, fails};
use crate::office::{Office, until};

/// An office with thread 8 on the devbox `api`.
fn office(settings: serde_json::Value) -> Office {
    let mut office = Office::closed(settings);
    office.edit_threads(|it| it["8"] = json!({ "name": "api", "cwd": "api:/srv/api" }));
    office.begin();
    office
}

fn by_admin(order: DevboxOrder) -> Command {
    Command::Devbox { order, admin: true }
}

/// The same, where the devbox is known, and has thread 10.
async fn office_with_api() -> Office {
    let mut office = Office::closed(json!({}));
    // What is started to look at it finds nothing of whoever runs the tests.
    let home = office.place.home().display().to_string();
    let engine = json!({ "kind": "demo", "home": home });
    office.change(json!({ "devbox": { "enabled": true }, "engine": engine }));
    office.edit_threads(|it| it["8"] = json!({ "name": "api", "cwd": "api:/srv/api" }));
    office.begin();
    let (name, at) = ("api".parse().unwrap(), DevboxAddress::Local);
    let dir = Some("/srv/other".parse().unwrap());
    let add = DevboxOrder::Add { name, at, user: None, dir };
    office.obeyed("10", by_admin(add)).await;
    std::fs::create_dir_all(office.devbox.on_disk("/srv/other")).unwrap();
    office
}

/// What is shown of a waiting message, when it says so.
async fn trouble(office: &Office, key: &Key, words: &str) -> String {
    let path = office.state.root().join(format!("progress/{key}.json"));
    until(&format!("{words:?} of {key}"), || {
        let shown: Progress = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        shown.trouble.filter(|it| it.contains(words))
    })
    .await
}

/// Whatever the office did of thread 8, this machine has nothing of it.
fn nothing_is_here(office: &Office) {
    for path in ["state/home/8", "work/8"] {
        assert!(!office.place.path(path).exists(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_out_of_reach_holds_its_own_thread_and_nobody_elses_and_costs_no_attempt() {
    let mut office = office(json!({}));
    let long = vec![Step::Tool("Bash"), Step::Hold, Step::Say("Deployed.")];
    office.claude.on("deploy", [long]);
    assert_eq!(office.ask("8", "hello").await.text, "Done.");
    let key = office.send("8", "deploy");
    until("the prompt there", || office.claude.prompts_of("deploy").pop()).await;
    office.devbox.go_away("api:22 refuses connections");
    let waiting = office.waits_again(&key).await;
    assert_eq!((waiting.attempts.run, waiting.attempts.deaths), (0, 0));
    let told = trouble(&office, &key, "api is out of reach since ").await;
    let after =
        ": api:22 refuses connections. This message waits and is answered when api is back.";
    assert!(told.ends_with(after), "{told}");

    // This machine is as well as ever, and says so.
    assert_eq!(office.ask("7", "meanwhile").await.text, "Done.");
    let status = office.obeyed("7", Command::Status {}).await.text;
    assert!(status.contains("engine: ready"), "{status}");
    assert!(office.notices("1").is_empty(), "nobody else is told");
    let tries = || office.devbox.asked().iter().filter(|it| **it == "check_dir").count();
    let before = tries();
    until("it was tried again", || (tries() > before).then_some(())).await;
    assert_eq!(office.waits_again(&key).await.attempts.run, 0, "however often it is tried");

    // There it went on; the answer is in the transcript when the place is back.
    office.devbox.lie(Lie::Trace(Trace::Finished(FinishedReply {
        text: "Deployed.".to_owned(),
        said: vec!["Deployed.".to_owned()],
        model: None,
    })));
    office.devbox.come_back();
    assert_eq!(office.reply(&key).await.text, "Deployed.");
    let message = office.find(&key).unwrap().message;
    assert_eq!(message.attempts.run, 1, "the claim that it was answered in");
    assert_eq!(office.claude.prompts_of("deploy").len(), 1, "Claude was asked once");
    nothing_is_here(&office);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_its_place_never_got_is_asked_there_once_it_is_back() {
    let mut office = office(json!({}));
    office.devbox.go_away("api does not answer (10 s)");
    let key = office.send("8", "hello");
    trouble(&office, &key, "api is out of reach since ").await;
    assert_eq!(office.reaches(&key, Place::Incoming).await.attempts.run, 0);
    let status = office.obeyed("7", Command::Status {}).await.text;
    assert!(status.contains("engine: ready"), "{status}");
    office.devbox.come_back();
    assert_eq!(office.reply(&key).await.text, "Done.");
    assert_eq!(office.claude.prompts_of("hello").len(), 1);
    assert_eq!(office.find(&key).unwrap().message.attempts.run, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_a_person_is_told_once_asked_of_nobody_meanwhile_and_goes_on_when_they_acted() {
    let mut office = office_with_api().await;
    office.devbox.wants_a_person("the key of api has changed");
    let key = office.send("8", "hello");
    let said = office.notice("8", "api waits for a person: the key of api has changed.").await;
    assert!(said.contains("/devbox doctor api"), "{said}");
    trouble(&office, &key, "api waits for a person").await;

    // Another thread of that devbox is told as well, and the devbox is not asked for it.
    let asked = office.devbox.asked().len();
    let other = office.send("10", "hello from another thread");
    office.notice("10", "api waits for a person").await;
    assert_eq!(office.devbox.asked().len(), asked);
    assert_eq!(office.ask("7", "meanwhile").await.text, "Done.");
    assert_eq!(office.notices("8").len(), 1, "{:?}", office.notices("8"));

    office.devbox.come_back();
    let forget = DevboxOrder::ForgetKey { name: "api".parse().unwrap() };
    office.obeyed("7", by_admin(forget)).await;
    for key in [key, other] {
        assert_eq!(office.reply(&key).await.text, "Done.");
        assert_eq!(office.find(&key).unwrap().message.attempts.run, 1, "waiting costs no attempt");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_another_office_has_holds_its_thread_alone_until_it_is_taken_over() {
    let mut office = office_with_api().await;
    office.devbox.be_taken_by(Some("3f9c1a2b"));
    let key = office.send("8", "hello");
    let said = office.notice("8", "Office 3f9c1a2b works in /srv/api since ").await;
    let after = ". This message is kept; it goes on when that is over, and /devbox take over api ends it at once.";
    assert!(said.ends_with(after), "{said}");
    trouble(&office, &key, "Office 3f9c1a2b works in /srv/api since ").await;
    assert_eq!(office.waits_again(&key).await.attempts.run, 0);
    assert_eq!(office.ask("7", "meanwhile").await.text, "Done.");
    assert_eq!(office.notices("8").len(), 1, "{:?}", office.notices("8"));
    let launches = || office.devbox.asked().iter().filter(|it| **it == "launch").count();
    assert_eq!(launches(), 1, "it is not tried again and again");

    // Not everybody's, and not in a thread that waits for nobody.
    let order = || DevboxOrder::TakeOver { name: "api".parse().unwrap() };
    let by_anybody = Command::Devbox { order: order(), admin: false };
    let refused = office.obeyed("8", by_anybody).await.text;
    assert_eq!(refused, "Only admins may do that with devboxes. Nothing was changed.");
    let refused = office.obeyed("10", by_admin(order())).await.text;
    assert!(refused.starts_with("No other office works in the directory"), "{refused}");
    office.devbox.be_taken_by(None);
    let done = office.obeyed("8", by_admin(order())).await.text;
    assert_eq!(
        done,
        "Taken over: what office 3f9c1a2b has running in `/srv/api` on api is ended, and what waits here goes on."
    );
    assert_eq!(office.reply(&key).await.text, "Done.");
    assert_eq!(office.find(&key).unwrap().message.attempts.run, 1, "waiting costs no attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_a_devbox_in_a_turn_waits_or_is_refused() {
    let mut office = office_with_api().await;
    let api = || "api".parse().unwrap();
    office.claude.on("deploy", [vec![Step::Say("Half."), Step::Hold]]);
    let key = office.send("10", "deploy");
    office.thread_when("10", |it| it.status == ThreadStatus::Working).await;
    let rename = DevboxOrder::Rename { from: api(), to: "lab".parse().unwrap() };
    let refused = office.obeyed("7", by_admin(rename)).await.text;
    assert_eq!(
        refused,
        "Claude is at work on api. /stop there first, or wait; nothing was changed."
    );
    let moved = DevboxOrder::Move { to: MoveTo::Here, dir: None };
    let refused = office.obeyed("10", by_admin(moved)).await.text;
    assert_eq!(refused, "Claude is at work here. /stop first. Nothing was changed.");
    let forgotten = office.obeyed("7", by_admin(DevboxOrder::ForgetKey { name: api() })).await.text;
    assert!(forgotten.starts_with("The key is forgotten; the next connection asks again."));
    let remove = || by_admin(DevboxOrder::Remove { name: api() });
    let refused = office.obeyed("7", by_admin(DevboxOrder::Yes { name: api() })).await.text;
    assert_eq!(refused, "Nothing was asked about api.");
    let asked = office.obeyed("7", remove()).await;
    assert!(asked.text.starts_with("Remove `api`? Claude is at work there, and is stopped."));
    assert_eq!(asked.buttons[0].label, "Stop and remove");
    let refused = office.obeyed("7", by_admin(DevboxOrder::Yes { name: api() })).await.text;
    assert!(refused.starts_with("Thread 8 works on api as well."), "{refused}");
    office.obeyed("8", Command::Close {}).await;
    office.obeyed("7", remove()).await;
    let removed = office.obeyed("7", by_admin(DevboxOrder::Yes { name: api() })).await.text;
    assert_eq!(removed, "Removed.");
    assert_eq!(office.reply(&key).await.outcome, Outcome::Stopped);
    assert_eq!(office.thread("10").unwrap().status, ThreadStatus::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_devbox_spends_is_its_own_budget_and_never_the_offices() {
    let mut office =
        office(json!({ "budget": { "officePerDay": 1.0 }, "devbox": { "budgetPerDay": 3.0 } }));
    office.claude.on("dear", [vec![Step::Say("Here."), Step::Cost(2.0)], vec![Step::Cost(2.0)]]);
    office.claude.on("madly", [vec![Step::Say("Here."), Step::Cost(1e12)]]);
    assert_eq!(office.ask("8", "madly").await.cost_usd, 0.0, "nobody believes that");
    office.notice("8", "api says that this turn cost $1000000000000.00").await;
    assert_eq!(office.ask("8", "dear").await.cost_usd, 2.0);
    assert_eq!(office.ask("7", "hello").await.text, "Done.", "the office has spent nothing");
    office.ask("8", "dear").await;
    office.notice("8", "The devbox api's budget for today is spent: $4.00 of $3.00.").await;
    let reply = office.ask("8", "more").await;
    assert!(reply.text.starts_with("The devbox api's budget for today is spent"), "{}", reply.text);
    assert_eq!(office.ask("7", "hello").await.text, "Done.");
    assert!(office.notices("1").is_empty(), "{:?}", office.notices("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_limit_elsewhere_pauses_that_place_alone_and_ends_by_itself() {
    let mut office = office(json!({}));
    let until = now_ms() / 1_000 + 8;
    office.claude.on("limited", [vec![Step::Limit(until)]]);
    let limited = office.send("8", "limited");
    office.notice("8", "Claude's plan limit is reached on api until").await;
    assert_eq!(office.ask("7", "meanwhile").await.text, "Done.");
    let status = office.obeyed("7", Command::Status {}).await.text;
    assert!(status.contains("engine: ready"), "{status}");
    let asked = office.claude.prompts_of("limited").len();
    assert!(asked == 1 || now_ms() / 1_000 >= until, "nobody there is asked meanwhile");
    assert_eq!(office.reply(&limited).await.text, "Done.");
    let message = office.find(&limited).unwrap().message;
    assert_eq!(message.attempts.run, 1, "the claim that it was answered in");
    assert_eq!(office.claude.prompts_of("limited").len(), 2);
    assert!(office.notices("1").is_empty(), "nobody else is told");
    nothing_is_here(&office);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_login_elsewhere_that_place_alone_waits() {
    let mut office = office(json!({}));
    office.claude.on("hello", [fails(401, "authentication_failed", "Invalid API key")]);
    let key = office.send("8", "hello");
    office.notice("8", "Claude on api is not logged in; there: claude, /login").await;
    assert_eq!(office.ask("7", "meanwhile").await.text, "Done.");
    let status = office.obeyed("7", Command::Status {}).await.text;
    assert!(status.contains("engine: ready"), "{status}");
    let waiting = office.find(&key).unwrap();
    assert_eq!((waiting.place, waiting.message.attempts.run), (Place::Incoming, 0));
    assert!(office.notices("1").is_empty(), "nobody else is told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_place_takes_no_slot_from_this_machine() {
    let mut office = office(json!({ "engine": { "parallelMax": 1 } }));
    office.devbox.be_slow(true);
    let key = office.send("8", "hello");
    let asked = || office.devbox.asked().contains(&"check_dir").then_some(());
    until("the question there", asked).await;
    assert_eq!(office.ask("7", "meanwhile").await.text, "Done.");
    assert_eq!(office.find(&key).unwrap().place, Place::Processing);
    office.devbox.be_slow(false);
    assert_eq!(office.reply(&key).await.text, "Done.");
}

/// Each of these looked at this machine's disk, where the same path is another directory or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_and_files_of_a_thread_elsewhere_are_asked_of_its_place() {
    let mut office = office(json!({}));
    let there = |path: &str| office.devbox.on_disk(path);
    let write = |path: std::path::PathBuf, text: &str| {
        tinyclaw_disk::replace(&path, text.as_bytes(), tinyclaw_disk::Flush::None).unwrap();
    };
    std::fs::create_dir_all(there("/srv/other")).unwrap();
    write(there("/srv/api/report.txt"), "of the devbox");
    write(there("/srv/secret"), "beside it");

    // A file goes out from our own folder, under a name of our making; what lies beside the directory does not.
    let file = |path: &str| Step::Call("send_file", json!({ "path": path }));
    office.claude.on("report", [vec![file("report.txt"), file("../secret")]]);
    let reply = office.ask("8", "report").await;
    assert!(reply.text.contains("is outside this thread's directory"), "{}", reply.text);
    let [FileRef { path, .. }] = &reply.files[..] else { panic!("{:?}", reply.files) };
    assert!(path.starts_with("files/8/box-tg-1-1-") && path.ends_with("report.txt"), "{path}");
    let bytes = std::fs::read(office.state.root().join(path)).unwrap();
    assert_eq!(bytes, b"of the devbox");

    // A file of a message lies where that Claude can read it.
    let name = "files/8/9_photo.txt";
    std::fs::create_dir_all(office.state.root().join("files/8")).unwrap();
    write(office.state.root().join(name), "from a person");
    let mut message = office.message("8", "look at this");
    let (mime, given) = ("text/plain".to_owned(), Some("photo.txt".to_owned()));
    message.files = vec![FileRef { path: name.to_owned(), mime, name: given }];
    let key = office.publish(message);
    office.reply(&key).await;
    let prompt = office.claude.prompts_of("look at this").pop().unwrap().text;
    assert!(prompt.contains("at /state/files/8/9_photo.txt]"), "{prompt}");
    assert!(office.devbox.on_disk("/state/files/8/9_photo.txt").is_file());

    let dir = |dir: &str, admin| Command::Setdir { dir: dir.to_owned(), admin };
    let refused = office.obeyed("8", dir("/srv/other", false)).await;
    assert_eq!(refused.text, "Only admins may choose a directory on api. Nothing was changed.");
    let refused = office.obeyed("8", dir("/srv/none", true)).await;
    assert_eq!(refused.text, "There is no directory `/srv/none`. Nothing was changed.");
    let moved = office.obeyed("8", dir("../other", true)).await;
    assert!(moved.text.starts_with("This thread works in `api:/srv/other` now."), "{}", moved.text);
    assert_eq!(office.thread("8").unwrap().cwd, "api:/srv/other");
    let repo = Command::Open { name: None, dir: None, repo: Some("acme/site".to_owned()) };
    let refused = office.obeyed("8", repo).await;
    assert!(refused.text.starts_with("This thread works on api: clone"), "{}", refused.text);
    nothing_is_here(&office);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_lies_is_believed_of_its_own_thread_alone() {
    let mut office = office(json!({}));
    let setdir = || Command::Setdir { dir: "/srv/none".to_owned(), admin: true };
    office.devbox.lie(Lie::Everything);
    assert_eq!(office.ask("7", "hello").await.text, "Done.");
    let moved = office.obeyed("8", setdir()).await;
    assert!(moved.text.starts_with("This thread works in `api:/srv/none` now."), "{}", moved.text);
    let refused = office.obeyed("7", setdir()).await;
    assert_eq!(refused.text, "There is no directory `/srv/none`. Nothing was changed.");
    // What it says of a turn answers nobody of this machine, whose transcript knows better.
    office.devbox.lie(Lie::Trace(Trace::Finished(FinishedReply {
        text: "I did it all.".to_owned(),
        said: vec!["I did it all.".to_owned()],
        model: None,
    })));
    office
        .claude
        .on("migrate", [vec![Step::Tool("Bash"), Step::Die], vec![Step::Say("Migrated.")]]);
    assert_eq!(office.ask("7", "migrate").await.text, "Migrated.");
    nothing_is_here(&office);
}
