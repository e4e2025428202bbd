//! What a status message looks like. Words and buttons only; nothing here is sent.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{
    Key, Model, PermissionAnswer, Progress, ReplyButton, Todo, TodoState, ToolUse, TurnState,
};
use tinyclaw_service::conceal;
use tinyclaw_service::words;

use crate::bot::button::Button;
use crate::choosing::Picks;
use crate::status::choices::{self, QuestionFile};
use crate::text::{self, Room};

/// So many of the last tools are shown.
const TOOLS_MAX: usize = 5;
/// So much of what is left to do is shown,
const TODOS_MAX: usize = 4;
/// and of what runs in the background.
const BACKGROUND_MAX: usize = 3;
/// So many MCP servers are named that are of no use.
const MCP_TROUBLE_MAX: usize = 3;
/// A tool's line is cut here.
const TOOL_UNITS_MAX: usize = 80;
/// What Claude asks to do is shown in the message itself up to here; what is longer comes as a file.
const BODY_UNITS_MAX: usize = 2500;
/// After so long without anything new the status says so,
const QUIET_AFTER_S: u64 = 30;
/// and after so long what can be done about it.
const LONG_QUIET_AFTER_S: u64 = 90;

/// A turn of which nothing was heard for so long is no longer said to be typing: more than a tool may take, as a rule.
const TYPING_QUIET_MAX_S: u64 = 15 * 60;

/// How a message is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// It waits in its thread.
    Waiting { position: usize, busy_since: Option<u64> },
    /// It failed and will be tried again.
    Trouble { trouble: String, again_at: Option<u64> },
    /// It was taken up, and nothing is known yet.
    Starting,
    /// It is being answered.
    Turn(Box<Progress>),
    /// Its turn asks for permission, or puts questions to people, who have chosen so much.
    Asks { progress: Box<Progress>, question: Box<Question>, file: QuestionFile, picks: Picks },
    /// Somebody stops it.
    Stopping { model: Option<Model>, is_deaf: bool },
    /// There is nobody to work on it.
    Away,
    /// It is over; nothing is shown any more.
    Settled,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    pub(crate) html: String,
    pub(crate) keyboard: Option<Value>,
}

impl Phase {
    /// Whether somebody is at it, which "typing" says. `since` is when it was first seen.
    pub(crate) fn is_working(&self, since: u64, now_ms: u64) -> bool {
        let heard = match self {
            Phase::Starting => since,
            Phase::Turn(progress) => progress.updated_at,
            _ => return false,
        };
        now_ms.saturating_sub(heard) / 1000 < TYPING_QUIET_MAX_S
    }

    /// Whether something else has to be done first, which a reaction says.
    pub(crate) fn is_behind_others(&self) -> bool {
        matches!(self, Phase::Waiting { position: 2.., .. })
    }

    /// Somebody stops it. Whether anybody is there to do it is told before all.
    pub(crate) fn stop(&mut self, is_deaf: bool) {
        let model = match self {
            Phase::Away | Phase::Settled => return,
            Phase::Turn(progress) | Phase::Asks { progress, .. } => progress.model,
            Phase::Stopping { model, .. } => *model,
            _ => None,
        };
        *self = Phase::Stopping { model, is_deaf };
    }

    /// What a person waits for who has just pressed a button, by a name: a question, or the sign that a stop was heard.
    pub(crate) fn urgent(&self) -> Option<String> {
        match self {
            Phase::Stopping { is_deaf, .. } => Some(format!("stop {is_deaf}")),
            // Whoever pressed a button of it waits to see what that did.
            Phase::Asks { picks, .. } if *picks != Picks::default() => {
                Some(format!("{}{picks:?}", self.question()?))
            }
            _ => self.question(),
        }
    }

