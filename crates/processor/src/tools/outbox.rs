//! What a turn sends on and attaches: it goes out when the turn ends, and is on disk before Claude is told that it will.

use std::collections::BTreeMap;

use tinyclaw_domain::{FileRef, FollowUp, Message, ToolSpan};
use tinyclaw_queue::Lease;

/// A turn may send so many messages, and so many files.
pub(super) const SENT_MAX: usize = 10;

/// What a turn sends on, attaches and used, collected while it runs.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) follow_ups: Vec<FollowUp>,
    pub(crate) files: Vec<FileRef>,
    pub(crate) tools: Vec<ToolSpan>,
    /// What was answered to the calls that sent or attached something.
    pub(crate) calls: BTreeMap<String, String>,
}

impl Outbox {
    /// What an earlier attempt at this message was to send on and attach.
    pub(crate) fn kept(message: &Message) -> Outbox {
        let earlier = message.checkpoint.clone();
        let kept = earlier.map(|it| (it.follow_ups, it.files, it.calls));
        let (follow_ups, files, calls) = kept.unwrap_or_default();
        Outbox { follow_ups, files, calls, ..Outbox::default() }
    }

    /// Puts it on disk, if this call made more of it than there was, and gives its answer back. When that fails it is not
    /// sent, and Claude is told so: the error is its to read.
    pub(crate) fn keep(
        &mut self,
        lease: &mut Lease,
        call: String,
        answer: String,
    ) -> Result<String, String> {
        let Some(mut checkpoint) = lease.message().checkpoint.clone() else { return Ok(answer) };
        let (sent, attached) = (checkpoint.follow_ups.len(), checkpoint.files.len());
        if (self.follow_ups.len(), self.files.len()) == (sent, attached) {
            return Ok(answer);
        }
        checkpoint.calls.insert(call.clone(), answer.clone());
        checkpoint.follow_ups.clone_from(&self.follow_ups);
        checkpoint.files.clone_from(&self.files);
        let kept = lease.checkpoint(checkpoint).map_err(|err| {
            tracing::error!("cannot keep what a turn sends on: {:#}", anyhow::Error::new(err));
            self.follow_ups.truncate(sent);
            self.files.truncate(attached);
            "this cannot be kept, so it is not sent; the disk may be full".to_owned()
        });
        kept?;
        self.calls.insert(call, answer.clone());
        Ok(answer)
    }
}
