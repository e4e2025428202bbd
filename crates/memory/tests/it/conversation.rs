use std::fs;
use std::time::{Duration, SystemTime};

use tinyclaw_domain::Direction::{In, Out};
use tinyclaw_memory::NOTE_BYTES_MAX;

use crate::{at, memory, said, session, summary, who};

#[test]
fn every_turn_is_kept_and_a_repeated_line_is_one() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    for line in [
        said(1, "a", In, "hello"),
        said(1, "a", Out, "hi\nthere"),
        said(1, "a", Out, "hi\nthere"),
        said(1, "b", In, "more"),
    ] {
        memory.turn(&ada, &line).unwrap();
    }
    memory.turn(&ada, &said(2, "c", In, "elsewhere")).unwrap();
    let texts: Vec<String> =
        memory.conversation(&ada, &session(1)).unwrap().into_iter().map(|it| it.text).collect();
    assert_eq!(texts, ["hello", "hi\nthere", "more"]);
    assert_eq!(memory.turns(&ada, &session(1)).unwrap(), 1, "an unanswered message is no turn");
    assert_eq!(memory.turns(&ada, &session(2)).unwrap(), 0);
    assert_eq!(memory.turns(&who("7"), &session(1)).unwrap(), 0, "another desk");
    assert!(
        memory
            .conversation_path(&ada, &session(1))
            .ends_with("memory/conversations/u123/00000001-0000-4000-8000-000000000000.jsonl")
    );
}

#[test]
fn conversations_go_when_their_time_is_over_and_summaries_stay() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    memory.turn(&ada, &said(1, "a", Out, "hi")).unwrap();
    memory
        .keep_summary(&ada, &session(1), &at("2026-11-20T10:00:00"), &summary("# Greetings"))
        .unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let later = SystemTime::now() + 10 * day;
    assert_eq!(memory.retire(later, None).unwrap(), 0);
    assert_eq!(memory.retire(later, Some(11 * day)).unwrap(), 0);
    assert_eq!(memory.retire(later, Some(9 * day)).unwrap(), 1);
    assert_eq!(memory.turns(&ada, &session(1)).unwrap(), 0);
    assert_eq!(memory.summaries(&ada, 9).unwrap()[0].session, session(1));
}

#[test]
fn notes_are_a_list_a_day() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    memory
        .note(
            &ada,
            &at("2026-11-20T23:59:30"),
            "  the rent is due\n\n# not a heading\n- not a note ",
        )
        .unwrap();
    memory.note(&ada, &at("2026-11-21T00:00:10"), "paid").unwrap();
    let of = |day: &str| memory.notes(&ada, day.parse().unwrap()).unwrap();
    assert_eq!(of("2026-11-20"), "- 23:59 the rent is due\n  # not a heading\n  - not a note\n");
    assert_eq!(of("2026-11-21"), "- 00:00 paid\n");
    assert_eq!(of("2026-11-22"), "");
    for text in ["", " \n ", &"x".repeat(NOTE_BYTES_MAX + 1)] {
        assert!(memory.note(&ada, &at("2026-11-21T00:00:10"), text).is_err());
    }
}

#[test]
fn an_ended_session_has_one_line_however_often_its_end_is_told() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    let end = summary("# Rent paid\nAda paid the rent.");
    memory.note_end(&ada, &at("2026-11-20T23:59:50"), &session(1), Some(&end)).unwrap();
    memory.note_end(&ada, &at("2026-11-21T00:00:20"), &session(1), Some(&end)).unwrap();
    memory.note_end(&ada, &at("2026-11-21T00:00:30"), &session(2), None).unwrap();
    assert_eq!(
        memory.notes(&ada, "2026-11-20".parse().unwrap()).unwrap(),
        "- 23:59 Rent paid (session 00000001)\n"
    );
    assert_eq!(
        memory.notes(&ada, "2026-11-21".parse().unwrap()).unwrap(),
        "- 00:00 a session ended without anything to remember (session 00000002)\n"
    );
}

#[test]
fn a_line_that_a_person_broke_costs_only_itself() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    memory.turn(&ada, &said(1, "a", Out, "hi")).unwrap();
    let path = memory.conversation_path(&ada, &session(1));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("oops\n{text}{{\"half")).unwrap();
    memory.turn(&ada, &said(1, "b", Out, "still here")).unwrap();
    assert_eq!(memory.turns(&ada, &session(1)).unwrap(), 2);
}

/// A pipe held the turn for ever; through a link a note was written into another file, and what was old elsewhere was
/// removed with the conversations.
#[test]
fn what_somebody_put_in_a_memorys_place_is_neither_read_nor_written_nor_removed() {
    let (dir, memory) = memory();
    let (ada, now) = (who("u123"), at("2026-11-20T10:00:00"));
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("a.jsonl"), "theirs").unwrap();
    let day = memory.notes_path(&ada, now.date());
    fs::create_dir_all(day.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("a.jsonl"), &day).unwrap();
    assert!(memory.note(&ada, &now, "hello").unwrap_err().to_string().contains("is a link"));
    assert!(memory.notes(&ada, now.date()).unwrap_err().to_string().contains("is a link"));
    fs::remove_file(&day).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&day).status().unwrap();
    assert!(made.success());
    assert!(memory.note(&ada, &now, "hello").unwrap_err().to_string().contains("no regular file"));
    assert!(memory.notes(&ada, now.date()).unwrap_err().to_string().contains("no regular file"));
    let conversations = dir.path().join("memory/conversations");
    fs::create_dir_all(&conversations).unwrap();
    std::os::unix::fs::symlink(&elsewhere, conversations.join("u123")).unwrap();
    let later = SystemTime::now() + Duration::from_secs(100);
    assert!(memory.retire(later, Some(Duration::from_secs(1))).is_err());
    assert!(memory.turn(&ada, &said(1, "a", In, "hello")).is_err());
    assert_eq!(fs::read_to_string(elsewhere.join("a.jsonl")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
}
