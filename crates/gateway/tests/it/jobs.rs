//! `POST /api/execute` and `/api/jobs`: as the seed's frontend, n8n and a terminal use them.

use std::collections::BTreeSet;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tinyclaw_domain::{Channel, Command, JobEvent, Outcome, Scope, Source, Token};
use tinyclaw_queue::Place;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::desk::{Desk, until};
use crate::rig::{Rig, entry, json_of, problem, token};

/// A gateway with two environments, and what else `gateway` says.
pub(crate) async fn office(gateway: Value) -> Rig {
    office_of(gateway, vec![entry(1, "ada", &Scope::ALL)]).await
}

async fn office_of(mut gateway: Value, tokens: Vec<Token>) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let envs = json!({
        "dev": { "isolation": "none" }, "prod": { "isolation": "none" },
        "box": { "isolation": "container", "image": "claude-agent" },
    });
    std::fs::write(dir.path().join("envs.json"), envs.to_string()).unwrap();
    let more = json!({ "executePerSecond": 10_000, "readPerSecond": 10_000 });
    for (name, value) in more.as_object().unwrap() {
        gateway.as_object_mut().unwrap().entry(name).or_insert_with(|| value.clone());
    }
    Rig::on(dir, gateway, Some(tokens)).await
}

fn execute(rig: &Rig, body: &Value) -> RequestBuilder {
    rig.post("/api/execute").json(body)
}

/// Begins a job, and gives its id.
pub(crate) async fn begin(rig: &Rig, body: &Value) -> String {
    let response = execute(rig, body).header("prefer", "respond-async").send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["preference-applied"], "respond-async");
    let place = response.headers()["location"].to_str().unwrap().to_owned();
    let told = json_of(response).await;
    let id = told["jobId"].as_str().unwrap().to_owned();
    assert_eq!(place, format!("/api/jobs/{id}"), "{told}");
    id
}

async fn job(rig: &Rig, id: &str) -> Value {
    json_of(rig.get(&format!("/api/jobs/{id}")).send().await.unwrap()).await
}

fn prompt(text: &str) -> Value {
    json!({ "env": "dev", "prompt": text })
}

#[tokio::test]
async fn a_prompt_is_a_message_of_the_queue_and_its_answer_comes_back() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    // As the seed's frontend asks: what is not said is null or not there.
    let body = json!({ "env": "dev", "prompt": "hello", "jsonOutput": true, "sessionId": null });
    let asked = tokio::spawn(execute(&rig, &body).send());
    let lease = desk.take().await;
    let message = lease.message().clone();
    assert_eq!((message.channel, message.source), (Channel::Api, Source::Api));
    assert_eq!((&*message.message, &*message.sender), ("hello", "ada"));
    let (env, session) = message.thread_id.env().unwrap();
    assert_eq!(env.as_str(), "dev");
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    let response = asked.await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let told = json_of(response).await;
    assert_eq!((&told["success"], &told["output"]), (&json!(true), &json!("You said: hello")));
    assert_eq!(told["sessionId"], session.to_string());
    assert_eq!((&told["state"], &told["isolation"]), (&json!("done"), &json!("none")));
    let object: Value = serde_json::from_str(told["json_output"].as_str().unwrap()).unwrap();
    assert_eq!((&object["type"], &object["result"]), (&json!("result"), &json!("You said: hello")));
    assert_eq!((&object["is_error"], &object["usage"]["input_tokens"]), (&json!(false), &json!(7)));
    // The next message of the session, for a model of the caller's choosing.
    let more = json!({ "env": "dev", "prompt": "and now?", "sessionId": session.to_string(), "model": "opus" });
    begin(&rig, &more).await;
    let lease = desk.take().await;
    assert_eq!(lease.message().thread_id, message.thread_id);
    assert_eq!(lease.message().message, "/opus and now?", "a hint, which the router takes off");
}

