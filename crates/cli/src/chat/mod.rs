//! A forum in a terminal: threads, answers as they are written, *stop*, permission questions, files.
//!
//! It speaks to the office only through the queue and the files that show how turns go, like every other client. Nothing
//! is lost when it is left in the middle of a turn.

mod keys;
mod later;
mod marks;
mod screen;
mod shown;
mod turns;
mod words;

use std::collections::VecDeque;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tinyclaw_client::Client;
use tinyclaw_domain::{
    Command, Key, Message, PermissionAnswer, ThreadId, for_the_running_turn, set_now,
};
use tinyclaw_ledger::{Costs, Progresses, StateDir, plan, read_threads, recent_history};
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::Office;
use tokio::sync::mpsc;

use self::keys::Editor;
use self::later::SaidLater;
use self::screen::Screen;
use self::turns::{Pending, Question};
use self::words::Typed;
use crate::signals::{Heard, Signals};
use crate::verbs::{devbox, threads};
use crate::{client, place, terminal};

/// The status row is looked at this often while a turn runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// And what is said with no message in flight this often.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
/// A second Ctrl-C within this time leaves.
const TWICE: Duration = Duration::from_secs(2);
/// So many lines of a thread's history are shown on entering it.
const HISTORY_SHOWN: usize = 4;

/// A conversation.
pub(crate) struct Chat {
    state: StateDir,
    client: Client,
    progresses: Progresses,
    screen: Screen,
    thread: ThreadId,
    /// Its name, as the prompt shows it.
    name: String,
    /// What was sent and not answered yet, oldest first.
    pending: Vec<Pending>,
    /// The open question of this thread.
    question: Option<Question>,
    /// The message whose answer is being shown as it is written.
    streaming: Option<Key>,
    editor: Editor,
    /// Lines of a pipe that were not said yet, and what of the next one has come.
    lines: VecDeque<String>,
    half: Vec<u8>,
    is_at_end: bool,
    is_over: bool,
    interrupted: Option<Instant>,
    /// It was said that nobody is there to answer.
    is_alone: bool,
    /// Something moved in the queue since it was last looked at.
    has_moved: bool,
    later: SaidLater,
}

impl Chat {
    /// A conversation that begins in this thread.
    pub(crate) fn open(state: &StateDir, thread: ThreadId) -> anyhow::Result<Chat> {
        let client = client::open(state)?;
        let mut chat = Chat {
            state: state.clone(),
            client,
            progresses: Progresses::new(state),
            screen: Screen::open(),
            thread,
            name: String::new(),
            pending: Vec::new(),
            question: None,
            streaming: None,
            editor: Editor::default(),
            lines: VecDeque::new(),
            half: Vec::new(),
            is_at_end: false,
            is_over: false,
            interrupted: None,
            is_alone: false,
            has_moved: true,
            later: SaidLater::from_now(),
        };
        chat.learn_name();
        Ok(chat)
    }