    /// Whether it has not begun.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self, Phase::Waiting { .. })
    }

    /// The open question, if there is one. One whose file is on its way is not asked yet.
    pub(crate) fn question(&self) -> Option<String> {
        match self {
            Phase::Asks { question, file, .. } if *file != QuestionFile::OnItsWay => {
                Some(question.digest.clone())
            }
            _ => None,
        }
    }

    /// The message that says it.
    pub(crate) fn picture(&self, key: &Key, now_ms: u64, zone: &TimeZone) -> Option<Picture> {
        let picture = |html, keyboard| Some(Picture { html, keyboard });
        match self {
            Phase::Settled => None,
            Phase::Waiting { position, busy_since } => {
                let place = match position {
                    1 => "Next here".to_owned(),
                    // Who is worked on counts as the first.
                    2 if busy_since.is_some() => "Next here".to_owned(),
                    other => format!("{} in line here", words::ordinal(*other as u64)),
                };
                let why = match busy_since {
                    Some(since) => format!("busy since {}", clock(*since, zone)),
                    None => "waiting for a free place".to_owned(),
                };
                let buttons = if busy_since.is_some() { steer(key) } else { stop(key) };
                picture(format!("{place} · {why}"), Some(buttons))
            }
            Phase::Trouble { trouble, again_at } => {
                let mut words = sentence(trouble);
                if let Some(at) = again_at {
                    let wait = words::span(at.saturating_sub(now_ms).max(1000));
                    words.push_str(&format!(" Trying again in {wait}."));
                }
                picture(text::escape(&words), Some(stop(key)))
            }
            Phase::Away => picture(
                "TinyClaw is not at work at the moment. This goes on by itself when it is back."
                    .to_owned(),
                Some(stop(key)),
            ),
            Phase::Stopping { model, is_deaf } => {
                let who = model.map_or(String::new(), |it| format!("{it} · "));
                let deaf =
                    "\n<i>It does not react yet, and is ended by force if it goes on so.</i>";
                let deaf = if *is_deaf { deaf } else { "" };
                picture(format!("{who}stopping …{deaf}"), Some(stop(key)))
            }
            Phase::Starting => picture("starting".to_owned(), Some(stop(key))),
            Phase::Turn(progress) => {
                let is_stopping = progress.state == TurnState::Stopping;
                let buttons = if is_stopping { stop(key) } else { steer(key) };
                picture(working(progress, now_ms), Some(buttons))
            }
            Phase::Asks { progress, question, picks, .. } if !question.choices.is_empty() => {
                let html = choices::html(progress, question, picks);
                picture(html, Some(choices::keyboard(key, question, picks)))
            }
            Phase::Asks { progress, question, file, picks } if question.plan.is_some() => {
                let html = choices::plan(progress, question, *file, picks);
                let keyboard = choices::plan_keyboard(key, question, *file, picks);
                picture(html, Some(keyboard))
            }
            Phase::Asks { progress, question, file, .. } => {
                picture(asks(progress, question, *file), Some(answers(key, question, *file)))
            }
        }
    }
}

fn head(progress: &Progress, now_ms: u64) -> String {
    let time = words::lasted(now_ms.saturating_sub(progress.started_at));
    let verb = match progress.state {
        TurnState::Starting => "starting",
        TurnState::Working | TurnState::Asking => "working",
        TurnState::Stopping => "stopping",
    };
    // A turn that broke off begins anew: nobody shall wonder where its words have gone.
    let again = match progress.attempt {
        0 | 1 => String::new(),
        other => format!("{} try · ", words::ordinal(u64::from(other))),
    };
    // Where it runs is told unless it is where everybody expects it.
    let on = progress.devbox.as_ref().map_or_else(String::new, |it| format!(" on {it}"));
    match progress.model {
        Some(model) => format!("{model}{on} · {again}{verb} {time}"),
        None => format!("{again}{verb}{on} {time}"),
    }
}

