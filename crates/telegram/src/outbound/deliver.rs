//! One answer to Telegram: each part noted before it is sent and after, nothing sent twice
//! without a mark, nothing given up without a word.
//!
//! What never left is sent again, and so is what Telegram refused for haste; an edit is sent again because it cannot
//! happen twice. A message that may or may not be there is sent again with [`text::MARK`] and counted. An outage is no answer's
//! fault: it is waited out, however long it takes. What Telegram will never take is buried with its reason, and the topic
//! is told; so is an answer that gets no reply again and again while others do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use teloxide::types::{MessageId, ReplyParameters};
use tinyclaw_domain::{ARRIVAL_OF, Command, Key, Lane, Message, Model, Outcome, Source, ThreadId};
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{DEATHS_MAX, Lease, LeaseError, LookError, Place, Seen, View};
use tinyclaw_service::{Vitals, now_ms};

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::bot::client::{CallError, Refusal};
use crate::bot::rate_limit::Priority;
use crate::origin::{Origin, arrival};
use crate::outbound::plan::{Piece, plan};
use crate::outbound::send::Sending;
use crate::outbound::topic_change;
use crate::publish::{Notice, Publisher};
use crate::settings::Timing;
use crate::status::cleanup::{Cleanup, Ending};
use crate::status::kept::Status;
use crate::status::layout;
use crate::status::long_question::LongQuestions;
use crate::text;
use crate::topics::{Detour, Topics};

/// After so many sends without a reply, between which others had one, a part is sent without its markup,
const DOUBTS_PLAIN: u32 = 4;
/// and after so many the answer is given up: the fault is its own.
const DOUBTS_MAX: u32 = 8;
/// What people are told then.
const BROKE_OFF: &str = "Telegram broke off. `/retry` sends it again.";

/// Of a thread's last messages so many are read to find its newest answer; most have one.
const ANSWERS_LOOKED_AT: usize = 16;

/// What could not be kept is tried again after this.
const NOT_KEPT: Duration = Duration::from_secs(5);

/// Why a delivery ended without the answer being there.
pub(super) enum Stop {
    /// It is tried again after a while, free of charge.
    Later(Duration),
    /// Somebody else has it now and carries it on; nothing more of it is sent from here.
    Lost,
    /// It can never be delivered, and these words tell people.
    Never { why: String, told: String },
}

impl Stop {
    pub(super) fn never(why: impl Into<String>) -> Stop {
        let why = why.into();
        let short = text::shortened(&why, 300);
        let told =
            format!("An answer could not be delivered: {short}. It is kept; `/retry` tries again.");
        Stop::Never { why, told }
    }
}

/// What failed for want of an answer is tried again after this. In an outage the next try waits for its end besides; this
/// alone is for a Telegram that answers everybody else, and each further try may be there once more.
fn pause(unit: Duration, tries: u32) -> Duration {
    let units = match tries {
        0..=1 => 1,
        2 => 2,
        3..=10 => 4,
        _ => (4 << (tries - 10).min(4)).min(60),
    };
    unit * units
}

/// Who brings answers to Telegram. Its lock is held for a look or a change, with no other lock.
pub(crate) struct Deliverer {
    pub(crate) bot: Arc<Bot>,
    pub(crate) view: View,
    pub(crate) state: StateDir,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) cleanup: Arc<Cleanup>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) questions: LongQuestions,
    pub(crate) timing: Timing,
    pub(crate) vitals: Vitals,
    /// The newest message that is an answer, in each place where this process gave one or looked for one. 0 where there is
    /// none.
    pub(crate) newest: Mutex<HashMap<Address, i64>>,
}

impl Deliverer {
    fn newest(&self) -> MutexGuard<'_, HashMap<Address, i64>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer stands there.
    fn answered(&self, address: Address, id: i64) {
        self.newest().entry(address).and_modify(|it| *it = id.max(*it)).or_insert(id);
    }

    /// The newest answer to a thread in a place. What earlier processes gave stands in the queue, and is looked for once.
    fn newest_answer(&self, address: Address, thread: &ThreadId) -> Result<i64, LookError> {
        if let Some(known) = self.newest().get(&address) {
            return Ok(*known);
        }
        let mut newest = 0;
        for lane in [Lane::Thread(thread.clone()), Lane::Control(thread.clone())] {
            let is_shown =
                |it: &Message| it.delivery.iter().any(|it| it.telegram_message_id.is_some());
            let last = tokio::task::block_in_place(|| {
                self.view.last_of(Place::Done, &lane, ANSWERS_LOOKED_AT, is_shown)
            })?;
            let ids = last.into_iter().flat_map(|it| it.delivery);
            newest = ids.filter_map(|it| it.telegram_message_id).fold(newest, i64::max);
        }
        self.answered(address, newest);
        Ok(newest)
    }

