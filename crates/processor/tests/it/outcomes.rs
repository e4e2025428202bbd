//! What people say about answers is kept beside the decisions.

use serde_json::{Value, json};
use tinyclaw_domain::{Command, Key};

use crate::office::Office;

/// Message, what is said about its answer, and which message says so.
fn outcomes(office: &Office) -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(office.state.outcomes()).unwrap_or_default();
    let lines = text.lines().map(|it| serde_json::from_str::<Value>(it).expect("a line"));
    lines
        .map(|it| ["key", "said", "by"].map(|name| it[name].as_str().expect("text").to_owned()))
        .collect()
}

fn expected(of: &[(&Key, &str, &Key)]) -> Vec<[String; 3]> {
    of.iter().map(|(key, said, by)| [key.to_string(), (*said).to_owned(), by.to_string()]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_is_kept_with_the_message_whose_answer_it_corrects() {
    let mut office = Office::open(json!({}));
    let first = office.send("7", "which port is it");
    office.reply(&first).await;
    let wrong = office.send("7", "no, the other server");
    office.reply(&wrong).await;
    let stronger = office.send("7", "/opus look again, carefully");
    office.reply(&stronger).await;
    let mut again = office.message("7", "which port is it");
    again.asks_again = Some(first.clone());
    let again = office.publish(again);
    office.reply(&again).await;
    let thanks = office.send("7", "no, thanks");
    office.reply(&thanks).await;
    let kept = expected(&[
        (&first, "wrong", &wrong),
        (&wrong, "stronger", &stronger),
        (&first, "again", &again),
    ]);
    assert_eq!(outcomes(&office), kept);
    // Another thread has another conversation.
    let other = office.send("8", "no, the other server");
    office.reply(&other).await;
    // And what a program asks corrects nothing.
    let mut program = office.message("7", "wrong");
    program.source = tinyclaw_domain::Source::Api;
    let program = office.publish(program);
    office.reply(&program).await;
    assert_eq!(outcomes(&office), kept);
    office.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thumbs_down_is_kept_and_taken_back() {
    let mut office = Office::open(json!({}));
    let asked = office.send("7", "which port is it");
    office.reply(&asked).await;
    let mut orders = Vec::new();
    for (key, thumbs_down) in
        [(asked.clone(), true), ("tg-404".parse().unwrap(), true), (asked.clone(), false)]
    {
        let order = office.order("7", Command::Rate { key, thumbs_down });
        assert!(office.reply(&order).await.silent, "a reaction is answered by nothing");
        orders.push(order);
    }
    let [down, _, gone] = &orders[..] else { panic!("three orders") };
    let kept = expected(&[(&asked, "thumbs_down", down), (&asked, "thumbs_down_gone", gone)]);
    assert_eq!(outcomes(&office), kept);
    office.end().await;
    // Also of an answer that an earlier process gave.
    office.begin();
    let late = office.order("7", Command::Rate { key: asked.clone(), thumbs_down: true });
    office.reply(&late).await;
    assert_eq!(outcomes(&office)[2..], expected(&[(&asked, "thumbs_down", &late)]));
    office.end().await;
}
