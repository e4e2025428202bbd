//! What the office itself says: its settings, its threads, its day.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tinyclaw_domain::{Place, ThreadId, Threads};
use tinyclaw_engine::{Overlap, overlap};
use tinyclaw_ledger::{Costs, check_threads, read_threads};
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::{Origin, Reader, Settings, rows};

use super::{Finding, Patient};
use crate::place::{learned_router, with_own_router};
use crate::terminal::{count, one_line};

const SETTINGS: &str = "settings";
const THREADS: &str = "threads";
/// From this share on the office's day is warned of, as its people are.
const TIGHT: f64 = 0.8;

/// Every mistake, each with its key.
pub(super) fn settings(patient: &Patient, file: &str) -> Vec<Finding> {
    let path = patient.state.settings();
    let shown = path.display();
    let mut found = Vec::new();
    if let Err(err) = std::fs::read_to_string(&path)
        && err.kind() != std::io::ErrorKind::NotFound
        && err.kind() != std::io::ErrorKind::NotADirectory
    {
        let why = format!("{shown} cannot be read: {err}");
        found.push(Finding::broken(SETTINGS, why, format!("ls -l {shown}")));
    }
    match Reader::new(file, &patient.environment).finish::<Settings>() {
        Ok((_, notes)) => found.extend(notes.into_iter().map(|it| {
            Finding::warning(SETTINGS, it, format!("take it out of {shown}, or of the environment"))
        })),
        Err(mistakes) => found.extend(mistakes.0.into_iter().map(|it| {
            let way_out = match &it.origin {
                Origin::Key(key) => {
                    format!("mend {key} in {shown}; docs/SETTINGS.md has every key")
                }
                Origin::Variable(name) => {
                    format!("mend {name} where it is set: .env, the unit, or the shell")
                }
                Origin::File => format!("mend {shown}; what is wrong is named above"),
            };
            Finding::broken(SETTINGS, it.to_string(), way_out)
        })),
    }
    let is_open = std::fs::metadata(&path).is_ok_and(|it| it.mode() & 0o007 != 0);
    if is_open && has_secret(file) {
        let why = "settings.json holds a secret and everybody may read it";
        found.push(Finding::warning(SETTINGS, why, format!("chmod o= {shown}")));
    }
    let learned = patient.state.learned_router();
    match learned_router(&patient.state) {
        Err(err) => {
            let why = format!("{err:#}; the router's own weights are in force");
            found.push(Finding::warning(SETTINGS, why, "tinyclaw route --forget".to_owned()));
        }
        Ok(config) => {
            if let Err(err) = with_own_router(&patient.state, config) {
                let why = format!("{err:#}; the router's own lists are in force");
                let way_out = format!("mend {}", patient.state.router().display());
                found.push(Finding::warning(SETTINGS, why, way_out));
            }
        }
    }
    if found.is_empty() {
        let set = rows().iter().filter(|row| {
            let is_set =
                |it: &String| patient.environment.get(it).is_some_and(|it| !it.trim().is_empty());
            given(file, row.key, row.aliases) || row.variables().iter().any(is_set)
        });
        let why = match set.count() {
            0 => "none is set; each is as docs/SETTINGS.md has it".to_owned(),
            some => format!("{some} set, the others as docs/SETTINGS.md has them"),
        };
        found.push(Finding::ok(SETTINGS, why));
        if learned.exists() {
            let why = "the router goes by weights learned in this office; `tinyclaw route --forget` takes them back";
            found.push(Finding::ok(SETTINGS, why));
        }
    }
    found
}

fn has_secret(file: &str) -> bool {
    rows().iter().any(|row| row.is_secret && given(file, row.key, row.aliases))
}

/// Whether the file says something for a key, in any of the ways in which it may be said.
fn given(file: &str, key: &str, aliases: &[&str]) -> bool {
    let Ok(root) = serde_json::from_str::<Value>(file) else { return false };
    let is_said = |it: Option<&Value>| it.is_some_and(|it| !it.is_null());
    is_said(root.pointer(&format!("/{}", key.replace('.', "/"))))
        || std::iter::once(&key).chain(aliases).any(|it| is_said(root.get(*it)))
}

