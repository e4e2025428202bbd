//! The router: reads a message, adds up 14 dimensions, holds the sum against two boundaries and applies the policy.
//! It has no clock, no files and no memory of earlier messages.

use tinyclaw_domain::{
    Boundaries, CacheTtl, Catalogue, Cause, Decision, DeskKind, Dimension, Direction, Effort,
    Efforts, Model, OwnTiers, Probabilities, Source, Tier, Tiers, WarmCache,
};

use crate::config::{Config, DIMENSIONS};
use crate::desk::{DeskReader, DeskReading, Scale, each_desk_bucket};
use crate::hint::{Hints, blank_hints};
use crate::learned::{self, Table, each_bucket};
use crate::money::Prices;
use crate::policy::{self, OwnWords, Rules};
use crate::reading::{Reader, Reading, ReadingPart};

/// The version that decisions name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A message, and what is around it. Only `text` is scored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    /// What was said.
    pub text: &'a str,
    /// The text it replies to; not scored.
    pub reply_to_text: Option<&'a str>,
    /// The model that wrote what it replies to.
    pub reply_to_model: Option<Model>,
    /// What was said before, newest last; asked only by follow-ups.
    pub history: &'a [Turn<'a>],
    /// Who or what spoke.
    pub source: Source,
    /// Media types of what came with it.
    pub attachments: &'a [&'a str],
    /// What the desk holds that it is said at; without it the text is read as a chat's.
    pub desk: Option<DeskKind>,
    /// The model the thread is pinned to.
    pub pin: Option<Model>,
    /// The models that the thread has of its own for some tiers.
    pub own_tiers: OwnTiers,
    /// How hard the thread wants its messages thought about.
    pub effort: Option<Effort>,
    /// Tokens the session holds already.
    pub context_tokens: u64,
    /// Which models have how much of the session cached at this moment.
    pub warm: &'a [WarmCache],
    /// How long what is cached now is kept.
    pub cache: CacheTtl,
}

/// One earlier message of the thread.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// To Claude, or from it.
    pub direction: Direction,
    /// What was said.
    pub text: &'a str,
    /// The tier it was given.
    pub tier: Option<Tier>,
    /// The model that wrote it.
    pub model: Option<Model>,
}

impl<'a> Input<'a> {
    /// A person's message with nothing around it.
    pub fn new(text: &'a str) -> Input<'a> {
        Input { text, ..Input::default() }
    }
}

/// Decides tiers. Made once (milliseconds), asked often (microseconds), shared freely between threads.
#[derive(Debug, Clone)]
pub struct Router {
    config: Config,
    reader: Reader,
    desk: DeskReader,
    scale: Scale,
    learned: Option<Table>,
    catalogue: Catalogue,
    efforts: Efforts,
    prices: Prices,
    /// The share of each part in its dimension's score.
    shares: Vec<f64>,
    hash: String,
}

impl Default for Router {
    fn default() -> Router {
        Router::new(Config::default())
    }
}

impl Router {
    /// A router with this configuration.
    pub fn new(mut config: Config) -> Router {
        let (chat, desk) = (config.lists.lexicon(), config.desk.lists.lexicon());
        let hash = config.fingerprint_with(&chat, &desk);
        let reader = Reader::new(chat);
        let share =
            |part: &ReadingPart| config.parts.get(&part.dimension)?.get(&part.name).copied();
        let shares = reader.parts.iter().map(|it| share(it).unwrap_or(0.0)).collect();
        let learned = config.learned.then(|| Table::new(learned::BUILT_IN));
        let desk = DeskReader::new(desk);
        let scale = Scale::new(&config.desk, &desk);
        // The readers have the lists packed.
        config.lists.forget();
        config.desk.lists.forget();
        let (catalogue, prices) = (Catalogue::default(), Prices::default());
        let efforts = Efforts::default();
        Router { config, reader, desk, scale, learned, catalogue, efforts, prices, shares, hash }
    }

