//! The webhooks and what was not delivered, in `events.db`: each has a place in the sequence, which stays when the gateway
//! does not.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Value, json};

use crate::event::{Cursor, Epoch};
use crate::store::{Store, StoreError};

/// So many failures of a webhook are shown.
const SHOWN_MAX: i64 = 1_000;

/// Where events are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    pub(crate) url: String,
    /// Types, or beginnings with a `*`; none: every event.
    pub(crate) types: Vec<String>,
    pub(crate) secret: String,
    /// The secret before, and until when it signs, too.
    pub(crate) before: Option<(String, u64)>,
    /// Up to here everything was posted, or noted.
    pub(crate) cursor: u64,
    pub(crate) created: u64,
    /// Why nothing is posted any more.
    pub(crate) disabled: Option<String>,
}

impl Webhook {
    /// Whether what is told, and how, is the same.
    pub(super) fn is_told_as(&self, other: &Webhook) -> bool {
        let told = |it: &Webhook| (it.url.clone(), it.types.clone(), it.secret.clone());
        told(self) == told(other)
    }

    /// As it is shown: without its secret.
    pub(crate) fn shown(&self, epoch: Epoch) -> Value {
        json!({
            "id": self.id, "url": self.url, "types": self.types, "createdAt": self.created,
            "place": Cursor { epoch, seq: self.cursor }.to_string(), "disabled": self.disabled,
        })
    }
}

/// What a receiver did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) seq: u64,
    /// For a gap: the first event that is missing, of which `seq` is the last.
    pub(crate) first: Option<u64>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// When it is tried again, in ms since 1970.
    pub(crate) due: u64,
    /// What the receiver answered.
    pub(crate) status: Option<u16>,
    pub(crate) error: String,
    /// It is tried no more.
    pub(crate) is_dead: bool,
}

impl Delivery {
    /// As it is shown.
    pub(crate) fn shown(&self, epoch: Epoch) -> Value {
        json!({
            "eventId": format!("evt_{}", Cursor { epoch, seq: self.seq }),
            "gapFrom": self.first.map(|seq| Cursor { epoch, seq }.to_string()), "attempts": self.attempts,
            "due": (!self.is_dead).then_some(self.due), "status": self.status, "error": self.error,
            "dead": self.is_dead,
        })
    }
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let types: String = row.get(2)?;
    let before: Option<String> = row.get(4)?;
    Ok(Webhook {
        id: row.get(0)?,
        url: row.get(1)?,
        types: serde_json::from_str(&types).unwrap_or_default(),
        secret: row.get(3)?,
        before: before.zip(row.get::<_, Option<u64>>(5)?),
        cursor: row.get(6)?,
        created: row.get(7)?,
        disabled: row.get(8)?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        seq: row.get(0)?,
        attempts: row.get(1)?,
        due: row.get(2)?,
        status: row.get(3)?,
        error: row.get(4)?,
        is_dead: row.get(5)?,
        first: row.get(6)?,
    })
}

const WEBHOOK: &str =
    "SELECT id, url, types, secret, before, before_until, cursor, created, disabled FROM webhooks";
const DELIVERY: &str = "SELECT seq, attempts, due, status, error, dead, first FROM deliveries";

/// All of them, the oldest first.
pub(crate) async fn all(store: &Store) -> Result<Vec<Webhook>, StoreError> {
    store
        .read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("{WEBHOOK} ORDER BY created, id"))?;
            statement.query_map([], webhook)?.collect()
        })
        .await
}

/// One of them.
pub(crate) async fn find(store: &Store, id: &str) -> Result<Option<Webhook>, StoreError> {
    let id = id.to_owned();
    store
        .read(move |connection| {
            connection.query_row(&format!("{WEBHOOK} WHERE id = ?1"), [&id], webhook).optional()
        })
        .await
}

/// Keeps a webhook, new or changed; its place is left where it is when it is known.
pub(crate) async fn keep(store: &Store, it: Webhook) -> Result<(), StoreError> {
    let put = move |connection: &mut Connection| {
        let types = json!(it.types).to_string();
        let (before, until) = it.before.unzip();
        connection.execute(
            "INSERT INTO webhooks VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT(id) DO UPDATE SET url = ?2, types = ?3, secret = ?4, before = ?5, before_until = ?6,
             disabled = ?9",
            params![it.id, it.url, types, it.secret, before, until, it.cursor, it.created, it.disabled],
        )
    };
    store.change(put).await.map(|_| ())
}

