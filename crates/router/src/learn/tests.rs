//! Offices whose past has a pattern, and offices whose past has none.

use super::*;
use crate::Input;

fn at(desk: DeskKind, router: &Router, text: &str) -> Decision {
    router.decide(&Input { desk: Some(desk), ..Input::new(text) })
}

fn at_repo(router: &Router, text: &str) -> Decision {
    at(DeskKind::Repo, router, text)
}

const THINGS: [&str; 24] = [
    "port", "branch", "version", "key", "table", "header", "footer", "page", "button", "colour",
    "font", "server", "queue", "cache", "folder", "file", "test", "job", "token", "index", "route",
    "script", "badge", "menu",
];

/// Short questions, look-ups and small work about many things, without an end.
fn texts() -> impl Iterator<Item = String> {
    let forms = [
        "which {} is it",
        "add a {}",
        "where is the {}",
        "rename the {}",
        "is the {} new",
        "fix the {}",
    ];
    let each = move |form: &'static str| THINGS.iter().map(move |it| form.replace("{}", it));
    forms.into_iter().flat_map(each)
}

fn lessons(router: &Router, is_corrected: impl Fn(usize) -> bool) -> Vec<Lesson> {
    let lesson = |(number, text): (usize, String)| {
        Lesson::of(&at_repo(router, &text), &text, is_corrected(number))
    };
    texts().enumerate().filter_map(lesson).collect()
}

#[test]
fn what_holds_for_messages_not_learned_from_is_proposed_and_does_what_it_says() {
    let router = Router::default();
    // An office whose folders of files are harder than they look: short questions there are never answered well enough.
    let asked = |text: &str| ["which", "where", "is"].iter().any(|it| text.starts_with(it));
    let questions: Vec<String> = texts().filter(|it| asked(it)).collect();
    let mut lessons = lessons(&router, |_| false);
    let at_files = |router: &Router, text: &str| at(DeskKind::Files, router, text);
    lessons.extend(questions.iter().filter_map(|it| Lesson::of(&at_files(&router, it), it, true)));
    let it = learn(&router, &lessons).expect("a proposal");
    assert_eq!((it.before.corrected, it.before.raised), (72, 0));
    assert_eq!((it.before.higher, it.before.lower), (0, 0), "these are the weights that decided");
    assert!(it.unseen.raised >= 36 && it.chance < 0.01, "{it:?}");
    assert!(it.changes.iter().any(|it| it.key == "desk.score.files" && it.to > it.from), "{it:?}");
    // What is proposed is a configuration, and a router with it does what was promised.
    let config = Config::default().with(&it.toml(&Config::default())).expect("a configuration");
    let learned = Router::new(config.clone());
    let raised = questions
        .iter()
        .filter(|it| at_files(&learned, it).tier > at_files(&router, it).tier)
        .count();
    // Numbers are written with four digits.
    assert!(raised.abs_diff(it.after.raised) <= 1, "{raised} of {}", it.after.raised);
    // What was learned before stays where nothing new is learned.
    let nothing = Proposal { changes: Vec::new(), ..it.clone() };
    assert_eq!(nothing.toml(&config), it.toml(&Config::default()));
    assert_eq!(nothing.toml(&Config::default()).lines().count(), 1);
    // The operator's own file stands above it.
    let own = config.clone().with("[desk.score]\nfiles = 9.0\n").expect("a configuration");
    assert_eq!(it.hidden_by(&config, &config), Vec::<String>::new());
    assert_eq!(it.hidden_by(&config, &own), ["desk.score.files"]);
    let other = it.toml(&config).replace("base = \"", "base = \"0");
    let refused = Config::default().with(&other).expect_err("another version's").to_string();
    assert!(refused.contains("--forget"), "{refused}");
    assert_eq!(learn(&router, &lessons), Ok(it), "there is no chance in it");
}

#[test]
fn corrections_that_follow_no_pattern_propose_nothing() {
    let router = Router::default();
    let proposed = (0..24u64)
        .filter(|seed| {
            let by_chance = |at: usize| {
                let mut hash = DefaultHasher::new();
                (seed, at).hash(&mut hash);
                hash.finish().is_multiple_of(8)
            };
            learn(&router, &lessons(&router, by_chance)).is_ok()
        })
        .count();
    assert!(
        proposed <= 2,
        "{proposed} of 24 offices without a pattern would have got other weights"
    );
}

#[test]
fn few_corrections_teach_nothing() {
    let router = Router::default();
    let lessons = lessons(&router, |at| at < CORRECTIONS_MIN - 1);
    let expected = NothingLearned::TooFew { decisions: 144, corrected: CORRECTIONS_MIN - 1 };
    assert_eq!(learn(&router, &lessons), Err(expected));
}

#[test]
fn only_what_the_score_decided_at_a_desk_is_a_lesson() {
    let router = Router::default();
    let is_lesson = |it: Decision| Lesson::of(&it, "", true).is_some();
    assert!(is_lesson(at_repo(&router, "which port is it")));
    assert!(!is_lesson(at_repo(&router, "/haiku which port is it")));
    assert!(!is_lesson(router.decide(&Input::new("which port is it"))));
    let hard = at_repo(&router, "find the race, it fails once a week");
    assert!(!is_lesson(hard), "nothing is higher");
    let mut pinned = at_repo(&router, "which port is it");
    pinned.effective_model = tinyclaw_domain::Model::OPUS;
    assert!(!is_lesson(pinned));
}

#[test]
fn the_last_reaction_of_a_person_counts_and_words_stand() {
    let line = |key: &str, said, by: &str, sender: &str| OutcomeLine {
        timestamp: 1,
        key: key.parse().unwrap(),
        thread_id: "7".parse().unwrap(),
        model: tinyclaw_domain::Model::HAIKU,
        tier: None,
        said,
        by: by.parse().unwrap(),
        sender_id: Some(sender.to_owned()),
    };
    use Correction::{ThumbsDown, ThumbsDownGone, Wrong};
    let lines = [
        line("tg-1", Wrong, "tg-9", "101"),
        line("tg-1", ThumbsDownGone, "tg-99", "101"),
        line("tg-2", ThumbsDown, "tg-10", "101"),
        line("tg-2", ThumbsDownGone, "tg-11", "101"),
        line("tg-3", ThumbsDown, "tg-12", "101"),
        line("tg-3", ThumbsDown, "tg-13", "102"),
        line("tg-3", ThumbsDownGone, "tg-14", "101"),
        // Kept the other way round.
        line("tg-4", ThumbsDownGone, "tg-100", "101"),
        line("tg-4", ThumbsDown, "tg-98", "101"),
    ];
    let expected = ["tg-1", "tg-3"].map(|it| it.parse().unwrap());
    assert_eq!(corrected(&lines), HashSet::from(expected));
}

#[test]
fn the_chance_of_a_pick_is_that_of_drawing_blindly() {
    let score =
        |corrected, raised, others, higher| Score { corrected, raised, others, higher, lower: 0 };
    // Nobody was picked, or all were.
    assert_eq!(score(10, 0, 90, 0).chance(), 1.0);
    assert!((score(10, 1, 90, 0).chance() - 0.1).abs() < 1e-9);
    // Two of two at one in ten.
    assert!((score(10, 2, 90, 0).chance() - 0.01).abs() < 1e-9);
    // At least one of two.
    assert!((score(10, 1, 90, 1).chance() - 0.19).abs() < 1e-9);
}
