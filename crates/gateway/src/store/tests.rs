//! The store against crashes, damage, full disks and its own retention.

#![allow(clippy::disallowed_methods, reason = "the tests damage files as a bad disk does")]

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use tinyclaw_service::Vitals;

use super::*;
use crate::event::Draft;
use crate::feed::{Feed, GapReason, Told};
use crate::filter::Pattern;

struct Rig {
    dir: tempfile::TempDir,
    keep: Keep,
}

impl Rig {
    fn new() -> Rig {
        Rig { dir: tempfile::tempdir().unwrap(), keep: Keep::default() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.path(), self.keep, Vitals::new("gateway", "1")).unwrap()
    }

    /// Ends a store, and waits until its thread has let go of the database.
    fn close(&self, store: Store) {
        drop(store);
        // Not until the log is gone: connections that close at once each take the other for the last, and leave it.
        while self.is_open() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether this process has anything of the database open.
    fn is_open(&self) -> bool {
        let dir = self.dir.path().canonicalize().unwrap();
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter_map(|it| std::fs::read_link(it.path()).ok()).any(|it| it.starts_with(&dir))
    }
}

fn event(kind: &str, id: Option<&str>, metadata: Value) -> NewEvent {
    let Value::Object(metadata) = metadata else { panic!("an object") };
    let draft = Draft {
        kind: kind.to_owned(),
        source: "test".to_owned(),
        id: id.map(str::to_owned),
        session: metadata.get("session").and_then(Value::as_str).map(str::to_owned),
        metadata,
        ..Draft::default()
    };
    NewEvent::checked(draft).unwrap()
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<NewEvent> {
    numbers.into_iter().map(|it| event("test.number", None, json!({ "n": it }))).collect()
}

async fn keep(store: &Store, events: Vec<NewEvent>) -> Vec<Receipt> {
    store.append(events, Durability::Flushed).await.unwrap()
}

fn number(frame: &Frame) -> u64 {
    serde_json::from_str::<Value>(frame.body()).unwrap()["metadata"]["n"].as_u64().unwrap()
}

async fn all(store: &Store) -> Vec<u64> {
    let page = store.page(&Filter::default(), 0, 10_000).await.unwrap();
    page.frames.iter().map(|it| number(it)).collect()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_under_the_same_number() {
    let rig = Rig::new();
    let store = rig.open();
    let receipts = keep(&store, numbered(0..3)).await;
    assert_eq!(receipts.iter().map(|it| it.cursor.seq).collect::<Vec<_>>(), [1, 2, 3]);
    rig.close(store);
    let store = rig.open();
    assert_eq!(store.head(), receipts[2].cursor);
    assert_eq!(all(&store).await, [0, 1, 2]);
    assert_eq!(keep(&store, numbered(3..4)).await[0].cursor.seq, 4);
}

#[tokio::test]
async fn the_same_id_is_the_same_event_and_another_body_is_a_conflict() {
    let rig = Rig::new();
    let store = rig.open();
    let one = || event("a.b", Some("x"), json!({ "n": 1 }));
    let first = keep(&store, vec![one(), one()]).await;
    assert_eq!((first[0].is_duplicate, first[1].is_duplicate), (false, true));
    assert_eq!(first[0].cursor, first[1].cursor);
    rig.close(store);
    let store = rig.open();
    let again = keep(&store, vec![one(), event("a.b", Some("y"), json!({ "n": 2 }))]).await;
    assert_eq!((again[0].cursor, again[0].is_duplicate), (first[0].cursor, true));
    let other = event("a.b", Some("x"), json!({ "n": 9 }));
    let both = vec![event("a.b", Some("z"), json!({ "n": 3 })), other];
    let refused = store.append(both, Durability::Flushed).await.unwrap_err();
    assert_eq!(refused, StoreError::Conflict { index: 1, cursor: first[0].cursor });
    assert_eq!(all(&store).await, [1, 2], "nothing of the refused request is kept");
    let z = keep(&store, vec![event("a.b", Some("z"), json!({ "n": 3 }))]).await;
    assert_eq!((z[0].cursor.seq, z[0].is_duplicate), (3, false), "and no number was used up");
}

#[tokio::test]
async fn a_thousand_senders_at_once_get_numbers_without_holes() {
    let rig = Rig::new();
    let store = rig.open();
    let senders = (0..1_000).map(|it| {
        let store = store.clone();
        tokio::spawn(async move { keep(&store, numbered([it])).await[0].cursor.seq })
    });
    let mut seqs = Vec::new();
    for it in senders.collect::<Vec<_>>() {
        seqs.push(it.await.unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_subscriber_that_comes_at_any_moment_misses_nothing_and_hears_nothing_twice() {
    let rig = Rig::new();
    let store = rig.open();
    let epoch = store.head().epoch;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for it in 0..400 {
                keep(&store, numbered([it * 2, it * 2 + 1])).await;
            }
        }
    });
    // Each stays for a few events, leaves, and comes back where it was.
    let readers: Vec<_> = (1..=8usize)
        .map(|stay| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut heard, mut place) = (Vec::new(), Cursor { epoch, seq: 0 });
                while heard.len() < 800 {
                    let mut feed = Feed::after(&store, Filter::default(), place);
                    let mut here = 0;
                    while here < stay * 7 && heard.len() < 800 {
                        for told in feed.next().await {
                            let Told::Event(frame) = told else { panic!("{told:?}") };
                            if here < stay * 7 {
                                heard.push(number(&frame));
                                place = frame.cursor;
                                here += 1;
                            }
                        }
                    }
                }
                heard
            })
        })
        .collect();
    writer.await.unwrap();
    for it in readers {
        assert_eq!(it.await.unwrap(), (0..800).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_filter_says_the_same_of_memory_and_of_the_database() {
    let rig = Rig::new();
    let store = rig.open();
    let kinds = ["session.start", "session.end", "session", "tool.use", "tool"];
    let events = (0..600u64).map(|it| {
        let session = format!("s{}", it % 7);
        event(kinds[it as usize % 5], None, json!({ "n": it, "session": session }))
    });
    for it in events.collect::<Vec<_>>().chunks(50) {
        keep(&store, it.to_vec()).await;
    }
    let everything = store.page(&Filter::default(), 0, 10_000).await.unwrap().frames;
    let pattern = |it: &str| Pattern::parse(it).unwrap();
    let filters = [
        Filter::default(),
        Filter { types: vec![pattern("session.*")], ..Filter::default() },
        Filter { types: vec![pattern("*")], ..Filter::default() },
        Filter { types: vec![pattern("tool"), pattern("session.*")], ..Filter::default() },
        Filter { types: vec![pattern("none.*")], ..Filter::default() },
        Filter { session: Some("s3".into()), ..Filter::default() },
        Filter { session: Some("s3".into()), types: vec![pattern("tool*")], ..Filter::default() },
        Filter { source: Some("other".into()), ..Filter::default() },
        Filter { since: Some(everything[300].time), ..Filter::default() },
        Filter { since: Some(u64::MAX), ..Filter::default() },
    ];
    for filter in filters {
        let expected: Vec<u64> =
            everything.iter().filter(|it| filter.admits(it)).map(|it| number(it)).collect();
        let numbers = |page: &Page| page.frames.iter().map(|it| number(it)).collect::<Vec<_>>();
        let whole = store.page(&filter, 0, 10_000).await.unwrap();
        assert_eq!(numbers(&whole), expected, "{filter:?}");
        // The same in pages of 7, and the last 7 backwards.
        let (mut paged, mut after) = (Vec::new(), 0);
        while after < 600 {
            let page = store.page(&filter, after, 7).await.unwrap();
            paged.extend(numbers(&page));
            assert!(page.next > after);
            after = page.next;
        }
        assert_eq!(paged, expected, "{filter:?}");
        let last = store.last(&filter, 7).await.unwrap();
        assert_eq!(numbers(&last), expected[expected.len().saturating_sub(7)..], "{filter:?}");
        // And where only few events may be looked at for each page.
        let (mut paged, mut after) = (Vec::new(), 0);
        while after < 600 {
            let (filter, most) = (filter.clone(), Most { rows: 7, bytes: usize::MAX, look: 10 });
            let page = store.read(move |it| page::after(it, &filter, after, most)).await.unwrap();
            paged.extend(numbers(&page));
            assert!(page.next > after);
            after = page.next;
        }
        assert_eq!(paged, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn what_retention_took_is_told_as_one_gap_and_the_rest_follows() {
    let mut rig = Rig::new();
    rig.keep.rows = 100;
    let store = rig.open();
    let epoch = store.head().epoch;
    // More than fits in memory is read from the database, where the beginning is gone.
    keep(&store, numbered(0..1_000)).await;
    store.shared.ring.clear();
    store.retire().await.unwrap();
    let mut feed = Feed::after(&store, Filter::default(), Cursor { epoch, seq: 10 });
    let told = feed.next().await;
    let Told::Gap(gap) = &told[0] else { panic!("{:?}", told[0]) };
    assert_eq!((gap.count, gap.reason), (Some(890), GapReason::Retention));
    assert_eq!((gap.from.clone(), gap.to.clone()), (format!("{epoch}-11"), format!("{epoch}-900")));
    let numbers: Vec<u64> = told[1..]
        .iter()
        .map(|it| match it {
            Told::Event(it) => number(it),
            Told::Gap(it) => panic!("{it:?}"),
        })
        .collect();
    assert_eq!(numbers, (900..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_place_of_another_epoch_and_one_of_the_future_are_one_gap_each() {
    let rig = Rig::new();
    let store = rig.open();
    keep(&store, numbered(0..3)).await;
    let head = store.head();
    let other = Cursor { epoch: "zzzz".parse().unwrap(), seq: 2 };
    let mut feed = Feed::after(&store, Filter::default(), other);
    let mut told = feed.next().await;
    while told.len() < 4 {
        told.extend(feed.next().await);
    }
    assert!(matches!(&told[0], Told::Gap(it) if it.reason == GapReason::Epoch), "{told:?}");
    assert_eq!(told.iter().filter(|it| matches!(it, Told::Event(_))).count(), 3);
    let mut feed = Feed::after(&store, Filter::default(), Cursor { seq: 9, ..head });
    let told = feed.next().await;
    assert!(matches!(&told[..], [Told::Gap(it)] if it.reason == GapReason::Future), "{told:?}");
    keep(&store, numbered(3..4)).await;
    assert!(matches!(&feed.next().await[..], [Told::Event(it)] if number(it) == 3));
}

#[tokio::test]
async fn what_is_removed_is_forgotten_as_a_duplicate_and_the_numbers_go_on() {
    let mut rig = Rig::new();
    rig.keep.age = Duration::ZERO;
    let store = rig.open();
    let one = || event("a.b", Some("x"), json!({ "n": 1 }));
    keep(&store, vec![one()]).await;
    keep(&store, numbered(2..10)).await;
    // Nothing is older than now within the same millisecond.
    while all(&store).await.len() > 1 {
        store.retire().await.unwrap();
    }
    assert_eq!(all(&store).await, [9], "the last one stays");
    let again = keep(&store, vec![one()]).await;
    assert_eq!((again[0].cursor.seq, again[0].is_duplicate), (10, false));
    rig.close(store);
    assert_eq!(rig.open().head().seq, 10);
}

#[tokio::test]
async fn a_full_disk_is_said_and_readers_and_later_events_go_on() {
    let mut rig = Rig::new();
    rig.keep.bytes = 300_000;
    let store = rig.open();
    let large = |n: u64| event("a.b", None, json!({ "n": n, "x": "y".repeat(50_000) }));
    let mut kept = 0;
    let refused = loop {
        match store.append(vec![large(kept)], Durability::Flushed).await {
            Ok(_) => kept += 1,
            Err(err) => break err,
        }
        assert!(kept < 100, "a database of 600,000 bytes has an end");
    };
    assert_eq!(refused, StoreError::DiskFull);
    assert!(!store.shared.vitals.snapshot().ready);
    assert_eq!(all(&store).await.len() as u64, kept, "what was acknowledged is there");
    store.retire().await.unwrap();
    let receipts = keep(&store, vec![large(kept)]).await;
    assert_eq!(receipts[0].cursor.seq, kept + 1, "the refused one used up no number");
}

#[tokio::test]
async fn a_database_that_is_none_is_set_aside_and_another_epoch_begins() {
    let rig = Rig::new();
    let store = rig.open();
    let before = keep(&store, numbered(0..3)).await[2].cursor;
    rig.close(store);
    let mut bytes = std::fs::read(rig.path()).unwrap();
    bytes[..16].fill(b'x');
    std::fs::write(rig.path(), &bytes).unwrap();
    let store = rig.open();
    assert_ne!(store.head().epoch, before.epoch);
    assert_eq!(store.head().seq, 0);
    assert_eq!(std::fs::read(rig.dir.path().join("events.db.bad")).unwrap(), bytes);
    let mut feed = Feed::after(&store, Filter::default(), before);
    keep(&store, numbered(7..8)).await;
    assert!(matches!(&feed.next().await[0], Told::Gap(it) if it.reason == GapReason::Epoch));
    assert!(matches!(&feed.next().await[..], [Told::Event(it)] if number(it) == 7));
}

#[tokio::test]
async fn damage_that_is_met_while_running_is_set_aside_and_what_comes_is_kept() {
    let rig = Rig::new();
    let store = rig.open();
    let epoch = store.head().epoch;
    let large =
        |n: u64| event("a.b", Some(&format!("id-{n}")), json!({ "n": n, "x": "y".repeat(900) }));
    for at in 0..20 {
        keep(&store, (at * 50..at * 50 + 50).map(large).collect()).await;
    }
    // Into the database proper, so that the pages are read from there.
    Connection::open(rig.path())
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let length = std::fs::metadata(rig.path()).unwrap().len();
    let junk = vec![0xA5; usize::try_from(length).unwrap() - 4096];
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(rig.path()).unwrap();
    file.write_all_at(&junk, 4096).unwrap();
    // Whoever meets it first is told so; after that the store is whole again.
    let mut tries = 0;
    let receipt = loop {
        let _ = store.page(&Filter::default(), 0, 1_000).await;
        match store.append(vec![large(5_000 + tries)], Durability::Flushed).await {
            Ok(it) if it[0].cursor.epoch != epoch => break it[0],
            _ => tries += 1,
        }
        assert!(tries < 1_000, "the damage is never met");
    };
    assert_eq!(
        store.page(&Filter::default(), receipt.cursor.seq - 1, 9).await.unwrap().frames.len(),
        1
    );
    assert!(rig.dir.path().join("events.db.bad").exists());
}

#[tokio::test]
async fn a_log_that_lost_its_tail_gives_a_beginning_of_what_was_kept_and_no_more() {
    let rig = Rig::new();
    let store = rig.open();
    for it in 0..50 {
        keep(&store, numbered([it])).await;
    }
    // What a crash leaves: the database and its log, copied while it runs. Cut anywhere, it is a beginning.
    let copy = tempfile::tempdir().unwrap();
    let (db, wal) = (copy.path().join("events.db"), copy.path().join("events.db-wal"));
    let (bytes, log) = (
        std::fs::read(rig.path()).unwrap(),
        std::fs::read(rig.dir.path().join("events.db-wal")).unwrap(),
    );
    for cut in (0..=log.len()).step_by(3_001).chain([log.len()]) {
        std::fs::write(&db, &bytes).unwrap();
        std::fs::write(&wal, &log[..cut]).unwrap();
        let _ = std::fs::remove_file(copy.path().join("events.db-shm"));
        let cut_short = Rig { dir: tempfile::tempdir_in(copy.path()).unwrap(), keep: rig.keep };
        std::fs::rename(&db, cut_short.path()).unwrap();
        std::fs::rename(&wal, cut_short.dir.path().join("events.db-wal")).unwrap();
        let store = cut_short.open();
        let found = all(&store).await;
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "cut at {cut}");
        if cut == log.len() {
            assert_eq!(found.len(), 50);
        }
        let next = keep(&store, numbered([found.len() as u64])).await[0].cursor.seq;
        assert_eq!(next, found.len() as u64 + 1, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_database_that_somebody_holds_is_said_and_used_again_after() {
    let rig = Rig::new();
    let store = rig.open();
    let other = Connection::open(rig.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.append(numbered(0..1), Durability::Flushed).await.unwrap_err();
    assert!(refused.to_string().contains("another program"), "{refused}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(keep(&store, numbered(0..1)).await[0].cursor.seq, 1);
    assert!(!store.shared.vitals.snapshot().why.iter().any(|it| it.contains("another")));
}

#[tokio::test]
async fn a_later_format_is_left_alone() {
    let rig = Rig::new();
    let store = rig.open();
    rig.close(store);
    Connection::open(rig.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::open(&rig.path(), rig.keep, Vitals::new("gateway", "1")).unwrap_err();
    assert!(refused.to_string().contains("later"), "{refused}");
    assert!(!rig.dir.path().join("events.db.bad").exists());
}

#[tokio::test]
async fn a_followed_logs_place_is_kept_with_its_rows_or_not_at_all() {
    let rig = Rig::new();
    let store = rig.open();
    let place = |it: &str| Some(("history".to_owned(), it.to_owned()));
    store.append_from(numbered(0..2), Durability::Flushed, place("7")).await.unwrap();
    let one = || event("a.b", Some("x"), json!({ "n": 2 }));
    keep(&store, vec![one()]).await;
    let other = vec![event("a.b", Some("x"), json!({ "n": 9 }))];
    store.append_from(other, Durability::Flushed, place("8")).await.unwrap_err();
    assert_eq!(store.position("history").await.unwrap().as_deref(), Some("7"));
    rig.close(store);
    assert_eq!(rig.open().position("history").await.unwrap().as_deref(), Some("7"));
}

#[tokio::test]
async fn a_reader_that_stops_in_the_middle_does_not_let_the_log_grow() {
    let rig = Rig::new();
    let store = rig.open();
    let epoch = store.head().epoch;
    let mut feed = Feed::after(&store, Filter::default(), Cursor { epoch, seq: 0 });
    keep(&store, numbered(0..1)).await;
    assert_eq!(feed.next().await.len(), 1);
    let large = |n: u64| event("a.b", None, json!({ "n": n, "x": "y".repeat(20_000) }));
    for at in 0..30 {
        keep(&store, (at * 64..at * 64 + 64).map(large).collect()).await;
    }
    let wal = std::fs::metadata(rig.dir.path().join("events.db-wal")).unwrap().len();
    assert!(wal < 24 << 20, "{wal} bytes of log after 38 MB of events");
    // The one that stood still gets all of it.
    let mut heard = 0;
    while heard < 30 * 64 {
        for it in feed.next().await {
            assert!(matches!(it, Told::Event(_)), "{it:?}");
            heard += 1;
        }
    }
}

#[test]
fn what_readers_are_promised_is_there() {
    let formats = include_str!("../../../../docs/FORMATS.md");
    let promised = formats.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let of_readers = rusqlite::Connection::open_in_memory().unwrap();
    of_readers.execute_batch(promised).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (ours, _) = super::schema::open(&dir.path().join("events.db"), 1 << 30).unwrap();
    for table in ["meta", "events"] {
        let columns = |connection: &rusqlite::Connection| -> Vec<String> {
            let question = format!("SELECT name FROM pragma_table_info('{table}')");
            let mut statement = connection.prepare(&question).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let have = columns(&ours);
        let wanted = columns(&of_readers);
        assert!(
            !wanted.is_empty() && wanted.iter().all(|it| have.contains(it)),
            "{table}: {have:?}"
        );
    }
}

/// A page of a thousand events once was up to 256 MB, and whoever did not read kept up to 64 of them.
#[tokio::test]
async fn a_page_is_bounded_by_its_bytes_and_goes_on_where_it_ended() {
    let rig = Rig::new();
    let store = rig.open();
    let epoch = store.head().epoch;
    let large = |it: u64| {
        let kind = ["a.one", "a.two", "b"][it as usize % 3];
        event(kind, None, json!({ "n": it, "session": "s1", "x": "y".repeat(200 << 10) }))
    };
    for first in [0, 20, 40] {
        keep(&store, (first..first + 20).map(large).collect()).await;
    }
    let bytes = |frames: &[Arc<Frame>]| frames.iter().map(|it| it.body().len()).sum::<usize>();
    let pattern = |it| Pattern::parse(it).unwrap();
    let filters = [
        Filter::default(),
        Filter { types: vec![pattern("a.*"), pattern("b")], ..Filter::default() },
        Filter { session: Some("s1".into()), ..Filter::default() },
    ];
    for filter in filters {
        let (mut found, mut after) = (Vec::new(), 0);
        while after < store.head().seq {
            let page = store.page(&filter, after, 1_000).await.unwrap();
            assert!(bytes(&page.frames) <= ANSWER_BYTES + (256 << 10), "{}", bytes(&page.frames));
            found.extend(page.frames.iter().map(|it| number(it)));
            after = page.next;
        }
        assert_eq!(found, (0..60).collect::<Vec<_>>(), "{filter:?}");
        let last = store.last(&filter, 1_000).await.unwrap().frames;
        assert!(bytes(&last) <= ANSWER_BYTES + (256 << 10) && number(&last[last.len() - 1]) == 59);
    }
    // A subscriber, from the database and from memory.
    let mut feed = Feed::after(&store, Filter::default(), Cursor { epoch, seq: 0 });
    let mut told = Vec::new();
    while told.len() < 60 {
        let frames: Vec<Arc<Frame>> = (feed.poll().await.into_iter())
            .map(|it| match it {
                Told::Event(it) => it,
                Told::Gap(gap) => panic!("{gap:?}"),
            })
            .collect();
        assert!(bytes(&frames) <= SUBSCRIBER_BYTES + (256 << 10), "{}", bytes(&frames));
        told.extend(frames.iter().map(|it| number(it)));
    }
    assert_eq!(told, (0..60).collect::<Vec<_>>());
}
