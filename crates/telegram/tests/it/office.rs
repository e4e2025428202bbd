//! The machinery of the tests: a fake Telegram, the service on a state folder of its own, and a processor that the test
//! plays itself, through the real queue.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tinyclaw_domain::{Key, Message, Model, Progress, Reply, ThreadId, TurnState};
use tinyclaw_ledger::{Progresses, StateDir};
use tinyclaw_queue::{Lease, Memory, Options as QueueOptions, Place, Queue, Side, Where, Which};
use tinyclaw_service::settings::Environment;
use tinyclaw_service::{Shutdown, Snapshot, Vitals, now_ms};
use tinyclaw_telegram::bot::rate_limit::Limits as Budget;
use tinyclaw_telegram::{Options, Timing};
use tinyclaw_testkit::telegram::{
    self, ADA, BOB, Control, FORUM, FakeTelegram, Fault, Limits, Plug, TOKEN, What, schema::Schema,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// The bot's id, as its token has it.
const BOT: i64 = 7_000_000_001;
/// Nothing here takes longer unless it is broken; the machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Office {
    pub(crate) fake: FakeTelegram,
    pub(crate) state: StateDir,
    pub(crate) queue: Queue,
    pub(crate) vitals: Vitals,
    /// The line to the fake, which can be pulled.
    pub(crate) plug: Plug,
    pub(crate) environment: Environment,
    pub(crate) options: Options,
    /// What the queue stands on.
    place: Where,
    running: Mutex<Option<Running>>,
    _dir: TempDir,
}

/// A service in a runtime of its own, so that it can be ended as a process is.
struct Running {
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
    runtime: Runtime,
}

impl Drop for Office {
    fn drop(&mut self) {
        if let Some(running) = self.running.lock().unwrap().take() {
            running.runtime.shutdown_background();
        }
    }
}

/// Times that a test can wait for, and no status messages: how soon one comes depends on how busy the machine is.
pub(crate) fn quick() -> Options {
    let ms = Duration::from_millis;
    let timing = Timing {
        status_after: Duration::from_secs(3600),
        crowd_status_after: Duration::from_secs(3600),
        album_gap: ms(300),
        join_max: Duration::from_secs(2),
        split_gap: ms(400),
        edit_max: Duration::from_secs(40),
        retry: ms(100),
        ..Timing::default()
    };
    let limits = Budget {
        group_per_minute: 100_000,
        gap_ms: 0,
        overall_per_second: 100_000,
        preview_gap_ms: 0,
        reactions_per_second: 100_000,
    };
    Options { timing, limits }
}

impl Office {
    /// An office in which Ada and Bob may speak, served without a rate limit.
    pub(crate) async fn open() -> Office {
        Office::open_with(Limits::none(), quick(), "101,102").await
    }

    /// The same with status messages, at once.
    pub(crate) async fn watched() -> Office {
        let quick = quick();
        let timing = Timing { status_after: Duration::from_millis(30), ..quick.timing };
        Office::open_with(Limits::none(), Options { timing, ..quick }, "101,102").await
    }

    /// An office in which a message waits this long for more of the same person.
    pub(crate) async fn patient(burst_ms: u64) -> Office {
        let mut office = Office::open().await;
        office.stop().await;
        office.environment.insert("TINYCLAW_TELEGRAM_BURST_MS".to_owned(), burst_ms.to_string());
        office.start();
        office
    }

    pub(crate) async fn open_with(limits: Limits, options: Options, users: &str) -> Office {
        Office::open_over(None, limits, options, users).await
    }

    /// An office whose queue does what folders never do.
    pub(crate) async fn over(memory: &Memory) -> Office {
        Office::open_over(Some(memory.clone().into()), Limits::none(), quick(), "101,102").await
    }

