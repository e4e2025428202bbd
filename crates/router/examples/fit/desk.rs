//! The desk's model: three classes over one score and one band, fitted by logistic loss with a penalty on every weight,
//! and what it does on rows it has not seen. Plain accelerated gradient descent from zero: no chance in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use tinyclaw_domain::{DeskKind, Direction, Model, Tier};
use tinyclaw_router::{BUCKETS, DIMENSIONS, Input, Router, Turn};

use crate::report::FITTED;

const STEPS: usize = 450;
const STEP: f64 = 0.3;
const FOLDS: u64 = 8;
/// How much a row of ours, and a row of a chat, counts beside one typed at a desk by somebody else.
const OURS: f64 = 0.7;
const CHAT: f64 = 0.15;

/// What keeps a fit from learning its rows by heart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Penalty {
    /// How strongly weights are held towards zero: of the score, of the band, and how much more those of the tables.
    hold: [f64; 3],
    /// How much of each row is taught as if the lists had never met it.
    blind: f64,
}

/// What the fit chooses from, by rows it has not seen.
const PENALTIES: [Penalty; 3] = [
    Penalty { hold: [0.5, 1.0, 1.5], blind: 0.3 },
    Penalty { hold: [0.5, 1.0, 1.0], blind: 0.5 },
    Penalty { hold: [1.0, 2.0, 0.5], blind: 0.5 },
];
/// Groups that the topics make.
const GROUPS: u64 = 8;
/// Groups of those, when a penalty is chosen.
const INNER: u64 = 2;

#[derive(Debug, Deserialize)]
struct Said {
    from: String,
    text: String,
    #[serde(default)]
    model: Option<Model>,
}

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    id: String,
    text: String,
    label: Tier,
    #[serde(default)]
    accept: Vec<Tier>,
    #[serde(default)]
    lang: String,
    #[serde(default)]
    desk: Option<DeskKind>,
    #[serde(default)]
    history: Vec<Said>,
    #[serde(default)]
    attachments: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// A message as numbers.
#[derive(Debug)]
pub(crate) struct Row {
    id: String,
    label: Tier,
    accept: Vec<Tier>,
    lang: String,
    topic: String,
    follows: bool,
    place: usize,
    parts: Vec<f64>,
    phrases: Vec<(u32, u16, f32)>,
    learned: Vec<(usize, f64)>,
    weight: f64,
}

pub(crate) fn rows(
    router: &Router,
    path: &Path,
    weight: f64,
) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path).map_err(|err| format!("{}: {err}", path.display()))?;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|it| !it.1.trim().is_empty()) {
        let line: Line = serde_json::from_str(line)
            .map_err(|err| format!("{} line {}: {err}", path.display(), number + 1))?;
        rows.push(row(router, line, weight));
    }
    Ok(rows)
}

fn row(router: &Router, line: Line, weight: f64) -> Row {
    let history: Vec<Turn<'_>> = line
        .history
        .iter()
        .map(|it| Turn {
            direction: if it.from == "user" { Direction::In } else { Direction::Out },
            text: &it.text,
            tier: None,
            model: it.model,
        })
        .collect();
    let attachments: Vec<&str> = line.attachments.iter().map(String::as_str).collect();
    let desk = line.desk.unwrap_or(DeskKind::None);
    let input = Input { history: &history, attachments: &attachments, ..Input::new(&line.text) };
    let reading = router.read_at(desk, &input);
    let mut buckets = router.desk_buckets(&reading);
    buckets.sort_unstable();
    let each = 1.0 / (buckets.len().max(1) as f64).sqrt();
    let mut learned: Vec<(usize, f64)> = Vec::new();
    for bucket in buckets {
        match learned.last_mut() {
            Some((last, value)) if *last == bucket => *value += each,
            _ => learned.push((bucket, each)),
        }
    }
    let general = ["multilingual", "followup", "adversarial", "attachment", "paste"];
    Row {
        id: line.id,
        label: line.label,
        accept: line.accept,
        follows: !history.is_empty(),
        topic: line.tags.into_iter().find(|it| !general.contains(&it.as_str())).unwrap_or_default(),
        lang: line.lang,
        place: desk as usize,
        parts: reading.values.iter().map(|it| f64::from(*it)).collect(),
        phrases: reading.phrases,
        learned,
        weight,
    }
}

