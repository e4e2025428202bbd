//! The real gateway as a process of its own, and the tokens it knows: for the tests and the measurements alike.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tinyclaw_disk::Flush;
use tinyclaw_domain::{Scope, StateDir, TOKEN_SECRET_BYTES, Token, Tokens, token_sum, token_text};

/// The text of the token of this id; its secret is so many times the same byte.
pub(crate) fn text(id: &str, byte: u8) -> String {
    token_text(id, &[byte; TOKEN_SECRET_BYTES])
}

/// That token, as `tokens.json` has it.
pub(crate) fn token(id: &str, byte: u8, name: &str, scopes: &[Scope]) -> Token {
    Token {
        id: id.to_owned(),
        name: name.to_owned(),
        sum: token_sum(&text(id, byte)),
        scopes: scopes.iter().copied().collect(),
        envs: Vec::new(),
        origins: Vec::new(),
        budget_per_day: None,
        created_at: 1,
        expires_at: None,
        revoked_at: None,
        before: None,
        login: None,
    }
}

/// Writes `tokens.json` anew, as an editor does: another file in its place.
pub(crate) fn save(state: &StateDir, tokens: Vec<Token>) {
    let text = serde_json::to_vec(&Tokens { tokens }).expect("tokens");
    tinyclaw_disk::replace(&state.tokens(), &text, Flush::None).expect("tokens.json");
}

/// A running gateway. It is killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// On whichever port is free. It is up when this returns, and perhaps not ready.
    pub(crate) fn start(program: &Path, dir: &Path, more: &[(&str, &str)]) -> Program {
        let mut child = Command::new(program)
            .env_clear()
            .env("TINYCLAW_DIR", dir)
            .env("GATEWAY_LISTEN", "127.0.0.1:0")
            .envs(more.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway");
        let mut lines = BufReader::new(child.stdout.take().expect("its lines")).lines();
        let up = lines.by_ref().map_while(Result::ok).find(|it| it.contains("gateway is up"));
        let up = up.expect("the gateway said that it is up");
        // Whoever writes to a pipe that nobody reads would stop.
        std::thread::spawn(move || lines.for_each(drop));
        let address = up.split("listen=").nth(1).and_then(|it| it.split(' ').next());
        let address = address.and_then(|it| it.parse().ok()).expect("an address");
        Program { child, address }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
