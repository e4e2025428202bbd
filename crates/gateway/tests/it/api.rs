//! What the web API keeps count of: budgets, sessions that nobody goes on with, who is to be told, files, and who logs in.

use std::io::Write as _;
use std::time::Duration;

use axum::routing::post;
use base64::Engine as _;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tinyclaw_domain::{Command, FileRef, Outcome, Reply, Scope, StateDir, TokenLogin, token_sum};
use tinyclaw_gateway::SessionKeep;
use tinyclaw_service::now_ms;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::desk::{Desk, until};
use crate::jobs;
use crate::rig::{Rig, entry, json_of, problem, token};

fn state(rig: &Rig) -> StateDir {
    StateDir::new(rig.dir.path())
}

fn envs(rig: &Rig, envs: &Value) {
    std::fs::write(state(rig).envs(), envs.to_string()).unwrap();
}

/// Notes in the office's history what an answer cost, as processor does.
fn cost(rig: &Rig, key: &str, thread: &str, usd: f64) {
    let line = json!({
        "timestamp": now_ms(), "key": key, "attempt": 1, "messageId": key, "threadId": thread, "channel": "api",
        "direction": "out", "sender": "Claude", "message": "Done.", "model": "sonnet", "costUsd": usd,
    });
    let mut history =
        std::fs::File::options().create(true).append(true).open(state(rig).history()).unwrap();
    history.write_all(format!("{line}\n").as_bytes()).unwrap();
}

async fn execute(rig: &Rig, number: u8, env: &str) -> (u16, Value) {
    let request = rig.client.post(rig.url("/api/execute")).bearer_auth(token(number));
    let request = request.header("prefer", "respond-async");
    let answer = request.json(&json!({ "env": env, "prompt": "x" })).send().await.unwrap();
    (answer.status().as_u16(), json_of(answer).await)
}

#[tokio::test]
async fn budgets_of_tokens_and_of_environments_are_kept_over_restarts() {
    let rig = jobs::office(json!({})).await;
    let mut poor = entry(2, "poor", &Scope::ALL);
    poor.budget_per_day = Some(1.0);
    let rig = Rig::back_with(rig.stop().await, vec![entry(1, "ada", &Scope::ALL), poor]).await;
    envs(
        &rig,
        &json!({
            "dev": { "isolation": "none" }, "small": { "isolation": "none", "budgetPerDay": 2.0 },
        }),
    );
    let (status, told) = execute(&rig, 2, "dev").await;
    assert_eq!(status, 202, "nothing was spent: {told}");
    let key = told["jobId"].as_str().unwrap().to_owned();
    let thread = format!("api.dev.{}", told["sessionId"].as_str().unwrap());
    // Others' money is not this token's.
    cost(&rig, "tg-7", "3", 50.0);
    cost(&rig, &key, &thread, 0.75);
    assert_eq!(execute(&rig, 2, "dev").await.0, 202);
    cost(&rig, "api-stranger", "api.dev", 5.0);
    assert_eq!(execute(&rig, 2, "dev").await.0, 202, "somebody else's job");
    let (_, more) = execute(&rig, 2, "small").await;
    cost(&rig, more["jobId"].as_str().unwrap(), "api.small", 0.5);
    let mut rig = rig;
    for _ in 0..2 {
        let (status, told) = execute(&rig, 2, "dev").await;
        assert_eq!((status, &told["code"]), (402, &json!("budget_spent")), "{told}");
        assert!(told["detail"].as_str().unwrap().contains("$1.25 of $1.00"), "{told}");
        assert_eq!(execute(&rig, 1, "small").await.0, 202, "another token, in time");
        let body = json!({ "model": "dev/auto", "messages": [{ "role": "user", "content": "x" }] });
        let asked = rig.client.post(rig.url("/v1/chat/completions")).bearer_auth(token(2));
        assert_eq!(problem(asked.json(&body)).await.0, 402, "whichever way it asks");
        rig = rig.again().await;
    }
    cost(&rig, "api-other", "api.small.01kc8m4q2v7x3z9d5f1h6j0nps", 1.5);
    for _ in 0..2 {
        let (status, told) = execute(&rig, 1, "small").await;
        assert_eq!((status, &told["code"]), (402, &json!("budget_spent")), "{told}");
        assert!(told["detail"].as_str().unwrap().contains("environment small"), "{told}");
        rig = rig.again().await;
    }
    // What was accepted before is found again, and costs nothing new.
    assert_eq!(execute(&rig, 1, "dev").await.0, 202);
}

