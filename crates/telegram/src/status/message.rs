//! One status message over its life: sent once the turn takes a while, edited while it goes on, sent anew when it was
//! removed.
//!
//! Whoever shows waits for a permit, looks what is the case *then*, and sends that. A refusal ends nothing: a turn may
//! have a question, and the question must be seen.

use std::sync::Arc;
use std::time::Duration;

use teloxide::payloads::setters::*;
use teloxide::types::{MessageId, ReplyParameters};
use tinyclaw_service::now_ms;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bot::addresses::Address;
use crate::bot::client::{CallError, Refusal};
use crate::bot::rate_limit::Priority;
use crate::face::Face;
use crate::status::layout::{Look, Picture};
use crate::status::recover;
use crate::status::typing::Signs;
use crate::status::watcher::{
    Status, Subject, edit, forget_status, markup, read_status, write_status,
};
use crate::text::{self, Part};
use crate::topics::{Detour, detour};

/// A status in which nothing but the seconds changed is sent again after this.
const STILL_EVERY: Duration = Duration::from_secs(15);
/// Whether a crowd is gone is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// After a failure that may pass.
const PAUSE: Duration = Duration::from_secs(1);
/// What Telegram does not take it may take later; a new question is not kept waiting.
const REST: Duration = Duration::from_secs(30);

/// Shows one turn until it is told to stop.
pub(crate) async fn show(
    face: Arc<Face>,
    subject: Arc<Subject>,
    mut look: watch::Receiver<Option<Look>>,
) {
    let begun = Instant::now();
    let status = read_status(&face, &subject.key);
    let perhaps = status.as_ref().is_some_and(|it| it.message.is_none());
    let mut shown = Shown {
        ambiguous: perhaps,
        lost: perhaps,
        message: status.as_ref().and_then(|it| it.message),
        last: None,
        asked: status.as_ref().and_then(|it| it.asked.clone()),
        plainly: false,
        detoured: false,
        note: None,
    };
    let (thread, asked) = (subject.thread.clone(), subject.origin.clone());
    let signs = Signs::start(Arc::clone(&face), thread, asked, look.clone());
    // A status that is there already, or perhaps, has nothing to wait for. In a crowd most turns get none.
    if status.is_none() {
        tokio::select! {
            () = tokio::time::sleep_until(begun + face.timing.status_after) => {}
            () = ended(look.clone()) => return,
        }
        let chat = face.address_of(&subject.thread).map_or(0, |it| it.chat);
        if face.budget.is_crowded(chat) {
            let mut urgent = look.clone();
            let urgent = urgent.wait_for(|it| it.as_ref().is_none_or(|it| it.urgent().is_some()));
            tokio::select! {
                () = tokio::time::sleep_until(begun + face.timing.crowd_status_after) => {}
                _ = urgent => {}
            }
        }
    }
    loop {
        tokio::select! {
            () = face.client.line().up() => {}
            () = ended(look.clone()) => return,
        }
        if shown.find(&face, &subject).await.is_err() {
            // Sent anew it would stand there twice.
            let Some(now) = look.borrow_and_update().clone() else { return };
            if rest(&mut look, &now, PAUSE).await.is_none() {
                return;
            }
            continue;
        }
        let Some(permit) = permit(&face, &subject, &mut look, &shown).await else { return };
        let Some(address) = face.address_of(&subject.thread) else { return };
        let address = shown.place(address);
        let Some(now) = look.borrow_and_update().clone() else { return };
        let zone = face.settings.current().0.timezone.clone();
        let picture = now.picture(&subject.key, now_ms(), &zone);
        if let Some(picture) = picture.filter(|it| shown.last.as_ref() != Some(it)) {
            let sent = shown.say(&face, &subject, address, &now, &picture).await;
            drop(permit);
            if let Err(err) = sent {
                // What stands there is not what is the case, whether anything changes or not.
                let pause = shown.troubled(&face, &subject, address, &now, &err).await;
                if !pause.is_zero() && rest(&mut look, &now, pause).await.is_none() {
                    return;
                }
                continue;
            }
            shown.asked = now.urgent();
            shown.last = Some(picture);
        } else {
            drop(permit);
        }
        let still = shown.last.is_some();
        tokio::select! {
            changed = look.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(STILL_EVERY), if still => {}
        }
        if look.borrow().is_none() {
            break;
        }
    }
    drop(signs);
}