    async fn open_over(
        place: Option<Where>,
        limits: Limits,
        options: Options,
        users: &str,
    ) -> Office {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join(".tinyclaw"));
        let place = place.unwrap_or_else(|| state.root().into());
        tinyclaw_ledger::create_folders(&state).unwrap();
        let fake = FakeTelegram::start_with(telegram::Options {
            limits,
            schema: Schema::cached(),
            ..telegram::Options::default()
        });
        let fake = fake.await.unwrap();
        let plug = fake.plug().await.unwrap();
        let queue = Queue::open(place.clone(), QueueOptions::default()).unwrap();
        let environment = [
            ("TELEGRAM_BOT_TOKEN", TOKEN.to_owned()),
            ("TELEGRAM_CHAT_ID", FORUM.to_string()),
            ("TELEGRAM_ALLOWED_USERS", users.to_owned()),
            ("TELEGRAM_API_URL", plug.url()),
            ("TINYCLAW_TELEGRAM_BURST_MS", "0".to_owned()),
        ];
        let environment = environment.map(|(name, it)| (name.to_owned(), it)).into();
        let vitals = Vitals::new("telegram", "test");
        let office = Office {
            fake,
            state,
            queue,
            vitals,
            plug,
            environment,
            options,
            place,
            running: Mutex::default(),
            _dir: dir,
        };
        office.start();
        office
    }

    pub(crate) fn start(&self) {
        let shutdown = Shutdown::default();
        let service = tinyclaw_telegram::run_over(
            self.place.clone(),
            self.state.clone(),
            self.environment.clone(),
            self.options,
            self.vitals.clone(),
            shutdown.clone(),
        );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let task = runtime.spawn(service);
        *self.running.lock().unwrap() = Some(Running { shutdown, task, runtime });
    }

    /// Stops the service as SIGTERM would.
    pub(crate) async fn stop(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(running) = running {
            running.shutdown.begin();
            running.task.await.unwrap().unwrap();
            running.runtime.shutdown_background();
        }
    }

    /// Ends the service as `kill -9` would: nothing is put back, nothing said.
    pub(crate) async fn kill(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(running) = running {
            running.task.abort();
            running.runtime.shutdown_background();
            let _ = running.task.await;
        }
    }

    /// Nothing may have been wrong with any request.
    pub(crate) async fn close(self) {
        self.stop().await;
        assert_eq!(self.fake.violations(), [""; 0]);
    }

    /// Ada says something in General or in a topic.
    pub(crate) fn ada(&self, topic: Option<i64>, text: &str) -> i64 {
        self.fake.say(FORUM, topic, ADA, text)
    }

    pub(crate) fn bob(&self, topic: Option<i64>, text: &str) -> i64 {
        self.fake.say(FORUM, topic, BOB, text)
    }

    pub(crate) fn break_it(&self, method: &str, times: u32, what: What) {
        self.fake.act(Control::Break { fault: Fault::new(method, times, what) });
    }

    /// The next message that waits for an answer.
    pub(crate) async fn claim(&self) -> Turn<'_> {
        let lease = tokio::time::timeout(PATIENCE, self.queue.claim(Side::Run, &Which::Ordinary));
        let Ok(lease) = lease.await else {
            let calls: Vec<String> = self.fake.calls().into_iter().map(|it| it.method).collect();
            panic!("nothing came into the queue: {:?} after {calls:?}", self.vitals.snapshot());
        };
        Turn { office: self, lease: lease.unwrap() }
    }

    /// The next stop or permission answer.
    pub(crate) async fn control(&self) -> Message {
        let lease = tokio::time::timeout(PATIENCE, self.queue.claim(Side::Run, &Which::Control));
        let mut lease = lease.await.expect("no order came into the queue").unwrap();
        let message = lease.message().clone();
        lease.answer(Reply { silent: true, ..Reply::default() }, vec![]).unwrap();
        lease.finish().unwrap();
        message
    }

    /// Waits until the transcript of the forum holds `words`.
    #[track_caller]
    pub(crate) fn until_said(&self, words: &str) -> impl Future<Output = ()> + '_ {
        self.until_in(FORUM, words)
    }

    #[track_caller]
    pub(crate) fn until_in(&self, chat: i64, words: &str) -> impl Future<Output = ()> + '_ {
        let (words, caller) = (words.to_owned(), std::panic::Location::caller());
        async move {
            let seen = self
                .fake
                .wait_for(PATIENCE, |it| it.transcript(chat).contains(&words).then_some(()));
            if seen.await.is_none() {
                panic!("{caller}: never said: {words}\n{}", self.fake.transcript(chat));
            }
        }
    }

    /// Waits until the transcript no longer holds `words`.
    pub(crate) async fn until_unsaid(&self, words: &str) {
        let gone = self
            .fake
            .wait_for(PATIENCE, |it| (!it.transcript(FORUM).contains(words)).then_some(()));
        assert!(gone.await.is_some(), "still said: {words}\n{}", self.fake.transcript(FORUM));
    }

    /// Waits until Telegram has heard that every update was taken.
    pub(crate) async fn until_confirmed(&self) {
        let done = self.fake.wait_for(PATIENCE, |it| (it.unconfirmed() == 0).then_some(()));
        assert!(done.await.is_some(), "updates are not confirmed");
    }

    /// Waits until every update was dealt with.
    pub(crate) async fn until_dealt_with(&self) {
        self.until_confirmed().await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let new = |it: &std::fs::DirEntry| it.path().extension().is_some_and(|it| it == "json");
        while std::fs::read_dir(self.state.updates()).unwrap().flatten().any(|it| new(&it)) {
            assert!(tokio::time::Instant::now() < deadline, "an update is not dealt with");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the status message of a turn is there and its id is known.
    pub(crate) async fn until_noted(&self, message: &Message) {
        let status = self.state.status(&message.key);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !std::fs::read_to_string(&status).unwrap_or_default().contains("\"message\"") {
            assert!(
                tokio::time::Instant::now() < deadline,
                "no status message for {}",
                message.key
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until a message with these words lies in `incoming/`, and gives its key.
    pub(crate) async fn until_waiting(&self, words: &str) -> Key {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            for entry in self.queue.view().list(Place::Incoming, 1000).unwrap() {
                if let Ok(Some(message)) = self.queue.view().read(&entry)
                    && message.message == words
                {
                    return entry.key;
                }
            }
            assert!(tokio::time::Instant::now() < deadline, "{words} never came");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many messages lie in a place.
    pub(crate) async fn until_in_place(&self, place: Place, count: usize) {
        let watch = self.queue.view().watch();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let changed = watch.changed();
            let there = self.queue.view().list(place, 1000).unwrap().len();
            if there == count {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{there} and not {count} in {place}");
            changed.await;
        }
    }

    /// Waits until the health says so.
    #[track_caller]
    pub(crate) fn until_why(&self, words: &'static str) -> impl Future<Output = Snapshot> + '_ {
        self.until_health(words, move |it| it.why.iter().any(|it| it.contains(words)))
    }

    /// Waits until the health is as asked for; `what` names it.
    #[track_caller]
    pub(crate) fn until_health(
        &self,
        what: &'static str,
        is_so: impl Fn(&Snapshot) -> bool,
    ) -> impl Future<Output = Snapshot> {
        let (vitals, caller) = (self.vitals.clone(), std::panic::Location::caller());
        async move {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            loop {
                let now = vitals.snapshot();
                if is_so(&now) {
                    return now;
                }
                if tokio::time::Instant::now() > deadline {
                    panic!("{caller}: never {what}: {now:?}");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Calls of one method so far: its parameters.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        let calls = self.fake.calls().into_iter().filter(|it| it.method == method);
        calls.map(|it| Value::Object(it.params)).collect()
    }

    /// Ada presses a button that her client still showed, and waits until that was dealt with.
    pub(crate) async fn press_late(&self, message: i64, data: &str) {
        let body = json!({
            "id": "late", "chat_instance": "1", "data": data,
            "from": {"id": ADA, "is_bot": false, "first_name": "Ada"},
            "message": {
                "message_id": message, "date": 1_771_000_000, "text": "it was something else then",
                "from": {"id": BOT, "is_bot": true, "first_name": "TinyClaw"},
                "chat": {"id": FORUM, "type": "supergroup", "title": "Office", "is_forum": true},
            },
        });
        self.fake.act(Control::RawUpdate { kind: "callback_query".to_owned(), body });
        self.until_dealt_with().await;
    }

    /// A button's message: the one that shows this label.
    pub(crate) async fn press(&self, from: i64, label: &str) {
        let press = |fake: &FakeTelegram| {
            (1..fake_messages(fake)).rev().find_map(|message| {
                let label = label.to_owned();
                fake.try_act(Control::Press { chat: FORUM, message, from, label }).ok()
            })
        };
        assert!(self.fake.wait_for(PATIENCE, press).await.is_some(), "no button {label}");
    }
}

fn fake_messages(fake: &FakeTelegram) -> i64 {
    fake.calls().len() as i64 + 200
}

/// A turn that the test works on.
pub(crate) struct Turn<'a> {
    office: &'a Office,
    pub(crate) lease: Lease,
}

impl Turn<'_> {
    pub(crate) fn message(&self) -> &Message {
        self.lease.message()
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            key: self.message().key.clone(),
            thread_id: self.message().thread_id.clone(),
            attempt: 1,
            state: TurnState::Working,
            model: Some(Model::SONNET),
            tier: None,
            started_at: now_ms(),
            updated_at: now_ms(),
            text: String::new(),
            tools: vec![],
            todos: Vec::new(),
            background: Vec::new(),
            asks: None,
            devbox: None,
            mcp_trouble: Vec::new(),
            trouble: None,
        }
    }

    /// Says where the turn is.
    pub(crate) fn show(&self, change: impl FnOnce(&mut Progress)) {
        let mut progress = self.progress();
        change(&mut progress);
        Progresses::new(&self.office.state).write(&progress).unwrap();
    }

    /// Answers with Markdown.
    pub(crate) fn answer(self, text: &str) {
        self.reply(|it| text.clone_into(&mut it.text));
    }

    pub(crate) fn reply(mut self, change: impl FnOnce(&mut Reply)) {
        let mut reply = Reply { model: Some(Model::SONNET), duration_ms: 1200, ..Reply::default() };
        change(&mut reply);
        let key = self.message().key.clone();
        self.lease.answer(reply, vec![]).unwrap();
        self.lease.finish().unwrap();
        Progresses::new(&self.office.state).remove(&key).unwrap();
    }

    /// Nothing to say.
    pub(crate) fn done(self) {
        self.reply(|it| it.silent = true);
    }
}

pub(crate) fn thread(name: &str) -> ThreadId {
    name.parse().unwrap()
}
