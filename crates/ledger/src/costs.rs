//! What was spent today: by the whole office, by each devbox, and by each thread. What a devbox spends it pays itself, and is
//! its own word: it is no part of the office's sum. Read from the history at the start, kept in memory.
//!
//! A day is the office's day, in its time zone. Nothing here decides what may be spent.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tinyclaw_disk::DiskError;
use tinyclaw_domain::{DevboxName, Direction, HistoryLine, Key, ThreadId};

use crate::history::OVERLAP_MS;
use crate::{StateDir, log};

/// An amount and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spent {
    /// In US dollars.
    pub usd: f64,
    /// Claude's answers, and failed turns that were paid for.
    pub turns: u64,
}

/// Today's sums.
#[derive(Debug, Clone)]
pub struct Costs {
    zone: TimeZone,
    day: Date,
    office: Spent,
    devboxes: BTreeMap<DevboxName, Spent>,
    threads: HashMap<ThreadId, Spent>,
    /// What each attempt cost, by its message.
    counted: HashMap<(Key, u32), f64>,
}

impl Costs {
    /// Today's sums as the history has them. Asked again when the time zone changes.
    pub fn read(state: &StateDir, zone: TimeZone, now_ms: u64) -> Result<Costs, DiskError> {
        match Costs::read_in_part(state, zone, now_ms) {
            (costs, None) => Ok(costs),
            (_, Some(err)) => Err(err),
        }
    }

    /// [`Costs::read`] as far back as the history can be read; the error beside the sums says why they begin later.
    pub fn read_in_part(
        state: &StateDir,
        zone: TimeZone,
        now_ms: u64,
    ) -> (Costs, Option<DiskError>) {
        let mut costs = Costs::new(zone, now_ms);
        let trouble = costs.read_back(state).err();
        (costs, trouble)
    }

    fn read_back(&mut self, state: &StateDir) -> Result<(), DiskError> {
        let begin = self.begin_ms();
        for line in log::<HistoryLine>(&state.history())? {
            let line = line?;
            // A line that came in bears the time it was said at, which may be long before it was written.
            if line.direction == Direction::Out && line.timestamp + OVERLAP_MS < begin {
                break;
            }
            self.count(&line);
        }
        Ok(())
    }

    /// A day on which nothing was spent yet.
    pub fn new(zone: TimeZone, now_ms: u64) -> Costs {
        let day = day_of(now_ms, &zone);
        Costs {
            zone,
            day,
            office: Spent::default(),
            devboxes: BTreeMap::new(),
            threads: HashMap::new(),
            counted: HashMap::new(),
        }
    }

    /// The time zone that its day is one of.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Counts an answer that was just written to the history. The same line again counts once.
    pub fn add(&mut self, line: &HistoryLine) {
        self.turn_over(line.timestamp);
        self.count(line);
    }

    /// What a devbox says that it spent today.
    pub fn devbox(&mut self, name: &DevboxName, now_ms: u64) -> Spent {
        self.turn_over(now_ms);
        self.devboxes.get(name).copied().unwrap_or_default()
    }

    /// The same of all devboxes together.
    pub fn devboxes(&mut self, now_ms: u64) -> Spent {
        self.turn_over(now_ms);
        let all = self.devboxes.values();
        all.fold(Spent::default(), |sum, it| Spent {
            usd: sum.usd + it.usd,
            turns: sum.turns + it.turns,
        })
    }

    /// What the office spent today, without its devboxes.
    pub fn office(&mut self, now_ms: u64) -> Spent {
        self.turn_over(now_ms);
        self.office
    }

    /// What one thread spent today.
    pub fn thread(&mut self, thread: &ThreadId, now_ms: u64) -> Spent {
        self.turn_over(now_ms);
        self.threads.get(thread).copied().unwrap_or_default()
    }

    /// What each thread spent today, the most first.
    pub fn threads(&mut self, now_ms: u64) -> Vec<(ThreadId, Spent)> {
        self.turn_over(now_ms);
        let mut all: Vec<(ThreadId, Spent)> =
            self.threads.iter().map(|(thread, spent)| (thread.clone(), *spent)).collect();
        all.sort_by(|a, b| b.1.usd.total_cmp(&a.1.usd).then_with(|| a.0.cmp(&b.0)));
        all
    }

    /// What the messages of a family of keys cost today, attempt by attempt.
    pub fn messages(&mut self, family: &str, now_ms: u64) -> Vec<(Key, f64)> {
        self.turn_over(now_ms);
        let of_family = self.counted.iter().filter(|((key, _), _)| {
            key.as_str().strip_prefix(family).is_some_and(|it| it.starts_with('-'))
        });
        of_family.map(|((key, _), usd)| (key.clone(), *usd)).collect()
    }

    /// In how many ms the day is over.
    pub fn rest_of_day_ms(&mut self, now_ms: u64) -> u64 {
        self.turn_over(now_ms);
        let end = self.day.tomorrow().ok().and_then(|it| it.to_zoned(self.zone.clone()).ok());
        let end = end.and_then(|it| u64::try_from(it.timestamp().as_millisecond()).ok());
        end.unwrap_or(now_ms).saturating_sub(now_ms)
    }

    fn count(&mut self, line: &HistoryLine) {
        let usd = line.cost_usd.filter(|it| *it > 0.0).unwrap_or(0.0);
        // One that cost nothing is an answer all the same, as of the demo engine; a notice, which no model wrote, is none.
        if usd == 0.0 && line.model.is_none() {
            return;
        }
        let is_today = day_of(line.timestamp, &self.zone) == self.day;
        let is_new = line.direction == Direction::Out
            && is_today
            && self.counted.insert((line.key.clone(), line.attempt), usd).is_none();
        if is_new {
            let payer = match &line.devbox {
                Some(name) => self.devboxes.entry(name.clone()).or_default(),
                None => &mut self.office,
            };
            for spent in [payer, self.threads.entry(line.thread_id.clone()).or_default()] {
                spent.usd += usd;
                spent.turns += 1;
            }
        }
    }

    /// A clock that steps back over midnight does not bring yesterday's sums back, nor lose today's.
    fn turn_over(&mut self, now_ms: u64) {
        if day_of(now_ms, &self.zone) > self.day {
            *self = Costs::new(self.zone.clone(), now_ms);
        }
    }

    fn begin_ms(&self) -> u64 {
        let begin = self.day.to_zoned(self.zone.clone()).map(|it| it.timestamp().as_millisecond());
        begin.ok().and_then(|it| u64::try_from(it).ok()).unwrap_or(0)
    }
}

fn day_of(ms: u64, zone: &TimeZone) -> Date {
    let timestamp = i64::try_from(ms).ok().and_then(|it| Timestamp::from_millisecond(it).ok());
    timestamp.unwrap_or(Timestamp::MAX).to_zoned(zone.clone()).date()
}
