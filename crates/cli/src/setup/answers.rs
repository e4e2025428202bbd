//! Where answers are written: `.env` of an operator's checkout, else `settings.json` of the state folder.
//!
//! All of a part at once and atomically, readable by nobody else, everything besides kept as it was. What would not
//! count, because a variable wins over it, is refused and not written.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value as Json;
use tinyclaw_disk::{remove, rename, sync_dir, sync_file, write_new};
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::{
    self, Environment, Mistakes, Reader, Row, Section, Settings, rows,
};

use super::ask::Wrong;
use super::dotenv;
use crate::place;

/// The compose file says whether a folder is a checkout of ours.
const COMPOSE: &str = "docker-compose.yml";
const OURS: &str = "tinyclaw-bot";

/// Where answers go, and what is there already.
#[derive(Debug)]
pub(crate) struct Answers {
    state: StateDir,
    process: Environment,
    env_file: Option<PathBuf>,
}

/// A setting that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Wrote {
    /// Its variable, or its key.
    pub(crate) name: String,
    /// The file.
    pub(crate) file: PathBuf,
    /// Whether it was taken out.
    pub(crate) removed: bool,
}

impl Answers {
    /// Finds out where answers go: the file that is named, the state folder that is named, the checkout one stands in,
    /// or the state folder below.
    pub(crate) fn open(env_file: Option<&Path>) -> anyhow::Result<Answers> {
        let process = place::environment();
        let state = place::state()?;
        let env_file = match env_file {
            Some(it) => Some(std::path::absolute(it).context("cannot tell which file this is")?),
            None if process.get("TINYCLAW_DIR").is_some_and(|it| !it.trim().is_empty()) => None,
            None => {
                let here = std::env::current_dir().context("cannot tell which folder this is")?;
                is_checkout(&here).then(|| here.join(".env"))
            }
        };
        Ok(Answers { state, process, env_file })
    }

    /// The state folder's own settings, wherever one stands.
    pub(crate) fn of_state(state: StateDir) -> Answers {
        Answers { state, process: place::environment(), env_file: None }
    }

    pub(crate) fn state(&self) -> &StateDir {
        &self.state
    }

    /// The checkout, when answers go there.
    pub(crate) fn checkout(&self) -> Option<&Path> {
        self.env_file.as_deref().and_then(Path::parent)
    }

    /// The file that answers go to, as a person would call it.
    pub(crate) fn file(&self) -> PathBuf {
        let file = self.env_file.clone().unwrap_or_else(|| self.state.settings());
        let here = std::env::current_dir().unwrap_or_default();
        file.strip_prefix(here).map(Path::to_owned).unwrap_or(file)
    }

    /// What the services will see: `.env`, and what is set in this process over it, as with compose.
    pub(crate) fn environment(&self) -> Environment {
        self.environment_with(&self.env_text().unwrap_or_default())
    }