#[tokio::test]
async fn sessions_that_nobody_goes_on_with_are_forgotten_and_others_stay() {
    let rig = jobs::office(json!({})).await;
    let begun = rig.post("/api/sessions").json(&json!({ "env": "dev" })).send().await.unwrap();
    let begun = json_of(begun).await["id"].as_str().unwrap().to_owned();
    let by_prompt = json_of(
        rig.post("/api/execute")
            .header("prefer", "respond-async")
            .json(&json!({ "env": "dev", "prompt": "x" }))
            .send()
            .await
            .unwrap(),
    )
    .await["sessionId"]
        .as_str()
        .unwrap()
        .to_owned();
    // The prompt is answered, so that nothing waits there.
    let desk = Desk::at(&rig);
    let lease = desk.take().await;
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    let thread = |status: &str, age: u64| json!({ "name": "x", "cwd": "/srv", "isMaster": false, "lastActive": now_ms() - age, "status": status });
    let hour = 3_600_000;
    let working = "01kc8m4q2v7x3z9d5f1h6j0npt";
    let threads = json!({
        format!("api.dev.{by_prompt}"): thread("idle", 2 * hour), format!("api.dev.{begun}"): thread("idle", 2 * hour),
        format!("api.dev.{working}"): thread("working", 9 * hour), "api.dev": thread("idle", 9 * hour), "7": thread("idle", 9 * hour),
    });
    std::fs::write(state(&rig).threads(), threads.to_string()).unwrap();
    let keep = SessionKeep {
        by_prompt: Duration::from_secs(3_600),
        by_name: Duration::from_secs(24 * 3_600),
        most: 1_000,
        look_every: Duration::from_millis(20),
    };
    let (heard, mut orders) = mpsc::unbounded_channel();
    let rig = Rig::keeping(rig.stop().await, keep).await;
    let listening = Desk::at(&rig);
    let hears = tokio::spawn(async move {
        loop {
            let mut lease = listening.take().await;
            let message = lease.message().clone();
            heard.send((message.thread_id.to_string(), message.command)).unwrap();
            lease.answer(Reply { silent: true, ..Reply::default() }, vec![]).unwrap();
            lease.finish().unwrap();
        }
    });
    let first = orders.recv().await.unwrap();
    assert_eq!(first, (format!("api.dev.{by_prompt}"), Some(Command::Forget {})));
    let path = "/api/execute";
    let again = json!({ "env": "dev", "prompt": "x", "sessionId": by_prompt });
    until("the end of the session", async || {
        let told = json_of(rig.get("/api/sessions/dev").send().await.unwrap()).await;
        !told["sessions"].as_array().unwrap().iter().any(|it| it["id"] == by_prompt.as_str())
    })
    .await;
    assert_eq!(problem(rig.post(path).json(&again)).await.1, "unknown_session");
    let told = rig.post(path).header("prefer", "respond-async");
    let told = told.json(&json!({ "env": "dev", "prompt": "x", "sessionId": begun }));
    assert_eq!(told.send().await.unwrap().status(), 202, "a day is not over");
    // The next message is that one, and no other order came before it.
    let next = orders.recv().await.unwrap();
    assert_eq!(next, (format!("api.dev.{begun}"), None));
    hears.abort();
}

/// Who takes what is posted, and answers with these statuses first.
async fn receiver(
    statuses: Vec<u16>,
) -> (String, mpsc::UnboundedReceiver<(axum::http::HeaderMap, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told, posts) = mpsc::unbounded_channel();
    let statuses = std::sync::Arc::new(std::sync::Mutex::new(statuses));
    let take = move |headers: axum::http::HeaderMap, body: String| async move {
        told.send((headers, body)).unwrap();
        let mut statuses = statuses.lock().unwrap();
        let next = if statuses.is_empty() { 200 } else { statuses.remove(0) };
        axum::http::StatusCode::from_u16(next).unwrap()
    };
    let router = axum::Router::new().route("/done", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address.to_string(), posts)
}

