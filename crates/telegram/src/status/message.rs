//! One status message over its life: sent once the turn takes a while, edited while it goes on, sent anew when it was
//! removed.
//!
//! A task waits for a permit, sees how the turn is *then*, and sends that. A refusal ends nothing: a turn may
//! have a question, and the question must be seen.

use std::sync::Arc;
use std::time::Duration;

use teloxide::payloads::setters::*;
use teloxide::types::{MessageId, ReplyParameters};
use tinyclaw_domain::{Key, ThreadId};
use tinyclaw_queue::View;
use tinyclaw_service::now_ms;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bot::addresses::Address;
use crate::bot::client::{CallError, Refusal};
use crate::bot::rate_limit::{Permit, Priority};
use crate::bot::{Bot, markup};
use crate::origin::{Origin, arrival};
use crate::settings::Timing;
use crate::status::kept::{Status, StatusFiles};
use crate::status::layout::{self, Phase, Picture};
use crate::status::recover::Finder;
use crate::status::typing::Signs;
use crate::text::{self, MARK, Part};
use crate::topics::{Detour, Topics};

/// A status in which nothing but the seconds changed is sent again after this.
const STILL_EVERY: Duration = Duration::from_secs(15);
/// Whether a crowd is gone is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// After a failure that may pass.
const PAUSE: Duration = Duration::from_secs(1);
/// What Telegram does not take it may take later; a new question is not kept waiting.
const REST: Duration = Duration::from_secs(30);

/// Whose status it is.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) key: Key,
    pub(crate) thread: ThreadId,
    pub(crate) origin: Option<Origin>,
    /// Another thread asked.
    pub(crate) is_from_thread: bool,
    /// Why it has to be tried again.
    pub(crate) trouble: Option<String>,
}

/// Who shows turns. It has no lock: each turn has a task of its own.
pub(crate) struct Presenter {
    pub(crate) bot: Arc<Bot>,
    pub(crate) view: View,
    pub(crate) files: StatusFiles,
    pub(crate) finder: Arc<Finder>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) timing: Timing,
}

