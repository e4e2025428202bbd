//! The desks: every thread with its directory, its repository, its session and its rights. Asks no Claude, and says
//! nothing in a chat.

pub(crate) mod brings;
pub(crate) mod capability;
pub(crate) mod checkout;
pub(crate) mod directories;
mod mirror;
mod numbers;
pub(crate) mod repo;
pub(crate) mod sessions;
pub(crate) mod settle;
pub(crate) mod threads;
pub(crate) mod users;

pub(crate) use self::mirror::retire as retire_mirrors;
pub(crate) use self::repo::{full_name, host_of};
pub(crate) use self::threads::{Desks, may_read_others, trust};
pub(crate) use self::users::made_for;
