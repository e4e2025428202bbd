//! The queue: how much waits and for how long, what was given up, and whether anything more would be taken.

use tinyclaw_ledger::health;
use tinyclaw_queue::{Entry, LookError, Options, Place, View};
use tinyclaw_service::now_ms;
use tinyclaw_service::words;

use super::services::IS_THERE;
use super::{Finding, Patient};
use crate::terminal::count;

const QUEUE: &str = "queue";
/// A message that waits longer, while somebody works, is worth a look.
const LONG_MS: u64 = 10 * 60 * 1000;
/// So many messages are read, the oldest first: those that others wait behind.
const READ_MAX: usize = 200;

/// Everything worth saying about it.
pub(super) fn look(patient: &Patient) -> Vec<Finding> {
    let view = View::new(patient.state.root());
    let shown = patient.state.queue();
    let unreadable = |err: LookError| {
        let why = format!("{} cannot be read: {err}", shown.display());
        vec![Finding::broken(QUEUE, why, format!("ls -ld {}", shown.display()))]
    };
    let format = shown.join("FORMAT");
    if std::fs::read_to_string(&format).is_ok_and(|it| it.trim() != "{\"v\":1}") {
        let why = "it was made by another version of TinyClaw, and this one leaves it alone";
        return vec![Finding::broken(QUEUE, why, "run the version that made it")];
    }
    let depth = match view.depth() {
        Ok(depth) => depth,
        Err(err) => return unreadable(err),
    };
    let waiting = match view.waiting() {
        Ok(waiting) => waiting,
        Err(err) => return unreadable(err),
    };
    let limits = Options::default();
    let lanes = waiting.lanes.into_iter().map(|(lane, waits)| (lane.to_string(), waits));
    let fullest = lanes.max_by_key(|(lane, waits)| (*waits, lane.clone()));
    let oldest = waiting.oldest.map(|at| now_ms().saturating_sub(at));
    let processor = health::read(&patient.state, "processor", now_ms()).ok().flatten();
    let is_staffed = processor.is_some_and(|it| it.age <= IS_THERE);
    let list = patient.ours("queue ls");
    let bury = format!("{list}, and for what nobody needs: {}", patient.ours("queue bury KEY"));
    let mut found = Vec::new();
    if depth.incoming >= limits.incoming_max {
        let why = format!("it is full: {} wait, and no more are taken", depth.incoming);
        found.push(Finding::broken(QUEUE, why, bury.clone()));
    } else if let Some((lane, waits)) = fullest.filter(|it| it.1 >= limits.lane_max) {
        let why = format!("thread {lane} is full: {waits} wait there, and no more are taken");
        found.push(Finding::broken(QUEUE, why, bury.clone()));
    }
    if depth.outgoing >= limits.outgoing_max {
        let why = format!("{} answers wait to be sent, and no new turn begins", depth.outgoing);
        found.push(Finding::broken(QUEUE, why, patient.logs("telegram")));
    }
    if let Some(age) = oldest {
        let waits = format!("{} and the oldest for {}", waits(depth.incoming), words::span(age));
        if !is_staffed {
            let why = format!("{waits}, and nobody works on them");
            found.push(Finding::broken(QUEUE, why, "./tinyclaw.sh start"));
        } else if age > LONG_MS {
            found.push(Finding::warning(QUEUE, waits, list));
        }
    }
    found.extend(unreadable_ones(patient, &view));
    if found.is_empty() {
        let oldest = oldest.map(|it| format!(" (the oldest for {})", words::span(it)));
        let why = format!(
            "{} waiting{}, {} being answered, {} to be sent{}",
            depth.incoming,
            oldest.unwrap_or_default(),
            depth.processing,
            depth.outgoing + depth.sending,
            match depth.stopped {
                0 => String::new(),
                some => format!(", {some} stopped by a person"),
            }
        );
        found.push(Finding::ok(QUEUE, why));
    }
    for (number, place, what, state) in [
        (depth.dead, "dead", "message", "given up, with the reason beside it"),
        (depth.quarantine, "quarantine", "file", "set aside, with the reason beside it"),
    ] {
        if number > 0 {
            let why = format!("{} {state}", count(number, what));
            let way_out = patient.ours(&format!("queue ls {place}"));
            found.push(Finding::warning(QUEUE, why, way_out));
        }
    }
    found
}

/// Messages that the disk does not give back, by name. Each holds up its own lane.
fn unreadable_ones(patient: &Patient, view: &View) -> Vec<Finding> {
    let places = [Place::Incoming, Place::Processing, Place::Outgoing, Place::Sending];
    let list = |place| view.list(place, READ_MAX).unwrap_or_default();
    let said = |it: Entry| {
        let err = view.read(&it).err()?;
        let why = format!("a message of thread {} waits, because {err}", it.lane);
        Some(Finding::broken(QUEUE, why, patient.ours(&format!("queue bury {}", it.key))))
    };
    places.into_iter().flat_map(list).filter_map(said).collect()
}

fn waits(number: usize) -> String {
    format!("{} {}", count(number, "message"), if number == 1 { "waits" } else { "wait" })
}
