//! The desks: their folders, their checkouts and what each may do at the broker.

pub(crate) mod capability;
pub(crate) mod checkout;
pub(crate) mod directories;
pub(crate) mod mirror;
