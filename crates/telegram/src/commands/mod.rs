//! Commands: which there are, and what each does.

pub(crate) mod export;
pub(crate) mod run;
pub(crate) mod table;
