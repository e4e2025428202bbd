//! Raises a running turn to a stronger model, once, when its tools show that it needs one. What they show is judged by
//! `policy/escalation.rs`; here it is logged and put into words.

use tinyclaw_domain::{Cause, ChosenEffort, Decision, Effort, EffortFrom, Message, Model, Tier};
use tinyclaw_engine::TurnEvent;
use tinyclaw_service::now_ms;

use crate::history::Decided;
use crate::policy::escalation::{Evidence, Reason};
use crate::work::worker::Worker;

/// A turn that may be raised.
pub(crate) struct Raising<'a> {
    decided: &'a Decided,
    attempt: u32,
    /// Where it would be raised to.
    to: Option<(Tier, Model)>,
    evidence: Option<Evidence>,
}

impl<'a> Raising<'a> {
    /// The turn of a message about which this was decided. It is raised to `to`, if it has the model that was decided on.
    pub(crate) fn of(
        decided: &'a Decided,
        model: Model,
        attempt: u32,
        to: Option<(Tier, Model)>,
    ) -> Raising<'a> {
        let to = to.filter(|_| model == decided.decision.effective_model);
        Raising { decided, attempt, to, evidence: to.map(|_| Evidence::default()) }
    }

    /// Which model goes on with the turn after this event, how hard it thinks, and why, in words for people. It is logged.
    pub(crate) fn raise(
        &mut self,
        worker: &Worker,
        message: &Message,
        event: &TurnEvent,
    ) -> Option<(Model, Effort, String)> {
        let evidence = self.evidence.as_mut()?;
        let reason: Reason = match event {
            TurnEvent::ToolStarted { id, name, input, parent } => {
                evidence.started(id, name, input, parent.is_some())
            }
            TurnEvent::ToolFinished { id, failed, .. } => evidence.finished(id, *failed),
            TurnEvent::Asking { ask } => {
                evidence.asked(&ask.request_id, &ask.tool);
                None
            }
            TurnEvent::AskClosed { request_id, expired } => {
                let thread = &message.thread_id;
                evidence.closed(request_id, *expired || worker.turns.is_denied(thread, request_id));
                None
            }
            _ => None,
        }?;
        self.evidence = None;
        let before = &self.decided.decision;
        let (tier, model) = self.to?;
        // What the thread or the message said counts for the stronger model, too.
        let said = before.effort.filter(|it| it.from != EffortFrom::Tier);
        let level = worker.routing.efforts().of(tier);
        let effort = said.unwrap_or(ChosenEffort { level, from: EffortFrom::Tier });
        let decision = Decision {
            tier,
            effort: Some(effort),
            model,
            effective_model: model,
            cause: Cause::Raised,
            upgraded: true,
            stay: None,
            evidence: Some(reason.to_string()),
            ..before.clone()
        };
        let why = format!("{} was not enough ({reason}): {model} goes on.", before.effective_model);
        tracing::info!(
            thread.id = %message.thread_id, key = %message.key, model = %model,
            "the turn of thread {} is raised to {model}: {reason}", message.thread_id
        );
        let raised = Decided { decision, at: now_ms(), took: self.decided.took };
        worker.history.decided(message, self.attempt, &raised);
        Some((model, effort.level, why))
    }
}
