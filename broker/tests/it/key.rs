//! The key's file: what is taken, what is refused and in which words, and rotation.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tinyclaw_broker::key::AppKey;

use crate::start;
use crate::support::process::Office;
use crate::support::{mode, openssl, rsa_key};

const SITE: &str = "installation_id=12345&repositories=site";

/// The outcome for a key made by this openssl command, in one word or the message.
fn outcome(path: &Path) -> String {
    match AppKey::read(path) {
        Ok(key) => format!("{} bits", key.bits()),
        Err(error) => error.to_string().replace(&path.display().to_string(), "KEY"),
    }
}

#[test]
fn both_formats_and_odd_line_ends_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (key, _) = rsa_key(folder.path());
    assert_eq!(outcome(&key), "2048 bits");
    openssl(folder.path(), "pkcs8 -topk8 -nocrypt -in github-app.pem -out pkcs8.pem");
    let pkcs8 = folder.path().join("pkcs8.pem");
    mode(&pkcs8, 0o600);
    assert_eq!(outcome(&pkcs8), "2048 bits");
    let text = std::fs::read_to_string(&key).unwrap();
    for (name, text) in [
        ("crlf.pem", text.replace('\n', "\r\n")),
        ("escaped.pem", text.trim().replace('\n', "\\n")),
        ("no-newline.pem", text.trim_end().to_owned()),
        ("words-before.pem", format!("a key from Ada\n\n{text}\n\n")),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        mode(&path, 0o400);
        assert_eq!(outcome(&path), "2048 bits", "{name}");
    }
}

#[test]
fn each_mistake_has_its_own_message() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (key, _) = rsa_key(folder.path());
    let text = std::fs::read_to_string(&key).unwrap();
    let made = |name: &str| {
        mode(&at(name), 0o600);
        outcome(&at(name))
    };
    let written = |name: &str, text: &str| {
        std::fs::write(at(name), text).unwrap();
        made(name)
    };
    assert!(outcome(&at("none.pem")).starts_with("KEY is missing"));
    std::fs::create_dir(at("folder.pem")).unwrap();
    assert!(outcome(&at("folder.pem")).starts_with("KEY is a directory: Docker makes one"));
    for open in [0o644, 0o640, 0o604, 0o660] {
        mode(&key, open);
        let message = outcome(&key);
        assert!(message.contains(&format!("(mode {open:04o}): run chmod 600 KEY")), "{message}");
    }
    mode(&key, 0o600);
    assert!(written("empty.pem", "").starts_with("KEY is empty"));
    assert!(written("blank.pem", " \n\t\n").starts_with("KEY is empty"));
    assert!(written("text.pem", "hello").starts_with("KEY is not PEM"));
    assert!(written("cut.pem", &text[..text.len() / 2]).starts_with("KEY is cut off"));
    assert!(written("bent.pem", &text.replacen("MII", "NII", 1)).starts_with("KEY is cut off"));
    assert!(written("long.pem", &"x".repeat(70_000)).starts_with("KEY has more than 64 KiB"));

    openssl(folder.path(), "ecparam -name prime256v1 -genkey -noout -out ec.pem");
    assert!(made("ec.pem").starts_with("KEY is an EC key"));
    openssl(folder.path(), "pkcs8 -topk8 -nocrypt -in ec.pem -out ec8.pem");
    assert!(made("ec8.pem").starts_with("KEY is an EC key"));
    openssl(folder.path(), "genpkey -algorithm ed25519 -out ed.pem");
    assert!(made("ed.pem").starts_with("KEY is not an RSA key"));
    openssl(
        folder.path(),
        "rsa -aes128 -traditional -passout pass:words -in github-app.pem -out locked.pem",
    );
    assert!(made("locked.pem").starts_with("KEY is encrypted"));
    openssl(folder.path(), "pkcs8 -topk8 -passout pass:words -in github-app.pem -out locked8.pem");
    assert!(made("locked8.pem").starts_with("KEY is encrypted"));
    openssl(folder.path(), "genrsa -traditional -out weak.pem 1024");
    assert_eq!(made("weak.pem"), "KEY has 1024 bits: 2048 are the least");
    assert!(made("public.pem").contains("holds \"PUBLIC KEY\", not a private key"));
}

#[test]
fn a_refused_key_is_said_where_one_looks() {
    let office = Office::new();
    std::fs::set_permissions(&office.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let broker = start(&office);
    let (status, body) = broker.get(&format!("/token?{SITE}"));
    assert_eq!(status, 503);
    assert!(body["error"].as_str().unwrap().contains("chmod 600"), "{body}");
    // Mended without a restart.
    mode(&office.key, 0o600);
    broker.until("the mended key", |it| it.get(&format!("/token?{SITE}")).0 == 200);
}

#[test]
fn a_rotated_key_is_used_without_a_restart() {
    let office = Office::new();
    let broker = start(&office);
    broker.token(SITE);
    let other = tempfile::tempdir().unwrap();
    let (key, public) = rsa_key(other.path());
    // Half a file first, as a slow copy leaves it: the old key stays.
    let text = std::fs::read(&key).unwrap();
    std::fs::write(&office.key, &text[..100]).unwrap();
    broker.until("a warning", |it| it.get("/ready").1.to_string().contains("cut off"));
    broker.token("installation_id=12345&repositories=docs");
    office.github.set_key(&public);
    std::fs::write(&office.key, &text).unwrap();
    broker.until("the new key", |it| {
        it.get("/token?installation_id=12345&repositories=my-repo").0 == 200
    });
    // Taken away: that is meant.
    std::fs::remove_file(&office.key).unwrap();
    broker.until("no key", |it| it.get(&format!("/token?{SITE}")).0 == 503);
}
