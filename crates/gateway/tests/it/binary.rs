//! The real program: started, killed while it writes, started again.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tinyclaw_domain::{Scope, StateDir};

use crate::program::{self, save};
use crate::rig::{entry, token};

/// A gateway of its own process, and where it is.
struct Program {
    running: program::Program,
    url: String,
}

impl Program {
    fn start(dir: &std::path::Path) -> Program {
        let program = env!("CARGO_BIN_EXE_tinyclaw-gateway").as_ref();
        let more = [("TINYCLAW_GATEWAY_INGEST_PER_SECOND", "1000000")];
        let running = program::Program::start(program, dir, &more);
        let url = format!("http://{}", running.address);
        Program { running, url }
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_once_and_the_numbers_have_no_holes() {
    let dir = tempfile::tempdir().unwrap();
    save(&StateDir::new(dir.path()), vec![entry(1, "ada", &Scope::ALL)]);
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..8u64 {
        let program = Program::start(dir.path());
        let senders: Vec<_> = (0..8u64)
            .map(|sender| {
                let (client, url) = (client.clone(), format!("{}/events", program.url));
                tokio::spawn(async move {
                    let mut acknowledged = Vec::new();
                    for n in 0.. {
                        let id = format!("{round}-{sender}-{n}");
                        let event = json!({ "type": "a.b", "source": "test", "id": id });
                        let sent =
                            client.post(&url).bearer_auth(token(1)).json(&event).send().await;
                        match sent {
                            Ok(it) if it.status() == 200 => acknowledged.push(id),
                            _ => break,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        // Killed while they send: as soon as some hundred more are there.
        let target = acknowledged.len() as u64 + 40 + round * 13;
        loop {
            let stats =
                client.get(format!("{}/stats", program.url)).bearer_auth(token(1)).send().await;
            let stats: Value = stats.unwrap().json().await.unwrap();
            if stats["events"].as_u64().unwrap_or(0) >= target {
                break;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        drop(program);
        for it in senders {
            acknowledged.extend(it.await.unwrap());
        }
    }
    let program = Program::start(dir.path());
    let mut found = Vec::new();
    let mut after = None::<String>;
    loop {
        let begin =
            after.as_ref().map_or_else(|| "since=earliest".to_owned(), |it| format!("after={it}"));
        let url = format!("{}/events?limit=1000&{begin}", program.url);
        let page: Value =
            client.get(url).bearer_auth(token(1)).send().await.unwrap().json().await.unwrap();
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        found.extend(events.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        after = Some(page["next"].as_str().unwrap().to_owned());
    }
    let seqs: Vec<u64> =
        found.iter().map(|it| it.rsplit('-').next().unwrap().parse().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no holes");
    assert!(acknowledged.len() >= 8 * 40, "{}", acknowledged.len());
    // Told again, each is the one that is there.
    for it in acknowledged.chunks(1000) {
        let again: Vec<Value> =
            it.iter().map(|id| json!({ "type": "a.b", "source": "test", "id": id })).collect();
        let url = format!("{}/events", program.url);
        let told: Value = client
            .post(url)
            .bearer_auth(token(1))
            .json(&again)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let missing =
            told["events"].as_array().unwrap().iter().filter(|it| it["duplicate"] != true).count();
        assert_eq!(missing, 0);
    }
}

#[test]
fn a_second_gateway_on_the_same_folder_waits_and_leaves_the_firsts_health_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Program::start(dir.path());
    let health = dir.path().join("health/gateway.json");
    let pid = || -> Option<u64> {
        let text = std::fs::read_to_string(&health).ok()?;
        serde_json::from_str::<Value>(&text).ok()?["pid"].as_u64()
    };
    while pid() != Some(first.running.child.id().into()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut second = Command::new(env!("CARGO_BIN_EXE_tinyclaw-gateway"))
        .env_clear()
        .env("TINYCLAW_DIR", dir.path())
        .env("GATEWAY_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(second.stdout.take().unwrap()).lines();
    assert!(lines.any(|it| it.unwrap().contains("another gateway serves")));
    assert_eq!(pid(), Some(first.running.child.id().into()));
    drop(first);
    assert!(lines.any(|it| it.unwrap().contains("gateway is up")));
    while pid() != Some(second.id().into()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    second.kill().unwrap();
    second.wait().unwrap();
}

#[tokio::test]
async fn a_backup_of_a_running_gateway_is_whole_and_can_be_put_back() {
    let dir = tempfile::tempdir().unwrap();
    save(&StateDir::new(dir.path()), vec![entry(1, "ada", &Scope::ALL)]);
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    let program = Program::start(dir.path());
    let tell = async |program: &Program, n: u64| -> Value {
        let event = json!({ "type": "a.b", "metadata": { "n": n } });
        let url = format!("{}/events", program.url);
        let sent = client.post(url).bearer_auth(token(1)).json(&event).send().await.unwrap();
        sent.json().await.unwrap()
    };
    for n in 0..20 {
        tell(&program, n).await;
    }
    let copy = dir.path().join("copy.db");
    let back_up = || {
        Command::new(env!("CARGO_BIN_EXE_tinyclaw-gateway"))
            .args(["backup".as_ref(), copy.as_os_str()])
            .env_clear()
            .env("TINYCLAW_DIR", dir.path())
            .output()
            .unwrap()
    };
    let made = back_up();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let last = tell(&program, 20).await;
    let again = back_up();
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");
    drop(program);
    for it in ["events.db-wal", "events.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(it));
    }
    std::fs::rename(&copy, dir.path().join("events.db")).unwrap();
    let program = Program::start(dir.path());
    let url = format!(
        "{}/events?limit=1000&after={}",
        program.url,
        last["eventId"].as_str().unwrap().strip_prefix("evt_").unwrap()
    );
    let page: Value =
        client.get(url).bearer_auth(token(1)).send().await.unwrap().json().await.unwrap();
    // Whoever was told what the copy lacks hears of it.
    assert_eq!(page["gap"]["reason"], "epoch", "{page}");
    assert_eq!(page["events"].as_array().unwrap().len(), 20, "{page}");
}

/// gateway kill -9 while jobs come in. The whole of it is 1,000 jobs and 20 kills; this is a part.
#[tokio::test]
async fn no_job_is_lost_or_run_twice_when_the_gateway_is_killed() {
    const JOBS: usize = 120;
    const KILLS: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    save(&StateDir::new(dir.path()), vec![entry(1, "ada", &Scope::ALL)]);
    let envs = json!({ "dev": { "isolation": "none" } });
    std::fs::write(dir.path().join("envs.json"), envs.to_string()).unwrap();
    let settings = json!({ "gateway": { "executePerSecond": 10_000, "readPerSecond": 10_000 } });
    std::fs::write(dir.path().join("settings.json"), settings.to_string()).unwrap();
    tinyclaw_ledger::create_folders(&StateDir::new(dir.path())).unwrap();
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
    let desk = crate::desk::Desk::on(dir.path());
    let serving = desk.serve();
    let first = Program::start(dir.path());
    let (address, addresses) = tokio::sync::watch::channel(first.url.clone());
    let senders: Vec<_> = (0..6)
        .map(|sender| {
            let (client, mut addresses) = (client.clone(), addresses.clone());
            tokio::spawn(async move {
                let mut ids = Vec::new();
                for n in (sender..JOBS).step_by(6) {
                    // Until it is accepted, whoever answers by then.
                    loop {
                        let url = format!("{}/api/execute", *addresses.borrow_and_update());
                        let asked = client
                            .post(url)
                            .bearer_auth(token(1))
                            .header("prefer", "respond-async");
                        let asked = asked.header("idempotency-key", format!("job-{n}"));
                        let body = json!({ "env": "dev", "prompt": format!("job {n}") });
                        match asked.json(&body).send().await {
                            Ok(it) if it.status() == 202 => {
                                // What it said may be cut off: then it is asked again.
                                let Ok(told) = it.json::<Value>().await else { continue };
                                ids.push(told["jobId"].as_str().unwrap().to_owned());
                                break;
                            }
                            Ok(it) => panic!("{}", it.status()),
                            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                    }
                }
                ids
            })
        })
        .collect();
    let mut program = first;
    for kill in 1..=KILLS {
        // Killed while they come: when so many have run.
        crate::desk::until("more jobs", async || desk.done() >= kill * JOBS / (KILLS + 2)).await;
        drop(program);
        program = Program::start(dir.path());
        address.send_replace(program.url.clone());
    }
    let mut ids = std::collections::BTreeSet::new();
    for it in senders {
        ids.extend(it.await.unwrap());
    }
    assert_eq!(ids.len(), JOBS, "each is a job of its own");
    crate::desk::until("the last jobs", async || desk.done() >= JOBS).await;
    let done = desk.queue.view().read_all(tinyclaw_queue::Place::Done, None, usize::MAX).unwrap();
    let mut prompts: Vec<String> = done.into_iter().map(|it| it.1.message).collect();
    prompts.sort();
    let mut expected: Vec<String> = (0..JOBS).map(|it| format!("job {it}")).collect();
    expected.sort();
    assert_eq!(prompts, expected, "none lost, none twice");
    for id in &ids {
        let job = client.get(format!("{}/api/jobs/{id}", program.url)).bearer_auth(token(1));
        let job: Value = job.send().await.unwrap().json().await.unwrap();
        assert_eq!(job["state"], "done", "{job}");
    }
    serving.abort();
}
