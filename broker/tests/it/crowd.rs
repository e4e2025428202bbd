//! More connections than there is room for: whoever asks something is answered all the same.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::github::Fault;
use crate::support::process::Office;
use crate::{BROKER, start};

const SITE: &str = "installation_id=12345&repositories=site&permissions=contents:read";
/// Of the broker's open files, where they are few.
const FEW_FILES: &str = "ulimit -n 160; exec \"$SHELL_BROKER\" serve";

#[test]
fn half_requests_do_not_keep_others_out() {
    let mut office = Office::new();
    office.set("SHELL_BROKER", BROKER);
    let broker = office.start("/bin/bash", &["-c", FEW_FILES]);
    broker.token(SITE);
    let mut half = Vec::new();
    for round in 0..400 {
        let mut stream = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
        // Some say nothing, some break off in their head, some in their body.
        let begun = [
            "",
            "GET /token?",
            "DELETE /token HTTP/1.1\r\nHost: broker\r\nContent-Length: 9\r\n\r\n{",
        ];
        let _ = stream.write_all(begun[round % 3].as_bytes());
        half.push(stream);
    }
    assert_eq!(broker.get("/health").0, 200);
    assert_eq!(broker.ask("POST", "/freeze", None, None).0, 200);
    assert!(office.github.world().tokens.values().all(|it| it.revoked));
}

#[test]
fn who_says_nothing_is_hung_up_on() {
    let office = Office::new();
    let broker = start(&office);
    let mut silent = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    let mut slow = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    let head = "DELETE /token HTTP/1.1\r\nHost: broker\r\nContent-Length: 90\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    for stream in [&mut silent, &mut slow] {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    let mut answer = String::new();
    assert_eq!(silent.read_to_string(&mut answer).unwrap(), 0, "{answer}");
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("bad_body"), "{answer}");
}

#[test]
fn a_kept_connection_is_asked_over_again() {
    let office = Office::new();
    let broker = start(&office);
    let mut stream = TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut buffer = [0; 4096];
    for _ in 0..3 {
        write!(stream, "GET /health HTTP/1.1\r\nHost: broker\r\n\r\n").unwrap();
        let read = stream.read(&mut buffer).unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
fn what_a_freeze_could_not_revoke_is_tried_again() {
    let office = Office::new();
    let broker = start(&office);
    let token = broker.token(SITE);
    for _ in 0..3 {
        office.github.fail(Fault::Status(500, ""));
    }
    let (status, body) = broker.ask("POST", "/freeze", None, None);
    assert_eq!((status, &body["failed"]), (207, &json!(1)), "{body}");
    assert!(!office.github.scope(&token).unwrap().revoked);
    broker.until("another try", |_| office.github.scope(&token).unwrap().revoked);
}