fn working(progress: &Progress, now_ms: u64) -> String {
    let mut html = text::escape(&head(progress, now_ms));
    html.push_str(&todos(&progress.todos));
    for tool in last_tools(&progress.tools) {
        let indent = if tool.is_nested { "    " } else { "" };
        let mark = if tool.failed { "✗" } else { "▸" };
        let line = conceal(tool.detail.trim()).replace('\n', " ");
        let line = text::shortened(&format!("{mark} {}  {line}", tool.name), TOOL_UNITS_MAX);
        html.push('\n');
        html.push_str(indent);
        html.push_str(&text::escape(line.trim_end()));
    }
    html.push_str(&background(&progress.background));
    for server in progress.mcp_trouble.iter().take(MCP_TROUBLE_MAX) {
        let line = conceal(server).replace('\n', " ");
        let line = text::shortened(&format!("✗ MCP {line}"), 2 * TOOL_UNITS_MAX);
        html.push('\n');
        html.push_str(&text::escape(line.trim_end()));
    }
    if let Some(trouble) = &progress.trouble {
        html.push('\n');
        html.push_str(&text::escape(&sentence(trouble)));
    } else if let Some(words) = quiet(progress, now_ms) {
        html.push_str(&format!("\n<i>{}</i>", text::escape(&words)));
    }
    // The answer so far, as it will look; of a long one the end.
    let room = Room::default().less(text::units(&html) + 8);
    let mut parts = text::render(&progress.text, room);
    let is_long = parts.len() > 1;
    if let Some(part) = parts.pop() {
        html.push_str(if is_long { "\n\n…\n" } else { "\n\n" });
        html.push_str(&part.html);
    }
    html
}

/// The last tools. Of a subagent whose tools are shown the subagent itself is, too.
fn last_tools(tools: &[ToolUse]) -> impl Iterator<Item = &ToolUse> {
    let mut from = tools.len().saturating_sub(TOOLS_MAX);
    let is_helped = tools.get(from).is_some_and(|it| it.is_nested);
    let helper = is_helped.then(|| tools[..from].iter().rfind(|it| !it.is_nested)).flatten();
    from += usize::from(helper.is_some());
    helper.into_iter().chain(&tools[from..])
}

/// What runs on beside the turn.
fn background(tasks: &[String]) -> String {
    let mut html = String::new();
    for task in tasks.iter().take(BACKGROUND_MAX) {
        let line = conceal(task.trim()).replace('\n', " ");
        let line = text::shortened(&format!("in the background: {line}"), TOOL_UNITS_MAX);
        html.push_str(&format!("\n{}", text::escape(&line)));
    }
    if tasks.len() > BACKGROUND_MAX {
        html.push_str(&format!("\nand {} more in the background", tasks.len() - BACKGROUND_MAX));
    }
    html
}

/// What there is to do: how much of it is done, what Claude is at, and what comes next.
fn todos(todos: &[Todo]) -> String {
    let done = todos.iter().filter(|it| it.state == TodoState::Done).count();
    if todos.is_empty() || done == todos.len() {
        return String::new();
    }
    let mut html = format!("\n{done} of {} done", todos.len());
    let left = todos.iter().filter(|it| it.state != TodoState::Done);
    for it in left.take(TODOS_MAX) {
        let mark = if it.state == TodoState::Doing { "→" } else { "·" };
        let line = text::shortened(&format!("{mark} {}", conceal(it.text.trim())), TOOL_UNITS_MAX);
        html.push_str(&format!("\n{}", text::escape(&line)));
    }
    html
}

/// What to say when nothing has come for a while.
fn quiet(progress: &Progress, now_ms: u64) -> Option<String> {
    if progress.state != TurnState::Working {
        return None;
    }
    let silence = now_ms.saturating_sub(progress.updated_at) / 1000;
    if silence < QUIET_AFTER_S {
        return None;
    }
    let long = silence >= LONG_QUIET_AFTER_S;
    let advice = if long { " Stop ends the turn and keeps the session." } else { "" };
    let tool = progress.tools.iter().rfind(|it| it.duration_ms.is_none() && !it.failed);
    let what = match tool {
        Some(tool) => {
            let time = words::lasted(now_ms.saturating_sub(tool.at));
            format!("{} has been running for {time}.", tool.name)
        }
        None => format!("Nothing new for {}.", words::lasted(silence * 1000)),
    };
    Some(format!("{what}{advice}"))
}

