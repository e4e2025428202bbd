//! `tinyclaw token`: who may use the gateway. A token is shown once, when it is made; the file has its sum only.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use tinyclaw_disk::{Flush, Lock, replace};
use tinyclaw_domain::{
    EnvName, ROTATION_MS, Scope, StateDir, TICKET_PREFIX, TOKEN_SECRET_BYTES, Token as Entry,
    TokenBefore, TokenLogin, Tokens, token_sum, token_text,
};
use tinyclaw_service::settings::{self, Source, Span, Store, Value as _};
use tinyclaw_service::{healthcheck, now_ms};

use crate::place;
use crate::terminal::{self, Style, Table};

/// Make, list and take back tokens for the gateway.
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make one, and print it: it is shown this once.
    New(New),
    /// Log in to the web chat: print an address that works once, within five minutes.
    Login(Login),
    /// List them.
    #[command(alias = "ls")]
    List(List),
    /// Take one back: it is good no more, and its streams end.
    Revoke(Which),
    /// Replace one, and print the new one. The old one stays good for 24 hours.
    Rotate(Which),
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Who gets it, such as n8n or ada-laptop.
    pub(crate) name: String,

    /// What it may do, with commas between: ingest, read, execute, envs, notify, admin.
    #[arg(long, value_delimiter = ',', default_value = "ingest,read")]
    pub(crate) scope: Vec<Scope>,

    /// An environment of `envs.json` that it may have Claude work in. Again for more; any, when not said.
    #[arg(long)]
    pub(crate) env: Vec<EnvName>,

    /// A page that may use it, such as `https://app.example.org`. Again for more.
    #[arg(long)]
    pub(crate) origin: Vec<String>,

    /// It is good for so long, such as 30d. For ever, when not said.
    #[arg(long)]
    pub(crate) expires: Option<String>,

    /// What its jobs may cost in a day, in US dollars. Only the office's budget counts, when not said.
    #[arg(long)]
    pub(crate) budget_per_day: Option<f64>,
}

#[derive(Debug, Args)]
struct Login {
    /// An environment that the chat may have Claude work in. Again for more; any, when not said.
    #[arg(long)]
    env: Vec<EnvName>,

    /// Whoever logs in stays for so long.
    #[arg(long, default_value = "12h")]
    expires: String,

    /// Where the browser finds the gateway. On this machine, when not said.
    #[arg(long)]
    url: Option<String>,
}

/// So long the address waits to be opened, in ms.
const TICKET_MS: u64 = 5 * 60 * 1_000;

