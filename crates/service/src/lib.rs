#![doc = include_str!("../README.md")]

mod about;
mod conceal;
pub mod healthcheck;
#[cfg(feature = "http")]
pub mod http;
pub mod logs;
mod process;
mod sent_files;
pub mod settings;
mod shutdown;
mod systemd;
mod vitals;
pub mod words;

pub use about::was_asked;
pub use conceal::{Concealer, conceal, conceal_and_tell, conceal_from_now_on};
pub use process::{not_dumpable, now_ms};
pub use sent_files::{may_hold_secrets, media_type};
pub use shutdown::Shutdown;
pub use vitals::{Counted, Snapshot, Vitals, prometheus};
