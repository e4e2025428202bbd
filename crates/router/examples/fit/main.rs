//! Fits the router's weights to labelled messages, and says how well they do on messages they have not seen.
//!
//! `cargo run --release -p tinyclaw-router --example fit -- PUBLIC.jsonl` reads rows `{text, label, lang, source, kind}`
//! (kind `author` only) and the project's own rows in `data/own.jsonl`, and rewrites the fitted half of `router.toml`,
//! `learned.bin` and `FIT.md`. The same input gives the same bytes. `--dry` only prints the report; `--wrong` also lists
//! ids of rows that were decided wrong under cross-validation, never their text.
//!
//! `-- --desk=DESK.jsonl` fits what is used at a desk instead, from rows that also say `desk`, `history` and
//! `attachments`, and rewrites the fitted half of `desk.toml`, `desk.bin` and `FIT-DESK.md`.

mod data;
mod desk;
mod model;
mod report;

use std::path::{Path, PathBuf};

use data::{Row, rows};
use model::{Fit, Penalty, Unseen};
use tinyclaw_router::{Config, Router};

/// Repetitions of the five-fold cross-validation.
const REPETITIONS: u64 = 6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dry = args.iter().any(|it| it == "--dry");
    if let Some(path) = args.iter().find_map(|it| it.strip_prefix("--desk=")) {
        let wrong = args.iter().any(|it| it == "--wrong");
        return fit_desk(Path::new(path), dry, wrong);
    }
    let number = |name: &str, or: f64| {
        args.iter().find_map(|it| it.strip_prefix(name)?.parse().ok()).unwrap_or(or)
    };
    let path = args.iter().find(|it| !it.starts_with("--")).ok_or("usage: fit FILE.jsonl")?;
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    // Read now and not from the program, so that a changed list needs no build.
    let text = std::fs::read_to_string(home.join("router.toml"))?;
    let hand = hand_written(&text);
    let router = Router::new(Config::parse_full(hand)?);

    let public = rows(&router, Path::new(path), |it| it.kind == "author")?;
    let own = rows(&router, &home.join("data/own.jsonl"), |_| true)?;
    // A row of ours that is also in the public file would be its own teacher.
    let own: Vec<Row> =
        own.into_iter().filter(|it| !public.iter().any(|row| row.text == it.text)).collect();

    let penalty = Penalty {
        parts: number("--parts=", 0.6),
        learned: number("--learned=", 1.0),
        own: number("--own=", 1.0),
        blind: number("--blind=", 0.25),
    };
    let folds = model::cross_validate(&router, &public, &own, penalty, REPETITIONS);
    let sources = model::leave_one_source_out(&router, &public, &own, penalty);
    // A new message lies between the two: the lists know some of its words.
    let mixed: Vec<Unseen> =
        folds.iter().flat_map(|it| [*it, Unseen { score: it.blind, ..*it }]).collect();
    let cuts = model::boundaries(&public, &mixed);
    let calibration = model::calibrate(&public, &mixed);
    let text = report::write(&router, &public, &own, &folds, &sources, cuts, calibration);
    report::print(&text);
    if args.iter().any(|it| it == "--wrong") {
        report::print(&report::wrong(&public, &folds, cuts));
    }
    if dry {
        return Ok(());
    }

    let all: Vec<&Row> = public.iter().chain(&own).collect();
    let weights: Vec<f64> = all.iter().map(|it| if it.ours { penalty.own } else { 1.0 }).collect();
    let fit = Fit::new(&router, &all, &weights, penalty);
    let fitted = report::fitted(&router, &fit, &all, cuts, calibration);
    save(&home.join("router.toml"), format!("{hand}{fitted}").as_bytes())?;
    save(&home.join("learned.bin"), &tinyclaw_router::pack(&fit.learned))?;
    save(&home.join("FIT.md"), text.as_bytes())?;
    Ok(())
}

/// Fits what is used at a desk to `path` and our own rows; `router.toml` stays as it is.
fn fit_desk(path: &Path, dry: bool, wrong: bool) -> Result<(), Box<dyn std::error::Error>> {
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(home.join("desk.toml"))?;
    let hand = hand_written(&text);
    let router = Router::new(Config::parse_full(hand)?);
    let public = desk::rows(&router, path, 1.0)?;
    let ours = desk::ours(&router, &home)?;
    let report = desk::report(&public, &ours, router.desk_parts().len());
    report::print(&report.text);
    if wrong {
        report::print(&report.wrong);
    }
    if dry {
        return Ok(());
    }
    let all: Vec<&desk::Row> = public.iter().chain(&ours).collect();
    let (fitted, tables) = desk::fitted(&router, &all, &report);
    save(&home.join("desk.toml"), format!("{hand}{fitted}").as_bytes())?;
    save(&home.join("desk.bin"), &tables)?;
    save(&home.join("FIT-DESK.md"), report.text.as_bytes())?;
    Ok(())
}

/// The half of the file that people write.
fn hand_written(text: &str) -> &str {
    text.find(report::FITTED).map_or(text, |it| &text[..it])
}

#[expect(clippy::disallowed_methods, reason = "a developer's tool, writing into the source tree")]
fn save(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, bytes)
}
