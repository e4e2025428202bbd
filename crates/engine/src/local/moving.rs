//! A desk of this machine is packed up to move elsewhere, or laid out here.
//!
//! git runs as the agent's own would, under a leash, for a repository can bring programs that git starts. Two constant scripts
//! are run, and no word of anybody's is part of them. At the far end nothing is overwritten: a directory that holds anything
//! but a clean repository whose branch is behind is refused.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tinyclaw_disk::foreign::{self, ForeignError};
use tinyclaw_domain::look::MOVE_BYTES_MAX;
use tinyclaw_domain::{Place, SessionId};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::LocalLauncher;
use crate::launch::{Access, LaunchSpec, Launcher, LeashOrder, Leashed};
use crate::look::{Desk, LookError};
use crate::moving::{GitState, Parcel, is_branch, is_commit};

/// A large repository on a slow disk.
const PATIENCE: Duration = Duration::from_secs(300);
/// What git says in the line before its bundle, and of what went wrong.
const WORDS_BYTES_MAX: u64 = 16 * 1024;
/// What the second script finds in the thread's own folder.
const BUNDLE: &str = "moving.bundle";

/// Says `HEAD, branch, how many files are changed`, and then the bundle. A directory without a commit of its own: nothing.
const PACK: &str = r#"
set -eu
head=$(git rev-parse -q --verify HEAD 2>/dev/null) || exit 0
[ -z "$(git rev-parse --show-prefix)" ] || exit 0
branch=$(git symbolic-ref -q --short HEAD || true)
GIT_INDEX_FILE="$1/moving.index"; export GIT_INDEX_FILE
rm -f "$GIT_INDEX_FILE"
git read-tree HEAD
git add -A
changed=$(git diff --cached --name-only -z HEAD | tr -dc '\000' | wc -c)
moved=$(git commit-tree -p HEAD -m 'what was changed' "$(git write-tree)")
git update-ref refs/tinyclaw/moved "$moved"
printf '%s\t%s\t%d\n' "$head" "$branch" "$changed"
git bundle create -q - HEAD refs/tinyclaw/moved && code=0 || code=$?
git update-ref -d refs/tinyclaw/moved
rm -f "$GIT_INDEX_FILE"
exit $code
"#;

/// Lays out the bundle in `$1/moving.bundle`, whose HEAD is `$2`, on the branch `$3`, if there is one.
const UNPACK: &str = r#"
set -eu
own() { git rev-parse --git-dir >/dev/null 2>&1 && [ -z "$(git rev-parse --show-prefix)" ]; }
if own; then
  [ -z "$(git status --porcelain)" ] || { echo 'there are changed files in that repository' >&2; exit 3; }
elif [ -z "$(ls -A)" ]; then
  git init -q
else
  echo 'that directory is not empty, and no repository' >&2; exit 3
fi
git fetch -q "$1/moving.bundle" +HEAD:refs/tinyclaw/head +refs/tinyclaw/moved:refs/tinyclaw/moved
[ "$(git rev-parse refs/tinyclaw/head)" = "$2" ] || { echo 'the bundle is not what was packed' >&2; exit 3; }
if [ -n "$3" ]; then
  if git rev-parse -q --verify "refs/heads/$3" >/dev/null && ! git merge-base --is-ancestor "refs/heads/$3" "$2"; then
    echo "branch $3 has commits there that are not here" >&2; exit 3
  fi
  git checkout -q -B "$3" "$2"
else
  git checkout -q --detach "$2"
fi
git read-tree -u -m "$2" refs/tinyclaw/moved
git reset -q
git update-ref -d refs/tinyclaw/head
git update-ref -d refs/tinyclaw/moved
"#;

impl LocalLauncher {
    /// Packs up a desk of this machine. The caller holds the desk's lane, and its Claude is gone.
    pub(crate) async fn pack_up(
        &self,
        desk: &Desk,
        session: Option<&SessionId>,
    ) -> Result<Parcel, LookError> {
        let files = self.folder_of(desk)?;
        let said = self.run_git(desk, PACK, &[&files]).await?;
        let git = match said.iter().position(|it| *it == b'\n') {
            None if said.is_empty() => None,
            None => return Err(failed(&desk.dir, "git says nothing of its bundle")),
            Some(end) => Some(
                read_state(&said[..end], &said[end + 1..])
                    .ok_or_else(|| failed(&desk.dir, "git says something else of its bundle"))?,
            ),
        };
        let transcript = match session {
            Some(session) => self.read_transcript(desk, session)?,
            None => Vec::new(),
        };
        Ok(Parcel { git, transcript })
    }

