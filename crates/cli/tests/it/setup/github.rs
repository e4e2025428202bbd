//! `setup github`: the broker's own check over a small GitHub, and where the key goes.

use super::*;

/// A GitHub with one App, which believes every signature: the broker's own tests hold its signatures to account.
struct GitHub {
    url: String,
    installations: Arc<Mutex<Value>>,
}

impl GitHub {
    fn start(installations: Value) -> GitHub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let installations = Arc::new(Mutex::new(installations));
        let shared = installations.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
                let Some(Ok(first)) = lines.next() else { continue };
                let head = lines.map_while(Result::ok).take_while(|it| !it.is_empty());
                let head: Vec<String> = head.map(|it| it.to_lowercase()).collect();
                let is_signed = head.iter().any(|it| it.starts_with("authorization: bearer ey"));
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let (status, body) = match (path.split('?').next(), is_signed) {
                    (_, false) => {
                        (401, json!({"message": "A JSON web token could not be decoded"}))
                    }
                    (Some("/app"), _) => {
                        (200, json!({"id": 4711, "slug": "tinyclaw-test", "name": "TinyClaw test"}))
                    }
                    (Some("/app/installations"), _) => {
                        (200, shared.lock().expect("installations").clone())
                    }
                    _ => (404, json!({"message": "Not Found"})),
                };
                let body = body.to_string();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        GitHub { url, installations }
    }
}

fn installation(permissions: Value) -> Value {
    json!({
        "id": 12345, "account": {"login": "acme"}, "repository_selection": "selected", "suspended_at": null,
        "permissions": permissions,
    })
}

fn usual() -> Value {
    json!({"contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write"})
}

/// A key as GitHub hands it out: everybody may read it.
fn key(office: &Office) -> PathBuf {
    let path = office.place.path("home/downloaded.pem");
    let made = Command::new("openssl")
        .args(["genrsa", "-traditional", "-out"])
        .arg(&path)
        .arg("2048")
        .output()
        .expect("openssl is needed to make keys");
    assert!(made.status.success());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its mode");
    path
}

#[test]
fn github_is_what_the_broker_finds_and_the_key_goes_where_it_belongs() {
    let mut office = checkout("GITHUB_APP_ID=\n");
    let github = GitHub::start(json!([installation(usual())]));
    office.env.insert("GITHUB_API_URL".to_owned(), github.url.clone());
    let key = key(&office).display().to_string();
    let line = ["setup", "github", "--app-id", "4711", "--pem", &key];

    // Without a yes the key stays, and the command that moves it is said.
    let out = office.run(&line).ok();
    assert!(out.contains("was mode 0644 and is 0600"), "{out}");
    assert!(out.contains("acme, selected repositories: everything agents need"), "{out}");
    assert!(out.contains(&format!("→ mv {key}")), "{out}");
    // Bot and broker get a secret of their own, so that a thread has no other thread's repository.
    let env = read(&office, "home/.env");
    let secret = env.strip_prefix("GITHUB_APP_ID=4711\nBROKER_CAPABILITY_SECRET=").expect("both");
    assert_eq!(secret.trim_end().len(), 64, "{env}");
    assert!(!out.contains(secret.trim_end()), "{out}");

    let mut permissions = usual();
    permissions["administration"] = "write".into();
    permissions["pull_requests"] = "read".into();
    *github.installations.lock().expect("installations") =
        json!([installation(usual()), installation(permissions)]);
    let done = office.run(&[&line[..], &["--yes", "--json"]].concat()).json();
    assert_eq!(read(&office, "home/.env"), env, "it stays the same");
    let warnings = done["warnings"].to_string();
    assert!(
        warnings.contains("the App may administer 1 of 2 installations; TinyClaw never needs that"),
        "{warnings}"
    );
    assert!(warnings.contains("pull_requests:write is missing"), "{warnings}");
    let home = office.place.path("home/secrets/github-app.pem");
    assert!(!Path::new(&key).exists() && mode(&home) == 0o600);
    assert_eq!(mode(&office.place.path("home/secrets")), 0o711);
    use std::os::unix::fs::MetadataExt as _;
    let is_brokers = fs::metadata(&home).expect("the key").uid() == 10_002;
    assert!(is_brokers || warnings.contains("sudo chown 10002"), "{warnings}");
}