    /// Nothing is sent into an outage: it would only be there twice.
    pub(super) async fn connection_is_up(&self) {
        let connection = self.bot.client.connection();
        if connection.is_down() {
            self.vitals.count("unsentTotal", 1);
            connection.up().await;
        }
    }
}

/// One answer on its way.
pub(super) struct Delivery<'a> {
    pub(super) deliverer: &'a Deliverer,
    pub(super) lease: Lease,
    pub(super) message: Message,
    pub(super) status: Option<Status>,
    /// There may be a status that could not be found.
    pub(super) is_lost: bool,
}

impl Delivery<'_> {
    /// Sends everything that is not there yet.
    pub(super) async fn run(&mut self) -> Result<(), Stop> {
        if self.came_too_late() {
            return Ok(());
        }
        let pieces = tokio::task::block_in_place(|| {
            plan(&self.deliverer.bot, &self.deliverer.state, &self.deliverer.view, &self.message)
        });
        let pieces = pieces.map_err(|err| Stop::never(format!("{err:#}")))?;
        // Who died of this answer so often may have died of its markup.
        let plainly = self.message.attempts.deaths >= DEATHS_MAX * 3;
        let last_text = pieces.iter().rposition(|it| matches!(it, Piece::Text(_)));
        for (at, piece) in pieces.iter().enumerate() {
            let part = at as u32 + 1;
            let known = self.message.delivery.iter().find(|it| it.part == part);
            let (sent, doubt) = (known.and_then(|it| it.telegram_message_id), known.is_some());
            if sent.is_some() {
                continue;
            }
            let keyboard = self.keyboard().filter(|_| Some(at) == last_text);
            let sending = Sending {
                part,
                piece,
                keyboard,
                doubt,
                plainly,
                as_documents: false,
                instead: None,
            };
            self.send(sending).await?;
        }
        if let Some(change) = self.message.reply.as_ref().and_then(|it| it.topic.as_ref()) {
            topic_change::change(&self.deliverer.bot, change).await;
        }
        Ok(())
    }

    /// Whether this shows a message of another thread that was answered meanwhile: the answer is older, so it goes first
    /// when both wait, and says itself what was asked.
    fn came_too_late(&self) -> bool {
        let arrived = self.message.extra.get(ARRIVAL_OF).and_then(Value::as_str);
        let Some(arrived) = arrived.and_then(|it| it.parse::<Key>().ok()) else { return false };
        let seen = tokio::task::block_in_place(|| self.deliverer.view.find(&arrived));
        let is_sent =
            |it: Seen| it.message.delivery.iter().any(|it| it.telegram_message_id.is_some());
        self.message.delivery.is_empty() && seen.ok().flatten().is_some_and(is_sent)
    }

    fn keyboard(&self) -> Option<Value> {
        let key = &self.message.key;
        let offered = self.message.reply.as_ref().map(|it| &it.buttons[..]).unwrap_or_default();
        layout::offers(key, offered)
            .or_else(|| Origin::of(&self.message)?.again.is_some().then(|| layout::again(key)))
    }

    fn address(&self) -> Result<Address, Stop> {
        let thread = &self.message.thread_id;
        self.deliverer.bot.address_of(thread).ok_or_else(|| {
            Stop::never(format!("thread {thread} has no place in Telegram; set TELEGRAM_CHAT_ID"))
        })
    }

    /// Who stopped something waits for just that; what we say by ourselves nobody waits for.
    fn priority(&self) -> Priority {
        let reply = self.message.reply.as_ref();
        let stopped = reply.is_some_and(|it| it.outcome == Outcome::Stopped);
        if stopped || matches!(self.message.command, Some(Command::Stop { .. })) {
            return Priority::Urgent;
        }
        let is_notice = self.message.key.as_str().starts_with("n-");
        if is_notice { Priority::Error } else { Priority::Final }
    }

    /// Sends one part, however often it takes.
    async fn send(&mut self, mut sending: Sending<'_>) -> Result<(), Stop> {
        let mut address = self.address()?;
        let (mut tries, mut doubts) = (0, 0);
        // How many messages Telegram had taken when this one failed last.
        let mut taken = None;
        let mut note = String::new();
        loop {
            self.deliverer.connection_is_up().await;
            let target = self.edit_target(&sending, address);
            let (lane, cost) = (address.lane(), sending.cost());
            let permit =
                self.deliverer.bot.limit.permit(address.chat, lane, self.priority(), cost).await;
            self.lease_do(|it| it.intend(sending.part, now_ms()))?;
            // Nothing is sent by two.
            if !self.lease.still_ours() {
                return Err(Stop::Lost);
            }
            let done = match target {
                Some(id) => sending.edit(&self.deliverer.bot, address, id).await.map(|()| id),
                None => self.send_new(&sending, address, &note).await,
            };
            drop(permit);
            let err = match done {
                Ok(id) => {
                    let marked = sending.doubt && target.is_none();
                    if marked {
                        self.deliverer.vitals.count("markedTotal", 1);
                    }
                    self.lease_do(|it| it.sent(sending.part, id, marked))?;
                    let model = self.model().filter(|_| matches!(sending.piece, Piece::Text(_)));
                    let to = model.map(|_| &self.message.key);
                    self.deliverer.bot.addresses.said(address.chat, id, model, to);
                    self.deliverer.answered(address, id);
                    return Ok(());
                }
                Err(err) => err,
            };
            let surely_not = !matches!(err, CallError::Ambiguous { .. }) && !sending.doubt;
            if surely_not {
                self.lease_do(|it| it.unsent(sending.part))?;
            }
            match err {
                CallError::Unsent { .. } => {
                    self.deliverer.vitals.count("unsentTotal", 1);
                    tries += 1;
                    tracing::warn!(key = %self.message.key, "{err}; trying again");
                    tokio::time::sleep(pause(self.deliverer.timing.retry, tries)).await;
                }
                CallError::Flood { wait, .. } => {
                    tracing::warn!(
                        chat = address.chat,
                        "Telegram wants chat {} left alone for {} s",
                        address.chat,
                        wait.as_secs()
                    );
                    self.deliverer.vitals.count("floodsTotal", 1);
                    self.deliverer.bot.limit.freeze(address.chat, wait);
                }
                CallError::Migrated { to, .. } => {
                    let migrated = tokio::task::block_in_place(|| {
                        self.deliverer.bot.addresses.migrate(address.chat, to)
                    });
                    if migrated.is_err() {
                        return Err(Stop::Later(Duration::from_secs(5)));
                    }
                    address = self.address()?;
                }
                CallError::Ambiguous { ref why, .. } => {
                    sending.doubt = true;
                    tries += 1;
                    let now = self.deliverer.bot.client.connection().messages();
                    doubts += u32::from(taken.is_some_and(|it| now > it));
                    taken = Some(now);
                    tracing::warn!(key = %self.message.key, "{err}; trying again");
                    if doubts >= DOUBTS_MAX {
                        let (why, told) = (why.clone(), BROKE_OFF.to_owned());
                        return Err(Stop::Never { why, told });
                    }
                    sending.plainly |= doubts >= DOUBTS_PLAIN;
                    tokio::time::sleep(pause(self.deliverer.timing.retry, tries)).await;
                }
                CallError::Refused { what, ref description, .. } => {
                    (address, note) =
                        self.refused(&mut sending, address, what, description).await?;
                }
            }
        }
    }

    /// The status message, when the first part takes its place.
    fn edit_target(&self, sending: &Sending<'_>, address: Address) -> Option<i64> {
        let status = self.status.as_ref()?;
        let reply = self.message.reply.as_ref()?;
        // What matters is how long a person waits, and not only how long Claude worked.
        let waited = now_ms().saturating_sub(self.message.timestamp).max(reply.duration_ms);
        let quick = waited < self.deliverer.timing.edit_max.as_millis() as u64;
        let here = self.deliverer.bot.addresses.present(status.address.chat) == address.chat
            && status.address.topic == address.topic;
        let fits = sending.part == 1 && matches!(sending.piece, Piece::Text(_));
        let id = status.message.filter(|_| quick && here && fits)?;
        // The statuses of messages that wait together come in any order, and an answer stands below the one before it.
        match self.deliverer.newest_answer(address, &self.message.thread_id) {
            Ok(newest) => (id >= newest).then_some(id),
            Err(err) => {
                // A message of its own is below everything.
                tracing::warn!("{:#}", anyhow::Error::from(err));
                None
            }
        }
    }

    /// What to do after a refusal: another address and a note, or the end.
    async fn refused(
        &mut self,
        sending: &mut Sending<'_>,
        address: Address,
        what: Refusal,
        description: &str,
    ) -> Result<(Address, String), Stop> {
        let here = Ok((address, String::new()));
        match what {
            Refusal::Other | Refusal::FileTooBig | Refusal::Markup | Refusal::TooLong
                if sending.fall_back(description) =>
            {
                tracing::warn!(key = %self.message.key, "Telegram does not take a file: {description}");
                if sending.instead.is_some() {
                    self.deliverer.questions.not_sent(&self.message);
                }
                here
            }
            Refusal::Markup | Refusal::TooLong if !sending.plainly => {
                tracing::error!(key = %self.message.key, "Telegram does not take our markup: {description}");
                self.deliverer.vitals.count("markupRefusedTotal", 1);
                sending.plainly = true;
                here
            }
            Refusal::MessageGone | Refusal::NotOurs if self.status.is_some() => {
                // Somebody removed the status: the answer is a message of its own then.
                self.status = None;
                self.deliverer.cleanup.forget(&self.message.key);
                here
            }
            Refusal::TopicGone | Refusal::TopicClosed if address.topic.is_some() => {
                let there =
                    self.deliverer.topics.detour(&self.message.thread_id, address, what).await;
                let lost = what == Refusal::TopicGone && there != Detour::Later;
                if lost && self.status.as_ref().is_some_and(|it| it.address.topic == address.topic)
                {
                    // A status in a topic that is gone is gone too.
                    self.status = None;
                    self.deliverer.cleanup.forget(&self.message.key);
                }
                match there {
                    Detour::Topic(there) => Ok((there, String::new())),
                    Detour::General(there, note) => Ok((there, note)),
                    Detour::Later => Err(Stop::Later(Duration::from_secs(5))),
                }
            }
            Refusal::Unauthorized => {
                self.deliverer.vitals.block(
                    "token",
                    "Telegram does not know TELEGRAM_BOT_TOKEN (any more): get one from BotFather",
                );
                Err(Stop::Later(Duration::from_secs(60)))
            }
            _ => Err(Stop::never(description)),
        }
    }

    async fn send_new(
        &self,
        sending: &Sending<'_>,
        address: Address,
        note: &str,
    ) -> Result<i64, CallError> {
        let asked = match Origin::of(&self.message) {
            Some(it) => it.is_in(address, &self.deliverer.bot.addresses).then_some(it.message_id),
            None if self.message.source == Source::CrossThread => {
                arrival(&self.deliverer.view, &self.message.key)
            }
            None => None,
        };
        let reply_to = asked
            .filter(|_| sending.part == 1)
            .map(|it| ReplyParameters::new(MessageId(it)).allow_sending_without_reply());
        sending.send(&self.deliverer.bot, address, note, reply_to).await
    }

    fn model(&self) -> Option<Model> {
        self.message.reply.as_ref().and_then(|it| it.model)
    }

    fn lease_do<T>(
        &mut self,
        step: impl FnOnce(&mut Lease) -> Result<T, LeaseError>,
    ) -> Result<T, Stop> {
        let done = tokio::task::block_in_place(|| step(&mut self.lease));
        done.map_err(|err| match err {
            LeaseError::Lost { .. } => Stop::Lost,
            // The disk, or a queue out of reach: either may come back.
            err => {
                tracing::error!("{:#}", anyhow::Error::from(err));
                Stop::Later(NOT_KEPT)
            }
        })
    }

    /// Everything is there: the status goes, the reaction says who answered, the message is done.
    pub(super) async fn end(self) -> Result<(), LeaseError> {
        let settled = self.settle(Ending::Told).await;
        self.deliverer.vitals.count("answersTotal", 1);
        tokio::task::block_in_place(|| self.lease.delivered())?;
        if !settled {
            self.deliverer.cleanup.put(self.message.key.clone());
        }
        Ok(())
    }

    async fn settle(&self, end: Ending) -> bool {
        if self.is_lost {
            return false;
        }
        let (message, status) = (self.lease.message(), self.status.as_ref());
        self.deliverer.cleanup.settle(&message.key, status, Some(message), end).await
    }

    /// It can never be delivered: kept in `dead/`, and the topic is told.
    pub(super) async fn bury(self, why: &str, told: String) -> Result<(), LeaseError> {
        let Message { key, thread_id, .. } = self.message.clone();
        tracing::error!(%key, "the answer to {key} cannot be delivered: {why}");
        self.deliverer.vitals.count("buriedTotal", 1);
        let settled = self.settle(Ending::GivenUp).await;
        let attempt = self.lease.attempt();
        tokio::task::block_in_place(|| self.lease.bury(why))?;
        if !settled {
            self.deliverer.cleanup.put(key.clone());
        }
        if !key.as_str().starts_with("n-") {
            let about = key.notice(attempt, "undelivered");
            let notice = Notice {
                about,
                kind: "undelivered",
                thread: thread_id,
                text: told,
                origin: Origin::of(&self.message).map(|it| Origin { again: None, ..it }),
                files: Vec::new(),
            };
            self.deliverer.publisher.notify(notice).await;
        }
        Ok(())
    }
}