/// Waits before the next try, but no longer than until there is another question. `None` when there is nothing to say any
/// more.
async fn rest(look: &mut watch::Receiver<Option<Look>>, now: &Look, pause: Duration) -> Option<()> {
    let known = now.urgent();
    let news = look.wait_for(|it| {
        let urgent = it.as_ref().and_then(Look::urgent);
        it.is_none() || (urgent.is_some() && urgent != known)
    });
    let _ = tokio::time::timeout(pause, news).await;
    look.borrow().is_some().then_some(())
}

async fn ended(mut look: watch::Receiver<Option<Look>>) {
    let _ = look.wait_for(Option::is_none).await;
}

/// Waits for the right to send, with the urgency of what is to be said. `None` when there is nothing to say any more.
async fn permit(
    face: &Face,
    subject: &Subject,
    look: &mut watch::Receiver<Option<Look>>,
    shown: &Shown,
) -> Option<crate::bot::rate_limit::Permit> {
    loop {
        let now = look.borrow_and_update().clone()?;
        if now == Look::Settled {
            look.changed().await.ok()?;
            continue;
        }
        let address = face.address_of(&subject.thread)?;
        // In a crowd the reaction says that it waits, and its topic has the status of what runs there.
        if shown.message.is_none() && now.is_waiting() && face.budget.is_crowded(address.chat) {
            let changed = tokio::time::timeout(LOOK_AGAIN, look.changed()).await;
            changed.unwrap_or(Ok(())).ok()?;
            continue;
        }
        let urgent = now.urgent();
        let priority = if urgent.is_some() && urgent != shown.asked {
            Priority::Urgent
        } else if shown.message.is_none() {
            Priority::FirstStatus
        } else {
            Priority::Preview
        };
        tokio::select! {
            permit = face.budget.permit(address.chat, address.lane(), priority, 1) => return Some(permit),
            // The wait begins anew, with no loss: whose turn it is depends on who was served last.
            changed = look.changed() => changed.ok()?,
        }
    }
}

/// What stands in the chat.
struct Shown {
    message: Option<i64>,
    /// It may stand there twice, and nobody knows.
    ambiguous: bool,
    /// It may be there, and was not looked for.
    lost: bool,
    last: Option<Picture>,
    asked: Option<String>,
    /// Without markup: Telegram did not take it.
    plainly: bool,
    /// Its topic did not take it, and something was done about that once.
    detoured: bool,
    /// It goes to General, with these words before it.
    note: Option<String>,
}

impl Shown {
    /// Where it goes.
    fn place(&self, home: Address) -> Address {
        Address { topic: home.topic.filter(|_| self.note.is_none()), ..home }
    }

    fn html(&self, picture: &Picture) -> String {
        let html = picture.html.clone();
        let html = if self.plainly { text::escape(&text::plain(&Part { html })) } else { html };
        format!("{}{html}", self.note.as_deref().unwrap_or_default())
    }

    /// Makes the best of a failure; gives how long to wait before the next try.
    async fn troubled(
        &mut self,
        face: &Face,
        subject: &Subject,
        address: Address,
        now: &Look,
        err: &CallError,
    ) -> Duration {
        let Some(refusal) = err.refusal() else {
            match err {
                CallError::Flood { wait, .. } => face.budget.freeze(address.chat, *wait),
                CallError::Migrated { to, .. } => {
                    let _ = tokio::task::block_in_place(|| face.book.migrate(address.chat, *to));
                }
                _ => {
                    tracing::debug!("a status was not sent: {err}");
                    return PAUSE;
                }
            }
            return Duration::ZERO;
        };
        tracing::warn!(key = %subject.key, "no status for {}: {err}", subject.key);
        match refusal {
            Refusal::MessageGone | Refusal::NotOurs if self.message.is_some() => {
                self.forget(face, subject);
                Duration::ZERO
            }
            Refusal::Markup | Refusal::TooLong if !self.plainly => {
                face.vitals.count("markupRefusedTotal", 1);
                self.plainly = true;
                Duration::ZERO
            }
            // For a look at a turn nobody makes a topic that somebody removed; for a question yes.
            Refusal::TopicGone | Refusal::TopicClosed
                if now.question().is_some() && address.topic.is_some() && !self.detoured =>
            {
                match detour(face, &subject.thread, address, refusal).await {
                    Detour::Topic(there) => {
                        if there != address {
                            self.forget(face, subject);
                        }
                    }
                    Detour::General(_, note) => {
                        self.forget(face, subject);
                        self.note = Some(note);
                    }
                    Detour::Later => return PAUSE * 5,
                }
                self.detoured = true;
                Duration::ZERO
            }
            _ => REST,
        }
    }

