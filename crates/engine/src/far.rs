//! Places that are reached over a link: what is asked about one of them goes over its own, and over no other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tinyclaw_domain::{Place, SessionId, ThreadId};

use crate::launch::Leashed;
use crate::link::{LinkLauncher, LinkLook};
use crate::look::{Desk, FoundFile, Look, LookFuture, OutOfReach};
use crate::moving::Parcel;
use crate::overlap::Overlap;
use crate::transcript::Trace;

/// The link to one place.
#[derive(Debug)]
pub(crate) struct FarLink {
    pub(crate) launcher: LinkLauncher,
    pub(crate) look: Arc<LinkLook>,
}

/// Who has a link to each of its places.
pub(crate) trait Far: Send + Sync + std::fmt::Debug + 'static {
    /// The one to this place.
    fn link(&self, place: &Place) -> Result<Arc<FarLink>, OutOfReach>;
}

/// What runs there says of its costs what it likes.
pub(crate) fn of_stranger(leashed: Leashed) -> Leashed {
    Leashed { leash: leashed.leash.of_stranger(), ..leashed }
}

/// Each question is asked of the place that it is about.
impl<T: Far> Look for T {
    fn has_session<'a>(&'a self, desk: &'a Desk, session: &'a SessionId) -> LookFuture<'a, bool> {
        Box::pin(async move { self.link(&desk.place)?.look.has_session(desk, session).await })
    }

    fn trace<'a>(
        &'a self,
        desk: &'a Desk,
        session: &'a SessionId,
        turn_uuid: &'a str,
    ) -> LookFuture<'a, Trace> {
        Box::pin(async move { self.link(&desk.place)?.look.trace(desk, session, turn_uuid).await })
    }

    fn copy_session<'a>(
        &'a self,
        from: &'a Desk,
        to: &'a Path,
        session: &'a SessionId,
    ) -> LookFuture<'a, bool> {
        Box::pin(async move { self.link(&from.place)?.look.copy_session(from, to, session).await })
    }

    fn real_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, PathBuf> {
        Box::pin(async move { self.link(&desk.place)?.look.real_dir(desk).await })
    }

    fn check_dir<'a>(&'a self, desk: &'a Desk) -> LookFuture<'a, ()> {
        Box::pin(async move { self.link(&desk.place)?.look.check_dir(desk).await })
    }

    fn overlaps<'a>(
        &'a self,
        desk: &'a Desk,
        others: &'a [PathBuf],
    ) -> LookFuture<'a, Vec<Overlap>> {
        Box::pin(async move { self.link(&desk.place)?.look.overlaps(desk, others).await })
    }

    fn own_folder<'a>(&'a self, place: &'a Place, thread: &'a ThreadId) -> LookFuture<'a, PathBuf> {
        Box::pin(async move { self.link(place)?.look.own_folder(place, thread).await })
    }

    fn find_file<'a>(&'a self, desk: &'a Desk, path: &'a Path) -> LookFuture<'a, FoundFile> {
        Box::pin(async move { self.link(&desk.place)?.look.find_file(desk, path).await })
    }

    fn get<'a>(
        &'a self,
        desk: &'a Desk,
        below: &'a Path,
        bytes_max: u64,
    ) -> LookFuture<'a, Vec<u8>> {
        Box::pin(async move { self.link(&desk.place)?.look.get(desk, below, bytes_max).await })
    }

    fn put<'a>(
        &'a self,
        desk: &'a Desk,
        root: &'a Path,
        below: &'a Path,
    ) -> LookFuture<'a, PathBuf> {
        Box::pin(async move { self.link(&desk.place)?.look.put(desk, root, below).await })
    }

    fn pack_up<'a>(
        &'a self,
        desk: &'a Desk,
        session: Option<&'a SessionId>,
    ) -> LookFuture<'a, Parcel> {
        Box::pin(async move { self.link(&desk.place)?.look.pack_up(desk, session).await })
    }

    fn lay_out<'a>(
        &'a self,
        desk: &'a Desk,
        session: Option<&'a SessionId>,
        parcel: &'a Parcel,
    ) -> LookFuture<'a, ()> {
        Box::pin(async move { self.link(&desk.place)?.look.lay_out(desk, session, parcel).await })
    }

    fn unconfined<'a>(&'a self, place: &'a Place) -> LookFuture<'a, Option<String>> {
        Box::pin(async move { self.link(place)?.look.unconfined(place).await })
    }
}
