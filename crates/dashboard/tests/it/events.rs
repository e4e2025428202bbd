//! What the gateway keeps, as the page asks for it. The tables are those that `docs/FORMATS.md` promises to readers.

use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tinyclaw_domain::{JobEvent, Key, StateDir};
use tinyclaw_ledger::JobLog;

use crate::demo::Demo;
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

    /// An event that happened long ago.
    pub(crate) fn tell(&self, seq: u64, kind: &str, source: &str, subject: &str, metadata: &Value) {
        self.tell_at(1_771_234_567_905 + seq, seq, kind, source, subject, metadata);
    }

    /// An event that happened at `time`, in ms since 1970.
    pub(crate) fn tell_at(
        &self,
        time: u64,
        seq: u64,
        kind: &str,
        source: &str,
        subject: &str,
        metadata: &Value,
    ) {
        let timestamp = jiff::Timestamp::from_millisecond(time as i64).unwrap();
        let body = json!({
            "id": format!("evt_k7q2-{seq}"), "type": kind, "timestamp": timestamp.to_string(),
            "metadata": metadata, "source": source, "session": "s1", "subject": subject,
            "receivedAt": time + 6, "redacted": 0,
        });
        self.0
            .prepare_cached("INSERT INTO events VALUES(?1, ?2, ?2, ?3, ?4, 's1', ?5, ?6)")
            .unwrap()
            .execute(params![seq, time, kind, source, subject, body.to_string()])
            .unwrap();
    }

    /// Tells many at once.
    pub(crate) fn together(&self, tell: impl FnOnce(&Events)) {
        self.0.execute_batch("BEGIN").unwrap();
        tell(self);
        self.0.execute_batch("COMMIT").unwrap();
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
    events.together(|it| {
        for seq in 1..=450 {
            it.tell(seq, ["a.b", "a.c"][seq as usize % 2], "test", "x", &json!({}));
        }
    });
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
    // Backwards the same, to the first of all; of several types that begin alike, too.
    for kind in ["", "a.*", "a.c"] {
        let (mut query, mut seen) = (format!("type={kind}"), Vec::new());
        loop {
            let page = server.get(&format!("/api/events?{query}")).json();
            let more =
                seqs(&page).iter().rev().map(|it| it.parse::<u64>().unwrap()).collect::<Vec<_>>();
            seen.extend(more);
            let Some(past) = page["past"].as_str() else { break };
            query = format!("type={kind}&before={past}");
        }
        let expected = (1..=450).rev().filter(|it| kind != "a.c" || it % 2 == 1);
        assert_eq!(seen, expected.collect::<Vec<_>>(), "{kind:?}");
    }
    assert_eq!((&last["first"], &last["head"]), (&json!("k7q2-1"), &json!("k7q2-450")));
}

#[test]
fn large_events_make_small_pages_and_none_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let events = Events::new(dir.path());
    let large = "x".repeat(250 << 10);
    events.together(|it| {
        for seq in 1..=10 {
            it.tell(seq, ["a.b", "a.c"][seq as usize % 2], "test", "x", &json!({ "text": large }));
        }
    });
    for query in ["type=", "type=a.*"] {
        let (mut seen, mut place) = (Vec::new(), String::from("k7q2-0"));
        while seen.len() < 10 {
            let answer = server.get(&format!("/api/events?{query}&after={place}"));
            assert!(answer.body.len() < 4 << 20, "{} bytes", answer.body.len());
            let page = answer.json();
            seen.extend(seqs(&page).iter().map(|it| it.parse::<u64>().unwrap()));
            assert_ne!(page["next"].as_str(), Some(&*place), "the pages do not go on");
            place = page["next"].as_str().unwrap().to_owned();
        }
        assert_eq!(seen, (1..=10).collect::<Vec<_>>());
        let last = server.get(&format!("/api/events?{query}")).json();
        let past = last["past"].as_str().unwrap();
        assert_eq!(past, format!("k7q2-{}", seqs(&last)[0]));
    }
}

#[test]
fn a_story_has_the_hook_events_of_its_turn_and_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Demo::new(dir.path());
    let now = tinyclaw_service::now_ms();
    let key: Key = demo.exchange(now - 600_000, 1);
    let other: Key = demo.exchange(now - 7_200_000, 2);
    let server = Running::start(dir.path()).indexed();
    let story = |key: &Key| server.get(&format!("/api/story/{key}")).json();
    assert_eq!(story(&key)["hooks"], json!([]), "there is no gateway");
    let prompted = |story: &Value| {
        let stages = story["stages"].as_array().unwrap();
        stages.iter().find(|it| it["name"] == "prompt").unwrap()["from"].as_u64().unwrap()
    };
    let at = prompted(&story(&key));
    let state = StateDir::new(dir.path());
    let mut log = JobLog::begin(&state, &key, at);
    let tool = |id: &str| JobEvent::Tool {
        id: id.into(),
        name: "Bash".into(),
        detail: "ls".into(),
        parent: None,
    };
    log.write(at + 10, tool("toolu_1")).unwrap();
    let events = Events::new(dir.path());
    events.tell_at(at - 500, 1, "claude.UserPromptSubmit", "laptop", "p1", &json!({}));
    events.tell_at(at + 10, 2, "claude.PreToolUse", "laptop", "toolu_1", &json!({}));
    events.tell_at(at + 20, 3, "claude.PostToolUse", "laptop", "toolu_1", &json!({}));
    events.tell_at(at + 20, 4, "tinyclaw.message.routed", "tinyclaw", "toolu_1", &json!({}));
    // The same session, another turn.
    events.tell_at(at - 900_000, 5, "claude.Stop", "laptop", "p0", &json!({}));
    let told = story(&key);
    let ids: Vec<&str> =
        told["hooks"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["evt_k7q2-1", "evt_k7q2-2", "evt_k7q2-3"]);
    assert_eq!(told["hooks"][1]["type"], "claude.PreToolUse");
    assert_eq!(told["hooks"][1]["at"], at + 10);
    assert_eq!(story(&other)["hooks"], json!([]));
}
