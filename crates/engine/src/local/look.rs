//! Looking at this machine: by the same rules by which the launcher gives a directory away.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;
use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::look::MOVE_BYTES_MAX;
use tinyclaw_domain::{Place, SessionId, ThreadId};

use super::LocalLauncher;
use crate::config::Landlock;
use crate::home::{CLAUDE_DIR, Home};
use crate::leash::folders::{self, Relation};
use crate::leash::{Promise, missing_promises};
use crate::look::{BadDir, Desk, FoundFile, Look, LookError, LookFuture};
use crate::moving::Parcel;
use crate::overlap::{Overlap, overlap};
use crate::transcript::{Trace, Transcript};

impl Look for LocalLauncher {
    fn has_session<'a>(&'a self, desk: &'a Desk, session: &'a SessionId) -> LookFuture<'a, bool> {
        let transcript = self.transcript(desk, session);
        on_disk(move || Ok(transcript().exists()))
    }

    fn trace<'a>(
        &'a self,
        desk: &'a Desk,
        session: &'a SessionId,
        turn_uuid: &'a str,
    ) -> LookFuture<'a, Trace> {
        let (transcript, uuid) = (self.transcript(desk, session), turn_uuid.to_owned());
        on_disk(move || Ok(transcript().trace(&uuid)?))
    }

    fn copy_session<'a>(
        &'a self,
        from: &'a Desk,
        to: &'a Path,
        session: &'a SessionId,
    ) -> LookFuture<'a, bool> {
        let to = self.transcript(&from.with_dir(to), session);
        let from = self.transcript(from, session);
        on_disk(move || {
            let from = from();
            Ok(from.copy_to(&to())?)
        })
    }

    fn real_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, PathBuf> {
        let dir = desk.dir.clone();
        on_disk(move || {
            let real = dir.canonicalize().map_err(|_| ForeignError::Missing(dir))?;
            if real.is_dir() { Ok(real) } else { Err(ForeignError::NotAFolder(real).into()) }
        })
    }

    fn check_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, ()> {
        let (launcher, dir) = (self.clone(), desk.dir.clone());
        on_disk(move || Ok(launcher.check(dir)?))
    }

    fn overlaps<'a>(
        &'a self,
        desk: &'a Desk,
        others: &'a [PathBuf],
    ) -> LookFuture<'a, Vec<Overlap>> {
        let (dir, others) = (desk.dir.clone(), others.to_vec());
        on_disk(move || Ok(others.iter().map(|it| overlap(&dir, it)).collect()))
    }

    fn own_folder<'a>(&'a self, _: &'a Place, thread: &'a ThreadId) -> LookFuture<'a, PathBuf> {
        let path = self.files(thread);
        on_disk(move || match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(ForeignError::Io { step: "make", path, source }.into()),
        })
    }

    fn find_file<'a>(&'a self, desk: &'a Desk, path: &'a Path) -> LookFuture<'a, FoundFile> {
        let (dir, path) = (desk.dir.clone(), path.to_owned());
        on_disk(move || {
            let io = |step, path: &Path| {
                let path = path.to_owned();
                move |source| ForeignError::Io { step, path, source }
            };
            let dir = dir.canonicalize().map_err(io("find", &dir))?;
            let asked = dir.join(&path);
            let there = asked.canonicalize().map_err(|_| ForeignError::Missing(asked))?;
            let below = there.strip_prefix(&dir).map_err(|_| ForeignError::Outside(path))?;
            let about = there.metadata().map_err(io("look at", &there))?;
            if !about.is_file() {
                return Err(ForeignError::NotAFile(there).into());
            }
            Ok(FoundFile { below: below.to_owned(), bytes: about.len(), path: there })
        })
    }

    fn get<'a>(
        &'a self,
        desk: &'a Desk,
        below: &'a Path,
        bytes_max: u64,
    ) -> LookFuture<'a, Vec<u8>> {
        let (dir, below) = (desk.dir.clone(), below.to_owned());
        on_disk(move || Ok(foreign::read_below(&dir, &below, bytes_max)?))
    }

    fn put<'a>(&'a self, _: &'a Desk, root: &'a Path, below: &'a Path) -> LookFuture<'a, PathBuf> {
        let path = root.join(below);
        Box::pin(async move { Ok(path) })
    }

    fn pack_up<'a>(
        &'a self,
        desk: &'a Desk,
        session: Option<&'a SessionId>,
    ) -> LookFuture<'a, Parcel> {
        Box::pin(LocalLauncher::pack_up(self, desk, session))
    }

    fn lay_out<'a>(
        &'a self,
        desk: &'a Desk,
        session: Option<&'a SessionId>,
        parcel: &'a Parcel,
    ) -> LookFuture<'a, ()> {
        Box::pin(LocalLauncher::lay_out(self, desk, session, parcel))
    }

    fn unconfined<'a>(&'a self, _: &'a Place) -> LookFuture<'a, Option<String>> {
        let landlock = self.landlock;
        Box::pin(async move {
            if landlock == Landlock::Off {
                let off = "engine.landlock is off: claude may touch whatever this user may";
                return Ok(Some(off.to_owned()));
            }
            let missing = missing_promises();
            Ok((!missing.is_empty()).then(|| format!("this kernel {}", Promise::told(&missing))))
        })
    }
}

