//! A Telegram that runs on loopback: a Bot API server for one bot, and the people who talk to it.
//!
//! It is a state machine, not a recorder: what a request does depends on everything that happened before, the limits of
//! the real service are enforced, and errors carry its words. The people are played through [`Control`], by method calls
//! in the same process or as JSON over the control port. It knows nothing of TinyClaw and forgives nothing.

mod control;
mod limits;
pub mod markup;
mod media;
mod methods;
mod plug;
pub mod schema;
mod server;
mod transcript;
mod wire;
mod world;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

pub use control::{Attachment, Control, Fault, What};
pub use limits::Limits;
pub use plug::Plug;
pub use world::{ADA, BOB, Call, FORUM, STRANGER};

use schema::Schema;
use world::World;

/// The bot's token. Any other is refused.
pub const TOKEN: &str = "7000000001:AAfake-token-of-the-fake-telegram";

/// How a fake is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the Bot API listens; port 0 by default.
    pub listen: SocketAddr,
    /// Where the control port listens; port 0 by default.
    pub control: SocketAddr,
    /// What it refuses with 429.
    pub limits: Limits,
    /// The schema that requests are held against, if there is one.
    pub schema: Option<Arc<Schema>>,
}

impl Default for Options {
    fn default() -> Options {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Options { listen: loopback, control: loopback, limits: Limits::default(), schema: None }
    }
}

/// A running fake. Dropping it stops it.
#[derive(Debug)]
pub struct FakeTelegram {
    shared: Arc<Shared>,
    api: SocketAddr,
    control: SocketAddr,
    servers: Vec<AbortHandle>,
}

/// What the servers and the handle share.
#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    /// Wakes long polls when there is an update, or when they must end.
    news: Notify,
    /// Wakes whoever waits for something to have happened.
    moved: Notify,
    schema: Option<Arc<Schema>>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // A panic in a test must not hide behind a poisoned lock in the next assertion.
        self.world.lock().unwrap_or_else(|it| it.into_inner())
    }
}

impl FakeTelegram {
    /// Starts a fake on loopback with the real limits.
    pub async fn start() -> std::io::Result<FakeTelegram> {
        FakeTelegram::start_with(Options::default()).await
    }

    /// Starts a fake as told.
    pub async fn start_with(options: Options) -> std::io::Result<FakeTelegram> {
        let shared = Arc::new(Shared {
            world: Mutex::new(World::new(options.limits)),
            news: Notify::new(),
            moved: Notify::new(),
            schema: options.schema,
        });
        let api = tokio::net::TcpListener::bind(options.listen).await?;
        let control = tokio::net::TcpListener::bind(options.control).await?;
        let (api_at, control_at) = (api.local_addr()?, control.local_addr()?);
        let servers = vec![
            tokio::spawn(server::serve(api, Arc::clone(&shared))).abort_handle(),
            tokio::spawn(control::serve(control, Arc::clone(&shared))).abort_handle(),
        ];
        Ok(FakeTelegram { shared, api: api_at, control: control_at, servers })
    }

    /// The Bot API's base, for `TELEGRAM_API_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// A line to the Bot API that can be pulled, for [`Plug::url`] in place of [`FakeTelegram::url`].
    pub async fn plug(&self) -> std::io::Result<Plug> {
        Plug::new(self.api).await
    }

    /// The control port's address.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// Plays a person, or breaks something. The answer depends on what was done: see [`Control`].
    ///
    /// Panics when it makes no sense, such as pressing a button that is not there: the test is wrong then.
    #[track_caller]
    pub fn act(&self, control: Control) -> Value {
        match control::act(&self.shared, control) {
            Ok(it) => it,
            Err(why) => panic!("the fake Telegram cannot do this: {why}"),
        }
    }

    /// [`FakeTelegram::act`] where failing is an answer: pressing a button that may have gone.
    pub fn try_act(&self, control: Control) -> Result<Value, String> {
        control::act(&self.shared, control)
    }

    /// A person says something; gives the message's id.
    #[track_caller]
    pub fn say(&self, chat: i64, topic: Option<i64>, from: i64, text: &str) -> i64 {
        let text = text.to_owned();
        let said = self.act(Control::Say { chat, topic, from, text, reply_to: None });
        said["message_id"].as_i64().expect("a message id")
    }

    /// What the people see in a chat, as text.
    pub fn transcript(&self, chat: i64) -> String {
        transcript::of(&self.shared.world(), chat)
    }

    /// The newest topic of a chat that has this name.
    pub fn topic_named(&self, chat: i64, name: &str) -> Option<i64> {
        let world = self.shared.world();
        let topics = &world.chats.get(&chat)?.topics;
        topics.iter().rev().find(|(_, it)| it.name == name && !it.deleted).map(|(id, _)| *id)
    }

    /// The texts of the bot's messages that stand in a chat, oldest first.
    pub fn texts(&self, chat: i64) -> Vec<String> {
        let world = self.shared.world();
        let messages = world.chats.get(&chat).into_iter().flat_map(|it| it.messages.values());
        let ours = messages.filter(|it| it.from == world::BOT && it.service.is_none());
        ours.map(|it| it.text.clone()).collect()
    }

    /// Every call that was made so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.world().calls.clone()
    }

    /// Forgets the calls so far, which a long campaign would drown in.
    pub fn forget_calls(&self) {
        self.shared.world().calls.clear();
    }

    /// What was wrong with requests: broken schema, broken limits that the service does not tell about.
    pub fn violations(&self) -> Vec<String> {
        self.shared.world().violations.clone()
    }

    /// How many updates nobody has confirmed yet.
    pub fn unconfirmed(&self) -> usize {
        self.shared.world().updates.len()
    }

    /// The most requests that fell into any 60 seconds of one chat, of those that count against its limit.
    pub fn busiest_minute(&self, chat: i64) -> usize {
        self.shared.world().busiest_minute(chat)
    }

    /// Waits until `question` has an answer, looking again whenever something happened. None after `patience`.
    pub async fn wait_for<T>(
        &self,
        patience: Duration,
        mut question: impl FnMut(&FakeTelegram) -> Option<T>,
    ) -> Option<T> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let moved = self.shared.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if let Some(answer) = question(self) {
                return Some(answer);
            }
            if tokio::time::timeout_at(deadline, moved).await.is_err() {
                return question(self);
            }
        }
    }
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        for it in &self.servers {
            it.abort();
        }
    }
}
