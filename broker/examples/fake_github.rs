//! The fake GitHub of the tests as a process of its own: the API that the broker asks, and a git server over TLS that
//! takes the tokens minted there. For tests of more than the broker.
//!
//! `fake_github FOLDER` knows the App 4711, installed for `acme` on `my-repo`, `site` and `docs`; it serves the bare
//! repositories in `FOLDER/git/acme/`. It makes the App's key in the folder, says where everything is in one line of
//! JSON, and ends when its stdin does.
#![expect(clippy::print_stdout, reason = "it says where it is to whoever started it")]

use std::io::Read;
use std::path::PathBuf;

use serde_json::json;

#[path = "../tests/support/mod.rs"]
mod support;

use support::git_server::GitServer;
use support::github::{APP_ID, GitHub};

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("use: fake_github FOLDER"));
    let (key, public) = support::rsa_key(&folder);
    let github = GitHub::start(&public);
    let server = GitServer::start(&folder, &folder.join("git"), github.clone());
    let where_it_is = json!({
        "api": github.url(),
        "appId": APP_ID,
        "key": key,
        "git": format!("https://localhost:{}", server.port),
        "certificate": server.certificate,
    });
    println!("{where_it_is}");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
