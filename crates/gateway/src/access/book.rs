//! `tokens.json` as it was read last. The file is the operator's; nothing here writes it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tinyclaw_domain::{Token, Tokens, token_id};

use super::{Caller, Proof, is_same};

/// More is no list of tokens.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Enough to see that a file was saved.
type Stamp = Option<(u64, u64, i64, i64)>;

/// The tokens there are.
#[derive(Debug, Default)]
pub struct Book {
    stamp: Stamp,
    tokens: HashMap<String, Token>,
}

impl Book {
    /// The file, if it is another than the one before. A file that is gone is an empty one.
    pub(super) fn read(path: &Path, before: &Book) -> Result<Option<Book>, String> {
        let said = |err: &dyn std::fmt::Display| format!("cannot read {}: {err}", path.display());
        let stamp = match std::fs::metadata(path) {
            Ok(it) if it.len() > FILE_BYTES_MAX => return Err(said(&"it is over 4 MiB")),
            Ok(it) => Some((it.ino(), it.len(), it.mtime(), it.mtime_nsec())),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => None,
            Err(err) => return Err(said(&err)),
        };
        if stamp == before.stamp {
            return Ok(None);
        }
        let mut book = Book { stamp, tokens: HashMap::new() };
        if stamp.is_some() {
            let text = std::fs::read_to_string(path).map_err(|err| said(&err))?;
            let file: Tokens = serde_json::from_str(&text).map_err(|err| said(&err))?;
            book.tokens = file.tokens.into_iter().map(|it| (it.id.clone(), it)).collect();
        }
        Ok(Some(book))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Who has the token of this text.
    pub(super) fn caller(&self, text: &str, sum: &str, now: u64) -> Option<Caller> {
        let token = self.tokens.get(token_id(text)?)?;
        let until = good_until(token, sum)?;
        if until.is_some_and(|it| it <= now) {
            return None;
        }
        Some(Caller {
            name: token.name.clone(),
            scopes: token.scopes.clone(),
            envs: token.envs.clone(),
            origins: token.origins.clone(),
            budget_per_day: token.budget_per_day,
            until,
            proof: Proof::Token(token.id.clone(), sum.to_owned()),
        })
    }

    /// The token that a ticket is for, until when it is good, and until when the ticket is.
    pub(super) fn login(
        &self,
        ticket: &str,
        sum: &str,
        now: u64,
    ) -> Option<(String, Option<u64>, u64)> {
        let mut all = self.tokens.values();
        let (token, login) = all.find_map(|it| {
            let login = it.login.as_ref().filter(|it| is_same(&it.sum, sum))?;
            Some((it, login))
        })?;
        let is_good = token.is_good(now) && now < login.until;
        is_good.then(|| (login.token(&token.id, ticket), token.expires_at, login.until))
    }

    pub(super) fn is_good(&self, id: &str, sum: &str, now: u64) -> bool {
        let until = self.tokens.get(id).and_then(|it| good_until(it, sum));
        until.is_some_and(|until| until.is_none_or(|it| now < it))
    }

    /// The origins that tokens are for.
    pub(super) fn origins(&self) -> impl Iterator<Item = &str> {
        self.tokens.values().flat_map(|it| &it.origins).map(String::as_str)
    }
}

/// Until when the token is good for whoever has the text of this sum.
fn good_until(token: &Token, sum: &str) -> Option<Option<u64>> {
    let sums = [Some(&token.sum), token.before.as_ref().map(|it| &it.sum)];
    let own = sums.into_iter().flatten().find(|it| is_same(it, sum))?;
    token.good_until(own)
}
