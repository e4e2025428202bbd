#![doc = include_str!("../README.md")]

mod connect;
mod database;
mod line;
mod schema;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
mod trouble;

pub use tokio_postgres::Row;
pub use tokio_postgres::types::ToSql;

pub use crate::database::{AWAY_AFTER, BadDatabase, Database, Tls};
pub use crate::session::{Heard, Kind, Session};
pub use crate::trouble::{OpenError, Trouble};

/// What a call is given, in the order of its `$1`, `$2`.
pub type Args = Vec<Box<dyn ToSql + Send + Sync>>;

/// Makes [`Args`] of values.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        $crate::Args::from([$(Box::new($value) as Box<dyn $crate::ToSql + Send + Sync>),*])
    };
}
