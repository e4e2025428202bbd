use crate::client::ask;
use crate::running::Running;

#[test]
fn only_known_names_only_reading_only_from_the_page_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let own = format!("127.0.0.1:{}", server.address.port());
    let origin = format!("http://{own}");
    let check = |method: &str, path: &str, headers: &[(&str, &str)], status: u16, words: &str| {
        let answer = ask(server.address, method, path, headers);
        assert_eq!(answer.status, status, "{method} {path} {headers:?}: {}", answer.body);
        assert!(answer.body.contains(words), "{method} {path} {headers:?}: {}", answer.body);
    };
    let host = ("Host", own.as_str());
    check("GET", "/api/status", &[host], 200, "boot");
    check("GET", "/api/status", &[("Host", "tinyclaw.example:443")], 200, "boot");
    check("GET", "/api/status", &[("Host", "TinyClaw.example:443")], 200, "boot");
    check("GET", "/api/status", &[("Host", "evil.example")], 421, "DASHBOARD_HOSTS");
    check("GET", "/api/status", &[], 421, "DASHBOARD_HOSTS");
    check("GET", "/health", &[("Host", "evil.example")], 421, "evil.example");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        check(method, "/api/status", &[host], 405, "only reads");
    }
    check("GET", "/api/status", &[host, ("Origin", &origin)], 200, "boot");
    check("GET", "/api/status", &[host, ("Origin", "https://evil.example")], 403, "evil.example");
    check("GET", "/api/status", &[host, ("Origin", "null")], 403, "null");
    check("GET", "/api/status", &[host, ("Sec-Fetch-Site", "same-origin")], 200, "boot");
    check("GET", "/api/status", &[host, ("Sec-Fetch-Site", "cross-site")], 403, "another site");
    let visit = [
        host,
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
    ];
    check("GET", "/", &visit, 200, "<!doctype html>");
    check("GET", "/api/status", &visit, 403, "another site");
    check("HEAD", "/", &[host], 200, "");
    check("GET", "/views.js", &[host, ("Sec-Fetch-Site", "same-origin")], 200, "views.routing");
    check("GET", "/views.js", &[host, ("Sec-Fetch-Site", "cross-site")], 403, "another site");
}

#[test]
fn every_answer_carries_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    for path in ["/", "/views.js", "/api/status", "/api/events", "/nowhere", "/health"] {
        let headers = server.get(path).headers;
        // What the page may run from here is one file: nothing that is told can be taken for a script.
        assert_eq!(headers["content-type"].contains("script"), path == "/views.js", "{path}");
        let policy = &headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(
            !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["cache-control"], "no-store");
    }
}
