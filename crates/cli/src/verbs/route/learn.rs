//! Weights that this office's own past proposes, beside those in force. They are put in force only when told, in a file of
//! their own that one command takes away again: what the operator wrote in `router.toml` is not touched, and stands above them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{Cause, Key, OutcomeLine, RoutingLine};
use tinyclaw_ledger::{StateDir, log_since};
use tinyclaw_router::{Config, Lesson, Proposal, Router, Score, corrected, learn};

use crate::place;

/// Shows what the past of this state folder proposes, and puts it in force when `apply` says so.
pub(crate) fn run(state: &StateDir, json: bool, apply: bool) -> anyhow::Result<()> {
    let config = place::router_config_of(state)?;
    let lessons = lessons(state)?;
    let mut out = std::io::stdout().lock();
    let proposal = match learn(&Router::new(config), &lessons) {
        Ok(proposal) => proposal,
        Err(why) => {
            match json {
                true => writeln!(out, "null")?,
                false => writeln!(out, "Nothing is proposed: {why}.")?,
            }
            return Ok(());
        }
    };
    match json {
        true => writeln!(out, "{}", serde_json::to_string(&proposal)?)?,
        false => out.write_all(draw(&proposal).as_bytes())?,
    }
    if apply {
        write(state, &proposal)?;
    }
    if !json {
        out.write_all(match apply {
            true => {
                "\nIn force within seconds. `tinyclaw route --forget` takes it back.\n".as_bytes()
            }
            false => {
                "\nNothing was changed. `tinyclaw route --learn --apply` puts this in force.\n"
                    .as_bytes()
            }
        })?;
    }
    Ok(())
}

/// Lets go of what was learned.
pub(crate) fn forget(state: &StateDir) -> anyhow::Result<()> {
    let path = state.learned_router();
    let mut out = std::io::stdout().lock();
    match std::fs::remove_file(&path) {
        Ok(()) => writeln!(
            out,
            "{} is gone; the router's own weights are in force within seconds.",
            path.display()
        )?,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            writeln!(out, "Nothing was learned here; the router's own weights are in force.")?;
        }
        Err(err) => return Err(err).with_context(|| format!("cannot remove {}", path.display())),
    }
    Ok(())
}

/// Every decision that is kept, oldest first, with whether its answer was corrected, or its turn was raised to a stronger model.
fn lessons(state: &StateDir) -> anyhow::Result<Vec<Lesson>> {
    let outcomes = log_since(&state.outcomes(), 0, |it: &OutcomeLine| Some(it.timestamp));
    let mut corrected = corrected(&outcomes.context("cannot read the outcomes")?);
    let decided = log_since(&state.routing(), 0, |it: &RoutingLine| Some(it.timestamp));
    let decided = decided.context("cannot read the routing log")?;
    corrected.extend(
        decided.iter().filter(|it| it.decision.cause == Cause::Raised).map(|it| it.key.clone()),
    );
    let mut lessons: Vec<Lesson> = Vec::new();
    // The last decision before an answer is the one that counts; a line may stand twice after a crash.
    let mut places: HashMap<Key, usize> = HashMap::new();
    for line in decided {
        let Some(lesson) =
            Lesson::of(&line.decision, &line.raw_input, corrected.contains(&line.key))
        else {
            continue;
        };
        match places.get(&line.key) {
            Some(place) => lessons[*place] = lesson,
            None => {
                places.insert(line.key, lessons.len());
                lessons.push(lesson);
            }
        }
    }
    Ok(lessons)
}

fn write(state: &StateDir, proposal: &Proposal) -> anyhow::Result<()> {
    let path = state.learned_router();
    let text = format!(
        "# Learned from this office's own past on {} by `tinyclaw route --learn`; `tinyclaw route --forget` takes it back.\n\
         # Of {} corrected messages it raises {}, unseen; of {} others {} for nothing.\n{}",
        Timestamp::now().strftime("%Y-%m-%d"),
        proposal.unseen.corrected,
        proposal.unseen.raised,
        proposal.unseen.others,
        proposal.unseen.higher,
        proposal.toml(&place::learned_router(state)?)
    );
    let learned =
        Config::default().with(&text).context("what was learned makes no configuration")?;
    let hidden = proposal.hidden_by(&learned, &place::with_own_router(state, learned.clone())?);
    if !hidden.is_empty() {
        bail!(
            "{} sets {} itself, which stands above what is learned: take that out first",
            state.router().display(),
            hidden.join(", ")
        );
    }
    tinyclaw_disk::replace(&path, text.as_bytes(), Flush::Strict)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn draw(proposal: &Proposal) -> String {
    let mut out = format!("{:<36}{:>10}{:>10}\n", "", "now", "proposed");
    for change in &proposal.changes {
        let _ = writeln!(out, "{:<36}{:>10.3}{:>10.3}", change.key, change.from, change.to);
    }
    let (before, after, unseen) = (&proposal.before, &proposal.after, &proposal.unseen);
    let _ = writeln!(
        out,
        "\n{:<36}{:>10}{:>10}{:>10}",
        "of this office's past", "now", "proposed", "unseen"
    );
    let mut line = |name: &str, of: fn(&Score) -> (usize, usize)| {
        let shown = [before, after, unseen].map(|it| {
            let (some, all) = of(it);
            format!("{some}/{all}")
        });
        let _ = writeln!(out, "{name:<36}{:>10}{:>10}{:>10}", shown[0], shown[1], shown[2]);
    };
    line("corrected, would go higher", |it| (it.raised, it.corrected));
    line("others, would go higher for nothing", |it| (it.higher, it.others));
    line("others, would go lower", |it| (it.lower, it.others));
    let _ = writeln!(
        out,
        "\nUnseen: each message weighed by what the others taught. By chance it would come out so in {} of 1,000 offices.",
        (proposal.chance * 1000.0).ceil()
    );
    out
}
