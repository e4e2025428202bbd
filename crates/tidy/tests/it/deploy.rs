//! Every way to deploy an office says the same: units, package, manifests, compose file and images are held against
//! `deploy/facts.toml` and the settings. What differs is told with its file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tinyclaw_service::settings::{Row, rows};
use tinyclaw_tidy::{files, read, root};

#[derive(Deserialize)]
struct Facts {
    release: String,
    grace: Grace,
    users: BTreeMap<String, u32>,
    services: BTreeMap<String, Service>,
    desks: DeskUsers,
    backup: Backup,
}

/// Where every desk is a user of its own.
#[derive(Deserialize)]
struct DeskUsers {
    first: u32,
    last: u32,
    capabilities: Vec<String>,
    package: String,
    images: String,
}

/// What runs now and then.
#[derive(Deserialize)]
struct Backup {
    secrets: Vec<String>,
}

#[derive(Deserialize)]
struct Grace {
    code: u32,
    compose: u32,
    elsewhere: u32,
}

#[derive(Deserialize)]
struct Service {
    program: String,
    /// What the unit starts, where that is another program, which begins as root.
    start: Option<String>,
    user: String,
    memory: String,
    tasks: u32,
    secrets: Vec<String>,
}

/// Variables that are no settings: the system's, Claude's, the broker's.
const OTHERS: [&str; 12] = [
    "HOME",
    "TINYCLAW_DESKS",
    "PATH",
    "DISABLE_AUTOUPDATER",
    "MALLOC_TRIM_THRESHOLD_",
    "TINYCLAW_DIR",
    "BROKER_LISTEN",
    "BROKER_AUDIT",
    "BROKER_FREEZE_FILE",
    "GITHUB_API_URL",
    "GITHUB_API_INSECURE",
    "CREDENTIALS_DIRECTORY",
];
/// The broker's, which no setting names.
const BROKERS: [&str; 2] = ["github-app.pem", "broker-capability-secret"];

fn facts() -> Facts {
    toml::from_str(&read("deploy/facts.toml".as_ref())).expect("deploy/facts.toml is whole")
}

