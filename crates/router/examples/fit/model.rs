//! The model: one linear score with two thresholds, fitted by logistic loss at both (ordinal regression) with a
//! penalty on every weight. Plain accelerated gradient descent from zero: no chance in it.

use std::collections::{HashMap, HashSet};

use tinyclaw_domain::Tier;
use tinyclaw_router::{BUCKETS, Router};

use crate::data::Row;

const STEPS: usize = 500;
const FOLDS: usize = 5;

/// How strongly weights are held towards zero, and how much a row of ours counts beside a public one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Penalty {
    pub(crate) parts: f64,
    pub(crate) learned: f64,
    pub(crate) own: f64,
    /// How much of each row is taught as if the lists had never met it.
    pub(crate) blind: f64,
}

/// Fitted weights. The thresholds lie at `-gap` and `+gap` of the score.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) parts: Vec<f64>,
    pub(crate) learned: Vec<f64>,
    pub(crate) bias: f64,
}

impl Fit {
    pub(crate) fn new(router: &Router, rows: &[&Row], weights: &[f64], penalty: Penalty) -> Fit {
        let parts = router.parts().len();
        // Only buckets that occur are fitted.
        let mut slots = vec![usize::MAX; BUCKETS];
        let mut used = Vec::new();
        for (bucket, _) in rows.iter().flat_map(|it| &it.learned) {
            if slots[*bucket] == usize::MAX {
                slots[*bucket] = used.len();
                used.push(*bucket);
            }
        }
        let sparse: Vec<Vec<(usize, f64)>> = rows
            .iter()
            .map(|it| it.learned.iter().map(|(bucket, value)| (slots[*bucket], *value)).collect())
            .collect();
        let size = parts + used.len() + 2;
        let total: f64 = weights.iter().sum();
        let (bias, gap) = (size - 2, size - 1);
        let mut at = vec![0.0; size];
        at[gap] = 0.5;
        let mut ahead = at.clone();
        let mut slope = vec![0.0; size];
        let step = 2.5;
        let twice = taught_twice(rows, weights, penalty.blind);
        for turn in 0..STEPS {
            slope.iter_mut().for_each(|it| *it = 0.0);
            for (index, values, weight) in &twice {
                let (row, sparse) = (rows[*index], &sparse[*index]);
                let dense: f64 = values.iter().zip(&ahead).map(|(x, w)| x * w).sum();
                let learned: f64 = sparse.iter().map(|(slot, x)| x * ahead[parts + slot]).sum();
                let score = dense + learned + ahead[bias];
                let low = sigmoid(score + ahead[gap]) - f64::from(row.label >= Tier::Medium);
                let high = sigmoid(score - ahead[gap]) - f64::from(row.label >= Tier::Complex);
                let (low, high) = (low * weight / total, high * weight / total);
                let both = low + high;
                slope[..parts].iter_mut().zip(values).for_each(|(s, x)| *s += both * x);
                sparse.iter().for_each(|(slot, x)| slope[parts + slot] += both * x);
                slope[bias] += both;
                slope[gap] += low - high;
            }
            for (index, slope) in slope[..size - 2].iter_mut().enumerate() {
                let hold = if index < parts { penalty.parts } else { penalty.learned };
                *slope += hold / total * ahead[index];
            }
            let momentum = turn as f64 / (turn as f64 + 3.0);
            for index in 0..size {
                let next = ahead[index] - step * slope[index] / 8.0;
                ahead[index] = next + momentum * (next - at[index]);
                at[index] = next;
            }
        }
        let mut learned = vec![0.0; BUCKETS];
        used.iter().enumerate().for_each(|(slot, bucket)| learned[*bucket] = at[parts + slot]);
        Fit {
            learned,
            bias: at[bias],
            parts: {
                at.truncate(parts);
                at
            },
        }
    }

    pub(crate) fn score(&self, row: &Row, parts: &[f64]) -> f64 {
        let dense: f64 = parts.iter().zip(&self.parts).map(|(x, w)| x * w).sum();
        dense
            + row.learned.iter().map(|(bucket, x)| x * self.learned[*bucket]).sum::<f64>()
            + self.bias
    }
}

