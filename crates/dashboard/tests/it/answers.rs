use crate::big;
use crate::client::Answer;
use crate::demo::Demo;
use crate::running::Running;

fn office() -> (tempfile::TempDir, Running) {
    let dir = tempfile::tempdir().unwrap();
    Demo::new(dir.path()).fill(tinyclaw_service::now_ms(), 60);
    let running = Running::start(dir.path()).indexed();
    (dir, running)
}

#[test]
fn everything_the_seed_asks_for_is_answered() {
    let (_dir, server) = office();
    let status = server.get("/api/status").json();
    assert_eq!(status["queue"]["dead"], 1);
    assert_eq!(status["queue"]["processing"], 1);
    assert_eq!(status["services"].as_array().unwrap().len(), 4);
    assert_eq!(status["services"][2]["state"], "not ready");
    assert_eq!(status["threads"].as_array().unwrap().len(), 5);
    assert!(status["messages"]["lastDay"]["in"].as_u64().unwrap() > 20);
    assert!(status["messages"]["costLastDayUsd"].as_f64().unwrap() > 0.0);
    assert_eq!(server.get("/api/threads").json()["7"]["name"], "homepage");
    let metrics = server.get("/api/metrics").json();
    assert!(metrics["now"]["memory"]["total"].as_u64().unwrap() > 0);
    for (path, n) in [
        ("/api/routing/recent", 50),
        ("/api/routing/recent?n=7", 7),
        ("/api/prompts/recent", 20),
        ("/api/messages/recent?n=3", 3),
        ("/api/logs/queue/../../messages/recent?n=3", 0),
        ("/api/queue/recent?n=5&level=info", 5),
    ] {
        let answer = server.get(path);
        let rows = serde_json::from_str::<serde_json::Value>(&answer.body).ok();
        let rows = rows.and_then(|it| it["rows"].as_array().map(Vec::len)).unwrap_or(0);
        assert_eq!(rows, n, "{path}: {}", answer.body);
    }
    let decision = &server.get("/api/routing/recent?n=1").json()["rows"][0]["line"];
    assert_eq!(decision["dims"].as_array().unwrap().len(), 14);
}

#[test]
fn costs_add_up_what_the_logs_say() {
    let dir = tempfile::tempdir().unwrap();
    let now = tinyclaw_service::now_ms();
    Demo::new(dir.path()).fill(now, 40);
    let server = Running::start(dir.path()).indexed();
    let it = server.get(&format!("/api/routing/costs?midnight={}", now - 3_600_000)).json();
    let page = server.get("/api/messages/recent?direction=out&n=1000").json();
    let rows = page["rows"].as_array().unwrap();
    let paid: f64 = rows.iter().filter_map(|it| it["line"]["costUsd"].as_f64()).sum();
    let told = it["all"]["paidUsd"].as_f64().unwrap();
    assert!(paid > 0.0 && (told - paid).abs() < 1e-6, "{told} is not {paid}");
    let days = it["days"].as_array().unwrap();
    let models = days.iter().flat_map(|it| it["models"].as_object().unwrap().values());
    let by_model: f64 = models.filter_map(serde_json::Value::as_f64).sum();
    assert!((by_model - paid).abs() < 1e-6, "{by_model} is not {paid}");
    assert_eq!(server.get("/api/routing/costs").status, 400);
}

#[test]
fn what_people_said_about_an_answer_is_told_with_its_decision() {
    let dir = tempfile::tempdir().unwrap();
    let line = |said: &str, by: u32| {
        format!(
            "{{\"timestamp\":1,\"key\":\"tg-7\",\"threadId\":3,\"model\":\"haiku\",\"said\":\"{said}\",\"by\":\"tg-{by}\"}}\n"
        )
    };
    // The second line stands twice, as after a crash, and the last is of a later version.
    let lines = line("again", 8) + &line("wrong", 9) + &line("wrong", 9) + &line("praised", 10);
    std::fs::write(dir.path().join("routing-outcomes.jsonl"), lines).unwrap();
    let server = Running::start(dir.path()).indexed();
    let told = server.get("/api/routing/outcomes/tg-7").json();
    let said: Vec<_> =
        told.as_array().unwrap().iter().map(|it| it["said"].as_str().unwrap()).collect();
    assert_eq!(said, ["wrong", "again"]);
    assert_eq!(server.get("/api/routing/outcomes/tg-6").json(), serde_json::json!([]));
    assert_eq!(server.get("/api/routing/outcomes/..%2Fx").status, 400);
    assert_eq!(server.get("/api/routing/learned").json(), serde_json::Value::Null);
    std::fs::write(dir.path().join("router-learned.toml"), "# learned\n").unwrap();
    assert_eq!(server.get("/api/routing/learned").json(), "# learned\n");
}