/// The files below a folder, as paths from the top, with an ending.
fn below(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(it) = folders.pop() {
        for entry in fs::read_dir(&it).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                let path = path.strip_prefix(root()).expect("it is below the top");
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// The lines of a file, with their place.
fn lines(path: &str) -> Vec<(String, String)> {
    let text = read(Path::new(path));
    let place = |at: usize| format!("{path}:{}", at + 1);
    text.lines().enumerate().map(|(at, it)| (place(at), it.trim().to_owned())).collect()
}

/// The values of `name=` in a unit, with their places.
fn values(unit: &str, name: &str) -> Vec<(String, String)> {
    let value = |(place, line): (String, String)| {
        Some((place, line.strip_prefix(&format!("{name}="))?.to_owned()))
    };
    lines(unit).into_iter().filter_map(value).collect()
}

/// That a unit says `wanted` for `name`, once.
fn unit_says(wrong: &mut Vec<String>, unit: &str, name: &str, wanted: &str) {
    match &values(unit, name)[..] {
        [(_, it)] if it == wanted => {}
        [(place, it)] => {
            wrong.push(format!("{place}: {name}={it}, and deploy/facts.toml has {wanted}"))
        }
        all => wrong
            .push(format!("{unit}: {name} stands there {} times, wanted is {wanted}", all.len())),
    }
}

fn is_known(variable: &str) -> bool {
    let setting = rows().iter().any(|it| it.variables().iter().any(|it| it == variable));
    setting || OTHERS.contains(&variable)
}

#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_unit_is_as_the_facts_say() {
    let facts = facts();
    let mut wrong = Vec::new();
    for (name, service) in &facts.services {
        let unit = format!("deploy/systemd/tinyclaw-{name}.service");
        let program = match &service.start {
            Some(start) => format!("!/usr/lib/tinyclaw/{start}"),
            None => format!("/usr/lib/tinyclaw/{}", service.program),
        };
        let mut says = |name: &str, wanted: &str| unit_says(&mut wrong, &unit, name, wanted);
        says("ExecStart", &program);
        says("User", &service.user);
        says("Group", &service.user);
        says("MemoryMax", &service.memory);
        says("TasksMax", &service.tasks.to_string());
        says("TimeoutStopSec", &facts.grace.elsewhere.to_string());
        says("PartOf", "tinyclaw.target");
        // Without a path: one that is missing is not set. Plain ones beside them would be taken for encrypted ones.
        let given: Vec<String> =
            values(&unit, "LoadCredentialEncrypted").into_iter().map(|it| it.1).collect();
        if given != service.secrets {
            wrong.push(format!(
                "{unit}: is given {given:?}, and deploy/facts.toml has {:?}",
                service.secrets
            ));
        }
        for (place, _) in values(&unit, "LoadCredential") {
            wrong.push(format!("{place}: credentials are encrypted here"));
        }
    }
    for unit in below("deploy/systemd", ".service") {
        for (place, value) in values(&unit, "Environment") {
            let variable = value.split('=').next().unwrap_or_default();
            if !is_known(variable) {
                wrong.push(format!("{place}: {variable} is no variable of ours"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn whoever_starts_the_warden_has_its_four_rights_and_nobody_else_has_any() {
    let facts = facts();
    let desks = &facts.desks;
    let mut wrong = Vec::new();
    for (name, service) in &facts.services {
        let unit = format!("deploy/systemd/tinyclaw-{name}.service");
        let rights: Vec<String> = match service.start {
            Some(_) => desks.capabilities.iter().map(|it| format!("CAP_{it}")).collect(),
            None => Vec::new(),
        };
        unit_says(&mut wrong, &unit, "CapabilityBoundingSet", &rights.join(" "));
        let folder = format!("TINYCLAW_DESKS={}", desks.package);
        let is_told = values(&unit, "Environment").iter().any(|it| it.1 == folder);
        let may_write = values(&unit, "ReadWritePaths")
            .iter()
            .any(|it| it.1.split(' ').any(|it| it == desks.package));
        if (is_told, may_write) != (service.start.is_some(), service.start.is_some()) {
            wrong.push(format!("{unit}: {} is for whoever starts the warden", desks.package));
        }
        if service.start.is_some() {
            // Users of desks would be nobody, an agent could speak for the processor, and its turn would end with it.
            for (name, wanted) in [("NotifyAccess", "main"), ("KillMode", "process")] {
                unit_says(&mut wrong, &unit, name, wanted);
            }
            wrong.extend(
                values(&unit, "PrivateUsers")
                    .into_iter()
                    .map(|(place, _)| format!("{place}: has no users of desks")),
            );
        }
    }
    let mut finds = |path: &str, wanted: &str| {
        if !lines(path).iter().any(|it| it.1.contains(wanted)) {
            wrong.push(format!("{path}: lacks {wanted:?}, which deploy/facts.toml asks for"));
        }
    };
    finds("deploy/deb/tmpfiles.conf", &format!("d {} 0711 root root -", desks.package));
    finds("deploy/deb/admin", &format!("desks={}", desks.package));
    finds("deploy/deb/prerm", &format!("{}/[1-9]*", desks.package));
    finds("deploy/deb/postrm", &desks.package);
    let range = format!("$3 >= {} && $3 <= {}", desks.first, desks.last);
    finds("deploy/deb/admin", &range);
    finds("Dockerfile", &format!("install --directory --mode 0711 {}", desks.images));
    for compose in ["docker-compose.yml", "deploy/dokploy/docker-compose.yml"] {
        finds(compose, &format!("cap_add: [{}]", desks.capabilities.join(", ")));
        finds(compose, "user: \"0:0\"");
        finds(compose, &format!("TINYCLAW_DESKS: {}", desks.images));
        finds(compose, &format!("desks:{}", desks.images));
    }
    none(&wrong);
}

#[test]
fn a_secret_is_a_setting_and_reaches_who_reads_it() {
    let facts = facts();
    let known: BTreeSet<String> =
        rows().iter().filter_map(Row::credential).chain(BROKERS.map(str::to_owned)).collect();
    let mut wrong = Vec::new();
    for (name, service) in &facts.services {
        for secret in service.secrets.iter().filter(|it| !known.contains(*it)) {
            wrong.push(format!(
                "deploy/facts.toml: {name} is given {secret}, which no setting reads"
            ));
        }
    }
    // What `tinyclaw secrets` takes is what somebody is given.
    let mut given: BTreeSet<&str> =
        facts.services.values().flat_map(|it| &it.secrets).map(String::as_str).collect();
    let for_backups = values("deploy/systemd/tinyclaw-backup.service", "LoadCredentialEncrypted");
    if !for_backups.iter().map(|it| &it.1).eq(&facts.backup.secrets) {
        wrong.push("deploy/systemd/tinyclaw-backup.service: its secrets are others than those of deploy/facts.toml".to_owned());
    }
    given.extend(facts.backup.secrets.iter().map(String::as_str));
    let admin = lines("deploy/deb/admin");
    let (place, taken) = admin.iter().find(|it| it.1.starts_with("names=\"")).expect("names");
    let taken: BTreeSet<&str> =
        taken.trim_start_matches("names=\"").trim_end_matches('"').split(' ').collect();
    if taken != given {
        wrong.push(format!("{place}: takes {taken:?}, and deploy/facts.toml gives {given:?}"));
    }
    for manifest in below("k8s/base", ".yaml") {
        for (place, line) in lines(&manifest) {
            let key = line.strip_prefix("- {key: ").and_then(|it| it.split(',').next());
            if let Some(key) = key.filter(|it| !given.contains(it)) {
                wrong.push(format!("{place}: {key} is no secret that deploy/facts.toml gives"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn users_have_one_number_everywhere() {
    let facts = facts();
    let mut wrong = Vec::new();
    for (user, number) in &facts.users {
        let group = format!("g {user} {number}");
        let person = format!("u {user} {number}:{number} ");
        let all = lines("deploy/deb/sysusers.conf");
        if !all.iter().any(|it| it.1 == group) || !all.iter().any(|it| it.1.starts_with(&person)) {
            wrong.push(format!("deploy/deb/sysusers.conf: {user} is not {number}"));
        }
    }
    let numbers: BTreeSet<String> = facts.users.values().map(ToString::to_string).collect();
    let images = ["Dockerfile", "Dockerfile.dashboard", "Dockerfile.gateway", "broker/Dockerfile"];
    for image in images {
        for (place, line) in lines(image) {
            let Some(users) = line.strip_prefix("USER ") else { continue };
            if !users.split(':').all(|it| numbers.contains(it)) {
                wrong.push(format!("{place}: USER {users} is none of deploy/facts.toml"));
            }
        }
    }
    for manifest in below("k8s", ".yaml") {
        for (place, line) in lines(&manifest) {
            let number = ["runAsUser: ", "runAsGroup: ", "fsGroup: "]
                .iter()
                .find_map(|it| line.strip_prefix(it));
            if let Some(number) = number.filter(|it| !numbers.contains(*it)) {
                wrong.push(format!("{place}: {number} is no user of deploy/facts.toml"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn whoever_kills_waits_longer_than_who_stops() {
    let Facts { grace, .. } = facts();
    assert!(grace.code < grace.compose && grace.compose < grace.elsewhere);
    let mut wrong = Vec::new();
    let mut finds = |path: &str, wanted: &str| {
        if !lines(path).iter().any(|it| it.1.starts_with(wanted)) {
            wrong.push(format!("{path}: lacks {wanted:?}, which deploy/facts.toml asks for"));
        }
    };
    let code = format!("pub const GRACE: Duration = Duration::from_secs({});", grace.code);
    finds("crates/bot/src/house.rs", &code);
    for compose in ["docker-compose.yml", "deploy/dokploy/docker-compose.yml"] {
        finds(compose, &format!("stop_grace_period: {}s", grace.compose));
    }
    for manifest in ["k8s/base/office.yaml", "k8s/base/broker.yaml"] {
        finds(manifest, &format!("terminationGracePeriodSeconds: {}", grace.elsewhere));
    }
    none(&wrong);
}

#[test]
fn one_release_everywhere_and_nothing_is_the_latest() {
    let release = facts().release;
    let mut wrong = Vec::new();
    assert_eq!(release, env!("CARGO_PKG_VERSION"), "deploy/facts.toml and Cargo.toml");
    let changes = lines("CHANGELOG.md");
    let (place, top) = changes.iter().find(|it| it.1.starts_with("## ")).expect("a version");
    if !top.starts_with(&format!("## {release}")) {
        wrong.push(format!("{place}: {top:?} is not {release}"));
    }
    for (place, line) in lines("deploy/dokploy/.env.example") {
        if line.strip_prefix("TINYCLAW_TAG=").is_some_and(|it| it != release) {
            wrong.push(format!("{place}: {line} is not {release}"));
        }
    }
    for manifest in below("k8s", ".yaml") {
        for (place, line) in lines(&manifest) {
            if line.contains(":latest") {
                wrong.push(format!("{place}: the latest is another one tomorrow"));
            }
            let tag = line.split("newTag: ").nth(1).map(|it| it.trim_end_matches('}'));
            if let Some(tag) = tag.filter(|it| *it != release) {
                wrong.push(format!("{place}: {tag} is not {release}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_package_has_every_program_and_nothing_is_published_but_on_this_machine() {
    let mut wrong = Vec::new();
    let package = read("deploy/deb/nfpm.yaml".as_ref());
    let helpers = ["tinyclaw", "tinyclaw-leash", "tinyclaw-demo-engine", "git-credential-tinyclaw"];
    let services: Vec<String> = facts()
        .services
        .values()
        .flat_map(|it| it.start.iter().chain([&it.program]))
        .map(|it| it.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    for program in services.iter().map(String::as_str).chain(helpers) {
        if !package.contains(&format!("dst: /usr/lib/tinyclaw/{program},")) {
            wrong.push(format!("deploy/deb/nfpm.yaml: lacks {program}"));
        }
    }
    for (place, line) in lines("docker-compose.yml") {
        if line.starts_with("ports:") && !line.starts_with("ports: [\"127.0.0.1:") {
            wrong.push(format!("{place}: is published to others"));
        }
    }
    for manifest in below("k8s", ".yaml") {
        for (place, line) in lines(&manifest) {
            if ["hostPath", "hostNetwork", "NodePort", "LoadBalancer"]
                .iter()
                .any(|it| line.contains(it))
            {
                wrong.push(format!("{place}: {line}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn dokploys_file_has_nothing_that_a_deploy_by_git_would_lose_or_open() {
    // What Dokploy's compose file and its example may name beside settings.
    let own = ["TINYCLAW_REGISTRY", "TINYCLAW_TAG", "TINYCLAW_BOT_MEMORY"];
    let mut wrong = Vec::new();
    for path in ["deploy/dokploy/docker-compose.yml", "deploy/dokploy/.env.example"] {
        for (place, line) in lines(path) {
            let opens =
                ["ports:", "container_name:", "docker.sock", ":latest", "- ./", "privileged: true"];
            if let Some(it) = opens.iter().find(|it| line.contains(**it)) {
                wrong.push(format!("{place}: {it} has no place there"));
            }
            let name = line.split([':', '=']).next().unwrap_or_default();
            let is_variable =
                name.len() > 3 && name.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
            if is_variable && !is_known(name) && !own.contains(&name) {
                wrong.push(format!("{place}: {name} is no variable of ours"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn what_shows_each_failure_of_a_deployment_is_there() {
    let is_code = |it: &PathBuf| it.extension().is_some_and(|it| it == "rs");
    let code: String = files().iter().filter(|it| is_code(it)).map(|it| read(it)).collect();
    let (mut wrong, mut rows) = (Vec::new(), 0);
    for (place, line) in lines("deploy/testing/FAILURES.md") {
        let Some((number, shown)) = line.strip_prefix("| ").and_then(|it| {
            Some((it.split(' ').next()?.parse::<u32>().ok()?, it.rsplit('|').nth(1)?))
        }) else {
            continue;
        };
        rows += 1;
        if number != rows {
            wrong.push(format!("{place}: row {number} stands where {rows} is wanted"));
        }
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            wrong.push(format!("{place}: nothing is named that shows it"));
        }
        for it in named {
            let is_there = match it.split_once(": ") {
                Some((file, words)) if file.contains('/') => read(Path::new(file)).contains(words),
                _ => code.contains(&format!("fn {it}(")),
            };
            if !is_there {
                wrong.push(format!("{place}: {it} is not there"));
            }
        }
    }
    assert_eq!(rows, 25);
    none(&wrong);
}