    fn environment_with(&self, env_text: &str) -> Environment {
        let mut all = dotenv::variables(env_text);
        let set = self.process.iter().filter(|(_, value)| !value.trim().is_empty());
        all.extend(set.map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    /// A section as it stands now.
    pub(crate) fn current<S: Section>(&self) -> anyhow::Result<S> {
        let file = self.settings_text()?;
        let environment = self.environment();
        let read = Reader::new(&file, &environment).finish::<S>();
        let (section, _) = read.context("the settings are wrong; mend them first")?;
        Ok(section)
    }

    /// Refuses settings that could be written but would not count.
    pub(crate) fn must_count(&self, keys: &[&str]) -> anyhow::Result<()> {
        for key in keys {
            if let Some(name) = overriding(row(key)?, &self.process) {
                let file = self.file();
                let says = format!("{name} is set here, and wins over {}", file.display());
                let way_out = if self.env_file.is_some() {
                    format!("unset {name}, then again")
                } else {
                    format!("change {name} where it is set, or take it away there; then again")
                };
                return Err(Wrong::new(says, way_out).into());
            }
        }
        Ok(())
    }

    /// Writes settings, all at once; `None` takes one out. Nothing is written when one of them will not do.
    pub(crate) fn write(&self, changes: &[(&str, Option<String>)]) -> anyhow::Result<Vec<Wrote>> {
        let keys: Vec<&str> = changes.iter().map(|(key, _)| *key).collect();
        self.must_count(&keys)?;
        match &self.env_file {
            Some(path) => self.write_env(path, changes),
            None => {
                let changes: Vec<(&str, Option<Json>)> =
                    changes.iter().map(|(key, it)| (*key, it.clone().map(Json::String))).collect();
                self.write_settings(&changes)
            }
        }
    }

    fn write_env(
        &self,
        path: &Path,
        changes: &[(&str, Option<String>)],
    ) -> anyhow::Result<Vec<Wrote>> {
        let text = self.env_text()?;
        let before = dotenv::variables(&text);
        let is_set = |name: &str| before.get(name).is_some_and(|it| !it.is_empty());
        let mut lines = Vec::new();
        let mut wrote = Vec::new();
        for (key, value) in changes {
            let variables = row(key)?.variables();
            let also = variables.iter().skip(usize::from(value.is_some())).cloned();
            let files = variables.iter().map(|it| format!("{it}_FILE"));
            // Whatever else says the same would contradict it.
            let emptied: Vec<String> = also.chain(files).filter(|it| is_set(it)).collect();
            for name in emptied {
                wrote.push(Wrote { name: name.clone(), file: self.file(), removed: true });
                lines.push((name, String::new()));
            }
            if let Some(value) = value {
                wrote.push(Wrote { name: variables[0].clone(), file: self.file(), removed: false });
                lines.push((variables[0].clone(), value.clone()));
            }
        }
        let text = dotenv::edited(&text, &lines)?;
        let settings = self.settings_text()?;
        let (old, new) = (self.environment(), self.environment_with(&text));
        self.must_be_right(&settings, &old, &settings, &new)?;
        keep_private(path, text.as_bytes(), false)?;
        Ok(wrote)
    }

    /// [`Answers::write`] into `settings.json` in any case, with values as JSON.
    pub(crate) fn write_settings(
        &self,
        changes: &[(&str, Option<Json>)],
    ) -> anyhow::Result<Vec<Wrote>> {
        let path = self.state.settings();
        let before = self.settings_text()?;
        let mut text = before.clone();
        for (key, value) in changes {
            text = settings::edited(&text, key, value.clone())?;
        }
        self.must_be_right(&before, &self.process, &text, &self.process)?;
        std::fs::create_dir_all(self.state.root())
            .with_context(|| format!("cannot make {}", self.state.root().display()))?;
        // In the containers the folder's group is the office's, and the dashboard is in it.
        let is_shared =
            std::fs::metadata(self.state.root()).is_ok_and(|it| it.mode() & 0o2000 != 0);
        keep_private(&path, text.as_bytes(), is_shared)?;
        let wrote = |(key, value): &(&str, Option<Json>)| Wrote {
            name: (*key).to_owned(),
            file: path.clone(),
            removed: value.is_none(),
        };
        Ok(changes.iter().map(wrote).collect())
    }

    /// Refuses what would bring a mistake that was not there before: with it, a service would not take the settings.
    fn must_be_right(
        &self,
        before: &str,
        environment_before: &Environment,
        after: &str,
        environment_after: &Environment,
    ) -> anyhow::Result<()> {
        let mistakes = |text: &str, environment: &Environment| {
            let read = Reader::new(text, environment).finish::<Settings>();
            read.err().map(|it| it.0).unwrap_or_default()
        };
        let known = mistakes(before, environment_before);
        let new: Vec<_> = mistakes(after, environment_after)
            .into_iter()
            .filter(|it| !known.contains(it))
            .collect();
        if new.is_empty() { Ok(()) } else { Err(Mistakes(new).into()) }
    }

    fn env_text(&self) -> anyhow::Result<String> {
        self.env_file.as_deref().map_or_else(|| Ok(String::new()), read_or_empty)
    }

    pub(crate) fn settings_text(&self) -> anyhow::Result<String> {
        read_or_empty(&self.state.settings())
    }
}

/// The variable, or the one for a secret's file, that wins over the file for this row.
pub(crate) fn overriding(row: &Row, environment: &Environment) -> Option<String> {
    let files =
        row.variables().into_iter().filter(|_| row.is_secret).map(|it| format!("{it}_FILE"));
    let names = row.variables().into_iter().chain(files);
    names.into_iter().find(|it| environment.get(it).is_some_and(|it| !it.trim().is_empty()))
}

/// A row of the table, by its key.
pub(crate) fn row(key: &str) -> anyhow::Result<&'static Row> {
    let found = rows().iter().find(|it| it.key == key || it.aliases.contains(&key));
    found.with_context(|| {
        let known = rows().iter().map(|it| it.key);
        match settings::did_you_mean(key, known) {
            Some(meant) => format!("there is no setting {key}; did you mean {meant}?"),
            None => format!("there is no setting {key}; `tinyclaw settings ls --all` lists them"),
        }
    })
}

fn is_checkout(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join(COMPOSE)).is_ok_and(|it| it.contains(OURS))
}

