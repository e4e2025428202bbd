//! A whole processor within the test: a queue, Claudes that are played, and everything else as it is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tinyclaw_domain::{Channel, Command, Key, Message, Reply, Source, StateDir, Thread, ThreadId};
use tinyclaw_engine::testing::FakePlace;
use tinyclaw_engine::{Engine, EngineConfig, Launchers};
use tinyclaw_ledger::read_threads;
use tinyclaw_processor::{Fleet, Ground, serve};
use tinyclaw_queue::{Durability, Memory, Options, Place, Queue, Seen, Side};
use tinyclaw_service::settings::{Environment, Store};
use tinyclaw_service::{Shutdown, Vitals, now_ms};
use tinyclaw_testkit::state;
use tokio::task::JoinHandle;

use crate::claude::Claude;

/// A story of a turn that is older than any may be.
const OLD: &str = "old";
/// The machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the engine of an office at this place is told. No process is started.
fn engine_config(place: &state::Place) -> EngineConfig {
    EngineConfig::new("/nowhere", "/nowhere", place.state(), place.home())
}

/// An office in a forum. Its answers stay in `outgoing/`: nobody carries them out.
pub(crate) struct Office {
    pub(crate) place: state::Place,
    pub(crate) state: StateDir,
    pub(crate) queue: Queue,
    pub(crate) claude: Claude,
    /// The machine of all devboxes, whose disk lies in `box/`.
    pub(crate) devbox: FakePlace,
    pub(crate) vitals: Vitals,
    shutdown: Shutdown,
    settings: Value,
    served: Option<JoinHandle<anyhow::Result<()>>>,
    sent: u32,
}

impl Office {
    /// An office with these settings, open.
    pub(crate) fn open(settings: Value) -> Office {
        let mut office = Office::closed(settings);
        office.begin();
        office
    }

    /// An office whose queue stands on folders, open.
    pub(crate) fn on_folders() -> Office {
        let mut office =
            Office::with(json!({}), |state| Queue::open(state.root(), Options::default()).unwrap());
        office.begin();
        office
    }

    /// An office that has not begun to work yet.
    pub(crate) fn closed(settings: Value) -> Office {
        Office::with(settings, |_| Queue::open(Memory::new(), Options::default()).unwrap())
    }