#[tokio::test]
async fn a_turn_that_fails_is_told_with_success_false_and_strictly_with_a_status() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    for (outcome, state, strict) in [
        (Outcome::Failed, "failed", 502),
        (Outcome::Stopped, "stopped", 409),
        (Outcome::Answered, "done", 200),
    ] {
        for is_strict in [false, true] {
            let handling = if is_strict { "handling=strict" } else { "handling=lenient" };
            let asked = tokio::spawn(execute(&rig, &prompt("x")).header("prefer", handling).send());
            let lease = desk.take().await;
            let log = desk.begin(&lease);
            desk.answer(lease, log, outcome);
            let response = asked.await.unwrap().unwrap();
            assert_eq!(response.status(), if is_strict { strict } else { 200 }, "{state}");
            let told = json_of(response).await;
            assert_eq!(
                (&told["state"], &told["success"]),
                (&json!(state), &json!(state == "done"))
            );
            assert_eq!(told["error"].is_string(), state != "done", "{told}");
        }
    }
}

#[tokio::test]
async fn whoever_waits_no_longer_is_told_that_it_goes_on_and_finds_it_by_its_id() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let response = execute(&rig, &prompt("slow")).header("prefer", "wait=0").send().await.unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["retry-after"], "1");
    let told = json_of(response).await;
    assert_eq!((&told["success"], &told["code"]), (&json!(false), &json!("still_running")));
    let id = told["jobId"].as_str().unwrap();
    let waits = job(&rig, id).await;
    assert_eq!(
        (&waits["state"], &waits["position"], &waits["result"]),
        (&json!("queued"), &json!(1), &Value::Null)
    );
    let lease = desk.take().await;
    let log = desk.begin(&lease);
    let runs = job(&rig, id).await;
    assert_eq!(
        (&runs["state"], &runs["attempt"], &runs["startedAt"]),
        (&json!("running"), &json!(1), &json!(1_001))
    );
    let polled = tokio::spawn(rig.get(&format!("/api/jobs/{id}?wait=60")).send());
    desk.answer(lease, log, Outcome::Answered);
    let ended = json_of(polled.await.unwrap().unwrap()).await;
    assert_eq!((&ended["state"], &ended["endedAt"]), (&json!("done"), &json!(1_010)));
    assert_eq!(ended["result"]["output"], "You said: slow");
}

/// 50 equal Idempotency-Keys at once.
#[tokio::test]
async fn fifty_equal_keys_at_once_are_one_job_also_after_a_restart() {
    let rig = office(json!({})).await;
    let again = |rig: &Rig, text: &str| {
        execute(rig, &prompt(text))
            .header("idempotency-key", "run 12")
            .header("prefer", "respond-async")
            .send()
    };
    let all: Vec<_> = (0..50).map(|_| tokio::spawn(again(&rig, "once"))).collect();
    let (mut ids, mut first) = (BTreeSet::new(), 0);
    for it in all {
        let response = it.await.unwrap().unwrap();
        assert_eq!(response.status(), 202);
        first += usize::from(!response.headers().contains_key("idempotent-replayed"));
        ids.insert(json_of(response).await["jobId"].as_str().unwrap().to_owned());
    }
    assert_eq!((ids.len(), first), (1, 1));
    let desk = Desk::at(&rig);
    assert_eq!(desk.queue.view().depth().unwrap().incoming, 1);
    let lease = desk.take().await;
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    let rig = Rig::again(rig).await;
    let response = again(&rig, "once").await.unwrap();
    assert_eq!(response.headers()["idempotent-replayed"], "true");
    assert_eq!(json_of(response).await["jobId"], *ids.first().unwrap());
    // Waited for, it is the answer that is there.
    let request = execute(&rig, &prompt("once")).header("idempotency-key", "run 12");
    assert_eq!(json_of(request.send().await.unwrap()).await["output"], "You said: once");
    let other = execute(&rig, &prompt("twice")).header("idempotency-key", "run 12");
    let (status, code, _) = problem(other).await;
    assert_eq!((status, &*code), (422, "idempotency_reuse"));
    let asked =
        json!({ "model": "dev/auto", "messages": [{ "role": "user", "content": "twice" }] });
    let other = rig.post("/v1/chat/completions").header("idempotency-key", "run 12").json(&asked);
    let response = other.send().await.unwrap();
    assert_eq!(response.status(), 422);
    assert_eq!(json_of(response).await["error"]["code"], "idempotency_reuse");
    assert_eq!(desk.queue.view().depth().unwrap().incoming, 0);
}

