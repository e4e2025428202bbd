//! What an office's own past says about the weights at a desk: decisions are weighed anew from the scores that were logged, so
//! that messages whose answers were corrected go higher and the others stay where they were. It proposes and changes nothing,
//! and proposes only what also holds for messages that it has not learned from.
//!
//! Few numbers are moved: what messages start from at each kind of desk, how wide MEDIUM's band is there, and how much each of
//! the 14 dimensions counts. A prior holds them where they are, so that a handful of corrections moves little.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Serialize;
use tinyclaw_domain::{Cause, Correction, Decision, DeskKind, Key, OutcomeLine, Tier};

use crate::config::{Config, DIMENSIONS};
use crate::router::{Router, tier_of};

/// With fewer corrections nothing is learned.
pub const CORRECTIONS_MIN: usize = 10;
/// Only so many of the newest decisions count: an office changes, and its past is weighed some hundred times.
pub const LESSONS_MAX: usize = 5_000;
/// How much a correction counts beside a message that would go elsewhere for nothing.
const CORRECTION: f64 = 3.0;
/// Each message is judged by weights that were learned from the others, in so many parts.
const FOLDS: u64 = 5;
/// Fewer corrected messages that would go higher, unseen, are chance.
const RAISED_MIN: usize = 3;
/// As few as these among those that would go higher come by chance in one of twenty offices.
const CHANCE_MAX: f64 = 0.05;
/// How firmly the numbers are held where they are; which of these is for the past to say.
const PRIORS: [f64; 3] = [1.0, 4.0, 16.0];
/// A weight is held this much more firmly than what a desk starts from: there are 14 of them.
const WEIGHTS_HELD: f64 = 4.0;
/// A weight stays between these shares of what it was.
const SHARES: (f64, f64) = (0.5, 2.0);
const STEPS: usize = 120;
/// A number that moves less is left alone.
const MOVED_LEAST: f64 = 0.005;
/// What messages start from, and what widens the band, by what the desk holds: keys of `[desk.score]`.
const PLACES: [(DeskKind, &str, &str); 3] = [
    (DeskKind::Repo, "repo", "bandRepo"),
    (DeskKind::Files, "files", "bandFiles"),
    (DeskKind::None, "none", "bandNone"),
];
/// 14 weights as shares of what they are, three starts, three bands.
const NUMBERS: usize = 20;

type Numbers = [f64; NUMBERS];

/// The messages whose answers people did not take. A thumbs-down that is taken off again is none.
pub fn corrected(lines: &[OutcomeLine]) -> HashSet<Key> {
    let mut corrected = HashSet::new();
    // The last reaction of each person, whatever the order in which two of them were kept.
    let mut reactions = BTreeMap::new();
    for line in lines {
        let is_down = match line.said {
            Correction::Wrong | Correction::Again | Correction::Stronger => {
                corrected.insert(line.key.clone());
                continue;
            }
            Correction::ThumbsDown => true,
            Correction::ThumbsDownGone => false,
        };
        let who = (line.key.as_str(), line.sender_id.as_deref());
        let number = (line.by.as_str().len(), line.by.as_str());
        let last = reactions.entry(who).or_insert((number, is_down));
        if number >= last.0 {
            *last = (number, is_down);
        }
    }
    let down = reactions.iter().filter(|it| it.1.1).map(|it| it.0.0);
    corrected.extend(down.filter_map(|it| it.parse().ok()));
    corrected
}

/// One decision of the past, and whether its answer was corrected.
#[derive(Debug, Clone)]
pub struct Lesson {
    scores: [f64; 14],
    /// What is not moved: of the score, and of the band.
    fixed: [f64; 2],
    place: usize,
    tier: Tier,
    corrected: bool,
    /// The same words are learned from together, or judged together.
    fold: u64,
}

impl Lesson {
    /// What there is to be learned from a decision: nothing where something else than the score decided, where another model
    /// than the tier's was asked, or where nothing is higher.
    pub fn of(decision: &Decision, text: &str, corrected: bool) -> Option<Lesson> {
        let is_scored = matches!(decision.cause, Cause::Scored | Cause::FollowUp);
        let is_tiers = decision.effective_model == decision.model;
        let desk = decision.desk.filter(|_| is_scored && is_tiers && decision.dims.len() == 14)?;
        // A rule may have lifted it above what its score gives.
        let scored = tier_of(decision.raw_score, decision.boundaries);
        if scored != decision.tier || corrected && scored == Tier::Complex {
            return None;
        }
        let mut scores = [0.0; 14];
        for (score, dim) in scores.iter_mut().zip(&decision.dims) {
            *score = dim.score;
        }
        let mut hash = DefaultHasher::new();
        text.to_lowercase().split_whitespace().for_each(|it| it.hash(&mut hash));
        let bands: f64 = decision.dims.iter().filter_map(|it| it.band).sum();
        let band = decision.band.and_then(|it| it.learned).unwrap_or_default();
        Some(Lesson {
            scores,
            fixed: [decision.learned.unwrap_or_default(), bands + band],
            place: PLACES.iter().position(|it| it.0 == desk)?,
            tier: decision.tier,
            corrected,
            fold: hash.finish() % FOLDS,
        })
    }

