//! `send_file`: a file of the desk's directory goes out with the answer. Nothing from elsewhere, and no secret.

use std::path::{Path, PathBuf};

use tinyclaw_domain::{FileRef, Thread};

use crate::tools::outbox::{Outbox, SENT_MAX};

/// Telegram takes no larger document.
const FILE_BYTES_MAX: u64 = 50 * 1000 * 1000;

pub(super) fn send_file(
    thread: &Thread,
    outbox: &mut Outbox,
    path: &str,
) -> Result<String, String> {
    if outbox.files.len() >= SENT_MAX {
        return Err(format!("{SENT_MAX} files are the most in one turn"));
    }
    let cwd = Path::new(&thread.cwd)
        .canonicalize()
        .map_err(|err| format!("this thread's directory: {err}"))?;
    let asked = cwd.join(path);
    let there: PathBuf = asked.canonicalize().map_err(|_| format!("there is no file {path}"))?;
    if !there.starts_with(&cwd) {
        return Err(format!("{path} is outside this thread's directory; copy it there first"));
    }
    let meta = there.metadata().map_err(|err| err.to_string())?;
    if !meta.is_file() {
        return Err(format!("{path} is not a file"));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("{path} has {} bytes; {FILE_BYTES_MAX} are the most", meta.len()));
    }
    let name = there.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if is_secret(&there) {
        return Err(format!("{name} looks like a secret and is not sent"));
    }
    outbox.files.push(FileRef {
        path: there.display().to_string(),
        mime: mime_of(&there).to_owned(),
        name: Some(name.clone()),
    });
    Ok(format!("{name} goes out with the answer."))
}

fn is_secret(path: &Path) -> bool {
    let parts = path.components().map(|it| it.as_os_str().to_string_lossy().to_lowercase());
    parts.into_iter().any(|it| {
        it == ".ssh"
            || it == ".env"
            || it.starts_with(".env.") && it != ".env.example"
            || it.ends_with(".pem")
            || it == ".git-credentials"
            || it == ".netrc"
            || it.starts_with("id_rsa")
            || it.starts_with("id_ed25519")
    })
}

fn mime_of(path: &Path) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "md" => "text/markdown",
        "html" => "text/html",
        "csv" => "text/csv",
        "txt" | "log" | "rs" | "py" | "js" | "ts" | "sh" | "toml" | "yaml" | "yml" => "text/plain",
        _ => "application/octet-stream",
    }
}