    /// What stood in the chat is gone, or no longer where it is looked for.
    fn forget(&mut self, face: &Face, subject: &Subject) {
        (self.message, self.last) = (None, None);
        forget_status(face, &subject.key);
    }

    /// Looks for a message that was sent and whose id we do not know. Found, it is the status again.
    async fn find(&mut self, face: &Face, subject: &Subject) -> Result<(), CallError> {
        if !self.lost {
            return Ok(());
        }
        let Some(mut status) = read_status(face, &subject.key) else { return Ok(()) };
        let asked = subject.origin.as_ref().map(|it| it.message_id);
        let found = recover::find(face, &subject.key, &status, asked).await?;
        self.lost = false;
        if let Some(id) = found {
            status.message = Some(id);
            write_status(face, &subject.key, &status);
            (self.message, self.ambiguous) = (Some(id), false);
        }
        Ok(())
    }

    /// Sends it or edits what stands there. An edit makes no sound, and a question needs a person: it comes as a new
    /// message, in place of the old one.
    async fn say(
        &mut self,
        face: &Face,
        subject: &Subject,
        address: Address,
        now: &Look,
        picture: &Picture,
    ) -> Result<(), CallError> {
        let question = now.question();
        let rings = question.is_some() && question != self.asked;
        if let Some(message) = self.message.filter(|_| rings) {
            // First the old one: killed in between, whoever comes next finds that it is gone, and none stays behind.
            face.delete(address.chat, message).await?;
            self.message = None;
        }
        self.send(face, subject, address, question, rings, picture).await
    }

    async fn send(
        &mut self,
        face: &Face,
        subject: &Subject,
        address: Address,
        asked: Option<String>,
        rings: bool,
        picture: &Picture,
    ) -> Result<(), CallError> {
        let (keyboard, html) = (picture.keyboard.clone(), self.html(picture));
        if let Some(message) = self.message {
            return match edit(face, address, message, &html, keyboard).await {
                Err(err) if err.refusal() == Some(Refusal::NotModified) => Ok(()),
                other => other,
            };
        }
        let origin = subject.origin.as_ref().map_or(0, |it| it.message_id.into());
        let after = face.book.newest(address.chat).max(origin);
        let mut status = Status { address, intent: now_ms(), after, asked, message: None };
        write_status(face, &subject.key, &status);
        let html =
            if self.ambiguous { format!("{}\n{html}", crate::outbound::plan::MARK) } else { html };
        let is_silent = !rings || face.is_quiet();
        let mut payload = Face::new_text(address, &html).disable_notification(is_silent);
        let asked = match &subject.origin {
            Some(it) => it.is_in(address, &face.book).then_some(it.message_id),
            None if subject.is_from_thread => face.arrival(&subject.key),
            None => None,
        };
        if let Some(asked) = asked {
            let reply = ReplyParameters::new(MessageId(asked));
            payload = payload.reply_parameters(reply.allow_sending_without_reply());
        }
        match face.client.call_with(&payload, markup(keyboard)).await {
            Ok(sent) => {
                status.message = sent["message_id"].as_i64();
                self.message = status.message;
                self.ambiguous = false;
                face.book.saw(address.chat, status.message.unwrap_or_default());
                write_status(face, &subject.key, &status);
                Ok(())
            }
            Err(err) => {
                match &err {
                    CallError::Ambiguous { .. } => (self.ambiguous, self.lost) = (true, true),
                    _ if !self.ambiguous => forget_status(face, &subject.key),
                    _ => {}
                }
                Err(err)
            }
        }
    }
}
