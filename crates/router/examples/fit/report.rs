//! What a fit is worth, in numbers, and the fitted half of `router.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tinyclaw_domain::Tier;
use tinyclaw_router::{DIMENSIONS, Router};

use crate::data::Row;
use crate::model::{Fit, Unseen};

/// The line that the fitted half begins with.
pub(crate) const FITTED: &str = "\n# ---- fitted";

/// Decisions counted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    confusion: [[f64; 3]; 3],
    foreign: (f64, f64),
    bands: [(f64, f64); 4],
}

impl Tally {
    pub(crate) fn of(rows: &[Row], unseen: &[Unseen], cuts: (f64, f64)) -> Tally {
        let mut tally = Tally::default();
        for it in unseen {
            let row = &rows[it.row];
            let decided = tier(it.score, cuts);
            let right = f64::from(decided == row.label);
            tally.confusion[row.label as usize][decided as usize] += 1.0;
            if !row.english {
                tally.foreign.0 += right;
                tally.foreign.1 += 1.0;
            }
            let band = [46, 70, 120].iter().filter(|it| row.columns > **it).count();
            tally.bands[band].0 += right;
            tally.bands[band].1 += 1.0;
        }
        tally
    }

    fn total(&self) -> f64 {
        self.confusion.iter().flatten().sum()
    }

    fn accuracy(&self) -> f64 {
        (0..3).map(|it| self.confusion[it][it]).sum::<f64>() / self.total()
    }

    fn recall(&self, tier: usize) -> f64 {
        self.confusion[tier][tier] / self.confusion[tier].iter().sum::<f64>().max(1.0)
    }

    fn f1(&self, tier: usize) -> f64 {
        let decided: f64 = self.confusion.iter().map(|it| it[tier]).sum();
        let labelled: f64 = self.confusion[tier].iter().sum();
        2.0 * self.confusion[tier][tier] / (decided + labelled).max(1.0)
    }

    fn under(&self) -> f64 {
        (self.confusion[1][0] + self.confusion[2][0] + self.confusion[2][1]) / self.total()
    }

    fn two_off(&self) -> f64 {
        (self.confusion[0][2] + self.confusion[2][0]) / self.total()
    }

    /// What the boundaries are chosen by.
    pub(crate) fn worth(&self) -> f64 {
        let short = |recall: f64, wanted: f64| (wanted - recall).max(0.0);
        self.accuracy()
            - (self.under() - 0.06).max(0.0)
            - 1.0 * short(self.recall(0), 0.90)
            - 0.5 * short(self.recall(1), 0.74)
            - 0.5 * short(self.recall(2), 0.92)
    }

    fn line(&self, name: &str) -> String {
        let share = |it: (f64, f64)| if it.1 > 0.0 { it.0 / it.1 } else { 0.0 };
        let bands = self.bands.map(share);
        let filled = self.bands.iter().filter(|it| it.1 > 0.0).count().max(1) as f64;
        format!(
            "| {name} | {:.0} | {:.3} | {:.3} | {:.2} / {:.2} / {:.2} | {:.3} | {:.3} | {:.3} | {:.3} |\n",
            self.total(),
            self.accuracy(),
            (0..3).map(|it| self.f1(it)).sum::<f64>() / 3.0,
            self.recall(0),
            self.recall(1),
            self.recall(2),
            self.under(),
            self.two_off(),
            share(self.foreign),
            bands.iter().sum::<f64>() / filled,
        )
    }
}

fn tier(score: f64, cuts: (f64, f64)) -> Tier {
    match score {
        it if it >= cuts.1 => Tier::Complex,
        it if it >= cuts.0 => Tier::Medium,
        _ => Tier::Simple,
    }
}

