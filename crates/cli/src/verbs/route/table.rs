//! A decision for a person's eyes: 14 lines that add up, and where the sum lies between the boundaries.

use std::fmt::Write as _;

use tinyclaw_domain::{Cause, Decision, Model, Tier};
use tinyclaw_router::Router;

/// Cells on each side of a bar's middle.
const BAR: usize = 8;
/// Cells of the line that shows the sum between the boundaries.
const LINE: usize = 56;
/// The longest hit that is shown whole.
const HIT_CHARS: usize = 24;

/// Draws a decision. Colours are for terminals only.
pub(crate) fn draw(decision: &Decision, router: &Router, colours: bool) -> String {
    let paint = |code: &str, text: &str| match colours {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = String::new();
    let model = paint(hue(decision.effective_model), decision.effective_model.as_str());
    let _ = writeln!(out, "{model} · {} · {}", decision.tier, why(decision));
    let it = &decision.probabilities;
    let _ = writeln!(
        out,
        "SIMPLE {:.0} % · MEDIUM {:.0} % · COMPLEX {:.0} % · about {} tokens{}\n",
        it.simple * 100.0,
        it.medium * 100.0,
        it.complex * 100.0,
        decision.estimated_tokens,
        if decision.truncated { ", read in part" } else { "" },
    );
    if !decision.sets_off.is_empty() {
        let phrases: Vec<String> = decision.sets_off.iter().map(|it| clip(it)).collect();
        let _ = writeln!(out, "follows an answer that speaks of: {}\n", phrases.join(", "));
    }
    if let Some(it) = decision.replied {
        let _ = writeln!(out, "it replies to {}: {}\n", it.to, it.rule.words());
    }
    out.push_str(&money(decision, router));
    let largest = decision.dims.iter().fold(0.01f64, |most, it| most.max(it.contribution.abs()));
    let at_desk = decision.band.is_some();
    let heading = format!("{:<20} {:>6} {:>7} {:>7}", "dimension", "score", "weight", "adds");
    let band = |band: Option<f64>| match at_desk {
        true => format!(" {:>7}", signed(band.unwrap_or(0.0))),
        false => String::new(),
    };
    let _ = writeln!(out, "{heading}{}", if at_desk { "    band" } else { "" });
    for dim in &decision.dims {
        let hits: Vec<String> = dim.hits.iter().map(|it| clip(&it.phrase)).collect();
        let line = format!(
            "{:<20} {:>6.2} {:>7.2} {:>7}{}  {}  {}",
            dim.name,
            dim.score,
            dim.weight,
            signed(dim.contribution),
            band(dim.band),
            bar(dim.contribution / largest),
            hits.join(", "),
        );
        let line = line.trim_end();
        let quiet = dim.contribution.abs() < 0.005;
        let _ = writeln!(out, "{}", if quiet { paint("2", line) } else { line.to_owned() });
    }
    if let Some(learned) = decision.learned {
        let widens = band(decision.band.and_then(|it| it.learned));
        let line =
            format!("{:<35} {:>7}{widens}  {}", "learned", signed(learned), bar(learned / largest));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let widens = band(decision.band.map(|it| it.bias));
    let _ = writeln!(out, "{:<35} {:>7}{widens}", "bias", signed(decision.bias));
    let _ = writeln!(out, "{:<35} {:>7}\n", "raw score", paint("1", &signed(decision.raw_score)));
    out.push_str(&between(decision));
    out
}

fn why(decision: &Decision) -> String {
    let scored = || format!("{:.0} % sure", decision.confidence * 100.0);
    match decision.cause {
        Cause::Scored => format!("by its score, {}", scored()),
        Cause::LowConfidence => "the score is too near a boundary to be believed".to_owned(),
        Cause::NoSignal => "nothing in it to score".to_owned(),
        Cause::FollowUp => "it continues what came before".to_owned(),
        Cause::ReplyFloor => "it replies to a larger model's answer".to_owned(),
        Cause::LargeContext => "a smaller model cannot hold the conversation".to_owned(),
        Cause::Stay => "its cache is warm, and staying is cheaper".to_owned(),
        Cause::Pinned => "the thread is pinned to this model".to_owned(),
        Cause::UserHint => "the message asks for this model".to_owned(),
        Cause::Heartbeat => "a heartbeat skips the router".to_owned(),
        Cause::Raised => "the turn was raised while it ran".to_owned(),
    }
}

/// What is cached, and what staying with it costs beside the model that the tier wants.
fn money(decision: &Decision, router: &Router) -> String {
    let Some(it) = decision.stay else { return String::new() };
    let mut out =
        format!("of {} tokens {} has {} cached\n", it.context_tokens, it.model, it.warm_tokens);
    let tiers = router.catalogue().tiers();
    let above =
        |model: Model| router.prices().not_enough(model, decision.probabilities, tiers) * 100.0;
    let mut line = |model: Model, verb: &str, usd: f64, risk: f64, back: f64| {
        let _ = writeln!(
            out,
            "  {verb} {model:<7} ${usd:.4} + ${risk:.4} for the {:.0} % that it is not enough + ${back:.4} to come back = ${:.4}",
            above(model),
            usd + risk + back,
        );
    };
    line(it.model, "stay with", it.stay_usd, it.stay_risk_usd, 0.0);
    line(it.instead_of, "switch to", it.switch_usd, it.switch_risk_usd, it.back_usd);
    out.push('\n');
    out
}

fn hue(model: Model) -> &'static str {
    let family = Model::of_name(model.as_str());
    let hues = [("1;36", Model::HAIKU), ("1;34", Model::SONNET), ("1;35", Model::OPUS)];
    hues.iter().find(|it| Some(it.1) == family).map_or("1;33", |it| it.0)
}

fn signed(number: f64) -> String {
    format!("{number:+.2}")
}

fn clip(phrase: &str) -> String {
    match phrase.char_indices().nth(HIT_CHARS) {
        Some((at, _)) => format!("{}…", &phrase[..at]),
        None => phrase.to_owned(),
    }
}

/// A bar to the left or right of a middle line.
fn bar(share: f64) -> String {
    let cells = (share.abs().min(1.0) * BAR as f64).round() as usize;
    let (left, right) = if share < 0.0 { (cells, 0) } else { (0, cells) };
    format!("{:>BAR$}│{:<BAR$}", "█".repeat(left), "█".repeat(right))
}

/// Two lines: the tiers with their boundaries, and a mark where the sum lies.
fn between(decision: &Decision) -> String {
    let (medium, complex) = (decision.boundaries.medium, decision.boundaries.complex);
    let margin = ((complex - medium) * 1.2).max(0.1);
    let (low, high) = (medium - margin, complex + margin);
    let cell = |score: f64| {
        let share = ((score - low) / (high - low)).clamp(0.0, 1.0);
        (share * (LINE - 1) as f64).round() as usize
    };
    let (first, second, mark) = (cell(medium), cell(complex), cell(decision.raw_score));
    let mut line: Vec<char> = vec!['─'; LINE];
    line[first] = '┼';
    line[second] = '┼';
    line[mark] = '●';
    let line: String = line.into_iter().collect();
    let tiers = Tier::ALL.map(Tier::as_str);
    format!(
        "{line}\n{:<first$}{:<middle$}{}\n{:<first$}{:<middle$}{}\n",
        tiers[0],
        tiers[1],
        tiers[2],
        "",
        signed(medium),
        signed(complex),
        middle = second - first,
    )
}
