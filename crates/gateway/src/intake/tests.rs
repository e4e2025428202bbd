//! Every shape that senders have, and what is refused of each.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn headers(all: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    all.iter().map(pair).collect()
}

fn told(event: &NewEvent) -> Value {
    serde_json::from_str(&event.told("k7q2-1".parse().unwrap(), 1_771_234_567_905)).unwrap()
}

#[track_caller]
fn one(kind: &str, body: &Value) -> Value {
    let read =
        read(&headers(&[("content-type", kind)]), body.to_string().as_bytes(), "n8n").unwrap();
    assert!(!read.is_batch);
    told(&read.events[0])
}

#[test]
fn an_event_as_the_specification_has_it_is_told_as_it_came() {
    let event = one(
        "application/json",
        &json!({
            "type": "session.start", "timestamp": "2026-01-16T19:30:00Z",
            "metadata": { "sessionId": "abc123", "workingDirectory": "/home/ada/code" },
        }),
    );
    assert_eq!(
        event,
        json!({
            "id": "evt_k7q2-1", "type": "session.start", "timestamp": "2026-01-16T19:30:00Z",
            "metadata": { "sessionId": "abc123", "workingDirectory": "/home/ada/code" },
            "source": "n8n", "session": "abc123", "receivedAt": 1_771_234_567_905u64, "redacted": 0,
        })
    );
}

#[test]
fn what_stands_beside_the_known_parts_is_kept_in_the_metadata() {
    let event = one("", &json!({ "type": "a", "step": 3, "metadata": { "x": 1 } }));
    assert_eq!(event["metadata"], json!({ "x": 1, "step": 3 }));
    assert_eq!(event["timestamp"], "2026-02-16T09:36:07.905Z", "none was given");
}

#[test]
fn a_hook_is_kept_whole_under_its_name_its_session_and_its_tool_use() {
    let raw = json!({
        "hook_event_name": "PreToolUse", "session_id": "s1", "tool_use_id": "toolu_1",
        "tool_name": "Bash", "tool_input": { "command": "ls" },
    });
    for event in [
        one("application/json", &raw),
        told(&read_hook(raw.to_string().as_bytes(), "n8n").unwrap()),
        one("", &json!({ "hook": raw, "id": "01k", "timestamp": 1_771_234_567_905u64 })),
    ] {
        assert_eq!(event["type"], "claude.PreToolUse");
        assert_eq!((&event["session"], &event["subject"]), (&json!("s1"), &json!("toolu_1")));
        assert_eq!(event["metadata"], raw);
    }
    // One that this program has never heard of passes.
    let event = one("", &json!({ "hook_event_name": "TeaBreak", "session_id": "s1" }));
    assert_eq!(event["type"], "claude.TeaBreak");
}

#[test]
fn what_pai_daemon_is_sent_is_understood() {
    let event = one(
        "application/json",
        &json!({
            "source_app": "pai", "session_id": "s1", "hook_event_type": "PostToolUse",
            "client_name": "laptop", "payload": { "tool_name": "Bash" }, "timestamp": 1_771_234_567_905u64,
        }),
    );
    assert_eq!((&event["type"], &event["source"]), (&json!("claude.PostToolUse"), &json!("pai")));
    assert_eq!(event["metadata"], json!({ "tool_name": "Bash", "client_name": "laptop" }));
    assert_eq!(event["timestamp"], "2026-02-16T09:36:07.905Z");
}

