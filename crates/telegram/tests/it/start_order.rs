//! In which order an inbox hands on what it finds at a start and what Telegram sends again.
#![allow(clippy::disallowed_methods, reason = "a disk is played by hand")]

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use tinyclaw_telegram::inbound::updates::{Inbox, Update};

fn update(id: i64) -> Update {
    Update { id, raw: json!({"update_id": id}) }
}

/// A folder that costs no flushes.
fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() {
        tempfile::tempdir_in(shared).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn lay_down(dir: &TempDir, id: i64, kind: &str) {
    let path = dir.path().join(format!("{id}.{kind}"));
    std::fs::write(path, update(id).raw.to_string()).unwrap();
}

/// A process that begins with this folder and this offset: what it hands on at once, and its inbox.
fn begin(dir: &TempDir, offset: Option<i64>) -> (Inbox, Vec<i64>) {
    let inbox = Inbox::open(dir.path()).unwrap();
    let left = inbox.left().unwrap();
    let at_once = inbox.hold_back(left.updates, offset);
    (inbox, ids(at_once))
}

fn ids(updates: Vec<Vec<Update>>) -> Vec<i64> {
    updates.concat().into_iter().map(|it| it.id).collect()
}

fn stored(inbox: &Inbox, batch: impl IntoIterator<Item = i64>) -> Vec<i64> {
    ids(inbox.store(batch.into_iter().map(update).collect()).new)
}

/// Telegram: it sends what was not confirmed, so much at a time.
struct Line {
    confirmed: i64,
    last: i64,
    limit: usize,
}

impl Line {
    fn poll(&mut self, offset: Option<i64>) -> Vec<i64> {
        self.confirmed = offset.map_or(self.confirmed, |it| self.confirmed.max(it - 1));
        (self.confirmed + 1..=self.last).take(self.limit).collect()
    }
}

/// What of six updates a cut leaves: those that were confirmed are all there, and some of them dealt with; of the others
/// there may be any. The offset may be behind, or lost.
#[test]
fn whatever_a_cut_leaves_is_handed_on_once_and_in_order() {
    const LAST: i64 = 6;
    let mut cases = 0;
    for confirmed in 0..=LAST {
        let offsets = std::iter::once(None).chain((1..=confirmed + 1).map(Some));
        for (offset, there) in offsets.flat_map(|it| (0..1 << LAST).map(move |there| (it, there))) {
            for limit in [1, 2, 100] {
                let dir = folder();
                let mut expected = Vec::new();
                for id in 1..=LAST {
                    let is_marked = there & (1 << (id - 1)) != 0;
                    match (id <= confirmed, is_marked) {
                        (true, true) => lay_down(&dir, id, "done"),
                        (true, false) | (false, true) => lay_down(&dir, id, "json"),
                        (false, false) => {}
                    }
                    if !(id <= confirmed && is_marked) {
                        expected.push(id);
                    }
                }
                let mut line = Line { confirmed, last: LAST, limit };
                let (inbox, mut handed) = begin(&dir, offset);
                let mut next = offset;
                loop {
                    let batch = line.poll(next);
                    let is_over = batch.is_empty() && line.last > LAST;
                    next = batch.last().map(|it| it + 1).or(next);
                    handed.extend(stored(&inbox, batch));
                    if is_over {
                        break;
                    }
                    // People go on talking.
                    line.last = LAST + 1;
                }
                expected.push(LAST + 1);
                let case = format!(
                    "confirmed {confirmed}, offset {offset:?}, {there:06b}, {limit} a poll"
                );
                assert_eq!((handed, inbox.held()), (expected, 0), "{case}");
                cases += 1;
            }
        }
    }
    assert!(cases > 5000, "{cases}");
}

#[test]
fn a_group_has_the_place_of_its_first() {
    let dir = folder();
    (2..=5).for_each(|it| lay_down(&dir, it, "json"));
    std::fs::write(dir.path().join("2.group"), "2\n4").unwrap();
    let (inbox, at_once) = begin(&dir, Some(2));
    assert_eq!((at_once, inbox.held()), (vec![], 4));
    let new = inbox.store([1, 2, 3].map(update).into()).new;
    assert_eq!(new, [vec![update(1)], vec![update(2), update(4)], vec![update(3)]]);
    assert_eq!(stored(&inbox, [4, 5, 6]), [5, 6]);
    // One whose first was confirmed waits for nobody.
    let (inbox, at_once) = begin(&dir, Some(4));
    assert_eq!((at_once, inbox.held()), (vec![1, 2, 4, 3], 2));
}

#[test]
fn what_the_disk_refuses_is_not_overtaken() {
    let dir = folder();
    lay_down(&dir, 3, "json");
    let (inbox, _) = begin(&dir, Some(1));
    // Nothing can be written under this name.
    std::fs::create_dir(dir.path().join("2.tmp")).unwrap();
    assert_eq!(stored(&inbox, [1, 2, 3]), [1]);
    assert_eq!(stored(&inbox, [2, 3]), [0; 0]);
    std::fs::remove_dir(dir.path().join("2.tmp")).unwrap();
    assert_eq!(stored(&inbox, [2, 3]), [2, 3]);
}

#[test]
fn ids_that_began_anew_keep_nothing_back_for_ever() {
    let dir = folder();
    lay_down(&dir, 900, "json");
    let (inbox, _) = begin(&dir, None);
    let mut polls = 1..;
    let found = polls.by_ref().take(100).find(|it| stored(&inbox, [*it]).contains(&900));
    assert!(found.is_some_and(|it| it > 5), "after {found:?} polls");
    assert_eq!(inbox.held(), 0);
    let (inbox, _) = begin(&dir, None);
    assert!(inbox.held() > 0);
    assert!(ids(inbox.let_go()).contains(&900));
    assert_eq!((inbox.held(), stored(&inbox, [])), (0, vec![]));
}
