//! Labelled messages, read once and turned into numbers.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use tinyclaw_domain::Tier;
use tinyclaw_router::Router;

/// A line of a labelled file.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    #[serde(default)]
    id: String,
    text: String,
    label: Tier,
    #[serde(default)]
    pub(crate) kind: String,
    #[serde(default)]
    lang: String,
    #[serde(default)]
    source: String,
}

/// A message as numbers.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) label: Tier,
    pub(crate) english: bool,
    pub(crate) source: String,
    /// Written for this project and kept in it.
    pub(crate) ours: bool,
    /// Columns of the text, for the length bands.
    pub(crate) columns: usize,
    pub(crate) parts: Vec<f64>,
    /// Every phrase found: its number, its part, how much it counts.
    pub(crate) phrases: Vec<(u32, u16, f32)>,
    /// `(bucket, value)`, buckets ascending.
    pub(crate) learned: Vec<(usize, f64)>,
}

/// Reads the rows that `wanted` picks.
pub(crate) fn rows(
    router: &Router,
    path: &Path,
    wanted: impl Fn(&Line) -> bool,
) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path).map_err(|err| format!("{}: {err}", path.display()))?;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|it| !it.1.trim().is_empty()) {
        let line: Line = serde_json::from_str(line)
            .map_err(|err| format!("{} line {}: {err}", path.display(), number + 1))?;
        if wanted(&line) {
            rows.push(row(router, line));
        }
    }
    Ok(rows)
}

fn row(router: &Router, line: Line) -> Row {
    let reading = router.read(&line.text);
    let mut buckets = router.buckets(&reading);
    buckets.sort_unstable();
    let each = 1.0 / (buckets.len().max(1) as f64).sqrt();
    let mut learned: Vec<(usize, f64)> = Vec::new();
    for bucket in buckets {
        match learned.last_mut() {
            Some((last, value)) if *last == bucket => *value += each,
            _ => learned.push((bucket, each)),
        }
    }
    let wide = |c: char| 1 + usize::from(u32::from(c) >= 0x1100 && c.is_alphabetic());
    Row {
        id: line.id,
        columns: line.text.chars().map(wide).sum(),
        english: line.lang == "en",
        ours: line.kind != "author",
        source: line.source,
        label: line.label,
        parts: reading.values.iter().map(|it| f64::from(*it)).collect(),
        phrases: reading.phrases,
        learned,
        text: line.text,
    }
}

impl Row {
    /// The parts without phrases that `known` does not contain.
    pub(crate) fn parts_of_known(&self, known: &HashSet<u32>) -> Vec<f64> {
        let mut parts = self.parts.clone();
        let mut sums: BTreeMap<u16, f64> = BTreeMap::new();
        for (phrase, part, counts) in &self.phrases {
            let counts = if known.contains(phrase) { f64::from(*counts) } else { 0.0 };
            *sums.entry(*part).or_default() += counts;
        }
        sums.iter().for_each(|(part, sum)| parts[*part as usize] = 1.0 - (-sum).exp());
        parts
    }
}
