//! The schema: tables by numbered steps that are never changed again, functions laid over them as a whole. A program that is too
//! old for the database, or may not bring it up to date, is told so and goes no further.

use refinery::{Migration, Runner};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::trouble::{OpenError, Trouble};

/// The schema that this program makes and speaks.
const VERSION: i32 = 1;
const STEPS: [(&str, &str); 1] = [("V1__queue", include_str!("../sql/V1__queue.sql"))];
const FUNCTIONS: &str = include_str!("../sql/functions.sql");
/// Held while the schema changes, so that two programs that start together do not both change it.
const LOCK: i64 = 0x7463_7363_6865_6d61;

/// Sees to it that the schema is the one of this program.
pub(crate) async fn bring_up_to_date(client: &mut Client) -> Result<(), OpenError> {
    if is_current(client).await? {
        return Ok(());
    }
    let failed = |err: &tokio_postgres::Error| OpenError::Migrate { source: Trouble::of(err) };
    client
        .batch_execute(&format!(
            "set lock_timeout = 0; set statement_timeout = 0; select pg_advisory_lock({LOCK})"
        ))
        .await
        .map_err(|err| failed(&err))?;
    let migrated = migrate(client).await;
    // Gives the session back its own patience, also after an error.
    let released = client
        .batch_execute(&format!(
            "reset lock_timeout; reset statement_timeout; select pg_advisory_unlock({LOCK})"
        ))
        .await;
    migrated?;
    released.map_err(|err| failed(&err))
}

async fn migrate(client: &mut Client) -> Result<(), OpenError> {
    // Somebody else may have done it while we waited.
    if is_current(client).await? {
        return Ok(());
    }
    let failed = |err: &tokio_postgres::Error| OpenError::Migrate { source: Trouble::of(err) };
    let begin = "create schema if not exists tinyclaw";
    client.batch_execute(begin).await.map_err(|err| failed(&err))?;
    let mut steps = Vec::with_capacity(STEPS.len());
    for (name, sql) in STEPS {
        steps
            .push(Migration::unapplied(name, sql).map_err(|err| OpenError::Steps { source: err })?);
    }
    let ran = Runner::new(&steps).set_grouped(true).run_async(client).await;
    ran.map_err(|err| OpenError::Steps { source: err })?;
    // One batch is one transaction: all functions are of one version, or none is.
    let sum = functions_sum();
    let lay = format!("{FUNCTIONS}\nupdate meta set functions = '{sum}', version = {VERSION};");
    client.batch_execute(&lay).await.map_err(|err| failed(&err))
}

/// Whether tables and functions are ours. An error when they are of a program that has left us behind.
async fn is_current(client: &Client) -> Result<bool, OpenError> {
    let asked = client.query_one("select version, oldest, functions from meta", &[]).await;
    let row = match asked {
        Ok(row) => row,
        Err(err)
            if err.code() == Some(&SqlState::UNDEFINED_TABLE)
                || err.code() == Some(&SqlState::INVALID_SCHEMA_NAME) =>
        {
            return Ok(false);
        }
        Err(err) => return Err(OpenError::Reach { source: Trouble::of(&err) }),
    };
    let (version, oldest): (i32, i32) = (row.get(0), row.get(1));
    if oldest > VERSION {
        return Err(OpenError::Newer { found: version, known: VERSION });
    }
    // A newer program's functions serve us too, as long as it says so by `oldest`.
    Ok(version > VERSION || (version == VERSION && row.get::<_, &str>(2) == functions_sum()))
}

/// Tells one text of the functions from another. Not against somebody who means it.
fn functions_sum() -> String {
    let fnv = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", FUNCTIONS.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv))
}
