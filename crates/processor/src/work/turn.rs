//! One turn: decide the model, put the prompt together, ask Claude, and see how it ends.

use std::time::{Duration, Instant};

use tinyclaw_domain::{
    Checkpoint, Decision, Key, Message, Model, Outcome, OutcomeLine, Place, Reply, Source, Thread,
    ThreadId, ThreadStatus,
};
use tinyclaw_engine::{Desk, SessionSpec, TurnFailure, TurnOutcome, TurnRequest};
use tinyclaw_queue::{Lease, LeaseError};
use tinyclaw_service::now_ms;

use crate::availability::budget;
use crate::availability::notices::notice;
use crate::availability::pause::HELD_LOOK;
use crate::blocking::on_disk;
use crate::desks::{capability, directories, may_read_others, trust};
use crate::history::Decided;
use crate::history::turn_log::TurnLog;
use crate::policy::failure::{Again, Remedy, Unanswered};
use crate::text::name;
use crate::tools::outbox::Outbox;
use crate::work::ended::Ended;
use crate::work::progress::begun;
use crate::work::prompt::{Circumstances, system_prompt};
use crate::work::raising::Raising;
use crate::work::reply;
use crate::work::resume::{Earlier, Resumed, Round, resume, used_tools};
use crate::work::routing::Routed;
use crate::work::slots::Slot;
use crate::work::steering::{self, Steering};
use crate::work::watch::{Hands, watch};
use crate::work::worker::Worker;

/// A message is asked this often within one claim, with another session or another model each time.
const ROUNDS_MAX: u32 = 3;
/// What cannot be kept now is tried again; the disk may be full for a while.
const WRITE_AGAIN: Duration = Duration::from_secs(5);
/// A message whose folder is in use looks so often whether it still is.
const DIRECTORY_LOOK: Duration = Duration::from_millis(500);
/// While no turn can run, a message looks so often whether one can.
const PAUSE_LOOK_LEAST: Duration = Duration::from_secs(1);
const PAUSE_LOOK_MOST: Duration = Duration::from_secs(60);

/// Answers a message, or says why not now.
pub(crate) async fn run(
    worker: &Worker,
    lease: &mut Lease,
    slot: &mut Slot,
    log: &mut TurnLog,
) -> Result<Ended, LeaseError> {
    let message = lease.message();
    let opened = worker.desks.get_or_open(&message.thread_id, message.topic_name.as_deref()).await;
    let thread = match opened {
        Ok(thread) => thread,
        Err(err) => {
            tracing::error!("a thread cannot be opened: {err:#}");
            let mut progress = begun(message, lease.attempt(), None);
            progress.trouble = Some(format!(
                "This thread cannot be opened: {err:#}. The message waits, and is tried again until it can be."
            ));
            let _ = worker.progresses.write(&progress);
            return Ok(Unanswered::Wait(WRITE_AGAIN).into());
        }
    };
    let desk = Desk::of(&message.thread_id, &thread);
    if !desk.place.is_here() {
        // It is another machine's to say how much it can do.
        slot.give_back();
    }
    match steering::is_taken(worker, message, &desk).await {
        // The answer of the turn that took it is the answer to both.
        Ok(true) => {
            return Ok(Ended::answered(Reply {
                silent: true,
                ..notice("Handed to the running turn.")
            }));
        }
        Ok(false) => {}
        Err(err) => return Ok(Unanswered::Unreached(err).into()),
    }
    if let Some(ended) = not_now(worker, message, &thread, &desk.place, lease.attempt()) {
        return Ok(ended);
    }
    let not_granted = match directories::not_granted(&worker.desks, &desk, &thread).await {
        Ok(why) => why,
        Err(err) => return Ok(Unanswered::Unreached(err).into()),
    };
    worker.availability.note_reached(&desk.place).await;
    if let Some(why) = not_granted {
        // This thread's trouble alone: the engine is as well as ever.
        let text =
            format!("This thread has no folder to work in: {why}. /dir PATH gives it another one.");
        return Ok(Ended::answered(Reply { outcome: Outcome::Failed, ..notice(text) }));
    }
    let Some(_alone) = worker.turns.take_directory(&desk) else {
        let mut progress = begun(message, lease.attempt(), None);
        progress.trouble = Some(format!(
            "Another thread works in {} just now; the message waits until that turn is over.",
            desk.dir.display()
        ));
        let _ = worker.progresses.write(&progress);
        return Ok(Unanswered::Wait(DIRECTORY_LOOK).into());
    };
    let _registered = worker.turns.register(message);
    if worker.control.empty(message) {
        return Ok(Ended::answered(Reply {
            text: "Stopped before it began. The session is kept.".to_owned(),
            outcome: Outcome::Stopped,
            ..Reply::default()
        }));
    }
    announce(worker, message, lease.attempt());
    let (at, began) = (now_ms(), Instant::now());
    let Routed { decision, text, outcome } = worker.routing.decide(message, thread.pin);
    log.decided(&decision);
    let job = Job {
        worker,
        key: message.key.clone(),
        id: message.thread_id.clone(),
        desk,
        thread,
        decided: Decided { decision, at, took: began.elapsed() },
        text,
        outcome,
        attempt: lease.attempt(),
    };
    job.answer(lease, slot, log).await
}

