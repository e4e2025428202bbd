//! Is the fake Telegram faithful? Clients that other people wrote for the real one are the judges.

mod foreign;
