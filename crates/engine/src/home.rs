//! A desk's home: what Claude and its tools have as HOME in one thread, `home/<thread>/` in the state folder.
//!
//! No other desk can reach it, so that what one agent leaves in its home (a git alias, a hook, a line of another's
//! transcript) runs or is read at no desk but its own. The office's own home has the login and is granted to nobody: a
//! desk gets a copy that it cannot renew (`login.rs`). After it is made a home belongs to its agent, so everything in it
//! is opened as a stranger's: no link is followed, and nothing but a plain file is read.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::{SessionId, StateDir, ThreadId};

use crate::config::{Auth, EngineConfig};
use crate::launch::Access;
use crate::login::{self, Login, Token};
use crate::transcript::{self, Transcript};
use crate::users::DeskFolders;

/// Claude's own folder in a home.
pub(crate) const CLAUDE_DIR: &str = ".claude";
/// Its login, in that folder.
pub(crate) const LOGIN: &str = ".claude/.credentials.json";
/// Who commits, for git.
const GIT_CONFIG: &str = ".gitconfig";
/// A person's own file may be long; a name is in its first lines.
const GIT_CONFIG_BYTES_MAX: u64 = 256 * 1024;

/// One desk's home.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    root: PathBuf,
    /// The office's home.
    office: PathBuf,
    /// The folders of a desk that is a user of its own: it makes all that is in them, and nobody else can.
    folders: Option<DeskFolders>,
}