impl Row {
    /// The parts without phrases that `known` does not contain.
    fn parts_of_known(&self, known: &HashSet<u32>) -> Vec<f64> {
        let mut parts = self.parts.clone();
        let mut sums: BTreeMap<u16, f64> = BTreeMap::new();
        for (phrase, part, counts) in &self.phrases {
            let counts = if known.contains(phrase) { f64::from(*counts) } else { 0.0 };
            *sums.entry(*part).or_default() += counts;
        }
        sums.iter().for_each(|(part, sum)| parts[usize::from(*part)] = 1.0 - (-sum).exp());
        parts
    }
}

/// Weights of the score (0) and of the band (1).
#[derive(Debug)]
pub(crate) struct Fit {
    parts: [Vec<f64>; 2],
    place: [[f64; 3]; 2],
    learned: [Vec<f64>; 2],
}

impl Fit {
    pub(crate) fn new(count: usize, rows: &[&Row], penalty: Penalty) -> Fit {
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
        let total: f64 = rows.iter().map(|it| it.weight).sum();
        let size = count + 3 + used.len();
        let taught = taught_twice(rows, penalty.blind);
        let mut at = [vec![0.0; size], vec![0.0; size]];
        let mut ahead = at.clone();
        let mut slope = at.clone();
        for turn in 0..STEPS {
            slope.iter_mut().for_each(|it| it.fill(0.0));
            for (index, parts, weight) in &taught {
                let (row, sparse) = (rows[*index], &sparse[*index]);
                let sum = |w: &[f64]| {
                    let dense: f64 = parts.iter().zip(w).map(|(x, w)| x * w).sum();
                    let learned: f64 = sparse.iter().map(|(slot, x)| x * w[count + 3 + slot]).sum();
                    dense + learned + w[count + row.place]
                };
                let (raw, band) = (sum(&ahead[0]), sum(&ahead[1]));
                let p = classes(raw, band);
                let off = |tier: Tier| p[tier as usize] - f64::from(row.label == tier);
                let errors = [
                    (off(Tier::Complex) - off(Tier::Simple)) / 2.0 * weight / total,
                    off(Tier::Medium) * weight / total,
                ];
                for (slope, error) in slope.iter_mut().zip(errors) {
                    slope[..count].iter_mut().zip(parts).for_each(|(s, x)| *s += error * x);
                    slope[count + row.place] += error;
                    sparse.iter().for_each(|(slot, x)| slope[count + 3 + slot] += error * x);
                }
            }
            let momentum = turn as f64 / (turn as f64 + 3.0);
            for kind in 0..2 {
                for index in 0..size {
                    let hold = match index {
                        it if it < count => penalty.hold[kind],
                        it if it < count + 3 => 0.02,
                        _ => penalty.hold[2] * penalty.hold[kind],
                    };
                    let slope = slope[kind][index] + hold / total * ahead[kind][index];
                    let next = ahead[kind][index] - STEP * slope;
                    ahead[kind][index] = next + momentum * (next - at[kind][index]);
                    at[kind][index] = next;
                }
            }
        }
        let table = |w: &[f64]| {
            let mut table = vec![0.0; BUCKETS];
            used.iter().enumerate().for_each(|(slot, it)| table[*it] = w[count + 3 + slot]);
            table
        };
        Fit {
            learned: [table(&at[0]), table(&at[1])],
            place: [0, 1].map(|it| [0, 1, 2].map(|place| at[it][count + place])),
            parts: at.map(|it| it[..count].to_vec()),
        }
    }

    fn score(&self, row: &Row, parts: &[f64]) -> (f64, f64) {
        let sum = |kind: usize| {
            let dense: f64 = parts.iter().zip(&self.parts[kind]).map(|(x, w)| x * w).sum();
            let learned: f64 =
                row.learned.iter().map(|(bucket, x)| x * self.learned[kind][*bucket]).sum();
            dense + learned + self.place[kind][row.place]
        };
        (sum(0), sum(1))
    }
}

