//! The chain under damage, restarts, full disks and time.

#![allow(clippy::disallowed_methods, reason = "these tests damage files on purpose")]

use std::fs;
use std::time::SystemTime;

use super::*;

const NOW: i64 = 1_771_234_567_890;

fn log() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

fn event(client: &'static str) -> Event<'static> {
    Event { event: "token", client: Some(client), ..Event::default() }
}

fn write(audit: &Audit, count: usize) {
    for _ in 0..count {
        audit.write(NOW, &event("ada")).unwrap();
    }
}

#[test]
fn a_chain_goes_on_after_a_restart() {
    let (_folder, path) = log();
    write(&Audit::at(&path), 3);
    write(&Audit::at(&path), 2);
    let whole = verify(&path).unwrap();
    assert_eq!((whole.lines, whole.first_seq, whole.last_seq), (5, 1, 5));
}

#[test]
fn every_change_is_noticed() {
    let (_folder, path) = log();
    write(&Audit::at(&path), 4);
    let good = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let bad = [
        good.replacen("\"ada\"", "\"bob\"", 1),
        [lines[0], lines[2], lines[3]].concat(),
        [lines[0], lines[2], lines[1], lines[3]].concat(),
        [lines[0], lines[1], lines[1], lines[2], lines[3]].concat(),
        good.replacen("\"seq\":1", "\"seq\":2", 1),
        good[..good.len() - 5].to_owned(),
        good.replacen('\n', "\n\n", 1),
    ];
    for text in bad {
        fs::write(&path, &text).unwrap();
        assert!(verify(&path).is_err(), "{text}");
    }
    fs::write(&path, &good).unwrap();
    assert!(verify(&path).is_ok());
}

#[test]
fn segments_are_one_chain() {
    let (folder, path) = log();
    let audit = Audit::at(&path).with_segments_of(1000);
    write(&audit, 50);
    drop(audit);
    write(&Audit::at(&path).with_segments_of(1000), 1);
    let whole = verify(&path).unwrap();
    assert!(whole.files > 5, "{whole:?}");
    assert_eq!(whole.last_seq, 51);
    assert!(fs::read_dir(folder.path()).unwrap().count() <= SEGMENTS_MAX + 1);
    // A crash between the rename and the first line of the new file.
    let last = segment(&path, 9_999);
    fs::rename(&path, last).unwrap();
    write(&Audit::at(&path), 1);
    assert_eq!(verify(&path).unwrap().last_seq, 52);
}

#[test]
fn what_is_young_is_not_washed_away() {
    let (_folder, path) = log();
    let audit = Audit::at(&path).with_segments_of(1000);
    let full = (0..100).find_map(|_| audit.write(NOW, &event("ada")).err()).unwrap();
    assert!(matches!(full, AuditError::Full(_)), "{full}");
    assert_eq!(audit.segments(), (SEGMENTS_MAX, SEGMENTS_MAX));
    assert!(audit.check(NOW).is_err() && audit.write(NOW, &event("ada")).is_err());
    let freeze = Event { event: "freeze", ..Event::default() };
    audit.write_frozen(NOW, &freeze, true).unwrap();
    assert_eq!(verify(&path).unwrap().first_seq, 1);
    // A month later the oldest may go.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + KEPT_FOR;
    audit.write(now.as_millis() as i64 + 1000, &event("ada")).unwrap();
    let whole = verify(&path).unwrap();
    assert!(whole.first_seq > 1 && whole.files == SEGMENTS_MAX + 1, "{whole:?}");
}

#[test]
fn half_a_line_is_cut_and_said() {
    let (_folder, path) = log();
    write(&Audit::at(&path), 2);
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{good}{}", &good[..30])).unwrap();
    write(&Audit::at(&path), 1);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""event":"repaired","count":30"#), "{text}");
    assert_eq!(verify(&path).unwrap().last_seq, 4);
}

#[test]
fn a_foreign_last_line_is_not_continued() {
    let (_folder, path) = log();
    fs::write(&path, "{\"hello\":1}\n").unwrap();
    let error = Audit::at(&path).write(NOW, &event("ada")).unwrap_err();
    assert!(matches!(error, AuditError::Foreign(_)), "{error}");
}

#[test]
fn two_brokers_do_not_share_a_log() {
    let (_folder, path) = log();
    let (first, second) = (Audit::at(&path), Audit::at(&path));
    write(&first, 1);
    assert!(matches!(second.write(NOW, &event("bob")), Err(AuditError::Taken(_))));
    drop(first);
    write(&second, 1);
    assert_eq!(verify(&path).unwrap().lines, 2);
}

#[test]
fn a_full_disk_is_an_error_each_time() {
    let audit = Audit::at(Path::new("/dev/full"));
    for _ in 0..2 {
        assert!(matches!(audit.write(NOW, &event("ada")), Err(AuditError::Write { .. })));
    }
}

#[test]
fn a_rotation_that_failed_is_made_by_a_later_line() {
    const FEW: &str = "TINYCLAW_TEST_WITH_FEW_FILES";
    if std::env::var_os(FEW).is_none() {
        // Again, in a process that may open few files: then a file cannot be had.
        let name = "audit::tests::a_rotation_that_failed_is_made_by_a_later_line";
        let script = format!("ulimit -n 64; exec \"$0\" --exact {name}");
        let mut again = std::process::Command::new("bash");
        let again = again.args(["-c", &script]).arg(std::env::current_exe().unwrap());
        let output = again.env(FEW, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let (_folder, path) = log();
    let audit = Audit::at(&path).with_segments_of(1000);
    while fs::metadata(&path).map_or(0, |it| it.len()) < 800 {
        write(&audit, 1);
    }
    let all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for _ in 0..2 {
        assert!(audit.write(NOW, &event("ada")).is_err() && audit.check(NOW).is_err());
    }
    drop(all);
    write(&audit, 3);
    // The segment's name is taken: this line is not written, the next one is.
    while fs::metadata(&path).map_or(0, |it| it.len()) < 800 {
        write(&audit, 1);
    }
    let stranger = segment(&path, audit.lock().first_seq);
    fs::create_dir(&stranger).unwrap();
    assert!(audit.write(NOW, &event("ada")).is_err());
    fs::remove_dir(&stranger).unwrap();
    write(&audit, 3);
    assert_eq!(verify(&path).unwrap().files, 3);
}

#[test]
fn a_log_that_could_not_be_written_is_tried_before_it_is_called_good() {
    let audit = Audit::at(Path::new("/dev/full"));
    audit.check(NOW).unwrap();
    audit.write(NOW, &event("ada")).unwrap_err();
    audit.check(NOW).unwrap_err();

    let (folder, path) = log();
    let audit = Audit::at(&path);
    write(&audit, 1);
    // A file that is as large as it may ever be: the limit of one process is not ours to set
    // here, so the trouble is remembered by hand.
    audit.in_trouble.store(true, Ordering::SeqCst);
    audit.check(NOW).unwrap();
    audit.check(NOW).unwrap();
    assert_eq!(verify(&path).unwrap().lines, 2, "said once");
    drop(folder);
}

#[test]
fn the_last_line_remembers_that_it_is_frozen() {
    let (_folder, path) = log();
    let audit = Audit::at(&path);
    let freeze = Event { event: "freeze", ..Event::default() };
    audit.write_frozen(NOW, &freeze, true).unwrap();
    write(&audit, 1);
    drop(audit);
    assert!(Audit::at(&path).open(NOW).unwrap().frozen);
}