/// A home could not be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HomeError {
    #[error("cannot make {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot prepare the home of the desk")]
    Foreign(#[from] ForeignError),
    #[error("cannot read the office's login")]
    Login(#[source] ForeignError),
}

impl Home {
    pub(crate) fn of(config: &EngineConfig, thread: &ThreadId) -> Home {
        let folders = config.users.as_ref().and_then(|it| it.folders(thread));
        let home = Home::new(&config.state, &config.claude_home, thread);
        match folders {
            Some(it) => Home { root: it.home.clone(), folders: Some(it), ..home },
            None => home,
        }
    }

    /// A thread's home in this state folder, where the office's own is the other folder.
    pub(crate) fn new(state: &Path, office: &Path, thread: &ThreadId) -> Home {
        let root = StateDir::new(state).home(thread);
        Home { root, office: office.to_owned(), folders: None }
    }

    /// What HOME is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is the home of a desk that is a user of its own.
    pub(crate) fn is_a_users(&self) -> bool {
        self.folders.is_some()
    }

    /// Makes the home if it is not there, with the name under which the office commits.
    pub(crate) fn make(&self) -> Result<(), HomeError> {
        if self.is_a_users() {
            return Ok(());
        }
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| HomeError::Make { path, source }
        };
        let all = self.root.parent().unwrap_or(&self.root);
        let private = |path: &Path| -> io::Result<bool> {
            let is_new = match DirBuilder::new().mode(0o700).create(path) {
                Ok(()) => true,
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => false,
                Err(err) => return Err(err),
            };
            // The folder above may hand its group on; nobody but the owner has any business here.
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
            Ok(is_new)
        };
        private(all).map_err(fail(all))?;
        let is_new = private(&self.root).map_err(fail(&self.root))?;
        foreign::make_dir_below(&self.root, Path::new(CLAUDE_DIR), 0o700)?;
        if is_new && let Some(text) = committer(&self.office) {
            foreign::replace_below(&self.root, Path::new(GIT_CONFIG), text.as_bytes(), 0o600)?;
        }
        Ok(())
    }

    /// The name under which the office commits, for the environment of a desk that is a user of its own: its home is not
    /// the office's to write to.
    pub(crate) fn add_committer(&self, env: &mut BTreeMap<String, String>) {
        if !self.is_a_users() {
            return;
        }
        let Some([name, email]) = name_and_email(&self.office) else { return };
        let count = env.get("GIT_CONFIG_COUNT").and_then(|it| it.parse::<u32>().ok());
        let count = count.unwrap_or(0);
        for (at, (key, value)) in (count..).zip([("user.name", name), ("user.email", email)]) {
            env.insert(format!("GIT_CONFIG_KEY_{at}"), key.to_owned());
            env.insert(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        env.insert("GIT_CONFIG_COUNT".to_owned(), (count + 2).to_string());
    }

    /// A folder of the desk's own for temporary files, made when it is not there.
    fn temporary(&self) -> Result<PathBuf, HomeError> {
        if let Some(folders) = &self.folders {
            return Ok(folders.tmp.clone());
        }
        foreign::make_dir_below(&self.root, Path::new("tmp"), 0o700)?;
        Ok(self.root.join("tmp"))
    }

    /// Makes the desk's login the office's: as it is now, or none. A desk that is a user of its own has it from the
    /// environment of its Claude.
    fn hand_over(&self, login: Option<&Login>) -> Result<(), HomeError> {
        if self.is_a_users() {
            return Ok(());
        }
        let file = Path::new(LOGIN);
        let Some(login) = login else {
            foreign::remove_below(&self.root, file)?;
            return Ok(());
        };
        let has = foreign::read_below(&self.root, file, login::BYTES_MAX);
        if has.is_ok_and(|it| it == login.copy) {
            return Ok(());
        }
        // Not writable: what a desk writes there is replaced before its next turn, and Claude need not try.
        Ok(foreign::replace_below(&self.root, file, &login.copy, 0o400)?)
    }

    /// Makes a desk's login what it should be: the office's, or none where a token comes by the environment.
    pub(crate) fn hand_over_login(&self, config: &EngineConfig) -> Result<(), HomeError> {
        let login = match &config.auth {
            Auth::Login => Login::read(&config.claude_home).map_err(HomeError::Login)?,
            Auth::OAuthToken(_) | Auth::ApiKey(_) => None,
        };
        self.hand_over(login.as_ref())
    }

    /// Where a desk's programs put temporary files, when /tmp is not for them.
    pub(crate) fn add_temporary(
        &self,
        config: &EngineConfig,
        env: &mut BTreeMap<String, String>,
        access: &mut Access,
    ) -> Result<(), HomeError> {
        // With the state folder below it, /tmp cannot be opened to Claude as a whole.
        if config.state.starts_with("/tmp") || self.is_a_users() {
            let own = self.temporary()?;
            env.insert("TMPDIR".to_owned(), own.display().to_string());
            access.writable.push(own);
        }
        Ok(())
    }

    /// The login for the environment of a Claude whose desk is a user of its own. `None` for every other, where nobody logged
    /// in, and where another token is in the environment.
    pub(crate) fn token(&self, config: &EngineConfig) -> Result<Option<Token>, HomeError> {
        if !self.is_a_users() || !matches!(config.auth, Auth::Login) {
            return Ok(None);
        }
        Ok(Login::read(&self.office).map_err(HomeError::Login)?.and_then(|it| it.token))
    }

    /// The transcript of a session here. One that lies in the office's home, where all desks had theirs once, is taken
    /// over first, and stays there as well.
    pub(crate) fn transcript(&self, cwd: &Path, session: &SessionId) -> Transcript {
        let own = Transcript::find(&self.root, Path::new(CLAUDE_DIR), cwd, session);
        if !own.exists() {
            self.take_over(&own, cwd, session);
        }
        own
    }

    fn take_over(&self, own: &Transcript, cwd: &Path, session: &SessionId) {
        let old = Transcript::find(&self.office.join(CLAUDE_DIR), Path::new(""), cwd, session);
        if !old.exists() {
            return;
        }
        let taken = self.make().and_then(|()| Ok(transcript::take_over(&old, own, session)?));
        match taken {
            Ok(()) => tracing::info!(
                "session {session} was in the home that all desks shared and is in {} now",
                self.root.display()
            ),
            Err(err) => tracing::error!(
                "session {session} stays in {}: {err}",
                self.office.join(CLAUDE_DIR).display()
            ),
        }
    }
}

/// Under which name the office's user commits, as a configuration of git's with nothing else in it.
fn committer(home: &Path) -> Option<String> {
    let [name, email] = name_and_email(home)?;
    Some(format!("[user]\n\tname = \"{name}\"\n\temail = \"{email}\"\n"))
}

fn name_and_email(home: &Path) -> Option<[String; 2]> {
    let bytes = foreign::read_below(home, Path::new(GIT_CONFIG), GIT_CONFIG_BYTES_MAX).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (mut name, mut email, mut is_user) = (None, None, false);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_user = line.eq_ignore_ascii_case("[user]");
        } else if is_user && let Some((key, value)) = line.split_once('=') {
            let value = value.trim().trim_matches('"').to_owned();
            let is_plain = !value.is_empty()
                && value.len() <= 200
                && !value.contains(|it: char| it.is_control() || matches!(it, '"' | '\\'));
            match key.trim().to_ascii_lowercase().as_str() {
                "name" if is_plain => name = Some(value),
                "email" if is_plain => email = Some(value),
                _ => {}
            }
        }
    }
    Some([name?, email?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests lay files down as a stranger would")]
    use super::*;

    #[test]
    fn of_a_git_configuration_the_name_is_taken_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(dir.path().join(GIT_CONFIG), text).unwrap();
        assert_eq!(committer(dir.path()), None);
        write(
            "[core]\n\tname = no\n\thooksPath = /evil\n[User]\n name = Ada L\n\temail = \"ada@example.com\"\n[alias]\n\temail = x\n",
        );
        let wanted = "[user]\n\tname = \"Ada L\"\n\temail = \"ada@example.com\"\n";
        assert_eq!(committer(dir.path()).as_deref(), Some(wanted));
        write("[user]\nname = Ada\nemail = a\\nb\n");
        assert_eq!(committer(dir.path()), None);
    }
}
