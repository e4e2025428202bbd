//! What there is of an earlier attempt at a message: an answer, something that Claude remembers, or nothing.
//!
//! A prompt goes to Claude under a uuid that is in the checkpoint before. To Claude it is an idempotency key: the same one
//! again is swallowed, also by a later process. So an attempt that Claude never saw is sent again under its uuid, and
//! any other ask gets a fresh one.

use tinyclaw_domain::{Checkpoint, Message, SessionId};
use tinyclaw_engine::{Desk, Engine, FinishedReply, OutOfReach, Trace};
use tinyclaw_queue::Lease;

/// How a message goes on.
pub(crate) enum Resumed {
    /// It was answered already.
    Finished(FinishedReply),
    /// It is asked under this uuid.
    Ask { uuid: String, earlier: Earlier },
}

/// What an earlier attempt left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// Nothing that anybody would notice.
    Nothing,
    /// Its turn goes on.
    Running,
    /// Claude knows what it did.
    Remembered,
    /// It used tools, and was killed before it wrote that down.
    Forgotten,
}

impl Earlier {
    /// What Claude is told about it.
    pub(crate) fn note(self) -> Option<&'static str> {
        match self {
            Earlier::Nothing | Earlier::Running => None,
            Earlier::Remembered => Some(
                "An earlier attempt at the following message was interrupted. Continue it; do not repeat steps that are \
                 finished.",
            ),
            Earlier::Forgotten => Some(
                "An earlier attempt at the following message was cut off, and this conversation does not know of it. It \
                 had begun to use tools: look what is done already before you do it again.",
            ),
        }
    }
}

/// What was tried so far within this lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// Nothing.
    First,
    /// It was asked, and something about the ask is changed now.
    Again,
    /// Claude said that it knows the uuid, and nothing else.
    Swallowed,
}

/// How far an earlier attempt got, by Claude's own transcript. Nobody knows that of a place out of reach: there the message
/// may have been answered.
pub(crate) async fn resume(
    engine: &Engine,
    message: &Message,
    desk: &Desk,
    session: &SessionId,
    round: Round,
) -> Result<Resumed, OutOfReach> {
    let fresh = |earlier| Resumed::Ask { uuid: uuid::Uuid::new_v4().to_string(), earlier };
    // Claude writes its transcript a moment behind what it does, and a session can be lost.
    let unknown = if used_tools(message) { Earlier::Forgotten } else { Earlier::Nothing };
    let checkpoint = message.checkpoint.as_ref().filter(|it| it.session_id == *session);
    let Some(checkpoint) = checkpoint else {
        // Handed to the turn before, which was cut off with it.
        let handed = message.handed.as_ref().filter(|it| it.session_id == *session);
        let handed = match handed {
            Some(it) => engine.trace(desk, session, &it.turn_uuid).await?,
            None => Trace::Unseen,
        };
        return Ok(fresh(if handed == Trace::Unseen { unknown } else { Earlier::Remembered }));
    };
    let trace = engine.trace(desk, session, &checkpoint.turn_uuid).await?;
    Ok(match (trace, round) {
        (Trace::Finished(reply), _) => Resumed::Finished(reply),
        (Trace::Running, _) => {
            Resumed::Ask { uuid: checkpoint.turn_uuid.clone(), earlier: Earlier::Running }
        }
        // What was changed about the ask is all there is to know of one that was turned down at once.
        (Trace::Begun, Round::Again) if !has_left_marks(checkpoint) => fresh(Earlier::Nothing),
        (Trace::Begun, _) | (Trace::Unseen, Round::Swallowed) => fresh(Earlier::Remembered),
        (Trace::Unseen, Round::Again) => fresh(unknown),
        (Trace::Unseen, Round::First) => {
            Resumed::Ask { uuid: checkpoint.turn_uuid.clone(), earlier: unknown }
        }
    })
}

/// Whether an ask did anything that it must not do twice.
fn has_left_marks(checkpoint: &Checkpoint) -> bool {
    checkpoint.used_tools || !checkpoint.follow_ups.is_empty() || !checkpoint.files.is_empty()
}

/// Whether an earlier attempt at this message began to use tools.
pub(crate) fn used_tools(message: &Message) -> bool {
    message.checkpoint.as_ref().is_some_and(|it| it.used_tools)
}

/// Keeps that Claude uses tools, before the first one did much.
pub(crate) fn note_tools(lease: &mut Lease) {
    let Some(mut checkpoint) = lease.message().checkpoint.clone() else { return };
    if checkpoint.used_tools {
        return;
    }
    checkpoint.used_tools = true;
    if let Err(err) = lease.checkpoint(checkpoint) {
        tracing::error!("cannot keep that a turn uses tools: {:#}", anyhow::Error::new(err));
    }
}