/// Every row twice: with all phrases found in it, and with only those that some other row has as well. The lists were
/// written by people who had read these rows; new messages will use words that no list has.
fn taught_twice(rows: &[&Row], weights: &[f64], blind: f64) -> Vec<(usize, Vec<f64>, f64)> {
    let mut seen: HashMap<u32, u32> = HashMap::new();
    rows.iter().flat_map(|it| &it.phrases).for_each(|it| *seen.entry(it.0).or_default() += 1);
    let common: HashSet<u32> = seen.iter().filter(|it| *it.1 > 1).map(|it| *it.0).collect();
    let mut twice = Vec::with_capacity(rows.len() * 2);
    for (index, (row, weight)) in rows.iter().zip(weights).enumerate() {
        twice.push((index, row.parts.clone(), weight * (1.0 - blind)));
        twice.push((index, row.parts_of_known(&common), weight * blind));
    }
    twice
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A score that a row got from a fit that had not seen it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unseen {
    pub(crate) row: usize,
    pub(crate) score: f64,
    /// The same without phrases that stand in this row alone and in none that was learned from: what is left when the
    /// lists know nothing about the row.
    pub(crate) blind: f64,
}

/// Stratified five-fold cross-validation, repeated. Our own rows teach in every fold and are never asked.
pub(crate) fn cross_validate(
    router: &Router,
    public: &[Row],
    own: &[Row],
    penalty: Penalty,
    repetitions: u64,
) -> Vec<Unseen> {
    let mut jobs = Vec::new();
    for repetition in 0..repetitions {
        let mut order: Vec<usize> = (0..public.len()).collect();
        order.sort_by_key(|it| (public[*it].label, scramble(*it as u64, repetition)));
        for fold in 0..FOLDS {
            jobs.push(order.iter().copied().skip(fold).step_by(FOLDS).collect());
        }
    }
    run(router, public, own, penalty, jobs)
}

/// Each public source is asked of a fit that saw none of its rows.
pub(crate) fn leave_one_source_out(
    router: &Router,
    public: &[Row],
    own: &[Row],
    penalty: Penalty,
) -> Vec<Unseen> {
    let mut sources: Vec<&str> = public.iter().map(|it| it.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    let jobs = sources
        .iter()
        .map(|source| (0..public.len()).filter(|it| public[*it].source == *source).collect())
        .collect();
    run(router, public, own, penalty, jobs)
}

fn run(
    router: &Router,
    public: &[Row],
    own: &[Row],
    penalty: Penalty,
    jobs: Vec<Vec<usize>>,
) -> Vec<Unseen> {
    let one = |asked: &Vec<usize>| {
        let mut taught: Vec<&Row> = Vec::new();
        taught.extend((0..public.len()).filter(|it| !asked.contains(it)).map(|it| &public[it]));
        taught.extend(own);
        let weights: Vec<f64> =
            taught.iter().map(|it| if it.ours { penalty.own } else { 1.0 }).collect();
        let fit = Fit::new(router, &taught, &weights, penalty);
        let known: HashSet<u32> = taught
            .iter()
            .filter(|it| !it.ours)
            .flat_map(|it| it.phrases.iter().map(|it| it.0))
            .collect();
        let unseen = |index: &usize| {
            let row = &public[*index];
            Unseen {
                row: *index,
                score: fit.score(row, &row.parts),
                blind: fit.score(row, &row.parts_of_known(&known)),
            }
        };
        asked.iter().map(unseen).collect()
    };
    // Two halves at once; the order of results does not depend on who is quicker.
    let (left, right) = jobs.split_at(jobs.len() / 2);
    let (left, right): (Vec<Vec<Unseen>>, Vec<Vec<Unseen>>) = std::thread::scope(|scope| {
        let other = scope.spawn(|| right.iter().map(one).collect());
        (left.iter().map(one).collect(), other.join().unwrap_or_default())
    });
    left.into_iter().chain(right).flatten().collect()
}

fn scramble(value: u64, seed: u64) -> u64 {
    let mut x = value.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(1);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The two boundaries that serve unseen scores best: accuracy, with a price on sending a message to too small a model
/// and on recalls below those asked for.
pub(crate) fn boundaries(rows: &[Row], unseen: &[Unseen]) -> (f64, f64) {
    let mut best = (f64::MIN, (-0.5, 0.5));
    let grid: Vec<f64> = (-60..=60).map(|it| f64::from(it) / 20.0).collect();
    for medium in &grid {
        for complex in grid.iter().filter(|it| **it > *medium) {
            let worth = crate::report::Tally::of(rows, unseen, (*medium, *complex)).worth();
            if worth > best.0 {
                best = (worth, (*medium, *complex));
            }
        }
    }
    best.1
}

/// Centre and slope of the two curves from scores to probabilities.
pub(crate) fn calibrate(rows: &[Row], unseen: &[Unseen]) -> [(f64, f64); 2] {
    [Tier::Medium, Tier::Complex].map(|tier| {
        let (mut offset, mut slope) = (0.0, 1.0);
        for _ in 0..50 {
            // Newton's method on two numbers.
            let mut gradient = [0.0; 2];
            let mut curve = [1e-9, 0.0, 1e-9];
            for it in unseen {
                let chance = sigmoid(offset + slope * it.score);
                let error = chance - f64::from(rows[it.row].label >= tier);
                gradient[0] += error;
                gradient[1] += error * it.score;
                let spread = chance * (1.0 - chance);
                curve[0] += spread;
                curve[1] += spread * it.score;
                curve[2] += spread * it.score * it.score;
            }
            let det = curve[0] * curve[2] - curve[1] * curve[1];
            offset -= (curve[2] * gradient[0] - curve[1] * gradient[1]) / det;
            slope -= (curve[0] * gradient[1] - curve[1] * gradient[0]) / det;
        }
        (-offset / slope, slope)
    })
}