#[test]
fn a_thread_is_paged_through_from_end_to_end() {
    let (_dir, server) = office();
    let page = |path: &str| server.get(path).json();
    let all = page("/api/threads/3/messages?n=1000");
    let (first, last) = (all["first"].as_i64().unwrap(), all["last"].as_i64().unwrap());
    let mut keys = Vec::new();
    let mut from = first;
    while from < last {
        let part = page(&format!("/api/threads/3/messages?n=7&from={from}"));
        let rows = part["rows"].as_array().unwrap();
        keys.extend(rows.iter().map(|it| it["row"].as_i64().unwrap()));
        from += rows.len() as i64;
    }
    let whole: Vec<i64> =
        all["rows"].as_array().unwrap().iter().map(|it| it["row"].as_i64().unwrap()).collect();
    assert_eq!(keys, whole);
    assert_eq!(page("/api/threads/99/messages")["rows"].as_array().unwrap().len(), 0);
}

#[test]
fn a_message_tells_its_story_stage_by_stage() {
    let (_dir, server) = office();
    // The last answer is not sent yet.
    let answers = server.get("/api/messages/recent?direction=out&n=2").json();
    let line = &answers["rows"][0]["line"];
    let (key, thread, at) = (line["key"].as_str().unwrap(), &line["threadId"], &line["timestamp"]);
    let story = server.get(&format!("/api/story/{key}?thread={thread}&at={at}")).json();
    let stages = story["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["received", "queued", "routed", "prompt", "answered", "delivered"]);
    for pair in stages.windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"], "one stage ends where the next begins");
    }
    assert_eq!(story["place"], "done");
    let running = server.get("/api/status").json()["turns"][0]["key"].clone();
    let story = server.get(&format!("/api/story/{}", running.as_str().unwrap())).json();
    assert_eq!(story["place"], "processing");
    assert_eq!(story["tools"].as_array().unwrap().len(), 3);
    assert!(story["stages"].as_array().unwrap().last().unwrap()["to"].is_null(), "it lasts");
    assert_eq!(story["turn"]["state"], "working");
    assert!(story["line"]["message"].as_str().unwrap().starts_with("The lane lock"));
}

#[test]
fn a_message_that_waits_tells_what_it_says_and_where_it_stands() {
    let (_dir, server) = office();
    let waiting = server.get("/api/waiting/incoming").json();
    let lines = waiting["lines"].as_array().unwrap();
    assert_eq!((lines.len(), &waiting["more"]), (3, &0.into()));
    for line in lines {
        let story = server.get(&format!("/api/story/{}", line["key"].as_str().unwrap())).json();
        assert_eq!(story["line"]["message"], line["message"]);
        assert_eq!((&story["place"], &story["turn"]), (&"incoming".into(), &().into()));
        assert!(story["position"].as_u64().unwrap() > 0, "{story}");
        let stages = story["stages"].as_array().unwrap();
        let names: Vec<&str> = stages.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["received", "queued"], "also of one that is to be tried again");
    }
    for (place, n) in [("processing", 1), ("outgoing", 1), ("dead", 1)] {
        let waiting = server.get(&format!("/api/waiting/{place}")).json();
        assert_eq!(waiting["lines"].as_array().unwrap().len(), n, "{place}");
    }
    let answer = server.get("/api/waiting/..%2Flanes");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("there are incoming"), "{}", answer.body);
}

