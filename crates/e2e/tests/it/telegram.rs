//! A day in a forum, with everything real but Telegram and the model: the telegram service, the processor, the demo
//! engine and the queue between them.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tinyclaw_e2e::{Office, program, signal};
use tinyclaw_testkit::telegram::{
    ADA, Attachment, Control, FORUM, FakeTelegram, Limits, Options, TOKEN,
};

/// The smallest picture there is: one transparent pixel, as PNG.
const PIXEL: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\rIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

/// The face keeps the real budget of requests, and the machine may be busy; what is broken never comes.
const PATIENCE: Duration = Duration::from_secs(40);

/// A forum on a fake Telegram, an office behind it, and the service that joins them.
pub(crate) struct Forum {
    pub(crate) fake: FakeTelegram,
    pub(crate) office: Office,
    face: Option<Child>,
    runtime: tokio::runtime::Runtime,
}

impl Forum {
    fn open() -> Forum {
        Forum::open_with(&[])
    }

    fn open_with(env: &[(&str, &str)]) -> Forum {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // The budget is the real one; Telegram's own limits are those of another test.
        let options = Options { limits: Limits::none(), ..Options::default() };
        let fake = runtime.block_on(FakeTelegram::start_with(options)).unwrap();
        let office = Office::open_with(env);
        let mut forum = Forum { fake, office, face: None, runtime };
        forum.start();
        forum
    }

    /// The same over an office that is there already, and running.
    pub(crate) fn over(office: Office) -> Forum {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let options = Options { limits: Limits::none(), ..Options::default() };
        let fake = runtime.block_on(FakeTelegram::start_with(options)).unwrap();
        let mut forum = Forum { fake, office, face: None, runtime };
        forum.start();
        forum
    }

    fn start(&mut self) {
        let log = std::fs::File::create(self.office.path("telegram.out")).unwrap();
        let state = self.office.path("state").display().to_string();
        let env = BTreeMap::from([
            ("TINYCLAW_DIR", state),
            ("TELEGRAM_API_URL", self.fake.url()),
            ("TELEGRAM_BOT_TOKEN", TOKEN.to_owned()),
            ("TELEGRAM_CHAT_ID", FORUM.to_string()),
            ("TELEGRAM_ALLOWED_USERS", ADA.to_string()),
        ]);
        let child = Command::new(program("tinyclaw-telegram"))
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.face = Some(child);
    }

    /// Stops both halves, and gives the office back.
    pub(crate) fn stop(mut self) -> Office {
        if let Some(mut child) = self.face.take() {
            signal(child.id(), "TERM");
            child.wait().unwrap();
        }
        self.office.stop();
        let empty = Office::closed();
        std::mem::replace(&mut self.office, empty)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.face.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn ada(&self, topic: Option<i64>, text: &str) {
        self.fake.say(FORUM, topic, ADA, text);
    }

    #[track_caller]
    pub(crate) fn until(&self, words: &str) -> String {
        let caller = std::panic::Location::caller();
        let said =
            self.runtime.block_on(self.fake.wait_for(PATIENCE, |it| {
                Some(it.transcript(FORUM)).filter(|it| it.contains(words))
            }));
        said.unwrap_or_else(|| {
            let log = std::fs::read_to_string(self.office.path("telegram.out")).unwrap_or_default();
            panic!("{caller}: never said: {words}\n{}\n{log}", self.fake.transcript(FORUM))
        })
    }

    #[track_caller]
    fn press(&self, label: &str) {
        let pressed = self.runtime.block_on(self.fake.wait_for(PATIENCE, |it| {
            (1..400).rev().find_map(|message| {
                let label = label.to_owned();
                it.try_act(Control::Press { chat: FORUM, message, from: ADA, label }).ok()
            })
        }));
        assert!(pressed.is_some(), "no button {label}");
    }
}

impl Drop for Forum {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_day_in_a_forum() {
    let mut forum = Forum::open();

    // A topic, a question, its answer.
    forum.ada(None, "/new website");
    let transcript = forum.until("Topic website is open: thread ");
    let number: String = transcript
        .split("is open: thread ")
        .nth(1)
        .unwrap()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let topic = Some(number.parse().unwrap());
    forum.ada(topic, "[demo: say Good morning.]");
    forum.until("    Good morning.\n");

    // Watch it, stop it.
    forum.ada(topic, "[demo: slow 60s] tell me everything");
    forum.until("[ Stop ]");
    forum.press("Stop");
    forum.until("The session is kept.");

    // May I?
    forum.ada(topic, "[demo: ask]");
    forum.until("[ Allow ] [ Always here ] [ Deny ]");
    forum.press("Deny");

    // A long answer with code and a table.
    forum.ada(topic, "[demo: long 20000]");
    forum.until("<document answer.md>");