    /// The same router for an office that knows these models.
    pub fn with_catalogue(mut self, catalogue: Catalogue) -> Router {
        self.prices = Prices::default().with(&catalogue);
        self.catalogue = catalogue;
        self
    }

    /// The same router with this effort for each tier.
    pub fn with_efforts(mut self, efforts: Efforts) -> Router {
        self.efforts = efforts;
        self
    }

    /// The effort for each tier.
    pub fn efforts(&self) -> Efforts {
        self.efforts
    }

    /// The models it knows.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn tiers(&self, input: &Input<'_>) -> Tiers {
        self.catalogue.tiers().with(input.own_tiers)
    }

    /// Decides. Any text is fine; the time is linear in its length up to a bound, and constant beyond.
    pub fn decide(&self, input: &Input<'_>) -> Decision {
        if input.source == Source::Heartbeat {
            // The clock says nothing that could be scored.
            let input = Input { text: "", ..*input };
            return self.finish(&input, Hints::default(), &self.reader.read(""));
        }
        // A hint is no word about the work. It would count as one: `[effort:max]` made an easy question harder.
        let (hints, said) = blank_hints(input.text, &self.catalogue);
        let input = &Input { text: &said, ..*input };
        if let Some(desk) = input.desk {
            return self.decide_at(desk, input, hints);
        }
        let reading = self.reader.read(input.text);
        self.finish(input, hints, &reading)
    }

    fn decide_at(&self, desk: DeskKind, input: &Input<'_>, hints: Hints) -> Decision {
        let reading = self.desk.read(input, desk);
        let learned = self.config.learned.then_some(self.config.learned_weight);
        let it =
            self.scale.weigh(&self.config.desk, &self.desk, &reading, input.text, desk, learned);
        let boundaries = Boundaries { medium: -it.half, complex: it.half };
        let tier = tier_of(it.raw_score, boundaries);
        let tiers = self.tiers(input);
        let mut decision = Decision {
            dims: it.dims,
            bias: it.bias,
            learned: it.learned,
            raw_score: it.raw_score,
            boundaries,
            band: Some(it.band),
            desk: Some(desk),
            sets_off: Vec::new(),
            confidence: it.probabilities.of(tier),
            probabilities: it.probabilities,
            tier,
            model: tiers.of(tier),
            cause: Cause::Scored,
            upgraded: false,
            effective_model: tiers.of(tier),
            effort: None,
            warm: Vec::new(),
            stay: None,
            replied: None,
            evidence: None,
            estimated_tokens: reading.tokens,
            truncated: reading.truncated,
            router_version: VERSION.to_owned(),
            config_hash: self.hash.clone(),
        };
        // Leave to do what can hurt is never SIMPLE, however short it is.
        let follows = reading.risks.then_some(Tier::Medium);
        let said = OwnWords { letters: reading.letters, tokens: reading.tokens, follows };
        if !reading.sets_off.is_empty() {
            // The same words without what came before: only if that is another tier, the answer decided.
            let alone = self.desk.read(&Input { history: &[], ..*input }, desk);
            let alone =
                self.scale.weigh(&self.config.desk, &self.desk, &alone, input.text, desk, learned);
            let alone =
                tier_of(alone.raw_score, Boundaries { medium: -alone.half, complex: alone.half });
            if alone != tier {
                decision.cause = Cause::FollowUp;
                decision.upgraded = tier > alone;
            }
        }
        decision.sets_off = reading.sets_off;
        self.rules(tiers).apply(&mut decision, input, hints, &said);
        decision
    }

