//! Looking at the folders: no locks, no writes, nothing probed. Works on a read-only volume, and while others work.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tinyclaw_disk::Listing;
use tinyclaw_domain::Message;

use super::layout::{Folders, PROBE};
use super::plain::{self, Plain};
use super::{record, watch};
use crate::entry::{At, Shelf};
use crate::error::{Fault, LookError};
use crate::name::{self, Parts};
use crate::work::Look;
use crate::{Place, Watch};

#[derive(Debug)]
pub(super) struct FolderLook {
    folders: Arc<Folders>,
}

impl FolderLook {
    pub(super) fn new(folders: Arc<Folders>) -> FolderLook {
        FolderLook { folders }
    }

    fn folder(&self, shelf: &Shelf) -> PathBuf {
        let place = self.folders.place(shelf.place);
        shelf.day.as_ref().map_or_else(|| place.to_owned(), |day| place.join(day))
    }

    /// What lies in a folder; nothing when it is not there: there is no queue yet, or the day was reaped meanwhile.
    fn list(&self, place: Place, folder: &Path) -> Result<Option<Listing>, LookError> {
        match tinyclaw_disk::read_dir(folder) {
            Ok(entries) => Ok(Some(entries)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(unlisted(place, err)),
        }
    }
}

impl Look for FolderLook {
    fn shelves(&self, place: Place) -> Result<Vec<Shelf>, LookError> {
        if place != Place::Done {
            return Ok(vec![Shelf { place, day: None }]);
        }
        match self.folders.done_days() {
            Ok(days) => {
                Ok(days.into_iter().map(|(day, _)| Shelf { place, day: Some(day) }).collect())
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(err) => Err(unlisted(place, err)),
        }
    }

    fn scan(&self, shelf: &Shelf, each: &mut dyn FnMut(&str, Parts<'_>)) -> Result<(), LookError> {
        for entry in self.list(shelf.place, &self.folder(shelf))?.into_iter().flatten() {
            let file_name = entry.map_err(|err| unlisted(shelf.place, err))?.file_name();
            if let Some(text) = file_name.to_str()
                && let Some(parts) = name::parts(text)
            {
                each(text, parts);
            }
        }
        Ok(())
    }

    fn at(&self, shelf: &Shelf, name: &str) -> At {
        At::File(self.folder(shelf).join(name))
    }

    fn read(&self, at: &At) -> Result<Option<Message>, LookError> {
        let Some(path) = file(at) else { return Ok(None) };
        Ok(match plain::read(path).map_err(|err| unread(path, err))? {
            Plain::Bytes(bytes) => record::read(&bytes).ok().map(|it| it.message),
            Plain::Gone | Plain::Unfit(_) => None,
        })
    }

    fn reason(&self, at: &At) -> Result<Option<String>, LookError> {
        let Some(path) = file(at) else { return Ok(None) };
        let mut beside = path.as_os_str().to_owned();
        beside.push(".reason");
        let beside = PathBuf::from(beside);
        Ok(match plain::read(&beside).map_err(|err| unread(&beside, err))? {
            Plain::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).trim().to_owned()),
            Plain::Gone | Plain::Unfit(_) => None,
        })
    }

    fn put_aside(&self) -> Result<usize, LookError> {
        let place = Place::Quarantine;
        let is_one = |it: &fs::DirEntry| {
            let name = it.file_name();
            let name = name.to_string_lossy();
            !name.ends_with(".reason") && !name.starts_with(PROBE)
        };
        let mut count = 0;
        for entry in self.list(place, self.folders.place(place))?.into_iter().flatten() {
            count += usize::from(is_one(&entry.map_err(|err| unlisted(place, err))?));
        }
        Ok(count)
    }

    fn watch(&self) -> Watch {
        watch::start(&self.folders)
    }
}

fn file(at: &At) -> Option<&Path> {
    match at {
        At::File(path) => Some(path),
        #[cfg(feature = "memory")]
        At::Row(..) => None,
    }
}

fn unlisted(place: Place, err: io::Error) -> LookError {
    LookError::List { place, why: Fault::of(err) }
}

fn unread(path: &Path, err: io::Error) -> LookError {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    LookError::Read { name, why: Fault::of(err) }
}