/// The report, as Markdown.
pub(crate) fn write(
    router: &Router,
    public: &[Row],
    own: &[Row],
    folds: &[Unseen],
    sources: &[Unseen],
    cuts: (f64, f64),
    calibration: [(f64, f64); 2],
) -> String {
    let mut text = format!(
        "# Fit report\n\nWritten by the fit tool. {} public rows with a person's label, {} rows of ours, {} parts in 14 dimensions.\n\
         Every number below is of public rows that the fit had not seen. The lists and our rows were written by people who had\n\
         read the public rows, so they flatter. The lines called blind take away every phrase that no row learned from contains:\n\
         a cautious number, because lists made for any text know words of new messages, too. Neither is proof; a set nobody\n\
         has seen is the judge. The boundaries were chosen on these same scores; they are two numbers.\n\n\
         | | n | accuracy | macro-F1 | recall S / M / C | under-routed | two off | not English | mean of 4 length bands |\n|---|---|---|---|---|---|---|---|---|\n",
        public.len(),
        own.len(),
        router.parts().len(),
    );
    text += &Tally::of(public, folds, cuts).line("five folds, repeated");
    text += &Tally::of(public, sources, cuts).line("leave one source out");
    let blind = |unseen: &[Unseen]| -> Vec<Unseen> {
        unseen.iter().map(|it| Unseen { score: it.blind, ..*it }).collect()
    };
    text += &Tally::of(public, &blind(folds), cuts).line("five folds, lists blind to the row");
    text +=
        &Tally::of(public, &blind(sources), cuts).line("one source out, lists blind to the source");
    let mut by: BTreeMap<&str, Vec<Unseen>> = BTreeMap::new();
    for it in sources {
        by.entry(&public[it.row].source).or_default().push(*it);
    }
    text += "\nLeave one source out, by source:\n\n| source | n | accuracy | macro-F1 | recall S / M / C | under-routed | two off | not English | mean of 4 length bands |\n|---|---|---|---|---|---|---|---|---|\n";
    for (source, unseen) in by {
        text += &Tally::of(public, &unseen, cuts).line(source);
    }
    let confusion = Tally::of(public, folds, cuts).confusion;
    let total = folds.len() as f64 / public.len() as f64;
    text += "\nConfusion under cross-validation (rows: label; columns: decision), per pass:\n\n| | SIMPLE | MEDIUM | COMPLEX |\n|---|---|---|---|\n";
    for (tier, row) in Tier::ALL.iter().zip(confusion) {
        let [s, m, c] = row.map(|it| it / total);
        let _ = writeln!(text, "| {tier} | {s:.1} | {m:.1} | {c:.1} |");
    }
    let _ = writeln!(
        text,
        "\nCalibration error of the confidence (10 bins): {:.3}",
        ece(public, folds, cuts, calibration)
    );
    text
}

fn ece(rows: &[Row], unseen: &[Unseen], cuts: (f64, f64), curves: [(f64, f64); 2]) -> f64 {
    let mut bins = [(0.0, 0.0, 0.0); 10];
    for it in unseen {
        let [up, top] =
            curves.map(|(centre, slope)| 1.0 / (1.0 + (-slope * (it.score - centre)).exp()));
        let decided = tier(it.score, cuts);
        let sure = [1.0 - up, up - top.min(up), top.min(up)][decided as usize];
        let bin = &mut bins[((sure * 10.0) as usize).min(9)];
        bin.0 += sure;
        bin.1 += f64::from(decided == rows[it.row].label);
        bin.2 += 1.0;
    }
    bins.iter().map(|it| (it.0 - it.1).abs()).sum::<f64>() / unseen.len() as f64
}

/// Ids of rows that were decided wrong at least half of the time.
pub(crate) fn wrong(rows: &[Row], unseen: &[Unseen], cuts: (f64, f64)) -> String {
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let scores: Vec<f64> =
            unseen.iter().filter(|it| it.row == index).map(|it| it.score).collect();
        let misses = scores.iter().filter(|it| tier(**it, cuts) != row.label).count();
        if misses * 2 >= scores.len() && misses > 0 {
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            let _ = writeln!(
                text,
                "WRONG {} {} as {} at {mean:.2}",
                row.id,
                row.label,
                tier(mean, cuts)
            );
        }
    }
    text
}

/// The fitted half of `router.toml`.
pub(crate) fn fitted(
    router: &Router,
    fit: &Fit,
    rows: &[&Row],
    cuts: (f64, f64),
    calibration: [(f64, f64); 2],
) -> String {
    let mut text = format!(
        "{FITTED}: everything below is written by the fit tool ----\n\n[score]\nbias = {:.4}\nmedium = {:.4}\ncomplex = {:.4}\n",
        fit.bias, cuts.0, cuts.1
    );
    let [(mc, ms), (cc, cs)] = calibration;
    let _ = writeln!(
        text,
        "\n[calibration]\nmediumCentre = {mc:.4}\nmediumSlope = {ms:.4}\ncomplexCentre = {cc:.4}\ncomplexSlope = {cs:.4}"
    );
    let weights: Vec<f64> = (0..14)
        .map(|dimension| {
            let sum = |row: &&&Row| -> f64 {
                let parts = router.parts().iter().zip(&row.parts).zip(&fit.parts);
                parts
                    .filter(|it| it.0.0.dimension == dimension)
                    .map(|it| it.0.1 * it.1)
                    .sum::<f64>()
                    .abs()
            };
            let most = rows.iter().map(|it| sum(&it)).fold(0.05, f64::max);
            (most * 1.1 * 1e4).ceil() / 1e4
        })
        .collect();
    text += "\n[weights]\n";
    for (name, weight) in DIMENSIONS.iter().zip(&weights) {
        let _ = writeln!(text, "{name} = {weight:.4}");
    }
    for (dimension, name) in DIMENSIONS.iter().enumerate() {
        let _ = writeln!(text, "\n[parts.{name}]");
        for (part, value) in router.parts().iter().zip(&fit.parts) {
            if part.dimension == dimension {
                let _ = writeln!(text, "{} = {:.4}", part.name, value / weights[dimension]);
            }
        }
    }
    text
}

#[expect(clippy::print_stdout, reason = "a tool for a terminal")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}
