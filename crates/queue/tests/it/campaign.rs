//! Short kill campaigns with real processes; the long ones are `--example torture`. What happened is judged twice: by what
//! the queue says in the end, and by what the clients wrote down.

use std::path::PathBuf;
use std::process::Command;

use super::in_memory;

/// An example that was built beside this test.
fn example(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let examples: PathBuf = own.parent().and_then(|it| it.parent()).unwrap().join("examples");
    Command::new(examples.join(name))
}

/// Plays a campaign and judges it. Whether it could be played.
fn is_played(args: &[&str]) -> bool {
    let notes = in_memory();
    let run = example("torture").args(args).arg("--notes").arg(notes.path()).output().unwrap();
    let report = String::from_utf8_lossy(&run.stdout);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{report}\n{said}");
    if said.contains("skipped") {
        eprintln!("{said}");
        return false;
    }
    assert!(report.contains("\"lost\":0,\"stolen\":0,\"reordered\":0"), "{report}");
    let history = example("history").arg(notes.path()).output().unwrap();
    let verdict = String::from_utf8_lossy(&history.stdout);
    assert!(history.status.success(), "{verdict}\n{report}");
    true
}

#[test]
fn campaign_fifty_kills() {
    assert!(is_played(&["--kills", "50"]));
}

#[test]
fn campaign_fifty_kills_beside_a_server_that_crashes() {
    is_played(&["--kills", "50", "--engine", "postgres", "--terminate", "30", "--restart", "3"]);
}

/// What clients wrote down of a bad day is found out, each fault by its name.
#[test]
fn a_history_with_a_fault_is_told_by_its_name() {
    let good = "ask 1 p0-0\nanswered 1 p0-0\nask 1 p0-1\nanswered 1 p0-1\n";
    let parts = "part 1 p0-0 1 first\npart 1 p0-0 2 first\n";
    let verdict = |accepted: &str, work: &str, telegram: &str| {
        let notes = tempfile::tempdir().unwrap();
        for (name, text) in [("accepted-0", accepted), ("work", work), ("telegram", telegram)] {
            std::fs::write(notes.path().join(name), text).unwrap();
        }
        let output = example("history").arg(notes.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (is_good, told) = verdict("p0-0\np0-1\n", good, parts);
    assert!(is_good, "{told}");
    let swapped = "ask 1 p0-1\nask 1 p0-0\n";
    let asked_again = format!("{good}ask 1 p0-0\n");
    let unmarked = format!("{parts}part 1 p0-0 2 first\n");
    let half = "part 1 p0-0 1 first\n";
    let faults: [(&str, &str, &str, &str); 6] = [
        ("\"lost\":1", "p0-0\np0-1\np0-2\n", good, parts),
        ("\"lost\":1", "p0-0\np0-1\n", good, half),
        ("\"reordered\":1", "p0-0\np0-1\n", swapped, ""),
        ("\"repeated\":1", "p0-0\np0-1\n", &asked_again, parts),
        ("\"doubled\":1", "p0-0\np0-1\n", good, &unmarked),
        ("\"accepted\":0", "", "", ""),
    ];
    for (fault, accepted, work, telegram) in faults {
        let (is_good, told) = verdict(accepted, work, telegram);
        assert!(!is_good && told.contains(fault), "{fault}: {told}");
    }
    // The mark is what says that it may stand twice.
    let marked = format!("{parts}part 1 p0-0 2 marked\n");
    assert!(verdict("p0-0\np0-1\n", good, &marked).0);
}
