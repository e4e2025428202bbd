#![doc = include_str!("../README.md")]

mod costs;
pub mod health;
mod history;
mod job_log;
mod journal;
mod json;
mod progress;
mod state;
mod threads;

pub use costs::{Costs, Spent};
pub use history::{LogReader, log, recent_history};
pub use job_log::{ALL_BYTES_MAX, JobLog, JobReader, retire_jobs};
pub use journal::{Journal, Keep, SEGMENT_BYTES_MAX, TextLog, text_log};
pub use json::{JsonError, load, save};
pub use progress::Progresses;
pub use state::StateDir;
pub use threads::{ThreadBook, ThreadsError, check_threads, read_threads};
