//! `/dir`: another directory for a thread. Below the allowed roots and shared with nobody, unless an admin says so.

use std::path::{Component, Path, PathBuf};

use tinyclaw_domain::{Thread, ThreadId};
use tinyclaw_engine::Overlap;

use crate::blocking::on_disk;
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
        let home = std::env::var("HOME").unwrap_or_default();
        let asked = match dir.strip_prefix("~/") {
            Some(rest) => Path::new(&home).join(rest),
            None => Path::new(&thread.cwd).join(dir),
        };
        let refused = |why: String| Refusal::Plain(format!("{why} Nothing was changed."));
        let there = asked.canonicalize().map_err(|_| {
            refused(format!("There is no directory `{}`.", plain(&asked).display()))
        })?;
        if !there.is_dir() {
            return Err(refused(format!("`{}` is not a directory.", there.display())));
        }
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
        self.engine.check_cwd(&there).map_err(|err| refused(format!("{err}.")))?;
        let shared = on_disk(|| shared(&self.desks, id, &there));
        if let Some(with) = shared.as_ref().filter(|_| !is_admin) {
            return Err(refused(format!(
                "`{}` {with}; an admin may go there all the same.",
                there.display()
            )));
        }
        let kept = match &thread.session_id {
            Some(session) => {
                on_disk(|| self.engine.copy_session(id, Path::new(&thread.cwd), &there, session))
                    .unwrap_or(false)
            }
            None => true,
        };
        let cwd = there.display().to_string();
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
fn shared(desks: &Desks, id: &ThreadId, there: &Path) -> Option<String> {
    let with = directories::neighbours(desks, id, there);
    let named: Vec<String> =
        with.iter().take(3).map(|it| format!("thread {} ({})", it.id, it.name)).collect();
    let more = match with.len().saturating_sub(3) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match with.first().map(|it| it.overlap) {
        _ if directories::holds_all(desks, there) => {
            Some("holds the folders of all threads".to_owned())
        }
        None => None,
        Some(Overlap::Around) => Some(format!("holds the folder of {}{more}", named.join(", "))),
        Some(Overlap::Inside) => Some(format!("lies in the folder of {}{more}", named.join(", "))),
        Some(_) => Some(format!("is the folder of {}{more}", named.join(", "))),
    }
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
