//! One turn: decide the model, put the prompt together, ask Claude, show how it goes, and see how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{
    Checkpoint, Decision, FollowUp, Message, Model, Outcome, Progress, Reply, SessionId, Source,
    Thread, ThreadId, ThreadStatus, TurnState, Usage,
};
use tinyclaw_engine::{
    FinishedReply, SessionSpec, Turn, TurnEnd, TurnEvent, TurnFailure, TurnOutcome, TurnRequest,
};
use tinyclaw_queue::{Lease, LeaseError};
use tinyclaw_service::now_ms;

use crate::availability::budget;
use crate::availability::notices::PAUSE;
use crate::desks::capability;
use crate::desks::directories;
use crate::office::{Office, OpenQuestion, Running, Slot, lock, new_session, on_disk};
use crate::policy::failure::Verdict;
use crate::tools;
use crate::work::control;
use crate::work::handle::Decided;
use crate::work::job_log::TurnLog;
use crate::work::outbox::Outbox;
use crate::work::progress::{DETAIL_CHARS_MAX, Shown, detail};
use crate::work::prompt::{Circumstances, name, shortened, system_prompt};
use crate::work::resume::{self, Earlier, Resumed, Round, resume, used_tools};
use crate::work::summary;

/// A message is asked this often within one lease, with another session or another model each time.
const ROUNDS_MAX: u32 = 3;

/// What people are told below the first answer of a session that had to begin anew.
const SESSION_LOST: &str = "Claude's session of this thread was lost; a new one has begun, with the last messages in mind.";

/// How the work on a message ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Answered { reply: Box<Reply>, follow_ups: Vec<FollowUp> },
    Retry { after: Duration, tell: String },
    Wait(Duration),
    GiveUp(String),
    PutBack,
}

impl Ended {
    /// An answer of TinyClaw itself.
    pub(crate) fn notice(text: impl Into<String>) -> Ended {
        Ended::answered(notice(text))
    }

    fn answered(reply: Reply) -> Ended {
        Ended::Answered { reply: Box::new(reply), follow_ups: Vec::new() }
    }
}

/// A reply of TinyClaw itself.
pub(crate) fn notice(text: impl Into<String>) -> Reply {
    Reply { text: text.into(), outcome: Outcome::Notice, ..Reply::default() }
}

/// Answers a message, or says why not now.
pub(crate) async fn run(
    office: &Arc<Office>,
    lease: &mut Lease,
    slot: &mut Slot,
    log: &mut TurnLog,
) -> Result<Ended, LeaseError> {
    let message = lease.message().clone();
    let thread = match office.thread_or_new(&message.thread_id, message.topic_name.as_deref()) {
        Ok(thread) => thread,
        Err(err) => {
            tracing::error!("a thread cannot be opened: {err:#}");
            return Ok(Ended::Wait(Duration::from_secs(5)));
        }
    };
    if let Some(ended) = not_now(office, &message, &thread, lease.attempt()) {
        return Ok(ended);
    }
    if let Err(why) = on_disk(|| may_work(office, &thread)) {
        // This thread's trouble alone: the engine is as well as ever.
        let text =
            format!("This thread has no folder to work in: {why}. /dir PATH gives it another one.");
        return Ok(Ended::answered(Reply { outcome: Outcome::Failed, ..notice(text) }));
    }
    let _running = Registered::new(office, &message);
    if control::empty(office, &message).await || lock(&office.stopped).remove(&message.key) {
        return Ok(Ended::answered(Reply {
            text: "Stopped before it began. The session is kept.".to_owned(),
            outcome: Outcome::Stopped,
            ..Reply::default()
        }));
    }
    announce(office, &message, lease.attempt());
    let (at, began) = (now_ms(), Instant::now());
    let (decision, text) = office.decide(&message, thread.pin);
    log.decided(&decision);
    let job = Job {
        office,
        message: &message,
        thread,
        decided: Decided { decision, at, took: began.elapsed() },
        text,
        attempt: lease.attempt(),
    };
    job.answer(lease, slot, log).await
}