#[derive(Debug, Args)]
struct List {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Which {
    /// Its id, or its name where only one has it.
    token: String,
}

/// Longer names break the table.
const NAME_CHARS_MAX: usize = 64;

impl Token {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let state = place::office()?;
        let mut out = std::io::stdout().lock();
        match self.verb {
            Verb::New(new) => writeln!(out, "{}", make(&state, &new)?)?,
            Verb::Login(login) => writeln!(out, "{}", address(&state, login)?)?,
            Verb::List(list) => {
                let tokens = read(&state)?;
                if list.json {
                    let shown: Vec<_> = tokens.tokens.iter().map(shown).collect();
                    writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
                } else {
                    out.write_all(table(&tokens, Style::of(&out)).as_bytes())?;
                }
            }
            Verb::Revoke(which) => change(&state, |tokens| {
                find(tokens, &which.token)?.revoked_at = Some(now_ms());
                Ok(())
            })?,
            Verb::Rotate(which) => {
                let mut text = String::new();
                change(&state, |tokens| {
                    let it = find(tokens, &which.token)?;
                    let (fresh, secret) = secret(&it.id)?;
                    let until = now_ms() + ROTATION_MS;
                    let sum = std::mem::replace(&mut it.sum, fresh);
                    it.before = Some(TokenBefore { sum, until });
                    text = secret;
                    Ok(())
                })?;
                writeln!(out, "{text}")?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes a token, and tells its text, which nobody is told again.
pub(crate) fn make(state: &StateDir, new: &New) -> anyhow::Result<String> {
    let (entry, text) = with_secret(entry(new)?)?;
    change(state, |tokens| {
        let is_taken = |it: &Entry| it.name == entry.name && it.is_good(now_ms());
        if tokens.tokens.iter().any(is_taken) {
            bail!("there is a token {:?} already; rotate or revoke it", entry.name);
        }
        tokens.tokens.push(entry);
        Ok(())
    })?;
    Ok(text)
}

/// A name that no good token has: this one, or it with a number.
pub(crate) fn free_name(state: &StateDir, name: &str) -> anyhow::Result<String> {
    let tokens = read(state)?;
    let is_free =
        |name: &String| !tokens.tokens.iter().any(|it| it.name == *name && it.is_good(now_ms()));
    let more = (2..).map(|it| format!("{name}-{it}"));
    std::iter::once(name.to_owned()).chain(more).find(is_free).context("every name is taken")
}

/// Makes a token that nobody is told, and the address whose ticket gets it.
fn address(state: &StateDir, login: Login) -> anyhow::Result<String> {
    let url = match &login.url {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => url.clone(),
        Some(url) => bail!("{url:?} is no address; one looks like https://tinyclaw.example.org"),
        None => {
            let environment = std::env::vars().collect();
            let settings = Store::<settings::Gateway>::open(state.root(), environment)?.current();
            format!("http://{}", healthcheck::local_address(settings.listening()))
        }
    };
    let mut all = std::iter::repeat_with(|| uuid::Uuid::new_v4().simple().to_string());
    let mut chance = || all.by_ref().take(2).collect::<String>();
    let new = New {
        name: format!("login-{}", &chance()[..8]),
        scope: vec![Scope::Read, Scope::Execute],
        env: login.env,
        origin: Vec::new(),
        expires: Some(login.expires),
        budget_per_day: None,
    };
    let ticket = format!("{TICKET_PREFIX}{}", chance());
    let until = now_ms() + TICKET_MS;
    let own = TokenLogin { sum: token_sum(&ticket), salt: chance(), until };
    let mut entry = entry(&new)?;
    entry.sum = token_sum(&own.token(&entry.id, &ticket));
    entry.login = Some(own);
    change(state, |tokens| {
        // What nobody can log in with any more is nobody's.
        tokens.tokens.retain(|it| it.login.is_none() || it.is_good(now_ms()));
        tokens.tokens.push(entry);
        Ok(())
    })?;
    Ok(format!("{}/#{ticket}", url.trim_end_matches('/')))
}

fn entry(new: &New) -> anyhow::Result<Entry> {
    let name = new.name.trim();
    if name.is_empty()
        || name.chars().count() > NAME_CHARS_MAX
        || name.chars().any(char::is_control)
    {
        bail!("a token's name has 1 to {NAME_CHARS_MAX} characters, on one line");
    }
    let now = now_ms();
    let expires = new.expires.as_ref().map(|it| {
        let read = Span::<1, 3_153_600_000>::read(&Source::One(it.clone()));
        read.with_context(|| format!("{it:?} is no duration; one looks like 30d or 12h"))
    });
    let expires = expires.transpose()?.map(|it| now + it.as_millis() as u64);
    for it in &new.origin {
        let host = it.strip_prefix("https://").or_else(|| it.strip_prefix("http://"));
        if host.is_none_or(|it| it.is_empty() || it.contains(['/', '*'])) {
            bail!("{it:?} is no origin; one looks like https://app.example.org");
        }
    }
    if new.budget_per_day.is_some_and(|it| !it.is_finite() || it < 0.0) {
        bail!("a budget is an amount of US dollars, such as 2.50");
    }
    let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
    Ok(Entry {
        id,
        name: name.to_owned(),
        sum: String::new(),
        scopes: new.scope.iter().copied().collect::<BTreeSet<_>>(),
        envs: new.env.iter().map(ToString::to_string).collect(),
        origins: new.origin.clone(),
        budget_per_day: new.budget_per_day,
        created_at: now,
        expires_at: expires,
        revoked_at: None,
        before: None,
        login: None,
    })
}

fn with_secret(mut entry: Entry) -> anyhow::Result<(Entry, String)> {
    let (sum, text) = secret(&entry.id)?;
    entry.sum = sum;
    Ok((entry, text))
}

/// Another secret for a token: its sum, and its text.
fn secret(id: &str) -> anyhow::Result<(String, String)> {
    // Each has 122 bits of the system's chance; their sum has 256.
    let chance: String = (0..3).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    let hex = token_sum(&chance);
    let mut bytes = [0; TOKEN_SECRET_BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16)?;
    }
    let text = token_text(id, &bytes);
    Ok((token_sum(&text), text))
}

fn find<'a>(tokens: &'a mut Tokens, named: &str) -> anyhow::Result<&'a mut Entry> {
    let now = now_ms();
    let fits = |it: &Entry| it.is_good(now) && (it.id == named || it.name == named);
    match tokens.tokens.iter().filter(|it| fits(it)).count() {
        0 => bail!("no token {named:?} is good now; tinyclaw token list shows them"),
        1 => {}
        _ => bail!("{named:?} is several tokens; name one by its id"),
    }
    tokens.tokens.iter_mut().find(|it| fits(it)).context("it was there")
}

fn read(state: &StateDir) -> anyhow::Result<Tokens> {
    let path = state.tokens();
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is no list of tokens", path.display())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Tokens::default()),
        Err(err) => Err(err).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Changes the file, one person at a time.
fn change(
    state: &StateDir,
    change: impl FnOnce(&mut Tokens) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    tinyclaw_ledger::create_folders(state)
        .with_context(|| format!("cannot make folders in {}", state.root().display()))?;
    let _lock = Lock::take(&state.tokens_lock())?;
    let mut tokens = read(state)?;
    change(&mut tokens)?;
    let text = serde_json::to_string_pretty(&tokens)? + "\n";
    replace(&state.tokens(), text.as_bytes(), Flush::Strict).context("cannot write tokens.json")
}

fn status(it: &Entry) -> &'static str {
    match (it.revoked_at, it.is_good(now_ms())) {
        (Some(_), _) => "revoked",
        (None, true) => "good",
        (None, false) => "expired",
    }
}

fn scopes(it: &Entry) -> String {
    it.scopes.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(",")
}

/// A token without its sum: nobody needs to see that.
fn shown(it: &Entry) -> serde_json::Value {
    json!({
        "id": it.id, "name": it.name, "scopes": it.scopes, "envs": it.envs, "origins": it.origins, "status": status(it),
        "budgetPerDay": it.budget_per_day, "createdAt": it.created_at, "expiresAt": it.expires_at, "revokedAt": it.revoked_at,
    })
}

fn table(tokens: &Tokens, style: Style) -> String {
    if tokens.tokens.is_empty() {
        return "No tokens yet. The first one: tinyclaw token new NAME --scope ingest,read\n"
            .to_owned();
    }
    let mut table = Table::new(&["id", "name", "may", "status", "made"]);
    for it in &tokens.tokens {
        let name = terminal::clip(&terminal::one_line(&it.name), 28);
        let made = format!("{} ago", terminal::ago(it.created_at));
        table.row(vec![it.id.clone(), name, scopes(it), status(it).to_owned(), made]);
    }
    table.draw(style)
}