#[tokio::test]
async fn what_came_of_a_job_is_posted_to_its_callback_also_after_a_restart() {
    let (host, mut posts) = receiver(vec![500]).await;
    let rig = jobs::office(json!({})).await;
    let rig = Rig::posting(rig.stop().await, vec![host.clone()]).await;
    let url = format!("http://{host}/done");
    let foreign = json!({ "env": "dev", "prompt": "x", "callbackUrl": "http://127.0.0.1:1/done" });
    assert_eq!(problem(rig.post("/api/execute").json(&foreign)).await.1, "webhook_host");
    let asked = json!({ "env": "dev", "prompt": "hello", "callbackUrl": url });
    let ask = || {
        rig.post("/api/execute")
            .header("prefer", "respond-async")
            .header("idempotency-key", "7")
            .json(&asked)
            .send()
    };
    let told = json_of(ask().await.unwrap()).await;
    let secret = told["callbackSecret"].as_str().unwrap().to_owned();
    assert_eq!(
        json_of(ask().await.unwrap()).await["callbackSecret"],
        secret.as_str(),
        "the same job"
    );
    // The gateway is another one when the job ends.
    let rig = Rig::posting(rig.stop().await, vec![host.clone()]).await;
    let desk = Desk::at(&rig);
    let lease = desk.take().await;
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    // Not taken, and tried again.
    posts.recv().await.unwrap();
    let (headers, body) = posts.recv().await.unwrap();
    let told_then: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told_then["type"], "tinyclaw.job.done");
    assert_eq!(told_then["data"]["output"], "You said: hello");
    assert_eq!(told_then["data"]["jobId"], told["jobId"]);
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("webhook-id"), told["jobId"].as_str().unwrap());
    let key =
        base64::prelude::BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(
        format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp")).as_bytes(),
    );
    let signature = base64::prelude::BASE64_STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
    let is_over = || {
        let connection = rusqlite::Connection::open(state(&rig).events()).unwrap();
        let question = "SELECT count(*) FROM callbacks WHERE is_over = 1";
        connection.query_row(question, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    };
    until("the note that it was taken", async || is_over()).await;
    // Taken, it is over: another gateway posts nothing. A second job shows that it would have by then.
    let rig = Rig::posting(rig.stop().await, vec![host]).await;
    let next = json!({ "env": "dev", "prompt": "next", "callbackUrl": url });
    let next = json_of(
        rig.post("/api/execute")
            .header("prefer", "respond-async")
            .json(&next)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let desk = Desk::at(&rig);
    let lease = desk.take().await;
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Stopped);
    let (headers, body) = posts.recv().await.unwrap();
    assert_eq!(headers["webhook-id"], next["jobId"].as_str().unwrap(), "{body}");
    assert!(body.contains("tinyclaw.job.stopped"), "{body}");
}

