//! What a turn costs with each model, given what is cached: one price list, and the arithmetic over it. It knows no
//! clock: whether a cache is alive is for the caller to say.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use tinyclaw_domain::{CacheTtl, Model, Stay};

/// The list that is built in.
pub const PRICES: &str = include_str!("../prices.toml");

/// Tokens that an answer is taken to have, before it is known.
const ANSWER_TOKENS: u64 = 600;

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

/// A model's cache of the conversation that is alive when the message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warm {
    /// Whose cache.
    pub model: Model,
    /// How much of the conversation is in it.
    pub tokens: u64,
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

impl Prices {
    /// What these tokens cost with a model, in dollars.
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

    fn of(&self, model: Model) -> Price {
        // A test asks for each model, so none is missing in a build that passed.
        self.models[model.as_str()]
    }

    fn write(&self, ttl: CacheTtl) -> f64 {
        match ttl {
            CacheTtl::FiveMinutes => self.cache.write5m,
            CacheTtl::OneHour => self.cache.write1h,
        }
    }

    /// What it costs to answer with a model: what is warm is read, the rest is written.
    pub fn answer(&self, model: Model, context: u64, said: u64, warm: u64, ttl: CacheTtl) -> f64 {
        let read = warm.min(context);
        let written = context - read + said;
        self.cost(model, Tokens { plain: 0, read, written, output: ANSWER_TOKENS }, ttl)
    }

    /// What it costs a model to take up, later, what another one said: the message and its answer are new to it.
    pub fn come_back(&self, model: Model, said: u64, ttl: CacheTtl) -> f64 {
        let written = said + ANSWER_TOKENS;
        self.cost(model, Tokens { plain: 0, read: 0, written, output: 0 }, ttl)
    }

    /// Whether a stronger model whose cache is alive costs no more than `wanted` and the way back. `None` when there is
    /// no such cache; a weaker model is never an answer to a price.
    pub fn stay(
        &self,
        wanted: Model,
        context: u64,
        said: u64,
        warm: &[Warm],
        ttl: CacheTtl,
    ) -> Option<Stay> {
        let tokens = |model| warm.iter().find(|it| it.model == model).map_or(0, |it| it.tokens);
        let switch_usd = self.answer(wanted, context, said, tokens(wanted), ttl);
        warm.iter()
            .filter(|it| it.model > wanted && it.tokens > 0)
            .map(|it| {
                let stay_usd = self.answer(it.model, context, said, it.tokens, ttl);
                let back_usd = self.come_back(it.model, said, ttl);
                Stay {
                    model: it.model,
                    instead_of: wanted,
                    context_tokens: context,
                    warm_tokens: it.tokens,
                    stay_usd,
                    switch_usd,
                    back_usd,
                    cheaper: stay_usd < switch_usd + back_usd,
                }
            })
            .min_by(|a, b| (a.stay_usd - a.back_usd).total_cmp(&(b.stay_usd - b.back_usd)))
    }
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
        costs(Model::Haiku, [1_000_000, 0, 0, 1_000_000], FIVE, 0.10 + 0.50);
        costs(Model::Sonnet, [1_000_000, 0, 0, 1_000_000], FIVE, 2.0 + 10.0);
        costs(Model::Opus, [1_000_000, 0, 0, 1_000_000], FIVE, 4.0 + 20.0);
    }

    #[test]
    fn a_cache_is_read_for_a_tenth_and_written_for_more() {
        costs(Model::Opus, [0, 100_000, 0, 0], FIVE, 0.04);
        costs(Model::Opus, [0, 0, 100_000, 0], FIVE, 0.50);
        costs(Model::Opus, [0, 0, 100_000, 0], HOUR, 0.80);
    }

    #[track_caller]
    fn stays(
        wanted: Model,
        context: u64,
        warm: &[(Model, u64)],
        cheaper: Option<bool>,
    ) -> Option<Stay> {
        let warm: Vec<Warm> = warm.iter().map(|it| Warm { model: it.0, tokens: it.1 }).collect();
        let found = Prices::default().stay(wanted, context, 20, &warm, FIVE);
        assert_eq!(found.map(|it| it.cheaper), cheaper, "{found:?}");
        found
    }

    #[test]
    fn a_warm_opus_is_cheaper_than_a_cold_sonnet_with_a_long_conversation() {
        // Opus reads 100,000 tokens for 0.04; sonnet would write them for 0.25.
        let stay = stays(Model::Sonnet, 100_000, &[(Model::Opus, 100_000)], Some(true));
        let it = stay.expect("opus is warm");
        assert!((it.stay_usd - (0.04 + 20.0 * 1.25 * 4e-6 + 600.0 * 20e-6)).abs() < 1e-9);
        assert!((it.switch_usd - (100_020.0 * 1.25 * 2e-6 + 600.0 * 10e-6)).abs() < 1e-9);
        assert!((it.back_usd - 620.0 * 1.25 * 4e-6).abs() < 1e-9);
    }

    #[test]
    fn haiku_is_cheaper_even_cold_than_a_warm_opus() {
        // Haiku writes 100,000 tokens for 0.0125; opus reads them for 0.04.
        stays(Model::Haiku, 100_000, &[(Model::Opus, 100_000)], Some(false));
    }

    #[test]
    fn a_short_conversation_is_no_reason_to_stay() {
        stays(Model::Sonnet, 1_000, &[(Model::Opus, 1_000)], Some(false));
    }

    #[test]
    fn what_is_warm_on_both_sides_is_read_on_both_sides() {
        let both = [(Model::Opus, 100_000), (Model::Sonnet, 99_000)];
        stays(Model::Sonnet, 100_000, &both, Some(false));
    }

    #[test]
    fn a_weaker_model_is_never_an_answer_to_a_price() {
        stays(Model::Opus, 100_000, &[(Model::Haiku, 100_000), (Model::Sonnet, 100_000)], None);
        stays(Model::Sonnet, 100_000, &[], None);
    }
}