    fn finish(&self, input: &Input<'_>, hints: Hints, reading: &Reading) -> Decision {
        let dims = self.dimensions(input.text, reading);
        let learned = self
            .learned
            .as_ref()
            .map(|it| self.config.learned_weight * it.score(&reading.folded.text, &reading.zones));
        let bias = self.config.bias;
        let raw_score =
            dims.iter().map(|it| it.contribution).sum::<f64>() + learned.unwrap_or(0.0) + bias;
        let boundaries = Boundaries { medium: self.config.medium, complex: self.config.complex };
        let tier = tier_of(raw_score, boundaries);
        let probabilities = self.probabilities(raw_score);
        let tiers = self.tiers(input);
        let mut decision = Decision {
            dims,
            bias,
            learned,
            raw_score,
            boundaries,
            band: None,
            desk: None,
            sets_off: Vec::new(),
            confidence: probabilities.of(tier),
            probabilities,
            tier,
            model: tiers.of(tier),
            cause: Cause::Scored,
            upgraded: false,
            effective_model: tiers.of(tier),
            effort: None,
            warm: Vec::new(),
            stay: None,
            replied: None,
            evidence: None,
            estimated_tokens: reading.tokens,
            truncated: reading.truncated,
            router_version: VERSION.to_owned(),
            config_hash: self.hash.clone(),
        };
        let said = OwnWords {
            letters: reading.letters,
            tokens: reading.tokens,
            follows: policy::followed(input.history, tiers, reading),
        };
        self.rules(tiers).apply(&mut decision, input, hints, &said);
        decision
    }

    fn rules(&self, tiers: Tiers) -> Rules<'_> {
        Rules {
            tiers,
            efforts: self.efforts,
            prices: &self.prices,
            min_confidence: self.config.min_confidence,
        }
    }

    fn dimensions(&self, text: &str, reading: &Reading) -> Vec<Dimension> {
        let mut scores = [0.0f64; 14];
        for ((part, share), value) in
            self.reader.parts.iter().zip(&self.shares).zip(&reading.values)
        {
            scores[part.dimension] += share * f64::from(*value);
        }
        let line = |(index, name): (usize, &&str)| {
            let score = scores[index].clamp(-1.0, 1.0);
            let weight = self.config.weights[index];
            let hits = &reading.hits[index];
            Dimension {
                name: (*name).to_owned(),
                score,
                weight,
                contribution: score * weight,
                band: None,
                hits: hits.iter().map(|it| self.reader.hit(reading, text, *it)).collect(),
            }
        };
        DIMENSIONS.iter().enumerate().map(line).collect()
    }

    fn probabilities(&self, raw: f64) -> Probabilities {
        let curve = |centre: f64, slope: f64| 1.0 / (1.0 + (-slope * (raw - centre)).exp());
        let it = &self.config.calibration;
        let medium_up = curve(it.medium_centre, it.medium_slope);
        let complex = curve(it.complex_centre, it.complex_slope).min(medium_up);
        Probabilities { simple: 1.0 - medium_up, medium: medium_up - complex, complex }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// What the models cost.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The parts of the dimensions, in the order of [`Reading::values`]: what the fit tool gives shares to.
    pub fn parts(&self) -> &[ReadingPart] {
        &self.reader.parts
    }

    /// A message as numbers, before any weight: what the fit tool learns from.
    pub fn read(&self, text: &str) -> Reading {
        self.reader.read(text)
    }

    /// The parts of the dimensions at a desk, in the order of [`DeskReading::values`].
    pub fn desk_parts(&self) -> &[ReadingPart] {
        &self.desk.parts
    }

    /// A message at a desk as numbers, before any weight.
    pub fn read_at(&self, desk: DeskKind, input: &Input<'_>) -> DeskReading {
        self.desk.read(input, desk)
    }

    /// The buckets of the desk's learned tables that a reading falls into.
    pub fn desk_buckets(&self, reading: &DeskReading) -> Vec<usize> {
        let mut buckets = Vec::new();
        each_desk_bucket(reading, |it| buckets.push(it));
        buckets
    }

    /// The buckets of the learned table that a reading falls into.
    pub fn buckets(&self, reading: &Reading) -> Vec<usize> {
        let mut buckets = Vec::new();
        each_bucket(&reading.folded.text, &reading.zones, |it| buckets.push(it));
        buckets
    }
}

pub(crate) fn tier_of(raw: f64, boundaries: Boundaries) -> Tier {
    if raw >= boundaries.complex {
        Tier::Complex
    } else if raw >= boundaries.medium {
        Tier::Medium
    } else {
        Tier::Simple
    }
}
