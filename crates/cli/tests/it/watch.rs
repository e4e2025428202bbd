//! What one looks at: threads, logs, health.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use crate::Office;

#[test]
fn threads_are_listed_with_what_they_did() {
    let office = Office::open();
    office.run(&["send", "--wait", "--thread", "7", "/haiku hello"]).ok();
    let table = office.run(&["threads"]).ok();
    let row = table.lines().nth(1).expect("a row");
    assert!(row.starts_with("7       Thread 7  haiku"), "{table}");
    let all = office.run(&["threads", "--json"]).json();
    assert_eq!((&all[0]["threadId"], &all[0]["name"]), (&7.into(), &"Thread 7".into()));
}

#[test]
fn logs_show_the_last_lines_and_go_on() {
    let office = Office::open();
    office.run(&["send", "--wait", "--thread", "7", "hello"]).ok();
    let log = office.run(&["logs", "queue", "-n", "2"]).ok();
    assert_eq!(log.lines().count(), 2, "{log}");
    let mut following = office.command(&["logs", "-f", "-n", "0"]).spawn().expect("tinyclaw runs");
    let mut lines = BufReader::new(following.stdout.take().expect("stdout")).lines();
    office.run(&["send", "--wait", "--thread", "8", "hello"]).ok();
    let found = lines.by_ref().map_while(Result::ok).find(|it| it.contains("thread 8 is answered"));
    assert!(found.expect("the line").starts_with("queue    20"));
    following.kill().expect("kill");
    following.wait().expect("wait");
}

#[test]
fn a_service_is_asked_how_it_is() {
    let office = Office::closed();
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let address = listener.local_addr().expect("address").to_string();
    let server = thread::spawn(move || {
        for answer in ["200 OK", "503 Service Unavailable"] {
            let (mut stream, _) = listener.accept().expect("a caller");
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked: Vec<String> = lines.take_while(|it| !it.is_empty()).collect();
            assert_eq!(asked[0], "GET /health HTTP/1.1");
            write!(stream, "HTTP/1.1 {answer}\r\nConnection: close\r\n\r\nno disk")
                .expect("answer");
        }
    });
    office.run(&["healthcheck", &address]).ok();
    let said = office.run(&["healthcheck", &address]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("503: no disk"), "{}", said.err);
    server.join().expect("the server");
    assert_eq!(office.run(&["healthcheck", &address]).code, Some(1), "nobody is there any more");
    assert_eq!(office.run(&["healthcheck", "telegram"]).code, Some(1));
}
