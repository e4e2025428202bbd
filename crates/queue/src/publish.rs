//! Publishing, and what an operator or a sender may do to a message that nobody works on: the limits, and the words.

use tinyclaw_domain::{Key, Message, Source};

use crate::error::{MoveError, PublishError};
use crate::name::Priority;
use crate::work::{Draft, KEPT_BYTES_MAX, SEAL_BYTES_MAX};
use crate::{Durability, Place, Published, Queue, Side};

impl Draft {
    /// A message as an engine takes it in. It may have `max` bytes.
    pub(crate) fn of(side: Side, message: &Message, max: usize) -> Result<Draft, PublishError> {
        let key = message.key.clone();
        let json = serde_json::to_vec(message)
            .map_err(|source| PublishError::Json { key: key.clone(), source })?;
        // The limit is one of what people send; what an engine adds is ours.
        let bytes = json.len();
        if bytes > max || bytes + SEAL_BYTES_MAX > KEPT_BYTES_MAX {
            return Err(PublishError::TooLarge { key, bytes, max });
        }
        let is_beat = message.source == Source::Heartbeat;
        let priority = if is_beat { Priority::Low } else { Priority::Ordinary };
        Ok(Draft {
            side,
            priority,
            key,
            lane: message.lane(),
            #[cfg(feature = "postgres")]
            channel: message.channel,
            json,
        })
    }
}

impl Queue {
    /// Accepts a message on one side, under its key: a key that is known already is not published again.
    ///
    /// When this returns without an error, the message is as safe as `durability` says and may be confirmed to the
    /// outside. After an error nothing of it is left behind, and it may be published again under the same key. Every
    /// family of keys has one publisher: two processes that publish the same key at the same moment are not kept
    /// apart. An answer of our own (a notice) is published on the send side, with its reply set.
    pub fn publish(
        &self,
        side: Side,
        message: Message,
        durability: Durability,
    ) -> Result<Published, PublishError> {
        let lane = message.lane();
        if !lane.is_control() {
            if side == Side::Run {
                let (waiting, in_lane) = self.work.waiting(side, &lane.to_string());
                if waiting >= self.options.incoming_max {
                    return Err(PublishError::Full { waiting });
                }
                if in_lane >= self.options.lane_max {
                    return Err(PublishError::LaneFull { lane, waiting: in_lane });
                }
            }
            if !self.work.has_room() {
                return Err(PublishError::NoSpace { key: message.key });
            }
        }
        self.work.put(Draft::of(side, &message, self.options.message_bytes_max)?, durability)
    }

    /// Changes a message that still waits in `incoming/`, such as when its sender edited it. `false` when it does not
    /// wait any more; then nothing was changed.
    pub fn replace_waiting(
        &self,
        key: &Key,
        change: impl FnOnce(&mut Message),
    ) -> Result<bool, MoveError> {
        let mut change = Some(change);
        self.work.edit(key, &mut |message| {
            if let Some(change) = change.take() {
                change(message);
            }
        })
    }

    /// Takes up a message that was given up: to `outgoing/` when it has a reply, else to `incoming/`, its attempts
    /// forgotten. Also one from quarantine that was mended by hand.
    pub fn requeue(&self, key: &Key) -> Result<Place, MoveError> {
        self.work.requeue(key, &mut |message| {
            message.attempts = Default::default();
            message.trouble = None;
            if message.reply.is_some() { Place::Outgoing } else { Place::Incoming }
        })
    }

    /// Gives up a message on an operator's word: one that waits, or one that lies where it is worked on although nobody
    /// works on it. One that is being worked on has to be stopped first. The message is not read, so that one that
    /// cannot be read can be given up as well.
    pub fn bury(&self, key: &Key, reason: &str) -> Result<(), MoveError> {
        self.work.bury(key, reason)
    }

    /// Removes a message that was given up, for good.
    pub fn purge(&self, key: &Key) -> Result<(), MoveError> {
        self.work.purge(key)
    }
}
