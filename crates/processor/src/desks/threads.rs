//! Every thread as it is known, in memory and in `threads.json`, which nobody else writes.

use std::sync::Mutex;

use anyhow::Context;
use tinyclaw_domain::{SessionId, StateDir, Thread, ThreadId, Threads, Trust};
use tinyclaw_engine::Engine;
use tinyclaw_ledger::{ThreadBook, ThreadsError};
use tinyclaw_service::Vitals;
use tinyclaw_service::settings::{SettingSource, Settings, Store};

use crate::blocking::{lock, on_disk};
use crate::desks::numbers;
use crate::desks::sessions::new_session;

/// Every desk.
pub(crate) struct Desks {
    pub(crate) state: StateDir,
    pub(super) settings: Store<Settings>,
    vitals: Vitals,
    pub(super) engine: Engine,
    /// Guards the threads and their file; held while the file is written. Within it the list of running turns may be
    /// looked at ([`Desks::touch`]), and nothing else is locked.
    book: Mutex<ThreadBook>,
    /// Held while a thread gets its checkout, until its folder is on disk as the thread's: two desks on a new repository
    /// would clone into each other, or get the same folder. The only lock that is held while something is awaited.
    checkouts: tokio::sync::Mutex<()>,
}

impl Desks {
    /// Reads the threads of this state folder. A damaged file is set aside and the operator told.
    pub(crate) fn open(
        state: StateDir,
        settings: Store<Settings>,
        vitals: Vitals,
        engine: Engine,
    ) -> anyhow::Result<Desks> {
        let (book, trouble) = ThreadBook::open(&state).context("cannot read threads.json")?;
        if let Some(trouble) = trouble {
            tracing::error!("{trouble}");
            vitals.concern("threads", Some(trouble.to_string()));
        }
        numbers::seat(&engine, book.all());
        let (book, checkouts) = (Mutex::new(book), tokio::sync::Mutex::default());
        Ok(Desks { state, settings, vitals, engine, book, checkouts })
    }

    /// A thread as it is known.
    pub(crate) fn get(&self, id: &ThreadId) -> Option<Thread> {
        lock(&self.book).get(id).cloned()
    }

    /// All threads as they are known.
    pub(crate) fn all(&self) -> Threads {
        lock(&self.book).all().clone()
    }

    /// Changes one thread, on disk when this returns. `None`: there is no such thread.
    pub(crate) fn change<T>(
        &self,
        id: &ThreadId,
        change: impl FnOnce(&mut Thread) -> T,
    ) -> Result<Option<T>, ThreadsError> {
        self.change_all(|threads| threads.get_mut(id).map(change))
    }

    /// Takes a thread out of the office, on disk when this returns. What it was; `None`: there is no such thread.
    pub(crate) fn remove(&self, id: &ThreadId) -> Result<Option<Thread>, ThreadsError> {
        self.change_all(|threads| threads.remove(id))
    }

    pub(super) fn change_all<T>(
        &self,
        change: impl FnOnce(&mut Threads) -> T,
    ) -> Result<T, ThreadsError> {
        let (result, trouble) = on_disk(|| lock(&self.book).change(change))?;
        self.tell(trouble);
        Ok(result)
    }

    /// Changes what may be lost in a power cut, such as what a thread does right now. Waits for the disk, so it is called
    /// beside a turn and not in its way.
    pub(crate) fn touch(&self, id: &ThreadId, change: impl FnOnce(&mut Thread)) {
        let touched = lock(&self.book).touch(|threads| {
            if let Some(thread) = threads.get_mut(id) {
                change(thread);
            }
        });
        match touched {
            Ok(((), trouble)) => self.tell(trouble),
            Err(err) => tracing::warn!(thread.id = %id, "cannot note what thread {id} does: {err}"),
        }
    }

    /// A person's edit that could not be read was set aside.
    fn tell(&self, trouble: Option<ThreadsError>) {
        if let Some(trouble) = trouble {
            tracing::error!("{trouble}; the last good threads stay in force");
            self.vitals.concern("threads", Some(trouble.to_string()));
        }
    }

    /// The thread's session, stored before anything is said in it; a new one when there is none, or when it is lost.
    pub(crate) fn session(&self, id: &ThreadId, is_lost: bool) -> Result<SessionId, ThreadsError> {
        let known = self.get(id).and_then(|it| it.session_id).filter(|_| !is_lost);
        match known {
            Some(session) => Ok(session),
            None => {
                let session = new_session();
                self.change(id, |it| it.session_id = Some(session.clone()))?;
                Ok(session)
            }
        }
    }

    /// To be held from choosing a thread's checkout until it is the thread's on disk.
    pub(crate) async fn checking_out(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.checkouts.lock().await
    }

    /// The same for whoever would rather not wait: `None` while somebody gets a checkout.
    pub(super) fn nobody_checks_out(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.checkouts.try_lock().ok()
    }
}

#[cfg(test)]
impl Desks {
    /// Those of an office in this folder that has none yet, over an engine that starts nothing.
    pub(crate) fn empty(dir: &std::path::Path) -> Desks {
        let state = StateDir::new(dir.join("state"));
        tinyclaw_ledger::create_folders(&state).unwrap();
        let work = dir.join("work").display().to_string();
        let environment = [("WORKSPACE_ROOT".to_owned(), work)].into();
        let settings = Store::open(state.root(), environment).unwrap();
        let config = tinyclaw_engine::EngineConfig::new("/nowhere", "/nowhere", state.root(), dir);
        Desks::open(state, settings, Vitals::new("processor", "0"), Engine::new(config)).unwrap()
    }
}

/// What of a repository counts for this thread's Claude: as it is said here, else as the office's settings say.
pub(crate) fn trust(settings: &Settings, thread: &Thread) -> Trust {
    let is_project = |it: &SettingSource| *it == SettingSource::Project;
    let of_office = match settings.engine.setting_sources.iter().any(is_project) {
        true => Trust::Settings,
        false => Trust::Text,
    };
    thread.trust.unwrap_or(of_office)
}

/// Whether this thread's Claude may know what happens in others.
pub(crate) fn may_read_others(settings: &Settings, thread: &Thread) -> bool {
    thread.is_master || settings.engine.cross_thread_reading
}
