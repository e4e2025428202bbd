//! What the Telegram face promises, held against the fake Telegram.

mod away;
mod bursts;
mod crowd;
mod discover;
mod edges;
mod errands;
mod frozen;
mod halt;
mod intake;
mod keeping;
mod late;
mod lost;
mod manners;
mod moments;
mod office;
mod outage;
mod outlet;
mod parcels;
mod questions;
mod session;
mod shown;
mod sounds;
mod stop;
mod storm;
mod strangers;
mod text;