#[test]
fn without_a_broker_beside_it_the_one_in_the_container_is_asked() {
    let mut office = checkout("");
    // Alone, as somebody might install it.
    let alone = office.place.path("home/alone/bin");
    fs::create_dir_all(&alone).expect("a folder");
    fs::copy(env!("CARGO_BIN_EXE_tinyclaw"), alone.join("tinyclaw")).expect("the program");
    let report = json!({
        "ok": true, "app_id": "4711", "app": "tinyclaw-test", "errors": [], "warnings": [],
        "key": {"path": "/secrets/github-app.pem", "ok": true, "bits": 2048},
        "installations": [{
            "id": 1, "account": "acme", "repositories": "all", "suspended": false, "permissions": {},
            "missing": [], "dangerous": ["administration"],
        }],
    });
    fs::write(office.place.path("home/report.json"), report.to_string()).expect("a report");
    // In place of Docker, which tests cannot have: it says what it was asked, and answers as compose does, with
    // lines of its own before the program's.
    let docker = "#!/bin/sh\necho \"$* in $(pwd) with $GITHUB_APP_ID\" >>\"$HOME/asked\"\n\
        [ \"$2\" = version ] || { echo 'Network created'; cat \"$HOME/report.json\"; }\n";
    let program = alone.join("docker");
    fs::write(&program, docker).expect("a docker");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    let path = format!("{}:{}", alone.display(), office.env["PATH"]);
    office.env.insert("PATH".to_owned(), path);
    let secrets = office.place.path("home/secrets");
    fs::create_dir(&secrets).expect("secrets");
    fs::rename(key(&office), secrets.join("github-app.pem")).expect("the key");

    let mut command = Command::new(alone.join("tinyclaw"));
    command.env_clear().envs(&office.env).current_dir(office.place.home());
    command.args(["setup", "github", "--app-id", "4711", "--json"]);
    let done = Said::of(command.output().expect("it runs")).json();
    assert_eq!(done["found"]["app"], "tinyclaw-test");
    assert!(done["warnings"].to_string().contains("may administer 1 of 1 installations"));
    let home = office.place.home();
    let expected = format!(
        "compose run --rm --no-deps -T -e GITHUB_APP_ID broker /tinyclaw-broker check --json in {} with 4711",
        home.display()
    );
    assert!(
        read(&office, "home/asked").lines().any(|it| it == expected),
        "{}",
        read(&office, "home/asked")
    );
}

#[test]
fn a_github_that_does_not_work_changes_nothing() {
    let mut office = newcomer();
    let github = GitHub::start(json!([]));
    office.env.insert("GITHUB_API_URL".to_owned(), github.url.clone());
    let key = key(&office).display().to_string();
    let run = |id: &str, key: &str| office.run(&["setup", "github", "--app-id", id, "--pem", key]);
    run("4711", &key).wrong("the App is installed nowhere");
    run("my app", &key).wrong("is no App id");
    run("4711", "/nowhere.pem").wrong("/nowhere.pem is not there");
    let empty = office.place.path("home/empty.pem");
    fs::write(&empty, "").expect("a file");
    run("4711", &empty.display().to_string()).wrong("is empty");
    assert!(!office.place.path("home/.tinyclaw").exists());
    *github.installations.lock().expect("installations") = json!([installation(usual())]);
    let out = run("4711", &key).ok();
    assert!(out.contains(&format!("GITHUB_APP_PEM={key}")), "{out}");
    let settings: Value =
        serde_json::from_str(&read(&office, "home/.tinyclaw/settings.json")).expect("JSON");
    assert_eq!(settings["github"], json!({"appId": "4711", "brokerUrl": "http://127.0.0.1:3000"}));
}
