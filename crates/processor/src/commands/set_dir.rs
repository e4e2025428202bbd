//! `/dir`: another directory for a thread. Below the allowed roots and shared with nobody, unless an admin says so.

use std::path::{Component, Path, PathBuf};

use tinyclaw_disk::foreign::ForeignError;
use tinyclaw_domain::{Thread, ThreadId};
use tinyclaw_engine::{Desk, LookError, Overlap};

use crate::commands::{Commands, Refusal};
use crate::desks::{Desks, directories};

impl Commands {
    pub(super) async fn set_dir(
        &self,
        id: &ThreadId,
        thread: &Thread,
        dir: &str,
        is_admin: bool,
    ) -> Result<String, Refusal> {
        let refused = |why: String| Refusal::Plain(format!("{why} Nothing was changed."));
        let now = Desk::of(id, thread);
        let place = &now.place;
        if !place.is_here() && !is_admin {
            return Err(refused(format!("Only admins may choose a directory on {place}.")));
        }
        let asked = match dir.strip_prefix("~/") {
            Some(rest) if place.is_here() => {
                Path::new(&std::env::var("HOME").unwrap_or_default()).join(rest)
            }
            _ => now.dir.join(dir),
        };
        let look = self.engine.look(place).map_err(|err| refused(format!("{err}.")))?;
        let there = look.real_dir(&now.with_dir(&asked)).await.map_err(|err| {
            refused(match err {
                LookError::Foreign(ForeignError::NotAFolder(there)) => {
                    format!("`{}` is not a directory.", there.display())
                }
                LookError::OutOfReach(err) => format!("{err}."),
                _ => format!("There is no directory `{}`.", plain(&asked).display()),
            })
        })?;
        let settings = self.settings.current();
        let roots: Vec<PathBuf> =
            settings.office.roots().filter_map(|it| it.canonicalize().ok()).collect();
        if !is_admin && !roots.iter().any(|it| there.starts_with(it)) {
            let roots: Vec<String> = roots.iter().map(|it| format!("`{}`", it.display())).collect();
            return Err(refused(format!(
                "`{}` is outside the allowed folders ({}); an admin may go there.",
                there.display(),
                roots.join(", ")
            )));
        }
        let new = now.with_dir(&there);
        look.check_dir(&new).await.map_err(|err| refused(format!("{err}.")))?;
        let shared = shared(&self.desks, &new).await.map_err(|err| refused(format!("{err}.")))?;
        if let Some(with) = shared.as_ref().filter(|_| !is_admin) {
            return Err(refused(format!(
                "`{}` {with}; an admin may go there all the same.",
                there.display()
            )));
        }
        let kept = match &thread.session_id {
            Some(session) => look.copy_session(&now, &there, session).await.unwrap_or(false),
            None => true,
        };
        let cwd = new.to_string();
        if let Some(session) = thread.session_id.as_ref().filter(|_| !kept) {
            self.sessions.order_summary(id, session);
        }
        self.desks.change(id, |it| {
            it.cwd = cwd.clone();
            if !kept {
                it.session_id = None;
            }
            directories::forget_move(it);
            match &shared {
                Some(_) => it.extra.insert(directories::BY_ADMIN.to_owned(), true.into()),
                None => it.extra.remove(directories::BY_ADMIN),
            };
        })?;
        let word = if kept && thread.session_id.is_some() { " The session is kept." } else { "" };
        let warning = shared.map_or_else(String::new, |with| {
            format!(" It {with}: each can change what the others run there.")
        });
        Ok(format!("This thread works in `{cwd}` now.{word}{warning}"))
    }
}

/// With whom a folder would be shared, as words that follow its name.
async fn shared(desks: &Desks, there: &Desk) -> Result<Option<String>, LookError> {
    let with = directories::neighbours(desks, there).await?;
    let named: Vec<String> =
        with.iter().take(3).map(|it| format!("thread {} ({})", it.id, it.name)).collect();
    let more = match with.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(match with.first().map(|it| it.overlap) {
        _ if directories::holds_all(desks, there) => {
            Some("holds the folders of all threads".to_owned())
        }
        None => None,
        Some(Overlap::Around) => Some(format!("holds the folder of {}{more}", named.join(", "))),
        Some(Overlap::Inside) => Some(format!("lies in the folder of {}{more}", named.join(", "))),
        Some(_) => Some(format!("is the folder of {}{more}", named.join(", "))),
    })
}

/// A path without `..` in it, for messages about paths that do not exist.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}
