//! Records the state folder of this release: `record DIR`, which must not be there yet.
//!
//! An office with a forum and a terminal has a small day: answers, a pinned model, a permission mode, a message that still
//! waits, one that was given up, one that a person stopped, an update that nobody took up. What is left is what the next release begins from.
#![expect(clippy::print_stdout, reason = "it reports to whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "it starts programs and lays files down")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use tinyclaw_domain::STOPPED_WAITING;
use tinyclaw_e2e::{Office, copy, program, recorded};
use tinyclaw_testkit::telegram::{ADA, FORUM, FakeTelegram, Limits, Options, TOKEN};

fn main() {
    let to = std::env::args().nth(1).expect("record DIR");
    assert!(!Path::new(&to).exists(), "{to} is there already");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let options = Options { limits: Limits::none(), ..Options::default() };
    let fake = runtime.block_on(FakeTelegram::start_with(options)).expect("fake");
    let mut office = Office::open();
    office.set(&json!({ "timezone": "Europe/Berlin", "budget": { "officePerDay": 20 } }));
    let telegram = || {
        Command::new(program("tinyclaw-telegram"))
            .env_clear()
            .env("TINYCLAW_DIR", office.path("state"))
            .env("TELEGRAM_API_URL", fake.url())
            .env("TELEGRAM_BOT_TOKEN", TOKEN)
            .env("TELEGRAM_CHAT_ID", FORUM.to_string())
            .env("TELEGRAM_ALLOWED_USERS", ADA.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("telegram")
    };
    let mut face = telegram();
    for (number, text) in [
        (1, "/new calendar"),
        (2, "/model opus"),
        (3, "/mode edits"),
        (4, "[demo: say Good morning.] Hello"),
    ] {
        fake.say(FORUM, None, ADA, text);
        office.answer(&format!("tg-81234500{number}").parse().expect("a key"));
    }
    face.kill().expect("kill");
    face.wait().expect("wait");
    office.ask("cli", "[demo: say noted] [demo: cost 0.5] Remember the milk.");
    office.stop();
    // What waits on either side when the next release starts.
    office.say("cli", "[demo: say still here] Are you there?");
    // What nobody is asked for any more, one of them by its own sender.
    for (text, reason) in
        [("Where is the pan?", "it failed 5 times"), ("Never mind.", STOPPED_WAITING)]
    {
        let key = office.say("cli", text);
        let mut bury = Command::new(program("tinyclaw"));
        bury.args(["queue", "bury", key.as_str(), "--reason", reason]).env_clear();
        let buried =
            bury.env("TINYCLAW_DIR", office.path("state")).output().expect("tinyclaw runs");
        assert!(buried.status.success(), "{}", String::from_utf8_lossy(&buried.stderr));
    }
    let state = office.path("state");
    let update = json!({
        "update_id": 812_345_900,
        "message": {
            "message_id": 900, "date": 1_771_234_567, "text": "[demo: say heard at last] And you?",
            "from": { "id": ADA, "is_bot": false, "first_name": "Ada" },
            "chat": { "id": FORUM, "type": "supergroup", "title": "Office", "is_forum": true },
        },
    });
    fs::write(state.join("updates/812345900.json"), update.to_string()).expect("update");
    recorded::remove_passing(&state);
    let work = office.path("work").display().to_string();
    let home = office.path("home").display().to_string();
    let base = office.path("").display().to_string();
    copy(&state, Path::new(&to), &|text| {
        let text = text.replace(&work, recorded::WORK).replace(&home, "/home/ada");
        assert!(!text.contains(base.trim_end_matches('/')), "a path of this machine: {text}");
        text
    });
    recorded::seal(Path::new(&to));
    println!("recorded {to}");
}
