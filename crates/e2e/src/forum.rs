//! A forum on a fake Telegram and the office behind it, run by `tinyclaw-bot` as in the image: each service has its own
//! secrets only, and they share nothing but the state folder.

use std::panic::Location;
use std::time::Duration;

use tinyclaw_testkit::telegram::schema::Schema;
use tinyclaw_testkit::telegram::{
    ADA, BOB, Control, FORUM, FakeTelegram, Limits, Options, Plug, TOKEN,
};

use crate::Office;

/// The service keeps the real budget of requests, and the machine may be busy; what is broken never comes.
const PATIENCE: Duration = Duration::from_secs(40);

/// A forum, and the office that answers in it.
pub struct Forum {
    /// What stands for Telegram.
    pub fake: FakeTelegram,
    /// The line to it, which can be pulled.
    pub plug: Plug,
    /// The office, below `tinyclaw-bot`.
    pub office: Office,
    runtime: tokio::runtime::Runtime,
}

impl Forum {
    /// A forum in which Ada and Bob may speak.
    pub fn open() -> Forum {
        Forum::open_with(&[])
    }

    /// The same with these variables set. The product keeps the real budget of requests; Telegram's own limits are those
    /// of other tests.
    pub fn open_with(env: &[(&str, &str)]) -> Forum {
        Forum::begin(Office::prepare(env), true)
    }

    /// An office without a forum, over one that is there already: Ada and Bob have private chats with it.
    pub fn private(office: Office) -> Forum {
        Forum::begin(office, false)
    }

    /// The same over an office that is there already.
    pub fn over(mut office: Office) -> Forum {
        office.stop();
        Forum::begin(office, true)
    }

    fn begin(mut office: Office, has_home: bool) -> Forum {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let options =
            Options { limits: Limits::none(), schema: Schema::cached(), ..Options::default() };
        let fake = runtime.block_on(FakeTelegram::start_with(options)).expect("a fake Telegram");
        let plug = runtime.block_on(fake.plug()).expect("a line to it");
        let (url, chat, users) = (plug.url(), FORUM.to_string(), format!("{ADA},{BOB}"));
        let env = [
            ("TINYCLAW_HEALTH_LISTEN", "127.0.0.1:0"),
            ("TELEGRAM_API_URL", url.as_str()),
            ("TELEGRAM_BOT_TOKEN", TOKEN),
            ("TELEGRAM_ALLOWED_USERS", users.as_str()),
        ];
        if has_home {
            office.env.insert("TELEGRAM_CHAT_ID".to_owned(), chat);
        }
        office.run_below("tinyclaw-bot", &env);
        office.start();
        Forum { fake, plug, office, runtime }
    }

    /// Stops it, and gives the office back, for a processor alone.
    pub fn stop(mut self) -> Office {
        self.office.stop();
        self.office.run_below("tinyclaw-processor", &[]);
        self.office
    }

    /// Ada says something in General or in a topic.
    #[track_caller]
    pub fn ada(&self, topic: Option<i64>, text: &str) -> i64 {
        self.fake.say(FORUM, topic, ADA, text)
    }

    /// Bob does.
    #[track_caller]
    pub fn bob(&self, topic: Option<i64>, text: &str) -> i64 {
        self.fake.say(FORUM, topic, BOB, text)
    }

    /// Ada opens a topic; gives its number.
    #[track_caller]
    pub fn topic(&self, name: &str) -> i64 {
        self.ada(None, &format!("/new {name}"));
        self.found(&format!("the topic {name}"), |it| it.topic_named(FORUM, name))
    }

    /// Waits until the forum's transcript holds `words`, and gives it.
    #[track_caller]
    pub fn until(&self, words: &str) -> String {
        self.found(words, |it| Some(it.transcript(FORUM)).filter(|it| it.contains(words)))
    }

    /// Waits until the transcript no longer holds `words`, and gives it.
    #[track_caller]
    pub fn until_gone(&self, words: &str) -> String {
        let what = format!("the end of: {words}");
        self.found(&what, |it| Some(it.transcript(FORUM)).filter(|it| !it.contains(words)))
    }

    /// Waits until the fake shows what is looked for.
    ///
    /// # Panics
    /// When it does not come; the transcript and the log are in the message.
    #[track_caller]
    pub fn found<T>(&self, what: &str, look: impl FnMut(&FakeTelegram) -> Option<T>) -> T {
        let caller = Location::caller();
        let found = self.runtime.block_on(self.fake.wait_for(PATIENCE, look));
        found.unwrap_or_else(|| panic!("{caller}: never: {what}\n{}", self.transcript()))
    }

    /// Ada presses the newest button with this label.
    #[track_caller]
    pub fn press(&self, label: &str) {
        self.found(&format!("a button {label}"), |it| {
            let press = |message| Control::Press {
                chat: FORUM,
                message,
                from: ADA,
                label: label.to_owned(),
            };
            (1..it.calls().len() as i64 + 200).rev().find_map(|at| it.try_act(press(at)).ok())
        });
    }

    /// The forum as its people see it.
    pub fn transcript(&self) -> String {
        self.fake.transcript(FORUM)
    }

    /// The part of the transcript that is General, or a topic of this name.
    pub fn part(&self, topic: &str) -> String {
        let transcript = self.transcript();
        let parts = transcript.split("\n# ").map(|it| it.trim_start_matches("# "));
        parts.into_iter().find(|it| it.starts_with(topic)).unwrap_or_default().to_owned()
    }

    /// Ends it; nothing may have been wrong with any request. What the services said.
    ///
    /// # Panics
    /// When something was.
    pub fn close(mut self) -> String {
        self.office.stop();
        assert_eq!(self.fake.violations(), [""; 0]);
        self.office.log()
    }
}
