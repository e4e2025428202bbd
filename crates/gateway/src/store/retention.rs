//! Removing what is too old, too many or too heavy, oldest first and a batch at a time, so that writing goes on between.
//!
//! The last event always stays: its number is where the next one begins.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Keep;

/// So many rows are removed in one transaction.
const BATCH_ROWS: u64 = 2_000;
/// So many batches in a row; the rest waits for the next minute.
const BATCHES_MAX: usize = 200;

/// Removes what may go; tells how many events that were.
pub(super) fn retire(
    connection: &mut Connection,
    keep: &Keep,
    head: u64,
    now: u64,
) -> rusqlite::Result<u64> {
    let oldest_kept = now.saturating_sub(u64::try_from(keep.age.as_millis()).unwrap_or(u64::MAX));
    let mut removed = 0;
    for _ in 0..BATCHES_MAX {
        let oldest = "SELECT seq, at FROM events ORDER BY seq LIMIT 1";
        let oldest: Option<(i64, i64)> =
            connection.query_row(oldest, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((first, at)) = oldest.map(|(first, at)| (first.unsigned_abs(), at.unsigned_abs()))
        else {
            break;
        };
        let is_old = at < oldest_kept;
        let too_many = (head - first + 1).saturating_sub(keep.rows);
        let is_heavy = bytes(connection)? > keep.bytes;
        let most = match (is_old || is_heavy, too_many) {
            (false, 0) => break,
            (false, more) => more.min(BATCH_ROWS),
            (true, _) => BATCH_ROWS,
        };
        let last = (first + most - 1).min(head - 1);
        if last < first {
            break;
        }
        // By age alone, what is young stays.
        let by_age = if is_heavy || too_many > 0 { i64::MAX } else { signed(oldest_kept) };
        let transaction = connection.transaction()?;
        let gone = "seq >= ?1 AND seq <= ?2 AND at < ?3";
        let range = params![signed(first), signed(last), by_age];
        transaction.execute(
            &format!(
                "DELETE FROM seen WHERE (source, id) IN
                 (SELECT source, id FROM events WHERE {gone} AND id IS NOT NULL)"
            ),
            range,
        )?;
        let count = transaction.execute(
            &format!("DELETE FROM events WHERE {gone}"),
            params![signed(first), signed(last), by_age],
        )?;
        transaction.commit()?;
        removed += count as u64;
        if count == 0 {
            break;
        }
    }
    Ok(removed)
}

/// What the events weigh, without the room that removed ones left.
fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma: &str| {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
    };
    let pages = number("page_count")? - number("freelist_count")?;
    Ok((pages * number("page_size")?).unsigned_abs())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
