//! What a turn costs with each model, given what is cached: one price list, and the arithmetic over it. It knows no
//! clock: whether a cache is alive is for the caller to say.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use tinyclaw_domain::{CacheTtl, Catalogue, Model, Probabilities, Stay, Tier, Tiers, WarmCache};

/// The list that is built in.
pub const PRICES: &str = include_str!("../prices.toml");

/// Tokens that an answer is taken to have, before it is known.
const ANSWER_TOKENS: u64 = 600;

/// How likely it is that a conversation comes back to the stronger model it had. Nobody knows before: half of the price is
/// counted, so that the way back decides nothing alone.
const COMES_BACK: f64 = 0.5;

/// What the models cost, and since when.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// The day the list was true.
    pub date: String,
    cache: CacheFactors,
    models: BTreeMap<String, Price>,
}

/// What a cache changes about the price of input.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheFactors {
    read: f64,
    write5m: f64,
    write1h: f64,
}

/// One model's price, in dollars a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
    context_tokens: u64,
}

/// A conversation that a message goes on with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversation<'a> {
    /// Tokens it holds already.
    pub(crate) context: u64,
    /// Tokens of the message.
    pub(crate) said: u64,
    /// Which models have how much of it cached.
    pub(crate) warm: &'a [WarmCache],
    /// How long what is cached now is kept.
    pub(crate) ttl: CacheTtl,
    /// Which model does a tier's work here.
    pub(crate) tiers: Tiers,
}

impl Conversation<'_> {
    fn cached_by(&self, model: Model) -> u64 {
        self.warm.iter().find(|it| it.model == model).map_or(0, |it| it.tokens)
    }
}

/// The tokens of one turn, as they are billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input that is neither read from a cache nor written to one.
    pub plain: u64,
    /// Read from a cache.
    pub read: u64,
    /// Written to a cache.
    pub written: u64,
    /// Output.
    pub output: u64,
}

impl Default for Prices {
    /// The list that is built in.
    fn default() -> Prices {
        static READ: OnceLock<Prices> = OnceLock::new();
        // A test reads the built-in file, so this cannot fail in a build that passed.
        READ.get_or_init(|| {
            toml::from_str(PRICES).unwrap_or_else(|err| panic!("prices.toml: {err}"))
        })
        .clone()
    }
}

/// How much a model holds of which nothing else is known.
const CONTEXT_TOKENS: u64 = 200_000;

impl Prices {
    /// This list, and what an office's settings say of its families.
    pub fn with(mut self, catalogue: &Catalogue) -> Prices {
        for family in catalogue.families() {
            let id = catalogue.id_of(family.name);
            let context_tokens = self.nearest(&id).map_or(CONTEXT_TOKENS, |it| it.context_tokens);
            let given = family.price.map(|(input, output)| Price { input, output, context_tokens });
            if let Some(price) = given.or_else(|| self.nearest(&id)) {
                self.models.insert(family.name.to_string(), price);
            }
        }
        self
    }

    /// What these tokens cost with a model, in dollars. A model without a price is taken to cost what the dearest does.
    pub fn cost(&self, model: Model, tokens: Tokens, ttl: CacheTtl) -> f64 {
        let price = self.of(model);
        let input = tokens.plain as f64
            + tokens.read as f64 * self.cache.read
            + tokens.written as f64 * self.write(ttl);
        (input * price.input + tokens.output as f64 * price.output) / 1e6
    }

    /// The most tokens a model can hold.
    pub fn context_limit(&self, model: Model) -> u64 {
        self.of(model).context_tokens
    }

    /// Whether one model is stronger than another: it is what one pays for.
    pub fn is_stronger(&self, one: Model, other: Model) -> bool {
        self.of(one).output > self.of(other).output
    }

    fn of(&self, model: Model) -> Price {
        let dearest = || {
            self.models
                .values()
                .copied()
                .max_by(|a, b| a.output.total_cmp(&b.output))
                .map(|it| Price { context_tokens: CONTEXT_TOKENS, ..it })
        };
        let unknown = Price { input: 0.0, output: 0.0, context_tokens: CONTEXT_TOKENS };
        self.nearest(model.as_str()).or_else(dearest).unwrap_or(unknown)
    }

    /// The price of a name, or of the family whose name occurs in it, the longest first.
    fn nearest(&self, name: &str) -> Option<Price> {
        self.models.get(name).copied().or_else(|| {
            let within = self.models.iter().filter(|it| name.contains(it.0.as_str()));
            within.max_by_key(|it| it.0.len()).map(|it| *it.1)
        })
    }

    fn write(&self, ttl: CacheTtl) -> f64 {
        match ttl {
            CacheTtl::FiveMinutes => self.cache.write5m,
            CacheTtl::OneHour => self.cache.write1h,
        }
    }

