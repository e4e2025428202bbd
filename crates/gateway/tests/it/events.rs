//! Telling events and asking for them.

use serde_json::{Value, json};

use crate::rig::{Rig, json_of, problem};

#[tokio::test]
async fn an_event_is_told_and_asked_for_as_the_specification_has_it() {
    let rig = Rig::start().await;
    let event = json!({
        "type": "session.start", "timestamp": "2026-01-16T19:30:00Z",
        "metadata": { "sessionId": "abc123", "workingDirectory": "/home/ada/code/project" },
    });
    let response = rig.post("/events").json(&event).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let told = json_of(response).await;
    assert_eq!(told["ok"], true);
    let id = told["eventId"].as_str().unwrap();
    assert!(id.starts_with("evt_"), "{id}");
    let response = rig.get("/events?type=session.start").send().await.unwrap();
    let head = response.headers()["x-bus-head"].to_str().unwrap().to_owned();
    let page = json_of(response).await;
    assert_eq!(page["events"][0]["id"], id);
    assert_eq!(page["events"][0]["timestamp"], event["timestamp"]);
    assert_eq!(page["events"][0]["metadata"], event["metadata"]);
    assert_eq!((page["total"].clone(), page["head"].as_str().unwrap()), (json!(1), &*head));
    // By its own time, not by when it came.
    let count = async |query: &str| {
        let page = json_of(rig.get(&format!("/events?since={query}")).send().await.unwrap()).await;
        page["events"].as_array().unwrap().len()
    };
    assert_eq!(count("2026-01-16T19:30:00Z").await, 1);
    assert_eq!(count("2026-01-16T19:30:01Z").await, 0);
    assert_eq!(count("earliest").await, 1);
}

#[tokio::test]
async fn pages_follow_each_other_without_a_seam() {
    let rig = Rig::start().await;
    rig.number(0, 250).await;
    let mut path = "/events?since=earliest&limit=100".to_owned();
    let mut numbers = Vec::new();
    loop {
        let page = json_of(rig.get(&path).send().await.unwrap()).await;
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            assert_eq!(page["next"], page["head"]);
            break;
        }
        numbers.extend(events.iter().map(|it| it["metadata"]["n"].as_u64().unwrap()));
        path = format!("/events?after={}&limit=100", page["next"].as_str().unwrap());
    }
    assert_eq!(numbers, (0..250).collect::<Vec<_>>());
    let last = json_of(rig.get("/events?limit=3").send().await.unwrap()).await;
    let last: Vec<_> =
        last["events"].as_array().unwrap().iter().map(|it| &it["metadata"]["n"]).cloned().collect();
    assert_eq!(last, [247, 248, 249], "the last ones, oldest first");
}

