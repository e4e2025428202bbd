//! The served document against the server: each operation of it is asked, with a token and without, and whatever comes back
//! is one of the answers that it tells of, in the shape that it tells.

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tinyclaw_domain::{FileRef, JobEvent, Outcome, Scope, StateDir, TokenLogin, token_sum};
use tinyclaw_ledger::JobLog;

use crate::desk::Desk;
use crate::jobs;
use crate::rig::{Rig, entry, json_of};

/// The document's own words for a value's place: `#/components/…`.
fn at<'a>(document: &'a Value, it: &'a Value) -> &'a Value {
    match it["$ref"].as_str() {
        Some(place) => document.pointer(place.strip_prefix('#').unwrap()).expect(place),
        None => it,
    }
}

/// What is wrong with a value by a schema, of the words that the document uses.
fn wrong(document: &Value, schema: &Value, value: &Value, place: &str) -> Option<String> {
    let schema = at(document, schema);
    for (word, _) in schema.as_object()? {
        let known = [
            "type",
            "required",
            "properties",
            "items",
            "enum",
            "anyOf",
            "oneOf",
            "pattern",
            "minItems",
            "maxItems",
            "minLength",
            "maxLength",
            "maxProperties",
            "additionalProperties",
            "minimum",
            "maximum",
            "format",
            "description",
            "examples",
        ];
        assert!(known.contains(&word.as_str()), "{place}: this test does not know {word}");
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{place}: {other} is no type"),
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::String(kind) => is(kind),
        kinds => kinds.as_array().unwrap().iter().any(|it| is(it.as_str().unwrap())),
    };
    if !fits {
        return Some(format!("{place}: {value} is not {}", schema["type"]));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("{place}: {value} is none of {allowed:?}"));
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(schemas) = schema[choice].as_array()
            && schemas.iter().all(|it| wrong(document, it, value, place).is_some())
        {
            return Some(format!("{place}: {value} fits none"));
        }
    }
    if let Some(most) = schema["maxProperties"].as_u64()
        && value.as_object().is_some_and(|it| it.len() as u64 > most)
    {
        return Some(format!("{place}: {value} has more than {most} members"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            return Some(format!("{place} lacks {name}: {value}"));
        }
    }
    let members = schema["properties"].as_object().into_iter().flatten();
    let mut members = members.filter_map(|(name, it)| Some((name, it, value.get(name)?)));
    let inner = members
        .find_map(|(name, it, value)| wrong(document, it, value, &format!("{place}/{name}")));
    inner.or_else(|| {
        let items = schema.get("items")?;
        value.as_array()?.iter().find_map(|it| wrong(document, items, it, &format!("{place}/*")))
    })
}

/// Asks, and holds the answer against the operation.
async fn ask(document: &Value, name: &str, operation: &Value, request: RequestBuilder) -> u16 {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let told = operation["responses"].get(status.to_string());
    let told = at(document, told.unwrap_or_else(|| panic!("{name} answers {status}, untold")));
    let kind = response.headers().get("content-type").map(|it| it.to_str().unwrap().to_owned());
    let kind = kind.unwrap_or_default().split(';').next().unwrap().to_owned();
    let Some(content) = told["content"].get(&kind) else {
        panic!("{name} answers {status} as {kind:?}, untold: {told}")
    };
    if kind.ends_with("json") {
        let body = json_of(response).await;
        let wrong = wrong(document, &content["schema"], &body, name);
        assert_eq!(wrong, None, "{status}");
    }
    status
}

/// What else is sent to an operation, so that it has something to refuse.
fn bodies(example: &Value) -> Vec<String> {
    let mut bodies: Vec<String> =
        [json!([]), json!({}), json!(3), json!([example, example]), json!({ "type": "a b" })]
            .iter()
            .map(Value::to_string)
            .collect();
    bodies.extend(["".to_owned(), "{".to_owned(), "x".repeat((4 << 20) + 1)]);
    bodies
}

/// What the document says of posting to a path.
fn document_of(path: &str) -> Value {
    let document: Value =
        serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap();
    document["paths"][path]["post"].clone()
}

