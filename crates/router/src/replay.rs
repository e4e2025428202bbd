//! What an office's past would have cost otherwise: always with one model, with the model that each conversation began
//! with, and with this router's decisions made again.
//!
//! The tokens of a turn stay what they were. What changes is who reads them, and how much of the conversation that model
//! had cached: each way of choosing has caches of its own, with the times at which turns began and ended. It says nothing
//! about how good the other answers would have been, and nothing about how long.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use tinyclaw_domain::{
    CacheTtl, Cause, DeskKind, Direction, HistoryLine, Key, Model, Source, ThreadId, Tier, Tiers,
    Usage, WarmCache,
};

use crate::money::Tokens;
use crate::router::{Input, Router, Turn};
use crate::warmth::Caches;

/// So many lines of a desk are remembered: what the router looks back for, and the questions of turns that overlap.
const RECENT: usize = 12;
/// A day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The spans that are told, with their days, today included.
const SPANS: [(&str, u64); 3] = [("today", 1), ("week", 7), ("month", 30)];
/// So many days are told one by one, and no line before them is needed.
pub const DAYS_MAX: u64 = 30;

/// Goes through the logs of an office, line by line.
#[derive(Debug)]
pub struct Replay<'a> {
    router: &'a Router,
    ttl: CacheTtl,
    /// When the last day begins, in ms since 1970.
    midnight: u64,
    logged: HashMap<Key, Logged>,
    desks: HashMap<ThreadId, DeskPast>,
    report: Report,
}

/// What of a line of the routing log counts here: a line is read for these fields alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// When, in ms since 1970.
    pub timestamp: u64,
    /// Which message.
    pub key: Key,
    /// What the desk held.
    #[serde(default)]
    pub desk: Option<DeskKind>,
    /// Why the model was asked.
    pub cause: Cause,
    /// The model that was asked.
    pub effective_model: Model,
}

/// What is remembered of a decision.
#[derive(Debug, Clone, Copy)]
struct Logged {
    desk: Option<DeskKind>,
    /// What a person chose: the router has no say.
    chosen: Option<Model>,
}

/// One desk's past, as far as it counts.
#[derive(Debug, Default)]
struct DeskPast {
    recent: VecDeque<HistoryLine>,
    /// Of each way of choosing.
    lanes: Vec<Lane>,
}

/// One way of choosing, at one desk.
#[derive(Debug, Clone, Default)]
struct Lane {
    caches: Caches,
    /// The model of the last turn of this conversation.
    last: Option<Model>,
    /// The model of its first.
    first: Option<Model>,
}

/// A way of choosing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// As it was.
    Real,
    /// As this router decides.
    Again,
    /// The model that the conversation began with.
    Stay,
    /// Always the model of this tier.
    Always(Tier),
}

const CHOICES: [Choice; 6] = [
    Choice::Real,
    Choice::Again,
    Choice::Stay,
    Choice::Always(Tier::Simple),
    Choice::Always(Tier::Medium),
    Choice::Always(Tier::Complex),
];

/// What the real choice is called in sums.
const REAL: &str = "real";

impl Choice {
    fn name(self, tiers: Tiers) -> String {
        match self {
            Choice::Real => REAL.to_owned(),
            Choice::Again => "again".to_owned(),
            Choice::Stay => "stay".to_owned(),
            Choice::Always(tier) => tiers.of(tier).to_string(),
        }
    }

    /// Whether an easier tier has the same model: it is told once.
    fn repeats(self, tiers: Tiers) -> bool {
        let Choice::Always(tier) = self else { return false };
        Tier::ALL.into_iter().any(|it| it < tier && tiers.of(it) == tiers.of(tier))
    }
}

/// What a past cost, and would have cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The day that the list prices are of.
    pub prices: String,
    /// The model of COMPLEX work here, which savings are told beside.
    pub strongest: String,
    /// Since the last midnight.
    pub today: Costs,
    /// The last seven days.
    pub week: Costs,
    /// The last thirty days.
    pub month: Costs,
    /// Everything that was read.
    pub all: Costs,
    /// What Claude charged for each of the last thirty days, oldest first; days without a turn are left out.
    pub days: Vec<Day>,
}

/// One span's sums.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Costs {
    /// Turns that were counted.
    pub turns: u64,
    /// Answers that are no turn of theirs or lack numbers. What they cost is in `paidUsd` alone.
    pub uncounted: u64,
    /// Turns for which this router would choose another model now.
    pub moved: u64,
    /// Dollars that Claude charged.
    pub paid_usd: f64,
    /// Dollars at list prices: `real`, `again`, `stay`, and each model that does a tier's work, always.
    pub usd: BTreeMap<String, f64>,
    /// What the real choice saved beside the others, in dollars; less than nothing where it cost more.
    pub saved_usd: BTreeMap<String, f64>,
    /// Turns that went to a weaker model and cost more than the stronger one would have, which had the conversation cached.
    pub lost: Lost,
    /// The same for this router's decisions.
    pub lost_again: Lost,
    /// The share of input that was read from a cache.
    pub cache_hits: Option<f64>,
    #[serde(skip)]
    input: (u64, u64),
}