impl LocalLauncher {
    /// A session's transcript, all of it; nothing where there is none.
    pub(crate) fn read_transcript(
        &self,
        desk: &Desk,
        session: &SessionId,
    ) -> Result<Vec<u8>, LookError> {
        Ok(self.transcript(desk, session)().read(MOVE_BYTES_MAX as u64)?)
    }

    /// Puts one where Claude looks for it.
    pub(crate) fn write_transcript(
        &self,
        desk: &Desk,
        session: &SessionId,
        bytes: &[u8],
    ) -> Result<(), LookError> {
        if self.home.is_none() {
            // A thread that comes from elsewhere never had one here.
            let home = Home::new(&self.state, &self.claude_home, &desk.thread);
            home.make().map_err(|err| {
                let (path, source) = (desk.dir.clone(), io::Error::other(err));
                ForeignError::Io { step: "make a home for who works in", path, source }
            })?;
        }
        Ok(self.transcript(desk, session)().write(bytes)?)
    }

    /// The transcript of a session in the desk's directory; it is looked for when it is called.
    fn transcript(&self, desk: &Desk, session: &SessionId) -> impl Fn() -> Transcript + use<> {
        let (dir, session) = (desk.dir.clone(), session.clone());
        let own = self.home.clone();
        let home = Home::new(&self.state, &self.claude_home, &desk.thread);
        move || match &own {
            // Nothing was ever kept for it elsewhere.
            Some(own) => Transcript::find(own, Path::new(CLAUDE_DIR), &dir, &session),
            None => home.transcript(&dir, &session),
        }
    }

    fn check(&self, dir: PathBuf) -> Result<(), BadDir> {
        let there = match folders::open(&dir) {
            Err(ForeignError::Link(_)) => return Err(BadDir::Linked(dir)),
            Err(_) => return Err(BadDir::Missing(dir)),
            Ok(there) => there,
        };
        if !fstat(&there).is_ok_and(|it| folders::is_folder(&it)) {
            return Err(BadDir::Missing(dir));
        }
        if self.landlock == Landlock::Off {
            return Ok(());
        }
        let state = self.state.clone();
        let relation = folders::open(&state)
            .map_err(io::Error::other)
            .and_then(|opened| folders::relation(&there, &opened));
        match relation {
            Ok(Relation::Beside) => Ok(()),
            Ok(Relation::Inside) => Err(BadDir::InState { dir, state }),
            Ok(Relation::Around) => Err(BadDir::HoldsState { dir, state }),
            Err(source) => Err(BadDir::Unknown { dir, source }),
        }
    }
}

/// Waits for the disk without holding up anything else.
fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LookError> + Send + 'static,
) -> LookFuture<'static, T> {
    Box::pin(async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(err) => match err.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and whoever asked with it.
                Err(_) => std::future::pending().await,
            },
        }
    })
}
