//! Removing for good what was given up and is kept no longer.

use std::path::Path;
use std::time::Duration;

use tinyclaw_disk::remove;

use super::Inner;
use super::layout::PROBE;
use super::sweep::{age, files_in, is_folder};
use crate::clock::now_ms;
use crate::error::{Fault, OpenError};
use crate::{Keep, Place, name};

impl Inner {
    /// Each file is looked at again and removed under the lock that whoever takes one up holds as well. It is taken for
    /// one file at a time, so that nobody waits for the rest of a long list.
    pub(super) fn retire_old(&self, keep: &Keep) -> Result<usize, OpenError> {
        let mut removed = 0;
        for (place, keep) in [(Place::Dead, keep.dead), (Place::Quarantine, keep.quarantine)] {
            for (path, text) in files_in(self.folders.place(place))? {
                let is_message = !text.ends_with(".reason") && !text.starts_with(PROBE);
                if is_message
                    && self.is_older(place, &path, &text, keep)
                    && self.retire_one(place, &path, &text, keep)?
                {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    fn retire_one(
        &self,
        place: Place,
        path: &Path,
        text: &str,
        keep: Duration,
    ) -> Result<bool, OpenError> {
        let lock = self.folders.given_up_lock();
        let _given_up = lock.map_err(|err| OpenError::Alone { source: Fault::of(err) })?;
        if !self.is_older(place, path, text, keep) {
            return Ok(false);
        }
        // The message first: a reason that is left alone is swept, and a message without one would be a riddle.
        for path in [path, &self.folders.reason(place, text)] {
            remove(path).map_err(|err| OpenError::Remove {
                what: text.to_owned(),
                source: Fault::of(err),
            })?;
        }
        if let Some(parts) = name::parts(text) {
            self.index().removed(&parts, place, now_ms());
        }
        Ok(true)
    }

    /// Whether a message was given up longer ago than that. Its reason was written then; the message itself may be much
    /// older. A folder among them is nobody's message and stays.
    fn is_older(&self, place: Place, path: &Path, text: &str, keep: Duration) -> bool {
        let age = age(&self.folders.reason(place, text)).or_else(|| age(path));
        !is_folder(path) && age.is_some_and(|it| it > keep)
    }
}