/// Removes a webhook and what it waits for.
pub(crate) async fn remove(store: &Store, id: &str) -> Result<(), StoreError> {
    let id = id.to_owned();
    let take = move |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM deliveries WHERE webhook = ?1", [&id])?;
        transaction.execute("DELETE FROM webhooks WHERE id = ?1", [&id])?;
        transaction.commit()
    };
    store.change(take).await
}

/// Everything up to here was posted, or noted.
pub(super) async fn advance(store: &Store, id: &str, cursor: u64) -> Result<(), StoreError> {
    let id = id.to_owned();
    let note = move |connection: &mut Connection| {
        let question = "UPDATE webhooks SET cursor = ?2 WHERE id = ?1 AND cursor < ?2";
        connection.prepare_cached(question)?.execute(params![id, cursor])
    };
    store.change(note).await.map(|_| ())
}

pub(super) async fn disable(store: &Store, id: &str, why: &'static str) -> Result<(), StoreError> {
    let id = id.to_owned();
    let note = move |connection: &mut Connection| {
        connection.execute("UPDATE webhooks SET disabled = ?2 WHERE id = ?1", params![id, why])
    };
    store.change(note).await.map(|_| ())
}

/// Notes a failure, and that everything before it needs no more.
pub(super) async fn failed(store: &Store, id: &str, it: Delivery) -> Result<(), StoreError> {
    let id = id.to_owned();
    let note = move |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        transaction.execute(
            "INSERT INTO deliveries SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM webhooks WHERE id = ?1
             ON CONFLICT(webhook, seq) DO UPDATE SET attempts = ?3, due = ?4, status = ?5, error = ?6, dead = ?7, first = ?8",
            params![id, it.seq, it.attempts, it.due, it.status, it.error, it.is_dead, it.first],
        )?;
        let question = "UPDATE webhooks SET cursor = ?2 WHERE id = ?1 AND cursor < ?2";
        transaction.execute(question, params![id, it.seq])?;
        transaction.commit()
    };
    store.change(note).await
}

/// What failed before was taken.
pub(super) async fn delivered(store: &Store, id: &str, seq: u64) -> Result<(), StoreError> {
    let id = id.to_owned();
    let note = move |connection: &mut Connection| {
        let question = "DELETE FROM deliveries WHERE webhook = ?1 AND seq = ?2";
        connection.execute(question, params![id, seq])
    };
    store.change(note).await.map(|_| ())
}

/// What is to be tried again, the next first.
pub(super) async fn due(store: &Store, id: &str, most: usize) -> Result<Vec<Delivery>, StoreError> {
    let id = id.to_owned();
    store
        .read(move |connection| {
            let question = format!(
                "{DELIVERY} WHERE webhook = ?1 AND dead = 0 ORDER BY due, seq LIMIT {most}"
            );
            let mut statement = connection.prepare_cached(&question)?;
            statement.query_map([&id], delivery)?.collect()
        })
        .await
}

/// What was not delivered: waiting and given up.
pub(crate) async fn failures(store: &Store, id: &str) -> Result<Vec<Delivery>, StoreError> {
    let id = id.to_owned();
    store
        .read(move |connection| {
            let question = format!("{DELIVERY} WHERE webhook = ?1 ORDER BY seq LIMIT {SHOWN_MAX}");
            let mut statement = connection.prepare_cached(&question)?;
            statement.query_map([&id], delivery)?.collect()
        })
        .await
}

/// Tries again now: one event, whatever became of it, or all that were given up. Tells how many.
pub(crate) async fn redeliver(
    store: &Store,
    id: &str,
    seq: Option<u64>,
) -> Result<u64, StoreError> {
    let id = id.to_owned();
    let note = move |connection: &mut Connection| {
        let count = match seq {
            Some(seq) => connection.execute(
                "INSERT INTO deliveries SELECT ?1, seq, 1, 0, NULL, 'asked for', 0, NULL FROM events WHERE seq = ?2
                 ON CONFLICT(webhook, seq) DO UPDATE SET attempts = 1, due = 0, dead = 0",
                params![id, seq],
            ),
            None => connection.execute(
                "UPDATE deliveries SET attempts = 1, due = 0, dead = 0 WHERE webhook = ?1 AND dead = 1",
                [&id],
            ),
        };
        count.map(|it| it as u64)
    };
    store.change(note).await
}