    /// Talks until one leaves, or the input ends and everything is answered.
    pub(crate) async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut keys = input();
        let watch = self.client.view().watch();
        let mut changed = Box::pin(watch.changed());
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut listen = tokio::time::interval(LISTEN_EVERY);
        listen.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            self.look()?;
            if self.is_over {
                break;
            }
            tokio::select! {
                bytes = keys.recv(), if !self.is_at_end => match bytes {
                    Some(bytes) => self.take(&bytes)?,
                    None => self.is_at_end = true,
                },
                heard = signals.next() => match heard {
                    Heard::Interrupt => self.interrupt()?,
                    Heard::End => self.is_over = true,
                },
                () = &mut changed => {
                    changed = Box::pin(watch.changed());
                    self.has_moved = true;
                }
                _ = tick.tick(), if !self.pending.is_empty() => {}
                _ = listen.tick() => {}
            }
        }
        let left = self.pending.iter().filter(|it| !it.is_order).count();
        if left > 0 {
            let what = terminal::count(left, "message");
            self.screen
                .remark(&format!("{what} not answered yet: kept, and answered all the same."))?;
        }
        Ok(())
    }

    /// Takes what was typed, or what a pipe brought.
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if !self.screen.is_terminal() {
            for byte in bytes {
                match byte {
                    b'\n' => {
                        let line = std::mem::take(&mut self.half);
                        self.lines.push_back(String::from_utf8_lossy(&line).into_owned());
                    }
                    other => self.half.push(*other),
                }
            }
            return Ok(());
        }
        for byte in bytes {
            // Where words are an answer, no single key is one.
            let is_yes_or_no = self.question.as_ref().is_some_and(|it| !it.takes_words());
            match self.editor.take(*byte, is_yes_or_no) {
                Some(keys::Key::Line(line)) => self.say(&line)?,
                Some(keys::Key::Answer(key)) => self.answer(key)?,
                Some(keys::Key::End) => self.is_over = true,
                Some(keys::Key::Typed) | None => {}
            }
        }
        Ok(())
    }

    /// Says the lines of a pipe, each when the one before is answered; answers and stops do not wait.
    fn say_lines(&mut self) -> anyhow::Result<()> {
        if self.is_at_end && !self.half.is_empty() {
            let line = std::mem::take(&mut self.half);
            self.lines.push_back(String::from_utf8_lossy(&line).into_owned());
        }
        loop {
            let next = self.lines.front().map(|it| it.trim());
            match next {
                Some(line) if self.chooses(line) => {
                    let line = self.lines.pop_front().unwrap_or_default();
                    self.choose(&line)?;
                }
                Some("a" | "A" | "d") if self.question.is_some() => {
                    let key = self.lines.pop_front().and_then(|it| it.trim().chars().next());
                    self.answer(key.unwrap_or('d'))?;
                }
                Some("/stop") => {
                    self.lines.pop_front();
                    self.stop()?;
                }
                Some(line) if self.pending.is_empty() || for_the_running_turn(line).is_some() => {
                    let line = self.lines.pop_front().unwrap_or_default();
                    self.say(&line)?;
                }
                None if self.is_at_end && self.question.is_some() => {
                    self.screen.print("Nobody is left to answer: denied.")?;
                    self.answer('d')?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Does what a line says. What goes wrong is shown, and the conversation goes on.
    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        if self.screen.is_terminal() && !line.trim().is_empty() {
            let prompt = self.screen.style().dim(&self.prompt());
            self.screen.print(&format!("{prompt}{}", terminal::plain(line)))?;
        }
        // A mistake in the settings keeps nobody from speaking: the services say it.
        let catalogue = place::catalogue(&self.state).unwrap_or_default();
        let done = match self.chooses(line) {
            true => self.choose(line),
            false => self.obey(words::parse(line, &catalogue)),
        };
        if let Err(err) = done {
            let text = self.screen.style().red(&format!("{err:#}"));
            self.screen.print(&text)?;
        }
        Ok(())
    }

    fn obey(&mut self, said: Typed) -> anyhow::Result<()> {
        match said {
            Typed::Nothing => {}
            Typed::Message(text) => {
                let mut message = client::message(&self.thread, &text);
                if let Some(words) = for_the_running_turn(&text) {
                    (message.message, message.steer) = (words.to_owned(), true);
                }
                self.send(message)?;
            }
            Typed::File { path, text } => {
                let mut message = client::message(&self.thread, &text);
                client::attach(&self.client, &mut message, Path::new(&path))?;
                self.send(message)?;
            }
            Typed::Order(command) => self.order(command)?,
            Typed::Stop => self.stop()?,
            Typed::Threads => {
                let text = threads::table(&self.state, self.screen.style())?;
                self.screen.print(&text)?;
            }
            Typed::Thread(which) => self.go_to(&which)?,
            Typed::New { name, repo } => {
                let threads = read_threads(&self.state)?;
                self.enter(words::new_id(&name, |it| threads.contains_key(it)))?;
                self.name = terminal::one_line(&name);
                self.order(Command::Open { name: Some(name), dir: None, repo })?;
            }
            Typed::Devbox(order) => {
                if let Some(thread) = devbox::thread_of(&order) {
                    self.enter(thread?)?;
                }
                self.order(Command::Devbox { order, admin: true })?;
            }
            Typed::SetNow { verb, usage } => {
                let now = read_threads(&self.state)?.remove(&self.thread);
                let now = now.and_then(|it| set_now(&it, verb));
                let now = now.map(|it| format!("{it}\n\n")).unwrap_or_default();
                self.screen.print(&format!("{now}{usage}"))?;
            }
            Typed::Cost => self.cost()?,
            Typed::Help => self.screen.print(&words::help())?,
            Typed::Leave => self.is_over = true,
            Typed::Wrong(says) => self.screen.print(&says)?,
        }
        Ok(())
    }

    fn order(&mut self, command: Command) -> anyhow::Result<()> {
        let message = client::order(&self.thread, command);
        self.send(message)
    }

    fn send(&mut self, message: Message) -> anyhow::Result<()> {
        let is_order = message.command.is_some();
        let thread = message.thread_id.clone();
        let key = client::send(&self.client, message)?;
        self.pending.push(Pending::new(key, thread, is_order));
        self.has_moved = true;
        Ok(())
    }

    /// Stops what runs here, whoever asked for it.
    fn stop(&mut self) -> anyhow::Result<()> {
        let own = self.pending.iter().find(|it| it.thread == self.thread && !it.is_order);
        self.order(Command::Stop { key: own.map(|it| it.key.clone()) })
    }

    /// Whether a line is an answer to an open question that takes words.
    fn chooses(&self, line: &str) -> bool {
        let is_open = self.question.as_ref().is_some_and(turns::Question::takes_words);
        is_open && !line.trim().is_empty() && !line.trim().starts_with('/')
    }

    /// Answers the open question by the numbers of its options, or in other words; a plan with what shall be different.
    fn choose(&mut self, line: &str) -> anyhow::Result<()> {
        let Some(mut question) = self.question.take() else { return Ok(()) };
        if question.shown.plan.is_some() {
            let key = line.trim().chars().next().filter(|_| matches!(line.trim(), "a" | "A" | "d"));
            let (request_id, shown) = (question.request_id.clone(), question.shown.digest.clone());
            return match key {
                Some(key) => {
                    self.question = Some(question);
                    self.answer(key)
                }
                None => {
                    self.screen.remark("Claude plans anew.")?;
                    let text = line.trim().to_owned();
                    self.order(Command::Change { request_id, text, shown })
                }
            };
        }
        if let Some(choice) = question.next_choice() {
            let chosen = words::chosen(choice, line);
            self.screen
                .remark(&format!("Chosen: {}", terminal::one_line(&choice.words(&chosen))))?;
            question.chosen.push(chosen);
        }
        if let Some(choice) = question.next_choice() {
            self.screen.print(&shown::choice_row(choice))?;
            self.question = Some(question);
            return Ok(());
        }
        let turns::Question { request_id, shown, chosen } = question;
        self.order(Command::Choose { request_id, answers: chosen, shown: shown.digest })
    }

    /// Answers the open question.
    fn answer(&mut self, key: char) -> anyhow::Result<()> {
        let Some(question) = self.question.take() else { return Ok(()) };
        let (answer, word) = match (key, &question.shown.always) {
            ('a' | 'A', _) if !question.shown.may_allow() => {
                self.question = Some(question);
                return Ok(self.screen.print("This cannot be allowed; d denies it.")?);
            }
            ('A', None) => {
                self.question = Some(question);
                return Ok(self
                    .screen
                    .print("This cannot be allowed for good; a allows it once.")?);
            }
            ('a', _) if question.shown.plan.is_some() => (PermissionAnswer::Allow, "Going on."),
            ('A', Some(_)) if question.shown.plan.is_some() => {
                (PermissionAnswer::Always, "Going on; files are changed without asking.")
            }
            ('a', _) => (PermissionAnswer::Allow, "Allowed."),
            ('A', Some(_)) => (PermissionAnswer::Always, "Allowed until this session ends."),
            _ => (PermissionAnswer::Deny, "Denied."),
        };
        self.screen.remark(word)?;
        // Whoever sits here owns the state folder and could change any setting.
        let (shown, admin) = (question.shown.digest, true);
        let request_id = question.request_id;
        self.order(Command::Permission { request_id, answer, shown, admin })
    }

    fn interrupt(&mut self) -> anyhow::Result<()> {
        let is_second = self.interrupted.is_some_and(|it| it.elapsed() < TWICE);
        let is_running = self.pending.iter().any(|it| it.thread == self.thread && !it.is_order);
        self.interrupted = Some(Instant::now());
        if is_second || (!is_running && !self.screen.is_terminal()) {
            self.is_over = true;
        } else if is_running {
            self.screen.remark("Stopping. Ctrl-C again leaves.")?;
            self.stop()?;
        } else {
            self.screen.remark("Ctrl-C again leaves.")?;
        }
        Ok(())
    }

    /// Goes to a thread by its id, or by its name as far as it is the only one.
    fn go_to(&mut self, which: &str) -> anyhow::Result<()> {
        let threads = read_threads(&self.state)?;
        let id = which.parse::<ThreadId>().ok();
        let named = || {
            let is_named = |name: &str| name.to_lowercase() == which.to_lowercase();
            let mut found = threads.iter().filter(|(_, it)| is_named(&it.name)).map(|(id, _)| id);
            found.next().filter(|_| found.next().is_none()).cloned()
        };
        let known = id.clone().filter(|it| threads.contains_key(it)).or_else(named);
        match (known, id) {
            (Some(id), _) => self.enter(id),
            (None, Some(id)) if id.number().is_some() || id.as_str().starts_with("cli") => {
                self.enter(id)?;
                self.screen.remark("This thread is new; its first message makes it.")?;
                Ok(())
            }
            _ => anyhow::bail!("there is no thread {which:?}; /threads lists them, /new makes one"),
        }
    }

    fn enter(&mut self, thread: ThreadId) -> anyhow::Result<()> {
        if self.streaming.take().is_some() {
            self.screen.end_stream()?;
        }
        self.question = None;
        self.thread = thread;
        self.learn_name();
        // A question that is open here is asked again: it was asked elsewhere, or has scrolled away.
        self.pending.iter_mut().filter(|it| it.thread == self.thread).for_each(Pending::ask_again);
        if self.screen.is_terminal() {
            for it in recent_history(&self.state, Some(&self.thread), HISTORY_SHOWN)? {
                let row = format!(
                    "{}: {}",
                    terminal::one_line(&it.sender),
                    terminal::one_line(&it.message)
                );
                self.screen.remark(&terminal::clip(&row, screen::columns()))?;
            }
        }
        Ok(())
    }

    fn learn_name(&mut self) {
        let threads = read_threads(&self.state).unwrap_or_default();
        let name = threads.get(&self.thread).map(|it| terminal::one_line(&it.name));
        self.name =
            name.filter(|it| !it.is_empty()).unwrap_or_else(|| match self.thread.number() {
                Some(1) => "General".to_owned(),
                Some(number) => format!("Thread {number}"),
                None => self.thread.to_string(),
            });
    }

    fn prompt(&self) -> String {
        format!("{} › ", terminal::clip(&self.name, 30))
    }

    fn cost(&mut self) -> anyhow::Result<()> {
        let zone = place::settings::<Office>(&self.state)?.timezone.clone();
        let mut costs = Costs::read(&self.state, zone.clone(), now_ms())?;
        let (office, here) = (costs.office(now_ms()), costs.thread(&self.thread, now_ms()));
        let there = costs.devboxes(now_ms());
        self.screen.print(&format!(
            "today: ${:.2} in {} here, ${:.2} in {} in all threads",
            here.usd,
            terminal::count(here.turns as usize, "answer"),
            office.usd,
            terminal::count(office.turns as usize, "answer"),
        ))?;
        if there.turns > 0 {
            self.screen.print(&format!(
                "devboxes, which pay themselves: ${:.2} in {}, by their own word",
                there.usd,
                terminal::count(there.turns as usize, "answer"),
            ))?;
        }
        if let Some(plan) = plan::sentence(&plan::read(&self.state)?, &zone, now_ms()) {
            self.screen.print(&plan)?;
        }
        Ok(())
    }
}

/// Stdin, read in a thread of its own: a read cannot be taken back.
fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stdin.read(&mut bytes) {
            if sender.blocking_send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