#[test]
fn a_finished_turn_still_shows_its_tools_within_the_time_claude_worked() {
    let (_dir, server) = office();
    let rows = server.get("/api/messages/recent?direction=out&n=60").json();
    let line = rows["rows"].as_array().unwrap().iter().map(|it| &it["line"]);
    let line = line.rev().find(|it| it["tools"].as_array().is_some_and(|it| it.len() > 4)).unwrap();
    let (key, thread, at) = (line["key"].as_str().unwrap(), &line["threadId"], &line["timestamp"]);
    let story = server.get(&format!("/api/story/{key}?thread={thread}&at={at}")).json();
    let stages = story["stages"].as_array().unwrap();
    let claude = stages.iter().find(|it| it["name"] == "prompt").unwrap();
    let tools = story["tools"].as_array().unwrap();
    assert_eq!(tools.len(), line["tools"].as_array().unwrap().len());
    for (tool, kept) in tools.iter().zip(line["tools"].as_array().unwrap()) {
        let from = claude["from"].as_u64().unwrap() + kept["startMs"].as_u64().unwrap();
        assert_eq!(tool["at"], from);
        assert_eq!(tool["durationMs"], kept["durationMs"]);
        assert_eq!(tool["failed"] == true, kept["ok"] == false);
        assert!(from < claude["to"].as_u64().unwrap(), "{story}");
    }
}

#[test]
fn a_question_that_makes_no_sense_is_told_so() {
    let (_dir, server) = office();
    for (path, status, words) in [
        ("/api/messages/recent?n=0", 400, "n=0 must be a number from 1 to 1000"),
        ("/api/messages/recent?n=x", 400, "n=x must be"),
        ("/api/messages/recent?model=%3Cgpt%3E", 400, "gpt"),
        ("/api/messages/recent?thread=..%2Fx", 400, "thread id"),
        ("/api/threads/..%2F..%2Fetc/messages", 400, "thread id"),
        ("/api/story/..%2Fx", 400, "key"),
        ("/api/settings/recent", 404, "there are messages, routing"),
        ("/api/logs/passwd", 404, "no log is called"),
        ("/api/messages/search?q=(&pattern=1", 400, "no pattern"),
        ("/api/messages/row?row=99999", 404, "no row"),
        ("/nowhere", 404, "nothing at this address"),
    ] {
        let Answer { status: got, body, .. } = server.get(path);
        assert_eq!(got, status, "{path}: {body}");
        assert!(body.contains(words), "{path}: {body}");
    }
}

#[test]
fn an_empty_folder_is_an_empty_office() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path()).indexed();
    assert!(server.get("/api/status").json()["queue"].is_null());
    assert_eq!(server.get("/api/messages/recent").json()["rows"].as_array().unwrap().len(), 0);
    assert_eq!(server.get("/api/threads").body, "{}");
    std::fs::write(dir.path().join("threads.json"), "{\"1\":").unwrap();
    let answer = server.get("/api/threads");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("threads.json"), "{}", answer.body);
}

#[test]
fn a_secret_does_not_leave_by_any_way() {
    let dir = tempfile::tempdir().unwrap();
    let secret = format!("ghs_{}", "k".repeat(36));
    let text = format!("{} {secret} after", "x".repeat(590));
    for number in 0..3 {
        let line = big::line(number, 5, tinyclaw_service::now_ms(), &text);
        big::add(dir.path(), line.as_bytes());
    }
    big::add(dir.path(), format!("not json {secret}\n").as_bytes());
    let server = Running::start(dir.path()).indexed();
    for path in [
        "/api/messages/recent",
        "/api/messages/recent?chars=610",
        "/api/messages/row?row=-2",
        "/api/messages/search?q=after",
        "/api/messages/search?q=kkkk",
    ] {
        let answer = server.get(path);
        assert!(!answer.body.contains("kkkk"), "{path}: {}", answer.body);
    }
    assert!(server.get("/api/messages/row?row=-2").body.contains("[hidden: github token] after"));
}

#[test]
fn a_search_finds_words_patterns_and_nothing_hidden_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let now = tinyclaw_service::now_ms();
    for (number, text) in
        ["Grüße aus dem Garten", "say \\\"cheese\\\"", "line one\\nline two"].iter().enumerate()
    {
        big::add(dir.path(), big::line(number as u64, 5, now, text).as_bytes());
    }
    let server = Running::start(dir.path()).indexed();
    let hits = |query: &str| {
        server.get(&format!("/api/messages/search?q={query}")).body.matches("event: hit").count()
    };
    assert_eq!(hits("gr%C3%BC%C3%9Fe"), 1);
    assert_eq!(hits("%22cheese%22"), 1, "quotes are written otherwise in the file");
    assert_eq!(hits("one%0Aline"), 1);
    assert_eq!(hits("threadId"), 0, "names of fields are no text");
    assert_eq!(hits("%5Cbcheese%5Cb&pattern=1"), 1);
    assert_eq!(hits("Garten&thread=6"), 0);
}
