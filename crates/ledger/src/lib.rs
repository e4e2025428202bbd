#![doc = include_str!("../README.md")]

mod costs;
mod envs;
pub mod health;
mod history;
mod job_log;
mod journal;
mod json;
pub mod plan;
mod progress;
mod threads;

pub use costs::{Costs, Spent};
pub use envs::read_envs;
pub use history::{LogReader, log, log_since, recent_history};
pub use job_log::{ALL_BYTES_MAX, JobLog, JobReader, JobTimes, job_times, retire_jobs};
pub use journal::{Journal, Keep, SEGMENT_BYTES_MAX, TextLog, text_log};
pub use json::{JsonError, load, save};
pub use progress::Progresses;
pub use threads::{ThreadBook, ThreadsError, check_threads, read_threads};
pub use tinyclaw_domain::StateDir;

/// Makes the folders that services expect to find. The queue makes its own.
pub fn create_folders(state: &StateDir) -> std::io::Result<()> {
    state.folders().iter().try_for_each(std::fs::create_dir_all)
}
