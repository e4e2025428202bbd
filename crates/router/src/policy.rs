//! What is stronger than the score, and in which order. It changes tiers and models, never the numbers of a score.

use tinyclaw_domain::{
    Cause, ChosenEffort, Decision, Direction, EffortFrom, Efforts, Replied, ReplyRule, Source,
    Tier, Tiers,
};

use crate::hint::Hints;
use crate::money::{Conversation, Prices};
use crate::reading::Reading;
use crate::router::{Input, Turn};

/// What the rules know about a reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnWords {
    /// Whether anything was said.
    pub(crate) letters: u32,
    pub(crate) tokens: u64,
    /// The tier of what a follow-up continues, in a chat; at a desk, what it must get because it gives leave.
    pub(crate) follows: Option<Tier>,
}

/// How many turns back a follow-up finds what it follows.
const TURNS_BACK: usize = 4;
/// A follow-up is short; a longer message stands on its own.
const FOLLOW_UP_COLUMNS_MAX: u32 = 60;

/// What the rules go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Which model does a tier's work here.
    pub(crate) tiers: Tiers,
    /// How hard each tier's messages are thought about.
    pub(crate) efforts: Efforts,
    pub(crate) prices: &'a Prices,
    /// Below this a score is not believed.
    pub(crate) min_confidence: f64,
}

impl Rules<'_> {
    /// Applies the rules to a scored decision.
    pub(crate) fn apply(
        &self,
        decision: &mut Decision,
        input: &Input<'_>,
        hints: Hints,
        said: &OwnWords,
    ) {
        let (tiers, prices) = (self.tiers, self.prices);
        let scored = decision.tier;
        let (tier, cause) = if said.letters == 0 {
            let something = !input.attachments.is_empty();
            (if something { Tier::Medium } else { Tier::Simple }, Cause::NoSignal)
        } else if decision.confidence < self.min_confidence && scored != Tier::Medium {
            (Tier::Medium, Cause::LowConfidence)
        } else {
            (scored, decision.cause)
        };
        decision.tier = tier;
        decision.cause = cause;

        lift(decision, said.follows, Cause::FollowUp);
        let context = input.context_tokens.saturating_add(said.tokens);
        let holds = |it: &Tier| context <= prices.context_limit(tiers.of(*it));
        let wanted = decision.tier;
        let enough = Tier::ALL.into_iter().filter(|it| *it >= wanted).find(holds);
        lift(decision, Some(enough.unwrap_or(Tier::Complex)), Cause::LargeContext);

        decision.model = tiers.of(decision.tier);
        decision.effective_model = decision.model;
        let conversation = Conversation {
            context: input.context_tokens,
            said: said.tokens,
            warm: input.warm,
            ttl: input.cache,
            tiers,
        };
        decision.warm = input.warm.to_vec();
        decision.stay = prices.stay(decision.model, decision.probabilities, &conversation);
        if let Some(stay) = decision.stay.filter(|it| it.cheaper) {
            decision.effective_model = stay.model;
            decision.cause = Cause::Stay;
        }
        if let Some(pin) = input.pin {
            decision.effective_model = pin;
            decision.cause = Cause::Pinned;
        }
        if let Some(hint) = hints.model.or_else(|| hints.tier.map(|it| tiers.of(it))) {
            decision.effective_model = hint;
            decision.cause = Cause::UserHint;
        }
        if input.source == Source::Heartbeat {
            decision.tier = Tier::Simple;
            decision.model = tiers.simple;
            decision.effective_model = tiers.simple;
            decision.upgraded = false;
            decision.stay = None;
            decision.cause = Cause::Heartbeat;
        }
        decision.replied = input
            .reply_to_model
            .zip(reply_rule(decision.cause))
            .map(|(to, rule)| Replied { to, rule });
        let chosen = |level, from| ChosenEffort { level, from };
        decision.effort = Some(match (hints.effort, input.effort) {
            (Some(level), _) => chosen(level, EffortFrom::Message),
            (None, Some(level)) => chosen(level, EffortFrom::Thread),
            (None, None) => chosen(self.efforts.of(decision.tier), EffortFrom::Tier),
        });
    }
}

/// What spoke about the model that wrote the answer; nothing, where a person or the clock chose.
fn reply_rule(cause: Cause) -> Option<ReplyRule> {
    match cause {
        Cause::Stay => Some(ReplyRule::StayCheaper),
        Cause::FollowUp => Some(ReplyRule::WorkGoesOn),
        Cause::Pinned | Cause::UserHint | Cause::Heartbeat => None,
        _ => Some(ReplyRule::OwnWords),
    }
}

fn lift(decision: &mut Decision, floor: Option<Tier>, cause: Cause) {
    if let Some(floor) = floor.filter(|it| *it > decision.tier) {
        decision.tier = floor;
        decision.cause = cause;
        decision.upgraded = true;
    }
}

/// The tier of what a follow-up continues. Thanks and "ok" continue nothing, and a question of its own neither.
pub(crate) fn followed(history: &[Turn<'_>], tiers: Tiers, reading: &Reading) -> Option<Tier> {
    if !reading.follow_up || reading.acknowledge || reading.columns > FOLLOW_UP_COLUMNS_MAX {
        return None;
    }
    history
        .iter()
        .rev()
        .take(TURNS_BACK)
        .filter(|it| it.direction == Direction::Out)
        .find_map(|it| it.tier.or_else(|| it.model.and_then(|it| tiers.tier_of(it))))
}