fn classes(raw: f64, band: f64) -> [f64; 3] {
    let scores = [-raw / 2.0, band, raw / 2.0];
    let most = scores.iter().copied().fold(f64::MIN, f64::max);
    let scores = scores.map(|it| (it - most).exp());
    let sum: f64 = scores.iter().sum();
    scores.map(|it| it / sum)
}

/// Every row twice: with all phrases found in it, and with only those that some other row has as well.
fn taught_twice(rows: &[&Row], blind: f64) -> Vec<(usize, Vec<f64>, f64)> {
    let common = common(rows.iter().copied());
    let mut twice = Vec::with_capacity(rows.len() * 2);
    for (index, row) in rows.iter().enumerate() {
        twice.push((index, row.parts.clone(), row.weight * (1.0 - blind)));
        twice.push((index, row.parts_of_known(&common), row.weight * blind));
    }
    twice
}

fn common<'a>(rows: impl Iterator<Item = &'a Row>) -> HashSet<u32> {
    let mut seen: HashMap<u32, u32> = HashMap::new();
    rows.flat_map(|it| &it.phrases).for_each(|it| *seen.entry(it.0).or_default() += 1);
    seen.into_iter().filter(|it| it.1 > 1).map(|it| it.0).collect()
}

/// `(row, (raw, band))` with everything the lists know, and blind.
type Unseen = (usize, (f64, f64), (f64, f64));

/// Asks the rows of one group of a fit that saw none of them.
fn asked_of(
    public: &[Row],
    extra: &[Row],
    count: usize,
    penalty: Penalty,
    wanted: impl Fn(usize) -> Use,
) -> Vec<Unseen> {
    let rows = |of: Use| (0..public.len()).filter(|it| wanted(*it) == of).collect::<Vec<_>>();
    let taught: Vec<&Row> =
        rows(Use::Taught).into_iter().map(|it| &public[it]).chain(extra).collect();
    let fit = Fit::new(count, &taught, penalty);
    let known: HashSet<u32> =
        taught.iter().flat_map(|it| it.phrases.iter().map(|it| it.0)).collect();
    let asked = rows(Use::Asked).into_iter().map(|it| {
        let row = &public[it];
        (it, fit.score(row, &row.parts), fit.score(row, &row.parts_of_known(&known)))
    });
    asked.collect()
}

/// What becomes of a row in one fit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Use {
    Taught,
    Asked,
    Left,
}

/// Asks every row of a fit that saw none of its group. The penalty of each fit is chosen by the other groups alone.
fn asked(
    public: &[Row],
    extra: &[Row],
    count: usize,
    choice: Choice,
    group: impl Fn(usize) -> u64 + Sync,
) -> Vec<Unseen> {
    let mut groups: Vec<u64> = (0..public.len()).map(&group).collect();
    groups.sort_unstable();
    groups.dedup();
    let one = |wanted: &u64| -> Vec<Unseen> {
        let penalty = match choice {
            Choice::Of(penalty) => penalty,
            Choice::Inside => chosen(public, extra, count, |it| group(it) != *wanted),
        };
        asked_of(public, extra, count, penalty, |it| match group(it) == *wanted {
            true => Use::Asked,
            false => Use::Taught,
        })
    };
    let (left, right) = groups.split_at(groups.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| right.iter().flat_map(one).collect::<Vec<_>>());
        let mut all: Vec<Unseen> = left.iter().flat_map(one).collect();
        all.extend(other.join().unwrap_or_default());
        all
    })
}

/// Who says how strongly weights are held.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Of(Penalty),
    /// The rows that a fit may see.
    Inside,
}

/// The penalty under which rows of topics that a fit has not seen are the least surprising, half of them blind. Nothing but
/// `usable` rows is looked at.
fn chosen(public: &[Row], extra: &[Row], count: usize, usable: impl Fn(usize) -> bool) -> Penalty {
    let surprise = |penalty: &Penalty| -> f64 {
        let groups = (0..INNER).flat_map(|group| {
            asked_of(public, extra, count, *penalty, |it| {
                match (usable(it), (topic(&public[it]) >> 8) % INNER == group) {
                    (false, _) => Use::Left,
                    (true, true) => Use::Asked,
                    (true, false) => Use::Taught,
                }
            })
        });
        loss(public, &groups.collect::<Vec<_>>(), 1.0)
    };
    let told = PENALTIES.map(|it| (surprise(&it), it));
    told.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(PENALTIES[0], |it| it.1)
}

