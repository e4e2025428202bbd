//! The control lanes: *stop*, answers to questions, reactions to answers. They wait for nothing, not even for a turn's slot.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::approval::{self, Chosen, Question};
use tinyclaw_domain::{
    Command, Key, Lane, Message, Outcome, PermissionAnswer, PermissionMode, Reply, STOPPED_WAITING,
    ThreadId,
};
use tinyclaw_queue::{Lease, Place, Queue, Side, Which};

use crate::availability::notices::notice;
use crate::blocking::on_disk;
use crate::history::History;
use crate::work::turns::Turns;

/// After a claim that did not work.
const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// Whoever serves the control lanes.
pub(crate) struct Control {
    pub(crate) queue: Queue,
    pub(crate) turns: Arc<Turns>,
    pub(crate) history: Arc<History>,
}

impl Control {
    /// Serves every control lane until it is aborted.
    pub(crate) async fn run(&self) {
        loop {
            match self.queue.claim(Side::Run, &Which::Control).await {
                // What could not be moved is claimed again at once: not without a breath in between.
                Ok(lease) => {
                    if !self.serve(lease) {
                        tokio::time::sleep(CLAIM_AGAIN).await;
                    }
                }
                Err(err) => {
                    tracing::error!(
                        "cannot claim a control message: {:#}",
                        anyhow::Error::new(err)
                    );
                    tokio::time::sleep(CLAIM_AGAIN).await;
                }
            }
        }
    }

    /// Empties a thread's control lane before one of its messages begins, so that a stop that came in between counts.
    /// Whether the message is to be stopped.
    pub(crate) fn empty(&self, message: &Message) -> bool {
        let lane = Which::Lane(Lane::Control(message.thread_id.clone()));
        while let Ok(Some(lease)) = self.queue.try_claim(Side::Run, &lane) {
            if !self.serve(lease) {
                break;
            }
        }
        self.turns.is_stopped(&message.thread_id)
    }

    /// Carries an order out. `false`: it could not be moved on, and stays.
    fn serve(&self, mut lease: Lease) -> bool {
        let message = lease.message();
        let (key, thread) = (message.key.clone(), &message.thread_id);
        let reply = match &message.command {
            _ if message.reply.is_some() => None,
            Some(Command::Stop { key }) => Some(self.stop(thread, key.as_ref())),
            Some(Command::Rate { key, thumbs_down }) => {
                self.history.rated(message, key, *thumbs_down);
                Some(silent())
            }
            Some(Command::Permission { request_id, answer, shown, admin }) => {
                let given = Given { answer: *answer, shown, is_admin: *admin };
                Some(self.answer_permission(thread, request_id, given))
            }
            Some(Command::Choose { request_id, answers, shown }) => {
                Some(self.choose(thread, request_id, answers, shown))
            }
            Some(Command::Change { request_id, text, shown }) => {
                Some(self.change(thread, request_id, text, shown))
            }
            _ => Some(notice("This is no order for a control lane.")),
        };
        let moved = on_disk(|| {
            if let Some(reply) = reply {
                lease.answer(reply, Vec::new())?;
            }
            lease.finish()
        });
        if let Err(err) = &moved {
            tracing::error!(key = %key, "cannot finish order {key}: {err}");
        }
        moved.is_ok()
    }

    fn stop(&self, thread: &ThreadId, key: Option<&Key>) -> Reply {
        if self.turns.stop(thread, key) {
            return silent();
        }
        let Some(key) = key else { return notice("Nothing is running here.") };
        match on_disk(|| self.queue.view().find(key)) {
            Ok(Some(seen)) if seen.place == Place::Incoming => {
                match on_disk(|| self.queue.bury(key, STOPPED_WAITING)) {
                    Ok(()) => notice("Stopped. /retry asks again."),
                    // It was taken up this moment.
                    Err(_) => self.stop_claimed(thread, key),
                }
            }
            Ok(Some(seen)) if seen.place == Place::Processing => self.stop_claimed(thread, key),
            _ => notice("That turn is finished already."),
        }
    }

    fn stop_claimed(&self, thread: &ThreadId, key: &Key) -> Reply {
        self.turns.stop_claimed(thread, key);
        silent()
    }

