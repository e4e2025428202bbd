//! Checkouts for threads: each desk has a clone of its own, made from the repository's mirror ([`mirror`]) by git under
//! the desk's own leash, so that no two desks share hooks, configuration or objects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tinyclaw_domain::{Place, ThreadId};
use tinyclaw_engine::{Confined, Desk};

use crate::desks::directories;
use crate::desks::mirror::{self, last_word};
use crate::desks::repo::parse;
use crate::desks::threads::Desks;

/// Copying a large repository on a slow disk.
const CLONE_TIME: Duration = Duration::from_secs(300);

/// Clones the bundle on stdin, of the repository at `$1`, into `$2/$3`, on the new branch `$4` if there is one.
///
/// A bundle, because no desk may look into the state folder, and no two may share a file. Under another name first: a
/// clone that was cut off must not look like a checkout.
const CLONE: &str = r#"set -eu
mkdir -p -- "$2"
rm -rf -- "$2/.$3.partial" "$2/.$3.bundle"
cat > "$2/.$3.bundle"
if [ -s "$2/.$3.bundle" ]; then
    git clone --quiet -- "$2/.$3.bundle" "$2/.$3.partial"
    git -C "$2/.$3.partial" remote set-url origin "$1"
else
    git init --quiet -- "$2/.$3.partial"
    git -C "$2/.$3.partial" remote add origin "$1"
fi
rm -f -- "$2/.$3.bundle"
if [ -n "$4" ]; then git -C "$2/.$3.partial" checkout --quiet -b "$4"; fi
mv -T -- "$2/.$3.partial" "$2/$3""#;

/// Makes a repository of its own of the worktree that this folder is: of the repository `$1`, which calls it `$2`, at the
/// address `$3`. Branches, the index and the files stay as they are.
const PART: &str = r#"set -eu
if [ ! -e .git ] && [ -d .git.own ]; then mv -T .git.own .git; exit 0; fi
[ -f .git ] || exit 0
rm -rf .git.own .git.old
git clone --quiet --bare --no-hardlinks -- "$1" .git.own
git --git-dir=.git.own fetch --quiet -- "$1" '+refs/stash:refs/stash' || true
git --git-dir=.git.own fetch --quiet -- "$1" '+refs/remotes/origin/*:refs/remotes/origin/*' || true
git --git-dir=.git.own config core.bare false
git --git-dir=.git.own config remote.origin.url "$3"
git --git-dir=.git.own config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
for it in HEAD index ORIG_HEAD MERGE_HEAD MERGE_MSG CHERRY_PICK_HEAD; do
    [ ! -f "$1/worktrees/$2/$it" ] || cp -- "$1/worktrees/$2/$it" ".git.own/$it"
done
mv -T .git .git.old
mv -T .git.own .git
rm -f .git.old"#;

/// Where a thread works on a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checkout {
    pub(crate) path: PathBuf,
    /// What is special about it, to be said after its path.
    pub(crate) remark: String,
}