/// Whether the thread's folder may be granted to its Claude, or why not.
fn may_work(office: &Office, thread: &Thread) -> Result<(), String> {
    let cwd = Path::new(&thread.cwd);
    office.engine.check_cwd(cwd).map_err(|err| err.to_string())?;
    if directories::has_too_much(office, thread) {
        return Err(format!("{} holds the folders of all threads", cwd.display()));
    }
    Ok(())
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// A message from another thread is shown where it is answered, so that people see what the answer is to.
fn announce(office: &Arc<Office>, message: &Message, attempt: u32) {
    if message.source != Source::CrossThread || attempt > 1 {
        return;
    }
    let from =
        message.source_thread_id.as_ref().map_or_else(String::new, |it| format!(" (thread {it})"));
    let sender = name(&message.sender);
    let sender = if sender.is_empty() { "Another thread" } else { &sender };
    let text = format!("**{sender}**{from} writes:\n\n{}", message.message);
    office.say_of(&message.thread_id, message.key.arrival(), &text, Some(&message.key));
}

/// What keeps a message from being asked at all: a closed thread, an engine out of order, a spent budget.
fn not_now(
    office: &Arc<Office>,
    message: &Message,
    thread: &Thread,
    attempt: u32,
) -> Option<Ended> {
    let id = &message.thread_id;
    if thread.status == ThreadStatus::Closed {
        return Some(Ended::notice("This thread is closed. /reopen opens it again."));
    }
    if let Some(pause) = lock(&office.pause).clone() {
        let (_, waiting) = office.queue.waiting_in(id);
        let text = format!("{} {}", pause.sentence(office), who_wait(waiting + 1));
        office.say_once(id, PAUSE, &text);
        let mut progress = begun(message, attempt, None);
        progress.trouble = Some(text);
        let _ = office.progresses.write(&progress);
        let wait = pause.next_look.saturating_duration_since(Instant::now());
        return Some(Ended::Wait(wait.clamp(Duration::from_secs(1), Duration::from_secs(60))));
    }
    if message.source == Source::Heartbeat && office.over_budget(id).is_some() {
        let skipped = notice("Skipped: today's budget is spent.");
        return Some(Ended::answered(Reply { silent: true, ..skipped }));
    }
    let question = office.over_budget(id)?;
    office.remember_asked(id, &message.key);
    Some(Ended::answered(Reply { buttons: vec![budget::button()], ..notice(question) }))
}

fn who_wait(count: usize) -> String {
    match count {
        1 => "1 message waits and goes on by itself.".to_owned(),
        _ => format!("{count} messages wait and go on by themselves."),
    }
}

/// The first state of a turn.
fn begun(message: &Message, attempt: u32, decision: Option<&Decision>) -> Progress {
    let now = now_ms();
    Progress {
        key: message.key.clone(),
        thread_id: message.thread_id.clone(),
        attempt,
        state: TurnState::Starting,
        model: decision.map(|it| it.effective_model),
        tier: decision.map(|it| it.tier),
        started_at: now,
        updated_at: now,
        text: String::new(),
        tools: Vec::new(),
        asks: None,
        trouble: None,
    }
}

/// One message and what was decided about it.
struct Job<'a> {
    office: &'a Arc<Office>,
    message: &'a Message,
    thread: Thread,
    decided: Decided,
    /// The message without a model hint, when it had one.
    text: Option<String>,
    attempt: u32,
}