    /// Lays out what was packed up elsewhere.
    pub(crate) async fn lay_out(
        &self,
        desk: &Desk,
        session: Option<&SessionId>,
        parcel: &Parcel,
    ) -> Result<(), LookError> {
        if let Some(git) = &parcel.git {
            let files = self.folder_of(desk)?;
            let bundle = Path::new(BUNDLE);
            foreign::replace_below(&files, bundle, &git.bundle, 0o600)?;
            let branch = git.branch.clone().unwrap_or_default();
            let done = self
                .run_git(desk, UNPACK, &[&files, Path::new(&git.head), Path::new(&branch)])
                .await;
            foreign::remove_below(&files, bundle)?;
            done?;
        }
        if let Some(session) = session.filter(|_| !parcel.transcript.is_empty()) {
            self.write_transcript(desk, session, &parcel.transcript)?;
        }
        Ok(())
    }

    fn folder_of(&self, desk: &Desk) -> Result<PathBuf, LookError> {
        let path = self.files(&desk.thread);
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(ForeignError::Io { step: "make", path, source }.into()),
        }
    }

    /// Runs one of the scripts in the desk's directory, under its leash.
    async fn run_git(
        &self,
        desk: &Desk,
        script: &str,
        args: &[&Path],
    ) -> Result<Vec<u8>, LookError> {
        let text = |it: &&Path| it.display().to_string();
        let mut all: Vec<String> = ["-c", script, "sh"].map(str::to_owned).to_vec();
        all.extend(args.iter().map(text));
        let nowhere = "/dev/null".to_owned();
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let path =
            std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let env = [
            own("PATH", &path),
            own("LC_ALL", "C"),
            own("HOME", "/nonexistent"),
            own("GIT_TERMINAL_PROMPT", "0"),
            own("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL".to_owned(), nowhere),
            own("GIT_AUTHOR_NAME", "TinyClaw"),
            own("GIT_AUTHOR_EMAIL", "tinyclaw@localhost"),
            own("GIT_COMMITTER_NAME", "TinyClaw"),
            own("GIT_COMMITTER_EMAIL", "tinyclaw@localhost"),
        ];
        let spec = LaunchSpec {
            thread: desk.thread.clone(),
            place: Place::Here,
            cwd: desk.dir.clone(),
            args: all,
            env: env.into(),
            access: Access::default(),
        };
        let launcher = self.clone().of_program("/bin/sh".into());
        let launched = launcher.launch(spec).await;
        let Leashed { stdin, stdout, stderr, mut leash } =
            launched.map_err(|err| failed(&desk.dir, &crate::leash::in_words(&err)))?;
        drop(stdin);
        let all = async {
            tokio::join!(
                take(stdout, MOVE_BYTES_MAX as u64),
                take(stderr, WORDS_BYTES_MAX),
                leash.ended()
            )
        };
        let Ok((said, complaint, exit)) = timeout(PATIENCE, all).await else {
            leash.order(LeashOrder::End);
            let _ = leash.ended().await;
            return Err(failed(&desk.dir, "git does not come to an end"));
        };
        let Some(said) = said else {
            let bytes_max = MOVE_BYTES_MAX as u64;
            return Err(ForeignError::TooLarge { path: desk.dir.clone(), bytes_max }.into());
        };
        if exit.is_ok_and(|it| it.code == Some(0)) {
            return Ok(said);
        }
        let complaint = complaint.unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        let last = complaint.lines().rev().find(|it| !it.trim().is_empty());
        Err(failed(&desk.dir, last.unwrap_or("git failed without a word")))
    }
}

/// All of it, unless it is more than this.
async fn take(from: Box<dyn AsyncRead + Send + Unpin>, most: u64) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    let mut from = from.take(most + 1);
    let _ = from.read_to_end(&mut said).await;
    (said.len() as u64 <= most).then_some(said)
}

fn read_state(line: &[u8], bundle: &[u8]) -> Option<GitState> {
    let mut words = std::str::from_utf8(line).ok()?.split('\t');
    let (head, branch, changed) = (words.next()?, words.next()?, words.next()?);
    let changed = changed.parse().ok()?;
    let branch = Some(branch).filter(|it| is_branch(it)).map(str::to_owned);
    is_commit(head).then(|| GitState {
        head: head.to_owned(),
        branch,
        changed,
        bundle: bundle.to_vec(),
    })
}

fn failed(path: &Path, why: &str) -> LookError {
    let source = io::Error::other(why.to_owned());
    ForeignError::Io { step: "move", path: path.to_owned(), source }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_file_that_is_put_there() {
        assert!(UNPACK.contains(BUNDLE) && PACK.is_ascii() && UNPACK.is_ascii());
    }

    #[test]
    fn what_git_says_of_itself_is_looked_at() {
        let head = "a1".repeat(20);
        let state = read_state(format!("{head}\tmain\t2").as_bytes(), b"bundle").unwrap();
        assert_eq!((state.branch.as_deref(), state.changed), (Some("main"), 2));
        let odd = read_state(format!("{head}\t-f\t2").as_bytes(), b"").unwrap();
        assert_eq!(odd.branch, None, "then no branch goes along");
        assert_eq!(read_state(b"HEAD\tmain\t2", b""), None);
    }
}