    fn with(settings: Value, queue: impl FnOnce(&StateDir) -> Queue) -> Office {
        let place = state::Place::new().unwrap();
        let state = StateDir::new(place.state());
        tinyclaw_ledger::create_folders(&state).unwrap();
        let queue = queue(&state);
        let config = engine_config(&place);
        let claude = Claude::new(&config);
        let root = place.path("box");
        for folder in ["state", "srv/api"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let devbox = FakePlace::new(root, &config, std::sync::Arc::new(claude.clone()));
        let (vitals, shutdown) = (Vitals::new("processor", "0"), Shutdown::default());
        let (served, sent) = (None, 0);
        Office { place, state, queue, claude, devbox, vitals, shutdown, settings, served, sent }
    }

    /// Begins to work, or works again after [`Office::end`].
    pub(crate) fn begin(&mut self) {
        let mut settings = json!({ "telegram": { "chatId": -1001 } });
        merge(&mut settings, &self.settings);
        let file = self.state.root().join("settings.json");
        let bytes = settings.to_string();
        tinyclaw_disk::replace(&file, bytes.as_bytes(), tinyclaw_disk::Flush::None).unwrap();
        let old = std::fs::File::create(self.state.job(&OLD.parse().unwrap())).unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let work = self.place.work().display().to_string();
        let environment = Environment::from([
            ("WORKSPACE_ROOT".to_owned(), work),
            ("HOME".to_owned(), self.place.home().display().to_string()),
        ]);
        let settings = Store::open(self.state.root(), environment).unwrap();
        let config = engine_config(&self.place);
        let launchers = Launchers::here(std::sync::Arc::new(self.claude.clone()))
            .with_devboxes(std::sync::Arc::new(self.devbox.clone()));
        self.shutdown = Shutdown::default();
        let fleet = Fleet::new(self.state.clone(), settings.clone(), self.vitals.clone());
        self.served = Some(tokio::spawn(serve(Ground {
            fleet,
            state: self.state.clone(),
            settings,
            vitals: self.vitals.clone(),
            shutdown: self.shutdown.clone(),
            queue: self.queue.clone(),
            engine: Engine::with_launchers(config, launchers),
        })));
    }

    /// Other settings, for the next time that it begins.
    pub(crate) fn change(&mut self, settings: Value) {
        self.settings = settings;
    }

    /// Waits until the clock has done what was due when the office began: an old story of a turn is let go of last.
    pub(crate) async fn first_tick(&self) {
        let path = self.state.job(&OLD.parse().unwrap());
        until("the first tick", || (!path.exists()).then_some(())).await;
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn end(&mut self) {
        self.shutdown.begin();
        self.served.take().unwrap().await.unwrap().unwrap();
    }

    /// Waits until it has stopped by itself.
    pub(crate) async fn ended(&mut self) {
        self.served.take().unwrap().await.unwrap().unwrap();
    }

    pub(crate) fn message(&mut self, thread: &str, text: &str) -> Message {
        self.sent += 1;
        let key: Key = format!("tg-{}", self.sent).parse().unwrap();
        let thread = thread.parse().unwrap();
        let mut message = Message::new(key, Channel::Telegram, thread, text, now_ms());
        message.sender = "Ada".to_owned();
        message
    }

    pub(crate) fn publish(&self, message: Message) -> Key {
        let key = message.key.clone();
        self.queue.publish(Side::Run, message, Durability::Strict).unwrap();
        key
    }

    /// Somebody writes in a thread.
    pub(crate) fn send(&mut self, thread: &str, text: &str) -> Key {
        let message = self.message(thread, text);
        self.publish(message)
    }

    /// Somebody gives an order in a thread.
    pub(crate) fn order(&mut self, thread: &str, command: Command) -> Key {
        let mut message = self.message(thread, "");
        message.command = Some(command);
        self.publish(message)
    }

    /// An order and what came of it.
    pub(crate) async fn obeyed(&mut self, thread: &str, command: Command) -> Reply {
        let key = self.order(thread, command);
        self.reply(&key).await
    }

    /// A message and its answer.
    pub(crate) async fn ask(&mut self, thread: &str, text: &str) -> Reply {
        let key = self.send(thread, text);
        self.reply(&key).await
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Seen> {
        self.queue.view().find(key).unwrap()
    }

    /// The answer, when its message has moved on with it.
    pub(crate) async fn reply(&self, key: &Key) -> Reply {
        let answered = |it: &Seen| matches!(it.place, Place::Outgoing | Place::Done);
        let seen = until(&format!("{key} answered"), || self.find(key).filter(answered)).await;
        seen.message.reply.expect("an answer")
    }

    /// The message, when it has got there.
    pub(crate) async fn reaches(&self, key: &Key, place: Place) -> Message {
        until(&format!("{key} in {place:?}"), || self.find(key).filter(|it| it.place == place))
            .await
            .message
    }

    /// The message, when it waits in `incoming/` after it was tried.
    pub(crate) async fn waits_again(&self, key: &Key) -> Message {
        let tried = |it: &Seen| it.place == Place::Incoming && it.message.checkpoint.is_some();
        until(&format!("{key} waits again"), || self.find(key).filter(tried)).await.message
    }

    /// What TinyClaw itself said in a thread, in order.
    pub(crate) fn notices(&self, thread: &str) -> Vec<String> {
        let thread: ThreadId = thread.parse().unwrap();
        let all = self.queue.view().read_all(Place::Outgoing, None, 10_000).unwrap();
        let mut all: Vec<Message> = all.into_iter().map(|it| it.1).collect();
        all.retain(|it| it.thread_id == thread && it.source == Source::System);
        all.sort_by_key(|it| it.timestamp);
        all.into_iter().filter_map(|it| it.reply).map(|it| it.text).collect()
    }

    /// The notice with these words, when it was said.
    pub(crate) async fn notice(&self, thread: &str, words: &str) -> String {
        until(&format!("a notice {words:?} in thread {thread}"), || {
            self.notices(thread).into_iter().find(|it| it.contains(words))
        })
        .await
    }

    pub(crate) fn thread(&self, id: &str) -> Option<Thread> {
        read_threads(&self.state).unwrap().remove(&id.parse().unwrap())
    }

    /// The thread, when it is like this.
    pub(crate) async fn thread_when(&self, id: &str, is: impl Fn(&Thread) -> bool) -> Thread {
        until(&format!("thread {id}"), || self.thread(id).filter(&is)).await
    }

    /// Changes `threads.json` as a person would, before the office begins.
    pub(crate) fn edit_threads(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.state.threads();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".to_owned());
        let mut threads = serde_json::from_str(&text).unwrap();
        edit(&mut threads);
        let bytes = threads.to_string();
        tinyclaw_disk::replace(&path, bytes.as_bytes(), tinyclaw_disk::Flush::None).unwrap();
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Waits for something, with patience.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
