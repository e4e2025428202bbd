//! The names under which a server may be asked. A page elsewhere that resolves its own name to this address is refused by them.

use std::collections::HashSet;

use axum::http::Uri;
use axum::http::header::{self, HeaderMap};

/// Host names, with port, that are this server.
#[derive(Debug, Clone, Default)]
pub struct Hosts(HashSet<String>);

impl Hosts {
    /// The names of the settings; and this machine's own, for the health check and whoever sits at it.
    pub fn new(named: &[String], port: u16) -> Hosts {
        let own = ["localhost", "127.0.0.1", "[::1]"].map(|it| format!("{it}:{port}"));
        Hosts(named.iter().map(|it| it.to_ascii_lowercase()).chain(own).collect())
    }

    /// The name under which a request asks, in small letters. `Err` has it too where it is none of ours: empty when the
    /// request has no name, or more than one.
    pub fn asked(&self, headers: &HeaderMap, uri: &Uri) -> Result<String, String> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|it| it.to_str().ok());
        let host = host.or_else(|| uri.authority().map(|it| it.as_str()));
        let host = host.filter(|_| hosts.next().is_none()).unwrap_or_default().to_ascii_lowercase();
        if self.knows(&host) { Ok(host) } else { Err(host) }
    }

    /// Whether this is one of the names, in whatever case.
    pub fn knows(&self, host: &str) -> bool {
        self.0.contains(&host.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn asked(hosts: &[&str], uri: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let known = Hosts::new(&["TinyClaw.example:443".to_owned()], 3100);
        known.asked(&headers, &uri.parse().unwrap())
    }

    #[test]
    fn a_server_is_asked_under_one_of_its_names_and_one_alone() {
        for host in ["localhost:3100", "127.0.0.1:3100", "[::1]:3100", "tinyclaw.EXAMPLE:443"] {
            assert_eq!(asked(&[host], "/"), Ok(host.to_ascii_lowercase()));
        }
        for host in
            ["evil.example", "localhost", "localhost:3101", "localhost:3100.evil.example", ""]
        {
            assert_eq!(asked(&[host], "/"), Err(host.to_owned()));
        }
        assert_eq!(asked(&["localhost:3100", "localhost:3100"], "/"), Err(String::new()));
        assert_eq!(asked(&[], "/"), Err(String::new()));
        // HTTP/1.1 lets the line of the request name it; the header, where there is one, counts.
        assert_eq!(asked(&[], "http://localhost:3100/"), Ok("localhost:3100".to_owned()));
        assert_eq!(asked(&["evil.example"], "http://localhost:3100/"), Err("evil.example".into()));
    }
}