/// Whether all of a question fits into a message.
pub(crate) fn fits(question: &Question) -> bool {
    match &question.plan {
        Some(plan) => {
            let parts = text::render(plan, Room::default());
            parts.len() == 1 && text::units(&question.body) <= BODY_UNITS_MAX
        }
        None => text::units(&question.body) <= BODY_UNITS_MAX,
    }
}

/// A question. Nothing in it is concealed; see [`tinyclaw_domain::approval`].
fn asks(progress: &Progress, question: &Question, file: QuestionFile) -> String {
    let head = progress.model.map_or_else(|| "Claude".to_owned(), |it| it.to_string());
    let on = progress.devbox.as_ref().map_or_else(String::new, |it| format!(" on {it}"));
    let mut html = format!("{head}{on} asks\n<b>{}</b>", text::escape(&question.title));
    for warning in &question.warnings {
        html.push_str(&format!("\n<i>{}</i>", text::escape(warning)));
    }
    if !question.body.is_empty() {
        let body = text::shortened(&question.body, BODY_UNITS_MAX);
        html.push_str(&format!("\n<pre>{}</pre>", text::escape(&body)));
    }
    let mut say = |words: &str| html.push_str(&format!("\n{}", text::escape(words)));
    match (&question.refusal, file) {
        (Some(refusal), _) => say(refusal),
        (None, QuestionFile::OnItsWay) => say("All of it comes as a file; then it can be allowed."),
        (None, QuestionFile::Stands) => {
            say("This is its beginning. All of it is in the file above.")
        }
        (None, QuestionFile::Failed) => {
            say("All of it could not be sent, so it cannot be allowed.")
        }
        (None, QuestionFile::Needless) => {}
    }
    if let Some(always) = question.always.as_ref().filter(|_| may_allow(question, file)) {
        say(&format!("Always here: {always}, until this session ends."));
    }
    html
}

fn may_allow(question: &Question, file: QuestionFile) -> bool {
    question.may_allow() && choices::is_whole(file)
}

/// `14:02`, on the reader's clock.
fn clock(ms: u64, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(ms.cast_signed()).unwrap_or_default();
    at.to_zoned(zone.clone()).strftime("%H:%M").to_string()
}

fn sentence(words: &str) -> String {
    let words = words.trim();
    if words.ends_with(['.', '!', '?', '…']) { words.to_owned() } else { format!("{words}.") }
}

/// The button that every status has; by it a status is known for what it is.
pub(crate) fn stop(key: &Key) -> Value {
    json!({"inline_keyboard": [[Button::stop(key).labelled("Stop", Some("danger"))]]})
}

/// The buttons where a turn can be told something while it runs.
pub(crate) fn steer(key: &Key) -> Value {
    json!({"inline_keyboard": [[
        Button::stop(key).labelled("Stop", Some("danger")),
        Button::steer(key).labelled("Steer", None),
    ]]})
}

fn answers(key: &Key, question: &Question, file: QuestionFile) -> Value {
    let answer = |it| Button::permission(it, &question.digest, key);
    let mut row = Vec::new();
    if may_allow(question, file) {
        row.push(answer(PermissionAnswer::Allow).labelled("Allow", Some("success")));
        if question.always.is_some() {
            row.push(answer(PermissionAnswer::Always).labelled("Always here", None));
        }
    }
    row.push(answer(PermissionAnswer::Deny).labelled("Deny", Some("danger")));
    json!({"inline_keyboard": [row, [Button::stop(key).labelled("Stop", None)]]})
}

/// The offer to ask again with a newer text.
pub(crate) fn again(key: &Key) -> Value {
    json!({"inline_keyboard": [[Button::again(key).labelled("Ask again", Some("primary"))]]})
}

