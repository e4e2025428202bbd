use std::path::Path;

use tinyclaw_disk::segment_path;

use crate::big;
use crate::client::{Event, Events};
use crate::running::Running;

fn write(state: &Path, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let line = big::line(number, 5, tinyclaw_service::now_ms(), "a line");
        big::add(state, line.as_bytes());
    }
}

fn number(event: &Event) -> u64 {
    event.json()["line"]["key"].as_str().unwrap()[3..].parse().unwrap()
}

/// Reads rows until `last`, and gives back their numbers.
fn until(events: &mut Events, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let event = events.next().expect("the stream goes on");
        if event.name.is_empty() {
            numbers.push(number(&event));
        }
    }
    numbers
}

#[test]
fn a_row_is_told_when_it_is_written_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..3);
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed", "");
    let line = big::line(3, 5, 0, "in two halves");
    let (half, rest) = line.split_at(30);
    big::add(dir.path(), half.as_bytes());
    big::add(dir.path(), rest.as_bytes());
    assert_eq!(until(&mut events, 3), [3]);
}

#[test]
fn a_client_goes_on_where_it_was_with_another_server() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..700);
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed?last=5", "");
    assert_eq!(until(&mut events, 697), [695, 696, 697]);
    let place = events.last_id.clone();
    drop((events, server));
    write(dir.path(), 700..702);
    let path = big::history(dir.path());
    std::fs::rename(&path, segment_path(&path, 1)).unwrap();
    write(dir.path(), 702..705);
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed", &place);
    write(dir.path(), 705..706);
    assert_eq!(until(&mut events, 705), (698..706).collect::<Vec<_>>());
}

#[test]
fn who_is_cut_off_before_the_first_row_misses_none() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..3);
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed", "");
    write(dir.path(), 3..5);
    until(&mut events, 3);
    let mut early = server.events("/api/messages/feed", "");
    write(dir.path(), 5..6);
    assert_eq!(until(&mut early, 5).last(), Some(&5));
}

#[test]
fn a_stream_goes_on_where_a_page_ended() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..3);
    let server = Running::start(dir.path());
    let place = |path: &str| server.get(path).json()["place"].as_str().unwrap().to_owned();
    let page = place("/api/messages/recent?n=2");
    assert_eq!(page, place("/api/messages/recent?thread=77"), "also of a page with no rows");
    let after = format!("/api/live?after=messages={page},queue={}", place("/api/queue/recent"));
    write(dir.path(), 3..5);
    let mut events = server.events(&after, "");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event = events.next().unwrap();
        assert_ne!(event.name, "gap", "nothing is missing of a log that is not there yet");
        if event.name == "messages" {
            seen.push(number(&event));
        }
    }
    assert_eq!(seen, [3, 4]);
}

#[test]
fn a_file_that_was_cut_meanwhile_begins_with_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..9);
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed?last=9", "");
    until(&mut events, 8);
    let place = events.last_id.clone();
    drop((events, server));
    std::fs::write(big::history(dir.path()), "").unwrap();
    write(dir.path(), 20..23);
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed", &place);
    assert_eq!(events.next().unwrap().name, "gap");
    assert_eq!(until(&mut events, 22), [20, 21, 22]);
}

#[test]
fn a_slow_client_gets_everything_at_its_own_pace() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0..1);
    let server = Running::start(dir.path());
    let mut slow = server.events("/api/messages/feed", "");
    let mut quick = server.events("/api/messages/feed", "");
    // Far more than is kept in memory, and than sockets hold.
    write(dir.path(), 1..6_000);
    assert_eq!(until(&mut quick, 5_999).len(), 5_999);
    assert_eq!(until(&mut slow, 5_999), (1..6_000).collect::<Vec<_>>());
}

#[test]
fn one_stream_tells_the_page_of_every_log_and_goes_on_in_each() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    let say = |line: &str| {
        big::add_to(&dir.path().join("logs/queue.log"), format!("{line}\n").as_bytes());
    };
    say("2026-11-20T10:00:00Z INFO first");
    let server = Running::start(dir.path());
    let mut page = server.events("/api/live", "");
    write(dir.path(), 0..1);
    assert_eq!(number(&page.next_named("messages")), 0);
    say("2026-11-20T10:00:01Z WARN second");
    let event = page.next_named("queue");
    assert_eq!(event.json()["line"]["level"], "warn");
    assert!(event.id.contains("messages=1-") && event.id.contains("queue=1-"), "{}", event.id);
    assert_eq!(page.next_named("state").json()["messages"]["gaps"], 0);
    let place = page.last_id.clone();
    drop(page);
    write(dir.path(), 1..2);
    let mut page = server.events("/api/live", &place);
    assert_eq!(number(&page.next_named("messages")), 1);
}

#[test]
fn a_line_that_stands_twice_after_a_crash_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed", "");
    write(dir.path(), 0..2);
    write(dir.path(), 1..3);
    assert_eq!(until(&mut events, 2), [0, 1, 2]);
    let page = server.get("/api/messages/recent").json();
    assert_eq!(page["rows"].as_array().unwrap().len(), 3);
}

#[test]
fn two_hundred_mishaps_lose_nothing_and_double_nothing() {
    use big::Mishap;
    use rand::{Rng, SeedableRng};
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let mut events = server.events("/api/messages/feed", "");
    let mut chance = rand::rngs::StdRng::seed_from_u64(5);
    let (mut seen, mut written, mut happened) = (Vec::new(), 0, Vec::new());
    for _ in 0..200 {
        let n = chance.random_range(1..6);
        write(dir.path(), written..written + n);
        written += n;
        let mishap = Mishap::any(&mut chance);
        let must_read = mishap.destroys() || mishap == Mishap::Reconnect;
        if must_read && seen.last() != Some(&(written - 1)) {
            seen.extend(until(&mut events, written - 1));
        }
        if mishap == Mishap::Reconnect {
            let place = events.last_id.clone();
            events = server.events("/api/messages/feed", &place);
        }
        happened.push((mishap, written));
        mishap.happen(dir.path(), &big::line(written, 5, 0, "a line"));
        written += u64::from(mishap.writes());
    }
    write(dir.path(), written..written + 1);
    seen.extend(until(&mut events, written));
    let wrong = seen.iter().zip(0..).find(|(seen, at)| *seen != at);
    assert!(wrong.is_none() && seen.len() as u64 == written + 1, "{wrong:?} in {happened:?}");
}