    /// Score and band under these numbers.
    fn sums(&self, base: &Base, numbers: &Numbers) -> (f64, f64) {
        let raw: f64 =
            (0..14).map(|it| self.scores[it] * base.weights[it] * numbers[it]).sum::<f64>();
        let raw = raw + self.fixed[0] + numbers[14 + self.place];
        (raw, self.fixed[1] + numbers[17 + self.place])
    }

    fn tier(&self, base: &Base, numbers: &Numbers) -> Tier {
        let (raw, band) = self.sums(base, numbers);
        let half = (2.0 * band).max(0.0);
        match raw {
            _ if raw >= half => Tier::Complex,
            _ if raw >= -half => Tier::Medium,
            _ => Tier::Simple,
        }
    }
}

/// The numbers in force, and what is needed beside them.
#[derive(Debug, Clone, Copy)]
struct Base {
    weights: [f64; 14],
    numbers: Numbers,
    temperature: f64,
}

/// How numbers do on a past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Messages whose answers were corrected.
    pub corrected: usize,
    /// Of these, how many would go to a higher tier than they went to.
    pub raised: usize,
    /// The other messages.
    pub others: usize,
    /// Of these, how many would go higher, which nobody asked for,
    pub higher: usize,
    /// and how many lower.
    pub lower: usize,
}

impl Score {
    fn note(&mut self, lesson: &Lesson, tier: Tier) {
        if lesson.corrected {
            self.corrected += 1;
            self.raised += usize::from(tier > lesson.tier);
        } else {
            self.others += 1;
            self.higher += usize::from(tier > lesson.tier);
            self.lower += usize::from(tier < lesson.tier);
        }
    }

    /// How likely it is that as many of those that would go higher were corrected, if they had been picked blindly.
    pub fn chance(&self) -> f64 {
        let picked = self.raised + self.higher;
        let all = (self.corrected + self.others).max(1);
        let share = self.corrected as f64 / all as f64;
        // The upper end of a binomial distribution, term by term.
        let mut term = (1.0 - share).powi(picked as i32);
        let mut below = 0.0;
        for hits in 0..self.raised {
            below += term;
            term *= (picked - hits) as f64 / (hits + 1) as f64 * share / (1.0 - share).max(1e-9);
        }
        (1.0 - below).clamp(0.0, 1.0)
    }

    fn holds(&self) -> bool {
        let gain = CORRECTION * self.raised as f64 - (self.higher + self.lower) as f64;
        self.raised >= RAISED_MIN && gain > 0.0 && self.chance() <= CHANCE_MAX
    }
}

/// Why nothing is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NothingLearned {
    /// There are too few corrections.
    #[error(
        "{corrected} of {decisions} decisions that count were followed by a correction, and at least {CORRECTIONS_MIN} must have been"
    )]
    TooFew {
        /// Decisions that count.
        decisions: usize,
        /// Those whose answers were corrected.
        corrected: usize,
    },
    /// What was learned from one part of the past does not hold for the rest.
    #[error(
        "weights that were learned from one part of the past do not hold for the rest: of {} messages that they would raise there, \
         {} were corrected",
        .0.raised + .0.higher, .0.raised
    )]
    DoesNotHold(Score),
}

/// What is proposed, and what it changes for the past that it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The numbers in force, on the whole past.
    pub before: Score,
    /// Those proposed, on the same.
    pub after: Score,
    /// Each message judged by numbers that were learned without it: what may be expected of messages to come.
    pub unseen: Score,
    /// How likely it is that the unseen ones come out so well by chance.
    pub chance: f64,
    /// What would change: the key in the file, its number now, and the proposed one.
    pub changes: Vec<Change>,
}

/// One number that would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The key in the file.
    pub key: String,
    /// Its number now.
    pub from: f64,
    /// The proposed one.
    pub to: f64,
}

