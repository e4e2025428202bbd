//! A claimed message: ours alone until the lease ends, by one of its endings or by our death.

use std::time::Duration;

use tinyclaw_domain::{Checkpoint, Delivery, FollowUp, Key, Message, Reply, Source};

use crate::clock::{DELAY_MAX, now_ms};
use crate::error::LeaseError;
use crate::work::{Draft, Ending, Hold, KEPT_BYTES_MAX, SEAL_BYTES_MAX, Safety, Taken};
use crate::{Place, Side};

/// A message that killed whoever worked on it this often is given up.
pub const DEATHS_MAX: u32 = 3;
/// An answer whose sender died this often is given up. More than a turn may cost: a sender has many answers in hand, dies
/// of one of them, and the death counts for all; and the last ones are for sending it without its markup.
pub const SENDER_DEATHS_MAX: u32 = 4 * DEATHS_MAX;
/// A message that failed this often is given up.
pub const ATTEMPTS_MAX: u32 = 5;

/// How long to wait after the `attempt`th attempt failed: 2, 4, 8 … 300 seconds, give or take a fifth.
///
/// The share of chance is the caller's, from 0 to 1, so that messages that failed together do not come back together.
pub fn backoff(attempt: u32, chance: f64) -> Duration {
    let seconds = 2_f64.powi(attempt.clamp(1, 16) as i32).min(300.0);
    Duration::from_secs_f64(seconds * (0.8 + 0.4 * chance.clamp(0.0, 1.0)))
}

/// A message in hand. Nobody else works on it, or on anything of its lane, while this lives.
///
/// Dropping it leaves the file where it is and frees the lane: the next claimer carries on from there, and it counts
/// as an attempt. So does our death. Every other ending is a method that takes the lease.
pub struct Lease {
    hold: Box<dyn Hold>,
    side: Side,
    key: Key,
    message: Message,
    attempt: u32,
    recovered: bool,
    /// Whether the reply was there when we came.
    was_answered: bool,
    /// Whether the death of the last owner was counted as an attempt.
    has_counted: bool,
}

impl Lease {
    pub(crate) fn new(side: Side, taken: Taken) -> Lease {
        let Taken { hold, key, mut message, recovered } = taken;
        // What is kept is how many attempts ended. One that lies where it is worked on was begun and died; that is
        // kept before the next begins, unless its work is done already.
        let was_answered = side == Side::Run && message.reply.is_some();
        if recovered && !was_answered {
            *attempts_of(side, &mut message) += 1;
            message.attempts.deaths += 1;
        }
        let ended = *attempts_of(side, &mut message);
        let attempt = if was_answered { ended } else { ended + 1 };
        let has_counted = recovered && !was_answered;
        let mut lease =
            Lease { hold, side, key, message, attempt, recovered, was_answered, has_counted };
        if has_counted
            && let Err(err) = lease.keep(&lease.message.clone(), "the death", Safety::PowerCut)
        {
            // Carry on: at worst this death is not counted.
            tracing::warn!(key = %lease.key, "cannot count the death of the last owner: {err}");
        }
        lease
    }

    /// The message, with everything that is known of it.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Which attempt this is on this side, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether somebody worked on it before and died.
    pub fn was_recovered(&self) -> bool {
        self.recovered
    }

    /// Why it should be given up instead of tried again, if it should. Ask before working on it, on either side: nobody
    /// else counts, and a message that kills its owner comes back for ever.
    pub fn is_exhausted(&self) -> Option<String> {
        let deaths = self.message.attempts.deaths;
        let (deaths_max, failed, owner) = match self.side {
            Side::Run => (DEATHS_MAX, self.attempt - 1, "whoever worked on it"),
            // A sender's deaths are mostly other answers' doing, and are no failures of this one.
            Side::Send => {
                (SENDER_DEATHS_MAX, (self.attempt - 1).saturating_sub(deaths), "whoever sent it")
            }
        };
        if deaths >= deaths_max {
            Some(format!("{owner} died {deaths} times"))
        } else if failed >= ATTEMPTS_MAX {
            let why = self.message.trouble.as_deref().unwrap_or("no reason was kept");
            Some(format!("it failed {ATTEMPTS_MAX} times, the last time because {why}"))
        } else {
            None
        }
    }

