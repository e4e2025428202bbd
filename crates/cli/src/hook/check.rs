//! Whether every hook that fired on this machine is on the event bus: once, and in the order in which they fired.
//!
//! Each hook gets the next number when it fires, before anything else can go wrong with it, and the bus is asked for all of
//! them: a number that is nowhere is a hook that was lost. It changes nothing, here or there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::drain::ask;
use super::spool::{Config, NUMBER_KEY, Spool, number_of};

/// So many events are asked for at once.
const PAGE: usize = 200;
/// A person waits for the answer: a bus that does not answer in this time is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many numbers are named; of more there is the count.
const NAMED_MAX: usize = 5;

/// What became of the hooks that fired.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// How many fired since the hooks were put into Claude's settings.
    pub(crate) fired: u64,
    /// How many of them are on the bus, and under which ids the first and the last.
    pub(crate) told: u64,
    pub(crate) ends: Option<(String, String)>,
    /// Those that are there more than once.
    pub(crate) twice: Vec<u64>,
    /// Those that stand there before one that fired earlier.
    pub(crate) early: Vec<u64>,
    /// Those that the bus keeps no longer, because they are old.
    pub(crate) retired: u64,
    /// Those that wait here for the bus.
    pub(crate) waiting: u64,
    /// Those that the bus will never take; they lie beside those that wait.
    pub(crate) refused: Vec<u64>,
    /// Those that gave way to later ones when too much waited.
    pub(crate) given_up: u64,
    /// Those that are nowhere.
    pub(crate) missing: Vec<u64>,
}

impl Account {
    /// Whether nothing is wrong, and nothing waits.
    pub(crate) fn is_whole(&self) -> bool {
        self.waiting + self.given_up == 0
            && [&self.twice, &self.early, &self.refused, &self.missing]
                .iter()
                .all(|it| it.is_empty())
    }
}

/// What is known on this machine.
#[derive(Debug, Default)]
struct Here {
    /// The first number that counts, and the last that was given.
    numbers: Option<RangeInclusive<u64>>,
    waiting: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    given_up: Vec<RangeInclusive<u64>>,
}

/// What the bus has.
#[derive(Debug, Default)]
struct There {
    /// The number and the id of each hook, in the bus's order.
    told: Vec<(u64, String)>,
    given_up: Vec<RangeInclusive<u64>>,
    /// Whether it once had events that it keeps no longer.
    has_retired: bool,
}

/// Looks here first and asks the bus then, so that what is on its way is found at one end or the other.
pub(crate) fn check(spool: &Spool, token: Option<String>) -> anyhow::Result<(Config, Account)> {
    let config = spool.config()?.context("no bus is named; run tinyclaw hook install")?;
    let here = here(spool, &config)?;
    let asked = Config { token: token.unwrap_or_else(|| config.token.clone()), ..config.clone() };
    let there = there(&asked).with_context(|| {
        let fired = here.numbers.clone().map_or(0, |it| it.end() - it.start() + 1);
        format!("{} of {fired} hooks that fired wait here", here.waiting.len())
    })?;
    Ok((config, judged(&here, &there)))
}

fn here(spool: &Spool, config: &Config) -> anyhow::Result<Here> {
    let (first, last) = (config.first_number.max(1), spool.last_number()?);
    let numbers = (first <= last).then_some(first..=last);
    let of = |paths: Vec<std::path::PathBuf>| -> BTreeSet<u64> {
        paths.iter().filter_map(|it| number_of(it.file_name()?.to_str()?)).collect()
    };
    let lost = spool.lost();
    let given_up = range(&lost.first, &lost.last).into_iter().collect();
    Ok(Here { numbers, waiting: of(spool.waiting()?.0), refused: of(spool.refused()?), given_up })
}

fn there(config: &Config) -> anyhow::Result<There> {
    let mut there = There::default();
    let mut place = format!("since={}", config.since);
    loop {
        let source = percent_encoded(&config.source);
        let path = format!("/events?source={source}&limit={PAGE}&{place}");
        let (status, _, body) =
            ask(config, "GET", &path, "", PATIENCE).context("cannot ask the bus")?;
        let page: Value = serde_json::from_str(&body).unwrap_or_default();
        match status {
            200 => {}
            403 => bail!(
                "the token that brings the hooks may not read them back; name one that may: \
                 tinyclaw token new check --scope read | tinyclaw hook check --token-file -"
            ),
            _ => {
                bail!("cannot ask the bus: {status}: {}", page["detail"].as_str().unwrap_or(&body))
            }
        }
        let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        for it in events {
            let (metadata, id) = (&it["metadata"], it["id"].as_str().unwrap_or_default());
            if let Some(number) = metadata[NUMBER_KEY].as_u64() {
                there.told.push((number, id.to_owned()));
            }
            if it["type"] == "hook.gap" {
                let text = |key: &str| metadata[key].as_str().unwrap_or_default();
                there.given_up.extend(range(text("first"), text("last")));
            }
        }
        there.has_retired |= !page["first"].as_str().is_some_and(|it| it.ends_with("-1"));
        let next = page["next"].as_str().context("the bus answered something else")?;
        if page["next"] == page["head"] {
            return Ok(there);
        }
        place = format!("after={next}");
    }
}

