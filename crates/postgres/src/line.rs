//! One client connection: statements prepared once, calls pipelined, and an end that cancels nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use crate::database::Database;

/// A connection. Dropped, it is closed: whatever the server was still doing for us it ends by itself. Nothing is ever
/// cancelled, because a commit that waits for its standby would be told as done.
pub(crate) struct Line {
    client: Client,
    prepared: Mutex<HashMap<&'static str, Statement>>,
    driver: JoinHandle<()>,
}

impl Line {
    /// `hear` gets what others tell; `ended` is called when the server has ended it.
    pub(crate) async fn open(
        database: &Database,
        hear: impl Fn(&str) + Send + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Line, Error> {
        let (client, driver) = database.connect().await?;
        let driver = tokio::spawn(async move {
            driver.run(hear).await;
            ended();
        });
        Ok(Line { client, prepared: Mutex::default(), driver })
    }

    pub(crate) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(crate) async fn query(
        &self,
        statement: &'static str,
        args: &[Box<dyn ToSql + Send + Sync>],
    ) -> Result<Vec<Row>, Error> {
        let known = self.prepared().get(statement).cloned();
        let prepared = match known {
            Some(it) => it,
            None => {
                let it = self.client.prepare(statement).await?;
                self.prepared().insert(statement, it.clone());
                it
            }
        };
        let args: Vec<&(dyn ToSql + Sync)> =
            args.iter().map(|it| &**it as &(dyn ToSql + Sync)).collect();
        self.client.query(&prepared, &args).await
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Where a line is kept and made anew when it broke.
#[derive(Default)]
pub(crate) struct Slot {
    line: tokio::sync::Mutex<Option<Arc<Line>>>,
    /// Calls that are under way on it.
    pub(crate) busy: std::sync::atomic::AtomicUsize,
}

impl Slot {
    pub(crate) fn with(line: Line) -> Slot {
        Slot { line: tokio::sync::Mutex::new(Some(Arc::new(line))), ..Slot::default() }
    }

    /// The line, open.
    pub(crate) async fn line(&self, database: &Database) -> Result<Arc<Line>, Error> {
        let mut kept = self.line.lock().await;
        if let Some(line) = &*kept
            && !line.is_closed()
        {
            return Ok(line.clone());
        }
        let line = Arc::new(Line::open(database, |_| (), || ()).await?);
        *kept = Some(line.clone());
        Ok(line)
    }

    /// Forgets a line that did not answer. It closes when nobody waits on it any more.
    pub(crate) async fn forget(&self, line: &Arc<Line>) {
        let mut kept = self.line.lock().await;
        if kept.as_ref().is_some_and(|it| Arc::ptr_eq(it, line)) {
            *kept = None;
        }
    }
}