#[tokio::test]
async fn what_is_served_is_what_the_document_tells() {
    let rig = Rig::with(json!({
        "readPerSecond": 100_000, "ingestPerSecond": 1_000_000, "webhookHosts": ["n8n.example.org"],
        "notifyForeign": true, "executePerSecond": 10_000,
    }))
    .await;
    let envs = json!({ "dev": { "isolation": "none" }, "held": { "isolation": "none" } });
    std::fs::write(rig.dir.path().join("envs.json"), envs.to_string()).unwrap();
    let thread = json!({ "name": "queue", "cwd": "/srv", "isMaster": false, "lastActive": 1, "status": "idle" });
    let threads = StateDir::new(rig.dir.path()).threads();
    std::fs::write(threads, json!({ "3": thread }).to_string()).unwrap();
    // One job waits for an answer, and one is done.
    let desk = Desk::at(&rig);
    let prompt = json!({ "env": "dev", "prompt": "x" });
    let asking = jobs::begin(&rig, &json!({ "env": "held", "prompt": "x" })).await;
    let asks = desk.take().await;
    desk.ask(&asks, "req-3", "Bash", json!({ "command": "ls" }));
    let done = json!(jobs::begin(&rig, &prompt).await);
    let lease = desk.take().await;
    let log = desk.begin(&lease);
    let path = format!("files/{}/report.txt", lease.message().thread_id);
    std::fs::create_dir_all(rig.dir.path().join(&path).parent().unwrap()).unwrap();
    std::fs::write(rig.dir.path().join(&path), "12 passed").unwrap();
    let file = FileRef { path, mime: "text/plain".into(), name: Some("report.txt".into()) };
    desk.answer_with(lease, log, Outcome::Answered, vec![file]);
    let (_office, _hears) = (desk.serve(), desk.hear(|_| None));
    // The ticket of the document's example.
    let ticket =
        document_of("/login")["requestBody"]["content"]["application/json"]["example"]["ticket"]
            .clone();
    let ticket = ticket.as_str().unwrap();
    let mut page = entry(2, "page", &[Scope::Read]);
    page.login = Some(TokenLogin { sum: token_sum(ticket), salt: "salt".into(), until: u64::MAX });
    rig.tokens(vec![entry(1, "ada", &Scope::ALL), page]);
    let session = rig.post("/api/sessions").json(&json!({ "env": "dev" }));
    let session = json_of(session.send().await.unwrap()).await["id"].clone();
    let webhook = rig.post("/api/webhooks").json(&json!({ "url": "https://n8n.example.org/1" }));
    let webhook = json_of(webhook.send().await.unwrap()).await["webhook"]["id"].clone();
    let fill = |template: &str, key: &str| {
        let good =
            |it: &str, good: &str| if key.is_empty() { good.to_owned() } else { it.to_owned() };
        let id = match template {
            it if it.contains("/permissions/") => &asking,
            it if it.starts_with("/api/sessions/") => session.as_str().unwrap(),
            it if it.starts_with("/api/jobs/") => done.as_str().unwrap(),
            it if it.starts_with("/api/threads/") => "3",
            _ => webhook.as_str().unwrap(),
        };
        template
            .replace("{id}", &good(key, id))
            .replace("{key}", &good(key, "tg-7"))
            .replace("{env}", &good(key, "dev"))
            .replace("{request}", &good(key, "req-3"))
            .replace("{number}", &good(key, "0"))
    };
    let document = json_of(rig.client.get(rig.url("/openapi.json")).send().await.unwrap()).await;
    let state = StateDir::new(rig.dir.path());
    let mut log = JobLog::begin(&state, &"tg-7".parse().unwrap(), 1);
    log.write(2, JobEvent::Begun { attempt: 1, model: None, tier: None, warm: true }).unwrap();
    rig.tell(&json!({ "type": "a.b", "subject": "tg-7" })).await;
    for (template, operations) in document["paths"].as_object().unwrap() {
        let path = fill(template, "");
        // The router itself says which methods a path has.
        let other = rig.client.request(Method::PATCH, rig.url(&path)).send().await.unwrap();
        assert_eq!(other.status(), 405, "{template}");
        let allowed = other.headers()["allow"].to_str().unwrap().to_ascii_lowercase();
        let served: BTreeSet<&str> = allowed.split(',').filter(|it| *it != "head").collect();
        let told: BTreeSet<&str> =
            operations.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(served, told, "{template}");
        for (method, operation) in operations.as_object().unwrap() {
            let name = format!("{method} {template}");
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            let open = |path: &str| rig.client.request(method.clone(), rig.url(path));
            let with = |path: &str| open(path).bearer_auth(&rig.token);
            let body = &operation["requestBody"]["content"]["application/json"];
            let good = match body.get("example") {
                None if name == "post /api/sessions/{env}/{id}/files" => {
                    with(&format!("{path}?name=numbers.csv")).body("1,2")
                }
                Some(example) => {
                    let wrong = wrong(&document, &body["schema"], example, &name);
                    assert_eq!(wrong, None, "the example");
                    with(&path).json(example)
                }
                None => with(&path),
            };
            let status = ask(&document, &name, operation, good).await;
            assert!([200, 201, 202].contains(&status) || template == "/ws", "{name}: {status}");
            let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
            let status = ask(&document, &name, operation, open(&path)).await;
            assert_eq!(status == 401, !is_open, "{name}: {status}");
            // Who watches over a container asks for its address.
            if !["/health", "/ready"].contains(&template.as_str()) {
                let foreign = with(&path).header("host", "elsewhere.example.org");
                assert_eq!(ask(&document, &name, operation, foreign).await, 421, "{name}");
            }
            for it in operation["parameters"].as_array().into_iter().flatten() {
                let (parameter, place) = (it["name"].as_str().unwrap(), it["in"].as_str().unwrap());
                for value in ["x", "%00", "9999999999999999999999"] {
                    let request = match place {
                        "query" => with(&format!("{path}?{parameter}={value}")),
                        "path" => with(&fill(template, value)),
                        _ => with(&path).header(parameter, value).body("{\"type\":\"a\"}"),
                    };
                    ask(&document, &name, operation, request).await;
                }
            }
            if let Some(example) = body.get("example") {
                for body in bodies(example) {
                    let request = with(&path).header("content-type", "application/json");
                    ask(&document, &name, operation, request.body(body)).await;
                }
                let request = with(&path).header("content-type", "text/html").body("<a>");
                ask(&document, &name, operation, request).await;
            }
        }
    }
}

