//! The host's CPU, memory, load and disk, once a second, with the last ten minutes kept.
//!
//! Read from the host's `/proc`, mounted somewhere else in a container; never the container's own. What cannot be read
//! is absent, not zero, and never an error: the page says "n/a".

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use procfs::{CpuTime, Current, FromRead, KernelStats, LoadAverage, Meminfo, Uptime};
use serde::Serialize;
use tinyclaw_disk::Room;
use tinyclaw_service::now_ms;

/// How many seconds are kept.
const SAMPLES_MAX: usize = 600;

/// The host at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    /// When, in ms since 1970.
    pub(crate) at: u64,
    /// How busy all cores together were since the sample before, from 0 to 1.
    pub(crate) cpu: Option<f32>,
    /// The same for each core.
    pub(crate) cores: Vec<f32>,
    /// Memory, in bytes.
    pub(crate) memory: Option<Memory>,
    /// Runnable tasks on average over 1, 5 and 15 minutes.
    pub(crate) load: Option<[f32; 3]>,
    /// The volume of the state folder, in bytes.
    pub(crate) disk: Option<Disk>,
    /// Seconds since the host started.
    pub(crate) uptime_s: Option<u64>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) total: u64,
    /// What is in use and could not be had for the asking.
    pub(crate) used: u64,
    /// What programs could still get.
    pub(crate) available: u64,
}

/// A volume, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Disk {
    /// All of it.
    pub(crate) total: u64,
    /// In use.
    pub(crate) used: u64,
    /// What an ordinary user may still write.
    pub(crate) available: u64,
}

/// Samples the host.
#[derive(Debug)]
pub(crate) struct Host {
    proc: Option<PathBuf>,
    state: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    before: Vec<Ticks>,
    samples: VecDeque<Arc<Sample>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Host {
    /// The host whose `/proc` lies at `proc`, and the volume of the state folder.
    pub(crate) fn new(proc: Option<PathBuf>, state: PathBuf) -> Host {
        Host { proc, state, kept: Mutex::default() }
    }

    /// Takes a sample and keeps it.
    pub(crate) fn sample(&self) -> Arc<Sample> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let ticks = self.proc.as_deref().map(ticks).unwrap_or_default();
        let shares: Vec<f32> = ticks
            .iter()
            .zip(kept.before.iter().chain(std::iter::repeat(&Ticks::default())))
            .map(|(now, before)| share(*before, *now))
            .collect();
        // The first look has nothing to compare with: the mean since the host started would be a lie.
        let is_first = kept.before.is_empty();
        kept.before = ticks;
        let sample = Arc::new(Sample {
            at: now_ms(),
            cpu: shares.first().copied().filter(|_| !is_first),
            cores: if is_first { Vec::new() } else { shares.into_iter().skip(1).collect() },
            memory: self.proc.as_deref().and_then(memory),
            load: self.read::<LoadAverage>("loadavg").map(|it| [it.one, it.five, it.fifteen]),
            disk: disk(&self.state),
            uptime_s: self.read::<Uptime>("uptime").map(|it| it.uptime as u64),
        });
        if kept.samples.len() == SAMPLES_MAX {
            kept.samples.pop_front();
        }
        kept.samples.push_back(Arc::clone(&sample));
        sample
    }

    /// The newest sample; one is taken when there is none yet.
    pub(crate) fn latest(&self) -> Arc<Sample> {
        let latest = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.samples.back().cloned()
        };
        latest.unwrap_or_else(|| self.sample())
    }

    /// All samples kept, oldest first.
    pub(crate) fn samples(&self) -> Vec<Arc<Sample>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.samples.iter().cloned().collect()
    }

    fn read<T: FromRead>(&self, name: &str) -> Option<T> {
        T::from_file(self.proc.as_ref()?.join(name)).ok()
    }
}

/// All cores together first, then each.
fn ticks(proc: &Path) -> Vec<Ticks> {
    // Only ratios are used, so how long a tick is does not matter.
    let system = procfs::LocalSystemInfo;
    let stats: Option<KernelStats> = procfs::FromReadSI::from_file(proc.join("stat"), &system).ok();
    let of = |it: &CpuTime| {
        let idle = it.idle + it.iowait.unwrap_or(0);
        let busy = it.user
            + it.nice
            + it.system
            + it.irq.unwrap_or(0)
            + it.softirq.unwrap_or(0)
            + it.steal.unwrap_or(0);
        Ticks { busy, all: busy + idle }
    };
    stats.map_or_else(Vec::new, |it| {
        std::iter::once(&it.total).chain(&it.cpu_time).map(of).collect()
    })
}

/// The busy share of the time between two readings. Counters may step back (iowait does, and a core that was off).
fn share(before: Ticks, now: Ticks) -> f32 {
    let all = now.all.saturating_sub(before.all);
    let busy = now.busy.saturating_sub(before.busy);
    if all == 0 { 0.0 } else { (busy as f32 / all as f32).clamp(0.0, 1.0) }
}

fn memory(proc: &Path) -> Option<Memory> {
    let info = Meminfo::from_file(proc.join("meminfo")).ok()?;
    let total = info.mem_total;
    let available = info.mem_available.unwrap_or(info.mem_free + info.buffers + info.cached);
    Some(Memory { total, used: total.saturating_sub(available), available })
}

fn disk(state: &Path) -> Option<Disk> {
    let Room { total, used, available } = Room::of(state).ok()?;
    Some(Disk { total, used, available })
}

/// Where the host's `/proc` is: as told, else `/host/proc`, else `/proc` when this is no container.
pub(crate) fn find_proc(told: Option<PathBuf>) -> Option<PathBuf> {
    let mounted = PathBuf::from("/host/proc");
    match told {
        Some(it) => Some(it),
        None if mounted.join("stat").exists() => Some(mounted),
        None if is_container() => None,
        None => procfs::Uptime::current().ok().map(|_| PathBuf::from("/proc")),
    }
}

fn is_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|it| Path::new(it).exists())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the test plays the kernel")]

    use super::*;

    #[test]
    fn the_share_is_of_the_time_between_two_looks() {
        let dir = tempfile::tempdir().unwrap();
        let stat = |user: u64, idle: u64| {
            let text = format!(
                "cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 {user} 0 0 {idle} 0 0 0 0 0 0\nctxt 1\nbtime 1\nprocesses 1\n"
            );
            std::fs::write(dir.path().join("stat"), text).unwrap();
        };
        let host = Host::new(Some(dir.path().to_owned()), dir.path().to_owned());
        stat(1_000, 1_000);
        assert_eq!(host.sample().cpu, None);
        stat(1_075, 1_025);
        let sample = host.sample();
        assert_eq!((sample.cpu, &sample.cores[..]), (Some(0.75), &[0.75][..]));
        stat(10, 10);
        assert_eq!(host.sample().cpu, Some(0.0), "a counter that stepped back is no load");
        assert!(sample.memory.is_none() && sample.load.is_none() && sample.disk.is_some());
    }

    #[test]
    fn a_host_that_cannot_be_read_is_not_an_error() {
        let host = Host::new(None, "/nowhere".into());
        let sample = host.sample();
        assert!(sample.cpu.is_none() && sample.uptime_s.is_none() && sample.disk.is_none());
    }
}
