use std::fs;

use expect_test::expect;
use tinyclaw_domain::{Model, PermissionMode, Thread, ThreadStatus};
use tinyclaw_ledger::{StateDir, ThreadBook, ThreadsError, read_threads};

use crate::{state, thread};

fn desk(name: &str) -> Thread {
    serde_json::from_value(serde_json::json!({ "name": name, "cwd": "/home/ada" })).unwrap()
}

fn open(state: &StateDir) -> ThreadBook {
    let (book, trouble) = ThreadBook::open(state).unwrap();
    assert!(trouble.is_none(), "{trouble:?}");
    book
}

fn add(book: &mut ThreadBook, id: &str, name: &str) -> Option<ThreadsError> {
    book.change(|all| all.insert(thread(id), desk(name))).unwrap().1
}

fn names(state: &StateDir) -> Vec<String> {
    read_threads(state).unwrap().into_values().map(|it| it.name).collect()
}

#[test]
fn what_was_changed_is_there_for_the_next_processor() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    book.change(|all| {
        all.get_mut(&thread("7")).unwrap().status = ThreadStatus::Working;
    })
    .unwrap();
    assert_eq!(read_threads(&state).unwrap()[&thread("7")].status, ThreadStatus::Working);
    let book = open(&state);
    assert_eq!(
        book.get(&thread("7")).unwrap().status,
        ThreadStatus::Idle,
        "no turn outlives its processor"
    );
    assert_eq!(read_threads(&state).unwrap(), *book.all());
}

#[test]
fn nothing_changed_writes_nothing() {
    let (_dir, state) = state();
    let mut book = open(&state);
    book.change(|_| ()).unwrap();
    assert!(!state.threads().exists());
    add(&mut book, "7", "calendar");
    let before = fs::metadata(state.threads()).unwrap().modified().unwrap();
    book.change(|all| all.get_mut(&thread("7")).map(|it| it.name = "calendar".to_owned())).unwrap();
    assert_eq!(fs::metadata(state.threads()).unwrap().modified().unwrap(), before);
}

#[test]
fn threads_of_the_original_are_understood() {
    let (_dir, state) = state();
    fs::write(
        state.threads(),
        r#"{
            "1": { "name": "Master", "cwd": "/srv", "model": "claude-opus-4-5", "isMaster": true, "lastActive": 1771234567890.25 },
            "12": { "name": "Thread 12", "cwd": "/srv/a", "sessionId": "not-a-uuid", "model": "gpt", "lastActive": 5, "colour": "blue" },
            "13": { "name": "Thread 13", "cwd": "/srv/b", "sessionId": "6F1D4C0E-8A2B-4D7E-9C3F-0A1B2C3D4E5F", "isMaster": false, "permissionMode": "plan" }
        }"#,
    )
    .unwrap();
    let mut book = open(&state);
    let of = |book: &ThreadBook, id: &str| book.get(&thread(id)).unwrap().clone();
    assert_eq!(of(&book, "1").model, Some(Model::Opus));
    assert_eq!(of(&book, "1").last_active, 1_771_234_567_890);
    assert_eq!((of(&book, "12").session_id, of(&book, "12").model), (None, None));
    assert_eq!(
        of(&book, "13").session_id.unwrap().as_str(),
        "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f"
    );
    assert_eq!(
        of(&book, "13").permission_mode,
        PermissionMode::Ask,
        "what is unknown is asked for"
    );
    add(&mut book, "14", "new");
    assert_eq!(read_threads(&state).unwrap()[&thread("12")].extra["colour"], "blue");
}

#[test]
fn a_half_written_file_at_the_start_is_set_aside_and_the_last_good_one_counts() {
    let (_dir, state) = state();
    add(&mut open(&state), "7", "calendar");
    fs::write(state.threads(), r#"{ "7": { "name": "#).unwrap();
    let (book, trouble) = ThreadBook::open(&state).unwrap();
    assert_eq!(book.get(&thread("7")).unwrap().name, "calendar");
    assert!(matches!(trouble, Some(ThreadsError::Json { .. })));
    assert_eq!(names(&state), ["calendar"], "readers see it too");
    assert_eq!(
        fs::read_to_string(state.threads().with_extension("json.bad")).unwrap(),
        r#"{ "7": { "name": "#
    );
}

#[test]
fn a_file_that_the_power_cut_short_costs_only_the_touches() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    book.touch(|all| all.get_mut(&thread("7")).map(|it| it.last_active = 5)).unwrap();
    assert_eq!(
        read_threads(&state).unwrap()[&thread("7")].last_active,
        5,
        "readers see a touch at once"
    );
    fs::write(state.threads(), "").unwrap();
    let (book, trouble) = ThreadBook::open(&state).unwrap();
    assert!(trouble.is_some());
    assert_eq!(book.get(&thread("7")).unwrap().last_active, 0);
    assert_eq!(names(&state), ["calendar"]);
}

#[test]
fn an_edit_made_while_the_processor_runs_counts() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    let edited =
        fs::read_to_string(state.threads()).unwrap().replace("calendar", "dates and times");
    fs::write(state.threads(), edited).unwrap();
    assert!(add(&mut book, "8", "mail").is_none());
    assert_eq!(names(&state), ["dates and times", "mail"]);
}

#[test]
fn a_bad_edit_made_while_the_processor_runs_is_set_aside_and_told() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    fs::write(state.threads(), r#"{ "../x": { "name": "a", "cwd": "/" } }"#).unwrap();
    let trouble = add(&mut book, "8", "mail").unwrap().to_string();
    let trouble = trouble.replace(&state.root().display().to_string(), "…");
    expect![[r#"…/threads.json: thread "../x" is not valid: thread id "../x" is not valid: it starts with a dot or a dash"#]].assert_eq(&trouble);
    assert_eq!(names(&state), ["calendar", "mail"]);
    fs::write(state.threads(), "[").unwrap();
    assert!(book.refresh().unwrap().is_some());
    assert_eq!(names(&state), ["calendar", "mail"]);
}

#[test]
fn a_change_that_cannot_be_saved_did_not_happen() {
    let (_dir, state) = state();
    let mut book = open(&state);
    add(&mut book, "7", "calendar");
    // The temporary name is taken by a folder: nothing can be written, whoever runs the test.
    fs::create_dir(state.threads().with_extension("json.tmp")).unwrap();
    assert!(book.change(|all| all.clear()).is_err());
    assert_eq!(book.all().len(), 1);
    assert_eq!(names(&state), ["calendar"]);
}
