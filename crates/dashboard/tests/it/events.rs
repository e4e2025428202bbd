//! What the gateway keeps, as the page asks for it. The tables are those that `docs/FORMATS.md` promises to readers.

use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use crate::running::Running;

/// The gateway's database, as far as readers may rely on it.
pub(crate) struct Events(Connection);

impl Events {
    pub(crate) fn new(state: &Path) -> Events {
        let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/FORMATS.md");
        let formats = std::fs::read_to_string(formats).unwrap();
        let tables = formats.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
        let connection = Connection::open(state.join("events.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch(tables).unwrap();
        connection.execute("INSERT INTO meta VALUES('epoch', 'k7q2')", []).unwrap();
        Events(connection)
    }

    pub(crate) fn tell(&self, seq: u64, kind: &str, source: &str, subject: &str, metadata: &Value) {
        let body = json!({
            "id": format!("evt_k7q2-{seq}"), "type": kind, "timestamp": "2026-02-16T09:36:07.905Z",
            "metadata": metadata, "source": source, "session": "s1", "subject": subject,
            "receivedAt": 1_771_234_567_911u64 + seq, "redacted": 0,
        });
        self.0
            .execute(
                "INSERT INTO events VALUES(?1, ?1, ?1, ?2, ?3, 's1', ?4, ?5)",
                params![seq, kind, source, subject, body.to_string()],
            )
            .unwrap();
    }
}

fn seqs(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().unwrap().iter();
    events.map(|it| it["id"].as_str().unwrap().rsplit('-').next().unwrap()).collect()
}

#[test]
fn events_are_read_beside_the_gateway_by_what_is_asked_for_and_from_where_one_was() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let none = server.get("/api/events");
    assert_eq!(none.status, 404, "{}", none.body);
    assert!(none.body.contains("no gateway"), "{}", none.body);
    let events = Events::new(dir.path());
    events.tell(4, "claude.PreToolUse", "laptop", "toolu_1", &json!({ "tool_name": "Bash" }));
    events.tell(5, "claude.PostToolUse", "laptop", "toolu_1", &json!({}));
    events.tell(6, "tinyclaw.message.received", "tinyclaw", "tg-7", &json!({}));
    let page = |query: &str| server.get(&format!("/api/events?{query}")).json();
    let all = page("");
    assert_eq!(seqs(&all), ["4", "5", "6"]);
    assert_eq!((&all["total"], &all["next"]), (&json!(3), &json!("k7q2-6")));
    for (query, expected) in [
        ("type=claude.*", vec!["4", "5"]),
        ("type=claude.PostToolUse", vec!["5"]),
        ("type=claude", vec![]),
        ("source=tinyclaw", vec!["6"]),
        ("subject=toolu_1&type=*", vec!["4", "5"]),
        ("session=s1&after=k7q2-5", vec!["6"]),
        ("session=s2", vec![]),
    ] {
        assert_eq!(seqs(&page(query)), expected, "{query}");
    }
    // Live: what came since, and nothing that was told.
    assert_eq!(seqs(&page("after=k7q2-6")), Vec::<&str>::new());
    events.tell(
        7,
        "claude.Stop",
        "laptop",
        "toolu_2",
        &json!({ "key": "ghp_".to_owned() + &"a1B2".repeat(9) }),
    );
    let news = page("after=k7q2-6");
    assert_eq!(seqs(&news), ["7"]);
    assert!(!news.to_string().contains("a1B2a1B2"), "{news}");
    // A place of another database: what there is now.
    assert_eq!(seqs(&page("after=aaaa-1")).len(), 4);
}

#[test]
fn more_events_than_an_answer_has_come_with_the_next_questions_and_nobody_writes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let events = Events::new(dir.path());
    for seq in 1..=450 {
        events.tell(seq, "a.b", "test", "x", &json!({}));
    }
    let (mut place, mut seen) = ("k7q2-0".to_owned(), Vec::new());
    loop {
        let page = server.get(&format!("/api/events?after={place}")).json();
        if page["events"].as_array().unwrap().is_empty() {
            break;
        }
        seen.extend(seqs(&page).iter().map(|it| it.parse::<u64>().unwrap()));
        place = page["next"].as_str().unwrap().to_owned();
    }
    assert_eq!(seen, (1..=450).collect::<Vec<_>>());
    let last = server.get("/api/events").json();
    assert_eq!(seqs(&last).first(), Some(&"251"));
}