/// Turns in which a weaker model cost more than staying.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// How many.
    pub turns: u64,
    /// How much more they cost, in dollars.
    pub usd: f64,
}

/// What one day cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Day {
    /// When it begins, in ms since 1970.
    pub from: u64,
    /// Dollars by model.
    pub models: BTreeMap<String, f64>,
    /// Dollars by desk.
    pub desks: BTreeMap<ThreadId, f64>,
}

impl Report {
    fn spans(&mut self, age: Option<u64>) -> impl Iterator<Item = &mut Costs> {
        let fits = move |days: u64| age.is_some_and(|it| it < days);
        let [today, week, month] = SPANS.map(|it| fits(it.1));
        let Report { today: a, week: b, month: c, all, .. } = self;
        [(today, a), (week, b), (month, c), (true, all)]
            .into_iter()
            .filter_map(|(fits, it)| fits.then_some(it))
    }
}

impl<'a> Replay<'a> {
    /// Nothing yet. `midnight` is when the last day begins, in ms since 1970.
    pub fn new(router: &'a Router, ttl: CacheTtl, midnight: u64) -> Replay<'a> {
        let report = Report {
            prices: router.prices().date.clone(),
            strongest: router.catalogue().tiers().complex.to_string(),
            ..Report::default()
        };
        Replay { router, ttl, midnight, logged: HashMap::new(), desks: HashMap::new(), report }
    }

    /// Notes a line of the routing log. All of them come first, in any order; what a person chose is taken from here.
    pub fn decided(&mut self, it: Decided) {
        let is_chosen = matches!(it.cause, Cause::Pinned | Cause::UserHint);
        let chosen = is_chosen.then_some(it.effective_model);
        self.logged.insert(it.key, Logged { desk: it.desk, chosen });
    }

    /// Counts a line of the history, oldest first. A line that stands twice counts once.
    pub fn said(&mut self, line: HistoryLine) {
        let desk = self.desks.entry(line.thread_id.clone()).or_default();
        let same = |it: &HistoryLine| {
            (&it.key, it.attempt, it.direction) == (&line.key, line.attempt, line.direction)
        };
        if desk.recent.iter().any(same) {
            return;
        }
        if line.direction == Direction::Out {
            answered(
                self.router,
                self.ttl,
                self.midnight,
                &self.logged,
                desk,
                &line,
                &mut self.report,
            );
        }
        desk.recent.push_back(line);
        if desk.recent.len() > RECENT {
            desk.recent.pop_front();
        }
    }

    /// The sums.
    pub fn report(self) -> Report {
        let mut report = self.report;
        for costs in report.spans(Some(0)) {
            let real = costs.usd.get(REAL).copied().unwrap_or(0.0);
            let others = costs.usd.iter().filter(|it| it.0 != REAL);
            costs.saved_usd = others.map(|(name, usd)| (name.clone(), usd - real)).collect();
            let (read, all) = costs.input;
            costs.cache_hits = (all > 0).then(|| read as f64 / all as f64);
        }
        report
    }
}

/// Counts an answer in every way of choosing.
fn answered(
    router: &Router,
    ttl: CacheTtl,
    midnight: u64,
    logged: &HashMap<Key, Logged>,
    desk: &mut DeskPast,
    line: &HistoryLine,
    report: &mut Report,
) {
    let age = days_ago(midnight, line.timestamp);
    let paid = line.cost_usd.unwrap_or(0.0);
    report.spans(age).for_each(|it| it.paid_usd += paid);
    if let Some(age) = age.filter(|it| *it < DAYS_MAX && paid > 0.0) {
        let day = day_of(&mut report.days, midnight.saturating_sub(age * DAY_MS));
        let model = line.model.map_or_else(|| "unknown".to_owned(), |it| it.as_str().to_owned());
        *day.models.entry(model).or_default() += paid;
        *day.desks.entry(line.thread_id.clone()).or_default() += paid;
    }
    let asked = desk.recent.iter().rev().find(|it| it.key == line.key);
    let (Some(model), Some(usage), Some(context), Some(asked)) =
        (line.model, line.usage, line.context_tokens, asked)
    else {
        if paid > 0.0 {
            report.spans(age).for_each(|it| it.uncounted += 1);
        }
        return;
    };
    let began = line.timestamp.saturating_sub(line.duration_ms.unwrap_or(0));
    if desk.lanes.is_empty() {
        desk.lanes = vec![Lane::default(); CHOICES.len()];
    }
    let goes_on = desk.lanes[0].caches.goes_on(context);
    let before = if goes_on { desk.lanes[0].caches.context() } else { 0 };
    let prices = router.prices();
    // What of the conversation the real model had cached is not told by a turn's sums: it is reckoned as for the others.
    let real = Warmth::of(&desk.lanes[0], goes_on, began, ttl);
    let real_warm = real.tokens(model).min(before).min(usage.cache_read_tokens);
    let turn = Past { usage, before, real_warm };
    let beat = asked.source == Source::Heartbeat;
    let tiers = router.catalogue().tiers();
    for (index, choice) in CHOICES.into_iter().enumerate().filter(|it| !it.1.repeats(tiers)) {
        let warmth = Warmth::of(&desk.lanes[index], goes_on, began, ttl);
        let first = desk.lanes[index].first.filter(|_| goes_on);
        let chosen = match choice {
            Choice::Real => model,
            Choice::Always(_) if beat => tiers.simple,
            Choice::Always(tier) => tiers.of(tier),
            Choice::Stay => first.unwrap_or(model),
            Choice::Again => {
                decide_again(router, ttl, logged, &desk.recent, asked, before, &warmth.0)
            }
        };
        let tokens = turn.tokens(warmth.tokens(chosen));
        let usd = prices.cost(chosen, tokens, ttl);
        let lane = &mut desk.lanes[index];
        let stayed = lane.last.filter(|it| goes_on && prices.is_stronger(*it, chosen));
        let stayed = stayed.map(|it| prices.cost(it, turn.tokens(warmth.tokens(it)), ttl));
        let more = stayed.filter(|_| !beat).map_or(0.0, |it| usd - it);
        for costs in report.spans(age) {
            *costs.usd.entry(choice.name(tiers)).or_default() += usd;
            let lost = match choice {
                Choice::Real => &mut costs.lost,
                Choice::Again => &mut costs.lost_again,
                _ => continue,
            };
            if more > 0.0 {
                lost.turns += 1;
                lost.usd += more;
            }
            if choice == Choice::Again && chosen != model {
                costs.moved += 1;
            }
        }
        lane.caches.answered(chosen, context, tokens.read + tokens.written, line.timestamp);
        lane.last = Some(chosen);
        lane.first = Some(first.unwrap_or(chosen));
    }
    for costs in report.spans(age) {
        costs.turns += 1;
        costs.input.0 += usage.cache_read_tokens;
        costs.input.1 += usage.context();
    }
}

/// What the router says now, with the caches as its own decisions would have left them.
fn decide_again(
    router: &Router,
    ttl: CacheTtl,
    logged: &HashMap<Key, Logged>,
    recent: &VecDeque<HistoryLine>,
    asked: &HistoryLine,
    context_tokens: u64,
    warm: &[WarmCache],
) -> Model {
    let known = logged.get(&asked.key);
    let history: Vec<Turn<'_>> = recent
        .iter()
        .filter(|it| it.key != asked.key)
        .map(|it| Turn {
            direction: it.direction,
            text: &it.message,
            tier: it.tier,
            model: it.model,
        })
        .collect();
    let decision = router.decide(&Input {
        source: asked.source,
        history: &history,
        desk: known.and_then(|it| it.desk),
        pin: known.and_then(|it| it.chosen),
        context_tokens,
        warm,
        cache: ttl,
        ..Input::new(&asked.message)
    });
    decision.effective_model
}

/// What is warm when a turn begins.
struct Warmth(Vec<WarmCache>);

impl Warmth {
    fn of(lane: &Lane, goes_on: bool, now: u64, ttl: CacheTtl) -> Warmth {
        Warmth(if goes_on { lane.caches.alive(now, ttl) } else { Vec::new() })
    }

