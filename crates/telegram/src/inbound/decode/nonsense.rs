//! Updates as no Telegram sends them: nothing in one makes its reader fall over.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Event, decode};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(-1), Just(0)].prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("private")),
        Just(Value::from("supergroup")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,12}", inner), 0..4)
                .prop_map(|it| Value::Object(it.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Updates as Telegram sends them, one of each kind that is understood.
fn samples() -> Vec<Value> {
    let ada = json!({"id": 101, "is_bot": false, "first_name": "Ada", "last_name": "L.", "username": "ada"});
    let chat = json!({"id": -1001, "type": "supergroup", "title": "Office", "is_forum": true});
    let message = |more: Value| {
        let mut it = json!({
            "message_id": 9, "date": 1_771_000_000, "from": ada, "chat": chat,
            "message_thread_id": 7, "is_topic_message": true,
        });
        it.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        it
    };
    let photo =
        json!([{"file_id": "a", "file_unique_id": "b", "width": 90, "height": 60, "file_size": 9}]);
    let file = json!({"file_id": "a", "file_unique_id": "b", "file_name": "a.txt", "mime_type": "text/plain", "file_size": 9});
    let said =
        message(json!({"text": "hello", "entities": [{"type": "bold", "offset": 0, "length": 5}]}));
    let member = |status: &str| json!({"status": status, "user": ada});
    [
        json!({"message": said}),
        json!({"message": message(json!({"photo": photo, "caption": "look", "media_group_id": "7"}))}),
        json!({"message": message(json!({"document": file}))}),
        json!({"message": message(json!({"text": "yes", "reply_to_message": said, "quote": {"text": "h", "position": 0}}))}),
        json!({"message": message(json!({"forum_topic_created": {"name": "x", "icon_color": 7_322_096}}))}),
        json!({"message": message(json!({"forum_topic_edited": {"name": "y"}}))}),
        json!({"message": message(json!({"migrate_to_chat_id": -1009}))}),
        json!({"message": message(json!({"sticker": {"file_id": "a"}}))}),
        json!({"edited_message": said}),
        json!({"callback_query": {"id": "1", "from": ada, "message": said, "data": "stop:tg-1", "chat_instance": "5"}}),
        json!({"my_chat_member": {
            "chat": chat, "from": ada, "date": 1_771_000_000,
            "old_chat_member": member("left"), "new_chat_member": member("member"),
        }}),
    ]
    .into_iter()
    .map(|mut it| {
        it["update_id"] = 5.into();
        it
    })
    .collect()
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, it)| places(it, &format!("{at}/{name}"), found));
        }
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(nth, it)| places(it, &format!("{at}/{nth}"), found));
        }
        _ => {}
    }
}

#[test]
fn the_samples_are_understood() {
    for it in samples() {
        let event = decode(5, &it);
        let is_odd = it.pointer("/message/sticker").is_some();
        assert!(
            is_odd || !matches!(event, Event::Unreadable | Event::Nothing(_)),
            "{it}: {event:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_update_makes_its_reader_fall_over(
        sample in 0_usize..11,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4),
    ) {
        let mut update = samples().swap_remove(sample);
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&update, "", &mut all);
            if let Some(it) = update.pointer_mut(&all[place.index(all.len())]) {
                *it = value;
            }
        }
        if let Event::Message(said) | Event::Edited(said) = decode(5, &update) {
            // What comes of it on the way into the queue.
            let _ = said.address.link();
            let _ = said.address.lane();
        }
    }

    #[test]
    fn no_json_makes_the_reader_of_updates_fall_over(update in any_json()) {
        let _ = decode(5, &update);
    }
}