#[tokio::test]
async fn files_go_into_a_session_and_come_with_an_answer_and_nothing_else_does() {
    let rig = jobs::office(json!({})).await;
    let session = rig.post("/api/sessions").json(&json!({ "env": "dev" })).send().await.unwrap();
    let session = json_of(session).await["id"].as_str().unwrap().to_owned();
    let put = |session: &str, name: &str, body: Vec<u8>| {
        let path = format!("/api/sessions/dev/{session}/files");
        rig.post(&path).query(&[("name", name)]).body(body).send()
    };
    let told = put(&session, "../../numbers .csv", b"1,2".to_vec()).await.unwrap();
    assert_eq!(told.status(), 201);
    let told = json_of(told).await;
    let kept = told["file"].as_str().unwrap();
    assert_eq!((&told["bytes"], &told["mime"]), (&json!(3), &json!("text/csv")), "{told}");
    assert!(kept.starts_with("api-") && !kept.contains('/'), "{kept}");
    for (session, name, body, status) in [
        (&*session, "", b"x".to_vec(), 422),
        (&*session, "a\nb", b"x".to_vec(), 422),
        (&*session, "empty.txt", Vec::new(), 422),
        (&*session, "large.bin", vec![0; (20 << 20) + 1], 413),
        ("01kc8m4q2v7x3z9d5f1h6j0nps", "a.txt", b"x".to_vec(), 404),
    ] {
        assert_eq!(put(session, name, body).await.unwrap().status(), status, "{name:?}");
    }
    let desk = Desk::at(&rig);
    let ask = |files: Value| {
        let body = json!({ "env": "dev", "prompt": "x", "sessionId": session, "files": files });
        rig.post("/api/execute").header("prefer", "respond-async").json(&body)
    };
    let folder = state(&rig).files(&format!("api.dev.{session}").parse().unwrap());
    std::fs::write(folder.join("theirs_secret.txt"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.join("api-1_link.txt")).unwrap();
    for bad in
        ["nothing.txt", "theirs_secret.txt", "api-1_link.txt", "api-1_/../x", "../threads.json", ""]
    {
        let (status, code, _) = problem(ask(json!([bad]))).await;
        assert_eq!((status, &*code), (404, "unknown_file"), "{bad}");
    }
    let told = json_of(ask(json!([kept])).send().await.unwrap()).await;
    let lease = desk.take().await;
    let sent = &lease.message().files[0];
    assert_eq!(sent.path, format!("files/api.dev.{session}/{kept}"));
    assert_eq!(std::fs::read(rig.dir.path().join(&sent.path)).unwrap(), b"1,2");
    // The answer sends one of its own; and what lies elsewhere is not fetched through it.
    let log = desk.begin(&lease);
    std::fs::write(folder.join("box-1-report.html"), "<script>").unwrap();
    let file = |path: String| FileRef {
        path,
        mime: "text/html".into(),
        name: Some("re\"port.html".into()),
    };
    let below = |name: &str| format!("files/api.dev.{session}/{name}");
    let files = vec![
        file(below("box-1-report.html")),
        file(below("api-1_link.txt")),
        file("/etc/passwd".to_owned()),
        file(below("../../tokens.json")),
    ];
    let key = desk.answer_with(lease, log, Outcome::Answered, files);
    assert_eq!(told["jobId"], key.as_str());
    let shown = json_of(rig.get(&format!("/api/jobs/{key}?wait=60")).send().await.unwrap()).await;
    let sent = shown["result"]["files"].as_array().unwrap();
    assert_eq!(sent.len(), 4);
    let got = rig.get(sent[0]["href"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "application/octet-stream");
    let kept = "attachment; filename*=UTF-8''re%22port.html";
    assert_eq!(got.headers()["content-disposition"], kept);
    assert_eq!(got.text().await.unwrap(), "<script>");
    for it in &sent[1..] {
        assert_eq!(problem(rig.get(it["href"].as_str().unwrap())).await.0, 404, "{it}");
    }
    assert_eq!(problem(rig.get(&format!("/api/jobs/{key}/files/4"))).await.1, "unknown_file");
}

#[tokio::test]
async fn a_ticket_logs_in_once_and_in_time() {
    let rig = Rig::forgiving(json!({})).await;
    let login = |ticket: &str, until: u64| TokenLogin {
        sum: token_sum(ticket),
        salt: format!("salt of {ticket}"),
        until,
    };
    let mut tokens = vec![entry(1, "ada", &Scope::ALL)];
    for (number, ticket, until) in [(2, "tk_good", now_ms() + 60_000), (3, "tk_late", now_ms() - 1)]
    {
        let login = login(ticket, until);
        let mut it = entry(number, ticket, &[Scope::Read]);
        it.sum = token_sum(&login.token(&it.id, ticket));
        it.login = Some(login);
        tokens.push(it);
    }
    rig.tokens(tokens);
    let ask = |ticket: &str| rig.client.post(rig.url("/login")).json(&json!({ "ticket": ticket }));
    for bad in ["tk_late", "tk_other", "", &token(1)] {
        assert_eq!(problem(ask(bad)).await.1, "bad_token", "{bad}");
    }
    let told = ask("tk_good").send().await.unwrap();
    assert_eq!(told.status(), 200);
    let text = json_of(told).await["token"].as_str().unwrap().to_owned();
    let used = rig.client.get(rig.url("/api/envs")).bearer_auth(&text).send().await.unwrap();
    assert_eq!(used.status(), 200);
    assert_eq!(problem(ask("tk_good")).await.1, "bad_token", "it was used");
    // The ticket alone is no token.
    let request = rig.client.get(rig.url("/api/envs")).bearer_auth("tk_good");
    assert_eq!(problem(request).await.0, 401);
}
