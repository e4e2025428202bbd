//! Notes for Claude Code sessions that are not of this office: each waits in `events.db` until its session's next hook
//! that may be answered, and rides on that answer, once.
//!
//! A note is material that a program sent, and is quoted as such: it never speaks as the person at that session. What was
//! taken out for an answer is not told again, also when the answer did not arrive.

use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};
use tinyclaw_domain::{Quote, quoted};

use crate::store::{Store, StoreError};

/// So long a note waits.
pub(crate) const WAIT_MS: u64 = 60 * 60 * 1000;
/// So many characters it may have.
pub(crate) const CHARS_MAX: usize = 2_000;
/// So many wait for a session, and in all.
const OF_SESSION_MAX: u64 = 20;
const ALL_MAX: u64 = 1_000;
/// The hooks whose answer is shown to Claude.
const HOOKS: [&str; 2] = ["UserPromptSubmit", "PostToolUse"];

/// What a program wants to say to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) id: String,
    pub(crate) session: String,
    pub(crate) sender: String,
    pub(crate) text: String,
    /// It is told until then, in ms since 1970.
    pub(crate) until: u64,
}

/// Keeps a note; false when too many wait already.
pub(crate) async fn keep(store: &Store, note: Note, now: u64) -> Result<bool, StoreError> {
    let put = move |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM notes WHERE until <= ?1", [now])?;
        let counts =
            "SELECT (SELECT count(*) FROM notes WHERE session = ?1), (SELECT count(*) FROM notes)";
        let (of_session, all): (u64, u64) =
            transaction.query_row(counts, [&note.session], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let fits = of_session < OF_SESSION_MAX && all < ALL_MAX;
        if fits {
            transaction.execute(
                "INSERT INTO notes VALUES(?1, ?2, ?3, ?4, ?5)",
                params![note.id, note.session, note.sender, note.text, note.until],
            )?;
        }
        transaction.commit().map(|()| fits)
    };
    store.change(put).await
}

/// Takes out what waits for a session, the oldest first.
pub(crate) async fn take(store: &Store, session: &str, now: u64) -> Result<Vec<Note>, StoreError> {
    let session = session.to_owned();
    let note = |row: &Row<'_>| {
        Ok(Note {
            id: row.get(0)?,
            session: row.get(1)?,
            sender: row.get(2)?,
            text: row.get(3)?,
            until: row.get(4)?,
        })
    };
    let take = move |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        let mut notes = {
            let question = "DELETE FROM notes WHERE session = ?1 AND until > ?2 RETURNING *";
            let mut statement = transaction.prepare_cached(question)?;
            let found = statement.query_map(params![session, now], note)?;
            found.collect::<rusqlite::Result<Vec<Note>>>()?
        };
        transaction.commit()?;
        notes.sort_by(|a, b| (a.until, &a.id).cmp(&(b.until, &b.id)));
        Ok(notes)
    };
    store.change(take).await
}

/// The session of a hook whose answer Claude is shown, and the hook's name.
pub(crate) fn listening<'a>(
    kind: &str,
    session: Option<&'a str>,
) -> Option<(&'a str, &'static str)> {
    let hook = HOOKS.into_iter().find(|it| kind.strip_prefix("claude.") == Some(it))?;
    Some((session?, hook))
}

/// The answer to a hook that brings these notes.
pub(crate) fn answer(hook: &str, notes: &[Note]) -> Value {
    let told: Vec<String> = notes
        .iter()
        .map(|it| {
            let sender = quoted(&it.sender, Quote::Name, 64);
            format!(
                "A note from {sender}, a program, not from the person here:\n{}",
                quoted(&it.text, Quote::Block, CHARS_MAX)
            )
        })
        .collect();
    json!({ "hookSpecificOutput": { "hookEventName": hook, "additionalContext": told.join("\n\n") } })
}
