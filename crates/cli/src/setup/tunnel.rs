//! `tinyclaw setup tunnel`: the public name of the dashboard, and what Cloudflare Access says of whoever comes.
//!
//! The tunnel itself is Cloudflare's, and made there. It is not asked whether it works: that shows when it runs.

use std::net::ToSocketAddrs as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tinyclaw_service::settings::Dashboard;

use super::answers::keep_private;
use super::standing::is_local;
use super::{Done, Person, SetupContext, Wrong, secret_of};

/// The user of the cloudflared image.
const CLOUDFLARED_UID: u32 = 65_532;
const KEYS: [&str; 3] = ["dashboard.hosts", "dashboard.accessTeam", "dashboard.accessAud"];

/// Let the dashboard be seen under a public name.
#[derive(Debug, Default, Args)]
pub(crate) struct Tunnel {
    /// The public name, such as office.example.org.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// The Cloudflare Access team: NAME of NAME.cloudflareaccess.com. The dashboard then checks every request itself.
    #[arg(long, value_name = "NAME", requires = "access_aud")]
    access_team: Option<String>,

    /// The audience tag of the Access application.
    #[arg(long, value_name = "TAG", requires = "access_team")]
    access_aud: Option<String>,

    /// A file with the tunnel's token, or - for stdin, for the compose profile.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Tunnel {
    pub(crate) fn run(self, desk: &SetupContext) -> anyhow::Result<Done> {
        let (answers, person) = (&desk.answers, &desk.person);
        answers.must_count(&KEYS)?;
        let now = answers.current::<Dashboard>()?;
        let mut warnings = Vec::new();
        let is_asked =
            self.host.is_none() && self.access_team.is_none() && self.token_file.is_none();

        let known = now.hosts.iter().find(|it| !is_local(it)).cloned();
        let host = match (&self.host, &known) {
            (Some(text), _) => host(text)?,
            (None, Some(known)) if !is_asked => known.clone(),
            (None, known) => {
                let ask =
                    || person.line("Public name of the dashboard", known.as_deref(), "--host NAME");
                person.thrice(ask, |text| host(&text))?
            }
        };
        let access = match (&self.access_team, &self.access_aud) {
            (Some(team), Some(aud)) => Some((self::team(team)?, audience(aud)?)),
            _ if is_asked => ask_access(person, &now)?,
            _ => now.access_team.clone().zip(now.access_aud.clone()),
        };
        let token = match &self.token_file {
            Some(file) => Some(tunnel_token(&secret_of(file)?)?),
            None if is_asked => ask_token(desk)?,
            None => None,
        };

        let port = answers.environment().get("TINYCLAW_DASHBOARD_PORT").cloned();
        let port =
            port.filter(|it| !it.is_empty()).unwrap_or_else(|| now.listen.port().to_string());
        let hosts = with_host(&now.hosts, &host, &port);
        let mut changes = vec![(KEYS[0], Some(hosts.join(",")))];
        if let Some((team, aud)) = &access {
            changes.push((KEYS[1], Some(team.clone())));
            changes.push((KEYS[2], Some(aud.clone())));
        }
        let wrote = answers.write(&changes)?;
        person.ok(&format!("the dashboard answers to {}", hosts.join(", ")))?;
        if (host.as_str(), 443).to_socket_addrs().is_err() {
            let says = format!("{host} has no address yet");
            let way_out = "Cloudflare, the tunnel, Public hostname: add it";
            person.warn(&says, way_out)?;
            warnings.push(format!("{says} → {way_out}"));
        }
        if access.is_none() {
            let says = "the dashboard itself checks nobody: without an Access application everybody may look";
            let way_out = "Cloudflare Zero Trust, Access, Applications: add it, then --access-team and --access-aud";
            person.warn(says, way_out)?;
            warnings.push(format!("{says} → {way_out}"));
        }
        let token_path = match &token {
            Some(token) => Some(keep_token(desk, token, &mut warnings)?),
            None => None,
        };
        match (&token_path, answers.checkout()) {
            (Some(_), _) => person.say("      ./tinyclaw.sh start starts cloudflared too; the tunnel's service is http://dashboard:3100")?,
            (None, Some(_)) => person.say(&format!("      cloudflared on this machine: its service is http://localhost:{port}\n      or in the compose file: give the tunnel's token with --token-file"))?,
            (None, None) => person.say(&format!("      cloudflared on this machine: its service is http://localhost:{port}"))?,
        }
        let found = json!({
            "hosts": hosts, "accessTeam": access.as_ref().map(|it| &it.0), "tokenFile": token_path,
        });
        desk.done("tunnel", found, wrote, warnings)
    }
}

fn ask_access(person: &Person, now: &Dashboard) -> anyhow::Result<Option<(String, String)>> {
    let default = now.access_team.as_deref().or(Some("none"));
    let ask = || person.line("Cloudflare Access team, or none", default, "--access-team NAME");
    let team =
        person.thrice(ask, |text| if text == "none" { Ok(None) } else { team(&text).map(Some) })?;
    let Some(team) = team else { return Ok(now.access_team.clone().zip(now.access_aud.clone())) };
    let ask = || {
        person.line(
            "Audience tag of the Access application",
            now.access_aud.as_deref(),
            "--access-aud TAG",
        )
    };
    let aud = person.thrice(ask, |text| audience(&text))?;
    Ok(Some((team, aud)))
}

fn ask_token(desk: &SetupContext) -> anyhow::Result<Option<String>> {
    if desk.answers.checkout().is_none() {
        return Ok(None);
    }
    let person = &desk.person;
    person.say("The tunnel's token is for cloudflared in the compose file; where it runs on this machine, it has its own.")?;
    let ask = || person.secret("Tunnel's token, or Enter for none", "--token-file FILE");
    person
        .thrice(ask, |text| if text.is_empty() { Ok(None) } else { tunnel_token(&text).map(Some) })
}