impl Job<'_> {
    async fn answer(
        self,
        lease: &mut Lease,
        slot: &mut Slot,
        log: &mut TurnLog,
    ) -> Result<Ended, LeaseError> {
        let mut model = self.decided.decision.effective_model;
        let mut lost_session = false;
        let mut round = Round::First;
        for _ in 0..ROUNDS_MAX {
            let (session, is_new) = match self.session(lost_session) {
                Ok(it) => it,
                Err(err) => {
                    tracing::error!(
                        "cannot keep the session of thread {}: {err}",
                        self.message.thread_id
                    );
                    return Ok(Ended::Wait(Duration::from_secs(5)));
                }
            };
            // Claude may have told us that it does not know the session, or there is nothing of it left on the disk.
            let is_lost = lost_session || (is_new && self.has_answered(&session));
            let cwd = PathBuf::from(&self.thread.cwd);
            let (uuid, earlier) = match resume(self.office, self.message, &cwd, &session, round) {
                Resumed::Finished(reply) => return Ok(self.found_in_transcript(reply)),
                Resumed::Ask { uuid, earlier } => (uuid, earlier),
            };
            // What Claude believes to have sent, it will not send again.
            let mut outbox = match earlier {
                Earlier::Remembered => Outbox::kept(self.message),
                Earlier::Nothing | Earlier::Forgotten => Outbox::default(),
            };
            let circumstances = self.circumstances(is_new, is_lost, earlier).await;
            let prompt = self.office.assemble(self.message, &circumstances);
            let may_read = tools::may_read(self.office, &self.thread);
            let words = system_prompt(&self.message.thread_id, &self.thread, may_read);
            // Before the checkpoint, which says that it was done: lines may stand twice, and none is missing.
            if self.message.checkpoint.is_none() && round == Round::First {
                self.office.log_asked(self.message, self.attempt, &self.decided);
            }
            let checkpoint = Checkpoint {
                session_id: session.clone(),
                turn_uuid: uuid.clone(),
                used_tools: used_tools(self.message),
                follow_ups: outbox.follow_ups.clone(),
                files: outbox.files.clone(),
            };
            on_disk(|| lease.checkpoint(checkpoint))?;
            let line = self.office.prompt_line(self.message, self.attempt, model, &words, &prompt);
            if let Err(err) = self.office.journal.prompt(&line) {
                tracing::error!("cannot write the prompt log: {err}");
            }
            capability::renew(self.office, &self.message.thread_id, &self.thread);
            let request = TurnRequest {
                session: SessionSpec {
                    thread: self.message.thread_id.clone(),
                    id: session.clone(),
                    cwd,
                    permission_mode: self.thread.permission_mode,
                    system_prompt: words,
                    tools: tools::specs(self.office, &self.thread),
                    model,
                },
                key: self.message.key.clone(),
                uuid,
                content: prompt.content,
            };
            let turn = self.office.engine.turn(request);
            let Some(end) = self.watch(turn, lease, slot, &mut outbox, log, model).await else {
                return Ok(Ended::PutBack);
            };
            match self.verdict(&end, model != self.decided.decision.effective_model) {
                None => return Ok(self.reply(&end, outbox, is_lost)),
                Some(Verdict::NewSession) => {
                    summary::order(self.office, &self.message.thread_id, &session);
                    (lost_session, round) = (true, Round::Again);
                }
                Some(Verdict::DefaultModel) => (model, round) = (Model::Sonnet, Round::Again),
                Some(Verdict::AskAnew) => round = Round::Swallowed,
                Some(other) => return Ok(self.ended(other, &end, outbox)),
            }
            self.office.log_spent(self.message, &end);
            log.again();
        }
        let text = "This message could not be answered: Claude lost its session again and again. It is kept; /retry tries again.";
        Ok(Ended::GiveUp(text.to_owned()))
    }

    /// The session to ask in, stored before anything is said in it, and whether it is new to Claude.
    fn session(&self, lost: bool) -> Result<(SessionId, bool), tinyclaw_ledger::ThreadsError> {
        let id = &self.message.thread_id;
        let known = self.office.thread(id).and_then(|it| it.session_id).filter(|_| !lost);
        let session = match known {
            Some(session) => session,
            None => {
                let session = new_session();
                self.office.change_thread(id, |it| it.session_id = Some(session.clone()))?;
                session
            }
        };
        let cwd = PathBuf::from(&self.thread.cwd);
        let is_new = !self.office.engine.knows(id, &cwd, &session);
        Ok((session, is_new))
    }

    /// Whether somebody was answered in this session.
    fn has_answered(&self, session: &SessionId) -> bool {
        let who = self.office.who(&self.message.thread_id);
        on_disk(|| self.office.memory.turns(who, session)).is_ok_and(|it| it > 0)
    }

    async fn circumstances(&self, is_new: bool, lost: bool, earlier: Earlier) -> Circumstances {
        let mut circumstances = Circumstances {
            is_new_session: is_new,
            text: self.text.clone(),
            ..Circumstances::default()
        };
        if is_new {
            circumstances.summary_missing =
                !summary::wait_for_last(self.office, &self.message.thread_id).await;
        }
        let lost = lost.then_some("The earlier session of this thread is gone; this is a new one.");
        let notes = [earlier.note().or(lost).map(str::to_owned), directories::moved(&self.thread)];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        circumstances.note = (!notes.is_empty()).then(|| notes.join(" "));
        circumstances
    }

    /// Follows a turn to its end, showing how it goes. `None`: we are leaving, and the turn with us.
    async fn watch(
        &self,
        mut turn: Turn,
        lease: &mut Lease,
        slot: &mut Slot,
        outbox: &mut Outbox,
        log: &mut TurnLog,
        model: Model,
    ) -> Option<TurnEnd> {
        let office = self.office;
        let id = &self.message.thread_id;
        let control = turn.control();
        office.change_running(id, |it| {
            if it.is_stopped {
                control.interrupt();
            }
            it.control = Some(control);
            it.ask = None;
        });
        let mut shown =
            Shown::new(office, begun(self.message, self.attempt, Some(&self.decided.decision)));
        shown.progress.model = Some(model);
        shown.write();
        let mut leave = office.leave.subscribe();
        let mut renewal = tokio::time::interval(capability::RENEW_EVERY);
        renewal.tick().await;
        let mut is_told = false;
        loop {
            let event = tokio::select! {
                event = turn.next() => event?,
                () = tokio::time::sleep_until(shown.due.into()), if shown.is_dirty => {
                    shown.write();
                    continue;
                }
                () = sleep_until(log.due()), if log.due().is_some() => {
                    log.flush();
                    continue;
                }
                _ = renewal.tick() => {
                    // A turn may outlast what it was given at its beginning.
                    on_disk(|| capability::renew(office, id, &self.thread));
                    continue;
                }
                _ = leave.wait_for(|it| *it) => return None,
            };
            if !is_told {
                is_told = true;
                office.note_status(id, ThreadStatus::Working);
            }
            shown.apply(&event);
            log.apply(&event);
            match event {
                TurnEvent::ToolStarted { .. } => on_disk(|| resume::note_tools(lease)),
                TurnEvent::Asking { .. } | TurnEvent::AskClosed { .. } => {
                    // Of several questions one is shown, and the next when it is answered.
                    let open = shown.progress.asks.as_ref().map(|it| OpenQuestion {
                        request_id: it.request_id.clone(),
                        question: Question::of(it),
                    });
                    let is_asking = open.is_some();
                    slot.lend(is_asking);
                    office.change_running(id, |it| it.ask = open);
                    let status =
                        if is_asking { ThreadStatus::Waiting } else { ThreadStatus::Working };
                    office.note_status(id, status);
                    shown.write();
                }
                TurnEvent::McpCall { tool, input, responder } => {
                    let answer = on_disk(|| {
                        let call =
                            tools::call(office, self.message, &self.thread, outbox, &tool, &input);
                        call.and_then(|it| outbox.keep(lease).map(|()| it))
                    });
                    responder.answer(answer);
                }
                TurnEvent::McpTrouble { server, status } => {
                    tracing::warn!(thread.id = %id, "the MCP server {server} of thread {id} is {status}");
                }
                TurnEvent::RateLimit(limit) if limit.status == "allowed_warning" => {
                    let used = limit
                        .utilization
                        .map_or(String::new(), |it| format!(" ({:.0} %)", it * 100.0));
                    tracing::warn!("the plan's limit is near{used}");
                }
                TurnEvent::Ended(mut end) => {
                    // Claude's last word on an overloaded API has no status; its retries had.
                    if let TurnOutcome::Failed(TurnFailure::Unavailable { status, .. }) =
                        &mut end.outcome
                    {
                        *status = status.or(shown.status);
                    }
                    outbox.tools = shown.spans();
                    return Some(*end);
                }
                _ => {}
            }
        }
    }

    fn verdict(&self, end: &TurnEnd, has_fallen_back: bool) -> Option<Verdict> {
        match &end.outcome {
            TurnOutcome::Answered | TurnOutcome::Interrupted => None,
            TurnOutcome::Failed(failure) => {
                tracing::warn!(
                    thread.id = %self.message.thread_id, key = %self.message.key, attempt = self.attempt,
                    "the turn of thread {} failed: {failure}", self.message.thread_id
                );
                Some(self.office.judge(&self.message.key, failure, self.attempt, has_fallen_back))
            }
        }
    }

    fn ended(&self, verdict: Verdict, end: &TurnEnd, outbox: Outbox) -> Ended {
        if !matches!(verdict, Verdict::Report { .. }) {
            self.office.log_spent(self.message, end);
        }
        // Shown until it is tried again.
        let show = |tell: &str| {
            let mut progress = begun(self.message, self.attempt, Some(&self.decided.decision));
            progress.trouble = Some(tell.to_owned());
            let _ = self.office.progresses.write(&progress);
        };
        match verdict {
            Verdict::Retry { after, tell } => {
                show(&tell);
                Ended::Retry { after, tell }
            }
            Verdict::Outlast { after, since, what, tell } => {
                show(&tell);
                self.office.note_outage(&self.message.thread_id, since, &what);
                Ended::Wait(after)
            }
            Verdict::Wait => Ended::Wait(Duration::from_secs(1)),
            Verdict::GiveUp(text) => Ended::GiveUp(text),
            Verdict::Report { text, buttons } => {
                let said = end.said.join("\n\n");
                let text = if said.is_empty() { text } else { format!("{said}\n\n{text}") };
                let outcome = Outcome::Failed;
                let Outbox { follow_ups, files, tools } = outbox;
                let reply = Reply { text, outcome, files, tools, buttons, ..self.reply_of(end) };
                self.close(&reply);
                Ended::Answered { reply: Box::new(reply), follow_ups }
            }
            Verdict::PutBack | Verdict::NewSession | Verdict::DefaultModel | Verdict::AskAnew => {
                Ended::PutBack
            }
        }
    }

    fn reply(&self, end: &TurnEnd, outbox: Outbox, is_lost: bool) -> Ended {
        if end.outcome == TurnOutcome::Answered {
            self.office.note_answered(&self.message.key);
        }
        let mut reply = Reply { files: outbox.files, tools: outbox.tools, ..self.reply_of(end) };
        if end.outcome == TurnOutcome::Interrupted {
            reply.outcome = Outcome::Stopped;
            let word = format!("Stopped after {} s. The session is kept.", end.duration.as_secs());
            reply.text =
                if reply.text.is_empty() { word } else { format!("{}\n\n*{word}*", reply.text) };
        }
        for denial in &end.denials {
            let detail = shortened(&detail(&denial.input), DETAIL_CHARS_MAX);
            reply.text.push_str(&format!(
                "\n\n*Not allowed: {} `{}`*",
                denial.tool,
                detail.replace('`', "'")
            ));
        }
        if reply.text.trim().is_empty() {
            reply.text = "Claude finished without a word.".to_owned();
        }
        for task in &end.running {
            let task = shortened(task, DETAIL_CHARS_MAX).replace('`', "'");
            reply.text.push_str(&format!("\n\n*Still running: `{task}`*"));
        }
        if is_lost {
            reply.text.push_str(&format!("\n\n*{SESSION_LOST}*"));
        }
        // A file is something to show, whatever is said with it.
        if self.message.source == Source::Heartbeat
            && reply.text.contains("[NO_UPDATES]")
            && reply.files.is_empty()
        {
            reply.silent = true;
        }
        self.close(&reply);
        Ended::Answered { reply: Box::new(reply), follow_ups: outbox.follow_ups }
    }

    fn reply_of(&self, end: &TurnEnd) -> Reply {
        let name = end.model.as_deref();
        Reply {
            text: end.said.join("\n\n"),
            outcome: Outcome::Answered,
            model: Some(
                name.and_then(Model::of_name).unwrap_or(self.decided.decision.effective_model),
            ),
            tier: Some(self.decided.decision.tier),
            usage: end.usage,
            context_tokens: end.context_tokens,
            cost_usd: end.cost_usd,
            duration_ms: end.duration.as_millis() as u64,
            ..Reply::default()
        }
    }

    fn found_in_transcript(&self, found: FinishedReply) -> Ended {
        let Outbox { follow_ups, files, .. } = Outbox::kept(self.message);
        tracing::info!(key = %self.message.key, "the answer to {} is in Claude's transcript already", self.message.key);
        let model = found.model.as_deref().and_then(Model::of_name);
        let reply = Reply {
            text: if found.said.is_empty() { found.text } else { found.said.join("\n\n") },
            model: Some(model.unwrap_or(self.decided.decision.effective_model)),
            tier: Some(self.decided.decision.tier),
            usage: Usage::default(),
            files,
            ..Reply::default()
        };
        self.close(&reply);
        Ended::Answered { reply: Box::new(reply), follow_ups }
    }

    /// The desk is free again.
    fn close(&self, reply: &Reply) {
        self.office.note_end(&self.message.thread_id, reply.model);
    }
}

/// A message on the list of running ones, from before its turn begins until it has ended, however that is.
struct Registered<'a> {
    office: &'a Arc<Office>,
    thread: ThreadId,
}

impl<'a> Registered<'a> {
    fn new(office: &'a Arc<Office>, message: &Message) -> Registered<'a> {
        let thread = message.thread_id.clone();
        let running = Running {
            key: message.key.clone(),
            control: None,
            began: Instant::now(),
            ask: None,
            is_stopped: false,
        };
        lock(&office.running).insert(thread.clone(), running);
        Registered { office, thread }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        lock(&self.office.running).remove(&self.thread);
        self.office.note_idle(&self.thread);
    }
}