#[test]
fn a_cloud_event_is_the_same_structured_in_a_batch_and_binary() {
    let structured = json!({
        "specversion": "1.0", "type": "com.example.made", "source": "https://example.org/a?b=c",
        "id": "A234-1", "time": "2026-04-05T17:31:00Z", "subject": "x y", "traceparent": "00-1",
        "datacontenttype": "application/json", "data": { "n": 1 },
    });
    let first = one("application/cloudevents+json; charset=utf-8", &structured);
    assert_eq!(first["metadata"], json!({ "n": 1, "cloudevent": { "traceparent": "00-1" } }));
    assert_eq!(first["timestamp"], "2026-04-05T17:31:00Z");
    let batch = json!([structured]).to_string();
    let kind = [("content-type", "application/cloudevents-batch+json")];
    let batch = read(&headers(&kind), batch.as_bytes(), "n8n").unwrap();
    assert!(batch.is_batch);
    assert_eq!(told(&batch.events[0]), first);
    let binary = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example.made"),
        ("ce-source", "https://example.org/a?b=c"),
        ("ce-id", "A234-1"),
        ("ce-time", "2026-04-05T17:31:00Z"),
        ("ce-subject", "x%20y"),
        ("ce-traceparent", "00-1"),
        ("content-type", "application/json"),
    ]);
    assert_eq!(told(&read(&binary, br#"{"n":1}"#, "n8n").unwrap().events[0]), first);
    for missing in ["specversion", "type", "id", "source"] {
        let mut it = structured.clone();
        it.as_object_mut().unwrap().remove(missing);
        let kind = headers(&[("content-type", "application/cloudevents+json")]);
        let refused = read(&kind, it.to_string().as_bytes(), "n8n").unwrap_err();
        assert_eq!(refused.status(), 422, "{missing}");
        let kind = headers(&[("content-type", "application/cloudevents-batch+json")]);
        let refused = read(&kind, json!([structured, it]).to_string().as_bytes(), "n8n");
        assert!(format!("{refused:?}").contains(&format!("/1/{missing}")), "{refused:?}");
    }
}

#[test]
fn lines_are_several_events_and_one_bad_one_refuses_all_by_its_number() {
    let kind = headers(&[("content-type", "application/x-ndjson")]);
    let lines = "{\"type\":\"a\"}\n\n{\"type\":\"b\"}\r\n";
    let both = read(&kind, lines.as_bytes(), "n8n").unwrap();
    assert_eq!(both.events.iter().map(|it| &*it.kind).collect::<Vec<_>>(), ["a", "b"]);
    let refused = read(&headers(&[]), br#"[{"type":"a"},{"type":"b c"}]"#, "n8n").unwrap_err();
    assert!(format!("{refused:?}").contains("/1/type"), "{refused:?}");
    let many = json!(vec![json!({ "type": "a" }); BATCH_EVENTS_MAX + 1]).to_string();
    assert_eq!(read(&headers(&[]), many.as_bytes(), "n8n").unwrap_err().status(), 422);
    assert_eq!(read(&headers(&[]), b"[]", "n8n").unwrap_err().status(), 422);
}

#[test]
fn what_is_no_json_no_object_or_not_ours_to_read_has_its_own_answer() {
    let deep = "[".repeat(100_000);
    for (kind, body, status) in [
        ("application/json", "{\"type\":\"a\"", 400),
        ("application/json", "", 400),
        ("application/json", deep.as_str(), 400),
        ("application/json", "3", 422),
        ("application/json", "{}", 422),
        ("application/json", r#"{"type":3}"#, 422),
        ("application/json", r#"{"type":"a","metadata":[]}"#, 422),
        ("application/json", r#"{"type":"a","timestamp":"yesterday"}"#, 422),
        ("application/json", r#"{"type":"a","timestamp":true}"#, 422),
        ("text/plain", r#"{"type":"a"}"#, 415),
        ("application/xml", "<a/>", 415),
    ] {
        let refused =
            read(&headers(&[("content-type", kind)]), body.as_bytes(), "n8n").unwrap_err();
        assert_eq!(refused.status(), status, "{kind} {}", &body[..body.len().min(40)]);
    }
    let broken = read(&headers(&[]), b"{\"type\":\"\xff\"}", "n8n").unwrap_err();
    assert_eq!(broken.status(), 400);
    let zipped = headers(&[("content-encoding", "gzip"), ("content-type", "application/json")]);
    assert_eq!(read(&zipped, b"{}", "n8n").unwrap_err().status(), 415);
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail_otherwise_than_by_saying_so(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(problem) = read(&headers(&[]), &body, "n8n") {
            prop_assert!([400, 413, 422].contains(&problem.status().as_u16()));
        }
    }

    #[test]
    fn whatever_is_kept_is_one_line_of_json_with_its_type_as_it_came(
        kind in "[A-Za-z0-9._:/-]{1,128}",
        text in any::<String>(),
        number in any::<i64>(),
    ) {
        let body = json!({ "type": kind, "metadata": { "text": text, "number": number } });
        let intake = read(&headers(&[]), body.to_string().as_bytes(), "n8n").unwrap();
        let line = intake.events[0].told("k7q2-1".parse().unwrap(), 1);
        prop_assert!(!line.contains(['\n', '\r', '\0']));
        let told: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&told["type"], &body["type"]);
        if told["redacted"] == 0 {
            prop_assert_eq!(&told["metadata"], &body["metadata"]);
        }
    }
}
