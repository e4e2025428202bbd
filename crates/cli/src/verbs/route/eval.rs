//! How often the router agrees with labels that people gave, and how long it takes. Rows without a tier as label are
//! skipped, as are rows of another kind.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tinyclaw_domain::{DeskKind, Direction, Model, Tier};
use tinyclaw_router::{Input, Router, Turn, columns};

/// How often each row is decided to time it; the median of these is its time.
const TIMED_RUNS: usize = 15;
/// Upper ends of the length bands, in columns; the last band is open.
const BANDS: [(&str, usize); 4] =
    [("0-46", 46), ("47-70", 70), ("71-120", 120), ("121-", usize::MAX)];

/// Which rows count: labelled by people, by what a weak model got right, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Labelled by people.
    Author,
    /// Labelled by which model got it right.
    Empirical,
    /// Typed at a desk, labelled by people.
    Desk,
    /// All rows with a tier.
    All,
}

/// A row of the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    text: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    lang: Option<String>,
    /// Labels that a second person would not contradict.
    #[serde(default)]
    accept: Vec<String>,
    #[serde(default)]
    desk: Option<DeskKind>,
    #[serde(default)]
    history: Vec<EarlierMessage>,
    #[serde(default)]
    attachments: Vec<String>,
    #[serde(default)]
    reply_to_model: Option<Model>,
}

/// An earlier message of a row.
#[derive(Debug, Deserialize)]
struct EarlierMessage {
    from: String,
    text: String,
    #[serde(default)]
    model: Option<Model>,
}

/// The measures; fractions from 0 to 1, `null` where no row could tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measures {
    n: usize,
    accuracy: f64,
    /// Decisions that are the label or one that a second person would have chosen.
    accepted: f64,
    /// Accuracy on rows that follow an answer.
    follow_ups: Option<f64>,
    macro_f1: f64,
    recall: BTreeMap<Tier, Option<f64>>,
    /// Rows: label; columns: decision; SIMPLE, MEDIUM, COMPLEX.
    confusion: [[usize; 3]; 3],
    under_routed: f64,
    two_off: f64,
    non_english: Option<f64>,
    /// Accuracy by language.
    languages: BTreeMap<String, f64>,
    /// Accuracy by columns of the text.
    length_bands: Map<String, Value>,
    /// Calibration error of the confidence over ten bins.
    ece: f64,
    p50_ns: u64,
    p99_ns: u64,
}

/// Decides all rows of a file.
pub(crate) fn measure(router: &Router, path: &Path, kind: Kind) -> anyhow::Result<Measures> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|it| !it.1.trim().is_empty()) {
        let row: Row = serde_json::from_str(line).with_context(|| {
            format!("{} line {}: expected {{\"text\", \"label\", …}}", path.display(), number + 1)
        })?;
        let wanted = match kind {
            Kind::All => true,
            Kind::Author => row.kind.as_deref().is_none_or(|it| it == "author"),
            Kind::Desk => row.kind.as_deref().is_none_or(|it| it == "desk"),
            Kind::Empirical => row.kind.as_deref() == Some("empirical"),
        };
        if let Some(label) = row.label.parse::<Tier>().ok().filter(|_| wanted) {
            rows.push((row, label));
        }
    }
    if rows.is_empty() {
        bail!("{} has no row of this kind with SIMPLE, MEDIUM or COMPLEX as label", path.display());
    }
    Ok(count(router, &rows))
}

fn count(router: &Router, rows: &[(Row, Tier)]) -> Measures {
    let mut confusion = [[0usize; 3]; 3];
    let mut foreign = Share::default();
    let mut accepted = Share::default();
    let mut follow_ups = Share::default();
    let mut languages: BTreeMap<String, Share> = BTreeMap::new();
    let mut bands = BANDS.map(|it| (it.0, Share::default()));
    let mut bins = [(0.0f64, 0.0f64); 10];
    let mut times = Vec::with_capacity(rows.len());
    for (row, label) in rows {
        let history: Vec<Turn<'_>> = row.history.iter().map(turn).collect();
        let attachments: Vec<&str> = row.attachments.iter().map(String::as_str).collect();
        let input = Input {
            desk: row.desk,
            history: &history,
            attachments: &attachments,
            reply_to_model: row.reply_to_model,
            ..Input::new(&row.text)
        };
        let mut runs: Vec<u64> = (0..TIMED_RUNS)
            .map(|_| {
                let start = Instant::now();
                black_box(router.decide(black_box(&input)));
                start.elapsed().as_nanos() as u64
            })
            .collect();
        runs.sort_unstable();
        times.push(runs[TIMED_RUNS / 2]);

        let decision = router.decide(&input);
        let right = decision.tier == *label;
        confusion[*label as usize][decision.tier as usize] += 1;
        accepted.add(right || row.accept.iter().any(|it| it == decision.tier.as_str()));
        if !row.history.is_empty() {
            follow_ups.add(right);
        }
        if let Some(language) = &row.lang {
            languages.entry(language.clone()).or_default().add(right);
            if language != "en" {
                foreign.add(right);
            }
        }
        let band = BANDS.iter().position(|it| columns(&row.text) <= it.1).unwrap_or(3);
        bands[band].1.add(right);
        let it = &decision.probabilities;
        let sure = [it.simple, it.medium, it.complex][decision.tier as usize];
        let bin = &mut bins[((sure * 10.0) as usize).min(9)];
        bin.0 += sure;
        bin.1 += f64::from(u8::from(right));
    }
    times.sort_unstable();
    let n = rows.len();
    let part = |count: usize| count as f64 / n as f64;
    let labelled = |tier: Tier| confusion[tier as usize].iter().sum::<usize>();
    let recall = |tier: Tier| {
        let all = labelled(tier);
        (all > 0).then(|| confusion[tier as usize][tier as usize] as f64 / all as f64)
    };
    let f1 = |tier: Tier| {
        let decided: usize = confusion.iter().map(|it| it[tier as usize]).sum();
        let both = decided + labelled(tier);
        2.0 * confusion[tier as usize][tier as usize] as f64 / both.max(1) as f64
    };
    Measures {
        n,
        accuracy: part((0..3).map(|it| confusion[it][it]).sum()),
        accepted: accepted.value().unwrap_or_default(),
        follow_ups: follow_ups.value(),
        macro_f1: Tier::ALL.into_iter().map(f1).sum::<f64>() / 3.0,
        recall: Tier::ALL.into_iter().map(|it| (it, recall(it))).collect(),
        confusion,
        under_routed: part(confusion[1][0] + confusion[2][0] + confusion[2][1]),
        two_off: part(confusion[0][2] + confusion[2][0]),
        non_english: foreign.value(),
        languages: languages
            .into_iter()
            .filter_map(|(it, share)| Some((it, share.value()?)))
            .collect(),
        length_bands: bands.iter().map(|it| (it.0.to_owned(), it.1.value().into())).collect(),
        ece: bins.iter().map(|it| (it.0 - it.1).abs()).sum::<f64>() / n as f64,
        p50_ns: times[n / 2],
        p99_ns: times[(n * 99 / 100).min(n - 1)],
    }
}

/// An earlier message as the router takes it.
fn turn(said: &EarlierMessage) -> Turn<'_> {
    let direction = if said.from == "user" { Direction::In } else { Direction::Out };
    Turn { direction, text: &said.text, tier: None, model: said.model }
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    right: usize,
    all: usize,
}

impl Share {
    fn add(&mut self, right: bool) {
        self.right += usize::from(right);
        self.all += 1;
    }

    fn value(self) -> Option<f64> {
        (self.all > 0).then(|| self.right as f64 / self.all as f64)
    }
}