/// A directory with the repository for this thread alone. The error is for people.
pub(crate) async fn checkout(
    desks: &Desks,
    thread: &ThreadId,
    repo: &str,
) -> Result<Checkout, String> {
    let repo = parse(repo)?;
    let full_name = repo.full_name();
    let look = desks.engine.look(&Place::Here).map_err(|err| format!("{err}."))?;
    if let Some(now) = desks.get(thread) {
        let desk = Desk::of(thread, &now);
        if !desk.place.is_here() {
            return Err(format!(
                "This thread works on {}: clone `{full_name}` there, and /dir PATH goes to it.",
                desk.place
            ));
        }
        if now.repo.as_deref() == Some(&*full_name) && look.check_dir(&desk).await.is_ok() {
            return Ok(Checkout { path: desk.dir, remark: String::new() });
        }
    }
    // Cloned or not: whoever may not have the repository is told now.
    let mirror = mirror::refresh(desks, thread, &repo).await?;
    let folder = directories::own(desks, thread).await.map_err(|err| format!("{err:#}."))?;
    let below = Path::new(repo.owner).join(repo.name);
    let is_shared =
        desks.all().iter().any(|(id, it)| id != thread && it.repo.as_deref() == Some(&*full_name));
    let branch = if is_shared { format!("tinyclaw/{thread}") } else { String::new() };
    // What an earlier checkout left in the desk's own folder is the desk's, and goes on.
    let path = folder.join(below);
    let desk = Desk::here(thread, &path);
    let mut remark = String::new();
    if look.real_dir(&desk).await.is_err_and(|err| err.is_missing()) {
        let script = Script {
            text: CLONE,
            args: vec![
                repo.address(&desks.settings.current().github.url),
                repo.owner.to_owned(),
                repo.name.to_owned(),
                branch.clone(),
            ],
            readable: None,
            bundle: Some(mirror),
        };
        script
            .run(desks, thread, &folder)
            .await
            .map_err(|err| format!("`{full_name}` cannot be cloned: {err}"))?;
        if is_shared {
            remark = format!(", a clone of its own on branch `{branch}`");
        }
    }
    // Through no link: what lies in the desk's folder is its agent's.
    look.check_dir(&desk).await.map_err(|err| format!("`{full_name}` cannot be used: {err}."))?;
    Ok(Checkout { path, remark })
}

/// Gives a thread of this machine whose folder is a worktree of another desk's repository a repository of its own, files
/// untouched.
pub(crate) async fn part(desks: &Desks, desk: &Desk, full_name: &str) {
    let (thread, cwd) = (&desk.thread, &desk.dir);
    let Ok(repo) = parse(full_name) else { return };
    let settings = desks.settings.current();
    let first = settings.office.workspace.join(repo.owner).join(repo.name);
    let name = format!("{}.{thread}", repo.name);
    // Where worktrees were put, and nothing that an agent could have named.
    if *cwd != first.with_file_name(&name) || cwd.join(".git").is_dir() {
        return;
    }
    let common = first.join(".git");
    let script = Script {
        text: PART,
        args: vec![common.display().to_string(), name, repo.address(&settings.github.url)],
        readable: Some(common),
        bundle: None,
    };
    match script.run(desks, thread, cwd).await {
        Ok(()) => tracing::info!(
            thread.id = %thread,
            "thread {thread} has a repository of its own in {} now, and no longer the first desk's",
            cwd.display()
        ),
        Err(err) => tracing::error!(
            thread.id = %thread,
            "thread {thread} keeps its files in {}, but git does not work there: {err}", cwd.display()
        ),
    }
}

/// A few lines of shell for a desk.
struct Script {
    text: &'static str,
    args: Vec<String>,
    /// What it may read besides.
    readable: Option<PathBuf>,
    /// The mirror that it gets on stdin.
    bundle: Option<PathBuf>,
}

impl Script {
    /// Runs it under the desk's leash. The error is for people.
    async fn run(self, desks: &Desks, thread: &ThreadId, cwd: &Path) -> Result<(), String> {
        let mut args = vec!["-c".to_owned(), self.text.to_owned(), "sh".to_owned()];
        args.extend(self.args);
        let mut bundle = match &self.bundle {
            Some(mirror) => mirror::bundle(desks, mirror)?,
            None => None,
        };
        let order = Confined {
            thread: thread.clone(),
            cwd: cwd.to_owned(),
            program: "sh".into(),
            args,
            readable: self.readable.into_iter().collect(),
            input: bundle.as_mut().and_then(|it| it.stdout.take()),
            time: CLONE_TIME,
        };
        match desks.engine.run_confined(order).await {
            Ok(said) if said.is_success() => Ok(()),
            Ok(said) => Err(last_word(&said.stderr)),
            Err(err) => {
                let source = std::error::Error::source(&err).map(|it| format!(": {it}"));
                Err(format!("{err}{}.", source.unwrap_or_default()))
            }
        }
    }
}
