use std::fs;

use tinyclaw_domain::{Health, Key, Progress, TurnState};
use tinyclaw_ledger::{Progresses, health};

use crate::{state, thread};

fn progress(key: &str, started_at: u64) -> Progress {
    Progress {
        key: key.parse().unwrap(),
        thread_id: thread("7"),
        attempt: 1,
        state: TurnState::Working,
        model: None,
        tier: None,
        started_at,
        updated_at: started_at,
        text: "so far".to_owned(),
        tools: Vec::new(),
        todos: Vec::new(),
        background: Vec::new(),
        asks: None,
        devbox: None,
        mcp_trouble: Vec::new(),
        trouble: None,
    }
}

#[test]
fn a_turn_shows_while_it_runs_and_leaves_nothing_behind() {
    let (_dir, state) = state();
    let turns = Progresses::new(&state);
    let key: Key = "tg-1".parse().unwrap();
    turns.write(&progress("tg-1", 5)).unwrap();
    turns.write(&progress("tg-2", 3)).unwrap();
    assert_eq!(turns.read(&key).unwrap().text, "so far");
    let all = turns.list();
    let keys: Vec<&str> = all.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["tg-2", "tg-1"], "the longest running first");

    turns.remove(&key).unwrap();
    turns.remove(&key).unwrap();
    assert!(turns.read(&key).is_none());
    fs::write(state.progresses().join("tg-3.json.tmp"), "half").unwrap();
    assert_eq!(turns.sweep().unwrap(), 2);
    assert_eq!(fs::read_dir(state.progresses()).unwrap().count(), 0);
}

#[test]
fn a_services_word_grows_old() {
    let (_dir, state) = state();
    let word = Health {
        service: "telegram".to_owned(),
        version: "2026.11.0".to_owned(),
        pid: 7,
        started_at: 0,
        at: 100_000,
        alive: true,
        ready: false,
        why: vec!["set TELEGRAM_BOT_TOKEN".to_owned()],
        numbers: Default::default(),
    };
    health::write(&state, "telegram", &word).unwrap();
    assert!(health::read(&state, "processor", 0).unwrap().is_none());
    let seen = |now| health::read(&state, "telegram", now).unwrap().unwrap();
    assert_eq!(seen(101_000).health, word);
    assert!(seen(101_000).is_fresh() && seen(90_000).is_fresh() && !seen(160_001).is_fresh());
    fs::write(state.health("processor"), "{").unwrap();
    assert_eq!(health::read_all(&state, 0).len(), 1, "who cannot be read says nothing");
}
