//! Clients that ask and do not read. This test is alone in its process, so the process's memory is the server's.

use std::io::Write;
use std::net::TcpStream;

use crate::big;
use crate::running::Running;

/// Half of what the container has.
const PEAK_KIB_MAX: u64 = 128 << 10;
const DEAF: usize = 60;
/// Prompts as long as they get: 400 of them are 80 MB.
const PROMPTS: u64 = 400;
const PROMPT_BYTES: usize = 200 << 10;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn clients_that_do_not_read_cost_no_memory_and_nobody_waits_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let text = "a word and \\\"another\\\" ".repeat(PROMPT_BYTES / 22);
    for number in 0..PROMPTS {
        let line = format!(
            "{{\"timestamp\":{},\"key\":\"tg-{number}\",\"attempt\":1,\"threadId\":3,\"messageId\":\"m{number}\",\
             \"model\":\"sonnet\",\"systemPrompt\":\"be brief\",\"userMessage\":\"{text}\",\"promptLength\":{PROMPT_BYTES},\
             \"newSession\":false,\"historyInjected\":false,\"historyLines\":0,\"parts\":[]}}\n",
            1_700_000_000_000 + number
        );
        big::add_to(&logs.join("prompts.jsonl"), line.as_bytes());
    }
    let server = Running::start(dir.path()).indexed();
    let host = format!("127.0.0.1:{}", server.address.port());
    let mut deaf = Vec::new();
    for at in 0..DEAF {
        let mut connection = TcpStream::connect(server.address).unwrap();
        let path =
            ["/api/prompts/recent?n=1000", "/api/prompts/feed?last=1000", "/api/live"][at % 3];
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        // Pipelined, for more than one answer.
        connection.write_all(ask.repeat(if at % 3 == 0 { 20 } else { 1 }).as_bytes()).unwrap();
        deaf.push(connection);
    }
    // They have all been heard when the one after them is answered; small things go on at once.
    for _ in 0..20 {
        assert_eq!(server.get("/api/status").status, 200);
        assert_eq!(server.get("/api/prompts/lengths").status, 200);
    }
    // A large answer waits for its turn, or is told to come again.
    let status = server.get("/api/prompts/recent?n=1000").status;
    assert!(matches!(status, 200 | 503), "{status}");
    let peak = peak_kib();
    assert!(peak < PEAK_KIB_MAX, "{} MB at the peak", peak >> 10);
    drop(deaf);
    // What is being made for those that are gone ends first; until then one is told to come again, after a wait.
    let mut asked = std::iter::repeat_with(|| server.get("/api/prompts/recent?n=1000").status);
    assert_eq!(asked.by_ref().take(4).find(|it| *it != 503), Some(200));
}