    fn answer_permission(&self, thread: &ThreadId, request_id: &str, given: Given<'_>) -> Reply {
        let Some(question) = self.turns.open_question(thread, request_id) else {
            return notice("That question is no longer open.");
        };
        if let Some(why) = given.refusal(&question) {
            return notice(why);
        }
        let mode = match given.answer {
            PermissionAnswer::Allow => Some(PermissionMode::Ask),
            PermissionAnswer::Always => Some(PermissionMode::AcceptEdits),
            PermissionAnswer::Deny => None,
        };
        if let Some(mode) = mode.filter(|_| question.plan.is_some())
            && let Err(err) = self.turns.set_mode(thread, mode)
        {
            return notice(format!("The threads cannot be saved: {err}. The plan waits."));
        }
        self.turns.answer(thread, request_id, given.answer);
        silent()
    }

    fn change(&self, thread: &ThreadId, request_id: &str, text: &str, shown: &str) -> Reply {
        let Some(question) = self.turns.open_question(thread, request_id) else {
            return notice("That question is no longer open.");
        };
        if question.plan.is_none() || shown != question.digest {
            return notice(SOMETHING_ELSE);
        }
        self.turns.change(thread, request_id, format!("{CHANGE}{text}"));
        silent()
    }

    fn choose(&self, thread: &ThreadId, request_id: &str, chosen: &[Chosen], shown: &str) -> Reply {
        let Some(question) = self.turns.open_question(thread, request_id) else {
            return notice("That question is no longer open.");
        };
        if shown != question.digest {
            return notice(SOMETHING_ELSE);
        }
        match approval::answers(&question.choices, chosen) {
            Ok(answers) => {
                self.turns.choose(thread, request_id, answers);
                silent()
            }
            Err(err) => notice(format!("That is no answer: {err}.")),
        }
    }
}

/// Stands before what a person wants to be different in a plan, for Claude.
const CHANGE: &str =
    "The user does not want this plan yet. Change it and propose it again. They say: ";
/// Said when what was answered is not what is open.
const SOMETHING_ELSE: &str = "That was an answer to something else. Look at the question again.";

/// Nothing to say: the turn itself will.
fn silent() -> Reply {
    Reply { silent: true, outcome: Outcome::Notice, ..Reply::default() }
}

/// What somebody answered, and to what.
struct Given<'a> {
    answer: PermissionAnswer,
    /// The digest of what they were shown.
    shown: &'a str,
    is_admin: bool,
}

impl Given<'_> {
    /// Why this is no answer to this question, for whoever gave it. *No* is always one.
    fn refusal(&self, question: &Question) -> Option<String> {
        let is_always = match self.answer {
            PermissionAnswer::Deny => return None,
            PermissionAnswer::Allow => false,
            PermissionAnswer::Always => true,
        };
        if self.shown != question.digest {
            return Some(SOMETHING_ELSE.to_owned());
        }
        if !question.choices.is_empty() {
            return Some("This wants one of its options, or other words.".to_owned());
        }
        if let Some(refusal) = &question.refusal {
            return Some(refusal.clone());
        }
        if is_always && question.always.is_none() {
            return Some("This cannot be allowed for good. Allow it once, or deny it.".to_owned());
        }
        if is_always && !self.is_admin {
            return Some(
                "Only admins may allow something for good. Allow it once, or deny it.".to_owned(),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use tinyclaw_domain::Ask;
    use tinyclaw_domain::approval::Rule;

    use super::*;

    #[test]
    fn what_was_not_shown_is_not_allowed_and_only_an_admin_allows_for_good() {
        let rule = Rule { tool: "Bash".to_owned(), content: Some("ls".to_owned()) };
        let ask = |always: &[Rule], unshown: Option<&str>| {
            let input = serde_json::json!({ "command": "ls" });
            let (request_id, tool) = ("r".to_owned(), "Bash".to_owned());
            let (always, unshown) = (always.to_vec(), unshown.map(str::to_owned));
            Question::of(&Ask { request_id, tool, input, at: 0, always, unshown })
        };
        let (once, lasting, large) =
            (ask(&[], None), ask(&[rule], None), ask(&[], Some("it has 900 kB")));
        use PermissionAnswer::{Allow, Always, Deny};
        for (question, answer, is_admin, may) in [
            (&once, Allow, false, true),
            (&once, Always, true, false),
            (&lasting, Always, true, true),
            (&lasting, Always, false, false),
            (&lasting, Allow, false, true),
            (&large, Allow, true, false),
            (&large, Always, true, false),
            (&large, Deny, false, true),
        ] {
            let given = |shown| Given { answer, shown, is_admin }.refusal(question);
            assert_eq!(given(&question.digest).is_none(), may, "{answer:?} to {question:?}");
            let is_no = answer == Deny;
            assert_eq!(given("").is_none(), is_no, "what was shown is not said");
            let other = if question.digest == once.digest { &lasting } else { &once };
            assert_eq!(given(&other.digest).is_none(), is_no, "it was shown something else");
        }
    }
}
