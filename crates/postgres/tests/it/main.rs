//! A server that has to prove who it is.
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

use std::path::Path;

use tinyclaw_postgres::testing::Cluster;
use tinyclaw_postgres::{Database, OpenError, Session, Tls};

/// Makes a certificate for a name, with its key, in the server's folder. Whether `openssl` could be run.
fn certify(cluster: &Cluster, name: &str) -> bool {
    let made = cluster
        .as_its_user("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "data/server.key", "-out", "data/server.crt"])
        .output();
    made.is_ok_and(|it| it.status.success())
}

fn open(url: &str, tls: &Tls) -> Result<Session, String> {
    let database = Database::new(&url.into(), tls, "home", "ada", "processor").unwrap();
    Session::open(&database, |_| ()).map_err(|err| match err {
        OpenError::Reach { source } => source.to_string(),
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_server_has_to_prove_the_name_by_which_it_was_called() {
    let Some(mut cluster) = Cluster::start(&["fsync=off"]) else {
        eprintln!("a_server_has_to_prove_the_name_by_which_it_was_called: skipped, no PostgreSQL");
        return;
    };
    if !certify(&cluster, "localhost") {
        eprintln!("a_server_has_to_prove_the_name_by_which_it_was_called: skipped, no openssl");
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    cluster.crash().unwrap();
    cluster.set(&["ssl=on", "listen_addresses=127.0.0.1", &format!("port={port}")]);
    cluster.up().unwrap();
    let ca = cluster.data().join("server.crt");
    let ours = Tls::VerifiedBy(ca.clone());
    let named =
        format!("host=localhost hostaddr=127.0.0.1 port={port} user=tinyclaw dbname=postgres");
    let session = open(&named, &ours).unwrap();
    let rows = session.call(
        tinyclaw_postgres::Kind::Plain,
        "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
        vec![],
    );
    assert!(rows.unwrap()[0].get::<_, bool>(0), "and what is said is secret");
    let other = named.replace("host=localhost", "host=db.example.com");
    let refused = open(&other, &ours).err().unwrap();
    assert!(refused.contains("check DATABASE_CA"), "{refused}");
    let refused = open(&named, &Tls::Verified).err().unwrap();
    assert!(refused.contains("check DATABASE_CA"), "no root of the web vouches for it: {refused}");
    let empty = Path::new("/dev/null").to_owned();
    let none = Database::new(&named.into(), &Tls::VerifiedBy(empty), "home", "ada", "processor");
    assert!(none.unwrap_err().to_string().ends_with("it holds no certificate"));
}