    /// Whether nobody can have taken it over. Ask before every effect that others see: where an engine may lose what it
    /// holds, somebody else may be making the same one.
    pub fn still_ours(&self) -> bool {
        self.hold.still_ours()
    }

    /// What the last owner began goes on: its death was no attempt at the message. On disk when this returns.
    pub fn goes_on(&mut self) -> Result<(), LeaseError> {
        if !self.has_counted {
            return Ok(());
        }
        let side = self.side;
        self.update("that it goes on", |it| {
            let attempts = attempts_of(side, it);
            *attempts = attempts.saturating_sub(1);
            it.attempts.deaths = it.attempts.deaths.saturating_sub(1);
        })?;
        self.attempt -= 1;
        self.has_counted = false;
        Ok(())
    }

    /// Keeps how far the turn got. On disk when this returns.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), LeaseError> {
        self.update("the checkpoint", |it| it.checkpoint = Some(checkpoint))
    }

    /// Keeps the answer and what the turn sends on. From here Claude is never asked again for this message.
    ///
    /// Write the logs after this and before [`Lease::finish`]: a crash between repeats their lines and nothing else.
    pub fn answer(&mut self, reply: Reply, follow_ups: Vec<FollowUp>) -> Result<(), LeaseError> {
        let attempt = self.attempt;
        self.update("the reply", |it| {
            it.reply = Some(reply);
            it.follow_ups = follow_ups;
            it.attempts.run = attempt;
            it.attempts.deaths = 0;
            it.trouble = None;
        })
    }

    /// Publishes what the turn sends on, and moves the answered message on: to `outgoing/` when its channel is pushed
    /// and it has something to say, else to `done/`, where whoever asked finds it.
    pub fn finish(mut self) -> Result<(), LeaseError> {
        if self.was_answered {
            // An answer that we did not write.
            let json = self.json(&self.message)?;
            self.hold.confirm(json, "the reply")?;
        }
        let mut follow_ups = Vec::with_capacity(self.message.follow_ups.len());
        for (at, follow_up) in self.message.follow_ups.iter().enumerate() {
            let sent = self.sent_on(at, follow_up);
            // What a turn sends on was kept in its own message, so it fits wherever that did.
            let draft = Draft::of(Side::Run, &sent, KEPT_BYTES_MAX).map_err(|source| {
                LeaseError::FollowUp { key: self.key.clone(), source: Box::new(source) }
            })?;
            follow_ups.push(draft);
        }
        let silent = self.message.reply.as_ref().is_none_or(|it| it.silent);
        let to =
            if self.message.channel.is_pushed() && !silent { Place::Outgoing } else { Place::Done };
        self.hold.end(Ending::On { to, follow_ups })
    }

    fn sent_on(&self, at: usize, follow_up: &FollowUp) -> Message {
        let FollowUp { thread_id, channel, sender, message } = follow_up.clone();
        let key = self.key.follow_up(at + 1);
        let mut sent = Message::new(key, channel, thread_id, message, now_ms());
        sent.source = Source::CrossThread;
        sent.source_thread_id = Some(self.message.thread_id.clone());
        sent.sender = sender;
        sent.hops = self.message.hops + 1;
        sent
    }

    /// Notes that a part is about to be sent. On disk when this returns.
    pub fn intend(&mut self, part: u32, now_ms: u64) -> Result<(), LeaseError> {
        self.update("the intent", |it| {
            it.delivery.retain(|known| known.part != part);
            it.delivery.push(Delivery {
                part,
                intent: now_ms,
                telegram_message_id: None,
                marked: false,
            });
        })
    }

    /// Notes that a part was sent, and as what. On disk when this returns.
    pub fn sent(
        &mut self,
        part: u32,
        telegram_message_id: i64,
        marked: bool,
    ) -> Result<(), LeaseError> {
        self.update("the delivery", |it| {
            if let Some(known) = it.delivery.iter_mut().find(|known| known.part == part) {
                known.telegram_message_id = Some(telegram_message_id);
                known.marked = marked;
            }
        })
    }

    /// Takes an intent back: the part was surely not sent, so the next attempt need not doubt it. On disk when this
    /// returns.
    pub fn unsent(&mut self, part: u32) -> Result<(), LeaseError> {
        self.update("the delivery", |it| {
            it.delivery.retain(|known| known.part != part || known.telegram_message_id.is_some());
        })
    }

    /// The answer is where it should be: the message goes to `done/`.
    pub fn delivered(mut self) -> Result<(), LeaseError> {
        if self.message.attempts.send != self.attempt {
            // Only the story in `done/` depends on it: an old count there is no harm, and no flush is worth it.
            let mut next = self.message.clone();
            next.attempts.send = self.attempt;
            let _ = self.keep(&next, "the attempt", Safety::Story);
        }
        self.hold.end(Ending::On { to: Place::Done, follow_ups: Vec::new() })
    }

    /// Tries again later, at most an hour. The message stays the head of its lane, so nothing overtakes it.
    pub fn retry_after(mut self, delay: Duration, reason: &str) -> Result<(), LeaseError> {
        let (attempt, side) = (self.attempt, self.side);
        self.update("the attempt", |it| {
            it.trouble = Some(reason.to_owned());
            *attempts_of(side, it) = attempt;
        })?;
        self.hold.end(Ending::Back { delay: Some(delay.min(DELAY_MAX)) })
    }

    /// Puts it back as if it had never been taken: for a shutdown, or an engine that is out of order.
    pub fn put_back(mut self) -> Result<(), LeaseError> {
        self.hold.end(Ending::Back { delay: None })
    }

    /// Like [`Lease::put_back`], but not to be tried before `delay` has passed, at most an hour; free of charge as well.
    pub fn put_back_for(mut self, delay: Duration) -> Result<(), LeaseError> {
        let delay = (!delay.is_zero()).then(|| delay.min(DELAY_MAX));
        self.hold.end(Ending::Back { delay })
    }

    /// Gives it up: to `dead/`, with the reason beside it. Telling people is the caller's.
    pub fn bury(mut self, reason: &str) -> Result<(), LeaseError> {
        self.hold.end(Ending::Dead { reason })
    }

    fn update(
        &mut self,
        what: &'static str,
        change: impl FnOnce(&mut Message),
    ) -> Result<(), LeaseError> {
        let mut next = self.message.clone();
        change(&mut next);
        self.keep(&next, what, Safety::PowerCut)?;
        self.message = next;
        Ok(())
    }

    fn keep(
        &mut self,
        message: &Message,
        what: &'static str,
        safety: Safety,
    ) -> Result<(), LeaseError> {
        let json = self.json(message)?;
        self.hold.keep(json, what, safety)
    }

    fn json(&self, message: &Message) -> Result<Vec<u8>, LeaseError> {
        let key = || self.key.clone();
        let json = serde_json::to_vec(message)
            .map_err(|source| LeaseError::Json { key: key(), source })?;
        let (bytes, max) = (json.len(), KEPT_BYTES_MAX);
        if bytes + SEAL_BYTES_MAX > max {
            return Err(LeaseError::TooLarge { key: key(), bytes, max });
        }
        Ok(json)
    }
}

fn attempts_of(side: Side, message: &mut Message) -> &mut u32 {
    match side {
        Side::Run => &mut message.attempts.run,
        Side::Send => &mut message.attempts.send,
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({:?} {} attempt {})", self.side, self.key, self.attempt)
    }
}
