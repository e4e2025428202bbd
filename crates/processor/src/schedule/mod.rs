//! What happens by the clock and not by a message.

mod broker;
pub(crate) mod clock;
mod daily_reset;
mod engine;
mod heartbeats;
mod housekeeping;
mod numbers;
mod reload;
mod ticks;
