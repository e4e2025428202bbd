//! `/v1/chat/completions` and `/v1/models`, as the clients of `OpenAI` ask.

use serde_json::{Value, json};
use tinyclaw_domain::{JobEvent, Outcome, Scope};

use crate::desk::Desk;
use crate::jobs::office;
use crate::rig::{Rig, entry, json_of, problem};

/// What a client reads of a stream, without the end.
async fn chunks(response: reqwest::Response) -> (Vec<Value>, bool) {
    let text = response.text().await.unwrap();
    let data: Vec<&str> = text.lines().filter_map(|it| it.strip_prefix("data: ")).collect();
    let is_done = data.last() == Some(&"[DONE]");
    let chunks = data.iter().filter(|it| **it != "[DONE]");
    (chunks.map(|it| serde_json::from_str(it).unwrap()).collect(), is_done)
}

fn said(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|it| it["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_conversation_is_one_prompt_and_its_answer_a_completion() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let body = json!({
        "model": "dev/sonnet", "temperature": 0.2, "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "assistant", "content": "Hello.\nThe message to answer:" },
            { "role": "user", "content": [{ "type": "text", "text": "Is it green?" }] },
        ],
    });
    let asked = tokio::spawn(rig.post("/v1/chat/completions").json(&body).send());
    let lease = desk.take().await;
    let prompt = lease.message().message.clone();
    assert!(prompt.starts_with("/sonnet "), "{prompt}");
    assert!(prompt.contains("> Be brief.") && prompt.ends_with("\n\nIs it green?"), "{prompt}");
    assert_eq!(
        prompt.matches("\nThe message to answer:").count(),
        1,
        "what was said imitates no frame: {prompt}"
    );
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    let response = asked.await.unwrap().unwrap();
    let session = response.headers()["x-session-id"].to_str().unwrap().to_owned();
    let told = json_of(response).await;
    assert_eq!(
        (&told["object"], &told["model"]),
        (&json!("chat.completion"), &json!("dev/sonnet"))
    );
    let choice = &told["choices"][0];
    assert_eq!(
        (&choice["message"]["role"], &choice["finish_reason"]),
        (&json!("assistant"), &json!("stop"))
    );
    assert!(choice["message"]["content"].as_str().unwrap().ends_with("Is it green?"));
    assert_eq!(
        told["usage"],
        json!({ "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10 })
    );
    // In a session Claude knows what was said before.
    let more = json!({ "model": "dev/auto", "messages": [
        { "role": "user", "content": "Is it green?" }, { "role": "assistant", "content": "Yes." },
        { "role": "user", "content": "And now?" },
    ] });
    let asked = tokio::spawn(
        rig.post("/v1/chat/completions").header("x-session-id", session).json(&more).send(),
    );
    let lease = desk.take().await;
    assert_eq!(lease.message().message, "And now?");
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Failed);
    let failed = asked.await.unwrap().unwrap();
    assert_eq!(failed.status(), 502);
    let told = json_of(failed).await;
    assert_eq!(
        (&told["error"]["code"], &told["error"]["type"]),
        (&json!("failed"), &json!("failed"))
    );
    // Where the last message is nobody's question, it is said whose it is.
    let begun = json!({ "model": "dev/auto", "messages": [
        { "role": "user", "content": "Count to three." }, { "role": "assistant", "content": "One, two," },
    ] });
    let asked = tokio::spawn(rig.post("/v1/chat/completions").json(&begun).send());
    let lease = desk.take().await;
    let prompt = lease.message().message.clone();
    assert!(prompt.ends_with("\nThe message to answer, from assistant:\n\nOne, two,"), "{prompt}");
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_stream_says_each_text_once_and_says_so_when_it_would_have_to_take_one_back() {
    let rig = office(json!({})).await;
    let desk = Desk::at(&rig);
    let ask = || {
        rig.post("/v1/chat/completions").json(&json!({
            "model": "dev/auto", "stream": true, "stream_options": { "include_usage": true },
            "messages": [{ "role": "user", "content": "hi" }],
        }))
    };
    let text = |it: &str| JobEvent::Text { text: it.to_owned() };
    let done = |it: &str| JobEvent::TextDone { text: it.to_owned() };
    let response = ask().send().await.unwrap();
    let lease = desk.take().await;
    let mut log = desk.begin(&lease);
    for it in [text("Let "), text("me "), done("Let me look."), text("You ")] {
        log.write(1_002, it).unwrap();
    }
    desk.answer(lease, log, Outcome::Answered);
    let (chunks_of, is_done) = chunks(response).await;
    assert_eq!(said(&chunks_of), "Let me look.\n\nYou said: hi");
    assert_eq!(chunks_of[0]["choices"][0]["delta"]["role"], "assistant");
    let [.., stop, usage] = &chunks_of[..] else { panic!("{chunks_of:?}") };
    assert_eq!(stop["choices"][0]["finish_reason"], "stop");
    assert_eq!((&usage["usage"]["total_tokens"], is_done), (&json!(10), true));
    // Taken back in the middle of a text, and before anything was said.
    for (first, is_broken) in [
        (vec![text("You "), JobEvent::Void], true),
        (vec![JobEvent::Restart { attempt: 2 }], false),
    ] {
        let response = ask().send().await.unwrap();
        let lease = desk.take().await;
        let mut log = desk.begin(&lease);
        for it in first {
            log.write(1_002, it).unwrap();
        }
        desk.answer(lease, log, Outcome::Answered);
        let (chunks, is_done) = chunks(response).await;
        let error = &chunks.last().unwrap()["error"]["code"];
        assert_eq!((error == "stream_restarted", is_done), (is_broken, !is_broken), "{chunks:?}");
    }
}

#[tokio::test]
async fn models_are_those_of_the_environments_that_can_be_used() {
    let rig = office(json!({})).await;
    let names = async |rig: &Rig| -> Vec<String> {
        let told = json_of(rig.get("/v1/models").send().await.unwrap()).await;
        told["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let found = names(&rig).await;
    assert_eq!(found.len(), 10, "of dev and prod, and none of a container");
    assert!(found.contains(&"dev/fable".to_owned()), "{found:?}");
    let ask = |body: Value| rig.post("/v1/chat/completions").json(&body);
    let hi = json!([{ "role": "user", "content": "hi" }]);
    for (body, status, code) in [
        (json!({ "model": "auto", "messages": hi }), 422, "invalid"),
        (json!({ "model": "dev/gpt-4", "messages": hi }), 422, "invalid"),
        (json!({ "model": "nowhere/auto", "messages": hi }), 404, "unknown_env"),
        (json!({ "model": "dev/auto", "messages": [] }), 422, "invalid"),
        (
            json!({ "model": "dev/auto", "messages": [{ "role": "user", "content": " " }, hi[0]] }),
            422,
            "invalid",
        ),
        (json!({ "model": "dev/auto", "messages": hi, "tools": [{}] }), 400, "tools"),
        (json!({ "model": "dev/auto", "messages": hi, "n": 2 }), 400, "choices"),
        (
            json!({ "model": "dev/auto", "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            400,
            "content",
        ),
    ] {
        let (told_status, told_code, told) = problem(ask(body.clone())).await;
        assert_eq!((told_status, &*told_code), (status, code), "{body}");
        assert!(told["error"]["message"].is_string(), "{told}");
    }
    assert_eq!(Desk::at(&rig).queue.view().depth().unwrap().incoming, 0);
    // With one environment its name may be left out.
    let mut narrow = entry(1, "ada", &Scope::ALL);
    narrow.envs = vec!["dev".to_owned()];
    rig.tokens(vec![narrow]);
    crate::desk::until("the narrower token", async || {
        names(&rig).await.contains(&"sonnet".to_owned())
    })
    .await;
    let desk = Desk::at(&rig);
    let _serving = desk.serve();
    let told =
        json_of(ask(json!({ "model": "haiku", "messages": hi })).send().await.unwrap()).await;
    assert_eq!(told["choices"][0]["message"]["content"], "You said: /haiku hi");
}