fn read_or_empty(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Replaces a file that others have no business in, atomically. Its owner stays; its group may read it only where it
/// could before, or where `group_reads` says so of a new one.
pub(crate) fn keep_private(path: &Path, bytes: &[u8], group_reads: bool) -> anyhow::Result<()> {
    // Where a link leads is the file that is meant.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let before = std::fs::metadata(path).ok();
    let group_reads =
        before.as_ref().map_or(group_reads, |it| group_reads && it.mode() & 0o040 != 0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    remove(&temporary)?;
    // Private before there is anything in it.
    let mut file = write_new(&temporary, b"")?;
    let fill = || {
        file.set_permissions(Permissions::from_mode(if group_reads { 0o640 } else { 0o600 }))?;
        if let Some(before) = &before {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
        }
        file.write_all(bytes)
    };
    let filled = { fill }().with_context(|| format!("cannot write {}", temporary.display()));
    let done = filled.and_then(|()| {
        sync_file(&file, &temporary)?;
        Ok(rename(&temporary, path)?)
    });
    if let Err(err) = done {
        let _ = remove(&temporary);
        return Err(err);
    }
    sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests lay files down as operators do")]
mod tests {
    use super::*;

    fn answers(dir: &Path, variables: &[(&str, &str)], has_env: bool) -> Answers {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Answers {
            state: StateDir::new(dir.join("state")),
            process: variables.iter().map(pair).collect(),
            env_file: has_env.then(|| dir.join(".env")),
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_checkouts_answers_go_to_its_env_file_and_to_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        std::fs::write(&path, "# mine\nANTHROPIC_API_KEY=sk-old\nCLAUDE_CODE_OAUTH_TOKEN=x\n")
            .unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let answers = answers(dir.path(), &[], true);
        let changes = [("claude.oauthToken", some("sk-ant-oat01-1")), ("claude.apiKey", None)];
        let wrote = answers.write(&changes).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "# mine\nANTHROPIC_API_KEY=\nCLAUDE_CODE_OAUTH_TOKEN=\nCLAUDE_OAUTH_TOKEN=sk-ant-oat01-1\n"
        );
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(wrote.iter().filter(|it| it.removed).count(), 2);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no litter");
    }

    #[test]
    fn without_a_checkout_they_go_to_settings_json_and_other_keys_stay_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let answers = answers(dir.path(), &[], false);
        std::fs::create_dir(dir.path().join("state")).unwrap();
        let path = dir.path().join("state/settings.json");
        std::fs::write(&path, r#"{"timezone":"UTC","engine":{"mode":"spawn"},"admins":[7]}"#)
            .unwrap();
        answers
            .write(&[("telegram.chatId", some("-1001")), ("timezone", some("Europe/Berlin"))])
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let compact: String = text.split_whitespace().collect();
        let by = env!("CARGO_PKG_VERSION");
        assert_eq!(
            compact,
            format!(
                r#"{{"engine":{{"mode":"spawn"}},"admins":[7],"telegram":{{"chatId":"-1001"}},"writtenBy":"{by}","timezone":"Europe/Berlin"}}"#
            )
        );
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn nothing_is_written_that_would_not_count_or_would_not_do() {
        let dir = tempfile::tempdir().unwrap();
        for has_env in [true, false] {
            let taken = answers(dir.path(), &[("TINYCLAW_TIMEZONE", "UTC")], has_env);
            let err = taken.write(&[("timezone", some("Europe/Berlin"))]).unwrap_err();
            assert!(err.to_string().contains("TINYCLAW_TIMEZONE is set here"), "{err}");
            let free = answers(dir.path(), &[("TINYCLAW_TIMEZONE", "")], has_env);
            let err = free.write(&[("timezone", some("Mars"))]).unwrap_err();
            assert!(err.to_string().contains("a time zone, such as Europe/Berlin"), "{err}");
            // One without the other is a mistake; both together are none.
            let team = ("dashboard.accessTeam", some("acme"));
            assert!(free.write(std::slice::from_ref(&team)).is_err());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        answers(dir.path(), &[], true)
            .write(&[("dashboard.accessTeam", some("acme")), ("dashboard.accessAud", some("abc"))])
            .unwrap();
    }

    #[test]
    fn where_a_folder_is_its_groups_the_group_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, Permissions::from_mode(0o2770)).unwrap();
        let answers = answers(dir.path(), &[], false);
        answers.write(&[("timezone", some("UTC"))]).unwrap();
        let mode = || std::fs::metadata(state.join("settings.json")).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o640);
        std::fs::set_permissions(state.join("settings.json"), Permissions::from_mode(0o600))
            .unwrap();
        answers.write(&[("timezone", None)]).unwrap();
        assert_eq!(mode(), 0o600, "what an operator closed stays closed");
    }

    #[test]
    fn an_unknown_key_is_told_from_a_mistyped_one() {
        assert!(row("timezoen").unwrap_err().to_string().contains("did you mean timezone?"));
        assert!(row("colour").unwrap_err().to_string().contains("settings ls --all"));
        assert_eq!(row("telegram_bot_token").unwrap().key, "telegram.botToken");
    }
}
