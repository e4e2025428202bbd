//! Whether Claude can be asked now, and what TinyClaw itself says about it: pauses, outages, budgets, plans, notices.

pub(crate) mod budget;
pub(crate) mod notices;
pub(crate) mod pause;
mod places;
pub(crate) mod plan;
mod taken;