/// What an answer offers, one row.
pub(crate) fn offers(key: &Key, offers: &[ReplyButton]) -> Option<Value> {
    let row = offers.iter().enumerate();
    let row = row.map(|(at, it)| Some(Button::offer(at, key)?.labelled(&it.label, None)));
    let row = row.collect::<Option<Vec<Value>>>()?;
    (!row.is_empty()).then(|| json!({"inline_keyboard": [row]}))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use tinyclaw_domain::approval::Rule;
    use tinyclaw_domain::{Ask, ThreadId};

    use super::*;

    const NOW: u64 = 1_771_000_034_000;

    fn progress() -> Progress {
        let tool = |name: &str, detail: &str, failed| ToolUse {
            name: name.to_owned(),
            detail: detail.to_owned(),
            at: NOW,
            duration_ms: None,
            failed,
            is_nested: false,
        };
        Progress {
            key: "tg-1".parse().unwrap(),
            thread_id: ThreadId::master(),
            attempt: 1,
            state: TurnState::Working,
            model: Some(Model::SONNET),
            tier: None,
            started_at: NOW - 34_000,
            updated_at: NOW,
            text: "Two tests **fail** in `claim.rs`".to_owned(),
            tools: vec![
                tool("Bash", "cargo nextest run -p queue", true),
                tool("Edit", "crates/queue/src/<claim>.rs", false),
            ],
            todos: Vec::new(),
            background: Vec::new(),
            asks: None,
            devbox: None,
            mcp_trouble: Vec::new(),
            trouble: None,
        }
    }

    #[test]
    fn a_turn_elsewhere_says_where_it_runs() {
        let mut there = progress();
        there.devbox = Some("api".parse().unwrap());
        assert!(head(&there, there.started_at).starts_with("sonnet on api · "));
        there.model = None;
        assert!(head(&there, there.started_at).starts_with("working on api "));
    }

    #[track_caller]
    fn check(phase: Phase, expect: Expect) {
        let picture = phase.picture(&"tg-1".parse().unwrap(), NOW, &TimeZone::UTC).unwrap();
        tinyclaw_testkit::telegram::markup::parse_html(&picture.html).unwrap();
        let labels: Vec<String> = picture
            .keyboard
            .iter()
            .flat_map(|it| {
                let rows = it["inline_keyboard"].as_array().unwrap().clone();
                rows.into_iter()
                    .flat_map(|row| row.as_array().unwrap().clone())
                    .map(|it| it["text"].to_string())
            })
            .collect();
        expect.assert_eq(&format!("{}\n{}", picture.html, labels.join(" ")));
    }

    #[test]
    fn a_turn_shows_what_there_is_to_do_its_helpers_tools_and_what_runs_beside_it() {
        let todo = |text: &str, state| Todo { text: text.to_owned(), state };
        let mut busy = progress();
        busy.todos = vec![
            todo("Read the claim", TodoState::Done),
            todo("Mend <claim.rs>", TodoState::Doing),
            todo("Run the tests", TodoState::Open),
        ];
        busy.tools[1].is_nested = true;
        busy.background = vec!["cargo watch".to_owned()];
        check(
            Phase::Turn(Box::new(busy)),
            expect![[r#"
                sonnet · working 34 s
                1 of 3 done
                → Mend &lt;claim.rs&gt;
                · Run the tests
                ✗ Bash  cargo nextest run -p queue
                    ▸ Edit  crates/queue/src/&lt;claim&gt;.rs
                in the background: cargo watch

                Two tests <b>fail</b> in <code>claim.rs</code>
                "Stop" "Steer""#]],
        );
    }

    #[test]
    fn the_helper_of_a_tool_that_is_shown_is_shown_and_a_crowd_in_the_background_is_counted() {
        let mut busy = progress();
        busy.text.clear();
        let tool = |at: usize| ToolUse { is_nested: at > 0, ..busy.tools[1].clone() };
        busy.tools = (0..9).map(tool).collect();
        busy.tools[0].name = "Task".to_owned();
        busy.tools[5].duration_ms = Some(3);
        busy.background = (0..5).map(|at| format!("watch\n{at}")).collect();
        check(
            Phase::Turn(Box::new(busy)),
            expect![[r#"
                sonnet · working 34 s
                ▸ Task  crates/queue/src/&lt;claim&gt;.rs
                    ▸ Edit  crates/queue/src/&lt;claim&gt;.rs
                    ▸ Edit  crates/queue/src/&lt;claim&gt;.rs
                    ▸ Edit  crates/queue/src/&lt;claim&gt;.rs
                    ▸ Edit  crates/queue/src/&lt;claim&gt;.rs
                in the background: watch 0
                in the background: watch 1
                in the background: watch 2
                and 2 more in the background
                "Stop" "Steer""#]],
        );
    }

    #[test]
    fn a_turn_that_is_tried_again_says_so() {
        let again = Progress { attempt: 2, tools: vec![], text: String::new(), ..progress() };
        check(
            Phase::Turn(Box::new(again)),
            expect![[r#"
                sonnet · 2nd try · working 34 s
                "Stop" "Steer""#]],
        );
    }

    #[test]
    fn a_working_turn() {
        check(
            Phase::Turn(Box::new(progress())),
            expect![[r#"
                sonnet · working 34 s
                ✗ Bash  cargo nextest run -p queue
                ▸ Edit  crates/queue/src/&lt;claim&gt;.rs

                Two tests <b>fail</b> in <code>claim.rs</code>
                "Stop" "Steer""#]],
        );
    }

    fn ask(command: &str, always: &[&str]) -> Ask {
        let rule = |it: &&str| Rule { tool: "Bash".to_owned(), content: Some((*it).to_owned()) };
        Ask {
            request_id: "r1".to_owned(),
            tool: "Bash".to_owned(),
            input: json!({ "command": command }),
            at: NOW,
            always: always.iter().map(rule).collect(),
            unshown: None,
        }
    }

    fn asking(ask: &Ask, file: QuestionFile) -> Phase {
        let question = Box::new(Question::of(ask));
        Phase::Asks { progress: Box::new(progress()), question, file, picks: Picks::default() }
    }

    #[test]
    fn a_question_shows_what_would_be_run_and_what_always_means() {
        check(
            asking(&ask("rm -rf target && echo \"<done>\"", &["rm:*"]), QuestionFile::Needless),
            expect![[r#"
                sonnet asks
                <b>May I run this?</b>
                <pre>rm -rf target &amp;&amp; echo &quot;&lt;done&gt;&quot;</pre>
                Always here: every command that begins with rm, until this session ends.
                "Allow" "Always here" "Deny" "Stop""#]],
        );
        check(
            asking(&ask("ls\u{202e}", &[]), QuestionFile::Needless),
            expect![[r#"
                sonnet asks
                <b>May I run this?</b>
                <i>It holds characters that cannot be seen; each is named, like ⟨U+202E⟩.</i>
                <pre>ls⟨U+202E⟩</pre>
                "Allow" "Deny" "Stop""#]],
        );
    }

    #[test]
    fn what_does_not_stand_whole_in_the_chat_has_no_allow() {
        let labels = |ask: &Ask, file| {
            let picture =
                asking(ask, file).picture(&"tg-1".parse().unwrap(), NOW, &TimeZone::UTC).unwrap();
            picture.keyboard.unwrap().to_string().matches("Allow").count()
        };
        let long = ask(&"x ".repeat(5_000), &["x"]);
        for (file, allows) in
            [(QuestionFile::OnItsWay, 0), (QuestionFile::Failed, 0), (QuestionFile::Stands, 1)]
        {
            assert_eq!(labels(&long, file), allows, "{file:?}");
        }
        assert_eq!(asking(&long, QuestionFile::OnItsWay).question(), None);
        let mut large = ask("ls", &["ls"]);
        large.unshown = Some("it has 900 kB".to_owned());
        assert_eq!(labels(&large, QuestionFile::Needless), 0);
    }

    /// Asks for a command, and holds what is shown of it against Telegram's own rules.
    fn survives(command: &str, always: &str) -> Result<(), TestCaseError> {
        let ask = ask(command, &[always]);
        // As it comes through the progress file.
        let ask: Ask = serde_json::from_str(&serde_json::to_string(&ask).unwrap()).unwrap();
        let question = Question::of(&ask);
        let file = if fits(&question) { QuestionFile::Needless } else { QuestionFile::Stands };
        let key = "tg-1".parse().unwrap();
        let picture = asking(&ask, file).picture(&key, NOW, &TimeZone::UTC).unwrap();
        let parsed = tinyclaw_testkit::telegram::markup::parse_html(&picture.html).unwrap();
        prop_assert!(text::units(&parsed.text) <= 4096 && picture.html.len() <= 32_768);
        if fits(&question) {
            prop_assert!(parsed.text.contains(question.body.trim()), "{:?}", parsed.text);
        }
        Ok(())
    }

    /// ASCII with its control characters, and what turns, marks or looks like markup. From bytes, which are made much faster
    /// than what a regular expression says.
    fn awkward() -> impl Strategy<Value = String> {
        const OTHERS: [char; 4] = ['\u{202e}', '\u{301}', '⟨', '⟩'];
        let char_of = |byte: u8| match byte {
            0..128 => char::from(byte),
            128..224 => char::from(b"<>&\""[usize::from(byte) % 4]),
            _ => OTHERS[usize::from(byte) % 4],
        };
        prop::collection::vec(any::<u8>(), 0..=3000)
            .prop_map(move |bytes| bytes.into_iter().map(char_of).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn a_question_survives_telegrams_markup_and_its_limits(
            command in any::<String>(), more in awkward(), always in any::<String>()
        ) {
            survives(&format!("{command}{more}"), &always)?;
        }
    }

    #[test]
    fn a_stop_is_seen_at_once_and_a_turn_that_does_not_react_to_it_too() {
        let mut phase = Phase::Turn(Box::new(progress()));
        phase.stop(false);
        let heard = phase.urgent();
        check(
            phase.clone(),
            expect![[r#"
                sonnet · stopping …
                "Stop""#]],
        );
        phase.stop(true);
        assert_ne!(phase.urgent(), heard);
        check(
            Phase::Stopping { model: None, is_deaf: true },
            expect![[r#"
                stopping …
                <i>It does not react yet, and is ended by force if it goes on so.</i>
                "Stop""#]],
        );
        let mut phase = Phase::Away;
        phase.stop(true);
        assert_eq!(phase, Phase::Away);
    }

    #[test]
    fn silence_is_told_and_then_what_can_be_done_about_it() {
        let quiet_for = |seconds: u64, tools: Vec<ToolUse>| {
            let updated_at = NOW - seconds * 1000;
            let text = String::new();
            Phase::Turn(Box::new(Progress { updated_at, tools, text, ..progress() }))
        };
        check(
            quiet_for(29, vec![]),
            expect![[r#"
                sonnet · working 34 s
                "Stop" "Steer""#]],
        );
        check(
            quiet_for(31, vec![]),
            expect![[r#"
                sonnet · working 34 s
                <i>Nothing new for 31 s.</i>
                "Stop" "Steer""#]],
        );
        let mut running = progress().tools.remove(1);
        running.at = NOW - 95_000;
        check(
            quiet_for(90, vec![running]),
            expect![[r#"
                sonnet · working 34 s
                ▸ Edit  crates/queue/src/&lt;claim&gt;.rs
                <i>Edit has been running for 95 s. Stop ends the turn and keeps the session.</i>
                "Stop" "Steer""#]],
        );
    }

    #[test]
    fn waiting_and_trouble() {
        check(
            Phase::Away,
            expect![[r#"
                TinyClaw is not at work at the moment. This goes on by itself when it is back.
                "Stop""#]],
        );
        check(
            Phase::Waiting { position: 3, busy_since: Some(NOW - 120_000) },
            expect![[r#"
                3rd in line here · busy since 16:25
                "Stop" "Steer""#]],
        );
        check(
            Phase::Trouble {
                trouble: "Claude did not answer: overloaded (529)".to_owned(),
                again_at: Some(NOW + 40_000),
            },
            expect![[r#"
                Claude did not answer: overloaded (529). Trying again in 40 s.
                "Stop""#]],
        );
    }
}
