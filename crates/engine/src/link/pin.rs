//! A key that is pinned: whoever has it runs Claude in one directory there, asking no less than one mode asks, and nothing
//! else. The words stand in `authorized_keys`, where whoever has the key cannot change them.
//!
//! What the office says is not believed here: another program, another environment than its habits, settings or servers
//! that bring commands of their own, and any question about another directory are refused.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tinyclaw_domain::frame::{Refusal, StartRun};
use tinyclaw_domain::look::Question;
use tinyclaw_domain::{PermissionMode, StateDir};

/// What an office may say of how Claude behaves; each of them only takes something away, or is a number.
const HABITS: [&str; 15] = [
    "BASH_MAX_TIMEOUT_MS",
    "CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD",
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW",
    "CLAUDE_CODE_DISABLE_CRON",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS",
    "CLAUDE_CODE_ENABLE_TASKS",
    "CLAUDE_CODE_ENABLE_TODO_TOOLS",
    "CLAUDE_CODE_IGNORE_PERSISTED_TRUST",
    "CLAUDE_CODE_MAX_RETRIES",
    "DISABLE_AUTOUPDATER",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_TELEMETRY",
    "ENABLE_PROMPT_CACHING_1H",
    "FORCE_PROMPT_CACHING_5M",
];
/// The tools that the office itself answers.
const TOOLS_OF_OURS: &str = "mcp__tinyclaw";

/// What a key is pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    dir: PathBuf,
    mode: PermissionMode,
}

impl Pin {
    /// How it is written in `authorized_keys`.
    pub(super) const USAGE: &str = "hub --pinned --dir DIR --mode ask|edits|bypass";

    /// What follows `--pinned`.
    pub(super) fn parse(mut args: impl Iterator<Item = OsString>) -> Option<Pin> {
        let (mut dir, mut mode) = (None, None);
        while let Some(flag) = args.next() {
            let value = args.next()?;
            match flag.to_str()? {
                "--dir" if dir.is_none() => dir = Some(PathBuf::from(value)),
                "--mode" if mode.is_none() => {
                    mode = Some(match value.to_str()? {
                        "ask" => PermissionMode::Ask,
                        "edits" => PermissionMode::AcceptEdits,
                        "bypass" => PermissionMode::Bypass,
                        _ => return None,
                    });
                }
                _ => return None,
            }
        }
        let dir = dir.filter(|it| it.is_absolute())?;
        Some(Pin { dir, mode: mode? })
    }

    /// Takes from an order what is not the office's to say, and refuses one that goes further than the pin.
    /// Whoever probes whether Claude answers does that in the helper's own folder, in `state`.
    pub(super) fn settle(&self, start: &mut StartRun, state: &Path) -> Result<(), Refusal> {
        let refused = |why: String| Refusal::NotGiven { why };
        let is_probe = start
            .dir
            .canonicalize()
            .is_ok_and(|it| it.starts_with(StateDir::new(state).files(&start.thread)));
        if !self.is_it(&start.dir) && !is_probe {
            let why = format!("the key is pinned to {}", self.dir.display());
            return Err(refused(why));
        }
        if start.take_over {
            let why = "the key is pinned, and ends nothing of another office";
            return Err(refused(why.to_owned()));
        }
        for arg in &start.args {
            let Some((flag, value)) = arg.strip_prefix("--").and_then(|it| it.split_once('='))
            else {
                continue;
            };
            let is_within = match flag {
                "permission-mode" => mode_of(value).is_some_and(|it| !it.asks_less_than(self.mode)),
                "setting-sources" => value.is_empty(),
                "add-dir" => self.is_it(Path::new(value)),
                "plugin-dir" => false,
                "mcp-config" => has_no_commands(value),
                "allowedTools" => value == TOOLS_OF_OURS,
                _ => true,
            };
            if !is_within {
                return Err(refused(format!("the key is pinned, and --{flag} goes further")));
            }
        }
        start.env.retain(|name, _| HABITS.contains(&name.as_str()));
        (start.writable, start.readable) = (Vec::new(), Vec::new());
        Ok(())
    }

    /// Whether something may be asked: about this directory, and about what is a thread's own.
    pub(super) fn allows(&self, question: &Question) -> bool {
        match question {
            Question::Has { of, dir, .. } | Question::Trace { of, dir, .. } => {
                of.home.is_none() && self.is_it(dir)
            }
            Question::PackUp { of, dir, .. } | Question::LayOut { of, dir, .. } => {
                of.home.is_none() && self.is_it(dir)
            }
            Question::Copy { of, dir, to, .. } => {
                of.home.is_none() && self.is_it(dir) && self.is_it(to)
            }
            Question::RealDir { dir }
            | Question::CheckDir { dir }
            | Question::Overlaps { dir, .. }
            | Question::FindFile { dir, .. }
            | Question::Get { dir, .. }
            | Question::Health { dir } => self.is_it(dir),
            // It was put there by hand.
            Question::Clean {} => false,
            Question::OwnFolder { .. } | Question::Put { .. } | Question::Unconfined {} => true,
        }
    }

    fn is_it(&self, dir: &Path) -> bool {
        let real = |it: &Path| it.canonicalize().ok();
        dir == self.dir || real(dir).is_some_and(|it| Some(it) == real(&self.dir))
    }
}