#[tokio::test]
async fn what_may_not_run_is_refused_by_name_and_nothing_of_it_runs() {
    let mut narrow = entry(2, "narrow", &[Scope::Execute, Scope::Read]);
    narrow.envs = vec!["dev".to_owned()];
    let rig = office_of(
        json!({}),
        vec![entry(1, "ada", &Scope::ALL), narrow, entry(3, "reader", &[Scope::Read])],
    )
    .await;
    for name in ["../prod", "dev\0", "dev2", "DEV", "", "dev.x"] {
        let body = json!({ "env": name, "prompt": "x" });
        assert_eq!(problem(execute(&rig, &body)).await.1, "unknown_env", "{name:?}");
    }
    for path in ["/api/containers/..%2Fprod", "/api/containers/dev%00", "/api/sessions/dev2"] {
        assert_eq!(problem(rig.get(path)).await.0, 404, "{path}");
    }
    let (status, code, told) =
        problem(execute(&rig, &json!({ "env": "box", "prompt": "x" }))).await;
    assert_eq!((status, &*code, &told["success"]), (503, "env_unavailable", &json!(false)));
    for (body, pointer) in [
        (json!({ "env": "dev", "prompt": " \n" }), "/prompt"),
        (json!({ "env": "dev", "prompt": "x", "model": "gpt-4" }), "/model"),
        (json!({ "env": "dev", "prompt": "x", "deadlineS": 0 }), "/deadlineS"),
        (json!({ "env": "dev", "prompt": "x", "image": "evil" }), ""),
        (json!({ "env": "dev" }), ""),
        (json!(["dev"]), ""),
    ] {
        let (status, _, told) = problem(execute(&rig, &body)).await;
        assert_eq!((status, &told["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}");
    }
    let unknown = json!({ "env": "dev", "prompt": "x", "sessionId": "01kc8m4q2v7x3z9d5f1h6j0nps" });
    assert_eq!(problem(execute(&rig, &unknown)).await.1, "unknown_session");
    let large = json!({ "env": "dev", "prompt": "x".repeat((1 << 20) + 1) });
    assert_eq!(problem(execute(&rig, &large)).await.0, 413);
    let by = |number: u8, env: &str| {
        let request = rig.client.post(rig.url("/api/execute")).bearer_auth(token(number));
        request.json(&json!({ "env": env, "prompt": "x" }))
    };
    assert_eq!(problem(by(2, "prod")).await.1, "env_forbidden");
    assert_eq!(problem(by(2, "nowhere")).await.1, "env_forbidden", "nor whether it is there");
    assert_eq!(problem(by(3, "dev")).await.1, "scope");
    assert_eq!(Desk::at(&rig).queue.view().depth().unwrap().incoming, 0);
    // What one caller may not use it may not see either.
    let id = begin(&rig, &json!({ "env": "prod", "prompt": "x" })).await;
    let peek = rig.client.get(rig.url(&format!("/api/jobs/{id}"))).bearer_auth(token(2));
    assert_eq!(problem(peek).await.1, "unknown_job");
    let seen = rig.client.get(rig.url("/api/jobs")).bearer_auth(token(2)).send().await.unwrap();
    assert_eq!(json_of(seen).await["jobs"], json!([]));
}

#[tokio::test]
async fn too_many_jobs_are_told_when_to_come_again() {
    let rig = office(json!({ "executePerSecond": 1 })).await;
    let mut refused = None;
    for _ in 0..12 {
        let response =
            execute(&rig, &prompt("x")).header("prefer", "respond-async").send().await.unwrap();
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("ten at once, and one a second");
    assert_eq!(refused.headers()["ratelimit-policy"], "\"execute\";q=10;w=10");
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    // The lane of a session is full.
    let rig = office(json!({})).await;
    let body = json!({ "env": "dev", "prompt": "x", "sessionId": "default" });
    for _ in 0..200 {
        begin(&rig, &body).await;
    }
    let (status, code, _) = problem(execute(&rig, &body)).await;
    assert_eq!((status, &*code), (429, "lane_full"));
}

/// cancel queued, running, ended.
#[tokio::test]
async fn a_job_that_waits_is_cancelled_one_that_runs_is_stopped_and_one_that_ended_stays() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let cancel = async |id: &str| {
        json_of(rig.post(&format!("/api/jobs/{id}/cancel?wait=30")).send().await.unwrap()).await
    };
    let ids = [begin(&rig, &prompt("one")).await, begin(&rig, &prompt("two")).await];
    let running = desk.take().await;
    let waiting = ids.iter().find(|it| **it != running.message().key.to_string()).unwrap();
    // The office buries what waits, and interrupts what runs.
    let (stopped, mut stops) = tokio::sync::mpsc::unbounded_channel();
    let queue = desk.queue.clone();
    let office = desk.hear(move |command| {
        let Command::Stop { key: Some(key) } = command else { panic!("{command:?}") };
        match queue.bury(&key, tinyclaw_domain::STOPPED_WAITING) {
            Ok(()) => Some("Stopped.".to_owned()),
            Err(_) => {
                stopped.send(key).unwrap();
                None
            }
        }
    });
    let told = cancel(waiting).await;
    assert_eq!(
        (&told["state"], &told["result"]["code"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    assert!(
        desk.queue
            .view()
            .find(&waiting.parse().unwrap())
            .unwrap()
            .is_some_and(|it| it.place == Place::Dead)
    );
    let key = running.message().key.to_string();
    let log = desk.begin(&running);
    let end = async {
        assert_eq!(stops.recv().await.unwrap().to_string(), key);
        desk.answer(running, log, Outcome::Stopped);
    };
    let (told, ()) = tokio::join!(cancel(&key), end);
    assert_eq!((&told["state"], &told["result"]["success"]), (&json!("stopped"), &json!(false)));
    let before = desk.done();
    let again = cancel(&key).await;
    assert_eq!(again, told, "unchanged");
    assert_eq!(desk.done(), before, "nothing was ordered");
    office.abort();
}

#[tokio::test]
async fn a_question_is_answered_as_it_was_shown_and_by_whoever_may() {
    let mut admin = entry(1, "ada", &Scope::ALL);
    admin.scopes.remove(&Scope::Admin);
    let rig = office_of(json!({}), vec![admin]).await;
    let desk = Desk::at(&rig);
    let id = begin(&rig, &prompt("deploy")).await;
    let lease = desk.take().await;
    let path = format!("/api/jobs/{id}/permissions/req-3");
    let answer = |body: Value| rig.post(&path).json(&body);
    assert_eq!(
        problem(answer(json!({ "answer": "allow" }))).await.1,
        "ask_closed",
        "nothing is asked"
    );
    let ask = desk.ask(&lease, "req-3", "Bash", json!({ "command": "make deploy" }));
    let told = job(&rig, &id).await;
    assert_eq!((&told["state"], &told["ask"]["requestId"]), (&json!("asking"), &json!("req-3")));
    assert_eq!(told["ask"]["input"]["command"], "make deploy");
    let shown = tinyclaw_domain::approval::Question::of(&ask).digest;
    assert_eq!(told["ask"]["shown"], shown);
    for (body, status) in [
        (json!({}), 422),
        (json!({ "answer": "yes" }), 422),
        (json!({ "answer": "allow", "note": "x" }), 422),
        (json!({ "answer": "deny", "note": "smaller" }), 422),
        (json!({ "answer": "allow", "answers": [] }), 422),
    ] {
        assert_eq!(problem(answer(body.clone())).await.0, status, "{body}");
    }
    let (heard, mut orders) = tokio::sync::mpsc::unbounded_channel();
    let office = desk.hear(move |command| {
        let is_refused = matches!(&command, Command::Permission { shown, .. } if shown == "other");
        heard.send(command).unwrap();
        is_refused.then(|| "That was an answer to something else.".to_owned())
    });
    let response = answer(json!({ "answer": "always" })).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), json_of(response).await),
        (200, json!({ "success": true }))
    );
    let order = orders.recv().await.unwrap();
    let Command::Permission { request_id, shown: carried, admin, .. } = order else {
        panic!("{order:?}")
    };
    assert_eq!((&*request_id, &*carried, admin), ("req-3", &*shown, false), "no admin's word");
    let (status, code, told) =
        problem(answer(json!({ "answer": "allow", "shown": "other" }))).await;
    assert_eq!((status, &*code), (409, "ask_closed"));
    assert_eq!(told["detail"], "That was an answer to something else.");
    office.abort();
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page_and_by_state() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(
            begin(&rig, &json!({ "env": "dev", "prompt": n.to_string(), "sessionId": "default" }))
                .await,
        );
    }
    ids.push(begin(&rig, &json!({ "env": "prod", "prompt": "p" })).await);
    let lane = tinyclaw_queue::Which::Lane("api.dev".parse().unwrap());
    let lease = desk.queue.try_claim(tinyclaw_queue::Side::Run, &lane).unwrap().unwrap();
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    let list = async |query: &str| {
        json_of(rig.get(&format!("/api/jobs?{query}")).send().await.unwrap()).await
    };
    let of = |page: &Value| -> BTreeSet<String> {
        page["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (mut seen, mut after, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = list(&format!("limit=2{after}")).await;
        assert!(of(&page).is_disjoint(&seen), "none twice");
        seen.extend(of(&page));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!((pages, &seen), (3, &ids.iter().cloned().collect()));
    assert_eq!(of(&list("env=prod").await), BTreeSet::from([ids[5].clone()]));
    let done = list("state=done").await;
    assert_eq!(
        (of(&done), &done["jobs"][0]["result"]["output"]),
        (BTreeSet::from([ids[0].clone()]), &json!("You said: 0"))
    );
    assert_eq!(of(&list("state=queued&env=dev").await).len(), 4);
    for (query, status) in
        [("limit=0", 422), ("state=x", 422), ("after=api-none", 404), ("envs=dev", 422)]
    {
        assert_eq!(problem(rig.get(&format!("/api/jobs?{query}"))).await.0, status, "{query}");
    }
}

/// Its time was over while no gateway ran.
#[tokio::test]
async fn a_job_is_stopped_when_its_time_is_over_also_by_the_next_gateway() {
    let rig = office(json!({})).await;
    let id = begin(&rig, &json!({ "env": "dev", "prompt": "x", "deadlineS": 1 })).await;
    let dir = rig.stop().await;
    let desk = Desk::on(dir.path());
    let (heard, mut orders) = tokio::sync::mpsc::unbounded_channel();
    let office = desk.hear(move |command| {
        heard.send(command).unwrap();
        None
    });
    let rig = Rig::back(dir).await;
    let order = orders.recv().await.unwrap();
    assert_eq!(order, Command::Stop { key: Some(id.parse().unwrap()) });
    office.abort();
    drop(rig);
}

#[tokio::test]
async fn who_leaves_stops_nothing_unless_they_say_so() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let (heard, mut orders) = tokio::sync::mpsc::unbounded_channel();
    let office = desk.hear(move |command| {
        heard.send(command).unwrap();
        None
    });
    for query in ["", "?cancelOnDisconnect=1"] {
        let body = prompt("x").to_string();
        let request = format!(
            "POST /api/execute{query} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            rig.address,
            rig.token,
            body.len()
        );
        let mut socket = TcpStream::connect(rig.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let lease = desk.take().await;
        drop(socket);
        if query.is_empty() {
            let seen = job(&rig, lease.message().key.as_str()).await;
            assert_eq!(seen["state"], "running");
        } else {
            let order = orders.recv().await.unwrap();
            assert_eq!(order, Command::Stop { key: Some(lease.message().key.clone()) });
        }
        let log = desk.begin(&lease);
        desk.answer(lease, log, Outcome::Answered);
    }
    assert!(orders.try_recv().is_err(), "one was stopped");
    office.abort();
}

/// What a reader of a stream has of it: the ids, and the data.
pub(crate) async fn frames(response: Response) -> Vec<(String, Value)> {
    let text = response.text().await.unwrap();
    let mut frames = Vec::new();
    for block in text.split("\n\n") {
        let line = |name: &str| block.lines().find_map(|it| it.strip_prefix(name));
        if let Some(data) = line("data: ") {
            frames.push((
                line("id: ").unwrap_or_default().to_owned(),
                serde_json::from_str(data).unwrap(),
            ));
        }
    }
    frames
}

#[tokio::test]
async fn a_stream_tells_every_line_and_the_result_and_goes_on_where_a_reader_was() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let request = execute(&rig, &prompt("story")).header("accept", "text/event-stream");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let id = response.headers()["location"]
        .to_str()
        .unwrap()
        .strip_prefix("/api/jobs/")
        .unwrap()
        .to_owned();
    let lease = desk.take().await;
    let mut log = desk.begin(&lease);
    for it in ["You ", "said"] {
        log.write(1_002, JobEvent::Text { text: it.to_owned() }).unwrap();
    }
    desk.answer(lease, log, Outcome::Answered);
    let all = frames(response).await;
    let kinds: Vec<&str> = all.iter().map(|it| it.1["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["queued", "begun", "text", "text", "text.done", "end", "result"]);
    assert_eq!(all[6].1["result"]["output"], "You said: story");
    assert_eq!(all[6].0, "end");
    let stream = format!("/api/jobs/{id}/stream");
    // Cut off at each place in turn.
    for at in 1..6 {
        let request = rig.get(&stream).header("last-event-id", &all[at].0);
        assert_eq!(
            frames(request.send().await.unwrap()).await,
            all[at + 1..],
            "after {}",
            all[at].0
        );
    }
    assert_eq!(rig.get(&stream).header("last-event-id", "end").send().await.unwrap().status(), 204);
    let lines =
        rig.get(&format!("{stream}?format=ndjson&after={}", all[4].0)).send().await.unwrap();
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines: Vec<Value> =
        lines.text().await.unwrap().lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(lines, [all[5].1.clone(), all[6].1.clone()]);
    for bad in ["?after=x", "?format=xml", "?since=1"] {
        assert_eq!(problem(rig.get(&format!("{stream}{bad}"))).await.0, 422, "{bad}");
    }
    // Without its story it has its result.
    std::fs::remove_file(rig.dir.path().join(format!("jobs/{id}.jsonl"))).unwrap();
    let rest = frames(rig.get(&stream).send().await.unwrap()).await;
    assert_eq!(rest.last().unwrap().1["result"]["output"], "You said: story");
}

#[tokio::test]
async fn a_page_reads_a_stream_with_a_ticket_for_that_job_alone() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let serving = desk.serve();
    let ids = [begin(&rig, &prompt("one")).await, begin(&rig, &prompt("two")).await];
    let stream = |id: &str| format!("/api/jobs/{id}/stream");
    let wanted = json!({ "path": stream(&ids[0]) });
    let told = json_of(rig.post("/tickets").json(&wanted).send().await.unwrap()).await;
    let ticket = told["ticket"].as_str().unwrap();
    let with = |id: &str| rig.client.get(rig.url(&format!("{}?ticket={ticket}", stream(id))));
    assert_eq!(problem(with(&ids[1])).await.0, 401);
    let read = frames(with(&ids[0]).send().await.unwrap()).await;
    assert_eq!(read.last().unwrap().1["result"]["output"], "You said: one");
    let other = json!({ "path": "/api/jobs/../execute/stream" });
    assert_eq!(problem(rig.post("/tickets").json(&other)).await.0, 422);
    serving.abort();
}

/// A revoked token ends the stream of a job as it ends those of events.
#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let rig = office(json!({})).await;
    let response =
        execute(&rig, &prompt("x")).header("accept", "text/event-stream").send().await.unwrap();
    let mut revoked = entry(1, "ada", &Scope::ALL);
    revoked.revoked_at = Some(1);
    rig.tokens(vec![revoked, entry(2, "bob", &Scope::ALL)]);
    // Nobody answers: it ends all the same.
    assert!(frames(response).await.iter().all(|it| it.1["type"] == "queued"));
    until("the end of the token", async || {
        rig.get("/api/jobs").send().await.unwrap().status() == 401
    })
    .await;
}

#[tokio::test]
async fn sessions_and_environments_are_told_as_they_are() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let body = json!({ "env": "dev", "name": "release notes" });
    let response = rig.post("/api/sessions").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let session = json_of(response).await;
    let more = json!({ "env": "dev", "prompt": "x", "sessionId": session["id"] });
    let id = begin(&rig, &more).await;
    let list = json_of(rig.get("/api/sessions/dev").send().await.unwrap()).await;
    assert_eq!(
        (list["sessions"].as_array().unwrap().len(), &list["sessions"][0]["name"]),
        (1, &json!("release notes"))
    );
    for bad in [
        json!({ "env": "dev", "name": "a\nb" }),
        json!({ "env": "dev", "name": "" }),
        json!({ "name": "x" }),
    ] {
        assert_eq!(problem(rig.post("/api/sessions").json(&bad)).await.0, 422, "{bad}");
    }
    let status = async |path: &str| json_of(rig.get(path).send().await.unwrap()).await;
    let rest = json!({
        "exists": true, "running": true, "name": "claude-agent-dev", "paused": false, "isolation": "none", "turns": 0,
    });
    assert_eq!(status("/api/containers/dev").await, rest);
    assert_eq!(json_of(rig.post("/api/containers/dev/start").send().await.unwrap()).await, rest);
    let lease = desk.take().await;
    assert_eq!(
        (lease.message().key.to_string(), lease.message().topic_name.as_deref()),
        (id, Some("release notes"))
    );
    assert_eq!(status("/api/containers/dev").await["turns"], 1);
    let envs = status("/api/envs").await;
    let names: Vec<&Value> = envs["envs"].as_array().unwrap().iter().map(|it| &it["env"]).collect();
    assert_eq!(names, ["box", "dev", "prod"]);
    assert_eq!(
        (&envs["envs"][0]["available"], &envs["envs"][1]["turns"]),
        (&json!(false), &json!(1))
    );
    let (code, _) = (problem(rig.post("/api/containers/dev/stop")).await.1, ());
    assert_eq!(code, "env_busy");
    let (stopped, mut stops) = tokio::sync::mpsc::unbounded_channel();
    let office = desk.hear(move |command| {
        stopped.send(command).unwrap();
        None
    });
    let end = async {
        assert!(matches!(stops.recv().await.unwrap(), Command::Stop { key: Some(_) }));
        let log = desk.begin(&lease);
        desk.answer(lease, log, Outcome::Stopped);
    };
    let (told, ()) = tokio::join!(rig.post("/api/containers/dev/stop?force=1").send(), end);
    assert_eq!(json_of(told.unwrap()).await, rest);
    office.abort();
    // Ended, a session takes nothing more; what never ran needs no order.
    let gone = |id: &Value| {
        rig.client
            .delete(rig.url(&format!("/api/sessions/dev/{}", id.as_str().unwrap())))
            .bearer_auth(&rig.token)
    };
    assert_eq!(json_of(gone(&session["id"]).send().await.unwrap()).await, json!({ "ok": true }));
    assert_eq!(problem(gone(&session["id"])).await.1, "unknown_session");
    assert_eq!(problem(execute(&rig, &more)).await.1, "unknown_session");
    assert_eq!(status("/api/sessions/dev").await["sessions"], json!([]));
    assert_eq!(problem(gone(&json!("01kc8m4q2v7x3z9d5f1h6j0nps"))).await.0, 404);
    // What waits in it runs, and then it is closed.
    let session = json_of(rig.post("/api/sessions").json(&body).send().await.unwrap()).await;
    begin(&rig, &json!({ "env": "dev", "prompt": "x", "sessionId": session["id"] })).await;
    assert_eq!(gone(&session["id"]).send().await.unwrap().status(), 200);
    let lease = desk.take().await;
    assert_eq!(lease.message().command, None);
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    let lease = desk.take().await;
    assert_eq!(lease.message().command, Some(Command::Close {}));
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Notice);
    // A file that is no good changes nothing, and is named.
    std::fs::write(rig.dir.path().join("envs.json"), "{").unwrap();
    assert_eq!(status("/api/containers/dev").await, rest);
    std::fs::write(rig.dir.path().join("envs.json"), "{}").unwrap();
    assert_eq!(problem(rig.get("/api/containers/dev")).await.1, "unknown_env");
}