    /// What it costs to answer with a model: what is warm is read, the rest is written.
    fn answer(&self, model: Model, it: &Conversation<'_>) -> f64 {
        let read = it.cached_by(model).min(it.context);
        let written = it.context - read + it.said;
        self.cost(model, Tokens { plain: 0, read, written, output: ANSWER_TOKENS }, it.ttl)
    }

    /// What it costs a model to take up, later, what another one said: the message and its answer are new to it.
    fn come_back(&self, model: Model, it: &Conversation<'_>) -> f64 {
        let written = it.said + ANSWER_TOKENS;
        self.cost(model, Tokens { plain: 0, read: 0, written, output: 0 }, it.ttl)
    }

    /// What an answer of this model risks: it may not be enough, and then the strongest model is asked as well.
    fn risk(&self, model: Model, sure: Probabilities, it: &Conversation<'_>) -> f64 {
        self.not_enough(model, sure, it.tiers) * self.answer(it.tiers.complex, it)
    }

    /// How likely it is that a message needs a stronger model than this one. A model is enough for the tiers whose own is no
    /// stronger.
    pub fn not_enough(&self, model: Model, sure: Probabilities, tiers: Tiers) -> f64 {
        let is_enough = |it: &Tier| !self.is_stronger(tiers.of(*it), model);
        Tier::ALL.into_iter().rev().find(is_enough).map_or(1.0, |it| sure.above(it))
    }

    /// The stronger model whose cache is alive that comes cheapest, beside `wanted`: each with its price and its risk, and
    /// `wanted` with the way back. `None` when there is no such cache; a weaker model is never an answer to a price.
    pub(crate) fn stay(
        &self,
        wanted: Model,
        sure: Probabilities,
        conversation: &Conversation<'_>,
    ) -> Option<Stay> {
        let it = conversation;
        let switch_usd = self.answer(wanted, it);
        let switch_risk_usd = self.risk(wanted, sure, it);
        let fits = |model| it.context.saturating_add(it.said) <= self.context_limit(model);
        it.warm
            .iter()
            .filter(|warm| {
                warm.tokens > 0 && self.is_stronger(warm.model, wanted) && fits(warm.model)
            })
            .map(|warm| {
                let stay_usd = self.answer(warm.model, it);
                let back_usd = COMES_BACK * self.come_back(warm.model, it);
                let stay_risk_usd = self.risk(warm.model, sure, it);
                Stay {
                    model: warm.model,
                    instead_of: wanted,
                    context_tokens: it.context,
                    warm_tokens: warm.tokens.min(it.context),
                    stay_usd,
                    switch_usd,
                    back_usd,
                    stay_risk_usd,
                    switch_risk_usd,
                    cheaper: stay_usd + stay_risk_usd < switch_usd + switch_risk_usd + back_usd,
                }
            })
            .min_by(|a, b| gain(b).total_cmp(&gain(a)))
    }
}

