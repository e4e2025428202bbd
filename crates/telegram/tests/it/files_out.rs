//! Files on their way out, and Telegram or the disk not wanting them: the others arrive all the same.

use serde_json::json;
use tempfile::TempDir;
use tinyclaw_domain::FileRef;
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{Control, FORUM, Fault};

use crate::office::Office;

/// An office whose master works in a directory with these files, and that directory.
async fn office_with(names: &[&str]) -> (Office, TempDir) {
    let office = Office::watched().await;
    let work = tempfile::tempdir().unwrap();
    for name in names {
        let path = work.path().join(name);
        tinyclaw_disk::replace(&path, b"content", tinyclaw_disk::Flush::None).unwrap();
    }
    let threads = json!({"1": {"name": "General", "cwd": work.path()}});
    tinyclaw_ledger::save(&office.state.threads(), &threads, tinyclaw_disk::Flush::None).unwrap();
    (office, work)
}

fn refs(work: &TempDir, names: &[&str]) -> Vec<FileRef> {
    let path = |name: &&str| work.path().join(name).to_string_lossy().into_owned();
    names.iter().map(|it| FileRef { path: path(it), mime: String::new(), name: None }).collect()
}

fn refuse(office: &Office, method: &str, description: &str) {
    let fault = Fault::refused(method, 1, 400, description);
    office.fake.act(Control::Break { fault });
}

/// Answers a turn that takes a while with these files.
async fn answer_with(office: &Office, files: Vec<FileRef>) {
    office.ada(None, "send me all of it");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_noted(turn.message()).await;
    turn.reply(|it| {
        "Here.".clone_into(&mut it.text);
        it.duration_ms = 41_000;
        it.files = files;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_are_no_photos_go_as_documents_and_what_follows_them_goes_too() {
    let names = ["wide.png", "report.pdf", "a.png", "b.png"];
    let (office, work) = office_with(&names).await;
    refuse(&office, "sendPhoto", "Bad Request: PHOTO_INVALID_DIMENSIONS");
    refuse(&office, "sendMediaGroup", "Bad Request: PHOTO_INVALID_DIMENSIONS");
    answer_with(&office, refs(&work, &names)).await;
    office.until_in_place(Place::Done, 1).await;
    let transcript = office.fake.transcript(FORUM);
    let documents: Vec<&str> =
        transcript.lines().filter_map(|it| it.trim().strip_prefix("<document ")).collect();
    assert_eq!(documents, ["wide.png>", "report.pdf>", "a.png>", "b.png>"], "{transcript}");
    office.until_unsaid("[ Stop ]").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_sent_is_named_and_the_others_arrive() {
    let names = ["report.pdf", "notes.txt"];
    let (office, work) = office_with(&names).await;
    refuse(&office, "sendDocument", "Bad Request: wrong file");
    answer_with(&office, refs(&work, &names)).await;
    office.until_in_place(Place::Done, 1).await;
    let transcript = office.fake.transcript(FORUM);
    for words in [
        "    report.pdf was not sent: Telegram does not take it: wrong file.\n",
        "    <document notes.txt>\n",
    ] {
        assert!(transcript.contains(words), "{words}\n{transcript}");
    }
    office.until_unsaid("[ Stop ]").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_buried_leaves_no_status_that_says_working() {
    let (office, _work) = office_with(&[]).await;
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_noted(turn.message()).await;
    refuse(&office, "sendMessage", "Bad Request: something is wrong");
    turn.reply(|it| {
        "Thought.".clone_into(&mut it.text);
        it.duration_ms = 41_000;
    });
    office.until_said("An answer could not be delivered: Bad Request: something is wrong.").await;
    office.until_in_place(Place::Dead, 1).await;
    office.until_said("Ada [💔]:\n    think\n").await;
    office.until_unsaid("[ Stop ]").await;
    assert_eq!(office.calls("deleteMessage").len(), 1);
    assert_eq!(office.state.statuses().read_dir().unwrap().count(), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_what_was_checked() {
    let (office, work) = office_with(&["report.pdf"]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("report.pdf");
    tinyclaw_disk::replace(&secret, b"not yours", tinyclaw_disk::Flush::None).unwrap();
    office.ada(None, "send me the report");
    let turn = office.claim().await;
    office.plug.pull().await;
    let files = refs(&work, &["report.pdf"]);
    turn.reply(|it| {
        "Here.".clone_into(&mut it.text);
        it.files = files;
    });
    // The answer was planned, and cannot go out yet.
    office.until_health("cut off", |it| it.numbers.contains_key("unsentTotal")).await;
    let path = work.path().join("report.pdf");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    office.plug.put_back().await.unwrap();
    let words = "    report.pdf was not sent: it is a link, or lies behind one.\n";
    office.until_said(words).await;
    office.until_in_place(Place::Done, 1).await;
    assert_eq!(office.calls("sendDocument").len(), 0);
    office.close().await;
}
