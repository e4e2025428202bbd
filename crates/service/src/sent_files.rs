//! Files that are sent to people: what kind each is, and which names are never sent. Names only; nothing is opened here.

use std::path::Path;

/// The media type that a name's ending says.
pub fn media_type(name: impl AsRef<Path>) -> &'static str {
    let ending = name.as_ref().extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match ending.as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "zip" => "application/zip",
        "md" => "text/markdown",
        "html" => "text/html",
        "csv" => "text/csv",
        "txt" | "log" | "rs" | "py" | "ts" | "js" | "toml" | "yaml" | "yml" | "sh" => "text/plain",
        _ => "application/octet-stream",
    }
}

/// Whether a file of this name, or in a folder of this name, holds secrets more often than not.
pub fn may_hold_secrets(path: &Path) -> bool {
    path.components().any(|it| is_secret(&it.as_os_str().to_string_lossy().to_lowercase()))
}

fn is_secret(name: &str) -> bool {
    let places = [
        ".ssh",
        ".gnupg",
        ".aws",
        ".tinyclaw",
        ".netrc",
        ".npmrc",
        ".git-credentials",
        "secrets",
        ".env",
    ];
    let endings = [".pem", ".key", ".p12", ".pfx", ".kdbx"];
    places.contains(&name)
        || name.starts_with(".env.") && name != ".env.example"
        || name.starts_with("id_rsa")
        || name.starts_with("id_ed25519")
        || endings.iter().any(|it| name.ends_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_secrets_are_known_by_their_names() {
        for path in [
            "/w/.env",
            "/w/.env.local",
            "/w/a/key.pem",
            "/w/KEY.PEM",
            "/home/x/.ssh/config",
            "/w/.tinyclaw/telegram.json",
            "/w/secrets/note.txt",
        ] {
            assert!(may_hold_secrets(Path::new(path)), "{path}");
        }
        for path in ["/w/.env.example", "/w/environment.md", "/w/keys.rs"] {
            assert!(!may_hold_secrets(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn an_ending_says_the_kind_in_either_case() {
        assert_eq!(media_type("A.PNG"), "image/png");
        assert_eq!(media_type(Path::new("/w/notes.tar.md")), "text/markdown");
        assert_eq!(media_type("Makefile"), "application/octet-stream");
        assert_eq!(media_type(".png"), "application/octet-stream", "a name without an ending");
    }
}
