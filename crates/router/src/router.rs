//! The router: reads a message, adds up 14 dimensions, holds the sum against two boundaries and applies the policy.
//! It has no clock, no files and no memory of earlier messages.

use tinyclaw_domain::{
    Boundaries, Cause, Decision, Dimension, Direction, Model, Probabilities, Source, Tier,
};

use crate::config::{Config, DIMENSIONS};
use crate::hint::strip_hint;
use crate::learned::{Learned, each_bucket};
use crate::policy;
use crate::reading::{Part, Reader, Reading};

/// The version that decisions name.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A message, and what is around it. Only `text` is scored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Input<'a> {
    /// What was said.
    pub text: &'a str,
    /// The text it replies to; not scored.
    pub reply_to_text: Option<&'a str>,
    /// The model that wrote what it replies to: its tier is the least this message gets.
    pub reply_to_model: Option<Model>,
    /// What was said before, newest last; asked only by follow-ups.
    pub history: &'a [Turn<'a>],
    /// Who or what spoke.
    pub source: Source,
    /// Media types of what came with it.
    pub attachments: &'a [&'a str],
    /// The model the thread is pinned to.
    pub pin: Option<Model>,
    /// Tokens the session holds already.
    pub context_tokens: u64,
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
    learned: Option<Learned>,
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
        let reader = Reader::new(&config);
        let share = |part: &Part| config.parts.get(&part.dimension)?.get(&part.name).copied();
        let shares = reader.parts.iter().map(|it| share(it).unwrap_or(0.0)).collect();
        let learned = config.learned.then(Learned::new);
        let hash = config.fingerprint();
        // The reader has the lists in its own shape.
        config.lists.clear();
        Router { config, reader, learned, shares, hash }
    }

    /// Decides. Any text is fine; the time is linear in its length up to a bound, and constant beyond.
    pub fn decide(&self, input: &Input<'_>) -> Decision {
        if input.source == Source::Heartbeat {
            // The clock says nothing that could be scored.
            return self.finish(&Input { text: "", ..*input }, None, &self.reader.read(""));
        }
        let (hint, _) = strip_hint(input.text);
        let reading = self.reader.read(input.text);
        self.finish(input, hint, &reading)
    }

    fn finish(&self, input: &Input<'_>, hint: Option<Model>, reading: &Reading) -> Decision {
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
        let confidence = match tier {
            Tier::Simple => probabilities.simple,
            Tier::Medium => probabilities.medium,
            Tier::Complex => probabilities.complex,
        };
        let mut decision = Decision {
            dims,
            bias,
            learned,
            raw_score,
            boundaries,
            probabilities,
            confidence,
            tier,
            model: tier.model(),
            cause: Cause::Scored,
            upgraded: false,
            effective_model: tier.model(),
            estimated_tokens: reading.tokens,
            truncated: reading.truncated,
            router_version: VERSION.to_owned(),
            config_hash: self.hash.clone(),
        };
        let (large, least) = (self.config.large_context_tokens, self.config.min_confidence);
        policy::apply(&mut decision, input, hint, reading, large, least);
        decision
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

    /// The parts of the dimensions, in the order of [`Reading::values`]: what the fit tool gives shares to.
    pub fn parts(&self) -> &[Part] {
        &self.reader.parts
    }

    /// A message as numbers, before any weight: what the fit tool learns from.
    pub fn read(&self, text: &str) -> Reading {
        self.reader.read(text)
    }

    /// The buckets of the learned table that a reading falls into.
    pub fn buckets(&self, reading: &Reading) -> Vec<usize> {
        let mut buckets = Vec::new();
        each_bucket(&reading.folded.text, &reading.zones, |it| buckets.push(it));
        buckets
    }
}

fn tier_of(raw: f64, boundaries: Boundaries) -> Tier {
    if raw >= boundaries.complex {
        Tier::Complex
    } else if raw >= boundaries.medium {
        Tier::Medium
    } else {
        Tier::Simple
    }
}