impl Presenter {
    /// Shows one turn until it is told to stop.
    pub(crate) async fn show(
        self: Arc<Self>,
        subject: Arc<Subject>,
        mut phase: watch::Receiver<Option<Phase>>,
    ) {
        let (begun, bot) = (Instant::now(), &self.bot);
        let status = self.files.read(&subject.key);
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
        let typing = self.timing.typing;
        let signs = Signs::start(Arc::clone(bot), thread, asked, typing, phase.clone());
        // A status that is there already, or perhaps, has nothing to wait for. In a crowd most turns get none.
        if status.is_none() {
            tokio::select! {
                () = tokio::time::sleep_until(begun + self.timing.status_after) => {}
                () = ended(phase.clone()) => return,
            }
            let chat = bot.address_of(&subject.thread).map_or(0, |it| it.chat);
            if bot.limit.is_crowded(chat) {
                let mut urgent = phase.clone();
                let urgent =
                    urgent.wait_for(|it| it.as_ref().is_none_or(|it| it.urgent().is_some()));
                tokio::select! {
                    () = tokio::time::sleep_until(begun + self.timing.crowd_status_after) => {}
                    _ = urgent => {}
                }
            }
        }
        loop {
            tokio::select! {
                () = bot.client.connection().up() => {}
                () = ended(phase.clone()) => return,
            }
            if shown.find(&self, &subject).await.is_err() {
                // Sent anew it would stand there twice.
                let Some(now) = phase.borrow_and_update().clone() else { return };
                if rest(&mut phase, &now, PAUSE).await.is_none() {
                    return;
                }
                continue;
            }
            let Some(permit) = self.permit(&subject, &mut phase, &shown).await else { return };
            let Some(address) = bot.address_of(&subject.thread) else { return };
            let address = shown.place(address);
            let Some(now) = phase.borrow_and_update().clone() else { return };
            let zone = bot.settings.current().0.timezone.clone();
            let picture = now.picture(&subject.key, now_ms(), &zone);
            if let Some(picture) = picture.filter(|it| shown.last.as_ref() != Some(it)) {
                let sent = shown.say(&self, &subject, address, &now, &picture).await;
                drop(permit);
                if let Err(err) = sent {
                    // What stands there is not what is the case, whether anything changes or not.
                    let pause = shown.troubled(&self, &subject, address, &now, &err).await;
                    if !pause.is_zero() && rest(&mut phase, &now, pause).await.is_none() {
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
                changed = phase.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(STILL_EVERY), if still => {}
            }
            if phase.borrow().is_none() {
                break;
            }
        }
        drop(signs);
    }

    /// Waits for the right to send, with the urgency of what is to be said. `None` when there is nothing to say any more.
    async fn permit(
        &self,
        subject: &Subject,
        phase: &mut watch::Receiver<Option<Phase>>,
        shown: &Shown,
    ) -> Option<Permit> {
        let bot = &self.bot;
        loop {
            let now = phase.borrow_and_update().clone()?;
            if now == Phase::Settled {
                phase.changed().await.ok()?;
                continue;
            }
            let address = bot.address_of(&subject.thread)?;
            // In a crowd the reaction says that it waits, and its topic has the status of what runs there.
            if shown.message.is_none() && now.is_waiting() && bot.limit.is_crowded(address.chat) {
                let changed = tokio::time::timeout(LOOK_AGAIN, phase.changed()).await;
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
                permit = bot.limit.permit(address.chat, address.lane(), priority, 1) => return Some(permit),
                // The wait begins anew, with no loss: whose turn it is depends on who was served last.
                changed = phase.changed() => changed.ok()?,
            }
        }
    }
}

/// Waits before the next try, but no longer than until there is another question. `None` when there is nothing to say any
/// more.
async fn rest(
    phase: &mut watch::Receiver<Option<Phase>>,
    now: &Phase,
    pause: Duration,
) -> Option<()> {
    let known = now.urgent();
    let news = phase.wait_for(|it| {
        let urgent = it.as_ref().and_then(Phase::urgent);
        it.is_none() || (urgent.is_some() && urgent != known)
    });
    let _ = tokio::time::timeout(pause, news).await;
    phase.borrow().is_some().then_some(())
}

async fn ended(mut phase: watch::Receiver<Option<Phase>>) {
    let _ = phase.wait_for(Option::is_none).await;
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
        presenter: &Presenter,
        subject: &Subject,
        address: Address,
        now: &Phase,
        err: &CallError,
    ) -> Duration {
        let Some(refusal) = err.refusal() else {
            match err {
                CallError::Flood { wait, .. } => presenter.bot.limit.freeze(address.chat, *wait),
                CallError::Migrated { to, .. } => {
                    let _ = tokio::task::block_in_place(|| {
                        presenter.bot.addresses.migrate(address.chat, *to)
                    });
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
                self.forget(presenter, subject);
                Duration::ZERO
            }
            Refusal::Markup | Refusal::TooLong if !self.plainly => {
                presenter.bot.vitals.count("markupRefusedTotal", 1);
                self.plainly = true;
                Duration::ZERO
            }
            // A status is no reason to make a topic anew that somebody removed; a question is one.
            Refusal::TopicGone | Refusal::TopicClosed
                if now.question().is_some() && address.topic.is_some() && !self.detoured =>
            {
                match presenter.topics.detour(&subject.thread, address, refusal).await {
                    Detour::Topic(there) => {
                        if there != address {
                            self.forget(presenter, subject);
                        }
                    }
                    Detour::General(_, note) => {
                        self.forget(presenter, subject);
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
    fn forget(&mut self, presenter: &Presenter, subject: &Subject) {
        (self.message, self.last) = (None, None);
        presenter.files.forget(&subject.key);
    }

    /// Looks for a message that was sent and whose id we do not know. Found, it is the status again.
    async fn find(&mut self, presenter: &Presenter, subject: &Subject) -> Result<(), CallError> {
        if !self.lost {
            return Ok(());
        }
        let Some(mut status) = presenter.files.read(&subject.key) else { return Ok(()) };
        let asked = subject.origin.as_ref().map(|it| it.message_id);
        let found = presenter.finder.find(&subject.key, &status, asked).await?;
        self.lost = false;
        if let Some(id) = found {
            status.message = Some(id);
            presenter.files.write(&subject.key, &status);
            (self.message, self.ambiguous) = (Some(id), false);
        }
        Ok(())
    }

    /// Sends it or edits what stands there. An edit makes no sound, and a question needs a person: it comes as a new
    /// message, in place of the old one.
    async fn say(
        &mut self,
        presenter: &Presenter,
        subject: &Subject,
        address: Address,
        now: &Phase,
        picture: &Picture,
    ) -> Result<(), CallError> {
        let question = now.question();
        // What was chosen in it so far makes no other question of it.
        let asked = self.asked.as_deref().unwrap_or_default();
        let rings = question.as_ref().is_some_and(|it| !asked.starts_with(it.as_str()));
        if let Some(message) = self.message.filter(|_| rings) {
            // First the old one: killed in between, whoever comes next finds that it is gone, and none stays behind.
            presenter.bot.delete(address.chat, message).await?;
            self.message = None;
        }
        self.send(presenter, subject, address, question, rings, picture).await
    }

    async fn send(
        &mut self,
        presenter: &Presenter,
        subject: &Subject,
        address: Address,
        asked: Option<String>,
        rings: bool,
        picture: &Picture,
    ) -> Result<(), CallError> {
        let (keyboard, html) = (picture.keyboard.clone(), self.html(picture));
        if let Some(message) = self.message {
            return match presenter.bot.edit(address, message, &html, keyboard).await {
                Err(err) if err.refusal() == Some(Refusal::NotModified) => Ok(()),
                other => other,
            };
        }
        let origin = subject.origin.as_ref().map_or(0, |it| it.message_id.into());
        let after = presenter.bot.addresses.newest(address.chat).max(origin);
        let steers = picture.keyboard.as_ref() == Some(&layout::steer(&subject.key));
        let mut status = Status { address, intent: now_ms(), after, asked, steers, message: None };
        presenter.files.write(&subject.key, &status);
        let html = if self.ambiguous { format!("{}\n{html}", MARK) } else { html };
        let is_silent = !rings || presenter.bot.settings.is_quiet();
        let mut payload = Bot::new_text(address, &html).disable_notification(is_silent);
        let asked = match &subject.origin {
            Some(it) => it.is_in(address, &presenter.bot.addresses).then_some(it.message_id),
            None if subject.is_from_thread => arrival(&presenter.view, &subject.key),
            None => None,
        };
        if let Some(asked) = asked {
            let reply = ReplyParameters::new(MessageId(asked));
            payload = payload.reply_parameters(reply.allow_sending_without_reply());
        }
        match presenter.bot.client.call_with(&payload, markup(keyboard)).await {
            Ok(sent) => {
                status.message = sent["message_id"].as_i64();
                self.message = status.message;
                self.ambiguous = false;
                presenter.bot.addresses.saw(address.chat, status.message.unwrap_or_default());
                presenter.files.write(&subject.key, &status);
                Ok(())
            }
            Err(err) => {
                match &err {
                    CallError::Ambiguous { .. } => (self.ambiguous, self.lost) = (true, true),
                    _ if !self.ambiguous => presenter.files.forget(&subject.key),
                    _ => {}
                }
                Err(err)
            }
        }
    }
}