#[test]
fn the_examples_for_n8n_ask_for_what_there_is() {
    let document: Value =
        serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap();
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let mut asked = 0;
    for file in std::fs::read_dir(examples).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|it| it != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let workflow: Value = serde_json::from_str(&text).unwrap();
        let nodes = workflow["nodes"].as_array().unwrap();
        for (name, outputs) in workflow["connections"].as_object().unwrap() {
            let next = &outputs["main"][0][0]["node"];
            let is_there = |it: &Value| nodes.iter().any(|node| node["name"] == *it);
            assert!(
                is_there(&json!(name)) && is_there(next),
                "{}: {name} → {next}",
                file.display()
            );
        }
        for node in nodes.iter().filter(|it| it["type"] == "n8n-nodes-base.httpRequest") {
            let parameters = &node["parameters"];
            let url = parameters["url"].as_str().unwrap().trim_start_matches('=');
            let path = url.strip_prefix("http://127.0.0.1:3200").unwrap();
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let method = parameters["method"].as_str().unwrap().to_ascii_lowercase();
            let operation = &document["paths"][path][&method];
            assert!(operation.is_object(), "{}: {method} {path}", file.display());
            let known: Vec<&str> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["name"].as_str().unwrap())
                .collect();
            let names = query.split('&').filter_map(|it| Some(it.split_once('=')?.0));
            for it in names.filter(|it| !it.starts_with("{{")) {
                assert!(known.contains(&it), "{}: {path} knows no {it}", file.display());
            }
            asked += 1;
        }
    }
    assert!(asked >= 3, "{asked}");
}