fn topic(row: &Row) -> u64 {
    hash(&row.topic)
}

/// How surprising the labels are, seeing and blind.
fn loss(public: &[Row], unseen: &[Unseen], temperature: f64) -> f64 {
    unseen
        .iter()
        .flat_map(|it| [(it.0, it.1), (it.0, it.2)])
        .map(|(row, (raw, band))| {
            -classes(raw / temperature, band / temperature)[public[row].label as usize].ln()
        })
        .sum()
}

fn decided((raw, band): (f64, f64)) -> Tier {
    let half = (2.0 * band).max(0.0);
    match raw {
        it if it >= half => Tier::Complex,
        it if it >= -half => Tier::Medium,
        _ => Tier::Simple,
    }
}

fn measure(name: &str, rows: &[Row], scores: &[(usize, (f64, f64))]) -> String {
    let share = |wanted: &dyn Fn(&Row, Tier) -> Option<bool>| {
        let told: Vec<bool> =
            scores.iter().filter_map(|(row, score)| wanted(&rows[*row], decided(*score))).collect();
        told.iter().filter(|it| **it).count() as f64 / told.len().max(1) as f64
    };
    let right = |row: &Row, tier: Tier| tier == row.label;
    format!(
        "| {name} | {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} |\n",
        scores.len(),
        share(&|row, tier| Some(right(row, tier))),
        share(&|row, tier| Some(right(row, tier) || row.accept.contains(&tier))),
        share(&|row, tier| Some(tier < row.label)),
        share(&|row, tier| Some(tier > row.label)),
        share(&|row, tier| row.follows.then(|| right(row, tier))),
        share(&|row, tier| (row.lang == "en").then(|| right(row, tier))),
        share(&|row, tier| (row.lang != "en").then(|| right(row, tier))),
    )
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |it, byte| {
        (it ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the fit tool says and chooses.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) text: String,
    /// Makes the probabilities honest.
    pub(crate) temperature: f64,
    pub(crate) penalty: Penalty,
    /// Rows of topics not seen that were decided wrong when blind: id, label, blind, seeing.
    pub(crate) wrong: String,
}

pub(crate) fn report(public: &[Row], ours: &[Row], count: usize) -> Report {
    let penalty = chosen(public, ours, count, |_| true);
    let set = Choice::Of(penalty);
    let folds = asked(
        public,
        ours,
        count,
        set,
        |it| { (it as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 0xffff } % FOLDS,
    );
    let topics = asked(public, ours, count, Choice::Inside, |it| topic(&public[it]) % GROUPS);
    let languages = asked(public, ours, count, set, |it| match public[it].lang.as_str() {
        "en" => topic(&public[it]) % 3,
        lang => 3 + hash(lang) % 6,
    });
    let mut text = format!(
        "# Fit report: the desk\n\nWritten by the fit tool. {} public rows typed at a desk, {} rows of ours, {count} parts in 14 dimensions.\n\
         Every number is of public rows that the fit had not seen. The lists, and a part of our rows, were written by people who\n\
         had read the public rows and what went wrong with them, so these lines flatter. The blind ones take away every phrase that\n\
         no row learned from contains: they flatter less. Neither is proof; a set nobody has seen is the judge.\n\n\
         | | n | strict | accepted | under-routed | over-routed | follow-ups | English | other languages |\n|---|---|---|---|---|---|---|---|---|\n",
        public.len(),
        ours.len(),
    );
    for (name, unseen) in [
        ("eight folds", &folds),
        ("an eighth of the topics left out, penalties chosen by the others", &topics),
        ("a group of languages left out (English: a third of its topics)", &languages),
    ] {
        let seeing: Vec<_> = unseen.iter().map(|it| (it.0, it.1)).collect();
        let blind: Vec<_> = unseen.iter().map(|it| (it.0, it.2)).collect();
        text += &measure(name, public, &seeing);
        text += &measure(&format!("{name}, blind"), public, &blind);
    }
    let mut by = BTreeMap::<&str, Vec<_>>::new();
    folds.iter().for_each(|it| by.entry(&public[it.0].lang).or_default().push((it.0, it.1)));
    text += "\nEight folds, by language:\n\n| | n | strict | accepted | under-routed | over-routed | follow-ups | English | other languages |\n|---|---|---|---|---|---|---|---|---|\n";
    for (lang, scores) in by {
        text += &measure(lang, public, &scores);
    }
    let best = (5..40)
        .map(|it| f64::from(it) / 10.0)
        .min_by(|a, b| loss(public, &folds, *a).total_cmp(&loss(public, &folds, *b)));
    let temperature = best.unwrap_or(1.0);
    let Penalty { hold: [score, band, tables], blind } = penalty;
    let _ = writeln!(
        text,
        "\nTemperature of the probabilities: {temperature:.1}. Penalties: {score} on the score, {band} on the band, {tables} × on the \
         tables; {blind} of each row is taught blind."
    );
    let wrong = topics.iter().filter(|it| decided(it.2) != public[it.0].label).map(|it| {
        let row = &public[it.0];
        format!("{} {} {} {}\n", row.id, row.label, decided(it.2), decided(it.1))
    });
    let wrong = wrong.collect();
    Report { text, temperature, penalty, wrong }
}

/// The fitted half of `desk.toml`, and the two tables.
pub(crate) fn fitted(router: &Router, rows: &[&Row], report: &Report) -> (String, Vec<u8>) {
    let parts = router.desk_parts();
    let temperature = report.temperature;
    let fit = Fit::new(parts.len(), rows, report.penalty);
    let [place, bands] = fit.place;
    let mut text = format!(
        "{FITTED}: everything below is written by the fit tool ----\n\n[desk.score]\nrepo = {:.4}\nfiles = {:.4}\nnone = {:.4}\nbandRepo = {:.4}\nbandFiles = {:.4}\nbandNone = {:.4}\ntemperature = {temperature:.1}\n\n[desk.weights]\n",
        place[0], place[1], place[2], bands[0], bands[1], bands[2]
    );
    let weights: Vec<f64> = (0..14)
        .map(|dimension| {
            let sum = |row: &&&Row| -> f64 {
                let of = parts.iter().zip(&row.parts).zip(&fit.parts[0]);
                of.filter(|it| it.0.0.dimension == dimension).map(|it| it.0.1 * it.1).sum::<f64>()
            };
            let most = rows.iter().map(|it| sum(&it).abs()).fold(0.05, f64::max);
            (most * 1.25 * 1e4).ceil() / 1e4
        })
        .collect();
    for (name, weight) in DIMENSIONS.iter().zip(&weights) {
        let _ = writeln!(text, "{name} = {weight:.4}");
    }
    for (section, values) in [("parts", &fit.parts[0]), ("bands", &fit.parts[1])] {
        for (dimension, name) in DIMENSIONS.iter().enumerate() {
            if parts.iter().all(|it| it.dimension != dimension) {
                continue;
            }
            let _ = writeln!(text, "\n[desk.{section}.{name}]");
            let scale = if section == "parts" { weights[dimension] } else { 1.0 };
            for (part, value) in parts.iter().zip(values).filter(|it| it.0.dimension == dimension) {
                let _ = writeln!(text, "{} = {:.4}", part.name, value / scale);
            }
        }
    }
    let mut tables = tinyclaw_router::pack(&fit.learned[0]);
    tables.extend(tinyclaw_router::pack(&fit.learned[1]));
    (text, tables)
}

/// Rows of ours and of the chat, at their weights.
pub(crate) fn ours(router: &Router, home: &Path) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let mut all = rows(router, &home.join("data/desk.jsonl"), OURS)?;
    all.extend(rows(router, &home.join("data/own.jsonl"), CHAT)?);
    Ok(all)
}