impl Proposal {
    /// The file that says so, for routers with these lists and no others. `before` is what was learned until now; what of it
    /// is not changed stays.
    pub fn toml(&self, before: &Config) -> String {
        let built_in = Config::default();
        let mut out = format!("base = \"{}\"\n", built_in.fingerprint());
        let mut table = "";
        for key in keys() {
            let changed = self.changes.iter().find(|it| it.key == key).map(|it| it.to);
            let Some(number) = changed.or_else(|| before.number(&key)) else { continue };
            if built_in.number(&key).is_some_and(|it| (it - number).abs() <= MOVED_LEAST) {
                continue;
            }
            let of = if key.starts_with(SCORE) { SCORE } else { WEIGHTS };
            let name = key.trim_start_matches(of);
            if table != of {
                let _ = writeln!(out, "\n[{}]", of.trim_end_matches('.'));
                table = of;
            }
            let _ = writeln!(out, "{name} = {number:.4}");
        }
        out
    }

    /// The keys that another file sets, so that the proposed numbers would not count.
    pub fn hidden_by(&self, learned: &Config, in_force: &Config) -> Vec<String> {
        let keys = self.changes.iter().map(|it| it.key.clone());
        keys.filter(|it| learned.number(it) != in_force.number(it)).collect()
    }
}

/// The tables of the numbers that are learned.
const SCORE: &str = "desk.score.";
const WEIGHTS: &str = "desk.weights.";

/// The keys of the numbers that are learned, in the order of the file.
fn keys() -> impl Iterator<Item = String> {
    let places = PLACES.iter().flat_map(|it| [it.1, it.2]).map(|it| format!("{SCORE}{it}"));
    places.chain(DIMENSIONS.iter().map(|it| format!("{WEIGHTS}{it}")))
}

impl Config {
    /// A number that can be learned, by its key.
    fn number(&self, key: &str) -> Option<f64> {
        let desk = &self.desk;
        if let Some(name) = key.strip_prefix(WEIGHTS) {
            let at = DIMENSIONS.iter().position(|it| *it == name)?;
            return Some(desk.weights[at]);
        }
        let name = key.strip_prefix(SCORE)?;
        let at = |band: bool| PLACES.iter().position(|it| name == if band { it.2 } else { it.1 });
        at(false).map(|it| desk.place[it]).or_else(|| at(true).map(|it| desk.place_bands[it]))
    }
}

/// Proposes numbers for an office. `lessons` are oldest first.
pub fn learn(router: &Router, lessons: &[Lesson]) -> Result<Proposal, NothingLearned> {
    let lessons = &lessons[lessons.len().saturating_sub(LESSONS_MAX)..];
    let corrected = lessons.iter().filter(|it| it.corrected).count();
    if corrected < CORRECTIONS_MIN {
        return Err(NothingLearned::TooFew { decisions: lessons.len(), corrected });
    }
    let base = router.desk_base();
    let mut unseen = Score::default();
    for fold in 0..FOLDS {
        let (held, rest): (Vec<&Lesson>, Vec<&Lesson>) =
            lessons.iter().partition(|it| it.fold == fold);
        let numbers = fit(&base, &rest, prior(&base, &rest));
        held.iter().for_each(|it| unseen.note(it, it.tier(&base, &numbers)));
    }
    if !unseen.holds() {
        return Err(NothingLearned::DoesNotHold(unseen));
    }
    let all: Vec<&Lesson> = lessons.iter().collect();
    let proposed = fit(&base, &all, prior(&base, &all));
    let score = |numbers: &Numbers| {
        let mut score = Score::default();
        lessons.iter().for_each(|it| score.note(it, it.tier(&base, numbers)));
        score
    };
    let changes = changes(&base, &proposed);
    Ok(Proposal {
        before: score(&base.numbers),
        after: score(&proposed),
        unseen,
        chance: unseen.chance(),
        changes,
    })
}

fn changes(base: &Base, proposed: &Numbers) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut note = |key: String, from: f64, to: f64| {
        if (from - to).abs() > MOVED_LEAST {
            changes.push(Change { key, from, to });
        }
    };
    for (index, (_, start, band)) in PLACES.iter().enumerate() {
        for (key, at) in [(start, 14 + index), (band, 17 + index)] {
            note(format!("{SCORE}{key}"), base.numbers[at], proposed[at]);
        }
    }
    for (index, name) in DIMENSIONS.iter().enumerate() {
        let weight = base.weights[index];
        note(format!("{WEIGHTS}{name}"), weight, weight * proposed[index]);
    }
    changes
}