/// Dollars that staying saves.
fn gain(it: &Stay) -> f64 {
    it.switch_usd + it.switch_risk_usd + it.back_usd - it.stay_usd - it.stay_risk_usd
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: CacheTtl = CacheTtl::OneHour;
    const FIVE: CacheTtl = CacheTtl::FiveMinutes;

    #[track_caller]
    fn costs(model: Model, tokens: [u64; 4], ttl: CacheTtl, usd: f64) {
        let [plain, read, written, output] = tokens;
        let found = Prices::default().cost(model, Tokens { plain, read, written, output }, ttl);
        assert!((found - usd).abs() < 1e-9, "{found} is not {usd}");
    }

    #[test]
    fn every_model_has_its_list_price() {
        costs(Model::HAIKU, [1_000_000, 0, 0, 1_000_000], FIVE, 0.10 + 0.50);
        costs(Model::SONNET, [1_000_000, 0, 0, 1_000_000], FIVE, 2.0 + 10.0);
        costs(Model::OPUS, [1_000_000, 0, 0, 1_000_000], FIVE, 4.0 + 20.0);
        costs(Model::FABLE, [1_000_000, 0, 0, 1_000_000], FIVE, 8.0 + 40.0);
    }

    #[test]
    fn a_full_id_costs_what_its_family_does_and_an_offices_own_what_the_office_says() {
        let id = |name| Model::named(name).expect("a name");
        costs(id("claude-opus-4-8"), [1_000_000, 0, 0, 0], FIVE, 4.0);
        costs(id("claude-epic-1"), [1_000_000, 0, 0, 0], FIVE, 8.0);
        let families = [("saga", "claude-saga-7 12/60"), ("old", "claude-sonnet-4-5")];
        let families = families.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let catalogue = Catalogue::read(&families.into(), &BTreeMap::new()).expect("a catalogue");
        let prices = Prices::default().with(&catalogue);
        let tokens = Tokens { output: 1_000_000, ..Tokens::default() };
        assert_eq!(prices.cost(id("saga"), tokens, FIVE), 60.0);
        assert_eq!(prices.cost(id("old"), tokens, FIVE), 10.0);
        assert!(prices.is_stronger(id("saga"), Model::FABLE));
    }

    #[test]
    fn a_cache_is_read_for_a_tenth_and_written_for_more() {
        costs(Model::OPUS, [0, 100_000, 0, 0], FIVE, 0.04);
        costs(Model::OPUS, [0, 0, 100_000, 0], FIVE, 0.50);
        costs(Model::OPUS, [0, 0, 100_000, 0], HOUR, 0.80);
    }

    /// Sure of SIMPLE, MEDIUM and COMPLEX, in hundredths.
    fn sure(simple: u8, medium: u8, complex: u8) -> Probabilities {
        let [simple, medium, complex] = [simple, medium, complex].map(|it| f64::from(it) / 100.0);
        Probabilities { simple, medium, complex }
    }

    #[track_caller]
    fn stays(
        wanted: Model,
        sure: Probabilities,
        context: u64,
        warm: &[(Model, u64)],
        cheaper: Option<bool>,
    ) -> Option<Stay> {
        let cache = |it: &(Model, u64)| WarmCache { model: it.0, tokens: it.1, until: 0 };
        let warm: Vec<WarmCache> = warm.iter().map(cache).collect();
        let conversation =
            Conversation { context, said: 20, warm: &warm, ttl: FIVE, tiers: Tiers::default() };
        let found = Prices::default().stay(wanted, sure, &conversation);
        assert_eq!(found.map(|it| it.cheaper), cheaper, "{found:?}");
        found
    }

    #[test]
    fn a_warm_opus_is_cheaper_than_a_cold_sonnet_with_a_long_conversation() {
        // Opus reads 100,000 tokens for 0.04; sonnet would write them for 0.25.
        let warm = [(Model::OPUS, 100_000)];
        let stay = stays(Model::SONNET, sure(10, 80, 10), 100_000, &warm, Some(true));
        let it = stay.expect("opus is warm");
        let opus = 0.04 + 20.0 * 1.25 * 4e-6 + 600.0 * 20e-6;
        assert!((it.stay_usd - opus).abs() < 1e-9);
        assert!((it.switch_usd - (100_020.0 * 1.25 * 2e-6 + 600.0 * 10e-6)).abs() < 1e-9);
        assert!((it.back_usd - 0.5 * 620.0 * 1.25 * 4e-6).abs() < 1e-9);
        assert!((it.switch_risk_usd - 0.1 * opus).abs() < 1e-9);
        assert!(it.stay_risk_usd.abs() < 1e-9, "nothing is above opus");
    }

    #[test]
    fn haiku_is_cheaper_even_cold_than_a_warm_opus() {
        // Haiku writes 100,000 tokens for 0.0125; opus reads them for 0.04.
        stays(Model::HAIKU, sure(90, 8, 2), 100_000, &[(Model::OPUS, 100_000)], Some(false));
    }

    #[test]
    fn a_doubtful_haiku_is_dearer_than_a_warm_opus() {
        // Haiku costs 0.0128 and 0.0016 to come back, and with 80 % opus must be asked as well, for 0.0521.
        let warm = [(Model::OPUS, 100_000)];
        let all = stays(Model::HAIKU, sure(20, 30, 50), 100_000, &warm, Some(true));
        let it = all.expect("opus is warm");
        assert!((it.switch_risk_usd - 0.8 * it.stay_usd).abs() < 1e-9);
        stays(Model::HAIKU, sure(51, 39, 10), 100_000, &warm, Some(false));
    }

    #[test]
    fn a_short_conversation_is_no_reason_to_stay() {
        let warm = [(Model::OPUS, 1_000)];
        stays(Model::SONNET, sure(10, 80, 10), 1_000, &warm, Some(false));
    }

    #[test]
    fn what_is_warm_on_both_sides_is_read_on_both_sides() {
        let both = [(Model::OPUS, 100_000), (Model::SONNET, 99_000)];
        stays(Model::SONNET, sure(10, 80, 10), 100_000, &both, Some(false));
    }

    #[test]
    fn a_weaker_model_is_never_an_answer_to_a_price() {
        let warm = [(Model::HAIKU, 100_000), (Model::SONNET, 100_000)];
        stays(Model::OPUS, sure(0, 10, 90), 100_000, &warm, None);
        stays(Model::SONNET, sure(10, 80, 10), 100_000, &[], None);
    }

    #[test]
    fn of_two_warm_models_the_cheaper_one_is_kept() {
        // Sonnet reads for half of what opus reads for; where it may well be too small, opus is kept.
        let both = [(Model::SONNET, 200_000), (Model::OPUS, 200_000)];
        let kept = |sure| stays(Model::HAIKU, sure, 200_000, &both, Some(true)).map(|it| it.model);
        assert_eq!(kept(sure(10, 85, 5)), Some(Model::SONNET));
        assert_eq!(kept(sure(0, 40, 60)), Some(Model::OPUS));
    }
}