/// What keeps a message from being asked at all: a closed thread, an engine out of order, a spent budget.
fn not_now(
    worker: &Worker,
    message: &Message,
    thread: &Thread,
    place: &Place,
    attempt: u32,
) -> Option<Ended> {
    let id = &message.thread_id;
    if thread.status == ThreadStatus::Closed {
        return Some(Ended::notice("This thread is closed. /reopen opens it again."));
    }
    if let Some(text) = worker.availability.held(place) {
        let mut progress = begun(message, attempt, None);
        progress.trouble = Some(worker.availability.tell_held(place, id, &text));
        let _ = worker.progresses.write(&progress);
        return Some(Unanswered::Wait(HELD_LOOK).into());
    }
    if let Some(text) = worker.availability.taken(id) {
        let mut progress = begun(message, attempt, None);
        progress.trouble = Some(text);
        let _ = worker.progresses.write(&progress);
        return Some(Unanswered::Wait(HELD_LOOK).into());
    }
    if let Some(paused) = worker.availability.paused(place) {
        let (_, waiting) = worker.queue.waiting_in(id);
        let sentence = worker.availability.sentence(&paused.pause);
        let text = format!("{sentence} {}", who_wait(waiting + 1));
        worker.availability.tell_of_pause(place, id, &text);
        let mut progress = begun(message, attempt, None);
        progress.trouble = Some(text);
        let _ = worker.progresses.write(&progress);
        let wait = paused.next_look.saturating_duration_since(Instant::now());
        return Some(Unanswered::Wait(wait.clamp(PAUSE_LOOK_LEAST, PAUSE_LOOK_MOST)).into());
    }
    if let Some(refusal) = worker.budgets.refusal_of_env(id) {
        return Some(Ended::notice(refusal));
    }
    let question = worker.budgets.question(id)?;
    if message.source == Source::Heartbeat {
        let skipped = notice("Skipped: today's budget is spent.");
        return Some(Ended::answered(Reply { silent: true, ..skipped }));
    }
    worker.budgets.remember_asked(id, &message.key);
    Some(Ended::answered(Reply { buttons: vec![budget::button()], ..notice(question) }))
}

fn who_wait(count: usize) -> String {
    match count {
        1 => "1 message waits and goes on by itself.".to_owned(),
        _ => format!("{count} messages wait and go on by themselves."),
    }
}

/// A message from another thread, or of a program, is shown where it is answered, so that people see what the answer is to.
fn announce(worker: &Worker, message: &Message, attempt: u32) {
    let (from, nobody) = match message.source {
        Source::CrossThread => {
            let from = message.source_thread_id.as_ref();
            (from.map_or_else(String::new, |it| format!(" (thread {it})")), "Another thread")
        }
        Source::Api => (" (over the API)".to_owned(), "A program"),
        _ => return,
    };
    if attempt > 1 {
        return;
    }
    let sender = name(&message.sender);
    let sender = if sender.is_empty() { nobody } else { &sender };
    let text = format!("**{sender}**{from} writes:\n\n{}", message.message);
    worker.notices.say_of(&message.thread_id, message.key.arrival(), &text, Some(&message.key));
}

/// One message and what was decided about it. The message itself is the lease's, which changes while it is worked on.
struct Job<'a> {
    worker: &'a Worker,
    key: Key,
    id: ThreadId,
    /// Where the thread's Claude works.
    desk: Desk,
    thread: Thread,
    decided: Decided,
    /// The message without a model hint, when it had one.
    text: Option<String>,
    /// What the message says about an answer before it.
    outcome: Option<OutcomeLine>,
    attempt: u32,
}

