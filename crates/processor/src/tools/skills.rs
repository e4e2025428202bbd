//! Skills: the office's own, which every desk's Claude is given, and which ones each Claude said it has.
//!
//! The office's folder is its operator's alone: no agent writes there, and nothing of a repository gets there.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;

use tinyclaw_domain::{StateDir, Thread, ThreadId};
use tinyclaw_engine::{OfficeSkills, Skill, SkillSource};

use crate::blocking::{lock, on_disk};
use crate::tools::shown_office::ShownOffice;

/// The file that makes a folder a skill.
const SKILL: &str = "SKILL.md";
/// So many names of one source are listed.
const LISTED_MAX: usize = 60;
const NAME_BYTES_MAX: usize = 80;

/// Who knows the skills.
pub(crate) struct Skills {
    state: StateDir,
    /// Where desks read the office's folder that are users of their own, and cannot read the state folder.
    shown: Option<ShownOffice>,
    /// Guards what each desk's Claude said at the beginning of its last turn. Held for a look or a change, and nothing is
    /// locked within it.
    seen: Mutex<HashMap<ThreadId, Vec<Skill>>>,
}

impl Skills {
    /// Of an office; with the folder that has one of each desk, where desks are users of their own.
    pub(crate) fn new(state: StateDir, desks: Option<&Path>) -> Skills {
        Skills { state, shown: desks.map(ShownOffice::beside), seen: Mutex::default() }
    }

    /// The office's skills for a desk, if there are any. A Claude elsewhere gets none, because the folder is not there.
    pub(crate) fn given(&self, thread: &Thread) -> Option<OfficeSkills> {
        // As the engine knows the state folder: by the way that leads through no link.
        let dir = self.state.office().canonicalize().ok().filter(|it| it.is_dir())?;
        if !thread.place().0.is_here() {
            return None;
        }
        if let Some(shown) = &self.shown {
            return shown.current(&dir);
        }
        let mut stamp = DefaultHasher::new();
        for name in names(&dir) {
            let path = dir.join("skills").join(&name).join(SKILL);
            let about = std::fs::metadata(path).ok();
            let about = about.map(|it| (it.len(), it.mtime(), it.mtime_nsec()));
            (name, about).hash(&mut stamp);
        }
        Some(OfficeSkills { dir, stamp: stamp.finish() })
    }

    /// Keeps what a desk's Claude said it has.
    pub(crate) fn saw(&self, id: &ThreadId, found: Vec<Skill>) {
        lock(&self.seen).insert(id.clone(), found);
    }

    /// `/skills`: what this desk's Claude has, by where it is from.
    pub(crate) fn listed(&self, id: &ThreadId, thread: &Thread) -> String {
        let seen = lock(&self.seen).get(id).cloned();
        let Some(seen) = seen else {
            let office = match self.given(thread) {
                None => Vec::new(),
                Some(it) => on_disk(|| names(&it.dir)),
            };
            let office = match office.is_empty() {
                true => String::new(),
                false => format!(" The office has {}.", list(office.iter().map(String::as_str))),
            };
            return format!(
                "Claude tells its skills when a turn begins, and none began here since the start.{office}"
            );
        };
        let mut words = String::new();
        for (from, title) in [
            (SkillSource::Office, "of the office"),
            (SkillSource::Repository, "of the repository"),
            (SkillSource::Home, "of this thread's home"),
            (SkillSource::Claude, "Claude Code's own"),
        ] {
            let of = seen.iter().filter(|it| it.from == from).map(|it| {
                let name = it.name.as_str();
                name.strip_prefix("office:").filter(|_| from == SkillSource::Office).unwrap_or(name)
            });
            let listed = list(of);
            if !listed.is_empty() {
                let _ = writeln!(words, "- {title}: {listed}");
            }
        }
        match words.is_empty() {
            true => "Claude has no skills here.".to_owned(),
            false => format!("Skills of this thread's Claude:\n{}", words.trim_end()),
        }
    }
}

/// The names of the office's skills, in their order.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("skills")).into_iter().flatten().flatten();
    let is_skill = |path: &Path| path.join(SKILL).is_file();
    let mut names: Vec<String> = entries
        .filter(|it| is_skill(&it.path()))
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Names as they are shown. A repository names its skills as it likes: what is no plain name is counted only.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let is_plain = |it: &str| {
        it.len() <= NAME_BYTES_MAX
            && it.chars().all(|it| it.is_alphanumeric() || matches!(it, '-' | '_' | ':' | '.'))
    };
    let (plain, odd): (Vec<&str>, Vec<&str>) = names.partition(|it| is_plain(it));
    let more = odd.len() + plain.len().saturating_sub(LISTED_MAX);
    let mut shown: Vec<String> =
        plain.iter().take(LISTED_MAX).map(|it| format!("`{it}`")).collect();
    shown.extend((more > 0).then(|| format!("{more} more")));
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> Thread {
        let entry = serde_json::json!({ "name": "site", "cwd": "/srv" });
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn skills_are_listed_by_where_they_are_from_and_odd_names_are_counted() {
        let state = tempfile::tempdir().unwrap();
        let skills = Skills::new(StateDir::new(state.path()), None);
        let skill = |name: &str, from| Skill { name: name.to_owned(), from };
        let id = ThreadId::topic(7);
        skills.saw(
            &id,
            vec![
                skill("verify", SkillSource::Claude),
                skill("office:greet", SkillSource::Office),
                skill("deploy", SkillSource::Repository),
                skill("x` [press](https://evil.example)", SkillSource::Repository),
            ],
        );
        let thread = thread();
        assert_eq!(
            skills.listed(&id, &thread),
            "Skills of this thread's Claude:\n- of the office: `greet`\n- of the repository: `deploy`, 1 more\n\
             - Claude Code's own: `verify`"
        );
    }

    #[test]
    fn the_office_s_skills_have_another_stamp_when_one_is_another() {
        let state = tempfile::tempdir().unwrap();
        let skills = Skills::new(StateDir::new(state.path()), None);
        let thread = thread();
        assert_eq!(skills.given(&thread), None);
        let path = state.path().join("office/skills/greet");
        std::fs::create_dir_all(&path).unwrap();
        let empty = skills.given(&thread).unwrap();
        let write = |text: &str| {
            tinyclaw_disk::replace(&path.join(SKILL), text.as_bytes(), tinyclaw_disk::Flush::None)
                .unwrap();
        };
        write("one");
        let one = skills.given(&thread).unwrap();
        assert_eq!(skills.given(&thread).unwrap(), one, "nothing changed");
        write("another");
        let other = skills.given(&thread).unwrap();
        assert!(empty.stamp != one.stamp && one.stamp != other.stamp);
        let told = skills.listed(&ThreadId::topic(7), &thread);
        assert!(told.ends_with("The office has `greet`."), "{told}");
    }
}
