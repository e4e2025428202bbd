//! What the Telegram face promises, held against the fake Telegram.

mod intake;
mod office;
mod outlet;
mod session;
mod text;