fn range(first: &str, last: &str) -> Option<RangeInclusive<u64>> {
    Some(number_of(first)?..=number_of(last)?)
}

fn judged(here: &Here, there: &There) -> Account {
    let Some(numbers) = here.numbers.clone() else { return Account::default() };
    let mut account = Account { fired: numbers.end() - numbers.start() + 1, ..Account::default() };
    let mut found: BTreeMap<u64, u64> = BTreeMap::new();
    let mut highest = 0;
    for (number, id) in there.told.iter().filter(|it| numbers.contains(&it.0)) {
        let count = found.entry(*number).or_insert(0);
        *count += 1;
        if *count > 1 {
            account.twice.push(*number);
        } else if *number < highest {
            account.early.push(highest);
        }
        highest = highest.max(*number);
        let first = account.ends.take().map_or_else(|| id.clone(), |it| it.0);
        account.ends = Some((first, id.clone()));
    }
    account.early.dedup();
    account.told = found.len() as u64;
    let oldest = found.keys().next().copied().filter(|_| there.has_retired);
    for number in numbers.filter(|it| !found.contains_key(it)) {
        let is_given_up =
            here.given_up.iter().chain(&there.given_up).any(|it| it.contains(&number));
        match number {
            _ if here.waiting.contains(&number) => account.waiting += 1,
            _ if here.refused.contains(&number) => account.refused.push(number),
            _ if is_given_up => account.given_up += 1,
            _ if oldest.is_some_and(|it| number < it) => account.retired += 1,
            _ => account.missing.push(number),
        }
    }
    account
}

/// Numbers in words: some of them, and how many there are.
pub(crate) fn named(numbers: &[u64]) -> String {
    let some: Vec<String> = numbers.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = if numbers.len() > NAMED_MAX { ", …" } else { "" };
    match numbers.len() {
        0 => "0".to_owned(),
        count => format!("{count}: number {}{more}", some.join(", ")),
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, it| {
        match it {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(it));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(numbers: &[u64]) -> There {
        let told = numbers.iter().map(|it| (*it, format!("evt_k7q2-{}", it + 10))).collect();
        There { told, ..There::default() }
    }

    fn of(numbers: RangeInclusive<u64>) -> Here {
        Here { numbers: Some(numbers), ..Here::default() }
    }

    #[test]
    fn an_account_is_whole_when_each_number_is_on_the_bus_once_and_in_order() {
        let account = judged(&of(3..=6), &told(&[1, 2, 3, 4, 5, 6, 7]));
        assert_eq!((account.fired, account.told), (4, 4));
        assert_eq!(account.ends, Some(("evt_k7q2-13".to_owned(), "evt_k7q2-16".to_owned())));
        assert!(account.is_whole());
        assert!(judged(&Here::default(), &told(&[])).is_whole(), "nothing fired");
    }

    #[test]
    fn each_hook_that_is_not_there_is_told_by_what_became_of_it() {
        let mut here = of(1..=9);
        here.waiting = [8, 9].into();
        here.refused = [4].into();
        here.given_up = vec![2..=3];
        let account = judged(&here, &told(&[1, 5, 7, 7]));
        assert!(!account.is_whole());
        assert_eq!((account.told, account.waiting, account.given_up), (3, 2, 2));
        assert_eq!((account.refused, account.missing, account.twice), (vec![4], vec![6], vec![7]));
        let swapped = judged(&of(1..=3), &told(&[2, 1, 3]));
        assert_eq!((swapped.early.as_slice(), swapped.is_whole()), ([2].as_slice(), false));
    }

    #[test]
    fn what_the_bus_let_go_of_by_age_is_not_called_missing_and_what_is_missing_behind_it_is() {
        let mut there = told(&[4, 6]);
        there.has_retired = true;
        let account = judged(&of(1..=6), &there);
        assert_eq!((account.retired, account.missing), (3, vec![5]));
        there.has_retired = false;
        assert_eq!(judged(&of(1..=6), &there).missing, [1, 2, 3, 5]);
    }
}