/// The name alone, as a browser sends it.
fn host(text: &str) -> anyhow::Result<String> {
    let plain =
        text.trim().trim_start_matches("https://").trim_end_matches('/').to_ascii_lowercase();
    let label = |it: &str| {
        (1..=63).contains(&it.len())
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
            && !it.starts_with('-')
            && !it.ends_with('-')
    };
    let is_name = plain.len() <= 253 && plain.contains('.') && plain.split('.').all(label);
    let is_address = plain.split('.').all(|it| it.bytes().all(|it| it.is_ascii_digit()));
    if is_name && !is_address {
        return Ok(plain);
    }
    Err(Wrong::new(
        format!("{text:?} is no public name"),
        "a name with a dot, and no port or path, such as office.example.org",
    )
    .into())
}

fn team(text: &str) -> anyhow::Result<String> {
    let plain = text.trim().trim_start_matches("https://").trim_end_matches('/');
    let name = plain.strip_suffix(".cloudflareaccess.com").unwrap_or(plain);
    if !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-') {
        return Ok(name.to_ascii_lowercase());
    }
    Err(Wrong::new(
        format!("{text:?} is no Access team"),
        "NAME of NAME.cloudflareaccess.com: Zero Trust, Settings",
    )
    .into())
}

fn audience(text: &str) -> anyhow::Result<String> {
    let plain = text.trim();
    if plain.len() == 64 && plain.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Ok(plain.to_ascii_lowercase());
    }
    Err(Wrong::new(
        format!("{text:?} is no audience tag"),
        "64 hexadecimal digits: Access, the application, Overview, AUD tag",
    )
    .into())
}

/// Base64 of a JSON object. People like to paste the whole command it stands in.
fn tunnel_token(text: &str) -> anyhow::Result<String> {
    let word = text.split_whitespace().next_back().unwrap_or_default();
    let is_base64 = word.bytes().all(|it| it.is_ascii_alphanumeric() || b"+/=-_".contains(&it));
    if word.starts_with("eyJ") && word.len() > 60 && is_base64 {
        return Ok(word.to_owned());
    }
    Err(Wrong::new(
        "this is no tunnel's token",
        "Zero Trust, Networks, Tunnels, the tunnel, Docker: the last word of its command",
    )
    .into())
}

/// The hosts with one more, and this machine's own.
fn with_host(now: &[String], host: &str, port: &str) -> Vec<String> {
    let local = [format!("localhost:{port}"), format!("127.0.0.1:{port}")];
    let mut hosts: Vec<String> = now.to_vec();
    for it in local.into_iter().rev() {
        if !hosts.contains(&it) {
            hosts.insert(0, it);
        }
    }
    if !hosts.iter().any(|it| it == host) {
        hosts.push(host.to_owned());
    }
    hosts
}

/// Where the compose file mounts the token from, and its container's user may read it.
fn keep_token(
    desk: &SetupContext,
    token: &str,
    warnings: &mut Vec<String>,
) -> anyhow::Result<PathBuf> {
    let Some(checkout) = desk.answers.checkout() else {
        let says = "there is no compose file here that would use the tunnel's token";
        return Err(
            Wrong::new(says, "run it where docker-compose.yml is, or with --env FILE").into()
        );
    };
    let path = secrets(checkout)?.join("tunnel-token");
    keep_private(&path, token.as_bytes(), false)?;
    desk.person.ok(&format!("the token is in {}, mode 0600", path.display()))?;
    let is_given = std::fs::metadata(&path).is_ok_and(|it| it.uid() == CLOUDFLARED_UID)
        || chown(&path, Some(CLOUDFLARED_UID), None).is_ok();
    if !is_given {
        let says = "cloudflared's container runs as a user that cannot read it yet";
        let way_out = format!("sudo chown {CLOUDFLARED_UID} {}", path.display());
        desk.person.warn(says, &way_out)?;
        warnings.push(format!("{says} → {way_out}"));
    }
    Ok(path)
}

/// The folder that the containers mount, in which only who knows a name finds something.
pub(super) fn secrets(checkout: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = checkout.join("secrets");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    // The broker's user is not ours and has to get through.
    let _ = std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711));
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_is_taken_as_people_paste_it() {
        assert_eq!(host(" https://Office.Example.org/ ").unwrap(), "office.example.org");
        for text in [
            "",
            "office",
            "office.example.org:443",
            "a b.org",
            "http://x.org/y",
            "10.0.0.1",
            "-a.org",
            "a..org",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
        assert_eq!(team("https://acme.cloudflareaccess.com/").unwrap(), "acme");
        assert!(team("acme corp").is_err() && audience("abc").is_err());
        assert!(audience(&"ab".repeat(32)).is_ok());
    }

    #[test]
    fn local_names_stay_and_nothing_comes_twice() {
        let all = with_host(&[], "office.example.org", "3100");
        assert_eq!(all, ["localhost:3100", "127.0.0.1:3100", "office.example.org"]);
        assert_eq!(with_host(&all, "office.example.org", "3100"), all);
        let own = ["mine.lan:3100".to_owned()];
        assert_eq!(
            with_host(&own, "b.org", "3101"),
            ["localhost:3101", "127.0.0.1:3101", "mine.lan:3100", "b.org"]
        );
    }

    #[test]
    fn a_tunnels_token_is_found_in_its_command() {
        let token = format!("eyJ{}", "a".repeat(80));
        assert_eq!(
            tunnel_token(&format!("cloudflared tunnel run --token {token}")).unwrap(),
            token
        );
        assert!(tunnel_token("eyJshort").is_err() && tunnel_token(&"x".repeat(80)).is_err());
    }
}