fn mode_of(word: &str) -> Option<PermissionMode> {
    use PermissionMode::{AcceptEdits, Ask, Bypass, Plan};
    [Plan, Ask, AcceptEdits, Bypass].into_iter().find(|it| it.cli_name() == word)
}

/// Whether all servers are the office's own, which are answered through the pipe.
fn has_no_commands(config: &str) -> bool {
    let Ok(config) = serde_json::from_str::<serde_json::Value>(config) else { return false };
    let servers = config.get("mcpServers").and_then(|it| it.as_object());
    let is_only = config.as_object().is_some_and(|it| it.len() == 1);
    let is_ours = |it: &serde_json::Value| {
        let keys = ["type", "name", "alwaysLoad"];
        it["type"] == "sdk"
            && it.as_object().is_some_and(|it| it.keys().all(|key| keys.contains(&key.as_str())))
    };
    is_only && servers.is_some_and(|it| it.values().all(is_ours))
}

#[cfg(test)]
mod tests {
    use tinyclaw_domain::ThreadId;
    use tinyclaw_domain::look::Transcripts;

    use super::*;

    fn pin(words: &str) -> Option<Pin> {
        Pin::parse(words.split_whitespace().map(OsString::from))
    }

    fn start(dir: &str, arg: &str) -> StartRun {
        let text = |it: &str| it.to_owned();
        StartRun {
            thread: ThreadId::topic(7),
            dir: dir.into(),
            args: vec![text("-p"), text("--strict-mcp-config"), text(arg)],
            env: [
                (text("DISABLE_TELEMETRY"), text("1")),
                (text("LD_PRELOAD"), text("/tmp/x.so")),
                (text("CLAUDE_CODE_SHELL_PREFIX"), text("/tmp/x")),
            ]
            .into(),
            writable: vec!["/etc".into()],
            readable: vec!["/root".into()],
            git: None,
            take_over: false,
            lease_s: 1,
            end_s: 1,
        }
    }

    #[test]
    fn a_pin_is_written_whole_or_not_at_all() {
        assert!(pin("--dir /srv/api --mode edits").is_some());
        for bad in
            ["", "--dir /srv/api", "--mode ask", "--dir srv --mode ask", "--dir / --mode all"]
        {
            assert_eq!(pin(bad), None, "{bad}");
        }
        assert_eq!(pin("--dir /a --dir /b --mode ask"), None);
    }

    #[test]
    fn a_pinned_key_runs_claude_in_its_directory_and_goes_no_further() {
        let pin = pin("--dir /srv/api --mode edits").unwrap();
        for good in [
            "--permission-mode=acceptEdits",
            "--permission-mode=plan",
            "--setting-sources=",
            "--add-dir=/srv/api",
            "--allowedTools=mcp__tinyclaw",
            r#"--mcp-config={"mcpServers":{"tinyclaw":{"type":"sdk","name":"tinyclaw","alwaysLoad":true}}}"#,
            "--model=haiku",
        ] {
            let mut start = start("/srv/api", good);
            assert_eq!(pin.settle(&mut start, Path::new("/state")), Ok(()), "{good}");
            assert_eq!(start.env.keys().collect::<Vec<_>>(), ["DISABLE_TELEMETRY"]);
            assert!(start.writable.is_empty() && start.readable.is_empty());
        }
        for bad in [
            "--permission-mode=bypassPermissions",
            "--permission-mode=whatever",
            "--setting-sources=project",
            "--add-dir=/etc",
            "--plugin-dir=/x/office",
            "--allowedTools=Bash",
            "--allowedTools=mcp__tinyclaw,Bash",
            r#"--mcp-config={"mcpServers":{"x":{"command":"sh"}}}"#,
            r#"--mcp-config={"mcpServers":{"x":{"type":"sdk","command":"sh"}}}"#,
            "--mcp-config=mcp.json",
        ] {
            assert!(pin.settle(&mut start("/srv/api", bad), Path::new("/state")).is_err(), "{bad}");
        }
        let taking_over = StartRun { take_over: true, ..start("/srv/api", "--model=haiku") };
        assert!(pin.settle(&mut taking_over.clone(), Path::new("/state")).is_err());
        for dir in ["/srv", "/srv/api/..", "/etc", "/srv/apix"] {
            assert!(
                pin.settle(&mut start(dir, "--model=haiku"), Path::new("/state")).is_err(),
                "{dir}"
            );
        }
    }

    #[test]
    fn a_pinned_key_asks_about_its_directory_alone() {
        let pin = pin("--dir /srv/api --mode ask").unwrap();
        let get =
            |dir: &str| Question::Get { dir: dir.into(), below: "notes.txt".into(), bytes_max: 1 };
        assert!(pin.allows(&get("/srv/api")) && !pin.allows(&get("/etc")));
        let has = |home: Option<&str>| Question::Has {
            of: Transcripts { thread: ThreadId::topic(7), home: home.map(Into::into) },
            dir: "/srv/api".into(),
            session: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().unwrap(),
        };
        assert!(pin.allows(&has(None)) && !pin.allows(&has(Some("/root"))));
    }
}
