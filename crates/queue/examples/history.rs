//! Judges what happened from what clients wrote down themselves, and from nothing else: it knows no queue, no folder and no
//! table. `history FOLDER` reads the notes that `torture --notes FOLDER` leaves, whatever the queue stood on, prints one JSON
//! line and ends with 1 when something is wrong.
//!
//! A publisher noted each key after it was accepted (`accepted-*`). A worker noted each question before it asked and each
//! answer after it was kept (`work`); a sender each part before it sent it (`telegram`). A client may die before its note,
//! so that what is missing from a note proves nothing, and what is there does:
//! - *lost*: accepted and never asked, or sent in part and never to the end.
//! - *reordered*: first questions of one publisher in one lane, or first parts of two answers of one lane, in another order
//!   than that in which the messages were accepted.
//! - *repeated*: asked after its answer was kept; *doubled*: a part sent again without its mark, or of what was never asked.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to whoever runs it")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Parts of each answer that is pushed.
const PARTS: usize = 2;

#[derive(Default)]
struct Verdict {
    accepted: usize,
    answered: usize,
    delivered: usize,
    lost: usize,
    reordered: usize,
    repeated: usize,
    doubled: usize,
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: history FOLDER");
        return ExitCode::from(2);
    };
    let verdict = judge(Path::new(&folder));
    let Verdict { accepted, answered, delivered, lost, reordered, repeated, doubled } = verdict;
    println!(
        "{{\"accepted\":{accepted},\"answered\":{answered},\"delivered\":{delivered},\"lost\":{lost},\
         \"reordered\":{reordered},\"repeated\":{repeated},\"doubled\":{doubled}}}"
    );
    // Without a history there is nothing to be right about.
    ExitCode::from(u8::from(accepted == 0 || lost + reordered + repeated + doubled > 0))
}

fn judge(folder: &Path) -> Verdict {
    let mut verdict = Verdict::default();
    let accepted: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|it| it.file_name().to_string_lossy().starts_with("accepted-"))
        .flat_map(|it| lines(&it.path()))
        .collect();
    let accepted: HashSet<&str> = accepted.iter().map(String::as_str).collect();
    verdict.accepted = accepted.len();
    let work = lines(&folder.join("work"));
    let telegram = lines(&folder.join("telegram"));

    let mut asked: HashSet<&str> = HashSet::new();
    let mut answered: HashSet<&str> = HashSet::new();
    let mut last_asked: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in &work {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ask", lane, key] => {
                verdict.repeated += usize::from(answered.contains(key));
                if asked.insert(key) {
                    verdict.reordered += usize::from(is_late(&mut last_asked, lane, key));
                }
            }
            ["answered", _, key] => {
                answered.insert(key);
            }
            _ => {}
        }
    }
    verdict.answered = answered.len();
    verdict.lost += accepted.iter().filter(|it| !asked.contains(**it)).count();

    let mut sent: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut last_sent: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in &telegram {
        let ["part", lane, key, part, mark] = line.split(' ').collect::<Vec<_>>()[..] else {
            continue;
        };
        let parts = sent.entry(key).or_default();
        if parts.is_empty() {
            verdict.reordered += usize::from(is_late(&mut last_sent, lane, key));
        }
        let is_again = !parts.insert(part);
        let is_nobodys = !asked.contains(key);
        verdict.doubled += usize::from(is_nobodys || (is_again && mark != "marked"));
    }
    verdict.delivered = sent.values().filter(|it| it.len() == PARTS).count();
    verdict.lost += sent.values().filter(|it| it.len() != PARTS).count();
    verdict
}

/// Whether a publisher's message came later in its lane than one that was accepted after it.
fn is_late<'a>(last: &mut BTreeMap<(&'a str, &'a str), u64>, lane: &'a str, key: &'a str) -> bool {
    let Some((publisher, number)) = key.split_once('-') else { return false };
    // What a turn sent on has no number of its own.
    let Ok(number) = number.parse::<u64>() else { return false };
    let last = last.entry((lane, publisher)).or_default();
    let is_late = number < *last;
    *last = number.max(*last);
    is_late
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}