/// How firmly the numbers are held: as it serves messages best that were not learned from.
fn prior(base: &Base, lessons: &[&Lesson]) -> f64 {
    let loss_of = |prior: f64| -> f64 {
        let folds: HashMap<bool, Vec<&Lesson>> =
            lessons.iter().fold(HashMap::new(), |mut folds, it| {
                folds.entry(it.fold.is_multiple_of(2)).or_insert_with(Vec::new).push(*it);
                folds
            });
        let (Some(one), Some(other)) = (folds.get(&true), folds.get(&false)) else { return 0.0 };
        let unseen = |learned: &[&Lesson], judged: &[&Lesson]| {
            let numbers = fit(base, learned, prior);
            judged.iter().map(|it| loss(base, it, &numbers, None)).sum::<f64>()
        };
        unseen(one, other) + unseen(other, one)
    };
    let found = PRIORS.map(|it| (loss_of(it), it));
    found.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(PRIORS[2], |it| it.1)
}

/// The numbers that make a past most likely. The loss is nearly convex and smooth, so plain steps downhill, shorter where one
/// leads up, find the bottom; there is no chance in it.
fn fit(base: &Base, lessons: &[&Lesson], prior: f64) -> Numbers {
    let held = |at: usize| prior * if at < 14 { WEIGHTS_HELD } else { 1.0 };
    let total = |numbers: &Numbers, mut slope: Option<&mut Numbers>| -> f64 {
        let mut sum: f64 =
            lessons.iter().map(|it| loss(base, it, numbers, slope.as_deref_mut())).sum();
        for at in 0..NUMBERS {
            let moved = numbers[at] - base.numbers[at];
            sum += held(at) * moved * moved;
            if let Some(slope) = slope.as_deref_mut() {
                slope[at] += 2.0 * held(at) * moved;
            }
        }
        sum
    };
    let mut numbers = base.numbers;
    let mut step = 1.0 / (lessons.len().max(1) as f64);
    let mut slope = [0.0; NUMBERS];
    let mut now = total(&numbers, Some(&mut slope));
    for _ in 0..STEPS {
        let mut next = numbers;
        for at in 0..NUMBERS {
            next[at] -= step * slope[at];
            if at < 14 {
                next[at] = next[at].clamp(SHARES.0, SHARES.1);
            }
        }
        let mut slope_there = [0.0; NUMBERS];
        let there = total(&next, Some(&mut slope_there));
        if there < now {
            let gained = now - there;
            (numbers, now, slope) = (next, there, slope_there);
            step *= 1.5;
            if gained < 1e-7 * now {
                break;
            }
        } else {
            step *= 0.4;
        }
    }
    numbers
}

/// How unlikely these numbers find what became of a message: that it needed more, or that it was right where it was. Adds to
/// `slope` how that changes with each number.
fn loss(base: &Base, lesson: &Lesson, numbers: &Numbers, slope: Option<&mut Numbers>) -> f64 {
    let (raw, band) = lesson.sums(base, numbers);
    let logits = [-raw / 2.0, band, raw / 2.0].map(|it| it / base.temperature);
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let odds = logits.map(|it| (it - most).exp());
    let sum: f64 = odds.iter().sum();
    let shares = odds.map(|it| it / sum);
    let tier = lesson.tier as usize;
    let is_right = |at: usize| if lesson.corrected { at > tier } else { at == tier };
    let right: f64 = (0..3).filter(|it| is_right(*it)).map(|it| shares[it]).sum::<f64>().max(1e-12);
    let weight = if lesson.corrected { CORRECTION } else { 1.0 };
    if let Some(slope) = slope {
        let mut by = [0.0; 3];
        for at in 0..3 {
            let wanted = if is_right(at) { shares[at] / right } else { 0.0 };
            by[at] = weight * (shares[at] - wanted) / base.temperature;
        }
        let by_raw = (by[2] - by[0]) / 2.0;
        for ((slope, score), weight) in slope.iter_mut().zip(lesson.scores).zip(base.weights) {
            *slope += by_raw * score * weight;
        }
        slope[14 + lesson.place] += by_raw;
        slope[17 + lesson.place] += by[1];
    }
    -weight * right.ln()
}

impl Router {
    fn desk_base(&self) -> Base {
        let desk = &self.config().desk;
        let mut numbers = [1.0; NUMBERS];
        numbers[14..17].copy_from_slice(&desk.place);
        numbers[17..].copy_from_slice(&desk.place_bands);
        Base { weights: desk.weights, numbers, temperature: desk.temperature }
    }
}

#[cfg(test)]
mod tests;