impl Job<'_> {
    async fn answer(
        self,
        lease: &mut Lease,
        slot: &mut Slot,
        log: &mut TurnLog,
    ) -> Result<Ended, LeaseError> {
        let Job { worker, id, .. } = &self;
        let mut model = self.decided.decision.effective_model;
        let effort = self.decided.decision.effort.map(|it| it.level);
        let effort = effort.unwrap_or_else(|| worker.routing.efforts().medium);
        // Asked when the chosen model is not there.
        let default_model = worker.routing.tiers(&self.thread).medium;
        let mut lost_session = false;
        let mut attempt = self.attempt;
        let mut round = Round::First;
        for _ in 0..ROUNDS_MAX {
            let session = match worker.desks.session(id, lost_session) {
                Ok(it) => it,
                Err(err) => {
                    tracing::error!("cannot keep the session of thread {id}: {err}");
                    return Ok(Unanswered::Wait(WRITE_AGAIN).into());
                }
            };
            let is_new = match worker.engine.knows(&self.desk, &session).await {
                Ok(is_known) => !is_known,
                Err(err) => return Ok(Unanswered::Unreached(err).into()),
            };
            // Claude may have told us that it does not know the session, or there is nothing of it left on the disk.
            let is_lost = lost_session || (is_new && worker.sessions.has_answered(id, &session));
            let message = lease.message();
            let resumed = resume(&worker.engine, message, &self.desk, &session, round).await;
            let (uuid, earlier) = match resumed {
                Err(err) => return Ok(Unanswered::Unreached(err).into()),
                Ok(Resumed::Finished(found)) => {
                    tracing::info!(key = %self.key, "the answer to {} is in Claude's transcript already", self.key);
                    let mut outbox = Outbox::kept(message);
                    let who = self.answered_by(model, found.model.as_deref());
                    let reply = reply::of_transcript(who, found, &mut outbox);
                    return Ok(self.answered(reply, outbox));
                }
                Ok(Resumed::Ask { uuid, earlier }) => (uuid, earlier),
            };
            // What Claude believes to have sent, it will not send again.
            let mut outbox = match earlier {
                Earlier::Running | Earlier::Remembered => Outbox::kept(message),
                Earlier::Nothing | Earlier::Forgotten => Outbox::default(),
            };
            let goes_on = earlier == Earlier::Running;
            if goes_on {
                on_disk(|| lease.goes_on())?;
                attempt = lease.attempt();
                log.goes_on(&worker.state, lease.message(), attempt);
            }
            if !goes_on && let Err(err) = steering::settle(worker, &self.desk, &session).await {
                return Ok(Unanswered::Unreached(err).into());
            }
            let message = lease.message();
            let mut circumstances = self.circumstances(is_new, is_lost, earlier).await;
            circumstances.files = match worker.prompts.bring_files(&self.desk, message).await {
                Ok(files) => files,
                Err(err) => return Ok(Unanswered::Unreached(err).into()),
            };
            let prompt = worker.prompts.assemble(message, &circumstances);
            let may_read = may_read_others(&worker.settings.current(), &self.thread);
            let words = system_prompt(id, &self.thread, may_read);
            // Before the checkpoint, which says that it was done: lines may stand twice, and none is missing.
            if message.checkpoint.is_none() {
                worker.history.asked(message, attempt, &self.decided);
                if let Some(outcome) = &self.outcome {
                    worker.history.outcome(outcome);
                }
            }
            let line = prompt.line(message, attempt, model, &words);
            let checkpoint = Checkpoint {
                session_id: session.clone(),
                turn_uuid: uuid.clone(),
                used_tools: used_tools(message),
                follow_ups: outbox.follow_ups.clone(),
                files: outbox.files.clone(),
                calls: outbox.calls.clone(),
            };
            on_disk(|| lease.checkpoint(checkpoint))?;
            if !goes_on {
                worker.history.prompt(&line);
            }
            capability::renew(&worker.desks, id, &self.thread);
            capability::bring(&worker.desks, &self.desk).await;
            let given = on_disk(|| worker.servers.given(&self.thread));
            let turn = worker.engine.turn(TurnRequest {
                session: SessionSpec {
                    thread: id.clone(),
                    id: session.clone(),
                    place: self.desk.place.clone(),
                    cwd: self.desk.dir.clone(),
                    permission_mode: self.thread.permission_mode,
                    system_prompt: words,
                    tools: worker.tools.specs(&self.thread),
                    servers: given.servers,
                    model,
                    effort,
                    skills: on_disk(|| worker.skills.given(&self.thread)),
                    trust: trust(&worker.settings.current(), &self.thread),
                    is_attended: true,
                },
                key: self.key.clone(),
                uuid,
                content: prompt.content,
            });
            let mut progress = begun(lease.message(), attempt, Some(&self.decided.decision));
            progress.model = Some(model);
            progress.devbox = match &self.desk.place {
                Place::Devbox(name) => Some(name.clone()),
                Place::Here | Place::Env(_) => None,
            };
            progress.mcp_trouble = given.left_out;
            let may_raise = worker.settings.current().engine.escalate;
            let to = worker.routing.raised(&self.decided.decision, &self.thread);
            let raising = Raising::of(&self.decided, model, attempt, to.filter(|_| may_raise));
            let steering = Steering::of(lease.message(), session.clone(), turn.control());
            let hands = Hands { lease, slot, outbox: &mut outbox, log, raising, steering };
            let Some(end) = watch(worker, &self.thread, turn, progress, hands).await else {
                return Ok(Unanswered::PutBack.into());
            };
            if !matches!(end.outcome, TurnOutcome::Failed(TurnFailure::Taken(_))) {
                worker.availability.note_granted(id);
            }
            let TurnOutcome::Failed(failure) = &end.outcome else {
                if end.outcome == TurnOutcome::Answered {
                    worker.availability.note_answered(&self.desk.place, &self.key);
                }
                let who = self.answered_by(model, end.model.as_deref());
                let reply = reply::of_turn(lease.message(), who, &end, &mut outbox, is_lost);
                return Ok(self.answered(reply, outbox));
            };
            tracing::warn!(
                thread.id = %id, key = %self.key, attempt,
                "the turn of thread {id} failed: {failure}"
            );
            let is_default = model == default_model;
            let (_, asked) = self.answered_by(model, end.model.as_deref());
            match worker.remedy(&self.desk.place, &self.key, failure, attempt, is_default) {
                Remedy::AskAgain(again) => {
                    round = Round::Again;
                    match again {
                        Again::NewSession => {
                            worker.sessions.order_summary(id, &session);
                            steering::forget(worker, id, &session);
                            lost_session = true;
                        }
                        Again::DefaultModel => model = default_model,
                        Again::FreshUuid => round = Round::Swallowed,
                    }
                    worker.history.spent(lease.message(), &end, asked);
                    log.again();
                }
                Remedy::Tell { text, buttons } => {
                    let who = self.answered_by(model, end.model.as_deref());
                    let reply = reply::of_failure(who, &end, &mut outbox, text);
                    return Ok(self.answered(Reply { buttons, ..reply }, outbox));
                }
                Remedy::Leave(unanswered) => {
                    worker.history.spent(lease.message(), &end, asked);
                    self.show_trouble(lease.message(), &unanswered);
                    return Ok(unanswered.into());
                }
            }
        }
        let text = "This message could not be answered: Claude lost its session again and again. It is kept; /retry tries again.";
        Ok(Unanswered::GiveUp(text.to_owned()).into())
    }

    /// What was decided, and which model answered.
    fn answered_by(&self, asked: Model, told: Option<&str>) -> (&Decision, Model) {
        (&self.decided.decision, self.worker.routing.answered_by(asked, told))
    }

    /// Shown until it is tried again.
    fn show_trouble(&self, message: &Message, unanswered: &Unanswered) {
        if let Unanswered::Retry { tell, .. } | Unanswered::Outlast { tell, .. } = unanswered {
            let mut progress = begun(message, self.attempt, Some(&self.decided.decision));
            progress.trouble = Some(tell.clone());
            let _ = self.worker.progresses.write(&progress);
        }
    }

    async fn circumstances(&self, is_new: bool, is_lost: bool, earlier: Earlier) -> Circumstances {
        let mut circumstances = Circumstances {
            is_new_session: is_new,
            text: self.text.clone(),
            ..Circumstances::default()
        };
        if is_new {
            circumstances.summary_missing = !self.worker.sessions.wait_for_summary(&self.id).await;
        }
        let lost =
            is_lost.then_some("The earlier session of this thread is gone; this is a new one.");
        let notes = [earlier.note().or(lost).map(str::to_owned), directories::moved(&self.thread)];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        circumstances.note = (!notes.is_empty()).then(|| notes.join(" "));
        circumstances
    }

    fn answered(&self, reply: Reply, outbox: Outbox) -> Ended {
        self.worker.turns.answered(&self.id, reply.model);
        Ended::Answered { reply: Box::new(reply), follow_ups: outbox.follow_ups }
    }
}