    fn tokens(&self, model: Model) -> u64 {
        self.0.iter().find(|it| it.model == model).map_or(0, |it| it.tokens)
    }
}

/// A turn's tokens as they were billed, and how much of the conversation before it was read from a cache.
struct Past {
    usage: Usage,
    /// Tokens of the conversation before it.
    before: u64,
    real_warm: u64,
}

impl Past {
    /// The same turn for a model that has so many tokens of the conversation cached.
    fn tokens(&self, warm: u64) -> Tokens {
        let it = &self.usage;
        let read = it.cache_read_tokens - self.real_warm + warm.min(self.before);
        let read = read.min(it.context());
        let plain = it.input_tokens.min(it.context() - read);
        let written = it.context() - read - plain;
        Tokens { plain, read, written, output: it.output_tokens }
    }
}

/// How many days before the last one: 0 on the last day, none after it or too long before.
fn days_ago(midnight: u64, at: u64) -> Option<u64> {
    match at >= midnight {
        true => (at < midnight.saturating_add(DAY_MS)).then_some(0),
        false => Some((midnight - at).div_ceil(DAY_MS)),
    }
}

fn day_of(days: &mut Vec<Day>, from: u64) -> &mut Day {
    // Lines come oldest first, so it is nearly always the last one.
    let at = match days.iter().rposition(|it| it.from <= from) {
        Some(at) if days[at].from == from => at,
        found => {
            let at = found.map_or(0, |it| it + 1);
            days.insert(at, Day { from, ..Day::default() });
            at
        }
    };
    &mut days[at]
}
