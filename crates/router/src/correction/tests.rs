//! What people type after an answer, and what it says.

use Correction::{Again, Stronger, Wrong};

use super::*;

const MINUTE: u64 = 60_000;
const ASKED: &str = "fix the header of the page";
const DONE: &str = "Done: the header **sticks** to the top now.";

fn line(key: &str, direction: &str, message: &str, minute: u64) -> HistoryLine {
    let line = serde_json::json!({
        "timestamp": minute * MINUTE, "key": key, "attempt": 1, "messageId": "1_tg1", "threadId": 1,
        "channel": "telegram", "direction": direction, "sender": "Ada", "message": message,
        "model": (direction == "out").then_some("haiku"),
    });
    serde_json::from_value(line).expect("a line of history")
}

fn said(answer: &str, spoken: &Spoken<'_>) -> Option<Correction> {
    let recent = [line("tg-1", "in", ASKED, 0), line("tg-1", "out", answer, 1)];
    correction(spoken, recent.iter(), &Prices::default()).map(|it| it.1)
}

fn spoken(text: &str) -> Spoken<'_> {
    Spoken { text, at: 2 * MINUTE, ..Spoken::default() }
}

#[track_caller]
fn all(texts: &[&str], expected: Option<Correction>) {
    let wrong: Vec<_> = texts
        .iter()
        .map(|it| (it, said(DONE, &spoken(it))))
        .filter(|it| it.1 != expected)
        .collect();
    assert!(wrong.is_empty(), "not {expected:?}: {wrong:?}");
}

#[test]
fn what_says_in_many_languages_that_an_answer_was_wrong() {
    all(
        &[
            "no",
            "No.",
            "no, the other header",
            "NO!",
            "nope",
            "no that's the footer",
            "No — the other page",
            "Sorry, wrong.",
            "That’s wrong.",
            "wrong",
            "wrong file",
            "still broken on mobile",
            "it still jumps",
            "hmm, that didn't work",
            "that's not what I asked for",
            "not what i meant",
            "no not that one",
            "undo that",
            "👎",
            "doesn't work on safari",
            "Same error",
            "i meant the footer",
            "nein, falsch",
            "Nein.",
            "das stimmt nicht",
            "geht immer noch nicht",
            "non, l'autre",
            "c'est pas ça",
            "toujours pas",
            "no, el otro",
            "sigue sin funcionar",
            "está mal",
            "não, o outro",
            "não é isso",
            "no, l'altro",
            "è sbagliato",
            "nee, de andere",
            "klopt niet",
            "nej, den andra",
            "det är fel",
            "nie, ten drugi",
            "nadal nie działa",
            "ne, ten druhý",
            "nu, celălalt",
            "нет, не то",
            "Нет",
            "неправильно",
            "ні, не те",
            "hayır, öbürü",
            "çalışmıyor",
            "違います",
            "まだ動かないよ",
            "不对",
            "错了，是另一个",
            "还是不行",
            "아니요, 다른 거",
            "틀렸어",
            "لا، الآخر",
            "خطأ",
            "לא, השני",
            "לא נכון",
            "नहीं, दूसरा",
            "गलत है",
            "nahi, dusra wala",
            "salah, yang satunya",
            "không, cái kia",
            "sai rồi",
            "ผิดครับ",
            "ไม่ใช่อันนี้",
        ],
        Some(Wrong),
    );
}

#[test]
fn what_asks_for_the_same_again() {
    all(
        &[
            "again",
            "Again!",
            "try again",
            "please try again",
            "try again, but carefully",
            "once more please",
            "redo it",
            "retry",
            "no, try again",
            "nochmal",
            "noch einmal bitte",
            "encore une fois",
            "otra vez",
            "de novo",
            "riprova",
            "opnieuw",
            "jeszcze raz",
            "znovu",
            "ещё раз",
            "еще раз пожалуйста",
            "ще раз",
            "tekrar dene",
            "もう一度お願いします",
            "再来一次",
            "重试",
            "다시 해줘",
            "مرة أخرى",
            "שוב",
            "फिर से",
            "coba lagi",
            "thử lại",
            "ลองใหม่",
            "fix the header of the page",
            "Fix the header  of the page!",
        ],
        Some(Again),
    );
}

#[test]
fn an_ordinary_no_is_no_correction() {
    all(
        &[
            "",
            "thanks",
            "no problem, thanks",
            "no, thanks",
            "No thanks!",
            "no thank you",
            "no worries",
            "no rush",
            "no need",
            "no, that's all",
            "no that's fine",
            "no, all good",
            "no, leave it",
            "no, not now",
            "No, you're right",
            "no, it works",
            "no new dependencies please",
            "no tests yet, only the parser",
            "no comments in the code",
            "nothing else",
            "note the date",
            "not bad",
            "that's not bad at all",
            "now add dark mode",
            "nobody uses it",
            "normal mode please",
            "north is up",
            "nein danke",
            "nein, passt",
            "non merci",
            "non, c'est bon",
            "no, gracias",
            "no quiero cookies en el banner",
            "não, obrigado",
            "no, grazie",
            "nee, bedankt",
            "nej tack",
            "nie, dzięki",
            "нет, спасибо",
            "нет, всё хорошо",
            "hayır, teşekkürler",
            "いいえ、大丈夫です",
            "不用了",
            "不，谢谢",
            "아니요, 괜찮아요",
            "لا، شكرا",
            "לא, תודה",
            "không, cảm ơn",
            "wrong password in the login test, fix it",
            "again and again users ask for it",
            "run the tests again",
            "do it again for the footer",
            "retry failed uploads three times",
            "redo the layout of the footer",
            "undo the last migration",
            "ошибка в логах, посмотри",
            "falsche Adresse im Impressum ändern",
            "error: wrong type",
            "against which branch?",
            "encore is the name of the theatre",
            "against all odds",
            "yes",
            "perfect",
            "great, deploy it",
            "which port is it",
        ],
        None,
    );
}

