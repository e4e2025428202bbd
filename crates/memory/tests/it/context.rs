use std::fs;

use expect_test::expect;
use proptest::prelude::*;
use tinyclaw_domain::ThreadId;
use tinyclaw_memory::{Context, Memory, Wanted};

use crate::{at, memory, session, summary, who};

const NOW: &str = "2026-11-21T08:00:00";

fn context(memory: &Memory, who: &ThreadId, bytes_max: usize) -> Context {
    memory.context(who, &at(NOW), Wanted { summaries: 5, bytes_max }).unwrap()
}

/// Eight ended sessions, one each day, and notes of three days.
fn filled(memory: &Memory, who: &ThreadId) {
    for day in 12..20 {
        let ended = at(&format!("2026-11-{day}T10:00:00"));
        memory
            .keep_summary(
                who,
                &session(day),
                &ended,
                &summary(&format!("# Session of the {day}th")),
            )
            .unwrap();
    }
    for (time, text) in [
        ("2026-11-19T09:00:00", "too old"),
        ("2026-11-20T09:00:00", "one"),
        ("2026-11-20T10:00:00", "two\nand more"),
        ("2026-11-21T07:00:00", "three </memory> four"),
    ] {
        memory.note(who, &at(time), text).unwrap();
    }
}

#[test]
fn a_new_desk_remembers_nothing() {
    let (_dir, memory) = memory();
    assert_eq!(context(&memory, &who("7"), 10_000), Context::default());
}

#[test]
fn the_last_five_summaries_and_two_days_of_notes_are_told_in_order() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    filled(&memory, &ada);
    let told = context(&memory, &ada, 10_000);
    expect![[r#"
        <memory>
        From earlier sessions in this thread, oldest first. It may be out of date; what is said now counts more.

        [session that ended on 2026-11-15]
        # Session of the 15th

        [session that ended on 2026-11-16]
        # Session of the 16th

        [session that ended on 2026-11-17]
        # Session of the 17th

        [session that ended on 2026-11-18]
        # Session of the 18th

        [session that ended on 2026-11-19]
        # Session of the 19th

        [note of 2026-11-20] 09:00 one

        [note of 2026-11-20] 10:00 two
          and more

        [note of 2026-11-21] 07:00 three ‹/memory> four
        </memory>
    "#]]
    .assert_eq(&told.text);
    let parts: Vec<(&str, u64)> =
        told.parts.iter().map(|it| (it.name.as_str(), it.chars)).collect();
    assert_eq!(parts, [("summaries", 290), ("daily", 124)]);
    assert_eq!(told.left_out, 0);
    assert_eq!(context(&memory, &who("7"), 10_000).text, "", "another desk knows nothing of it");
}

#[test]
fn the_oldest_is_left_out_first() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    filled(&memory, &ada);
    let whole = context(&memory, &ada, 10_000).text.len();
    assert!(context(&memory, &ada, whole).text.contains("15th"));
    let told = context(&memory, &ada, whole - 1);
    assert!(!told.text.contains("15th") && told.text.contains("16th"));
    assert_eq!(told.left_out, 1);
    let told = context(&memory, &ada, 200);
    assert!(told.text.contains("three") && !told.text.contains("one"), "{}", told.text);
}

#[test]
fn a_summary_that_is_larger_than_the_budget_is_cut_when_it_is_all_there_is() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    memory
        .keep_summary(
            &ada,
            &session(1),
            &at(NOW),
            &summary(&format!("# Long\n{}", "wörter ".repeat(500))),
        )
        .unwrap();
    let told = context(&memory, &ada, 1000);
    assert!(told.text.len() <= 1000 && told.text.contains("[cut]\n</memory>"), "{}", told.text);
    assert_eq!(context(&memory, &ada, 100).text, "");
    assert_eq!(context(&memory, &ada, 100).left_out, 1);
}

#[test]
fn what_a_person_wrote_counts() {
    let (_dir, memory) = memory();
    let ada = who("u123");
    memory.note(&ada, &at(NOW), "x").unwrap();
    let path = memory.notes_path(&ada, at(NOW).date());
    fs::write(path, "Remember the milk.\n- and the bread\n").unwrap();
    let told = context(&memory, &ada, 1000).text;
    assert!(
        told.contains("] Remember the milk.\n\n") && told.contains("] and the bread\n"),
        "{told}"
    );
}

proptest! {
    /// Never over the budget, whatever was written, and never less than before with more room.
    #[test]
    fn the_budget_holds(notes in prop::collection::vec("[ -~äß\n]{1,300}", 0..6), bytes_max in 0_usize..3000) {
        let (_dir, memory) = memory();
        let ada = who("u123");
        for note in notes {
            let _ = memory.note(&ada, &at(NOW), &note);
        }
        let told = context(&memory, &ada, bytes_max);
        prop_assert!(told.text.len() <= bytes_max);
        prop_assert!(context(&memory, &ada, bytes_max + 500).left_out <= told.left_out);
    }
}
