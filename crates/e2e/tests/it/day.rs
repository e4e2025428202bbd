//! A day in a forum as its people see it, from the first line to the last: `day.txt`. Everything is real but Telegram and
//! the model, and runs below `tinyclaw-bot`.

use expect_test::expect_file;
use tinyclaw_e2e::Forum;
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, Attachment, BOB, Control, FORUM};

/// The smallest picture there is: one transparent pixel, as PNG.
const PIXEL: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\rIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

/// The transcript without what differs from run to run: folders, times, whether an answer took the place of its status;
/// and without the words that tell the demo engine what to do.
pub(crate) fn as_read(transcript: &str, base: &str) -> String {
    let mut out = String::new();
    for line in without_marks(transcript)
        .replace(base, "")
        .replace(" (edited)", "")
        .replace(" ):", "):")
        .lines()
    {
        // A quotation is cut, and may be cut within a mark.
        let line = match line.split_once(" [") {
            Some((before, mark)) if line.contains(" (to ") && mark.ends_with("):") => {
                format!("{before}):")
            }
            _ => line.to_owned(),
        };
        let words: Vec<&str> = line.split(' ').collect();
        let same = words.iter().enumerate().map(|(at, it)| same_time(it, words.get(at + 1)));
        out.push_str(same.collect::<Vec<_>>().join(" ").trim_end());
        out.push('\n');
    }
    out
}

/// `14:02` and `34` before a unit, the same in every run.
fn same_time(word: &str, next: Option<&&str>) -> String {
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let plain = word.trim_end_matches(['.', ',']);
    match plain.split_once(':') {
        Some((hours, minutes)) if digits(hours) && digits(minutes) => word.replace(plain, "14:02"),
        _ if digits(plain) && next.is_some_and(|it| it.trim_end_matches('.') == "s") => {
            "34".to_owned()
        }
        _ => word.to_owned(),
    }
}

fn without_marks(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, mark)) = rest.split_once("[demo:") {
        out.push_str(before);
        let mut depth = 1;
        let end = mark.find(|it| {
            depth += match it {
                '[' => 1,
                ']' => -1,
                _ => 0,
            };
            depth == 0
        });
        // A quotation of it may be cut.
        let line = mark.find('\n').unwrap_or(mark.len());
        match end.filter(|it| *it < line) {
            Some(end) => rest = mark[end + 1..].trim_start_matches(' '),
            None => rest = mark[..line].rfind("):").map_or(&mark[line..], |at| &mark[at..]),
        }
    }
    out.push_str(rest);
    out
}

/// Nothing more is on its way.
pub(crate) fn until_still(forum: &Forum) {
    forum.office.wait_for("the end of every turn", || {
        let count = |it| forum.office.queue().view().list(it, 100).map_or(1, |it| it.len());
        let open = [Place::Incoming, Place::Processing, Place::Outgoing, Place::Sending];
        (open.into_iter().map(count).sum::<usize>() == 0).then_some(())
    });
}

#[test]
fn a_day_in_a_forum_reads_well() {
    let mut forum = Forum::open_with(&[("TINYCLAW_TELEGRAM_COST_LINE", "never")]);
    let number = forum.topic("website");
    let topic = Some(number);
    forum.until("Ready in");

    // A question, its answer.
    forum.ada(topic, "Good morning. [demo: say Good morning, Ada. What shall we do today?]");
    forum.until("    Good morning, Ada.");

    // Watch it, stop it.
    forum.ada(topic, "Tell me everything about lane locks. [demo: hang]");
    forum.until("[ Stop ]");
    // Bob waits behind it, and is answered next.
    forum.bob(topic, "Where are the tests? [demo: say In crates/queue/tests, Bob.]");
    forum.press("Stop");
    forum.until("The session is kept.");
    forum.until("    In crates/queue/tests, Bob.\n");

    // May I?
    forum.ada(topic, "Clean up the build folder. [demo: ask]");
    forum.until("[ Allow ] [ Always here ] [ Deny ]");
    forum.press("Deny");
    forum.until_gone("[ Allow ]");
    until_still(&forum);

    // An album, and Bob in between.
    for at in 0..2 {
        forum.fake.act(Control::AlbumPart {
            chat: FORUM,
            topic,
            from: ADA,
            file: Attachment::new("photo", "", "", PIXEL),
            caption: match at {
                0 => "Which of these is better? [demo: say The second one: its text can be read.]"
                    .to_owned(),
                _ => String::new(),
            },
            album: "album-1".to_owned(),
        });
        if at == 0 {
            forum.fake.say(
                FORUM,
                topic,
                BOB,
                "I like the first one. [demo: say Its colours are nicer, yes.]",
            );
        }
    }
    forum.until("    The second one: its text can be read.\n");
    forum.until("    Its colours are nicer, yes.\n");

    // A typo, mended at once.
    let message = forum.ada(topic, "Whta is left to do?");
    let text = "What is left to do? [demo: say The footer.]".to_owned();
    forum.fake.act(Control::Edit { chat: FORUM, message, text });
    forum.until("    The footer.\n");

    // It tells another thread.
    forum.ada(
        topic,
        "Tell the others. [demo: send 1 The website is nearly done. [demo: slow 4s] [demo: say Good news.]]",
    );
    forum.until("    Good news.\n");

    // Everything dies in the middle of an answer, and goes on.
    let asked = forum.office.prompts().len();
    forum.ada(topic, "And now? [demo: slow 4s] [demo: say We go home now.]");
    forum.office.wait_for("the last turn", || forum.office.prompts().get(asked).cloned());
    forum.office.kill();
    forum.office.start();
    forum.until("    We go home now.\n");

    // A topic that is renamed says so itself.
    let name = "site".to_owned();
    forum.fake.act(Control::RenameTopic { chat: FORUM, topic: number, from: ADA, name });
    forum.until("# site");

    // What cannot be answered is told.
    forum.ada(topic, "One more thing. [demo: crash]");
    forum.until("/retry tries again.");
    until_still(&forum);
    forum.ada(topic, "/close");
    forum.until("Closed.");
    until_still(&forum);
    forum.found("the last reactions", |it| (!it.transcript(FORUM).contains("👀")).then_some(()));
    let base = forum.office.path("").display().to_string();
    let read = as_read(&forum.transcript(), base.trim_end_matches('/'));
    expect_file!["./day.txt"].assert_eq(&read);
    forum.close();
}
