//! What processes take: the memory that is theirs and their share of what they have in common (PSS), as the kernel counts
//! it. Where it may not be asked, for processes keep their memory to themselves, what is resident (RSS), which is more.

use tinyclaw_ledger::health;
use tinyclaw_service::now_ms;

use super::super::Patient;
use super::super::services::IS_THERE;

/// The four that an idle office consists of.
pub(super) const SERVICES: [&str; 4] = ["telegram", "processor", "broker", "dashboard"];

/// Memory by process, in bytes.
#[derive(Debug)]
pub(super) struct Memory {
    /// `PSS` or `RSS`, and of what.
    pub(super) kind: String,
    pub(super) parts: Vec<(&'static str, u64)>,
}

/// Measures running processes; none when one of them is gone.
pub(super) fn of(processes: &[(&'static str, u32)], whose: &str) -> Option<Memory> {
    let all = |read: fn(u32) -> Option<u64>| {
        let parts = processes.iter().map(|(name, pid)| Some((*name, read(*pid)?)));
        parts.collect::<Option<Vec<_>>>()
    };
    let (kind, parts) = match all(pss) {
        Some(parts) => ("PSS", parts),
        None => ("RSS, for PSS may not be read", all(rss)?),
    };
    Some(Memory { kind: format!("{kind} of {whose}"), parts })
}

/// An idle office's memory and how it was measured: of the office that was tried, when all four were in it; else of the
/// containers, by Docker; else, while a Claude lives in the bot's, of the processes one can see and the other containers.
pub(super) fn idle(patient: &Patient, tried: Option<&Memory>) -> (Option<f64>, String) {
    if let Some(memory) = tried.filter(|it| it.parts.len() == SERVICES.len()) {
        return super::told(memory);
    }
    let docker = |names: &[&'static str]| -> Vec<(&'static str, u64)> {
        let told = &patient.facts.memory;
        names
            .iter()
            .filter_map(|name| Some((*name, told.iter().find(|it| it.0 == *name)?.1)))
            .collect()
    };
    let containers = docker(&["bot", "broker", "dashboard"]);
    if containers.len() == 3 && !has_claude() {
        let kind = "docker stats, the bot being telegram and processor".to_owned();
        return super::told(&Memory { kind, parts: containers });
    }
    let here: Vec<(&'static str, u32)> = SERVICES[..2]
        .iter()
        .filter_map(|name| {
            let seen = health::read(&patient.state, name, now_ms()).ok().flatten()?;
            (seen.age <= IS_THERE).then_some((*name, seen.health.pid))
        })
        .collect();
    let containers = docker(&SERVICES[2..]);
    let both = here.len() == 2 && containers.len() == 2;
    match of(&here, "the running telegram and processor, and docker stats").filter(|_| both) {
        Some(mut memory) => {
            memory.parts.extend(containers);
            super::told(&memory)
        }
        None => {
            let why = "not all of telegram, processor, broker and dashboard are beside this program, or run where they \
                       can be asked";
            (None, why.to_owned())
        }
    }
}

/// Whether a Claude is kept warm here.
fn has_claude() -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let name = |it: std::fs::DirEntry| std::fs::read_to_string(it.path().join("comm")).ok();
    processes.filter_map(name).any(|it| it.starts_with("tinyclaw-leash"))
}

fn pss(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kilobytes(text.lines().find_map(|it| it.strip_prefix("Pss:"))?)
}

fn rss(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kilobytes(text.lines().find_map(|it| it.strip_prefix("VmRSS:"))?)
}

fn kilobytes(text: &str) -> Option<u64> {
    let number: u64 = text.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_measured_and_one_that_is_gone_cannot() {
        let own = of(&[("telegram", std::process::id())], "this test").unwrap();
        assert!(own.parts[0].1 > 100_000, "{own:?}");
        assert!(own.kind.ends_with("of this test"));
        assert!(of(&[("telegram", u32::MAX)], "nobody").is_none());
        assert_eq!(kilobytes("     42 kB"), Some(43_008));
    }
}