    // A photo and a paper.
    let photo = Attachment::new("photo", "", "", PIXEL);
    let caption = "[demo: say A picture.] what is this?".to_owned();
    forum.fake.act(Control::Send { chat: FORUM, topic, from: ADA, file: photo, caption });
    forum.until("    A picture.\n");
    let paper = Attachment::new("document", "paper.pdf", "application/pdf", "%PDF-1.7");
    let caption = "[demo: say A paper.] and this?".to_owned();
    forum.fake.act(Control::Send { chat: FORUM, topic, from: ADA, file: paper, caption });
    forum.until("    A paper.\n");

    // Everything dies in the middle of an answer, and goes on.
    forum.ada(topic, "[demo: slow 4s] [demo: say We go home now.] and now?");
    forum.until("and now?");
    forum.office.wait_for("the last turn", || forum.office.prompts().get(6).cloned());
    forum.kill();
    forum.office.kill();
    forum.start();
    forum.office.start();
    forum.until("    We go home now.\n");
    let transcript = forum.fake.transcript(FORUM);
    assert_eq!(transcript.matches("We go home now.\n").count(), 1, "{transcript}");
    assert_eq!(forum.fake.violations(), [""; 0]);
}

#[test]
fn a_press_goes_on_although_the_budget_is_spent() {
    let chat = FORUM.to_string();
    let forum = Forum::open_with(&[
        ("TINYCLAW_BUDGET_THREAD_PER_DAY", "0.50"),
        ("TELEGRAM_BOT_TOKEN", TOKEN),
        ("TELEGRAM_CHAT_ID", &chat),
    ]);
    forum.ada(None, "[demo: cost 0.45] [demo: say That was dear.]");
    forum.until("This thread's budget for today is nearly spent: $0.45 of $0.50.");
    forum.ada(None, "[demo: cost 0.15] [demo: say That was the rest.]");
    forum.until("    That was the rest.\n");
    forum.ada(None, "[demo: say The next day's work.]");
    forum.until("Go on today all the same? /go does.\n    [ Go on ]");
    forum.press("Go on");
    forum.until("Going on.");
    let transcript = forum.until("    The next day's work.\n");
    assert_eq!(forum.office.prompts().len(), 3, "each was asked once");
    assert_eq!(transcript.matches("nearly spent").count(), 1);
    assert_eq!(forum.fake.violations(), [""; 0]);
}

#[test]
fn what_nobody_asked_for_arrives_and_what_is_not_worth_a_word_does_not() {
    let chat = FORUM.to_string();
    let mut forum = Forum::open_with(&[
        ("TELEGRAM_BOT_TOKEN", TOKEN),
        ("TELEGRAM_CHAT_ID", &chat),
        ("TINYCLAW_HEARTBEAT_ENABLED", "true"),
        ("TINYCLAW_HEARTBEAT_QUIET_HOURS", "00:00-00:00"),
    ]);
    forum.ada(None, "[demo: background 1s The build is green.]");
    forum.until("    The build is green.\n");
    let file = forum.office.path("work/1/HEARTBEAT.md");
    // For one last time there is one heartbeat, so the second needs another.
    let last_at = |ms: u64| move |it: &mut serde_json::Value| it["1"]["lastBeat"] = ms.into();
    std::fs::write(&file, "- [ ] see whether the tests pass").unwrap();
    forum.office.restart_with(last_at(1));
    let lines = |office: &Office| office.lines("message-history.jsonl");
    forum.office.wait_for("the answer to the first heartbeat", || {
        lines(&forum.office).into_iter().find(|it| it["message"] == "[NO_UPDATES]")
    });
    std::fs::write(&file, "- [ ] [demo: say The report is due.]").unwrap();
    forum.office.restart_with(last_at(2));
    let transcript = forum.until("    The report is due.\n");
    assert!(!transcript.contains("NO_UPDATES"), "{transcript}");
    assert_eq!(forum.fake.violations(), [""; 0]);
}

#[test]
fn a_message_from_another_thread_is_shown_and_answered_in_its_topic() {
    let chat = FORUM.to_string();
    let forum = Forum::open_with(&[("TELEGRAM_BOT_TOKEN", TOKEN), ("TELEGRAM_CHAT_ID", &chat)]);
    forum.ada(None, "[demo: say This desk is taken.]");
    forum.until("    This desk is taken.\n");
    forum.ada(None, "/new website");
    let transcript = forum.until("Topic website is open: thread ");
    let number = transcript.split("is open: thread ").nth(1).unwrap();
    let number: String = number.chars().take_while(char::is_ascii_digit).collect();
    let topic = Some(number.parse().unwrap());
    forum.ada(topic, "[demo: send 1 [demo: say Good morning from General.]]");
    forum.until(&format!("website (thread {number}) writes:"));
    let transcript = forum.until("    Good morning from General.\n");
    // Shown and answered in General; the sender is told where.
    let general = transcript.split("# General").nth(1).unwrap();
    let general = general.split("\n# ").next().unwrap();
    assert!(general.contains("writes:") && general.contains("    Good morning from General.\n"));
    forum.until("It goes to thread 1 (General) when this turn ends, and is answered there.");
    assert_eq!(forum.fake.violations(), [""; 0]);
}
