//! What the Telegram face promises, held against the fake Telegram.

mod intake;
mod meet;
mod office;
mod outlet;
mod session;
mod storm;
mod text;
