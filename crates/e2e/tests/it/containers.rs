//! Environments that are containers, with everything real but the model and Docker, of which there is a faithful one: the gateway,
//! the processor, the porter and its helper. What runs "in" a container is a process of this machine.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tinyclaw_domain::Key;
use tinyclaw_e2e::{Office, program};
use tinyclaw_testkit::docker::FakeDocker;
use tokio::runtime::Runtime;

use crate::gateway::Service;

const CONTAINER: &str = "claude-agent-dev";

/// An office whose environment `dev` is a container.
struct House {
    // In this order they go.
    gateway: Service,
    porter: Option<Child>,
    docker: FakeDocker,
    office: Office,
    runtime: Runtime,
}

impl House {
    /// With this said of the environment besides, and these variables of the processor's.
    fn open(more: &Value, env: &[(&str, &str)]) -> House {
        let runtime = Runtime::new().unwrap();
        let mut office = Office::closed();
        let docker = {
            let _in = runtime.enter();
            FakeDocker::start(&office.path("")).unwrap()
        };
        docker.tag("claude-agent", "sha256:1");
        // A directory of a container is, for this Docker, one of the machine.
        let cwd = office.path("inside");
        let mut dev = json!({ "isolation": "container", "image": "claude-agent", "cwd": cwd, "permission": "ask" });
        dev.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let envs = json!({ "dev": dev, "here": { "isolation": "none" } });
        std::fs::create_dir(&cwd).unwrap();
        std::fs::write(office.path("state/envs.json"), envs.to_string()).unwrap();
        // The image's claude, which is the demo engine; before any that this machine may have.
        let home = docker.volume("tinyclaw-dev-home").join("agent");
        std::fs::create_dir_all(home.join(".local/bin")).unwrap();
        std::os::unix::fs::symlink(program("tinyclaw-demo-engine"), home.join(".local/bin/claude"))
            .unwrap();
        std::fs::write(home.join(".profile"), "PATH=\"$HOME/.local/bin:$PATH\"\n").unwrap();
        // A helper that needs nothing of the image, as the one that scripts/helper.sh builds.
        let leash = program("tinyclaw-leash").display().to_string();
        std::fs::write(office.path("helper"), format!("#!/bin/sh\nexec {leash} \"$@\"\n")).unwrap();
        let socket = office.path("porter/porter.sock");
        office.set_variable("TINYCLAW_PORTER_SOCKET", &socket.display().to_string());
        for (name, value) in env {
            office.set_variable(name, value);
        }
        office.start();
        let socket = socket.display().to_string();
        let gateway =
            Service::start(&office, "tinyclaw-gateway", &[("TINYCLAW_PORTER_SOCKET", &socket)]);
        House { gateway, office, porter: None, docker, runtime }
    }

    fn start_porter(&mut self) {
        let path = |below: &str| self.office.path(below);
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path("state")).unwrap());
        let log = std::fs::File::create(path("porter.out")).unwrap();
        let porter = Command::new(program("tinyclaw-porter"))
            .env_clear()
            .env("TINYCLAW_PORTER_SOCKET", path("porter/porter.sock"))
            .env("TINYCLAW_PORTER_EXEC_UIDS", uid.to_string())
            .env("TINYCLAW_PORTER_ENVS", path("state/envs.json"))
            .env("TINYCLAW_PORTER_DOCKER", self.docker.socket())
            .env("TINYCLAW_PORTER_HELPER", path("helper"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.porter = Some(porter);
        self.office.wait_for("the porter", || {
            let told = self.gateway.json("/api/containers/dev", &[]);
            (told["isolation"] == "container").then_some(())
        });
    }

    fn kill_porter(&mut self) {
        if let Some(mut porter) = self.porter.take() {
            porter.kill().unwrap();
            porter.wait().unwrap();
        }
    }

    fn ask(&self, prompt: &str, session: Option<&str>) -> Value {
        let mut body = json!({ "env": "dev", "prompt": prompt });
        if let Some(session) = session {
            body["sessionId"] = session.into();
        }
        self.gateway.post("/api/execute", &body)
    }

    /// Begins a turn, and waits until Claude works on it.
    fn begin(&self, prompt: &str) -> String {
        let body = json!({ "env": "dev", "prompt": prompt }).to_string();
        let prefer = ["--header", "Prefer: respond-async", "--data", &body];
        let told = self.gateway.json("/api/execute", &prefer);
        let id = told["jobId"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
        let key: Key = id.parse().unwrap();
        self.office.wait_for("the turn", || {
            let progress = self.office.progress(&key)?;
            (!progress.tools.is_empty() || progress.asks.is_some()).then_some(())
        });
        id
    }

    fn job(&self, id: &str, query: &str) -> Value {
        self.gateway.json(&format!("/api/jobs/{id}{query}"), &[])
    }

    fn container(&self) -> Value {
        self.gateway.json("/api/containers/dev", &[])
    }

    fn order(&self, word: &str) -> Value {
        self.gateway.json(&format!("/api/containers/dev/{word}"), &["--request", "POST"])
    }

    /// What the porter said.
    fn said(&self) -> String {
        std::fs::read_to_string(self.office.path("porter.out")).unwrap()
    }

    fn state(&self) -> Option<&'static str> {
        self.docker.containers().into_iter().find(|it| it.name == CONTAINER).map(|it| it.state)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _in = self.runtime.enter();
        self.kill_porter();
    }
}

