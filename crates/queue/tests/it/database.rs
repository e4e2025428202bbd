//! What only a queue in a database suffers: connections that break, a server that crashes, a machine that is away, rows
//! that somebody changed by hand. Each at a private server; skipped by name where PostgreSQL is not installed.

use std::time::{Duration, Instant};

use tinyclaw_postgres::Database;
use tinyclaw_postgres::testing::Cluster;
use tinyclaw_queue::{Lease, LeaseError, Place};

use super::*;

/// A server, unless there is none to be had.
fn cluster(test: &str) -> Option<Cluster> {
    let cluster = Cluster::start(&["fsync=off"]);
    if cluster.is_none() {
        eprintln!("{test}: skipped, PostgreSQL is not installed");
    }
    cluster
}

fn open_at(database: &Database) -> Queue {
    let options = Options { sweep_every: Duration::from_millis(50), ..quiet() };
    Queue::open(database.clone(), options).unwrap()
}

/// Waits for what takes a slow machine as long as it takes.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(50);
    loop {
        if let Some(it) = look() {
            return it;
        }
        assert!(Instant::now() < patience, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn claim(queue: &Queue) -> Option<Lease> {
    queue.try_claim(Side::Run, &Which::Ordinary).ok().flatten()
}

/// Answers, as soon as the queue is within reach.
fn answer(lease: &mut Lease, follow_ups: Vec<FollowUp>) {
    let answered = until("the answer", || match lease.answer(reply("hi"), follow_ups.clone()) {
        Err(LeaseError::Away { .. }) => None,
        other => Some(other),
    });
    answered.unwrap();
}

fn end_all_sessions(cluster: &Cluster) {
    let sessions = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
        where application_name = 'tinyclaw'";
    assert_ne!(cluster.ask(sessions).unwrap(), "0");
}

#[test]
fn neither_ended_sessions_nor_a_crashed_server_cost_a_turn() {
    let Some(mut cluster) = cluster("neither_ended_sessions_nor_a_crashed_server_cost_a_turn")
    else {
        return;
    };
    let queue = open_at(&cluster.database("home", "ada", "processor"));
    publish(&queue, "7", "tg-1");
    publish(&queue, "8", "tg-2");
    let mut first = claim(&queue).unwrap();
    let mut second = claim(&queue).unwrap();
    end_all_sessions(&cluster);
    until("contact", || first.still_ours().then_some(()));
    answer(&mut first, vec![follow_up("9")]);
    first.finish().unwrap();
    cluster.crash().unwrap();
    until("the loss of contact", || (!second.still_ours()).then_some(()));
    assert!(matches!(second.checkpoint(checkpoint()), Err(LeaseError::Away { .. })));
    cluster.up().unwrap();
    until("contact", || second.still_ours().then_some(()));
    answer(&mut second, vec![]);
    second.finish().unwrap();
    // An end is not flushed: what a crash forgot of it is made again, from the answer that was.
    let sent_on = until("what was sent on", || {
        let lease = claim(&queue)?;
        if lease.message().key == key("x-tg-1-1") {
            return Some(lease);
        }
        assert_eq!((lease.message().key.as_str(), lease.was_recovered()), ("tg-1", true));
        assert!(lease.message().reply.is_some());
        lease.finish().unwrap();
        None
    });
    assert!(!sent_on.was_recovered());
    let depth = queue.view().depth().unwrap();
    assert_eq!((depth.incoming, depth.processing, depth.outgoing), (0, 1, 2));
}

/// Ada's machine cannot come back: its user may not log in. Bob's waits for its patience and takes over; when Ada is back,
/// what she does to the message is refused.
#[test]
fn a_machine_that_is_away_is_followed_and_its_late_words_are_refused() {
    let Some(cluster) =
        cluster("a_machine_that_is_away_is_followed_and_its_late_words_are_refused")
    else {
        return;
    };
    cluster.ask("create role ada superuser login").unwrap();
    let patience = Duration::from_secs(1);
    let bobs = cluster.database("home", "bob", "processor").away_after(patience);
    let adas = cluster.database_as("ada", "home", "ada", "processor").away_after(patience);
    let (ada, bob) = (open_at(&adas), open_at(&bobs));
    publish(&ada, "7", "tg-1");
    let mut lease = claim(&ada).unwrap();
    assert!(claim(&bob).is_none(), "it is Ada's");
    cluster.ask("alter role ada nologin").unwrap();
    let began = Instant::now();
    end_all_sessions(&cluster);
    let mut taken_over = until("Bob's turn", || claim(&bob));
    assert!(began.elapsed() >= patience, "he waited for {:?}", began.elapsed());
    assert!(taken_over.was_recovered());
    until("Ada's notice", || (!lease.still_ours()).then_some(()));
    cluster.ask("alter role ada login").unwrap();
    runtime().block_on(ada.lost());
    let late = until("Ada's contact", || match lease.answer(reply("late"), vec![]) {
        Err(LeaseError::Away { .. }) => None,
        other => Some(other),
    });
    assert!(matches!(late, Err(LeaseError::Lost { .. })), "{late:?}");
    assert!(matches!(lease.finish(), Err(LeaseError::Lost { .. })));
    taken_over.answer(reply("in time"), vec![]).unwrap();
    taken_over.finish().unwrap();
    let seen = bob.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!(
        (seen.place, seen.message.reply.unwrap().text.as_str()),
        (Place::Outgoing, "in time")
    );
    // She goes on with other things, as somebody else.
    publish(&bob, "8", "tg-2");
    let next = until("Ada's next turn", || claim(&ada));
    assert!(next.still_ours());
}

/// A successor knows that its predecessor is dead: the machine's own lock says so.
#[test]
fn a_process_that_died_is_followed_by_its_successor_at_once() {
    let Some(cluster) = cluster("a_process_that_died_is_followed_by_its_successor_at_once") else {
        return;
    };
    cluster.ask("create role ada superuser login").unwrap();
    let hour = Duration::from_secs(3_600);
    let first = open_at(&cluster.database_as("ada", "home", "ada", "processor").away_after(hour));
    let other = open_at(&cluster.database("home", "ada", "telegram").away_after(hour));
    publish(&first, "7", "tg-1");
    let _lease = claim(&first).unwrap();
    cluster.ask("alter role ada nologin").unwrap();
    end_all_sessions(&cluster);
    let missing = "select count(*) from tinyclaw.owner where missing is not null";
    until("notice of the death", || {
        assert!(claim(&other).is_none(), "another service is no successor");
        (cluster.ask(missing).unwrap() == "1").then_some(())
    });
    let successor = open_at(&cluster.database("home", "ada", "processor").away_after(hour));
    let lease = until("the successor's turn", || claim(&successor));
    assert_eq!((lease.attempt(), lease.was_recovered()), (2, true));
}

#[test]
fn a_row_that_is_no_message_is_put_aside_and_stops_nobody() {
    let Some(cluster) = cluster("a_row_that_is_no_message_is_put_aside_and_stops_nobody") else {
        return;
    };
    let queue = open_at(&cluster.database("home", "ada", "processor"));
    for (thread, key) in [("7", "tg-1"), ("7", "tg-2"), ("8", "tg-3"), ("9", "tg-4")] {
        publish(&queue, thread, key);
    }
    let change = |key: &str, doc: &str| {
        let change = format!("update tinyclaw.message set doc = '{doc}' where key = '{key}'");
        cluster.ask(&change).unwrap();
    };
    change("tg-1", "{\"no\":\"message\"}");
    let other = serde_json::to_string(&message("8", "tg-9")).unwrap();
    change("tg-3", &other);
    let lease = claim(&queue).unwrap();
    assert_eq!(lease.message().key, key("tg-2"), "its lane goes on");
    let next = claim(&queue).unwrap();
    assert_eq!(next.message().key, key("tg-4"), "and so do the others");
    assert!(claim(&queue).is_none());
    assert_eq!(queue.view().depth().unwrap().quarantine, 2);
    let aside = queue.view().list(Place::Quarantine, 10).unwrap();
    let reasons: Vec<String> =
        aside.iter().map(|it| queue.view().reason(it).unwrap().unwrap()).collect();
    assert!(reasons[0].starts_with("it is not a message: "), "{reasons:?}");
    assert_eq!(reasons[1], "its key is tg-9, its row says tg-3");
}

#[test]
fn a_database_that_cannot_be_used_is_told_without_its_password() {
    let Some(cluster) = cluster("a_database_that_cannot_be_used_is_told_without_its_password")
    else {
        return;
    };
    let told = |database: &Database| {
        let err = Queue::open(database.clone(), quiet()).err().unwrap();
        let mut text = err.to_string();
        let mut cause = std::error::Error::source(&err);
        while let Some(it) = cause {
            text.push_str(&format!(": {it}"));
            cause = it.source();
        }
        text
    };
    let dir = cluster.dir().display().to_string();
    let at = |rest: &str| {
        let url = format!("host={dir} password=secret {rest}").into();
        Database::new(&url, &tinyclaw_postgres::Tls::Off, "home", "ada", "processor").unwrap()
    };
    let nowhere = told(&at("user=tinyclaw dbname=nowhere"));
    assert!(nowhere.contains("DATABASE_URL names a database that is not there"), "{nowhere}");
    let nobody = told(&at("user=nobody dbname=postgres"));
    assert!(nobody.contains("check user and password of DATABASE_URL"), "{nobody}");
    assert!(!format!("{nowhere}{nobody}").contains("secret"));
    let ours = at("user=tinyclaw dbname=postgres");
    drop(Queue::open(ours.clone(), quiet()).unwrap());
    cluster.ask("update tinyclaw.meta set version = 99, oldest = 99").unwrap();
    let newer = told(&ours);
    assert!(newer.contains("made by a newer program (schema 99, this one knows 1)"), "{newer}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
