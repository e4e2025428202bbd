//! Where may be posted to: hosts that the operator named, and no address at which a machine keeps its own secrets. The
//! address that was checked is the one that is dialled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use reqwest::{Client, Url, redirect};

use super::WebhookConfig;

/// A name is looked up again after so long.
const LOOKUP_AGE_MAX: Duration = Duration::from_secs(60);

/// Why an address is not posted to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTarget {
    /// It is not written as one.
    #[error("expected http:// or https://, and no letter that is blank or not ASCII")]
    Malformed,
    /// It names no host at all, or more than that.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The operator did not name its host.
    #[error(
        "{0} is none of gateway.webhookHosts; if events may go there, add it (TINYCLAW_GATEWAY_WEBHOOK_HOSTS)"
    )]
    Unnamed(String),
}

/// What an address names: the host and the port, if it may be posted to.
pub(super) fn target(url: &str, hosts: &[String]) -> Result<(String, u16), BadTarget> {
    // The parser would write a blank or a letter of another alphabet in a way of its own.
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if !rest.is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_graphic())) {
        return Err(BadTarget::Malformed);
    }
    let parsed: Url = url
        .parse()
        .map_err(|_| BadTarget::Forbidden("names no host; expected https://host/path"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(BadTarget::Forbidden("may not have a name or a password in it"));
    }
    let host = parsed.host_str().unwrap_or_default().to_ascii_lowercase();
    let port = parsed.port_or_known_default().unwrap_or(443);
    let with_port = format!("{host}:{port}");
    let is_named =
        hosts.iter().map(|it| it.to_ascii_lowercase()).any(|it| it == host || it == with_port);
    if !is_named {
        return Err(BadTarget::Unnamed(host));
    }
    Ok((host, port))
}

/// Whether an address is one that nobody's webhook is at: this network's own, and where clouds tell machines their secrets.
fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(it) => {
            it.is_link_local()
                || it.is_unspecified()
                || it.is_multicast()
                || it.is_broadcast()
                || it == Ipv4Addr::new(100, 100, 100, 200)
        }
        IpAddr::V6(it) => {
            it.is_unicast_link_local()
                || it.is_unspecified()
                || it.is_multicast()
                // fd00:ec2::254
                || it.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// Dials one receiver.
#[derive(Debug)]
pub(crate) struct Dialler {
    url: String,
    hosts: Vec<String>,
    patience: Duration,
    client: Option<(Client, Instant)>,
}

impl Dialler {
    pub(crate) fn new(url: &str, config: &WebhookConfig) -> Dialler {
        let hosts = config.hosts.clone();
        Dialler { url: url.to_owned(), hosts, patience: config.patience, client: None }
    }

    /// A client that dials the address that was looked up and checked.
    pub(crate) async fn client(&mut self) -> Result<Client, String> {
        if let Some((client, since)) = &self.client
            && since.elapsed() < LOOKUP_AGE_MAX
        {
            return Ok(client.clone());
        }
        self.client = None;
        let (host, port) = target(&self.url, &self.hosts).map_err(|it| it.to_string())?;
        let bare = host.trim_matches(['[', ']']).to_owned();
        let looked_up = tokio::time::timeout(self.patience, tokio::net::lookup_host((bare, port)));
        let found: Vec<SocketAddr> = match looked_up.await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(err)) => return Err(format!("{host} has no address: {err}")),
            Err(_) => return Err(format!("{host} has no address in time")),
        };
        if let Some(it) = found.iter().find(|it| is_forbidden(it.ip())) {
            return Err(format!("{host} is {}, which nobody may post to", it.ip()));
        }
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(self.patience)
            .resolve_to_addrs(&host, &found)
            .user_agent(concat!("tinyclaw/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|err| err.to_string())?;
        self.client = Some((client.clone(), Instant::now()));
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_were_named_are_posted_to() {
        let hosts = ["n8n.example.org".to_owned(), "127.0.0.1:5678".to_owned()];
        assert!(target("https://N8N.example.org/webhook/1", &hosts).is_ok());
        assert!(target("http://127.0.0.1:5678/", &hosts).is_ok());
        for bad in [
            "http://127.0.0.1:5679/",
            "https://n8n.example.org.evil.example.com/",
            "https://ada:secret@n8n.example.org/",
            "https://evil.example.com/?n8n.example.org",
            "file:///etc/passwd",
            "n8n.example.org",
            "",
        ] {
            assert!(target(bad, &hosts).is_err(), "{bad}");
        }
    }

    #[test]
    fn where_machines_keep_their_secrets_is_forbidden_in_every_spelling() {
        for bad in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "fd00:ec2::254",
            "224.0.0.1",
        ] {
            assert!(is_forbidden(bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "10.0.0.7", "192.0.2.1", "::1", "fd00::1", "2001:db8::1"] {
            assert!(!is_forbidden(good.parse().unwrap()), "{good}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_forbidden_address_is_not_dialled() {
        let config = WebhookConfig::to(vec!["169.254.169.254".to_owned(), "[fe80::1]".to_owned()]);
        for url in ["http://169.254.169.254/latest", "http://[fe80::1]/"] {
            let refused = Dialler::new(url, &config).client().await.unwrap_err();
            assert!(refused.contains("nobody may post to"), "{refused}");
        }
    }
}
