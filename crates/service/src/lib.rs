#![doc = include_str!("../README.md")]

mod about;
mod conceal;
pub mod healthcheck;
#[cfg(feature = "http")]
pub mod http;
pub mod logs;
mod process;
pub mod settings;
mod shutdown;
mod vitals;

pub use about::was_asked;
pub use conceal::{Concealer, conceal, conceal_and_tell, conceal_from_now_on};
pub use process::{not_dumpable, now_ms};
pub use shutdown::Shutdown;
pub use vitals::{Counted, Snapshot, Vitals, prometheus};