#[test]
fn no_to_a_question_is_an_answer() {
    for (text, expected) in [
        ("no", None),
        ("no, only on staging", None),
        ("wrong", None),
        ("again", Some(Again)),
        ("no, that's wrong", Some(Wrong)),
        ("still broken", Some(Wrong)),
    ] {
        let found = said("It is ready. Shall I deploy it?", &spoken(text));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_stronger_model_is_wanted_for_the_same_and_not_for_something_new() {
    let opus = |text| said(DONE, &Spoken { hint: Some(Model::OPUS), ..spoken(text) });
    for text in [
        "",
        "think about it",
        "wrong, look closely",
        "the header of that page again, fix it",
        "try",
        "are you sure?",
    ] {
        assert_eq!(opus(text), Some(Stronger), "{text}");
    }
    for text in ["design the queue", "write a migration for the billing tables", "thanks"] {
        assert_eq!(opus(text), None, "{text}");
    }
    let weaker = Spoken { hint: Some(Model::HAIKU), ..spoken("think about it") };
    assert_eq!(said(DONE, &weaker), None);
    // What an equal model is asked says what it says.
    assert_eq!(said(DONE, &Spoken { hint: Some(Model::HAIKU), ..spoken("wrong") }), Some(Wrong));
}

#[test]
fn a_long_message_is_a_new_order() {
    let long = format!("no{}", ", and then the next thing of the list".repeat(10));
    all(&[&long], None);
}

#[test]
fn the_same_words_count_soon_and_when_they_say_something() {
    let later = Spoken { at: 20 * MINUTE, ..spoken(ASKED) };
    assert_eq!(said(DONE, &later), None);
    let recent = [line("tg-1", "in", "go on", 0), line("tg-1", "out", DONE, 1)];
    assert_eq!(correction(&spoken("go on"), recent.iter(), &Prices::default()), None);
}

#[test]
fn what_is_said_concerns_the_answer_that_was_there_or_is_replied_to() {
    let recent = [
        line("tg-1", "in", ASKED, 0),
        line("tg-1", "out", DONE, 1),
        line("tg-2", "in", "and the footer", 2),
        line("tg-2", "out", "The *footer* is blue now.", 5),
    ];
    let of = |spoken: Spoken<'_>| {
        correction(&spoken, recent.iter(), &Prices::default()).map(|it| it.0.key.to_string())
    };
    let wrong = Spoken { text: "wrong", at: 6 * MINUTE, ..Spoken::default() };
    assert_eq!(of(wrong).as_deref(), Some("tg-2"));
    // Said before the second answer was there.
    assert_eq!(of(Spoken { at: 4 * MINUTE, ..wrong }).as_deref(), Some("tg-1"));
    let quoted = Some("Done: the header sticks to the top");
    assert_eq!(of(Spoken { replies_to: quoted, ..wrong }).as_deref(), Some("tg-1"));
    assert_eq!(of(Spoken { replies_to: Some("something of last week"), ..wrong }), None);
    let key = "tg-1".parse().expect("a key");
    let again = Spoken { asks_again: Some(&key), text: ASKED, ..wrong };
    assert_eq!(of(again).as_deref(), Some("tg-1"));
}

#[test]
fn only_claudes_answers_to_people_are_corrected() {
    let wrong = spoken("wrong");
    assert_eq!(correction(&wrong, [].iter(), &Prices::default()), None);
    let (mut beat, answer) = (line("tg-1", "in", ASKED, 0), line("tg-1", "out", DONE, 1));
    let found = |asked: &HistoryLine, answer: &HistoryLine| {
        correction(&wrong, [asked.clone(), answer.clone()].iter(), &Prices::default())
            .map(|it| it.1)
    };
    assert_eq!(found(&beat, &answer), Some(Wrong));
    let mut notice = answer.clone();
    notice.model = None;
    assert_eq!(found(&beat, &notice), None);
    beat.source = Source::Heartbeat;
    assert_eq!(found(&beat, &answer), None);
}

#[test]
fn of_three_thousand_orders_seven_are_corrections_and_they_are() {
    #[derive(serde::Deserialize)]
    struct Row {
        text: String,
        #[serde(default)]
        history: Vec<Before>,
    }
    #[derive(serde::Deserialize)]
    struct Before {
        text: String,
    }
    let rows = include_str!("../../data/desk.jsonl").lines();
    let rows = rows.map(|it| serde_json::from_str::<Row>(it).expect("a row of desk.jsonl"));
    let is_read = |it: &Row| {
        let answer = it.history.last().map_or(DONE, |it| &it.text);
        said(answer, &spoken(&it.text)).is_some()
    };
    let read: Vec<String> = rows.filter(is_read).map(|it| it.text).collect();
    let expected = [
        "it doesn't work",
        "still wrong for dates before 1970",
        "undo that",
        "and again. this time find out who frees it",
        "still doesn't work",
        "nope, same error",
        "try again, properly this time",
    ];
    assert_eq!(read, expected, "the others are orders of their own");
}
