//! The helper of all tests here: an engine over a temporary state folder, with one desk in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Model, PermissionMode, Place, SessionId, ThreadId};
use tinyclaw_engine::{
    Content, Engine, EngineConfig, SessionSpec, ToolSpec, Trace, Turn, TurnEnd, TurnEvent,
    TurnFailure, TurnOutcome, TurnRequest,
};
use tinyclaw_testkit::state;
use uuid::Uuid;

/// A desk and an engine of its own.
pub(crate) struct Desk {
    pub(crate) place: state::Place,
    pub(crate) engine: Engine,
    /// What the engine was made with.
    pub(crate) config: EngineConfig,
    pub(crate) spec: SessionSpec,
}

impl Desk {
    /// A desk whose Claude is the demo engine.
    pub(crate) fn demo() -> Desk {
        Desk::demo_with(|_| {})
    }

    pub(crate) fn demo_with(change: impl FnOnce(&mut EngineConfig)) -> Desk {
        Desk::new(PathBuf::from(env!("CARGO_BIN_EXE_tinyclaw-demo-engine")), change)
    }

    pub(crate) fn new(program: PathBuf, change: impl FnOnce(&mut EngineConfig)) -> Desk {
        // Not below /tmp, which everybody may write: these tests are about who may not.
        let place = state::Place::below(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let leash = env!("CARGO_BIN_EXE_tinyclaw-leash");
        let mut config = EngineConfig::new(program, leash, place.state(), place.home());
        // The machine may be busy with other tests; only tests about patience make it short.
        config.times.close = Duration::from_secs(20);
        change(&mut config);
        let spec = SessionSpec {
            thread: ThreadId::topic(7),
            id: new_session(),
            place: Place::Here,
            cwd: place.work(),
            permission_mode: PermissionMode::Ask,
            system_prompt: String::new(),
            tools: Arc::new([]),
            servers: Arc::default(),
            model: Model::SONNET,
            effort: tinyclaw_domain::Effort::High,
            trust: tinyclaw_domain::Trust::Text,
            skills: None,
            is_attended: true,
        };
        Desk { place, engine: Engine::new(config.clone()), config, spec }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.place.path(below)
    }

    /// What everybody would find there: the lock of this desk's session.
    pub(crate) fn lock(&self) -> PathBuf {
        let name = format!("locks/session-{}", self.spec.thread);
        match self.spec.place.is_here() {
            true => self.path("state").join(name),
            false => crate::devbox::state(&self.config).join(name),
        }
    }

    /// What a look for its session is about.
    pub(crate) fn at(&self) -> tinyclaw_engine::Desk {
        let (thread, place) = (self.spec.thread.clone(), self.spec.place.clone());
        tinyclaw_engine::Desk { thread, place, dir: self.spec.cwd.clone() }
    }

    /// Where Claude keeps the transcript of its session.
    pub(crate) fn transcript(&self) -> PathBuf {
        let home = self.path(&format!("state/home/{}/.claude", self.spec.thread));
        tinyclaw_engine::transcript_path(&home, &self.spec.cwd, &self.spec.id)
    }

    pub(crate) async fn knows(&self) -> bool {
        self.engine.knows(&self.at(), &self.spec.id).await.unwrap()
    }

    pub(crate) async fn trace(&self, uuid: &str) -> Trace {
        self.engine.trace(&self.at(), &self.spec.id, uuid).await.unwrap()
    }

    /// Waits until the transcript says so of a turn.
    pub(crate) async fn until_traced(&self, uuid: &str, is_it: impl Fn(&Trace) -> bool) -> Trace {
        for _ in 0..3000 {
            let trace = self.trace(uuid).await;
            if is_it(&trace) {
                return trace;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the transcript never said so of turn {uuid}");
    }

    /// Moves the desk to another directory, its session with it.
    pub(crate) async fn move_to(&mut self, dir: PathBuf) {
        let here = self.engine.look(&Place::Here).unwrap();
        assert!(here.copy_session(&self.at(), &dir, &self.spec.id).await.unwrap());
        self.spec.cwd = dir;
    }

    pub(crate) fn request(&self, text: &str) -> TurnRequest {
        TurnRequest {
            session: self.spec.clone(),
            key: "tg-1".parse().unwrap(),
            uuid: Uuid::new_v4().to_string(),
            content: vec![Content::Text(text.to_owned())],
        }
    }

    pub(crate) fn ask(&self, text: &str) -> Turn {
        self.engine.turn(self.request(text))
    }

    /// Asks and waits for the end.
    pub(crate) async fn say(&self, text: &str) -> TurnEnd {
        self.ask(text).end().await.expect("every turn ends")
    }
}

pub(crate) fn new_session() -> SessionId {
    Uuid::new_v4().to_string().parse().unwrap()
}

pub(crate) fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: format!("The tool {name} of a test."),
        input_schema: serde_json::json!({ "type": "object", "properties": {} }),
    }
}

/// Waits for an event; everything before it is dropped. Panics when the turn ends first.
pub(crate) async fn until<T>(turn: &mut Turn, mut pick: impl FnMut(TurnEvent) -> Option<T>) -> T {
    loop {
        let event = turn.next().await.expect("the turn goes on");
        if let TurnEvent::Ended(end) = &event {
            let ended = format!("{end:?}");
            return pick(event).unwrap_or_else(|| panic!("the turn ended first: {ended}"));
        }
        if let Some(found) = pick(event) {
            return found;
        }
    }
}

/// Waits until something is true; for what happens in other processes and tells nobody.
pub(crate) async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    for _ in 0..3000 {
        if is_true() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// Processes that belong to a session: its leash, and whatever runs below it or was left behind.
pub(crate) fn alive(lock: &std::path::Path) -> Vec<u32> {
    let needle = lock.to_str().unwrap().as_bytes();
    let names = |path: PathBuf| {
        std::fs::read(path).is_ok_and(|it| it.windows(needle.len()).any(|it| it == needle))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok())
        .filter(|it| *it != std::process::id())
        .filter(|it| {
            let proc = PathBuf::from(format!("/proc/{it}"));
            names(proc.join("environ")) || names(proc.join("cmdline"))
        })
        .collect()
}

/// Whether a turn with `Landlock::On` could not begin because this kernel has none; says so.
pub(crate) fn is_unconfined(end: &TurnEnd) -> bool {
    let TurnOutcome::Failed(TurnFailure::NotStarted { detail, .. }) = &end.outcome else {
        return false;
    };
    let is_missing = detail.contains("engine.landlock is on, and this kernel has");
    if is_missing {
        eprintln!("skipped {}: {detail}", std::thread::current().name().unwrap_or("a test"));
    }
    is_missing
}