#[test]
fn a_prompt_works_in_a_container_that_is_made_for_it_and_what_is_stopped_leaves_nothing() {
    let mut house = House::open(&json!({}), &[]);
    // Without a porter that is said, with the way out, and nothing is taken in that nobody could do.
    let told = house.ask("[demo: say Nobody hears this.]", None);
    assert_eq!(
        (&told["status"], &told["code"]),
        (&json!(503), &json!("env_unavailable")),
        "{told}"
    );
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains("tinyclaw-porter") && detail.contains("porter.socket"), "{detail}");
    let envs = house.gateway.json("/api/envs", &[]);
    let available: Vec<&Value> =
        envs["envs"].as_array().unwrap().iter().map(|it| &it["available"]).collect();
    assert_eq!(available, [false, true], "{envs}");
    house.start_porter();
    let none = json!({ "exists": false, "running": false, "name": CONTAINER, "paused": false,
        "isolation": "container", "turns": 0 });
    assert_eq!(house.container(), none);

    // The first prompt has it made.
    let told = house.ask("[demo: write made.txt in a container] [demo: say It is green.]", None);
    assert!(told["output"].as_str().is_some_and(|it| it.ends_with("It is green.")), "{told}");
    assert_eq!(told["isolation"], "container");
    let session = told["sessionId"].as_str().unwrap().to_owned();
    let thread = &house.office.threads()[&format!("api.dev.{session}").parse().unwrap()];
    assert_eq!(thread.env.as_ref().map(|it| it.as_str()), Some("dev"));
    assert!(house.office.path("inside/made.txt").is_file());
    assert_eq!(house.state(), Some("running"));
    // The second one knows the first, and is streamed.
    let more =
        json!({ "env": "dev", "prompt": "[demo: say And it stays so.]", "sessionId": session });
    let accept = ["--header", "Accept: application/x-ndjson", "--data", &more.to_string()];
    let stream = house.gateway.curl("/api/execute", &accept);
    let lines: Vec<Value> = stream.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert!(lines.iter().any(|it| it["type"] == "text.done"), "{stream}");
    let result = &lines.last().unwrap()["result"];
    assert_eq!(result["output"], "And it stays so.", "{stream}");

    // While a turn runs only who says so stops it, and then nothing is left; whoever is warm there does not have it run again.
    let id = house.begin("[demo: spawn 600s] [demo: hang]");
    assert_eq!(house.container()["turns"], 1);
    let busy = house.order("stop");
    assert_eq!((&busy["status"], &busy["code"]), (&json!(409), &json!("env_busy")), "{busy}");
    let told = house.order("stop?force=1");
    assert_eq!((&told["exists"], &told["running"]), (&json!(true), &json!(false)), "{told}");
    assert_eq!(house.docker.running(CONTAINER), 0);
    assert_eq!(house.job(&id, "")["state"], "stopped");
    let was_told = || house.said().contains("dev was stopped, and all that ran in it with it");
    house.office.wait_for("the processor to ask for it", || was_told().then_some(()));
    assert_eq!(house.state(), Some("exited"));
    let told = house.ask("[demo: say Here I am again.]", Some(&session));
    assert_eq!(told["output"], "Here I am again.", "{told}");
    assert_eq!(house.order("start")["running"], true);
}

#[test]
fn a_porter_that_is_killed_ends_no_turn_and_one_that_is_away_is_told() {
    let mut house = House::open(&json!({}), &[]);
    house.start_porter();
    let id = house.begin("[demo: ask Bash {\"command\":\"make\"}] [demo: say And last.]");
    let asks = || Some(house.job(&id, "")).filter(|it| it["state"] == "asking");
    let asks = house.office.wait_for("the question", asks);
    house.kill_porter();
    let told = house.ask("[demo: say Nobody hears this.]", None);
    assert_eq!(told["code"], "env_unavailable", "{told}");
    assert_eq!(house.gateway.json("/api/containers/dev", &[])["code"], "env_unavailable");
    house.start_porter();
    let request = asks["ask"]["requestId"].as_str().unwrap();
    let path = format!("/api/jobs/{id}/permissions/{request}");
    let taken = house.gateway.post(&path, &json!({ "answer": "allow" }));
    assert_eq!(taken, json!({ "success": true }));
    let told = house.job(&id, "?wait=60");
    assert_eq!((&told["state"], &told["attempt"]), (&json!("done"), &json!(1)), "{told}");
    let output = told["result"]["output"].as_str().unwrap();
    assert!(output.contains("And last."), "{told}");
}

#[test]
fn a_container_that_nobody_uses_is_paused_and_wakes_for_the_next_prompt() {
    // Nobody stays warm in it: that would be a use of it.
    let spawn = [("TINYCLAW_ENGINE_MODE", "spawn")];
    let mut house = House::open(&json!({ "pauseAfter": "1s" }), &spawn);
    house.start_porter();
    let told = house.ask("[demo: say One.]", None);
    assert_eq!(told["output"], "One.", "{told}");
    house.office.wait_for("its rest", || (house.container()["paused"] == true).then_some(()));
    assert_eq!(house.state(), Some("paused"));
    let session = told["sessionId"].as_str().unwrap();
    let told = house.ask("[demo: say Two.]", Some(session));
    assert_eq!(told["output"], "Two.", "{told}");
    assert_eq!(house.docker.containers().len(), 1);
    // A turn that is stopped leaves nothing running there, nor what it started in a session of its own.
    let id = house.begin("[demo: spawn 600s] [demo: hang]");
    assert!(house.docker.running(CONTAINER) > 0);
    let path = format!("/api/jobs/{id}/cancel?wait=60");
    let stopped = house.gateway.json(&path, &["--request", "POST"]);
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    house.office.wait_for("their end", || (house.docker.running(CONTAINER) == 0).then_some(()));
}