/// Whether the desks are known, and their folders there.
pub(super) fn threads(patient: &Patient) -> Vec<Finding> {
    let path = patient.state.threads();
    let threads = match read_threads(&patient.state) {
        Ok(threads) => threads,
        Err(err) => {
            let why = match std::error::Error::source(&err) {
                Some(source) => format!("{err}: {source}"),
                None => err.to_string(),
            };
            let way_out = format!(
                "mend it; the last good one is {}",
                path.with_extension("json.last").display()
            );
            return vec![Finding::broken(THREADS, why, way_out)];
        }
    };
    let mut found = Vec::new();
    if let Ok(Some(err)) = check_threads(&patient.state) {
        let way_out =
            format!("mend it in {}, or leave it to the version that knows it", path.display());
        found.push(Finding::warning(THREADS, format!("{err}; it is kept as it is"), way_out));
    }
    let bad = path.with_extension("json.bad");
    if bad.exists() {
        let why = "an edit of threads.json could not be read and was set aside";
        found.push(Finding::warning(
            THREADS,
            why,
            format!("look at it, then: rm {}", bad.display()),
        ));
    }
    let here = here(&threads);
    let homeless: Vec<String> = here
        .iter()
        // That of a desk with a user of its own nobody else can look at.
        .filter(|it| !it.is_a_users && !it.dir.is_dir())
        .map(|it| format!("{} ({}) in {}", it.id, it.name, one_line(&it.dir.to_string_lossy())))
        .collect();
    if let Some(first) = homeless.first() {
        let more = match homeless.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let why = format!("the folder of thread {first} is not here{more}");
        found.push(Finding::warning(
            THREADS,
            why,
            "in the thread: /setdir DIR, or make the folder",
        ));
    }
    found.extend(in_state(&here, patient.state.root()));
    found.extend(shared(&here));
    if found.is_empty() {
        let elsewhere = match threads.len() - here.len() {
            0 => String::new(),
            some => format!("; {} not on this machine", count(some, "more thread")),
        };
        let why = match here.len() {
            0 if elsewhere.is_empty() => "none yet; the first message makes one".to_owned(),
            some => {
                format!("{}, and the folder of each is there{elsewhere}", count(some, "thread"))
            }
        };
        found.push(Finding::ok(THREADS, why));
    }
    found
}

/// A thread of this machine: only there can its folder be looked at.
struct Here<'a> {
    id: &'a ThreadId,
    name: String,
    dir: PathBuf,
    is_a_users: bool,
}

fn here(threads: &Threads) -> Vec<Here<'_>> {
    let here = threads.iter().filter_map(|(id, it)| match it.place() {
        (Place::Here, dir) => {
            let is_a_users = it.extra.contains_key("deskNumber");
            Some(Here { id, name: one_line(&it.name), dir, is_a_users })
        }
        _ => None,
    });
    here.collect()
}

/// A thread in or around the state, which no Claude may be given.
fn in_state(threads: &[Here<'_>], state: &Path) -> Option<Finding> {
    let Here { id, name, dir, .. } =
        threads.iter().find(|it| overlap(&it.dir, state) != Overlap::Apart)?;
    let why = format!(
        "thread {id} ({name}) has no folder to work in: {} overlaps with the state",
        one_line(&dir.to_string_lossy())
    );
    Some(Finding::warning(
        THREADS,
        why,
        "./tinyclaw.sh restart bot moves it out, or in it: /dir PATH",
    ))
}

/// Threads that can change what the others run, because their folders are one or lie in each other.
fn shared(threads: &[Here<'_>]) -> Option<Finding> {
    let mut pairs = threads
        .iter()
        .enumerate()
        .flat_map(|(at, one)| threads[at + 1..].iter().map(move |other| (one, other)));
    let meet =
        |(one, other): &(&Here<'_>, &Here<'_>)| overlap(&one.dir, &other.dir) != Overlap::Apart;
    let (one, other) = pairs.find(meet)?;
    let more = match pairs.filter(meet).count() {
        0 => String::new(),
        more => format!(", and {}", count(more, "more pair")),
    };
    let why = format!(
        "threads {} ({}) and {} ({}) share {}{more}",
        one.id,
        one.name,
        other.id,
        other.name,
        one_line(&one.dir.to_string_lossy()),
    );
    Some(Finding::warning(THREADS, why, "in one of them: /dir PATH, unless an admin meant it so"))
}

/// The time zone, and what today cost.
pub(super) fn day(patient: &Patient, settings: &Settings) -> Vec<Finding> {
    let zone = settings.office.timezone.clone();
    let now = jiff::Timestamp::now().to_zoned(zone.clone());
    let name = zone.iana_name().unwrap_or("UTC").to_owned();
    let is_set = name != "UTC";
    let mut told =
        Finding::ok("time zone", format!("{name}, where it is {}", now.strftime("%H:%M")));
    if !is_set {
        told.way_out = Some("tinyclaw setup office".to_owned());
    }
    let spent = match Costs::read(&patient.state, zone, now_ms()) {
        Ok(mut costs) => costs.office(now_ms()),
        Err(err) => {
            let why = format!("nobody knows what today cost: {err}: {}", err.source);
            let way_out = format!("ls -l {}", patient.state.history().display());
            return vec![told, Finding::warning("budget", why, way_out)];
        }
    };
    let so_far = format!("${:.2} today, {}", spent.usd, count(spent.turns as usize, "turn"));
    let budget = match settings.budget.office_a_day {
        None => Finding::ok("budget", format!("{so_far}; there is no limit")),
        Some(most) if spent.usd >= most => Finding::warning(
            "budget",
            format!("{so_far}: the day's ${most:.2} are spent, and every message is asked about"),
            "tinyclaw settings set budget.officePerDay USD, or wait for tomorrow",
        ),
        Some(most) if spent.usd >= most * TIGHT => Finding::warning(
            "budget",
            format!("{so_far}, of ${most:.2}"),
            "tinyclaw settings set budget.officePerDay USD, or wait for tomorrow",
        ),
        Some(most) => Finding::ok("budget", format!("{so_far}, of ${most:.2}")),
    };
    vec![told, budget]
}