#[tokio::test]
async fn events_stand_in_the_order_they_came_whatever_times_they_have() {
    let rig = Rig::start().await;
    let times = [
        "2026-11-30T12:00:00Z",
        "1066-10-14T09:00:00Z",
        "9999-12-30T00:00:00Z",
        "2026-11-30T11:59:59.123456789+01:00",
        "1970-01-01T00:00:00Z",
    ];
    for it in times {
        rig.tell(&json!({ "type": "a.b", "timestamp": it })).await;
    }
    let page = json_of(rig.get("/events?since=earliest").send().await.unwrap()).await;
    let events = page["events"].as_array().unwrap();
    let told: Vec<&str> = events.iter().map(|it| it["timestamp"].as_str().unwrap()).collect();
    assert_eq!(told, times);
    let seq = |it: &Value| it["id"].as_str()?.rsplit('-').next()?.parse::<u64>().ok();
    assert_eq!(events.iter().filter_map(seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_repeated_event_gets_its_first_id_and_another_one_of_that_id_a_conflict() {
    let rig = Rig::start().await;
    let event = json!({ "type": "a.b", "id": "x1", "source": "n8n", "metadata": { "n": 1 } });
    let first = rig.tell(&event).await;
    let again = json_of(rig.post("/events").json(&event).send().await.unwrap()).await;
    assert_eq!((again["eventId"].as_str(), &again["duplicate"]), (Some(&*first[0]), &json!(true)));
    let other = json!({ "type": "a.b", "id": "x1", "source": "n8n", "metadata": { "n": 2 } });
    let (status, code, body) = problem(rig.post("/events").json(&other)).await;
    assert_eq!((status, &*code), (409, "event_conflict"));
    assert!(body["detail"].as_str().unwrap().contains(&first[0]), "{body}");
    let keyed = |n: u64| {
        let request = rig.post("/events").header("Idempotency-Key", "\"run-7\"");
        request.json(&json!({ "type": "a.b", "metadata": { "n": n } }))
    };
    let one = json_of(keyed(1).send().await.unwrap()).await;
    let two = json_of(keyed(1).send().await.unwrap()).await;
    assert_eq!((&one["eventId"], &two["duplicate"]), (&two["eventId"], &json!(true)));
    assert_eq!(problem(keyed(2)).await.0, 409);
    // Fifty at once are one.
    let fifty = (0..50).map(|_| {
        let request = rig.post("/events").header("Idempotency-Key", "run-8");
        tokio::spawn(request.json(&json!({ "type": "a.b" })).send())
    });
    let mut firsts = 0;
    for it in fifty.collect::<Vec<_>>() {
        let told = json_of(it.await.unwrap().unwrap()).await;
        firsts += u32::from(told["duplicate"].is_null());
    }
    assert_eq!(firsts, 1);
}

#[tokio::test]
async fn a_batch_is_kept_as_a_whole_or_not_at_all() {
    let rig = Rig::start().await;
    let ids = rig.tell(&json!([{ "type": "a" }, { "type": "b" }])).await;
    assert_eq!(ids.len(), 2);
    let lines = "{\"type\":\"c\"}\n{\"type\":\"d\"}\n";
    let request = rig.post("/events").header("content-type", "application/x-ndjson").body(lines);
    assert_eq!(json_of(request.send().await.unwrap()).await["events"].as_array().unwrap().len(), 2);
    let bad = rig.post("/events").json(&json!([{ "type": "e" }, { "type": "not a type" }]));
    let (status, _, body) = problem(bad).await;
    assert_eq!((status, &body["errors"][0]["pointer"]), (422, &json!("/1/type")));
    assert_eq!(body["ok"], false);
    let page = json_of(rig.get("/events").send().await.unwrap()).await;
    let types: Vec<&Value> =
        page["events"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert_eq!(types, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_hook_is_answered_with_nothing_that_could_steer_claude() {
    let rig = Rig::start().await;
    let hook = json!({
        "hook_event_name": "PreToolUse", "session_id": "s1", "tool_use_id": "toolu_1",
        "tool_name": "Bash", "tool_input": { "command": "ls" }, "cwd": "/work",
    });
    let response = rig.post("/hooks/claude").json(&hook).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "{}");
    let page = json_of(rig.get("/events?type=claude.*&session=s1").send().await.unwrap()).await;
    assert_eq!(page["events"][0]["type"], "claude.PreToolUse");
    assert_eq!(page["events"][0]["metadata"], hook);
    let pai = json_of(rig.get("/events?shape=pai").send().await.unwrap()).await;
    assert_eq!(pai["events"][0]["hook_event_type"], "PreToolUse");
    assert_eq!(pai["events"][0]["payload"], hook);
}

#[tokio::test]
async fn a_secret_is_on_disk_in_no_form() {
    let rig = Rig::start().await;
    let token = format!("ghp_{}", "aB3d".repeat(9));
    let event = json!({ "type": "a.b", "metadata": { "env": format!("GH_TOKEN={token}") } });
    rig.tell(&event).await;
    let page = json_of(rig.get("/events").send().await.unwrap()).await;
    assert_eq!(page["events"][0]["redacted"], 1);
    let dir = rig.stop().await;
    for it in std::fs::read_dir(dir.path()).unwrap().flatten().filter(|it| it.path().is_file()) {
        let bytes = std::fs::read(it.path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(&token[4..]), "{}", it.path().display());
    }
}

#[tokio::test]
async fn a_long_poll_waits_for_the_next_event_that_passes() {
    let rig = Rig::start().await;
    rig.number(0, 3).await;
    let head = json_of(rig.get("/events").send().await.unwrap()).await["head"].clone();
    let path = format!("/events?after={}&wait=60&type=wanted", head.as_str().unwrap());
    let asked = tokio::spawn(rig.get(&path).send());
    rig.number(3, 3).await;
    rig.tell(&json!({ "type": "wanted" })).await;
    let page = json_of(asked.await.unwrap().unwrap()).await;
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(page["events"][0]["type"], "wanted");
    let none = json_of(rig.get("/events?type=other&wait=0").send().await.unwrap()).await;
    assert_eq!(none["events"], json!([]));
}

#[tokio::test]
async fn a_cursor_of_elsewhere_is_one_gap_and_then_everything_that_is_kept() {
    let rig = Rig::start().await;
    rig.number(0, 3).await;
    let page = json_of(rig.get("/events?after=zzzz-7").send().await.unwrap()).await;
    assert_eq!(page["gap"]["reason"], "epoch");
    assert_eq!(page["events"].as_array().unwrap().len(), 3);
    let head = page["head"].as_str().unwrap();
    let (epoch, _) = head.split_once('-').unwrap();
    let page = json_of(rig.get(&format!("/events?after={epoch}-9")).send().await.unwrap()).await;
    assert_eq!((&page["gap"]["reason"], &page["next"]), (&json!("future"), &json!(head)));
    let wrong = problem(rig.get("/events?after=seven")).await;
    assert_eq!((wrong.0, &wrong.2["errors"][0]["pointer"]), (422, &json!("?after")));
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let rig = Rig::start().await;
    rig.number(0, 5).await;
    let head = json_of(rig.get("/events").send().await.unwrap()).await["head"].clone();
    let dir = rig.stop().await;
    let rig = Rig::on(dir, json!({}), None).await;
    let page = json_of(rig.get("/events").send().await.unwrap()).await;
    assert_eq!((&page["head"], page["events"].as_array().unwrap().len()), (&head, 5));
}
