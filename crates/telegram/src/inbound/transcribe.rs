//! A voice message becomes text by the operator's command, the one program that this service starts.
//!
//! It works on strangers' recordings, so it gets nothing of ours but what it needs: no token in its environment, a home
//! of its own, and the recording as it came from Telegram, not as it lies where an agent can write. What it says is
//! limited, and so is its time; what it started ends with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tinyclaw_disk::Flush;
use tokio::io::AsyncReadExt;
use tokio::process::Child;

/// A voice message that takes longer to transcribe is given up.
const TIME: Duration = Duration::from_secs(180);
/// The longest recording that a bot may fetch holds a few hours of speech: some hundred kilobytes of text.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// What it gets of our environment: where programs are, and how to reach the network.
const HANDED_ON: [&str; 10] = [
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "ALL_PROXY",
];

/// The text of a voice message, as the operator's command prints it. `home` is the folder that is its HOME; `name` is
/// what the recording is called in it.
pub(crate) async fn transcribe(
    command: &str,
    home: &Path,
    name: &str,
    recording: &[u8],
) -> anyhow::Result<String> {
    let mut words = command.split_whitespace();
    let program = words.next().context("telegram.transcriber is empty")?;
    let home = std::path::absolute(home).context("cannot find the transcriber's home")?;
    let recording = tokio::task::block_in_place(|| Recording::lay_down(&home, name, recording))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the operator's own transcriber, set in settings.json"
    )]
    let mut command = tokio::process::Command::new(program);
    command.args(words).arg(&recording.0).env_clear();
    let handed_on = HANDED_ON.iter().filter_map(|it| Some((it, std::env::var_os(it)?)));
    command.envs(handed_on).env("HOME", &home).env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let said = tokio::time::timeout(TIME, listen(Running(child))).await;
    said.context("the transcriber took too long")?
}

async fn listen(mut running: Running) -> anyhow::Result<String> {
    let mut said = Vec::new();
    let stdout = running.0.stdout.take().context("the transcriber has no output")?;
    // A byte more than is taken, to see that it is too much.
    let mut stdout = stdout.take(TEXT_BYTES_MAX + 1);
    stdout.read_to_end(&mut said).await.context("cannot hear the transcriber")?;
    if said.len() as u64 > TEXT_BYTES_MAX {
        bail!("the transcriber said more than {} kB", TEXT_BYTES_MAX / 1024);
    }
    let status = running.0.wait().await.context("cannot wait for the transcriber")?;
    if !status.success() {
        bail!("the transcriber failed: {status}");
    }
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// The recording that is worked on; it goes when that is over.
struct Recording(PathBuf);

impl Recording {
    fn lay_down(home: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<Recording> {
        let folder = home.join("recordings");
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::set_permissions(home, PermissionsExt::from_mode(0o700)))
            .context("cannot make the transcriber's home")?;
        let recording = Recording(folder.join(name));
        tinyclaw_disk::replace(&recording.0, bytes, Flush::None)?;
        Ok(recording)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Err(err) = tinyclaw_disk::remove(&self.0) {
            tracing::warn!("{err}");
        }
    }
}

/// A transcriber that runs; dropped before it has ended, it is ended with all it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still its own.
        if let Some(pid) = self.0.id().and_then(|it| i32::try_from(it).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
