//! The door: who may come in at all, before anybody asks who they are.
//!
//! A broker without clients serves "its private network", and this is where that is more than a
//! word: a neighbour's address, and a name that only neighbours use. A page in somebody's browser
//! is refused always: browsers send `Origin`, and none of the broker's callers is one. The name
//! matters because a page can make its own name mean the broker's address.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};

use crate::refusal::Refusal;

/// What the broker is called, beside its addresses.
const NAMES: [&str; 2] = ["broker", "localhost"];

/// Refuses whatever comes out of a browser.
pub(crate) fn no_browser(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(ORIGIN) {
        let hint = "ask without an Origin header, as curl, git and gh do";
        return Err(Refusal::denied("browser_refused", "no page in a browser is served", hint));
    }
    Ok(())
}

/// Refuses who is no neighbour, or calls the broker by a stranger's name.
pub(crate) fn neighbour(peer: IpAddr, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    if !is_near(peer) {
        let error = format!("{peer} is not in a private network");
        let hint = "without clients only loopback and private addresses are served; give this \
                    one a secret (BROKER_CLIENTS_FILE, BROKER_SECRET)";
        return Err(Refusal::denied("peer_refused", error, hint));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let known = host.is_some_and(is_ours) && uri.authority().is_none_or(|it| is_ours(it.as_str()));
    if !known {
        let hint = "call it http://broker:3000, http://localhost:3000 or by its address; with \
                    clients (BROKER_CLIENTS_FILE, BROKER_SECRET) every name is taken";
        return Err(Refusal::denied("host_refused", "the Host is not one of this broker's", hint));
    }
    Ok(())
}

/// Whether an address cannot come from the internet.
fn is_near(peer: IpAddr) -> bool {
    match peer.to_canonical() {
        IpAddr::V4(it) => it.is_loopback() || it.is_private() || it.is_link_local(),
        IpAddr::V6(it) => it.is_loopback() || it.is_unique_local() || it.is_unicast_link_local(),
    }
}

/// `broker`, `localhost` or an address, with a port or without.
fn is_ours(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            let is_six = address.parse::<std::net::Ipv6Addr>().is_ok();
            return is_six && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let known = NAMES.iter().any(|it| name.eq_ignore_ascii_case(it))
        || name.parse::<std::net::Ipv4Addr>().is_ok();
    known && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|it| it.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_who_no_router_would_pass_on() {
        for near in [
            "127.0.0.1",
            "10.1.2.3",
            "172.18.0.3",
            "192.168.1.7",
            "169.254.1.1",
            "::1",
            "fd00::7",
            "fe80::1",
            "::ffff:172.18.0.3",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in
            ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8", "0.0.0.0"]
        {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    #[test]
    fn a_name_that_anybody_could_own_is_a_strangers() {
        for ours in [
            "broker:3000",
            "Broker",
            "localhost:3000",
            "127.0.0.1:3000",
            "172.18.0.2",
            "[::1]:3000",
            "[fd00::2]",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in [
            "",
            "rebound.example:3000",
            "broker.example",
            "broker:x",
            "broker:",
            "127.0.0.1.example",
            "[::1",
            "[::1]x",
            "127.0.0.1:70000",
            "user@broker",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
